"""The table container: opened, listed, searched, and its blocks by the native parser and by the one in Python.

byte 0      what the rest is: a file as it is; a file whose checksums are made right; blocks
blocks      parts, each a type byte and the stored content of a data block
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from fuzz import framing, goldens
from fuzz.contract import Broken, agree, attempt
from kvarn.formats.coding import DecodeError
from kvarn.formats.table.block import Block
from kvarn.formats.table.reader import Table
from kvarn.formats.table.reference import parse_block
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
        blocks = framing.split(rest)
        for block in blocks:
            check_block(block[1:])
        rest = framing.table_of_blocks(blocks)
    elif mode == BLOCKS_AND_INDEX:
        *blocks, index = framing.split(rest)
        rest = framing.table_of_blocks(blocks, index)
    read_table(rest)


def check_block(content: bytes) -> None:
    """The same entries, or the same refusal, from both parsers."""
    answers: list[object] = []
    for parse in (parse_block, _native_block):
        try:
            answers.append(parse(content))
        except DecodeError as error:
            answers.append(str(error))
    agree("block", *answers)


def _native_block(content: bytes) -> tuple[list[bytes], list[bytes]]:
    block = Block(content)
    return block.keys, block.values


def read_table(content: bytes) -> None:
    """Everything a table can be asked for."""
    table = attempt(Table, MemoryReadFile("t", content))
    if table is None:
        return
    found = attempt(lambda: list(table.items())) or []
    if any(one[0] >= other[0] for one, other in itertools.pairwise(found)):
        raise Broken("the keys do not ascend")
    for key, value in found[:6]:
        agree(f"find({key!r})", attempt(table.find, key), value)
    attempt(table.find, b"")
    attempt(table.find, b"\xff")
    agree("records", attempt(lambda: [*zip(*table.records(), strict=True)]) or [], found)
    agree("iterated", attempt(walk, table) or [], found)


def walk(table: Table) -> list[tuple[bytes, bytes]]:
    """The entries by iterator, which finds each of them again."""
    found: list[tuple[bytes, bytes]] = []
    at, again = table.iterator(), table.iterator()
    at.seek_to_first()
    while at.valid:
        found.append((at.key, at.value))
        if len(found) < 4:
            again.seek(at.key)
            agree("seek", (again.key, again.value), found[-1])
        at.next()
    return found


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
