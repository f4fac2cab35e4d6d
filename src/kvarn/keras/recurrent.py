"""Recurrent layers: a cell that is called for each time of a sequence, and hands its states on.

Source: tensorflow/python/keras/layers/recurrent.py (1.15).
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from kvarn.graph.tensor_shape import TensorShape
from kvarn.keras import backend, identifiers
from kvarn.keras.base_layer import InputSpec, Layer
from kvarn.keras.layer_utils import smart_cond
from kvarn.keras.node import int_shape, is_keras_tensor
from kvarn.keras.recurrent_loop import repeated
from kvarn.ops import array, nn


class RNN(Layer):
    """A cell along a sequence.

    Args:
      cell: has ``state_size``, the sizes of its states, and ``call(inputs, states)``, which gives the output and the
        next states of one time; it may have ``output_size``, ``build`` and ``get_initial_state``.
      return_sequences: whether the outputs of all times are returned, instead of the last one.
      return_state: whether the last states are returned too.
      go_backwards: whether the last time comes first; outputs are in that order then.
      stateful: refused.
      unroll: whether each time has operations of its own, instead of a loop.
      time_major: whether inputs and outputs are [time, batch, ...] instead of [batch, time, ...].
      input_dim, input_length: the last dimension and the times of the inputs, if a model is to know them.

    Raises:
      ValueError: ``cell`` is none.
      NotImplementedError: ``stateful``, or a list of cells.
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        time_major: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(cell, (list, tuple)):
            raise NotImplementedError("A list of cells in `tf.keras.layers.RNN`")
        if stateful:
            raise NotImplementedError(
                "Recurrent layers that keep their states from batch to batch: `stateful`"
            )
        if not hasattr(cell, "call"):
            raise ValueError("`cell` should have a `call` method. The RNN was passed:", cell)
        if not hasattr(cell, "state_size"):
            raise ValueError(
                "The RNN cell should have an attribute `state_size` (tuple of integers, one integer per RNN state)."
            )
        if "input_shape" not in kwargs and ("input_dim" in kwargs or "input_length" in kwargs):
            kwargs["input_shape"] = (kwargs.pop("input_length", None), kwargs.pop("input_dim", None))
        super().__init__(**kwargs)
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.unroll = unroll
        self.time_major = time_major
        self.supports_masking = True

    @property
    def _state_sizes(self) -> list[Any]:
        size = self.cell.state_size
        return [size] if isinstance(size, (int, TensorShape)) else list(size)

    def build(self, input_shape: Any) -> None:
        """Makes the variables of the cell."""
        shape = TensorShape(input_shape[0] if isinstance(input_shape, list) else input_shape).as_list()
        of_batch, of_time = (1, 0) if self.time_major else (0, 1)
        any_length = [None if i in (of_batch, of_time) else d for i, d in enumerate(shape)]
        self.input_spec = [InputSpec(shape=tuple(any_length)), *(self.input_spec or [None])[1:]]
        if isinstance(self.cell, Layer) and not self.cell.built:
            self.cell.build(TensorShape([shape[of_batch], *shape[2:]]))
            self.cell.built = True
        self.built = True

    def get_initial_state(self, inputs: Any) -> list[Any]:
        """States before the first time: those of the cell, or zeros."""
        batch_size = array.shape(inputs)[1 if self.time_major else 0]
        if hasattr(self.cell, "get_initial_state"):
            states = self.cell.get_initial_state(inputs=None, batch_size=batch_size, dtype=inputs.dtype)
        else:
            states = zero_states(self._state_sizes, batch_size, inputs.dtype)
        return list(states) if isinstance(states, (list, tuple)) else [states]

    def __call__(self, inputs: Any, initial_state: Any = None, constants: Any = None, **kwargs: Any) -> Any:
        """The outputs for a sequence.

        Args:
          inputs: [batch, time, ...]; or a list of that and the initial states.
          initial_state: the states before the first time; zeros by default.
          constants: refused.

        Raises:
          ValueError: some of the states come from layers and some do not, or there are more or fewer of them.
          NotImplementedError: ``constants``.
        """
        if constants is not None:
            raise NotImplementedError("`constants` of `tf.keras.layers.RNN`")
        if isinstance(inputs, list):
            inputs, *given = inputs
            initial_state = given or initial_state
        if initial_state is None:
            return super().__call__(inputs, **kwargs)
        states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        from_layers = is_keras_tensor(states[0])
        if any(is_keras_tensor(state) != from_layers for state in states):
            raise ValueError(
                "The initial state or constants of an RNN layer cannot be specified with a mix of Keras tensors and "
                'non-Keras tensors (a "Keras tensor" is a tensor that was returned by a Keras layer, or by `Input`)'
            )
        if not from_layers:
            return super().__call__(inputs, initial_state=states, **kwargs)
        own = (self.input_spec or [None])[:1]
        self.input_spec = [*own, *(InputSpec(shape=int_shape(state)) for state in states)]
        outputs = super().__call__([inputs, *states], **kwargs)
        self.input_spec = self.input_spec[:1]
        return outputs

    def call(self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None) -> Any:
        """The output of the last time or of all, and the states if they are asked for.

        Raises:
          ValueError: there are more or fewer states than the cell has.
          NotImplementedError: ``mask``.
        """
        if mask is not None:
            raise NotImplementedError("Masks of recurrent layers")
        if isinstance(inputs, list):
            inputs, *states = inputs
            initial_state = states or initial_state
        if initial_state is None:
            initial_state = self.get_initial_state(inputs)
        if len(initial_state) != len(self._state_sizes):
            raise ValueError(
                f"Layer has {len(self._state_sizes)} states but was passed {len(initial_state)} initial states."
            )
        if hasattr(self.cell, "reset_dropout_mask"):
            self.cell.reset_dropout_mask()
        takes_training = "training" in inspect.signature(self.cell.call).parameters
        arguments = {"training": training} if takes_training else {}

        def step(part: Any, states: tuple[Any, ...]) -> tuple[Any, list[Any]]:
            output, new_states = self.cell.call(part, states, **arguments)
            return output, list(new_states) if isinstance(new_states, (list, tuple)) else [new_states]

        last, outputs, states = repeated(
            step, inputs, initial_state, self.go_backwards, self.unroll, self.time_major
        )
        output = outputs if self.return_sequences else last
        return [output, *states] if self.return_state else output

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs; with states a list."""
        shape = TensorShape(input_shape[0] if isinstance(input_shape, list) else input_shape).as_list()
        times = shape[:2] if self.return_sequences else [shape[1 if self.time_major else 0]]
        size = getattr(self.cell, "output_size", None) or self._state_sizes[0]
        output = TensorShape([*times, *_dims(size)])
        if not self.return_state:
            return output
        batch = shape[1 if self.time_major else 0]
        return [output, *(TensorShape([batch, *_dims(size)]) for size in self._state_sizes)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "time_major": self.time_major,
            "cell": identifiers.serialize(self.cell),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """The layer whose `get_config` gave ``config``; NotImplementedError if its cell is part of that."""
        if isinstance(config.get("cell"), dict):
            raise NotImplementedError("`tf.keras.layers.RNN` from the configuration of its cell")
        return super().from_config(config)


def _dims(size: Any) -> list[Any]:
    return [size] if isinstance(size, int) else TensorShape(size).as_list()


def zero_states(sizes: list[Any], batch_size: Any, dtype: Any) -> list[Any]:
    """Zeros [batch_size, ...] for each size."""
    return [array.zeros([batch_size, *_dims(size)], dtype=dtype) for size in sizes]


def dropout_masks(ones: Any, rate: float, training: Any, count: int) -> list[Any]:
    """Ones of which a part is dropped while training, drawn several times.

    Args:
      ones: of the shape and type that the masks are to have.
      rate: which part is dropped; the others are divided by what is left.
      training: whether that is so; by default what `learning_phase` says.
      count: how many are drawn, each with a seed of its own from NumPy's global generator.
    """

    def dropped() -> Any:
        return nn.dropout(ones, rate=rate, seed=np.random.randint(10_000_000))

    if training is None:
        training = backend.learning_phase()
    return [smart_cond(training, dropped, lambda: ones) for _ in range(count)]
