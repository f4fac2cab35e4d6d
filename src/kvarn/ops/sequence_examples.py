"""Serialized SequenceExamples as tensors: a context of features, and lists of features.

Source: tensorflow/core/ops/parsing_ops.cc, tensorflow/core/kernels/example_parsing_ops.cc, tensorflow/core/util/
{example_proto_helper,example_proto_fast_parsing}.cc (1.15).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kvarn import dtypes, errors, protos
from kvarn.dtypes import DType
from kvarn.graph import shape_inference as shapes
from kvarn.graph.functions import packed
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops import _text
from kvarn.ops._format import type_text

_TYPES = "list({float,int64,string}) >= 0 = []"
_KINDS = {dtypes.float32: "float_list", dtypes.int64: "int64_list", dtypes.string: "bytes_list"}
_WORDS = {dtypes.float32: "float", dtypes.int64: "int64", dtypes.string: "bytes"}

_COUNTS = [f"N{part}: int >= 0 = 0" for part in ("context_sparse", "context_dense")]
_COUNTS += [f"N{part}: int >= 0 = 0" for part in ("feature_list_sparse", "feature_list_dense")]
_KINDS_AND_SHAPES = [
    f"context_sparse_types: {_TYPES}",
    f"Tcontext_dense: {_TYPES}",
    f"feature_list_dense_types: {_TYPES}",
    "context_dense_shapes: list(shape) >= 0 = []",
    f"feature_list_sparse_types: {_TYPES}",
    "feature_list_dense_shapes: list(shape) >= 0 = []",
]
_OUTPUTS = [
    "context_sparse_indices: Ncontext_sparse * int64",
    "context_sparse_values: context_sparse_types",
    "context_sparse_shapes: Ncontext_sparse * int64",
    "context_dense_values: Tcontext_dense",
    "feature_list_sparse_indices: Nfeature_list_sparse * int64",
    "feature_list_sparse_values: feature_list_sparse_types",
    "feature_list_sparse_shapes: Nfeature_list_sparse * int64",
    "feature_list_dense_values: feature_list_dense_types",
]


class _Feature(NamedTuple):
    """What is asked for: a feature of the context, or a list of features.

    Attributes:
      shape: of a dense one, in the context or in each row.
      default: of a dense one of the context.
    """

    key: str
    dtype: DType
    shape: tuple[int, ...] = ()
    default: Any = None


def _described(
    keys: Sequence[Any], types: Any, dense_shapes: Any = None, defaults: Any = None
) -> list[_Feature]:
    names = [_text.scalar(key).decode() for key in keys]
    given = [()] * len(names) if dense_shapes is None else [tuple(s or ()) for s in dense_shapes]
    values = [None] * len(names) if defaults is None else defaults
    return [_Feature(*parts) for parts in zip(names, types, given, values, strict=True)]


def _check_defaults(features: list[_Feature], words: tuple[str, str]) -> None:
    for d, feature in enumerate(features):
        if np.size(feature.default) and np.shape(feature.default) != feature.shape:
            raise errors.InvalidArgumentError.of(
                f"{words[0]}[{d}].shape() == {shapes.fmt(np.shape(feature.default))} != {words[1]}[{d}] == "
                f"{shapes.fmt(feature.shape)}"
            )


def _message(serialized: bytes, problem: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return protos.SequenceExample.FromString(serialized)
    except DecodeError:
        raise errors.InvalidArgumentError.of(problem) from None


def _array(values: Any, dtype: DType) -> Any:
    if dtype is not dtypes.string:
        return np.array(values, dtype.np)
    out = np.empty(len(values), dtype=object)
    out[:] = list(values)
    return out


def _sparse(rows: list[Any], place: Callable[[int], tuple[int, ...]], dtype: DType) -> tuple[Any, Any]:
    """Indices and values of rows; ``place`` gives the first dimensions of the indices of one."""
    places = [(*place(i), j) for i, row in enumerate(rows) for j in range(len(row))]
    depth = len(place(0)) + 1
    indices = np.array(places, np.int64).reshape(len(places), depth)
    return indices, _array([v for row in rows for v in row], dtype)


def _outputs(*groups: list[Any]) -> Any:
    return packed([array for group in groups for array in group])


# -- one example --------------------------------------------------------------------------------------


def _dense_row(name: str, feature: _Feature, found: Any, index: int) -> Any:
    values = getattr(found, _KINDS[feature.dtype]).value
    if len(values) != math.prod(feature.shape):
        word = _WORDS[feature.dtype]
        texts = ("Key ", "Values") if feature.dtype is dtypes.string else ("Key: ", "values")
        raise errors.InvalidArgumentError.of(
            f"Name: {name}, {texts[0]}{feature.key}, Index: {index}.  Number of {word} values != expected.  "
            f"{texts[1]} size: {len(values)} but output shape: {shapes.fmt(feature.shape)}"
        )
    return _array(values, feature.dtype).reshape(feature.shape)


def _check_type(found: Any, dtype: DType, where: str) -> None:
    if found.WhichOneof("kind") != _KINDS[dtype]:
        raise errors.InvalidArgumentError.of(
            f"{where}.  Data types don't match. Expected type: {type_text(dtype)}  Feature is: {found}"
        )


def _values_if_set(found: Any, dtype: DType, where: str) -> Any:
    """The values of a feature that becomes sparse: none if it has no list."""
    if found is None or found.WhichOneof("kind") is None:
        return ()
    _check_type(found, dtype, where)
    return getattr(found, _KINDS[dtype]).value


def _context_value(name: str, feature: _Feature, context: Any) -> Any:
    if feature.key not in context:
        if not np.size(feature.default):
            raise errors.InvalidArgumentError.of(
                f"Name: {name}, Context feature '{feature.key}' is required but could not be found."
            )
        return feature.default
    found = context[feature.key]
    _check_type(found, feature.dtype, f"Name: {name}, Context feature: {feature.key}")
    return _dense_row(name, feature, found, 0)


def _list_value(name: str, feature: _Feature, lists: Any, may_miss: set[str]) -> Any:
    if feature.key not in lists:
        if feature.key not in may_miss:
            raise errors.InvalidArgumentError.of(
                f"Name: {name}, Feature list '{feature.key}' is required but could not be found.  Did you mean to "
                "include it in feature_list_dense_missing_assumed_empty or feature_list_dense_defaults?"
            )
        return np.empty((0, *feature.shape), feature.dtype.np)
    rows = []
    for t, found in enumerate(lists[feature.key].feature):
        _check_type(found, feature.dtype, f"Name: {name}, Feature list: {feature.key}, Index: {t}")
        rows.append(_dense_row(name, feature, found, t))
    return np.stack(rows) if rows else np.empty((0, *feature.shape), feature.dtype.np)


@op(
    "ParseSingleSequenceExample",
    inputs=[
        "serialized: string",
        "feature_list_dense_missing_assumed_empty: string",
        "context_sparse_keys: Ncontext_sparse * string",
        "context_dense_keys: Ncontext_dense * string",
        "feature_list_sparse_keys: Nfeature_list_sparse * string",
        "feature_list_dense_keys: Nfeature_list_dense * string",
        "context_dense_defaults: Tcontext_dense",
        "debug_name: string",
    ],
    outputs=_OUTPUTS,
    attrs=[*_COUNTS, *_KINDS_AND_SHAPES],
)
class parse_single_sequence_example_:
    """A serialized SequenceExample as sparse and dense tensors."""

    def shape(c: Any, serialized: Any, feature_list_dense_missing_assumed_empty: Any, *unused: Any) -> Any:
        shapes.with_rank(serialized, 0)
        shapes.with_rank(feature_list_dense_missing_assumed_empty, 1)
        a = c.attrs
        context, lists = a["Ncontext_sparse"], a["Nfeature_list_sparse"]
        found: list[Any] = [(None, 1)] * context + [(None,)] * context + [(1,)] * context
        found += list(a["context_dense_shapes"])
        found += [(None, 2)] * lists + [(None,)] * lists + [(2,)] * lists
        return found + [None if s is None else (None, *s) for s in a["feature_list_dense_shapes"]]

    def kernel(
        ctx: Any,
        serialized: Any,
        feature_list_dense_missing_assumed_empty: Any,
        context_sparse_keys: Any,
        context_dense_keys: Any,
        feature_list_sparse_keys: Any,
        feature_list_dense_keys: Any,
        context_dense_defaults: Any,
        debug_name: Any,
    ) -> Any:
        a = ctx.attrs
        if np.ndim(serialized):
            raise errors.InvalidArgumentError.of(
                f"Expected serialized to be a scalar, got shape: {shapes.fmt(np.shape(serialized))}"
            )
        dense = _described(
            context_dense_keys, a["Tcontext_dense"], a["context_dense_shapes"], context_dense_defaults
        )
        _check_defaults(dense, ("def_value", "context_dense_shapes_"))
        text = _text.scalar(serialized)
        example = _message(text, f"Could not parse example input, value: '{text.decode(errors='replace')}'")
        name = _text.scalar(debug_name).decode() if np.size(debug_name) else "<unknown>"
        context, lists = example.context.feature, example.feature_lists.feature_list
        dense_values = [_context_value(name, feature, context) for feature in dense]
        sparse: list[tuple[Any, Any, Any]] = []
        for feature in _described(context_sparse_keys, a["context_sparse_types"]):
            found = context.get(feature.key)
            row = _values_if_set(found, feature.dtype, f"Name: {name}, Context feature: {feature.key}")
            sparse.append((*_sparse([row], lambda i: (), feature.dtype), np.array([len(row)], np.int64)))
        may_miss = {key.decode() for key in feature_list_dense_missing_assumed_empty}
        list_values = [
            _list_value(name, feature, lists, may_miss)
            for feature in _described(
                feature_list_dense_keys, a["feature_list_dense_types"], a["feature_list_dense_shapes"]
            )
        ]
        ragged: list[tuple[Any, Any, Any]] = []
        for feature in _described(feature_list_sparse_keys, a["feature_list_sparse_types"]):
            rows = [
                _values_if_set(found, feature.dtype, f"Name: {name}, Feature List: {feature.key}, Index: {t}")
                for t, found in enumerate(lists[feature.key].feature if feature.key in lists else ())
            ]
            dims = np.array([len(rows), max(map(len, rows), default=0)], np.int64)
            ragged.append((*_sparse(rows, lambda i: (i,), feature.dtype), dims))
        return _outputs(
            *([parts[i] for parts in sparse] for i in range(3)),
            dense_values,
            *([parts[i] for parts in ragged] for i in range(3)),
            list_values,
        )

    grad = NOT_DIFFERENTIABLE


# -- a batch ------------------------------------------------------------------------------------------


def _counted(found: Any, dtype: DType, where: str) -> Any:
    """The values of a feature; InvalidArgumentError if it has a list of another type."""
    kind = found.WhichOneof("kind")
    if kind is None:
        return ()
    if kind != _KINDS[dtype]:
        raise errors.InvalidArgumentError.of(f"Error in {where}")
    return getattr(found, kind).value


def _wanted(sparse: list[_Feature], dense: list[_Feature], word: str) -> dict[str, DType]:
    both = {f.key for f in sparse} & {f.key for f in dense}
    for key in sorted(both):
        raise errors.InvalidArgumentError.of(f"{word} feature {key} cannot be both dense and sparse")
    return {f.key: f.dtype for f in (*sparse, *dense)}


def _context_dense(feature: _Feature, rows: list[dict[str, Any]], names: list[str]) -> Any:
    count = math.prod(feature.shape)
    most = max((len(row[feature.key]) for row in rows if feature.key in row), default=0)
    most = max(most, np.size(feature.default))
    if most != count:
        raise errors.InvalidArgumentError.of(
            f"Inconsistent number of elements for feature {feature.key}: {most} vs 1"
        )
    out = np.empty((len(rows), count), feature.dtype.np)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        if feature.key not in row:
            if not np.size(feature.default):
                raise errors.InvalidArgumentError.of(
                    f"Feature: {feature.key} (data type: {type_text(feature.dtype)}) is required but could not be "
                    "found."
                )
            out[i] = np.reshape(feature.default, -1)
        elif len(row[feature.key]) != count:
            raise errors.InvalidArgumentError.of(f"Unexpected number of elements in example {name}")
        else:
            out[i] = _array(row[feature.key], feature.dtype)
    return out.reshape(len(rows), *feature.shape)


def _lists_dense(
    feature: _Feature, examples: list[dict[str, list[Any]]], names: list[str], may_miss: set[str]
) -> tuple[Any, Any]:
    """The rows of all examples, zeros after those of shorter lists, and how many each has."""
    count = math.prod(feature.shape)
    most = max((sum(map(len, lists.get(feature.key, ()))) for lists in examples), default=0)
    if not count or most % count:
        raise errors.InvalidArgumentError.of(f"Unexpected shape error in feature {feature.key}")
    out = np.zeros((len(examples), most // count, count), feature.dtype.np)
    if feature.dtype is dtypes.string:
        out[...] = b""
    lengths = np.zeros(len(examples), np.int64)
    for i, (lists, name) in enumerate(zip(examples, names, strict=True)):
        if feature.key not in lists and feature.key not in may_miss:
            raise errors.InvalidArgumentError.of(f"Missing feature {feature.key} in example {name}")
        rows = lists.get(feature.key, [])
        if any(len(row) != count for row in rows):
            raise errors.InvalidArgumentError.of(
                f"Unexpected number of elements in feature {feature.key}, example {name}"
            )
        lengths[i] = len(rows)
        for t, row in enumerate(rows):
            out[i, t] = _array(row, feature.dtype)
    return out.reshape(*out.shape[:2], *feature.shape), lengths


@op(
    "ParseSequenceExample",
    inputs=["serialized: string", "debug_name: string", "context_dense_defaults: Tcontext_dense"],
    outputs=[*_OUTPUTS, "feature_list_dense_lengths: Nfeature_list_dense * int64"],
    attrs=[
        "feature_list_dense_missing_assumed_empty: list(string) >= 0",
        "context_sparse_keys: list(string) >= 0",
        "context_dense_keys: list(string) >= 0",
        "feature_list_sparse_keys: list(string) >= 0",
        "feature_list_dense_keys: list(string) >= 0",
        *_COUNTS,
        *_KINDS_AND_SHAPES,
    ],
)
class parse_sequence_example_:
    """A vector of serialized SequenceExamples as sparse and dense tensors, the examples along the first dimension."""

    def shape(c: Any, serialized: Any, debug_name: Any, context_dense_defaults: Any) -> Any:
        (batch,) = shapes.with_rank(serialized, 1)
        shapes.with_rank(debug_name, 1)
        a = c.attrs
        context, lists = a["Ncontext_sparse"], a["Nfeature_list_sparse"]
        found: list[Any] = [(None, 2)] * context + [(None,)] * context + [(2,)] * context
        found += [None if s is None else (batch, *s) for s in a["context_dense_shapes"]]
        found += [(None, 3)] * lists + [(None,)] * lists + [(3,)] * lists
        found += [None if s is None else (batch, None, *s) for s in a["feature_list_dense_shapes"]]
        return found + [(batch,)] * a["Nfeature_list_dense"]

    def kernel(ctx: Any, serialized: Any, debug_name: Any, context_dense_defaults: Any) -> Any:
        a = ctx.attrs
        if serialized.ndim != 1:
            raise errors.InvalidArgumentError.of(
                f"Expected serialized to be a vector, got shape: {shapes.fmt(serialized.shape)}"
            )
        if debug_name.size not in (0, serialized.size):
            raise errors.InvalidArgumentError.of(
                "example_names must be empty or have the correct number of elements"
            )
        names = [name.decode() for name in debug_name] or ["<unknown>"] * serialized.size
        sparse = _described(a["context_sparse_keys"], a["context_sparse_types"])
        dense = _described(
            a["context_dense_keys"], a["Tcontext_dense"], a["context_dense_shapes"], context_dense_defaults
        )
        _check_defaults(dense, ("default_value", "context_dense_shapes"))
        list_sparse = _described(a["feature_list_sparse_keys"], a["feature_list_sparse_types"])
        list_dense = _described(
            a["feature_list_dense_keys"], a["feature_list_dense_types"], a["feature_list_dense_shapes"]
        )
        in_context, in_lists = _wanted(sparse, dense, "Context"), _wanted(list_sparse, list_dense, "Sequence")
        contexts: list[dict[str, Any]] = []
        sequences: list[dict[str, list[Any]]] = []
        for text, name in zip(serialized, names, strict=True):
            example = _message(text, f"Invalid protocol message input, example id: {name}")
            features, lists = example.context.feature, example.feature_lists.feature_list
            contexts.append(
                {
                    key: _counted(features[key], dtype, f"context feature {key} in example {name}")
                    for key, dtype in in_context.items()
                    if key in features
                }
            )
            sequences.append(
                {
                    key: [
                        _counted(f, dtype, f"sequence feature {key} in example {name}")
                        for f in lists[key].feature
                    ]
                    for key, dtype in in_lists.items()
                    if key in lists
                }
            )
        size = serialized.size
        dense_values = [_context_dense(feature, contexts, names) for feature in dense]
        sparse_parts: list[tuple[Any, Any, Any]] = []
        for feature in sparse:
            rows = [row.get(feature.key, ()) for row in contexts]
            dims = np.array([size, max(map(len, rows), default=0)], np.int64)
            sparse_parts.append((*_sparse(rows, lambda i: (i,), feature.dtype), dims))
        may_miss = {key.decode() for key in a["feature_list_dense_missing_assumed_empty"]}
        list_values = [_lists_dense(feature, sequences, names, may_miss) for feature in list_dense]
        list_parts = [_ragged(feature, sequences) for feature in list_sparse]
        return _outputs(
            *([parts[i] for parts in sparse_parts] for i in range(3)),
            dense_values,
            *([parts[i] for parts in list_parts] for i in range(3)),
            *([parts[i] for parts in list_values] for i in range(2)),
        )

    grad = NOT_DIFFERENTIABLE


def _ragged(feature: _Feature, examples: list[dict[str, list[Any]]]) -> tuple[Any, Any, Any]:
    """Indices, values and shape of the rows of all examples."""
    lists = [found.get(feature.key, []) for found in examples]
    places = [(e, t) for e, rows in enumerate(lists) for t in range(len(rows))]
    rows = [row for found in lists for row in found]
    indices, values = _sparse(rows, lambda i: places[i] if places else (0, 0), feature.dtype)
    dims = [len(examples), max(map(len, lists), default=0), max(map(len, rows), default=0)]
    return indices, values, np.array(dims, np.int64)
