"""Increments of embedding variables as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kvarn.errors import DataLossError, InvalidArgumentError, NotFoundError
from kvarn.formats import embedding_increment as inc
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding_names import embedding_sources
from kvarn.io import MemoryFileSystem

# By bucket, ascending inside: -997 and 3 and 2003 are of bucket 3.
KEYS = np.array([-997, 3, 2003, 5, 999], np.int64)
VALUES = np.arange(10, dtype=np.float32).reshape(5, 2)


def written(**changes: Any) -> MemoryFileSystem:
    fs = MemoryFileSystem()
    given: dict[str, Any] = {
        "keys": KEYS,
        "values": VALUES,
        "dim": 2,
        "versions": np.arange(5),
        "freqs": np.arange(5) + 10,
        "removed_keys": np.array([4, 1004], np.int64),
        "keys_filtered": np.array([7], np.int64),
        "freqs_filtered": np.array([1], np.int64),
        **changes,
    }
    keys, values = given.pop("keys"), given.pop("values")
    with BundleWriter("m", fs) as writer:
        inc.write_increment(writer, "b", keys, values, **given)
    return fs


def read(fs: MemoryFileSystem, name: str = "b", **part: int) -> list[tuple[inc.Increment, np.ndarray]]:
    with BundleReader("m", fs) as reader:
        found = []
        for one, stream in inc.read_increment(reader, name, **part):
            rows = np.full((len(one.keys), 2), -1, np.float32)
            for where, chunk in stream:
                rows[where] = chunk
            found.append((one, rows))
        return found


def test_names_types_and_shapes_are_deeprec_s() -> None:
    with BundleReader("m", written()) as reader:
        found = {name: reader.lookup_dtype_and_shape(name) for name in list(reader.keys())}
        assert {name: (dtype.name, shape) for name, (dtype, shape) in found.items()} == {
            "b-incr_partition_offset": ("int32", (1001,)),
            "b-sparse_incr_keys": ("int64", (5,)),
            "b-sparse_incr_values": ("float32", (5, 2)),
            "b-sparse_incr_versions": ("int64", (5,)),
            "b-sparse_incr_freqs": ("int64", (5,)),
            "b-sparse_incr_removed_keys": ("int64", (2,)),
            "b-sparse_incr_keys_filtered": ("int64", (1,)),
            "b-sparse_incr_versions_filtered": ("int64", (0,)),
            "b-sparse_incr_freqs_filtered": ("int64", (1,)),
        }
        offset = reader.lookup("b-incr_partition_offset").tolist()
        assert offset[3:7] == [0, 3, 3, 4]
        assert offset[999:] == [4, 5]


def test_what_was_written_is_read() -> None:
    ((one, rows),) = read(written())
    assert one.keys.tolist() == KEYS.tolist()
    assert rows.tolist() == VALUES.tolist()
    assert one.versions.tolist() == [0, 1, 2, 3, 4]
    assert one.freqs.tolist() == [10, 11, 12, 13, 14]
    assert one.removed_keys.tolist() == [4, 1004]
    assert one.keys_filtered.tolist() == [7]
    assert one.versions_filtered is None
    assert one.freqs_filtered is not None
    assert one.freqs_filtered.tolist() == [1]


def test_a_part_takes_its_buckets_of_everything() -> None:
    ((one, rows),) = read(written(), partition_id=1, partition_num=2)
    assert one.keys.tolist() == KEYS.tolist()
    assert one.removed_keys.tolist() == []
    assert one.keys_filtered.tolist() == [7]
    ((one, rows),) = read(written(), partition_id=2, partition_num=4)
    assert one.keys.tolist() == []
    assert rows.shape == (0, 2)
    ((one, rows),) = read(written(), partition_id=3, partition_num=4)
    assert one.keys.tolist() == [-997, 3, 2003, 999]
    assert rows.tolist() == VALUES[[0, 1, 2, 4]].tolist()


def test_versions_and_frequencies_that_are_not_kept_are_zeros() -> None:
    ((one, _),) = read(written(versions=None, freqs=None))
    assert one.versions.tolist() == one.freqs.tolist() == [0] * 5


def test_an_increment_of_deeprec_alone_has_no_deletions() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add("b" + inc.OFFSET, np.zeros(1001, np.int32))
        writer.add("b" + inc.KEYS, KEYS.astype(np.int32))
        writer.add("b" + inc.VALUES, VALUES)
        writer.add("b" + inc.VERSIONS, np.zeros(5, np.int64))
        writer.add("b" + inc.FREQS, np.ones(5, np.int64))
    ((one, _),) = read(fs)
    assert one.removed_keys.tolist() == one.keys_filtered.tolist() == []
    assert one.removed_keys.dtype == one.keys.dtype == np.int32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keys": KEYS[::-1].copy()}, "do not ascend"),
        ({"keys": np.array([3, -997, 2003, 5, 999])}, "do not ascend"),
        ({"keys": np.array([3, 3, 2003, 5, 999])}, "do not ascend"),
        ({"keys": KEYS.astype(np.float32)}, "not int32 or int64"),
        ({"removed_keys": np.array([3], np.int64)}, "in two of its sets"),
        ({"removed_keys": np.array([7], np.int64)}, "in two of its sets"),
        ({"removed_keys": np.array([7], np.int32)}, "int32"),
        ({"versions": np.arange(4)}, r"not \[5\]"),
        ({"values": VALUES[:, :1]}, "not float32"),
        ({"values": VALUES[:4]}, "bytes"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(changes: dict[str, Any], said: str) -> None:
    fs = MemoryFileSystem()
    writer = BundleWriter("m", fs)
    given = {"keys": KEYS, "values": VALUES, "keys_filtered": np.array([7], np.int64), **changes}
    keys, values = given.pop("keys"), given.pop("values")
    with pytest.raises(InvalidArgumentError, match=said):
        inc.write_increment(writer, "b", keys, values, dim=2, **given)
    writer.abort()
    assert not fs.files


def test_sources_are_the_parts_that_are_there() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        for part in range(2):
            for stem in (f"b/part_{part}", f"b/part_{part}/Adagrad"):
                keys = KEYS[np.mod(KEYS, 1000) % 2 == part]
                inc.write_increment(writer, stem, keys, np.zeros((len(keys), 2), np.float32), dim=2)
    with BundleReader("m", fs) as reader:
        for name in ("b/part_5", "b"):
            assert embedding_sources(reader, name, keys=inc.KEYS) == ["b/part_0", "b/part_1"]
        assert embedding_sources(reader, "b/Adagrad", keys=inc.KEYS) == [
            "b/part_0/Adagrad",
            "b/part_1/Adagrad",
        ]
        with pytest.raises(NotFoundError, match="not found"):
            list(inc.read_increment(reader, "c"))


def test_tensors_that_do_not_fit_one_another_are_damage() -> None:
    for suffix, wrong in (
        (inc.VALUES, np.zeros((4, 2), np.float32)),
        (inc.VERSIONS, np.zeros(3, np.int64)),
        (inc.FREQS, np.zeros(5, np.int32)),
        (inc.REMOVED_KEYS, np.zeros(1, np.float32)),
    ):
        whole = {
            inc.KEYS: KEYS,
            inc.VALUES: VALUES,
            inc.VERSIONS: np.zeros(5, np.int64),
            inc.FREQS: np.zeros(5, np.int64),
            suffix: wrong,
        }
        fs = MemoryFileSystem()
        with BundleWriter("m", fs) as writer:
            for name, array in whole.items():
                writer.add("b" + name, array)
        with pytest.raises(DataLossError, match="does not fit an increment"):
            read(fs)
