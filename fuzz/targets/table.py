"""The table container: opened, listed, searched.

byte 0      what the rest is: a file as it is; a file whose checksums are made right; blocks
blocks      parts, each a type byte and the stored content of a data block
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from fuzz import framing, goldens
from fuzz.contract import Broken, agree, attempt
from kvarn.formats.table.reader import TableReader
from kvarn.io.memory import MemoryReadFile

AS_IS, MENDED, BLOCKS, BLOCKS_AND_INDEX = range(4)
LONGEST = 2048
WORDS = (
    b"\x00\x00\x00\x00\x01\x00\x00\x00",
    bytes.fromhex("57fb808b247547db"),
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\x0f",
    framing.SEPARATOR,
)


def check(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    mode = kind[0] % 4 if kind else AS_IS
    if mode == MENDED:
        rest = framing.mended(rest)
    elif mode == BLOCKS:
        rest = framing.table_of_blocks(framing.split(rest))
    elif mode == BLOCKS_AND_INDEX:
        *blocks, index = framing.split(rest)
        rest = framing.table_of_blocks(blocks, index)
    read_table(rest)


def read_table(content: bytes) -> None:
    """Everything a table can be asked for."""
    table = attempt(TableReader, MemoryReadFile("t", content))
    if table is None:
        return
    found = attempt(lambda: list(table.items())) or []
    if any(one[0] >= other[0] for one, other in itertools.pairwise(found)):
        raise Broken("the keys do not ascend")
    for key, value in found[:6]:
        agree(f"find({key!r})", attempt(table.find, key), value)
    attempt(table.find, b"")
    attempt(table.find, b"\xff")


def seeds() -> Iterator[bytes]:
    for index in goldens.small_files("*.index", 1500):
        yield bytes([AS_IS]) + index
        yield bytes([MENDED]) + index
    block = b"\x00" + b"\x00\x01\x01aA\x01\x01\x01bB" + bytes(4) + b"\x01\0\0\0"
    snappy = b"\x01" + b"\x0c" + bytes([11 << 2]) + b"\x00\x01\x01aA" + bytes(3) + b"\x01\0\0\0"
    yield bytes([BLOCKS]) + framing.join([block, block.replace(b"a", b"c"), snappy])
    yield bytes([BLOCKS_AND_INDEX]) + framing.join(
        [block, b"\x00\x01\x02c\x00\x12" + bytes(4) + b"\x01\0\0\0"]
    )
