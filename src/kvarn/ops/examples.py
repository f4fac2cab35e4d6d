"""Serialized Examples as tensors.

Source: tensorflow/core/ops/parsing_ops.cc, tensorflow/core/kernels/example_parsing_ops.cc, tensorflow/core/util/
example_proto_fast_parsing.cc (1.15).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvarn import dtypes, errors, protos
from kvarn.dtypes import DType
from kvarn.graph import shape_inference as shapes
from kvarn.graph.functions import packed
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import Shape
from kvarn.ops import _text
from kvarn.ops._format import type_text

_TYPES = "list({float,int64,string}) >= 0"
# The list in a Feature for each type, and what messages call it.
_LISTS = {"float_list": dtypes.float32, "int64_list": dtypes.int64, "bytes_list": dtypes.string}
_WORDS = {dtypes.float32: "float", dtypes.int64: "int64", dtypes.string: "bytes"}


@dataclass(frozen=True)
class _Dense:
    """A feature that becomes an array.

    Attributes:
      shape: of an example; the first dimension may be open.
      default: for examples that have none; the padding if the first dimension is open.
    """

    key: str
    dtype: DType
    shape: tuple[int | None, ...]
    default: Any

    @property
    def open(self) -> bool:
        return bool(self.shape) and self.shape[0] is None

    @property
    def stride(self) -> int:
        """How many values make a row, or all if the shape is known."""
        return math.prod(d for d in self.shape if d is not None)

    def fits(self, count: int) -> bool:
        """Whether so many values make an example."""
        return count % max(self.stride, 1) == 0 if self.open else count == self.stride


@dataclass(frozen=True)
class _Sparse:
    """A feature of any number of values."""

    key: str
    dtype: DType


def _parsed(serialized: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return protos.Example.FromString(serialized).features.feature
    except DecodeError:
        raise errors.InvalidArgumentError.of(
            f"Could not parse example input, value: '{serialized.decode(errors='replace')}'"
        ) from None


def _values(features: Any, key: str) -> tuple[DType | None, Any]:
    """The type and values of a feature; None if there is none, or it has no list."""
    if key not in features:
        return None, ()
    feature = features[key]
    kind = feature.WhichOneof("kind")
    return (None, ()) if kind is None else (_LISTS[kind], getattr(feature, kind).value)


class _Problems:
    """How messages name an example of a batch."""

    def __init__(self, name: str, index: int) -> None:
        self._name, self._index = name, index

    def __call__(self, key: str, text: str) -> errors.OpError:
        return errors.InvalidArgumentError.of(
            f"Name: {self._name}, Key: {key}, Index: {self._index}.  {text}"
        )

    def size(self, feature: _Dense, size: int) -> errors.OpError:
        """Of another number of values than there should be."""
        shown, word = shapes.fmt(feature.shape), _WORDS[feature.dtype]
        if feature.open:
            return self(
                feature.key,
                f"Number of {word} values is not a multiple of stride length. Saw {size} values but output shape is: "
                f"{shown}",
            )
        return self(
            feature.key,
            f"Number of {word} values != expected.  Values size: {size} but output shape: {shown}",
        )

    def missing(self, feature: _Dense) -> errors.OpError:
        """Of a feature that must be there."""
        return errors.InvalidArgumentError.of(f"Name: {self._name}, {_required(feature)}")


class _ProblemsOfOne(_Problems):
    """How messages name the only example."""

    def __init__(self) -> None:
        super().__init__("", 0)

    def __call__(self, key: str, text: str) -> errors.OpError:
        return errors.InvalidArgumentError.of(f"Key: {key}.  {text}")

    def size(self, feature: _Dense, size: int) -> errors.OpError:
        return self(feature.key, "Can't parse serialized Example.")

    def missing(self, feature: _Dense) -> errors.OpError:
        return errors.InvalidArgumentError.of(_required(feature))


def _required(feature: _Dense) -> str:
    return (
        f"Feature: {feature.key} (data type: {type_text(feature.dtype)}) is required but could not be found."
    )


def _dense_values(features: Any, feature: _Dense, problems: _Problems) -> Any:
    """The values of one example, None if it has none and there is a default."""
    kind, values = _values(features, feature.key)
    if kind is None:
        if not feature.open and not np.size(feature.default):
            raise problems.missing(feature)
        return None
    if kind is not feature.dtype:
        raise problems(
            feature.key,
            f"Data types don't match. Data type: {type_text(kind)} but expected type: {type_text(feature.dtype)}",
        )
    if not feature.fits(len(values)):
        raise problems.size(feature, len(values))
    return values


def _sparse_values(features: Any, feature: _Sparse, problems: _Problems) -> Any:
    kind, values = _values(features, feature.key)
    if kind is not None and kind is not feature.dtype:
        raise problems(
            feature.key,
            f"Data types don't match. Expected type: {type_text(feature.dtype)}, Actual type: {type_text(kind)}",
        )
    return values


def _array(values: Any, dtype: DType) -> Any:
    if dtype is not dtypes.string:
        return np.array(values, dtype.np)
    out = np.empty(len(values), dtype=object)
    out[:] = list(values)
    return out


def _dense_array(rows: list[Any], feature: _Dense) -> Any:
    """The values of all examples, padded to the longest where the first dimension is open."""
    inner = [d for d in feature.shape if d is not None]
    if not feature.open:
        out = np.empty((len(rows), feature.stride), feature.dtype.np)
        default = None if not np.size(feature.default) else np.reshape(feature.default, -1)
        for i, values in enumerate(rows):
            out[i] = default if values is None else _array(values, feature.dtype)
        return out.reshape(len(rows), *inner)
    longest = max((len(v) for v in rows if v is not None), default=0)
    out = np.empty((len(rows), longest), feature.dtype.np)
    out[...] = np.reshape(feature.default, -1)[0]
    for i, values in enumerate(rows):
        if values is not None:
            out[i, : len(values)] = _array(values, feature.dtype)
    return out.reshape(len(rows), longest // max(feature.stride, 1), *inner)


def _sparse_arrays(rows: list[Any], feature: _Sparse) -> tuple[Any, Any, Any]:
    """Indices, values and shape of the values of all examples."""
    lengths = np.array([len(v) for v in rows], np.int64)
    total = int(lengths.sum())
    indices = np.empty((total, 2), np.int64)
    indices[:, 0] = np.repeat(np.arange(len(rows)), lengths)
    indices[:, 1] = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values = _array([v for row in rows for v in row], feature.dtype)
    return indices, values, np.array([len(rows), lengths.max(initial=0)], np.int64)


def _checked_dense(
    keys: Sequence[bytes], types: Sequence[DType], dense_shapes: Sequence[Shape], defaults: Sequence[Any]
) -> list[_Dense]:
    """The dense features; InvalidArgumentError for defaults that do not fit."""
    if len(defaults) != len(keys):
        raise errors.InvalidArgumentError.of(
            f"Expected len(dense_defaults) == len(dense_keys) but got: {len(defaults)} vs. {len(keys)}"
        )
    found = []
    for d, (key, dtype, shape, default) in enumerate(zip(keys, types, dense_shapes, defaults, strict=True)):
        feature = _Dense(_text.scalar(key).decode(), dtype, shape or (), default)
        given = shapes.fmt(np.shape(default))
        if feature.open and np.size(default) != 1:
            raise errors.InvalidArgumentError.of(
                f"dense_shape[{d}] is a variable length shape: {shapes.fmt(shape)}, therefore def_value[{d}] must "
                f"contain a single element (the padding element).  But its shape is: {given}"
            )
        if not feature.open and np.size(default) and np.shape(default) != feature.shape:
            raise errors.InvalidArgumentError.of(
                f"def_value[{d}].shape() == {given} is not compatible with dense_shapes_[{d}] == {shapes.fmt(shape)}"
            )
        found.append(feature)
    return found


def _flattened(*groups: list[Any]) -> Any:
    """Lists of outputs as a kernel returns them."""
    return packed([array for group in groups for array in group])


@op(
    "ParseExample",
    inputs=[
        "serialized: string",
        "names: string",
        "sparse_keys: Nsparse * string",
        "dense_keys: Ndense * string",
        "dense_defaults: Tdense",
    ],
    outputs=[
        "sparse_indices: Nsparse * int64",
        "sparse_values: sparse_types",
        "sparse_shapes: Nsparse * int64",
        "dense_values: Tdense",
    ],
    attrs=[
        "Nsparse: int >= 0",
        "Ndense: int >= 0",
        f"sparse_types: {_TYPES}",
        f"Tdense: {_TYPES}",
        "dense_shapes: list(shape) >= 0",
    ],
)
class parse_example_:
    """A vector of serialized Examples as sparse and dense tensors, the examples along the first dimension."""

    def shape(
        c: Any, serialized: Any, names: Any, sparse_keys: Any, dense_keys: Any, dense_defaults: Any
    ) -> Any:
        batch = shapes.with_rank(serialized, 1)
        shapes.with_rank(names, 1)
        count = c.attrs["Nsparse"]
        dense = [None if s is None else (*batch, *s) for s in c.attrs["dense_shapes"]]
        return [(None, 2)] * count + [(None,)] * count + [(2,)] * count + dense

    def kernel(
        ctx: Any, serialized: Any, names: Any, sparse_keys: Any, dense_keys: Any, dense_defaults: Any
    ) -> Any:
        attrs = ctx.attrs
        if serialized.ndim != 1:
            raise errors.InvalidArgumentError.of(
                f"Expected serialized to be a vector, got shape: {shapes.fmt(serialized.shape)}"
            )
        if names.size and names.shape != serialized.shape:
            raise errors.InvalidArgumentError.of(
                f"Expected len(names) == len(serialized), but got: {names.size} vs. {serialized.size}"
            )
        dense = _checked_dense(dense_keys, attrs["Tdense"], attrs["dense_shapes"], dense_defaults)
        sparse = [
            _Sparse(_text.scalar(key).decode(), dtype)
            for key, dtype in zip(sparse_keys, attrs["sparse_types"], strict=True)
        ]
        dense_rows: list[list[Any]] = [[] for _ in dense]
        sparse_rows: list[list[Any]] = [[] for _ in sparse]
        for i, text in enumerate(serialized):
            features = _parsed(text)
            problems = _Problems(names[i].decode() if names.size else "<unknown>", i)
            for rows, feature in zip(sparse_rows, sparse, strict=True):
                rows.append(_sparse_values(features, feature, problems))
            for rows, wanted in zip(dense_rows, dense, strict=True):
                rows.append(_dense_values(features, wanted, problems))
        arrays = [_sparse_arrays(rows, f) for rows, f in zip(sparse_rows, sparse, strict=True)]
        return _flattened(
            *([a[i] for a in arrays] for i in range(3)),
            [_dense_array(rows, f) for rows, f in zip(dense_rows, dense, strict=True)],
        )

    grad = NOT_DIFFERENTIABLE


@op(
    "ParseSingleExample",
    inputs="serialized: string, dense_defaults: Tdense",
    outputs=[
        "sparse_indices: num_sparse * int64",
        "sparse_values: sparse_types",
        "sparse_shapes: num_sparse * int64",
        "dense_values: Tdense",
    ],
    attrs=[
        "num_sparse: int >= 0",
        "sparse_keys: list(string) >= 0",
        "dense_keys: list(string) >= 0",
        f"sparse_types: {_TYPES}",
        f"Tdense: {_TYPES}",
        "dense_shapes: list(shape) >= 0",
    ],
)
class parse_single_example_:
    """A serialized Example as sparse and dense tensors."""

    def shape(c: Any, serialized: Any, dense_defaults: Any) -> Any:
        shapes.with_rank(serialized, 0)
        count = len(c.attrs["sparse_keys"])
        return [(None, 1)] * count + [(None,)] * count + [(1,)] * count + list(c.attrs["dense_shapes"])

    def kernel(ctx: Any, serialized: Any, dense_defaults: Any) -> Any:
        attrs = ctx.attrs
        if np.ndim(serialized):
            raise errors.InvalidArgumentError.of(
                f"Expected serialized to be a scalar, got shape: {shapes.fmt(np.shape(serialized))}"
            )
        dense = _checked_dense(attrs["dense_keys"], attrs["Tdense"], attrs["dense_shapes"], dense_defaults)
        sparse = [
            _Sparse(_text.scalar(key).decode(), dtype)
            for key, dtype in zip(attrs["sparse_keys"], attrs["sparse_types"], strict=True)
        ]
        features = _parsed(_text.scalar(serialized))
        problems = _ProblemsOfOne()
        arrays = [_sparse_arrays([_sparse_values(features, f, problems)], f) for f in sparse]
        return _flattened(
            [indices[:, 1:] for indices, _, _ in arrays],
            [values for _, values, _ in arrays],
            [dims[1:] for _, _, dims in arrays],
            [_dense_array([_dense_values(features, f, problems)], f)[0] for f in dense],
        )

    grad = NOT_DIFFERENTIABLE
