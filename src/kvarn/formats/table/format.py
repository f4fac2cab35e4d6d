"""The table ("sstable"): sorted keys and values in checked blocks.

    [data block][trailer] ... [metaindex block][trailer] [index block][trailer] [footer]

    block     entries | restarts: count x fixed32, offsets of entries | fixed32 count, at least 1
    entry     varint shared | varint unshared | varint value size | unshared key bytes | value
              the key is the first `shared` bytes of the key before, then the unshared ones
    trailer   1 byte kind (0 plain, 1 snappy) | fixed32 masked crc32c of block and kind
    handle    varint offset | varint size, without the trailer
    index     key: a separator >= the last key of its block, < the first of the next; value: handle
    metaindex always empty, never read
    footer    metaindex handle | index handle | zeros up to byte 40 | magic, 8 bytes little-endian

Keys are bytes, strictly ascending.  It is LevelDB's table without filters.

Source: tensorflow/core/lib/io/format.h, table_options.h.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvarn.formats.coding import MAX_VARINT64_BYTES, DecodeError, decode_varint, encode_varint

# The first 64 bits of `echo http://code.google.com/p/leveldb/ | sha1sum` (lib/io/format.h).
MAGIC = 0xDB4775248B80FB57
TRAILER_BYTES = 5
FOOTER_BYTES = 2 * 2 * MAX_VARINT64_BYTES + 8
# table_options.h: uncompressed size at which a block ends, and entries from one restart to the next.
BLOCK_BYTES = 262144
RESTART_INTERVAL = 16


@dataclass(frozen=True, slots=True)
class BlockHandle:
    """Where a block lies in the file: ``size`` is without its trailer."""

    offset: int
    size: int

    def encode(self) -> bytes:
        return encode_varint(self.offset) + encode_varint(self.size)

    @classmethod
    def decode(cls, data: bytes, position: int = 0) -> tuple[BlockHandle, int]:
        """The handle at ``position`` and the position after it; more bytes may follow."""
        offset, position = decode_varint(data, position)
        size, position = decode_varint(data, position)
        return cls(offset, size), position


@dataclass(frozen=True, slots=True)
class Footer:
    """The last 48 bytes of a table."""

    metaindex: BlockHandle
    index: BlockHandle

    def encode(self) -> bytes:
        handles = self.metaindex.encode() + self.index.encode()
        return handles.ljust(FOOTER_BYTES - 8, b"\0") + MAGIC.to_bytes(8, "little")

    @classmethod
    def decode(cls, data: bytes) -> Footer:
        """Raises DecodeError with TensorFlow's text."""
        if int.from_bytes(data[-8:], "little") != MAGIC:
            raise DecodeError("not an sstable (bad magic number)")
        metaindex, position = BlockHandle.decode(data)
        index, _ = BlockHandle.decode(data, position)
        return cls(metaindex, index)
