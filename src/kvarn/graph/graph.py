"""Graphs: the operations of a program, their names, scopes and collections.

Source: tensorflow/python/framework/ops.py (1.15).
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kvarn.dtypes import DType
from kvarn.graph import registry
from kvarn.graph.control_flow_util import CheckInputFromValidContext
from kvarn.graph.graph_keys import GraphKeys as GraphKeys
from kvarn.graph.operation import Operation, arg_types, capture_stack
from kvarn.graph.registry import OpRegistrationData
from kvarn.graph.shape_inference import InferenceContext
from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor

_VALID_OP_NAME_REGEX = re.compile(r"^[A-Za-z0-9.][A-Za-z0-9_.\\\-/]*$")
_VALID_SCOPE_NAME_REGEX = re.compile(r"^[A-Za-z0-9_.\\\-/]*$")
# What a GraphDef may hold; the two above let a backslash through, as TensorFlow's do.
_VALID_NODE_NAME_REGEX = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\-/]*", re.ASCII)

# What TensorFlow 1.15.5 writes into `versions.producer` of a GraphDef.
GRAPH_DEF_VERSION = 134
GRAPH_DEF_VERSION_MIN_CONSUMER = 0


class _ControlDependenciesController:
    """The context of one `Graph.control_dependencies`."""

    def __init__(self, graph: Graph, control_inputs: list[Operation] | None) -> None:
        self._graph = graph
        self._new_stack = control_inputs is None
        self.control_inputs: list[Operation] = control_inputs or []
        self._seen_nodes: set[Operation] = set()

    def __enter__(self) -> _ControlDependenciesController:
        if self._new_stack:
            self._old_stack = self._graph._control_dependencies_stack
            self._graph._control_dependencies_stack = []
            self._old_context = self._graph._get_control_flow_context()
            self._graph._set_control_flow_context(None)
        self._graph._control_dependencies_stack = [*self._graph._control_dependencies_stack, self]
        return self

    def __exit__(self, *unused: Any) -> None:
        stack = self._graph._control_dependencies_stack
        assert stack[-1] is self
        self._graph._control_dependencies_stack = stack[:-1]
        if self._new_stack:
            self._graph._control_dependencies_stack = self._old_stack
            self._graph._set_control_flow_context(self._old_context)

    def add_op(self, op: Operation) -> None:
        self._seen_nodes.add(op)

    def op_in_group(self, op: Operation) -> bool:
        return op in self._seen_nodes


class _ThreadNames(threading.local):
    """The name scope of each thread."""

    stack = ""


class _Scopes:
    """What scopes add to the operations that are made inside, but for their names."""

    def __init__(self) -> None:
        self.devices: list[Any] = []
        self.control_dependencies: list[_ControlDependenciesController] = []
        self.colocation: list[Operation] = []


class _ThreadScopes(threading.local, _Scopes):
    """The same for each thread."""


class Graph:
    """The operations of a program.  Not thread-safe while it is being built.

    Threads that take turns have name scopes of their own, and after `switch_to_thread_local` all scopes.
    """

    # How many bodies of functions are under construction; an operation on tensors then belongs to the body.
    functions_being_built = 0

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._nodes_by_id: dict[int, Operation] = {}
        self._nodes_by_name: dict[str, Operation] = {}
        self._next_id_counter = 0
        # Grows with every change, also of existing operations; sessions tell by it which plans are stale.
        self._version = 0
        self._names_in_use: dict[str, int] = {}
        self._names = _ThreadNames()
        self._scopes: _Scopes | _ThreadScopes = _Scopes()
        self._default_original_op: Operation | None = None
        self._control_flow_context: Any = None
        self._collections: dict[Any, list[Any]] = {}
        self._seed: int | None = None
        self._attr_scope_map: dict[str, Any] = {}
        self._op_to_kernel_label_map: dict[str, str] = {}
        self._gradient_override_map: dict[str, str] = {}
        self._finalized = False
        self._functions: dict[str, Any] = {}
        # What Python functions were traced to for calls in this graph.
        self._traced_functions: dict[Any, Any] = {}
        self._container = ""
        # Inputs that were replaced by tensors of other types, with those that they must have.
        self._mistyped: dict[tuple[Operation, int], DType] = {}
        self._variable_creators: list[tuple[int, Callable[..., Any]]] = []
        self._unfeedable_tensors: set[Tensor] = set()
        self._unfetchable_ops: set[Operation] = set()
        self._building_function = False
        # Of the body of a function: the graph around, and what stands for tensors of that.
        self._outer_graph: Graph | None = None
        self._captured: dict[Tensor, Tensor] = {}
        # Producer, least consumer and bad consumers, as VersionDef has them.
        self._graph_def_versions: tuple[int, int, list[int]] = (
            GRAPH_DEF_VERSION,
            GRAPH_DEF_VERSION_MIN_CONSUMER,
            [],
        )

    # -- what belongs to threads ------------------------------------------------------------------

    def switch_to_thread_local(self) -> None:
        """Gives each thread its own scopes: devices, control dependencies and colocation, beside names."""
        if isinstance(self._scopes, _ThreadScopes):
            return
        before, self._scopes = self._scopes, _ThreadScopes()
        self._scopes.__dict__.update(before.__dict__)

    @property
    def _name_stack(self) -> str:
        return self._names.stack

    @_name_stack.setter
    def _name_stack(self, stack: str) -> None:
        self._names.stack = stack

    @property
    def _device_function_stack(self) -> list[Any]:
        return self._scopes.devices

    @_device_function_stack.setter
    def _device_function_stack(self, stack: list[Any]) -> None:
        self._scopes.devices = stack

    @property
    def _control_dependencies_stack(self) -> list[_ControlDependenciesController]:
        return self._scopes.control_dependencies

    @_control_dependencies_stack.setter
    def _control_dependencies_stack(self, stack: list[_ControlDependenciesController]) -> None:
        self._scopes.control_dependencies = stack

    @property
    def _colocation_stack(self) -> list[Operation]:
        return self._scopes.colocation

    @_colocation_stack.setter
    def _colocation_stack(self, stack: list[Operation]) -> None:
        self._scopes.colocation = stack

    # -- versions and finalizing ------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The number of operations made so far."""
        return self._next_id_counter

    def _version_bump(self) -> None:
        self._version += 1

    @property
    def graph_def_versions(self) -> Any:
        """The VersionDef that the GraphDef of this graph carries."""
        from kvarn import protos

        producer, min_consumer, bad_consumers = self._graph_def_versions
        return protos.VersionDef(producer=producer, min_consumer=min_consumer, bad_consumers=bad_consumers)

    def _merge_versions(self, versions: Any) -> None:
        """Takes account of the VersionDef of an imported graph: what it needs, this graph needs, too."""
        producer, min_consumer, bad_consumers = self._graph_def_versions
        self._graph_def_versions = (
            min(producer, versions.producer),
            max(min_consumer, versions.min_consumer),
            sorted({*bad_consumers, *versions.bad_consumers}),
        )

    @property
    def seed(self) -> int | None:
        """The graph-level random seed."""
        return self._seed

    @seed.setter
    def seed(self, seed: int | None) -> None:
        self._seed = seed

    @property
    def finalized(self) -> bool:
        """Whether the graph is read-only."""
        return self._finalized

    def finalize(self) -> None:
        """Makes the graph read-only."""
        self._finalized = True

    def _unsafe_unfinalize(self) -> None:
        self._finalized = False

    def _check_not_finalized(self) -> None:
        if self._finalized:
            raise RuntimeError("Graph is finalized and cannot be modified.")

    @property
    def building_function(self) -> bool:
        """Whether this is the body of a function."""
        return self._building_function

    @property
    def building_control_flow(self) -> bool:
        """Whether this is the body of a conditional or loop that is built as functions."""
        return False

    @property
    def _last_id(self) -> int:
        return self._next_id_counter

    # -- operations -------------------------------------------------------------------------------

    def create_op(
        self,
        op_type: str,
        inputs: list[Tensor],
        dtypes: Any = None,
        input_types: Any = None,
        name: str | None = None,
        attrs: dict[str, Any] | None = None,
        op_def: Any = None,
        compute_shapes: bool = True,
        compute_device: bool = True,
    ) -> Operation:
        """Adds an operation.

        Args:
          op_type: a registered op type.
          inputs: the input tensors, flat.
          dtypes: output types; worked out from the definition, so it may be left out.
          name: wished name, made unique; one that ends with "/" is taken as it is.
          attrs: AttrValue messages or plain Python values by name.

        Raises:
          NotFoundError: the op type is not registered.
          TypeError: an input is not a Tensor.
          ValueError: the inputs do not fit the op.
          RuntimeError: the graph is finalized.
        """
        del dtypes, input_types, op_def, compute_shapes
        from kvarn.graph import attr_value

        data = registry.look_up(op_type)
        for i, x in enumerate(inputs):
            if not isinstance(x, Tensor):
                raise TypeError(f"Input #{i} is not a tensor: {x}")
        values: dict[str, Any] = {}
        for key, value in (attrs or {}).items():
            definition = data.op_def.attr_by_name.get(key)
            kind = definition.type if definition else None
            values[key] = attr_value.from_attr_value(value, kind) if hasattr(value, "WhichOneof") else value
        for definition in data.op_def.attrs:
            if definition.name not in values and definition.name not in data.op_def.inferred:
                values[definition.name] = definition.default
        for arg, x in zip(data.op_def.inputs, inputs, strict=False):
            if not arg.is_list and arg.type_attr and arg.type_attr not in values:
                values[arg.type_attr] = x.dtype.base_dtype
        return self.add_op(data, list(inputs), values, name, compute_device=compute_device)

    def add_op(
        self,
        data: OpRegistrationData,
        inputs: list[Tensor],
        attrs: dict[str, Any],
        name: str | None = None,
        *,
        infer_shapes: bool = True,
        compute_device: bool = True,
        stack_depth: int = 2,
        operation: Operation | None = None,
    ) -> Operation:
        """Adds an operation whose inputs and attribute values are complete; see `create_op`.

        Args:
          operation: a blank one to be filled.
        """
        if self._finalized:
            raise RuntimeError("Graph is finalized and cannot be modified.")
        op_def = data.op_def
        foreign = False
        for i, x in enumerate(inputs):
            source = x.op
            if source._graph is not self:
                inputs[i] = self._from_outside(x, op_def.name)
                source = inputs[i].op
            if source._control_flow_context is not self._control_flow_context:
                foreign = True
        if name is None:
            name = self.unique_name(op_def.name)
        elif name.endswith("/"):
            name = name[:-1]
        elif name:
            name = self.unique_name(name)
        if not _VALID_NODE_NAME_REGEX.fullmatch(name):
            raise ValueError(f"'{name}' is not a valid node name")
        if name in self._nodes_by_name:
            raise ValueError(f"Duplicate node name in graph: '{name}'")
        output_types: list[DType] = []
        for arg in op_def.outputs:
            if arg.number_attr or arg.type_list_attr or arg.is_ref:
                output_types.extend(arg_types(arg, attrs))
            else:
                output_types.append(arg.type if arg.type is not None else attrs[arg.type_attr])
        control_inputs = (
            self._control_dependencies_for_inputs([x.op for x in inputs])
            if self._control_dependencies_stack
            else []
        )
        op = Operation._blank() if operation is None else operation
        op._fill(self, data, name, inputs, output_types, attrs, control_inputs, "")
        op._stack = capture_stack(stack_depth)
        if infer_shapes:
            try:
                self._infer_shapes(op)
            except BaseException:
                op._detach()
                raise
        self._record(op)
        if self._attr_scope_map or self._gradient_override_map or self._op_to_kernel_label_map:
            self._apply_attr_scopes(op)
        if foreign or self._control_flow_context is not None:
            # What takes its inputs in is named after it, unless it is a constant.
            scope = self._name_stack if op_def.name == "Const" else name
            with self.name_scope(f"{scope}/" if scope else None):
                self._add_to_context(op)
        for controller in self._control_dependencies_stack:
            controller.add_op(op)
        if self._default_original_op is not None:
            op._original_op = self._default_original_op
        if compute_device and self._device_function_stack:
            self._apply_device_functions(op)
        if self._colocation_stack:
            self._apply_colocation(op)
        if self._container and op_def.is_stateful and attrs.get("container") == b"":
            attrs["container"] = self._container.encode()
        return op

    def _from_outside(self, tensor: Tensor, op_type: str) -> Tensor:
        """What stands here for a tensor of another graph: nothing, unless this is the body of a function."""
        raise ValueError(f"{tensor} must be from the same graph as the graph it is used in ({op_type}).")

    def _add_to_context(self, op: Operation) -> None:
        """Tells the conditional or loop that is being built of ``op``, if ``op`` may be built there at all."""
        context = op._control_flow_context = self._control_flow_context
        for x in op._inputs:
            CheckInputFromValidContext(op, x.op)
        if context is not None:
            context.AddOp(op)

    def _infer_shapes(self, op: Operation) -> None:
        shape_fn = op.registration.shape_fn
        if shape_fn is None:
            return
        context = InferenceContext(op.attrs, op._inputs)
        op_def = op.registration.op_def
        shapes: list[Any] = []
        start = 0
        for arg in op_def.inputs:
            if arg.number_attr or arg.type_list_attr:
                length = (
                    int(op.attrs[arg.number_attr]) if arg.number_attr else len(op.attrs[arg.type_list_attr])
                )
                shapes.append([x._shape for x in op._inputs[start : start + length]])
                start += length
            else:
                shapes.append(op._inputs[start]._shape)
                start += 1
        try:
            result = shape_fn(context, *shapes)
        except ValueError as e:
            from kvarn.graph.shape_inference import fmt

            inputs = ", ".join(fmt(x._shape) for x in op._inputs)
            raise ValueError(f"{e} for '{op._name}' (op: '{op.type}') with input shapes: {inputs}.") from None
        outputs = op._outputs
        if isinstance(result, list):
            for tensor, shape in zip(outputs, result, strict=True):
                tensor._shape = shape
        else:
            outputs[0]._shape = result

    def _record(self, op: Operation) -> None:
        self._next_id_counter += 1
        self._version += 1
        op._id = self._next_id_counter
        self._nodes_by_id[op._id] = op
        self._nodes_by_name[op._name] = op

    def _apply_attr_scopes(self, op: Operation) -> None:
        for key, value in self._attr_scope_map.items():
            if callable(value):
                value = value(op.node_def)
                if value is None:
                    continue
            if isinstance(value, list):
                # A value in the form that `Operation.attrs` holds; each operation gets its own.
                op.attrs[key] = list(value)
            else:
                op._set_attr(key, value)
        label = self._op_to_kernel_label_map.get(op.type)
        if label is not None:
            op.attrs["_kernel"] = label.encode()
        override = self._gradient_override_map.get(op.type)
        if override is not None:
            op._gradient_op_type = override
            op.attrs["_gradient_op_type"] = override.encode()

    def _apply_device_functions(self, op: Operation) -> None:
        # Innermost first: what an inner scope says stands, the outer ones fill in the rest.
        for function in reversed(self._device_function_stack):
            if function is None:
                break
            op._set_device(function(op))

    def _apply_colocation(self, op: Operation) -> None:
        groups: list[bytes] = []
        for other in reversed(self._colocation_stack):
            groups.extend(other.colocation_groups())
            if other._device:
                op._device = other._device
        op.attrs["_class"] = sorted(set(groups))

    def _control_dependencies_for_inputs(self, input_ops: list[Operation]) -> list[Operation]:
        # A dictionary: the scopes of a large model's Saver wait for as many operations as it has variables.
        found: dict[Operation, None] = {}
        for controller in self._control_dependencies_stack:
            if any(controller.op_in_group(op) for op in input_ops):
                # An input was made inside this scope, so it waits already.
                continue
            found.update((c, None) for c in controller.control_inputs if c not in input_ops)
        return list(found)

    def _record_op_seen_by_control_dependencies(self, op: Operation) -> None:
        for controller in self._control_dependencies_stack:
            controller.add_op(op)

    def _get_control_flow_context(self) -> Any:
        return self._control_flow_context

    def _set_control_flow_context(self, context: Any) -> None:
        self._control_flow_context = context

    # -- look-up ----------------------------------------------------------------------------------

    def get_operations(self) -> list[Operation]:
        """All operations, in order of creation."""
        return list(self._nodes_by_id.values())

    def as_graph_element(self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True) -> Any:
        """The Tensor or Operation that ``obj`` is, converts to or names.

        Raises:
          TypeError: ``obj`` is of no such kind.
          ValueError: a malformed name, or an element of another graph.
          KeyError: no such name.
        """
        if isinstance(obj, Tensor) and allow_tensor:
            if obj.op._graph is not self:
                raise ValueError(f"Tensor {obj} is not an element of this graph.")
            return obj
        if isinstance(obj, Operation) and allow_operation:
            if obj._graph is not self:
                raise ValueError(f"Operation {obj.name} is not an element of this graph.")
            return obj
        if allow_tensor and allow_operation:
            wanted = "Tensor or Operation"
        elif allow_tensor:
            wanted = "Tensor"
        elif allow_operation:
            wanted = "Operation"
        else:
            raise ValueError("allow_tensor and allow_operation can't both be False.")
        convert = getattr(obj, "_as_graph_element", None)
        if convert is not None:
            return self.as_graph_element(convert(), allow_tensor, allow_operation)
        if isinstance(obj, bytes):
            obj = obj.decode()
        if not isinstance(obj, str):
            raise TypeError(f"Can not convert a {type(obj).__name__} into a {wanted}.")
        name = obj
        if ":" in name and allow_tensor:
            op_name, _, digits = name.rpartition(":")
            if not digits.isdigit() or ":" in op_name:
                raise ValueError(
                    f'The name {name!r} looks a like a Tensor name, but is not a valid one. Tensor names must be of the form "<op_name>:<output_index>".'  # noqa: E501
                )
            op = self._nodes_by_name.get(op_name)
            if op is None:
                raise KeyError(
                    f"The name {name!r} refers to a Tensor which does not exist. The operation, {op_name!r}, does not exist in the graph."  # noqa: E501
                )
            index = int(digits)
            if index >= len(op._outputs):
                raise KeyError(
                    f"The name {name!r} refers to a Tensor which does not exist. The operation, {op_name!r}, exists but only has {len(op._outputs)} outputs."  # noqa: E501
                )
            return op._outputs[index]
        if ":" in name:
            raise ValueError(f"Name {name!r} appears to refer to a Tensor, not a Operation.")
        if not allow_operation:
            found = (
                "refers to an Operation"
                if name in self._nodes_by_name
                else "looks like an (invalid) Operation name"
            )
            raise ValueError(
                f"The name {name!r} {found}, not a {wanted}. Tensor names must be of the form "
                '"<op_name>:<output_index>".'
            )
        if name not in self._nodes_by_name:
            raise KeyError(f"The name {name!r} refers to an Operation not in the graph.")
        return self._nodes_by_name[name]

    def get_operation_by_name(self, name: str) -> Operation:
        """The operation of that name; see `as_graph_element` for the errors."""
        if not isinstance(name, str):
            raise TypeError(f"Operation names are strings (or similar), not {type(name).__name__}.")
        found: Operation = self.as_graph_element(name, allow_tensor=False, allow_operation=True)
        return found

    def get_tensor_by_name(self, name: str) -> Tensor:
        """The tensor of that name, ``<op name>:<index>``; see `as_graph_element` for the errors."""
        if not isinstance(name, str):
            raise TypeError(f"Tensor names are strings (or similar), not {type(name).__name__}.")
        found: Tensor = self.as_graph_element(name, allow_tensor=True, allow_operation=False)
        return found

    # -- names ------------------------------------------------------------------------------------

    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """``name`` inside the current scope, with ``_1``, ``_2`` … when it is taken.

        Names that differ only in case count as the same.
        """
        if self._name_stack:
            name = self._name_stack + "/" + name
        names = self._names_in_use
        key = name.lower()
        i = names.get(key, 0)
        if mark_as_used:
            names[key] = i + 1
        if i > 0:
            base = key
            while key in names:
                key = f"{base}_{i}"
                i += 1
            if mark_as_used:
                names[key] = 1
            name = f"{name}_{i - 1}"
        return name

    def get_name_scope(self) -> str:
        """The current name scope, without a trailing slash."""
        return self._name_stack

    def _enter_name_scope(self, name: str | None) -> str:
        """Enters a scope and returns what to prefix names with, ``""`` for the root."""
        if not name:
            self._name_stack = ""
            return ""
        if isinstance(name, bytes):
            name = name.decode()
        if self._name_stack:
            if not _VALID_SCOPE_NAME_REGEX.match(name):
                raise ValueError(f"'{name}' is not a valid scope name")
        elif not _VALID_OP_NAME_REGEX.match(name):
            raise ValueError(f"'{name}' is not a valid scope name")
        stack = name[:-1] if name[-1] == "/" else self.unique_name(name)
        self._name_stack = stack
        return stack + "/"

    @contextlib.contextmanager
    def name_scope(self, name: str | None) -> Iterator[str]:
        """Operations made inside get ``name/`` before their names; a name ending in "/" re-enters a scope,
        None or "" goes back to the root."""
        if name is not None and not isinstance(name, (str, bytes)):
            raise TypeError(f"{name!r} is not a valid scope name")
        old = self._name_stack
        try:
            yield self._enter_name_scope(name)
        finally:
            self._name_stack = old

    # -- scopes -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Makes this the default graph of the thread."""
        stack = _default_graph_stack.stack
        stack.append(self)
        try:
            yield self
        finally:
            if stack[-1] is not self:
                raise AssertionError("Nesting violated by pushing and popping default graphs out of order.")
            stack.pop()

    def control_dependencies(self, control_inputs: Any) -> _ControlDependenciesController:
        """Operations made inside wait for ``control_inputs``; None forgets all outer ones.

        Args:
          control_inputs: Operations, Tensors, IndexedSlices or variables.

        Raises:
          TypeError: an item is nothing of the kind.
        """
        if control_inputs is None:
            return _ControlDependenciesController(self, None)
        ops: dict[Operation, None] = {}
        for c in control_inputs:
            if isinstance(c, (IndexedSlices, SparseTensor)) or hasattr(c, "_handle"):
                c = c.op
            c = self.as_graph_element(c)
            if isinstance(c, Tensor):
                c = c.op
            ops[c] = None
        return _ControlDependenciesController(self, list(ops))

    @contextlib.contextmanager
    def device(self, device_name_or_function: Any) -> Iterator[None]:
        """The device to ask for: a name, a function of the operation, or None to forget outer scopes."""
        function = device_name_or_function
        if function is not None and not callable(function):
            from kvarn.graph.device import merge_device

            function = merge_device(function)
        old = self._device_function_stack
        self._device_function_stack = mine = [*old, function]
        try:
            yield
        finally:
            if self._device_function_stack is not mine:
                raise RuntimeError("Exiting device scope without proper scope nesting.")
            self._device_function_stack = old

    @contextlib.contextmanager
    def colocate_with(self, op: Any, ignore_existing: bool = False) -> Iterator[None]:
        """Operations made inside ask for the place of ``op`` (Operation, Tensor or variable)."""
        if op is None and not ignore_existing:
            raise ValueError("Trying to reset colocation (op is None) but ignore_existing is not True")
        op = _op_to_colocate_with(op, self)
        devices, self._device_function_stack = self._device_function_stack, []
        colocation = self._colocation_stack
        base = [] if ignore_existing else colocation
        self._colocation_stack = base if op is None else [*base, op]
        try:
            yield
        finally:
            self._device_function_stack = devices
            self._colocation_stack = colocation

    def _colocate_with_for_gradient(self, op: Any, gradient_uid: Any, ignore_existing: bool = False) -> Any:
        return self.colocate_with(op, ignore_existing)

    @contextlib.contextmanager
    def container(self, container_name: str) -> Iterator[str]:
        """Stateful operations made inside keep their state in that container."""
        old = self._container
        self._container = container_name
        try:
            yield container_name
        finally:
            self._container = old

    @contextlib.contextmanager
    def _attr_scope(self, attr_map: dict[str, Any]) -> Iterator[None]:
        old = self._attr_scope_map
        merged = dict(old)
        for name, value in attr_map.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = value
        self._attr_scope_map = merged
        try:
            yield
        finally:
            self._attr_scope_map = old

    @contextlib.contextmanager
    def gradient_override_map(self, op_type_map: dict[str, str]) -> Iterator[None]:
        """Operations of a type made inside take their gradient from another registered name."""
        if not isinstance(op_type_map, dict):
            raise TypeError("op_type_map must be a dictionary mapping strings to strings")
        for key, value in op_type_map.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError("op_type_map must be a dictionary mapping strings to strings")
        old = self._gradient_override_map
        self._gradient_override_map = {**old, **op_type_map}
        try:
            yield
        finally:
            self._gradient_override_map = old

    @contextlib.contextmanager
    def _kernel_label_map(self, op_to_kernel_label_map: dict[str, str]) -> Iterator[None]:
        old = self._op_to_kernel_label_map
        self._op_to_kernel_label_map = {**old, **op_to_kernel_label_map}
        try:
            yield
        finally:
            self._op_to_kernel_label_map = old

    @contextlib.contextmanager
    def _original_op(self, op: Operation) -> Iterator[None]:
        old = self._default_original_op
        self._default_original_op = op
        try:
            yield
        finally:
            self._default_original_op = old

    @contextlib.contextmanager
    def _variable_creator_scope(self, creator: Callable[..., Any], priority: int = 100) -> Iterator[None]:
        old = self._variable_creators
        self._variable_creators = sorted([*old, (priority, creator)], key=lambda item: item[0])
        mine = self._variable_creators
        try:
            yield
        finally:
            if self._variable_creators is not mine:
                raise RuntimeError("Exiting variable_creator_scope without proper nesting.")
            self._variable_creators = old

    @property
    def _variable_creator_stack(self) -> list[tuple[int, Callable[..., Any]]]:
        return list(self._variable_creators)

    @_variable_creator_stack.setter
    def _variable_creator_stack(self, stack: list[tuple[int, Callable[..., Any]]]) -> None:
        self._variable_creators = stack

    # -- collections ------------------------------------------------------------------------------

    @property
    def collections(self) -> list[Any]:
        """The names of all collections."""
        return list(self._collections)

    def get_all_collection_keys(self) -> list[Any]:
        """The names of the collections, those that are not strings left out."""
        return [k for k in self._collections if isinstance(k, str)]

    def add_to_collection(self, name: Any, value: Any) -> None:
        """Adds to the end of a collection; RuntimeError if the graph is finalized."""
        self._check_not_finalized()
        self._collections.setdefault(name, []).append(value)

    def add_to_collections(self, names: Any, value: Any) -> None:
        """Adds to several collections, each once."""
        for name in {names: None} if isinstance(names, str) else dict.fromkeys(names):
            self.add_to_collection(name, value)

    def get_collection_ref(self, name: Any) -> list[Any]:
        """The collection itself; changes to the list are changes to the collection."""
        return self._collections.setdefault(name, [])

    def get_collection(self, name: Any, scope: str | None = None) -> list[Any]:
        """A copy of the collection; with ``scope``, the items whose name matches it as a regular expression."""
        items = self._collections.get(name, [])
        if scope is None:
            return list(items)
        regex = re.compile(scope)
        return [i for i in items if hasattr(i, "name") and regex.match(i.name)]

    def clear_collection(self, name: Any) -> None:
        """Removes a collection; RuntimeError if the graph is finalized."""
        self._check_not_finalized()
        self._collections.pop(name, None)

    # -- feeding and fetching ---------------------------------------------------------------------

    def prevent_feeding(self, tensor: Tensor) -> None:
        """Lets no session feed ``tensor``."""
        self._unfeedable_tensors.add(tensor)

    def is_feedable(self, tensor: Tensor) -> bool:
        """Whether a session may feed ``tensor``."""
        return tensor not in self._unfeedable_tensors

    def prevent_fetching(self, op: Operation) -> None:
        """Lets no session fetch ``op`` or its outputs."""
        self._unfetchable_ops.add(op)

    def is_fetchable(self, tensor_or_op: Any) -> bool:
        """Whether a session may fetch an operation or a tensor."""
        op = tensor_or_op.op if isinstance(tensor_or_op, Tensor) else tensor_or_op
        return op not in self._unfetchable_ops

    # -- messages ---------------------------------------------------------------------------------

    def as_graph_def(self, from_version: int | None = None, add_shapes: bool = False) -> Any:
        """The GraphDef message of the operations made after ``from_version``."""
        from kvarn.graph import graph_def

        return graph_def.graph_to_graph_def(self, from_version, add_shapes)

    def _is_function(self, name: str) -> bool:
        return name in self._functions


class _DefaultGraphStack(threading.local):
    def __init__(self) -> None:
        self.stack: list[Graph] = []


_default_graph_stack = _DefaultGraphStack()
_global_default_graph: Graph | None = None


def get_default_graph() -> Graph:
    """The innermost graph of `Graph.as_default`, or the process's global one."""
    graphs = _default_graph_stack.stack
    return graphs[-1] if graphs else _global_graph()


def _global_graph() -> Graph:
    global _global_default_graph
    if _global_default_graph is None:
        _global_default_graph = Graph()
    return _global_default_graph


def has_default_graph() -> bool:
    return bool(_default_graph_stack.stack)


def reset_default_graph() -> None:
    """Starts an empty global default graph; AssertionError inside a nested `Graph.as_default`."""
    if _default_graph_stack.stack:
        raise AssertionError(
            "Do not use tf.reset_default_graph() to clear nested graphs. If you need a cleared graph, exit the "
            "nesting and create a new graph."
        )
    global _global_default_graph
    _global_default_graph = None


def graph_of(values: Iterable[Any]) -> Graph:
    """The graph that the graph elements among ``values`` belong to; the default graph if there is none.

    Raises:
      ValueError: they belong to different graphs.
    """
    current = get_default_graph()
    if Graph.functions_being_built and current._building_function:
        # It takes in what comes from the graph around.
        return current
    found: Graph | None = None
    first: Any = None
    for value in values:
        if isinstance(value, (Tensor, Operation, IndexedSlices, SparseTensor)) or hasattr(
            value, "_as_graph_element"
        ):
            graph = value.graph
            if found is None:
                found, first = graph, value
            elif graph is not found:
                raise ValueError(f"{first} must be from the same graph as {value}.")
    return found if found is not None else current


class name_scope:
    """Context manager for the name scope of a function that makes operations.

    Args:
      name: the scope, from the function's own ``name`` argument.
      default_name: used when ``name`` is None.
      values: the function's tensor arguments; their graph becomes the default graph.

    Raises:
      ValueError: neither name is given although ``values`` are.
    """

    def __init__(
        self, name: str | None, default_name: str | None = None, values: Iterable[Any] | None = None
    ) -> None:
        if not (name is None or isinstance(name, (str, bytes))):
            raise TypeError(f"name for name_scope must be a string, not {type(name).__name__}.")
        if not (default_name is None or isinstance(default_name, (str, bytes))):
            raise TypeError(
                f"`default_name` type ({type(default_name)}) is not a string type. You likely meant to pass this "
                "into the `values` kwarg."
            )
        self._default_name = default_name
        self._name = default_name if name is None else name
        self._values = values

    @property
    def name(self) -> str | None:
        return self._name

    def __enter__(self) -> str:
        values = self._values
        if self._name is None and values is not None:
            raise ValueError(
                f"At least one of name (None) and default_name ({self._default_name}) must be provided."
            )
        graph = graph_of(values) if values else get_default_graph()
        graphs = _default_graph_stack.stack
        self._pushed = not graphs or graphs[-1] is not graph
        old = graph._name_stack
        scope = graph._enter_name_scope(self._name)
        if self._pushed:
            graphs.append(graph)
        self._graph, self._old = graph, old
        return scope

    def __exit__(self, *unused: Any) -> None:
        self._graph._name_stack = self._old
        if self._pushed:
            _default_graph_stack.stack.pop()


class name_scope_v2:
    """Context manager for a name scope, which may be entered again, also inside itself.

    Args:
      name: the scope; TypeError unless it is a string.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, (str, bytes)):
            raise TypeError("name for name_scope must be a string.")
        self._name = name
        self._entered: list[name_scope] = []

    @property
    def name(self) -> str:
        return self._name

    def __enter__(self) -> str:
        self._entered.append(name_scope(self._name))
        return self._entered[-1].__enter__()

    def __exit__(self, *details: Any) -> None:
        self._entered.pop().__exit__(*details)


def get_name_scope() -> str:
    """`Graph.get_name_scope` of the default graph."""
    return get_default_graph().get_name_scope()


def op_scope(values: Iterable[Any], name: str | None, default_name: str | None = None) -> name_scope:
    """`name_scope` with its older order of arguments."""
    return name_scope(name, default_name=default_name, values=values)


def control_dependencies(control_inputs: Any) -> _ControlDependenciesController:
    """`Graph.control_dependencies` of the default graph."""
    return get_default_graph().control_dependencies(control_inputs)


def device(device_name_or_function: Any) -> Any:
    """`Graph.device` of the default graph."""
    return get_default_graph().device(device_name_or_function)


def container(container_name: str) -> Any:
    """`Graph.container` of the default graph."""
    return get_default_graph().container(container_name)


def colocate_with(op: Any, ignore_existing: bool = False) -> Any:
    """`Graph.colocate_with` of the default graph."""
    return get_default_graph().colocate_with(op, ignore_existing)


def add_to_collection(name: Any, value: Any) -> None:
    """`Graph.add_to_collection` of the default graph."""
    get_default_graph().add_to_collection(name, value)


def add_to_collections(names: Any, value: Any) -> None:
    """`Graph.add_to_collections` of the default graph."""
    get_default_graph().add_to_collections(names, value)


def get_collection(key: Any, scope: str | None = None) -> list[Any]:
    """`Graph.get_collection` of the default graph."""
    return get_default_graph().get_collection(key, scope)


def get_collection_ref(key: Any) -> list[Any]:
    """`Graph.get_collection_ref` of the default graph."""
    return get_default_graph().get_collection_ref(key)


def get_all_collection_keys() -> list[Any]:
    return get_default_graph().get_all_collection_keys()


@contextlib.contextmanager
def init_scope() -> Iterator[None]:
    """Lifts what is made inside out of control-flow scopes and functions.

    There are no control dependencies; names and the innermost devices stay.
    """
    scope = get_default_graph().get_name_scope()
    stack = _default_graph_stack.stack
    at = next((i for i in reversed(range(len(stack))) if not stack[i]._building_function), None)
    graph = _global_graph() if at is None else stack[at]
    inside = [graph, *(stack if at is None else stack[at + 1 :])]
    devices: list[Any] = next(
        (g._device_function_stack for g in reversed(inside) if g._device_function_stack), []
    )
    with (
        graph.as_default(),
        graph.name_scope(scope + "/" if scope else None),
        graph.control_dependencies(None),
    ):
        before, graph._device_function_stack = graph._device_function_stack, devices
        try:
            yield
        finally:
            graph._device_function_stack = before


def _op_to_colocate_with(value: Any, graph: Graph) -> Operation | None:
    if value is None:
        return None
    if isinstance(value, (IndexedSlices, SparseTensor)):
        return value.op
    handle = getattr(value, "handle", None)
    if isinstance(handle, Tensor):
        # A resource variable lives where its handle is.
        return handle.op
    if graph._building_function and isinstance(value, (Tensor, Operation)):
        # The place of something outside will do, too.
        return value.op if isinstance(value, Tensor) else value
    if isinstance(value, (int, float, list, tuple)):
        # A value takes its place as a constant.
        from kvarn.graph.convert import convert_to_tensor

        return convert_to_tensor(value).op
    element = graph.as_graph_element(value)
    return element.op if isinstance(element, Tensor) else element
