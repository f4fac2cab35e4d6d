"""A model as a table: its layers, the shapes of their outputs, how many elements their variables have.

Source: tensorflow/python/keras/utils/layer_utils.py `print_summary` (1.15).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from kvarn.graph import nest
from kvarn.keras.node import Node


def _count(weights: Iterable[Any]) -> int:
    """How many elements the variables have, each counted once."""
    return sum(math.prod(w.shape.as_list()) for w in {id(w): w for w in weights}.values())


def _row(fields: list[str], positions: list[int]) -> str:
    line = ""
    for i, field in enumerate(fields):
        if i > 0:
            line = line[:-1] + " "
        line = (line + field)[: positions[i]].ljust(positions[i])
    return line


def _is_chain(model: Any) -> bool:
    """Whether each layer is called once, and takes what one layer gives."""
    if type(model).__name__ == "Sequential":
        return True
    depths: list[list[Node]] = model._nodes_by_depth
    if any(len(nodes) > 1 or len(nest.flatten(nodes[0].inbound_layers)) > 1 for nodes in depths):
        return False
    called = [id(node.outbound_layer) for (node,) in depths]
    return len(called) == len(set(called))


def _sources(layer: Any, model: Any) -> list[str]:
    known = {id(node) for nodes in model._nodes_by_depth for node in nodes}
    return [
        f"{history.layer.name}[{history.node_index}][{history.tensor_index}]"
        for node in layer.inbound_nodes
        if id(node) in known
        for history, _ in node.sources()
    ]


def _output_shape(layer: Any) -> str:
    try:
        return str(layer.output_shape)
    except AttributeError:
        return "multiple"


def summary_lines(model: Any, line_length: int | None = None, positions: Any = None) -> Iterator[str]:
    """The lines of the table.

    Args:
      line_length: 65 by default, 98 if layers have several inputs.
      positions: where columns end: parts of the line if at most 1, else characters.
    """
    chain = not model._is_graph_network or _is_chain(model)
    line_length = line_length or (65 if chain else 98)
    positions = positions or ([0.45, 0.85, 1.0] if chain else [0.33, 0.55, 0.67, 1.0])
    if positions[-1] <= 1:
        positions = [int(line_length * p) for p in positions]
    header = ["Layer (type)", "Output Shape", "Param #"] + ([] if chain else ["Connected to"])
    yield f'Model: "{model.name}"'
    yield "_" * line_length
    yield _row(header, positions)
    yield "=" * line_length
    for index, layer in enumerate(model.layers):
        fields = [f"{layer.name} ({type(layer).__name__})", _output_shape(layer), str(layer.count_params())]
        sources = [] if chain else _sources(layer, model)
        yield _row(fields if chain else [*fields, *(sources[:1] or [""])], positions)
        for source in sources[1:]:
            yield _row(["", "", "", source], positions)
        yield ("=" if index == len(model.layers) - 1 else "_") * line_length
    trainable, others = _count(model.trainable_weights), _count(model.non_trainable_weights)
    yield f"Total params: {trainable + others:,}"
    yield f"Trainable params: {trainable:,}"
    yield f"Non-trainable params: {others:,}"
    yield "_" * line_length
