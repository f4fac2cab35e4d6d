"""Convolutions whose number of dimensions follows from their inputs, with holes or without.

Source: tensorflow/python/ops/nn_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.graph.tensor_util import is_tensor
from kvarn.ops import convolution as ops
from kvarn.ops.nn_convolution import (
    conv1d,
    conv1d_transpose,
    conv2d,
    conv2d_transpose_v2,
    conv3d,
    conv3d_transpose_v2,
    either,
    sequence,
)
from kvarn.ops.space_to_batch import WithSpaceToBatch


def _without_holes(
    input_shape: TensorShape,
    filter_shape: TensorShape,
    padding: Any,
    data_format: str | None,
    strides: Any,
    name: str | None,
) -> Callable[[Any, Any], Tensor]:
    """The convolution of as many dimensions as the shapes have, as a function of inputs and a filter."""
    rank = filter_shape.ndims if input_shape.ndims is None else input_shape.ndims
    if rank is None:
        raise ValueError("Rank of convolution must be known")
    if not 3 <= rank <= 5:
        raise ValueError("`input` and `filter` must have rank at least 3 and at most 5")
    strides = [1] * (rank - 2) if strides is None else list(map(int, strides))
    if len(strides) != rank - 2:
        raise ValueError(f"len(strides)={len(strides)}, but should be {rank - 2}")
    if rank == 3:
        return lambda x, f: conv1d(
            x, f, stride=strides[0], padding=padding, data_format=data_format or "NWC", name=name
        )
    last, first = ("NHWC", "NCHW") if rank == 4 else ("NDHWC", "NCDHW")
    data_format = data_format or last
    if data_format not in (last, first):
        have = "" if rank == 4 else f" Have: {data_format}"
        raise ValueError(f'data_format must be "{last}" or "{first}".{have}')
    full = [1, *strides, 1] if data_format == last else [1, 1, *strides]
    function: Any = conv2d if rank == 4 else conv3d
    return lambda x, f: function(x, f, strides=full, padding=padding, data_format=data_format, name=name)


class Convolution:
    """A convolution with all but its input and its filter fixed, as layers have it.

    Args:
      input_shape, filter_shape: static shapes.
      padding, strides, dilation_rate, data_format: as `convolution` takes them.

    Raises:
      ValueError: shapes and arguments do not fit.
    """

    def __init__(
        self,
        input_shape: TensorShape,
        filter_shape: TensorShape,
        padding: Any,
        strides: Any = None,
        dilation_rate: Any = None,
        name: str | None = None,
        data_format: str | None = None,
    ) -> None:
        rank = input_shape.ndims if filter_shape.ndims is None else filter_shape.ndims
        if rank is None:
            raise ValueError("rank of input or filter must be known")
        count = rank - 2
        for what, shape in (("input", input_shape), ("filter", filter_shape)):
            if shape.ndims not in (None, rank):
                raise ValueError(f"{what} tensor must have rank {rank}")
        first = data_format is not None and data_format.startswith("NC")
        channels = None if input_shape.ndims is None else input_shape.as_list()[1 if first else -1]
        wanted = None if filter_shape.ndims is None else filter_shape.as_list()[count]
        if channels is not None and wanted is not None and channels != wanted:
            raise ValueError(
                "number of input channels does not match corresponding dimension of filter, "
                f"{channels} != {wanted}"
            )
        strides, dilation_rate = _strides_and_rate(count, strides, dilation_rate)

        def build(_: int, padding: Any) -> Callable[[Any, Any], Tensor]:
            return _without_holes(input_shape, filter_shape, padding, data_format, strides, name)

        self._call = WithSpaceToBatch(
            input_shape,
            dilation_rate=dilation_rate,
            padding=padding,
            build_op=build,
            filter_shape=filter_shape,
            spatial_dims=range(1 + first, count + 1 + first),
            data_format=data_format,
        )

    def __call__(self, inputs: Any, filter: Any) -> Tensor:
        """The convolution of ``inputs`` with ``filter``."""
        return self._call(inputs, filter)


def _strides_and_rate(count: int, strides: Any, rate: Any) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for name, values in (("dilation_rate", rate), ("strides", strides)):
        values = [1] * count if values is None else values
        if len(values) != count:
            raise ValueError(f"len({name})={len(values)} but should be {count}")
        array = np.array(values, dtype=np.int32)
        if np.any(array < 1):
            raise ValueError(f"all values of {name} must be positive")
        found.append(array)
    rate, strides = found
    if np.any(strides > 1) and np.any(rate > 1):
        raise ValueError("strides > 1 not supported in conjunction with dilation_rate > 1")
    return strides, rate


def convolution(
    input: Any,
    filter: Any,
    padding: Any,
    strides: Any = None,
    dilation_rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    filters: Any = None,
    dilations: Any = None,
) -> Tensor:
    """`conv1d`, `conv2d` or `conv3d`, as the rank of `input` says.

    Args:
      input: [batch, *inner, in], or as ``data_format`` says.
      filter: [*inner, in, out].
      padding: ``"SAME"`` or ``"VALID"``.
      strides: one number or one for each inner dimension; 1 where ``dilation_rate`` is more.
      dilation_rate: from one element of a window to the next.
      data_format: its channels are second if it begins with ``NC``.
      filters, dilations: other names of ``filter`` and ``dilation_rate``.

    Raises:
      ValueError: the rank is not known, or not from 3 to 5.
    """
    filter = either("filters", filters, "filter", filter)
    dilation_rate = either("dilations", dilations, "dilation_rate", dilation_rate)
    for given in (input, filter):
        rank = getattr(getattr(given, "shape", None), "ndims", None)
        if rank is None and isinstance(given, np.ndarray):
            rank = given.ndim
        if rank is not None:
            break
    else:
        raise ValueError("rank of input or filter must be known")
    n = rank - 2
    if not 1 <= n <= 3:
        raise ValueError(f"Input tensor must be of rank 3, 4 or 5 but was {rank}.")
    channel_index = 1 if data_format is not None and data_format.startswith("NC") else n + 1
    strides = sequence(strides, n, channel_index, "strides")
    dilation_rate = sequence(dilation_rate, n, channel_index, "dilations")
    with name_scope(name, "convolution", [input, filter]) as scope:
        if all(i == 1 for i in dilation_rate):
            options = {"padding": padding, "dilations": dilation_rate, "name": scope}
            if n == 1:
                return conv1d(input, filter, strides, data_format=data_format, **options)
            function: Any = ops.conv2d_ if n == 2 else ops.conv3d_
            form = data_format or ("NHWC" if n == 2 else "NDHWC")
            found: Tensor = function(input, filter, strides=strides, data_format=form, **options)
            return found
        inside = slice(2, None) if channel_index == 1 else slice(1, -1)
        made = Convolution(
            TensorShape(input.shape),
            TensorShape(filter.shape),
            padding,
            strides=strides[inside],
            dilation_rate=dilation_rate[inside],
            name=scope,
            data_format=data_format,
        )
        return made(input, filter)


def atrous_conv2d(value: Any, filters: Any, rate: int, padding: Any, name: str | None = None) -> Tensor:
    """`convolution` in two dimensions with elements of a window ``rate`` apart."""
    return convolution(value, filters, padding, dilation_rate=np.broadcast_to(rate, (2,)), name=name)


def conv_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: str = "SAME",
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
) -> Tensor:
    """`conv1d_transpose`, `conv2d_transpose` or `conv3d_transpose`, as the length of `output_shape` says.

    Raises:
      ValueError: it is not known, or not from 3 to 5.
    """
    with name_scope(name, "conv_transpose", [input, filters, output_shape]) as scope:
        if is_tensor(output_shape):
            rank = output_shape.shape.as_list()[0]
        elif hasattr(output_shape, "__len__"):
            rank = len(output_shape)
        else:
            raise ValueError("output_shape must be a tensor or sized collection.")
        if rank is None or not 3 <= rank <= 5:
            raise ValueError(f"output_shape must be of length 3, 4 or 5 but was {rank}.")
        function: Any = (conv1d_transpose, conv2d_transpose_v2, conv3d_transpose_v2)[rank - 3]
        found: Tensor = function(
            input,
            filters,
            output_shape,
            strides,
            padding=padding,
            data_format=data_format,
            dilations=dilations,
            name=scope,
        )
        return found
