"""Calls of functions become the nodes of the functions.

What stays a call: functions that must not be inlined or call themselves, and effects that nothing would wait for.
Conditionals and loops whose branches are functions stay, too, and so do calls within functions that stay.

Source: `InlineFunctionBody` of tensorflow/core/common_runtime/function.cc and
tensorflow/core/grappler/optimizers/function_optimizer.cc (1.15).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from kvarn import dtypes, protos
from kvarn.graph import attr_value, functions, registry
from kvarn.graph.device import DeviceSpec
from kvarn.graph.graph import Graph
from kvarn.graph.importer import import_graph_def
from kvarn.graph.transforms.node_defs import copy_of, input_parts, node_name

_PARTITIONED = frozenset(("PartitionedCall", "StatefulPartitionedCall"))


def inline_functions(graph_def: Any, kept: Collection[str] = ()) -> Any:
    """The GraphDef with the nodes of functions in the place of calls, and without functions that are no longer used.

    Args:
      graph_def: a GraphDef message.
      kept: names of nodes that are still there afterwards: in the place of a call, an IdentityN of its results.

    Raises:
      InvalidArgumentError: a function refers to what it does not have.
      ValueError: the graph is damaged.
    """
    graph = Graph()
    with graph.as_default():
        import_graph_def(graph_def, name="")
    result = type(graph_def)()
    result.CopyFrom(graph_def)
    del result.node[:]
    result.node.extend(_Inliner(graph, graph_def, kept).nodes())
    _drop_unused_functions(result)
    return result


class _Inliner:
    """The nodes of a graph while calls are replaced.

    Args:
      graph: the graph, for its library.
      graph_def: its nodes.
      kept: names of nodes that stay fetchable.
    """

    def __init__(self, graph: Graph, graph_def: Any, kept: Collection[str]) -> None:
        self.graph = graph
        self.kept = frozenset(kept)
        self.made: dict[str, Any] = {}
        self.count = 0
        # What to use instead of a call's results, and which node to wait for instead of a call.
        self.results: dict[str, list[str]] = {}
        self.control: dict[str, str] = {}
        self.controlling: set[str] = set()
        # Calls whose edge to the graph's end TensorFlow takes for one to a node that waits for them.
        self.unused = {node.name for node in graph_def.node}
        self.waiting: deque[tuple[Any, tuple[str, ...]]] = deque()
        # As in TensorFlow, what has no inputs waits for the graph's beginning.
        self.first = {node.name for node in graph_def.node if not node.input}
        self.devices = {node.name: node.device for node in graph_def.node}
        for node in graph_def.node:
            self.unused.difference_update(node_name(text) for text in node.input)
        self._add(in_order(graph_def.node), ())

    def nodes(self) -> list[Any]:
        """The nodes without the calls that could be replaced."""
        while self.waiting:
            node, callers = self.waiting.popleft()
            called = self._function(node)
            if called is None:
                continue
            name, attrs = called
            if name in callers:
                continue  # it calls itself
            instance = functions.instance_of(self.graph, name, attrs)
            if self._may_inline(node, name, instance):
                self._inline(node, instance, (*callers, name))
        return [copy_of(node, input=self._inputs(node)) for node in self.made.values()]

    def _add(self, nodes: Iterable[Any], callers: tuple[str, ...]) -> None:
        for node in nodes:
            self.made[node.name] = node
            self.devices[node.name] = node.device
            self.controlling.update(text[1:] for text in node.input if text.startswith("^"))
            self.waiting.append((node, callers))

    def _function(self, node: Any) -> tuple[str, dict[str, Any]] | None:
        """The function that a node calls, and the attributes that it calls it with."""
        if node.op in _PARTITIONED:
            function = attr_value.from_attr_value(node.attr["f"], "func")
            return (function.name, dict(function.attrs)) if function.name in self.graph._functions else None
        known = self.graph._functions.get(node.op)
        if known is None:
            return None
        given = [a for a in known.definition.signature.attr if a.name in node.attr]
        return node.op, {a.name: attr_value.from_attr_value(node.attr[a.name], a.type) for a in given}

    def _may_inline(self, node: Any, name: str, instance: functions.Instance) -> bool:
        attrs = self.graph._functions[name].definition.attr
        if "api_implements" in attrs or ("_noinline" in attrs and attrs["_noinline"].b):
            return False
        effects = {inner.name for inner in instance.nodes.node if self._has_effect(inner)}
        if node.op in _PARTITIONED:
            return not effects or self._is_waited_for(node.name)
        # Who waits for such a call waits for its results alone.
        return effects <= _before(instance)

    def _has_effect(self, node: Any) -> bool:
        """Whether it matters that a node runs: it has state, but neither only reads it nor only draws numbers."""
        function = self.graph._functions.get(node.op)
        definition = (function.registration if function is not None else registry.look_up(node.op)).op_def
        draws = {"seed", "seed2"} <= {a.name for a in definition.attrs}
        return bool(definition.is_stateful) and node.op != "ReadVariableOp" and not draws

    def _is_waited_for(self, name: str) -> bool:
        return name in self.controlling or name in self.unused

    def _inline(self, call: Any, instance: functions.Instance, callers: tuple[str, ...]) -> None:
        """Puts the nodes of a function in the place of a call."""
        partitioned = call.op in _PARTITIONED
        inputs = [text for text in call.input if not text.startswith("^")]
        before = self._begin(call, inputs, partitioned)
        beginnings = self._arguments(call, instance, inputs, before)
        names = [node.name for node in beginnings]
        inside = _Inside(call.name, dict(zip(instance.arguments, names, strict=True)))
        ends = [
            self._identity(call, "output", inside.source(source), dtype, "" if partitioned else call.device)
            for source, dtype in zip(instance.outputs, self._result_types(call), strict=True)
        ]
        body = self._body(call, instance, inside, before)
        self.results[call.name] = [end.name for end in ends]
        done = [inside.source(f"^{n}") for n in instance.control_outputs]
        after = self._end(call, done if partitioned else [f"^{end.name}" for end in ends], before)
        del self.made[call.name]
        self._add([*body, *beginnings, *ends, *after], callers)

    def _arguments(
        self, call: Any, instance: functions.Instance, inputs: Sequence[str], before: list[str]
    ) -> list[Any]:
        """The nodes in the place of a function's arguments."""
        made = []
        # The placeholders of the arguments come first.
        for placeholder, source in zip(instance.nodes.node[: len(instance.arguments)], inputs, strict=True):
            # A function that may run on several devices takes its arguments where they are.
            partitioned = call.op in _PARTITIONED
            device = self.devices.get(node_name(source), "") if partitioned else call.device
            node = self._identity(call, "input", source, placeholder.attr["dtype"].type, device)
            node.input.extend(before)
            made.append(node)
        return made

    def _body(self, call: Any, instance: functions.Instance, inside: _Inside, before: list[str]) -> list[Any]:
        """The nodes of a function but for its arguments."""
        made = []
        for node in in_order(instance.nodes.node):
            if node.name in inside.arguments:
                continue
            partitioned = call.op in _PARTITIONED
            copy = inside.copy(node, _device(node.device, call.device) if partitioned else call.device)
            if not node.input or self._function(node) is not None:
                copy.input.extend(before)
            made.append(copy)
        return made

    def _begin(self, call: Any, inputs: Sequence[str], partitioned: bool) -> list[str]:
        """What the nodes of the function that wait for nothing else wait for: at most one control input."""
        waits = [text for text in call.input if text.startswith("^")]
        outside = call.name in self.first
        if partitioned and not waits and dtypes.resource.as_datatype_enum in call.attr["Tin"].list.type:
            # What the function reads may not change while its other arguments are computed.
            waits = [f"^{node_name(text)}" for text in inputs]
        if not waits and not outside:
            return []
        node = self._node(call, "input_control_node", "NoOp", waits, call.device)
        self._add([node], ())
        return [f"^{node.name}"]

    def _end(self, call: Any, done: list[str], before: list[str]) -> list[Any]:
        """The nodes for those who wait for a call, and for those who fetch it."""
        kept = call.name in self.kept
        if not kept and not self._is_waited_for(call.name):
            return []
        node = self._node(call, "output_control_node", "NoOp", done or before, call.device)
        self.control[call.name] = node.name
        if not kept:
            return [node]
        results = self.results[call.name]
        there = protos.NodeDef(name=call.name, op="IdentityN" if results else "NoOp", device=call.device)
        there.input.extend([*results, f"^{node.name}"])
        if results:
            there.attr["T"].list.type.extend(self._result_types(call))
        return [node, there]

    def _result_types(self, call: Any) -> list[int]:
        if call.op in _PARTITIONED:
            return list(call.attr["Tout"].list.type)
        from kvarn.graph.operation import arg_types

        called = self._function(call)
        attrs = called[1] if called is not None else {}
        definition = self.graph._functions[call.op].registration.op_def
        return [t.as_datatype_enum for arg in definition.outputs for t in arg_types(arg, attrs)]

    def _identity(self, call: Any, kind: str, source: str, dtype: int, device: str) -> Any:
        node = self._node(call, kind, "Identity", [source], device)
        node.attr["T"].type = dtype
        return node

    def _node(self, call: Any, kind: str, op: str, inputs: Sequence[str], device: str) -> Any:
        name = f"Func/{call.name}/{kind}/_{self.count}"
        self.count += 1
        return protos.NodeDef(name=name, op=op, input=inputs, device=device)

    def _inputs(self, node: Any) -> list[str]:
        """The inputs of a node with what calls were replaced by, control inputs last and sorted."""
        data, control = [], set()
        for text in node.input:
            mark, name, index = input_parts(text)
            if mark:
                control.add(f"^{self.control.get(name, name)}")
                continue
            while name in self.results:
                name, index = self.results[name][int(index[1:] or 0)], ""
            data.append(name + ("" if index == ":0" else index))
        return [*data, *sorted(control)]


class _Inside:
    """Names within a function after it became part of a graph.

    Args:
      caller: the call.
      arguments: the node for each argument.
    """

    def __init__(self, caller: str, arguments: dict[str, str]) -> None:
        self.caller = caller
        self.arguments = arguments

    def source(self, text: str) -> str:
        """An input of a node of the function."""
        mark, name, index = input_parts(text)
        if name in self.arguments:
            return mark + self.arguments[name]
        return f"{mark}{self.caller}/{name}{index}"

    def copy(self, node: Any, device: str) -> Any:
        """A node of the function."""
        name = f"{self.caller}/{node.name}"
        copy = copy_of(node, name=name, input=[self.source(x) for x in node.input], device=device)
        if node.op in ("Enter", "RefEnter"):
            # Loops of two calls are two loops.
            copy.attr["frame_name"].s = f"{self.caller}/".encode() + node.attr["frame_name"].s
        if "_class" in node.attr:
            places = node.attr["_class"].list.s
            copy.attr["_class"].list.s[:] = [b"loc:@" + f"{self.caller}/".encode() + p[5:] for p in places]
        return copy


def _before(instance: functions.Instance) -> set[str]:
    """The nodes of a function that its results need."""
    nodes = {node.name: node for node in instance.nodes.node}
    found: set[str] = set()
    waiting = [node_name(text) for text in instance.outputs]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(node_name(text) for text in nodes[name].input)
    return found


def _device(inner: str, outer: str) -> str:
    """The device of a node in a function, with what it does not say from the call."""
    if not inner:
        return outer
    merged = DeviceSpec.from_string(outer)
    merged.merge_from(DeviceSpec.from_string(inner))
    return str(merged.to_string())


def in_order(nodes: Sequence[Any]) -> list[Any]:
    """Nodes as TensorFlow adds them to a graph: of those whose inputs are there the first, nodes of loops last."""
    numbers = {node.name: i for i, node in enumerate(nodes)}
    users: dict[int, list[int]] = {}
    missing = []
    for i, node in enumerate(nodes):
        sources = {numbers[node_name(text)] for text in node.input if node_name(text) in numbers}
        missing.append(len(sources))
        for source in sources:
            users.setdefault(source, []).append(i)
    ready = [i for i, count in enumerate(missing) if not count]
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for user in users.get(i, ()):
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, user)
    rest = sorted(set(range(len(nodes))).difference(order))
    return [nodes[i] for i in (*order, *rest)]


def _drop_unused_functions(graph_def: Any) -> None:
    """Leaves out of the library what no node, and no function that one needs, calls."""
    library = graph_def.library
    bodies = {function.signature.name: function.node_def for function in library.function}
    gradients = {entry.function_name: entry.gradient_func for entry in library.gradient}
    used: set[str] = set()
    waiting = [name for node in graph_def.node for name in _called(node)]
    while waiting:
        name = waiting.pop()
        if name in bodies and name not in used:
            used.add(name)
            waiting.extend(inner for node in bodies[name] for inner in _called(node))
            waiting.append(gradients.get(name, ""))
    functions_left = [f for f in library.function if f.signature.name in used]
    gradients_left = [g for g in library.gradient if g.function_name in used]
    del library.function[:], library.gradient[:]
    library.function.extend(functions_left)
    library.gradient.extend(gradients_left)


def _called(node: Any) -> list[str]:
    """The names of functions that a node may call."""
    values = node.attr.values()
    return [node.op, *(f.name for v in values for f in ([v.func] if v.HasField("func") else v.list.func))]
