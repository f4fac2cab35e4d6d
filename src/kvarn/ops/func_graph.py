"""Bodies of functions as graphs that take in what they use from the graph around.

Conditionals and loops that are built as functions are made of them; `Defun` has its own kind.

Source: tensorflow/python/framework/{func_graph,function_def_to_graph}.py,
tensorflow/python/ops/{control_flow_v2_func_graphs,control_flow_util_v2}.py (1.15).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph import functions, nest
from kvarn.graph import op_def as op_def_lib
from kvarn.graph.attr_value import NameAttrList
from kvarn.graph.convert import convert_to_tensor_or_indexed_slices
from kvarn.graph.function_def import graph_to_function_def
from kvarn.graph.graph import Graph, control_dependencies, get_default_graph
from kvarn.graph.importer import ImportedFunction
from kvarn.graph.operation import Operation
from kvarn.graph.registry import OpRegistrationData
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array
from kvarn.ops.resource_variable import handle_shape_and_type
from kvarn.ops.tensor_array import TensorArray, arrays_of, flow_of
from kvarn.ops.tensor_list_ops import element_of

_numbers = itertools.count(1)


class InaccessibleTensorError(ValueError):
    """A tensor of a function is used where only the function itself could use it."""


class FuncGraph(Graph):
    """The body of a conditional or loop as a graph of its own.

    What it takes from the graph around becomes a further argument.

    Args:
      name: of the function.

    Attributes:
      inputs: placeholders of the arguments, in the end those for what was taken in.
      outputs: what the function returns, flat.
      structured_outputs: the same in the form that the Python function gave it.
      control_captures: operations outside that operations inside are to wait for.
      control_outputs: what runs although no output needs it.
      attrs: of the function in the library.
      add_control_dependencies: whether all that has effects runs, in the order in which it was made; also in the
        branches and loops inside.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        outer = get_default_graph()
        self.name = name
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.structured_outputs: Any = None
        self.control_captures: dict[Operation, None] = {}
        self.control_outputs: list[Operation] = []
        self.attrs: dict[str, str] = {}
        self.add_control_dependencies: bool = isinstance(outer, FuncGraph) and outer.add_control_dependencies
        self.output_names: dict[Tensor, str] = {}
        self._outer_graph: Graph = outer
        self._building_function = True
        self._functions = outer._functions
        self._seed = outer.seed
        self._colocation_stack = list(outer._colocation_stack)
        self._collections = outer._collections

    @property
    def outer_graph(self) -> Graph:
        """The graph around."""
        return self._outer_graph

    @property
    def building_control_flow(self) -> bool:
        return True

    @property
    def captures(self) -> list[tuple[Tensor, Tensor]]:
        """What was taken in, and what stands for it, in the order of taking."""
        return list(self._captured.items())

    @property
    def external_captures(self) -> list[Tensor]:
        """What was taken in."""
        return list(self._captured)

    @property
    def internal_captures(self) -> list[Tensor]:
        """What stands for `external_captures`."""
        return list(self._captured.values())

    @property
    def output_types(self) -> list[dtypes.DType]:
        return [x.dtype.base_dtype for x in self.outputs]

    @property
    def output_shapes(self) -> list[Any]:
        """The static shapes of the outputs."""
        return [x.static_shape for x in self.outputs]

    @contextlib.contextmanager
    def as_default(self) -> Iterator[Graph]:
        creators = self._variable_creators
        self._variable_creators = get_default_graph()._variable_creators
        Graph.functions_being_built += 1
        try:
            with super().as_default():
                yield self
        finally:
            Graph.functions_being_built -= 1
            self._variable_creators = creators

    def control_dependencies(self, control_inputs: Any) -> Any:
        """As in any graph; what is outside is kept in `control_captures`."""
        if control_inputs is None:
            return super().control_dependencies(None)
        inside = []
        for c in control_inputs:
            if isinstance(c, IndexedSlices) or hasattr(c, "_handle"):
                c = c.op
            convert = getattr(c, "_as_graph_element", None)
            element = c if convert is None else convert()
            op = element.op if isinstance(element, Tensor) else element
            if isinstance(op, Operation) and op.graph is not self:
                self.control_captures[op] = None
            else:
                inside.append(element)
        return super().control_dependencies(inside)

    def _from_outside(self, tensor: Tensor, op_type: str) -> Tensor:
        return self.capture(tensor)

    def capture(self, tensor: Tensor, name: str | None = None) -> Tensor:
        """What stands here for ``tensor``: itself, or a placeholder if it is of the graph around.

        Raises:
          InaccessibleTensorError: it is of a function inside this one.
        """
        if tensor.graph is self:
            return tensor
        inner: Graph | None = tensor.graph
        while inner is not None:
            if inner is self:
                raise InaccessibleTensorError(
                    f"The tensor '{tensor}' cannot be accessed here: it is defined in another function or "
                    "code block. Use return values, explicit Python locals or TensorFlow collections to access it. "
                    f"Defined in: {tensor.graph}; accessed from: {self}.\n"
                )
            inner = inner._outer_graph
        return self._captured_as(tensor, tensor.op.name if name is None else name)

    def _captured_as(self, tensor: Tensor, name: str) -> Tensor:
        """The placeholder for a tensor outside."""
        found = self._captured.get(tensor)
        if found is None:
            with self.as_default(), control_dependencies(None):
                found = _placeholder(tensor.dtype, tensor.shape, name)
            copy_handle_data(tensor, found)
            self._captured[tensor] = found
            self.inputs.append(found)
        return found

    def reset_captures(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Says anew what stands for what."""
        self._captured = dict(pairs)

    def __str__(self) -> str:
        return f"FuncGraph(name={self.name}, id={id(self)})"


class CondBranchFuncGraph(FuncGraph):
    """A branch of a conditional."""


class WhileCondFuncGraph(FuncGraph):
    """The condition of a loop."""


class WhileBodyFuncGraph(FuncGraph):
    """The body of a loop."""


def _placeholder(dtype: dtypes.DType, shape: Any, name: str | None) -> Tensor:
    return array.placeholder(dtype.base_dtype, shape=shape, name=name or "placeholder")


def copy_handle_data(source: Tensor, target: Tensor) -> None:
    """What is known of a variable behind a handle, or of a list's elements, is known of ``target``, too."""
    if target.dtype is dtypes.resource:
        found = handle_shape_and_type(source)
    elif target.dtype is dtypes.variant:
        found = element_of(source)
    else:
        return
    if found is not None:
        target._handle_shape_and_type = found  # type: ignore[attr-defined]


def func_graph_from_py_func(
    graph: FuncGraph,
    python_func: Callable[..., Any],
    arguments: Sequence[tuple[dtypes.DType, Any, str | None]] = (),
    structure: Any = (),
    op_return_value: Tensor | None = None,
    add_control_dependencies: bool | None = None,
) -> None:
    """Builds ``graph`` by calling a Python function.

    Args:
      arguments: element type, shape and name (or None) of each argument, flat.
      structure: the form in which the function takes them; flat by default.
      op_return_value: what stands for an Operation that the function returns.
      add_control_dependencies: return identities of what it returns, which wait for all that has effects, as
        gradients do; by default what the function around does.

    Raises:
      TypeError: the function returns what is no tensor.
    """
    if add_control_dependencies is not None:
        graph.add_control_dependencies = add_control_dependencies
    with graph.as_default():
        graph.inputs = [_placeholder(*argument) for argument in arguments]
        taken = pack_sequence_as(structure, graph.inputs) if structure else graph.inputs

        def converted(x: Any) -> Any:
            if x is None or isinstance(x, TensorArray):
                return x
            if op_return_value is not None and isinstance(x, Operation):
                with control_dependencies([x]):
                    return array.identity(op_return_value)
            try:
                x = convert_to_tensor_or_indexed_slices(x)
            except (ValueError, TypeError):
                raise TypeError(
                    "To be compatible with tf.contrib.eager.defun, Python functions must return zero or more "
                    f"Tensors; in compilation of {python_func}, found return value of type {type(x)}, which is "
                    "not a Tensor."
                ) from None
            return array.identity(x) if graph.add_control_dependencies else x

        returned = nest.map_structure(converted, python_func(*taken), expand_composites=True)
        graph.structured_outputs = returned
        graph.outputs = [graph.capture(x) for x in flatten(returned) if x is not None]
        if graph.add_control_dependencies:
            _order_effects(graph)


def _order_effects(graph: FuncGraph) -> None:
    """Operations with effects, and those on one variable, wait for one another in the order they were made in."""
    last: dict[Tensor | None, Operation] = {}
    required: list[Operation] = []
    for op in graph.get_operations():
        effects = op.definition.is_stateful and op.type not in _RANDOM
        if effects:
            required.append(op)
        handles = list(dict.fromkeys(x for x in op.inputs if x.dtype is dtypes.resource))
        uses: list[Tensor | None] = [*handles] if handles or not effects else [None]
        op._add_control_inputs([last[x] for x in uses if x in last])
        last.update((x, op) for x in uses)
    graph.control_outputs.extend(required)
    if required:
        for x in graph.outputs:
            x.op._add_control_inputs(required)


# They may belong to an initializer, which waits for nothing.
_RANDOM = frozenset(
    {
        "Multinomial",
        "ParameterizedTruncatedNormal",
        "RandomGamma",
        "RandomGammaGrad",
        "RandomPoisson",
        "RandomPoissonV2",
        "RandomShuffle",
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
        "TruncatedNormal",
    }
)


def flatten(structure: Any) -> list[Any]:
    """The tensors of a nest, composites taken apart; the flow of a `TensorArray`."""
    return [flow_of(x) for x in nest.flatten(structure, expand_composites=True)]


def pack_sequence_as(structure: Any, flat: Sequence[Any]) -> Any:
    """The reverse of `flatten`."""
    leaves = nest.flatten(structure, expand_composites=True)
    if len(leaves) != len(flat):
        raise ValueError("Mismatch in element count")
    return nest.pack_sequence_as(structure, arrays_of(leaves, list(flat)), expand_composites=True)


def function_graph(
    graph: FuncGraph,
    outer: Graph,
    function: NameAttrList,
    arguments: Sequence[Tensor],
    shapes: Sequence[Any] | None = None,
) -> FuncGraph:
    """Builds ``graph`` from a function of a library.

    Args:
      outer: the graph whose library has the function.
      arguments: of the call; what is known of them is known of the function's own.
      shapes: the static shapes, if they are not those of ``arguments``.
    """

    def prepare(inputs: Sequence[Tensor]) -> None:
        for outside, inside in zip(arguments, inputs, strict=True):
            copy_handle_data(outside, inside)

    if shapes is None:
        shapes = [x.static_shape for x in arguments]
    body = functions.body_of(outer, function.name, dict(function.attrs), graph, shapes, prepare)
    graph.inputs, graph.outputs, graph.control_outputs = body.inputs, body.outputs, body.required
    definition = outer._functions[function.name].definition
    graph.output_names = {
        x: arg.name for x, arg in zip(graph.outputs, definition.signature.output_arg, strict=True)
    }
    return graph


def unique_fn_name(scope: str, name: str) -> str:
    """A name for a function of the conditional or loop of a name scope."""
    return f"{scope}{name}_{next(_numbers)}".replace("/", "_")


def unique_grad_fn_name(forward_name: str) -> str:
    """A name for the gradient of a function."""
    return f"{forward_name}_grad_{next(_numbers)}"


def create_new_tf_function(graph: FuncGraph) -> NameAttrList:
    """Puts the function into the library, and returns what refers to it."""
    names = [graph.output_names.get(x) for x in graph.outputs]
    known = [n for n in names if n is not None]
    out_names = known if len(set(known)) == len(names) else None
    definition = graph_to_function_def(graph, graph.name, out_names, graph.control_outputs)
    for key, value in graph.attrs.items():
        definition.attr[key].s = value.encode()
    registration = OpRegistrationData(
        op_def_lib.from_proto(definition.signature),
        None,
        is_function_op=True,
        kernel=functions.call,
        grad=functions.call_grad,
    )
    graph.outer_graph._functions.setdefault(graph.name, ImportedFunction(definition, "", registration))
    return NameAttrList(graph.name)


def is_stateful(graph: FuncGraph) -> bool:
    """Whether something in it has effects."""
    return any(op.definition.is_stateful for op in graph.get_operations())


def resource_input_index(tensor: Tensor, graph: FuncGraph) -> int:
    """Which argument of ``graph`` a handle in it comes from.

    Raises:
      ValueError: it comes from none.
    """
    while tensor not in graph.inputs:
        op = tensor.op
        if op.type in ("While", "StatelessWhile"):
            # A handle leaves a loop where it comes in.
            tensor = op.inputs[tensor.value_index]
        elif op.type == "Identity":
            tensor = op.inputs[0]
        else:
            raise ValueError(
                f"Taking gradient of a while loop which creates a resource in its body is not supported: {op.name}"
            )
    return graph.inputs.index(tensor)


def set_lowering_attr(op: Operation) -> None:
    """Says that TensorFlow may turn the node into Switch and Merge nodes."""
    op.attrs["_lower_using_switch_merge"] = True
