"""Arguments of layers: data formats, sizes, paddings, and the lengths that come of them.

Source: tensorflow/python/layers/utils.py, keras/utils/conv_utils.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn.ops import conditional
from kvarn.ops import smart_cond as smart
from kvarn.variables.variable import Variable

_LETTERS = {3: "W", 4: "HW", 5: "DHW"}


def convert_data_format(data_format: str, ndim: int) -> str:
    """``channels_last`` or ``channels_first`` as operations call it, such as ``NHWC``.

    Raises:
      ValueError: another format or rank.
    """
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError("Invalid data_format:", data_format)
    if ndim not in _LETTERS:
        raise ValueError("Input rank not supported:", ndim)
    return f"N{_LETTERS[ndim]}C" if data_format == "channels_last" else f"NC{_LETTERS[ndim]}"


def normalize_tuple(value: Any, n: int, name: str) -> tuple[Any, ...]:
    """An integer as a tuple of ``n`` of it, ``n`` integers as a tuple.

    Args:
      name: of the argument, for messages.

    Raises:
      ValueError: it is neither.
    """
    if isinstance(value, int):
        return (value,) * n
    message = f"The `{name}` argument must be a tuple of {n} integers. Received: {value}"
    try:
        values = tuple(value)
    except TypeError:
        raise ValueError(message) from None
    if len(values) != n:
        raise ValueError(message)
    for single in values:
        try:
            int(single)
        except (ValueError, TypeError):
            raise ValueError(f"{message} including element {single} of type {type(single)}") from None
    return values


def normalize_data_format(value: str) -> str:
    """``channels_first`` or ``channels_last`` in small letters; ValueError for others."""
    data_format = value.lower()
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            'The `data_format` argument must be one of "channels_first", "channels_last". Received: '
            + str(value)
        )
    return data_format


def normalize_padding(value: Any, causal: bool = False) -> Any:
    """``valid`` or ``same``, and where ``causal`` is allowed that too, in small letters; ValueError for others."""
    if isinstance(value, (list, tuple)):
        return value
    padding = value.lower()
    if padding not in ("valid", "same") and not (causal and padding == "causal"):
        raise ValueError(f'The `padding` argument must be one of "valid", "same". Received: {padding}')
    return padding


def conv_output_length(
    input_length: int | None, filter_size: int, padding: str, stride: int, dilation: int = 1
) -> int | None:
    """How many outputs a convolution has along a dimension; None if that is not known."""
    if input_length is None:
        return None
    reach = (filter_size - 1) * dilation
    change = {"same": 0, "causal": 0, "valid": -reach, "full": reach}[padding]
    return (input_length + change + stride - 1) // stride


def conv_input_length(output_length: int | None, filter_size: int, padding: str, stride: int) -> int | None:
    """How many inputs a convolution with that many outputs has along a dimension."""
    if output_length is None:
        return None
    pad = {"same": filter_size // 2, "valid": 0, "full": filter_size - 1}[padding]
    return (output_length - 1) * stride - 2 * pad + filter_size


def deconv_output_length(input_length: Any, filter_size: int, padding: str, stride: int) -> Any:
    """How many outputs a transposed convolution has along a dimension; a tensor for a tensor."""
    if input_length is None:
        return None
    input_length *= stride
    if padding == "valid":
        input_length += max(filter_size - stride, 0)
    elif padding == "full":
        input_length -= stride + filter_size - 2
    return input_length


def smart_cond(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Any:
    """`kvarn.ops.smart_cond.smart_cond`, whose predicate may also be a variable."""
    if isinstance(pred, Variable):
        return conditional.cond(pred, true_fn=true_fn, false_fn=false_fn, name=name)
    return smart.smart_cond(pred, true_fn=true_fn, false_fn=false_fn, name=name)


def constant_value(pred: Any) -> Any:
    """Whether ``pred`` is true, or None if only a run knows; TypeError if it is no truth value."""
    return None if isinstance(pred, Variable) else smart.smart_constant_value(pred)
