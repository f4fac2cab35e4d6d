"""Embedding variables whose tensors were tampered with at random: what comes out fits, and tells no lies."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn import errors
from kvarn.checkpoint.verbs.repair import repair
from kvarn.checkpoint.verbs.reshard import reshard
from kvarn.checkpoint.verbs.verify import verify
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding import bucket_order
from kvarn.io import MemoryFileSystem

FILL = 0.5


def stems(parts: int, slot: str) -> list[str]:
    return [f"b/part_{part}{slot}" for part in range(parts)] or ["b" + slot]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[int, dict[str, np.ndarray]]:
    """Parts, and tensors in which rows are lost, added, twice there, or in a part that is not theirs."""
    parts = draw(st.integers(0, 3))
    keys = draw(st.lists(st.integers(-2000, 2000), unique=True, max_size=20))
    random = np.random.RandomState(draw(st.integers(0, 2**31)))
    harm = draw(st.sampled_from([0.0, 0.1, 0.5]))
    tensors: dict[str, np.ndarray] = {"w": np.arange(3)}
    for slot in ("", "/Adagrad", "/Adam"):
        homes: list[list[int]] = [[] for _ in range(max(1, parts))]
        for key in keys:
            for _ in range(random.choice([1, 0, 2], p=[1 - harm, harm / 2, harm / 2])):
                stray = random.random_sample() < harm / 2
                homes[random.randint(len(homes)) if stray else key % 1000 % len(homes)].append(key)
        for stem, own in zip(stems(parts, slot), homes, strict=True):
            array = random.permutation(np.array(own, np.int64))
            if random.random_sample() >= harm:
                array = array[bucket_order(array)[0]]
            offset = bucket_order(array)[1]
            tensors[stem + "-keys"] = array
            tensors[stem + "-values"] = np.stack([array, array + len(slot)], 1).astype(np.float32)
            tensors[stem + "-versions"] = array if random.random_sample() >= harm else array[1:]
            tensors[stem + "-freqs"] = array + 7
            tensors[stem + "-partition_offset"] = (
                offset if random.random_sample() >= harm else random.permutation(offset)
            )
    return parts, tensors


@settings(max_examples=60, deadline=None)
@given(damaged(), st.sampled_from(["fill", "drop"]))
def test_what_comes_out_fits(case: tuple[int, dict[str, np.ndarray]], missing: str) -> None:
    parts, tensors = case
    fs = MemoryFileSystem()
    with BundleWriter("a", fs) as writer:
        for name, value in tensors.items():
            writer.add(name, value)
    report = repair("a", "c", missing=missing, slot_init=FILL, fs=fs)  # type: ignore[arg-type]
    assert not [finding for finding in verify("c", fs=fs).findings if finding.broken]
    sets = {
        slot: set(np.concatenate([tensors[stem + "-keys"] for stem in stems(parts, slot)]).tolist())
        for slot in ("", "/Adagrad", "/Adam")
    }
    expected = sets[""] if missing == "fill" else sets[""] & sets["/Adagrad"] & sets["/Adam"]
    with BundleReader("c", fs) as reader:
        assert reader.lookup("w").tolist() == [0, 1, 2]
        for slot, had in sets.items():
            found: list[int] = []
            for stem in stems(parts, slot):
                keys = reader.lookup(stem + "-keys")
                values = reader.lookup(stem + "-values")
                freqs = reader.lookup(stem + "-freqs")
                for at, key in enumerate(keys.tolist()):
                    row = [key, key + len(slot)] if key in had else [FILL, FILL]
                    assert values[at].tolist() == row
                    assert not len(freqs) or freqs[at] == (key + 7 if key in had else 1)
                found += keys.tolist()
            assert sorted(found) == sorted(expected)
    if not report.changed and not report.left_out:
        assert fs.files["c.index"]
        assert len(report.kept) == len(tensors)
    reshard("c", "d", partitions={"b": 2} if parts != 2 else 3, fs=fs)
    try:
        reshard("a", "e", partitions={"b": 2} if parts != 2 else 3, fs=fs)
    except errors.DataLossError:
        assert report.changed or report.left_out
