"""`tf.ReaderBase` and its kinds: records out of the files that a queue names.

Source: tensorflow/python/ops/io_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.data.tf_record import TFRecordOptions
from kvarn.graph.op import OpFunction
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops import readers
from kvarn.ops.queues import fake_queue


class ReaderBase:
    """Records, which are keys and values, out of units of work that a queue gives: mostly the names of files.

    Args:
      reader_ref: the handle of a reader.
      supports_serialize: whether it can tell how far it is.
    """

    def __init__(self, reader_ref: Tensor, supports_serialize: bool = False) -> None:
        self._reader_ref = reader_ref
        self._supports_serialize = supports_serialize

    @property
    def reader_ref(self) -> Tensor:
        """The handle."""
        return self._reader_ref

    @property
    def supports_serialize(self) -> bool:
        """Whether it can tell how far it is."""
        return self._supports_serialize

    def read(self, queue: Any, name: str | None = None) -> Any:
        """The next record; the queue gives the next unit of work when one is at its end.

        Args:
          queue: a `QueueBase` of strings, or its handle.

        Returns:
          (key, value), string scalars.
        """
        return self._form(readers.reader_read_v2, readers.reader_read)(
            self._reader_ref, self._handle_of(queue), name=name
        )

    def read_up_to(self, queue: Any, num_records: Any, name: str | None = None) -> Any:
        """Up to ``num_records`` records, all of one unit of work: (keys, values), string vectors."""
        read = self._form(readers.reader_read_up_to_v2, readers.reader_read_up_to)
        return read(self._reader_ref, self._handle_of(queue), num_records, name=name)

    def num_records_produced(self, name: str | None = None) -> Tensor:
        """How many records have been read, int64."""
        found: Tensor = self._form(
            readers.reader_num_records_produced_v2, readers.reader_num_records_produced
        )(self._reader_ref, name=name)
        return found

    def num_work_units_completed(self, name: str | None = None) -> Tensor:
        """How many units of work are at their end, int64."""
        found: Tensor = self._form(
            readers.reader_num_work_units_completed_v2, readers.reader_num_work_units_completed
        )(self._reader_ref, name=name)
        return found

    def serialize_state(self, name: str | None = None) -> Tensor:
        """How far it is, a string; UnimplementedError (when run) if it cannot tell."""
        found: Tensor = self._form(readers.reader_serialize_state_v2, readers.reader_serialize_state)(
            self._reader_ref, name=name
        )
        return found

    def restore_state(self, state: Any, name: str | None = None) -> Operation:
        """The operation that goes on from what `serialize_state` gave; UnimplementedError as there."""
        made: Operation = self._form(readers.reader_restore_state_v2, readers.reader_restore_state)(
            self._reader_ref, state, name=name
        )
        return made

    def reset(self, name: str | None = None) -> Operation:
        """The operation that takes it to its beginning."""
        made: Operation = self._form(readers.reader_reset_v2, readers.reader_reset)(
            self._reader_ref, name=name
        )
        return made

    def _form(self, newer: OpFunction, older: OpFunction) -> OpFunction:
        return newer if self._reader_ref.dtype is dtypes.resource else older

    def _handle_of(self, queue: Any) -> Any:
        handle = queue if isinstance(queue, Tensor) else queue.queue_ref
        return handle if self._reader_ref.dtype is dtypes.resource else fake_queue(handle)


class WholeFileReader(ReaderBase):
    """Files: their names as keys, all they hold as values."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(readers.whole_file_reader_v2(name=name), supports_serialize=True)


class IdentityReader(ReaderBase):
    """The strings of the queue, as keys and as values."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(readers.identity_reader_v2(name=name), supports_serialize=True)


class TextLineReader(ReaderBase):
    """The lines of files, without what ends them.

    Args:
      skip_header_lines: how many to leave out at the beginning of each file.
    """

    def __init__(self, skip_header_lines: int | None = None, name: str | None = None) -> None:
        super().__init__(readers.text_line_reader_v2(skip_header_lines=skip_header_lines or 0, name=name))


class TFRecordReader(ReaderBase):
    """The records of TFRecord files.

    Args:
      options: `TFRecordOptions`, or a number of its compression types.
    """

    def __init__(self, name: str | None = None, options: Any = None) -> None:
        compression = TFRecordOptions.get_compression_type_string(options)
        super().__init__(readers.tf_record_reader_v2(compression_type=compression, name=name))


class FixedLengthRecordReader(ReaderBase):
    """Pieces of files.

    Args:
      record_bytes: the length of a piece.
      header_bytes: what to leave out at the beginning of each file.
      footer_bytes: what must follow a piece.
      hop_bytes: from one piece to the next; the length of one by default.
      encoding: ``"ZLIB"`` or ``"GZIP"`` if the files are compressed.
    """

    def __init__(
        self,
        record_bytes: int,
        header_bytes: int | None = None,
        footer_bytes: int | None = None,
        hop_bytes: int | None = None,
        name: str | None = None,
        encoding: str | None = None,
    ) -> None:
        super().__init__(
            readers.fixed_length_record_reader_v2(
                record_bytes=record_bytes,
                header_bytes=header_bytes or 0,
                footer_bytes=footer_bytes or 0,
                hop_bytes=hop_bytes or 0,
                encoding=encoding or "",
                name=name,
            )
        )
