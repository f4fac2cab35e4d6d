"""Operations on arrays of tensors, which loops read from and write to.

Order is kept by *flow*, a scalar that means nothing and that each operation takes and gives.

Source: tensorflow/core/ops/data_flow_ops.cc, tensorflow/core/kernels/tensor_array_ops.cc,
tensorflow/python/ops/tensor_array_grad.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.dtypes import DType
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import Shape
from kvarn.graph.tensor import Tensor
from kvarn.ops._format import type_text
from kvarn.ops._tensor_arrays import TensorArray

_FLOW = np.float32(0)
_PASSES_ON = frozenset(("Enter", "Exit", "Identity", "NextIteration", "Switch", "TensorArrayGradV3"))


def _problem(message: str) -> errors.OpError:
    return errors.InvalidArgumentError.of(message)


def _element_shape(handle: Tensor) -> tuple[Shape, bool]:
    """What is known of the shape of the elements behind a handle, and whether it is the same for all."""
    while handle.op.type in _PASSES_ON:
        handle = handle.op._inputs[0]
    node = handle.op
    if node.type != "TensorArrayV3":
        return None, False
    shape = node.attrs["element_shape"]
    return shape, node.attrs["identical_element_shapes"] or (shape is not None and None not in shape)


def _array_shape(handle: Tensor) -> Shape:
    shape, same_for_all = _element_shape(handle)
    return shape if same_for_all else None


def _made(c: Any, *inputs: Any) -> Any:
    return [(2,), ()]


def _scalar_index(index: Any) -> int:
    if np.ndim(index):
        raise _problem(f"TensorArray index must be scalar, but had shape: {shapes.fmt(np.shape(index))}")
    return int(index)


def _check_dtype(array: TensorArray, dtype: DType, doing: str) -> None:
    if dtype is not array.dtype:
        raise _problem(
            f"TensorArray dtype is {type_text(array.dtype)} but Op {doing} dtype {type_text(dtype)}."
        )


def _gradient_array(op: Any, dtype: DType, grad: Tensor, flow: Tensor) -> Any:
    """The array of gradients that belongs to the walk that ``grad`` was made in."""
    from kvarn.ops.tensor_array import TensorArray as Array

    parts = grad.name.split("/")
    found = [i for i, part in enumerate(parts) if part.startswith("gradients")]
    if not found:
        raise ValueError(
            f"Expected op/tensor name to start with gradients (excluding scope), got: {grad.name}. This means that a "
            "tf.gradients op with this op in its dependency path has a custom name that does not start with "
            "'gradients'. Please make sure all calls to tf.gradients that have non-empty 'name' arguments use names "
            "that start with 'gradients'."
        )
    source = "/".join(parts[: found[-1] + 1])
    array = Array(dtype=dtype, handle=op.inputs[0], flow=flow, colocate_with_first_write_call=False)
    return array.grad(source=source, flow=flow)


@op(
    "TensorArrayV3",
    inputs="size: int32",
    outputs=["handle: resource", "flow: float"],
    attrs=[
        "dtype: type",
        "element_shape: shape = { unknown_rank: true }",
        "dynamic_size: bool = false",
        "clear_after_read: bool = true",
        "identical_element_shapes: bool = false",
        "tensor_array_name: string = ''",
    ],
    stateful=True,
)
class tensor_array_v3:
    """A new array of ``size`` elements for this run."""

    def shape(c: Any, size: Any) -> Any:
        shapes.with_rank(size, 0)
        return [(2,), ()]

    def kernel(ctx: Any, size: Any) -> Any:
        if np.ndim(size):
            raise _problem(f"TensorArray size must be scalar, but had shape: {shapes.fmt(np.shape(size))}")
        if size < 0:
            raise _problem("Size should be >= 0.")
        a = ctx.attrs
        name = TensorArray.unique_name(a["tensor_array_name"].decode() or ctx.op.name)
        array = TensorArray(
            name,
            a["dtype"],
            int(size),
            a["element_shape"],
            a["identical_element_shapes"],
            a["dynamic_size"],
            a["clear_after_read"],
        )
        return array, _FLOW

    grad = NOT_DIFFERENTIABLE


@op(
    "TensorArrayGradV3",
    inputs=["handle: resource", "flow_in: float"],
    outputs=["grad_handle: resource", "flow_out: float"],
    attrs="source: string",
    stateful=True,
)
class tensor_array_grad_v3:
    """The array of the gradients that the walk ``source`` computes; the same one each time it is asked for."""

    shape = _made

    def kernel(ctx: Any, handle: Any, flow_in: Any) -> Any:
        return handle.gradient(ctx.attrs["source"].decode()), flow_in

    grad = NOT_DIFFERENTIABLE


@op(
    "TensorArrayGradWithShape",
    inputs=["handle: resource", "flow_in: float", "shape_to_prepend: int32"],
    outputs=["grad_handle: resource", "flow_out: float"],
    attrs="source: string",
    stateful=True,
)
class tensor_array_grad_with_shape:
    """`TensorArrayGradV3` for gradients that have more dimensions in front."""

    shape = _made

    def kernel(ctx: Any, handle: Any, flow_in: Any, shape_to_prepend: Any) -> Any:
        prepend = tuple(int(d) for d in shape_to_prepend)
        return handle.gradient(ctx.attrs["source"].decode(), prepend), flow_in

    grad = NOT_DIFFERENTIABLE


@op(
    "TensorArrayWriteV3",
    inputs=["handle: resource", "index: int32", "value: T", "flow_in: float"],
    outputs="flow_out: float",
    attrs="T: type",
)
class tensor_array_write_v3:
    """Writes element ``index``."""

    def shape(c: Any, handle: Any, index: Any, value: Any, flow_in: Any) -> Any:
        shapes.with_rank(index, 0)
        shapes.merge(_array_shape(c.inputs[0]), value)
        return ()

    def kernel(ctx: Any, handle: Any, index: Any, value: Any, flow_in: Any) -> Any:
        index = _scalar_index(index)
        _check_dtype(handle, ctx.attrs["T"], "is trying to write")
        handle.write(index, value, ctx.attrs["T"])
        return flow_in

    def grad(op: Any, flow: Any) -> Any:
        return None, None, _gradient_array(op, op.attrs["T"], flow, flow).read(op.inputs[1]), flow


@op(
    "TensorArrayReadV3",
    inputs=["handle: resource", "index: int32", "flow_in: float"],
    outputs="value: dtype",
    attrs="dtype: type",
)
class tensor_array_read_v3:
    """Element ``index``."""

    def shape(c: Any, handle: Any, index: Any, flow_in: Any) -> Any:
        shapes.with_rank(index, 0)
        return _array_shape(c.inputs[0])

    def kernel(ctx: Any, handle: Any, index: Any, flow_in: Any) -> Any:
        index = _scalar_index(index)
        _check_dtype(handle, ctx.attrs["dtype"], "requested")
        return handle.read(index)

    def grad(op: Any, grad: Any) -> Any:
        gradients = _gradient_array(op, op.attrs["dtype"], grad, op.inputs[2])
        return None, None, gradients.write(op.inputs[1], grad).flow


def _gathered(c: Any, handle: Any, indices: Any, flow_in: Any) -> Any:
    indices = shapes.with_rank(indices, 1)
    shape, same_for_all = _element_shape(c.inputs[0])
    if not same_for_all:
        shape = c.attrs["element_shape"]
    return None if shape is None else (*indices, *shape)


@op(
    "TensorArrayGatherV3",
    inputs=["handle: resource", "indices: int32", "flow_in: float"],
    outputs="value: dtype",
    attrs=["dtype: type", "element_shape: shape = { unknown_rank: true }"],
)
class tensor_array_gather_v3:
    """The elements ``indices`` as rows of one tensor."""

    shape = _gathered

    def kernel(ctx: Any, handle: Any, indices: Any, flow_in: Any) -> Any:
        dtype, expected = ctx.attrs["dtype"], ctx.attrs["element_shape"]
        _check_dtype(handle, dtype, "requested")
        try:
            handle.element_shape = shapes.merge(handle.element_shape, expected)
        except ValueError as e:
            raise _problem(f"TensorArray {handle.name}: {e}") from None
        if np.ndim(indices) != 1:
            raise _problem(
                f"Expected indices to be a vector, but received shape: {shapes.fmt(np.shape(indices))}"
            )
        if not len(indices):
            return _empty(handle, dtype, "packing", "element shape", expected)
        values = [handle.read(int(i)) for i in indices]
        try:
            shapes.merge(expected, values[0].shape)
        except ValueError:
            raise _problem(
                f"TensorArray was passed element_shape {shapes.fmt(expected)} which does not match the Tensor at "
                f"index 0: {shapes.fmt(values[0].shape)}"
            ) from None
        for i, value in enumerate(values):
            if value.shape != values[0].shape:
                raise _problem(
                    f"TensorArray has inconsistent shapes.  Index 0 has shape: {shapes.fmt(values[0].shape)} but "
                    f"index {i} has shape: {shapes.fmt(value.shape)}"
                )
        return np.stack(values)

    def grad(op: Any, grad: Any) -> Any:
        gradients = _gradient_array(op, op.attrs["dtype"], grad, op.inputs[2])
        return None, None, gradients.scatter(op.inputs[1], grad).flow


def _empty(array: TensorArray, dtype: DType, doing: str, what: str, expected: Shape) -> Any:
    """No rows at all; UnimplementedError if nobody knows the rest of their shape."""
    if expected is None or None in expected:
        raise errors.UnimplementedError.of(
            f"TensorArray has size zero, but {what} {shapes.fmt(expected)} is not fully defined. Currently only "
            f"static shapes are supported when {doing} zero-size TensorArrays."
        )
    return np.empty((0, *expected), object if dtype is dtypes.string else dtype.np)


@op(
    "TensorArrayScatterV3",
    inputs=["handle: resource", "indices: int32", "value: T", "flow_in: float"],
    outputs="flow_out: float",
    attrs="T: type",
)
class tensor_array_scatter_v3:
    """Writes the rows of ``value`` as the elements ``indices``."""

    def shape(c: Any, handle: Any, indices: Any, value: Any, flow_in: Any) -> Any:
        indices = shapes.with_rank(indices, 1)
        shape = _array_shape(c.inputs[0])
        shapes.merge(None if shape is None else (*indices, *shape), value)
        return ()

    def kernel(ctx: Any, handle: Any, indices: Any, value: Any, flow_in: Any) -> Any:
        dtype = ctx.attrs["T"]
        _check_dtype(handle, dtype, "is trying to write")
        if not value.shape:
            raise _problem("Input value for unpack must be at least a vector but received shape: []")
        if np.ndim(indices) != 1:
            raise _problem(
                f"Expected indices to be a vector, but received shape: {shapes.fmt(np.shape(indices))}"
            )
        if len(indices) != len(value):
            raise _problem(
                f"Expected len(indices) == values.shape[0], but saw: {len(indices)} vs. {len(value)}"
            )
        largest = int(max(indices, default=-1))
        if not handle.dynamic_size and largest >= handle.size():
            raise _problem(f"Max scatter index must be < array size ({largest} vs. {handle.size()})")
        for i, row in zip(indices, value, strict=True):
            handle.write(int(i), np.asarray(row, value.dtype), dtype)
        return flow_in

    def grad(op: Any, flow: Any) -> Any:
        return None, None, _gradient_array(op, op.attrs["T"], flow, flow).gather(op.inputs[1]), flow


def _joined(c: Any, handle: Any, flow_in: Any) -> Any:
    return [None, (None,)]


@op(
    "TensorArrayConcatV3",
    inputs=["handle: resource", "flow_in: float"],
    outputs=["value: dtype", "lengths: int64"],
    attrs=["dtype: type", "element_shape_except0: shape = { unknown_rank: true }"],
)
class tensor_array_concat_v3:
    """All elements one after the other along their first dimension, and how long each is."""

    shape = _joined

    def kernel(ctx: Any, handle: Any, flow_in: Any) -> Any:
        dtype, expected = ctx.attrs["dtype"], ctx.attrs["element_shape_except0"]
        _check_dtype(handle, dtype, "requested")
        size = handle.size_to_concatenate()
        if not size:
            empty = _empty(handle, dtype, "concatenating", "element_shape_except0", expected)
            return empty, np.zeros(0, np.int64)
        values = [handle.read(i) for i in range(size)]
        for i, value in enumerate(values):
            if not value.shape:
                raise _problem(
                    f"Concat saw a scalar shape at index {i} but requires at least vectors.  Did you mean to call "
                    "pack?"
                )
            rest = shapes.fmt(value.shape[1:])
            if i == 0:
                try:
                    shapes.merge(expected, value.shape[1:])
                except ValueError:
                    raise _problem(
                        f"TensorArray was passed element_shape_except0 {shapes.fmt(expected)} but index 0 has "
                        f"(excepting dimension 0) shape: {rest} which does not match."
                    ) from None
            elif value.shape[1:] != values[0].shape[1:]:
                raise _problem(
                    "TensorArray has inconsistent shapes.  Index 0 has (excepting dimension 0) shape: "
                    f"{shapes.fmt(values[0].shape[1:])} but index {i} has (excepting dimension 0) shape: {rest}"
                )
        return np.concatenate(values), np.array([len(v) for v in values], np.int64)

    def grad(op: Any, grad: Any, lengths_grad: Any) -> Any:
        gradients = _gradient_array(op, op.attrs["dtype"], grad, op.inputs[1])
        return None, gradients.split(grad, lengths=op.outputs[1]).flow


@op(
    "TensorArraySplitV3",
    inputs=["handle: resource", "value: T", "lengths: int64", "flow_in: float"],
    outputs="flow_out: float",
    attrs="T: type",
)
class tensor_array_split_v3:
    """Writes parts of ``value`` along its first dimension, each as long as ``lengths`` says."""

    def shape(c: Any, handle: Any, value: Any, lengths: Any, flow_in: Any) -> Any:
        shapes.with_rank(lengths, 1)
        return ()

    def kernel(ctx: Any, handle: Any, value: Any, lengths: Any, flow_in: Any) -> Any:
        dtype = ctx.attrs["T"]
        if np.ndim(lengths) != 1:
            raise _problem(
                f"Expected lengths to be a vector, received shape: {shapes.fmt(np.shape(lengths))}"
            )
        if not value.shape:
            raise _problem("Expected value to be at least a vector, but received shape: []")
        if int(lengths.sum()) != len(value):
            raise _problem(
                "Expected sum of lengths to be equal to values.shape[0], but sum of lengths is "
                f"{int(lengths.sum())} and value's shape is: {shapes.fmt(value.shape)}"
            )
        if not handle.dynamic_size and handle.size() != len(lengths):
            raise _problem(
                f"TensorArray's size is not equal to the size of lengths ({handle.size()} vs. {len(lengths)}), and "
                "the TensorArray is not marked as dynamically resizeable"
            )
        if not handle.is_grad:
            handle.split_into = len(lengths)
        ends = np.cumsum(lengths)
        for i, (length, end) in enumerate(zip(lengths, ends, strict=True)):
            handle.write(i, value[end - length : end], dtype)
        return flow_in

    def grad(op: Any, flow: Any) -> Any:
        return None, _gradient_array(op, op.attrs["T"], flow, flow).concat(), None, flow


@op("TensorArraySizeV3", inputs=["handle: resource", "flow_in: float"], outputs="size: int32")
class tensor_array_size_v3:
    """How many elements there are."""

    shape = shapes.scalar

    def kernel(ctx: Any, handle: Any, flow_in: Any) -> Any:
        return np.int32(handle.size())

    grad = NOT_DIFFERENTIABLE


@op("TensorArrayCloseV3", inputs="handle: resource")
class tensor_array_close_v3:
    """Drops all elements; the array may not be used any more."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, handle: Any) -> None:
        handle.close()

    grad = NOT_DIFFERENTIABLE
