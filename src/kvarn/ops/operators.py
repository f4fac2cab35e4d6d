"""The operators of Tensor and SparseTensor: `x + y`, `-x`, `x[1:]` and the rest.

They are installed when `kvarn.ops` is imported; what they call is imported when they are first used.

Source: `_OverrideBinaryOperatorHelper` of tensorflow/python/ops/math_ops.py (1.15).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import get_default_graph, name_scope
from kvarn.graph.tensor import SparseTensor, Tensor

# Name of the operator and of its scope: the function that adds the node, as "module.name".
_BINARY = {
    "add": "operators.add_dispatch",
    "sub": "math.sub",
    "mul": "operators.mul_dispatch",
    "div": "division.div",
    "truediv": "division.truediv",
    "floordiv": "division.floor_div",
    "mod": "division.floor_mod",
    "pow": "math.pow",
    "and": "comparison.logical_and",
    "or": "comparison.logical_or",
    "xor": "comparison.logical_xor",
    "matmul": "linalg.matmul",
}
# Operators without a scope of their own.
_PLAIN = {
    "__neg__": "math.neg",
    "__abs__": "unary.abs",
    "__invert__": "comparison.logical_not",
    "__lt__": "comparison.less",
    "__le__": "comparison.less_equal",
    "__gt__": "comparison.greater",
    "__ge__": "comparison.greater_equal",
    "__getitem__": "slicing.slice_helper",
}
# Operators of a SparseTensor with a dense tensor.
_SPARSE = {
    "__mul__": "sparse_math.multiply",
    "__div__": "sparse_math.divide",
    "__truediv__": "sparse_math.truediv",
}


def install() -> None:
    """Gives Tensor and SparseTensor their operators."""
    for name, target in _BINARY.items():
        forward, backward = _binary(name, target)
        Tensor._override_operator(f"__{name}__", forward)
        Tensor._override_operator(f"__r{name}__", backward)
    for name, target in _PLAIN.items():
        Tensor._override_operator(name, _plain(target))
    for name, target in _SPARSE.items():
        setattr(SparseTensor, name, _plain(target))


def _late(target: str) -> Callable[..., Any]:
    """The function "module.name" of this package, looked up once, when first called."""
    found: list[Callable[..., Any]] = []

    def get() -> Callable[..., Any]:
        if not found:
            module, name = target.split(".")
            found.append(getattr(importlib.import_module(f"kvarn.ops.{module}"), name))
        return found[0]

    return get


def _binary(name: str, target: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The operator and its reflected form."""
    function = _late(target)

    def forward(x: Any, y: Any) -> Any:
        with name_scope(None, name, [x, y]) as scope:
            if type(y) is not Tensor and not isinstance(y, SparseTensor):
                try:
                    y = convert_to_tensor(y, dtype_hint=x.dtype.base_dtype, name="y")
                except TypeError:
                    if hasattr(type(y), f"__r{name}__"):
                        return NotImplemented
                    raise
            return function()(x, y, name=scope)

    def backward(y: Any, x: Any) -> Any:
        with name_scope(None, name, [x, y]) as scope:
            x = convert_to_tensor(x, dtype=y.dtype.base_dtype, name="x")
            return function()(x, y, name=scope)

    return forward, backward


def _plain(target: str) -> Callable[..., Any]:
    function = _late(target)

    def operator(x: Any, *args: Any) -> Any:
        return function()(x, *args)

    return operator


def add_dispatch(x: Tensor, y: Any, name: str | None = None) -> Tensor:
    """AddV2, or Add for strings."""
    from kvarn.ops.math import add, add_v2

    return add(x, y, name=name) if x.dtype.base_dtype is dtypes.string else add_v2(x, y, name=name)


def mul_dispatch(x: Tensor, y: Any, name: str | None = None) -> Any:
    """Mul; a SparseTensor as second operand is multiplied elementwise and stays sparse."""
    from kvarn.ops.math import mul

    if isinstance(y, SparseTensor):
        node = get_default_graph().create_op(
            "SparseDenseCwiseMul", [y.indices, y.values, y.dense_shape, x], name=name
        )
        return SparseTensor(y.indices, node.outputs[0], y.dense_shape)
    return mul(x, y, name=name)
