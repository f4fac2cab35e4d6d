"""The calls of a layer, the tensors that went in and out, and the values of its variables.

Source: tensorflow/python/keras/engine/base_layer.py, base_layer_utils.py (1.15).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kvarn.graph import nest
from kvarn.graph.graph import name_scope
from kvarn.keras import sessions
from kvarn.keras.layer_parts import Parts
from kvarn.keras.node import KerasHistory, Node, is_keras_tensor
from kvarn.ops import array


class Connections(Parts):
    """An object that remembers its calls, if its inputs come from `Input`."""

    _name: str
    name: Any

    @property
    def inbound_nodes(self) -> list[Node]:
        """A node for each call."""
        self._maybe_create_attribute("_inbound_nodes", [])
        found: list[Node] = self.__dict__["_inbound_nodes"]
        return found

    @property
    def outbound_nodes(self) -> list[Node]:
        """A node for each call of a layer that took an output of this one."""
        self._maybe_create_attribute("_outbound_nodes", [])
        found: list[Node] = self.__dict__["_outbound_nodes"]
        return found

    def _connect(self, inputs: Any, outputs: Any, arguments: dict[str, Any]) -> Any:
        """Remembers a call; the outputs, each with its history.

        Outputs that are inputs are copied, as one tensor has one history.
        """
        given = {id(x) for x in nest.flatten(inputs)}

        def own(x: Any) -> Any:
            if id(x) not in given:
                return x
            with name_scope(self.name):
                return array.identity(x)

        outputs = nest.map_structure(own, outputs)
        Node(self, inputs, outputs, arguments)
        call = len(self.inbound_nodes) - 1
        for index, tensor in enumerate(nest.flatten(outputs)):
            tensor._keras_history = KerasHistory(self, call, index)
        return outputs

    def _attribute_of_call(self, node_index: int, attribute: str, what: str) -> Any:
        nodes = self.inbound_nodes
        if not nodes:
            raise RuntimeError(f"The layer has never been called and thus has no defined {what}.")
        if node_index >= len(nodes):
            raise ValueError(
                f"Asked to get {what} at node {node_index}, but the layer has only {len(nodes)} inbound nodes."
            )
        values = getattr(nodes[node_index], attribute)
        return values[0] if isinstance(values, list) and len(values) == 1 else values

    def get_input_at(self, node_index: int) -> Any:
        """The inputs of a call; RuntimeError if there was none at all, ValueError if there were fewer."""
        return self._attribute_of_call(node_index, "input_tensors", "input")

    def get_output_at(self, node_index: int) -> Any:
        """The outputs of a call; raises as `get_input_at`."""
        return self._attribute_of_call(node_index, "output_tensors", "output")

    def get_input_shape_at(self, node_index: int) -> Any:
        """The static shapes of the inputs of a call; raises as `get_input_at`."""
        return self._attribute_of_call(node_index, "input_shapes", "input shape")

    def get_output_shape_at(self, node_index: int) -> Any:
        """The static shapes of the outputs of a call; raises as `get_input_at`."""
        return self._attribute_of_call(node_index, "output_shapes", "output shape")

    def _only_call(self, attribute: str, what: str) -> Any:
        if len(self.inbound_nodes) > 1:
            raise AttributeError(
                f'Layer {self.name} has multiple inbound nodes, hence the notion of "layer {what}" is '
                f"ill-defined. Use `get_{what}_at(node_index)` instead."
            )
        if not self.inbound_nodes:
            raise AttributeError(f"Layer {self.name} is not connected, no {what} to return.")
        return self._attribute_of_call(0, attribute, what)

    @property
    def input(self) -> Any:
        """The inputs of the only call; AttributeError if there was none, or there were more."""
        return self._only_call("input_tensors", "input")

    @property
    def output(self) -> Any:
        """The outputs of the only call; AttributeError if there was none, or there were more."""
        return self._only_call("output_tensors", "output")

    def _only_shape(self, attribute: str, what: str) -> Any:
        if not self.inbound_nodes:
            raise AttributeError(f"The layer has never been called and thus has no defined {what} shape.")
        shapes = [getattr(node, attribute) for node in self.inbound_nodes]
        if any(str(shape) != str(shapes[0]) for shape in shapes):
            raise AttributeError(
                f'The layer "{self.name}" has multiple inbound nodes, with different {what} shapes. Hence the notion '
                f'of "{what} shape" is ill-defined for the layer. Use `get_{what}_shape_at(node_index)` instead.'
            )
        return shapes[0]

    @property
    def input_shape(self) -> Any:
        """The static shapes of the inputs; AttributeError if calls differ in them, or there was none."""
        return self._only_shape("input_shapes", "input")

    @property
    def output_shape(self) -> Any:
        """The static shapes of the outputs; AttributeError if calls differ in them, or there was none."""
        return self._only_shape("output_shapes", "output")

    def get_weights(self) -> list[Any]:
        """The values of all variables, in the order of `weights`."""
        return sessions.batch_get_value(self.weights)

    def set_weights(self, weights: Any) -> None:
        """Sets all variables.

        Args:
          weights: arrays, in the order of `weights`.

        Raises:
          ValueError: there are more or fewer, or one has another shape.
        """
        own = self.weights
        if len(own) != len(weights):
            raise ValueError(
                f'You called `set_weights(weights)` on layer "{self.name}" with a  weight list of length '
                f"{len(weights)}, but the layer was expecting {len(own)} weights. Provided weights: "
                f"{str(weights)[:50]}..."
            )
        for variable, value in zip(own, weights, strict=True):
            shape = tuple(variable.shape.as_list())
            if shape != np.shape(value):
                raise ValueError(
                    f"Layer weight shape {shape} not compatible with provided weight shape {np.shape(value)}"
                )
        sessions.batch_set_value(list(zip(own, weights, strict=True)))

    def _count_of_weights(self) -> int:
        return sum(math.prod(w.shape.as_list()) for w in self.weights)


def are_keras_tensors(inputs: Any) -> bool:
    """Whether all ``inputs`` have a history."""
    flat = nest.flatten(inputs)
    return bool(flat) and all(map(is_keras_tensor, flat))
