"""A checkpoint of any format, asked for everything that a `TensorReader` offers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fuzz.contract import Broken, attempt
from kvarn.checkpoint.embeddings.stored_table import embedding_groups
from kvarn.checkpoint.embeddings.table import EmbeddingTable
from kvarn.formats import embedding_rows
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.reader import TensorReader
from kvarn.formats.tensor_slice import TensorSlice

# Names looked at in one run: each is read in half a dozen ways.
_MOST_NAMES = 3


def read_tensors(reader: TensorReader) -> list[str]:
    """Lists the tensors, reads the first few in all ways, which must agree; the names."""
    names = attempt(reader.keys) or []
    attempt(lambda: list(reader.tensors()))
    attempt(reader.files)
    attempt(reader.lookup, b"missing")
    for name in names[:_MOST_NAMES]:
        _read_tensor(reader, name)
    return names


def _read_tensor(reader: TensorReader, name: str) -> None:
    info = attempt(reader.info, name)
    attempt(reader.lookup_dtype_and_shape, name)
    if not reader.contains(name):
        raise Broken(f"{name!r} is listed and not there")
    whole = attempt(reader.lookup, name)
    attempt(reader.verify, name)
    pieces = attempt(lambda: list(reader.chunks(name, 16)))
    if (whole is None) != (pieces is None):
        raise Broken(f"{name!r} can be read in one of two ways: whole and in chunks")
    if info is None:
        return
    if whole is not None and pieces is not None:
        if whole.shape != info.shape or whole.dtype != info.dtype.np:
            raise Broken(f"{name!r} is {whole.dtype}{whole.shape}, not {info.dtype}{info.shape}")
        same(name, whole, pieces[0] if len(pieces) == 1 else np.concatenate(pieces))
    for piece in info.slices[:4]:
        attempt(reader.lookup_stored_slice, name, piece)
    region = TensorSlice(tuple((size // 2, size - size // 2) for size in info.shape))
    part = attempt(reader.lookup_slice, name, region)
    if whole is not None and part is not None:
        cut = (..., *(slice(start, start + n) for start, n in region.extents))
        same(name, whole[cut], part)


def read_embeddings(reader: BundleReader) -> None:
    """The embedding variables among the tensors."""
    for group in (attempt(embedding_groups, reader) or [])[:3]:
        attempt(embedding_rows.embedding_info, reader, group.name)
        attempt(lambda group=group: list(embedding_rows.read_embedding(reader, group.name, chunk_bytes=16)))
        attempt(
            lambda group=group: list(
                embedding_rows.read_embedding(reader, group.name, partition_id=1, partition_num=2)
            )
        )
        attempt(embedding_rows.verify_embedding, reader, group.name, set())


def read_tables(reader: TensorReader) -> None:
    """The same, each with its slots as one thing."""
    for group in (attempt(embedding_groups, reader) or [])[:2]:
        table = attempt(EmbeddingTable, reader, group.name)
        if table is None:
            continue
        for missing in ("error", "nan"):
            attempt(lambda table=table, missing=missing: list(table.chunks(16, missing=missing)))
        attempt(lambda table=table: list(table.filtered_chunks()))
        whole = attempt(table.read)
        found = attempt(table.lookup, [1, 7, 1001])
        attempt(table.check)
        if whole is not None and found is not None:
            for at, key in enumerate([1, 7, 1001]):
                rows = np.flatnonzero(whole.keys == key)
                if bool(found.found[at]) != bool(len(rows)):
                    raise Broken(f"key {key} of '{group.name}' is looked up and read with different answers")


def same(name: str, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> None:
    """Type, shape and every bit are equal."""
    if one.shape != other.shape or one.dtype != other.dtype:
        raise Broken(f"{name!r}: {one.dtype}{one.shape} is not {other.dtype}{other.shape}")
    equal = one.tolist() == other.tolist() if one.dtype.hasobject else one.tobytes() == other.tobytes()
    if not equal:
        raise Broken(f"{name!r} has different values when read in different ways")
