"""The native parsers and builders against what they are specified by, in Python: same answers, same errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvarn import _native
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.bundle.entry import BundleEntry
from kvarn.formats.coding import DecodeError
from kvarn.formats.table.block import Block
from kvarn.formats.table.builder import BlockBuilder, TableBuilder, build_table
from kvarn.formats.table.reader import Table
from kvarn.formats.table.reference import parse_block
from kvarn.io import MemoryFileSystem
from kvarn.io.memory import MemoryReadFile

RECORDS = st.dictionaries(
    st.binary(max_size=12) | st.binary(max_size=3).map(lambda end: b"scope/block/" + end),
    st.binary(max_size=40) | st.binary(min_size=128, max_size=140),
    max_size=60,
)


def outcome(parse: Any, data: bytes) -> Any:
    try:
        return parse(data)
    except DecodeError as error:
        return str(error)


def native_block(data: bytes) -> tuple[list[bytes], list[bytes]]:
    block = Block(data)
    return block.keys, block.values


@settings(deadline=None)
@given(records=RECORDS, interval=st.integers(1, 20))
def test_blocks_are_parsed_alike(records: dict[bytes, bytes], interval: int) -> None:
    builder = BlockBuilder(interval)
    for key in sorted(records):
        builder.add(key, records[key])
    data = builder.finish()
    assert native_block(data) == parse_block(data) == (sorted(records), [records[k] for k in sorted(records)])


@settings(deadline=None, max_examples=300)
@given(
    records=RECORDS,
    interval=st.integers(1, 20),
    flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255))),
)
def test_damaged_blocks_are_refused_alike(
    records: dict[bytes, bytes], interval: int, flips: list[tuple[int, int]]
) -> None:
    builder = BlockBuilder(interval)
    for key in sorted(records):
        builder.add(key, records[key])
    data = bytearray(builder.finish())
    for at, value in flips:
        data[at % len(data)] = value
    assert outcome(native_block, bytes(data)) == outcome(parse_block, bytes(data))


RESTARTS = bytes([0, 0, 0, 0, 1, 0, 0, 0])


@settings(deadline=None, max_examples=500)
@given(data=st.binary(max_size=60), behind=st.sampled_from([b"", RESTARTS]))
@example(data=b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", behind=RESTARTS)
@example(data=b"\xff" * 12, behind=RESTARTS)
@example(data=b"\x00\x01\x00b\x00\x01\x00a", behind=RESTARTS)
@example(data=b"\x00\x80", behind=b"\x00\x00\x00\x00\x01\x00\x00\x00")
@example(data=b"\x00\x80\x08\x00" + b"k" * 1024 + b"\xff\x07\x00\x00" * 9, behind=RESTARTS)
def test_any_bytes_are_no_block_alike(data: bytes, behind: bytes) -> None:
    assert outcome(native_block, data + behind) == outcome(parse_block, data + behind)


def test_keys_that_share_much_are_refused_alike() -> None:
    data = b"\x00\x80\x08\x00" + b"k" * 1024 + b"".join(
        b"\xff\x07\x02\x00" + at.to_bytes(2, "big") for at in range(0x6C00, 0x7400)
    ) + RESTARTS  # fmt: skip
    assert outcome(native_block, data) == outcome(parse_block, data) == "keys share too much"


@settings(deadline=None)
@given(records=RECORDS, block_bytes=st.integers(1, 300), interval=st.integers(1, 20))
def test_tables_are_built_alike(records: dict[bytes, bytes], block_bytes: int, interval: int) -> None:
    content = bytearray()
    builder = TableBuilder(content.extend, block_bytes=block_bytes, restart_interval=interval)
    for key in sorted(records):
        builder.add(key, records[key])
    builder.finish()
    assert build_table(records, block_bytes=block_bytes, restart_interval=interval) == content


def test_a_table_needs_ascending_keys() -> None:
    with pytest.raises(ValueError, match="ascend"):
        _native.build_table([b"b", b"a"], [b"", b""], 100, 16)


@settings(deadline=None)
@given(records=RECORDS, block_bytes=st.integers(1, 300), wanted=st.binary(max_size=3))
def test_an_iterator_goes_from_any_key(records: dict[bytes, bytes], block_bytes: int, wanted: bytes) -> None:
    content = build_table(records, block_bytes=block_bytes)
    table = Table(MemoryReadFile("t", content))
    at = table.iterator()
    assert not at.valid
    for target in [wanted, b"", *records]:
        at.seek(target)
        found = {}
        while at.valid:
            found[at.key] = at.value
            at.next()
        assert list(found.items()) == sorted((k, v) for k, v in records.items() if k >= target)
    at.seek_to_first()
    assert at.valid == bool(records)
    assert table.records() == (sorted(records), [records[key] for key in sorted(records)])


NUMBERS = st.integers(0, 2**63 - 1) | st.integers(0, 300)


def columns_of(messages: list[bytes]) -> list[BundleEntry | None]:
    dtype, shape, elements, shard, offset, size, crc = _native.parse_entries(messages)
    assert all((s is None) == (n < 0) for s, n in zip(shape, elements.tolist(), strict=True))
    rows = zip(
        dtype.tolist(), shape, shard.tolist(), offset.tolist(), size.tolist(), crc.tolist(), strict=True
    )
    return [None if row[1] is None else BundleEntry(*row) for row in rows]


@settings(deadline=None)
@given(
    entries=st.lists(
        st.builds(
            BundleEntry,
            st.integers(1, 200),
            st.lists(st.integers(0, 2**12) | st.just(1), max_size=5).map(tuple),
            st.integers(0, 2**31 - 1),
            NUMBERS,
            NUMBERS,
            st.integers(0, 2**32 - 1),
        ),
        max_size=20,
    )
)
def test_plain_entries_are_parsed_alike(entries: list[BundleEntry]) -> None:
    assert columns_of([entry.serialize() for entry in entries]) == entries


@settings(deadline=None, max_examples=500)
@given(
    message=st.binary(max_size=40)
    | st.tuples(NUMBERS, NUMBERS, st.integers(0), st.integers(0, 255)).map(
        lambda t: (lambda raw: raw[: t[2] % len(raw)] + bytes([t[3]]) + raw[t[2] % len(raw) + 1 :])(
            BundleEntry(1, (2, 300), 1, t[0], t[1], 7).serialize()
        )
    )
)
def test_what_native_code_takes_for_an_entry_is_one(message: bytes) -> None:
    (found,) = columns_of([message])
    if found is not None:
        assert found == BundleEntry.parse(message)


PLAIN = ["f4", "f8", "i4", "u1", "i2", "i1", "c8", "i8", "?", "u2", "c16", "f2", "u4", "u8"]


@settings(deadline=None)
@given(
    tensors=st.lists(
        st.tuples(
            st.text(min_size=1, max_size=6),
            st.sampled_from([*PLAIN, ">f4", "S3", "O"]),
            st.lists(st.integers(0, 3), max_size=3).map(tuple),
            st.booleans(),
        ),
        max_size=12,
        unique_by=lambda tensor: tensor[0],
    ),
    alignment=st.sampled_from([1, 1, 8]),
)
def test_many_tensors_have_the_bytes_of_each_alone(
    tensors: list[tuple[str, str, tuple[int, ...], bool]], alignment: int
) -> None:
    made: dict[str, Any] = {}
    for name, kind, shape, turned in tensors:
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind)
        made[name] = array.T if turned else array
        if kind == "O":
            made[name] = np.full(shape, b"text", object)
    one, many = MemoryFileSystem(), MemoryFileSystem()
    with BundleWriter("m", one, data_alignment=alignment) as writer:
        for name, array in made.items():
            writer.add(name, array)
    with BundleWriter("m", many, data_alignment=alignment) as writer:
        writer.add_many(made)
    assert one.files == many.files
