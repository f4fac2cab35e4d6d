"""`tf.nn.conv2d` and the functions around it.

Source: tensorflow/python/ops/{nn_ops,nn_impl}.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.joining as joining
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import convolution as ops
from kvarn.ops.convolution import depthwise_conv2d_native_ as depthwise_conv2d_native
from kvarn.ops.convolution import (
    depthwise_conv2d_native_backprop_filter_ as depthwise_conv2d_native_backprop_filter,
)
from kvarn.ops.convolution import (
    depthwise_conv2d_native_backprop_input_ as depthwise_conv2d_native_backprop_input,
)
from kvarn.ops.space_to_batch import WithSpaceToBatch, with_space_to_batch

__all__ = [
    "Convolution",
    "atrous_conv2d",
    "conv1d",
    "conv1d_transpose",
    "conv2d",
    "conv2d_backprop_filter",
    "conv2d_backprop_input",
    "conv2d_transpose",
    "conv3d",
    "conv3d_transpose",
    "convolution",
    "depthwise_conv2d",
    "depthwise_conv2d_native",
    "depthwise_conv2d_native_backprop_filter",
    "depthwise_conv2d_native_backprop_input",
    "separable_conv2d",
    "with_space_to_batch",
]


def either(new_name: str, new: Any, old_name: str, old: Any) -> Any:
    """The value of an argument that has two names; ValueError if both are given."""
    if new is None:
        return old
    if old is not None:
        raise ValueError(f"Cannot specify both '{old_name}' and '{new_name}'")
    return new


def sequence(value: Any, n: int, channel_index: int, name: str) -> list[int]:
    """One number, ``n`` or ``n + 2`` of them as ``n + 2``, with 1 for batch and channels.

    Args:
      name: of the argument, for messages.

    Raises:
      ValueError: another count.
    """
    values = [1] if value is None else list(value) if hasattr(value, "__len__") else [value]
    if len(values) == n + 2:
        return values
    if len(values) == 1:
        values = values * n
    elif len(values) != n:
        raise ValueError(f"{name} should be of length 1, {n} or {n + 2} but was {len(values)}")
    return [1, 1, *values] if channel_index == 1 else [1, *values, 1]


def _explicit(padding: Any) -> tuple[Any, list[int]]:
    """A padding, which may be a list of pairs, as the two attributes of operations."""
    if padding == "EXPLICIT":
        raise ValueError(
            '"EXPLICIT" is not a valid value for the padding parameter. To use explicit padding, the padding '
            "parameter must be a list."
        )
    if not isinstance(padding, (list, tuple)):
        return padding, []
    intro = "When padding is a list, each element of padding must be a list/tuple of size 2."
    for i, pair in enumerate(padding):
        if not isinstance(pair, (list, tuple)):
            raise ValueError(f"{intro} Element with index {i} of padding is not a list/tuple")
        if len(pair) != 2:
            raise ValueError(f"{intro} Element with index {i} of padding has size {len(pair)}")
    if len(padding) != 4:
        raise ValueError(f"When padding is a list, it must be of size 4. Got padding of size: {len(padding)}")
    return "EXPLICIT", [n for pair in padding for n in pair]


def _channel_index(data_format: str, rank: int = 4) -> int:
    return 1 if data_format.startswith("NC") else rank - 1


def conv2d(
    input: Any,
    filter: Any = None,
    strides: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool = True,
    data_format: str | None = "NHWC",
    dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
    filters: Any = None,
) -> Tensor:
    """The sum of each window of `input` times `filter`.

    Args:
      input: [batch, height, width, in], or as ``data_format`` says.
      filter: [height, width, in, out].
      strides: from one window to the next: one number, two, or four.
      padding: ``"SAME"``, ``"VALID"``, or four pairs of elements before and after.
      data_format: ``"NHWC"`` or ``"NCHW"``.
      dilations: from one element of a window to the next.
      filters: another name of ``filter``.

    Returns:
      [batch, height, width, out].
    """
    filter = either("filters", filters, "filter", filter)
    padding, explicit_paddings = _explicit(padding)
    data_format = data_format or "NHWC"
    channel_index = _channel_index(data_format)
    found: Tensor = ops.conv2d_(
        input,
        filter,
        strides=sequence(strides, 2, channel_index, "strides"),
        padding=padding,
        use_cudnn_on_gpu=use_cudnn_on_gpu,
        explicit_paddings=explicit_paddings,
        data_format=data_format,
        dilations=sequence(dilations, 2, channel_index, "dilations"),
        name=name,
    )
    return found


def conv2d_backprop_filter(
    input: Any,
    filter_sizes: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    use_cudnn_on_gpu: bool = True,
    data_format: str = "NHWC",
    dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
) -> Tensor:
    """The gradient of `conv2d` for its filter, of shape ``filter_sizes`` int32 [4]."""
    padding, explicit_paddings = _explicit(padding)
    found: Tensor = ops.conv2d_backprop_filter_(
        input,
        filter_sizes,
        out_backprop,
        strides=strides,
        padding=padding,
        use_cudnn_on_gpu=use_cudnn_on_gpu,
        explicit_paddings=explicit_paddings,
        data_format=data_format,
        dilations=list(dilations),
        name=name,
    )
    return found


def conv2d_backprop_input(
    input_sizes: Any,
    filter: Any = None,
    out_backprop: Any = None,
    strides: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool = True,
    data_format: str = "NHWC",
    dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
    filters: Any = None,
) -> Tensor:
    """The gradient of `conv2d` for its input, of shape ``input_sizes`` int32 [4]."""
    filter = either("filters", filters, "filter", filter)
    padding, explicit_paddings = _explicit(padding)
    found: Tensor = ops.conv2d_backprop_input_(
        input_sizes,
        filter,
        out_backprop,
        strides=strides,
        padding=padding,
        use_cudnn_on_gpu=use_cudnn_on_gpu,
        explicit_paddings=explicit_paddings,
        data_format=data_format,
        dilations=list(dilations),
        name=name,
    )
    return found


def conv2d_transpose(
    value: Any = None,
    filter: Any = None,
    output_shape: Any = None,
    strides: Any = None,
    padding: str = "SAME",
    data_format: str | None = "NHWC",
    name: str | None = None,
    input: Any = None,
    filters: Any = None,
    dilations: Any = None,
) -> Tensor:
    """The transpose of `conv2d`: what its gradient for the input computes.

    Args:
      value: [batch, height, width, in], or as ``data_format`` says.
      filter: [height, width, out, in].
      output_shape: int32 [4].
      input, filters: other names.
    """
    value = either("input", input, "value", value)
    filter = either("filters", filters, "filter", filter)
    with (
        name_scope(name, "conv2d_transpose", [value, filter, output_shape]) as outer,
        name_scope(outer, "conv2d_transpose", [value, filter, output_shape]) as scope,
    ):
        data_format = data_format or "NHWC"
        channel_index = _channel_index(data_format)
        return conv2d_backprop_input(
            output_shape,
            filter,
            value,
            strides=sequence(strides, 2, channel_index, "strides"),
            padding=padding,
            data_format=data_format,
            dilations=sequence(dilations, 2, channel_index, "dilations"),
            name=scope,
        )


def _flat_format(data_format: str | None) -> tuple[str, int, int]:
    """Of a format of one inner dimension: that of two, where the other is put in, and the channels' index."""
    if data_format in (None, "NHWC", "NWC"):
        return "NHWC", 1, 2
    if data_format in ("NCHW", "NCW"):
        return "NCHW", 2, 1
    raise ValueError('data_format must be "NWC" or "NCW".')


def conv1d(
    value: Any = None,
    filters: Any = None,
    stride: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool | None = None,
    data_format: str | None = None,
    name: str | None = None,
    input: Any = None,
    dilations: Any = None,
) -> Tensor:
    """`conv2d` in one dimension: `value` [batch, width, in], `filters` [width, in, out].

    Args:
      data_format: ``"NWC"`` (the default) or ``"NCW"``.
      input: another name of ``value``.
      others: as `conv2d` takes them.

    Raises:
      ValueError: another format.
    """
    value = either("input", input, "value", value)
    with name_scope(name, "conv1d", [value, filters]) as scope:
        form, start, channel_index = _flat_format(data_format)
        strides = [1, *sequence(stride, 1, channel_index, "stride")]
        dilations = [1, *sequence(dilations, 1, channel_index, "dilations")]
        value = array_ops.expand_dims(value, start)
        filters = array_ops.expand_dims(filters, 0)
        result = ops.conv2d_(
            value,
            filters,
            strides=strides,
            padding=padding,
            use_cudnn_on_gpu=True if use_cudnn_on_gpu is None else use_cudnn_on_gpu,
            data_format=form,
            dilations=dilations,
            name=scope,
        )
        return array_ops.squeeze(result, [start])


def conv1d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: str = "SAME",
    data_format: str | None = "NWC",
    dilations: Any = None,
    name: str | None = None,
) -> Tensor:
    """The transpose of `conv1d`: `input` [batch, width, in], `filters` [width, out, in]."""
    with name_scope(name, "conv1d_transpose", [input, filters, output_shape]) as scope:
        form, start, channel_index = _flat_format(data_format)
        strides = [1, *sequence(strides, 1, channel_index, "stride")]
        dilations = [1, *sequence(dilations, 1, channel_index, "dilations")]
        input = array_ops.expand_dims(input, start)
        filters = array_ops.expand_dims(filters, 0)
        if not isinstance(output_shape, Tensor):
            output_shape = list(output_shape)
        output_shape = joining.concat([output_shape[:start], [1], output_shape[start:]], 0)
        result = ops.conv2d_backprop_input_(
            output_shape,
            filters,
            input,
            strides=strides,
            padding=padding,
            data_format=form,
            dilations=dilations,
            name=scope,
        )
        return array_ops.squeeze(result, start)


def conv3d(
    input: Any,
    filter: Any = None,
    strides: Any = None,
    padding: Any = None,
    data_format: str = "NDHWC",
    dilations: Any = (1, 1, 1, 1, 1),
    name: str | None = None,
    filters: Any = None,
) -> Tensor:
    """`conv2d` in three dimensions: `input` [batch, depth, height, width, in], `filter` [d, h, w, in, out]."""
    filter = either("filters", filters, "filter", filter)
    found: Tensor = ops.conv3d_(
        input,
        filter,
        strides=strides,
        padding=padding,
        data_format=data_format,
        dilations=list(dilations),
        name=name,
    )
    return found


def conv3d_transpose(
    value: Any,
    filter: Any = None,
    output_shape: Any = None,
    strides: Any = None,
    padding: str = "SAME",
    data_format: str | None = "NDHWC",
    name: str | None = None,
    input: Any = None,
    filters: Any = None,
    dilations: Any = None,
) -> Tensor:
    """The transpose of `conv3d`: `value` [batch, depth, height, width, in], `filter` [d, h, w, out, in]."""
    filter = either("filters", filters, "filter", filter)
    value = either("input", input, "value", value)
    with name_scope(name, "conv3d_transpose", [value, filter, output_shape]) as scope:
        data_format = data_format or "NDHWC"
        channel_index = _channel_index(data_format, 5)
        found: Tensor = ops.conv3d_backprop_input_v2_(
            output_shape,
            filter,
            value,
            strides=sequence(strides, 3, channel_index, "strides"),
            padding=padding,
            data_format=data_format,
            dilations=sequence(dilations, 3, channel_index, "dilations"),
            name=scope,
        )
        return found


# -- any number of dimensions ----------------------------------------------------------------------


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


# -- each channel alone ----------------------------------------------------------------------------


def depthwise_conv2d(
    input: Any,
    filter: Any,
    strides: Any,
    padding: str,
    rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Tensor:
    """Each channel of `input` with filters of its own.

    Args:
      input: [batch, height, width, in], or as ``data_format`` says.
      filter: [height, width, in, multiplier].
      strides: four numbers.
      rate: two numbers, from one element of a window to the next.
      dilations: another name of ``rate``.

    Returns:
      [batch, height, width, in * multiplier].
    """
    rate = either("dilations", dilations, "rate", rate)
    with name_scope(name, "depthwise", [input, filter]) as scope:
        input = convert_to_tensor(input, name="tensor_in")
        filter = convert_to_tensor(filter, name="filter_in")

        def one(x: Any, _: int, padding: Any) -> Tensor:
            found: Tensor = depthwise_conv2d_native(
                x, filter, strides=strides, padding=padding, data_format=data_format or "NHWC", name=scope
            )
            return found

        return with_space_to_batch(
            input,
            dilation_rate=[1, 1] if rate is None else rate,
            padding=padding,
            op=one,
            filter_shape=array_ops.shape(filter),
            data_format=data_format,
        )


def separable_conv2d(
    input: Any,
    depthwise_filter: Any,
    pointwise_filter: Any,
    strides: Any,
    padding: str,
    rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Tensor:
    """`depthwise_conv2d`, then one of single elements: `pointwise_filter` [1, 1, in * multiplier, out]."""
    rate = either("dilations", dilations, "rate", rate)
    with name_scope(name, "separable_conv2d", [input, depthwise_filter, pointwise_filter]) as scope:
        input = convert_to_tensor(input, name="tensor_in")
        depthwise_filter = convert_to_tensor(depthwise_filter, name="depthwise_filter")
        pointwise_filter = convert_to_tensor(pointwise_filter, name="pointwise_filter")
        pointwise_shape = pointwise_filter.get_shape().with_rank(4)
        pointwise_shape[:2].assert_is_compatible_with([1, 1])

        def one(x: Any, _: int, padding: Any) -> Tensor:
            found: Tensor = depthwise_conv2d_native(
                x,
                depthwise_filter,
                strides=strides,
                padding=padding,
                data_format=data_format or "NHWC",
                name="depthwise",
            )
            return found

        depthwise = with_space_to_batch(
            input,
            dilation_rate=[1, 1] if rate is None else rate,
            padding=padding,
            op=one,
            filter_shape=array_ops.shape(depthwise_filter),
            data_format=data_format,
        )
        return conv2d(
            depthwise,
            pointwise_filter,
            [1, 1, 1, 1],
            padding="VALID",
            data_format=data_format,
            name=scope,
        )
