"""Records of a V2 index: the parsers of kvarn, in Python and native, against protobuf's own on the same bytes.

    byte 0      0: BundleHeaderProto; else BundleEntryProto
    rest        the message

kvarn refuses entries that mean nothing (negative sizes, impossible shapes), and protobuf some that kvarn
need not look at (an unknown field in it that is damaged); where both accept, all fields are equal, and what
kvarn writes of it reads back as the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError as ProtobufError

from fuzz import goldens
from fuzz.contract import agree, attempt
from kvarn import _native, protos
from kvarn.formats.bundle.entry import BundleEntry, BundleHeader
from kvarn.formats.coding import DecodeError
from kvarn.formats.table.reader import Table
from kvarn.formats.tensor_slice import FULL_EXTENT
from kvarn.io.memory import MemoryReadFile

LONGEST = 512
WORDS = (
    b"\x12\x02\x08\x01",
    b"\x12\x00",
    b"\x3a\x04\x0a\x02\x10\x01",
    b"\x35\x00\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\x07",
    b"\xa0\x06\x01\xa8\x06\x01\xb0\x06\x01",
    b"\x1a\x02\x08\x01",
)


def check(data: bytes) -> None:
    if data[:1] == b"\0":
        check_header(data[1:])
    else:
        check_entry(data[1:])


def check_entry(value: bytes) -> None:
    entry = attempt(BundleEntry.parse, value, refusals=(DecodeError,))
    known = _parsed("BundleEntryProto", value)
    if entry is None:
        return
    agree("read again", attempt(BundleEntry.parse, entry.serialize(), refusals=(DecodeError,)), entry)
    check_plain(value, entry)
    if known is None:
        return
    agree("dtype", entry.dtype & 0xFFFFFFFF, known.dtype & 0xFFFFFFFF)
    agree("shape", entry.shape, tuple(dim.size for dim in known.shape.dim))
    agree("shard_id", entry.shard_id, known.shard_id)
    agree("offset, size", (entry.offset, entry.size), (known.offset, known.size))
    agree("crc32c", entry.crc32c, known.crc32c)
    agree("slices", [piece.extents for piece in entry.slices], [_extents(piece) for piece in known.slices])


def check_plain(value: bytes, entry: BundleEntry) -> None:
    """The native parser leaves what is not plain to the other, and says of the rest the same."""
    dtypes, shapes, counts, shards, offsets, sizes, crcs = _native.parse_entries([value])
    if shapes[0] is not None:
        agree("plain", BundleEntry(dtypes[0], shapes[0], shards[0], offsets[0], sizes[0], crcs[0]), entry)
        agree("elements", counts[0], entry.num_elements)


def check_header(value: bytes) -> None:
    header = attempt(BundleHeader.parse, value, refusals=(DecodeError,))
    known = _parsed("BundleHeaderProto", value)
    if header is None or known is None:
        return
    agree("num_shards", header.num_shards, known.num_shards)
    agree("endianness", header.endianness & 0xFFFFFFFF, known.endianness & 0xFFFFFFFF)
    agree("producer", header.producer, known.version.producer)
    agree("min_consumer", header.min_consumer, known.version.min_consumer)
    agree("bad_consumers", header.bad_consumers, tuple(known.version.bad_consumers))


def _parsed(message: str, value: bytes) -> Any:
    try:
        return getattr(protos, message).FromString(value)
    except ProtobufError:
        return None


def _extents(piece: Any) -> tuple[tuple[int, int], ...]:
    found = ((e.start, e.length if e.HasField("length") else FULL_EXTENT) for e in piece.extent)
    return tuple((0, FULL_EXTENT) if length == FULL_EXTENT else (start, length) for start, length in found)


def seeds() -> Iterator[bytes]:
    for index in goldens.small_files("*.index", 1500):
        try:
            records = list(Table(MemoryReadFile("t", index)).items())
        except Exception:
            continue  # a damaged one
        for key, value in records:
            yield (b"\1" if key else b"\0") + value
