"""`tf.nn.conv2d` and the functions around it.

Source: tensorflow/python/ops/{nn_ops,nn_impl}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import kvarn.ops.array as array_ops
import kvarn.ops.joining as joining
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import convolution as ops


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
    with name_scope(name, "conv2d_transpose", [value, filter, output_shape]) as scope:
        return conv2d_transpose_v2(
            value, filter, output_shape, strides, padding, data_format, dilations, name=scope
        )


def conv2d_transpose_v2(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: str = "SAME",
    data_format: str | None = "NHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Tensor:
    """`conv2d_transpose` as TensorFlow 2 has it."""
    with name_scope(name, "conv2d_transpose", [input, filters, output_shape]) as scope:
        data_format = data_format or "NHWC"
        channel_index = _channel_index(data_format)
        return conv2d_backprop_input(
            output_shape,
            filters,
            input,
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
    return conv3d_transpose_v2(value, filter, output_shape, strides, padding, data_format, dilations, name)


def conv3d_transpose_v2(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: str = "SAME",
    data_format: str | None = "NDHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Tensor:
    """`conv3d_transpose` as TensorFlow 2 has it."""
    with name_scope(name, "conv3d_transpose", [input, filters, output_shape]) as scope:
        data_format = data_format or "NDHWC"
        channel_index = _channel_index(data_format, 5)
        found: Tensor = ops.conv3d_backprop_input_v2_(
            output_shape,
            filters,
            input,
            strides=sequence(strides, 3, channel_index, "strides"),
            padding=padding,
            data_format=data_format,
            dilations=sequence(dilations, 3, channel_index, "dilations"),
            name=scope,
        )
        return found
