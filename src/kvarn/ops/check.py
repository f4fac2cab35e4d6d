"""Assertions about tensors: decided at once where the values are known, else when they are run.

Source: tensorflow/python/ops/check_ops.py (1.15).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

import kvarn.ops.array as array
import kvarn.ops.comparison as comparison
import kvarn.ops.reduction as reduction
from kvarn import dtypes, errors
from kvarn.graph import tensor_util
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops import control


def _shown(item: Any) -> str:
    if isinstance(item, Tensor):
        value = tensor_util.constant_value(item)
        return str(item if value is None else value)
    return str(item)


def _binary(
    sign: str,
    what: str,
    function: Callable[..., Any],
    static: Callable[..., Any],
    x: Any,
    y: Any,
    data: Any,
    summarize: int | None,
    message: str | None,
    name: str | None,
) -> Operation:
    with name_scope(name, what, [x, y, data]):
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y")
        if data is None:
            data = [
                f"Condition x {sign} y did not hold element-wise:",
                f"x ({x.name}) = ",
                x,
                f"y ({y.name}) = ",
                y,
            ]
        if message is not None:
            data = [message, *data]
        condition = reduction.reduce_all(function(x, y))
        x_static, y_static = tensor_util.constant_value(x), tensor_util.constant_value(y)
        if x_static is not None and y_static is not None and not np.all(static(x_static, y_static)):
            raise errors.InvalidArgumentError(None, None, "\n".join(_shown(item) for item in data))
        return control.Assert(condition, data, summarize=summarize)


def _declare_binary(
    what: str, sign: str, function: Callable[..., Any], static: Callable[..., Any]
) -> Callable[..., Operation]:
    def check(
        x: Any,
        y: Any,
        data: Any = None,
        summarize: int | None = None,
        message: str | None = None,
        name: str | None = None,
    ) -> Operation:
        if what == "assert_equal":
            # TensorFlow looks for this case in a scope of its own, which takes the name.
            with name_scope(name, what, [x, y, data]):
                if x is y:
                    return control.no_op()
        return _binary(sign, what, function, static, x, y, data, summarize, message, name)

    check.__name__ = check.__qualname__ = what
    check.__doc__ = f"""An operation that fails unless ``x {sign} y`` for all elements, with broadcasting.

    Args:
      data: list of tensors and texts to show when it fails; both values by default.
      summarize: elements to show of each.
      message: shown first.

    Raises:
      InvalidArgumentError: it does not hold: at once if both values are known, otherwise when run.
    """
    return check


assert_equal = _declare_binary("assert_equal", "==", comparison.equal, operator.eq)
assert_none_equal = _declare_binary("assert_none_equal", "!=", comparison.not_equal, operator.ne)
assert_less = _declare_binary("assert_less", "<", comparison.less, operator.lt)
assert_less_equal = _declare_binary("assert_less_equal", "<=", comparison.less_equal, operator.le)
assert_greater = _declare_binary("assert_greater", ">", comparison.greater, operator.gt)
assert_greater_equal = _declare_binary("assert_greater_equal", ">=", comparison.greater_equal, operator.ge)


def _declare_unary(what: str, condition: str, check: Callable[[Any, Any, Any, Any], Operation]) -> Any:
    def of_one(
        x: Any,
        data: Any = None,
        summarize: int | None = None,
        message: str | None = None,
        name: str | None = None,
    ) -> Operation:
        with name_scope(name, what, [x, data]):
            x = convert_to_tensor(x, name="x")
            if data is None:
                told = f"Condition x {condition} did not hold element-wise:"
                named = f"x ({x.name}) = "
                # One of the four has both texts in one.
                texts = [told + named] if what == "assert_non_positive" else [told, named]
                data = [message or "", *texts, x]
            zero = convert_to_tensor(0, dtype=x.dtype)
            return check(x, zero, data, summarize)

    of_one.__name__ = of_one.__qualname__ = what
    of_one.__doc__ = (
        f"""An operation that fails unless ``x {condition}`` for all elements; see `assert_less`."""
    )
    return of_one


assert_positive = _declare_unary("assert_positive", "> 0", lambda x, zero, *rest: assert_less(zero, x, *rest))
assert_negative = _declare_unary("assert_negative", "< 0", lambda x, zero, *rest: assert_less(x, zero, *rest))
assert_non_negative = _declare_unary(
    "assert_non_negative", ">= 0", lambda x, zero, *rest: assert_less_equal(zero, x, *rest)
)
assert_non_positive = _declare_unary(
    "assert_non_positive", "<= 0", lambda x, zero, *rest: assert_less_equal(x, zero, *rest)
)


def assert_rank(
    x: Any,
    rank: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """An operation that fails unless ``x`` has that rank, an int32 scalar.

    Raises:
      ValueError: both are known and it has not, or ``rank`` is no scalar.
      InvalidArgumentError: it has not, when run.
      TypeError: ``rank`` is not int32.
    """
    with name_scope(name, "assert_rank", [x, rank, *(data or ())]):
        x = convert_to_tensor(x, name="x")
        rank = convert_to_tensor(rank, name="rank")
        if data is None:
            told = f"Tensor {x.name} must have rank"
            data = [message or "", told, rank, "Received shape: ", array.shape(x)]
        assert_type(rank, dtypes.int32)
        wanted = tensor_util.constant_value(rank)
        if wanted is not None:
            if wanted.ndim != 0:
                raise ValueError("Rank must be a scalar.")
            if x.static_shape is not None:
                if len(x.static_shape) != wanted:
                    raise ValueError(
                        f"{message or ''}.  Tensor {x.name} must have rank {wanted}.  Received rank "
                        f"{len(x.static_shape)}, shape {x.get_shape()}"
                    )
                return control.no_op(name="static_checks_determined_all_ok")
        condition = _of_scalar(comparison.equal(array.rank(x), rank), rank, wanted)
        return control.Assert(condition, data, summarize=summarize)


def _of_scalar(condition: Any, rank: Tensor, known: Any) -> Any:
    """``condition`` behind a check that the rank it was made of is a scalar, if that is not known."""
    if known is not None:
        return condition
    scalar = assert_rank(rank, 0, data=["Rank must be a scalar. Received rank: ", rank])
    return control.with_dependencies([scalar], condition)


def assert_rank_in(
    x: Any,
    ranks: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """An operation that fails unless ``x`` has one of several ranks; arguments and errors as of `assert_rank`."""
    with name_scope(name, "assert_rank_in", [x, *ranks, *(data or ())]):
        x = convert_to_tensor(x, name="x")
        ranks = [convert_to_tensor(rank, name="rank") for rank in ranks]
        if data is None:
            told = f"Tensor {x.name} must have rank in"
            data = [message or "", told, *ranks, "Received shape: ", array.shape(x)]
        for rank in ranks:
            assert_type(rank, dtypes.int32)
        wanted = [tensor_util.constant_value(rank) for rank in ranks]
        if all(rank is not None for rank in wanted):
            if any(np.ndim(rank) for rank in wanted):
                raise ValueError("Rank must be a scalar.")
            if x.static_shape is not None:
                if len(x.static_shape) not in wanted:
                    raise ValueError(
                        f"{message or ''}.  Tensor {x.name} must have rank in {tuple(int(r) for r in wanted)}.  "
                        f"Received rank {len(x.static_shape)}, shape {x.get_shape()}"
                    )
                return control.no_op(name="static_checks_determined_all_ok")
        found = array.rank(x)
        condition: Any = comparison.equal(found, ranks[0])
        for rank in ranks[1:]:
            condition = comparison.logical_or(condition, comparison.equal(found, rank))
        for rank, known in zip(ranks, wanted, strict=True):
            condition = _of_scalar(condition, rank, known)
        return control.Assert(condition, data, summarize=summarize)


def assert_type(tensor: Any, tf_type: Any, message: str | None = None, name: str | None = None) -> Operation:
    """TypeError unless a tensor is of a type; an operation that does nothing otherwise."""
    with name_scope(name, "assert_type", [tensor]):
        tensor = convert_to_tensor(tensor, name="tensor")
        if tensor.dtype != tf_type:
            raise TypeError(f"{message or ''}  {tensor.name} must be of type {tf_type}")
        return control.no_op("statically_determined_correct_type")
