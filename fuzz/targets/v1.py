"""V1 checkpoints: tables that are sound, with any records.

    parts       value of the first record | key | value | key | value | …
                a key `NEXT_SHARD` begins another table, with the value of its first record behind it

A record whose key is empty gets the key of the slice that its value names.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz import framing, goldens
from fuzz.contract import attempt
from fuzz.reading import read_tensors
from kvarn.errors import OpError
from kvarn.formats.coding import DecodeError
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.slices_v1 import TensorSliceReader
from kvarn.formats.slices_v1.format import parse_record
from kvarn.formats.table.reader import Table
from kvarn.io import MemoryFileSystem
from kvarn.io.memory import MemoryReadFile

LONGEST = 1000
NEXT_SHARD = b"|"
WORDS = (
    b"\x12\x02\x08\x01",
    b"\x1a\x00",
    b"\x0a\x00",
    b"\x0a\x02\x10\x01",
    b"\x0a\x04\x08\x01\x10\x01",
    b"\x18\x01",
    b"\x18\x07",
    b"\x18\x09",
    b"\x18\x13",
    b"\x2a\x04\x00\x00\x80\x3f",
    b"\x3a\x01\x07",
    b"\x42\x01s",
    b"\x52\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x12\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    framing.SEPARATOR,
    framing.SEPARATOR * 2,
    framing.SEPARATOR + NEXT_SHARD + framing.SEPARATOR,
)


def check(data: bytes) -> None:
    fs = checkpoint_of(data)
    reader = attempt(TensorSliceReader, "m", fs)
    if reader is not None:
        with reader:
            read_tensors(reader)
            names = reader.keys()
    if reader is not None and len(fs.files) > 1:
        lazy = attempt(lambda: TensorSliceReader("m", fs, preferred_shard=1))
        if lazy is not None:
            with lazy:
                for name in names[:4]:
                    attempt(lazy.lookup, name)


def checkpoint_of(data: bytes) -> MemoryFileSystem:
    """The files that an input stands for."""
    tables: list[dict[bytes, bytes]] = [{}]
    parts = [b"", *framing.split(data)]
    for key, value in zip(parts[::2], parts[1::2], strict=False):
        table = tables[-1]
        if key == NEXT_SHARD:
            tables.append({b"": value})
        elif key or not table:
            table[key] = value
        else:
            try:
                name, piece, _ = parse_record(memoryview(value))
                table[encode_slice_key(name, piece)] = value
            except (DecodeError, OverflowError):
                table[b"\0"] = value
    fs = MemoryFileSystem()
    for number, table in enumerate(tables):
        path = "m" if len(tables) == 1 else f"m-{number:05d}-of-{len(tables):05d}"
        fs.files[path] = bytearray(framing.table_of(table))
    return fs


def seeds() -> Iterator[bytes]:
    folders = [path for path in goldens.ROOT.rglob("v1_*") if path.is_dir()]
    for folder in sorted(folders):
        paths = [path for path in sorted(folder.iterdir()) if path.suffix not in (".json", ".npz", ".meta")]
        tables = [_records(path.read_bytes()) for path in paths if path.name != "checkpoint"]
        if tables and all(tables) and sum(len(b"".join(table)) for table in tables) < 1000:
            parts: list[bytes] = []
            for number, table in enumerate(tables):
                parts += table[1:] if number == 0 else [NEXT_SHARD, *table[1:]]
            yield framing.join(parts)
            yield framing.join(parts[:1] + [b"" if at % 2 == 0 else p for at, p in enumerate(parts[1:])])
    yield from _small_tensors()


def _records(table: bytes) -> list[bytes]:
    try:
        return [part for item in Table(MemoryReadFile("t", table)).items() for part in item]
    except OpError:
        return []  # a damaged one, or another file


def _small_tensors() -> Iterator[bytes]:
    """One tensor of two values of each type, whole."""
    from kvarn import protos

    fields = {
        1: "float_val", 2: "double_val", 3: "int_val", 4: "int_val", 5: "int_val", 6: "int_val", 7: "string_val",
        9: "int64_val", 10: "bool_val", 17: "int_val", 19: "half_val",
    }  # fmt: skip
    for number, field in fields.items():
        meta = protos.SavedTensorSlices()
        tensor = meta.meta.tensor.add(name="w", type=number)
        tensor.shape.dim.add(size=2)
        tensor.slice.add().extent.add()
        record = protos.SavedTensorSlices()
        record.data.name = "w"
        record.data.slice.extent.add()
        getattr(record.data.data, field).extend([b"a", b"bc"] if number == 7 else [1, 0])
        yield framing.join([meta.SerializeToString(), b"", record.SerializeToString()])
    for number, field in ((8, "scomplex_val"), (18, "dcomplex_val")):
        meta = protos.SavedTensorSlices()
        tensor = meta.meta.tensor.add(name="w", type=number)
        tensor.shape.dim.add(size=2)
        pieces = []
        for start in range(2):
            extent = tensor.slice.add().extent.add(start=start, length=1)
            record = protos.SavedTensorSlices()
            record.data.name = "w"
            record.data.slice.extent.add().CopyFrom(extent)
            getattr(record.data.data, field).extend([1, 2])
            pieces.append(record.SerializeToString())
        yield framing.join([meta.SerializeToString(), b"", pieces[0], NEXT_SHARD, meta.SerializeToString()])
        yield framing.join([meta.SerializeToString(), b"", pieces[0], b"", pieces[1]])
