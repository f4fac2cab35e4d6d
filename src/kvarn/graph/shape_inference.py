"""Static shapes: how an op's output shapes follow from its input shapes.

A static shape is a tuple whose unknown dimensions are None, or None when the rank is unknown too.  A
shape function is called as ``shape(c, *input_shapes)``, a list argument being one list of shapes, and
returns the shape of the only output, or a list with one shape for each output (an output list counts
one by one).  ValueError means: these inputs do not fit.

Source of the rules: tensorflow/core/framework/{shape_inference,common_shape_fns}.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvarn.graph.tensor import Tensor

Shape = tuple[int | None, ...] | None
UNKNOWN: Shape = None


class InferenceContext:
    """What a shape function may ask about the op being built.

    Attributes:
      attrs: attribute values by name.
      inputs: the input tensors, flat.
    """

    __slots__ = ("attrs", "inputs")

    def __init__(self, attrs: dict[str, Any], inputs: list[Tensor]) -> None:
        self.attrs = attrs
        self.inputs = inputs

    def constant_value(self, index: int) -> Any:
        """The value of flat input ``index`` as an array if it is known while building, else None."""
        op = self.inputs[index].op
        if op.type == "Const":
            return op.attrs["value"].array
        from kvarn.graph import folding, tensor_util

        value = tensor_util.known_value(self.inputs[index])
        return folding.fold(self.inputs[index]) if value is None else value

    def constant_shape(self, index: int) -> Shape:
        """The shape that flat input ``index``, a shape vector, describes, as far as it is known."""
        tensor = self.inputs[index]
        if tensor.op.type == "Shape":
            # No more is said of the shape of a tensor than is known of the tensor, even where it is computed from
            # constants only: programs see where TensorFlow finds dimensions, when building or when running.
            known = tensor.op.inputs[0].static_shape
            if known is not None:
                return known
        value = self.constant_value(index)
        if value is not None:
            return tuple(None if d < 0 else int(d) for d in value.ravel())
        from kvarn.graph import tensor_util

        return tensor_util.known_shape(tensor).as_tuple()


def merge(a: Shape, b: Shape) -> Shape:
    """What is known of a shape described by both; ValueError if they contradict each other."""
    if a is None or a == b:
        return b
    if b is None:
        return a
    if len(a) != len(b):
        raise ValueError(f"Shapes must be equal rank, but are {len(a)} and {len(b)}")
    merged = []
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        if x is not None and y is not None and x != y:
            raise ValueError(
                f"Dimension {i} in both shapes must be equal, but are {x} and {y}. "
                f"Shapes are {fmt(a)} and {fmt(b)}."
            )
        merged.append(y if x is None else x)
    return tuple(merged)


def merge_dim(x: int | None, y: int | None) -> int | None:
    """What is known of a dimension described by both; ValueError if they differ."""
    if x is not None and y is not None and x != y:
        raise ValueError(f"Dimensions must be equal, but are {x} and {y}")
    return y if x is None else x


def with_rank(shape: Shape, rank: int) -> tuple[int | None, ...]:
    """``shape`` with its rank known to be ``rank``; ValueError if it is another."""
    if shape is None:
        return (None,) * rank
    if len(shape) != rank:
        raise ValueError(f"Shape must be rank {rank} but is rank {len(shape)}")
    return shape


def with_rank_at_least(shape: Shape, rank: int) -> Shape:
    """``shape`` itself; ValueError if its rank is known to be less than ``rank``."""
    if shape is not None and len(shape) < rank:
        raise ValueError(f"Shape must be at least rank {rank} but is rank {len(shape)}")
    return shape


def merge_prefix(shape: Shape, prefix: Shape) -> None:
    """ValueError unless ``shape`` can start with ``prefix``."""
    if prefix is None:
        return
    with_rank_at_least(shape, len(prefix))
    for x, y in zip(shape or (), prefix, strict=False):
        merge_dim(x, y)


def fmt(shape: Shape) -> str:
    """A shape as TensorFlow prints it: ``[2,?]``."""
    return "<unknown>" if shape is None else "[" + ",".join("?" if d is None else str(d) for d in shape) + "]"


def broadcast_shapes(a: Shape, b: Shape) -> Shape:
    """The shape of an elementwise operation of ``a`` and ``b``; ValueError if they do not broadcast."""
    if a is None or b is None:
        return None
    if a == b and None not in a:
        return a
    if len(a) < len(b):
        a = (1,) * (len(b) - len(a)) + a
    elif len(b) < len(a):
        b = (1,) * (len(a) - len(b)) + b
    out: list[int | None] = []
    for x, y in zip(a, b, strict=True):
        if x == y:
            out.append(x)
        elif x == 1:
            out.append(y)
        elif y == 1:
            out.append(x)
        elif x is None:
            # Known and above one on the other side: that is what it must become.
            out.append(y)
        elif y is None:
            out.append(x)
        else:
            raise ValueError(f"Dimensions must be equal, but are {x} and {y}")
    return tuple(out)


# Rules as values: `shape = same_as(0)` in an op's class body.


def unknown(c: InferenceContext, *shapes: Any) -> Any:
    """Nothing is known of the only output."""
    return None


def no_outputs(c: InferenceContext, *shapes: Any) -> Any:
    """The op has no outputs."""
    return []


def scalar(c: InferenceContext, *shapes: Any) -> Any:
    """The only output is a scalar."""
    return ()


def same_as(index: int) -> Callable[..., Shape]:
    """The only output has the shape of input argument ``index``."""

    def shape(c: InferenceContext, *shapes: Shape) -> Shape:
        return shapes[index]

    return shape


def merge_all(c: InferenceContext, *shapes: Any) -> Shape:
    """All inputs, lists included, and the only output have one shape."""
    out: Shape = None
    for shape in shapes:
        for s in shape if isinstance(shape, list) else (shape,):
            out = merge(out, s)
    return out


def broadcast(c: InferenceContext, x: Shape, y: Shape) -> Shape:
    """Elementwise with broadcasting."""
    return broadcast_shapes(x, y)


def from_attr(name: str) -> Callable[..., Shape]:
    """The only output has the shape that attribute ``name`` holds."""

    def shape(c: InferenceContext, *shapes: Any) -> Shape:
        value: Shape = c.attrs[name]
        return value

    return shape
