"""Sparse tensors as strings, one row each, so that they can be batched and shuffled like other examples.

A row is three serialized TensorProtos: indices int64 [n, rank - 1], values [n], shape int64 [rank - 1].

Source: tensorflow/core/ops/sparse_ops.cc, tensorflow/core/kernels/{serialize,deserialize}_sparse*_op.cc,
tensorflow/core/platform/tensor_coding.cc, tensorflow/python/ops/sparse_ops.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.formats.coding import decode_varint, encode_varint
from kvarn.graph import shape_inference as shapes
from kvarn.graph import tensor_proto
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.ops.sparse import convert_to_sparse_tensor
from kvarn.ops.sparse_math import _checked


def _serialized(array: Any, dtype: dtypes.DType, out_type: dtypes.DType = dtypes.string) -> Any:
    """An array as a serialized TensorProto; as a variant, which may be anything, it stays what it is."""
    if out_type is dtypes.variant:
        return array
    from kvarn import protos

    proto = protos.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype is dtypes.string:
        # All lengths, then all bytes.
        texts = list(array)
        proto.tensor_content = b"".join([encode_varint(len(t)) for t in texts] + texts)
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    found: bytes = proto.SerializeToString(deterministic=True)
    return found


def _parsed(text: Any, dtype: dtypes.DType, rank: int, what: str) -> Any:
    """The array of `_serialized`; InvalidArgumentError if it is none of this type and rank."""
    if isinstance(text, np.ndarray):
        array = text
        if array.dtype != dtype.np:
            raise errors.InvalidArgumentError.of(
                f"Requested values of type {dtype.name} but {what} holds {array.dtype.name}"
            )
    else:
        array = _parsed_text(text, dtype, what)
    if array.ndim != rank:
        raise errors.InvalidArgumentError.of(
            f"Expected {what} to have rank {rank} but received shape {shapes.fmt(array.shape)}"
        )
    return array


def _parsed_text(text: bytes, dtype: dtypes.DType, what: str) -> Any:
    from google.protobuf.message import DecodeError

    from kvarn import protos

    proto = protos.TensorProto()
    try:
        proto.ParseFromString(text)
    except DecodeError:
        raise errors.InvalidArgumentError.of(f"{what}: Could not parse serialized proto") from None
    found = dtypes.as_dtype(proto.dtype) if proto.dtype else None
    if found is not dtype:
        kind = "nothing" if found is None else found.name
        raise errors.InvalidArgumentError.of(f"Requested values of type {dtype.name} but {what} holds {kind}")
    try:
        if dtype is dtypes.string and proto.tensor_content:
            array = _texts(proto.tensor_content, [d.size for d in proto.tensor_shape.dim])
        else:
            array = tensor_proto.decode(proto)
    except (ValueError, errors.OpError) as e:
        raise errors.InvalidArgumentError.of(f"{what}: Could not construct tensor from proto: {e}") from None
    return array


def _texts(content: bytes, dims: list[int]) -> Any:
    count = int(np.prod(dims, dtype=np.int64))
    if not 0 <= count <= len(content):
        raise ValueError(f"{len(content)} bytes cannot hold {count} strings")
    lengths, position = [], 0
    for _ in range(count):
        length, position = decode_varint(content, position)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError(f"strings of {sum(lengths)} bytes in {len(content) - position}")
    out = np.empty(count, dtype=object)
    for i, length in enumerate(lengths):
        out[i] = content[position : position + length]
        position += length
    return out.reshape(dims)


@op(
    "SerializeManySparse",
    inputs=["sparse_indices: int64", "sparse_values: T", "sparse_shape: int64"],
    outputs="serialized_sparse: out_type",
    attrs=["T: type", "out_type: {string, variant} = DT_STRING"],
)
class serialize_many_sparse_:
    """Each row of a sparse tensor, in order of the rows, as three strings."""

    def shape(c: Any, sparse_indices: Any, sparse_values: Any, sparse_shape: Any) -> Any:
        shapes.with_rank(sparse_indices, 2)
        shapes.with_rank(sparse_values, 1)
        shapes.with_rank(sparse_shape, 1)
        return (None, 3)

    def kernel(ctx: Any, sparse_indices: Any, sparse_values: Any, sparse_shape: Any) -> Any:
        dims = _checked(sparse_indices, sparse_values, sparse_shape)
        if len(dims) < 2:
            raise errors.InvalidArgumentError.of(
                f"Rank of input SparseTensor should be > 1, but saw rank: {len(dims)}"
            )
        row_of = sparse_indices[:, 0]
        if (np.diff(row_of) < 0).any():
            raise errors.InvalidArgumentError.of("Indices are out of order; use tf.sparse.reorder first.")
        bounds = np.searchsorted(row_of, np.arange(dims[0] + 1))
        kind, out_type = ctx.attrs["T"], ctx.attrs["out_type"]
        shape = _serialized(np.array(dims[1:], np.int64), dtypes.int64, out_type)
        out = np.empty((dims[0], 3), dtype=object)
        for n in range(dims[0]):
            mine = slice(int(bounds[n]), int(bounds[n + 1]))
            out[n, 0] = _serialized(sparse_indices[mine, 1:], dtypes.int64, out_type)
            out[n, 1] = _serialized(sparse_values[mine], kind, out_type)
            out[n, 2] = shape
        return out

    grad = NOT_DIFFERENTIABLE


@op(
    "SerializeSparse",
    inputs=["sparse_indices: int64", "sparse_values: T", "sparse_shape: int64"],
    outputs="serialized_sparse: out_type",
    attrs=["T: type", "out_type: {string, variant} = DT_STRING"],
)
class serialize_sparse_:
    """A sparse tensor as three strings."""

    def shape(c: Any, sparse_indices: Any, sparse_values: Any, sparse_shape: Any) -> Any:
        shapes.with_rank(sparse_indices, 2)
        shapes.with_rank(sparse_values, 1)
        shapes.with_rank(sparse_shape, 1)
        return (3,)

    def kernel(ctx: Any, sparse_indices: Any, sparse_values: Any, sparse_shape: Any) -> Any:
        _checked(sparse_indices, sparse_values, sparse_shape)
        kinds = (dtypes.int64, ctx.attrs["T"], dtypes.int64)
        out = np.empty(3, dtype=object)
        for i, (part, kind) in enumerate(
            zip((sparse_indices, sparse_values, sparse_shape), kinds, strict=True)
        ):
            out[i] = _serialized(part, kind, ctx.attrs["out_type"])
        return out

    grad = NOT_DIFFERENTIABLE


def _parsed_row(row: Any, kind: dtypes.DType, where: str) -> tuple[Any, Any, Any]:
    """Indices, values and shape of one sparse tensor."""
    indices = _parsed(row[0], dtypes.int64, 2, where + "0]")
    values = _parsed(row[1], kind, 1, where + "1]")
    shape = _parsed(row[2], dtypes.int64, 1, where + "2]")
    return indices, values, shape


@op(
    "DeserializeSparse",
    inputs="serialized_sparse: Tserialized",
    outputs=["sparse_indices: int64", "sparse_values: dtype", "sparse_shape: int64"],
    attrs=["dtype: type", "Tserialized: {string, variant} = DT_STRING"],
)
class deserialize_sparse_:
    """Sparse tensors [..., 3] of `SerializeSparse` put together, with the dimensions before the last one first."""

    def shape(c: Any, serialized_sparse: Any) -> Any:
        if serialized_sparse:
            shapes.merge_dim(serialized_sparse[-1], 3)
        return [(None, None), (None,), (None,)]

    def kernel(ctx: Any, serialized_sparse: Any) -> Any:
        given, kind = serialized_sparse, ctx.attrs["dtype"]
        if not given.ndim or given.shape[-1] != 3:
            raise errors.InvalidArgumentError.of(
                f"Serialized sparse should have 3 as the last dimension {shapes.fmt(given.shape)}"
            )
        if given.ndim == 1:
            return _parsed_row(given, kind, "serialized_sparse[")
        outer = given.shape[:-1]
        if not given.size:
            raise errors.InvalidArgumentError.of(
                "Serialized sparse should have non-zero number of dimensions " + shapes.fmt(given.shape)
            )
        indices: list[Any] = []
        values: list[Any] = []
        dims: list[Any] = []
        for place in np.ndindex(outer):
            own_indices, own_values, own_shape = _parsed_row(
                given[place], kind, f"serialized_sparse{list(place)}["
            )
            if dims and len(dims[0]) != len(own_shape):
                raise errors.InvalidArgumentError.of(
                    f"Inconsistent rank across SparseTensors: rank prior to SparseTensor[{len(dims)}] was: "
                    f"{len(dims[0])} but rank of SparseTensor[{len(dims)}] is: {len(own_shape)}"
                )
            before = np.broadcast_to(np.array(place, np.int64), (len(own_indices), len(place)))
            indices.append(np.concatenate([before, own_indices], axis=1))
            values.append(own_values)
            dims.append(own_shape)
        whole = np.concatenate([np.array(outer, np.int64), np.max(dims, axis=0)])
        return np.concatenate(indices), np.concatenate(values), whole

    grad = NOT_DIFFERENTIABLE


@op(
    "DeserializeManySparse",
    inputs="serialized_sparse: string",
    outputs=["sparse_indices: int64", "sparse_values: dtype", "sparse_shape: int64"],
    attrs="dtype: type",
)
class deserialize_many_sparse_:
    """Rows of `SerializeManySparse` put together; of each dimension the greatest size counts."""

    def shape(c: Any, serialized_sparse: Any) -> Any:
        shapes.merge_dim(shapes.with_rank(serialized_sparse, 2)[1], 3)
        return [(None, None), (None,), (None,)]

    def kernel(ctx: Any, serialized_sparse: Any) -> Any:
        if serialized_sparse.ndim != 2 or serialized_sparse.shape[1] != 3:
            raise errors.InvalidArgumentError.of(
                f"Serialized sparse should have 3 as the last dimension {shapes.fmt(serialized_sparse.shape)}"
            )
        if not len(serialized_sparse):
            raise errors.InvalidArgumentError.of(
                "Serialized sparse should have at least 1 serialized tensor, but has a zero dimension "
                f"{shapes.fmt(serialized_sparse.shape)}"
            )
        kind = ctx.attrs["dtype"]
        indices: list[Any] = []
        values: list[Any] = []
        dims: list[Any] = []
        for n, row in enumerate(serialized_sparse):
            own_indices, own_values, own_shape = _parsed_row(row, kind, f"serialized_sparse[{n}, ")
            _checked(own_indices, own_values, own_shape, f"serialized_sparse[{n}] ")
            if dims and len(dims[0]) != len(own_shape):
                raise errors.InvalidArgumentError.of(
                    f"Inconsistent shape across SparseTensors: rank prior to SparseTensor[{n}] was: "
                    f"{len(dims[0])} but rank of SparseTensor[{n}] is: {len(own_shape)}"
                )
            indices.append(np.insert(own_indices, 0, n, axis=1))
            values.append(own_values)
            dims.append(own_shape)
        whole = np.insert(np.max(dims, axis=0), 0, len(serialized_sparse))
        return np.concatenate(indices), np.concatenate(values), whole

    grad = NOT_DIFFERENTIABLE


def serialize_many_sparse(sp_input: Any, name: str | None = None, out_type: Any = dtypes.string) -> Tensor:
    """The rows of a sparse tensor [n, ...] of rank 2 at least, as strings [n, 3]."""
    sparse = convert_to_sparse_tensor(sp_input)
    result: Tensor = serialize_many_sparse_(
        sparse.indices, sparse.values, sparse.dense_shape, name=name, out_type=out_type
    )
    return result


def deserialize_many_sparse(
    serialized_sparse: Any, dtype: Any, rank: int | None = None, name: str | None = None
) -> SparseTensor:
    """The sparse tensor whose rows are strings [n, 3] of `serialize_many_sparse`.

    Args:
      dtype: of the values.
      rank: of the result, if known.

    Raises (when run):
      InvalidArgumentError: a string is none of these, or of another type or rank.
    """
    indices, values, shape = deserialize_many_sparse_(serialized_sparse, dtype, name=name)
    indices.set_shape([None, rank])
    shape.set_shape([rank])
    return SparseTensor(indices, values, shape)
