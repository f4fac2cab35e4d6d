"""A step that is repeated along the time of a sequence.

Source: tensorflow/python/keras/backend.py `rnn` (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import constant
from kvarn.ops import array, joining
from kvarn.ops.tensor_array import TensorArray
from kvarn.ops.while_loop import while_loop

Step = Callable[[Any, tuple[Any, ...]], tuple[Any, list[Any]]]


def _swapped(x: Any) -> Any:
    """``x`` with its first two dimensions exchanged."""
    return array.transpose(x, [1, 0, *range(2, len(x.shape))])


def repeated(
    step: Step,
    inputs: Any,
    initial_states: list[Any],
    go_backwards: bool = False,
    unroll: bool = False,
    time_major: bool = False,
) -> tuple[Any, Any, Any]:
    """What a step gives for each time of a sequence, and the states that it ends in.

    Args:
      step: takes the inputs of one time, [batch, ...], and the states; gives an output and the next states.
      inputs: [batch, time, ...], or with ``time_major`` [time, batch, ...].
      initial_states: of the first step.
      go_backwards: whether the last time comes first.
      unroll: whether each time has operations of its own, instead of a loop.

    Returns:
      The last output, all outputs in the layout of the inputs, and the last states.

    Raises:
      ValueError: ``unroll``, and how many times there are is not known.
    """
    if not time_major:
        inputs = _swapped(inputs)
    steps, batch = inputs.shape.as_list()[:2]
    count = array.shape(inputs)[0]
    if unroll:
        last, outputs, states = _unrolled(step, inputs, steps, initial_states, go_backwards)
    else:
        last, outputs, states = _looped(step, inputs, count, initial_states, go_backwards)
    outputs.set_shape([steps, batch, *outputs.shape.as_list()[2:]])
    return last, outputs if time_major else _swapped(outputs), states


def _unrolled(
    step: Step, inputs: Any, steps: int | None, initial_states: list[Any], go_backwards: bool
) -> tuple[Any, Any, Any]:
    if not steps:
        raise ValueError("Unrolling requires a fixed number of timesteps.")
    states: Any = tuple(initial_states)
    parts = joining.unstack(inputs)
    outputs = []
    for part in reversed(parts) if go_backwards else parts:
        output, states = step(part, tuple(states))
        outputs.append(output)
    return outputs[-1], joining.stack(outputs), states


def _looped(
    step: Step, inputs: Any, count: Any, initial_states: list[Any], go_backwards: bool
) -> tuple[Any, Any, Any]:
    parts = TensorArray(dtype=inputs.dtype, size=count, tensor_array_name="input_ta_0")
    parts = parts.unstack(array.reverse(inputs, [0]) if go_backwards else inputs)
    # One step beside the loop tells what outputs look like.
    example, _ = step(inputs[0], tuple(initial_states))
    outputs = TensorArray(
        dtype=example.dtype, size=count, element_shape=example.shape, tensor_array_name="output_ta_0"
    )
    time = constant(0, dtype=dtypes.int32, name="time")

    def body(time: Any, outputs: Any, *states: Any) -> tuple[Any, ...]:
        output, new_states = step(parts.read(time), states)
        for state, new_state in zip(states, new_states, strict=True):
            new_state.set_shape(state.shape)
        outputs = outputs.write(time, output)
        return (time + 1, outputs, *new_states)

    _, outputs, *states = while_loop(
        cond=lambda time, *_: time < count,
        body=body,
        loop_vars=(time, outputs, *initial_states),
        parallel_iterations=32,
        swap_memory=True,
    )
    stacked = outputs.stack()
    return stacked[-1], stacked, states
