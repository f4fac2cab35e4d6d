"""Long short-term memory.

Source: tensorflow/python/keras/layers/recurrent.py `LSTMCell`, `LSTM` (1.15), those of version 1.
"""

from __future__ import annotations

from typing import Any

from kvarn.keras import activations, constraints, initializers, regularizers
from kvarn.keras.base_layer import InputSpec, Layer
from kvarn.keras.recurrent import RNN, dropout_masks, zero_states
from kvarn.ops import array, joining, linalg, nn
from kvarn.train.tracking.data_structures import NoDependency


class LSTMCell(Layer):
    """One time of an `LSTM`: four gates, made of the inputs and of the last output.

    Args:
      units: size of the output and of both states.
      activation: of the candidate and of the output.
      recurrent_activation: of the gates.
      use_bias: whether there is a bias.
      kernel_initializer, recurrent_initializer, bias_initializer, kernel_regularizer, recurrent_regularizer,
        bias_regularizer, kernel_constraint, recurrent_constraint, bias_constraint: functions, or names of Keras.
      unit_forget_bias: whether the bias of the forget gate begins at 1.
      dropout, recurrent_dropout: which part of the inputs and of the last output is dropped while training, the same
        at all times of a batch.
      implementation: 1 for one product for each gate, 2 for one for all of them.

    Attributes:
      kernel: [inputs, 4 units], for the input gate, the forget gate, the candidate and the output gate.
      recurrent_kernel: [units, 4 units].
      bias: [4 units], or None.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        implementation: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.unit_forget_bias = unit_forget_bias
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        self.reset_dropout_mask()
        self.implementation = implementation or 1

    @property
    def state_size(self) -> list[int]:
        """The sizes of both states: the last output and the memory."""
        return [self.units, self.units]

    @property
    def output_size(self) -> int:
        """The size of the output."""
        return self.units

    def build(self, input_shape: Any) -> None:
        """Makes both kernels and the bias."""
        self.kernel = self.add_weight(
            shape=(input_shape.as_list()[-1], self.units * 4),
            name="kernel",
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, self.units * 4),
            name="recurrent_kernel",
            initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.units * 4,),
                name="bias",
                initializer=self._first_bias if self.unit_forget_bias else self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.built = True

    def _first_bias(self, shape: Any, *args: Any, **kwargs: Any) -> Any:
        """The bias with that of the forget gate at 1."""
        parts = [
            self.bias_initializer((self.units,), *args, **kwargs),
            initializers.Ones()((self.units,), *args, **kwargs),
            self.bias_initializer((self.units * 2,), *args, **kwargs),
        ]
        return joining.concat(parts, 0)

    def get_initial_state(self, inputs: Any = None, batch_size: Any = None, dtype: Any = None) -> list[Any]:
        """Zeros for both states."""
        return zero_states(self.state_size, batch_size, dtype)

    def reset_dropout_mask(self) -> None:
        """Has the next call draw anew what is dropped."""
        self._masks: Any = NoDependency({})

    def _drawn(self, which: str, rate: float, x: Any, training: Any) -> list[Any] | None:
        """What ``x`` is multiplied with for each gate: drawn in the first call, for all times of a batch."""
        if rate > 0 and which not in self._masks:
            self._masks[which] = dropout_masks(array.ones_like(x), rate, training, count=4)
        # A rate of 1 drops nothing, as in TensorFlow.
        return self._masks[which] if 0 < rate < 1 else None

    def call(self, inputs: Any, states: Any, training: Any = None) -> tuple[Any, list[Any]]:
        """The output of one time, and the states after it: the output and the memory."""
        output, memory = states
        of_inputs = self._drawn("inputs", self.dropout, inputs, training)
        of_output = self._drawn("output", self.recurrent_dropout, output, training)
        gates = self._one_by_one if self.implementation == 1 else self._all_at_once
        memory, output_gate = gates(inputs, output, memory, of_inputs, of_output)
        output = output_gate * self.activation(memory)
        return output, [output, memory]

    def _one_by_one(
        self, inputs: Any, output: Any, memory: Any, of_inputs: Any, of_output: Any
    ) -> tuple[Any, Any]:
        all_inputs = _for_gates(inputs, of_inputs)
        kernels = joining.split(self.kernel, num_or_size_splits=4, axis=1)
        parts: list[Any] = [linalg.mat_mul(x, k) for x, k in zip(all_inputs, kernels, strict=True)]
        if self.use_bias:
            biases = joining.split(self.bias, num_or_size_splits=4, axis=0)
            parts = [nn.bias_add(part, bias) for part, bias in zip(parts, biases, strict=True)]

        all_outputs = _for_gates(output, of_output)

        def gate(number: int) -> Any:
            begin = self.units * number
            kernel = self.recurrent_kernel[:, begin : begin + self.units]
            return parts[number] + linalg.mat_mul(all_outputs[number], kernel)

        take = self.recurrent_activation(gate(0))
        keep = self.recurrent_activation(gate(1))
        memory = keep * memory + take * self.activation(gate(2))
        return memory, self.recurrent_activation(gate(3))

    def _all_at_once(
        self, inputs: Any, output: Any, memory: Any, of_inputs: Any, of_output: Any
    ) -> tuple[Any, Any]:
        z: Any = linalg.mat_mul(inputs if of_inputs is None else inputs * of_inputs[0], self.kernel)
        output = output if of_output is None else output * of_output[0]
        z += linalg.mat_mul(output, self.recurrent_kernel)
        if self.use_bias:
            z = nn.bias_add(z, self.bias)
        z0, z1, z2, z3 = joining.split(z, num_or_size_splits=4, axis=1)
        take = self.recurrent_activation(z0)
        keep = self.recurrent_activation(z1)
        memory = keep * memory + take * self.activation(z2)
        return memory, self.recurrent_activation(z3)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "unit_forget_bias": self.unit_forget_bias,
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": constraints.serialize(self.recurrent_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "implementation": self.implementation,
        }


def _for_gates(x: Any, masks: list[Any] | None) -> list[Any]:
    """``x`` for each of the four gates."""
    return [x] * 4 if masks is None else [x * mask for mask in masks]


class LSTM(RNN):
    """A long short-term memory along a sequence [batch, time, inputs].

    Args:
      units: size of the outputs.
      activation, recurrent_activation, ...: as `LSTMCell` takes them, by position in its order up to
        ``bias_regularizer``.
      activity_regularizer: makes a loss of the outputs.
      return_sequences, return_state, go_backwards, unroll, **kwargs: as `RNN` takes them.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        implementation: int = 1,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        **kwargs: Any,
    ) -> None:
        cell = LSTMCell(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            implementation=implementation,
            dtype=kwargs.get("dtype"),
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            **kwargs,
        )
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.input_spec = [InputSpec(ndim=3)]

    @property
    def units(self) -> int:
        """Size of the outputs."""
        return self.cell.units  # type: ignore[no-any-return]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["cell"]
        own = {"activity_regularizer": regularizers.serialize(self.activity_regularizer)}
        return {**self.cell.get_config(), **own, **config}
