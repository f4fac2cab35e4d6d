"""Batch normalisation as a layer.

Source: tensorflow/python/keras/layers/normalization.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import colocate_with, control_dependencies, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.keras import backend, initializers
from kvarn.keras.base_layer import InputSpec
from kvarn.keras.layer_utils import constant_value, smart_cond
from kvarn.keras.normalization import Normalization
from kvarn.ops import activation, array, batch_norm, casting, math, nn, reduction, state, unary
from kvarn.variables.variable import VariableAggregation, VariableSynchronization


class BatchNormalization(Normalization):
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
      renorm: whether values are corrected by how far the batch is from longer averages (batch renormalisation).
      renorm_clipping: limits of the corrections: ``rmin``, ``rmax``, ``dmax``.
      renorm_momentum: of those averages.
      virtual_batch_size: if given, parts of so many examples are normalised each by itself.

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
        self.virtual_batch_size = virtual_batch_size
        self.renorm = renorm
        if renorm:
            self.renorm_clipping = renorm_clipping or {}
            self.renorm_momentum = renorm_momentum
            keys = ["rmax", "rmin", "dmax"]
            if set(self.renorm_clipping) - set(keys):
                raise ValueError(f"renorm_clipping {renorm_clipping} contains keys not in {keys}")

    def _fused_can_be_used(self) -> bool:
        axis = [self.axis] if isinstance(self.axis, int) else self.axis
        plain = not self.renorm and self.virtual_batch_size is None and self.adjustment is None
        return plain and len(axis) == 1 and axis[0] in (-3, -1, 1, 3)

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
        self._check_virtual_batches()
        if self.fused:
            self.fused = ndims == 4 and self._fused_can_be_used()
        if self.fused:
            self._data_format = "NCHW" if self.axis == [1] else "NHWC"
        if any(shape[x] is None for x in self.axis):
            raise ValueError("Input has undefined `axis` dimension. Input shape: ", input_shape)
        self.input_spec = InputSpec(ndim=ndims, axes={x: shape[x] for x in self.axis})
        param_shape: Any = [shape[i] if i in self.axis else 1 for i in range(ndims)]
        if self.virtual_batch_size is not None:
            # One more dimension, of the parts, comes second.
            param_shape.insert(1, 1)
            self.axis = [x + 1 for x in self.axis]
        elif len(self.axis) == 1:
            param_shape = (shape[self.axis[0]],)
        self.gamma = self._add_parameter("gamma", self.scale, param_shape, self._param_dtype)
        if self.gamma is None and self.fused:
            self._gamma_const = constant(1.0, dtype=self._param_dtype, shape=param_shape)
        self.beta = self._add_parameter("beta", self.center, param_shape, self._param_dtype)
        if self.beta is None and self.fused:
            self._beta_const = constant(0.0, dtype=self._param_dtype, shape=param_shape)
        self._add_moving_averages(param_shape)
        self.built = True

    def _check_virtual_batches(self) -> None:
        if self.virtual_batch_size is None:
            return
        if self.virtual_batch_size <= 0:
            raise ValueError(
                "virtual_batch_size must be a positive integer that divides the true batch size of the input Tensor"
            )
        if 0 in self.axis:
            raise ValueError(
                "When using virtual_batch_size, the batch dimension must be 0 and thus axis cannot include 0"
            )
        if self.adjustment is not None:
            raise ValueError("When using virtual_batch_size, adjustment cannot be specified")

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
            if self.renorm:
                self._add_renorm_averages(shape)
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

    def _add_renorm_averages(self, shape: Any) -> None:
        def stddev_initializer(*args: Any, **kwargs: Any) -> Any:
            return unary.sqrt(self.moving_variance_initializer(*args, **kwargs))

        with colocate_with(self.moving_variance):
            self.moving_stddev = self._add_moving("moving_stddev", shape, stddev_initializer)
        with colocate_with(self.moving_mean):
            self.renorm_mean = self._add_moving("renorm_mean", shape, self.moving_mean_initializer)
        with colocate_with(self.moving_stddev):
            self.renorm_stddev = self._add_moving("renorm_stddev", shape, stddev_initializer)

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

    def _adjusted(self, inputs: Any, training: Any) -> tuple[Any, Any]:
        """The adjustment's scale and bias while training, else 1 and 0."""
        scale, bias = self.adjustment(array.shape(inputs))
        scale_now = smart_cond(training, lambda: scale, lambda: array.ones_like(scale))
        bias_now = smart_cond(training, lambda: bias, lambda: array.zeros_like(bias))
        return scale_now, bias_now

    def call(self, inputs: Any, training: Any = None) -> Tensor:
        """The normalised inputs; by default training is what `learning_phase` says."""
        if training is None:
            training = backend.learning_phase()
        if self.fused:
            return self._fused_batch_norm(inputs, training=training)
        original_shape: list[Any] = [-1, *inputs.shape.as_list()[1:]]
        if self.virtual_batch_size is not None:
            inputs = array.reshape(inputs, [self.virtual_batch_size, -1, *original_shape[1:]])
        outputs = self._normalized(inputs, training)
        return outputs if self.virtual_batch_size is None else array.reshape(outputs, original_shape)

    def _normalized(self, inputs: Any, training: Any) -> Any:
        """The normalised inputs, by operations that anything can be made of."""
        input_shape = inputs.shape
        ndims = len(input_shape)
        reduction_axes = [i for i in range(ndims) if i not in self.axis]
        if self.virtual_batch_size is not None:
            del reduction_axes[1]
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
                scale, offset = _composed(*self._adjusted(inputs, training), scale, offset)
            mean, variance, new_mean, new_variance = self._moments(inputs, reduction_axes, training)
            if self.renorm:
                r, d, new_mean, new_variance = self._corrections(new_mean, new_variance, training)
                r = broadcast(array.stop_gradient(r, name="renorm_r"))
                d = broadcast(array.stop_gradient(d, name="renorm_d"))
                scale, offset = _composed(r, d, scale, offset)
            self.add_update(self._mean_updated(training, new_mean))
            self.add_update(self._variance_updated(training, new_variance))
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

    def _moments(self, inputs: Any, reduction_axes: list[int], training: Any) -> tuple[Any, ...]:
        """Mean and variance of the batch while training, else the averages; both again as the averages take them."""
        parts = self.virtual_batch_size is not None
        batch_mean, batch_variance = nn.moments(
            casting.cast(inputs, self._param_dtype), reduction_axes, keep_dims=parts or len(self.axis) > 1
        )
        mean = smart_cond(training, lambda: batch_mean, lambda: convert_to_tensor(self.moving_mean))
        variance = smart_cond(
            training, lambda: batch_variance, lambda: convert_to_tensor(self.moving_variance)
        )
        if not parts:
            return mean, variance, mean, variance
        new_mean = reduction.reduce_mean(mean, axis=1, keepdims=True)
        return mean, variance, new_mean, reduction.reduce_mean(variance, axis=1, keepdims=True)

    def _mean_updated(self, training: Any, value: Any) -> Any:
        def update() -> Any:
            return self._assign_moving_average(self.moving_mean, value, self.momentum)

        return smart_cond(training, update, lambda: self.moving_mean)

    def _variance_updated(self, training: Any, value: Any) -> Any:
        def update() -> Any:
            if not self.renorm:
                return self._assign_moving_average(self.moving_variance, value, self.momentum)
            stddev = self._assign_moving_average(
                self.moving_stddev, unary.sqrt(value + self.epsilon), self.momentum
            )
            # Rounding may have made it negative.
            found = activation.relu(stddev * stddev - self.epsilon)
            with name_scope("AssignNewValue") as scope, colocate_with(self.moving_variance):
                return state.assign(self.moving_variance, found, name=scope)

        return smart_cond(training, update, lambda: self.moving_variance)

    def _corrections(self, mean: Any, variance: Any, training: Any) -> tuple[Any, Any, Any, Any]:
        """What renormalisation multiplies with and adds, and the moments after its averages are updated."""
        stddev = unary.sqrt(variance + self.epsilon)
        least = unary.sqrt(self.epsilon)
        renorm_stddev = math.maximum(self.renorm_stddev, least)
        r = stddev / renorm_stddev
        d = (mean - self.renorm_mean) / renorm_stddev
        with control_dependencies([r, d]):
            mean = array.identity(mean)
            stddev = array.identity(stddev)
        rmin, rmax, dmax = (self.renorm_clipping.get(key) for key in ("rmin", "rmax", "dmax"))
        if rmin is not None:
            r = math.maximum(r, rmin)
        if rmax is not None:
            r = math.minimum(r, rmax)
        if dmax is not None:
            d = math.minimum(math.maximum(d, -dmax), dmax)
        r_now = smart_cond(training, lambda: r, lambda: array.ones_like(r))
        d_now = smart_cond(training, lambda: d, lambda: array.zeros_like(d))
        updated = [
            self._renorm_updated(self.renorm_mean, mean, training),
            self._renorm_updated(self.renorm_stddev, stddev, training),
        ]
        with control_dependencies(updated):
            return r_now, d_now, array.identity(mean), array.identity(variance)

    def _renorm_updated(self, average: Any, value: Any, training: Any) -> Any:
        value = array.identity(value)

        def update() -> Any:
            return self._assign_moving_average(average, value, self.renorm_momentum)

        return smart_cond(training, update, lambda: array.identity(average))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }


def _composed(scale: Any, offset: Any, then_scale: Any, then_offset: Any) -> tuple[Any, Any]:
    """Two transformations, each a scale and an offset, as one; the second one's may be None."""
    if then_scale is not None:
        scale *= then_scale
        offset *= then_scale
    if then_offset is not None:
        offset += then_offset
    return scale, offset
