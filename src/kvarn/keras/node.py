"""How layers are connected: a node for each call of a layer, and on each tensor which call it comes from.

Source: tensorflow/python/keras/engine/node.py, base_layer.py `KerasHistory` (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from kvarn.graph import nest
from kvarn.graph.tensor import Tensor


class KerasHistory(NamedTuple):
    """Which layer made a tensor, in which of its calls, and which of the outputs it is."""

    layer: Any
    node_index: int
    tensor_index: int


class Node:
    """One call of a layer, known to the layer and to those that made the inputs.

    Args:
      outbound_layer: the layer that was called.
      input_tensors: a structure of tensors with a history; none of them for a layer that inputs come from.
      output_tensors: a structure of tensors.
      arguments: of the call besides the inputs, by name.
      is_source: whether the inputs come from nowhere else: the node of an `InputLayer`, or of a whole model.

    Attributes:
      inbound_layers, node_indices, tensor_indices: the history of the inputs, structures like them.
      input_shapes, output_shapes: tuples, in structures like the tensors.
    """

    def __init__(
        self,
        outbound_layer: Any,
        input_tensors: Any,
        output_tensors: Any,
        arguments: dict[str, Any] | None = None,
        is_source: bool = False,
    ) -> None:
        self.outbound_layer = outbound_layer
        self.input_tensors = input_tensors
        self.output_tensors = output_tensors
        self.arguments = arguments
        self.input_shapes = nest.map_structure(int_shape, input_tensors)
        self.output_shapes = nest.map_structure(int_shape, output_tensors)
        histories = [] if is_source else [x._keras_history for x in nest.flatten(input_tensors)]

        def like_inputs(values: list[Any]) -> Any:
            return [] if is_source else nest.pack_sequence_as(input_tensors, values)

        self.inbound_layers = like_inputs([h.layer for h in histories])
        self.node_indices = like_inputs([h.node_index for h in histories])
        self.tensor_indices = like_inputs([h.tensor_index for h in histories])
        for history in histories:
            history.layer.outbound_nodes.append(self)
        outbound_layer.inbound_nodes.append(self)

    def sources(self) -> Iterator[tuple[KerasHistory, Any]]:
        """The inputs, then those arguments that layers have made: each with its history."""
        inputs = nest.flatten(self.input_tensors) if self.inbound_layers else []
        for tensor in (*inputs, *tensors_of_layers(self.arguments)):
            yield tensor._keras_history, tensor


def int_shape(x: Any) -> tuple[int | None, ...] | None:
    """The static shape of a tensor as a tuple; None if not even the rank is known."""
    shape = x.shape
    return None if shape.ndims is None else tuple(shape.as_list())


def is_keras_tensor(x: Any) -> bool:
    """Whether a layer made ``x`` of tensors of `Input`, or it is one of those."""
    return getattr(x, "_keras_history", None) is not None


def tensors_of_layers(arguments: Any) -> list[Any]:
    """The tensors with a history in a structure."""
    return [x for x in nest.flatten(arguments) if isinstance(x, Tensor) and is_keras_tensor(x)]
