"""What `diff` finds between two checkpoints, and what it does not."""

from __future__ import annotations

import math
import pathlib
import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from kvarn.checkpoint.value_diff import Tolerance, ValueDifference, added, different
from kvarn.checkpoint.verbs.diff import CheckpointDiff, diff
from kvarn.errors import DataLossError, NotFoundError
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "golden/checkpoints"


def compare(a: dict[str, Any], b: dict[str, Any], **options: Any) -> CheckpointDiff:
    fs = MemoryFileSystem()
    for prefix, tensors in (("a", a), ("b", b)):
        with BundleWriter(prefix, fs) as writer:
            for name, value in tensors.items():
                writer.add(name, value)
    return diff("a", "b", fs=fs, **options)


# Tensors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["v2_dtypes", "v2_slices", "v2_names", "ev_deeprec", "v2_variant"])
def test_a_checkpoint_does_not_differ_from_itself(case: str) -> None:
    prefix = next((GOLDEN / "tf115" / case).glob("*.index")).with_suffix("")
    found = diff(prefix, prefix)
    assert found.same
    assert found.num_same > 0


def test_names_types_shapes_and_values() -> None:
    a = {"gone": 1.0, "type": np.float32([1]), "shape": np.zeros((2, 3)), "value": np.arange(6.0), "same": 7}
    b = {"new": 1.0, "type": np.float64([1]), "shape": np.zeros((3, 2)), "value": np.arange(6.0), "same": 7}
    b["value"] = b["value"].copy()
    b["value"][[1, 4]] += [0.5, -2.0]
    found = compare(a, b)
    assert not found.same
    assert (found.only_in_a, found.only_in_b, found.num_same) == (("gone",), ("new",), 1)
    by_name = {t.name: t for t in found.tensors}
    assert set(by_name) == {"type", "shape", "value"}
    assert by_name["type"].dtypes == ("float32", "float64")
    assert by_name["shape"].shapes == ((2, 3), (3, 2))
    assert by_name["shape"].values is None
    values = by_name["value"].values
    assert values == ValueDifference(6, 2, max_abs=2.0, max_rel=1.0, at=(4,), a=4.0, b=2.0)


def test_bits_count_and_nan_is_equal_to_itself() -> None:
    other_nan = np.array([0x7FC00001], np.uint32).view(np.float32)[0]
    a = np.float32([np.nan, 0.0, np.inf, 1.0])
    assert compare({"w": a}, {"w": a.copy()}).same
    b = np.float32([other_nan, -0.0, np.inf, 1.0])
    [found] = compare({"w": a}, {"w": b}).tensors
    assert found.values is not None
    assert found.values.num_different == 2
    assert compare({"w": a}, {"w": b}, atol=1e-9).same


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "complex64", "float8_e4m3fn"])
def test_tolerance(dtype: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    a = np.array([1.0, 2.0, 4.0]).astype(kind)
    b = np.array([1.0, 2.25, 4.0]).astype(kind)
    assert not compare({"w": a}, {"w": b}).same
    assert not compare({"w": a}, {"w": b}, atol=0.2).same
    assert compare({"w": a}, {"w": b}, atol=0.25).same
    assert compare({"w": a}, {"w": b}, rtol=0.12).same
    assert not compare({"w": a}, {"w": b}, rtol=0.05).same


def test_a_number_is_not_close_to_nan_or_infinity() -> None:
    a = np.array([1.0, np.inf, 1.0, -np.inf])
    b = np.array([np.nan, 1.0, np.inf, -np.inf])
    [found] = compare({"w": a}, {"w": b}, atol=1e300, rtol=1e300).tensors
    assert found.values is not None
    assert found.values.num_different == 1 + 1 + 1
    assert found.values.max_abs is None
    assert (found.values.at, found.values.a) == ((0,), 1.0)
    assert math.isnan(found.values.b)


def test_large_integers_strings_and_flags() -> None:
    a = {"i": np.array([2**63 - 1, 0]), "s": np.array([b"x", b"y"], np.object_), "f": np.array([True, False])}
    b = {"i": np.array([-(2**63), 0]), "s": np.array([b"x", b"z"], np.object_), "f": np.array([True, True])}
    found = {t.name: t.values for t in compare(a, b).tensors}
    assert found["i"] is not None
    assert found["i"].max_abs == 2**64 - 1
    assert (found["s"], found["f"]) == (
        ValueDifference(2, 1, at=(1,), a=b"y", b=b"z"),
        ValueDifference(2, 1, at=(1,), a=False, b=True),
    )


def test_the_place_in_a_large_tensor() -> None:
    a = np.zeros((300_000, 10), np.float64)  # several chunks
    b = a.copy()
    b[250_001, 7] = 3
    b[5, 1] = 1
    [found] = compare({"w": a}, {"w": b}).tensors
    assert found.values is not None
    assert (found.values.at, found.values.num_different, found.values.count) == ((250_001, 7), 2, a.size)


def sliced(fs: MemoryFileSystem, prefix: str, value: np.ndarray, cuts: list[str]) -> None:
    with BundleWriter(prefix, fs) as writer:
        for cut in cuts:
            piece = TensorSlice.parse(cut)
            own = value[tuple(slice(start, start + n) for start, n in piece.extents)]
            writer.add_slice("p", value.shape, piece, own)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_slices_do_not_matter(dtype: Any) -> None:
    fs = MemoryFileSystem()
    value = np.arange(24).reshape(6, 4).astype(dtype)
    sliced(fs, "rows", value, ["0,2:0,4", "2,4:0,4"])
    sliced(fs, "columns", value, ["0,6:0,1", "0,6:1,3"])
    with BundleWriter("whole", fs) as writer:
        writer.add("p", value)
    changed = value.copy()
    changed[3, 2] = 100
    sliced(fs, "changed", changed, ["0,2:0,4", "2,4:0,4"])
    for a in ("rows", "columns", "whole"):
        for b in ("rows", "columns", "whole"):
            assert diff(a, b, fs=fs).same
        [found] = diff(a, "changed", fs=fs).tensors
        assert found.values is not None
        assert (found.values.at, found.values.num_different) == ((3, 2), 1)


def test_damage_is_an_error_and_no_difference() -> None:
    fs = MemoryFileSystem()
    for prefix in ("a", "b"):
        with BundleWriter(prefix, fs) as writer:
            writer.add("w", np.arange(10.0))
    fs.files["b.data-00000-of-00001"][3] ^= 1
    with pytest.raises(DataLossError, match="Checksum does not match"):
        diff("a", "b", fs=fs)
    with pytest.raises(NotFoundError):
        diff("a", "c", fs=fs)


def test_differences_add_up() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 100)).astype(np.float32)
    exact = Tolerance()
    once = added(ValueDifference(), a, b, different(a, b, exact), lambda at: (at,))
    total = ValueDifference()
    for start in range(0, 100, 7):
        x, y = a[start : start + 7], b[start : start + 7]
        total = added(total, x, y, different(x, y, exact), lambda at, start=start: (start + at,))
    assert total == once
    assert once.num_different == np.count_nonzero(a != b)
    assert once.max_abs == np.abs(a - b).max()


# Embedding variables ----------------------------------------------------------------------------------


def write_ev(
    fs: MemoryFileSystem,
    prefix: str,
    rows: dict[int, tuple[float, int, int]],
    *,
    parts: int = 0,
    filtered: dict[int, int] | None = None,
    seed: int = 0,
    old_era: bool = False,
) -> None:
    """An embedding variable ``e`` of dim 2 with a slot, from value, frequency and version by key."""
    rng = np.random.default_rng(seed)
    with BundleWriter(prefix, fs) as writer:
        for part in range(max(1, parts)):
            name = f"e/part_{part}" if parts else "e"
            for stem, factor in ((name, 1), (name + "/Adagrad", 10)):
                own = [k for k in rows if not parts or k % 1000 % parts == part]
                keys = np.array(own, np.int64)[rng.permutation(len(own))]
                if not old_era:
                    keys = keys[embedding.bucket_order(keys)[0]]
                own = [rows[int(k)] for k in keys]
                values = np.array([[v * factor, v + factor] for v, _, _ in own], np.float32).reshape(-1, 2)
                versions = np.array([v for _, _, v in own], np.int64)
                if old_era:
                    for suffix, column in (("-keys", keys), ("-values", values), ("-versions", versions)):
                        writer.add(stem + suffix, column)
                    continue
                left = filtered or {}
                waiting = np.array([k for k in left if not parts or k % 1000 % parts == part], np.int64)
                waiting = waiting[embedding.bucket_order(waiting)[0]]
                embedding.write_embedding(
                    writer,
                    stem,
                    keys,
                    values,
                    dim=2,
                    versions=versions,
                    freqs=np.array([f for _, f, _ in own], np.int64),
                    keys_filtered=waiting,
                    versions_filtered=np.zeros(len(waiting), np.int64),
                    freqs_filtered=np.array([left[int(k)] for k in waiting], np.int64),
                )


ROWS = {key: (key / 8, key % 5 + 1, key % 3) for key in [*range(-50, 400, 3), 2**40, -(2**50)]}


@pytest.mark.parametrize("parts", [0, 1, 3, 7])
def test_the_partitioning_of_an_embedding_variable_does_not_matter(parts: int) -> None:
    fs = MemoryFileSystem()
    write_ev(fs, "a", ROWS, filtered={1000: 2, 5: 1})
    write_ev(fs, "b", ROWS, filtered={1000: 2, 5: 1}, parts=parts, seed=5)
    found = diff("a", "b", fs=fs)
    assert found.same, found
    assert found.num_same == 1


def test_keys_added_removed_and_changed() -> None:
    fs = MemoryFileSystem()
    write_ev(fs, "a", ROWS)
    other = dict(ROWS)
    del other[-50], other[100 - 3]
    other[7000] = (1.0, 1, 1)
    value, freq, version = ROWS[1]
    other[1] = (value + 2, freq, version)
    value, freq, version = ROWS[4]
    other[4] = (value, freq + 9, version)
    write_ev(fs, "b", other, parts=3)
    [found] = diff("a", "b", fs=fs).embeddings
    assert (found.name, found.num_added, found.num_removed, found.num_changed) == ("e", 1, 2, 2)
    assert found.num_same == len(ROWS) - 4
    assert (found.added, set(found.removed), set(found.changed)) == ((7000,), {-50, 97}, {1, 4})
    assert found.layout == ()
    assert set(found.columns) == {"values", "Adagrad", "freqs", "Adagrad freqs"}
    assert (found.columns["values"].max_abs, found.columns["values"].at) == (2.0, (1, 0))
    assert (found.columns["Adagrad"].max_abs, found.columns["Adagrad"].at) == (20.0, (1, 0))
    assert (found.columns["freqs"].max_abs, found.columns["freqs"].at) == (9, (4,))


def test_a_tolerance_holds_for_rows_too() -> None:
    fs = MemoryFileSystem()
    write_ev(fs, "a", ROWS)
    write_ev(fs, "b", {key: (value + 2**-10, *rest) for key, (value, *rest) in ROWS.items()})
    assert not diff("a", "b", fs=fs).same
    assert diff("a", "b", fs=fs, atol=0.1, rtol=1e-3).same


def test_keys_that_a_filter_held_back() -> None:
    fs = MemoryFileSystem()
    write_ev(fs, "a", {1: (1.0, 3, 0), 2: (2.0, 3, 0)}, filtered={3: 1, 4: 1})
    write_ev(fs, "b", {1: (1.0, 3, 0), 3: (2.0, 3, 0)}, filtered={2: 3, 4: 2})
    [found] = diff("a", "b", fs=fs).embeddings
    assert (found.num_added, found.num_removed) == (0, 0)
    assert set(found.changed) == {2, 3, 4}
    assert found.columns["filtered"].num_different == 2
    assert found.columns["filtered freqs"].at == (4,)


_OF_A_SLOT = [
    ("-keys_filtered", np.array([2003]), ("Adagrad filtered has rows of 1 of the keys in one only",)),
    ("-freqs_filtered", np.array([9]), ()),
    ("-versions_filtered", np.array([], np.int64), ("Adagrad filtered versions only in a",)),
    ("-keys", np.array([1, 2], np.int32), ("Adagrad keys are int64 in a, int32 in b",)),
]


@pytest.mark.parametrize(("suffix", "value", "layout"), _OF_A_SLOT, ids=[case[0] for case in _OF_A_SLOT])
def test_what_differs_in_a_slot_alone(suffix: str, value: np.ndarray, layout: tuple[str, ...]) -> None:
    """The filtered keys of slots, and the type of their keys, were not compared."""
    fs = MemoryFileSystem()
    numbers = {
        "keys_filtered": np.array([3]),
        "versions_filtered": np.array([7]),
        "freqs_filtered": np.array([8]),
    }
    with BundleWriter("a", fs) as writer:
        for stem in ("e", "e/Adagrad"):
            embedding.write_embedding(
                writer, stem, np.array([1, 2]), np.ones((2, 3), np.float32), dim=3, **numbers
            )
    with BundleReader("a", fs) as reader, BundleWriter("b", fs) as writer:
        for name, _ in reader.entries():
            own = value if name == f"e/Adagrad{suffix}" else reader.lookup(name)
            writer.add(name, own)
    [found] = diff("a", "b", fs=fs).embeddings
    assert set(layout) <= set(found.layout)
    assert layout or found.columns["Adagrad filtered freqs"].at == (3,)


def test_an_old_era_has_fewer_columns() -> None:
    fs = MemoryFileSystem()
    write_ev(fs, "a", ROWS)
    write_ev(fs, "b", ROWS, old_era=True)
    [found] = diff("a", "b", fs=fs).embeddings
    assert (found.num_changed, found.num_same) == (0, len(ROWS))
    assert set(found.layout) == {"freqs only in a", "Adagrad freqs only in a"}
    write_ev(fs, "c", ROWS, old_era=True, seed=9)
    assert diff("b", "c", fs=fs).same


def test_a_key_twice_is_damage() -> None:
    fs = MemoryFileSystem()
    keys = np.array([5, 5], np.int64)
    with BundleWriter("a", fs) as writer:
        embedding.write_embedding(writer, "e", keys, np.ones((2, 3), np.float32), dim=3)
    with pytest.raises(DataLossError, match="key 5 is there more than once"):
        diff("a", "a", fs=fs)


def test_progress_ends_at_the_sum_of_both() -> None:
    fs = MemoryFileSystem()
    write_ev(fs, "a", ROWS)
    told: list[tuple[int, int]] = []
    diff("a", "a", fs=fs, progress=lambda done, total: told.append((done, total)))
    with BundleReader("a", fs) as reader:
        total = 2 * sum(info.size_bytes for info in reader.tensors())
    assert told[-1] == (total, total)
    assert len(told) > 1


def test_memory_does_not_grow_with_the_rows(tmp_path: pathlib.Path) -> None:
    """Two variables of 200,000 keys with 64 floats: 51 MB each, and as much in a slot."""
    code = f"""
import resource, sys
import numpy as np
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleWriter
from kvarn.checkpoint.verbs.diff import diff
count, dim = 200_000, 64
for prefix, parts in (("a", 2), ("b", 3)):
    with BundleWriter({str(tmp_path)!r} + "/" + prefix) as writer:
        for part in range(parts):
            keys = np.arange(count)[np.arange(count) % 1000 % parts == part]
            keys = keys[embedding.bucket_order(keys)[0]]
            for stem in (f"e/part_{{part}}", f"e/part_{{part}}/Adagrad"):
                chunks = (np.repeat(k[:, None], dim, 1).astype(np.float32) for k in np.array_split(keys, 50))
                embedding.write_embedding(writer, stem, keys, chunks, dim=dim)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = diff({str(tmp_path)!r} + "/a", {str(tmp_path)!r} + "/b")
assert found.same, found
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150_000  # kB; all the rows of both are 205 MB
