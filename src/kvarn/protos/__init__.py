"""TensorFlow's protocol messages, under their own names, in a pool of their own.

    protos.GraphDef()                          a message of package `tensorflow`
    protos.DataType.Name(1), protos.DT_FLOAT   its enums and their values
    protos.message("tensorflow.GraphDef")      the same by full name; nested ones have dots
    protos.enum("tensorflow.error.Code")       enums of any package

The sources are the ``.proto`` files beside this one; ``descriptors.bin`` is what they compile to
(tools/compile_protos.py).  They are loaded into a private DescriptorPool on first use, so that a real
TensorFlow, whose messages have the same full names, can live in the same process, and so that importing
this package costs nothing.  Messages of the two never mix: move them as bytes.

Thread-safe: whoever comes while another thread loads waits for it, so that there is one pool and one
class of each message.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

PACKAGE = "tensorflow"
_loading = threading.RLock()
F = TypeVar("F", bound=Callable[..., Any])


def _once(function: F) -> F:
    """A cache that never runs its function twice for the same arguments, as `functools.cache` may."""
    cached = functools.cache(function)

    @functools.wraps(function)
    def locked(*args: Any) -> Any:
        with _loading:
            return cached(*args)

    return locked  # type: ignore[return-value]


@_once
def pool() -> DescriptorPool:
    """The private pool with all messages and enums."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    files = descriptor_pb2.FileDescriptorSet.FromString(
        (Path(__file__).parent / "descriptors.bin").read_bytes()
    )
    private = descriptor_pool.DescriptorPool()
    for file in files.file:  # in the order of their imports
        private.Add(file)
    return private


@_once
def message(full_name: str) -> Any:
    """The class of a message.

    Args:
      full_name: with the package, such as ``tensorflow.TensorShapeProto.Dim``.

    Raises:
      KeyError: there is no such message.
    """
    from google.protobuf import message_factory

    cls = message_factory.GetMessageClass(pool().FindMessageTypeByName(full_name))
    # help() and pickle look for a class where its module is said to be.
    cls.__module__ = __name__
    return cls


@_once
def enum(full_name: str) -> Any:
    """The wrapper of an enum, with ``Name(number)``, ``Value(name)`` and ``keys()``.

    Raises:
      KeyError: there is no such enum.
    """
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

    return EnumTypeWrapper(pool().FindEnumTypeByName(full_name))


def serialize(proto: Message) -> bytes:
    """The bytes of a message as the C++ serializer writes them, maps sorted by key."""
    return proto.SerializeToString(deterministic=True)


def to_text(proto: Message) -> str:
    """The text format of a message as TensorFlow 1.15 writes it to files (`tf.io.write_graph`).

    Non-ASCII characters are escaped, and floats have all digits of the double that they are.
    """
    from google.protobuf import text_format

    out = text_format.TextWriter(False)
    _text_printer()(out=out, as_utf8=False, descriptor_pool=pool()).PrintMessage(proto)
    return out.getvalue()


@functools.cache
def _text_printer() -> Any:
    from google.protobuf import text_format
    from google.protobuf.descriptor import FieldDescriptor

    # The option for the digits of floats that TensorFlow uses is gone from newer releases of protobuf.
    base: Any = text_format._Printer

    class Printer(base):  # type: ignore[misc]
        def PrintFieldValue(self, field: Any, value: Any) -> None:
            if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
                self.out.write(str(value))
            else:
                super().PrintFieldValue(field, value)

    return Printer


def from_text(text: str | bytes, proto: Any) -> Any:
    """Merges text format into ``proto`` and returns it.

    Raises:
      google.protobuf.text_format.ParseError: the text is no such message.
    """
    from google.protobuf import text_format

    try:
        return text_format.Merge(text, proto, descriptor_pool=pool())
    except (ValueError, OverflowError, RecursionError) as error:  # numbers out of range, too deep a nesting
        raise text_format.ParseError(str(error)) from error


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = _find(name)
    globals()[name] = value
    return value


def _find(name: str) -> Any:
    full_name = f"{PACKAGE}.{name}"
    for find in (message, enum):
        try:
            return find(full_name)
        except KeyError:
            continue
    for values in _top_level_enums():
        if name in values:
            return values[name]
    raise AttributeError(f"module {__name__!r} has no message, enum or enum value {name!r}")


@functools.cache
def _top_level_enums() -> list[dict[str, int]]:
    """The values of the enums that stand in no message: their names are names of the package."""
    files = [pool().FindFileByName(f"{stem}.proto") for stem in ("tensor", "graph", "variable", "config")]
    return [
        {value.name: value.number for value in enum_type.values}
        for file in files
        for enum_type in file.enum_types_by_name.values()
    ]
