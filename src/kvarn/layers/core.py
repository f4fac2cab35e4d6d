"""`tf.layers.dense`, `dropout` and `flatten`, and their classes.

Source: tensorflow/python/layers/core.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.keras import core
from kvarn.layers.base import Layer
from kvarn.variables.initializers import Zeros

_ZEROS = Zeros()


class Dense(core.Dense, Layer):
    """activation(inputs times kernel + bias), over the last dimension of the inputs.

    Args:
      units: size of the last dimension of the outputs.
      activation: a function, or None.
      use_bias: whether there is a bias.
      kernel_initializer: by default the scope's.
      bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer, kernel_constraint,
        bias_constraint: functions.
      trainable: whether the variables go to the collection of trainable ones.
      name: of the layer.
      **kwargs: as `Layer` takes them.
    """

    def __init__(
        self,
        units: Any,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = _ZEROS,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units=units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            trainable=trainable,
            name=name,
            **kwargs,
        )


def dense(
    inputs: Any,
    units: Any,
    activation: Any = None,
    use_bias: bool = True,
    kernel_initializer: Any = None,
    bias_initializer: Any = _ZEROS,
    kernel_regularizer: Any = None,
    bias_regularizer: Any = None,
    activity_regularizer: Any = None,
    kernel_constraint: Any = None,
    bias_constraint: Any = None,
    trainable: bool = True,
    name: Any = None,
    reuse: bool | None = None,
) -> Any:
    """`inputs` [..., n] through a `Dense` layer: [..., units].

    Args:
      reuse: whether the variables are those of an earlier layer of that name.
      others: as `Dense` takes them.
    """
    layer = Dense(
        units,
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=kernel_initializer,
        bias_initializer=bias_initializer,
        kernel_regularizer=kernel_regularizer,
        bias_regularizer=bias_regularizer,
        activity_regularizer=activity_regularizer,
        kernel_constraint=kernel_constraint,
        bias_constraint=bias_constraint,
        trainable=trainable,
        name=name,
        _scope=name,
        _reuse=reuse,
    )
    return layer.apply(inputs)


class Dropout(core.Dropout, Layer):
    """Sets a part of the inputs to zero while training, and divides the others by what is left.

    Args:
      rate: which part, from 0 to 1.
      noise_shape: shape of what is dropped, broadcast to the inputs; None stands for the inputs' dimension.
      seed: of the random numbers.
      name: of the layer.
    """

    def __init__(
        self,
        rate: Any = 0.5,
        noise_shape: Any = None,
        seed: int | None = None,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate=rate, noise_shape=noise_shape, seed=seed, name=name, **kwargs)

    def call(self, inputs: Any, training: Any = False) -> Any:
        """``inputs`` with parts dropped if ``training``, a bool or a bool tensor []."""
        return super().call(inputs, training=training)


def dropout(
    inputs: Any,
    rate: Any = 0.5,
    noise_shape: Any = None,
    seed: int | None = None,
    training: Any = False,
    name: Any = None,
) -> Any:
    """`inputs` through a `Dropout` layer."""
    layer = Dropout(rate, noise_shape=noise_shape, seed=seed, name=name)
    return layer.apply(inputs, training=training)


class Flatten(core.Flatten, Layer):
    """All dimensions but the first as one.

    Args:
      data_format: ``channels_last``, or ``channels_first``, where the second dimension is moved to the end before.
    """


def flatten(inputs: Any, name: Any = None, data_format: str = "channels_last") -> Any:
    """`inputs` [batch, ...] as [batch, n]."""
    return Flatten(name=name, data_format=data_format).apply(inputs)


FullyConnected = Dense
fully_connected = dense
