"""Function calls replaced by what the functions do.

    out = f(a, b)            Func/out/input/_0, _1      Identity of each argument
                             out/…                      the nodes of the function
                             Func/out/output/_2         Identity of what is returned

Called are the nodes whose op is the name of a function, ``PartitionedCall`` and ``StatefulPartitionedCall``.  Calls
in functions are replaced too; TensorFlow leaves calls of functions that call others.  Functions that call
themselves, and those made with ``noinline=True``, stay calls; of the library only what is still called is left.

Source: tensorflow/core/grappler/optimizers/function_optimizer.cc, `InlineFunctionBody` in
tensorflow/core/common_runtime/function.cc (1.15).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from kvarn import protos
from kvarn.graph.functions import Body, body_of
from kvarn.graph.graph import Graph
from kvarn.graph.importer import import_graph_def
from kvarn.graph.operation import Operation
from kvarn.graph.transforms.node_defs import input_parts

_INDIRECT_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_NO_INLINE = "_noinline"
_PLACE = b"loc:@"


def inline_functions(graph_def: Any) -> Any:
    """A GraphDef with the nodes of functions in the place of calls.

    Args:
      graph_def: a GraphDef message with its library.

    Raises:
      NotFoundError: a function that is called is not in the library.
      InvalidArgumentError: a function refers to what it does not have.
    """
    graph = Graph()
    with graph.as_default():
        import_graph_def(graph_def, name="")
    inlined = protos.GraphDef(versions=graph_def.versions)
    own = {node.name: node for node in graph_def.node}
    inlined.node.extend(_Inliner().nodes_of(graph, own))
    used = _functions_below(inlined.node, {f.signature.name: f for f in graph_def.library.function})
    inlined.library.function.extend(f for f in graph_def.library.function if f.signature.name in used)
    inlined.library.gradient.extend(g for g in graph_def.library.gradient if g.function_name in used)
    return inlined


class _Inliner:
    """Numbers the nodes that it adds, over all calls of a graph."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def nodes_of(self, graph: Graph, own: dict[str, Any], active: tuple[str, ...] = ()) -> list[Any]:
        """The nodes of a graph, with those of functions.

        Args:
          own: its nodes by name.
          active: the functions that it is the body of; their calls stay.
        """
        nodes: list[Any] = []
        calls: dict[str, _Call] = {}
        for op in graph.get_operations():
            function = _called(op)
            if function is None or function[0] in active or _stays(graph, op, function[0]):
                node = protos.NodeDef()
                node.CopyFrom(own[op.name])
                nodes.append(node)
                continue
            call = calls[op.name] = _Call(op, own[op.name], self._numbers)
            body = body_of(graph, *function)
            inner = {node.name: node for node in body.graph.as_graph_def().node}
            nodes += call.expanded(body, self.nodes_of(body.graph, inner, (*active, function[0])))
        for node in nodes:
            inputs = [text for given in node.input for text in _replaced(given, calls)]
            del node.input[:]
            node.input.extend(text for text in inputs if not text.startswith("^"))
            node.input.extend(dict.fromkeys(text for text in inputs if text.startswith("^")))
        return nodes


class _Call:
    """One call, and the names that its outputs have afterwards."""

    def __init__(self, op: Operation, node: Any, numbers: Iterable[int]) -> None:
        self._op = op
        self._node = node
        self._numbers = iter(numbers)
        self.outputs: list[str] = []
        self.control = ""

    def expanded(self, body: Body, inner: list[Any]) -> list[Any]:
        """What stands in the place of the call.

        Args:
          inner: the nodes of the body; they are changed.
        """
        data = [text for text in self._node.input if not text.startswith("^")]
        waits = [text for text in self._node.input if text.startswith("^")]
        before: list[Any] = []
        gate: list[str] = []
        if self._op.type in _INDIRECT_CALLS:
            # Nothing of it runs before all arguments are there.
            waits = [*dict.fromkeys(f"^{input_parts(text)[1]}" for text in data), *waits]
        if waits:
            before.append(self._new("NoOp", "input_control_node", waits))
            gate = [f"^{before[0].name}"]
        arguments: dict[str, str] = {}
        for tensor, text in zip(body.inputs, data, strict=True):
            before.append(self._new("Identity", "input", [text, *gate], tensor.dtype))
            arguments[tensor.op.name] = before[-1].name
        kept = [node for node in inner if node.name not in arguments]
        for node in kept:
            self._move(node, arguments, gate)
        after = [
            self._new("Identity", "output", [self._inside(_text_of(tensor), arguments)], tensor.dtype)
            for tensor in body.outputs
        ]
        self.outputs = [node.name for node in after]
        if any(self._op in waiting.control_inputs for waiting in self._op.graph.get_operations()):
            ran = [f"^{self._op.name}/{op.name}" for op in body.effects] or [
                f"^{node.name}" for node in after
            ]
            after.append(self._new("NoOp", "output_control_node", ran or gate))
            self.control = after[-1].name
        return [*before, *kept, *after]

    def _new(self, op: str, what: str, inputs: list[str], dtype: Any = None) -> Any:
        name = f"Func/{self._op.name}/{what}/_{next(self._numbers)}"
        node = protos.NodeDef(name=name, op=op, input=inputs, device=self._node.device)
        if dtype is not None:
            node.attr["T"].type = dtype.as_datatype_enum
        return node

    def _move(self, node: Any, arguments: dict[str, str], gate: list[str]) -> None:
        """Gives a node of the body its place in the graph of the call."""
        inputs = [self._inside(text, arguments) for text in node.input]
        del node.input[:]
        node.input.extend(inputs or gate)
        node.name = f"{self._op.name}/{node.name}"
        node.device = node.device or self._node.device
        if "_class" in node.attr:
            places = node.attr["_class"].list.s
            places[:] = [
                place.replace(_PLACE, f"loc:@{self._op.name}/".encode(), 1)
                if place.startswith(_PLACE)
                else place
                for place in places
            ]

    def _inside(self, text: str, arguments: dict[str, str]) -> str:
        """An input of a node of the body as one of the graph of the call."""
        mark, name, index = input_parts(text)
        if name in arguments:
            return mark + arguments[name]
        return f"{mark}{self._op.name}/{name}{index}"


def _called(op: Operation) -> tuple[str, dict[str, Any]] | None:
    """The function that an operation calls, with the attributes of the call."""
    if op.type in op.graph._functions:
        return op.type, dict(op.attrs)
    if op.type in _INDIRECT_CALLS:
        function = op.attrs["f"]
        return function.name, dict(function.attrs)
    return None


def _stays(graph: Graph, op: Operation, function: str) -> bool:
    known = graph._functions.get(function)
    attr = known.definition.attr if known is not None else {}
    return bool(op.attrs.get(_NO_INLINE)) or (_NO_INLINE in attr and attr[_NO_INLINE].b)


def _replaced(text: str, calls: dict[str, _Call]) -> list[str]:
    """An input, where it was an output of a call that is no more."""
    mark, name, index = input_parts(text)
    call = calls.get(name)
    if call is None:
        return [text]
    if mark:
        return [f"^{call.control}"] if call.control else [f"^{output}" for output in call.outputs]
    return [call.outputs[int(index[1:] or 0)]]


def _text_of(tensor: Any) -> str:
    return f"{tensor.op.name}:{tensor.value_index}" if tensor.value_index else tensor.op.name


def _functions_below(nodes: Iterable[Any], library: dict[str, Any]) -> set[str]:
    """The functions of a library that nodes call, and those that these call."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        named = {node.op} | {
            function.name
            for value in node.attr.values()
            for function in ([value.func] if value.HasField("func") else value.list.func)
        }
        for name in (named & library.keys()) - found:
            found.add(name)
            waiting += library[name].node_def
    return found
