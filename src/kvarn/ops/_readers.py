"""The readers behind `kvarn.ops.readers`: a queue gives units of work, mostly names of files, a reader their records.

Source: tensorflow/core/framework/reader_base.{h,cc}, tensorflow/core/kernels/{text_line_reader,tf_record_reader,
whole_file_read,fixed_length_record_reader,identity_reader}_op.cc, tensorflow/core/lib/io/inputbuffer.cc (1.15).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from kvarn import dtypes, errors, protos, tf_logging
from kvarn.formats.tfrecord import FOOTER_BYTES, HEADER_BYTES, WINDOW_BITS, read_records
from kvarn.io import file_system_of
from kvarn.ops import _text
from kvarn.ops._file_bytes import pieces_of
from kvarn.ops._format import c_escape
from kvarn.ops._queues import Queue


class Record(NamedTuple):
    key: bytes
    value: bytes


class Reader:
    """Records out of units of work; safe to use from several threads, which wait for one another.

    Args:
      node: the name of the operation, for messages.
    """

    kind: ClassVar[str]

    def __init__(self, node: str) -> None:
        self.name = f"{self.kind} '{node}'"
        self._lock = threading.Lock()
        self._clear()

    # -- what operations do ---------------------------------------------------------------------------

    def read(self, queue: Queue) -> Record:
        """The next record; ``queue`` gives the next unit of work when one is at its end.

        Raises:
          OutOfRangeError: the queue is closed and empty.
          InvalidArgumentError: an element of the queue is not one string.
          NotFoundError: there is no such file; the next call goes on with the one after.
          DataLossError: a file is damaged; each further call says so.
        """
        with self._lock:
            while True:
                record, _ = self._advance(queue)
                if record is not None:
                    return record

    def read_up_to(self, count: int, queue: Queue) -> list[Record]:
        """Up to ``count`` records of one unit of work, at least one; errors as of `read`."""
        records: list[Record] = []
        with self._lock:
            while len(records) < count:
                record, at_end = self._advance(queue)
                if record is not None:
                    records.append(record)
                if at_end and records:
                    break
        return records

    def records_produced(self) -> int:
        with self._lock:
            return self._produced

    def work_units_completed(self) -> int:
        with self._lock:
            return self._finished

    def reset(self) -> None:
        """Back to the beginning: nothing has been read."""
        with self._lock:
            self._clear()

    def state(self) -> bytes:
        """How far it is, as a serialized ReaderBaseState; UnimplementedError if it cannot tell."""
        raise errors.UnimplementedError.of("Reader SerializeState", name=self.name)

    def restore(self, state: bytes) -> None:
        """Goes on from a `state`.

        Raises:
          UnimplementedError: it cannot.
          InvalidArgumentError: there is no such state; the reader is reset.
        """
        with self._lock:
            self._clear()
        raise errors.UnimplementedError.of("Reader RestoreState", name=self.name)

    # -- what a kind of reader knows ------------------------------------------------------------------

    def _start(self, work: bytes) -> None:
        """Begins a unit of work; one that cannot be begun is passed over."""

    def _next(self, work: bytes) -> tuple[Record | None, bool]:
        """The next record of it, if there is one, and whether it is at its end."""
        raise NotImplementedError

    # -- steps ----------------------------------------------------------------------------------------

    def _clear(self) -> None:
        self._started = self._finished = self._produced = 0
        self._work = b""

    def _advance(self, queue: Queue) -> tuple[Record | None, bool]:
        if self._finished == self._started:
            self._work = b""
            self._work = _work_from(queue)
            self._start(self._work)
            self._started += 1
        record, at_end = self._next(self._work)
        self._produced += record is not None
        if at_end:
            self._finished = self._started
        return record, at_end


def _work_from(queue: Queue) -> bytes:
    components = queue.take()
    if len(components) != 1:
        raise errors.InvalidArgumentError.of("Expected single component queue", name=queue.name)
    if queue.dtypes[0] != dtypes.string:
        raise errors.InvalidArgumentError.of("Expected queue with single string component", name=queue.name)
    if components[0].size != 1:
        raise errors.InvalidArgumentError.of(
            "Expected to dequeue a one-element string tensor", name=queue.name
        )
    return _text.scalar(components[0])


# -- readers of whole units: what they have read is all of their state --------------------------------


class _WholeUnitReader(Reader):
    def state(self) -> bytes:
        with self._lock:
            found: bytes = protos.ReaderBaseState(
                work_started=self._started,
                work_finished=self._finished,
                num_records_produced=self._produced,
                current_work=self._work,
            ).SerializeToString()
        return found

    def restore(self, state: bytes) -> None:
        from google.protobuf.message import DecodeError

        problem = None
        try:
            found = protos.ReaderBaseState.FromString(state)
        except DecodeError:
            problem = f"Could not parse state for {self.name}: {c_escape(state)}"
        else:
            counts = (found.work_started, found.work_finished, found.num_records_produced)
            if min(counts) < 0:
                problem = f"Unexpected negative value when restoring in {self.name}: {found}"
            elif counts[0] > counts[1]:
                problem = f"Inconsistent work started vs. finished when restoring in {self.name}: {found}"
        with self._lock:
            if problem is not None:
                self._clear()
                raise errors.InvalidArgumentError.of(problem, name=self.name)
            self._started, self._finished, self._produced = counts
            self._work = found.current_work


class WholeFileReader(_WholeUnitReader):
    """Files: the key is the name, the value all bytes."""

    kind = "WholeFileReader"

    def _next(self, work: bytes) -> tuple[Record | None, bool]:
        return Record(work, b"".join(pieces_of(os.fsdecode(work)))), True


class IdentityReader(_WholeUnitReader):
    """The units of work themselves, as keys and values."""

    kind = "IdentityReader"

    def _next(self, work: bytes) -> tuple[Record | None, bool]:
        return Record(work, work), True


# -- readers of many records --------------------------------------------------------------------------


class _RecordsReader(Reader):
    """A reader of files that hold many records; the key is the name of the file and a number."""

    def _clear(self) -> None:
        super()._clear()
        self._records: Iterator[tuple[int, bytes]] = iter(())
        self._failure: errors.OpError | None = None

    def _open(self, name: str) -> Iterator[tuple[int, bytes]]:
        """The numbers and values of the records; what prevents the opening is raised at once."""
        raise NotImplementedError

    def _start(self, work: bytes) -> None:
        self._records = self._open(os.fsdecode(work))

    def _next(self, work: bytes) -> tuple[Record | None, bool]:
        if self._failure is not None:
            raise self._failure
        try:
            for number, value in self._records:
                return Record(b"%s:%d" % (work, number), value), False
        except errors.OpError as failure:
            # What has failed is at its end: to be asked again, it must not look like that.
            self._failure = failure
            raise
        return None, True


class TextLineReader(_RecordsReader):
    """The lines of files, numbered from 1, without what ends them.

    Args:
      skip_header_lines: how many to leave out at the beginning of each file.
    """

    kind = "TextLineReader"

    def __init__(self, node: str, skip_header_lines: int) -> None:
        super().__init__(node)
        self._skipped = skip_header_lines

    def _open(self, name: str) -> Iterator[tuple[int, bytes]]:
        lines = enumerate(_lines(pieces_of(name)), 1)
        for _ in zip(range(self._skipped), lines, strict=False):
            pass
        return lines


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in lines)
    if last := rest.removesuffix(b"\r"):
        yield last


class TFRecordReader(_RecordsReader):
    """The records of TFRecord files, numbered by their offsets.

    Args:
      compression_type: of the files; an unknown one counts as none, with a warning.
    """

    kind = "TFRecordReader"

    def __init__(self, node: str, compression_type: str) -> None:
        super().__init__(node)
        self._compression = compression_type

    def _open(self, name: str) -> Iterator[tuple[int, bytes]]:
        compression = self._compression
        if compression and compression not in WINDOW_BITS:
            tf_logging.warning("Unsupported compression_type:%s. No compression will be used.", compression)
            compression = ""
        file_system_of(name).open_read(name).close()
        return _with_offsets(read_records(name, compression=compression))


def _with_offsets(records: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for record in records:
        yield offset, record
        offset += HEADER_BYTES + len(record) + FOOTER_BYTES


class FixedLengthRecordReader(_RecordsReader):
    """Pieces of one length, numbered from 0.

    Args:
      header_bytes: what is left out at the beginning of each file.
      record_bytes: the length of a record.
      footer_bytes: what must follow a record, but may be part of the next.
      hop_bytes: from the beginning of a record to that of the next; 0 for the length of a record.
      encoding: ``"ZLIB"`` or ``"GZIP"`` if the files are compressed.
    """

    kind = "FixedLengthRecordReader"

    def __init__(
        self,
        node: str,
        header_bytes: int,
        record_bytes: int,
        footer_bytes: int,
        hop_bytes: int,
        encoding: str,
    ) -> None:
        super().__init__(node)
        self._header, self._record, self._footer = header_bytes, record_bytes, footer_bytes
        self._hop = hop_bytes or record_bytes
        self._encoding = encoding if encoding in WINDOW_BITS else ""

    def _open(self, name: str) -> Iterator[tuple[int, bytes]]:
        bytes_ = _Bytes(pieces_of(name, self._encoding))
        if not bytes_.skip(self._header):
            raise errors.OutOfRangeError.of("reached end of file", path=name)
        return self._hops(bytes_)

    def _hops(self, bytes_: _Bytes) -> Iterator[tuple[int, bytes]]:
        number = 0
        while bytes_.has(self._record + self._footer):
            yield number, bytes_.peek(self._record)
            number += 1
            if not bytes_.skip(self._hop):
                break


class _Bytes:
    """The bytes of pieces, from the first to the last."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._start = 0

    def has(self, size: int) -> bool:
        """Whether there are ``size`` bytes more; they are in memory then."""
        while len(self._held) - self._start < size:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._held, self._start = self._held[self._start :] + piece, 0
        return True

    def peek(self, size: int) -> bytes:
        """The next bytes, which are in memory."""
        return self._held[self._start : self._start + size]

    def skip(self, size: int) -> bool:
        """Leaves bytes out; False if there are fewer."""
        while (rest := len(self._held) - self._start) < size:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            size -= rest
            self._held, self._start = piece, 0
        self._start += size
        return True
