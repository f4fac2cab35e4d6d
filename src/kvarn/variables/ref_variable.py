"""`RefVariable`: a variable whose buffer is a reference tensor (VariableV2).

Source: `RefVariable` of tensorflow/python/ops/variables.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.convert import convert_to_tensor, register_tensor_conversion_function
from kvarn.graph.graph import (
    add_to_collections,
    colocate_with,
    device,
    get_default_graph,
    init_scope,
    name_scope,
)
from kvarn.graph.proto_functions import prepend_name_scope, strip_name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, state
from kvarn.variables.dependencies import guard
from kvarn.variables.save_slice_info import SaveSliceInfo
from kvarn.variables.variable import (
    VariableV1,
    check_initializable,
    check_outside_control_flow,
    collections_for,
    validate_synchronization_aggregation_trainable,
)


class RefVariable(VariableV1):
    """A variable as TensorFlow 1 makes them by default; the arguments are those of `VariableV1`.

    A read may give the value before or after an assignment that no dependency orders.
    Nodes: ``v`` (VariableV2), ``v/Assign``, ``v/read`` (Identity), ``v/Initializer/…`` or
    ``v/initial_value``.
    """

    _variable: Tensor
    _snapshot: Tensor

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        variable_def: Any = None,
        dtype: Any = None,
        expected_shape: Any = None,
        import_scope: str | None = None,
        constraint: Any = None,
        synchronization: Any = None,
        aggregation: Any = None,
        shape: Any = None,
    ) -> None:
        del expected_shape
        self._in_graph_mode = True
        self._save_slice_info = None
        if variable_def is not None:
            if initial_value is not None:
                raise ValueError("variable_def and initial_value are mutually exclusive.")
            self._init_from_proto(variable_def, import_scope)
            return
        check_initializable(initial_value, constraint)
        self._synchronization, self._aggregation, self._trainable = (
            validate_synchronization_aggregation_trainable(synchronization, aggregation, trainable, name)
        )
        collections = collections_for(collections, self._trainable)
        self._constraint = constraint
        self._caching_device = caching_device
        with init_scope():
            values = [] if callable(initial_value) else [initial_value]
            with name_scope(name, "Variable", values) as scope:
                self._build(scope, initial_value, dtype, shape, validate_shape)
            add_to_collections(collections, self)

    def _build(self, scope: str, initial_value: Any, dtype: Any, shape: Any, validate_shape: bool) -> None:
        if callable(initial_value):
            # The initializer lives where the variable will.
            group = b"loc:@" + scope[:-1].encode()
            with get_default_graph()._attr_scope({"_class": [group]}):
                with name_scope("Initializer"), device(None):
                    value = convert_to_tensor(initial_value(), name="initial_value", dtype=dtype)
                self._variable = _buffer(scope, value, shape, validate_shape)
        else:
            value = convert_to_tensor(initial_value, name="initial_value", dtype=dtype)
            check_outside_control_flow(value, scope)
            self._variable = _buffer(scope, value, shape, validate_shape)
        self._initial_value = value
        if validate_shape and (value._shape is None or None in value._shape):
            raise ValueError(f"initial_value must have a shape specified: {value}")
        self._initializer_op = state.assign(
            self._variable, guard(scope, value), validate_shape=validate_shape
        ).op
        where = (
            colocate_with(self._variable.op) if self._caching_device is None else device(self._caching_device)
        )
        with where:
            self._snapshot = array.identity(self._variable, name="read")

    def _init_from_proto(self, variable_def: Any, import_scope: str | None) -> None:
        graph = get_default_graph()

        def element(name: str) -> Any:
            return graph.as_graph_element(prepend_name_scope(name, import_scope))

        self._variable = element(variable_def.variable_name)
        self._initializer_op = element(variable_def.initializer_name)
        initial_value = variable_def.initial_value_name
        self._initial_value = element(initial_value) if initial_value else None
        self._synchronization, self._aggregation, self._trainable = (
            validate_synchronization_aggregation_trainable(
                variable_def.synchronization,
                variable_def.aggregation,
                variable_def.trainable,
                variable_def.variable_name,
            )
        )
        self._snapshot = element(variable_def.snapshot_name)
        if variable_def.HasField("save_slice_info_def"):
            self._save_slice_info = SaveSliceInfo(
                save_slice_info_def=variable_def.save_slice_info_def, import_scope=import_scope
            )
        self._caching_device = None
        self._constraint = None

    def _as_graph_element(self) -> Tensor:
        return self._variable

    def _ref(self) -> Tensor:
        """The reference tensor."""
        return self._variable

    def value(self) -> Tensor:
        """The read that the variable was built with."""
        return self._snapshot

    def read_value(self) -> Any:
        return array.identity(self._variable, name="read")

    def set_shape(self, shape: Any) -> None:
        self._variable.set_shape(shape)
        self._snapshot.set_shape(shape)

    def eval(self, session: Any = None) -> Any:
        return self._variable.eval(session=session)

    def assign(self, value: Any, use_locking: Any = False, name: Any = None, read_value: bool = True) -> Any:
        done = state.assign(self._variable, value, use_locking=use_locking, name=name)
        return done if read_value else done.op

    def assign_add(
        self, delta: Any, use_locking: Any = False, name: Any = None, read_value: bool = True
    ) -> Any:
        done = state.assign_add(self._variable, delta, use_locking=use_locking, name=name)
        return done if read_value else done.op

    def assign_sub(
        self, delta: Any, use_locking: Any = False, name: Any = None, read_value: bool = True
    ) -> Any:
        done = state.assign_sub(self._variable, delta, use_locking=use_locking, name=name)
        return done if read_value else done.op

    def _scatter(self, op_type: str, sparse_delta: Any, use_locking: bool, name: str | None) -> Any:
        scatter = _SCATTER[op_type]
        return scatter(
            self._variable, sparse_delta.indices, sparse_delta.values, use_locking=use_locking, name=name
        )

    def _scatter_nd(self, op_type: str, indices: Any, updates: Any, name: str | None) -> Any:
        return _SCATTER[op_type](self._variable, indices, updates, use_locking=True, name=name)

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

        return slicing.strided_slice_assign(
            self._variable,
            begin,
            end,
            strides,
            value,
            name=name,
            begin_mask=begin_mask,
            end_mask=end_mask,
            ellipsis_mask=ellipsis_mask,
            new_axis_mask=new_axis_mask,
            shrink_axis_mask=shrink_axis_mask,
        )

    def count_up_to(self, limit: int) -> Any:
        return state.count_up_to(self._variable, limit=limit)

    @property
    def name(self) -> str:
        return self._variable.name

    @property
    def op(self) -> Any:
        return self._variable.op

    @property
    def dtype(self) -> Any:
        """A reference dtype, such as float32_ref."""
        return self._variable.dtype

    @property
    def shape(self) -> Any:
        return self._variable.shape

    @property
    def device(self) -> str:
        return self._variable.device

    @property
    def graph(self) -> Any:
        return self._variable.graph

    def to_proto(self, export_scope: str | None = None) -> Any:
        from kvarn import protos

        if export_scope is not None and not self.name.startswith(export_scope):
            return None

        def stripped(element: Any) -> Any:
            return strip_name_scope(element.name, export_scope)

        definition = protos.VariableDef(
            variable_name=stripped(self._variable),
            initializer_name=stripped(self._initializer_op),
            snapshot_name=stripped(self._snapshot),
            trainable=self._trainable,
            synchronization=self._synchronization.value,
            aggregation=self._aggregation.value,
        )
        if self._initial_value is not None:
            definition.initial_value_name = stripped(self._initial_value)
        if self._save_slice_info is not None:
            definition.save_slice_info_def.MergeFrom(self._save_slice_info.to_proto(export_scope))
        return definition


_SCATTER = {
    f.op_type: f
    for f in (
        state.scatter_update_,
        state.scatter_add_,
        state.scatter_sub_,
        state.scatter_mul_,
        state.scatter_div_,
        state.scatter_min_,
        state.scatter_max_,
        state.scatter_nd_update_,
        state.scatter_nd_add_,
        state.scatter_nd_sub_,
    )
}


def _buffer(scope: str, value: Tensor, shape: Any, validate_shape: bool) -> Tensor:
    from kvarn.graph import tensor_shape

    if shape is None:
        static = value._shape if validate_shape else None
    else:
        static = tensor_shape.to_tuple(shape)
    buffer: Tensor = state.variable_op_v2(static, value.dtype.base_dtype, name=scope)
    return buffer


def _to_tensor(v: RefVariable, dtype: Any = None, name: str | None = None, as_ref: bool = False) -> Tensor:
    del name
    if dtype is not None and not dtype.is_compatible_with(v.dtype):
        raise ValueError(
            f"Incompatible type conversion requested to type '{dtype.name}' for variable of type "
            f"'{v.dtype.name}'"
        )
    return v._variable if as_ref else v._snapshot


register_tensor_conversion_function(RefVariable, _to_tensor)
