"""Lists of tensors of different lengths: one after the other in one tensor, and back.

Source: tensorflow/core/ops/list_ops.cc, tensorflow/core/kernels/list_kernels.h,
tensorflow/python/ops/list_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import op
from kvarn.graph.shape_inference import Shape, fmt
from kvarn.ops import _tensor_lists as lists
from kvarn.ops import tensor_list_ops as raw
from kvarn.ops._tensor_lists import TensorList


def _concat_shape(c: Any, element_shape: Shape) -> Any:
    shape = shapes.merge(element_shape, raw.element_shape_of_input(c))
    return [None if shape is None else (None, *shape[1:]), (None,)]


def _first_dimension(found: TensorList, shape: Shape) -> tuple[int | None, Shape]:
    """What all elements have as their first dimension, if it is known, and the shape behind it.

    Raises:
      InvalidArgumentError: an element is a scalar, or does not fit.
    """
    if shape is not None and not shape:
        raise errors.InvalidArgumentError.of(
            "Concat requires elements to be at least vectors, found scalars instead."
        )
    first, rest = (None, None) if shape is None else (shape[0], shape[1:])
    if not found.length and not lists.fully_defined(rest):
        raise errors.InvalidArgumentError.of(
            "All except the first dimension must be fully defined when concating an empty tensor list. "
            f"element_shape: {fmt(rest)}"
        )
    if lists.fully_defined(found.element_shape):
        return first, rest
    seen = set()
    for i, x in enumerate(found.items()):
        if x is None:
            continue
        if not x.ndim:
            raise errors.InvalidArgumentError.of(
                f"Concat saw a scalar shape at index {i} but requires at least vectors."
            )
        rest = lists.merged(rest, x.shape[1:])
        if first is not None and first != len(x):
            raise errors.InvalidArgumentError.of(
                "First entry of element_shape input does not match the first dim of list element at index: "
                f"{i} Expected: {first} Actual: {len(x)}"
            )
        seen.add(len(x))
    return (seen.pop() if first is None and len(seen) == 1 else first), rest


def _concatenated(ctx: Any, handle: Any, shape: Shape, leading_dims: Any) -> tuple[Any, Any]:
    """The elements one after the other, and how long each is; ``leading_dims`` says that of those not set."""
    found = raw.typed_list(ctx, handle)
    first, rest = _first_dimension(found, lists.merged(shape, found.element_shape))
    if rest is None or None in rest:
        raise errors.InvalidArgumentError.of(
            "Trying to concat list with only uninitialized tensors but element_shape_except_first_dim_ is not fully "
            f"defined: {fmt(rest)}"
        )
    parts = []
    for i, x in enumerate(found.items()):
        if x is not None:
            parts.append(x)
            continue
        if leading_dims is not None and i < len(leading_dims):
            length = int(leading_dims[i])
        elif first is not None:
            length = first
        elif leading_dims is None:
            raise errors.InvalidArgumentError.of(
                "Concating lists with uninitialized tensors is not supported in this version of TensorListConcat. "
                "Consider updating your GraphDef to run the newer version."
            )
        else:
            raise errors.InvalidArgumentError.of(
                f"List contains uninitialized tensor at index {i} but leading_dims has only {len(leading_dims)} "
                "elements."
            )
        known = tuple(d for d in rest if d is not None)
        parts.append(lists.zeros((length, *known), found.element_dtype))
    lengths = np.array([len(x) for x in parts], np.int64)
    if not parts:
        return lists.zeros((0, *[d for d in rest if d is not None]), found.element_dtype), lengths
    return np.concatenate(parts), lengths


def _concat_grad(op: Any, d: Any, d_lengths: Any) -> Any:
    shape = raw.tensor_list_element_shape(op.inputs[0], shape_type=dtypes.int32)
    split = tensor_list_split(d, element_shape=shape, lengths=op.outputs[1])
    return (split, *[None] * (len(op.inputs) - 1))


@op(
    "TensorListConcat",
    "input_handle: variant",
    ["tensor: element_dtype", "lengths: int64"],
    ["element_dtype: type", "element_shape: shape = { unknown_rank: true }"],
)
class tensor_list_concat:
    """All elements one after the other along their first dimension, and how long each is."""

    def shape(c: Any, input_handle: Any) -> Any:
        return _concat_shape(c, c.attrs["element_shape"])

    def kernel(ctx: Any, input_handle: Any) -> Any:
        return _concatenated(ctx, input_handle, ctx.attrs["element_shape"], None)

    grad = _concat_grad


@op(
    "TensorListConcatV2",
    ["input_handle: variant", "element_shape: shape_type", "leading_dims: int64"],
    ["tensor: element_dtype", "lengths: int64"],
    ["element_dtype: type", "shape_type: {int32, int64}"],
)
class tensor_list_concat_v2:
    """All elements one after the other along their first dimension, and how long each is."""

    def shape(c: Any, input_handle: Any, element_shape: Any, leading_dims: Any) -> Any:
        return _concat_shape(c, raw.shape_input(c, 1))

    def kernel(ctx: Any, input_handle: Any, element_shape: Any, leading_dims: Any) -> Any:
        return _concatenated(ctx, input_handle, lists.given_shape(element_shape), leading_dims)

    grad = _concat_grad


@op(
    "TensorListSplit",
    ["tensor: element_dtype", "element_shape: shape_type", "lengths: int64"],
    "output_handle: variant",
    ["element_dtype: type", "shape_type: {int32, int64}"],
)
class tensor_list_split:
    """The list of the parts of ``tensor``, as long as ``lengths`` says."""

    def shape(c: Any, tensor: Any, element_shape: Any, lengths: Any) -> Any:
        shapes.with_rank(lengths, 1)
        rest = shapes.with_rank_at_least(tensor, 1)
        shapes.merge(None if rest is None else (None, *rest[1:]), raw.shape_input(c, 1))
        return ()

    def kernel(ctx: Any, tensor: Any, element_shape: Any, lengths: Any) -> Any:
        shape = lists.given_shape(element_shape)
        if shape is not None and not shape:
            raise errors.InvalidArgumentError.of(
                "TensorListSplit requires element_shape to be at least of rank 1, but saw: []"
            )
        if not tensor.ndim:
            raise errors.InvalidArgumentError.of("Tensor must be at least a vector, but saw shape: []")
        if shape is not None and not lists.is_compatible(shape[1:], tensor.shape[1:]):
            raise errors.InvalidArgumentError.of(
                f"tensor shape {fmt(tensor.shape)} is not compatible with element_shape {fmt(shape)}"
            )
        if lengths.ndim != 1:
            raise errors.InvalidArgumentError.of(
                f"Expected lengths to be a vector, received shape: {fmt(lengths.shape)}"
            )
        return TensorList(ctx.attrs["element_dtype"], shape, _parts(tensor, lengths))

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import array, joining, slicing

        tensor, _, lengths = op.inputs
        rest = slicing.slice(array.shape(tensor), [1], [-1])
        shape = joining.concat([[-1], rest], axis=0)
        joined = tensor_list_concat_v2(
            d, element_shape=shape, leading_dims=lengths, element_dtype=tensor.dtype
        )
        return joined[0], None, None


def _parts(tensor: Any, lengths: Any) -> list[Any]:
    parts, start = [], 0
    for length in lengths.tolist():
        if length < 0:
            raise errors.InvalidArgumentError.of(f"Invalid value in lengths: {length}")
        end = start + length
        if end > len(tensor):
            raise errors.InvalidArgumentError.of(
                f"Attempting to slice [{start}, {end}] from tensor with length {len(tensor)}"
            )
        parts.append(np.array(tensor[start:end]))
        start = end
    if start != len(tensor):
        raise errors.InvalidArgumentError.of(
            f"Unused values in tensor. Length of tensor: {len(tensor)} Values used: {start}"
        )
    return parts
