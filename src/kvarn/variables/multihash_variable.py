"""`MultiHashVariable`: one row for every id out of two small variables, by quotient and remainder.

Source: `MultiHashVariable` in tensorflow/python/ops/kv_variable_ops.py and `get_multihash_variable` in
tensorflow/python/ops/variable_scope.py of DeepRec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from kvarn import dtypes
from kvarn.engine.options import MultihashOption
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.ops import array, math
from kvarn.variables import initializers
from kvarn.variables import scope as variable_scope
from kvarn.variables.trackable import TrackableByName
from kvarn.variables.variable import VariableAggregation, VariableSynchronization

_STRATEGIES: Final = ("Q-R",)
# DeepRec's documentation calls "mul" also "mult".
_OPERATIONS: Final = {"add": "add", "mul": "mul", "mult": "mul", "concat": "concat"}


class MultiHashVariable(TrackableByName):
    """Two ordinary variables, of quotients and of remainders, whose rows together are the row of an id.

    They are saved, restored and trained as what they are.

    Args:
      name: of the whole.
      val_list: the variables of quotients and of remainders, each whole or partitioned.
      mhvconfig: how rows are found and joined.

    Raises:
      ValueError: no variables.
    """

    def __init__(self, name: str, val_list: Sequence[Any], mhvconfig: MultihashOption) -> None:
        if not val_list:
            raise ValueError("val list must not be empty")
        self._name = name
        self._val_list = list(val_list)
        self._mhvconfig = mhvconfig

    @property
    def name(self) -> str:
        return self._name

    @property
    def val_list(self) -> list[Any]:
        return self._val_list

    @property
    def mhvconfig(self) -> MultihashOption:
        return self._mhvconfig

    @property
    def dtype(self) -> dtypes.DType:
        found: dtypes.DType = self._val_list[0].dtype.base_dtype
        return found

    @property
    def shape(self) -> TensorShape:
        """The shape of one row."""
        quotients, remainders = (list(shape[1:]) for shape in self._mhvconfig.dims)
        if _OPERATIONS[self._mhvconfig.operation] == "concat":
            quotients[0] += remainders[0]
        return as_shape(quotients)

    def get_shape(self) -> TensorShape:
        return self.shape

    def __iter__(self) -> Iterator[Any]:
        return iter(self._val_list)

    def rows(self, ids: Any) -> Any:
        """Rows of ids of any shape: ids.shape + shape.

        Id k is made of row ``k // dims[0][0]`` of the quotients and row ``k % dims[1][0]`` of the
        remainders.  Parts of a partitioned variable hold their rows by the strategy "mod", whatever the
        lookup's own: an id has one row.
        """
        from kvarn.variables.embedding_ops import embedding_lookup

        config = self._mhvconfig
        ids = convert_to_tensor(ids, preferred_dtype=dtypes.int64)
        if ids.dtype is not dtypes.int64:
            ids = math.cast(ids, dtypes.int64)
        quotients = embedding_lookup(self._val_list[0], math.floordiv(ids, config.dims[0][0]))
        remainders = embedding_lookup(self._val_list[1], math.floormod(ids, config.dims[1][0]))
        operation = _OPERATIONS[config.operation]
        if operation == "add":
            return math.add(quotients, remainders)
        if operation == "mul":
            return math.multiply(quotients, remainders)
        return array.concat([quotients, remainders], -len(config.dims[0]) + 1)

    def __repr__(self) -> str:
        return (
            f"<tf.MultiHashVariable '{self.name}' {self._mhvconfig.strategy} {self._mhvconfig.operation} "
            f"dims={self._mhvconfig.dims} dtype={self.dtype.name}>"
        )


def get_multihash_variable(
    name: str,
    dims: Sequence[Sequence[int]],
    num_of_partitions: int = 2,
    complementary_strategy: str = "Q-R",
    operation: str = "add",
    dtype: Any = float,
    initializer: Any = None,
    regularizer: Any = None,
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
) -> MultiHashVariable:
    """The multi-hash variable of a name: variables ``<name>/multhash_Q`` and ``<name>/multhash_R``.

    Ids from 0 to ``dims[0][0] ** 2 - 1`` have rows of their own if both variables have as many rows.

    Args:
      name: inside the current variable scope.
      dims: the shapes of the two variables, ``[[rows, dim], [rows, dim]]``.
      num_of_partitions: 2, the number of variables.
      complementary_strategy: "Q-R": rows by quotient and by remainder.
      operation: how two rows become one: "add", "mul" (or "mult"), "concat".
      initializer: truncated_normal_initializer() by default.
      dtype, regularizer, trainable, collections, caching_device, partitioner, validate_shape, use_resource,
        custom_getter, constraint, synchronization, aggregation: see `get_variable`.

    Raises:
      ValueError: a strategy, operation or shapes that no row can be made by.
    """
    if complementary_strategy not in _STRATEGIES:
        raise ValueError(f"The strategy {complementary_strategy} is not supported")
    if operation not in _OPERATIONS:
        raise ValueError(f"The operation {operation} is not supported")
    if num_of_partitions != 2 or len(dims) != 2:
        raise ValueError("the num_of_partitions must be 2 when using Q-R strategy.")
    shapes = [[int(d) for d in shape] for shape in dims]
    _check_dims(name, shapes, operation)

    def part(suffix: str, shape: list[int]) -> Any:
        get: Any = variable_scope.get_variable
        return get(
            f"{name}/{suffix}",
            shape=shape,
            dtype=dtype,
            initializer=initializers.truncated_normal_initializer() if initializer is None else initializer,
            regularizer=regularizer,
            trainable=trainable,
            collections=collections,
            caching_device=caching_device,
            partitioner=partitioner,
            validate_shape=validate_shape,
            use_resource=use_resource,
            custom_getter=custom_getter,
            constraint=constraint,
            synchronization=synchronization,
            aggregation=aggregation,
        )

    # DeepRec spells it so, and checkpoints with it.
    parts = [part("multhash_Q", shapes[0]), part("multhash_R", shapes[1])]
    option = MultihashOption(num_of_partitions, complementary_strategy, operation, shapes)
    scope_name = variable_scope.get_variable_scope().name
    return MultiHashVariable(f"{scope_name}/{name}" if scope_name else name, parts, option)


def _check_dims(name: str, shapes: list[list[int]], operation: str) -> None:
    """ValueError unless rows of the two shapes can be joined."""
    for shape in shapes:
        if len(shape) < 2 or any(d < 1 for d in shape):
            raise ValueError(
                f"multi-hash variable '{name}': dims must be two shapes [rows, dim] of numbers from 1 on, not "
                f"{shapes}"
            )
    q, r = (shape[1:] for shape in shapes)
    joinable = q[1:] == r[1:] if _OPERATIONS[operation] == "concat" else q == r
    if not joinable:
        raise ValueError(
            f"multi-hash variable '{name}': rows of shapes {q} and {r} cannot be joined by '{operation}'\n"
            "  Give both the same dim, or use operation='concat'."
        )
