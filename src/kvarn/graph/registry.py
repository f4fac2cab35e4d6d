"""The registry of op definitions, with TensorFlow's deferred registration and watcher.

Source: tensorflow/core/framework/op.h (`OpRegistry`, `OpRegistrationData`).
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kvarn import errors
from kvarn.graph.op_def import OpDef

ShapeFn = Callable[..., Any]
Watcher = Callable[[Exception | None, OpDef], Exception | None]


@dataclass(slots=True)
class OpRegistrationData:
    """All that is known of one op type.

    Attributes:
      op_def: its definition.
      shape_fn: ``shape_fn(context, *input_shapes)``, or None when nothing is known of its output shapes.
      is_function_op: True for a function of a graph's library that can be called like an op.
      kernel: ``kernel(context, *inputs)``, or None for ops that can be in a graph but not be run.
      grad: ``grad(op, *output_grads)``; `NOT_DIFFERENTIABLE` for ops whose gradient is None by
        declaration, None when none was given.
      reads: ``reads(op)``, the tensors that a run may read in place of the op's inputs, because they give the
        kernel the same by less work; None: its inputs.
    """

    op_def: OpDef
    shape_fn: ShapeFn | None = None
    is_function_op: bool = False
    kernel: Callable[..., Any] | None = field(default=None, repr=False)
    grad: Any = field(default=None, repr=False)
    reads: Callable[..., Any] | None = field(default=None, repr=False)


class NotDifferentiableType:
    def __repr__(self) -> str:
        return "NOT_DIFFERENTIABLE"


NOT_DIFFERENTIABLE = NotDifferentiableType()

OpRegistrationDataFactory = Callable[[], OpRegistrationData]


class OpRegistry:
    """Op types by name; safe to use from several threads.

    Registrations are *deferred* until the registry is first asked for an op: a factory that is registered
    before costs nothing at import.  A whole module of ops can wait the same way (`defer`).
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._deferred: list[OpRegistrationDataFactory] = []
        self._sources: list[Callable[[], None]] = []
        self._initialized = False
        self._registry: dict[str, OpRegistrationData] = {}
        self._unparsed: dict[str, OpRegistrationDataFactory] = {}
        self._watcher: Watcher | None = None

    def register(self, factory: OpRegistrationDataFactory) -> None:
        """Registers what ``factory`` returns: now if the registry is in use, otherwise at first use.

        Raises:
          AlreadyExistsError: the name is taken (at first use when deferred).
        """
        with self._lock:
            if self._initialized:
                self._register_already_locked(factory)
            else:
                self._deferred.append(factory)

    def register_data(self, data: OpRegistrationData) -> None:
        """Registers ``data`` at once, whether or not deferred registrations have been processed."""
        with self._lock:
            self._register_already_locked(lambda: data)

    def register_unparsed(self, name: str, factory: OpRegistrationDataFactory) -> None:
        """Takes ``name`` at once and calls ``factory`` when the op is first looked up.

        Raises:
          AlreadyExistsError: the name is taken.
        """
        with self._lock:
            if name in self._registry or name in self._unparsed:
                raise errors.AlreadyExistsError.of(f"Op with name {name} is registered twice.", name=name)
            self._unparsed[name] = factory

    def defer(self, source: Callable[[], None]) -> None:
        """Runs ``source``, which registers ops, when a name is asked for that is not known yet."""
        with self._lock:
            self._sources.append(source)

    def process_registrations(self) -> None:
        """Calls every deferred factory; later registrations take effect at once."""
        with self._lock:
            self._initialized = True
            deferred, self._deferred = self._deferred, []
            for factory in deferred:
                self._register_already_locked(factory)

    def defer_registrations(self) -> None:
        """Lets registrations wait again."""
        with self._lock:
            self._initialized = False

    def clear_deferred_registrations(self) -> None:
        """Forgets the factories that still wait."""
        with self._lock:
            self._deferred.clear()

    def set_watcher(self, watcher: Watcher | None) -> None:
        """Sets the one function that is told of each registration, with its error or None.

        The watcher's answer replaces the outcome: returning None for an error swallows it.

        Raises:
          AlreadyExistsError: there is a watcher and ``watcher`` is not None.
        """
        with self._lock:
            if watcher is not None and self._watcher is not None:
                raise errors.AlreadyExistsError.of(
                    "Cannot over-write a valid watcher with another.", hint="Set the watcher to None first."
                )
            self._watcher = watcher

    def look_up(self, op_type_name: str) -> OpRegistrationData:
        """The registration of an op type.

        Raises:
          NotFoundError: no op of that name is registered; near names are listed.
        """
        data = self._registry.get(op_type_name)
        if data is None:
            data = self.find(op_type_name)
        if data is None:
            near = difflib.get_close_matches(op_type_name, [*self._registry, *self._unparsed], n=3)
            raise errors.NotFoundError.of(
                f"Op type not registered '{op_type_name}' in this build of kvarn.",
                name=op_type_name,
                hint=(f"Near names: {', '.join(near)}. " if near else "")
                + "Register it with kvarn.graph.op.op, or remove the node.",
            )
        return data

    def find(self, op_type_name: str) -> OpRegistrationData | None:
        """The registration of an op type, or None."""
        with self._lock:
            if not self._initialized:
                self.process_registrations()
            if op_type_name not in self._registry and op_type_name not in self._unparsed:
                while self._sources:
                    self._sources.pop(0)()
            factory = self._unparsed.pop(op_type_name, None)
            if factory is not None:
                self._register_already_locked(factory)
            return self._registry.get(op_type_name)

    def get_registered_ops(self) -> list[OpDef]:
        """All definitions, by name."""
        self.find("")
        with self._lock:
            for name in list(self._unparsed):
                self.find(name)
            return [self._registry[name].op_def for name in sorted(self._registry)]

    def export(self, include_internal: bool = True) -> Any:
        """An OpList message of all definitions, by name; internal ops' names start with ``_``."""
        from kvarn import protos

        ops: Iterable[OpDef] = self.get_registered_ops()
        return protos.OpList(op=[o.to_proto() for o in ops if include_internal or not o.name.startswith("_")])

    def _register_already_locked(self, factory: OpRegistrationDataFactory) -> None:
        data = factory()
        problem: Exception | None = None
        if data.op_def.name in self._registry:
            problem = errors.AlreadyExistsError.of(
                f"Op with name {data.op_def.name} is registered twice.", name=data.op_def.name
            )
        else:
            self._registry[data.op_def.name] = data
        if self._watcher is not None:
            problem = self._watcher(problem, data.op_def)
        if problem is not None:
            raise problem


def _load_shipped_ops() -> None:
    """Imports the shipped op modules; by name, since they stand above the graph."""
    import importlib

    importlib.import_module("kvarn.ops").load_all()


global_registry = OpRegistry()
global_registry.process_registrations()
global_registry.defer(_load_shipped_ops)


def look_up(op_type_name: str) -> OpRegistrationData:
    """`OpRegistry.look_up` of the registry that the shipped ops are in."""
    return global_registry.look_up(op_type_name)
