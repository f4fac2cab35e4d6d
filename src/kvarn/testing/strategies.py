"""Hypothesis strategies for what checkpoints hold.

Needs the ``test`` extra.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from kvarn import dtypes
from kvarn.formats.tensor_slice import TensorSlice

# All element types that a bundle holds as plain bytes.
PLAIN_DTYPES = tuple(dtypes.as_dtype(n) for n in range(1, 31) if n not in (7, 20, 21))


def tensor_names() -> st.SearchStrategy[str]:
    """Names: ordinary, with scopes, and with any byte in them (as surrogates)."""
    words = st.sampled_from(["w", "dnn/kernel", "dnn/bias", "emb/part_0", "scope/w_1"])
    raw = st.binary(min_size=1, max_size=20).map(lambda b: b.decode("utf-8", "surrogateescape"))
    return words | st.text(min_size=1, max_size=20).filter(_encodable) | raw


def shapes(max_rank: int = 4, max_side: int = 5) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes, with scalars and empty dimensions among them."""
    return st.lists(st.integers(0, max_side), max_size=max_rank).map(tuple)


def shapes_of_any_rank() -> st.SearchStrategy[tuple[int, ...]]:
    """`shapes`, and now and then one of up to 32 dimensions, as many as every NumPy has, few of them above 1."""
    many = st.lists(st.sampled_from((1, 1, 1, 1, 1, 1, 2, 0)), min_size=5, max_size=32).map(tuple)
    return shapes() | many.filter(lambda shape: shape.count(2) <= 6)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], dtypes.DType]:
    """An array of any shape and any element type that can be saved, strings included, and that type."""
    shape = draw(shapes_of_any_rank())
    count = int(np.prod(shape))
    if draw(st.integers(0, 5)) == 0:
        flat = np.empty(count, np.object_)
        flat[:] = draw(st.lists(st.binary(max_size=40), min_size=count, max_size=count))
        return flat.reshape(shape), dtypes.string
    dtype = draw(st.sampled_from(PLAIN_DTYPES))
    raw = draw(st.binary(min_size=count * dtype.size, max_size=count * dtype.size))
    if dtype in (dtypes.int4, dtypes.uint4):
        low = 0 if dtype is dtypes.uint4 else 8
        values = [byte % 16 - low for byte in raw]
        return np.array(values, np.int8).astype(dtype.np).reshape(shape), dtype
    if dtype is dtypes.bool:
        return (np.frombuffer(raw, np.uint8) % 2 == 1).reshape(shape), dtype
    return np.frombuffer(raw, dtype.np).reshape(shape), dtype


@st.composite
def slices_of(draw: st.DrawFn, shape: tuple[int, ...]) -> TensorSlice:
    """A part of a tensor with at least one element in every dimension."""
    extents = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        extents.append((start, draw(st.integers(1, size - start))))
    return TensorSlice(tuple(extents))


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
