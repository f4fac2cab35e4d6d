"""Embedding variables of checkpoints as one thing: rows joined by key, eras of the format, damage."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvarn import checkpoint, errors
from kvarn.checkpoint.embeddings.table import EmbeddingTable, embedding_tables
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.io import MemoryFileSystem

GOLDEN = Path(__file__).parents[2] / "golden/checkpoints"
DIM, SLOT_DIM = 3, 2


def rows_of(keys: np.ndarray[Any, Any], dim: int, salt: float) -> np.ndarray[Any, Any]:
    """Values that say whose they are."""
    return (keys[:, None] * 10 + np.arange(dim) + salt).astype(np.float32)


def in_buckets(keys: list[int] | np.ndarray[Any, Any], seed: int | None = None) -> np.ndarray[Any, Any]:
    """Keys in bucket order, shuffled inside a bucket."""
    keys = np.asarray(keys, np.int64)
    if seed is not None:
        keys = np.random.default_rng(seed).permutation(keys)
    return keys[embedding.bucket_order(keys)[0]]


KEYS = np.array([3, 1003, 2003, 7, 4007, -5, 995, 12, 1012, 10**12 + 3])


@pytest.fixture
def fs() -> MemoryFileSystem:
    return MemoryFileSystem()


def save(
    fs: MemoryFileSystem,
    tables: dict[str, np.ndarray[Any, Any]],
    *,
    freqs: bool = True,
    filtered: dict[str, list[int]] | None = None,
    without: tuple[str, ...] = (),
    replace: dict[str, Any] | None = None,
) -> BundleReader:
    """A checkpoint of embedding variables, parts and slots by stem; a stem with an A in it is a slot."""
    with BundleWriter("whole", fs) as writer:
        for stem, keys in tables.items():
            slot = "A" in stem
            dim = SLOT_DIM if slot else DIM
            embedding.write_embedding(
                writer,
                stem,
                keys,
                rows_of(keys, dim, 0.5 if slot else 0.0),
                dim=dim,
                freqs=keys + 100 if freqs else None,
                versions=keys + 200 if freqs else None,
                keys_filtered=in_buckets((filtered or {}).get(stem, [])),
                freqs_filtered=in_buckets((filtered or {}).get(stem, [])) * 2,
            )
    with BundleReader("whole", fs) as reader, BundleWriter("m", fs) as writer:
        names = reader.keys()
        for name in names:
            if not name.endswith(without or ("no such suffix",)):
                writer.add(name, (replace or {}).get(name, reader.lookup(name)))
    return BundleReader("m", fs)


def everything(table: EmbeddingTable, chunk_bytes: int = 40) -> dict[int, tuple[Any, ...]]:
    """All rows by key, from small chunks."""
    found: dict[int, tuple[Any, ...]] = {}
    for chunk in table.chunks(chunk_bytes):
        for at, key in enumerate(chunk.keys.tolist()):
            assert key not in found
            found[key] = (
                chunk.values[at].tolist(),
                {slot: rows[at].tolist() for slot, rows in chunk.slots.items()},
                None if chunk.freqs is None else chunk.freqs[at],
                None if chunk.versions is None else chunk.versions[at],
                chunk.partition,
            )
    return found


@pytest.mark.parametrize("writer", ["tf115", "tf2"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_rows_are_those_of_the_recorded_tensors(writer: str, name: str) -> None:
    with checkpoint.open(GOLDEN / writer / "ev_deeprec/model.ckpt") as found:
        table = found.embedding(name)
        stems = ["a"] if name == "a" else [f"b/part_{part}" for part in range(4)]
        assert (table.stems, table.partitioned) == (stems, name == "b")
        assert list(table.slots) == ["Adagrad"]
        assert table.dim == table.slots["Adagrad"] == (4 if name == "a" else 8)
        rows = everything(table)
        assert len(rows) == table.num_keys == sum(table.keys_per_partition)
        for part, stem in enumerate(stems):
            values, slot = found[f"{stem}-values"], found[f"{stem}/Adagrad-values"]
            slot_rows = {key: row for row, key in enumerate(found[f"{stem}/Adagrad-keys"].tolist())}
            for row, key in enumerate(found[f"{stem}-keys"].tolist()):
                assert rows[key] == (
                    values[row].tolist(),
                    {"Adagrad": slot[slot_rows[key]].tolist()},
                    found[f"{stem}-freqs"][row],
                    found[f"{stem}-versions"][row],
                    part,
                )
        filtered = list(table.filtered_chunks(100))
        assert sum(len(chunk.keys) for chunk in filtered) == table.num_filtered > 0
        assert np.array_equal(
            np.concatenate([chunk.keys for chunk in filtered]),
            np.concatenate([found[f"{stem}-keys_filtered"] for stem in stems]),
        )
        assert table.check() == []
        assert table.size_bytes == sum(found.info(name).size_bytes for name in table.tensor_names)


def test_slots_in_another_order_are_joined_by_key(fs: MemoryFileSystem) -> None:
    reader = save(fs, {"e": in_buckets(KEYS, 1), "e/A": in_buckets(KEYS, 2), "e/A_1": in_buckets(KEYS, 3)})
    table = EmbeddingTable(reader, "e")
    assert not np.array_equal(reader.lookup("e-keys"), reader.lookup("e/A-keys"))
    assert (table.slots, table.check()) == ({"A": SLOT_DIM, "A_1": SLOT_DIM}, [])
    for chunk_bytes in (1, 40, 1 << 20):
        rows = everything(table, chunk_bytes)
        assert rows.keys() == set(KEYS.tolist())
        for key, (values, slots, freq, version, _) in rows.items():
            own = np.array([key])
            assert values == rows_of(own, DIM, 0.0)[0].tolist()
            assert slots["A"] == slots["A_1"] == rows_of(own, SLOT_DIM, 0.5)[0].tolist()
            assert (freq, version) == (key + 100, key + 200)
    whole = table.read()
    assert np.array_equal(whole.values, rows_of(whole.keys, DIM, 0.0))
    assert np.array_equal(whole.slots["A_1"], rows_of(whole.keys, SLOT_DIM, 0.5))
    only = next(table.chunks(slots=["A_1"]))
    assert list(only.slots) == ["A_1"]
    with pytest.raises(errors.NotFoundError, match="has no slot 'B'"):
        next(table.chunks(slots=["B"]))


def test_rows_of_some_keys(fs: MemoryFileSystem) -> None:
    parts = [KEYS[embedding.part_of(KEYS, 3) == part] for part in range(3)]
    stems = {f"e/part_{part}": in_buckets(keys, part) for part, keys in enumerate(parts)}
    stems |= {f"e/part_{part}/A": in_buckets(keys, part + 5) for part, keys in enumerate(parts)}
    table = EmbeddingTable(save(fs, stems), "e")
    wanted = np.array([7, 99, -5, 3, 3])
    for verify in (True, False):
        rows = table.lookup(wanted, verify=verify)
        assert rows.found.tolist() == [True, False, True, True, True]
        hits = wanted[rows.found]
        assert np.array_equal(rows.values[rows.found], rows_of(hits, DIM, 0.0))
        assert np.array_equal(rows.slots["A"][rows.found], rows_of(hits, SLOT_DIM, 0.5))
        assert rows.freqs is not None
        assert rows.versions is not None
        assert rows.freqs.tolist() == [107, 0, 95, 103, 103]
        assert rows.versions.tolist() == [207, -1, 195, 203, 203]
        assert rows.partitions.tolist() == [
            -1 if key == 99 else int(embedding.part_of(np.array([key]), 3)[0]) for key in wanted
        ]
        assert not rows.values[1].any()
    assert table.lookup([]).found.shape == (0,)
    with pytest.raises(TypeError):
        table.lookup([1.5])


def test_only_the_rows_that_are_asked_for_are_read(fs: MemoryFileSystem) -> None:
    keys = in_buckets(np.arange(200_000))
    table = EmbeddingTable(save(fs, {"e": keys}), "e")
    data = bytearray(fs.files["m.data-00000-of-00001"])
    start = table.reader.entry("e-values").offset  # type: ignore[attr-defined]
    place = int(np.flatnonzero(keys == 77_777)[0])
    near, far = start + place * 4 * DIM, start + ((place + 100_000) % 200_000) * 4 * DIM
    data[far] ^= 1
    fs.files["m.data-00000-of-00001"] = data
    table = EmbeddingTable(BundleReader("m", fs), "e")
    unchecked = table.lookup([77_777], verify=False)
    assert np.array_equal(unchecked.values, rows_of(np.array([77_777]), DIM, 0.0))
    with pytest.raises(errors.DataLossError, match="e-values"):
        table.lookup([77_777])
    with pytest.raises(errors.DataLossError, match="e-values"):
        list(table.chunks())
    assert near < len(data)


@pytest.mark.parametrize(
    "without",
    [
        ("-freqs", "-keys_filtered", "-versions_filtered", "-freqs_filtered", "-partition_filter_offset"),
        ("-freqs", "_filtered", "_offset"),
    ],
    ids=["no filtered keys", "keys, values and versions alone"],
)
def test_older_eras(fs: MemoryFileSystem, without: tuple[str, ...]) -> None:
    keys = np.random.default_rng(0).permutation(KEYS) if "_offset" in without else in_buckets(KEYS, 1)
    reader = save(
        fs,
        {"e": in_buckets(KEYS, 1), "e/A": in_buckets(KEYS, 2)},
        without=without,
        # The oldest files are not in bucket order.
        replace={"e-keys": keys, "e-values": rows_of(keys, DIM, 0.0), "e-versions": keys + 200},
    )
    table = EmbeddingTable(reader, "e")
    assert (table.has_freqs, table.has_versions, table.num_filtered) == (False, True, 0)
    assert table.check() == []
    rows = everything(table)
    assert {key: row[2:4] for key, row in rows.items()} == {key: (None, key + 200) for key in KEYS.tolist()}
    assert all(row[0] == rows_of(np.array([key]), DIM, 0.0)[0].tolist() for key, row in rows.items())
    assert table.read().freqs is None
    assert list(table.filtered_chunks()) == []


def test_a_part_without_frequencies_gets_what_a_restore_gives_it(fs: MemoryFileSystem) -> None:
    stems = {"e/part_0": in_buckets([2, 4]), "e/part_1": in_buckets([1, 3])}
    reader = save(fs, stems, replace={"e/part_1-freqs": np.empty(0, np.int64)})
    table = EmbeddingTable(reader, "e")
    whole = table.read()
    assert whole.freqs is not None
    assert whole.freqs.tolist() == [102, 104, 1, 1]
    assert [chunk.freqs is None for chunk in table.chunks()] == [False, True]


def test_blocks_of_a_dynamic_dimension_are_tables(fs: MemoryFileSystem) -> None:
    stems = {
        f"e/part_{part}/block{block}{slot}": in_buckets([part, part + 2])
        for part in range(2)
        for block in range(2)
        for slot in ("", "/A")
    }
    tables = embedding_tables(save(fs, stems))
    assert [table.name for table in tables] == ["e/block0", "e/block1"]
    assert [table.num_keys for table in tables] == [4, 4]
    assert all(list(table.slots) == ["A"] for table in tables)


def test_an_empty_variable(fs: MemoryFileSystem) -> None:
    table = EmbeddingTable(save(fs, {"e": in_buckets([]), "e/A": in_buckets([])}), "e")
    assert (table.num_keys, table.check(), list(table.chunks())) == (0, [], [])
    assert table.read().values.shape == (0, DIM)
    assert not table.lookup([1]).found.any()


# Damage ---------------------------------------------------------------------------------------------


def test_a_slot_that_lost_rows(fs: MemoryFileSystem) -> None:
    reader = save(fs, {"e": in_buckets(KEYS), "e/Adagrad": in_buckets(KEYS[2:])})
    table = EmbeddingTable(reader, "e")
    (finding,) = table.check()
    assert finding.name == "e/Adagrad-keys"
    assert finding.text == "'e/Adagrad-keys' lacks keys of 'e': 2: 3, 1003"
    with pytest.raises(errors.DataLossError, match=r"lacks 2 of the 10 keys of 'e': 3, 1003") as caught:
        list(table.chunks())
    assert (caught.value.name, caught.value.path) == ("e/Adagrad-keys", "m")
    with pytest.raises(errors.DataLossError, match="no row for the keys 3"):
        table.lookup([7, 3])
    assert table.lookup([7]).found.all()
    filled = table.read(missing="nan")
    lost = np.isin(filled.keys, [3, 1003])
    assert np.isnan(filled.slots["Adagrad"][lost]).all()
    assert not np.isnan(filled.slots["Adagrad"][~lost]).any()
    assert np.array_equal(filled.values, rows_of(filled.keys, DIM, 0.0))
    rest = table.read(missing="skip")
    assert set(rest.keys.tolist()) == set(KEYS[2:].tolist())
    assert np.array_equal(rest.slots["Adagrad"], rows_of(rest.keys, SLOT_DIM, 0.5))


def test_a_slot_with_rows_of_nobody(fs: MemoryFileSystem) -> None:
    table = EmbeddingTable(save(fs, {"e": in_buckets(KEYS[1:]), "e/Adagrad": in_buckets(KEYS)}), "e")
    assert [finding.text for finding in table.check()] == ["'e/Adagrad-keys' has keys that 'e' has not: 1: 3"]
    with pytest.raises(errors.DataLossError, match="alone has 1 of"):
        list(table.chunks())


def test_a_part_whose_slot_is_missing(fs: MemoryFileSystem) -> None:
    stems = {"e/part_0": in_buckets([2]), "e/part_1": in_buckets([1]), "e/part_0/A": in_buckets([2])}
    table = EmbeddingTable(save(fs, stems), "e")
    assert ["slot 'A' is missing" in finding.text for finding in table.check()] == [True]
    with pytest.raises(errors.DataLossError, match="e/part_1/A"):
        list(table.chunks())
    assert np.isnan(table.read(missing="nan").slots["A"]).sum() == SLOT_DIM


def test_a_missing_part(fs: MemoryFileSystem) -> None:
    stems = {"e/part_0": in_buckets([3]), "e/part_2": in_buckets([2])}
    with pytest.raises(errors.DataLossError, match="part 1 of 'e' is missing"):
        EmbeddingTable(save(fs, stems), "e")


def test_an_unknown_name(fs: MemoryFileSystem) -> None:
    reader = save(fs, {"e": in_buckets(KEYS)})
    with pytest.raises(errors.NotFoundError) as caught:
        EmbeddingTable(reader, "f")
    assert "has the embedding variables 'e'" in str(caught.value)
    with pytest.raises(errors.NotFoundError, match="ordinary tensor"):
        EmbeddingTable(reader, "e-keys")


OFFSETS = embedding.bucket_order(KEYS)[1]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("e-keys", np.r_[in_buckets(KEYS)[:-1], in_buckets(KEYS)[-2]], "has keys twice: 1: "),
        ("e-freqs", np.arange(4), r"int64\[4\], not int64 \[10\]"),
        ("e-versions", np.zeros(10, np.float32), "float32"),
        ("e-partition_offset", OFFSETS[:-1], r"int32\[1000\], not int32 \[1001\]"),
        ("e-partition_offset", OFFSETS + np.int32(1), "goes from 1 to 11, not from 0 to 10"),
        ("e-partition_offset", np.r_[OFFSETS[:500], OFFSETS[:501]].astype(np.int32), "falls from"),
        ("e-partition_offset", np.minimum(OFFSETS + 1, 10).astype(np.int32) * (np.arange(1001) > 0), "wrong bucket"),
        ("e-keys_filtered", np.array([3, 5]), "are admitted too: 1: 3"),
        ("e-freqs_filtered", np.arange(3), r"not int64 \[2\]"),
        ("e/A-keys", np.sort(KEYS)[::-1], "wrong bucket"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_found(
    fs: MemoryFileSystem, name: str, value: np.ndarray[Any, Any], says: str
) -> None:
    tables = {"e": in_buckets(KEYS), "e/A": in_buckets(KEYS)}
    reader = save(fs, tables, filtered={"e": [5, 6]}, replace={name: value})
    found = EmbeddingTable(reader, "e").check()
    assert found
    stem = "e/A" if name.startswith("e/A") else "e"
    assert {finding.name.rpartition("-")[0] for finding in found if finding.name} >= {stem}
    assert any(re.search(says, finding.text) for finding in found), [finding.text for finding in found]


def test_a_key_in_the_wrong_part(fs: MemoryFileSystem) -> None:
    stems = {"e/part_0": in_buckets([2, 5]), "e/part_1": in_buckets([1])}
    table = EmbeddingTable(save(fs, stems), "e")
    assert [finding.text for finding in table.check()] == [
        "'e/part_0-keys' has keys that are not of part 0 of 2: 1: 5"
    ]
    assert table.lookup([5]).found.all()


def test_damaged_keys_are_a_finding(fs: MemoryFileSystem) -> None:
    reader = save(fs, {"e": in_buckets(KEYS), "e/A": in_buckets(KEYS)})
    offset = reader.entry("e/A-keys").offset
    fs.files["m.data-00000-of-00001"][offset] ^= 4
    table = EmbeddingTable(BundleReader("m", fs), "e")
    (finding,) = table.check()
    assert finding.name == "e/A-keys"
    assert "Checksum does not match" in finding.text


def test_parts_that_differ(fs: MemoryFileSystem) -> None:
    stems = {"e/part_0": in_buckets([2]), "e/part_1": in_buckets([1])}
    reader = save(fs, stems, replace={"e/part_1-values": np.zeros((1, 5), np.float32)})
    with pytest.raises(errors.DataLossError, match="unlike those of 'e/part_0'"):
        EmbeddingTable(reader, "e")
    reader = save(fs, stems, replace={"e/part_1-values": np.zeros((2, DIM), np.float32)})
    with pytest.raises(errors.DataLossError, match=r"not \[1, dim\]"):
        EmbeddingTable(reader, "e")


def test_two_iterators_do_not_disturb_each_other(fs: MemoryFileSystem) -> None:
    table = EmbeddingTable(save(fs, {"e": in_buckets(KEYS, 1), "e/A": in_buckets(KEYS, 1)}), "e")
    for first, second in zip(table.chunks(40), table.chunks(40), strict=True):
        assert np.array_equal(first.values, second.values)
        assert np.array_equal(first.values, rows_of(first.keys, DIM, 0.0))


def test_a_damaged_byte_is_never_a_wrong_row(fs: MemoryFileSystem) -> None:
    reader = save(fs, {"e": in_buckets(KEYS, 1), "e/A": in_buckets(KEYS, 2)}, filtered={"e": [5]})
    whole = EmbeddingTable(reader, "e").read()
    for name in EmbeddingTable(reader, "e").tensor_names:
        entry = reader.entry(name)
        for place in range(entry.offset, entry.offset + entry.size, 7 if entry.size < 500 else 1001):
            fs.files["m.data-00000-of-00001"][place] ^= 16
            found = EmbeddingTable(BundleReader("m", fs), "e")
            # Reading needs no offsets, nor a slot's own frequencies: only `verify` looks at them.
            if "offset" in name or (name.startswith("e/A") and not name.endswith(("-keys", "-values"))):
                assert np.array_equal(found.read().slots["A"], whole.slots["A"])
            else:
                with pytest.raises(errors.DataLossError) as caught:
                    found.read()
                assert caught.value.name == name
            fs.files["m.data-00000-of-00001"][place] ^= 16


def test_a_pass_over_a_large_table_holds_a_chunk_of_it(tmp_path: Path) -> None:
    count = 300_000
    keys = np.arange(count, dtype=np.int64)
    keys = keys[embedding.bucket_order(keys)[0]]
    with BundleWriter(tmp_path / "m") as writer:
        for stem in ("e", "e/Adagrad"):
            embedding.write_embedding(
                writer, stem, keys, np.zeros((count, 2), np.float32), dim=2, freqs=keys, versions=keys
            )
    with BundleReader(tmp_path / "m") as reader:
        table = EmbeddingTable(reader, "e")
        tracemalloc.start()
        try:
            seen = sum(len(chunk.keys) for chunk in table.chunks(64 << 10))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert seen == count
    assert peak < keys.nbytes / 2
