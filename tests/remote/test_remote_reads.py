"""Whatever is read of an object, in whatever order and by however many, is what stands there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from kvarn.io import remote

CONTENT = random.Random(1).randbytes(5000)


@pytest.fixture(scope="module", autouse=True)
def small_windows() -> Iterator[None]:
    """Sizes at which five thousand bytes are a large object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_FIRST_WINDOW_BYTES", 16)
        patch.setattr(remote, "_DIRECT_BYTES", 300)
        patch.setattr(remote, "_PART_BYTES", 500)
        yield


def opened(content: bytes) -> remote.RemoteReadFile:
    store = MemoryStore()
    obstore.put(store, "f", content)
    return remote.RemoteReadFile(store, "memory://f", "f")


places = st.tuples(st.integers(0, 5100), st.one_of(st.integers(0, 40), st.integers(0, 5200)))


@settings(max_examples=150, deadline=None)
@given(
    size=st.one_of(st.just(5000), st.integers(0, 40)),
    reads=st.lists(places, max_size=12),
    in_turn=st.booleans(),
)
def test_any_reads(size: int, reads: list[tuple[int, int]], in_turn: bool) -> None:
    content = CONTENT[:size]
    file = opened(content)
    at = 0
    for offset, length in reads:
        start = at if in_turn else offset
        assert file.read(start, length) == content[start : start + length]
        at = start + length
    targets = [memoryview(bytearray(length)) for _, length in reads]
    counts = file.read_many([offset for offset, _ in reads], targets)
    for (offset, length), target, count in zip(reads, targets, counts, strict=True):
        assert target[:count] == content[offset : offset + length]
        assert count == len(content[offset : offset + length])
    file.close()


def test_many_readers_of_one_file() -> None:
    file = opened(CONTENT)

    def read_all(seed: int) -> bool:
        rng = random.Random(seed)
        if seed % 2:
            return b"".join(file.read(at, 7) for at in range(0, 5000, 7)) == CONTENT
        offsets = [rng.randrange(5000) for _ in range(300)]
        return all(file.read(at, 90) == CONTENT[at : at + 90] for at in offsets)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read_all, range(12)))
