"""Pooling as layers.

Source: tensorflow/python/keras/layers/pooling.py, keras/backend.py (1.15).
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.keras.base_layer import InputSpec, Layer
from kvarn.keras.layer_utils import (
    conv_output_length,
    convert_data_format,
    normalize_data_format,
    normalize_padding,
    normalize_tuple,
)
from kvarn.ops import array, nn_pooling


class _Pooling(Layer):
    """The greatest elements or the means of windows.

    Args:
      pool_size: size of a window, one number or one for each inner dimension.
      strides: from one window to the next; ``pool_size`` by default.
      padding: ``valid`` or ``same``.
      data_format: ``channels_last`` (the default) or ``channels_first``.
    """

    rank: ClassVar[int]
    _function: ClassVar[Any]

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = normalize_tuple(pool_size, self.rank, "pool_size")
        self.strides = normalize_tuple(pool_size if strides is None else strides, self.rank, "strides")
        self.padding = normalize_padding(padding)
        self.data_format = normalize_data_format(data_format or "channels_last")
        self.input_spec = InputSpec(ndim=self.rank + 2)

    @property
    def _first(self) -> bool:
        return self.data_format == "channels_first"

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The shape of the outputs."""
        shape = TensorShape(input_shape).as_list()
        sizes = [
            conv_output_length(size, k, self.padding, stride)
            for size, k, stride in zip(
                shape[2:] if self._first else shape[1:-1], self.pool_size, self.strides, strict=True
            )
        ]
        return TensorShape([*shape[:2], *sizes] if self._first else [shape[0], *sizes, shape[-1]])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }


class _Pooling1D(_Pooling):
    """Of [batch, steps, channels], as windows of two dimensions."""

    rank = 1

    def call(self, inputs: Any) -> Tensor:
        axis = 3 if self._first else 2
        outputs = array.expand_dims(inputs, axis)
        if self._first:
            outputs = array.transpose(outputs, (0, 2, 3, 1))
        outputs = type(self)._function(
            outputs,
            (1, *self.pool_size, 1, 1),
            (1, *self.strides, 1, 1),
            padding=self.padding.upper(),
            data_format="NHWC",
        )
        if self._first:
            outputs = array.transpose(outputs, (0, 3, 1, 2))
        return array.squeeze(outputs, axis)


class _Pooling2D(_Pooling):
    """Of [batch, height, width, channels]."""

    rank = 2

    def call(self, inputs: Any) -> Tensor:
        ksize = (1, 1, *self.pool_size) if self._first else (1, *self.pool_size, 1)
        strides = (1, 1, *self.strides) if self._first else (1, *self.strides, 1)
        found: Tensor = type(self)._function(
            inputs,
            ksize=ksize,
            strides=strides,
            padding=self.padding.upper(),
            data_format=convert_data_format(self.data_format, 4),
        )
        return found


class _Pooling3D(_Pooling):
    """Of [batch, depth, height, width, channels]; channels that come first are moved to the end for it."""

    rank = 3

    def call(self, inputs: Any) -> Tensor:
        if self._first:
            inputs = array.transpose(inputs, (0, 2, 3, 4, 1))
        outputs: Tensor = type(self)._function(
            inputs,
            ksize=(1, *self.pool_size, 1),
            strides=(1, *self.strides, 1),
            padding=self.padding.upper(),
        )
        return array.transpose(outputs, (0, 4, 1, 2, 3)) if self._first else outputs


class MaxPooling1D(_Pooling1D):
    """The greatest element of each window of [batch, steps, channels]."""

    _function = staticmethod(nn_pooling.max_pool)


class AveragePooling1D(_Pooling1D):
    """The mean of each window of [batch, steps, channels]."""

    _function = staticmethod(nn_pooling.avg_pool)


class MaxPooling2D(_Pooling2D):
    """The greatest element of each window of [batch, height, width, channels]."""

    _function = staticmethod(nn_pooling.max_pool)


class AveragePooling2D(_Pooling2D):
    """The mean of each window of [batch, height, width, channels]."""

    _function = staticmethod(nn_pooling.avg_pool)


class MaxPooling3D(_Pooling3D):
    """The greatest element of each window of [batch, depth, height, width, channels]."""

    _function = staticmethod(nn_pooling.max_pool3d)


class AveragePooling3D(_Pooling3D):
    """The mean of each window of [batch, depth, height, width, channels]."""

    _function = staticmethod(nn_pooling.avg_pool3d)
