"""Dimensions and vectors of sizes from one order of an image's dimensions to another, such as NHWC to NCHW.

Source: tensorflow/core/ops/nn_ops.cc, tensorflow/core/kernels/data_format_ops.{h,cc} (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph.op import op
from kvarn.graph.shape_inference import same_as
from kvarn.ops._elementwise import dims_text

_FORMATS = ["T: {int32, int64} = DT_INT32", "src_format: string = 'NHWC'", "dst_format: string = 'NCHW'"]


def _places(attrs: Any) -> list[int]:
    """For each dimension of the source format, its place in the destination format."""
    src, dst = attrs["src_format"].decode(), attrs["dst_format"].decode()
    for what, given, text in (("Source", "src", src), ("Destination", "dst", dst)):
        if len(text) not in (4, 5):
            raise errors.InvalidArgumentError.of(
                f"{what} format must be of length 4 or 5, received {given}_format = {text}"
            )
    if sorted(src) != sorted(dst) or len(set(src)) != len(src):
        raise errors.InvalidArgumentError.of(
            f"Destination and source format must determine a permutation, got {src} and {dst}"
        )
    return [dst.index(c) for c in src]


@op("DataFormatDimMap", inputs="x: T", outputs="y: T", attrs=_FORMATS)
class data_format_dim_map:
    """Dimension numbers of one format as those of the other; negative ones count from the back."""

    shape = same_as(0)

    def kernel(ctx: Any, x: Any) -> Any:
        places = np.array(_places(ctx.attrs)[:4], x.dtype)
        # As in C++ the remainder has the sign of the number; what is left over counts as the last dimension.
        remainder = np.fmod(x + x.dtype.type(4), x.dtype.type(4))
        return places[np.where(remainder < 0, 3, remainder)]


@op("DataFormatVecPermute", inputs="x: T", outputs="y: T", attrs=_FORMATS)
class data_format_vec_permute:
    """A number [4] or a pair of numbers [4, 2] for each dimension, in the order of the other format."""

    shape = same_as(0)

    def kernel(ctx: Any, x: Any) -> Any:
        places = _places(ctx.attrs)
        _check_four(x)
        if len(places) != 4:
            raise errors.InvalidArgumentError.of(
                f"a format of {len(places)} dimensions does not fit an input of shape {dims_text(x)}"
            )
        out = np.empty_like(x)
        out[places] = x
        return out


def _check_four(x: Any) -> None:
    if x.ndim not in (1, 2):
        raise errors.InvalidArgumentError.of(
            f"input must be a vector or 2D tensor, but got shape {dims_text(x)}"
        )
    if x.ndim == 1 and x.size != 4:
        raise errors.InvalidArgumentError.of(f"1D input must be of size 4, but got shape {dims_text(x)}")
    if x.ndim == 2 and x.shape[0] != 4:
        raise errors.InvalidArgumentError.of(
            f"First dimension of 2D input must be of size 4, but got shape {dims_text(x)}"
        )
    if x.ndim == 2 and x.shape[1] != 2:
        raise errors.InvalidArgumentError.of(
            f"Second dimension of 2D input must be of size 2, but got shape {dims_text(x)}"
        )
