"""Embedding variables and sliced tensors from any number of parts into any other, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn.checkpoint.embeddings import bucket_rows, moves
from kvarn.checkpoint.verbs import dense_cuts
from kvarn.checkpoint.verbs.reshard import reshard
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem

Rows = dict[int, tuple[bytes, ...]]


@dataclass
class Variable:
    """An embedding variable by key: what each has in the primary and its slots, as bytes."""

    key_dtype: Any
    families: dict[str, Rows] = field(default_factory=dict)
    filtered: dict[str, Rows] = field(default_factory=dict)


@contextlib.contextmanager
def pieces_of(size: int | None) -> Iterator[None]:
    """Chunks and windows of so many bytes, nothing held: the ways of large tensors on small ones."""
    if size is None:
        yield
        return
    with (
        mock.patch.object(bucket_rows, "_HELD_BYTES", -1),
        mock.patch.object(bucket_rows, "_WINDOW_BYTES", size),
        mock.patch.object(bucket_rows, "CHUNK_BYTES", size),
        mock.patch.object(moves, "CHUNK_BYTES", size),
        mock.patch.object(dense_cuts, "CHUNK_BYTES", size),
    ):
        yield


def stems(name: str, parts: int, slot: str) -> list[str]:
    tail = f"/{slot}" if slot else ""
    return [f"{name}/part_{part}{tail}" for part in range(parts)] or [name + tail]


def write(
    writer: BundleWriter, draw: st.DrawFn, name: str, keys: np.ndarray, parts: int, slots: list[str]
) -> None:
    """Rows drawn at random; every family in an order of its own."""
    random = np.random.RandomState(draw(st.integers(0, 2**31)))
    old_era, grouped = draw(st.booleans()), draw(st.booleans())
    with_freqs, with_versions = draw(st.booleans()), draw(st.booleans())
    cut = 0 if old_era else draw(st.integers(0, len(keys)))
    for slot in ["", *slots]:
        dim = draw(st.integers(1, 3)) if slot else 2
        for part, stem in enumerate(stems(name, parts, slot)):

            def mine(some: np.ndarray, part: int = part) -> np.ndarray:
                own = random.permutation(some[some % 1000 % max(1, parts) == part])
                return own[np.argsort(own % 1000, kind="stable")] if grouped or not old_era else own

            own, filtered = mine(keys[cut:]), mine(keys[:cut])
            columns = {
                "-keys": own,
                "-values": random.standard_normal((len(own), dim)).astype(np.float32),
                "-versions": random.randint(-1, 99, len(own) * with_versions),
                "-freqs": random.randint(1, 99, len(own) * with_freqs),
                "-keys_filtered": filtered,
                "-versions_filtered": random.randint(-1, 99, len(filtered) * with_versions),
                "-freqs_filtered": random.randint(1, 99, len(filtered)),
                "-partition_offset": offsets(own),
                "-partition_filter_offset": offsets(filtered),
            }
            for suffix in list(columns)[: 3 if old_era else None]:
                writer.add(stem + suffix, columns[suffix])


def offsets(keys: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(keys % 1000), np.arange(1001)).astype(np.int32)


def read(reader: BundleReader, name: str, parts: int, slots: list[str], *, strict: bool) -> Variable:
    """What the tensors say, key by key.

    Args:
      strict: hold the layout against the format: part, bucket and offsets of every key.
    """
    found = Variable(reader.lookup(stems(name, parts, "")[0] + "-keys").dtype)
    for slot in ["", *slots]:
        admitted, filtered = found.families.setdefault(slot, {}), found.filtered.setdefault(slot, {})
        for part, stem in enumerate(stems(name, parts, slot)):
            take(reader, stem, "", ("-values", "-versions", "-freqs"), admitted, part, parts, strict)
            take(reader, stem, "_filtered", ("-versions", "-freqs"), filtered, part, parts, strict)
    return found


def take(
    reader: BundleReader, stem: str, tail: str, others: tuple[str, ...], rows: Rows, part: int, parts: int,
    strict: bool,
) -> None:  # fmt: skip
    if not strict and not reader.contains(f"{stem}-keys{tail}"):
        return
    keys = reader.lookup(f"{stem}-keys{tail}")
    columns = []
    for other in others:
        name = stem + other + (tail if other != "-values" else "")
        column = reader.lookup(name) if strict or reader.contains(name) else np.empty(0, np.int64)
        assert len(column) in (0, len(keys))
        columns.append([row.tobytes() for row in column] or [b""] * len(keys))
    if strict:
        assert (keys % 1000 % max(1, parts) == part).all()
        assert (np.diff(keys % 1000) >= 0).all()
        offset = reader.lookup(f"{stem}-partition_{'filter_' if tail else ''}offset")
        assert offset.dtype == np.int32
        assert offset.tolist() == offsets(keys).tolist()
    for at, key in enumerate(keys.tolist()):
        assert key not in rows
        rows[key] = tuple(column[at] for column in columns)


def canonical(fs: MemoryFileSystem, prefix: str) -> dict[str, bytes]:
    """All tensors, the rows of embedding variables sorted by key inside their buckets."""
    with BundleReader(prefix, fs) as reader:
        found = {name: reader.lookup(name) for name, _ in reader.entries()}
    for name in list(found):
        for tail in ("", "_filtered"):
            if name.endswith("-keys" + tail):
                stem = name.removesuffix("-keys" + tail)
                order = np.lexsort((found[name], found[name] % 1000))
                columns = ["-values", "-versions", "-freqs"] if not tail else ["-versions", "-freqs"]
                for suffix in [*(c + tail for c in columns), "-keys" + tail]:
                    if len(found[stem + suffix]):
                        found[stem + suffix] = found[stem + suffix][order]
    return {name: f"{a.dtype}{a.shape}".encode() + a.tobytes() for name, a in found.items()}


def some_keys() -> st.SearchStrategy[np.ndarray]:
    def of(dtype: Any) -> st.SearchStrategy[np.ndarray]:
        info = np.iinfo(dtype)
        key = st.one_of(
            st.integers(info.min, info.max), st.integers(-30, 30), st.integers(0, 9).map(lambda b: b * 1000)
        )
        return st.lists(key, unique=True, max_size=40).map(lambda keys: np.array(keys, dtype))

    return st.one_of(of(np.int64), of(np.int32))


@settings(max_examples=60, deadline=None)
@given(st.data(), some_keys(), st.integers(0, 5), st.integers(0, 9), st.sampled_from([None, 1, 40, 400]))
def test_embedding_variables_by_key(
    data: st.DataObject, keys: np.ndarray, before: int, after: int, piece: int | None
) -> None:
    fs = MemoryFileSystem()
    slots = data.draw(st.sampled_from([[], ["Adagrad"], ["Adam", "Adam_1"]]))
    with BundleWriter("a", fs) as writer:
        data.draw(st.composite(lambda draw: write(writer, draw, "s/b", keys, before, slots))())
        writer.add("w", np.arange(3))
    shards = data.draw(st.integers(1, 3))
    with pieces_of(piece):
        reshard("a", "b", partitions={"s/b": after}, shards=shards, fs=fs)
        reshard("b", "c", partitions={"s/b": before}, fs=fs)
    with BundleReader("a", fs) as a, BundleReader("b", fs) as b, BundleReader("c", fs) as c:
        old = read(a, "s/b", before, slots, strict=False)
        assert read(b, "s/b", after, slots, strict=before != after) == old
        assert read(c, "s/b", before, slots, strict=before != after) == old
        assert b.lookup("w").tolist() == [0, 1, 2]
    reshard("c", "d", partitions={"s/b": after}, fs=fs)
    reshard("d", "e", partitions={"s/b": before}, fs=fs)
    if before != after:
        assert canonical(fs, "b") == canonical(fs, "d")
        assert canonical(fs, "c") == canonical(fs, "e")


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=3),
    st.sampled_from([np.float32, np.float16, np.int8, np.uint64, np.complex64, object]),
    st.integers(0, 5),
    st.integers(0, 9),
    st.sampled_from([None, 1, 30]),
    st.data(),
)
def test_sliced_tensors_hold_the_same_elements(
    shape: list[int], dtype: Any, before: int, after: int, piece: int | None, data: st.DataObject
) -> None:
    fs = MemoryFileSystem()
    axes = data.draw(st.integers(0, len(shape) - 1)), data.draw(st.integers(0, len(shape) - 1))
    values = np.arange(np.prod(shape)).reshape(shape)
    values = values.astype(str).astype(object) if dtype is object else values.astype(dtype)
    with BundleWriter("a", fs) as writer:
        writer.add("v", values)
    with pieces_of(piece):
        reshard("a", "b", partitions={"v": before}, axis=axes[0], fs=fs)
        reshard("b", "c", partitions={"v": after}, axis=axes[1], shards=data.draw(st.integers(1, 3)), fs=fs)
    with BundleReader("b", fs) as b, BundleReader("c", fs) as c:
        for reader, axis, parts in ((b, axes[0], before), (c, axes[1], after)):
            info = reader.info("v")
            lengths = [len(rows) for rows in np.array_split(np.empty(shape[axis]), max(1, parts))]
            lengths = [length for length in lengths if length]
            expected = []
            for at, length in enumerate(lengths if len(lengths) > 1 else []):
                extents = [(0, size) for size in shape]
                extents[axis] = (sum(lengths[:at]), length)
                expected.append(TensorSlice(tuple(extents)))
            assert sorted(info.slices, key=lambda s: s.extents) == expected
            parts_read = [(s, reader.lookup_stored_slice("v", s)) for s in info.slices]
            origin = TensorSlice.of_shape(shape)
            for s, found in parts_read or [(origin, reader.lookup("v"))]:
                assert found.tolist() == [
                    *np.vectorize(lambda v: v.encode() if dtype is object else v, otypes=[values.dtype])(
                        values[s.relative_to(origin)]
                    ).tolist()
                ]


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_hold_all_and_only_what_they_should(shards: int) -> None:
    fs = MemoryFileSystem()
    with BundleWriter("a", fs) as writer:
        for at in range(8):
            writer.add(f"w{at}", np.full(100, at))
        for part in range(4):
            writer.add_slice("p", (8, 2), TensorSlice.parse(f"{2 * part},2:-"), np.full((2, 2), part))
    made = reshard("a", "b", shards=shards, fs=fs)
    assert made.num_shards == shards
    with BundleReader("b", fs) as reader:
        assert reader.header.num_shards == shards
        whole = [reader.info(f"w{at}").shards[0] for at in range(8)]
        assert whole == sorted(whole)
        assert set(whole) == set(range(shards))
        assert reader.info("p").shards == tuple(range(min(4, shards)))
        assert reader.lookup("p")[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert not [path for path in fs.files if "temp" in path]
