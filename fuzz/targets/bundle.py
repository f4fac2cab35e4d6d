"""V2 checkpoints: an index and a data file, whose table is sound, whose records are anything.

    byte 0      bit 0: the checksums of entries and string lengths are made right
                bit 1: tensors are read together, not one by one; bit 2: from a disk, not from memory
                bit 3: the embedding variables are looked for
    parts       header | key | entry | key | entry | … | bytes of the data file

An entry whose key is empty becomes the next stored slice of the entry before it that has slices.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fuzz import framing, goldens
from fuzz.contract import attempt
from fuzz.reading import read_embeddings, read_tables, read_tensors, same
from kvarn.formats import embedding
from kvarn.formats.bundle.entry import BundleEntry, BundleHeader
from kvarn.formats.bundle.naming import data_filename, index_filename
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.checksum import crc32c, mask
from kvarn.formats.coding import DecodeError, decode_varint, encode_fixed32
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.table.reader import Table
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem
from kvarn.io.memory import MemoryReadFile

LONGEST = 800
WORDS = (
    b"\x08\x01",
    b"\x08\x07",
    b"\x08\x15",
    b"\x12\x00",
    b"\x12\x02\x08\x01",
    b"\x20\x04",
    b"\x28\x04",
    b"\x35\xd8\xea\x82\xa2",
    b"\x3a\x04\x0a\x02\x10\x01",
    b"\x3a\x02\x0a\x00",
    b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x12\x0a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    *(suffix.encode() for suffix in embedding.SUFFIXES),
    b"/part_0",
    framing.SEPARATOR,
    framing.SEPARATOR * 2,
)
_STRING, _VARIANT = 7, 21
MENDED, TOGETHER, ON_DISK, EMBEDDINGS = 1, 2, 4, 8
_PREFIX = "m"
_FOLDER = tempfile.mkdtemp(prefix="kvarn-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def check(data: bytes) -> None:
    files = bundle_of(data)
    flags = data[0] if data else 0
    if flags & ON_DISK:
        for path, content in files.files.items():
            path = os.path.join(_FOLDER, path)
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)  # what lies under an old map stays
            with open(path, "wb") as file:
                file.write(content)
        reader = attempt(BundleReader, os.path.join(_FOLDER, _PREFIX))
    else:
        reader = attempt(BundleReader, _PREFIX, files)
    if reader is None:
        return
    with reader:
        if flags & TOGETHER:
            read_together(reader)
        elif flags & EMBEDDINGS:
            read_embeddings(reader)
            read_tables(reader)
        else:
            read_tensors(reader)


def read_together(reader: BundleReader) -> None:
    """All tensors at once, by copy and by view; where that goes well, each has the value it has alone."""
    names = attempt(reader.keys) or []
    for together in (attempt(reader.read), attempt(reader.views), attempt(reader.read, names[:2])):
        for name in list(together or {})[:6]:
            same(name, (together or {})[name], reader.lookup(name))
    for name in names[:2]:
        attempt(reader.view, name)
        attempt(reader.read_rows, name, 0, 1)


def bundle_of(data: bytes) -> MemoryFileSystem:
    """The files that an input stands for."""
    mend = bool(data and data[0] & MENDED)
    header, *records = framing.split(data[1:])
    files = bytearray(records.pop() if records else b"")
    table = {b"": header}
    owner: tuple[bytes, list[TensorSlice]] = (b"", [])
    for key, value in zip(records[::2], records[1::2], strict=False):
        if mend:
            try:
                entry = BundleEntry.parse(value)
            except DecodeError:
                pass
            else:
                if entry.slices:
                    owner = (key, list(entry.slices))
                else:
                    value = _mended_entry(value, entry, files)
        if not key and owner[1]:
            key = encode_slice_key(owner[0], owner[1].pop(0))
        table[key] = value
    fs = MemoryFileSystem()
    fs.files[index_filename(_PREFIX)] = bytearray(framing.table_of(table))
    try:
        shards = BundleHeader.parse(header).num_shards
    except DecodeError:
        shards = 1
    for shard in range(min(2, shards)):
        fs.files[data_filename(_PREFIX, shard, shards)] = files
    return fs


def _mended_entry(value: bytes, entry: BundleEntry, files: bytearray) -> bytes:
    """The entry with the checksum of the bytes that it names, string lengths included."""
    end = entry.offset + entry.size
    if end > len(files):
        return value
    if entry.dtype == _STRING:
        crc = _mend_strings(files, entry.offset, end, entry.num_elements)
    elif entry.dtype == _VARIANT:
        crc = _mend_variants(files, entry.offset, end, entry.num_elements)
    else:
        crc = crc32c(bytes(files[entry.offset : end]))
    if value[-5:-4] == b"\x35":
        value = value[:-5]
    return value + b"\x35" + encode_fixed32(mask(crc))


def _mend_strings(files: bytearray, position: int, end: int, count: int) -> int:
    lengths: list[int] = []
    try:
        for _ in range(min(count, end - position)):
            length, position = decode_varint(files, position)
            lengths.append(length)
    except DecodeError:
        return 0
    if position + 4 > end or (lengths and max(lengths) > 0xFFFFFFFF):
        return 0
    crc = crc32c(b"".join(map(encode_fixed32, lengths)))
    files[position : position + 4] = encode_fixed32(mask(crc))
    return crc32c(bytes(files[position:end]), crc)


def _mend_variants(files: bytearray, position: int, end: int, count: int) -> int:
    crc = 0
    try:
        for _ in range(min(count, end - position)):
            length, position = decode_varint(files, position)
            stop = position + length
            if stop + 4 > end:
                break
            crc = crc32c(bytes(files[position:stop]), crc32c(length.to_bytes(8, "little"), crc))
            files[stop : stop + 4] = encode_fixed32(mask(crc))
            crc = crc32c(bytes(files[stop : stop + 4]), crc)
            position = stop + 4
    except DecodeError:
        pass
    return crc


def seeds() -> Iterator[bytes]:
    for prefix in goldens.small_prefixes(1100):
        try:
            with BundleReader(prefix) as reader:
                shards = reader.header.num_shards
            table = Table(MemoryReadFile("t", Path(index_filename(prefix)).read_bytes()))
            records = list(table.items())
            content = b"".join(
                Path(data_filename(prefix, shard, shards)).read_bytes() for shard in range(shards)
            )
        except Exception:
            continue  # a damaged one
        parts = [records[0][1]]
        for key, value in records[1:]:
            parts += (key, value)
        for mend in (b"\0", b"\1", b"\3", b"\7", b"\11"):
            yield mend + framing.join([*parts, content])
    header = BundleHeader().serialize()
    yield b"\1" + framing.join([header, b"w", BundleEntry(1, (2, 1), size=8).serialize(), b"abcdefgh"])
    for number in (2, 7, 10, 14, 18, 19, 24, 29, 30):
        yield b"\1" + framing.join(
            [header, b"w", BundleEntry(number, (2,), size=8).serialize(), b"\2\2....ab" * 4]
        )
    pieces = [TensorSlice(((0, 1), (0, 2))), TensorSlice(((1, 2), (0, 2)))]
    whole = BundleEntry(1, (3, 2), slices=pieces).serialize()
    one, two = BundleEntry(1, (1, 2), size=8), BundleEntry(1, (2, 2), offset=8, size=16)
    yield b"\1" + framing.join(
        [header, b"w", whole, b"", one.serialize(), b"", two.serialize(), bytes(range(24))]
    )
    yield b"\1" + framing.join([header, *_small_embedding()])
    big_endian = BundleHeader(endianness=1).serialize()
    yield b"\3" + framing.join([header, *_small_embedding()])
    yield b"\11" + framing.join([header, *_small_embedding()])
    yield b"\7" + framing.join([header, *_small_embedding()])
    yield b"\11" + framing.join([big_endian, *_small_embedding()])


def _small_embedding() -> list[bytes]:
    columns = {
        embedding.KEYS: np.array([1, 1001], np.int64),
        embedding.VALUES: np.ones((2, 1), np.float32),
        embedding.VERSIONS: np.zeros(0, np.int64),
        embedding.FREQS: np.array([1, 2], np.int64),
        embedding.KEYS_FILTERED: np.array([7], np.int64),
        embedding.VERSIONS_FILTERED: np.zeros(0, np.int64),
        embedding.FREQS_FILTERED: np.array([1], np.int64),
    }
    numbers = {"float32": 1, "int64": 9}
    parts: list[bytes] = []
    content = b""
    for suffix, column in columns.items():
        entry = BundleEntry(numbers[column.dtype.name], column.shape, 0, len(content), column.nbytes)
        parts += (f"b{suffix}".encode(), entry.serialize())
        content += column.tobytes()
    return [*parts, content]
