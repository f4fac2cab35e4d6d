"""Rows of embedding variables by part: from maps of files and piece by piece, several columns side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kvarn import errors
from kvarn.formats import embedding, embedding_rows
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding_rows import StoredPart, read_embedding, read_parts
from kvarn.io import MemoryFileSystem

KEYS = np.arange(-40, 60, dtype=np.int64)


@pytest.fixture(params=["mapped", "read"])
def place(request: Any, tmp_path: Any) -> tuple[str, Any]:
    """A prefix and the file system it is on: the machine's own, or one without maps."""
    return (str(tmp_path / "m"), None) if request.param == "mapped" else ("m", MemoryFileSystem())


def write(place: tuple[str, Any], *, odd: bool = False, **columns: Any) -> BundleReader:
    """``b`` of dim 3 and its slot ``b/Adagrad`` of dim 1, whose rows tell the key."""
    order, _ = embedding.bucket_order(KEYS)
    keys = KEYS[order]
    with BundleWriter(*place) as writer:
        if odd:
            writer.add("a", np.zeros(3, np.uint8))  # what follows lies at an odd address
        for name, dim in (("b", 3), ("b/Adagrad", 1)):
            values = np.repeat(keys[:, None], dim, axis=1).astype(np.float32)
            embedding.write_embedding(writer, name, keys, values, dim=dim, freqs=keys + 100, **columns)
    return BundleReader(*place)


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1, 16, 100, 1 << 20])
def test_columns_side_by_side(place: tuple[str, Any], chunk_bytes: int, odd: bool) -> None:
    reader = write(place, odd=odd)
    parts = [StoredPart(reader, name) for name in ("b", "b/Adagrad")]
    seen = []
    for rows in read_parts(parts, partition_id=1, partition_num=3, chunk_bytes=chunk_bytes):
        assert [column.shape for column in rows.columns] == [(len(rows.keys), 3), (len(rows.keys), 1)]
        for column in rows.columns:
            np.testing.assert_array_equal(column, np.repeat(rows.keys[:, None], column.shape[1], axis=1))
        np.testing.assert_array_equal(rows.freqs, rows.keys + 100)
        assert len(rows.keys) <= max(1, chunk_bytes // 16)
        seen += rows.keys.tolist()
    assert sorted(seen) == [key for key in KEYS.tolist() if key % 1000 % 3 == 1]


def test_keys_that_are_left_out(place: tuple[str, Any]) -> None:
    reader = write(place, keys_filtered=np.array([70, 71]), freqs_filtered=np.array([1, 2]))
    without = np.array([-40, 3, 71, 900])
    admitted, waiting = read_parts([StoredPart(reader, "b")], without=without)
    assert set(admitted.keys.tolist()) == set(KEYS.tolist()) - {-40, 3}
    assert (waiting.keys.tolist(), waiting.freqs.tolist(), waiting.columns) == ([70], [1], ())
    # None is left: no chunk.
    assert list(read_parts([StoredPart(reader, "b")], without=np.append(KEYS, [70, 71]))) == []


def test_a_part_is_verified_once(place: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    reader = write(place)
    verified: set[str] = set()
    StoredPart(reader, "b", verified).verify()
    assert {"b-keys", "b-values", "b-freqs", "b-keys_filtered", "b-partition_offset"} <= verified
    asked: list[str] = []
    monkeypatch.setattr(reader, "verify", asked.append)
    StoredPart(reader, "b", verified).verify()
    assert asked == []


def test_a_damaged_byte_is_found_before_any_row_or_with_the_last(place: tuple[str, Any]) -> None:
    reader = write(place)
    entry = reader.entry("b-values")
    path, _ = reader.files()[1]
    content = bytearray(reader.fs.open_read(path).read(0, 1 << 20))
    content[entry.offset + entry.size - 1] ^= 1
    file = reader.fs.open_write(path)
    file.append(bytes(content))
    file.close()
    damaged = BundleReader(*place)
    with pytest.raises(errors.DataLossError, match="b-values"):
        StoredPart(damaged, "b").verify()
    given = []
    with pytest.raises(errors.DataLossError, match="b-values"):
        given.extend(read_embedding(damaged, "b", chunk_bytes=64))
    assert not given or sum(len(rows.keys) for rows in given) < len(KEYS)


def test_of_a_map_some_is_in_memory_at_a_time(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = write((str(tmp_path / "m"), None))
    monkeypatch.setattr(embedding_rows, "_MAPPED_BYTES", 320)
    released: list[int] = []
    given: list[int] = []
    release = reader.data.release_pages
    monkeypatch.setattr(reader.data, "release_pages", lambda: (released.append(len(given)), release()))
    # Rows of 16 bytes, four at a time.
    for rows in read_parts([StoredPart(reader, name) for name in ("b", "b/Adagrad")], chunk_bytes=64):
        np.testing.assert_array_equal(rows.columns[1][:, 0], rows.keys)
        given += rows.keys.tolist()
    assert released == [0, 20, 40, 60, 80]
