"""Layer normalisation as a layer, and what it shares with batch normalisation.

Source: tensorflow/python/keras/layers/normalization.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.keras import constraints, initializers, regularizers
from kvarn.keras.base_layer import Layer
from kvarn.ops import array, nn


class Normalization(Layer):
    """What both have in common: two vectors, which scale and shift.

    Attributes:
      gamma: what the normalised values are multiplied with, or None.
      beta: what is added, or None.
    """

    def __init__(
        self,
        axis: Any,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.supports_masking = True

    def _resolve_axis(self, ndims: int) -> None:
        """Makes `axis` a list of dimensions; ValueError if they are not."""
        axis = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        self.axis = [ndims + x if x < 0 else x for x in axis]
        for x in self.axis:
            if x < 0 or x >= ndims:
                raise ValueError(f"Invalid axis: {x}")

    def _add_parameter(self, name: str, wanted: bool, shape: Any, dtype: Any) -> Any:
        if not wanted:
            return None
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer=getattr(self, f"{name}_initializer"),
            regularizer=getattr(self, f"{name}_regularizer"),
            constraint=getattr(self, f"{name}_constraint"),
            trainable=True,
            experimental_autocast=False,
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
            "beta_constraint": constraints.serialize(self.beta_constraint),
            "gamma_constraint": constraints.serialize(self.gamma_constraint),
        }


class LayerNormalization(Normalization):
    """Values less their mean over their standard deviation, over some dimensions of each example.

    Args:
      axis: the dimension that is averaged over, or a list of them.
      epsilon: added to the variance.
      others: as `BatchNormalization` takes them.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        trainable: bool = True,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(axis, (int, list, tuple)):
            raise ValueError(
                f"Expected an int or a list/tuple of ints for the argument 'axis', but received instead: {axis}"
            )
        super().__init__(
            axis,
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
            trainable=trainable,
            name=name,
            **kwargs,
        )

    def build(self, input_shape: Any) -> None:
        """Makes beta and gamma; ValueError if the axis is no dimension."""
        input_shape = TensorShape(input_shape)
        self._resolve_axis(len(input_shape))
        if len(self.axis) != len(set(self.axis)):
            raise ValueError(f"Duplicate axis: {tuple(self.axis)}")
        shape = [input_shape.as_list()[x] for x in self.axis]
        self.gamma = self._add_parameter("gamma", self.scale, shape, None)
        self.beta = self._add_parameter("beta", self.center, shape, None)
        self.built = True

    def call(self, inputs: Any) -> Tensor:
        input_shape = inputs.shape
        ndims = len(input_shape)
        mean, variance = nn.moments(inputs, self.axis, keep_dims=True)
        broadcast_shape = [1] * ndims
        for dim in self.axis:
            broadcast_shape[dim] = input_shape.as_list()[dim]

        def broadcast(v: Any) -> Any:
            if v is not None and len(v.shape) != ndims and self.axis != [ndims - 1]:
                return array.reshape(v, broadcast_shape)
            return v

        scale, offset = broadcast(self.gamma), broadcast(self.beta)
        outputs = nn.batch_normalization(inputs, mean, variance, offset, scale, self.epsilon)
        outputs.set_shape(input_shape)
        return outputs
