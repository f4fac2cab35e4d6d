"""`Defun`: Python functions as functions of a graph's library.

Source: tensorflow/python/framework/{function,graph_to_function_def}.py (1.15).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from kvarn import dtypes
from kvarn.graph import functions
from kvarn.graph import op_def as op_def_lib
from kvarn.graph.attr_value import to_attr_value
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.function_def import graph_to_function_def
from kvarn.graph.graph import Graph, GraphKeys, control_dependencies, device, get_default_graph
from kvarn.graph.importer import ImportedFunction
from kvarn.graph.operation import Operation
from kvarn.graph.registry import OpRegistrationData
from kvarn.graph.tensor import Tensor
from kvarn.ops import array
from kvarn.ops.resource_variable import handle_shape_and_type
from kvarn.variables.scope import get_variable_scope, variable_scope
from kvarn.variables.variable_store import _VARSTORE_KEY, _get_default_variable_store

# By reference in bodies, so that variables are shared by name with the graph around.
_VARIABLE_COLLECTIONS = (
    GraphKeys.GLOBAL_VARIABLES,
    GraphKeys.LOCAL_VARIABLES,
    GraphKeys.MODEL_VARIABLES,
    GraphKeys.TRAINABLE_VARIABLES,
)


class FuncGraph(Graph):
    """The graph of a function's body; what it takes from the graph around becomes a further argument.

    Attributes:
      inputs: placeholders of the arguments.
      outputs: what the function returns.
      extra_inputs: what it takes from outside, and in ``extra_args`` the placeholders for that.
    """

    def __init__(self, name: str, capture_by_value: bool, resource_by_value: bool) -> None:
        super().__init__()
        self.name = name
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.extra_inputs: list[Tensor] = []
        self.extra_args: list[Tensor] = []
        self.extra_vars: list[Any] = []
        self._building_function = True
        self._outer_graph: Graph = get_default_graph()
        self._outer_scope = get_variable_scope()
        self._captured: dict[Tensor, Tensor] = {}
        self._capture_by_value = capture_by_value
        self._whitelisted_stateful_ops: frozenset[Operation] = frozenset()
        self._resource_by_value = resource_by_value

    def _from_outside(self, tensor: Tensor, op_type: str) -> Tensor:
        return self.capture(tensor)

    def capture(self, tensor: Tensor, name: str | None = None) -> Tensor:
        """What stands for ``tensor``, of the graph around, in the body.

        Raises:
          ValueError: with ``capture_by_value``, for what has a state or is fed.
        """
        found: Any = self._captured.get(tensor)
        if found is None:
            if self._capture_by_value:
                return self._copied(tensor.op).outputs[tensor.value_index]
            with self.as_default(), control_dependencies(None):
                found = array.placeholder(tensor.dtype, shape=tensor.get_shape(), name=name)
            if tensor.dtype is dtypes.resource:
                found._handle_shape_and_type = handle_shape_and_type(tensor)
            self._captured[tensor] = found
            self.extra_inputs.append(tensor)
            self.extra_args.append(found)
            self.inputs.append(found)
        return cast("Tensor", found)

    def _copied(self, op: Operation) -> Operation:
        stateful = op.definition.is_stateful and op not in self._whitelisted_stateful_ops
        if stateful or op.type in ("Placeholder", "PlaceholderV2"):
            what = "placeholder" if op.type.startswith("Placeholder") else "stateful node"
            raise ValueError(f"Cannot capture a {what} (name:{op.name}, type:{op.type}) by value.")
        inputs = [self._copied(x.op).outputs[x.value_index] for x in op.inputs]
        copy = self.add_op(op.registration, inputs, dict(op.attrs), op.name)
        for mine, its in zip(op.outputs, copy.outputs, strict=True):
            self._captured[mine] = its
        return copy

    def getvar(self, getter: Any, name: str, **kwargs: Any) -> Any:
        """The custom getter of the body: variables belong to the graph around."""
        known = ("shape", "dtype", "initializer", "reuse", "trainable", "collections", "use_resource")
        with self._outer_graph.as_default():
            var = self._outer_scope.get_variable(
                _get_default_variable_store(), name, **{k: kwargs[k] for k in known if k in kwargs}
            )
            self.extra_vars.append(var)
            by_value = isinstance(getattr(var, "handle", None), Tensor) and self._resource_by_value
            return var.value() if by_value else var


def func_graph_from_py_func(
    func: Callable[..., Any],
    arg_names: Sequence[str],
    arg_types: Sequence[Any],
    name: str | None = None,
    capture_by_value: bool = False,
    device_name: Any = None,
    arg_shapes: Sequence[Any] | None = None,
    capture_resource_var_by_value: bool = True,
    whitelisted_stateful_ops: Iterable[Operation] = (),
) -> FuncGraph:
    """The body of ``func``, called with placeholders; ValueError if it returns None among its results."""
    graph = FuncGraph(name or _name_of(func), capture_by_value, capture_resource_var_by_value)
    graph._whitelisted_stateful_ops = frozenset(whitelisted_stateful_ops)
    outer = get_default_graph()
    for key in (*_VARIABLE_COLLECTIONS, _VARSTORE_KEY):
        graph._collections[key] = outer._collections.setdefault(key, [])
    with graph.as_default(), device(device_name):
        shapes = arg_shapes or [None] * len(arg_types)
        for arg_name, dtype, shape in zip(arg_names, arg_types, shapes, strict=True):
            graph.inputs.append(array.placeholder(dtype, shape=shape, name=arg_name))
        Graph.functions_being_built += 1
        try:
            with variable_scope("", custom_getter=graph.getvar):
                returned = func(*graph.inputs)
        finally:
            Graph.functions_being_built -= 1
        if returned is None:
            returned = []
        elif not isinstance(returned, (list, tuple)):
            returned = [returned]
        if any(x is None for x in returned):
            raise ValueError(f"Function {graph.name} can not return None.")
        tensors = [convert_to_tensor(x) for x in returned]
        graph.outputs = [x if x.graph is graph else graph.capture(x) for x in tensors]
    return graph


def _name_of(func: Any) -> str:
    name = getattr(func, "__name__", None) or type(func).__name__
    return "anonymous" if name == "<lambda>" else name


class Defun:
    """Decorator that makes a function of a graph's library of a Python function.

        @Defun(tf.float32, tf.float32)
        def product(x, y):
            return x * y

    The body is built when the function is first called or asked for its definition.

    Args:
      *input_types: element types of the arguments; without any, of what it is called with.
      func_name: its name; by default that of the Python function and a hash.
      grad_func: another function of a library, of the arguments and the gradients of the results, that gives the
        gradients of the arguments.
      python_grad_func: instead a Python function as `RegisterGradient` takes.
      out_names: names of the results.
      shape_func: ``f(op)`` gives the static shapes of the results.
      capture_by_value: what the function takes from outside is copied into it.
      whitelisted_stateful_ops: what is copied although it has a state.
      capture_resource_var_by_value: `tf.get_variable` in the body gives the value of a resource variable.
      **kwargs: attributes of the function, such as ``noinline``.
    """

    def __init__(self, *input_types: Any, **kwargs: Any) -> None:
        self._input_types = [dtypes.as_dtype(t) for t in input_types]
        self._options = kwargs

    def __call__(self, func: Callable[..., Any]) -> Any:
        if not callable(func):
            raise ValueError("function must be callable.")
        spec = inspect.getfullargspec(func)
        if spec.varkw or spec.defaults:
            raise ValueError("Functions with argument defaults or keywords arguments are not supported.")
        names = spec.args[1:] if inspect.ismethod(func) else spec.args
        if self._input_types:
            if len(self._input_types) < len(names) or (
                len(self._input_types) > len(names) and not spec.varargs
            ):
                raise ValueError("The function has fewer arguments than the number of specified input types.")
            return _DefinedFunction(func, names, self._input_types, **self._options)
        if not names and not spec.varargs:
            return _DefinedFunction(func, [], [], **self._options)
        return _OverloadedFunction(func, names, **self._options)


class _DefinedFunction:
    """A function with element types."""

    def __init__(
        self,
        func: Callable[..., Any],
        arg_names: Sequence[str],
        input_types: Sequence[dtypes.DType],
        func_name: str | None = None,
        grad_func: Any = None,
        python_grad_func: Callable[..., Any] | None = None,
        out_names: Sequence[str] | None = None,
        shape_func: Callable[[Operation], Any] | None = None,
        capture_by_value: bool = False,
        whitelisted_stateful_ops: Iterable[Operation] = (),
        capture_resource_var_by_value: bool = True,
        **attrs: Any,
    ) -> None:
        self._func = func
        self._arg_names = [arg_names[i] if i < len(arg_names) else f"arg{i}" for i in range(len(input_types))]
        self.declared_input_types = list(input_types)
        self._func_name = func_name
        self._grad_func = grad_func
        self.python_grad_func = python_grad_func
        self._out_names = out_names
        self._shape_func = shape_func
        self._by_value = capture_by_value, capture_resource_var_by_value
        self._whitelisted_stateful_ops = whitelisted_stateful_ops
        self._attrs = attrs
        self._body: FuncGraph | None = None
        self._imported: ImportedFunction | None = None

    def _built(self) -> tuple[FuncGraph, ImportedFunction]:
        if self._body is None or self._imported is None:
            by_value, resource_by_value = self._by_value
            self._body = func_graph_from_py_func(
                self._func,
                self._arg_names,
                self.declared_input_types,
                self._base_name(),
                by_value,
                capture_resource_var_by_value=resource_by_value,
                whitelisted_stateful_ops=self._whitelisted_stateful_ops,
            )
            definition = graph_to_function_def(self._body, self._func_name, self._out_names)
            definition.signature.description = self._func.__doc__ or ""
            for key, value in self._attrs.items():
                definition.attr[f"_{key}"].CopyFrom(to_attr_value(value))
            self._imported = ImportedFunction(
                definition,
                self._grad_func.name if self._grad_func is not None else "",
                OpRegistrationData(
                    op_def_lib.from_proto(definition.signature),
                    None,
                    is_function_op=True,
                    kernel=functions.call,
                    grad=self.python_grad_func or functions.call_grad,
                ),
            )
        return self._body, self._imported

    @property
    def name(self) -> str:
        name: str = self.definition.signature.name
        return name

    @property
    def definition(self) -> Any:
        """The FunctionDef message."""
        return self._built()[1].definition

    @property
    def captured_inputs(self) -> list[Tensor]:
        """What it takes from outside, which calls give after the arguments."""
        return self._built()[0].extra_inputs

    @property
    def stateful_ops(self) -> list[tuple[str, str]]:
        """Name and type of the operations in it that have a state."""
        body = self._built()[0]
        return [(op.name, op.type) for op in body.get_operations() if op.definition.is_stateful]

    @property
    def grad_func_name(self) -> str | None:
        return None if self._grad_func is None else self._grad_func.name

    def set_grad_func(self, grad_func: Any) -> None:
        """Says which function gives the gradient; once, before it is called."""
        if self._grad_func is not None:
            raise ValueError(f"Function {self._base_name()} has a gradient function already.")
        self._grad_func = grad_func

    def _base_name(self) -> str:
        name = self._func_name or _name_of(self._func)
        return name if self._grad_func is None else f"{name}_{self._grad_func.name}"

    def add_to_graph(self, graph: Graph) -> None:
        """Puts it, and what it calls, into the library of ``graph``."""
        body, imported = self._built()
        graph._functions.setdefault(self.name, imported)
        for name, inner in body._functions.items():
            graph._functions.setdefault(name, inner)
        if self._grad_func is not None:
            self._grad_func.add_to_graph(graph)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        graph = get_default_graph()
        self.add_to_graph(graph)
        imported = self._built()[1]
        inputs = [*map(convert_to_tensor, args), *self.captured_inputs]
        wanted = imported.registration.op_def.inputs
        if len(inputs) != len(wanted):
            raise ValueError(f"Expected number of arguments: {len(wanted)}, received: {len(inputs)}")
        for x, arg in zip(inputs, wanted, strict=True):
            if arg.type is not x.dtype.base_dtype:
                raise TypeError(
                    f"Argument '{arg.name}' of function {self.name} has type {x.dtype.name}, not {arg.type}."
                )
        attrs = {f"_{key}": value for key, value in kwargs.items() if key != "name"}
        attrs["_disable_call_shape_inference"] = True
        op = graph.add_op(imported.registration, inputs, attrs, kwargs.get("name") or self.name)
        if self._shape_func is not None:
            shapes = self._shape_func(op)
            if len(shapes) != len(op.outputs):
                raise ValueError(f"shape_func produced {len(shapes)} shapes for {len(op.outputs)} outputs")
            for tensor, shape in zip(op.outputs, shapes, strict=True):
                tensor.set_shape(shape)
        if not op.outputs:
            return op
        return op.outputs[0] if len(op.outputs) == 1 else tuple(op.outputs)


# How element types stand in the names of functions.
_LETTERS = {
    "float16": "f16",
    "float32": "f32",
    "float64": "f64",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "i8",
    "uint16": "u16",
    "uint32": "u32",
    "uint64": "u64",
    "string": "s",
    "bool": "b",
    "complex64": "c64",
    "complex128": "c128",
    "bfloat16": "b16",
}


class _OverloadedFunction:
    """A function whose element types come with its calls."""

    def __init__(self, func: Callable[..., Any], arg_names: Sequence[str], **options: Any) -> None:
        self._func = func
        self._arg_names = arg_names
        self._options = options
        self._overload: dict[str, _DefinedFunction] = {}

    def instantiate(self, input_types: Sequence[dtypes.DType]) -> _DefinedFunction:
        """The function for these element types."""
        key = "".join(_LETTERS.get(t.name, t.name) for t in input_types)
        found = self._overload.get(key)
        if found is None:
            options = dict(self._options)
            if options.get("func_name"):
                options["func_name"] += "_" + key
            gradient = options.pop("grad_func", None)
            found = _DefinedFunction(self._func, self._arg_names, input_types, **options)
            if gradient is not None:
                outputs = [dtypes.as_dtype(a.type) for a in found.definition.signature.output_arg]
                found = _DefinedFunction(
                    self._func,
                    self._arg_names,
                    input_types,
                    grad_func=gradient.instantiate([*input_types, *outputs]),
                    **options,
                )
            self._overload[key] = found
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tensors = [convert_to_tensor(x) for x in args]
        return self.instantiate([x.dtype.base_dtype for x in tensors])(*tensors, **kwargs)
