"""Which layers lie between inputs and outputs, and in which order they are called.

Source: tensorflow/python/keras/engine/network.py `_map_graph_network` (1.15).
"""

from __future__ import annotations

import collections
from typing import Any

from kvarn.graph import nest
from kvarn.keras.node import Node


class LayerGraph:
    """The calls of layers by which outputs come from inputs.

    The depth of a call is how many calls lie at most between it and an output.

    Args:
      inputs, outputs: lists of tensors with a history.

    Attributes:
      nodes_by_depth: the calls of each depth, the deepest first.
      layers: each layer once, the deepest first, among equals those first that are reached first from the outputs.

    Raises:
      ValueError: an output needs a tensor that comes from none of the inputs, or two layers have one name.
    """

    def __init__(self, inputs: list[Any], outputs: list[Any]) -> None:
        self._finished: list[Node] = []
        self._seen: set[int] = set()
        self._order: dict[int, int] = {}
        for x in outputs:
            self._visit(_node_of(x))
        node_depths, layer_depths = self._depths()
        for x in inputs:
            layer = x._keras_history.layer
            if layer not in layer_depths:
                layer_depths[layer] = 0
                self._order[id(layer)] = -1
                node_depths[layer.inbound_nodes[0]] = 0
        self.nodes_by_depth: list[list[Node]] = _deepest_first(node_depths)
        self.layers: list[Any] = []
        for layers in _deepest_first(layer_depths):
            self.layers += sorted(layers, key=lambda layer: self._order[id(layer)])
        self._check_connected(inputs)
        self._check_names()

    def _visit(self, node: Node) -> None:
        """Depth first: a node is finished after all that it needs."""
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        self._order.setdefault(id(node.outbound_layer), len(self._order))
        for history, _ in node.sources():
            self._visit(history.layer.inbound_nodes[history.node_index])
        self._finished.append(node)

    def _depths(self) -> tuple[dict[Node, int], dict[Any, int]]:
        nodes: dict[Node, int] = {}
        layers: dict[Any, int] = {}
        for node in reversed(self._finished):
            depth = max(nodes.get(node, 0), layers.get(node.outbound_layer, 0))
            nodes[node] = layers[node.outbound_layer] = depth
            for history, _ in node.sources():
                needed = history.layer.inbound_nodes[history.node_index]
                nodes[needed] = max(depth + 1, nodes.get(needed, 0))
        return nodes, layers

    def _check_connected(self, inputs: list[Any]) -> None:
        computable = {id(x) for x in inputs}
        done: list[str] = []
        for node in (node for nodes in self.nodes_by_depth for node in nodes):
            name = node.outbound_layer.name
            for x in nest.flatten(node.input_tensors):
                if id(x) not in computable:
                    raise ValueError(
                        f'Graph disconnected: cannot obtain value for tensor {x} at layer "{name}". The following '
                        f"previous layers were accessed without issue: {done}"
                    )
            computable.update(map(id, nest.flatten(node.output_tensors)))
            done.append(name)

    def _check_names(self) -> None:
        for name, count in collections.Counter(layer.name for layer in self.layers).items():
            if count > 1:
                raise ValueError(
                    f'The name "{name}" is used {count} times in the model. All layer names should be unique.'
                )


def _node_of(x: Any) -> Node:
    history = x._keras_history
    node: Node = history.layer.inbound_nodes[history.node_index]
    return node


def _deepest_first(depths: dict[Any, int]) -> list[list[Any]]:
    by_depth: dict[int, list[Any]] = {}
    for x, depth in depths.items():
        by_depth.setdefault(depth, []).append(x)
    return [by_depth[depth] for depth in sorted(by_depth, reverse=True)]
