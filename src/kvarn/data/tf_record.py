"""`tf.python_io`: record files, written and read without a graph.

Source: tensorflow/python/lib/io/tf_record.py, tensorflow/core/lib/io/{record_writer,zlib_outputbuffer}.cc,
tensorflow/core/lib/io/zlib_compression_options.h (1.15).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, ClassVar

from kvarn.errors import FailedPreconditionError
from kvarn.formats.tfrecord import WINDOW_BITS, framed, read_records
from kvarn.io import Path, as_path, file_system_of

# Defaults of zlib_compression_options.h.
_INPUT_BYTES = 256 << 10
_MEM_LEVEL = 9

# More than this waits for no flush: it goes into the file.
_BUFFER_BYTES = 1 << 16


class TFRecordCompressionType:
    """How a file of records is compressed."""

    NONE = 0
    ZLIB = 1
    GZIP = 2


class TFRecordOptions:
    """How records are written.  All but ``compression_type`` count for compressed files only.

    Args:
      compression_type: ``"GZIP"``, ``"ZLIB"``, ``""``, None or a `TFRecordCompressionType`.
      flush_mode: of zlib, when its input buffer is full.
      input_buffer_size: bytes that wait to be compressed, 256 KiB by default.
      output_buffer_size: bytes of compressed data that wait to be written.
      window_bits, compression_level, compression_method, mem_level, compression_strategy: of zlib.

    Raises:
      ValueError: there is no such compression type.
    """

    compression_type_map: ClassVar[dict[int, str]] = {
        TFRecordCompressionType.ZLIB: "ZLIB",
        TFRecordCompressionType.GZIP: "GZIP",
        TFRecordCompressionType.NONE: "",
    }

    def __init__(
        self,
        compression_type: Any = None,
        flush_mode: int | None = None,
        input_buffer_size: int | None = None,
        output_buffer_size: int | None = None,
        window_bits: int | None = None,
        compression_level: int | None = None,
        compression_method: int | None = None,
        mem_level: int | None = None,
        compression_strategy: int | None = None,
    ) -> None:
        self.get_compression_type_string(compression_type)
        self.compression_type = compression_type
        self.flush_mode = flush_mode
        self.input_buffer_size = input_buffer_size
        self.output_buffer_size = output_buffer_size
        self.window_bits = window_bits
        self.compression_level = compression_level
        self.compression_method = compression_method
        self.mem_level = mem_level
        self.compression_strategy = compression_strategy

    @classmethod
    def get_compression_type_string(cls, options: Any) -> str:
        """``"ZLIB"``, ``"GZIP"`` or ``""`` for options, a compression type or a string.

        Raises:
          ValueError: it is none of these.
        """
        if not options:
            return ""
        if isinstance(options, TFRecordOptions):
            return cls.get_compression_type_string(options.compression_type)
        if options in cls.compression_type_map:
            return cls.compression_type_map[options]
        if options in cls.compression_type_map.values():
            return str(options)
        raise ValueError(f'Not a valid compression_type: "{options}"')


class _Deflated:
    """Compresses as TensorFlow's output buffer does, byte for byte.

    What is written waits until the next piece does not fit into the input buffer; a piece larger than that is
    compressed at once.  It shows in the result only if ``flush_mode`` ends blocks.
    """

    def __init__(self, kind: str, options: TFRecordOptions) -> None:
        def given(value: int | None, default: int) -> int:
            return default if value is None else value

        self._mode = given(options.flush_mode, zlib.Z_NO_FLUSH)
        self._capacity = given(options.input_buffer_size, _INPUT_BYTES)
        self._waiting = bytearray()
        self._deflate = zlib.compressobj(
            given(options.compression_level, zlib.Z_DEFAULT_COMPRESSION),
            given(options.compression_method, zlib.DEFLATED),
            given(options.window_bits, WINDOW_BITS[kind]),
            given(options.mem_level, _MEM_LEVEL),
            given(options.compression_strategy, zlib.Z_DEFAULT_STRATEGY),
        )

    def add(self, data: bytes) -> bytes:
        """Takes ``data``; what is compressed by now."""
        out = b""
        if len(self._waiting) + len(data) > self._capacity:
            out = self.flush(self._mode)
            if len(data) > self._capacity:
                return out + self._deflated(data, self._mode)
        self._waiting += data
        return out

    def flush(self, mode: int = zlib.Z_PARTIAL_FLUSH) -> bytes:
        """Compresses what waits, and ends it by ``mode`` of zlib."""
        waiting, self._waiting = bytes(self._waiting), bytearray()
        return self._deflated(waiting, mode)

    def _deflated(self, data: bytes, mode: int) -> bytes:
        out = self._deflate.compress(data)
        return out if mode == zlib.Z_NO_FLUSH else out + self._deflate.flush(mode)


class TFRecordWriter:
    """Writes records into a new file, or an emptied one.  Not safe to share between threads.

    Args:
      path: the file.
      options: a compression type or `TFRecordOptions`.

    Raises:
      OpError: as the file system refuses to make the file.
      ValueError: there is no such compression type.
    """

    def __init__(self, path: Path, options: Any = None) -> None:
        if not isinstance(options, TFRecordOptions):
            options = TFRecordOptions(compression_type=options)
        kind = options.get_compression_type_string(options)
        self._deflated = _Deflated(kind, options) if kind else None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._file = file_system_of(path).open_write(as_path(path))
        self._closed = False

    def __enter__(self) -> TFRecordWriter:
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def write(self, record: bytes | str) -> None:
        """Writes one record.

        Raises:
          TypeError: it is neither bytes nor text.
          FailedPreconditionError: the writer is closed.
        """
        self._check_open()
        data = record.encode() if isinstance(record, str) else record
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"expected bytes, {type(record).__name__} found")
        frame = framed(bytes(data))
        if self._deflated is None:
            self._put(frame)
        else:
            # Header, data and footer come one by one, which shows with a `flush_mode`.
            size = len(data)
            for piece in (frame[:12], frame[12 : 12 + size], frame[12 + size :]):
                self._put(self._deflated.add(piece))

    def flush(self) -> None:
        """Hands everything so far to the file system.

        Raises:
          FailedPreconditionError: the writer is closed.
        """
        self._check_open()
        if self._deflated is not None:
            self._put(self._deflated.flush())
        self._hand_over()

    def close(self) -> None:
        """Ends the file; nothing happens the second time."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._deflated is not None:
                self._put(self._deflated.flush(zlib.Z_FINISH))
            self._hand_over()
        finally:
            self._file.close()

    def _check_open(self) -> None:
        if self._closed:
            raise FailedPreconditionError.of("Writer not initialized or previously closed")

    def _put(self, data: bytes) -> None:
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered > _BUFFER_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        data, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        if data:
            self._file.append(data)


def tf_record_iterator(path: Path, options: Any = None) -> Iterator[bytes]:
    """The records of a file.

    Args:
      path: the file.
      options: a compression type or `TFRecordOptions`.

    Raises:
      NotFoundError: there is no such file.
      DataLossError: a record is damaged; those before it have come.
      ValueError: there is no such compression type.
    """
    return read_records(path, compression=TFRecordOptions.get_compression_type_string(options))
