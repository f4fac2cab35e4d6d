"""`tf.TensorArray` where conditionals and loops are built as functions: a list of tensors.

Source: `_GraphTensorArrayV2` of tensorflow/python/ops/tensor_array_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph import tensor_util
from kvarn.graph.graph import name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.ops import array, casting, list_ops
from kvarn.ops.control import no_op
from kvarn.ops.tensor_array import TensorArray


class ListTensorArray(TensorArray):
    """A `TensorArray` whose flow is a list of tensors.

    It has no handle, keeps what was read, and has no arrays of gradients: gradients go through its flow.
    """

    def __init__(
        self,
        dtype: Any,
        size: Any = None,
        dynamic_size: bool | None = None,
        clear_after_read: bool | None = None,
        tensor_array_name: str | None = None,
        handle: Tensor | None = None,
        flow: Tensor | None = None,
        infer_shape: bool = True,
        element_shape: Any = None,
        colocate_with_first_write_call: bool = True,
        name: str | None = None,
    ) -> None:
        del clear_after_read, tensor_array_name, colocate_with_first_write_call  # lists have nothing of these
        if handle is not None:
            raise ValueError("An array of a list of tensors has no handle.")
        if flow is not None and (not isinstance(flow, Tensor) or flow.dtype is not dtypes.variant):
            raise TypeError("flow must be a variant tensor")
        if flow is None and size is None:
            raise ValueError("Size must be provided if flow is not provided")
        if flow is not None and size is not None:
            raise ValueError("Cannot provide both a flow and size at the same time")
        if flow is not None and element_shape is not None:
            raise ValueError("Cannot provide both a flow and element_shape at the same time")
        self._dynamic_size = dynamic_size or False
        self._dtype = dtypes.as_dtype(dtype).base_dtype
        self._element_shape = [as_shape(element_shape)]
        self._infer_shape = infer_shape
        with name_scope(name, "TensorArrayV2", [x for x in (size, flow) if x is not None]) as scope:
            if flow is None:
                flow = list_ops.tensor_list_reserve(
                    element_shape=element_shape, num_elements=size, element_dtype=self._dtype, name=scope
                )
            self._flow: Tensor = flow

    @property
    def handle(self) -> Any:
        return None

    def _with_flow(self, flow: Tensor) -> TensorArray:
        new = ListTensorArray(
            dtype=self._dtype, flow=flow, dynamic_size=self._dynamic_size, infer_shape=self._infer_shape
        )
        new._element_shape = self._element_shape
        return new

    def identity(self) -> TensorArray:
        return self._with_flow(array.identity(self._flow))

    def grad(self, source: str, flow: Tensor | None = None, name: str | None = None) -> TensorArray:
        raise NotImplementedError("Gradients of an array that is a list of tensors go through its flow.")

    def read(self, index: Any, name: str | None = None) -> Tensor:
        with name_scope(name, "TensorArrayV2Read", [self._flow, index]):
            value: Tensor = list_ops.tensor_list_get_item(
                self._flow, index, element_dtype=self._dtype, element_shape=self.element_shape, name=name
            )
            return value

    def write(self, index: Any, value: Any, name: str | None = None) -> TensorArray:
        with name_scope(name, "TensorArrayV2Write", [self._flow, index, value]):
            value = self._value(value)
            self._check_element_shape(value.shape)
            flow = list_ops.tensor_list_set_item(
                self._flow,
                index=index,
                item=value,
                resize_if_index_out_of_bounds=self._dynamic_size,
                name=name,
            )
            return self._with_flow(flow)

    def stack(self, name: str | None = None) -> Tensor:
        with name_scope(name, "TensorArrayV2Stack", [self._flow]):
            value: Tensor = list_ops.tensor_list_stack(
                self._flow, element_dtype=self._dtype, element_shape=self.element_shape
            )
            return value

    def gather(self, indices: Any, name: str | None = None) -> Tensor:
        value: Tensor = list_ops.tensor_list_gather(
            self._flow, indices, element_dtype=self._dtype, element_shape=self.element_shape, name=name
        )
        return value

    def concat(self, name: str | None = None) -> Tensor:
        known = self.element_shape.dims
        shape = None if known is None else [None, *known[1:]]
        value: Tensor = list_ops.tensor_list_concat(
            self._flow, element_dtype=self._dtype, element_shape=shape, name=name
        )
        return value

    def unstack(self, value: Any, name: str | None = None) -> TensorArray:
        with name_scope(name, "TensorArrayUnstack", [self._flow, value]):
            value = self._value(value)
            self._check_element_shape(value.shape[1:])
            flow = list_ops.tensor_list_from_tensor(value, element_shape=value.shape[1:])
            return self._with_flow(flow)

    def scatter(self, indices: Any, value: Any, name: str | None = None) -> TensorArray:
        with name_scope(name, "TensorArrayScatter", [self._flow, value, indices]):
            value = self._value(value)
            self._check_element_shape(value.shape[1:])
            flow = list_ops.tensor_list_scatter(
                value, indices, element_shape=self.element_shape, input_handle=self._flow
            )
            return self._with_flow(flow)

    def split(self, value: Any, lengths: Any, name: str | None = None) -> TensorArray:
        with name_scope(name, "TensorArraySplit", [self._flow, value, lengths]):
            value = self._value(value)
            lengths = casting.cast(lengths, dtypes.int64)
            known = tensor_util.constant_value(lengths)
            if (
                value.shape.dims is not None
                and known is not None
                and known.shape
                and known.max() == known.min()
            ):
                self._check_element_shape(TensorShape([int(known[0])]).concatenate(value.shape[1:]))
            flow = list_ops.tensor_list_split(
                value, lengths=lengths, element_shape=self.element_shape, name=name
            )
            return self._with_flow(flow)

    def size(self, name: str | None = None) -> Tensor:
        found: Tensor = list_ops.tensor_list_length(self._flow, name=name)
        return found

    def close(self, name: str | None = None) -> Operation:
        closing: Operation = no_op(name=name)
        return closing
