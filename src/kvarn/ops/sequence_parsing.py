"""SequenceExamples by a description of their features.

Source: tensorflow/python/ops/parsing_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.ops import array
from kvarn.ops.parsing import (
    FixedLenFeature,
    FixedLenSequenceFeature,
    SparseFeature,
    VarLenFeature,
    as_name,
    fixed_shape,
)
from kvarn.ops.sequence_examples import parse_sequence_example_, parse_single_sequence_example_


class _Part:
    """The features of a context, or lists of features, as the operations take them."""

    def __init__(self, features: Mapping[str, Any] | None, dense_kind: type) -> None:
        self.sparse_keys: list[str] = []
        self.sparse_types: list[Any] = []
        self.dense_keys: list[str] = []
        self.dense_types: list[Any] = []
        self.dense_shapes: list[TensorShape] = []
        self.defaults: dict[str, Any] = {}
        for key in sorted(features or {}):
            feature = (features or {})[key]
            if isinstance(feature, (VarLenFeature, SparseFeature, FixedLenFeature, FixedLenSequenceFeature)):
                if not isinstance(feature, (VarLenFeature, dense_kind)):
                    raise ValueError(f"Unsupported {type(feature).__name__} {feature}.")
                self._add(key, feature)
            else:
                raise ValueError(f"Invalid feature {key}:{feature}.")

    def _add(self, key: str, feature: Any) -> None:
        if not feature.dtype:
            raise ValueError(f"Missing type for feature {key}.")
        dtype = dtypes.as_dtype(feature.dtype)
        if isinstance(feature, VarLenFeature):
            self.sparse_keys.append(key)
            self.sparse_types.append(dtype)
            return
        if feature.shape is None:
            raise ValueError(f"Missing shape for feature {key}.")
        is_list = isinstance(feature, FixedLenSequenceFeature)
        self.dense_keys.append(key)
        self.dense_types.append(dtype)
        self.dense_shapes.append(as_shape(feature.shape) if is_list else fixed_shape(key, feature))
        if is_list and feature.allow_missing:
            self.defaults[key] = None
        if feature.default_value is not None:
            self.defaults[key] = feature.default_value

    def missing_assumed_empty(self) -> list[str]:
        """The lists that an example need not have."""
        for key, value in self.defaults.items():
            if value is not None:
                raise ValueError(f"Value feature_list_dense_defaults[{key}] must be None")
        return list(self.defaults)

    def default_tensors(self, reshaped: bool) -> list[Tensor]:
        """A default for each dense feature; an empty one if there is none."""
        return [
            self._default(key, dtype, shape if reshaped else None)
            for key, dtype, shape in zip(self.dense_keys, self.dense_types, self.dense_shapes, strict=True)
        ]

    def _default(self, key: str, dtype: Any, shape: TensorShape | None) -> Any:
        value = self.defaults.get(key)
        if value is None:
            return constant([], dtype=dtype)
        if isinstance(value, Tensor):
            return value
        tensor = convert_to_tensor(value, dtype=dtype, name="key_" + as_name(key))
        return tensor if shape is None else array.reshape(tensor, shape)

    def named(self, indices: Any, values: Any, dims: Any, dense: Any) -> dict[str, Any]:
        """What the operations give, by key."""
        sparse = [SparseTensor(*parts) for parts in zip(indices, values, dims, strict=True)]
        return dict(zip(self.sparse_keys + self.dense_keys, sparse + list(dense), strict=True))


def _parts(context_features: Any, sequence_features: Any) -> tuple[_Part, _Part]:
    if not (context_features or sequence_features):
        raise ValueError("Missing features.")
    return _Part(context_features, FixedLenFeature), _Part(sequence_features, FixedLenSequenceFeature)


def parse_single_sequence_example(
    serialized: Any,
    context_features: Mapping[str, Any] | None = None,
    sequence_features: Mapping[str, Any] | None = None,
    example_name: Any = None,
    name: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A serialized SequenceExample as tensors.

    Args:
      serialized: a string.
      context_features: by key a `FixedLenFeature` (Tensors) or `VarLenFeature` (SparseTensors).
      sequence_features: by key a `FixedLenSequenceFeature`, which becomes a Tensor of shape [length of the list,
        …] and must be there unless ``allow_missing``, or a `VarLenFeature`, which becomes a SparseTensor of rank 2.
      example_name: a string, for messages.

    Returns:
      (tensors of the context by key, tensors of the lists by key).

    Raises:
      ValueError: there is no feature, or a wrong one.
      InvalidArgumentError (when run): it is no SequenceExample, or a feature is missing, or has another type or
        size.
    """
    context, lists = _parts(context_features, sequence_features)
    with name_scope(name, "ParseSingleSequenceExample", [serialized]):
        may_miss = lists.missing_assumed_empty()
        outputs = parse_single_sequence_example_(
            serialized=serialized,
            debug_name="" if example_name is None else example_name,
            context_dense_defaults=context.default_tensors(reshaped=True),
            context_sparse_keys=context.sparse_keys,
            context_sparse_types=context.sparse_types,
            context_dense_keys=context.dense_keys,
            context_dense_shapes=context.dense_shapes,
            feature_list_sparse_keys=lists.sparse_keys,
            feature_list_sparse_types=lists.sparse_types,
            feature_list_dense_keys=lists.dense_keys,
            feature_list_dense_types=lists.dense_types,
            feature_list_dense_shapes=lists.dense_shapes,
            feature_list_dense_missing_assumed_empty=may_miss,
            name=name,
        )
    return context.named(*outputs[:4]), lists.named(*outputs[4:])


def parse_sequence_example(
    serialized: Any,
    context_features: Mapping[str, Any] | None = None,
    sequence_features: Mapping[str, Any] | None = None,
    example_names: Any = None,
    name: str | None = None,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A batch of serialized SequenceExamples as tensors, which have n as their first dimension.

    Args:
      serialized: strings [n].
      context_features, sequence_features: as `parse_single_sequence_example` takes them; the rows of lists that
        are shorter than the longest are followed by zeros or empty strings.
      example_names: strings [n], for messages.

    Returns:
      (tensors of the context by key, tensors of the lists by key, lengths [n] of the dense lists by key).

    Raises:
      ValueError, InvalidArgumentError: as of `parse_single_sequence_example`.
    """
    context, lists = _parts(context_features, sequence_features)
    with name_scope(name, "ParseSequenceExample", [serialized]):
        may_miss = lists.missing_assumed_empty()
        outputs = parse_sequence_example_(
            serialized=serialized,
            debug_name=[] if example_names is None else example_names,
            Ncontext_sparse=len(context.sparse_keys),
            Ncontext_dense=len(context.dense_keys),
            Nfeature_list_sparse=len(lists.sparse_keys),
            Nfeature_list_dense=len(lists.dense_keys),
            context_dense_defaults=context.default_tensors(reshaped=False),
            context_sparse_keys=context.sparse_keys,
            context_sparse_types=context.sparse_types,
            context_dense_keys=context.dense_keys,
            context_dense_shapes=context.dense_shapes,
            feature_list_sparse_keys=lists.sparse_keys,
            feature_list_sparse_types=lists.sparse_types,
            feature_list_dense_keys=lists.dense_keys,
            feature_list_dense_types=lists.dense_types,
            feature_list_dense_shapes=lists.dense_shapes,
            feature_list_dense_missing_assumed_empty=may_miss,
            name=name,
        )
    lengths = dict(zip(lists.dense_keys, outputs[8], strict=True))
    return context.named(*outputs[:4]), lists.named(*outputs[4:8]), lengths
