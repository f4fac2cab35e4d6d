"""The same elements in another order or repeated: Transpose, Tile, Pad, Reverse; diagonals of matrices.

Source: tensorflow/core/ops/array_ops.cc, tensorflow/python/ops/{array_ops,array_grad}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.division as division
import kvarn.ops.joining as joining
import kvarn.ops.ranges as ranges
import kvarn.ops.reduction as reduction_ops
import kvarn.ops.slicing as slicing
from kvarn import errors
from kvarn.graph import tensor_util
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import same_as, with_rank
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops._elementwise import dims_text


def _transposed(c, x, perm):
    order = c.constant_value(1)
    if order is None:
        if x is not None:
            return (None,) * len(x)
        length = c.inputs[1].static_shape
        return None if length is None or length[0] is None else (None,) * length[0]
    if x is None:
        return (None,) * len(order)
    if len(order) != len(x):
        raise ValueError(f"Dimension must be {len(order)} but is {len(x)}")
    for p in order:
        if not -len(x) <= p < len(x):
            raise ValueError(f"perm dim {p} is out of range of input rank {len(x)}")
    return tuple(x[int(p)] for p in order)


def _transpose(x, perm):
    order = perm.tolist()
    rank = len(x.shape)
    if len(order) != rank:
        raise errors.InvalidArgumentError.of(
            f"transpose expects a vector of size {rank}. But input(1) is a vector of size {len(order)}"
        )
    wrapped = [p + rank if p < 0 else p for p in order]
    if sorted(wrapped) != list(range(rank)):
        bad = next((i for i in range(rank) if i not in wrapped), 0)
        raise errors.InvalidArgumentError.of(f"{bad} is missing from {{{','.join(map(str, order))}}}.")
    return np.ascontiguousarray(np.transpose(x, wrapped)) if rank else x


@op(
    "Transpose",
    inputs="x: T, perm: Tperm",
    outputs="y: T",
    attrs=["T: type", "Tperm: {int32, int64} = DT_INT32"],
)
class transpose_:
    """`x` with its dimensions in the order `perm`."""

    shape = _transposed

    def kernel(ctx, x, perm):
        return _transpose(x, perm)

    def grad(op, d):
        return transpose(d, invert_permutation(op.inputs[1])), None


@op(
    "ConjugateTranspose",
    inputs="x: T, perm: Tperm",
    outputs="y: T",
    attrs=["T: type", "Tperm: {int32, int64} = DT_INT32"],
)
class conjugate_transpose:
    """The conjugate of `x` with its dimensions in the order `perm`."""

    shape = _transposed

    def kernel(ctx, x, perm):
        return np.conj(_transpose(x, perm))

    def grad(op, d):
        return transpose(d, invert_permutation(op.inputs[1]), conjugate=True), None


def transpose(a: Any, perm: Any = None, name: str = "transpose", conjugate: bool = False) -> Tensor:
    """A tensor with its dimensions in the order `perm`, or reversed."""
    with name_scope(name, "transpose", [a]) as scope:
        function = conjugate_transpose if conjugate and a.dtype.is_complex else transpose_
        if perm is not None:
            return function(a, perm, name=scope)
        a = convert_to_tensor(a, name="a")
        shape = a.static_shape
        if not shape:
            rank = array_ops.rank_(a)
            return function(a, (rank - 1) - ranges.range_(0, rank, 1), name=scope)
        return function(a, (len(shape) - 1) - np.arange(len(shape)), name=scope)


def matrix_transpose(a: Any, name: str = "matrix_transpose", conjugate: bool = False) -> Tensor:
    """A tensor with its last two dimensions exchanged."""
    with name_scope(name, values=[a]):
        a = convert_to_tensor(a, name="a")
        shape = a.static_shape
        if shape is not None:
            if len(shape) < 2:
                raise ValueError(
                    f"Argument 'a' should be a (batch) matrix, with rank >= 2.  Found: {a.shape}"
                )
            n = len(shape)
            perm: Any = [*range(n - 2), n - 1, n - 2]
        else:
            rank = array_ops.rank(a)
            perm = joining.concat((ranges.range_(0, rank - 2, 1), [rank - 1, rank - 2]), 0)
        return transpose(a, perm=perm, conjugate=conjugate)


@op("InvertPermutation", inputs="x: T", outputs="y: T", attrs="T: {int32, int64} = DT_INT32")
class invert_permutation:
    """y with y[x[i]] = i."""

    shape = same_as(0)

    def kernel(ctx, x):
        out = np.full(x.shape, -1, x.dtype)
        if x.size and (x.min() < 0 or x.max() >= x.size):
            bad = next(v for v in x.tolist() if not 0 <= v < x.size)
            raise errors.InvalidArgumentError.of(f"{bad} is not between 0 and {x.size}")
        out[x] = np.arange(x.size, dtype=x.dtype)
        if (out < 0).any():
            values, counts = np.unique(x, return_counts=True)
            raise errors.InvalidArgumentError.of(f"{values[counts > 1][0]} is duplicated in the input.")
        return out

    grad = NOT_DIFFERENTIABLE


@op(
    "Tile",
    inputs="input: T, multiples: Tmultiples",
    outputs="output: T",
    attrs=["T: type", "Tmultiples: {int32, int64} = DT_INT32"],
)
class tile:
    """`input` repeated `multiples[i]` times along each dimension i."""

    def shape(c, input, multiples):
        factors = c.constant_shape(1)
        if input is None:
            return None if factors is None else (None,) * len(factors)
        if factors is None:
            return (None,) * len(input)
        if len(factors) != len(input):
            raise ValueError(f"Shape must be rank {len(factors)} but is rank {len(input)}")
        return tuple(None if d is None or f is None else d * f for d, f in zip(input, factors, strict=True))

    def kernel(ctx, input, multiples):
        factors = multiples.tolist()
        if len(factors) != len(input.shape):
            raise errors.InvalidArgumentError.of(
                f"Expected multiples argument to be a vector of length {len(input.shape)} but got length "
                f"{len(factors)}"
            )
        for i, f in enumerate(factors):
            if f < 0:
                raise errors.InvalidArgumentError.of(f"Expected multiples[{i}] >= 0, but got {f}")
        if all(f == 1 or d == 1 for f, d in zip(factors, input.shape, strict=True)):
            # As the gradient of a sum over everything: one element that is seen many times.
            return np.broadcast_to(input, [f * d for f, d in zip(factors, input.shape, strict=True)])
        return np.tile(input, factors)

    def grad(op, d):
        x, multiples = op.inputs
        x_shape = array_ops.shape(x, out_type=multiples.dtype)
        # Each tiled dimension becomes two: how often, and of what size; the first of each pair is summed.
        pairs: Any = array_ops.reshape(transpose(joining.stack([multiples, x_shape])), [-1])
        axes = ranges.range(0, array_ops.size(pairs), 2)
        if isinstance(d, IndexedSlices):
            from kvarn.ops.segment import unsorted_segment_sum

            rows = casting.cast(x_shape[0], d.indices.dtype)
            d = unsorted_segment_sum(d.values, division.mod(d.indices, rows), rows)
            pairs = joining.concat([[1], pairs[1:]], axis=0)
        dx = reduction_ops.reduce_sum(array_ops.reshape(d, pairs), axes)
        dx.set_shape(x.static_shape)
        return dx, None


# -- padding ---------------------------------------------------------------------------------------


def _padded(c, input, paddings, *rest):
    widths = c.constant_value(1)
    if input is None:
        rows = c.inputs[1].static_shape
        return None if rows is None or rows[0] is None else (None,) * rows[0]
    if widths is None:
        return (None,) * len(input)
    if widths.shape != (len(input), 2):
        raise ValueError(f"Shape must be rank {len(widths)} but is rank {len(input)}")
    return tuple(None if d is None else d + int(w.sum()) for d, w in zip(input, widths, strict=True))


def _widths(x, paddings):
    if paddings.shape != (len(x.shape), 2):
        raise errors.InvalidArgumentError.of(
            f"The first dimension of paddings must be the rank of inputs{dims_text(paddings)} {dims_text(x)}"
        )
    if (paddings < 0).any():
        before, after = next(w for w in paddings.tolist() if min(w) < 0)
        raise errors.InvalidArgumentError.of(f"Paddings must be non-negative: {before} {after}")
    return [tuple(w) for w in paddings.tolist()]


def _pad_grad(op, d):
    x, paddings = op.inputs[0], op.inputs[1]
    before = slicing.slice(paddings, [0, 0], joining.stack([array_ops.rank(x), 1]))
    begin = array_ops.reshape(before, [-1])
    dx = slicing.slice(d, begin, array_ops.shape(x))
    return (dx, None, None) if len(op.inputs) == 3 else (dx, None)


@op(
    "Pad",
    inputs="input: T, paddings: Tpaddings",
    outputs="output: T",
    attrs=["T: type", "Tpaddings: {int32, int64} = DT_INT32"],
)
class pad_:
    """`input` with zeros around it."""

    shape = _padded

    def kernel(ctx, input, paddings):
        value = b"" if input.dtype == object else 0
        return np.pad(input, _widths(input, paddings), constant_values=value) if input.shape else input

    grad = _pad_grad


@op(
    "PadV2",
    inputs="input: T, paddings: Tpaddings, constant_values: T",
    outputs="output: T",
    attrs=["T: type", "Tpaddings: {int32, int64} = DT_INT32"],
)
class pad_v2:
    """`input` with `constant_values` around it."""

    shape = _padded

    def kernel(ctx, input, paddings, constant_values):
        return (
            np.pad(input, _widths(input, paddings), constant_values=constant_values) if input.shape else input
        )

    grad = _pad_grad


_MIRROR: dict[bytes, Any] = {b"REFLECT": "reflect", b"SYMMETRIC": "symmetric"}


@op(
    "MirrorPad",
    inputs="input: T, paddings: Tpaddings",
    outputs="output: T",
    attrs=["T: type", "Tpaddings: {int32, int64} = DT_INT32", "mode: {'REFLECT', 'SYMMETRIC'}"],
)
class mirror_pad:
    """`input` with its own mirror image around it."""

    shape = _padded

    def kernel(ctx, input, paddings):
        mode = ctx.attrs["mode"]
        widths = _widths(input, paddings)
        for size, width in zip(input.shape, widths, strict=True):
            if max(width) > (size if mode == b"SYMMETRIC" else size - 1):
                raise errors.InvalidArgumentError.of(
                    f"paddings must be no greater than the dimension size: {width[0]}, {width[1]} greater "
                    f"than {size}"
                )
        return np.pad(input, widths, mode=_MIRROR[mode]) if input.shape else input

    def grad(op, d):
        return mirror_pad_grad(d, op.inputs[1], mode=op.attrs["mode"]), None


@op(
    "MirrorPadGrad",
    inputs="input: T, paddings: Tpaddings",
    outputs="output: T",
    attrs=["T: type", "Tpaddings: {int32, int64} = DT_INT32", "mode: {'REFLECT', 'SYMMETRIC'}"],
)
class mirror_pad_grad:
    """The gradient of `mirror_pad`: what was mirrored is folded back and added."""

    def shape(c, input, paddings):
        widths = c.constant_value(1)
        if input is None:
            return None
        if widths is None:
            return (None,) * len(input)
        return tuple(None if d is None else d - int(w.sum()) for d, w in zip(input, widths, strict=True))

    def kernel(ctx, input, paddings):
        skip = 0 if ctx.attrs["mode"] == b"SYMMETRIC" else 1
        out = np.array(input, copy=True)
        for axis, (before, after) in enumerate(paddings.tolist()):
            x = np.moveaxis(out, axis, 0)
            size = len(x) - before - after
            core = x[before : before + size].copy()
            if before:
                core[skip : skip + before] += x[:before][::-1]
            if after:
                core[size - skip - after : size - skip] += x[before + size :][::-1]
            out = np.moveaxis(core, 0, axis)
        return np.ascontiguousarray(out)

    def grad(op, d):
        return mirror_pad(d, op.inputs[1], mode=op.attrs["mode"]), None


def pad(
    tensor: Any, paddings: Any, mode: str = "CONSTANT", name: str | None = None, constant_values: Any = 0
) -> Tensor:
    """A tensor with a border: of a constant, or of its mirror image (modes REFLECT and SYMMETRIC)."""
    mode = mode.upper()
    if mode == "CONSTANT":
        if not tensor_util.is_tensor(constant_values) and constant_values == 0:
            result: Tensor = pad_(tensor, paddings, name=name)
        else:
            result = pad_v2(tensor, paddings, constant_values, name=name)
    elif mode in ("REFLECT", "SYMMETRIC"):
        result = mirror_pad(tensor, paddings, mode=mode, name=name)
    else:
        raise ValueError(f"Unknown padding mode: {mode}")
    return result


# -- reversing -------------------------------------------------------------------------------------


def _bad_axes(axes, rank):
    """What is wrong with axes to reverse; None if nothing is."""
    seen = set()
    for i, axis in enumerate(axes):
        if not -rank <= axis < rank:
            return f"'axis'[{i}] = {axis} is out of valid range [0, {rank - 1}"
        if axis % rank in seen:
            return f"axis {axis % rank} specified more than once."
        seen.add(axis % rank)
    return None


@op(
    "ReverseV2",
    inputs="tensor: T, axis: Tidx",
    outputs="output: T",
    attrs=[
        "Tidx: {int32, int64} = DT_INT32",
        (
            "T: {uint8, int8, uint16, int16, int32, int64, bool, bfloat16, half, float, double, "
            "complex64, complex128, string}"
        ),
    ],
)
class reverse_v2:
    """`tensor` with its elements in opposite order along the dimensions `axis`."""

    def shape(c, tensor, axis):
        with_rank(axis, 1)
        if tensor is not None and len(tensor) > 8:
            raise ValueError("reverse does not work on tensors with more than 8 dimensions")
        axes = c.constant_value(1)
        if axes is not None and tensor is not None:
            problem = _bad_axes(axes.tolist(), len(tensor))
            if problem:
                raise ValueError(problem)
        return tensor

    def kernel(ctx, tensor, axis):
        if axis.ndim != 1:
            raise errors.InvalidArgumentError.of(f"'dims' must be 1-dimension, not {axis.ndim}")
        if tensor.ndim > 8:
            raise errors.UnimplementedError.of("reverse is not implemented for tensors of rank > 8.")
        axes = axis.tolist()
        problem = _bad_axes(axes, len(tensor.shape))
        if problem:
            raise errors.InvalidArgumentError.of(problem)
        return np.ascontiguousarray(np.flip(tensor, tuple(axes))) if axes else tensor

    def grad(op, d):
        return reverse_v2(d, op.inputs[1]), None


reverse = reverse_v2


@op(
    "ReverseSequence",
    inputs="input: T, seq_lengths: Tlen",
    outputs="output: T",
    attrs=["seq_dim: int", "batch_dim: int = 0", "T: type", "Tlen: {int32, int64} = DT_INT64"],
)
class reverse_sequence_:
    """`input` with the first `seq_lengths[i]` elements of each sequence i reversed."""

    shape = same_as(0)

    def kernel(ctx, input, seq_lengths):
        seq, batch = ctx.attrs["seq_dim"], ctx.attrs["batch_dim"]
        out = np.array(input, copy=True)
        source = np.moveaxis(input, (batch, seq), (0, 1))
        target = np.moveaxis(out, (batch, seq), (0, 1))
        for i, length in enumerate(seq_lengths.tolist()):
            if not 0 <= length <= input.shape[seq]:
                raise errors.InvalidArgumentError.of(f"seq_lens({i}) > input.dims({seq})")
            target[i, :length] = source[i, :length][::-1]
        return out

    def grad(op, d):
        return reverse_sequence_(
            d, op.inputs[1], seq_dim=op.attrs["seq_dim"], batch_dim=op.attrs["batch_dim"]
        ), None


def reverse_sequence(
    input: Any,
    seq_lengths: Any,
    seq_axis: int | None = None,
    batch_axis: int | None = None,
    name: str | None = None,
    seq_dim: int | None = None,
    batch_dim: int | None = None,
) -> Tensor:
    """A tensor with the first `seq_lengths[i]` elements of each sequence i reversed."""
    seq = seq_dim if seq_axis is None else seq_axis
    batch = batch_dim if batch_axis is None else batch_axis
    return reverse_sequence_(input, seq_lengths, seq_dim=seq, batch_dim=batch or 0, name=name)


# -- diagonals -------------------------------------------------------------------------------------


@op("MatrixDiag", inputs="diagonal: T", outputs="output: T", attrs="T: type")
class matrix_diag_:
    """Square matrices with `diagonal` [..., n] on their diagonals: [..., n, n]."""

    def shape(c, diagonal):
        return None if diagonal is None else (*diagonal, diagonal[-1])

    def kernel(ctx, diagonal):
        n = diagonal.shape[-1]
        out = np.zeros((*diagonal.shape, n), diagonal.dtype)
        out[..., np.arange(n), np.arange(n)] = diagonal
        return out

    def grad(op, d):
        return matrix_diag_part(d)


@op("MatrixDiagPart", inputs="input: T", outputs="diagonal: T", attrs="T: type")
class matrix_diag_part_:
    """The diagonals of matrices `input` [..., m, n]: [..., min(m, n)]."""

    def shape(c, input):
        if input is None:
            return None
        m, n = input[-2:]
        return (*input[:-2], None if m is None or n is None else min(m, n))

    def kernel(ctx, input):
        return np.ascontiguousarray(np.diagonal(input, axis1=-2, axis2=-1))

    def grad(op, d):
        shape = op.inputs[0].static_shape
        if shape is not None and shape[-1] is not None and shape[-1] == shape[-2]:
            return matrix_diag(d)
        return matrix_set_diag(array_ops.zeros_like(op.inputs[0]), d)


@op("MatrixSetDiag", inputs="input: T, diagonal: T", outputs="output: T", attrs="T: type")
class matrix_set_diag_:
    """Matrices `input` [..., m, n] with their diagonals replaced by `diagonal` [..., min(m, n)]."""

    def shape(c, input, diagonal):
        return input

    def kernel(ctx, input, diagonal):
        out = np.array(input, copy=True)
        n = min(input.shape[-2:])
        if diagonal.shape != (*input.shape[:-2], n):
            raise errors.InvalidArgumentError.of(
                "must have diagonal.shape == input.shape[:-2] + min(input.shape[-2:]), but received input "
                "shape: "
                f"{dims_text(input)} and diagonal shape: {dims_text(diagonal)}"
            )
        out[..., np.arange(n), np.arange(n)] = diagonal
        return out

    def grad(op, d):
        from kvarn.graph.graph import colocate_with

        x, diagonal = op.inputs[0].static_shape, op.inputs[1].static_shape
        known = x if x is not None and None not in x else d.static_shape
        if known is not None and None not in known:
            diag_shape: Any = [*known[:-2], min(known[-2:])]
        elif diagonal is not None and None not in diagonal:
            diag_shape = list(diagonal)
        else:
            with colocate_with(d):
                d_shape, d_rank = array_ops.shape(d), array_ops.rank(d)
                batch = slicing.slice(d_shape, [0], [d_rank - 2])
                matrix = slicing.slice(d_shape, [d_rank - 2], [2])
                diag_shape = joining.concat([batch, [reduction_ops.reduce_min(matrix)]], 0)
        dx = matrix_set_diag(d, array_ops.zeros(diag_shape, dtype=d.dtype))
        return dx, matrix_diag_part(d)


def _main_diagonal_only(k: Any) -> None:
    if k != 0:
        raise NotImplementedError("TensorFlow 1.15 writes only the main diagonal (k=0) into graphs")


def matrix_diag(diagonal: Any, name: str = "diag", k: int = 0) -> Tensor:
    """Square matrices with given diagonals. TensorFlow 1.15 ignores `k` and always uses the main diagonal."""
    _main_diagonal_only(k)
    return matrix_diag_(diagonal, name=name)


def matrix_diag_part(input: Any, name: str = "diag_part", k: int = 0) -> Tensor:
    """The main diagonals of matrices."""
    _main_diagonal_only(k)
    return matrix_diag_part_(input, name=name)


def matrix_set_diag(input: Any, diagonal: Any, name: str = "set_diag", k: int = 0) -> Tensor:
    """Matrices with their main diagonals replaced."""
    _main_diagonal_only(k)
    return matrix_set_diag_(input, diagonal, name=name)


def meshgrid(*args: Any, indexing: str = "xy", name: str = "meshgrid") -> list[Tensor]:
    """Coordinate arrays of a grid from vectors of coordinates.

    Raises:
      ValueError: `indexing` is neither "xy" nor "ij".
    """
    if indexing not in ("xy", "ij"):
        raise ValueError("indexing parameter must be either 'xy' or 'ij'")
    with name_scope(name, "meshgrid", args):
        n = len(args)
        ones = (1,) * n
        output = [
            array_ops.reshape(joining.stack(x), (*ones[:i], -1, *ones[i + 1 :])) for i, x in enumerate(args)
        ]
        shapes = [array_ops.size(x) for x in args]
        dtype = convert_to_tensor(args[0]).dtype.base_dtype
        if indexing == "xy" and n > 1:
            output[0] = array_ops.reshape(output[0], (1, -1) + (1,) * (n - 2))
            output[1] = array_ops.reshape(output[1], (-1, 1) + (1,) * (n - 2))
            shapes[0], shapes[1] = shapes[1], shapes[0]
        factor = array_ops.ones(shapes, dtype)
        return [x * factor for x in output]
