"""Functions of a graph's library: their bodies as graphs, and running them.

A body is built when the function is first run, with the attributes of the call, and shares the library and the
session's objects with the graph that calls it.

Source: tensorflow/core/framework/function.cc, tensorflow/core/common_runtime/function.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from kvarn import dtypes, errors, protos
from kvarn.graph import attr_value, registry
from kvarn.graph import op_def as op_def_lib
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import Graph, get_default_graph
from kvarn.graph.kernel_context import KernelContext
from kvarn.graph.operation import Operation, arg_length
from kvarn.graph.resources import ResourceManager, Var
from kvarn.graph.tensor import Tensor


@dataclass(slots=True)
class Body:
    """A function as a graph.

    Attributes:
      inputs: the placeholders of its arguments, flat.
      outputs: what it returns, flat.
      effects: what runs although nothing that is returned needs it.
      required: those of them that the function itself says must run.
    """

    graph: Graph
    inputs: list[Tensor]
    outputs: list[Tensor]
    effects: list[Operation]
    required: list[Operation]


@dataclass(slots=True)
class Instance:
    """A function as nodes, with the attributes of a call in the place of what refers to them.

    Attributes:
      nodes: a GraphDef, placeholders of the arguments first.
      arguments: the names of these placeholders.
      outputs: the tensors that are returned, as entries of ``NodeDef.input``.
      control_outputs: the nodes that the function itself says must run.
    """

    nodes: Any
    arguments: list[str]
    outputs: list[str]
    control_outputs: list[str]


def instance_of(graph: Graph, name: str, attrs: dict[str, Any]) -> Instance:
    """The nodes of a function of the library of ``graph``, for a call with ``attrs``.

    Raises:
      InvalidArgumentError: the function refers to what it does not have.
    """
    return _Reader(graph, graph._functions[name].definition, attrs).instance()


def body_of(
    graph: Graph,
    name: str,
    attrs: dict[str, Any],
    into: Graph | None = None,
    input_shapes: Sequence[Any] | None = None,
    prepare: Callable[[Sequence[Tensor]], None] | None = None,
) -> Body:
    """The body of a function of the library of ``graph``, for a call with ``attrs``.

    Args:
      into: the graph to make it in, by default a new one.
      input_shapes: what is known of the arguments, as tuples or None.
      prepare: is called with the arguments before what uses them is made.

    Raises:
      NotFoundError: there is no such function.
      InvalidArgumentError: the function refers to what it does not have.
    """
    function = graph._functions.get(name)
    if function is None:
        raise errors.NotFoundError.of(f"Function {name} is not defined.", name=name)
    return _Reader(graph, function.definition, attrs).read(into or Graph(), input_shapes, prepare)


class _Reader:
    """Makes a graph of one FunctionDef."""

    def __init__(self, graph: Graph, definition: Any, attrs: dict[str, Any]) -> None:
        self.library = graph._functions
        self.definition = definition
        self.attrs = attrs
        self.signature = op_def_lib.from_proto(definition.signature)
        # What a reference to an argument, or to an output of a node, begins at: (node, index).
        self.arguments: dict[str, list[str]] = {}
        self.starts: dict[tuple[str, str], int] = {}
        self.graph_def = protos.GraphDef()
        self.nodes: list[Any] = []
        self.names = {b"loc:@" + node.name.encode() for node in definition.node_def}

    def instance(self) -> Instance:
        """The nodes, which refer to one another as those of graphs do."""
        for arg in self.signature.inputs:
            self._add_argument(arg)
        for node in self.definition.node_def:
            self._add_node(node)
        self._find_outputs()
        for node in self.graph_def.node:
            sources = [self._source(node.name, x) for x in node.input]
            del node.input[:]
            node.input.extend(sources)
        arguments = [name for names in self.arguments.values() for name in names]
        outputs = [
            self._source(arg.name, f"{self.definition.ret[arg.name]}", i)
            for arg in self.signature.outputs
            for i in range(arg_length(arg, self.attrs))
        ]
        return Instance(self.graph_def, arguments, outputs, list(self.definition.control_ret.values()))

    def read(
        self,
        body: Graph,
        input_shapes: Sequence[Any] | None,
        prepare: Callable[[Sequence[Tensor]], None] | None,
    ) -> Body:
        """Makes the graph, in ``body``."""
        from kvarn.graph.importer import import_graph_def

        made = self.instance()
        for node, shape in zip(made.nodes.node, input_shapes or (), strict=False):
            if shape is not None:
                node.attr["shape"].CopyFrom(attr_value.to_attr_value(shape, "shape"))
        body._functions = self.library
        arguments = made.arguments
        given, rest = protos.GraphDef(), protos.GraphDef()
        given.node.extend(made.nodes.node[: len(arguments)])
        rest.node.extend(made.nodes.node[len(arguments) :])
        there = {f"^{name}" for name in arguments}
        for node in rest.node:
            if not there.isdisjoint(node.input):
                node.input[:] = [name for name in node.input if name not in there]
        with body.as_default():
            import_graph_def(given, name="")
            inputs: list[Tensor] = [body._nodes_by_name[name]._outputs[0] for name in arguments]
            if prepare is not None:
                prepare(inputs)
            used = {name for node in rest.node for name in node.input}
            known = {x.name: x for x in inputs if x.op.name in used or x.name in used}
            import_graph_def(rest, name="", input_map=known)
        outputs: list[Tensor] = [body.get_tensor_by_name(_tensor_name(source)) for source in made.outputs]
        waited = {body._nodes_by_name[n] for n in made.control_outputs}
        effects = [
            op
            for op in body.get_operations()
            if op in waited or (op.registration.op_def.is_stateful and op.name not in arguments)
        ]
        return Body(body, inputs, outputs, effects, [op for op in effects if op in waited])

    def _add_argument(self, arg: Any) -> None:
        from kvarn.graph.operation import arg_types

        names = []
        for i, dtype in enumerate(arg_types(arg, self.attrs)):
            name = arg.name if not arg.is_list else f"{arg.name}_{i}"
            node = self.graph_def.node.add(name=name, op="Placeholder")
            node.attr["dtype"].type = dtype.as_datatype_enum
            names.append(name)
        self.arguments[arg.name] = names

    def _add_node(self, node: Any) -> None:
        copy = self.graph_def.node.add()
        copy.CopyFrom(node)
        self.nodes.append(copy)
        if "_class" in copy.attr:
            # What is placed with something outside has the place that the call has.
            inside = [place for place in copy.attr["_class"].list.s if place in self.names]
            copy.attr["_class"].list.s[:] = inside
        for value in copy.attr.values():
            self._substitute(value)

    def _substitute(self, value: Any) -> None:
        """Puts the attributes of the call in the place of references to them."""
        if value.placeholder:
            given = self.attrs.get(value.placeholder)
            if given is None:
                raise errors.InvalidArgumentError.of(
                    f"Function {self.signature.name} needs a value for its attr '{value.placeholder}'",
                    name=self.signature.name,
                )
            kind = self.signature.attr_by_name[value.placeholder].type
            value.CopyFrom(attr_value.to_attr_value(given, kind))
        functions = [value.func] if value.HasField("func") else list(value.list.func)
        for function in functions:
            for inner in function.attr.values():
                self._substitute(inner)

    def _find_outputs(self) -> None:
        for node in self.nodes:
            function = self.library.get(node.op)
            data = function.registration if function is not None else registry.look_up(node.op)
            definition = data.op_def
            attrs = {
                a.name: attr_value.from_attr_value(node.attr[a.name], a.type)
                if a.name in node.attr
                else a.default
                for a in definition.attrs
            }
            start = 0
            for arg in definition.outputs:
                self.starts[node.name, arg.name] = start
                start += arg_length(arg, attrs)

    def _source(self, user: str, text: str, offset: int = 0) -> str:
        """A reference of the function's form in that of graphs; ``offset`` outputs further on."""
        if text.startswith("^"):
            return text
        parts = text.split(":")
        if parts[0] in self.arguments:
            index = int(parts[1]) if len(parts) > 1 else 0
            names = self.arguments[parts[0]]
            if index + offset < len(names):
                return names[index + offset]
        elif len(parts) == 3 and (parts[0], parts[1]) in self.starts:
            return f"{parts[0]}:{self.starts[parts[0], parts[1]] + int(parts[2]) + offset}"
        elif len(parts) == 2 and (parts[0], parts[1]) in self.starts:
            return f"{parts[0]}:{self.starts[parts[0], parts[1]] + offset}"
        raise errors.InvalidArgumentError.of(
            f"'{user}' of function {self.signature.name} refers to '{text}', which is no argument and no output of a "
            "node",
            name=self.signature.name,
        )


def _tensor_name(source: str) -> str:
    return source if ":" in source else source + ":0"


class Callee:
    """A function ready to run.

    Args:
      body: its graph.
      resources: live objects.
      session: the session.
      wanted: which of its results to compute; None for all.
    """

    def __init__(
        self, body: Body, resources: ResourceManager, session: Any, wanted: Collection[int] | None = None
    ) -> None:
        from kvarn.graph import plan

        everything = range(len(body.outputs))
        self.body = body
        self.wanted = sorted(everything if wanted is None else wanted)
        fetches = [body.outputs[i] for i in self.wanted]
        self._plan = plan.build(fetches, body.effects, body.inputs, resources, session)

    def __call__(self, arguments: Sequence[Any]) -> list[Any]:
        """The values that the function returns, None for those that are not wanted."""
        from kvarn.graph.executor import execute
        from kvarn.graph.flow import DEAD

        values = execute(self._plan, arguments)
        found: list[Any] = [None] * len(self.body.outputs)
        for i, slot in zip(self.wanted, self._plan.fetch_slots, strict=True):
            value = values[slot]
            if value is DEAD:
                raise errors.InvalidArgumentError.of(
                    "A function returns a value of a branch that was not taken."
                )
            found[i] = value.read() if isinstance(value, Var) else value
        return found


def callee(
    context: KernelContext,
    key: str,
    function: Any = None,
    change: Callable[[Body], None] | None = None,
    wanted: Callable[[Body], Collection[int]] | None = None,
) -> Callee:
    """The function of the node's attribute ``key``, or ``function``, kept with the node's context.

    Args:
      change: what to do to its body.
      wanted: which of its results the node needs, by default those of its outputs that are read.
    """
    if context.cache is None:
        context.cache = {}
    found: Callee | None = context.cache.get(key)
    if found is None:
        if function is None:
            function = context.attrs[key]
        body = body_of(context.op.graph, function.name, dict(function.attrs))
        if context.attrs.get("_lower_using_switch_merge"):
            # TensorFlow makes the function part of the graph, of which only what is needed runs.
            body.effects = body.required
        if change is not None:
            with body.graph.as_default():
                change(body)
        results = context.wanted if wanted is None else wanted(body)
        found = context.cache[key] = Callee(body, context.resources, context.session, results)
    return found


def loop_of(context: KernelContext) -> tuple[Callee, Callee]:
    """The condition and the body of a loop whose node has attributes of these names.

    The body computes what the outputs that are read, the condition, or what is computed needs.
    """
    cond = callee(context, "cond", wanted=lambda body: (0,))
    return cond, callee(context, "body", wanted=lambda body: _kept(context.wanted, cond.body, body))


def _kept(wanted: Collection[int] | None, cond: Body, body: Body) -> Collection[int]:
    """Which variables of a loop must be computed if only some are wanted."""
    if wanted is None:
        return range(len(body.outputs))
    kept: set[int] = set()
    waiting = [*wanted, *_arguments_of([x.op for x in cond.outputs] + cond.effects, cond)]
    waiting += _arguments_of(body.effects, body)
    while waiting:
        i = waiting.pop()
        if i not in kept:
            kept.add(i)
            waiting += _arguments_of([body.outputs[i].op], body)
    return kept


def _arguments_of(ops: list[Operation], body: Body) -> list[int]:
    """The numbers of the arguments that operations of a function need."""
    number = {x.op: i for i, x in enumerate(body.inputs)}
    found, seen, stack = [], set(ops), list(ops)
    while stack:
        op = stack.pop()
        if op in number:
            found.append(number[op])
        before = {x.op for x in op._inputs}.union(op._control_inputs) - seen
        seen |= before
        stack.extend(before)
    return found


def call(context: KernelContext, *arguments: Any) -> Any:
    """The kernel of a node whose type is the name of a function."""
    if context.cache is None:
        body = body_of(context.op.graph, context.op.type, context.attrs)
        context.cache = Callee(body, context.resources, context.session)
    flat: list[Any] = []
    for a, definition in zip(arguments, context.op.definition.inputs, strict=True):
        flat.extend(a if definition.is_list else [a])
    return packed(context.cache(flat))


def call_grad(op: Operation, *grads: Any) -> list[Tensor]:
    """The gradient of a node that calls a function: a node that computes the function's gradient."""
    function = op.attrs["f"] if "f" in op.attrs else attr_value.NameAttrList(op.type, dict(op.attrs))
    graph = get_default_graph()
    given = [
        graph.add_op(registry.look_up("ZerosLike"), [y], {"T": y.dtype.base_dtype}).outputs[0]
        if g is None
        else convert_to_tensor(g)
        for g, y in zip(grads, op.outputs, strict=True)
    ]
    inputs = [*op.inputs, *given]
    attrs = {
        "Tin": [x.dtype.base_dtype for x in inputs],
        "Tout": [zeros_type(x) for x in op.inputs],
        "f": function,
    }
    return list(graph.add_op(registry.look_up("SymbolicGradient"), inputs, attrs).outputs)


def packed(values: list[Any]) -> Any:
    """Results as a kernel returns them."""
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def zeros_type(tensor: Tensor) -> dtypes.DType:
    """The type of a gradient of ``tensor``."""
    return dtypes.float32 if tensor.dtype is dtypes.resource else tensor.dtype.base_dtype
