"""DeepRec's nine tensors: layout, parts into parts, older eras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn import dtypes, errors
from kvarn.formats import embedding as ev
from kvarn.formats import embedding_rows
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding_names import embedding_sources
from kvarn.io import MemoryFileSystem

GOLDEN = Path(__file__).parents[2] / "golden/checkpoints"


def write(
    writer: BundleWriter, name: str, keys: Any, dim: int = 2, scale: float = 1.0, **columns: Any
) -> None:
    """Rows whose values tell their key."""
    keys = np.asarray(keys, np.int64)
    order, _ = ev.bucket_order(keys)
    keys = keys[order]
    values = (keys[:, None] * scale + np.arange(dim)).astype(np.float32)
    columns = {what: np.asarray(column)[order] for what, column in columns.items()}
    ev.write_embedding(writer, name, keys, values, dim=dim, **columns)


def collect(reader: BundleReader, name: str, part: int = 0, parts: int = 1) -> dict[int, list[float]]:
    rows: dict[int, list[float]] = {}
    for chunk in embedding_rows.read_embedding(
        reader, name, partition_id=part, partition_num=parts, chunk_bytes=64
    ):
        assert chunk.admitted
        assert not set(chunk.keys.tolist()) & set(rows)
        rows |= dict(zip(chunk.keys.tolist(), chunk.values.tolist(), strict=True))
    return rows


def test_buckets() -> None:
    order, offset = ev.bucket_order(np.array([3, 2003, 5, 999]))
    assert order.tolist() == [0, 1, 2, 3]
    assert (offset[3], offset[4], offset[5], offset[6], offset[999], offset[1000]) == (0, 2, 2, 3, 3, 4)
    assert len(offset) == 1001
    assert offset.dtype == np.int32


def test_negative_keys_have_the_floor_modulus() -> None:
    assert ev.bucket_of(np.array([-1, -1000, -1001])).tolist() == [999, 0, 999]
    assert ev.part_of(np.array([5, 6, 7, 8, 9]), 4).tolist() == [1, 2, 3, 0, 1]


def test_names() -> None:
    assert ev.part_name("b", 3) == "b/part_3"
    assert ev.part_name("b", 3, "Adagrad") == "b/part_3/Adagrad"
    assert ev.split_part("s/b/part_3/Adagrad") == ("s/b", 3, "/Adagrad")
    assert ev.split_part("my_part_1/b") is None
    assert ev.split_part("part_1") is None


def test_nine_tensors_in_order_even_when_empty() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        write(writer, "e", [], dim=3)
        write(writer, "f", [7, 1], freqs=[4, 5])
    reader = BundleReader("m", fs)
    names = [f"{stem}{suffix}" for stem in "ef" for suffix in ev.SUFFIXES]
    assert sorted(reader.keys()) == sorted(names)
    offsets = [reader.entry(name).offset for name in names]
    assert offsets == sorted(offsets)
    assert reader.entry("e-values").shape == (0, 3)
    assert reader.lookup("e-partition_offset").tolist() == [0] * 1001
    assert reader.lookup("f-keys").tolist() == [1, 7]
    assert reader.lookup("f-freqs").tolist() == [5, 4]
    assert reader.entry("f-versions").shape == (0,)


@pytest.mark.parametrize("writer_of", ["tf115", "tf2"])
def test_written_again_to_the_byte(writer_of: str, tmp_path: Path) -> None:
    """What DeepRec laid out comes out of `write_embedding` as it was."""
    prefix = GOLDEN / writer_of / "ev_deeprec/model.ckpt"
    with BundleReader(prefix) as reader, BundleWriter(tmp_path / "again") as writer:
        by_place = sorted(reader.entries(), key=lambda item: (item[1].offset, item[1].size))
        for name, _ in by_place:
            stem, dash, suffix = name.rpartition("-")
            if dash + suffix == ev.KEYS:
                column = {s: reader.lookup(stem + s) for s in ev.SUFFIXES if s != ev.VALUES}
                values = reader.lookup(stem + ev.VALUES)
                ev.write_embedding(
                    writer,
                    stem,
                    column[ev.KEYS],
                    (values[start : start + 7] for start in range(0, len(values), 7)),
                    dim=values.shape[1],
                    versions=column[ev.VERSIONS],
                    freqs=column[ev.FREQS],
                    keys_filtered=column[ev.KEYS_FILTERED],
                    versions_filtered=column[ev.VERSIONS_FILTERED],
                    freqs_filtered=column[ev.FREQS_FILTERED],
                )
            elif dash + suffix not in ev.SUFFIXES:
                writer.add(name, reader.lookup(name))
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"again{suffix}").read_bytes() == Path(f"{prefix}{suffix}").read_bytes()


@settings(deadline=None)
@given(
    keys=st.sets(st.integers(-(2**63), 2**63 - 1), max_size=40),
    old=st.integers(1, 5),
    new=st.integers(1, 5),
    slot=st.sampled_from(["", "/Adagrad"]),
)
def test_any_parts_into_any_parts(keys: set[int], old: int, new: int, slot: str) -> None:
    """Every key is in exactly the part it belongs to, with its own values; slots too."""
    fs = MemoryFileSystem()
    all_keys = np.array(sorted(keys), np.int64)
    with BundleWriter("m", fs) as writer:
        for part in range(old):
            stem = "b" if old == 1 else f"b/part_{part}"
            own = all_keys[ev.part_of(all_keys, old) == part]
            write(writer, stem, own)
            write(writer, f"{stem}/Adagrad", own, scale=-1.0)
    reader = BundleReader("m", fs)
    sign = -1.0 if slot else 1.0
    found: dict[int, list[float]] = {}
    for part in range(new):
        name = ("b" if new == 1 else f"b/part_{part}") + slot
        rows = collect(reader, name, part, new)
        assert all(ev.part_of(np.array([key]), new)[0] == part for key in rows)
        found |= rows
    expected = {key: (np.array([key]) * sign + np.arange(2)).astype(np.float32).tolist() for key in keys}
    assert found == expected


def test_not_admitted_keys_come_without_values() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        ev.write_embedding(
            writer,
            "e",
            np.array([1]),
            np.ones((1, 2), np.float32),
            dim=2,
            freqs=np.array([9]),
            keys_filtered=np.array([4, 5, 6]),
            freqs_filtered=np.array([1, 2, 3]),
        )
    admitted, waiting = embedding_rows.read_embedding(
        BundleReader("m", fs), "e", partition_id=1, partition_num=2
    )
    assert (admitted.keys.tolist(), admitted.freqs.tolist(), admitted.versions) == ([1], [9], None)
    assert (waiting.keys.tolist(), waiting.freqs.tolist(), waiting.admitted) == ([5], [2], False)


@pytest.mark.parametrize("key_dtype", [np.int32, np.int64])
def test_older_eras_have_fewer_tensors(key_dtype: type) -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add("b-keys", np.array([8, 5], key_dtype))
        writer.add("b-values", np.array([[1.0], [2.0]], np.float32))
        writer.add("b-versions", np.array([3, 4]))
    reader = BundleReader("m", fs)
    info = embedding_rows.embedding_info(reader, "b")
    assert (info.sources, info.dim, info.num_keys) == (("b",), 1, 2)
    assert info.key_dtype is dtypes.as_dtype(key_dtype)
    (rows,) = embedding_rows.read_embedding(reader, "b/part_1", partition_id=1, partition_num=2)
    assert (rows.keys.tolist(), rows.values.tolist(), rows.versions.tolist()) == ([5], [[2.0]], [4])
    assert rows.freqs is None


def test_a_scope_called_part_does_not_confuse() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        write(writer, "my_part_0/b/part_0", [2])
        write(writer, "my_part_0/b/part_1", [1])
    assert embedding_sources(BundleReader("m", fs), "my_part_0/b") == [
        "my_part_0/b/part_0",
        "my_part_0/b/part_1",
    ]


def test_what_is_missing_is_an_error() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        write(writer, "b", [1])
        writer.add("c-keys", np.array([1]))
        writer.add("c-values", np.ones((1, 2), np.float32))
    reader = BundleReader("m", fs)
    with pytest.raises(errors.NotFoundError, match="'x' in 'm'") as caught:
        list(embedding_rows.read_embedding(reader, "x"))
    assert "'b'" in str(caught.value)
    with pytest.raises(errors.NotFoundError, match="c-versions"):
        list(embedding_rows.read_embedding(reader, "c"))


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        (ev.KEYS, np.array([1.0])),
        (ev.KEYS, np.array([1, 2])),
        (ev.VALUES, np.ones(2, np.float32)),
        (ev.VERSIONS, np.array([1, 2, 3])),
        (ev.FREQS, np.array([1.0])),
        (ev.KEYS_FILTERED, np.array([1], np.int32)),
    ],
)
def test_tensors_that_do_not_fit(suffix: str, value: Any) -> None:
    columns = {ev.KEYS: np.array([1]), ev.VALUES: np.ones((1, 2), np.float32), ev.VERSIONS: np.array([1])}
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        for name, column in (columns | {suffix: value}).items():
            writer.add(f"b{name}", column)
    with pytest.raises(errors.DataLossError, match="does not fit an embedding variable"):
        list(embedding_rows.read_embedding(BundleReader("m", fs), "b"))


def test_damaged_values_are_found() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        write(writer, "b", range(50))
    offset = BundleReader("m", fs).entry("b-values").offset
    fs.files["m.data-00000-of-00001"][offset] ^= 1
    with pytest.raises(errors.DataLossError, match="'b-values'"):
        collect(BundleReader("m", fs), "b")


@pytest.mark.parametrize(
    ("keys", "values", "columns", "message"),
    [
        (np.array([2, 1]), np.ones((2, 2), np.float32), {}, "bucket order"),
        (np.array([1.5]), np.ones((1, 2), np.float32), {}, "int32 or int64"),
        (np.array([1]), np.ones((1, 3), np.float32), {}, r"not float32 \[n, 2\]"),
        (np.array([1]), np.ones((1, 2)), {}, "float64"),
        (np.array([1]), np.ones((1, 2), np.float32), {"freqs": np.array([1, 2])}, "-freqs"),
        (np.array([1]), np.ones((1, 2), np.float32), {"keys_filtered": np.array([1], np.int32)}, "int32"),
    ],
)
def test_rows_that_cannot_be_saved(keys: Any, values: Any, columns: Any, message: str) -> None:
    fs = MemoryFileSystem()

    def save() -> None:
        with BundleWriter("m", fs) as writer:
            ev.write_embedding(writer, "b", keys, values, dim=2, **columns)

    with pytest.raises(errors.InvalidArgumentError, match=message):
        save()
    assert not fs.files
