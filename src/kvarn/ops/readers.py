"""Readers as operations: records out of units of work, mostly files, that a queue names.

Source: tensorflow/core/ops/io_ops.cc, tensorflow/core/kernels/reader_ops.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, OpFunction, op
from kvarn.ops import _readers, _text
from kvarn.ops._elementwise import dims_text
from kvarn.ops._handles import as_reference, look_up, own_handle

_KIND = "Reader"


def _size(ctx: Any, name: str) -> int:
    """An attribute that must not be negative."""
    size: int = ctx.attrs[name]
    if size < 0:
        raise errors.InvalidArgumentError.of(f"{name} must be >= 0 not {size}", name=ctx.op.name)
    return size


def _text_of(ctx: Any, name: str) -> str:
    value = ctx.attrs.get(name, "")
    return value.decode() if isinstance(value, bytes) else str(value)


def _pieces(ctx: Any) -> _readers.Reader:
    header, record, footer, hop = (
        _size(ctx, name) for name in ("header_bytes", "record_bytes", "footer_bytes", "hop_bytes")
    )
    return _readers.FixedLengthRecordReader(
        ctx.op.name, header, record, footer, hop, _text_of(ctx, "encoding")
    )


# -- declarations: each op in its newer form, and in that of old graphs, whose handles are references --


def _both_forms(declare: Callable[[str, str], OpFunction]) -> tuple[OpFunction, OpFunction]:
    return declare("V2", "resource"), declare("", "Ref(string)")


def _reader(
    name: str, doc: str, make: Callable[[Any], _readers.Reader], attrs: Sequence[str] = ()
) -> tuple[OpFunction, OpFunction]:
    """The op of a kind of reader; its older form lacks attributes that end in ``(V2)``."""

    def declare(version: str, handle: str) -> OpFunction:
        def kernel(ctx: Any) -> Any:
            made = own_handle(ctx, _KIND)
            ctx.resources.look_up_or_create(made, lambda: make(ctx))
            return made if version else as_reference(ctx, made)

        own = [a.removesuffix(" (V2)") for a in attrs if version or not a.endswith(" (V2)")]
        body = {
            "__doc__": doc,
            "shape": shapes.scalar if version else lambda c: (2,),
            "kernel": kernel,
            "grad": NOT_DIFFERENTIABLE,
        }
        # Of all readers that of whole files is not deprecated in its older form.
        old = None if version or name == "WholeFileReader" else (26, f"Use {name}V2")
        declared = op(
            f"{name}{version}", outputs=f"reader_handle: {handle}", attrs=own, stateful=True, deprecated=old
        )
        return declared(type(name, (), body))

    return _both_forms(declare)


_NAMES = ("container: string = ''", "shared_name: string = ''")

whole_file_reader_v2, whole_file_reader = _reader(
    "WholeFileReader",
    "The handle of a reader of whole files.",
    lambda ctx: _readers.WholeFileReader(ctx.op.name),
    _NAMES,
)
identity_reader_v2, identity_reader = _reader(
    "IdentityReader",
    "The handle of a reader that gives the units of work themselves.",
    lambda ctx: _readers.IdentityReader(ctx.op.name),
    _NAMES,
)
text_line_reader_v2, text_line_reader = _reader(
    "TextLineReader",
    "The handle of a reader of lines.",
    lambda ctx: _readers.TextLineReader(ctx.op.name, _size(ctx, "skip_header_lines")),
    ("skip_header_lines: int = 0", *_NAMES),
)
tf_record_reader_v2, tf_record_reader = _reader(
    "TFRecordReader",
    "The handle of a reader of TFRecord files.",
    lambda ctx: _readers.TFRecordReader(ctx.op.name, _text_of(ctx, "compression_type")),
    (*_NAMES, "compression_type: string = ''"),
)
fixed_length_record_reader_v2, fixed_length_record_reader = _reader(
    "FixedLengthRecordReader",
    "The handle of a reader of pieces of one length.",
    _pieces,
    (
        "header_bytes: int = 0",
        "record_bytes: int",
        "footer_bytes: int = 0",
        "hop_bytes: int = 0",
        *_NAMES,
        "encoding: string = '' (V2)",
    ),
)


def _verb(
    name: str,
    doc: str,
    run: Callable[..., Any],
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    results: Any = (),
) -> tuple[OpFunction, OpFunction]:
    """An op on a reader.

    Args:
      run: takes the reader and what stands for the other inputs, a queue for a handle of one.
      inputs: those after the reader; ``queue_handle`` is the handle of a queue.
      results: the static shape of each output.
    """

    def declare(version: str, handle: str) -> OpFunction:
        given = ["reader_handle", *inputs]
        handles = [x for x in given if x.endswith("_handle")]

        def shape(c: Any, *found: Any) -> Any:
            for x, known in zip(given, found, strict=True):
                known = shapes.with_rank(known, 0 if version or x not in handles else 1)
                if known and known[0] not in (None, 2):
                    raise ValueError(f"Dimension must be 2 but is {known[0]}")
            return [results] * len(outputs) if len(outputs) != 1 else results

        def kernel(ctx: Any, reader_handle: Any, *values: Any) -> Any:
            reader = look_up(ctx, reader_handle, _KIND)
            return run(
                reader,
                *[
                    look_up(ctx, value, "Queue") if x in handles else value
                    for x, value in zip(inputs, values, strict=True)
                ],
            )

        body = {"__doc__": doc, "shape": shape, "kernel": kernel, "grad": NOT_DIFFERENTIABLE}
        typed = [f"{x}: {handle}" if x in handles else x for x in given]
        return op(f"{name}{version}", inputs=typed, outputs=outputs)(type(name, (), body))

    return _both_forms(declare)


def _read(reader: _readers.Reader, queue: Any) -> Any:
    return tuple(_string(part) for part in reader.read(queue))


def _read_up_to(reader: _readers.Reader, queue: Any, num_records: Any) -> Any:
    records = reader.read_up_to(int(num_records), queue)
    return tuple(_strings([record[part] for record in records]) for part in (0, 1))


def _restore(reader: _readers.Reader, state: Any) -> None:
    if np.ndim(state):
        raise errors.InvalidArgumentError.of(
            f"Reader state must be scalar, but had shape: {dims_text(state)}"
        )
    reader.restore(_text.scalar(state))


def _string(value: bytes) -> Any:
    return np.array(value, dtype=object)


def _strings(values: list[bytes]) -> Any:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


reader_read_v2, reader_read = _verb(
    "ReaderRead", "The next record.", _read, ["queue_handle"], ["key: string", "value: string"]
)
reader_read_up_to_v2, reader_read_up_to = _verb(
    "ReaderReadUpTo",
    "The next records, all of one unit of work.",
    _read_up_to,
    ["queue_handle", "num_records: int64"],
    ["keys: string", "values: string"],
    (None,),
)
reader_num_records_produced_v2, reader_num_records_produced = _verb(
    "ReaderNumRecordsProduced",
    "How many records have been read.",
    lambda reader: np.array(reader.records_produced(), np.int64),
    outputs=["records_produced: int64"],
)
reader_num_work_units_completed_v2, reader_num_work_units_completed = _verb(
    "ReaderNumWorkUnitsCompleted",
    "How many units of work are at their end.",
    lambda reader: np.array(reader.work_units_completed(), np.int64),
    outputs=["units_completed: int64"],
)
reader_serialize_state_v2, reader_serialize_state = _verb(
    "ReaderSerializeState",
    "How far the reader is.",
    lambda reader: _string(reader.state()),
    outputs=["state: string"],
)
reader_restore_state_v2, reader_restore_state = _verb(
    "ReaderRestoreState", "Takes the reader where another one was.", _restore, ["state: string"]
)
reader_reset_v2, reader_reset = _verb(
    "ReaderReset", "Takes the reader to its beginning.", lambda reader: reader.reset()
)
