"""Blocks of the inner dimensions as batches and back, by which convolutions with holes are made of ones without.

Source: tensorflow/core/ops/array_ops.cc, core/kernels/{spacetobatch,batchtospace}_op.cc,
tensorflow/python/ops/{nn_ops,array_ops,array_grad}.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.joining as joining
from kvarn import dtypes, errors
from kvarn.graph import tensor_util
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import op
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops._elementwise import dims_text


def _scaled(to_batch):
    """The shape function of both directions."""

    def shape(c, input, block_shape, borders):
        blocks, ends = c.constant_value(1), c.constant_value(2)
        if input is None or blocks is None:
            return None if input is None else (None,) * len(input)
        if len(input) <= len(blocks):
            raise ValueError(f"Shape must be at least rank {len(blocks) + 1} but is rank {len(input)}")
        found = list(input)
        total = int(np.prod(blocks))
        if found[0] is not None:
            if not to_batch and found[0] % total:
                raise ValueError(f"Dimension size must be evenly divisible by {total} but is {found[0]}")
            found[0] = found[0] * total if to_batch else found[0] // total
        for i, block in enumerate(map(int, blocks), 1):
            if found[i] is None or ends is None:
                found[i] = None
                continue
            border = int(ends[i - 1].sum())
            size = found[i] + border if to_batch else found[i] * block - border
            if to_batch and size % block:
                raise ValueError(f"Dimension size must be evenly divisible by {block} but is {size}")
            if size < 0:
                raise ValueError(
                    f"Negative dimension size caused by subtracting {border} from {size + border}"
                )
            found[i] = size // block if to_batch else size
        return tuple(found)

    return shape


def _check(x, block_shape, borders, what):
    if block_shape.ndim != 1:
        raise errors.InvalidArgumentError.of(f"block_shape rank should be 1 instead of {block_shape.ndim}")
    count = len(block_shape)
    if x.ndim < 1 + count:
        raise errors.InvalidArgumentError.of(f"input rank should be >= {1 + count} instead of {x.ndim}")
    if borders.shape != (count, 2):
        raise errors.InvalidArgumentError.of(
            f"{what} should have shape [{count}, 2] instead of {dims_text(borders)}"
        )
    if (block_shape < 1).any():
        raise errors.InvalidArgumentError.of("All values in block_shape must be positive")
    if (borders < 0).any():
        raise errors.InvalidArgumentError.of(f"All {what} must be non-negative")


_ATTRS = ["T: type", "Tblock_shape: {int32, int64} = DT_INT32"]


@op(
    "SpaceToBatchND",
    inputs="input: T, block_shape: Tblock_shape, paddings: Tpaddings",
    outputs="output: T",
    attrs=[*_ATTRS, "Tpaddings: {int32, int64} = DT_INT32"],
)
class space_to_batch_nd:
    """`input` padded with zeros, and every element of a block [block_shape] in a batch of its own.

    input [batch, inner, ...]; output [batch * size of a block, inner / block_shape, ...].
    """

    shape = _scaled(True)

    def kernel(ctx, input, block_shape, paddings):
        _check(input, block_shape, paddings, "paddings")
        blocks = block_shape.tolist()
        count, rest = len(blocks), input.ndim - 1 - len(blocks)
        pads = [(0, 0), *map(tuple, paddings.tolist()), *[(0, 0)] * rest]
        x = np.pad(input, pads, constant_values=b"" if input.dtype == object else 0)
        for size, block in zip(x.shape[1 : 1 + count], blocks, strict=True):
            if size % block:
                raise errors.InvalidArgumentError.of(
                    f"padded_shape[0]={size} is not divisible by block_shape[0]={block}"
                )
        split = [n for s, b in zip(x.shape[1 : 1 + count], blocks, strict=True) for n in (s // b, b)]
        x = x.reshape(x.shape[0], *split, *x.shape[1 + count :])
        inside = [2 + 2 * i for i in range(count)]
        outside = [1 + 2 * i for i in range(count)]
        order = [*inside, 0, *outside, *range(1 + 2 * count, x.ndim)]
        x = x.transpose(order)
        return x.reshape(-1, *x.shape[1 + count :])

    def grad(op, d):
        return [batch_to_space_nd(d, op.inputs[1], op.inputs[2]), None, None]


@op(
    "BatchToSpaceND",
    inputs="input: T, block_shape: Tblock_shape, crops: Tcrops",
    outputs="output: T",
    attrs=[*_ATTRS, "Tcrops: {int32, int64} = DT_INT32"],
)
class batch_to_space_nd:
    """What `SpaceToBatchND` has made, put together again, less what `crops` says from both ends."""

    shape = _scaled(False)

    def kernel(ctx, input, block_shape, crops):
        _check(input, block_shape, crops, "crops")
        blocks = block_shape.tolist()
        count, total = len(blocks), int(np.prod(block_shape))
        if input.shape[0] % total:
            raise errors.InvalidArgumentError.of(
                f"Input batch dimension ({input.shape[0]}) is not divisible by product of block sizes ({total})"
            )
        x = input.reshape(*blocks, input.shape[0] // total, *input.shape[1:])
        pairs = [n for i in range(count) for n in (count + 1 + i, i)]
        x = x.transpose([count, *pairs, *range(2 * count + 1, x.ndim)])
        sizes = [s * b for s, b in zip(input.shape[1 : 1 + count], blocks, strict=True)]
        x = x.reshape(x.shape[0], *sizes, *input.shape[1 + count :])
        kept = []
        for size, (start, end) in zip(sizes, crops.tolist(), strict=True):
            if start + end > size:
                raise errors.InvalidArgumentError.of(
                    f"cropped_shape[0]={size - start - end} must be non-negative"
                )
            kept.append(slice(start, size - end))
        return x[(slice(None), *kept)]

    def grad(op, d):
        return [space_to_batch_nd(d, op.inputs[1], op.inputs[2]), None, None]


def required_space_to_batch_paddings(
    input_shape: Any, block_shape: Any, base_paddings: Any = None, name: str | None = None
) -> tuple[Any, Any]:
    """Paddings that make dimensions multiples of blocks, and the crops that undo them.

    Args:
      input_shape: int32 [n], the dimensions.
      block_shape: int32 [n].
      base_paddings: int32 [n, 2], paddings that there are to be anyhow.

    Returns:
      Two int32 tensors [n, 2].
    """
    with name_scope(name, "required_space_to_batch_paddings", [input_shape, block_shape]):
        input_shape = convert_to_tensor(input_shape, dtype=dtypes.int32, name="input_shape")
        block_shape = convert_to_tensor(block_shape, dtype=dtypes.int32, name="block_shape")
        block_shape.get_shape().assert_is_fully_defined()
        block_shape.get_shape().assert_has_rank(1)
        count = block_shape.shape.as_list()[0]
        if count == 0:
            return array_ops.zeros([0, 2], dtypes.int32), array_ops.zeros([0, 2], dtypes.int32)
        input_shape.get_shape().assert_is_compatible_with([count])
        if base_paddings is None:
            base_paddings = array_ops.zeros([count, 2], dtypes.int32)
        else:
            base_paddings = convert_to_tensor(base_paddings, dtype=dtypes.int32, name="base_paddings")
            base_paddings.get_shape().assert_is_compatible_with([count, 2])
        known = [tensor_util.constant_value(t) for t in (block_shape, input_shape, base_paddings)]
        if all(value is not None for value in known):
            block_shape, input_shape, base_paddings = known
        start, end = base_paddings[:, 0], base_paddings[:, 1]
        full = input_shape + start + end
        extra = (block_shape - full % block_shape) % block_shape
        end = end + extra
        paddings = joining.stack([[start[i], end[i]] for i in range(count)], name="paddings")
        crops = joining.stack([[0, extra[i]] for i in range(count)], name="crops")
        return paddings, crops


class WithSpaceToBatch:
    """An operation with holes, made of one without: each batch has the elements that are seen together.

    Args:
      input_shape: static shape of the inputs.
      dilation_rate: int32 [inner dimensions], how far apart neighbours are.
      padding: ``SAME`` or ``VALID``.
      build_op: takes the number of inner dimensions and a padding, returns a function of inputs and a filter.
      filter_shape: static shape of the filter, or a tensor; wanted for ``SAME``.
      spatial_dims: which dimensions are the inner ones, in order.
      data_format: those of `convolution`.

    Raises:
      ValueError: an argument does not fit.
    """

    def __init__(
        self,
        input_shape: TensorShape,
        dilation_rate: Any,
        padding: Any,
        build_op: Callable[[int, Any], Callable[[Any, Any], Tensor]],
        filter_shape: Any = None,
        spatial_dims: Sequence[int] | None = None,
        data_format: str | None = None,
    ) -> None:
        dilation_rate = convert_to_tensor(dilation_rate, dtypes.int32, name="dilation_rate")
        if dilation_rate.shape.ndims not in (1, None):
            raise ValueError("rate must be rank 1")
        if not dilation_rate.get_shape().is_fully_defined():
            raise ValueError("rate must have known shape")
        count = dilation_rate.shape.as_list()[0]
        first = data_format is not None and data_format.startswith("NC")
        given = list(range(1 + first, count + 1 + first) if spatial_dims is None else spatial_dims)
        dims = sorted(set(map(int, given)))
        if dims != given or any(d < 1 for d in dims):
            raise ValueError("spatial_dims must be a montonically increasing sequence of positive integers")
        rank = dims[-1] + (not first)
        if input_shape.ndims is not None and input_shape.ndims < rank:
            raise ValueError(f"input tensor must have rank {rank} at least")
        known = tensor_util.constant_value(dilation_rate)
        if known is not None and np.any(known < 1):
            raise ValueError("dilation_rate must be positive")
        self._plain = None
        if known is not None and np.all(known == 1):
            self._plain = build_op(count, padding)
            return
        rate = dilation_rate if known is None else known
        if padding == "SAME":
            if filter_shape is None:
                raise ValueError("filter_shape must be specified for SAME padding")
            filter_shape = convert_to_tensor(filter_shape, name="filter_shape")
            known_filter = tensor_util.constant_value(filter_shape)
            self._base_paddings: Any = None
            if known_filter is not None:
                self._base_paddings = _base_paddings(known_filter, count, rate)
        elif padding == "VALID":
            self._base_paddings = np.zeros([count, 2], np.int32)
        else:
            raise ValueError(f"Invalid padding method {padding!r}")
        self._input_shape, self._dims, self._rate = input_shape, dims, rate
        self._dilation_rate = dilation_rate
        self._first = first
        self._op = build_op(count, "VALID")

    def __call__(self, inputs: Any, filter: Any) -> Tensor:
        """The operation on ``inputs`` and the filter."""
        if self._plain is not None:
            return self._plain(inputs, filter)
        sizes: Any = None
        if self._input_shape.ndims is not None:
            shape = self._input_shape.as_list()
            sizes = [shape[d] for d in self._dims]
        if sizes is None or None in sizes:
            shape_tensor = array_ops.shape(inputs)
            sizes = joining.stack([shape_tensor[d] for d in self._dims])
        base_paddings = self._base_paddings
        if base_paddings is None:
            base_paddings = _base_paddings(array_ops.shape(filter), len(self._dims), self._rate)
        paddings, crops = required_space_to_batch_paddings(sizes, self._dilation_rate, base_paddings)
        rate = _of_all_dims(self._dilation_rate, 1, self._dims)
        paddings = _of_all_dims(paddings, 0, self._dims)
        crops = _of_all_dims(crops, 0, self._dims)
        result = self._op(space_to_batch_nd(inputs, rate, paddings), filter)
        found: Tensor = batch_to_space_nd(result, rate, crops)
        if self._first and filter is not None and found.shape.ndims and not found.shape.as_list()[1]:
            found.set_shape([*found.shape.as_list()[:1], filter.shape[-1], *found.shape.as_list()[2:]])
        return found


def _base_paddings(filter_shape: Any, count: int, rate: Any) -> Any:
    """Paddings by which a convolution with holes has as many outputs as inputs."""
    sizes = filter_shape[:count]
    reach = sizes + (sizes - 1) * (rate - 1)
    extra = reach - 1
    start = extra // 2
    end = extra - start
    return joining.stack([[start[i], end[i]] for i in range(count)])


def _of_all_dims(orig: Tensor, fill: int, dims: Sequence[int]) -> Any:
    """A value for each inner dimension as one for each dimension from the second on; ``fill`` for the others."""
    known = tensor_util.constant_value(orig)
    values: Any = orig if known is None else known
    rest = [d or 0 for d in orig.shape.as_list()[1:]]
    empty = np.full([1, *rest], fill, orig.dtype.as_numpy_dtype)
    parts: list[Any] = []
    previous, i = 0, 0
    while i < len(dims):
        start = i
        if dims[start] > 1:
            parts.append(np.repeat(empty, dims[start] - 1 - previous, axis=0))
        while i + 1 < len(dims) and dims[i + 1] == dims[i] + 1:
            i += 1
        parts.append(values[start : i + 1])
        previous = dims[i]
        i += 1
    return joining.concat(parts, 0) if known is None else np.concatenate(parts)


def with_space_to_batch(
    input: Any,
    dilation_rate: Any,
    padding: Any,
    op: Callable[[Any, int, Any], Tensor],
    filter_shape: Any = None,
    spatial_dims: Sequence[int] | None = None,
    data_format: str | None = None,
) -> Tensor:
    """``op`` on inputs of which neighbours lie ``dilation_rate`` apart; see `WithSpaceToBatch`.

    Args:
      op: takes inputs, the number of inner dimensions and a padding.
    """
    input = convert_to_tensor(input, name="input")

    def build_op(count: int, padding: Any) -> Callable[[Any, Any], Tensor]:
        return lambda inputs, _: op(inputs, count, padding)

    made = WithSpaceToBatch(
        input.get_shape(), dilation_rate, padding, build_op, filter_shape, spatial_dims, data_format
    )
    return made(input, None)
