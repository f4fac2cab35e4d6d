"""The variables that `get_variable` made in a graph, by full name; making and sharing them.

Source: `_VariableStore` of tensorflow/python/ops/variable_scope.py (1.15 and DeepRec).
"""

from __future__ import annotations

import enum
import inspect
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import (
    GraphKeys,
    add_to_collection,
    colocate_with,
    get_collection,
    init_scope,
    name_scope,
)
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.variables import creator
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.save_slice_info import SaveSliceInfo
from kvarn.variables.variable import (
    VariableAggregation,
    VariableSynchronization,
    VariableV1,
    validate_synchronization_aggregation_trainable,
)

_VARSTORE_KEY = ("__variable_store",)
# Of an embedding variable; keys go round a thousand of them at most.
_MOST_PARTS = 10_000
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class _ReuseMode(enum.Enum):
    """More ways to reuse than True and False."""

    AUTO_REUSE = 1


AUTO_REUSE = _ReuseMode.AUTO_REUSE


class EmbeddingArguments(NamedTuple):
    """What only embedding variables have: the key that stands for "no key", and the table's settings."""

    invalid_key: Any
    evconfig: Any
    ht_partition_num: int = 1000


class _PartitionInfo:
    """Tells an initializer which part of the whole it makes.

    Args:
      full_shape: of the whole, ints.
      var_offset: where the part begins.

    Raises:
      TypeError, ValueError: they are no lists of equal length, or the offset is outside.
    """

    def __init__(self, full_shape: Any, var_offset: Any) -> None:
        for what, value in (("full_shape", full_shape), ("var_offset", var_offset)):
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise TypeError(
                    f"`{what}` must be a sequence (like tuple or list) instead of {type(value).__name__}"
                )
        if len(var_offset) != len(full_shape):
            raise ValueError(
                f"Expected equal length, but `var_offset` is of length {len(var_offset)} while "
                "full_shape is of "
                f"length {len(full_shape)}."
            )
        for offset, length in zip(var_offset, full_shape, strict=True):
            if offset < 0 or offset >= length:
                raise ValueError(
                    f"Expected 0 <= offset < shape but found offset={offset}, shape={length} for "
                    f"var_offset={var_offset}, full_shape={full_shape}"
                )
        self._full_shape = full_shape
        self._var_offset = var_offset

    @property
    def full_shape(self) -> Any:
        return self._full_shape

    @property
    def var_offset(self) -> Any:
        return self._var_offset

    def single_offset(self, shape: Sequence[int]) -> int:
        """The offset along the one dimension that a part of ``shape`` is cut in; 0 if it is the whole."""
        axis = self.single_slice_dim(shape)
        return 0 if axis is None else int(self._var_offset[axis])

    def single_slice_dim(self, shape: Sequence[int]) -> int | None:
        """The one dimension that a part of ``shape`` is cut in; None if it is the whole.

        Raises:
          TypeError, ValueError: ``shape`` cannot be a part, or is cut in several dimensions.
        """
        if isinstance(shape, str) or not isinstance(shape, Sequence):
            raise TypeError(
                f"`shape` must be a sequence (like tuple or list) instead of {type(shape).__name__}"
            )
        if len(shape) != len(self._full_shape):
            raise ValueError(
                f"Expected equal length, but received shape={shape} of length {len(shape)} while "
                f"self.full_shape={self._full_shape} is of length {len(self._full_shape)}."
            )
        for i, length in enumerate(shape):
            if self._var_offset[i] + length > self._full_shape[i]:
                raise ValueError(
                    f"With self.var_offset={self._var_offset}, a partition of shape={shape} would exceed "
                    f"self.full_shape={self._full_shape} in dimension {i}."
                )
        axes = [i for i, length in enumerate(shape) if length != self._full_shape[i]]
        if len(axes) > 1:
            raise ValueError(
                f"Cannot use single_slice_dim() with shape={shape} and "
                f"self.full_shape={self._full_shape} since "
                f"slice dim could be either dimension {axes[0]} or {axes[1]}."
            )
        return axes[0] if axes else None


class _VariableStore:
    """The variables of one graph by full name, and the partitioned ones by the name of the whole."""

    def __init__(self) -> None:
        self._vars: dict[str, Any] = {}
        self._partitioned_vars: dict[str, PartitionedVariable] = {}

    def get_variable(
        self,
        name: str,
        shape: Any = None,
        dtype: Any = dtypes.float32,
        initializer: Any = None,
        regularizer: Any = None,
        reuse: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        validate_shape: bool = True,
        use_resource: bool | None = None,
        custom_getter: Any = None,
        constraint: Any = None,
        synchronization: Any = VariableSynchronization.AUTO,
        aggregation: Any = VariableAggregation.NONE,
        invalid_key: Any = None,
        evconfig: Any = None,
        ht_partition_num: int = 1000,
    ) -> Any:
        """The variable of full name ``name``, made if ``reuse`` allows; arguments as of `get_variable`.

        Args:
          reuse: True: it must exist; False: it must not; None or AUTO_REUSE: it is made if it does not exist
            (None is what a scope says that does not share, where an existing one is an error).
        """
        if custom_getter is not None and not callable(custom_getter):
            raise ValueError(f"Passed a custom_getter which is not callable: {custom_getter}")
        dtype = getattr(dtype, "base_dtype", dtype)
        synchronization, aggregation, trainable = validate_synchronization_aggregation_trainable(
            synchronization, aggregation, trainable, name
        )
        arguments: dict[str, Any] = {
            "name": name,
            "shape": shape,
            "dtype": dtype,
            "initializer": initializer,
            "regularizer": regularizer,
            "reuse": reuse,
            "trainable": trainable,
            "collections": collections,
            "caching_device": caching_device,
            "partitioner": partitioner,
            "validate_shape": validate_shape,
            "use_resource": use_resource,
            "synchronization": synchronization,
            "aggregation": aggregation,
        }
        if invalid_key is not None:
            arguments.update(invalid_key=invalid_key, evconfig=evconfig, ht_partition_num=ht_partition_num)
        if custom_getter is None:
            return self._true_getter(**arguments, constraint=constraint)
        # `constraint` came after programs had written getters, so they see it only if they can.
        if _takes(custom_getter, "constraint"):
            arguments["constraint"] = constraint
        return custom_getter(getter=self._true_getter, **arguments)

    def _true_getter(
        self,
        name: str,
        shape: Any = None,
        dtype: Any = dtypes.float32,
        initializer: Any = None,
        regularizer: Any = None,
        reuse: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        validate_shape: bool = True,
        use_resource: bool | None = None,
        constraint: Any = None,
        synchronization: Any = VariableSynchronization.AUTO,
        aggregation: Any = VariableAggregation.NONE,
        invalid_key: Any = None,
        evconfig: Any = None,
        ht_partition_num: int = 1000,
    ) -> Any:
        """What a custom getter calls in the end: a single or a partitioned variable."""
        ev = None if invalid_key is None else EmbeddingArguments(invalid_key, evconfig, ht_partition_num)
        common: dict[str, Any] = {
            "shape": shape,
            "dtype": dtype,
            "initializer": initializer,
            "regularizer": regularizer,
            "reuse": reuse,
            "trainable": trainable,
            "collections": collections,
            "caching_device": caching_device,
            "validate_shape": validate_shape,
            "use_resource": use_resource,
            "constraint": constraint,
            "synchronization": synchronization,
            "aggregation": aggregation,
            "ev": ev,
        }
        is_scalar = isinstance(shape, Sequence) and not shape
        if partitioner is not None and not is_scalar:
            if not callable(partitioner):
                raise ValueError(f"Partitioner must be callable, but received: {partitioner}")
            with name_scope(None):
                return self._get_partitioned_variable(name, partitioner, **common)
        if reuse is True and partitioner is None and name in self._partitioned_vars:
            # An existing one may be shared without saying again how it was cut.
            return self._get_partitioned_variable(name, None, **common)
        if f"{name}/part_0" in self._vars:
            raise ValueError(
                "No partitioner was provided, but a partitioned version of the variable was found: "
                f"{name}/part_0. Perhaps a variable of the same name was already created with partitioning?"
            )
        return self._get_single_variable(name, **common)

    # -- partitioned variables --------------------------------------------------------------------

    def _get_partitioned_variable(
        self,
        name: str,
        partitioner: Any,
        shape: Any = None,
        dtype: Any = dtypes.float32,
        initializer: Any = None,
        reuse: Any = None,
        ev: EmbeddingArguments | None = None,
        **common: Any,
    ) -> PartitionedVariable:
        if name in self._vars:
            raise ValueError(
                "A partitioner was provided, but an unpartitioned version of the variable was found: "
                f"{name}.  Perhaps a variable of the same name was already created without partitioning?"
            )
        shape = as_shape(shape)
        partitions: Any = None
        if isinstance(initializer, Tensor):
            shape = shape.merge_with(initializer.shape)
        if ev is not None:
            # A table has as many rows as it gets keys; its parts count as rows here.
            parts = None if partitioner is None else number_of_parts(name, partitioner, shape, dtype)
            partitions = None if parts is None else [parts] + [1] * len(shape)
            shape = as_shape([parts]).concatenate(shape)
        elif not reuse or partitioner:
            partitions = _call_partitioner(partitioner, shape, dtype)
        existing = self._partitioned_vars.get(name)
        if existing is not None:
            _check_shared_partitions(existing, name, shape, dtype, partitions, reuse)
            return existing
        if reuse is True:
            raise ValueError(
                f"PartitionedVariable {name} does not exist, or was not created with tf.get_variable(). "
                "Did you "
                "mean to set reuse=False or reuse=tf.AUTO_REUSE in VarScope?"
            )
        assert partitions is not None
        axis, count = _get_slice_dim_and_num_slices(partitions)
        self._check_parts(name, count)
        full_shape: list[int] = shape.as_list()
        parts_made = []
        for i, (offset, part_shape) in enumerate(_iter_slices(full_shape, count, axis)):
            part_name = f"{name}/part_{i}"
            with name_scope(part_name + "/PartitionedInitializer"):
                init, init_shape, dtype = self._part_initializer(initializer, name, dtype, offset, part_shape)
            if ev is not None:
                init_shape = full_shape[1:]
            with name_scope(None):
                var = self._get_single_variable(
                    part_name,
                    shape=init_shape,
                    dtype=dtype,
                    initializer=init,
                    partition_info=_PartitionInfo(full_shape, offset),
                    reuse=reuse,
                    ev=ev,
                    **common,
                )
            var._set_save_slice_info(
                SaveSliceInfo(name, shape.as_list(), offset, part_shape, var_full_name=part_name)
            )
            parts_made.append(var)
        whole = PartitionedVariable(
            name=name, shape=shape, dtype=dtype, variable_list=parts_made, partitions=partitions
        )
        self._partitioned_vars[name] = whole
        return whole

    def _part_initializer(
        self, initializer: Any, name: str, dtype: Any, offset: list[int], part_shape: list[int]
    ) -> tuple[Any, list[int] | None, Any]:
        """The initializer of one part, the shape to call it with (None for a value), and the dtype."""
        from kvarn.ops import array

        if initializer is None:
            init, from_value = self._get_default_initializer(name, dtype)
            return init, None if from_value else part_shape, dtype
        if callable(initializer):
            return initializer, part_shape, dtype
        if isinstance(initializer, Tensor):
            init = array.slice(initializer, offset, part_shape)
            return init, None, init.dtype.base_dtype
        return array.slice(convert_to_tensor(initializer, dtype=dtype), offset, part_shape), None, dtype

    def _check_parts(self, name: str, count: int) -> None:
        """ValueError if parts of another partitioning exist."""
        if f"{name}/part_0" not in self._vars:
            return
        start = (
            "Partitioner returned a different partitioning than what was already found.  Partitioner "
            "returned "
            f"{count} shards, and shard {name}/part_0 was found, but "
        )
        if f"{name}/part_{count - 1}" not in self._vars:
            raise ValueError(f"{start}{name}/part_{count - 1} was not.")
        if f"{name}/part_{count}" in self._vars:
            raise ValueError(f"{start}so was the extra shard {name}/part_{count}.")

    # -- single variables -------------------------------------------------------------------------

    def _get_single_variable(
        self,
        name: str,
        shape: Any = None,
        dtype: Any = dtypes.float32,
        initializer: Any = None,
        regularizer: Any = None,
        partition_info: _PartitionInfo | None = None,
        reuse: Any = None,
        use_resource: bool | None = None,
        ev: EmbeddingArguments | None = None,
        **common: Any,
    ) -> Any:
        from_value = initializer is not None and not callable(initializer)
        if shape is not None and from_value:
            raise ValueError("If initializer is a constant, do not specify shape.")
        dtype = dtypes.as_dtype(dtype)
        shape = as_shape(shape)
        if name in self._vars:
            return self._shared(name, shape, dtype, reuse)
        if reuse is True:
            raise ValueError(
                f"Variable {name} does not exist, or was not created with tf.get_variable(). Did you "
                "mean to set "
                "reuse=tf.AUTO_REUSE in VarScope?"
            )
        if initializer is None:
            initializer, from_value = self._get_default_initializer(name, dtype)
        extra: dict[str, Any] = {}
        if ev is not None:
            config = ev.evconfig.copy()
            extra = {
                "invalid_key": ev.invalid_key,
                "evconfig": config,
                "embedding_initializer": initializer,
                "ht_partition_num": ev.ht_partition_num,
            }
        with init_scope():
            if from_value:
                initial_value, variable_dtype = initializer, None
                if ev is not None:
                    config.default_value_dim = 1
            else:
                if isinstance(initializer, type):
                    initializer = initializer()
                if ev is not None:
                    shape = _default_rows(initializer, config, shape)
                initial_value, variable_dtype = _bound(initializer, shape, dtype, partition_info)
        if use_resource is None:
            use_resource = creator.resource_variables_enabled()
        make: Any = VariableV1
        variable = make(
            initial_value=initial_value,
            name=name,
            dtype=variable_dtype,
            use_resource=use_resource,
            **common,
            **extra,
        )
        self._vars[name] = variable
        if regularizer:
            _regularize(variable, name, regularizer)
        return variable

    def _shared(self, name: str, shape: TensorShape, dtype: Any, reuse: Any) -> Any:
        """The existing variable ``name``; ValueError unless it may be shared and is as asked for."""
        found = self._vars[name]
        if reuse is False:
            raise ValueError(_already_exists(found, name))
        if not shape.is_compatible_with(found.get_shape()):
            raise ValueError(
                f"Trying to share variable {name}, but specified shape {shape} and found shape "
                f"{found.get_shape()}."
            )
        if not dtype.is_compatible_with(found.dtype):
            raise ValueError(
                f"Trying to share variable {name}, but specified dtype {dtype.name} and found dtype "
                f"{found.dtype.name}."
            )
        return found

    def _get_default_initializer(self, name: str, dtype: Any) -> tuple[Any, bool]:
        """The initializer of variables that give none, and whether it is a value."""
        from kvarn.variables import initializers

        if dtype.is_floating:
            return initializers.glorot_uniform_initializer(), False
        if dtype.is_integer or dtype.is_unsigned or dtype.is_bool or dtype is dtypes.string:
            return initializers.zeros_initializer(), False
        raise ValueError(f"An initializer for variable {name} of {dtype.base_dtype} is required")


def _get_default_variable_store() -> _VariableStore:
    """The store of the default graph."""
    found = get_collection(_VARSTORE_KEY)
    if found:
        store: _VariableStore = found[0]
        return store
    store = _VariableStore()
    add_to_collection(_VARSTORE_KEY, store)
    return store


def _takes(function: Any, parameter: str) -> bool:
    """Whether a function can be given ``parameter`` by name."""
    parameters = inspect.signature(function).parameters
    return parameter in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _bound(initializer: Any, shape: TensorShape, dtype: Any, partition_info: Any) -> tuple[Any, Any]:
    """An initial value for `VariableV1` and its dtype from an initializer and the shape to make."""
    if shape.is_fully_defined():

        def make() -> Any:
            return initializer(shape.as_list(), dtype=dtype, partition_info=partition_info)

        return make, dtype.base_dtype
    required = [
        p
        for p in inspect.signature(initializer).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if not required:
        return initializer, None
    raise ValueError(
        "The initializer passed is not valid. It should be a callable with no arguments and the shape "
        "should not "
        "be provided or an instance of `tf.keras.initializers.*' and `shape` should be fully defined."
    )


def _default_rows(initializer: Any, config: Any, shape: TensorShape) -> TensorShape:
    """The shape of the matrix that rows of new keys are taken from; one row if they are all the same, or not
    taken from it."""
    from kvarn.variables import initializers

    if isinstance(initializer, initializers.Constant) or config.row_seed is not None:
        config.default_value_dim = 1
    rows = config.default_value_dim
    # Options that ask for none have been warned that they get the default.
    return as_shape([rows if rows > 0 else 4096]).concatenate(shape)


def _already_exists(variable: Any, name: str) -> str:
    from kvarn.variables.resource_variable import ResourceVariable

    message = (
        f"Variable {name} already exists, disallowed. Did you mean to set reuse=True or "
        "reuse=tf.AUTO_REUSE in "
        "VarScope?"
    )
    if isinstance(variable, ResourceVariable):
        return message
    stack = [frame for frame in reversed(variable.op.traceback) if not frame[0].startswith(_PACKAGE)]
    return f"{message} Originally defined at:\n\n{''.join(traceback.format_list(stack[:5]))}"


def _regularize(variable: Any, name: str, regularizer: Any) -> None:
    with colocate_with(variable), name_scope(name + "/Regularizer/"), init_scope():
        loss = regularizer(variable)
    if loss is not None:
        add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)


def _check_shared_partitions(
    existing: PartitionedVariable, name: str, shape: TensorShape, dtype: Any, partitions: Any, reuse: Any
) -> None:
    """ValueError unless a partitioned variable may be shared and is as asked for."""
    if reuse is False:
        raise ValueError(
            f"Partitioned variable with name {name} already exists. Did you mean to set reuse=True or "
            "reuse=tf.AUTO_REUSE in VarScope?"
        )
    start = f"Trying to reuse partitioned variable {name}, but specified"
    if not shape.is_compatible_with(existing.get_shape()):
        raise ValueError(f"{start} shape {shape} and found shape {existing.get_shape()}.")
    if not dtype.is_compatible_with(existing.dtype):
        raise ValueError(f"{start} dtype {dtype.name} and found dtype {existing.dtype.name}.")
    if partitions is not None and existing._get_partitions() != partitions:
        raise ValueError(
            f"{start} partitions {partitions} and found partitions {existing._get_partitions()}."
        )


def number_of_parts(name: str, partitioner: Any, row: TensorShape, dtype: Any) -> int:
    """Into how many parts a partitioner cuts an embedding variable with rows of shape ``row``.

    Raises:
      ValueError: it is no number of parts: below 1, or that of a partitioner that cuts by size.
    """
    parts = _call_partitioner(partitioner, as_shape([sys.maxsize]).concatenate(row), dtype)[0]
    if parts > _MOST_PARTS:
        raise ValueError(
            f"The partitioner wants {parts} parts of embedding variable '{name}', which has no size to cut by.\n"
            "  Use tf.fixed_size_partitioner(number of parts), or give the partitioner a greatest number."
        )
    return int(parts)


def _call_partitioner(partitioner: Any, shape: TensorShape, dtype: Any) -> Any:
    """The numbers of parts that a partitioner wants; ValueError if they make no sense."""
    if not shape.is_fully_defined():
        raise ValueError(
            f"Shape of a new partitioned variable must be fully defined, but instead was {shape}."
        )
    if len(shape) < 1:
        raise ValueError(f"A partitioned Variable must have rank at least 1, shape: {shape}")
    slicing = partitioner(shape=shape, dtype=dtype)
    if not isinstance(slicing, Sequence):
        raise ValueError(f"Partitioner must return a sequence, but saw: {slicing}")
    if len(slicing) != len(shape):
        raise ValueError(
            "Partitioner returned a partition list that does not match the Variable's rank: "
            f"{slicing} vs. {shape}"
        )
    if any(p < 1 for p in slicing):
        raise ValueError(f"Partitioner returned zero partitions for some axes: {slicing}")
    if sum(p > 1 for p in slicing) > 1:
        raise ValueError(
            f"Can only slice a variable along one dimension: shape: {shape}, partitioning: {slicing}"
        )
    return slicing


def _get_slice_dim_and_num_slices(slicing: Sequence[int]) -> tuple[int, int]:
    """The dimension that is cut and the number of parts; (0, 1) if none is."""
    return next(((i, count) for i, count in enumerate(slicing) if count > 1), (0, 1))


def _iter_slices(
    full_shape: list[int], num_slices: int, slice_dim: int
) -> Iterator[tuple[list[int], list[int]]]:
    """(offset, shape) of each part; the first ones take what does not divide evenly."""
    length, excess = divmod(full_shape[slice_dim], num_slices)
    start = 0
    for i in range(num_slices):
        offset = [0] * len(full_shape)
        shape = list(full_shape)
        offset[slice_dim] = start
        shape[slice_dim] = length + (i < excess)
        start += shape[slice_dim]
        yield offset, shape
