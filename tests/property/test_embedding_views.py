"""`EmbeddingTable` gives the rows that were saved, however they lie in the file."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn.checkpoint.embeddings.table import EmbeddingTable
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.io import MemoryFileSystem

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)


@settings(max_examples=120, deadline=None)
@given(
    keys=st.one_of(
        st.lists(st.one_of(st.integers(-30, 3000), INT64), unique=True, max_size=40).map(
            lambda keys: np.array(keys, np.int64)
        ),
        st.lists(INT32, unique=True, max_size=40).map(lambda keys: np.array(keys, np.int32)),
    ),
    parts=st.integers(0, 5),
    filtered=st.lists(st.integers(3001, 9000), unique=True, max_size=6),
    dims=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    with_columns=st.booleans(),
    alike=st.booleans(),
    chunk_bytes=st.sampled_from([1, 30, 200, 1 << 20]),
    seed=st.integers(0, 2**16),
)
def test_rows_come_back_by_key(
    keys: np.ndarray,
    parts: int,
    filtered: list[int],
    dims: tuple[int, int],
    with_columns: bool,
    alike: bool,
    chunk_bytes: int,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    values, slot = (random.normal(size=(len(keys), dim)).astype(np.float32) for dim in dims)
    columns = random.integers(0, 100, (2, len(keys)))
    filtered = [key for key in filtered if key not in keys]
    not_admitted = np.array(filtered, keys.dtype)
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        for part in range(max(1, parts)):
            stem = f"scope/e/part_{part}" if parts else "scope/e"
            own = np.flatnonzero(embedding.part_of(keys, max(1, parts)) == part)
            theirs = not_admitted[embedding.part_of(not_admitted, max(1, parts)) == part]
            orders = [random.permutation(own) for _ in range(2)]
            rows, slot_rows = (order[embedding.bucket_order(keys[order])[0]] for order in orders)
            embedding.write_embedding(
                writer,
                stem,
                keys[rows],
                values[rows],
                dim=dims[0],
                freqs=columns[0][rows] if with_columns else None,
                versions=columns[1][rows] if with_columns else None,
                keys_filtered=theirs[embedding.bucket_order(theirs)[0]],
            )
            slot_rows = rows if alike else slot_rows
            embedding.write_embedding(writer, f"{stem}/Adam", keys[slot_rows], slot[slot_rows], dim=dims[1])
    with BundleReader("m", fs) as reader:
        table = EmbeddingTable(reader, "scope/e")
        assert (table.num_partitions, table.num_keys) == (max(1, parts), len(keys))
        assert (table.num_filtered, table.slots) == (len(filtered), {"Adam": dims[1]})
        assert table.key_dtype.np == keys.dtype
        assert table.check() == []
        place = {key: row for row, key in enumerate(keys.tolist())}
        seen: list[int] = []
        for chunk in table.chunks(chunk_bytes):
            rows = np.array([place[key] for key in chunk.keys.tolist()])
            assert np.array_equal(chunk.values, values[rows])
            assert np.array_equal(chunk.slots["Adam"], slot[rows])
            assert len(chunk.keys) * 4 * sum(dims) <= max(chunk_bytes, 4 * sum(dims))
            if with_columns:
                assert np.array_equal(np.stack([chunk.freqs, chunk.versions]), columns[:, rows])
            else:
                assert chunk.freqs is None
                assert chunk.versions is None
            seen += chunk.keys.tolist()
        assert sorted(seen) == sorted(place)
        assert sorted(k for c in table.filtered_chunks() for k in c.keys.tolist()) == sorted(filtered)
        wanted = random.permutation(np.concatenate([keys.astype(np.int64), [10_001, -10_001]]))
        found = table.lookup(wanted)
        assert found.found.tolist() == [key in place for key in wanted.tolist()]
        rows = np.array([place[key] for key in wanted[found.found].tolist()], np.int64)
        assert np.array_equal(found.values[found.found], values[rows])
        assert np.array_equal(found.slots["Adam"][found.found], slot[rows])
