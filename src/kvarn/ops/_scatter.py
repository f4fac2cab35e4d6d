"""Updates of some rows or elements of an array in place; shared by reference and resource variables.

Source: tensorflow/core/kernels/{scatter_functor.h,scatter_op.cc,scatter_nd_op.cc}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.shape_inference import Shape, fmt, merge
from kvarn.ops._elementwise import place_text

Array = npt.NDArray[Any]


def check_rows(params: Array, indices: Array) -> None:
    """InvalidArgumentError unless every index is a row of ``params``."""
    rows = params.shape[0]
    if indices.size == 0:
        return
    # Negative numbers are large as unsigned ones: one comparison covers both ends.
    unsigned = indices.view(np.uint32 if indices.dtype.itemsize == 4 else np.uint64)
    if int(unsigned.max()) < rows:
        return
    flat = indices.reshape(-1)
    bad = int(np.flatnonzero((flat < 0) | (flat >= rows))[0])
    raise errors.InvalidArgumentError.of(
        f"indices{place_text(indices.shape, bad)} = {flat[bad]} is not in [0, {rows})",
        hint=f"Indices must lie inside the first dimension, which has {rows} rows.",
    )


def check_updates(params: Array, indices: Array, updates: Any) -> None:
    """InvalidArgumentError unless ``updates`` is a scalar or has one slice of ``params`` for each index."""
    if params.ndim < 1:
        raise errors.InvalidArgumentError.of(f"params must be at least 1-D, got shape {fmt(params.shape)}")
    if np.ndim(updates) != 0 and np.shape(updates) != indices.shape + params.shape[1:]:
        raise errors.InvalidArgumentError.of(
            "Must have updates.shape = indices.shape + params.shape[1:] or updates.shape = [], got "
            f"updates.shape {fmt(np.shape(updates))}, indices.shape {fmt(indices.shape)}, params.shape "
            f"{fmt(params.shape)}"
        )


def _divide(params: Array, rows: Any, updates: Any) -> None:
    if params.dtype.kind in "iu":
        # Towards zero, as C++ does; NumPy's floor_divide rounds down.
        if not np.all(updates):
            raise errors.InvalidArgumentError.of("Integer division by zero")
        if np.ndim(updates) == 0:
            updates = np.broadcast_to(updates, (len(rows), *params.shape[1:]))
        for row, update in zip(rows, updates, strict=True):
            old = params[row]
            quotient = np.abs(old) // np.abs(update)
            params[row] = np.where((old < 0) != (update < 0), -quotient, quotient).astype(params.dtype)
    else:
        np.divide.at(params, rows, updates)


def _set(params: Array, rows: Any, updates: Any) -> None:
    params[rows] = updates


def _at(function: np.ufunc) -> Callable[[Array, Any, Any], None]:
    def update(params: Array, rows: Any, updates: Any) -> None:
        width = params.size // len(params)
        if width != 1 and params.flags.c_contiguous:
            # `ufunc.at` is fast for vectors only: one index for each element.
            places = (rows[:, None] * np.int64(width) + np.arange(width)).reshape(-1)
            function.at(params.reshape(-1), places, np.reshape(updates, -1) if np.ndim(updates) else updates)
        else:
            function.at(params, rows, updates)

    return update


UPDATES: dict[str, Callable[[Array, Any, Any], None]] = {
    "Update": _set,
    "Add": _at(np.add),
    "Sub": _at(np.subtract),
    "Mul": _at(np.multiply),
    "Div": _divide,
    "Min": _at(np.minimum),
    "Max": _at(np.maximum),
}


def scatter(params: Array, indices: Any, updates: Any, how: str) -> None:
    """``params[indices[i]] op= updates[i]`` in order of i, in place, or of one scalar for all.

    Args:
      params: [n, ...], changed.
      indices: int32 or int64 of any shape.
      updates: indices.shape + params.shape[1:], or a scalar.
      how: a key of `UPDATES`.

    Raises:
      InvalidArgumentError: shapes do not fit or an index is out of range; ``params`` is unchanged.
    """
    indices = np.asarray(indices, order="C")
    check_updates(params, indices, updates)
    check_rows(params, indices)
    rows = indices.reshape(-1)
    if rows.size == 0:
        return
    if np.ndim(updates) != 0:
        updates = np.reshape(updates, (rows.size, *params.shape[1:]))
    UPDATES[how](params, rows, updates)


def scatter_nd(params: Array, indices: Any, updates: Any, how: str) -> None:
    """``params[tuple(indices[i])] op= updates[i]`` in order of i, in place.

    Args:
      params: changed.
      indices: int32 or int64 [..., k] with k at most the rank of ``params``.
      updates: indices.shape[:-1] + params.shape[k:].

    Raises:
      InvalidArgumentError: shapes do not fit or an index is out of range; ``params`` is unchanged.
    """
    indices = np.asarray(indices)
    updates = np.asarray(updates)
    if params.ndim < 1:
        raise errors.InvalidArgumentError.of(f"Output must be at least 1-D, got shape: {fmt(params.shape)}")
    if indices.size == 0 and updates.size == 0:
        return
    if not (params.size and indices.size and updates.size):
        raise errors.InvalidArgumentError.of(
            f"Indices and updates specified for empty output.  indices shape: {fmt(indices.shape)}"
        )
    depth = indices.shape[-1] if indices.ndim > 1 else 1
    batch = indices.ndim - 1 if indices.ndim > 1 else indices.ndim
    if updates.ndim < 1 or (indices.ndim >= 1 and updates.shape[0] != indices.shape[0]):
        raise errors.InvalidArgumentError.of(
            "The outermost dimension of updates and indices must match. Got indices.shape "
            f"{fmt(indices.shape)}, updates.shape {fmt(updates.shape)}"
        )
    if depth > params.ndim or updates.shape != indices.shape[:batch] + params.shape[depth:]:
        raise errors.InvalidArgumentError.of(
            "Must have updates.shape = indices.shape[:batch_dim] + params_shape[slice_dim:], got "
            f"updates.shape: {fmt(updates.shape)}, indices.shape: {fmt(indices.shape)}, params_shape: "
            f"{fmt(params.shape)}, slice_dim: {depth}, and batch_dim: {batch}"
        )
    flat = indices.reshape(-1, depth)
    bad = np.flatnonzero(((flat < 0) | (flat >= np.array(params.shape[:depth]))).any(axis=1))
    if bad.size:
        first = int(bad[0])
        place = place_text(indices.shape[:-1] or (flat.shape[0],), first)
        raise errors.InvalidArgumentError.of(
            f"indices{place} = [{', '.join(str(i) for i in flat[first])}] does not index into shape "
            f"{fmt(params.shape)}"
        )
    # One number for each index, so that rows (slices) can be updated as those of a matrix.
    rows = np.ravel_multi_index(tuple(flat.T), params.shape[:depth])
    matrix = params.reshape(-1, *params.shape[depth:])
    UPDATES[how](matrix, rows, updates.reshape(rows.size, *params.shape[depth:]))


def scatter_nd_new(output: Array, indices: Any, updates: Any, how: str, *, empty: bool) -> Array:
    """``output``, an array that nobody else holds, updated as by `scatter_nd`.

    Args:
      empty: whether the output counts as empty.

    Raises:
      InvalidArgumentError: as ScatterNd and TensorScatterUpdate say it.
    """
    if (empty or not indices.size or not updates.size) and (indices.size or updates.size):
        raise errors.InvalidArgumentError.of("Indices and updates specified for empty output shape")
    outer = indices.ndim - 1
    if updates.shape[:outer] != indices.shape[:outer]:
        raise errors.InvalidArgumentError.of(
            f"Outer dimensions of indices and update must match. Indices shape: {fmt(indices.shape)}, updates "
            f"shape:{fmt(updates.shape)}"
        )
    inner = output.shape[indices.shape[-1] :]
    if updates.ndim - outer != output.ndim - indices.shape[-1]:
        raise errors.InvalidArgumentError.of(
            "Inner dimensions of output shape must match inner dimensions of updates shape. Output: "
            f"{fmt(output.shape)} updates: {fmt(updates.shape)}"
        )
    if updates.shape[outer:] != inner:
        raise errors.InvalidArgumentError.of(
            f"The inner {len(inner)} dimensions of output.shape={fmt(output.shape)} must match the inner "
            f"{updates.ndim - outer} dimensions of updates.shape={fmt(updates.shape)}"
        )
    scatter_nd(output, indices, updates, how)
    return output


def scatter_shape(var: Shape, indices: Shape, updates: Shape) -> Shape:
    """The static check of a row update; the shape of the variable."""
    if var is not None:
        if len(var) < 1:
            raise ValueError(f"Shape must be at least rank 1 but is rank {len(var)}")
        if indices is not None and updates != ():
            merge(updates, indices + var[1:])
    return var


def scatter_nd_shape(var: Shape, indices: Shape, updates: Shape, what: str = "input") -> Shape:
    """The static check of an update by index tuples; the shape of what is updated, which is called ``what``."""
    shapes.with_rank_at_least(indices, 1)
    shapes.with_rank_at_least(updates, 1)
    if _count(var) == 0 and (_count(indices) or _count(updates)):
        raise ValueError("Indices and updates specified for empty output shape")
    if indices is None or updates is None or indices[-1] is None:
        return var
    outer, depth = len(indices) - 1, indices[-1]
    try:
        merge(indices[:-1], updates[:outer])
    except ValueError as e:
        raise ValueError(
            f"The outer {outer} dimensions of indices.shape={fmt(indices)} must match the outer {outer} "
            f"dimensions of updates.shape={fmt(updates)}: {e}"
        ) from None
    if var is not None:
        try:
            merge(var[depth:], updates[outer:])
        except ValueError as e:
            raise ValueError(
                f"The inner {len(var) - depth} dimensions of {what}.shape={fmt(var)} must match the inner "
                f"{len(updates) - outer} dimensions of updates.shape={fmt(updates)}: {e}"
            ) from None
    return var


def _count(shape: Shape) -> int | None:
    """The number of elements, if all dimensions are known."""
    if shape is None or None in shape:
        return None
    return math.prod(d for d in shape if d is not None)
