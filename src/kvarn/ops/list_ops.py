"""Functions of lists of tensors; the operations are in `kvarn.ops.tensor_list_ops`.

Source: tensorflow/python/ops/list_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import Dimension, TensorShape
from kvarn.ops import tensor_list_joining as joining
from kvarn.ops import tensor_list_ops as raw

tensor_list_concat_lists = raw.tensor_list_concat_lists
tensor_list_element_shape = raw.tensor_list_element_shape
tensor_list_length = raw.tensor_list_length
tensor_list_push_back = raw.tensor_list_push_back
tensor_list_push_back_batch = raw.tensor_list_push_back_batch
tensor_list_resize = raw.tensor_list_resize
tensor_list_scatter_into_existing_list = raw.tensor_list_scatter_into_existing_list
tensor_list_concat_v2 = joining.tensor_list_concat_v2


def empty_tensor_list(
    element_shape: Any, element_dtype: Any, max_num_elements: Any = None, name: str | None = None
) -> Any:
    """A list without elements, of any number of them or of at most ``max_num_elements``."""
    return raw.empty_tensor_list(
        element_shape=build_element_shape(element_shape),
        max_num_elements=-1 if max_num_elements is None else max_num_elements,
        element_dtype=element_dtype,
        name=name,
    )


def tensor_list_reserve(
    element_shape: Any, num_elements: Any, element_dtype: Any, name: str | None = None
) -> Any:
    """A list of ``num_elements`` elements that are not set."""
    return raw.tensor_list_reserve(
        element_shape=build_element_shape(element_shape),
        num_elements=num_elements,
        element_dtype=element_dtype,
        name=name,
    )


def tensor_list_from_tensor(tensor: Any, element_shape: Any, name: str | None = None) -> Any:
    """The list of the rows of ``tensor``."""
    return raw.tensor_list_from_tensor(
        tensor=tensor, element_shape=build_element_shape(element_shape), name=name
    )


def tensor_list_get_item(
    input_handle: Any, index: Any, element_dtype: Any, element_shape: Any = None, name: str | None = None
) -> Any:
    """Element ``index``."""
    return raw.tensor_list_get_item(
        input_handle=input_handle,
        index=index,
        element_shape=build_element_shape(element_shape),
        element_dtype=element_dtype,
        name=name,
    )


def tensor_list_pop_back(input_handle: Any, element_dtype: Any, name: str | None = None) -> Any:
    """The list without its last element, and that element."""
    return raw.tensor_list_pop_back(
        input_handle=input_handle, element_shape=-1, element_dtype=element_dtype, name=name
    )


def tensor_list_gather(
    input_handle: Any, indices: Any, element_dtype: Any, element_shape: Any = None, name: str | None = None
) -> Any:
    """The elements ``indices`` as rows of one tensor."""
    return raw.tensor_list_gather(
        input_handle=input_handle,
        indices=indices,
        element_shape=build_element_shape(element_shape),
        element_dtype=element_dtype,
        name=name,
    )


def tensor_list_scatter(
    tensor: Any, indices: Any, element_shape: Any = None, input_handle: Any = None, name: str | None = None
) -> Any:
    """A list, that of ``input_handle`` if it is given, with the rows of ``tensor`` as its elements ``indices``."""
    if input_handle is not None:
        return raw.tensor_list_scatter_into_existing_list(
            input_handle=input_handle, tensor=tensor, indices=indices, name=name
        )
    return raw.tensor_list_scatter_v2(
        tensor=tensor,
        indices=indices,
        element_shape=build_element_shape(element_shape),
        num_elements=-1,
        name=name,
    )


def tensor_list_stack(
    input_handle: Any,
    element_dtype: Any,
    num_elements: int = -1,
    element_shape: Any = None,
    name: str | None = None,
) -> Any:
    """All elements as rows of one tensor; with ``num_elements`` there must be as many."""
    return raw.tensor_list_stack(
        input_handle=input_handle,
        element_shape=build_element_shape(element_shape),
        element_dtype=element_dtype,
        num_elements=num_elements,
        name=name,
    )


def tensor_list_concat(
    input_handle: Any, element_dtype: Any, element_shape: Any = None, name: str | None = None
) -> Any:
    """All elements one after the other along their first dimension."""
    return joining.tensor_list_concat_v2(
        input_handle=input_handle,
        element_dtype=element_dtype,
        element_shape=build_element_shape(element_shape),
        leading_dims=convert_to_tensor([], dtype=dtypes.int64),
        name=name,
    )[0]


def tensor_list_split(tensor: Any, element_shape: Any, lengths: Any, name: str | None = None) -> Any:
    """The list of the parts of ``tensor``, as long as ``lengths`` says."""
    return joining.tensor_list_split(
        tensor=tensor, element_shape=build_element_shape(element_shape), lengths=lengths, name=name
    )


def tensor_list_set_item(
    input_handle: Any,
    index: Any,
    item: Any,
    resize_if_index_out_of_bounds: bool = False,
    name: str | None = None,
) -> Any:
    """The list with ``item`` as element ``index``; made longer first if that is asked for and needed."""
    if resize_if_index_out_of_bounds:
        from kvarn.ops import conditional

        size, short = raw.tensor_list_length(input_handle), input_handle
        input_handle = conditional.cond(
            index >= size, lambda: raw.tensor_list_resize(short, index + 1), lambda: short
        )
    return raw.tensor_list_set_item(input_handle=input_handle, index=index, item=item, name=name)


def build_element_shape(shape: Any) -> Any:
    """The shape of elements as the operations take it.

    Args:
      shape: a tensor, TensorShape, list of dimensions, or None.

    Returns:
      What has no None in it: -1 stands for what is open.
    """
    if isinstance(shape, Tensor):
        return shape
    if isinstance(shape, TensorShape):
        shape = None if shape.dims is None else shape.as_list()
    if shape is None:
        return -1
    if not shape:
        return convert_to_tensor(shape, dtype=dtypes.int32)
    dims = [d.value if isinstance(d, Dimension) else d for d in shape]
    return [-1 if d is None else d for d in dims]
