"""Cast, and the functions that change the element type of a tensor.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/core/kernels/cast_op.cc,
tensorflow/python/ops/math_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.math as math_ops
from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import op
from kvarn.graph.shape_inference import same_as
from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor


def _cast_array(x, wanted):
    """`x` with another element type, as C++ converts."""
    if x.dtype.kind == "f" or x.dtype.kind == "V":
        if wanted.kind in "iu":
            return _float_to_int(x, wanted)
    elif x.dtype.kind == "c" and wanted.kind != "c":
        return _cast_array(np.real(x), wanted) if wanted.kind != "b" else x.astype(wanted)
    return x.astype(wanted)


def _float_to_int(x, wanted):
    # What does not fit becomes the least integer, as x86 does; NumPy's own answer depends on its build.
    with np.errstate(invalid="ignore"):
        return x.astype(wanted)


@op("Cast", inputs="x: SrcT", outputs="y: DstT", attrs=["SrcT: type", "DstT: type", "Truncate: bool = false"])
class cast_:
    """`x` as type DstT."""

    shape = same_as(0)

    def kernel(ctx, x):
        attrs = ctx.attrs
        if attrs["SrcT"] is attrs["DstT"]:
            return x
        return _cast_array(x, attrs["DstT"].np)

    def grad(op, d):
        differentiable = (
            dtypes.float16,
            dtypes.float32,
            dtypes.float64,
            dtypes.bfloat16,
            dtypes.complex64,
            dtypes.complex128,
        )
        source = op.inputs[0].dtype.base_dtype
        if source in differentiable and d.dtype.base_dtype in differentiable:
            return cast(d, source)
        return None


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """`x` (a Tensor, SparseTensor or IndexedSlices) as `dtype`; itself if it has that type already."""
    base = dtypes.as_dtype(dtype).base_dtype
    # A resource variable too: whoever takes the result reads it.
    is_variable = isinstance(getattr(x, "handle", None), Tensor)
    if (is_variable or isinstance(x, (Tensor, IndexedSlices, SparseTensor))) and base is x.dtype:
        return x
    with name_scope(name, "Cast", [x]) as scope:
        if isinstance(x, SparseTensor):
            return SparseTensor(x.indices, cast(x.values, base, name=scope), x.dense_shape)
        if isinstance(x, IndexedSlices):
            return IndexedSlices(cast(x.values, base, name=scope), x.indices, x.dense_shape)
        x = convert_to_tensor(x, name="x")
        return x if x.dtype.base_dtype is base else cast_(x, base, name=scope)


def saturate_cast(value: Any, dtype: Any, name: str | None = None) -> Tensor:
    """`value` as `dtype`, values outside its range moved to its ends."""
    with name_scope(name, "saturate_cast", [value]) as scope:
        value = convert_to_tensor(value, name="value")
        wanted = dtypes.as_dtype(dtype).base_dtype
        if value.dtype.min < wanted.min:
            value = math_ops.maximum(value, convert_to_tensor(wanted.min, dtype=value.dtype, name="min"))
        if value.dtype.max > wanted.max:
            value = math_ops.minimum(value, convert_to_tensor(wanted.max, dtype=value.dtype, name="max"))
        found: Tensor = cast(value, wanted, name=scope)
        return found


def _to(dtype: dtypes.DType, default: str) -> Any:
    def convert(x: Any, name: str = default) -> Any:
        return cast(x, dtype, name=name)

    convert.__doc__ = f"`cast` to {dtype.name}."
    return convert


to_float = _to(dtypes.float32, "ToFloat")
to_double = _to(dtypes.float64, "ToDouble")
to_int32 = _to(dtypes.int32, "ToInt32")
to_int64 = _to(dtypes.int64, "ToInt64")
to_bfloat16 = _to(dtypes.bfloat16, "ToBFloat16")
to_complex64 = _to(dtypes.complex64, "ToComplex64")
to_complex128 = _to(dtypes.complex128, "ToComplex128")
