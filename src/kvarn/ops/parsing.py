"""Examples by a description of their features.

Source: tensorflow/python/ops/parsing_ops.py (1.15).
"""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from kvarn import dtypes, tf_logging
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.ops import array, control, math
from kvarn.ops.examples import parse_example_, parse_single_example_
from kvarn.ops.sparse_shape import sparse_merge


class VarLenFeature(NamedTuple):
    """A feature of any number of values, as a SparseTensor."""

    dtype: Any


class SparseFeature(
    collections.namedtuple(
        "SparseFeature", "index_key value_key dtype size already_sorted", defaults=(False,)
    )
):
    """Two or more features as one SparseTensor.

    Args:
      index_key: the feature of the indices, or a list of them, one for each dimension.
      value_key: the feature of the values.
      dtype: of the values.
      size: of the dimension, or a list of sizes.
      already_sorted: whether the indices are in order.
    """

    __slots__ = ()


class FixedLenFeature(
    collections.namedtuple("FixedLenFeature", "shape dtype default_value", defaults=(None,))
):
    """A feature of a known number of values, as a Tensor.

    Args:
      shape: of an example.
      dtype: of the values.
      default_value: for examples that have none; without it, they are an error.
    """

    __slots__ = ()


class FixedLenSequenceFeature(
    collections.namedtuple(
        "FixedLenSequenceFeature", "shape dtype allow_missing default_value", defaults=(False, None)
    )
):
    """A feature of any number of rows, as a Tensor that is padded to the longest of a batch.

    Args:
      shape: of a row.
      dtype: of the values.
      allow_missing: whether there may be none; must be true for Examples.
      default_value: the padding; 0 or an empty string by default.
    """

    __slots__ = ()


def fixed_shape(key: str, feature: FixedLenFeature) -> TensorShape:
    """The shape of a feature; ValueError if it is not known."""
    shape = as_shape(feature.shape)
    if shape.ndims and shape.as_list()[0] is None:
        raise ValueError(
            f"First dimension of shape for feature {key} unknown. Consider using FixedLenSequenceFeature."
        )
    if not shape.is_fully_defined():
        raise ValueError(
            f"All dimensions of shape for feature {key} need to be known but received {feature.shape}."
        )
    return shape


def as_name(key: str) -> str:
    """A key as a part of the name of a node."""
    return re.sub(r"[^A-Za-z0-9_.\-/]", "_", key)


class _Raw:
    """Features as the operations take them: keys, types, shapes and defaults, dense and sparse."""

    def __init__(self, features: Mapping[str, Any]) -> None:
        self.sparse_keys: list[str] = []
        self.sparse_types: list[Any] = []
        self.dense_keys: list[str] = []
        self.dense_types: list[Any] = []
        self.dense_shapes: list[Any] = []
        self.defaults: dict[str, Any] = {}
        for key in sorted(features):
            self._add(key, features[key])
        common = set(self.dense_keys).intersection(self.sparse_keys)
        if common:
            raise ValueError(f"Dense and sparse keys must not intersect; intersection: {common}")

    def _add(self, key: str, feature: Any) -> None:
        if isinstance(feature, SparseFeature):
            self._add_sparse_feature(key, feature)
        elif not isinstance(feature, (VarLenFeature, FixedLenFeature, FixedLenSequenceFeature)):
            raise ValueError(f"Invalid feature {key}:{feature}.")
        elif not feature.dtype:
            raise ValueError(f"Missing type for feature {key}.")
        elif isinstance(feature, VarLenFeature):
            self.sparse_keys.append(key)
            self.sparse_types.append(dtypes.as_dtype(feature.dtype))
        else:
            self._add_dense(key, feature)

    def _add_dense(self, key: str, feature: Any) -> None:
        if feature.shape is None:
            raise ValueError(f"Missing shape for feature {key}.")
        if isinstance(feature, FixedLenSequenceFeature):
            if not feature.allow_missing:
                raise ValueError("Unsupported: FixedLenSequenceFeature requires allow_missing to be True.")
            shape = as_shape([None, *feature.shape])
        else:
            shape = fixed_shape(key, feature)
        self.dense_keys.append(key)
        self.dense_shapes.append(shape)
        self.dense_types.append(dtypes.as_dtype(feature.dtype))
        if feature.default_value is not None:
            self.defaults[key] = feature.default_value

    def _add_sparse_feature(self, key: str, feature: SparseFeature) -> None:
        for part in ("index_key", "value_key"):
            if not getattr(feature, part):
                raise ValueError(f"Missing {part} for SparseFeature {feature}.")
        if not feature.dtype:
            raise ValueError(f"Missing type for feature {key}.")
        keys = [feature.index_key] if isinstance(feature.index_key, str) else feature.index_key
        if len(keys) > 1:
            tf_logging.warning(
                "SparseFeature is a complicated feature config and should only be used after careful "
                "consideration of VarLenFeature."
            )
        for index_key in sorted(keys):
            self._add_part(index_key, dtypes.int64)
        self._add_part(feature.value_key, dtypes.as_dtype(feature.dtype))

    def _add_part(self, key: str, dtype: Any) -> None:
        if key not in self.sparse_keys:
            self.sparse_keys.append(key)
            self.sparse_types.append(dtype)
            return
        other = self.sparse_types[self.sparse_keys.index(key)]
        if other is not dtype:
            raise ValueError(f"Conflicting type {other} vs {dtype.name} for feature {key}.")

    def default_tensors(self) -> list[Tensor]:
        """A default for each dense feature; an empty one if there is none."""
        return [
            self._default(key, dtype, shape)
            for key, dtype, shape in zip(self.dense_keys, self.dense_types, self.dense_shapes, strict=True)
        ]

    def _default(self, key: str, dtype: Any, shape: TensorShape) -> Any:
        value, name = self.defaults.get(key), as_name(key)
        if shape.ndims and shape.as_list()[0] is None:
            if value is None:
                return convert_to_tensor("" if dtype is dtypes.string else 0, dtype=dtype)
            return array.reshape(convert_to_tensor(value, dtype=dtype, name="padding_" + name), [])
        if value is None:
            return constant([], dtype=dtype)
        if isinstance(value, Tensor):
            return value
        return array.reshape(convert_to_tensor(value, dtype=dtype, name="key_" + name), shape)

    def named(self, outputs: Any) -> dict[str, Any]:
        """What the operations give, by key."""
        indices, values, dims, dense = outputs
        sparse = [SparseTensor(*parts) for parts in zip(indices, values, dims, strict=True)]
        return dict(zip(self.sparse_keys + self.dense_keys, sparse + list(dense), strict=True))


def _merged(features: Mapping[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """What was parsed for ``features``, `SparseFeature`s put together."""
    found = dict(tensors)
    for key in sorted(features):
        feature = features[key]
        if isinstance(feature, SparseFeature):
            one = isinstance(feature.index_key, str)
            ids = found[feature.index_key] if one else [found[k] for k in feature.index_key]
            found[key] = sparse_merge(
                ids, found[feature.value_key], vocab_size=feature.size, already_sorted=feature.already_sorted
            )
    return {key: value for key, value in found.items() if key in features}


def parse_example(
    serialized: Any, features: Mapping[str, Any], name: str | None = None, example_names: Any = None
) -> dict[str, Any]:
    """A batch of serialized Examples as tensors.

    Args:
      serialized: strings [n].
      features: by key a `FixedLenFeature`, `FixedLenSequenceFeature` (Tensors), `VarLenFeature` or `SparseFeature`
        (SparseTensors); all have n as their first dimension.
      example_names: strings [n], for messages.

    Returns:
      Tensors by key.

    Raises:
      ValueError: there is no feature, or a wrong one.
      InvalidArgumentError (when run): an example is none, or a feature is missing, or has another type or size.
    """
    return parse_example_v2(serialized, features, example_names, name)


def parse_example_v2(
    serialized: Any, features: Mapping[str, Any], example_names: Any = None, name: str | None = None
) -> dict[str, Any]:
    """`parse_example` with the arguments in another order."""
    if not features:
        raise ValueError(f"Missing: features was {features}.")
    return _merged(features, _parsed(serialized, _Raw(features), example_names, name))


def _parsed(serialized: Any, raw: _Raw, names: Any, name: str | None) -> dict[str, Any]:
    with name_scope(name, "ParseExample", [serialized, names]):
        outputs = parse_example_(
            serialized=serialized,
            names=[] if names is None else names,
            dense_defaults=raw.default_tensors(),
            sparse_keys=raw.sparse_keys,
            sparse_types=raw.sparse_types,
            dense_keys=raw.dense_keys,
            dense_shapes=raw.dense_shapes,
            name=name,
        )
        return raw.named(outputs)


def parse_single_example(
    serialized: Any, features: Mapping[str, Any], name: str | None = None, example_names: Any = None
) -> dict[str, Any]:
    """A serialized Example as tensors.

    Args:
      serialized: a string.
      features: by key a `FixedLenFeature`, `FixedLenSequenceFeature` (Tensors), `VarLenFeature` or `SparseFeature`
        (SparseTensors).
      example_names: a string, for messages.

    Returns:
      Tensors by key.

    Raises:
      ValueError: there is no feature, or a wrong one.
      InvalidArgumentError (when run): it is no Example, or a feature is missing, or has another type or size.
    """
    return parse_single_example_v2_unoptimized(serialized, features, example_names, name)


def parse_single_example_v2_unoptimized(
    serialized: Any, features: Mapping[str, Any], example_names: Any = None, name: str | None = None
) -> dict[str, Any]:
    """`parse_single_example` with the arguments in another order."""
    if not features:
        raise ValueError("Missing features.")
    raw = _Raw(features)
    if example_names is None:
        return _merged(features, _parsed_alone(serialized, raw, name))
    return _merged(features, _parsed_as_batch(serialized, raw, example_names, name))


def _parsed_alone(serialized: Any, raw: _Raw, name: str | None) -> dict[str, Any]:
    with name_scope(name, "ParseSingleExample", [serialized]):
        serialized = convert_to_tensor(serialized, name="serialized")
        outputs = parse_single_example_(
            serialized=serialized,
            dense_defaults=raw.default_tensors(),
            num_sparse=len(raw.sparse_keys),
            sparse_keys=raw.sparse_keys,
            sparse_types=raw.sparse_types,
            dense_keys=raw.dense_keys,
            dense_shapes=raw.dense_shapes,
            name=name,
        )
        return raw.named(outputs)


def _parsed_as_batch(serialized: Any, raw: _Raw, names: Any, name: str | None) -> dict[str, Any]:
    """The only example of a batch, whose name messages have."""
    with name_scope(name, "ParseSingleExample", [serialized, names]):
        serialized = _as_vector(convert_to_tensor(serialized, name="serialized"), "serialized", "Serialized")
        names = _as_vector(convert_to_tensor(names, dtype=dtypes.string), "names", "Names")
        outputs = _parsed(serialized, raw, names, name)
        for key in raw.dense_keys:
            outputs[key] = array.squeeze(outputs[key], [0], name="Squeeze_" + as_name(key))
        for key in raw.sparse_keys:
            sparse = outputs[key]
            outputs[key] = SparseTensor(
                array.slice(sparse.indices, [0, 1], [-1, -1], name="Slice_Indices_" + as_name(key)),
                sparse.values,
                array.slice(sparse.dense_shape, [1], [-1], name="Squeeze_Shape_" + as_name(key)),
            )
        return outputs


def _as_vector(scalar: Tensor, word: str, label: str) -> Tensor:
    rank = scalar.get_shape().ndims
    message = f"Input {word} must be a scalar"
    if rank is None:
        check = control.Assert(math.equal(array.rank(scalar), 0), [message], name=f"{label}IsScalar")
        with control_dependencies([check]):
            scalar = array.identity(scalar, name=f"{label}Dependencies")
    elif rank != 0:
        raise ValueError(message)
    found: Tensor = array.expand_dims(scalar, 0)
    return found
