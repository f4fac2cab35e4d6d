"""Records of a V2 index, as native/fuzz/fuzz_bundle_entry.cc has them: the whole input is a BundleEntryProto."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.targets import entry
from fuzz.targets.entry import LONGEST, WORDS

__all__ = ["LONGEST", "WORDS", "check", "seeds"]

check = entry.check_entry


def seeds() -> Iterator[bytes]:
    return (seed[1:] for seed in entry.seeds() if seed[0])
