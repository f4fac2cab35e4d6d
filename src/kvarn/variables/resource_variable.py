"""`ResourceVariable`: a variable behind a handle, whose reads are values.

Source: tensorflow/python/ops/resource_variable_ops.py (1.15).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor, register_tensor_conversion_function
from kvarn.graph.graph import (
    add_to_collections,
    colocate_with,
    control_dependencies,
    device,
    get_default_graph,
    has_default_graph,
    init_scope,
    name_scope,
)
from kvarn.graph.proto_functions import prepend_name_scope, strip_name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.ops import array
from kvarn.ops import resource_variable as ops
from kvarn.variables.dependencies import guard
from kvarn.variables.save_slice_info import SaveSliceInfo
from kvarn.variables.variable import (
    VariableV1,
    check_initializable,
    check_outside_control_flow,
    collections_for,
    validate_synchronization_aggregation_trainable,
)


class BaseResourceVariable(VariableV1):
    """What variables behind a handle have in common.

    Args:
      trainable, synchronization, aggregation, constraint, name: see `VariableV1`.
      shape, dtype: of the value.
      handle: the resource tensor.
      handle_name: name of the operation that makes it.
      graph_element: the tensor that stands for the variable when it is fetched or fed.
      initial_value, initializer_op, is_initialized_op, cached_value, save_slice_info: what has been built.
    """

    def __init__(
        self,
        trainable: bool | None = None,
        shape: Any = None,
        dtype: Any = None,
        handle: Any = None,
        constraint: Any = None,
        synchronization: Any = None,
        aggregation: Any = None,
        name: str | None = None,
        unique_id: str | None = None,
        handle_name: str = "",
        graph_element: Any = None,
        initial_value: Any = None,
        initializer_op: Any = None,
        is_initialized_op: Any = None,
        cached_value: Any = None,
        save_slice_info: Any = None,
    ) -> None:
        self._in_graph_mode = True
        self._synchronization, self._aggregation, self._trainable = (
            validate_synchronization_aggregation_trainable(synchronization, aggregation, trainable, name)
        )
        self._save_slice_info = save_slice_info
        self._initial_value = initial_value
        self._initializer_op = initializer_op
        self._is_initialized_op = is_initialized_op
        self._graph_element = graph_element
        self._cached_value = cached_value
        self._shape = as_shape(shape)
        self._dtype = dtypes.as_dtype(dtype)
        self._handle = handle
        self._unique_id = unique_id
        self._handle_name = handle_name + ":0"
        self._constraint = constraint

    def __bool__(self) -> bool:
        return bool(self.read_value())

    def __copy__(self) -> BaseResourceVariable:
        return self

    def __deepcopy__(self, memo: Any) -> NoReturn:
        raise NotImplementedError("__deepcopy__() is only available when eager execution is enabled.")

    @property
    def dtype(self) -> Any:
        return self._dtype

    @property
    def device(self) -> str:
        where: str = self._handle.device
        return where

    @property
    def graph(self) -> Any:
        return self._handle.graph

    @property
    def name(self) -> str:
        return self._handle_name

    @property
    def shape(self) -> TensorShape:
        return self._shape

    @property
    def handle(self) -> Tensor:
        """The resource tensor."""
        handle: Tensor = self._handle
        return handle

    @property
    def op(self) -> Any:
        return self._handle.op

    @property
    def create(self) -> Any:
        """The initializer."""
        return self._initializer_op

    def _shape_as_list(self) -> list[int | None] | None:
        return None if self._shape.ndims is None else self._shape.as_list()

    def _shape_tuple(self) -> tuple[int | None, ...] | None:
        return self._shape.as_tuple()

    def _as_graph_element(self) -> Any:
        return self._graph_element

    def value(self) -> Any:
        if self._cached_value is not None:
            return self._cached_value
        with colocate_with(None, ignore_existing=True), device(self._handle.device):
            return self._read_variable_op()

    def _read_variable_op(self) -> Any:
        return ops.read_variable_op(self._handle, dtype=self._dtype)

    def read_value(self) -> Any:
        with name_scope("Read"), device(self._handle.device):
            value = self._read_variable_op()
        return array.identity(value)

    def sparse_read(self, indices: Any, name: str | None = None) -> Any:
        """Rows of the value: indices.shape + shape[1:]."""
        with name_scope("Gather" if name is None else name) as scope:
            value = ops.resource_gather(self._handle, indices, dtype=self._dtype, name=scope)
        return array.identity(value)

    def gather_nd(self, indices: Any, name: str | None = None) -> Any:
        """Elements or slices of the value at index tuples [..., k]."""
        with name_scope("GatherNd" if name is None else name) as scope:
            value = ops.resource_gather_nd(self._handle, indices, dtype=self._dtype, name=scope)
        return array.identity(value)

    def eval(self, session: Any = None) -> Any:
        return self._graph_element.eval(session=session)

    def numpy(self) -> NoReturn:
        raise NotImplementedError("numpy() is only available when eager execution is enabled.")

    def set_shape(self, shape: Any) -> None:
        raise NotImplementedError("ResourceVariable does not implement set_shape()")

    def is_initialized(self, name: str | None = None) -> Any:
        """Scalar bool tensor: whether there is a value."""
        return ops.var_is_initialized_op(self._handle, name=name)

    def count_up_to(self, limit: int) -> Any:
        return ops.resource_count_up_to(self._handle, limit=limit, T=self._dtype)

    # -- changes ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _handle_graph(self) -> Iterator[None]:
        """Builds in the handle's graph when no other one has been entered."""
        if has_default_graph():
            yield
        else:
            with self._handle.graph.as_default():
                yield

    @contextlib.contextmanager
    def _assign_dependencies(self) -> Iterator[None]:
        """A cached copy must have been made before the variable changes."""
        if self._cached_value is not None:
            with control_dependencies([self._cached_value]):
                yield
        else:
            yield

    def _lazy_read(self, op: Any) -> _UnreadVariable:
        """The variable as it is after ``op``."""
        return _UnreadVariable(self._handle, self._dtype, self._shape, op, self._unique_id)

    def assign(self, value: Any, use_locking: Any = None, name: Any = None, read_value: bool = True) -> Any:
        with self._handle_graph():
            tensor = convert_to_tensor(value, dtype=self._dtype)
            self._shape.assert_is_compatible_with(tensor.shape)
            done = ops.assign_variable_op(self._handle, tensor, name=name)
            return self._lazy_read(done) if read_value else done

    def assign_add(
        self, delta: Any, use_locking: Any = None, name: Any = None, read_value: bool = True
    ) -> Any:
        with self._handle_graph(), self._assign_dependencies():
            done = ops.assign_add_variable_op(
                self._handle, convert_to_tensor(delta, dtype=self._dtype), name=name
            )
        return self._lazy_read(done) if read_value else done

    def assign_sub(
        self, delta: Any, use_locking: Any = None, name: Any = None, read_value: bool = True
    ) -> Any:
        with self._handle_graph(), self._assign_dependencies():
            done = ops.assign_sub_variable_op(
                self._handle, convert_to_tensor(delta, dtype=self._dtype), name=name
            )
        return self._lazy_read(done) if read_value else done

    def _scatter(self, op_type: str, sparse_delta: Any, use_locking: bool, name: str | None) -> Any:
        updates = convert_to_tensor(sparse_delta.values, self._dtype)
        scatter = ops.BY_REFERENCE_OP[op_type]
        return self._lazy_read(scatter(self._handle, sparse_delta.indices, updates, name=name))

    def _scatter_nd(self, op_type: str, indices: Any, updates: Any, name: str | None) -> Any:
        scatter = ops.BY_REFERENCE_OP[op_type]
        updates = convert_to_tensor(updates, self._dtype)
        return self._lazy_read(scatter(self._handle, indices, updates, name=name))

    def _strided_slice_assign(
        self,
        begin: Any,
        end: Any,
        strides: Any,
        value: Any,
        name: Any,
        begin_mask: int,
        end_mask: int,
        ellipsis_mask: int,
        new_axis_mask: int,
        shrink_axis_mask: int,
    ) -> Any:
        from kvarn.ops import slicing

        with self._handle_graph(), self._assign_dependencies():
            done = slicing.resource_strided_slice_assign(
                self._handle,
                begin,
                end,
                strides,
                convert_to_tensor(value, dtype=self._dtype),
                name=name,
                begin_mask=begin_mask,
                end_mask=end_mask,
                ellipsis_mask=ellipsis_mask,
                new_axis_mask=new_axis_mask,
                shrink_axis_mask=shrink_axis_mask,
            )
            return self._lazy_read(done)

    def __iadd__(self, other: Any) -> NoReturn:
        raise _no_update("+", "+", "assign_add")

    def __isub__(self, other: Any) -> NoReturn:
        raise _no_update("-", "-", "assign_sub")

    def __imul__(self, other: Any) -> NoReturn:
        raise _no_update("*", "*", None)

    def __itruediv__(self, other: Any) -> NoReturn:
        raise _no_update("/", "/", None)

    def __ipow__(self, other: Any) -> NoReturn:
        raise _no_update("**", "**", None)

    # -- messages ---------------------------------------------------------------------------------

    def to_proto(self, export_scope: str | None = None) -> Any:
        from kvarn import protos

        if export_scope is not None and not self._handle.name.startswith(export_scope):
            return None

        def stripped(element: Any) -> Any:
            return strip_name_scope(element.name, export_scope)

        snapshot = self._graph_element if self._cached_value is None else self._cached_value
        definition = protos.VariableDef(
            variable_name=stripped(self._handle),
            initializer_name=stripped(self._initializer_op),
            snapshot_name=stripped(snapshot),
            is_resource=True,
            trainable=self._trainable,
            synchronization=self._synchronization.value,
            aggregation=self._aggregation.value,
        )
        if self._initial_value is not None:
            definition.initial_value_name = stripped(self._initial_value)
        if self._save_slice_info is not None:
            definition.save_slice_info_def.MergeFrom(self._save_slice_info.to_proto(export_scope))
        return definition

    def _dense_var_to_tensor(self, dtype: Any = None, name: Any = None, as_ref: bool = False) -> Any:
        if dtype is not None and not dtype.is_compatible_with(self._dtype):
            raise ValueError(
                f"Incompatible type conversion requested to type {dtype.name!r} for variable of type "
                f"{self._dtype.name!r}"
            )
        if as_ref:
            return self.read_value().op.inputs[0]
        return self.value()


def _no_update(sign: str, operator: str, method: str | None) -> RuntimeError:
    if method is not None:
        return RuntimeError(
            f"Variable {sign}= value not supported. Use variable.{method}(value) to modify the variable "
            "value "
            f"and variable = variable {operator} value to get a new Tensor object."
        )
    return RuntimeError(
        f"Variable {sign}= value not supported. Use `var.assign(var {operator} value)` to modify the "
        "variable "
        f"or `var = var {operator} value` to get a new Tensor object."
    )


class ResourceVariable(BaseResourceVariable):
    """A variable behind a handle; the arguments are those of `VariableV1`.

    Nodes: ``v`` (VarHandleOp), ``v/Initializer/…``, ``v/IsInitialized/VarIsInitializedOp``, ``v/Assign``,
    ``v/Read/ReadVariableOp``.
    """

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        dtype: Any = None,
        variable_def: Any = None,
        import_scope: str | None = None,
        constraint: Any = None,
        distribute_strategy: Any = None,
        synchronization: Any = None,
        aggregation: Any = None,
        shape: Any = None,
    ) -> None:
        del validate_shape, distribute_strategy
        if variable_def is not None:
            if initial_value is not None:
                raise ValueError("variable_def and initial_value are mutually exclusive.")
            self._init_from_proto(variable_def, import_scope)
            return
        synchronization, aggregation, trainable = validate_synchronization_aggregation_trainable(
            synchronization, aggregation, trainable, name
        )
        check_initializable(initial_value, constraint)
        collections = collections_for(collections, trainable)
        with init_scope():
            values = [] if callable(initial_value) else [initial_value]
            with name_scope(name, "Variable", values) as scope:
                handle_name = scope[:-1]
                built = _build(scope, initial_value, dtype, shape, caching_device)
                add_to_collections(collections, self)
            super().__init__(
                trainable=trainable,
                constraint=constraint,
                synchronization=synchronization,
                aggregation=aggregation,
                name=name,
                unique_id=handle_name,
                handle_name=handle_name,
                **built,
            )

    def _init_from_proto(self, variable_def: Any, import_scope: str | None) -> None:
        if not variable_def.is_resource:
            raise ValueError("Trying to restore Variable as ResourceVariable.")
        graph = get_default_graph()

        def element(name: str) -> Any:
            return graph.as_graph_element(prepend_name_scope(name, import_scope))

        handle = element(variable_def.variable_name)
        cached_value = None
        if variable_def.snapshot_name:
            snapshot = element(variable_def.snapshot_name)
            if snapshot.op.type != "ReadVariableOp":
                cached_value = snapshot
            while snapshot.op.type != "ReadVariableOp":
                snapshot = snapshot.op.inputs[0]
        else:
            snapshot = graph.get_tensor_by_name(handle.op.name + "/Read/ReadVariableOp:0")
        save_slice_info = None
        if variable_def.HasField("save_slice_info_def"):
            save_slice_info = SaveSliceInfo(
                save_slice_info_def=variable_def.save_slice_info_def, import_scope=import_scope
            )
        initial_value = variable_def.initial_value_name
        super().__init__(
            trainable=variable_def.trainable,
            shape=TensorShape.from_tuple(handle.op.attrs["shape"]),
            dtype=handle.op.attrs["dtype"],
            handle=handle,
            synchronization=variable_def.synchronization,
            aggregation=variable_def.aggregation,
            name=variable_def.variable_name,
            unique_id=handle.name,
            handle_name=handle.op.name,
            graph_element=snapshot,
            initial_value=element(initial_value) if initial_value else None,
            initializer_op=element(variable_def.initializer_name),
            cached_value=cached_value,
            save_slice_info=save_slice_info,
        )


def _build(scope: str, initial_value: Any, dtype: Any, shape: Any, caching_device: Any) -> dict[str, Any]:
    """The nodes of a variable in name scope ``scope``, as arguments of `BaseResourceVariable`."""
    handle_name = scope[:-1]
    graph = get_default_graph()
    with graph._attr_scope({"_class": [b"loc:@" + handle_name.encode()]}):
        with name_scope("Initializer"), device(None):
            value = convert_to_tensor(
                initial_value() if callable(initial_value) else initial_value,
                name="initial_value",
                dtype=dtype,
            )
        if shape is None:
            shape = value.shape
        elif not value.shape.is_compatible_with(shape):
            raise ValueError(
                f"The initial value's shape ({value.shape}) is not compatible with the explicitly supplied "
                f"`shape` argument ({shape})."
            )
        dtype = value.dtype.base_dtype
        handle = ops.var_handle_op(
            shape=shape, dtype=dtype, shared_name=handle_name, name=scope, container=graph._container
        )
    check_outside_control_flow(value, scope)
    with name_scope("IsInitialized"):
        is_initialized_op = ops.var_is_initialized_op(handle)
    with (
        name_scope("Assign") as assign_scope,
        colocate_with(None, ignore_existing=True),
        device(handle.device),
    ):
        initializer_op = ops.assign_variable_op(handle, guard(scope, value), name=assign_scope)
    cached_value = None
    with name_scope("Read"):
        with device(handle.device):
            read = ops.read_variable_op(handle, dtype=dtype)
        if caching_device is not None:
            with colocate_with(None, ignore_existing=True), device(caching_device):
                cached_value = array.identity(read)
    return {
        "shape": shape,
        "dtype": dtype,
        "handle": handle,
        "graph_element": read,
        "initial_value": value,
        "initializer_op": initializer_op,
        "is_initialized_op": is_initialized_op,
        "cached_value": cached_value,
    }


class _UnreadVariable(BaseResourceVariable):
    """A variable as it is after an operation changed it; what an assignment returns.

    Evaluating it runs the operation; reading it reads after the operation.
    """

    def __init__(self, handle: Tensor, dtype: Any, shape: Any, parent_op: Any, unique_id: Any) -> None:
        graph_element = None
        # What a session could fetch; nobody fetches what is inside of a function.
        if not get_default_graph().building_function:
            with control_dependencies([parent_op]):
                graph_element = ops.read_variable_op(handle, dtype=dtype)
        super().__init__(
            handle=handle,
            shape=shape,
            handle_name=handle.name,
            unique_id=unique_id,
            dtype=dtype,
            graph_element=graph_element,
        )
        self._parent_op = parent_op

    @property
    def name(self) -> str:
        name: str = self._parent_op.name
        return name

    @property
    def op(self) -> Any:
        return self._parent_op

    def value(self) -> Any:
        return self._read_variable_op()

    def read_value(self) -> Any:
        return self._read_variable_op()

    def _read_variable_op(self) -> Any:
        with control_dependencies([self._parent_op]):
            return ops.read_variable_op(self._handle, dtype=self._dtype)


def is_resource_variable(var: Any) -> bool:
    """Whether ``var`` is a variable behind a handle."""
    return isinstance(var, BaseResourceVariable) or hasattr(var, "_should_act_as_resource_variable")


def _to_tensor(var: Any, dtype: Any = None, name: Any = None, as_ref: bool = False) -> Any:
    return var._dense_var_to_tensor(dtype=dtype, name=name, as_ref=as_ref)


register_tensor_conversion_function(BaseResourceVariable, _to_tensor)
