"""Declaring an op, and the function that adds one to a graph.

    @op("GatherV2", inputs="params: Tparams, indices: Tindices, axis: Taxis", outputs="output: Tparams",
        attrs=["batch_dims: int = 0", "Tparams: type", "Tindices: {int32, int64}", "Taxis: {int32, int64}"])
    class gather_v2:
        '''Slices of `params` at `indices` along `axis`. …'''

        def shape(c, params, indices, axis): ...
        def kernel(ctx, params, indices, axis): ...
        def grad(op, d_output): ...

The name then stands for an `OpFunction`: `gather_v2(params, indices, 0)` adds a node to the graph and
returns its output.  `shape`, `kernel` and `grad` are plain functions; common ones are values, such as
``shape = same_as(0)`` (`kvarn.graph.shape_inference`).

A kernel takes a `KernelContext` and the input values in the order of the arguments, a list argument as
one list, a reference argument as the `Var` that holds the buffer; it returns the output value, a tuple
of all outputs (lists flattened), or None.  Values are NumPy arrays or scalars; strings are object arrays of
bytes.  A kernel never changes an input array.

A gradient takes the Operation and one incoming gradient for each output (None where nothing depends on
it) and returns one gradient for each flat input, a single one bare.

``reads(op)``, which few ops have, returns other tensors for a run to read in place of the op's inputs: those from
which the kernel makes the same by less work.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from kvarn import dtypes
from kvarn.dtypes import DType
from kvarn.graph import op_def as op_def_lib
from kvarn.graph import registry
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import Graph, get_default_graph, graph_of, name_scope
from kvarn.graph.op_def import REQUIRED, OpDef
from kvarn.graph.operation import Operation, arg_length
from kvarn.graph.registry import NOT_DIFFERENTIABLE, OpRegistrationData
from kvarn.graph.tensor import Tensor, TensorValue

__all__ = ["NOT_DIFFERENTIABLE", "OpFunction", "apply_op", "op"]


class OpFunction:
    """What a declared op is in Python: calling it adds a node to the default graph.

    Arguments are the op's inputs in order, then the attributes that the inputs do not determine, those
    without defaults first, then ``name``.  The result is the output tensor, a list of tensors for a list
    output, a tuple of these for several outputs, or the Operation when there is none.
    """

    def __init__(
        self,
        name: str,
        parse: Callable[[], OpDef],
        shape: Any,
        kernel: Any,
        grad: Any,
        doc: str,
        module: str,
        reads: Any = None,
    ) -> None:
        self.op_type = name
        self._parse = parse
        self._shape, self._kernel, self._grad, self._reads = shape, kernel, grad, reads
        self.__doc__ = doc
        self.__module__ = module
        self.__name__ = name
        self._data: OpRegistrationData | None = None
        self._parameters: list[str] = []
        # For the common case of tensors only, all of one type: the name of the type attribute.
        self._simple: tuple[int, str, dict[str, Any], frozenset[DType] | None] | None = None

    @property
    def registration(self) -> OpRegistrationData:
        """The registration; the definition is parsed on first use."""
        data = self._data
        if data is None:
            definition = self._parse()
            data = OpRegistrationData(definition, self._shape, False, self._kernel, self._grad, self._reads)
            self._prepare(definition)
            self._data = data
        return data

    @property
    def kernel(self) -> Any:
        """The kernel function."""
        return self._kernel

    def _prepare(self, definition: OpDef) -> None:
        free = [a for a in definition.attrs if a.name not in definition.inferred]
        self._parameters = (
            [a.name for a in definition.inputs]
            + [a.name for a in free if a.default is REQUIRED]
            + [a.name for a in free if a.default is not REQUIRED]
        )
        defaults = {a.name: a.default for a in free}
        type_attrs = {a.type_attr for a in definition.inputs}
        if (
            definition.inputs
            and len(type_attrs) == 1
            and not any(a.is_list or a.is_ref or a.type is not None for a in definition.inputs)
            and REQUIRED not in defaults.values()
        ):
            attr = definition.attr_by_name[next(iter(type_attrs))]
            allowed = None if attr.allowed is None else frozenset(attr.allowed)
            self._simple = (len(definition.inputs), attr.name, defaults, allowed)

    def __call__(self, *args: Any, name: str | None = None, **kwargs: Any) -> Any:
        data = self._data or self.registration
        simple = self._simple
        if simple is not None and not kwargs and len(args) == simple[0]:
            # Fast path: tensors of one type and nothing to convert.
            first = args[0]
            if type(first) is Tensor and not Graph.functions_being_built:
                dtype = first.dtype
                for x in args:
                    if type(x) is not Tensor or x.dtype is not dtype:
                        break
                else:
                    if dtype._base is None and (simple[3] is None or dtype in simple[3]):
                        attrs = dict(simple[2])
                        attrs[simple[1]] = dtype
                        node = first.op._graph.add_op(data, list(args), attrs, name, stack_depth=3)
                        outputs = node._outputs
                        return outputs[0] if len(outputs) == 1 else _result(node)
        if len(args) > len(self._parameters):
            if len(args) == len(self._parameters) + 1 and name is None:
                name, args = args[-1], args[:-1]
            else:
                raise TypeError(
                    f"{self.op_type} takes at most {len(self._parameters)} arguments and a name ({len(args)} given)"
                )
        values = dict(zip(self._parameters, args, strict=False))
        for key, value in kwargs.items():
            if key in values:
                raise TypeError(f"{self.op_type} got multiple values for argument '{key}'")
            values[key] = value
        return _result(apply_op(data, values, name))

    def __repr__(self) -> str:
        return f"<op {self.op_type}>"


def op(
    name: str,
    inputs: str | Sequence[str] = (),
    outputs: str | Sequence[str] = (),
    attrs: str | Sequence[str] = (),
    *,
    stateful: bool = False,
    commutative: bool = False,
    aggregate: bool = False,
    allows_uninitialized_input: bool = False,
    graph_only: bool = False,
    deprecated: tuple[int, str] | None = None,
) -> Callable[[type], OpFunction]:
    """Declares an op type from a class body with ``shape``, ``kernel`` and optionally ``grad``.

    Args:
      name: TensorFlow's name of the op type.
      inputs, outputs, attrs: in the registration language of `kvarn.graph.op_def`.
      stateful, commutative, aggregate, allows_uninitialized_input: the flags of TensorFlow's OpDef.  A
        stateful op is not folded into a constant.
      graph_only: the op has no kernel on purpose: it can be built and written, but not run.
      deprecated: the version of graphs from which on it cannot be built any more, only imported, and why.

    Raises:
      TypeError: a docstring, shape function or kernel is missing, or the kernel's parameters are not the
        inputs in order.
    """

    def declare(cls: type) -> OpFunction:
        body = cls.__dict__
        doc = body.get("__doc__")
        if not doc:
            raise TypeError(f"op {name}: a docstring is missing")
        missing = [
            part for part in ("shape", "kernel") if part not in body and not (part == "kernel" and graph_only)
        ]
        if missing:
            raise TypeError(f"op {name}: {' and '.join(missing)} missing")
        unknown = [
            k for k in body if not k.startswith("__") and k not in ("shape", "kernel", "grad", "reads")
        ]
        if unknown:
            raise TypeError(f"op {name}: unknown parts {unknown}")

        def plain(part: str) -> Any:
            value = body.get(part)
            return value.__func__ if isinstance(value, staticmethod) else value

        def parse() -> OpDef:
            definition = op_def_lib.parse(
                name,
                inputs,
                outputs,
                attrs,
                is_stateful=stateful,
                is_commutative=commutative,
                is_aggregate=aggregate,
                allows_uninitialized_input=allows_uninitialized_input,
                deprecation=deprecated,
            )
            kernel = plain("kernel")
            if kernel is not None:
                check_kernel_parameters(definition, kernel)
            return definition

        function = OpFunction(
            name,
            parse,
            plain("shape"),
            plain("kernel"),
            plain("grad"),
            doc,
            cls.__module__,
            plain("reads"),
        )
        # The definition is parsed when the op is first used; the name is taken at once.
        registry.global_registry.register_unparsed(name, lambda: function.registration)
        return function

    return declare


def check_kernel_parameters(definition: OpDef, kernel: Any) -> None:
    """TypeError unless ``kernel`` takes a context and then the op's inputs in order, by name or as ``*args``."""
    if not inspect.isfunction(kernel):
        return
    parameters = list(inspect.signature(kernel).parameters.values())[1:]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return
    found = [p.name.removesuffix("_") for p in parameters]
    wanted = [a.name for a in definition.inputs]
    if found != wanted:
        raise TypeError(f"op {definition.name}: the kernel takes {found}, the inputs are {wanted}")


def _result(node: Operation) -> Any:
    definition = node.registration.op_def
    outputs = definition.outputs
    # Of a list that is empty there is nothing to run; what has effects is run by its operation.
    if not outputs or (not node._outputs and definition.is_stateful):
        return node
    if len(outputs) == 1:
        return list(node._outputs) if outputs[0].is_list else node._outputs[0]
    kind = _output_tuple(node.type, tuple(a.name for a in outputs))
    return kind(*[node.output_arg(a.name) for a in outputs])


@functools.cache
def _output_tuple(op_type: str, names: tuple[str, ...]) -> Any:
    """The named tuple of an op with several outputs, such as ``TopKV2(values, indices)``."""
    return collections.namedtuple(op_type.lstrip("_"), names, rename=True)


def apply_op(data: OpRegistrationData, values: dict[str, Any], name: str | None = None) -> Operation:
    """Adds an operation from Python values: inputs are converted to tensors, attributes worked out.

    Args:
      values: input arguments and attributes by name.

    Raises:
      TypeError: an argument is missing, unknown or cannot be converted to the type it must have.
      ValueError: the values do not fit the op.
      NotImplementedError: the op is not for new graphs.
    """
    definition = data.op_def
    graph = _graph_of(definition, values)
    if definition.deprecation is not None:
        producer, (version, reason) = graph.graph_def_versions.producer, definition.deprecation
        if producer >= version:
            raise NotImplementedError(
                f"Op {definition.name} is not available in GraphDef version {producer}. It has been removed in "
                f"version {version}. {reason}."
            )
    stack = None
    if get_default_graph() is not graph:
        stack = graph.as_default()
        stack.__enter__()
    try:
        with name_scope(name if name is not None else definition.name) as scope:
            inputs, attrs = _bind(definition, values)
            references = _references(definition, inputs, attrs)
            if not references:
                return graph.add_op(data, inputs, attrs, scope, stack_depth=4)
            with contextlib.ExitStack() as colocation:
                # What takes a reference must live where the buffer is.
                for x in references:
                    colocation.enter_context(graph.colocate_with(x.op))
                return graph.add_op(data, inputs, attrs, scope, stack_depth=4)
    finally:
        if stack is not None:
            stack.__exit__(None, None, None)


def _references(definition: OpDef, inputs: list[Tensor], attrs: dict[str, Any]) -> list[Tensor]:
    """The inputs that are taken as references."""
    found: list[Tensor] = []
    if any(arg.is_ref for arg in definition.inputs):
        start = 0
        for arg in definition.inputs:
            end = start + arg_length(arg, attrs)
            if arg.is_ref:
                found.extend(inputs[start:end])
            start = end
    return found


def _graph_of(definition: OpDef, values: dict[str, Any]) -> Graph:
    flat: list[Any] = []
    for arg in definition.inputs:
        value = values.get(arg.name)
        if arg.is_list and isinstance(value, (list, tuple)):
            flat.extend(value)
        else:
            flat.append(value)
    return graph_of(flat)


def _bind(definition: OpDef, values: dict[str, Any]) -> tuple[list[Tensor], dict[str, Any]]:
    """The flat input tensors and all attribute values."""
    values = dict(values)
    attrs: dict[str, Any] = {}
    # Attributes given explicitly bind first: they say what to convert the inputs to.
    for attr in definition.attrs:
        if attr.name in values and not any(a.name == attr.name for a in definition.inputs):
            value = values.pop(attr.name)
            if value is not None or attr.type not in ("type", "int", "list(type)"):
                attrs[attr.name] = _attr(definition, attr, value)
            elif attr.default is not REQUIRED and attr.name not in definition.inferred:
                attrs[attr.name] = attr.default
    inputs: list[Tensor] = []
    for arg in definition.inputs:
        if arg.name not in values:
            raise TypeError(f"No argument for input {arg.name}")
        value = values.pop(arg.name)
        if arg.is_list:
            inputs.extend(_list_input(definition, arg, value, attrs))
        else:
            inputs.append(_input(definition, arg, value, attrs))
    if values:
        raise TypeError(f"{definition.name} got unexpected keyword arguments: {', '.join(sorted(values))}.")
    for attr in definition.attrs:
        if attr.name not in attrs:
            if attr.default is REQUIRED:
                raise TypeError(f"No argument for attr {attr.name} of {definition.name}")
            attrs[attr.name] = attr.default
    return inputs, attrs


def _input(definition: OpDef, arg: Any, value: Any, attrs: dict[str, Any]) -> Tensor:
    wanted: DType | None = arg.type
    hint: DType | None = None
    attr = None
    if wanted is None:
        wanted = attrs.get(arg.type_attr)
        attr = definition.attr_by_name[arg.type_attr]
        if wanted is None and attr.default is not REQUIRED:
            hint = attr.default
    if type(value) is Tensor and not arg.is_ref:
        tensor = value
    else:
        try:
            tensor = convert_to_tensor(
                value, dtype=wanted, name=arg.name, as_ref=arg.is_ref, preferred_dtype=hint
            )
        except TypeError as e:
            if wanted is None:
                raise
            raise TypeError(
                f"Expected {wanted.name} passed to parameter '{arg.name}' of op '{definition.name}', got {value!r} "
                f"of type '{type(value).__name__}' instead. Error: {e}"
            ) from None
        except ValueError as e:
            if wanted is None:
                raise ValueError(
                    f"Tried to convert '{arg.name}' to a tensor and failed. Error: {e}"
                ) from None
            other = _dtype_of(value)
            if other is None or other is wanted:
                raise
            tensor = convert_to_tensor(value, name=arg.name, as_ref=arg.is_ref)
    base = tensor.dtype.base_dtype
    if wanted is not None and base is not wanted:
        if arg.type is not None:
            raise TypeError(
                f"Input '{arg.name}' of '{definition.name}' Op has type {base.name} that does not match expected "
                f"type of {wanted.name}."
            )
        earlier = next((a.name for a in definition.inputs if a.type_attr == arg.type_attr), arg.name)
        what = (
            f"type {attrs[arg.type_attr].name} of argument '{earlier}'"
            if earlier != arg.name
            else f"attr '{arg.type_attr}' that was given as {wanted.name}"
        )
        raise TypeError(
            f"Input '{arg.name}' of '{definition.name}' Op has type {base.name} that does not match {what}."
        )
    if arg.is_ref and not tensor.dtype.is_ref:
        raise TypeError(
            f"'{definition.name}' Op requires that input '{arg.name}' be a mutable tensor (e.g.: a tf.Variable)"
        )
    if attr is not None:
        if attr.allowed is not None and base not in attr.allowed:
            allowed = ", ".join(t.name for t in attr.allowed)
            raise TypeError(
                f"Value passed to parameter '{arg.name}' has DataType {base.name} not in list of allowed values: "
                f"{allowed}"
            )
        attrs[attr.name] = base
    return tensor


def _list_input(definition: OpDef, arg: Any, value: Any, attrs: dict[str, Any]) -> list[Tensor]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"Expected list for '{arg.name}' argument to '{definition.name}' Op, not {value}.")
    if arg.type_list_attr:
        types = attrs.get(arg.type_list_attr)
        tensors = [
            convert_to_tensor(
                v, dtype=None if types is None else types[i], name=f"{arg.name}_{i}", as_ref=arg.is_ref
            )
            for i, v in enumerate(value)
        ]
        attr = definition.attr_by_name[arg.type_list_attr]
        if attr.minimum is not None and len(tensors) < attr.minimum:
            raise ValueError(
                f"List argument '{arg.name}' to '{definition.name}' Op with length {len(tensors)} shorter than "
                f"minimum length {attr.minimum}."
            )
        attrs[arg.type_list_attr] = [t.dtype.base_dtype for t in tensors]
        return tensors
    wanted: DType | None = arg.type if arg.type is not None else attrs.get(arg.type_attr)
    if wanted is None:
        for v in value:
            if isinstance(v, Tensor) or hasattr(v, "dtype"):
                wanted = _dtype_of(v)
                break
    if wanted is None and value:
        attr = definition.attr_by_name[arg.type_attr]
        hint = None if attr.default is REQUIRED else attr.default
        wanted = convert_to_tensor(value[0], preferred_dtype=hint).dtype.base_dtype if hint is None else hint
    tensors = []
    for i, v in enumerate(value):
        try:
            t = convert_to_tensor(
                v, dtype=None if arg.is_ref else wanted, name=f"{arg.name}_{i}", as_ref=arg.is_ref
            )
        except (TypeError, ValueError):
            found = [_dtype_of(x) for x in value]
            names = ", ".join("<NOT CONVERTIBLE TO TENSOR>" if t is None else t.name for t in found)
            raise TypeError(
                f"Tensors in list passed to '{arg.name}' of '{definition.name}' Op have types [{names}] that don't "
                f"all match."
            ) from None
        tensors.append(t)
    if arg.number_attr:
        number = definition.attr_by_name[arg.number_attr]
        if arg.number_attr in attrs and attrs[arg.number_attr] != len(tensors):
            raise ValueError(
                f"List argument '{arg.name}' to '{definition.name}' Op with length {len(tensors)} must match "
                f"length {attrs[arg.number_attr]} of argument '{arg.number_attr}'."
            )
        if number.minimum is not None and len(tensors) < number.minimum:
            raise ValueError(
                f"List argument '{arg.name}' to '{definition.name}' Op with length {len(tensors)} shorter than "
                f"minimum length {number.minimum}."
            )
        attrs[arg.number_attr] = len(tensors)
    if arg.type_attr and tensors:
        base = tensors[0].dtype.base_dtype
        allowed = definition.attr_by_name[arg.type_attr].allowed
        if allowed is not None and base not in allowed:
            raise TypeError(
                f"Value passed to parameter '{arg.name}' has DataType {base.name} not in list of allowed values: "
                f"{', '.join(t.name for t in allowed)}"
            )
        attrs[arg.type_attr] = base
    return tensors


def _dtype_of(value: Any) -> DType | None:
    try:
        found = getattr(value, "dtype", None)
        return None if found is None else dtypes.as_dtype(found).base_dtype
    except TypeError:
        return None


def _attr(definition: OpDef, attr: Any, value: Any) -> Any:
    """An attribute value in its internal form; see `kvarn.graph.attr_value`."""
    kind: str = attr.type
    if kind.startswith("list("):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"Expected list for attr {attr.name}")
        out = [_attr_item(definition, attr, kind[5:-1], v) for v in value]
        if attr.minimum is not None and len(out) < attr.minimum:
            raise ValueError(
                f"Attr '{attr.name}' of '{definition.name}' Op passed list of length {len(out)} less than minimum "
                f"{attr.minimum}."
            )
        return out
    return _attr_item(definition, attr, kind, value)


def _attr_item(definition: OpDef, attr: Any, kind: str, value: Any) -> Any:
    if kind == "type":
        dtype = dtypes.as_dtype(value).base_dtype
        if attr.allowed is not None and dtype not in attr.allowed:
            raise TypeError(
                f"Value passed to parameter '{attr.name}' has DataType {dtype.name} not in list of allowed values: "
                f"{', '.join(t.name for t in attr.allowed)}"
            )
        return dtype
    if kind == "int":
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            try:
                value = int(value)
            except (TypeError, ValueError):
                raise TypeError(f"Expected int for argument '{attr.name}' not {value!r}.") from None
        if attr.minimum is not None and not attr.type.startswith("list(") and int(value) < attr.minimum:
            raise ValueError(
                f"Attr '{attr.name}' of '{definition.name}' Op passed {int(value)} less than minimum {attr.minimum}."
            )
        return int(value)
    if kind == "float":
        return float(value)
    if kind == "bool":
        return bool(value)
    if kind == "string":
        if not isinstance(value, (str, bytes)):
            raise TypeError(f"Expected string for argument '{attr.name}' not {value!r}.")
        text = value.encode() if isinstance(value, str) else value
        if attr.allowed is not None and text not in attr.allowed:
            choices = '", "'.join(a.decode() for a in attr.allowed)
            raise ValueError(
                f"Attr '{attr.name}' of '{definition.name}' Op passed string '{text.decode(errors='replace')}' not "
                f'in: "{choices}".'
            )
        return text
    if kind == "shape":
        if value is None or type(value) is tuple:
            return value
        from kvarn.graph import tensor_shape

        return tensor_shape.to_tuple(value)
    if kind == "tensor":
        if isinstance(value, TensorValue):
            return value
        from kvarn.graph import tensor_util

        if tensor_util.is_tensor_proto(value):
            return TensorValue.from_proto(value)
        return tensor_util.to_tensor_value(value)
    return value
