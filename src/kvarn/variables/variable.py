"""`Variable` and `VariableV1`: what all variables have in common, and how calling the class makes one.

``tf.Variable(...)`` asks the graph's creators (`variable_creator_scope`), the last of which is
`default_variable_creator` of `kvarn.variables.creator`: it makes a `RefVariable`, a `ResourceVariable`
or, given an invalid key, an `EmbeddingVariable`.

Source: tensorflow/python/ops/variables.py (1.15).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from kvarn.graph.graph import GraphKeys, get_default_graph
from kvarn.graph.tensor import Tensor, _Reference
from kvarn.variables.listing import (
    _all_saveable_objects,
    all_variables,
    assert_variables_initialized,
    global_variables,
    global_variables_initializer,
    initialize_all_variables,
    initialize_local_variables,
    initialize_variables,
    is_variable_initialized,
    local_variables,
    local_variables_initializer,
    model_variables,
    moving_average_variables,
    report_uninitialized_variables,
    trainable_variables,
    variables_initializer,
)
from kvarn.variables.save_slice_info import SaveSliceInfo
from kvarn.variables.trackable import VARIABLE_VALUE_KEY, Trackable

__all__ = [
    "SaveSliceInfo",
    "Variable",
    "VariableAggregation",
    "VariableMetaclass",
    "VariableSynchronization",
    "VariableV1",
    "_all_saveable_objects",
    "all_variables",
    "assert_variables_initialized",
    "global_variables",
    "global_variables_initializer",
    "initialize_all_variables",
    "initialize_local_variables",
    "initialize_variables",
    "is_variable_initialized",
    "local_variables",
    "local_variables_initializer",
    "model_variables",
    "moving_average_variables",
    "report_uninitialized_variables",
    "trainable_variables",
    "validate_synchronization_aggregation_trainable",
    "variables_initializer",
]


class VariableSynchronization(enum.Enum):
    """When a distributed variable is brought together; of no effect in one process."""

    AUTO = 0
    NONE = 1
    ON_WRITE = 2
    ON_READ = 3


class VariableAggregation(enum.Enum):
    """How the copies of a distributed variable are brought together; of no effect in one process."""

    NONE = 0
    SUM = 1
    MEAN = 2
    ONLY_FIRST_REPLICA = 3
    ONLY_FIRST_TOWER = 3  # noqa: PIE796 - the older name of the same

    def __hash__(self) -> int:
        return hash(self.value)


def validate_synchronization_aggregation_trainable(
    synchronization: Any, aggregation: Any, trainable: bool | None, name: str | None
) -> tuple[VariableSynchronization, VariableAggregation, bool]:
    """The three arguments with their defaults filled in; ValueError for an unknown mode.

    A variable is trainable unless it says otherwise or is synchronized on reading.
    """
    if aggregation is None:
        aggregation = VariableAggregation.NONE
    elif not isinstance(aggregation, VariableAggregation):
        try:
            aggregation = VariableAggregation(aggregation)
        except ValueError:
            raise ValueError(
                f"Invalid variable aggregation mode: {aggregation} for variable: {name}"
            ) from None
    if synchronization is None:
        synchronization = VariableSynchronization.AUTO
    else:
        try:
            synchronization = VariableSynchronization(synchronization)
        except ValueError:
            raise ValueError(
                f"Invalid variable synchronization mode: {synchronization} for variable: {name}"
            ) from None
    if trainable is None:
        trainable = synchronization is not VariableSynchronization.ON_READ
    return synchronization, aggregation, trainable


def _calling(creator: Callable[..., Any], previous: Callable[..., Any]) -> Callable[..., Any]:
    def create(**kwargs: Any) -> Any:
        return creator(previous, **kwargs)

    return create


def _last_creator(version: int) -> Callable[..., Any]:
    def create(**kwargs: Any) -> Any:
        from kvarn.variables import creator

        default = creator.default_variable_creator if version == 1 else creator.default_variable_creator_v2
        return default(None, **kwargs)

    return create


class VariableMetaclass(type):
    """Lets `VariableV1(...)` and `Variable(...)` return what the graph's creators make."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is VariableV1:
            return _create_v1(*args, **kwargs)
        if cls is Variable:
            return _create_v2(*args, **kwargs)
        return super().__call__(*args, **kwargs)


def _create(version: int, kwargs: dict[str, Any]) -> Any:
    create = _last_creator(version)
    for _, creator in get_default_graph()._variable_creator_stack:
        create = _calling(creator, create)
    if kwargs["aggregation"] is None:
        kwargs["aggregation"] = VariableAggregation.NONE
    return create(**kwargs)


def _create_v1(
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
    use_resource: bool | None = None,
    synchronization: Any = VariableSynchronization.AUTO,
    aggregation: Any = VariableAggregation.NONE,
    shape: Any = None,
    invalid_key: Any = None,
    evconfig: Any = None,
    embedding_initializer: Any = None,
    ht_partition_num: int = 1000,
) -> Any:
    kwargs = {
        "initial_value": initial_value,
        "trainable": trainable,
        "collections": collections,
        "validate_shape": validate_shape,
        "caching_device": caching_device,
        "name": name,
        "variable_def": variable_def,
        "dtype": dtype,
        "expected_shape": expected_shape,
        "import_scope": import_scope,
        "constraint": constraint,
        "use_resource": use_resource,
        "synchronization": synchronization,
        "aggregation": aggregation,
        "shape": shape,
    }
    if invalid_key is not None:
        # Creators of other variables see the arguments that TensorFlow gives them, and no more.
        kwargs.update(
            invalid_key=invalid_key,
            evconfig=evconfig,
            embedding_initializer=embedding_initializer,
            ht_partition_num=ht_partition_num,
        )
    return _create(1, kwargs)


def _create_v2(
    initial_value: Any = None,
    trainable: bool | None = None,
    validate_shape: bool = True,
    caching_device: Any = None,
    name: str | None = None,
    variable_def: Any = None,
    dtype: Any = None,
    import_scope: str | None = None,
    constraint: Any = None,
    synchronization: Any = VariableSynchronization.AUTO,
    aggregation: Any = VariableAggregation.NONE,
    shape: Any = None,
) -> Any:
    return _create(
        2,
        {
            "initial_value": initial_value,
            "trainable": trainable,
            "validate_shape": validate_shape,
            "caching_device": caching_device,
            "name": name,
            "variable_def": variable_def,
            "dtype": dtype,
            "import_scope": import_scope,
            "constraint": constraint,
            "synchronization": synchronization,
            "aggregation": aggregation,
            "shape": shape,
        },
    )


class Variable(Trackable, metaclass=VariableMetaclass):
    """State that a session keeps between runs, under a name, of a type and a shape.

    Args:
      initial_value: what the initializer gives it: a value, a tensor, or a function without arguments.
      trainable: whether optimizers change it.
      validate_shape: if False the initial value's shape need not be known, and assignments may change it.
      caching_device: the device to keep a copy of the value on for reading.
      name: made unique; ``Variable`` by default.
      variable_def: a VariableDef message of a variable whose operations are in the graph already.
      dtype: element type to convert the initial value to.
      import_scope: put before the names in ``variable_def``.
      constraint: a function of the value that optimizers apply after each update.
      shape: of the variable; the initial value's by default.

    Attributes:
      name, op, dtype, shape, device, graph, initializer, initial_value, trainable, constraint,
      synchronization, aggregation.

    Raises:
      ValueError: there is no initial value, or its shape is not known.
    """

    SaveSliceInfo: ClassVar[type[SaveSliceInfo]] = SaveSliceInfo

    # NumPy must hand `array + variable` over to Variable.__radd__.
    __array_priority__ = 100

    _trainable: bool
    _synchronization: VariableSynchronization
    _aggregation: VariableAggregation
    _constraint: Any
    _initial_value: Any
    _initializer_op: Any
    _save_slice_info: Any = None

    # -- what kinds of variables define -----------------------------------------------------------

    def value(self) -> Any:
        """The tensor of the value; reading the variable once more or sharing an earlier read."""
        raise NotImplementedError

    def read_value(self) -> Any:
        """A tensor of a read of its own."""
        raise NotImplementedError

    def set_shape(self, shape: Any) -> None:
        """Merges ``shape`` into the static shape."""
        raise NotImplementedError

    def eval(self, session: Any = None) -> Any:
        """The value in ``session`` or the default session."""
        raise NotImplementedError

    def assign(self, value: Any, use_locking: Any = False, name: Any = None, read_value: bool = True) -> Any:
        """Gives the variable ``value``; returns the new value, or the operation if not ``read_value``."""
        raise NotImplementedError

    def assign_add(
        self, delta: Any, use_locking: Any = False, name: Any = None, read_value: bool = True
    ) -> Any:
        """Adds ``delta``, of the same shape; returns as `assign`."""
        raise NotImplementedError

    def assign_sub(
        self, delta: Any, use_locking: Any = False, name: Any = None, read_value: bool = True
    ) -> Any:
        """Subtracts ``delta``, of the same shape; returns as `assign`."""
        raise NotImplementedError

    def _scatter(self, op_type: str, sparse_delta: Any, use_locking: bool, name: str | None) -> Any:
        """Applies a scatter op to rows; ``sparse_delta`` has been checked to be IndexedSlices."""
        raise NotImplementedError

    def _scatter_nd(self, op_type: str, indices: Any, updates: Any, name: str | None) -> Any:
        raise NotImplementedError

    def count_up_to(self, limit: int) -> Any:
        """The value of a scalar int variable before it is raised by one; OutOfRangeError at ``limit``."""
        raise NotImplementedError

    def to_proto(self, export_scope: str | None = None) -> Any:
        """A VariableDef message; None for a variable outside ``export_scope``."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def op(self) -> Any:
        """The operation that makes the buffer or its handle."""
        raise NotImplementedError

    @property
    def dtype(self) -> Any:
        raise NotImplementedError

    @property
    def shape(self) -> Any:
        """The static shape."""
        raise NotImplementedError

    @property
    def device(self) -> str:
        raise NotImplementedError

    @property
    def graph(self) -> Any:
        raise NotImplementedError

    # -- what follows from that -------------------------------------------------------------------

    @property
    def initializer(self) -> Any:
        """The operation that gives the variable its initial value."""
        return self._initializer_op

    @property
    def initial_value(self) -> Any:
        """The tensor of the initial value."""
        return self._initial_value

    @property
    def constraint(self) -> Any:
        return self._constraint

    @property
    def trainable(self) -> bool:
        return self._trainable

    @property
    def synchronization(self) -> VariableSynchronization:
        return self._synchronization

    @property
    def aggregation(self) -> VariableAggregation:
        return self._aggregation

    def get_shape(self) -> Any:
        """The static shape."""
        return self.shape

    @property
    def _shared_name(self) -> str:
        return self.name[: self.name.index(":")]

    @property
    def _distribute_strategy(self) -> None:
        return None

    def initialized_value(self) -> Any:
        """The value, or the initial value as long as the variable has none; for initial values of others.

        Source: tensorflow/python/ops/variables.py; it builds a `tf.cond`.
        """
        from kvarn.variables.dependencies import initialized_value

        return initialized_value(self)

    def load(self, value: Any, session: Any = None) -> None:
        """Gives the variable ``value`` in a session, at once.

        Raises:
          ValueError: there is neither ``session`` nor a default session.
        """
        from kvarn.graph.session import get_default_session

        session = session or get_default_session()
        if session is None:
            raise ValueError(
                "Either session argument should be provided or default session should be established"
            )
        session.run(self.initializer, {self.initializer.inputs[1]: value})

    def scatter_sub(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Subtracts IndexedSlices from rows; returns as `assign`."""
        return self._scatter_slices("ScatterSub", sparse_delta, use_locking, name)

    def scatter_add(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Adds IndexedSlices to rows."""
        return self._scatter_slices("ScatterAdd", sparse_delta, use_locking, name)

    def scatter_max(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Raises rows to IndexedSlices."""
        return self._scatter_slices("ScatterMax", sparse_delta, use_locking, name)

    def scatter_min(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Lowers rows to IndexedSlices."""
        return self._scatter_slices("ScatterMin", sparse_delta, use_locking, name)

    def scatter_mul(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Multiplies rows by IndexedSlices."""
        return self._scatter_slices("ScatterMul", sparse_delta, use_locking, name)

    def scatter_div(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Divides rows by IndexedSlices."""
        return self._scatter_slices("ScatterDiv", sparse_delta, use_locking, name)

    def scatter_update(self, sparse_delta: Any, use_locking: bool = False, name: str | None = None) -> Any:
        """Sets rows to IndexedSlices."""
        return self._scatter_slices("ScatterUpdate", sparse_delta, use_locking, name)

    def _scatter_slices(self, op_type: str, sparse_delta: Any, use_locking: bool, name: str | None) -> Any:
        from kvarn.graph.tensor import IndexedSlices

        if not isinstance(sparse_delta, IndexedSlices):
            raise TypeError(f"sparse_delta is not IndexedSlices: {sparse_delta}")
        return self._scatter(op_type, sparse_delta, use_locking, name)

    def scatter_nd_sub(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Subtracts from the elements or slices at index tuples [..., k]."""
        return self._scatter_nd("ScatterNdSub", indices, updates, name)

    def scatter_nd_add(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Adds to the elements or slices at index tuples [..., k]."""
        return self._scatter_nd("ScatterNdAdd", indices, updates, name)

    def scatter_nd_update(self, indices: Any, updates: Any, name: str | None = None) -> Any:
        """Sets the elements or slices at index tuples [..., k]."""
        return self._scatter_nd("ScatterNdUpdate", indices, updates, name)

    @staticmethod
    def from_proto(variable_def: Any, import_scope: str | None = None) -> Any:
        """The variable of a VariableDef, whose operations are in the default graph already."""
        from kvarn.variables.proto import variable_from_proto

        return variable_from_proto(variable_def, import_scope)

    def _set_save_slice_info(self, save_slice_info: Any) -> None:
        self._save_slice_info = save_slice_info

    def _get_save_slice_info(self) -> Any:
        return self._save_slice_info

    def _gather_saveables_for_checkpoint(self) -> dict[str, Any]:
        return {VARIABLE_VALUE_KEY: self}

    def experimental_ref(self) -> Any:
        """A hashable stand-in, equal for the same variable."""
        return _Reference(self)

    def __repr__(self) -> str:
        return f"<tf.Variable '{self.name}' shape={self.get_shape()} dtype={self.dtype.name}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        # By identity, as tensors.
        return self is other

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("'Variable' object is not iterable.")

    def __getitem__(self, key: Any) -> Any:
        """A slice of the value, which can be assigned to: ``v[1:].assign(...)``."""
        from kvarn.ops import slicing

        return slicing.slice_helper(self.value(), key, self)


def _delegate(operator: str) -> Callable[..., Any]:
    def run(self: Variable, *args: Any) -> Any:
        return getattr(Tensor, operator)(self.value(), *args)

    run.__name__ = operator
    return run


def _install_operators() -> None:
    """All operators of Tensor work on the value."""
    binary = ("add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "matmul")
    names = [f"__{r}{name}__" for name in binary for r in ("", "r")]
    for operator in [*names, "__neg__", "__abs__", "__invert__", "__lt__", "__le__", "__gt__", "__ge__"]:
        setattr(Variable, operator, _delegate(operator))


_install_operators()


class VariableV1(Variable):
    """``tf.Variable`` of TensorFlow 1; see `Variable`.

    Args:
      collections: collections to add it to; GLOBAL_VARIABLES by default; and TRAINABLE_VARIABLES if it is.
      use_resource: True for a resource variable, False for a reference variable; None for what the
        variable scope or `enable_resource_variables` says.
    """


def collections_for(collections: Any, trainable: bool) -> list[Any]:
    """The collections a new variable goes to; ValueError if they are not a list, tuple or set."""
    if collections is None:
        collections = [GraphKeys.GLOBAL_VARIABLES]
    if not isinstance(collections, (list, tuple, set)):
        raise ValueError(
            "collections argument to Variable constructor must be a list, tuple, or set. Got "
            f"{collections} of type {type(collections)}"
        )
    found = list(collections)
    if trainable and GraphKeys.TRAINABLE_VARIABLES not in found:
        found.append(GraphKeys.TRAINABLE_VARIABLES)
    return found


def check_initializable(initial_value: Any, constraint: Any) -> None:
    """ValueError for a missing initial value or a constraint that is no function."""
    if initial_value is None:
        raise ValueError("initial_value must be specified.")
    if constraint is not None and not callable(constraint):
        raise ValueError("The `constraint` argument must be a callable.")


def check_outside_control_flow(initial_value: Tensor, name: str) -> None:
    """ValueError for an initial value that exists only inside a loop or conditional."""
    if initial_value.op._get_control_flow_context() is not None:
        raise ValueError(
            f"Initializer for variable {name} is from inside a control-flow construct, such as a loop or "
            "conditional. When creating a variable inside a loop or conditional, use a lambda as the "
            "initializer."
        )
