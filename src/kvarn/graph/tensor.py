"""Tensors and the composites made of them.

Source: tensorflow/python/framework/{ops,sparse_tensor,indexed_slices}.py.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

from kvarn import dtypes, errors
from kvarn.dtypes import DType
from kvarn.graph.shape_inference import Shape, merge
from kvarn.graph.tensor_proto import TensorValue as TensorValue

if TYPE_CHECKING:
    from kvarn.graph.graph import Graph
    from kvarn.graph.operation import Operation
    from kvarn.graph.tensor_shape import TensorShape


class Tensor:
    """One output of an `Operation`; it has a value only while a Session runs.

    Attributes:
      op: the operation that produces it.
      value_index: its place among the outputs.
      dtype: element type; a reference dtype for outputs that are variables' buffers.
    """

    __slots__ = ("__dict__", "__weakref__", "_consumers", "_name", "_shape", "dtype", "op", "value_index")

    # NumPy must hand `array + tensor` over to Tensor.__radd__.
    __array_priority__ = 100

    def __init__(self, op: Operation, value_index: int, dtype: DType) -> None:
        self.op = op
        self.value_index = value_index
        self.dtype = dtype
        self._shape: Shape = None
        self._consumers: list[Operation] | None = None
        self._name: str | None = None

    @property
    def graph(self) -> Graph:
        return self.op.graph

    @property
    def name(self) -> str:
        """``<op name>:<index>``."""
        name = self._name
        if name is None:
            name = self._name = f"{self.op.name}:{self.value_index}"
        return name

    @property
    def device(self) -> str:
        return self.op.device

    @property
    def static_shape(self) -> Shape:
        """The static shape as a plain tuple; see `kvarn.graph.shape_inference`."""
        return self._shape

    @property
    def shape(self) -> TensorShape:
        from kvarn.graph.tensor_shape import TensorShape

        return TensorShape.from_tuple(self._shape)

    def get_shape(self) -> TensorShape:
        """The static shape."""
        return self.shape

    def set_shape(self, shape: Any) -> None:
        """Merges ``shape`` into the static shape; ValueError if they contradict each other."""
        from kvarn.graph import tensor_shape

        given = tensor_shape.to_tuple(shape)
        try:
            self._shape = merge(self._shape, given)
        except ValueError as e:
            raise ValueError(
                f"Tensor {self.name}: cannot set shape {given} on shape {self._shape}: {e}"
            ) from None

    def _shape_tuple(self) -> Shape:
        return self._shape

    @property
    def _value_index(self) -> int:
        return self.value_index

    def _shape_as_list(self) -> list[int | None] | None:
        return None if self._shape is None else list(self._shape)

    @property
    def _rank(self) -> int | None:
        return None if self._shape is None else len(self._shape)

    def _as_node_def_input(self) -> str:
        return self.op.name if self.value_index == 0 else f"{self.op.name}:{self.value_index}"

    def consumers(self) -> list[Operation]:
        """The operations that take this tensor, one for each input that it is, in order of creation."""
        return list(self._consumers or ())

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """The value in ``session`` or the default session; ValueError without one."""
        from kvarn.graph import session as session_lib

        return session_lib.evaluate(self, feed_dict, session, self.graph)

    def experimental_ref(self) -> Any:
        return _Reference(self)

    def __str__(self) -> str:
        shape = "" if self._shape is None else ", shape=" + _print_shape(self._shape)
        device = f", device={self.device}" if self.device else ""
        return f'Tensor("{self.name}"{shape}, dtype={self.dtype.name}{device})'

    def __repr__(self) -> str:
        return f"<tf.Tensor '{self.name}' shape={_print_shape(self._shape)} dtype={self.dtype.name}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        # By identity, as in TensorFlow 1: tensors are used as keys of feed dictionaries.
        return self is other

    def __iter__(self) -> Any:
        raise self._not_allowed("iterating over `tf.Tensor`", "tf.map_fn, tf.while_loop or tf.unstack")

    def __len__(self) -> int:
        raise TypeError(
            f"len is not well defined for symbolic Tensors. ({self.name}) Please call `x.shape` rather than "
            "`len(x)` for shape information."
        )

    def __bool__(self) -> bool:
        raise self._not_allowed("using a `tf.Tensor` as a Python `bool`", "tf.cond or tf.while_loop")

    def _not_allowed(self, task: str, instead: str) -> errors.OperatorNotAllowedInGraphError:
        where = (
            "is not allowed: AutoGraph is disabled in this function."
            if self.op.graph.building_function
            else "is not allowed in Graph execution."
        )
        return errors.OperatorNotAllowedInGraphError(
            f"{task} {where}\n  Python's own control flow is not converted ('{self.name}' has a value only in a run)"
            f": use {instead}."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise NotImplementedError(f"Cannot convert a symbolic Tensor ({self.name}) to a numpy array.")

    def __getitem__(self, key: Any) -> Tensor:
        raise NotImplementedError("kvarn.ops installs the operators of Tensor; import it")

    if TYPE_CHECKING:
        # Installed by `kvarn.ops.operators`.
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...

    @staticmethod
    def _override_operator(operator: str, func: Any) -> None:
        """Sets one of the overloadable operators; used by `kvarn.ops.operators`."""
        setattr(Tensor, operator, func)


class _Reference:
    """Hashable stand-in for a tensor, equal when the tensors are the same object."""

    def __init__(self, referenced: Any) -> None:
        self._referenced = referenced

    def deref(self) -> Any:
        return self._referenced

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reference) and self._referenced is other._referenced

    def __hash__(self) -> int:
        return id(self._referenced)


def _print_shape(shape: Shape) -> str:
    if shape is None:
        return "<unknown>"
    if len(shape) == 1:
        return f"({'?' if shape[0] is None else shape[0]},)"
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


IndexedSlicesValue = collections.namedtuple("IndexedSlicesValue", ["values", "indices", "dense_shape"])
SparseTensorValue = collections.namedtuple("SparseTensorValue", ["indices", "values", "dense_shape"])


def is_sparse(tensor: Any) -> bool:
    """Whether ``tensor`` is a SparseTensor or SparseTensorValue."""
    return isinstance(tensor, (SparseTensor, SparseTensorValue))


class IndexedSlices:
    """Rows of a larger tensor: ``dense[indices[i]] = values[i]``, equal indices adding up.

    Args:
      values: [n, ...].
      indices: int32 or int64 [n].
      dense_shape: shape of the whole tensor, [rank], or None.
    """

    def __init__(self, values: Tensor, indices: Tensor, dense_shape: Tensor | None = None) -> None:
        self._values = values
        self._indices = indices
        self._dense_shape = dense_shape

    @property
    def values(self) -> Tensor:
        return self._values

    @property
    def indices(self) -> Tensor:
        return self._indices

    @property
    def dense_shape(self) -> Tensor | None:
        return self._dense_shape

    @property
    def name(self) -> str:
        return self._values.name

    @property
    def device(self) -> str:
        return self._values.device

    @property
    def op(self) -> Operation:
        return self._values.op

    @property
    def dtype(self) -> DType:
        return self._values.dtype

    @property
    def graph(self) -> Graph:
        return self._values.graph

    @property
    def shape(self) -> TensorShape:
        from kvarn.graph import tensor_util
        from kvarn.graph.tensor_shape import TensorShape

        if self._dense_shape is None:
            return TensorShape(None)
        return tensor_util.constant_value_as_shape(self._dense_shape)

    def consumers(self) -> list[Operation]:
        return self._values.consumers()

    def __neg__(self) -> IndexedSlices:
        return IndexedSlices(-self._values, self._indices, self._dense_shape)

    def __str__(self) -> str:
        dense = "" if self._dense_shape is None else f", dense_shape={self._dense_shape}"
        return f"IndexedSlices(indices={self._indices}, values={self._values}{dense})"


class SparseTensor:
    """A tensor given by its non-zero elements.

    Args:
      indices: int64 [n, rank].
      values: [n].
      dense_shape: int64 [rank].
    """

    @classmethod
    def from_value(cls, sparse_tensor_value: Any) -> SparseTensor:
        if not isinstance(sparse_tensor_value, (SparseTensor, SparseTensorValue)):
            raise TypeError(f"Neither a SparseTensor nor SparseTensorValue: {sparse_tensor_value}.")
        return cls(
            sparse_tensor_value.indices,
            sparse_tensor_value.values,
            sparse_tensor_value.dense_shape,
        )

    def __init__(self, indices: Any, values: Any, dense_shape: Any) -> None:
        from kvarn.graph.convert import convert_to_tensor
        from kvarn.graph.graph import name_scope
        from kvarn.graph.tensor_shape import dimension_value

        with name_scope(None, "SparseTensor", [indices, values, dense_shape]):
            self._indices = convert_to_tensor(indices, name="indices", dtype=dtypes.int64)
            self._values = convert_to_tensor(values, name="values")
            self._dense_shape = convert_to_tensor(dense_shape, name="dense_shape", dtype=dtypes.int64)
        indices_shape = self._indices.shape.with_rank(2)
        values_shape = self._values.shape.with_rank(1)
        dense_shape_shape = self._dense_shape.shape.with_rank(1)
        indices_shape[0].merge_with(values_shape[0])
        indices_shape[1].merge_with(dense_shape_shape[0])
        self._rank_hint = dimension_value(dense_shape_shape[0])

    @property
    def indices(self) -> Tensor:
        return self._indices

    @property
    def values(self) -> Tensor:
        return self._values

    @property
    def dense_shape(self) -> Tensor:
        return self._dense_shape

    @property
    def dtype(self) -> DType:
        return self._values.dtype

    @property
    def op(self) -> Operation:
        return self._values.op

    @property
    def graph(self) -> Graph:
        return self._indices.graph

    @property
    def shape(self) -> TensorShape:
        from kvarn.graph import tensor_util

        return tensor_util.constant_value_as_shape(self._dense_shape)

    def get_shape(self) -> TensorShape:
        return self.shape

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """A SparseTensorValue; see `Tensor.eval`."""
        from kvarn.graph import session as session_lib

        return session_lib.evaluate(self, feed_dict, session, self.graph)

    def consumers(self) -> list[Operation]:
        found = dict.fromkeys(
            self._values.consumers() + self._indices.consumers() + self._dense_shape.consumers()
        )
        return list(found)

    def __str__(self) -> str:
        return (
            f"SparseTensor(indices={self._indices}, values={self._values}, dense_shape={self._dense_shape})"
        )
