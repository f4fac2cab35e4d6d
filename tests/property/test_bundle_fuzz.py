"""Damaged bytes give an error of kvarn or the right values: no crash, no hang, no other answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn.errors import OpError
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.bundle.entry import BundleEntry, BundleHeader
from kvarn.formats.coding import DecodeError
from kvarn.formats.table.block import Block
from kvarn.formats.table.builder import TableBuilder
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem

VALUES = {
    "f": np.arange(20, dtype=np.float32).reshape(4, 5),
    "s": np.array([b"ab", b"", "é".encode()], object),
    "p": np.arange(12, dtype=np.int64).reshape(4, 3),
}


def save(fs: MemoryFileSystem) -> None:
    with BundleWriter("m", fs) as writer:
        writer.add("f", VALUES["f"])
        writer.add("s", VALUES["s"])
        writer.add_slice("p", (4, 3), TensorSlice.parse("0,3:-"), VALUES["p"][:3])
        writer.add_slice("p", (4, 3), TensorSlice.parse("3,1:-"), VALUES["p"][3:])


def files() -> dict[str, bytes]:
    fs = MemoryFileSystem()
    save(fs)
    return {path: bytes(content) for path, content in fs.files.items()}


WHOLE = files()
PATHS = sorted(WHOLE)


def check(contents: dict[str, bytes]) -> None:
    fs = MemoryFileSystem()
    fs.files = {path: bytearray(content) for path, content in contents.items()}
    try:
        reader = BundleReader("m", fs)
        names = reader.keys()
    except OpError:
        return
    for name in names:
        try:
            found = reader.lookup(name)
        except OpError:
            continue
        assert np.array_equal(found, VALUES[name])


@settings(deadline=None)
@given(path=st.sampled_from(PATHS), data=st.data())
def test_flipped_bits(path: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[path])
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    check({**WHOLE, path: bytes(content)})


@settings(deadline=None)
@given(path=st.sampled_from(PATHS), data=st.data())
def test_cut_and_grown_files(path: str, data: st.DataObject) -> None:
    content = WHOLE[path]
    cut = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=60))
    check({**WHOLE, path: cut})


@pytest.mark.parametrize("path", PATHS)
def test_every_single_byte(path: str) -> None:
    for at in range(len(WHOLE[path])):
        content = bytearray(WHOLE[path])
        content[at] ^= 0xFF
        check({**WHOLE, path: bytes(content)})


@settings(deadline=None)
@given(key=st.sampled_from(["", "f", "s", "p"]), value=st.binary(max_size=40))
def test_records_that_only_the_checksum_vouches_for(key: str, value: bytes) -> None:
    """A hostile index: the tables are sound, a record in them is not."""
    fs = MemoryFileSystem()
    fs.files = {path: bytearray(content) for path, content in WHOLE.items()}
    with BundleReader("m", fs) as reader:
        records = {k: e.serialize() for k, e in reader.records()}
    records[b""] = BundleHeader().serialize()
    records[key.encode()] = value
    file = fs.open_write("m.index")
    builder = TableBuilder(file.append)
    for k in sorted(records):
        builder.add(k, records[k])
    builder.finish()
    try:
        reader = BundleReader("m", fs)
        names = reader.keys()
        for name in names:
            found = reader.lookup(name)
            if name != key and name in VALUES:
                assert np.array_equal(found, VALUES[name])
    except OpError:
        pass


@settings(deadline=None)
@given(data=st.binary(max_size=80))
def test_any_bytes_as_a_block_or_a_record(data: bytes) -> None:
    for parse in (Block, BundleEntry.parse, BundleHeader.parse):
        try:
            parse(data)
        except DecodeError:
            continue


def test_a_size_beyond_the_file_takes_no_memory() -> None:
    fs = MemoryFileSystem()
    save(fs)
    huge = BundleEntry(1, (1 << 40,), 0, 0, 4 << 40, 0)
    file = fs.open_write("m.index")
    builder = TableBuilder(file.append)
    builder.add(b"", BundleHeader().serialize())
    builder.add(b"f", huge.serialize())
    builder.finish()
    with pytest.raises(OpError, match="Read less bytes than requested"):
        BundleReader("m", fs).lookup("f")
