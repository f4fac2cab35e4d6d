"""`merge` and `average`: tensors by name, embedding variables by key, against plain dicts."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn import dtypes
from kvarn.checkpoint.management import update_checkpoint_state
from kvarn.checkpoint.verbs.average import average, newest_checkpoints
from kvarn.checkpoint.verbs.merge import merge
from kvarn.errors import (
    AlreadyExistsError,
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    UnimplementedError,
)
from kvarn.formats import embedding, embedding_rows
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem

EV = str(pathlib.Path(__file__).parents[2] / "golden" / "checkpoints" / "tf115" / "ev_deeprec" / "model.ckpt")
DIM = 3
Table = dict[int, float]


def save(fs: MemoryFileSystem, prefix: str, tensors: Mapping[str, Any]) -> str:
    with BundleWriter(prefix, fs) as writer:
        for name, value in tensors.items():
            writer.add(name, value)
    return prefix


def write_ev(
    fs: MemoryFileSystem,
    prefix: str,
    table: Table,
    filtered: Table | None = None,
    parts: int = 0,
    versions: bool = True,
    step: int = 0,
    seed: int = 0,
) -> str:
    """An embedding variable `b` with a slot: row of key k is table[k], its slot ten times that, in any order."""
    random = np.random.default_rng(seed)
    with BundleWriter(prefix, fs) as writer:
        for part in range(max(1, parts)):
            for slot, factor in (("", 1), ("/Adagrad", 10)):
                own = [k for k in table if not parts or k % 1000 % parts == part]
                keys = np.array(random.permutation(own), np.int64)
                keys = keys[embedding.bucket_order(keys)[0]]
                values = np.array([[table[k] * factor] * DIM for k in keys], np.float32).reshape(-1, DIM)
                out = [k for k in filtered or {} if not parts or k % 1000 % parts == part]
                out_keys = np.array(out, np.int64)
                out_keys = out_keys[embedding.bucket_order(out_keys)[0]]
                embedding.write_embedding(
                    writer,
                    (f"b/part_{part}" if parts else "b") + slot,
                    keys,
                    values,
                    dim=DIM,
                    versions=keys + step if versions else None,
                    freqs=keys * 2,
                    keys_filtered=out_keys,
                    freqs_filtered=np.array([(filtered or {})[k] for k in out_keys], np.int64),
                )
        writer.add("global_step", np.int64(step))
    return prefix


def read_ev(fs: MemoryFileSystem, prefix: str, name: str = "b") -> tuple[dict, dict, dict, dict]:
    """Rows, versions, frequencies, and frequencies of filtered keys, by key."""
    rows: dict = {}
    versions: dict = {}
    freqs: dict = {}
    filtered: dict = {}
    with BundleReader(prefix, fs) as reader:
        for chunk in embedding_rows.read_embedding(reader, name):
            for i, key in enumerate(chunk.keys.tolist()):
                if chunk.values is None:
                    filtered[key] = int(chunk.freqs[i])
                    continue
                assert key not in rows
                rows[key] = chunk.values[i].tolist()
                versions[key] = None if chunk.versions is None else int(chunk.versions[i])
                freqs[key] = int(chunk.freqs[i])
    return rows, versions, freqs, filtered


TABLES = st.dictionaries(st.integers(-3000, 3000), st.floats(-100, 100, width=16), max_size=30)
FILTERED = st.dictionaries(st.integers(-3000, 3000), st.integers(1, 9), max_size=5)
PARTS = st.sampled_from([0, 1, 2, 7])


@settings(max_examples=25)
@given(
    tables=st.lists(st.tuples(TABLES, FILTERED, PARTS, st.booleans()), min_size=2, max_size=3),
    seed=st.integers(0, 9),
)
def test_the_mean_of_embedding_variables_is_by_key(tables: list, seed: int) -> None:
    fs = MemoryFileSystem()
    sources, weights = [], []
    for number, (table, filtered, parts, versions) in enumerate(tables):
        own = {k: f for k, f in filtered.items() if k not in table}
        tables[number] = (table, own, parts, versions)
        step = 100_000 * (number + 1)
        sources.append(write_ev(fs, f"m{number}", table, own, parts, versions, step, seed + number))
        weights.append(number + 1)
    average(sources, "x", weights=weights, fs=fs)
    expected, version, freq = {}, {}, {}
    for key in {k for table, *_ in tables for k in table}:
        having = [n for n, (table, *_) in enumerate(tables) if key in table]
        total = sum(weights[n] for n in having)
        expected[key] = sum(weights[n] * tables[n][0][key] for n in having) / total
        recorded = tables[having[-1]][3]
        version[key] = key + 100_000 * (having[-1] + 1) if recorded else -1
        freq[key] = key * 2
    rows, versions, freqs, filtered = read_ev(fs, "x")
    assert rows.keys() == expected.keys()
    for key, value in expected.items():
        assert rows[key] == [np.float32(value)] * DIM
    any_recorded = any(recorded and table for table, _, _, recorded in tables)
    slots, *_ = read_ev(fs, "x", "b/Adagrad")
    assert slots.keys() == rows.keys()
    for key, value in expected.items():
        assert slots[key] == pytest.approx([10 * value] * DIM, rel=1e-6)
    if any_recorded:
        # An older part without a row of its own has nothing to say, and no record to miss.
        assert {k: v for k, v in versions.items() if v is not None} == {
            k: v for k, v in version.items() if versions[k] is not None
        }
    assert freqs == freq
    later: dict = {}
    for _, own, *_ in tables:
        later |= own
    assert filtered == {k: f for k, f in later.items() if k not in expected}
    with BundleReader("x", fs) as reader:
        assert reader.lookup("global_step") == 100_000 * len(tables)
        assert reader.contains("b/part_0-keys") == bool(tables[-1][2])


@settings(max_examples=25)
@given(
    first=TABLES,
    second=TABLES,
    parts=st.tuples(PARTS, PARTS),
    rule=st.sampled_from(["error", "first", "last"]),
)
def test_merging_unites_keys(first: Table, second: Table, parts: tuple[int, int], rule: str) -> None:
    fs = MemoryFileSystem()
    write_ev(fs, "m", first, parts=parts[0], seed=1)
    write_ev(fs, "n", second, parts=parts[1], seed=2)
    common = first.keys() & second.keys()
    before = set(fs.files)
    if rule == "error" and common:
        with pytest.raises(AlreadyExistsError, match=r"key -?\d+ of embedding variable 'b"):
            merge(["m", "n"], "x", on_conflict=rule, fs=fs)
        assert set(fs.files) == before
        return
    merge(["m", "n"], "x", on_conflict=rule, fs=fs)
    expected = second | first if rule == "first" else first | second
    for name, factor in (("b", 1), ("b/Adagrad", 10)):
        rows, *_ = read_ev(fs, "x", name)
        assert rows == {key: [np.float32(value * factor)] * DIM for key, value in expected.items()}


def test_what_real_files_hold_survives_a_merge_and_a_mean_with_itself(tmp_path: pathlib.Path) -> None:
    fs = MemoryFileSystem()
    save(fs, "dense", {"other": np.arange(4.0)})
    merge([EV], tmp_path / "copy")
    report = merge([EV, tmp_path / "copy"], tmp_path / "both", on_conflict="first")
    assert report.conflicts == ()
    average([EV, tmp_path / "copy"], tmp_path / "mean")
    for made in ("both", "mean"):
        with BundleReader(EV) as before, BundleReader(tmp_path / made) as after:
            assert after.keys() == before.keys()
            for name in ("a", "b", "b/Adagrad", "a/Adagrad"):
                assert rows_of(after, name) == rows_of(before, name)


def rows_of(reader: BundleReader, name: str) -> dict:
    return {
        key: (None if chunk.values is None else chunk.values[i].tobytes(), chunk.versions[i], chunk.freqs[i])
        for chunk in embedding_rows.read_embedding(reader, name)
        for i, key in enumerate(chunk.keys.tolist())
        if chunk.versions is not None and chunk.freqs is not None
    }


def test_large_values_pass_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    from kvarn.checkpoint.embeddings import bucket_rows, union

    monkeypatch.setattr(union, "_GROUP_BYTES", 100)
    monkeypatch.setattr(bucket_rows, "_HELD_BYTES", 0)
    monkeypatch.setattr(bucket_rows, "CHUNK_BYTES", 50)
    fs = MemoryFileSystem()
    write_ev(fs, "m", {k: k for k in range(0, 4000, 7)}, parts=3)
    write_ev(fs, "n", {k: -k for k in range(0, 4000, 11)}, parts=2, seed=5)
    merge(["m", "n"], "x", on_conflict="last", fs=fs)
    rows, *_ = read_ev(fs, "x")
    assert rows == {k: [-k if k % 11 == 0 else k] * DIM for k in range(4000) if k % 7 == 0 or k % 11 == 0}
    with BundleReader("m", fs) as reader:
        place = reader.entry("b/part_1-values").offset
    fs.files["m.data-00000-of-00001"][place + 100] ^= 1
    with pytest.raises(DataLossError):
        merge(["m", "n"], "y", on_conflict="last", fs=fs)
    assert not [name for name in fs.files if name.startswith("y")]


def test_a_mean_is_rounded_once() -> None:
    fs = MemoryFileSystem()
    random = np.random.default_rng(3)
    kinds = [np.float32, np.float16, ml_dtypes.bfloat16, np.float64, np.complex64]
    arrays = [{str(i): random.normal(size=(4, 5)).astype(k) for i, k in enumerate(kinds)} for _ in range(3)]
    sources = [save(fs, f"m{n}", own) for n, own in enumerate(arrays)]
    report = average(sources, "x", fs=fs)
    assert report.averaged == tuple(str(i) for i in range(5))
    with BundleReader("x", fs) as reader:
        for i, kind in enumerate(kinds):
            wide = np.complex128 if kind is np.complex64 else np.float64
            exact = sum(own[str(i)].astype(wide) for own in arrays) / 3.0
            assert reader.lookup(str(i)).tobytes() == exact.astype(kind).tobytes()


def test_weights_names_and_what_is_not_averaged() -> None:
    fs = MemoryFileSystem()
    words = [np.array([b"a"], object), np.array([b"b"], object)]
    for n in (0, 1):
        save(fs, f"m{n}", {"w": np.float32(n), "v": np.float32(n), "step": np.int64(n), "words": words[n]})
    report = average(["m0", "m1"], "x", weights=[3, 1], names=["w"], fs=fs)
    assert (report.averaged, report.from_last) == (("w",), ("step", "v", "words"))
    with BundleReader("x", fs) as reader:
        assert [reader.lookup(name).tolist() for name in ("w", "v", "step", "words")] == [0.25, 1, 1, [b"b"]]


def test_extremes_of_a_mean() -> None:
    fs = MemoryFileSystem()
    large = np.finfo(np.float64).max
    save(fs, "m", {"v": np.array([large, np.inf, np.inf, -large, 1])})
    save(fs, "n", {"v": np.array([large, -np.inf, 1, large, np.nan])})
    average(["m", "n"], "x", fs=fs)
    with BundleReader("x", fs) as reader:
        np.testing.assert_array_equal(reader.lookup("v"), [large, np.nan, np.inf, 0, np.nan])


def test_slices_are_averaged_where_they_lie() -> None:
    fs = MemoryFileSystem()
    for prefix, cuts in (("m", ((0, 4), (4, 6))), ("n", ((0, 5), (5, 5)))):
        with BundleWriter(prefix, fs) as writer:
            for start, length in cuts:
                rows = np.arange(start, start + length, dtype=np.float32) * (1 if prefix == "m" else 3)
                writer.add_slice("p", (10,), TensorSlice(((start, length),)), rows)
    average(["m", "n"], "x", fs=fs)
    with BundleReader("x", fs) as reader:
        assert [str(piece) for piece in reader.info("p").slices] == ["0,5", "5,5"]
        assert reader.lookup("p").tolist() == [2.0 * i for i in range(10)]


@pytest.mark.parametrize(
    ("other", "error", "text"),
    [
        ({"w": np.zeros(3, np.float32)}, InvalidArgumentError, r"float32\[2\].*float32\[3\]"),
        ({"w": np.zeros(2, np.float64)}, InvalidArgumentError, "float64"),
        ({"v": np.zeros(2, np.float32)}, NotFoundError, "'m', but not in 'n'"),
    ],
)
def test_what_has_no_mean(other: dict, error: type[Exception], text: str) -> None:
    fs = MemoryFileSystem()
    save(fs, "m", {"w": np.zeros(2, np.float32)})
    save(fs, "n", other)
    before = set(fs.files)
    with pytest.raises(error, match=text):
        average(["m", "n"], "x", fs=fs)
    assert set(fs.files) == before


def test_wrong_arguments() -> None:
    fs = MemoryFileSystem()
    save(fs, "m", {"w": np.zeros(2, np.float32)})
    save(fs, "n", {"w": np.ones(2, np.float32)})
    for weights in ([1], [1, 0], [1, float("nan")]):
        with pytest.raises(InvalidArgumentError, match="weights"):
            average(["m", "n"], "x", weights=weights, fs=fs)
    with pytest.raises(InvalidArgumentError, match="mean of 1"):
        average(["m"], "x", fs=fs)
    with pytest.raises(NotFoundError, match="'W'"):
        average(["m", "n"], "x", names=["W"], fs=fs)
    with pytest.raises(InvalidArgumentError, match="own source"):
        average(["m", "n"], "n", overwrite=True, fs=fs)
    with pytest.raises(UnimplementedError, match="npz"):
        average(["m", "n"], "x.npz", fs=fs)
    with pytest.raises(InvalidArgumentError, match="on_conflict"):
        merge(["m", "n"], "x", on_conflict="both", fs=fs)


def test_merging_tensors() -> None:
    fs = MemoryFileSystem()
    same = {"same": np.array([np.nan, 1]), "words": np.array([b"a", b""], object)}
    save(fs, "m", {"w": np.zeros(2, np.float32), "only": np.int64(1), **same})
    save(fs, "n", {"w": np.ones(2, np.float32), **same})
    with pytest.raises(AlreadyExistsError, match="tensor 'w' is in 'm' and in 'n'"):
        merge(["m", "n"], "x", fs=fs)
    for rule, value in (("first", 0), ("last", 1)):
        report = merge(["m", "n"], rule, on_conflict=rule, fs=fs)
        assert report.conflicts == ("w",)
        with BundleReader(rule, fs) as reader:
            assert reader.keys() == ["only", "same", "w", "words"]
            assert reader.lookup("w").tolist() == [value, value]
    assert merge(["m", "n"], "y", on_conflict="last", dry_run=True, fs=fs).taken["only"] == ("m",)
    assert not fs.glob("y*")


def test_embedding_variables_that_do_not_fit() -> None:
    fs = MemoryFileSystem()
    write_ev(fs, "m", {1: 1.0})
    with BundleWriter("n", fs) as writer:
        embedding.write_embedding(writer, "b", np.array([2]), np.zeros((1, DIM), np.float32), dim=DIM)
    with pytest.raises(InvalidArgumentError, match="only one has 'b/Adagrad'"):
        merge(["m", "n"], "x", fs=fs)
    with BundleWriter("o", fs) as writer:
        embedding.write_embedding(writer, "b", np.array([2]), np.zeros((1, 5), np.float32), dim=5)
    with pytest.raises(InvalidArgumentError, match=r"float32\[5\].*float32\[3\]|float32\[3\].*float32\[5\]"):
        merge(["n", "o"], "x", fs=fs)
    save(fs, "p", {"b-keys": np.int64(1)})
    with pytest.raises(InvalidArgumentError, match="'b-keys' is part of an embedding variable"):
        merge(["n", "p"], "x", fs=fs)
    write_ev(fs, "q", {1: 1.0}, parts=2)
    with pytest.raises(NotFoundError, match="embedding variable 'b' is in 'm', but not in 'p'"):
        average(["m", save(fs, "p", {"global_step": np.int64(1)})], "x", fs=fs)


def test_the_newest_checkpoints_of_a_directory(tmp_path: pathlib.Path) -> None:
    prefixes = []
    for n in range(3):
        prefixes.append(str(tmp_path / f"m-{n}"))
        with BundleWriter(prefixes[-1]) as writer:
            writer.add("w", np.float32(n))
        update_checkpoint_state(str(tmp_path), prefixes[-1], prefixes)
    assert newest_checkpoints(tmp_path, 2) == prefixes[1:]
    with pytest.raises(NotFoundError, match="3 checkpoints, not 4"):
        newest_checkpoints(tmp_path, 4)


def test_progress_ends_at_all() -> None:
    fs = MemoryFileSystem()
    write_ev(fs, "m", dict.fromkeys(range(50), 1.0))
    write_ev(fs, "n", dict.fromkeys(range(50, 90), 1.0))
    for verb in (merge, average):
        seen: list[tuple[int, int]] = []
        verb(
            ["m", "n"],
            verb.__name__,
            fs=fs,
            progress=lambda done, total, seen=seen: seen.append((done, total)),
        )
        assert seen[-1][0] == seen[-1][1] > 0


def test_quantized_integers_are_no_floats() -> None:
    fs = MemoryFileSystem()
    for prefix, value in (("m", 1), ("n", 3)):
        with BundleWriter(prefix, fs) as writer:
            writer.add("q", np.array([value], np.int8), dtypes.qint8)
    average(["m", "n"], "x", fs=fs)
    with BundleReader("x", fs) as reader:
        assert (reader.info("q").dtype, reader.lookup("q").tolist()) == (dtypes.qint8, [3])
