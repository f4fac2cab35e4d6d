"""`tf.TensorArray`: tensors by number, for loops to read and write.

Source: tensorflow/python/ops/tensor_array_ops.py (1.15).
"""

from __future__ import annotations

import contextlib
from typing import Any

from kvarn import dtypes, tf_logging
from kvarn.graph import tensor_util
from kvarn.graph.control_flow_util import EnableControlFlowV2
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import colocate_with, control_dependencies, device, get_default_graph, name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.ops import array, casting, ranges, slicing
from kvarn.ops import tensor_array_ops as ops


class TensorArray:
    """An array of tensors of one element type.

    Everything that changes it returns a new object, whose *flow* says what came before; use that one.

    Args:
      dtype: element type.
      size: scalar int32.
      dynamic_size: writing behind the end makes it longer.
      clear_after_read: an element may be read once; True by default.
      tensor_array_name: for messages.
      handle, flow: of an array that exists, in place of ``size``.
      infer_shape: all elements have the same shape.
      element_shape: what is known of it.
      colocate_with_first_write_call: place it with what is first written to it.

    Raises:
      ValueError: arguments for a new array and for one that exists.
      TypeError: ``handle`` is no Tensor.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> TensorArray:
        # An array is a list of tensors where conditionals and loops are functions, and where its flow is one.
        flow = kwargs.get("flow", args[6] if len(args) > 6 else None)
        is_list = isinstance(flow, Tensor) and flow.dtype is dtypes.variant
        if cls is TensorArray and (is_list or EnableControlFlowV2(get_default_graph())):
            from kvarn.ops.list_tensor_array import ListTensorArray

            return object.__new__(ListTensorArray)
        return object.__new__(cls)

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
        if handle is not None:
            if tensor_array_name:
                raise ValueError("Cannot construct with both handle and tensor_array_name")
            if not isinstance(handle, Tensor):
                raise TypeError("Handle must be a Tensor")
            new_only = {
                "size": size,
                "element_shape": element_shape,
                "dynamic_size": dynamic_size,
                "clear_after_read": clear_after_read,
            }
            for what, value in new_only.items():
                if value is not None:
                    raise ValueError(f"Cannot provide both a handle and {what} at the same time")
        elif size is None:
            raise ValueError("Size must be provided if handle is not provided")
        self._dynamic_size = dynamic_size or False
        self._dtype = dtypes.as_dtype(dtype).base_dtype
        self._colocate_with_first_write_call = colocate_with_first_write_call
        # Shared with the objects that changes give, as is the shape.
        self._colocate_with: list[Tensor] = []
        self._element_shape: list[TensorShape] = [as_shape(element_shape)]
        self._infer_shape = infer_shape
        with name_scope(name, "TensorArray", [x for x in (handle, size, flow) if x is not None]) as scope:
            if handle is not None:
                if flow is None:
                    raise ValueError("flow must not be None if handle is not None.")
                self._handle, self._flow = handle, flow
                return
            with contextlib.ExitStack() as stack:
                if colocate_with_first_write_call:
                    stack.enter_context(device(None))
                    stack.enter_context(colocate_with(None, ignore_existing=True))
                self._handle, self._flow = ops.tensor_array_v3(
                    size=size,
                    dtype=self._dtype,
                    element_shape=element_shape,
                    identical_element_shapes=infer_shape,
                    dynamic_size=self._dynamic_size,
                    clear_after_read=True if clear_after_read is None else clear_after_read,
                    tensor_array_name=tensor_array_name or "",
                    name=scope,
                )

    @property
    def flow(self) -> Tensor:
        """The scalar that stands for all that has been done with the array."""
        return self._flow

    @property
    def dtype(self) -> dtypes.DType:
        return self._dtype

    @property
    def handle(self) -> Tensor:
        return self._handle

    @property
    def dynamic_size(self) -> bool:
        return self._dynamic_size

    @property
    def element_shape(self) -> TensorShape:
        """What is known of the shape of the elements."""
        return self._element_shape[0]

    def _with_flow(self, flow: Tensor) -> TensorArray:
        if EnableControlFlowV2(get_default_graph()):
            raise NotImplementedError(
                "Attempting to build a graph-mode TF2-style TensorArray from either an eager-mode TensorArray or a "
                "TF1-style TensorArray.  This is not currently supported.  You may be attempting to capture a "
                "TensorArray inside a tf.function or tf.data map function. Instead, construct a new TensorArray "
                "inside the function."
            )
        new = TensorArray(
            dtype=self._dtype,
            handle=self._handle,
            flow=flow,
            infer_shape=self._infer_shape,
            colocate_with_first_write_call=self._colocate_with_first_write_call,
        )
        new._dynamic_size = self._dynamic_size
        new._colocate_with = self._colocate_with
        new._element_shape = self._element_shape
        return new

    def _check_element_shape(self, shape: TensorShape) -> None:
        if not shape.is_compatible_with(self.element_shape):
            raise ValueError(f"Inconsistent shapes: saw {shape} but expected {self.element_shape} ")
        if self._infer_shape:
            self._element_shape[0] = self.element_shape.merge_with(shape)

    def _maybe_colocate_with(self, value: Tensor) -> Any:
        if not self._colocate_with_first_write_call:
            return contextlib.nullcontext()
        if not self._colocate_with:
            self._colocate_with.append(value)
        return colocate_with(self._colocate_with[0])

    def _value(self, value: Any) -> Tensor:
        tensor = convert_to_tensor(value, preferred_dtype=self._dtype, name="value")
        if tensor.dtype is not self._dtype:
            tf_logging.error(
                "Input value %s has dtype %s, but expected dtype %s.", tensor, tensor.dtype, self._dtype
            )
        return tensor

    def identity(self) -> TensorArray:
        """The same array behind an identity of its flow."""
        return self._with_flow(array.identity(self._flow))

    def grad(self, source: str, flow: Tensor | None = None, name: str | None = None) -> TensorArray:
        """The array of its gradients for the call of `tf.gradients` that ``source`` names."""
        flow = self.flow if flow is None else flow
        with name_scope(name, "TensorArrayGrad", [self._handle]), colocate_with(self._handle):
            handle, _ = ops.tensor_array_grad_v3(self._handle, flow, source=source, name=name)
            with control_dependencies([handle]):
                flow = array.identity(flow, name="gradient_flow")
            gradients = TensorArray(
                dtype=self._dtype,
                handle=handle,
                flow=flow,
                infer_shape=self._infer_shape,
                colocate_with_first_write_call=False,
            )
            gradients._element_shape = self._element_shape
            return gradients

    def read(self, index: Any, name: str | None = None) -> Tensor:
        """Element ``index``."""
        value: Tensor = ops.tensor_array_read_v3(
            self._handle, index, self._flow, dtype=self._dtype, name=name
        )
        value.set_shape(self.element_shape)
        return value

    def write(self, index: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array with ``value`` as element ``index``; ValueError if its shape does not fit."""
        with name_scope(name, "TensorArrayWrite", [self._handle, index, value]):
            value = self._value(value)
            self._check_element_shape(value.shape)
            with self._maybe_colocate_with(value):
                flow = ops.tensor_array_write_v3(self._handle, index, value, self._flow, name=name)
            return self._with_flow(flow)

    def stack(self, name: str | None = None) -> Tensor:
        """All elements as rows of one tensor."""
        with colocate_with(self._handle), name_scope(name, "TensorArrayStack", [self._handle]):
            return self.gather(ranges.range(0, self.size()), name=name)

    def gather(self, indices: Any, name: str | None = None) -> Tensor:
        """The elements ``indices`` as rows of one tensor."""
        value: Tensor = ops.tensor_array_gather_v3(
            self._handle,
            indices,
            self._flow,
            dtype=self._dtype,
            element_shape=self.element_shape,
            name=name,
        )
        if self.element_shape.dims is not None:
            value.set_shape([None, *self.element_shape.as_list()])
        return value

    def concat(self, name: str | None = None) -> Tensor:
        """All elements one after the other along their first dimension."""
        value: Tensor
        value, _ = ops.tensor_array_concat_v3(
            self._handle,
            self._flow,
            dtype=self._dtype,
            element_shape_except0=self.element_shape[1:],
            name=name,
        )
        if self.element_shape.dims is not None:
            value.set_shape([None, *self.element_shape.as_list()[1:]])
        return value

    def unstack(self, value: Any, name: str | None = None) -> TensorArray:
        """The array with the rows of ``value`` as its elements."""
        with name_scope(name, "TensorArrayUnstack", [self._handle, value]):
            count = slicing.slice_helper(array.shape(value), 0)
            return self.scatter(indices=ranges.range(0, count), value=value, name=name)

    def scatter(self, indices: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array with the rows of ``value`` as the elements ``indices``."""
        with name_scope(name, "TensorArrayScatter", [self._handle, value, indices]):
            value = self._value(value)
            self._check_element_shape(value.shape[1:])
            with self._maybe_colocate_with(value):
                flow = ops.tensor_array_scatter_v3(self._handle, indices, value, self._flow, name=name)
            return self._with_flow(flow)

    def split(self, value: Any, lengths: Any, name: str | None = None) -> TensorArray:
        """The array with parts of ``value``, as long as ``lengths`` says, as its elements."""
        with name_scope(name, "TensorArraySplit", [self._handle, value, lengths]):
            value = convert_to_tensor(value, dtype=self._dtype, name="value")
            with self._maybe_colocate_with(value):
                lengths = casting.cast(lengths, dtypes.int64)
                known = tensor_util.constant_value(lengths)
                if (
                    value.shape.dims is not None
                    and known is not None
                    and known.shape
                    and (known.max() == known.min())
                ):
                    self._check_element_shape(TensorShape([int(known[0])]).concatenate(value.shape[1:]))
                flow = ops.tensor_array_split_v3(self._handle, value, lengths, self._flow, name=name)
            return self._with_flow(flow)

    def size(self, name: str | None = None) -> Tensor:
        """How many elements there are, scalar int32."""
        found: Tensor = ops.tensor_array_size_v3(self._handle, self._flow, name=name)
        return found

    def mark_used(self) -> None:
        """Says that nothing will be done with what a method gave; TensorFlow warns without it."""

    def close(self, name: str | None = None) -> Operation:
        """An operation that drops all elements."""
        closing: Operation = ops.tensor_array_close_v3(self._handle, name=name)
        return closing


def flow_of(value: Any) -> Any:
    """What stands for ``value`` in a loop or conditional: the flow of a `TensorArray`, else itself."""
    return value.flow if isinstance(value, TensorArray) else value


def arrays_of(structure: list[Any], tensors: list[Any]) -> list[Any]:
    """``tensors``, with flows turned back into arrays where ``structure`` has arrays."""
    return [
        original._with_flow(x) if isinstance(original, TensorArray) else x
        for original, x in zip(structure, tensors, strict=True)
    ]
