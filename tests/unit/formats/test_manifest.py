"""Manifests: what is written is read again, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvarn.errors import DataLossError, NotFoundError
from kvarn.formats.manifest import (
    FULL,
    INCREMENT,
    Manifest,
    Parent,
    RowCounts,
    VariableCounts,
    manifest_filename,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from kvarn.io import MemoryFileSystem

MANIFEST = Manifest(
    "0123456789abcdef" * 2,
    4,
    INCREMENT,
    True,
    Parent(1, FULL, 300, "a" * 64),
    (300, 400),
    "b" * 64,
    {"b/part_0": VariableCounts(12, 1, 3, ("freqs",), {"admitted": 40, "evicted_age": 3})},
    {"w/part_1": RowCounts("w", "20 3 10,10:-", 5)},
)


def signed(document: dict[str, Any]) -> bytes:
    """A document with the digest that it should have."""
    document = {name: value for name, value in document.items() if name != "digest"}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return json.dumps({**document, "digest": hashlib.sha256(text.encode()).hexdigest()}).encode()


def changed(**members: Any) -> bytes:
    return signed({**json.loads(MANIFEST.serialize()), **members})


def test_what_was_written_is_read_and_has_the_digest_of_its_bytes() -> None:
    fs = MemoryFileSystem()
    fs.make_directory("d")
    digest = write_manifest("d/m-4", MANIFEST, fs)
    assert read_manifest("d/m-4", fs) == (MANIFEST, digest)
    assert digest == hashlib.sha256(bytes(fs.files[manifest_filename("d/m-4")])).hexdigest()
    assert list(fs.files) == ["d/m-4.kvarn_manifest"]
    with pytest.raises(NotFoundError):
        read_manifest("d/m-5", fs)


def test_the_layout_of_the_json_text_does_not_matter() -> None:
    assert parse_manifest(signed(json.loads(MANIFEST.serialize()))) == MANIFEST


steps = st.none() | st.integers(0, 2**63 - 1)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
counts = st.integers(0, 2**63 - 1)


@given(
    chain=st.text("0123456789abcdef", min_size=32, max_size=32),
    number=st.integers(2, 2**63 - 1),
    kind=st.sampled_from([FULL, INCREMENT]),
    cumulative=st.booleans(),
    step=steps,
    first=steps,
    last=steps,
    variables=st.dictionaries(
        names,
        st.builds(
            VariableCounts,
            counts,
            counts,
            counts,
            st.sampled_from([(), ("freqs",), ("versions",), ("freqs", "versions")]),
            st.dictionaries(names, counts, max_size=3),
        ),
    ),
    rows=st.dictionaries(names, st.builds(RowCounts, names, names, counts), max_size=3),
)
def test_any_manifest_comes_back(chain, number, kind, cumulative, step, first, last, variables, rows) -> None:
    manifest = Manifest(
        chain,
        number,
        kind,
        cumulative,
        Parent(number - 1, FULL, step, "c" * 64),
        (first, last),
        "d" * 64,
        variables,
        rows,
    )
    assert parse_manifest(manifest.serialize()) == manifest


def test_names_that_are_no_utf8_come_back() -> None:
    odd = dataclasses.replace(MANIFEST, variables={"b\udcff": VariableCounts(1)})
    assert parse_manifest(odd.serialize()) == odd


@given(at=st.integers(0, len(MANIFEST.serialize()) - 1), mask=st.integers(1, 255))
def test_a_changed_byte_is_found_or_changes_nothing(at: int, mask: int) -> None:
    data = bytearray(MANIFEST.serialize())
    data[at] ^= mask
    with contextlib.suppress(DataLossError):
        assert parse_manifest(bytes(data)) == MANIFEST  # white space became other white space


@given(length=st.integers(0, len(MANIFEST.serialize()) - 3))
def test_a_manifest_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(DataLossError):
        parse_manifest(MANIFEST.serialize()[:length])


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"format": "safetensors"}, "format"),
        ({"version": 2}, "version 1"),
        ({"version": True}, "version 1"),
        ({"more": 1}, "names of the members"),
        ({"chain": "0" * 31}, "chain"),
        ({"chain": "Z" * 32}, "chain"),
        ({"chain": "0" * 32 + "\n"}, "chain"),
        ({"number": 0}, "number"),
        ({"number": True}, "number"),
        ({"number": 2**63}, "number"),
        ({"number": "4"}, "number"),
        ({"number": 1}, "parent"),
        ({"kind": "half"}, "kind"),
        ({"kind": ["full"]}, "kind"),
        ({"cumulative": 1}, "cumulative"),
        ({"parent": None}, "parent"),
        ({"parent": []}, "parent"),
        ({"parent": {"number": 1, "kind": "full", "step": 0, "digest": "x"}}, "parent"),
        ({"steps": [1]}, "steps"),
        ({"steps": [1, "2"]}, "steps"),
        ({"index_digest": ""}, "index_digest"),
        ({"variables": []}, "variables"),
        ({"variables": {"b": {}}}, "variables of 'b'"),
        (
            {"variables": {"b": {"upserts": -1, "filtered": 0, "deletions": 0, "keeps": [], "counters": {}}}},
            "variables of 'b'",
        ),
        (
            {"variables": {"b": {"upserts": 0, "filtered": 0, "deletions": 0, "keeps": "", "counters": {}}}},
            "variables of 'b'",
        ),
        ({"rows": {"w": {"tensor": 1, "slice": "", "upserts": 0}}}, "rows of 'w'"),
    ],
)
def test_members_that_cannot_be_are_named(members: dict[str, Any], said: str) -> None:
    with pytest.raises(DataLossError, match=said):
        parse_manifest(changed(**members))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{" * 100_000,
        b"\xff\xfe",
        b'{"format": "kvarn manifest", "format": "kvarn manifest"}',
        b'{"format": "kvarn manifest", "version": 1, "number": 1e5}',
        b'{"format": "kvarn manifest", "version": 1, "number": NaN}',
        b'{"number": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(DataLossError):
        parse_manifest(data)


def test_a_file_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from kvarn.formats import manifest

    fs = MemoryFileSystem()
    write_manifest("m", MANIFEST, fs)
    monkeypatch.setattr(manifest, "LONGEST_BYTES", 100)
    with pytest.raises(DataLossError, match="more than 100"):
        read_manifest("m", fs)
