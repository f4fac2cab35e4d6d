"""Rows that DeepRec's SSD tier saved beside a checkpoint, in files built byte for byte as it writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvarn import errors
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.ssd_record import SsdRecord, ssd_record_prefix, ssd_records_beside
from kvarn.io import file_system_of
from kvarn.testing.ssd_records import padded, write_ssd_record


def record_of(prefix: str, name: str = "b") -> SsdRecord:
    return SsdRecord(file_system_of(prefix), prefix, name)


def values_of(keys: Any, dim: int, slot: int) -> Any:
    return (np.asarray(keys)[:, None] * 10 + slot + np.arange(dim) / 8).astype(np.float32)


def read(record: SsdRecord, dims: list[int], chunk_bytes: int = 1 << 20) -> dict[int, tuple[Any, ...]]:
    found = {}
    for rows in record.rows(dims, chunk_bytes=chunk_bytes):
        for i, key in enumerate(rows.keys.tolist()):
            found[key] = (
                *(c[i].tolist() for c in rows.columns),
                int(rows.freqs[i]),
                int(rows.versions[i]),
            )
    return found


@pytest.mark.parametrize("leading", [False, True], ids=["trailing", "leading"])
@pytest.mark.parametrize("chunk_bytes", [1, 200, 1 << 20])
@pytest.mark.parametrize("key_type", [np.int32, np.int64])
def test_rows_come_back_with_slots_frequencies_and_versions(tmp_path, leading, chunk_bytes, key_type):
    """4.8: a record of dim 5 with one slot has 2 * 32 + 16 = 80 bytes; files have their number as a name."""
    keys = np.array([7, -3, 2005, 5, 900, 1], key_type)
    prefix = str(tmp_path / "m")
    write_ssd_record(
        prefix,
        "b/part_0",
        keys,
        [values_of(keys, 5, 0), values_of(keys, 5, 1)],
        freqs=[1, 2, 3, 4, 5, 6],
        versions=[-1, 0, 9, 8, 7, 6],
        per_file=2,
        stale=3,
        leading=leading,
    )
    assert (tmp_path / "m-b_part_0-ssd_record.index").exists()
    assert sorted(p.name for p in (tmp_path / "m-b_part_0-emb_files").iterdir()) == [
        "0.emb",
        "1.emb",
        "2.emb",
    ]
    assert (tmp_path / "m-b_part_0-emb_files" / "0.emb").stat().st_size == 80 * (2 + 3)
    record = record_of(prefix, "b/part_0")
    assert record.num_keys == 6
    assert record.key_dtype.np == np.dtype(key_type)
    assert read(record, [5, 5], chunk_bytes) == {
        key: (values_of([key], 5, 0)[0].tolist(), values_of([key], 5, 1)[0].tolist(), freq, version)
        for key, freq, version in zip(keys.tolist(), range(1, 7), [-1, 0, 9, 8, 7, 6], strict=True)
    }
    # Slots that nobody asks for are passed over.
    assert read(record, [5])[5][0] == values_of([5], 5, 0)[0].tolist()


@pytest.mark.parametrize(("dims", "bytes_"), [([5], 48), ([4, 1], 48), ([5, 5], 80), ([1, 1, 1], 64)])
def test_slots_are_padded_to_sixteen_bytes(dims, bytes_):
    """3.2 and 4.8: every slot takes a multiple of four floats."""
    assert 4 * sum(map(padded, dims)) + 16 == bytes_


def test_slots_that_are_not_padded_are_told_by_the_length(tmp_path):
    """EV_DATA_ALIGNED=false."""
    prefix = str(tmp_path / "m")
    keys = np.array([3, 4], np.int64)
    columns = [values_of(keys, 5, 0), values_of(keys, 1, 1)]
    write_ssd_record(prefix, "b", keys, columns, freqs=[1, 1], versions=[2, 2], pad=False)
    assert (tmp_path / "m-b-emb_files" / "0.emb").stat().st_size == 2 * (4 * 6 + 16)
    assert read(record_of(prefix), [5, 1])[4] == (columns[0][1].tolist(), columns[1][1].tolist(), 1, 2)


def test_counts_of_a_file_that_was_being_written_are_not_needed(tmp_path):
    prefix = str(tmp_path / "m")
    keys = np.arange(10)
    write_ssd_record(
        prefix, "b", keys, [values_of(keys, 3, 0)], freqs=keys, versions=keys, per_file=4, counts=[4, 4, 0]
    )
    assert read(record_of(prefix), [3])[9] == (values_of([9], 3, 0)[0].tolist(), 9, 9)
    write_ssd_record(
        prefix, "b", keys, [values_of(keys, 3, 0)], freqs=keys, versions=keys, per_file=4, counts=[3, 1, 0]
    )
    assert read(record_of(prefix), [3])[9] == (values_of([9], 3, 0)[0].tolist(), 9, 9)


def test_a_tier_that_was_empty_has_no_rows(tmp_path):
    prefix = str(tmp_path / "m")
    write_ssd_record(prefix, "b", np.zeros(0, np.int64), [np.zeros((0, 2))], freqs=[], versions=[])
    record = record_of(prefix)
    record.check_slots([1000])
    assert record.num_keys == 0
    assert list(record.rows([2])) == []


def test_records_are_found_by_the_prefix_of_the_checkpoint(tmp_path):
    fs = file_system_of(str(tmp_path))
    prefix = str(tmp_path / "m-1")
    for other in ("m-1", "m-10", "n"):
        write_ssd_record(
            str(tmp_path / other), "a/b", np.arange(1), [np.zeros((1, 1))], freqs=[1], versions=[1]
        )
    assert ssd_records_beside(fs, prefix) == {ssd_record_prefix(prefix, "a/b")}
    assert ssd_record_prefix(prefix, "a/b") == f"{prefix}-a_b-ssd_record"


def rewrite(prefix: str, **changed: Any) -> None:
    """The bundle with other tensors."""
    record = ssd_record_prefix(prefix, "b")
    with BundleWriter(record) as writer:
        for name, array in {
            "keys": np.arange(4),
            "keys_file_id": np.zeros(4, np.int64),
            "keys_offset": np.arange(4) * 32,
            "files": np.zeros(1, np.int64),
            "invalid_record_count": np.zeros(1, np.int64),
            "record_count": np.array([4]),
            **changed,
        }.items():
            if array is not None:
                writer.add(name, array)


@pytest.fixture
def damaged(tmp_path: Path) -> str:
    prefix = str(tmp_path / "m")
    keys = np.arange(4)
    write_ssd_record(prefix, "b", keys, [values_of(keys, 4, 0)], freqs=keys, versions=keys)
    return prefix


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"keys": np.arange(3)}, "keys_file_id"),
        ({"keys": np.arange(4, dtype=np.float32)}, "float32"),
        ({"keys_offset": np.arange(4, dtype=np.int32)}, "int32"),
        ({"keys_file_id": np.array([0, 0, 0, 7])}, "file 7"),
        ({"keys_offset": np.array([0, 32, 64, 128])}, "key 3"),
        ({"keys_offset": np.array([0, 32, 64, -32])}, "key 3"),
        ({"keys_offset": np.array([0, 32, 64, 90])}, "key 3"),
        ({"record_count": np.array([2, 2])}, "record_count"),
        ({"record_count": np.array([32])}, "records of 4 bytes"),
    ],
)
def test_what_does_not_fit_the_files_is_data_loss(damaged, changed, what):
    rewrite(damaged, **changed)
    with pytest.raises(errors.DataLossError, match=what) as raised:
        record_of(damaged)
    assert raised.value.path == ssd_record_prefix(damaged, "b")


def test_what_is_missing_is_not_found(damaged):
    rewrite(damaged, keys_offset=None)
    with pytest.raises(errors.NotFoundError, match="keys_offset"):
        record_of(damaged)
    rewrite(
        damaged, files=np.array([0, 3]), record_count=np.array([4, 0]), invalid_record_count=np.zeros(2, int)
    )
    with pytest.raises(errors.NotFoundError, match=r"3\.emb"):
        record_of(damaged)


def test_bytes_that_are_no_records_are_data_loss(damaged):
    path = Path(f"{damaged}-b-emb_files/0.emb")
    path.write_bytes(np.random.default_rng(0).normal(size=32).astype(np.float32).tobytes())
    with pytest.raises(errors.DataLossError, match="frequencies and versions"):
        list(record_of(damaged).rows([4]))


def test_a_file_that_got_shorter_meanwhile_is_data_loss(damaged):
    record = record_of(damaged)
    path = Path(f"{damaged}-b-emb_files/0.emb")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(errors.DataLossError, match="ends at byte 127"):
        list(record.rows([4]))


def test_slots_that_have_no_room_are_refused(damaged):
    record = record_of(damaged)
    for dims in ([5], [4, 1], [8]):
        with pytest.raises(errors.InvalidArgumentError, match="hold 4 elements"):
            record.check_slots(dims)
    record.check_slots([4])
