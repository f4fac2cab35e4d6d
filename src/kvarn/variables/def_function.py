"""Functions that are traced into the graph's library when they are called: ``tf.function`` and ``defun``.

A call is a node, PartitionedCall or StatefulPartitionedCall; calls with arguments of the same types and shapes share
a function.  Python's own control flow is not converted (no AutoGraph): write `tf.cond` and `tf.while_loop`.

Source: tensorflow/python/eager/{def_function,function}.py (1.15).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kvarn.graph import nest
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import Graph, get_default_graph
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import as_shape
from kvarn.graph.tensor_spec import TensorSpec
from kvarn.ops.func_graph import FuncGraph, func_graph_from_py_func
from kvarn.ops.partitioned_call import call_node, inference_name, results_of
from kvarn.variables.creator import variable_creator_scope


class ConcreteFunction:
    """A Python function for arguments of certain types and shapes.

    Args:
      graph: what it computes.

    Attributes:
      graph: the same.
    """

    def __init__(self, graph: FuncGraph) -> None:
        self.graph = graph
        self._n_arguments = len(graph.inputs) - len(graph.captures)

    @property
    def name(self) -> str:
        """What it is called in the library."""
        return self.graph.name

    @property
    def inputs(self) -> list[Tensor]:
        """The placeholders of the arguments, and then of what is taken from outside."""
        return self.graph.inputs

    @property
    def outputs(self) -> list[Tensor]:
        return self.graph.outputs

    @property
    def structured_outputs(self) -> Any:
        """What the Python function returned."""
        return self.graph.structured_outputs

    @property
    def captured_inputs(self) -> list[Tensor]:
        """What is taken from outside."""
        return self.graph.external_captures

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls it with tensors, or what converts to them, in the order of the arguments; by name after these.

        Returns:
          What the Python function returned, with tensors of the calling graph; the Operation if that was None.

        Raises:
          TypeError: other arguments than it has.
        """
        names = [x.op.name for x in self.inputs[: self._n_arguments]]
        given = [*args, *(kwargs.pop(n) for n in names[len(args) :] if n in kwargs)]
        if kwargs or len(given) != self._n_arguments:
            raise TypeError(
                f"The function {self.name} takes the tensors {names}, but {len(args)} were given by position, and by "
                f"name {sorted(kwargs) or 'not all others'}"
            )
        return self.call_flat(given)

    def call_flat(self, tensors: Sequence[Any]) -> Any:
        """`__call__` with a flat list.

        Raises:
          ValueError: the default graph is none that the function was traced for.
        """
        if get_default_graph()._functions is not self.graph._functions:
            raise ValueError(
                f"The function {self.name} is in the library of another graph than the default one: call it there, "
                "or call get_concrete_function in this graph."
            )
        converted = [
            convert_to_tensor(x, dtype=placeholder.dtype)
            for x, placeholder in zip(tensors, self.inputs, strict=False)
        ]
        node = call_node(self.graph, [*converted, *self.captured_inputs])
        return node if self.structured_outputs is None else results_of(self.graph, node)


class Function:
    """A Python function that is traced when it is called; see `function`.

    Attributes:
      python_function: the function itself.
      input_signature: a nest of TensorSpec, or None.
    """

    def __init__(
        self,
        python_function: Callable[..., Any],
        name: str,
        input_signature: Sequence[Any] | None = None,
        creates_variables_once: bool = False,
    ) -> None:
        self.python_function = python_function
        self.input_signature = None if input_signature is None else tuple(input_signature)
        self._name = name
        self._creates_once = creates_variables_once
        self._was_traced = False
        self._signature = inspect.signature(python_function)
        # By instance, for functions that are methods; by identity, as equal objects need not compute the same.
        self._of_instances: dict[int, tuple[Any, Function]] = {}
        functools.update_wrapper(self, python_function, updated=())

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else BoundFunction(self._of(instance), instance)

    def _of(self, instance: Any) -> Function:
        """The function of one object, which it does not keep alive."""
        known = self._of_instances.get(id(instance))
        if known is not None and known[0]() is instance:
            return known[1]
        number = id(instance)

        def forget(_: Any) -> None:
            self._of_instances.pop(number, None)

        itself = weakref.ref(instance, forget)

        def method(*args: Any, **kwargs: Any) -> Any:
            return self.python_function(itself(), *args, **kwargs)

        functools.update_wrapper(method, self.python_function)
        parameters = list(self._signature.parameters.values())[1:]
        method.__signature__ = self._signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        made = Function(method, self._name, self.input_signature, self._creates_once)
        self._of_instances[number] = itself, made
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Puts a node that calls the function into the default graph.

        Args:
          *args: and keyword arguments: nests.  Tensors and arrays are arguments of the function; anything else is
            part of it, and has one of its own for each value.

        Returns:
          What the Python function returned, with tensors of the default graph; the Operation if that was None.

        Raises:
          TypeError: it returns what is no tensor, or an argument cannot be a key of a dictionary.
          ValueError: the arguments do not fit the input signature, or variables are made in a later trace.
        """
        concrete, tensors = self._traced(args, kwargs)
        return concrete.call_flat(tensors)

    def get_concrete_function(self, *args: Any, **kwargs: Any) -> ConcreteFunction:
        """The function for such arguments; a TensorSpec stands for a tensor.  Without any, of the input signature."""
        if self.input_signature is not None and not args and not kwargs:
            args = self.input_signature
        return self._traced(args, kwargs)[0]

    # -- one function for each kind of arguments ---------------------------------------------------

    def _traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[ConcreteFunction, list[Any]]:
        """The function for these arguments, and those of them that are tensors."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        structure: Any = (bound.args, bound.kwargs)
        if self.input_signature is not None:
            structure = (_as_signed(self.input_signature, bound.args, bound.kwargs, self._name), {})
        leaves = [_converted(x) for x in nest.flatten(structure, expand_composites=True)]
        specs: list[Any] = leaves
        if self.input_signature is not None:
            specs = nest.flatten(self.input_signature)
        graph = get_default_graph()
        key = (self, str(_form(structure)), *map(_key, specs))
        known: dict[Any, ConcreteFunction] = graph._traced_functions
        try:
            concrete = known.get(key)
        except TypeError as error:
            raise TypeError(
                f"An argument of {self._name} can be no part of a function, as it has no hash: {error}"
            ) from None
        if concrete is None:
            concrete = known[key] = self._trace(graph, structure, specs)
        return concrete, [x for x in leaves if isinstance(x, (Tensor, TensorSpec))]

    def _trace(self, outer: Graph, structure: Any, leaves: Sequence[Any]) -> ConcreteFunction:
        graph = FuncGraph(inference_name(self._name))
        names = self._names(structure)
        arguments = [
            (x.dtype, as_shape(x.shape), x.name if isinstance(x, TensorSpec) and x.name else name)
            for x, name in zip(leaves, names, strict=True)
            if isinstance(x, (Tensor, TensorSpec))
        ]

        def call(*tensors: Any) -> Any:
            given = iter(tensors)
            flat = [next(given) if isinstance(x, (Tensor, TensorSpec)) else x for x in leaves]
            args, kwargs = nest.pack_sequence_as(structure, flat, expand_composites=True)
            with self._creating_variables():
                return self.python_function(*args, **kwargs)

        func_graph_from_py_func(graph, call, arguments, add_control_dependencies=True)
        self._was_traced = True
        return ConcreteFunction(graph)

    def _names(self, structure: Any) -> Iterator[str]:
        """The parameter that each leaf belongs to."""
        args, kwargs = structure
        parameters = list(self._signature.parameters.values())
        for i, value in enumerate(args):
            kind = parameters[min(i, len(parameters) - 1)]
            name = f"{kind.name}_{i}" if kind.kind is inspect.Parameter.VAR_POSITIONAL else kind.name
            yield from (name for _ in nest.flatten(value, expand_composites=True))
        for name in sorted(kwargs):
            yield from (name for _ in nest.flatten(kwargs[name], expand_composites=True))

    @contextlib.contextmanager
    def _creating_variables(self) -> Iterator[None]:
        if not self._creates_once:
            yield
            return

        def create(next_creator: Any, **kwargs: Any) -> Any:
            if self._was_traced:
                raise ValueError(
                    "tf.function-decorated function tried to create variables on non-first call."
                )
            kwargs["use_resource"] = True
            return next_creator(**kwargs)

        with variable_creator_scope(create):
            yield


class BoundFunction:
    """A `Function` as a method of an object, which lives at least as long as this."""

    def __init__(self, function: Function, instance: Any) -> None:
        self._function = function
        self._instance = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`Function.__call__`, without the object itself."""
        return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def function(
    func: Callable[..., Any] | None = None,
    input_signature: Sequence[Any] | None = None,
    autograph: bool = True,
    experimental_autograph_options: Any = None,
    experimental_relax_shapes: bool = False,
) -> Any:
    """The function as one that is traced when it is called, or a decorator that makes such functions.

    Args:
      func: takes and returns nests of tensors.  It may make variables the first time.
      input_signature: a TensorSpec for each of its arguments: one function serves all calls then.
      autograph: without effect, as the options and relaxed shapes: conditions that are tensors have to be written
        with `tf.cond` and `tf.while_loop`.
    """
    del autograph, experimental_autograph_options, experimental_relax_shapes
    if func is None:
        return functools.partial(function, input_signature=input_signature)
    return Function(func, _name_of(func), input_signature, creates_variables_once=True)


def defun(
    func: Callable[..., Any] | None = None,
    input_signature: Sequence[Any] | None = None,
    autograph: bool = True,
    experimental_autograph_options: Any = None,
    experimental_relax_shapes: bool = False,
) -> Any:
    """`function` that may make variables in every trace."""
    return defun_with_attributes(func, input_signature)


def defun_with_attributes(
    func: Callable[..., Any] | None = None,
    input_signature: Sequence[Any] | None = None,
    attributes: Any = None,
    autograph: bool = True,
    experimental_autograph_options: Any = None,
    experimental_relax_shapes: bool = False,
) -> Any:
    """`defun`; ``attributes`` are not written into the library."""
    if func is None:
        return functools.partial(defun_with_attributes, input_signature=input_signature)
    return Function(func, _name_of(func), input_signature)


def _name_of(func: Callable[..., Any]) -> str:
    while isinstance(func, functools.partial):
        func = func.func
    return getattr(func, "__name__", type(func).__name__)


def _converted(leaf: Any) -> Any:
    return convert_to_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf


def _form(structure: Any) -> Any:
    """The form of a nest, without its leaves."""
    return nest.map_structure(
        lambda x: type(x).__name__ if nest.is_nested_or_composite(x) else ".", structure
    )


def _key(leaf: Any) -> Any:
    """What tells apart arguments that need functions of their own."""
    if isinstance(leaf, (Tensor, TensorSpec)):
        return leaf.dtype.base_dtype, str(as_shape(leaf.shape))
    return type(leaf), leaf


def _as_signed(
    signature: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> tuple[Any, ...]:
    """The arguments as tensors of the input signature.

    Raises:
      ValueError: they are others.
    """
    problem = (
        f"Python inputs incompatible with input_signature:\n  inputs: {args}, {kwargs}\n"
        f"  input_signature: {tuple(signature)}"
    )
    if kwargs or len(args) != len(signature):
        raise ValueError(f"{problem}\n  of {name}")
    flat = []
    try:
        # What belongs to one TensorSpec may be a list of numbers.
        for spec, value in zip(nest.flatten(signature), _parts(signature, args), strict=True):
            tensor = value if isinstance(value, TensorSpec) else convert_to_tensor(value, dtype=spec.dtype)
            if not spec.is_compatible_with(tensor):
                raise ValueError(f"{tensor} is no {spec}")
            flat.append(tensor)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{problem}\n  of {name}: {error}") from error
    packed: tuple[Any, ...] = nest.pack_sequence_as(signature, flat)
    return packed


def _parts(shallow: Any, structure: Any) -> Iterator[Any]:
    """The parts of a nest that lie where ``shallow`` has leaves."""
    if not nest.is_nested(shallow):
        yield structure
        return
    if not nest.is_nested(structure) or len(shallow) != len(structure):
        raise ValueError(f"{structure} is no nest like {shallow}")
    if isinstance(shallow, dict):
        for key in sorted(shallow):
            yield from _parts(shallow[key], structure[key])
    else:
        for part, inside in zip(shallow, structure, strict=True):
            yield from _parts(part, inside)
