"""Dense, Dropout, Flatten, Activation and Lambda.

Source: tensorflow/python/keras/layers/core.py (1.15).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import TensorShape, dimension_value
from kvarn.keras import activations, backend, constraints, initializers, regularizers
from kvarn.keras.base_layer import InputSpec, Layer
from kvarn.keras.layer_utils import normalize_data_format, smart_cond
from kvarn.ops import array, casting, linalg, nn, sparse
from kvarn.variables.creator import variable_creator_scope


class Dense(Layer):
    """activation(inputs times kernel + bias), over the last dimension of the inputs.

    Args:
      units: size of the last dimension of the outputs.
      activation: a function or its name.
      use_bias: whether there is a bias.
      kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
        kernel_constraint, bias_constraint: functions, or names of Keras.
      input_dim: the last dimension of the inputs, if a model is to know it.

    Attributes:
      kernel: [last dimension, units].
      bias: [units], or None.
    """

    def __init__(
        self,
        units: Any,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        if "input_shape" not in kwargs and "input_dim" in kwargs:
            kwargs["input_shape"] = (kwargs.pop("input_dim"),)
        super().__init__(activity_regularizer=regularizers.get(activity_regularizer), **kwargs)
        self.units = int(units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.supports_masking = True
        self.input_spec = InputSpec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        """Makes the kernel and the bias.

        Raises:
          TypeError: the layer's type is none of floats.
          ValueError: the last dimension is not known.
        """
        dtype = dtypes.as_dtype(self.dtype or backend.floatx())
        if not (dtype.is_floating or dtype.is_complex):
            raise TypeError(f"Unable to build `Dense` layer with non-floating point dtype {dtype}")
        last_dim = dimension_value(TensorShape(input_shape)[-1])
        if last_dim is None:
            raise ValueError("The last dimension of the inputs to `Dense` should be defined. Found `None`.")
        self.input_spec = InputSpec(min_ndim=2, axes={-1: last_dim})
        self.kernel = self.add_weight(
            "kernel",
            shape=[last_dim, self.units],
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            dtype=self.dtype,
            trainable=True,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                shape=[self.units],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                dtype=self.dtype,
                trainable=True,
            )
        self.built = True

    def call(self, inputs: Any) -> Tensor:
        rank = len(inputs.shape)
        if rank > 2:
            outputs = linalg.tensordot(inputs, self.kernel, [[rank - 1], [0]])
            outputs.set_shape([*inputs.shape.as_list()[:-1], self.units])
        else:
            inputs = casting.cast(inputs, self._compute_dtype)
            if isinstance(inputs, SparseTensor):
                outputs = sparse.sparse_tensor_dense_matmul(inputs, self.kernel)
            else:
                outputs = linalg.mat_mul(inputs, self.kernel)
        if self.use_bias:
            outputs = nn.bias_add(outputs, self.bias)
        found: Tensor = outputs if self.activation is None else self.activation(outputs)
        return found

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The shape of the outputs; ValueError if the last dimension is not known."""
        input_shape = TensorShape(input_shape).with_rank_at_least(2)
        if dimension_value(input_shape[-1]) is None:
            raise ValueError(
                f"The innermost dimension of input_shape must be defined, but saw: {input_shape}"
            )
        found: TensorShape = input_shape[:-1].concatenate(self.units)
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }


class Dropout(Layer):
    """Sets a part of the inputs to zero while training, and divides the others by what is left.

    Args:
      rate: which part, from 0 to 1.
      noise_shape: shape of what is dropped, broadcast to the inputs; None stands for the inputs' dimension.
      seed: of the random numbers.
    """

    def __init__(self, rate: Any, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.noise_shape = noise_shape
        self.seed = seed
        self.supports_masking = True

    def _get_noise_shape(self, inputs: Any) -> Any:
        if self.noise_shape is None:
            return None
        shape = array.shape(inputs)
        noise_shape = [shape[i] if d is None else d for i, d in enumerate(self.noise_shape)]
        return convert_to_tensor(noise_shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """``inputs`` with parts dropped if ``training``, by default what `learning_phase` says."""
        if training is None:
            training = backend.learning_phase()

        def dropped() -> Tensor:
            return nn.dropout(
                inputs, noise_shape=self._get_noise_shape(inputs), seed=self.seed, rate=self.rate
            )

        return smart_cond(training, dropped, lambda: array.identity(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}
        return {**super().get_config(), **own}


class Flatten(Layer):
    """All dimensions but the first as one.

    Args:
      data_format: ``channels_last``, or ``channels_first``, where the second dimension is moved to the end before.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = normalize_data_format(data_format or "channels_last")
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Any) -> Tensor:
        rank = inputs.shape.ndims
        if self.data_format == "channels_first" and rank is not None and rank > 1:
            inputs = array.transpose(inputs, perm=[0, *range(2, rank), 1])
        first = dimension_value(inputs.shape[0])
        outputs: Tensor = array.reshape(inputs, (first or array.shape(inputs)[0], -1))
        outputs.set_shape(self.compute_output_shape(inputs.shape))
        return outputs

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The shape of the outputs."""
        first, *others = TensorShape(input_shape).as_list()
        return TensorShape([first, math.prod(d or 0 for d in others) if all(others) else None])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Activation(Layer):
    """A function of the inputs, or its name."""

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.activation = activations.get(activation)

    def call(self, inputs: Any) -> Any:
        return self.activation(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Lambda(Layer):
    """Any function as a layer; the variables that it makes belong to the layer, and are made once.

    Args:
      function: called with the inputs and ``arguments``, and with ``training`` if it takes that.
      output_shape: the shape of the output without the first dimension, or a function of the inputs' shape.
      mask: refused, as there are no masks.
      arguments: by name.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if mask is not None:
            raise TypeError("Masks are not supported: they are passed on by models, which there are none of.")
        super().__init__(**kwargs)
        self.function = function
        self.arguments = arguments or {}
        self._output_shape = output_shape
        self._takes_training = "training" in inspect.getfullargspec(function).args
        self._made: dict[str, Any] = {}

    def call(self, inputs: Any, training: Any = None) -> Any:
        arguments = dict(self.arguments)
        if self._takes_training:
            arguments["training"] = training
        with variable_creator_scope(self._create):
            return self.function(inputs, **arguments)

    def _create(self, next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        name = kwargs["name"]
        if name not in self._made:
            variable = self._made[name] = next_creator(**kwargs)
            self._own(variable)
        return self._made[name]

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """What was said of it; NotImplementedError if nothing was."""
        if self._output_shape is None:
            raise NotImplementedError(
                "We could not automatically infer the shape of the Lambda's output. "
                "Please specify `output_shape` for this Lambda."
            )
        if callable(self._output_shape):
            return TensorShape(self._output_shape(input_shape))
        return TensorShape([dimension_value(TensorShape(input_shape)[0]), *self._output_shape])
