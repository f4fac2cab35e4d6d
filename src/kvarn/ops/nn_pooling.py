"""`tf.nn.max_pool`, `tf.nn.avg_pool` and their like in one and three dimensions.

Source: tensorflow/python/ops/nn_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

import kvarn.ops.array as array_ops
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import pooling as ops
from kvarn.ops.nn_convolution import either, sequence


def _pool(function: Any, x: Any, sizes: Any, padding: str, data_format: str, rank: int, scope: str) -> Tensor:
    """A pooling operation, with sizes of windows and strides in short."""
    ksize, strides = sizes
    channel_index = 1 if data_format.startswith("NC") else rank - 1
    found: Tensor = function(
        x,
        ksize=sequence(ksize, rank - 2, channel_index, "ksize"),
        strides=sequence(strides, rank - 2, channel_index, "strides"),
        padding=padding,
        data_format=data_format,
        name=scope,
    )
    return found


def _flat_pool(
    function: Any, x: Any, sizes: Any, padding: str, data_format: str | None, scope: str
) -> Tensor:
    """Pooling in one dimension, as one in two."""
    data_format = data_format or "NWC"
    channel_index = 1 if data_format.startswith("NC") else 2
    ksize = [1, *sequence(sizes[0], 1, channel_index, "ksize")]
    strides = [1, *sequence(sizes[1], 1, channel_index, "strides")]
    start = 1 if data_format == "NWC" else 2
    result = function(
        array_ops.expand_dims(x, start),
        ksize=ksize,
        strides=strides,
        padding=padding,
        data_format="NHWC" if data_format == "NWC" else "NCHW",
        name=scope,
    )
    return array_ops.squeeze(result, start)


def max_pool(
    value: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = "NHWC",
    name: str | None = None,
    input: Any = None,
) -> Tensor:
    """The greatest element of each window.

    Args:
      value: [batch, height, width, channels], or as ``data_format`` says.
      ksize: size of a window: one number, two, or four.
      strides: from one window to the next.
      padding: ``"SAME"`` or ``"VALID"``.
      data_format: ``"NHWC"`` or ``"NCHW"``.
      input: another name of ``value``.

    Raises:
      ValueError: a window without elements.
    """
    value = either("input", input, "value", value)
    with name_scope(name, "MaxPool", [value]) as scope:
        if 0 in (ksize if hasattr(ksize, "__len__") else [ksize]):
            raise ValueError("ksize cannot be zero.")
        return _pool(ops.max_pool_, value, (ksize, strides), padding, data_format or "NHWC", 4, scope)


def max_pool1d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = "NWC",
    name: str | None = None,
) -> Tensor:
    """The greatest element of each window of `input` [batch, width, channels]."""
    with name_scope(name, "MaxPool1d", [input]) as scope:
        return _flat_pool(ops.max_pool_, input, (ksize, strides), padding, data_format, scope)


def max_pool2d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = "NHWC",
    name: str | None = None,
) -> Tensor:
    """`max_pool` under another name scope."""
    with name_scope(name, "MaxPool2d", [input]) as scope:
        return _pool(ops.max_pool_, input, (ksize, strides), padding, data_format or "NHWC", 4, scope)


def max_pool3d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = "NDHWC",
    name: str | None = None,
) -> Tensor:
    """The greatest element of each window of `input` [batch, depth, height, width, channels]."""
    with name_scope(name, "MaxPool3D", [input]) as scope:
        return _pool(ops.max_pool3d_, input, (ksize, strides), padding, data_format or "NDHWC", 5, scope)


def avg_pool(
    value: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = "NHWC",
    name: str | None = None,
    input: Any = None,
) -> Tensor:
    """The mean of each window; padding does not count.  Arguments as `max_pool` takes them."""
    with name_scope(name, "AvgPool", [value]) as scope:
        value = either("input", input, "value", value)
        return _pool(ops.avg_pool_, value, (ksize, strides), padding, data_format or "NHWC", 4, scope)


def avg_pool1d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = "NWC",
    name: str | None = None,
) -> Tensor:
    """The mean of each window of `input` [batch, width, channels]."""
    with name_scope(name, "AvgPool1D", [input]) as scope:
        return _flat_pool(ops.avg_pool_, input, (ksize, strides), padding, data_format, scope)


def avg_pool2d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = "NHWC",
    name: str | None = None,
) -> Tensor:
    """`avg_pool` under another name scope."""
    with name_scope(name, "AvgPool2D", [input]) as scope:
        return _pool(ops.avg_pool_, input, (ksize, strides), padding, data_format or "NHWC", 4, scope)


def avg_pool3d(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = "NDHWC",
    name: str | None = None,
) -> Tensor:
    """The mean of each window of `input` [batch, depth, height, width, channels]."""
    with name_scope(name, "AvgPool3D", [input]) as scope:
        return _pool(ops.avg_pool3d_, input, (ksize, strides), padding, data_format or "NDHWC", 5, scope)


# -- any number of dimensions ----------------------------------------------------------------------


def _pool_of_rank(
    functions: Any, x: Any, sizes: Any, padding: str, data_format: str | None, name: Any
) -> Any:
    """One of the functions for one, two and three dimensions, as the rank of the inputs or the format says."""
    rank = getattr(getattr(x, "shape", None), "ndims", None)
    if rank is None:
        rank = getattr(x, "ndim", None)
    if rank is None:
        if data_format is None:
            raise ValueError("The input must have a rank or a data format must be given.")
        rank = len(data_format)
    n = rank - 2
    if not 1 <= n <= 3:
        raise ValueError(f"Input tensor must be of rank 3, 4 or 5 but was {rank}.")
    channel_index = 1 if data_format is not None and data_format.startswith("NC") else n + 1
    return functions[n - 1](
        x,
        ksize=sequence(sizes[0], n, channel_index, "ksize"),
        strides=sequence(sizes[1], n, channel_index, "strides"),
        padding=padding,
        data_format=data_format or ("NWC", "NHWC", "NDHWC")[n - 1],
        name=name,
    )


def max_pool_v2(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = None,
    name: str | None = None,
) -> Tensor:
    """`max_pool` in as many dimensions as `input` has, as TensorFlow 2 has it.

    Raises:
      ValueError: neither the rank nor the format is known, or there are none or more than three inner dimensions.
    """
    functions = (max_pool1d, ops.max_pool_, ops.max_pool3d_)
    found: Tensor = _pool_of_rank(functions, input, (ksize, strides), padding, data_format, name)
    return found


def avg_pool_v2(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = None,
    name: str | None = None,
) -> Tensor:
    """`avg_pool` in as many dimensions as `input` has; as `max_pool_v2`."""
    functions = (avg_pool1d, ops.avg_pool_, ops.avg_pool3d_)
    found: Tensor = _pool_of_rank(functions, input, (ksize, strides), padding, data_format, name)
    return found
