"""Manifests of chains: read, written again, and taken for the manifest of a checkpoint in a folder."""

from __future__ import annotations

import functools
import hashlib
import json  # the parser's, read later: instrumented now
from collections.abc import Iterator

from fuzz.contract import agree, attempt
from kvarn.checkpoint.chain import Chain
from kvarn.formats import manifest
from kvarn.formats.manifest import FULL, INCREMENT, Manifest, Parent, RowCounts, VariableCounts
from kvarn.io import MemoryFileSystem

LONGEST = 1500
WORDS = (
    b'"chain"',
    b'"number"',
    b'"kind"',
    b'"full"',
    b'"increment"',
    b'"cumulative"',
    b'"parent"',
    b'"steps"',
    b'"index_digest"',
    b'"variables"',
    b'"rows"',
    b'"keeps"',
    b'"digest"',
    b"true",
    b"null",
    b"-1",
    b"1e5",
    b"NaN",
    b"\\ud800",
    b"9223372036854775808",
)


def check(data: bytes) -> None:
    for attempted in (data, _signed(data)):
        found = attempt(manifest.parse_manifest, attempted)
        if found is not None:
            agree("read again", manifest.parse_manifest(found.serialize()), found)
        fs = MemoryFileSystem()
        fs.make_directory("d")
        fs.files["d/m-1.kvarn_manifest"] = bytearray(attempted)
        chain = attempt(Chain.open, "d", fs)
        if chain is not None:
            attempt(chain.path)
            attempt(functools.partial(chain.at, None, "out", output_fs=fs))


def _signed(data: bytes) -> bytes:
    """The same with the digest that it should have: what is behind the digest is looked at too."""
    try:
        document = json.loads(data)
        del document["digest"]
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        document["digest"] = hashlib.sha256(text.encode()).hexdigest()
        return json.dumps(document).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return data


def seeds() -> Iterator[bytes]:
    full = Manifest("0" * 32, 1, FULL, False, None, (None, 100), "a" * 64, {"b": VariableCounts(3)})
    yield full.serialize()
    counts = VariableCounts(12, 1, 3, ("freqs", "versions"), {"admitted": 40, "evicted_age": 3})
    yield Manifest(
        "0123456789abcdef" * 2,
        4,
        INCREMENT,
        True,
        Parent(1, FULL, 300, "c" * 64),
        (300, 400),
        "b" * 64,
        {"b/part_0": counts, "b/part_0/Adagrad": VariableCounts(12)},
        {"w/part_1": RowCounts("w", "20 3 10,10:-", 5)},
    ).serialize()
