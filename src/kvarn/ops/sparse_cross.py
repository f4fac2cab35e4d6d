"""Crosses of features: each combination of one feature of every input, joined or hashed.

Source: tensorflow/core/ops/sparse_ops.cc, tensorflow/core/kernels/sparse_cross_op.cc,
tensorflow/core/platform/fingerprint.h, tensorflow/python/ops/sparse_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.ops import casting

_DEFAULT_HASH_KEY: Final = 0xDECAFCAFFE
_MAX_INT64: Final = np.uint64(np.iinfo(np.int64).max)


class _Column(NamedTuple):
    """The features of one input, row after row: `counts` and `starts` [batch], `values` [features]."""

    values: Any
    counts: Any
    starts: Any


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise errors.InvalidArgumentError.of(message)


def _check_sparse(number: int, indices: Any, values: Any, shape: Any) -> None:
    at = f" at position {number}"
    _require(
        indices.ndim == 2,
        f"Input indices should be a matrix but received shape {shapes.fmt(indices.shape)}{at}",
    )
    _require(indices.shape[1] == 2, f"Expected D2 of index to be 2 got {indices.shape[1]}{at}")
    _require(
        values.ndim == 1,
        f"Input values should be a std::vector but received shape {shapes.fmt(values.shape)}{at}",
    )
    _require(
        len(indices) == len(values),
        f"Expected size of values to be {len(indices)} got {len(values)}{at}",
    )
    _require(
        shape.ndim == 1,
        f"Input shapes should be a std::vector but received shape {shapes.fmt(shape.shape)}{at}",
    )
    _require(len(shape) == 2, f"shape should imply a 2D tensor, but got {shapes.fmt(shape.shape)}{at}")


def _sparse_column(indices: Any, values: Any, batch: int) -> _Column:
    """Rows count as far as their indices ascend; what comes after a step back belongs to no row."""
    rows = indices[:, 0]
    back = np.flatnonzero(np.diff(rows, prepend=0) < 0)
    if len(back):
        rows = rows[: back[0]]
    starts = np.searchsorted(rows, np.arange(batch), side="left")
    ends = np.searchsorted(rows, np.arange(batch), side="right")
    return _Column(values, ends - starts, starts)


def _dense_column(number: int, values: Any, batch: int) -> _Column:
    _require(
        values.ndim == 2,
        f"Dense inputs should be a matrix but received shape {shapes.fmt(values.shape)} at position {number}",
    )
    count = values.shape[1]
    _require(len(values) == batch, f"Expected batch size {batch} got {len(values)} at dense tensor {number}")
    return _Column(values.reshape(-1), np.full(batch, count), np.arange(batch) * count)


def _columns(indices: Any, values: Any, given: Any, dense: Any) -> tuple[list[_Column], int]:
    """The inputs as columns, and the size of the batch."""
    for number, parts in enumerate(zip(indices, values, given, strict=True)):
        _check_sparse(number, *parts)
    batch = int(given[0][0]) if given else len(dense[0]) if dense and dense[0].ndim else 0
    for number, shape in enumerate(given):
        _require(
            int(shape[0]) == batch, f"Expected batch size {batch} got {int(shape[0])} at position {number}"
        )
    columns = [_sparse_column(i, v, batch) for i, v in zip(indices, values, strict=True)]
    columns += [_dense_column(number, v, batch) for number, v in enumerate(dense)]
    return columns, batch


def _hashed(picked: list[Any], ctx: Any) -> Any:
    from kvarn import _native

    key = np.uint64(ctx.attrs["hash_key"] % (1 << 64))
    result = np.full(len(picked[0]), key, np.uint64)
    for values in picked:
        if values.dtype == object:
            hashes = _native.farmhash_fingerprint64(np.ascontiguousarray(values))
        else:
            hashes = values.astype(np.int64).view(np.uint64)
        result = _native.fingerprint_cat64(result, np.ascontiguousarray(hashes))
    # Without buckets the hash only has to be a positive int64.
    modulus = np.uint64(ctx.attrs["num_buckets"]) or _MAX_INT64
    return (result % modulus).astype(np.int64)


def _joined(picked: list[Any]) -> Any:
    texts = [v if v.dtype == object else [b"%d" % n for n in v.tolist()] for v in picked]
    out = np.empty(len(picked[0]), object)
    out[:] = [b"_X_".join(parts) for parts in zip(*texts, strict=True)]
    return out


@op(
    "SparseCross",
    inputs=["indices: N * int64", "values: sparse_types", "shapes: N * int64", "dense_inputs: dense_types"],
    outputs=["output_indices: int64", "output_values: out_type", "output_shape: int64"],
    attrs=[
        "N: int >= 0",
        "hashed_output: bool",
        "num_buckets: int >= 0",
        "hash_key: int",
        "sparse_types: list({int64, string}) >= 0",
        "dense_types: list({int64, string}) >= 0",
        "out_type: {int64, string}",
        "internal_type: {int64, string}",
    ],
)
class sparse_cross_:
    """All combinations of one feature of each input, row by row, those of the last input changing fastest.

    The inputs are sparse matrices, of which the rows come in order, and dense ones.  Of each combination there is a
    string, its parts with ``_X_`` between them, or where ``out_type`` is int64 a hash modulo ``num_buckets``.
    """

    def shape(c: Any, indices: Any, values: Any, shapes: Any, dense_inputs: Any) -> Any:
        return [(None, 2), (None,), (2,)]

    def kernel(ctx: Any, indices: Any, values: Any, shapes: Any, dense_inputs: Any) -> Any:
        columns, batch = _columns(indices, values, shapes, dense_inputs)
        counts = np.array([c.counts for c in columns], np.int64).reshape(len(columns), batch)
        totals = counts.prod(axis=0)
        rows = np.repeat(np.arange(batch), totals)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(totals) - totals, totals)
        rest = within
        picked: list[Any] = []
        for column in reversed(columns):
            count = column.counts[rows]
            picked.insert(0, column.values[column.starts[rows] + rest % count])
            rest = rest // count
        if not picked:
            crosses = np.empty(0, ctx.attrs["out_type"].np)
        elif ctx.attrs["out_type"] == dtypes.int64:
            crosses = _hashed(picked, ctx)
        else:
            crosses = _joined(picked)
        shape = np.array([batch, totals.max(initial=0)], np.int64)
        return np.stack([rows, within], axis=1), crosses, shape

    grad = NOT_DIFFERENTIABLE


def sparse_cross(inputs: list[Any], name: str | None = None) -> SparseTensor:
    """All combinations of one feature of each input, as strings with ``_X_`` between the parts.

    Args:
      inputs: int or string tensors and sparse tensors [batch, any].

    Returns:
      A string SparseTensor [batch, most combinations of a row].

    Raises:
      TypeError: ``inputs`` is no list, or one is neither a Tensor nor a SparseTensor.
    """
    return _cross(inputs, False, 0, None, name)


def sparse_cross_hashed(
    inputs: list[Any], num_buckets: int = 0, hash_key: int | None = None, name: str | None = None
) -> SparseTensor:
    """As `sparse_cross`, each combination as a number below ``num_buckets``, or any positive one if that is 0.

    Args:
      inputs: int or string tensors and sparse tensors [batch, any].
      hash_key: what the hash begins with.

    Returns:
      An int64 SparseTensor.

    Raises:
      TypeError: ``inputs`` is no list, or one is neither a Tensor nor a SparseTensor.
    """
    return _cross(inputs, True, num_buckets, hash_key, name)


def _cross(
    inputs: list[Any], hashed_output: bool, num_buckets: int, hash_key: int | None, name: str | None
) -> SparseTensor:
    if not isinstance(inputs, list):
        raise TypeError("Inputs must be a list")
    if not all(isinstance(i, (SparseTensor, Tensor)) for i in inputs):
        raise TypeError("All inputs must be SparseTensors")
    sparse = [i for i in inputs if isinstance(i, SparseTensor)]
    values = _numbers_as_int64([i.values for i in sparse])
    dense = _numbers_as_int64([i for i in inputs if isinstance(i, Tensor)])
    strings_only = all(t.dtype == dtypes.string for t in (*values, *dense))
    return SparseTensor(
        *sparse_cross_(
            indices=[i.indices for i in sparse],
            values=values,
            shapes=[i.dense_shape for i in sparse],
            dense_inputs=dense,
            hashed_output=hashed_output,
            num_buckets=num_buckets,
            hash_key=hash_key or _DEFAULT_HASH_KEY,
            out_type=dtypes.int64 if hashed_output else dtypes.string,
            internal_type=dtypes.string if strings_only else dtypes.int64,
            name=name,
        )
    )


def _numbers_as_int64(tensors: Sequence[Tensor]) -> list[Any]:
    return [t if t.dtype == dtypes.string else casting.cast(t, dtypes.int64) for t in tensors]
