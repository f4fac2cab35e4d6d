"""Inputs with parts, and tables whose checksums are right, so that the parser behind them is reached.

An input is cut at `SEPARATOR`: a fuzzer that inserts or deletes bytes changes one part and leaves the
others as they are, which it would not with lengths in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvarn.formats.checksum import crc32c, mask
from kvarn.formats.coding import DecodeError, decode_varint, encode_fixed32, encode_varint
from kvarn.formats.table.block import Block
from kvarn.formats.table.builder import build_table
from kvarn.formats.table.format import FOOTER_BYTES, TRAILER_BYTES, BlockHandle, Footer

SEPARATOR = b"\xfe\xedKV"


def join(parts: Iterable[bytes]) -> bytes:
    return SEPARATOR.join(parts)


def split(data: bytes) -> list[bytes]:
    return data.split(SEPARATOR)


def table_of(records: dict[bytes, bytes]) -> bytes:
    """A sound table with these records."""
    return build_table(records)


def table_of_blocks(blocks: Sequence[bytes], index: bytes | None = None) -> bytes:
    """A table whose data blocks have these contents, each a type byte and the stored bytes.

    Args:
      index: the content of the index block; made to fit by default.
    """
    out = bytearray()
    entries = bytearray()
    for at, block in enumerate(blocks):
        handle = BlockHandle(len(out), max(0, len(block) - 1)).encode()
        out += _with_trailer(block[1:], block[:1] or b"\0")
        key = _last_key(block[1:]) or b"\xff" * (at + 1)
        entries += bytes([0]) + encode_varint(len(key)) + encode_varint(len(handle)) + key + handle
    metaindex = BlockHandle(len(out), 8)
    out += _with_trailer(encode_fixed32(0) + encode_fixed32(1), b"\0")
    content = bytes(entries) + encode_fixed32(0) + encode_fixed32(1) if index is None else index
    footer = Footer(metaindex, BlockHandle(len(out), len(content)))
    out += _with_trailer(content, b"\0")
    return bytes(out + footer.encode())


def mended(table: bytes) -> bytes:
    """A table with the checksums of all its blocks made right, as far as its blocks can be found."""
    out = bytearray(table)
    if len(table) < FOOTER_BYTES:
        return table
    out[-8:] = bytes.fromhex("57fb808b247547db")
    try:
        index = Footer.decode(bytes(out[-FOOTER_BYTES:])).index
        _mend_block(out, index)
        for value in Block(bytes(out[index.offset : index.offset + index.size])).values:
            _mend_block(out, BlockHandle.decode(value)[0])
    except DecodeError:
        pass
    return bytes(out)


def _mend_block(out: bytearray, handle: BlockHandle) -> None:
    end = handle.offset + handle.size
    if end + TRAILER_BYTES <= len(out):
        out[end + 1 : end + TRAILER_BYTES] = encode_fixed32(mask(crc32c(bytes(out[handle.offset : end + 1]))))


def _with_trailer(content: bytes, kind: bytes) -> bytes:
    return content + kind + encode_fixed32(mask(crc32c(content + kind)))


def _last_key(content: bytes) -> bytes:
    try:
        return max(Block(content).keys, default=b"")
    except DecodeError:
        return b""


def varint_positions(data: bytes) -> list[tuple[int, int]]:
    """Every place where a varint of at most five bytes may stand: its start and its end."""
    found: list[tuple[int, int]] = []
    for at in range(len(data)):
        try:
            _, end = decode_varint(data, at)
        except DecodeError:
            continue
        if end - at <= 5:
            found.append((at, end))
    return found
