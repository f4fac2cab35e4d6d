"""`PartitionedVariable`: one variable kept as several parts along one dimension.

Source: `PartitionedVariable` of tensorflow/python/ops/variables.py (1.15).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kvarn.graph.convert import register_tensor_conversion_function
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.tensor_shape import dimension_value

if TYPE_CHECKING:
    from kvarn.engine.policies import EvictionReport, Explanation


class PartitionedVariable:
    """The parts of a variable, in the order of their offsets; as a tensor, their concatenation.

    Args:
      name: of the whole; the parts are ``<name>/part_<i>``.
      shape: of the whole, a TensorShape.
      dtype: element type.
      variable_list: the parts, each with a SaveSliceInfo.
      partitions: number of parts along each dimension; at most one is not 1.

    Raises:
      TypeError: ``variable_list`` or ``partitions`` is neither list nor tuple.
      ValueError: they do not fit each other.
    """

    def __init__(self, name: str, shape: Any, dtype: Any, variable_list: Any, partitions: Any) -> None:
        if not isinstance(variable_list, (list, tuple)):
            raise TypeError(f"variable_list is not a list or tuple: {variable_list}")
        if not isinstance(partitions, (list, tuple)):
            raise TypeError(f"partitions is not a list or tuple: {partitions}")
        if not all(p >= 1 for p in partitions):
            raise ValueError(f"partition values must be positive: {partitions}")
        if not variable_list:
            raise ValueError("variable_list may not be empty")
        if any(v._get_save_slice_info() is None for v in variable_list):
            names = [v.name for v in variable_list]
            raise ValueError(f"All variables must have a save_slice_info available: {names}")
        if len(shape) != len(partitions):
            raise ValueError(f"len(shape) != len(partitions): {shape} vs. {partitions}")
        for v in variable_list:
            full_shape = v._get_save_slice_info().full_shape
            if full_shape != shape:
                raise ValueError(
                    f"All variables' full shapes must match shape: {shape}; but full shapes were: "
                    f"{[full_shape]}"
                )
        self._variable_list = sorted(variable_list, key=lambda v: v._get_save_slice_info().var_offset)
        self._name = name
        self._shape = shape
        self._dtype = dtype
        self._partitions = partitions

    @property
    def name(self) -> str:
        return self._name

    @property
    def dtype(self) -> Any:
        return self._dtype

    @property
    def shape(self) -> Any:
        return self.get_shape()

    def get_shape(self) -> Any:
        """The shape of the whole."""
        return self._shape

    @property
    def _distribute_strategy(self) -> None:
        return None

    def _get_variable_list(self) -> list[Any]:
        return self._variable_list

    def _get_partitions(self) -> Any:
        return self._partitions

    def __iter__(self) -> Iterator[Any]:
        return iter(self._variable_list)

    def __len__(self) -> int:
        axes = len(self._partition_axes())
        if axes > 1:
            raise ValueError(f"Cannot get a length for {axes} > 1 partition axes")
        return len(self._variable_list)

    def _partition_axes(self) -> list[int]:
        return [i for i, p in enumerate(self._partitions) if p > 1] or [0]

    def _partition_axis(self, failure: str) -> int:
        axes = self._partition_axes()
        if len(axes) > 1:
            raise NotImplementedError(failure.format(axes))
        return axes[0]

    def as_tensor(self) -> Any:
        """The whole value."""
        with control_dependencies(None):
            return self._concat()

    def _concat(self) -> Any:
        from kvarn.ops import array

        if len(self._variable_list) == 1:
            with name_scope(None):
                return array.identity(self._variable_list[0], name=self._name)
        axis = self._partition_axis(
            "Cannot concatenate along more than one dimension: {}.  Multi-axis partition concat is not "
            "supported"
        )
        with name_scope(self._name + "/ConcatPartitions/"):
            concatenated = array.concat(self._variable_list, axis)
        with name_scope(None):
            return array.identity(concatenated, name=self._name)

    def _apply_assign_fn(self, assign: Callable[[Any, Any], Any], value: Any) -> list[Any]:
        """``assign`` of each part and its part of ``value``: a list, a PartitionedVariable or a tensor."""
        from kvarn.ops import array

        axis = self._partition_axis(
            "Cannot do assign action along more than one dimension: {}.  Multi-axis partition assign "
            "action is "
            "not supported "
        )
        if isinstance(value, list):
            assert len(value) == len(self._variable_list)
            values = value
        elif isinstance(value, PartitionedVariable):
            values = list(value)
        else:
            sizes = [dimension_value(v.shape[axis]) for v in self._variable_list]
            values = array.split(value, sizes, axis=axis)
        return [assign(v, values[i]) for i, v in enumerate(self._variable_list)]

    def _assign_each(
        self, method: str, value: Any, use_locking: bool, name: str | None, read_value: bool
    ) -> list[Any]:
        def assign(part: Any, part_value: Any) -> Any:
            return getattr(part, method)(
                part_value, use_locking=use_locking, name=name, read_value=read_value
            )

        return self._apply_assign_fn(assign, value)

    def assign(
        self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> list[Any]:
        """Assigns to each part; returns their new values, or the operations if not ``read_value``."""
        return self._assign_each("assign", value, use_locking, name, read_value)

    def assign_add(
        self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> list[Any]:
        """Adds to each part; returns as `assign`."""
        return self._assign_each("assign_add", value, use_locking, name, read_value)

    def assign_sub(
        self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> list[Any]:
        """Subtracts from each part; returns as `assign`."""
        return self._assign_each("assign_sub", value, use_locking, name, read_value)

    # -- of an embedding variable -----------------------------------------------------------------

    def explain(self, key: int, *, session: Any = None, step: int | None = None) -> Explanation:
        """`EmbeddingVariable.explain` of the part that has ``key``."""
        from kvarn.formats.embedding import SAVED_PARTITION_NUM

        part = self._variable_list[key % SAVED_PARTITION_NUM % len(self._variable_list)]
        found: Explanation = part.explain(key, session=session, step=step)
        return found

    def evict(
        self, step: int | None = None, *, dry_run: bool = False, policy: Any = None, session: Any = None
    ) -> EvictionReport:
        """`EmbeddingVariable.evict` of every part, whose bounds are its own; the report is of all."""
        reports = [
            part.evict(step, dry_run=dry_run, policy=policy, session=session) for part in self._variable_list
        ]
        total: EvictionReport = functools.reduce(operator.add, reports)
        return total

    def counters(self, session: Any = None) -> dict[str, int]:
        """`EmbeddingVariable.counters` of all parts together."""
        each = [part.counters(session) for part in self._variable_list]
        return {name: sum(counters[name] for counters in each) for name in each[0]}


def _to_tensor(
    v: PartitionedVariable, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    del name
    if dtype is not None and not dtype.is_compatible_with(v.dtype):
        raise ValueError(
            f"Incompatible type conversion requested to type '{dtype.name}' for variable of type "
            f"'{v.dtype.name}'"
        )
    if as_ref:
        raise NotImplementedError("PartitionedVariable doesn't support being used as a reference.")
    return v.as_tensor()


register_tensor_conversion_function(PartitionedVariable, _to_tensor)
