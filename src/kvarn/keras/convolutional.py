"""Convolutions as layers, and their transposes.

Source: tensorflow/python/keras/layers/convolutional.py, keras/backend.py (1.15).
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.keras import activations, constraints, initializers, regularizers
from kvarn.keras.base_layer import InputSpec, Layer
from kvarn.keras.layer_utils import (
    conv_output_length,
    convert_data_format,
    deconv_output_length,
    normalize_data_format,
    normalize_padding,
    normalize_tuple,
)
from kvarn.ops import array, joining, nn, nn_convolution, nn_convolution_nd, nn_depthwise


class Conv(Layer):
    """A convolution with a kernel, a bias and an activation.

    Args:
      filters: number of channels of the outputs.
      kernel_size: of the kernel, one number or one for each inner dimension.
      strides, dilation_rate: numbers likewise; one of the two is 1.
      padding: ``valid``, ``same``, or in one dimension ``causal``, which pads only before.
      data_format: ``channels_last`` (the default) or ``channels_first``.
      activation: a function or its name.
      use_bias: whether there is a bias.
      kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
        kernel_constraint, bias_constraint: functions, or names of Keras.

    Attributes:
      kernel: [*kernel_size, channels of the inputs, filters].
      bias: [filters], or None.
    """

    rank: ClassVar[int]

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        super().__init__(activity_regularizer=regularizers.get(activity_regularizer), **kwargs)
        self.filters = filters
        self.kernel_size = normalize_tuple(kernel_size, self.rank, "kernel_size")
        self.strides = normalize_tuple(strides, self.rank, "strides")
        self.padding = normalize_padding(padding, causal=self.rank == 1)
        self.data_format = normalize_data_format(data_format or "channels_last")
        self.dilation_rate = normalize_tuple(dilation_rate, self.rank, "dilation_rate")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    @property
    def _first(self) -> bool:
        return self.data_format == "channels_first"

    @property
    def _op_format(self) -> str:
        return convert_data_format(self.data_format, self.rank + 2)

    def _channels(self, input_shape: TensorShape) -> int:
        """The number of channels of the inputs, which `input_spec` demands from now on."""
        axis = 1 if self._first else -1
        channels = input_shape.as_list()[axis]
        if channels is None:
            raise ValueError("The channel dimension of the inputs should be defined. Found `None`.")
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: channels})
        return channels

    def _add_kernel(self, shape: tuple[int, ...]) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=shape,
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            trainable=True,
            dtype=self.dtype,
        )

    def _add_bias(self) -> None:
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                trainable=True,
                dtype=self.dtype,
            )

    def build(self, input_shape: Any) -> None:
        """Makes the kernel and the bias; ValueError if the channels of the inputs are not known."""
        input_shape = TensorShape(input_shape)
        self._add_kernel((*self.kernel_size, self._channels(input_shape), self.filters))
        self._add_bias()
        padding = "valid" if self.padding == "causal" else self.padding
        self._convolution_op = nn_convolution_nd.Convolution(
            input_shape,
            filter_shape=self.kernel.shape,
            dilation_rate=self.dilation_rate,
            strides=self.strides,
            padding=padding if isinstance(padding, (list, tuple)) else padding.upper(),
            data_format=self._op_format,
        )
        self.built = True

    def call(self, inputs: Any) -> Tensor:
        if self.padding == "causal":
            inputs = array.pad(inputs, self._causal_padding())
        outputs: Any = self._convolution_op(inputs, self.kernel)
        if self.use_bias:
            if self._first and self.rank == 1:
                outputs += array.reshape(self.bias, (1, self.filters, 1))
            else:
                outputs = nn.bias_add(outputs, self.bias, data_format="NCHW" if self._first else "NHWC")
        return self._activated(outputs)

    def _causal_padding(self) -> list[list[int]]:
        before = [self.dilation_rate[0] * (self.kernel_size[0] - 1), 0]
        return [[0, 0], [0, 0], before] if self._first else [[0, 0], before, [0, 0]]

    def _activated(self, outputs: Any) -> Tensor:
        found: Tensor = outputs if self.activation is None else self.activation(outputs)
        return found

    def _in_format(self, first: Any, inner: Any, channels: Any) -> list[Any]:
        return [first, channels, *inner] if self._first else [first, *inner, channels]

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The shape of the outputs."""
        shape = TensorShape(input_shape).as_list()
        sizes = [
            conv_output_length(size, k, self.padding, stride, dilation)
            for size, k, stride, dilation in zip(
                shape[2:] if self._first else shape[1:-1],
                self.kernel_size,
                self.strides,
                self.dilation_rate,
                strict=True,
            )
        ]
        return TensorShape(self._in_format(shape[0], sizes, self.filters))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
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


class Conv1D(Conv):
    """A convolution of [batch, steps, channels]; arguments as `Conv` takes them."""

    rank = 1


class Conv2D(Conv):
    """A convolution of [batch, height, width, channels]; arguments as `Conv` takes them."""

    rank = 2


class Conv3D(Conv):
    """A convolution of [batch, depth, height, width, channels]; arguments as `Conv` takes them."""

    rank = 3


class _Transpose(Conv):
    """The transpose of a convolution: from its outputs' shape to its inputs'.  No dilations."""

    def build(self, input_shape: Any) -> None:
        """Makes the kernel [*kernel_size, filters, channels] and the bias."""
        input_shape = TensorShape(input_shape)
        if len(input_shape) != self.rank + 2:
            raise ValueError(f"Inputs should have rank {self.rank + 2}. Received input shape: {input_shape}")
        if any(rate != 1 for rate in self.dilation_rate):
            raise ValueError("Transposed convolutions with dilations are not supported.")
        self._add_kernel((*self.kernel_size, self.filters, self._channels(input_shape)))
        self._add_bias()
        self.built = True

    def _sizes(self, sizes: Any) -> list[Any]:
        return [
            deconv_output_length(size, k, self.padding, stride)
            for size, k, stride in zip(sizes, self.kernel_size, self.strides, strict=True)
        ]

    def call(self, inputs: Any) -> Tensor:
        shape = array.shape(inputs)
        batch_size = shape[0]
        start = 2 if self._first else 1
        sizes = self._sizes([shape[i] for i in range(start, start + self.rank)])
        outputs = self._transposed(inputs, joining.stack(self._in_format(batch_size, sizes, self.filters)))
        outputs.set_shape(self.compute_output_shape(inputs.shape))
        if self.use_bias:
            outputs = self._biased(outputs)
        return self._activated(outputs)

    def _transposed(self, inputs: Any, output_shape: Any) -> Any:
        raise NotImplementedError

    def _biased(self, outputs: Any) -> Any:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        shape = TensorShape(input_shape).as_list()
        sizes = self._sizes(shape[2:] if self._first else shape[1:-1])
        return TensorShape(self._in_format(shape[0], sizes, self.filters))


class Conv2DTranspose(_Transpose):
    """The transpose of `Conv2D`; arguments as `Conv` takes them."""

    rank = 2

    def _transposed(self, inputs: Any, output_shape: Any) -> Any:
        strides = (1, *self.strides, 1)
        padding = self.padding.upper()
        if not self._first:
            # TensorFlow asks here whether the size of the batch is known, and leaves the question in the graph.
            _ = output_shape[0]
            return nn_convolution.conv2d_transpose(inputs, self.kernel, output_shape, strides, padding)
        # As TensorFlow does without a GPU.
        inputs = array.transpose(inputs, (0, 2, 3, 1))
        parts = [output_shape[i] for i in (0, 2, 3, 1)]
        outputs = nn_convolution.conv2d_transpose(inputs, self.kernel, joining.stack(parts), strides, padding)
        return array.transpose(outputs, (0, 3, 1, 2))

    def _biased(self, outputs: Any) -> Any:
        return nn.bias_add(outputs, self.bias, data_format=self._op_format)


class Conv3DTranspose(_Transpose):
    """The transpose of `Conv3D`; arguments as `Conv` takes them."""

    rank = 3

    def _transposed(self, inputs: Any, output_shape: Any) -> Any:
        strides = (1, 1, *self.strides) if self._first else (1, *self.strides, 1)
        return nn_convolution.conv3d_transpose(
            inputs, self.kernel, output_shape, strides, self.padding.upper(), data_format=self._op_format
        )

    def _biased(self, outputs: Any) -> Any:
        return nn.bias_add(outputs, self.bias, data_format="NCHW" if self._first else "NHWC")


class SeparableConv(Conv):
    """A convolution of each channel alone, and then one of single elements.

    Args:
      depth_multiplier: how many channels are made of each.
      depthwise_initializer, pointwise_initializer, depthwise_regularizer, pointwise_regularizer,
        depthwise_constraint, pointwise_constraint: functions, or names of Keras.
      others: as `Conv` takes them.

    Attributes:
      depthwise_kernel: [*kernel_size, channels of the inputs, depth_multiplier].
      pointwise_kernel: [1, ..., channels of the inputs * depth_multiplier, filters].
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.depth_multiplier = depth_multiplier
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)
        self.pointwise_constraint = constraints.get(pointwise_constraint)

    def build(self, input_shape: Any) -> None:
        """Makes both kernels and the bias."""
        channels = self._channels(TensorShape(input_shape))
        self.depthwise_kernel = self.add_weight(
            name="depthwise_kernel",
            shape=(*self.kernel_size, channels, self.depth_multiplier),
            initializer=self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
            trainable=True,
            dtype=self.dtype,
        )
        self.pointwise_kernel = self.add_weight(
            name="pointwise_kernel",
            shape=(*(1,) * self.rank, self.depth_multiplier * channels, self.filters),
            initializer=self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
            constraint=self.pointwise_constraint,
            trainable=True,
            dtype=self.dtype,
        )
        self._add_bias()
        self.built = True

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):
            del config[name]
        parts = [
            f"{part}_{kind}" for part in ("depthwise", "pointwise") for kind in ("initializer", "regularizer")
        ]
        own = {name: initializers.serialize(getattr(self, name)) for name in parts}
        for name in ("depthwise_constraint", "pointwise_constraint"):
            own[name] = constraints.serialize(getattr(self, name))
        return {**config, "depth_multiplier": self.depth_multiplier, **own}


class SeparableConv1D(SeparableConv):
    """`SeparableConv` of [batch, steps, channels]."""

    rank = 1

    def call(self, inputs: Any) -> Tensor:
        if self.padding == "causal":
            inputs = array.pad(inputs, self._causal_padding())
        start = 2 if self._first else 1
        strides = (1, 1, *self.strides * 2) if self._first else (1, *self.strides * 2, 1)
        inputs = array.expand_dims(inputs, start)
        depthwise_kernel = array.expand_dims(self.depthwise_kernel, 0)
        pointwise_kernel = array.expand_dims(self.pointwise_kernel, 0)
        outputs = nn_depthwise.separable_conv2d(
            inputs,
            depthwise_kernel,
            pointwise_kernel,
            strides=strides,
            padding="VALID" if self.padding == "causal" else self.padding.upper(),
            rate=(1, *self.dilation_rate),
            data_format=convert_data_format(self.data_format, ndim=4),
        )
        if self.use_bias:
            outputs = nn.bias_add(
                outputs, self.bias, data_format=convert_data_format(self.data_format, ndim=4)
            )
        return self._activated(array.squeeze(outputs, [start]))


class SeparableConv2D(SeparableConv):
    """`SeparableConv` of [batch, height, width, channels]."""

    rank = 2

    def call(self, inputs: Any) -> Tensor:
        outputs = nn_depthwise.separable_conv2d(
            inputs,
            self.depthwise_kernel,
            self.pointwise_kernel,
            strides=(1, 1, *self.strides) if self._first else (1, *self.strides, 1),
            padding=self.padding.upper(),
            rate=self.dilation_rate,
            data_format=self._op_format,
        )
        if self.use_bias:
            outputs = nn.bias_add(outputs, self.bias, data_format=self._op_format)
        return self._activated(outputs)
