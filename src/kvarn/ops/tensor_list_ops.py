"""The operations on lists of tensors, which loops built as functions keep their values in.

Their Python functions are in `kvarn.ops.list_ops`; the values themselves in `kvarn.ops._tensor_lists`.

Source: tensorflow/core/ops/list_ops.cc, tensorflow/core/kernels/list_kernels.{h,cc},
tensorflow/python/ops/list_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.dtypes import DType
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import InferenceContext, Shape, fmt
from kvarn.graph.tensor import Tensor
from kvarn.ops import _tensor_lists as lists
from kvarn.ops._format import type_text
from kvarn.ops._tensor_lists import TensorList

_ELEMENT = ["element_dtype: type"]
_SHAPED = ["element_dtype: type", "shape_type: {int32, int64}"]
# Which input says the shape of the elements of a new list, and which outputs are lists like their first input.
_SHAPE_INPUT = {
    "EmptyTensorList": 0,
    "TensorListReserve": 0,
    "TensorListFromTensor": 1,
    "TensorListSplit": 1,
    "TensorListScatter": 2,
    "TensorListScatterV2": 2,
}
_SAME_KIND = frozenset(
    {
        "TensorListPushBack",
        "TensorListPushBackBatch",
        "TensorListPopBack",
        "TensorListSetItem",
        "TensorListResize",
        "TensorListScatterIntoExistingList",
        "TensorListConcatLists",
        "Identity",
        "ZerosLike",
        "AddN",
    }
)


def element_of(handle: Tensor) -> tuple[Shape, DType] | None:
    """What is known, while building, of the elements of a list: (static shape, dtype) or None."""
    found: tuple[Shape, DType] | None = getattr(handle, "_handle_shape_and_type", None)
    if found is None:
        found = _element_of_output(handle)
        if found is not None:
            handle._handle_shape_and_type = found  # type: ignore[attr-defined]
    return found


def _element_of_output(handle: Tensor) -> tuple[Shape, DType] | None:
    node = handle.op
    index = _SHAPE_INPUT.get(node.type)
    if index is not None:
        # That input alone: TensorFlow does not keep what a tensor made a list of says of it, too.
        return shape_input(InferenceContext(node.attrs, node._inputs), index), node.attrs["element_dtype"]
    if node.type not in _SAME_KIND or handle.value_index:
        return None
    known = element_of(node._inputs[0])
    if known is None and "element_dtype" in node.attrs:
        return None, node.attrs["element_dtype"]
    return known


def _without_first(shape: Shape) -> Shape:
    return None if shape is None else shape[1:]


def shape_input(c: InferenceContext, index: int) -> Shape:
    """The shape that input ``index`` describes; a scalar says nothing."""
    return None if c.inputs[index]._shape == () else c.constant_shape(index)


def element_shape_of_input(c: Any) -> Shape:
    """The shape of the elements that an operation reads off the list in input 0."""
    return _element(c, _READ)


def _element(c: Any, what: str) -> Shape:
    """The shape of the elements of the list in input 0; ValueError if it is one of another type."""
    known = element_of(c.inputs[0])
    if known is None:
        return None
    if known[1] is not c.attrs["element_dtype"]:
        raise ValueError(
            f"{what}. List has type {type_text(known[1])} but {_TRYING[what]} "
            f"{type_text(c.attrs['element_dtype'])}"
        )
    return known[0]


_PUSH = "Trying to push to list with wrong element dtype"
_READ = "Trying to read from list with wrong element dtype"
_TRYING = {_PUSH: "trying to push element with type", _READ: "expected type"}


def _with_input(c: Any, index: int) -> Shape:
    """What the list in input 0 and the shape in input ``index`` say of an element."""
    return shapes.merge(_element(c, _READ), shape_input(c, index))


def _rows(first: int | None, shape: Shape) -> Shape:
    return None if shape is None else (first, *shape)


def _list(value: Any) -> TensorList:
    if not isinstance(value, TensorList):
        raise errors.InvalidArgumentError.of(f"Input handle is not a list. Saw: '{type(value).__name__}'")
    return value


def typed_list(ctx: Any, value: Any) -> TensorList:
    """The list that an operation on elements of its attribute's type takes."""
    found = _list(value)
    wanted = ctx.attrs["element_dtype"]
    if wanted is not found.element_dtype:
        raise errors.InvalidArgumentError.of(
            f"Invalid data types; op elements {type_text(wanted)} but list elements {type_text(found.element_dtype)}"
        )
    return found


def _filled(found: TensorList, shape: Shape, items: list[Any], message: str) -> tuple[int, ...]:
    """The shape of the elements once those of ``items`` are known, too; ``message`` if it is still open."""
    if not lists.fully_defined(found.element_shape):
        for x in items:
            if x is not None:
                shape = lists.merged(shape, x.shape)
    if shape is None or None in shape:
        raise errors.InvalidArgumentError.of(message.format(fmt(shape)))
    return shape  # type: ignore[return-value]


@op(
    "EmptyTensorList",
    ["element_shape: shape_type", "max_num_elements: int32"],
    "handle: variant",
    _SHAPED,
)
class empty_tensor_list:
    """A list without elements, which takes at most ``max_num_elements``, or any number if it is -1."""

    shape = shapes.scalar

    def kernel(ctx: Any, element_shape: Any, max_num_elements: Any) -> Any:
        if np.ndim(max_num_elements):
            raise errors.InvalidArgumentError.of(
                f"max_num_elements expected to be a scalar but got shape: {fmt(np.shape(max_num_elements))}"
            )
        shape = lists.given_shape(element_shape)
        return TensorList(ctx.attrs["element_dtype"], shape, [], int(max_num_elements))


@op("TensorListReserve", ["element_shape: shape_type", "num_elements: int32"], "handle: variant", _SHAPED)
class tensor_list_reserve:
    """A list of ``num_elements`` elements that are not set."""

    shape = shapes.scalar

    def kernel(ctx: Any, element_shape: Any, num_elements: Any) -> Any:
        return TensorList(
            ctx.attrs["element_dtype"], lists.given_shape(element_shape), [None] * int(num_elements)
        )


@op(
    "TensorListPushBack",
    ["input_handle: variant", "tensor: element_dtype"],
    "output_handle: variant",
    _ELEMENT,
)
class tensor_list_push_back:
    """The list with ``tensor`` at its end."""

    def shape(c: Any, input_handle: Any, tensor: Any) -> Any:
        _element(c, _PUSH)
        return ()

    def kernel(ctx: Any, input_handle: Any, tensor: Any) -> Any:
        found = typed_list(ctx, input_handle)
        if not lists.is_compatible(found.element_shape, np.shape(tensor)):
            raise errors.InvalidArgumentError.of(
                "Tried to append a tensor with incompatible shape to a list. Op element shape: "
                f"{fmt(np.shape(tensor))} list shape: {fmt(found.element_shape)}"
            )
        if found.max_num_elements != -1 and found.length >= found.max_num_elements:
            raise errors.InvalidArgumentError.of(
                f"Tried to push item into a full list list size: {found.length} max_num_elements: "
                f"{found.max_num_elements}"
            )
        return found.pushed(tensor)

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import array

        shape = array.shape(op.inputs[1])
        return tuple(tensor_list_pop_back(d, element_shape=shape, element_dtype=op.attrs["element_dtype"]))


@op(
    "TensorListPushBackBatch",
    ["input_handles: variant", "tensor: element_dtype"],
    "output_handles: variant",
    _ELEMENT,
)
class tensor_list_push_back_batch:
    """Each of several lists with its row of ``tensor`` at its end."""

    def shape(c: Any, input_handles: Any, tensor: Any) -> Any:
        _element(c, _PUSH)
        shapes.with_rank_at_least(tensor, 1)
        rows = None if tensor is None else tensor[0]
        return (shapes.merge_dim(shapes.with_rank(input_handles, 1)[0], rows),)

    def kernel(ctx: Any, input_handles: Any, tensor: Any) -> Any:
        if len(tensor) != len(input_handles):
            raise errors.InvalidArgumentError.of(
                f"Expected tensor.shape[0] == input_handles.size, but saw {len(tensor)} vs. {len(input_handles)}"
            )
        out = np.empty(len(input_handles), object)
        for i, (handle, row) in enumerate(zip(input_handles, lists.rows_of(tensor), strict=True)):
            found = typed_list(ctx, handle)
            if not lists.is_compatible(found.element_shape, np.shape(row)):
                raise errors.InvalidArgumentError.of(
                    f"Tried to append a tensor with incompatible shape to a list at index {i}. Op element shape: "
                    f"{fmt(np.shape(row))} list shape: {fmt(found.element_shape)}"
                )
            out[i] = found.pushed(row)
        return out

    grad = NOT_DIFFERENTIABLE


@op("TensorListLength", "input_handle: variant", "length: int32")
class tensor_list_length:
    """How many elements a list has."""

    shape = shapes.scalar

    def kernel(ctx: Any, input_handle: Any) -> Any:
        return np.int32(_list(input_handle).length)

    grad = NOT_DIFFERENTIABLE


@op(
    "TensorListElementShape",
    "input_handle: variant",
    "element_shape: shape_type",
    "shape_type: {int32, int64}",
)
class tensor_list_element_shape:
    """What a list says of the shape of its elements: -1 for what it leaves open, or for all of it."""

    def shape(c: Any, input_handle: Any) -> Any:
        known = element_of(c.inputs[0])
        if known is None:
            return (None,)
        # A list that says nothing gives a scalar, which TensorFlow's inference does not see either.
        return (None if known[0] is None else len(known[0]),)

    def kernel(ctx: Any, input_handle: Any) -> Any:
        shape = _list(input_handle).element_shape
        known = -1 if shape is None else [-1 if d is None else d for d in shape]
        return np.array(known, ctx.attrs["shape_type"].np)

    grad = NOT_DIFFERENTIABLE


@op(
    "TensorListPopBack",
    ["input_handle: variant", "element_shape: int32"],
    ["output_handle: variant", "tensor: element_dtype"],
    _ELEMENT,
)
class tensor_list_pop_back:
    """The list without its last element, and that element."""

    def shape(c: Any, input_handle: Any, element_shape: Any) -> Any:
        return [(), _element(c, _READ)]

    def kernel(ctx: Any, input_handle: Any, element_shape: Any) -> Any:
        found = typed_list(ctx, input_handle)
        if not found.length:
            raise errors.InvalidArgumentError.of("Trying to pop from an empty list.")
        rest, last = found.popped()
        if last is None:
            shape = lists.merged(lists.given_shape(element_shape), found.element_shape)
            if shape is None or None in shape:
                raise errors.InvalidArgumentError.of(
                    "Trying to read an uninitialized tensor but element_shape is not fully defined."
                    f"{fmt(shape)}"
                )
            last = lists.zeros(shape, found.element_dtype)  # type: ignore[arg-type]
        return rest, last

    def grad(op: Any, d_list: Any, d_element: Any) -> Any:
        if d_list is None:
            d_list = _empty_like(op.outputs[0], d_element.dtype)
        return tensor_list_push_back(d_list, d_element), None


def _empty_like(handle: Tensor, dtype: DType) -> Any:
    shape = tensor_list_element_shape(handle, shape_type=dtypes.int32)
    return empty_tensor_list(shape, -1, element_dtype=dtype)


@op(
    "TensorListStack",
    ["input_handle: variant", "element_shape: int32"],
    "tensor: element_dtype",
    ["element_dtype: type", "num_elements: int = -1"],
)
class tensor_list_stack:
    """All elements as rows of one tensor."""

    def shape(c: Any, input_handle: Any, element_shape: Any) -> Any:
        number = c.attrs["num_elements"]
        return _rows(None if number == -1 else number, _with_input(c, 1))

    def kernel(ctx: Any, input_handle: Any, element_shape: Any) -> Any:
        found = typed_list(ctx, input_handle)
        wanted = ctx.attrs["num_elements"]
        if wanted not in (-1, found.length):
            raise errors.InvalidArgumentError.of(
                f"Operation expected a list with {wanted} elements but got a list with {found.length} elements."
            )
        shape = lists.merged(lists.given_shape(element_shape), found.element_shape)
        if not found.length and not lists.fully_defined(shape):
            raise errors.InvalidArgumentError.of(
                f"Tried to stack elements of an empty list with non-fully-defined element_shape: {fmt(shape)}"
            )
        items = found.items()
        known = _filled(
            found,
            shape,
            items,
            "Tried to stack list which only contains uninitialized tensors and has a non-fully-defined "
            "element_shape: {}",
        )
        return lists.stacked(items, known, found.element_dtype)

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import list_ops

        return list_ops.tensor_list_from_tensor(d, element_shape=d.shape[1:]), None


@op(
    "TensorListFromTensor",
    ["tensor: element_dtype", "element_shape: shape_type"],
    "output_handle: variant",
    _SHAPED,
)
class tensor_list_from_tensor:
    """The list of the rows of ``tensor``."""

    def shape(c: Any, tensor: Any, element_shape: Any) -> Any:
        shapes.merge(_without_first(shapes.with_rank_at_least(tensor, 1)), shape_input(c, 1))
        return ()

    def kernel(ctx: Any, tensor: Any, element_shape: Any) -> Any:
        shape = lists.given_shape(element_shape)
        return TensorList(ctx.attrs["element_dtype"], shape, _checked_rows(tensor, shape))

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import array, slicing

        tensor = op.inputs[0]
        if d is None:
            d = _empty_like(op.outputs[0], tensor.dtype)
        shape = slicing.slice(array.shape(tensor), [1], [-1])
        number = tensor._shape[0] if tensor._shape else None
        stacked = tensor_list_stack(
            d, element_shape=shape, element_dtype=tensor.dtype, num_elements=-1 if number is None else number
        )
        return stacked, None


def _checked_rows(tensor: Any, shape: Shape) -> list[Any]:
    if not tensor.ndim:
        raise errors.InvalidArgumentError.of("Tensor must be at least a vector, but saw shape: []")
    if not lists.is_compatible(shape, tensor.shape[1:]):
        raise errors.InvalidArgumentError.of(
            f"Specified a list with shape {fmt(shape)} from a tensor with shape {fmt(tensor.shape[1:])}"
        )
    return lists.rows_of(tensor)


@op(
    "TensorListGetItem",
    ["input_handle: variant", "index: int32", "element_shape: int32"],
    "item: element_dtype",
    _ELEMENT,
)
class tensor_list_get_item:
    """Element ``index``; zeros if it was not set."""

    def shape(c: Any, input_handle: Any, index: Any, element_shape: Any) -> Any:
        return _with_input(c, 2)

    def kernel(ctx: Any, input_handle: Any, index: Any, element_shape: Any) -> Any:
        found = typed_list(ctx, input_handle)
        if not 0 <= index < found.length:
            raise errors.InvalidArgumentError.of(
                f"Trying to access element {index} in a list with {found.length} elements."
            )
        items = found.items()
        if items[index] is not None:
            return items[index]
        shape = lists.merged(lists.given_shape(element_shape), found.element_shape)
        message = (
            "Trying to read an uninitialized tensor but element_shape is not fully defined: {} and no list element "
            "is set."
        )
        return lists.zeros(_filled(found, shape, items, message), found.element_dtype)

    def grad(op: Any, d: Any) -> Any:
        handle, index, _ = op.inputs
        number = tensor_list_length(handle)
        shape = tensor_list_element_shape(handle, shape_type=dtypes.int32)
        empty = tensor_list_reserve(shape, number, element_dtype=d.dtype)
        return tensor_list_set_item(empty, index=index, item=d), None, None


@op(
    "TensorListSetItem",
    ["input_handle: variant", "index: int32", "item: element_dtype"],
    "output_handle: variant",
    _ELEMENT,
)
class tensor_list_set_item:
    """The list with ``item`` as element ``index``."""

    def shape(c: Any, input_handle: Any, index: Any, item: Any) -> Any:
        known = element_of(c.inputs[0])
        if known is not None:
            shapes.merge(item, known[0])
        return ()

    def kernel(ctx: Any, input_handle: Any, index: Any, item: Any) -> Any:
        found = typed_list(ctx, input_handle)
        if not 0 <= index < found.length:
            raise errors.InvalidArgumentError.of(
                f"Trying to modify element {index} in a list with {found.length} elements."
            )
        if not lists.is_compatible(found.element_shape, np.shape(item)):
            raise errors.InvalidArgumentError.of(
                "Tried to set a tensor with incompatible shape at a list index. Item element shape: "
                f"{fmt(np.shape(item))} list shape: {fmt(found.element_shape)}"
            )
        items = list(found.items())
        items[index] = item
        return found.with_items(items)

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import array, list_ops

        _, index, item = op.inputs
        d_list = tensor_list_set_item(d, index=index, item=array.zeros_like(item))
        d_item = list_ops.tensor_list_get_item(
            d, index, element_shape=array.shape(item), element_dtype=item.dtype
        )
        return d_list, None, d_item


@op("TensorListResize", ["input_handle: variant", "size: int32"], "output_handle: variant", stateful=True)
class tensor_list_resize:
    """The list with ``size`` elements: further ones are not set."""

    def shape(c: Any, input_handle: Any, size: Any) -> Any:
        shapes.with_rank(size, 0)
        return ()

    def kernel(ctx: Any, input_handle: Any, size: Any) -> Any:
        if size < 0:
            raise errors.InvalidArgumentError.of(
                f"TensorListSlice expects size to be non-negative. Got: {size}"
            )
        found = _list(input_handle)
        return found.with_items([*found.items()[:size], *[None] * (int(size) - found.length)])

    def grad(op: Any, d: Any) -> Any:
        return tensor_list_resize(d, tensor_list_length(op.inputs[0])), None


@op(
    "TensorListGather",
    ["input_handle: variant", "indices: int32", "element_shape: int32"],
    "values: element_dtype",
    _ELEMENT,
)
class tensor_list_gather:
    """The elements ``indices`` as rows of one tensor."""

    def shape(c: Any, input_handle: Any, indices: Any, element_shape: Any) -> Any:
        shape = _with_input(c, 2)
        return None if shape is None or indices is None else (*indices, *shape)

    def kernel(ctx: Any, input_handle: Any, indices: Any, element_shape: Any) -> Any:
        found = typed_list(ctx, input_handle)
        shape = lists.merged(lists.given_shape(element_shape), found.element_shape)
        if not indices.size and not lists.fully_defined(shape):
            raise errors.InvalidArgumentError.of(
                f"Tried to gather 0-elements from a list with non-fully-defined shape: {fmt(shape)}"
            )
        items = found.items()
        for i in indices.ravel():
            if not 0 <= i < found.length:
                raise errors.InvalidArgumentError.of(
                    f"Index {i} out o range; list only has {found.length} elements."
                )
        chosen = [items[i] for i in indices.ravel()]
        message = "Tried to gather uninitialized tensors from a list with non-fully-defined element_shape: {}"
        return lists.stacked(chosen, _filled(found, shape, chosen, message), found.element_dtype)

    def grad(op: Any, d: Any) -> Any:
        handle, indices, _ = op.inputs
        shape = tensor_list_element_shape(handle, shape_type=dtypes.int32)
        empty = tensor_list_reserve(shape, tensor_list_length(handle), element_dtype=d.dtype)
        return tensor_list_scatter_into_existing_list(empty, tensor=d, indices=indices), None, None


def _scattered(items: list[Any], tensor: Any, indices: Any, length: int) -> list[Any]:
    items = [*items, *[None] * (length - len(items))]
    for i, row in zip(indices, lists.rows_of(tensor), strict=True):
        items[i] = row
    return items


def _scatter_to_new(ctx: Any, tensor: Any, indices: Any, element_shape: Any, number: int) -> TensorList:
    shape = lists.given_shape(element_shape)
    if number < -1:
        raise errors.InvalidArgumentError.of(f"TensorListScatter expects num_elements >= -1, found: {number}")
    _checked_rows(tensor[:0] if tensor.ndim else tensor, shape)
    if len(indices) != len(tensor):
        raise errors.InvalidArgumentError.of(
            f"Invalid number of rows in input tensor. Expected: {len(indices)} Actual: {len(tensor)}"
        )
    for i in indices:
        if i < 0:
            raise errors.InvalidArgumentError.of("Indices in TensorListScatter must all be non-negative.")
        if number != -1 and i >= number:
            raise errors.InvalidArgumentError.of(
                f"TensorListScatter: Trying to scatter at index {i} in list with size {number}"
            )
    length = max(int(max(indices, default=-1)) + 1, number)
    return TensorList(ctx.attrs["element_dtype"], shape, _scattered([], tensor, indices, length))


def _scatter_grad(op: Any, d: Any) -> Any:
    from kvarn.ops import array, slicing

    tensor, indices = op.inputs[:2]
    shape = slicing.slice(array.shape(tensor), [1], [-1])
    d_tensor = tensor_list_gather(d, indices, element_shape=shape, element_dtype=tensor.dtype)
    return (d_tensor, *[None] * (len(op.inputs) - 1))


@op(
    "TensorListScatter",
    ["tensor: element_dtype", "indices: int32", "element_shape: shape_type"],
    "output_handle: variant",
    _SHAPED,
)
class tensor_list_scatter:
    """The list with the rows of ``tensor`` as its elements ``indices``."""

    shape = shapes.scalar

    def kernel(ctx: Any, tensor: Any, indices: Any, element_shape: Any) -> Any:
        return _scatter_to_new(ctx, tensor, indices, element_shape, -1)

    grad = _scatter_grad


@op(
    "TensorListScatterV2",
    ["tensor: element_dtype", "indices: int32", "element_shape: shape_type", "num_elements: int32"],
    "output_handle: variant",
    _SHAPED,
)
class tensor_list_scatter_v2:
    """The list of ``num_elements`` elements, or as many as needed, with the rows of ``tensor`` at ``indices``."""

    shape = shapes.scalar

    def kernel(ctx: Any, tensor: Any, indices: Any, element_shape: Any, num_elements: Any) -> Any:
        return _scatter_to_new(ctx, tensor, indices, element_shape, int(num_elements))

    grad = _scatter_grad


@op(
    "TensorListScatterIntoExistingList",
    ["input_handle: variant", "tensor: element_dtype", "indices: int32"],
    "output_handle: variant",
    _ELEMENT,
)
class tensor_list_scatter_into_existing_list:
    """The list with the rows of ``tensor`` as its elements ``indices``."""

    def shape(c: Any, input_handle: Any, tensor: Any, indices: Any) -> Any:
        shapes.with_rank_at_least(tensor, 1)
        shapes.with_rank(indices, 1)
        return ()

    def kernel(ctx: Any, input_handle: Any, tensor: Any, indices: Any) -> Any:
        found = typed_list(ctx, input_handle)
        if indices.ndim != 1:
            raise errors.InvalidArgumentError.of(
                f"Expected indices to be a vector, but received shape: {fmt(indices.shape)}"
            )
        _checked_rows(tensor[:0] if tensor.ndim else tensor, None)
        if len(indices) != len(tensor):
            raise errors.InvalidArgumentError.of(
                f"Expected len(indices) == tensor.shape[0], but saw: {len(indices)} vs. {len(tensor)}"
            )
        if any(i < 0 for i in indices):
            raise errors.InvalidArgumentError.of("Indices in TensorListScatter must all be non-negative.")
        length = max(int(max(indices, default=-1)) + 1, found.length)
        return found.with_items(_scattered(found.items(), tensor, indices, length))

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import array, slicing

        _, tensor, indices = op.inputs
        shape = slicing.slice(array.shape(tensor), [1], [-1])
        d_tensor = tensor_list_gather(d, indices, element_shape=shape, element_dtype=tensor.dtype)
        zeros = array.zeros_like(tensor)
        return tensor_list_scatter_into_existing_list(d, tensor=zeros, indices=indices), d_tensor, None


@op(
    "TensorListConcatLists",
    ["input_a: variant", "input_b: variant"],
    "output: variant",
    _ELEMENT,
)
class tensor_list_concat_lists:
    """A list with the elements of two lists; of vectors of lists, pair by pair."""

    def shape(c: Any, input_a: Any, input_b: Any) -> Any:
        for x, name in zip(c.inputs, ("input_a", "input_b"), strict=True):
            known = element_of(x)
            if known is not None and known[1] is not c.attrs["element_dtype"]:
                raise ValueError(
                    f"{name}.type != element_dtype: {type_text(known[1])} vs. {type_text(c.attrs['element_dtype'])}"
                )
        return shapes.merge(input_a, input_b)

    def kernel(ctx: Any, input_a: Any, input_b: Any) -> Any:
        if input_a.shape != input_b.shape:
            raise errors.InvalidArgumentError.of(
                f"Incompatible input TensorList tensor shapes: {fmt(input_a.shape)} vs. {fmt(input_b.shape)}"
            )
        if input_a.ndim == 0:
            return _joined(ctx, 0, input_a, input_b)
        out = np.empty(input_a.shape, object)
        for i, (a, b) in enumerate(zip(input_a.ravel(), input_b.ravel(), strict=True)):
            out.ravel()[i] = _joined(ctx, i, a, b)
        return out

    grad = NOT_DIFFERENTIABLE


def _joined(ctx: Any, i: int, input_a: Any, input_b: Any) -> TensorList:
    a, b = _list(input_a), _list(input_b)
    wanted = ctx.attrs["element_dtype"]
    for x, name in ((a, "input_a"), (b, "input_b")):
        if x.element_dtype is not wanted:
            raise errors.InvalidArgumentError.of(
                f"{name}[{i}].dtype != element_dtype.  Saw: {type_text(x.element_dtype)} vs. {type_text(wanted)}"
            )
    if a.element_shape != b.element_shape:
        raise errors.InvalidArgumentError.of(
            f"input_a and input_b TensorList element shapes are not identical at index {i}.  Saw "
            f"{fmt(a.element_shape)} vs. {fmt(b.element_shape)}"
        )
    return a.with_items([*a.items(), *b.items()])
