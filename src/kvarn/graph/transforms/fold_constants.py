"""What follows from constants alone becomes constants.

Source: tensorflow/tools/graph_transforms/fold_constants_lib.cc and
tensorflow/core/common_runtime/constant_folding.cc (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import importer
from kvarn.graph.flow import CONTROL_FLOW
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.graph.transforms.node_defs import constant, copy_of, graph_def_of, input_parts, node_name
from kvarn.graph.transforms.parameters import Context

_MAX_BYTES = 10 << 20
_SHAPE_OPS = frozenset(("Shape", "ShapeN", "Rank", "Size"))


def fold_constants(graph_def: Any, context: Context) -> Any:
    """What the outputs need, with constants for all that does not depend on the inputs.

    What depends only on known shapes is a constant, too.  Parameters: ``exclude_op`` and ``exclude_node``, what is
    not to be folded; ``max_constant_size_in_bytes``, what is larger stays, 10 MB by default; ``clear_output_shapes``,
    whether the shapes that the nodes recorded are ignored, true by default.

    Raises:
      InvalidArgumentError: an input is no placeholder, or a parameter is none.
      NotFoundError: an input or output does not exist, or an op is not registered.
      ValueError: the graph is damaged.
      OpError: what a constant's computation raises.
    """
    source = graph_def
    if context.flag("clear_output_shapes", True):
        source = type(graph_def)()
        source.CopyFrom(graph_def)
        for node in source.node:
            node.attr.pop("_output_shapes", None)
    graph = Graph()
    with graph.as_default():
        importer.import_graph_def(source, name="")
    folding = _Folding(graph, context)
    nodes = _used(folding.nodes(), context)
    inputs = {importer.parse_tensor_name(text)[0] for text in context.inputs}
    originals = {node.name: node for node in graph_def.node}
    kept = {node.name for node in nodes}
    missing = [name for name in dict.fromkeys(map(node_name, context.inputs)) if name not in kept]
    return graph_def_of(
        _as_placeholder(node) if node.name in inputs else node
        for node in (*nodes, *(originals[name] for name in missing))
    )


class _Folding:
    """The nodes of a graph after constants have taken the place of what leads to them."""

    def __init__(self, graph: Graph, context: Context) -> None:
        self.graph = graph
        self.fed = set()
        for text in context.inputs:
            name, index = importer.parse_tensor_name(text)
            op = graph._nodes_by_name.get(name)
            if op is None or index >= len(op.outputs):
                raise errors.NotFoundError.of(f"FeedInputs: unable to find feed output {text}", name=name)
            self.fed.add((name, index))
        self.fetched = []
        for text in context.outputs:
            name, index = importer.parse_tensor_name(text)
            op = graph._nodes_by_name.get(name)
            if op is None:
                raise errors.NotFoundError.of(f"FetchOutputs node {text}: not found", name=name)
            if index >= len(op.outputs):
                raise errors.InvalidArgumentError.of(
                    f"FetchOutputs {text}: there is no such output", name=name
                )
            self.fetched.append(op.outputs[index])
        self.excluded_ops = set(context.values("exclude_op"))
        self.excluded_nodes = set(context.values("exclude_node"))
        self.max_bytes = context.integer("max_constant_size_in_bytes", _MAX_BYTES)
        # TensorFlow counts all new constants, and those of each of its two graphs.
        self.count = 0
        self.shape_count = 0
        # The operations that the outputs need, each after its inputs.
        self.needed = self._needed()
        # The values of shape ops, and what a constant in place of an operation has to wait for.
        self.shapes: dict[Any, list[Any]] = {}
        self.waits: dict[Any, set[str]] = {}

    def nodes(self) -> list[Any]:
        """The NodeDefs, new constants last."""
        for op in self.needed:
            self._consider(op)
        new: dict[tuple[str, int], str] = {}
        constants: list[Any] = []
        if any(op.type != "Const" for op in self.waits):
            for tensor, value in self._values():
                if value.nbytes > self.max_bytes:
                    continue
                name = self._new_name(tensor.op.name, self.count - self.shape_count)
                node = constant(name, value, tensor.dtype.base_dtype)
                node.input.extend(sorted(f"^{source}" for source in self.waits[tensor.op]))
                new[tensor.op.name, tensor.value_index] = node.name
                constants.append(node)
        return [*(self._rewired(op, new) for op in self.needed), *constants]

    def _needed(self) -> list[Any]:
        waiting, needed = [x.op for x in self.fetched], set()
        while waiting:
            op = waiting.pop()
            if op in needed:
                continue
            needed.add(op)
            sources = [x.op for x in op.inputs if not self._is_fed(x)]
            waiting.extend(sources + [c for c in op.control_inputs if not self._replaces(c)])
        return [op for op in self.graph.get_operations() if op in needed]

    def _is_fed(self, tensor: Any) -> bool:
        return (tensor.op.name, tensor.value_index) in self.fed

    def _replaces(self, op: Any) -> bool:
        """Whether the feed stands for the operation as a whole."""
        return op.type == "Placeholder" and (op.name, 0) in self.fed

    def _consider(self, op: Any) -> None:
        """Notes an operation that is constant."""
        values = _of_shapes(op)
        if values is not None:
            self.shapes[op] = values
        elif not self._is_foldable(op) or any(self._is_fed(x) or x.op not in self.waits for x in op.inputs):
            return
        waits: set[str] = set()
        sources = [(x.op, self._is_fed(x)) for x in op.inputs]
        for source, is_fed in (*sources, *((c, self._replaces(c)) for c in op.control_inputs)):
            if is_fed or source not in self.waits:
                waits.add(source.name)
            else:
                waits |= self.waits[source]
        self.waits[op] = waits

    def _is_foldable(self, op: Any) -> bool:
        if op.type == "Const":
            return True
        data = op.registration
        return not (
            data.op_def.is_stateful
            or data.is_function_op
            or data.kernel is None
            or op.type in self.excluded_ops
            or op.name in self.excluded_nodes
            or op.type in CONTROL_FLOW
        )

    def _values(self) -> list[tuple[Any, Any]]:
        """The tensors that others need of the constant operations, by name, with their values."""
        fetched = {x for x in self.fetched if x.op in self.waits}
        used = {
            x
            for op in self.needed
            if op not in self.waits
            for x in op.inputs
            if x.op in self.waits and not self._is_fed(x)
        }
        computed = [x for x in fetched | used if x.op.type != "Const"]
        tensors = sorted(computed, key=lambda x: (x.op.name, x.value_index))
        copies: dict[tuple[str, int], str] = {}
        nodes: list[Any] = []
        for op in self.needed:
            if op in self.shapes:
                for i, value in enumerate(self.shapes[op]):
                    name = self._new_name(op.name, self.shape_count)
                    node = constant(name, value, op.outputs[i].dtype)
                    self.shape_count += 1
                    copies[op.name, i] = f"{node.name}:0"
                    nodes.append(node)
            elif op in self.waits:
                inputs = [copies.get((x.op.name, x.value_index), x.name) for x in op.inputs]
                nodes.append(copy_of(op.node_def, input=inputs, device=""))
                nodes[-1].attr.pop("_class", None)
        graph = Graph()
        with graph.as_default():
            importer.import_graph_def(graph_def_of(nodes), name="")
        names = [copies.get((x.op.name, x.value_index), x.name) for x in tensors]
        with Session(graph=graph) as sess:
            values = sess.run(names)
        return [
            (x, np.asarray(v, dtype=object if x.dtype == dtypes.string else None))
            for x, v in zip(tensors, values, strict=True)
        ]

    def _new_name(self, name: str, number: int) -> str:
        self.count += 1
        return f"{name}/_{number}__cf__{self.count - 1}"

    def _rewired(self, op: Any, new: dict[tuple[str, int], str]) -> Any:
        node = op.node_def
        inputs = []
        for text, x in zip(node.input, op.inputs, strict=False):
            name = new.get((x.op.name, x.value_index))
            inputs.append(x.name if self._is_fed(x) else text if name is None else name)
        return copy_of(node, input=[*inputs, *node.input[len(op.inputs) :]])


def _of_shapes(op: Any) -> list[Any] | None:
    """The outputs of an op that only looks at shapes, if they are known."""
    if op.type not in _SHAPE_OPS:
        return None
    shapes = [x.get_shape() for x in op.inputs]
    if op.type == "Rank":
        return None if shapes[0].ndims is None else [np.array(shapes[0].ndims, np.int32)]
    if not all(shape.is_fully_defined() for shape in shapes):
        return None
    kind = op.outputs[0].dtype.as_numpy_dtype
    if op.type == "Size":
        return [np.array(shapes[0].num_elements(), kind)]
    return [np.array(shape.as_list(), kind) for shape in shapes]


def _used(nodes: list[Any], context: Context) -> list[Any]:
    """The nodes that the outputs need, and the inputs."""
    by_name = {node.name: node for node in nodes}
    fed = {importer.parse_tensor_name(text) for text in context.inputs}
    used: set[str] = set()
    waiting = [node_name(text) for text in context.outputs]
    while waiting:
        name = waiting.pop()
        if name in used:
            continue
        used.add(name)
        for text in by_name[name].input:
            mark, source, index = input_parts(text)
            if not (mark == "" and (source, int(index[1:] or 0)) in fed) and source in by_name:
                waiting.append(source)
    used.update(name for name, _ in fed)
    return [node for node in nodes if node.name in used]


def _as_placeholder(node: Any) -> Any:
    if node.op == "PlaceholderWithDefault":
        return copy_of(node, op="Placeholder", input=[])
    if node.op != "Placeholder":
        raise errors.InvalidArgumentError.of(
            f"Input '{node.name}' was expected to be a Placeholder or PlaceholderWithDefault op, but was {node.op}",
            name=node.name,
        )
    return node
