"""Batch and layer normalisation as layers.

Source: tensorflow/python/keras/layers/normalization.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes, errors
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import colocate_with, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.keras import backend, constraints, initializers, regularizers
from kvarn.keras.base_layer import InputSpec, Layer
from kvarn.keras.layer_utils import constant_value, smart_cond
from kvarn.ops import array, batch_norm, casting, nn, state
from kvarn.variables.variable import VariableAggregation, VariableSynchronization


class _Normalization(Layer):
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


class BatchNormalization(_Normalization):
    """Values less their mean over their standard deviation, over the batch while training, else moving averages.

    The moving averages are updated by operations that `updates` lists; running them is up to the program.

    Args:
      axis: the dimension that is not averaged over, or a list of them.
      momentum: how much of a moving average stays at each update.
      epsilon: added to the variance.
      center, scale: whether there is a ``beta``, and a ``gamma``.
      beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer,
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: functions, or names of Keras.
      fused: whether one operation does it, which takes inputs of rank 4; by default where it can.
      trainable: whether beta and gamma are trainable.
      adjustment: makes a scale and a bias from the shape of the inputs, which come before gamma and beta while
        training.
      renorm, renorm_clipping, renorm_momentum, virtual_batch_size: refused.

    Attributes:
      moving_mean, moving_variance: of the channels.
    """

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        fused: bool | None = None,
        trainable: bool = True,
        virtual_batch_size: int | None = None,
        adjustment: Any = None,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(axis, (int, list)):
            raise TypeError(f"axis must be int or list, type given: {type(axis)}")
        for argument, given in (("renorm", renorm), ("virtual_batch_size", virtual_batch_size is not None)):
            if given:
                raise errors.UnimplementedError.of(
                    f"Batch normalization layers do not support '{argument}'.", name=name
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
            name=name,
            **kwargs,
        )
        self.momentum = momentum
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.adjustment = adjustment
        self.fused = True if fused is None else fused
        self.trainable = trainable

    def _fused_can_be_used(self) -> bool:
        axis = [self.axis] if isinstance(self.axis, int) else self.axis
        return len(axis) == 1 and axis[0] in (-3, -1, 1, 3) and self.adjustment is None

    @property
    def _param_dtype(self) -> Any:
        if self.dtype in ("float16", "bfloat16"):
            return dtypes.float32
        return self.dtype or dtypes.float32

    def build(self, input_shape: Any) -> None:
        """Makes the variables.

        Raises:
          ValueError: rank or channels of the inputs are not known, or the axis is no dimension.
        """
        input_shape = TensorShape(input_shape)
        if not input_shape.ndims:
            raise ValueError("Input has undefined rank:", input_shape)
        ndims, shape = input_shape.ndims, input_shape.as_list()
        self._resolve_axis(ndims)
        if len(self.axis) != len(set(self.axis)):
            raise ValueError(f"Duplicate axis: {self.axis}")
        if self.fused:
            self.fused = ndims == 4 and self._fused_can_be_used()
        if self.fused:
            self._data_format = "NCHW" if self.axis == [1] else "NHWC"
        if any(shape[x] is None for x in self.axis):
            raise ValueError("Input has undefined `axis` dimension. Input shape: ", input_shape)
        self.input_spec = InputSpec(ndim=ndims, axes={x: shape[x] for x in self.axis})
        param_shape: Any = [shape[i] if i in self.axis else 1 for i in range(ndims)]
        if len(self.axis) == 1:
            param_shape = (shape[self.axis[0]],)
        self.gamma = self._add_parameter("gamma", self.scale, param_shape, self._param_dtype)
        if self.gamma is None and self.fused:
            self._gamma_const = constant(1.0, dtype=self._param_dtype, shape=param_shape)
        self.beta = self._add_parameter("beta", self.center, param_shape, self._param_dtype)
        if self.beta is None and self.fused:
            self._beta_const = constant(0.0, dtype=self._param_dtype, shape=param_shape)
        self._add_moving_averages(param_shape)
        self.built = True

    def _add_moving_averages(self, shape: Any) -> None:
        """They are never partitioned."""
        scope: Any = getattr(self, "_scope", None)
        partitioner = scope.partitioner if scope else None
        if scope:
            scope.set_partitioner(None)
        try:
            self.moving_mean = self._add_moving("moving_mean", shape, self.moving_mean_initializer)
            self.moving_variance = self._add_moving(
                "moving_variance", shape, self.moving_variance_initializer
            )
        finally:
            if partitioner:
                scope.set_partitioner(partitioner)

    def _add_moving(self, name: str, shape: Any, initializer: Any) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=self._param_dtype,
            initializer=initializer,
            synchronization=VariableSynchronization.ON_READ,
            trainable=False,
            aggregation=VariableAggregation.MEAN,
            experimental_autocast=False,
        )

    def _assign_moving_average(self, variable: Any, value: Any, momentum: Any) -> Any:
        with name_scope("AssignMovingAvg") as scope, colocate_with(variable):
            decay = convert_to_tensor(1.0 - momentum, name="decay")
            if decay.dtype != variable.dtype.base_dtype:
                decay = casting.cast(decay, variable.dtype.base_dtype)
            delta = (variable - casting.cast(value, variable.dtype.base_dtype)) * decay
            return state.assign_sub(variable, delta, name=scope)

    def _fused_batch_norm(self, inputs: Any, training: Any) -> Tensor:
        beta = self.beta if self.center else self._beta_const
        gamma = self.gamma if self.scale else self._gamma_const

        def of_batch() -> Any:
            return batch_norm.fused_batch_norm(
                inputs, gamma, beta, epsilon=self.epsilon, data_format=self._data_format
            )

        def of_averages() -> Any:
            return batch_norm.fused_batch_norm(
                inputs,
                gamma,
                beta,
                mean=self.moving_mean,
                variance=self.moving_variance,
                epsilon=self.epsilon,
                is_training=False,
                data_format=self._data_format,
            )

        output, mean, variance = smart_cond(training, of_batch, of_averages)
        known = constant_value(training)
        if known is None:
            momentum = smart_cond(training, lambda: self.momentum, lambda: 1.0)
        else:
            momentum = convert_to_tensor(self.momentum)
        if known or known is None:
            for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
                self.add_update(self._assign_moving_average(average, value, momentum))
        return output  # type: ignore[no-any-return]

    def _adjusted(self, inputs: Any, training: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
        """Scale and offset after the adjustment's."""
        adj_scale, adj_bias = self.adjustment(array.shape(inputs))
        new_scale = smart_cond(training, lambda: adj_scale, lambda: array.ones_like(adj_scale))
        new_bias = smart_cond(training, lambda: adj_bias, lambda: array.zeros_like(adj_bias))
        if scale is not None:
            new_scale *= scale
            new_bias *= scale
        if offset is not None:
            new_bias += offset
        return new_scale, new_bias

    def call(self, inputs: Any, training: Any = None) -> Tensor:
        """The normalised inputs; by default training is what `learning_phase` says."""
        if training is None:
            training = backend.learning_phase()
        if self.fused:
            return self._fused_batch_norm(inputs, training=training)
        input_shape = inputs.shape
        ndims = len(input_shape)
        reduction_axes = [i for i in range(ndims) if i not in self.axis]
        broadcast_shape = [1] * ndims
        broadcast_shape[self.axis[0]] = input_shape.as_list()[self.axis[0]]

        def broadcast(v: Any) -> Any:
            if v is not None and len(v.shape) != ndims and reduction_axes != list(range(ndims - 1)):
                return array.reshape(v, broadcast_shape)
            return v

        scale, offset = broadcast(self.gamma), broadcast(self.beta)
        mean, variance = self.moving_mean, self.moving_variance
        if constant_value(training) is not False:
            if self.adjustment:
                scale, offset = self._adjusted(inputs, training, scale, offset)
            mean, variance = self._moments(inputs, reduction_axes, training)
        mean = casting.cast(mean, inputs.dtype)
        variance = casting.cast(variance, inputs.dtype)
        if offset is not None:
            offset = casting.cast(offset, inputs.dtype)
        if scale is not None:
            scale = casting.cast(scale, inputs.dtype)
        outputs = nn.batch_normalization(
            inputs, broadcast(mean), broadcast(variance), offset, scale, self.epsilon
        )
        outputs.set_shape(input_shape)
        return outputs

    def _moments(self, inputs: Any, reduction_axes: list[int], training: Any) -> tuple[Any, Any]:
        """Mean and variance of the batch while training, else the averages, which are updated."""
        batch = nn.moments(
            casting.cast(inputs, self._param_dtype), reduction_axes, keep_dims=len(self.axis) > 1
        )
        averages = (self.moving_mean, self.moving_variance)
        found = [self._chosen(training, *pair) for pair in zip(batch, averages, strict=True)]
        for average, value in zip(averages, found, strict=True):
            self.add_update(self._updated(training, average, value))
        return found[0], found[1]

    def _chosen(self, training: Any, value: Any, average: Any) -> Any:
        return smart_cond(training, lambda: value, lambda: convert_to_tensor(average))

    def _updated(self, training: Any, average: Any, value: Any) -> Any:
        def update() -> Any:
            return self._assign_moving_average(average, value, self.momentum)

        return smart_cond(training, update, lambda: average)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }


class LayerNormalization(_Normalization):
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
