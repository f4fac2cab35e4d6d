"""Tables: TensorFlow's worked example, separators, block ends, and what damage is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvarn import errors
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.table.builder import TableBuilder
from kvarn.formats.table.format import FOOTER_BYTES, MAGIC, Footer
from kvarn.formats.table.reader import Table
from kvarn.io import MemoryFileSystem

EXAMPLE = """
00 00 06 08 01 1a 02 08 01 00 01 13 77 08 01 12 08 12 02 08 01 12 02 08 03 28 0c 35 73 5b 89 71
00 00 00 00 01 00 00 00 00 d1 5f 43 1e 00 00 00 00 01 00 00 00 00 c0 f2 a1 b0
00 01 02 78 00 28 00 00 00 00 01 00 00 00 00 94 79 82 84 2d 08 3a 0e
"""


def test_index_of_one_tensor_has_tensorflows_bytes() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add_tensor_header("w", 1, (1, 3))
        writer.append_segment(b"\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40")
        writer.end_segment()
    start = bytes.fromhex(EXAMPLE)
    raw = bytes(fs.files["m.index"])
    assert raw[: len(start)] == start
    assert raw[len(start) :] == bytes(36) + MAGIC.to_bytes(8, "little")
    assert BundleReader("m", fs).lookup("w").tolist() == [[1.0, 2.0, 3.0]]


def build(entries: list[tuple[bytes, bytes]], **options: int) -> bytes:
    fs = MemoryFileSystem()
    builder = TableBuilder(fs.open_write("t").append, **options)
    for key, value in entries:
        builder.add(key, value)
    builder.finish()
    return bytes(fs.files["t"])


def index_keys(raw: bytes) -> list[bytes]:
    fs = MemoryFileSystem()
    fs.files["t"] = bytearray(raw)
    return Table(fs.open_read("t"))._separators


@pytest.mark.parametrize(
    ("first", "second", "separator"),
    [
        (b"abcd", b"abzz", b"abd"),
        (b"abc", b"abd", b"abc"),
        (b"ab", b"abc", b"ab"),
        (b"a\xff", b"b", b"a\xff"),
        (b"a\xffx", b"c", b"b"),
    ],
)
def test_separators_are_short(first: bytes, second: bytes, separator: bytes) -> None:
    assert index_keys(build([(first, b""), (second, b"")], block_bytes=1))[0] == separator


@pytest.mark.parametrize(
    ("last", "successor"), [(b"w", b"x"), (b"abc", b"b"), (b"\xff\x01", b"\xff\x02"), (b"\xff", b"\xff")]
)
def test_the_last_key_gets_a_successor(last: bytes, successor: bytes) -> None:
    assert index_keys(build([(last, b"")])) == [successor]


def test_a_huge_entry_stands_alone() -> None:
    entries = [(b"a", b"1"), (b"b", b"x" * 200), (b"c", b"3")]
    assert len(index_keys(build(entries, block_bytes=100))) == 3
    assert len(index_keys(build(entries, block_bytes=150))) == 2


def test_keys_must_ascend() -> None:
    with pytest.raises(ValueError, match="ascend"):
        build([(b"b", b""), (b"a", b"")])
    with pytest.raises(ValueError, match="ascend"):
        build([(b"a", b""), (b"a", b"")])


def test_an_empty_table() -> None:
    assert index_keys(build([])) == []


def test_errors_say_where(tmp_path: Path) -> None:
    raw = bytearray(build([(b"a", b"1")]))
    raw[3] ^= 1
    path = tmp_path / "t"
    path.write_bytes(raw)
    from kvarn.io import LOCAL

    with pytest.raises(errors.DataLossError) as caught:
        Table(LOCAL.open_read(str(path))).find(b"a")
    text = str(caught.value)
    assert text.startswith("block checksum mismatch\n")
    assert str(path) in text
    assert "stored 0x" in text
    assert (caught.value.path, caught.value.offset) == (str(path), 0)


def test_footers_round_trip() -> None:
    raw = build([(b"a", b"1")])[-FOOTER_BYTES:]
    assert Footer.decode(raw).encode() == raw
