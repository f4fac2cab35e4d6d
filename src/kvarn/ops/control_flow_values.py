"""Taking values into conditionals and loops, round them and out: references stay references, and composites go
part by part.

Source: tensorflow/python/ops/control_flow_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph import nest
from kvarn.graph.convert import constant, convert_to_tensor, convert_to_tensor_or_indexed_slices
from kvarn.graph.graph import colocate_with, name_scope
from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor
from kvarn.ops import array, casting, control_flow, ranges


def _parts(value: Any) -> list[Any]:
    """The tensors of a composite.

    Raises:
      TypeError: it is none.
    """
    if not isinstance(value, (IndexedSlices, SparseTensor)):
        raise TypeError(f"Type {type(value)} not supported")
    return nest.flatten(value, expand_composites=True)


def _packed(value: Any, parts: list[Any]) -> Any:
    return nest.pack_sequence_as(value, parts, expand_composites=True)


def enter(
    data: Any,
    frame_name: str,
    is_constant: bool = False,
    parallel_iterations: int = 10,
    use_input_shape: bool = True,
    name: str | None = None,
) -> Any:
    """``data`` as a value of the loop ``frame_name``.

    Args:
      is_constant: it is the same in all rounds.
      use_input_shape: it keeps its static shape; not if it may have another one in later rounds.
    """
    data = convert_to_tensor_or_indexed_slices(data, as_ref=True)
    if not isinstance(data, Tensor):
        return _packed(
            data,
            [enter(x, frame_name, is_constant, parallel_iterations, use_input_shape) for x in _parts(data)],
        )
    node = control_flow.ref_enter if data.dtype.is_ref else control_flow.enter
    result = node(
        data,
        frame_name=frame_name,
        is_constant=is_constant,
        parallel_iterations=parallel_iterations,
        name=name,
    )
    if use_input_shape:
        result.set_shape(data.get_shape())
    return result


def exit(data: Any, name: str | None = None) -> Any:
    """``data`` as a value outside of its loop."""
    data = convert_to_tensor_or_indexed_slices(data, as_ref=True)
    if not isinstance(data, Tensor):
        return _packed(data, [exit(x, name) for x in _parts(data)])
    return (control_flow.ref_exit if data.dtype.is_ref else control_flow.exit)(data, name=name)


def next_iteration(data: Any, name: str | None = None) -> Any:
    """``data`` as a value of the next round."""
    data = convert_to_tensor_or_indexed_slices(data, as_ref=True)
    if not isinstance(data, Tensor):
        return _packed(data, [next_iteration(x, name) for x in _parts(data)])
    node = control_flow.ref_next_iteration if data.dtype.is_ref else control_flow.next_iteration
    return node(data, name=name)


def switch(data: Any, pred: Any, dtype: Any = None, name: str | None = None) -> Any:
    """``(output_false, output_true)``: ``data`` comes out of the one that the scalar ``pred`` chooses."""
    with name_scope(name, "Switch", [data, pred]) as scope:
        data = convert_to_tensor_or_indexed_slices(data, dtype=dtype, name="data", as_ref=True)
        pred = convert_to_tensor(pred, name="pred")
        if isinstance(data, Tensor):
            return control_flow.switch(data, pred, name=scope)
        pairs = [control_flow.switch(x, pred) for x in _parts(data)]
        return _packed(data, [p[0] for p in pairs]), _packed(data, [p[1] for p in pairs])


def switch_ref_or_tensor(data: Any, pred: Any, name: str = "Switch") -> Any:
    """`switch` that keeps references, placed with ``data`` whatever scopes of colocation there are."""
    data = convert_to_tensor_or_indexed_slices(data, name="data")
    with colocate_with(data, ignore_existing=True):
        if isinstance(data, Tensor) and data.dtype.is_ref:
            return control_flow.ref_switch(data, pred, name=name)
        return switch(data, pred, name=name)


def merge(inputs: Any, name: str | None = None) -> Any:
    """``(output, value_index)``: the one of ``inputs`` that is available, and which it is.

    Tensors among IndexedSlices become IndexedSlices, too.

    Raises:
      ValueError: one of ``inputs`` is None, or only some have a dense shape.
      TypeError: they are of different kinds.
    """
    inputs = list(inputs)
    if any(x is None for x in inputs):
        raise ValueError(f"At least one of the merge inputs is None: {inputs}")
    with name_scope(name, "Merge", inputs) as scope:
        inputs = [convert_to_tensor_or_indexed_slices(x, as_ref=True) for x in inputs]
        if all(isinstance(x, Tensor) for x in inputs):
            refs = all(x.dtype.is_ref for x in inputs)
            return (control_flow.ref_merge if refs else control_flow.merge)(inputs, name=scope)
        if all(isinstance(x, (IndexedSlices, Tensor)) for x in inputs):
            inputs = as_indexed_slices_list(inputs)
        for x in inputs[1:]:
            nest.assert_same_structure(inputs[0], x, expand_composites=True)
        merged = [control_flow.merge(list(parts)) for parts in zip(*map(_parts, inputs), strict=True)]
        return _packed(inputs[0], [value for value, _ in merged]), merged[0][1]


def no_rows(handle: Tensor) -> IndexedSlices | None:
    """The gradient of an embedding variable of which nothing is looked up; None for any other ``handle``.

    Zeros, which other variables get, would be rows of keys that nobody asked for.
    """
    node = handle.op
    while node._inputs:
        node = node._inputs[0].op
    if node.type != "KvVarHandleOp":
        return None
    row = list(node.attrs["shape"])
    values = constant([], node.attrs["dtype"], shape=[0, *row])
    return IndexedSlices(values, constant([], node.attrs["Tkeys"], shape=[0]), constant(row, dtypes.int32))


def as_indexed_slices(value: Any, optimize: bool = True) -> IndexedSlices:
    """A tensor as IndexedSlices with all of its rows; IndexedSlices as they are.

    Args:
      optimize: take a constant for a shape that is known.
    """
    if isinstance(value, IndexedSlices):
        return value
    if not isinstance(value, Tensor):
        raise TypeError(f"Not a Tensor or IndexedSlices: {type(value)}")
    shape = array.shape_internal(value, optimize=optimize)
    return IndexedSlices(value, ranges.range(0, shape[0]), shape)


def as_indexed_slices_list(values: list[Any]) -> list[IndexedSlices]:
    """`as_indexed_slices` of each, with indices of one type: int64 if any has it."""
    slices = [as_indexed_slices(x, optimize=False) for x in values]
    if all(x.indices.dtype is dtypes.int64 for x in slices) or all(
        x.indices.dtype is dtypes.int32 for x in slices
    ):
        return slices
    return [
        x
        if x.indices.dtype is dtypes.int64
        else IndexedSlices(x.values, casting.cast(x.indices, dtypes.int64), x.dense_shape)
        for x in slices
    ]
