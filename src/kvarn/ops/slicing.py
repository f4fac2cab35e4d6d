"""Parts of tensors by position: Slice, StridedSlice and the `[]` operator.

Source: tensorflow/core/ops/array_ops.cc, tensorflow/core/util/strided_slice_op.cc,
tensorflow/python/ops/{array_ops,array_grad}.py (1.15).
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.joining as joining
import kvarn.ops.layout as layout
import kvarn.ops.selection as selection
from kvarn import dtypes, errors
from kvarn.graph import tensor_util
from kvarn.graph.convert import constant
from kvarn.graph.graph import name_scope
from kvarn.graph.op import op
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import Dimension
from kvarn.ops._elementwise import dims_text

#: Adds a dimension of size 1 in `tensor[...]`.
newaxis = None

_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


@op(
    "Slice",
    inputs="input: T, begin: Index, size: Index",
    outputs="output: T",
    attrs=["T: type", "Index: {int32, int64}"],
)
class slice:
    """The block of `input` that begins at `begin` and has the shape `size`; -1 means all that is left."""

    def shape(c, input, begin, size):
        sizes, begins = c.constant_shape(2), c.constant_value(1)
        if input is None:
            return None if sizes is None else (None,) * len(sizes)
        exact = c.constant_value(2)
        if exact is None or begins is None:
            return (None,) * len(input) if sizes is None else sizes
        out = []
        for dim, b, s in zip(input, begins.tolist(), exact.tolist(), strict=True):
            if dim is not None and not (0 <= b <= dim and (s == -1 or 0 <= s <= dim - b)):
                raise ValueError(
                    f"Expected begin in [0, {dim}] and size in [0, {dim - b}], but got {b} and {s}"
                )
            out.append((None if dim is None else dim - b) if s == -1 else s)
        return tuple(out)

    def kernel(ctx, input, begin, size):
        rank = len(input.shape)
        if begin.shape != (rank,) or size.shape != (rank,):
            raise errors.InvalidArgumentError.of(
                f"Expected begin and size arguments to be 1-D tensors of size {rank}, but got shapes "
                f"{dims_text(begin)} and {dims_text(size)} instead."
            )
        index = []
        for i, (dim, b, s) in enumerate(zip(input.shape, begin.tolist(), size.tolist(), strict=True)):
            if s == -1:
                s = dim - b
            if not 0 <= b <= dim:
                raise errors.InvalidArgumentError.of(f"Expected begin[{i}] in [0, {dim}], but got {b}")
            if not 0 <= s <= dim - b:
                raise errors.InvalidArgumentError.of(f"Expected size[{i}] in [0, {dim - b}], but got {s}")
            index.append(builtins.slice(b, b + s))
        return input[tuple(index)] if index else input

    def grad(op, d):
        x, begin = op.inputs[0], op.inputs[1]
        rank = array_ops.rank(x)
        size = array_ops.shape(op.outputs[0])
        column = joining.stack([rank, 1])
        before = array_ops.reshape(begin, column)
        after = array_ops.reshape(array_ops.shape(x) - size - begin, column)
        return layout.pad(d, joining.concat([before, after], 1)), None, None


def _expanded(rank, count, attrs):
    """What each dimension does, as (kind, place in the spec): "all", "new", "one" or "range"."""
    ellipsis, new, shrink = attrs["ellipsis_mask"], attrs["new_axis_mask"], attrs["shrink_axis_mask"]
    if ellipsis & (ellipsis - 1):
        raise errors.InvalidArgumentError.of("Multiple ellipses in slice spec not allowed")
    taken = sum(1 for i in range(count) if not (ellipsis >> i & 1) and not (new >> i & 1))
    if taken > rank:
        raise errors.InvalidArgumentError.of(
            f"Index out of range using input dim {rank}; input has only {rank} dims"
        )
    plan: list[tuple[str, int]] = []
    open_end = True
    for i in range(count):
        if ellipsis >> i & 1:
            plan.extend([("all", -1)] * (rank - taken))
            open_end = False
        elif new >> i & 1:
            plan.append(("new", i))
        elif shrink >> i & 1:
            plan.append(("one", i))
        else:
            plan.append(("range", i))
    if open_end:
        plan.extend([("all", -1)] * (rank - taken))
    return plan


def _range_of(i, begin, end, strides, attrs):
    if strides[i] == 0:
        raise errors.InvalidArgumentError.of(f"strides[{i}] must be non-zero")
    b = None if attrs["begin_mask"] >> i & 1 else begin[i]
    e = None if attrs["end_mask"] >> i & 1 else end[i]
    return builtins.slice(b, e, strides[i])


def numpy_index(shape: Any, begin: Any, end: Any, strides: Any, attrs: dict[str, Any]) -> tuple[Any, ...]:
    """The NumPy index that a StridedSlice with these inputs and masks stands for.

    Raises:
      InvalidArgumentError: an index is out of bounds, a stride is zero, or there are too many.
    """
    begin, end, strides = begin.tolist(), end.tolist(), strides.tolist()
    index: list[Any] = []
    axis = 0
    for kind, i in _expanded(len(shape), len(begin), attrs):
        if kind == "new":
            index.append(None)
            continue
        if kind == "all":
            index.append(builtins.slice(None))
        elif kind == "one":
            if strides[i] <= 0:
                raise errors.InvalidArgumentError.of("only stride 1 allowed on non-range indexing.")
            if not -shape[axis] <= begin[i] < shape[axis]:
                raise errors.InvalidArgumentError.of(
                    f"slice index {begin[i]} of dimension {axis} out of bounds."
                )
            index.append(begin[i])
        else:
            index.append(_range_of(i, begin, end, strides, attrs))
        axis += 1
    return tuple(index)


def _strided_shape(c, input, begin, end, strides):
    if input is None:
        return None
    lengths = [s[0] for s in (begin, end, strides) if s is not None and s[0] is not None]
    if not lengths:
        return None
    values = [tensor_util.known_value(t, partial=True) for t in c.inputs[1:4]]
    values = [c.constant_value(i) if v is None else v for i, v in enumerate(values, 1)]
    b, e, s = ([None] * lengths[0] if v is None else v.tolist() for v in values)
    attrs = c.attrs
    out: list[int | None] = []
    axis = 0
    try:
        plan = _expanded(len(input), lengths[0], attrs)
    except errors.InvalidArgumentError as problem:
        raise ValueError(str(problem)) from None
    for kind, i in plan:
        if kind == "new":
            out.append(1)
            continue
        dim = input[axis]
        if kind == "all":
            out.append(dim)
        elif kind == "range":
            out.append(_range_length(dim, i, b, e, s, attrs))
        elif b[i] is not None and dim is not None and not -dim <= b[i] < dim:
            raise ValueError(f"slice index {b[i]} of dimension {axis} out of bounds.")
        axis += 1
    return tuple(out)


def _range_length(dim, i, begin, end, strides, attrs):
    whole_start, whole_end = attrs["begin_mask"] >> i & 1, attrs["end_mask"] >> i & 1
    if strides[i] is None or (begin[i] is None and not whole_start) or (end[i] is None and not whole_end):
        return None
    if strides[i] == 0:
        raise ValueError(f"strides[{i}] must be non-zero")
    if dim is not None:
        return len(range(dim)[_range_of(i, begin, end, strides, attrs)])
    # Between two places counted from the same end nothing can be more than their distance, but it can be
    # less.
    return None


def _masks(op):
    return {name: op.attrs[name] for name in _MASKS}


@op(
    "StridedSlice",
    inputs="input: T, begin: Index, end: Index, strides: Index",
    outputs="output: T",
    attrs=[
        "T: type",
        "Index: {int32, int64}",
        "begin_mask: int = 0",
        "end_mask: int = 0",
        "ellipsis_mask: int = 0",
        "new_axis_mask: int = 0",
        "shrink_axis_mask: int = 0",
    ],
)
class strided_slice_:
    """What `input[begin[0]:end[0]:strides[0], …]` means in Python, with masks for the other forms."""

    shape = _strided_shape

    def kernel(ctx, input, begin, end, strides):
        return input[numpy_index(input.shape, begin, end, strides, ctx.attrs)]

    def grad(op, d):
        x, begin, end, strides = op.inputs
        shape = array_ops.shape(x, out_type=begin.dtype)
        return strided_slice_grad(shape, begin, end, strides, d, **_masks(op)), None, None, None


@op(
    "StridedSliceGrad",
    inputs="shape: Index, begin: Index, end: Index, strides: Index, dy: T",
    outputs="output: T",
    attrs=[
        "T: type",
        "Index: {int32, int64}",
        "begin_mask: int = 0",
        "end_mask: int = 0",
        "ellipsis_mask: int = 0",
        "new_axis_mask: int = 0",
        "shrink_axis_mask: int = 0",
    ],
)
class strided_slice_grad:
    """The gradient of `strided_slice`: zeros of shape `shape` with `dy` in the slice."""

    def shape(c, shape, begin, end, strides, dy):
        return c.constant_shape(0)

    def kernel(ctx, shape, begin, end, strides, dy):
        out = np.zeros(tuple(shape.tolist()), ctx.attrs["T"].np)
        index = numpy_index(out.shape, begin, end, strides, ctx.attrs)
        if out[index].shape != dy.shape:
            raise errors.InvalidArgumentError.of(
                f"shape of dy was {dims_text(dy)} instead of {dims_text(out[index])}"
            )
        out[index] = dy
        return out

    def grad(op, d):
        _, begin, end, strides, _ = op.inputs
        return None, None, None, None, strided_slice(d, begin, end, strides, **_masks(op))


def _assigned(var, begin, end, strides, value, ctx):
    target = var.writable()
    index = numpy_index(target.shape, begin, end, strides, ctx.attrs)
    part = target[index]
    if part.size == 0:
        return
    if part.shape != value.shape:
        raise errors.UnimplementedError.of(
            f"sliced l-value shape {dims_text(part)} does not match r-value shape {dims_text(value)}. Automatic "
            "broadcasting not yet implemented."
        )
    target[index] = value


@op(
    "StridedSliceAssign",
    inputs="ref: Ref(T), begin: Index, end: Index, strides: Index, value: T",
    outputs="output_ref: Ref(T)",
    attrs=[
        "T: type",
        "Index: {int32, int64}",
        "begin_mask: int = 0",
        "end_mask: int = 0",
        "ellipsis_mask: int = 0",
        "new_axis_mask: int = 0",
        "shrink_axis_mask: int = 0",
    ],
)
class strided_slice_assign:
    """Sets the slice of a reference variable to `value`."""

    def shape(c, ref, begin, end, strides, value):
        return ref

    def kernel(ctx, ref, begin, end, strides, value):
        with ref.lock:
            _assigned(ref, begin, end, strides, value, ctx)
        return ref


@op(
    "ResourceStridedSliceAssign",
    inputs="ref: resource, begin: Index, end: Index, strides: Index, value: T",
    attrs=[
        "T: type",
        "Index: {int32, int64}",
        "begin_mask: int = 0",
        "end_mask: int = 0",
        "ellipsis_mask: int = 0",
        "new_axis_mask: int = 0",
        "shrink_axis_mask: int = 0",
    ],
    stateful=True,
)
class resource_strided_slice_assign:
    """Sets the slice of a resource variable to `value`."""

    def shape(c, ref, begin, end, strides, value):
        return []

    def kernel(ctx, ref, begin, end, strides, value):
        var = ctx.resources.look_up(ref)
        with var.lock:
            _assigned(var, begin, end, strides, value, ctx)


def strided_slice(
    input_: Any,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    var: Any = None,
    name: str | None = None,
) -> Tensor:
    """A strided part of a tensor; of a variable's value, the result can be assigned to with `assign`.

    Args:
      begin, end, strides: int32 or int64 vectors, one place for each item between the brackets.
      begin_mask, end_mask: bit i says that begin or end i is left out.
      ellipsis_mask, new_axis_mask, shrink_axis_mask: bit i says that item i is `...`, `newaxis`, one index.
      var: the variable that `input_` is the value of.
    """
    if strides is None:
        strides = array_ops.ones_like(begin)
    masks = {
        "begin_mask": begin_mask,
        "end_mask": end_mask,
        "ellipsis_mask": ellipsis_mask,
        "new_axis_mask": new_axis_mask,
        "shrink_axis_mask": shrink_axis_mask,
    }
    part: Tensor = strided_slice_(input_, begin, end, strides, name=name, **masks)
    parent = name

    def assign(val: Any, name: str | None = None) -> Any:
        """An operation that sets this part of the variable."""
        if var is None:
            raise ValueError("Sliced assignment is only supported for variables")
        return var._strided_slice_assign(
            begin=begin, end=end, strides=strides, value=val, name=name or f"{parent}_assign", **masks
        )

    part.assign = assign  # type: ignore[attr-defined]
    return part


_SLICE_TYPE_ERROR = (
    "Only integers, slices (`:`), ellipsis (`...`), tf.newaxis (`None`) and scalar tf.int32/tf.int64 tensors are "
    "valid indices"
)


def _check_index(index: Any) -> None:
    if isinstance(index, (int, np.integer, Dimension)):
        return
    dtype = getattr(index, "dtype", None)
    if dtype is not None:
        try:
            dtype = dtypes.as_dtype(dtype).base_dtype
        except TypeError:
            dtype = None
    if dtype not in (dtypes.int16, dtypes.int32, dtypes.int64) or (index.shape and len(index.shape) == 1):
        raise TypeError(f"{_SLICE_TYPE_ERROR}, got {index!r}")


def _given(bound: Any) -> bool:
    """Whether one end of a `start:stop` was written."""
    return bound is not None and (isinstance(bound, Tensor) or bound != sys.maxsize)


def slice_helper(tensor: Any, slice_spec: Any, var: Any = None) -> Tensor:
    """`tensor[slice_spec]`; a boolean mask chooses elements.

    Raises:
      TypeError: an item is none of integer, slice, ellipsis, newaxis and scalar integer tensor.
    """
    is_mask = isinstance(slice_spec, bool) or (
        isinstance(slice_spec, (Tensor, np.ndarray))
        and slice_spec.dtype == (dtypes.bool if isinstance(slice_spec, Tensor) else np.bool_)
    )
    if is_mask:
        chosen: Tensor = selection.boolean_mask(tensor=tensor, mask=slice_spec)
        return chosen
    items = slice_spec if isinstance(slice_spec, (list, tuple)) else [slice_spec]
    begin: list[Any] = []
    end: list[Any] = []
    strides: list[Any] = []
    masks: dict[str, Any] = dict.fromkeys(_MASKS, 0)
    for i, item in enumerate(items):
        bit = 1 << i
        if isinstance(item, builtins.slice):
            for bound, values, mask in ((item.start, begin, "begin_mask"), (item.stop, end, "end_mask")):
                if _given(bound):
                    _check_index(bound)
                    values.append(bound)
                else:
                    values.append(0)
                    masks[mask] |= bit
            if item.step is not None:
                _check_index(item.step)
            strides.append(1 if item.step is None else item.step)
            continue
        if item is Ellipsis or item is None:
            begin.append(0)
            end.append(0)
            masks["ellipsis_mask" if item is Ellipsis else "new_axis_mask"] |= bit
        else:
            _check_index(item)
            begin.append(item)
            end.append(item + 1)
            masks["shrink_axis_mask"] |= bit
        strides.append(1)
    with name_scope(None, "strided_slice", [tensor, *begin, *end, *strides]) as scope:
        if begin:
            packed = [joining.stack(values) for values in (begin, end, strides)]
            if any(p.dtype is dtypes.int64 for p in packed):
                packed = [p if p.dtype is dtypes.int64 else casting.cast_(p, dtypes.int64) for p in packed]
        else:
            packed = [constant([], dtype=dtypes.int32)] * 3
        first, last, step = packed
        return strided_slice(tensor, first, last, step, var=var, name=scope, **masks)
