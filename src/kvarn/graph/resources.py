"""Live objects of a session: variables' buffers, tables, readers; by container and name.

Source: tensorflow/core/framework/{resource_mgr,resource_handle,resource_var}.h.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from kvarn import errors
from kvarn.dtypes import DType

T = TypeVar("T")

# The container of what kernels keep from run to run, such as the state of a random generator.  No program
# can name it, so that it is never cleared with variables and tables.
KERNEL_STATE = "\0kernels"


class ResourceHandle:
    """The value of a resource tensor: what names a live object.

    Attributes:
      container, name: where it lives.
      kind: the class of the object.
      dtype, shape: of a variable's value, for messages.
    """

    __slots__ = ("container", "device", "dtype", "key", "kind", "name", "shape")

    def __init__(
        self, container: str, name: str, kind: str, dtype: DType | None = None, shape: Any = None
    ) -> None:
        self.container = container
        self.name = name
        self.kind = kind
        self.dtype = dtype
        self.shape = shape
        self.device = "/job:localhost/replica:0/task:0/device:CPU:0"
        self.key = (container, kind, name)

    def __repr__(self) -> str:
        return f"ResourceHandle({self.kind} {self.container or 'localhost'}/{self.name})"


class Var:
    """The buffer of a variable.

    Readers get the array itself, never a copy; an update in place happens only while nobody else holds the
    array, otherwise on a copy, and readers wait until it is done.  So a value that was read is of one moment,
    and stays what it was.

    Attributes:
      lock: held by whoever changes the array; see `locked` for several variables.
    """

    __slots__ = ("dtype", "lock", "name", "shape", "value")

    def __init__(self, name: str, dtype: DType, shape: Any) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.value: Any = None
        self.lock = threading.RLock()

    @property
    def is_initialized(self) -> bool:
        return self.value is not None

    def read(self) -> Any:
        """The value; FailedPreconditionError if there is none yet."""
        with self.lock:
            value = self.value
        if value is None:
            raise errors.FailedPreconditionError.of(
                f"Attempting to use uninitialized value {self.name}",
                name=self.name,
                hint="Run its initializer (tf.global_variables_initializer) or restore it from a checkpoint first.",
            )
        return value

    def assign(self, value: Any) -> None:
        """Sets the value to an array that nobody else will change (`KernelContext.owned`)."""
        self.value = value

    def writable(self) -> np.ndarray[Any, Any]:
        """The value as an array that may be changed in place."""
        value: np.ndarray[Any, Any] = self.read()
        # The references of an array that nobody else holds: `self.value`, the local name, the argument.
        if (
            type(value) is not np.ndarray
            or value.base is not None
            or not value.flags.writeable
            or sys.getrefcount(value) > 3
        ):
            value = np.array(value, copy=True)
            self.value = value
        return value


@contextlib.contextmanager
def locked(variables: Sequence[Var]) -> Iterator[None]:
    """The locks of all of them; always taken in the same order, so that two updates never wait for each other."""
    with contextlib.ExitStack() as stack:
        for variable in sorted(variables, key=id):
            stack.enter_context(variable.lock)
        yield


class ResourceManager:
    """The live objects of one session, in containers; safe to use from several threads."""

    def __init__(self, default_container: str = "localhost") -> None:
        self.default_container = default_container
        self._lock = threading.RLock()
        self._resources: dict[tuple[str, str, str], Any] = {}

    def find(self, handle: ResourceHandle) -> Any:
        """The object, or None."""
        return self._resources.get(handle.key)

    def look_up(self, handle: ResourceHandle) -> Any:
        """The object; NotFoundError if it does not exist."""
        found = self._resources.get(handle.key)
        if found is None:
            container = handle.container or self.default_container
            raise errors.NotFoundError.of(
                f"Resource {container}/{handle.name}/{handle.kind} does not exist.",
                name=handle.name,
                hint="Run its initializer or restore it from a checkpoint first.",
            )
        return found

    def look_up_or_create(self, handle: ResourceHandle, create: Callable[[], T]) -> T:
        """The object, made by ``create`` if it does not exist."""
        found = self._resources.get(handle.key)
        if found is None:
            with self._lock:
                found = self._resources.get(handle.key)
                if found is None:
                    found = self._resources[handle.key] = create()
        result: T = found
        return result

    def create(self, handle: ResourceHandle, resource: Any) -> None:
        """Adds an object; AlreadyExistsError if there is one of that name."""
        with self._lock:
            if handle.key in self._resources:
                raise errors.AlreadyExistsError.of(
                    f"Resource {handle.container or self.default_container}/{handle.name}/{handle.kind}",
                    name=handle.name,
                )
            self._resources[handle.key] = resource

    def delete(self, handle: ResourceHandle) -> None:
        """Removes an object; NotFoundError if it does not exist."""
        with self._lock:
            self.look_up(handle)
            del self._resources[handle.key]

    def has_container(self, container: str) -> bool:
        """Whether there is anything in a container; "" is the default one."""
        names = {container, ""} if container in ("", self.default_container) else {container}
        with self._lock:
            return any(key[0] in names for key in self._resources)

    def cleanup(self, container: str) -> None:
        """Removes all objects of a container; "" is the default one."""
        with self._lock:
            names = {container, ""} if container in ("", self.default_container) else {container}
            for key in [k for k in self._resources if k[0] in names]:
                del self._resources[key]

    def clear(self) -> None:
        """Removes everything; operations that wait at a queue end."""
        with self._lock:
            found = list(self._resources.values())
            self._resources.clear()
        for resource in found:
            if hasattr(resource, "cancel"):
                resource.cancel()

    def all_of(self, kind: str) -> list[Any]:
        """All objects of a kind."""
        with self._lock:
            return [r for (_, k, _), r in self._resources.items() if k == kind]
