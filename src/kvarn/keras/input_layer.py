"""Where the tensors of a model come in.

Source: tensorflow/python/keras/engine/input_layer.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.keras import backend, sessions
from kvarn.keras.base_layer import Layer
from kvarn.keras.node import KerasHistory, Node


class InputLayer(Layer):
    """A placeholder, or a tensor that is there already, as a layer.

    Args:
      input_shape: without the first dimension; a tuple, a `TensorShape` or an integer.
      batch_size: the first dimension.
      dtype: by default that of the tensor, or float32.
      input_tensor: instead of a placeholder.
      sparse, ragged: refused.
      name: by default ``input_1``, ``input_2`` and so on.
      batch_input_shape: instead of ``input_shape`` and ``batch_size``.

    Attributes:
      is_placeholder: whether arrays are fed.

    Raises:
      ValueError: two shapes, or the type is not the tensor's.
      NotImplementedError: ``sparse`` or ``ragged``.
    """

    def __init__(
        self,
        input_shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        input_tensor: Any = None,
        sparse: bool = False,
        name: str | None = None,
        ragged: bool = False,
        **kwargs: Any,
    ) -> None:
        if sparse or ragged:
            raise NotImplementedError("Inputs of Keras that are sparse or ragged")
        if "batch_input_shape" in kwargs:
            shape = kwargs.pop("batch_input_shape")
            if input_shape and shape:
                raise ValueError(
                    "Only provide the input_shape OR batch_input_shape argument to InputLayer, not both at the "
                    "same time."
                )
            batch_size, input_shape = shape[0], shape[1:]
        if kwargs:
            raise ValueError("Unrecognized keyword arguments:", kwargs.keys())
        kind = dtypes.as_dtype(dtype or (backend.floatx() if input_tensor is None else input_tensor.dtype))
        if input_tensor is not None and input_tensor.dtype != kind:
            raise ValueError(f"`input_tensor.dtype` differs from `dtype`: {input_tensor.dtype} vs. {dtype}")
        super().__init__(dtype=kind, name=name or f"input_{backend.get_uid('input')}")
        self.built = True
        self.sparse = self.ragged = False
        self.batch_size = batch_size
        self.supports_masking = True
        self.is_placeholder = input_tensor is None
        if input_tensor is None:
            self._batch_input_shape = _with_batch_size(input_shape, batch_size)
            input_tensor = sessions.placeholder(self._batch_input_shape, dtype=kind, name=self.name)
        else:
            self._batch_input_shape = tuple(input_tensor.shape.as_list())
        input_tensor._keras_history = KerasHistory(self, 0, 0)
        Node(self, [input_tensor], [input_tensor], is_source=True)

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_input_shape": self._batch_input_shape,
            "dtype": self.dtype,
            "sparse": self.sparse,
            "ragged": self.ragged,
            "name": self.name,
        }


def _with_batch_size(shape: Any, batch_size: int | None) -> Any:
    if isinstance(shape, TensorShape):
        shape = shape.as_list()
    elif isinstance(shape, int):
        shape = [shape]
    return None if shape is None else (batch_size, *shape)


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    name: str | None = None,
    dtype: Any = None,
    sparse: bool = False,
    tensor: Any = None,
    ragged: bool = False,
    **kwargs: Any,
) -> Tensor:
    """A placeholder from which a model can be built.

    Args:
      shape: without the first dimension.
      batch_size: the first dimension.
      name: of the layer and the placeholder.
      dtype: float32 by default.
      sparse, ragged: refused.
      tensor: instead of a placeholder.
      batch_shape, batch_input_shape: the whole shape.

    Raises:
      ValueError: there is no shape, or there are two.
      NotImplementedError: ``sparse`` or ``ragged``.
    """
    whole = kwargs.pop("batch_input_shape", kwargs.pop("batch_shape", None))
    if shape and whole:
        raise ValueError(
            "Only provide the `shape` OR `batch_input_shape` argument to Input, not both at the same time."
        )
    if kwargs:
        raise ValueError("Unrecognized keyword arguments:", kwargs.keys())
    if shape is None and not whole and tensor is None:
        raise ValueError(
            "Please provide to Input either a `shape` or a `tensor` argument. Note that `shape` does not include the "
            "batch dimension."
        )
    shapes: dict[str, Any] = {"batch_size": batch_size, "input_shape": shape}
    if whole:
        shapes = {"batch_input_shape": whole}
    layer = InputLayer(name=name, dtype=dtype, sparse=sparse, ragged=ragged, input_tensor=tensor, **shapes)
    made: Tensor = layer.inbound_nodes[0].output_tensors[0]
    return made
