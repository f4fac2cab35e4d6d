"""Embeddings as a layer.

Source: tensorflow/python/keras/layers/embeddings.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.keras import backend, constraints, initializers, regularizers
from kvarn.keras.base_layer import Layer
from kvarn.ops import casting
from kvarn.variables.embedding_ops import embedding_lookup


class Embedding(Layer):
    """A row of a matrix for each id.

    Args:
      input_dim: number of rows; ids are below it.
      output_dim: length of a row.
      embeddings_initializer, embeddings_regularizer, activity_regularizer, embeddings_constraint: functions, or
        names of Keras.
      mask_zero: refused, as there are no masks.
      input_length: number of ids of an example, or a tuple, if a model is to know it.

    Attributes:
      embeddings: [input_dim, output_dim].
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        activity_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        input_length: Any = None,
        **kwargs: Any,
    ) -> None:
        if mask_zero:
            raise TypeError("Masks are not supported: they are passed on by models, which there are none of.")
        kwargs.setdefault("input_shape", (input_length or None,))
        dtype = kwargs.pop("dtype", backend.floatx())
        super().__init__(dtype=dtype, **{**kwargs, "autocast": False})
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.input_length = input_length

    def build(self, input_shape: Any) -> None:
        """Makes the matrix."""
        self.embeddings = self.add_weight(
            shape=(self.input_dim, self.output_dim),
            initializer=self.embeddings_initializer,
            name="embeddings",
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
        )
        self.built = True

    def call(self, inputs: Any) -> Tensor:
        if inputs.dtype.base_dtype not in (dtypes.int32, dtypes.int64):
            inputs = casting.cast(inputs, dtypes.int32)
        found: Tensor = embedding_lookup(self.embeddings, inputs)
        return found

    def compute_output_shape(self, input_shape: Any) -> TensorShape:
        """The shape of the inputs and one more dimension; ValueError if they have not the length that was said."""
        shape = TensorShape(input_shape).as_list()
        if self.input_length is not None:
            lengths = (
                self.input_length if isinstance(self.input_length, (list, tuple)) else [self.input_length]
            )
            if not TensorShape(lengths).is_compatible_with(shape[1:]):
                raise ValueError(
                    f'"input_length" is {self.input_length}, but received input has shape {tuple(shape)}'
                )
            shape = [shape[0], *[a if a is not None else b for a, b in zip(lengths, shape[1:], strict=True)]]
        return TensorShape([*shape, self.output_dim])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "embeddings_constraint": constraints.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
            "input_length": self.input_length,
        }
