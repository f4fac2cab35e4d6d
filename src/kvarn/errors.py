"""Errors, by the classes and codes that TensorFlow raises.

    Exception
    └── OpError                       every error that a graph, a file or a table raises
        ├── CancelledError        1   a run was cancelled
        ├── UnknownError          2   the reason is not known
        ├── InvalidArgumentError  3   a value, shape or dtype that can never work
        ├── DeadlineExceededError 4   a time limit passed
        ├── NotFoundError         5   a file, tensor, key or resource is not there
        ├── AlreadyExistsError    6   a thing to be created exists
        ├── PermissionDeniedError 7   the system refuses
        ├── ResourceExhaustedError 8  memory or disk is full
        ├── FailedPreconditionError 9 used before it was initialised
        ├── AbortedError          10  stopped by a concurrent action
        ├── OutOfRangeError       11  past the end of a file or an input
        ├── UnimplementedError    12  not supported
        ├── InternalError         13  an invariant of kvarn or of a file is broken
        ├── UnavailableError      14  try again later
        ├── DataLossError         15  stored bytes are damaged
        └── UnauthenticatedError  16

The tree is TensorFlow's own (tensorflow/python/framework/errors_impl.py): no class also derives from a
builtin, so that an ``except ValueError`` in a user's program catches here exactly what it catches there.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16


class OperatorNotAllowedInGraphError(TypeError):
    """An operator of Python that needs a value was used on a tensor, which has none while a graph is built."""


class OpError(Exception):
    """Base of all errors.

    A message has up to three parts: what failed, on which name and in which file, and what to do
    (``hint``, on a line of its own).

    Args:
      node_def: the NodeDef of the failing node, or None.
      op: the failing Operation, or None when the error did not come from running one.
      message: what failed and where.
      error_code: one of the codes above; each subclass has its own.
      name: the tensor, key, node or resource concerned.
      path: the file concerned.
      offset: byte offset inside ``path``.
      hint: what to do about it.
    """

    code: ClassVar[int] = UNKNOWN

    def __init__(
        self,
        node_def: Any = None,
        op: Any = None,
        message: str = "",
        error_code: int | None = None,
        *,
        name: str | None = None,
        path: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message if hint is None else f"{message}\n  {hint}")
        self.node_def = node_def
        self.op = op
        self.error_code = self.code if error_code is None else error_code
        self.name = name
        self.path = path
        self.offset = offset
        self.hint = hint

    @classmethod
    def of(
        cls,
        message: str,
        *,
        name: str | None = None,
        path: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> OpError:
        """The error for ``message`` without a graph node: for files and tables."""
        return cls(None, None, message, name=name, path=path, offset=offset, hint=hint)

    @property
    def message(self) -> str:
        """The whole text, hint included."""
        return str(self.args[0])

    @property
    def without_hint(self) -> str:
        """What failed and where: for another error that says what to do in its own way."""
        return self.message.removesuffix(f"\n  {self.hint}")

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.error_code, self.name, self.path, self.offset))


class CancelledError(OpError):
    code = CANCELLED


class UnknownError(OpError):
    code = UNKNOWN


class InvalidArgumentError(OpError):
    code = INVALID_ARGUMENT


class DeadlineExceededError(OpError):
    code = DEADLINE_EXCEEDED


class NotFoundError(OpError):
    code = NOT_FOUND


class AlreadyExistsError(OpError):
    code = ALREADY_EXISTS


class PermissionDeniedError(OpError):
    code = PERMISSION_DENIED


class ResourceExhaustedError(OpError):
    code = RESOURCE_EXHAUSTED


class FailedPreconditionError(OpError):
    code = FAILED_PRECONDITION


class AbortedError(OpError):
    code = ABORTED


class OutOfRangeError(OpError):
    code = OUT_OF_RANGE


class UnimplementedError(OpError):
    code = UNIMPLEMENTED


class InternalError(OpError):
    code = INTERNAL


class UnavailableError(OpError):
    code = UNAVAILABLE


class DataLossError(OpError):
    code = DATA_LOSS


class UnauthenticatedError(OpError):
    code = UNAUTHENTICATED


_CLASSES: dict[int, type[OpError]] = {cls.code: cls for cls in OpError.__subclasses__()}


def exception_type_from_error_code(error_code: int) -> type[OpError]:
    """The class of a code of tensorflow.error.Code; KeyError when there is none."""
    return _CLASSES[error_code]


def error_code_from_exception_type(cls: Any) -> Any:
    """The code of an error class; for what is none a warning and, as TensorFlow does, an UnknownError."""
    if isinstance(cls, type) and issubclass(cls, OpError) and cls is not OpError:
        return cls.code
    warnings.warn("Unknown class exception", stacklevel=2)
    return UnknownError(None, None, "Unknown class exception", -1)


def _make_specific_exception(node_def: Any, op: Any, message: Any, error_code: int) -> OpError:
    """An error of the class of a code; for an unknown code a warning and an UnknownError with it."""
    kind = _CLASSES.get(error_code)
    if kind is not None:
        return kind(node_def, op, message)
    warnings.warn(f"Unknown error code: {error_code}", stacklevel=2)
    return UnknownError(node_def, op, message, error_code)


def _rebuild(
    cls: type[OpError], message: str, code: int, name: str | None, path: str | None, offset: int | None
) -> OpError:
    return cls(None, None, message, code, name=name, path=path, offset=offset)
