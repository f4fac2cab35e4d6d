"""`tf.layers.max_pooling2d` and its like.

Source: tensorflow/python/layers/pooling.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.keras import pooling
from kvarn.layers.base import Layer
from kvarn.layers.functional import functional


class _Pooling(Layer):
    """Arguments as the layers of `kvarn.keras.pooling` take them; there are no default strides."""

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: str = "valid",
        data_format: str = "channels_last",
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        if strides is None:
            raise ValueError("Argument `strides` must not be None.")
        super().__init__(
            pool_size=pool_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            name=name,
            **kwargs,
        )


class AveragePooling1D(_Pooling, pooling.AveragePooling1D, Layer):
    """The mean of each window of [batch, steps, channels]."""


class MaxPooling1D(_Pooling, pooling.MaxPooling1D, Layer):
    """The greatest element of each window of [batch, steps, channels]."""


class AveragePooling2D(_Pooling, pooling.AveragePooling2D, Layer):
    """The mean of each window of [batch, height, width, channels]."""


class MaxPooling2D(_Pooling, pooling.MaxPooling2D, Layer):
    """The greatest element of each window of [batch, height, width, channels]."""


class AveragePooling3D(_Pooling, pooling.AveragePooling3D, Layer):
    """The mean of each window of [batch, depth, height, width, channels]."""


class MaxPooling3D(_Pooling, pooling.MaxPooling3D, Layer):
    """The greatest element of each window of [batch, depth, height, width, channels]."""


average_pooling1d = functional(AveragePooling1D, "average_pooling1d", shares=False)
max_pooling1d = functional(MaxPooling1D, "max_pooling1d", shares=False)
average_pooling2d = functional(AveragePooling2D, "average_pooling2d", shares=False)
max_pooling2d = functional(MaxPooling2D, "max_pooling2d", shares=False)
average_pooling3d = functional(AveragePooling3D, "average_pooling3d", shares=False)
max_pooling3d = functional(MaxPooling3D, "max_pooling3d", shares=False)

AvgPool2D, MaxPool2D = AveragePooling2D, MaxPooling2D
max_pool2d, avg_pool2d = max_pooling2d, average_pooling2d
