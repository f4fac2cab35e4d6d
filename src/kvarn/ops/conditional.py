"""`tf.cond` and `tf.case`.

Source: tensorflow/python/ops/control_flow_ops.py (1.15).
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from typing import Any

from kvarn import dtypes, tf_logging
from kvarn.graph import nest
from kvarn.graph.control_flow_util import EnableControlFlowV2
from kvarn.graph.convert import constant
from kvarn.graph.graph import (
    GraphKeys,
    add_to_collection,
    control_dependencies,
    get_default_graph,
    name_scope,
)
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array, casting, comparison, joining, reduction
from kvarn.ops.control import Assert
from kvarn.ops.control_flow_context import CondContext
from kvarn.ops.control_flow_values import merge, switch
from kvarn.ops.tensor_array import arrays_of


def cond(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    strict: bool = False,
    name: str | None = None,
    fn1: Callable[[], Any] | None = None,
    fn2: Callable[[], Any] | None = None,
) -> Any:
    """What ``true_fn`` returns if ``pred`` is true, else what ``false_fn`` returns.

    Both functions are called while building; a run computes the operations of one branch.  What is built
    outside of them runs in any case.  With `tf.enable_control_flow_v2` they become functions of the graph.

    Args:
      pred: scalar bool tensor.
      true_fn, false_fn: return the same nest of tensors, IndexedSlices, SparseTensors or `TensorArray`; an
        Operation stands for a tensor that waits for it.
      strict: keep a list or tuple of one item as it is; otherwise the item alone is returned.
      fn1, fn2: older names of the functions.

    Raises:
      TypeError: a function is missing or not callable, ``pred`` is a Python bool, or the results differ in
        the types of their containers.
      ValueError: a function returns None or nothing, or the results differ in form or element type.
    """
    if EnableControlFlowV2(get_default_graph()):
        from kvarn.ops.cond_v2 import cond_v2

        return cond_v2(pred, true_fn, false_fn, name)  # type: ignore[arg-type]
    true_fn = _one_of("true_fn", true_fn, "fn1", fn1)
    false_fn = _one_of("false_fn", false_fn, "fn2", fn2)
    with name_scope(name, "cond", [pred]):
        if isinstance(pred, bool):
            raise TypeError("pred must not be a Python bool")
        false, true = switch(pred, pred)
        pivots = array.identity(true, name="switch_t"), array.identity(false, name="switch_f")
        pred = array.identity(pred, name="pred_id")
        for tensor in (true, false, *pivots, pred):
            tensor.graph.prevent_fetching(tensor.op)
        context_true = CondContext(pred, pivots[0], branch=1)
        returned_true, result_true = _build(context_true, true_fn, "true_fn")
        context_false = CondContext(pred, pivots[1], branch=0)
        returned_false, result_false = _build(context_false, false_fn, "false_fn")
        if not strict:
            returned_true, returned_false = _alone(returned_true), _alone(returned_false)
        _check_same_structure(returned_true, returned_false, result_true, result_false)
        if not result_true:
            raise ValueError("true_fn and false_fn must return at least one result.")
        flat_true = nest.flatten(result_true, expand_composites=True)
        flat_false = nest.flatten(result_false, expand_composites=True)
        for x, y in zip(flat_true, flat_false, strict=True):
            if x.dtype.base_dtype is not y.dtype.base_dtype:
                raise ValueError(
                    f"Outputs of true_fn and false_fn must have the same type: {x.dtype.name}, {y.dtype.name}"
                )
        merges = [merge(pair)[0] for pair in zip(flat_false, flat_true, strict=True)]
        merges = arrays_of(nest.flatten(returned_true, expand_composites=True), merges)
        if context_true.outer_context is None:
            add_to_collection(GraphKeys.COND_CONTEXT, context_true)
            add_to_collection(GraphKeys.COND_CONTEXT, context_false)
        packed = nest.pack_sequence_as(returned_true, merges, expand_composites=True)
        return packed if strict else _alone(packed)


def _one_of(name: str, function: Any, older_name: str, older: Any) -> Callable[[], Any]:
    if older is not None:
        if function is not None:
            raise TypeError(f"cond(): {name} and {older_name} may not be set simultaneously.")
        function = older
    elif function is None:
        raise TypeError(f"cond(): {name} argument required")
    if not callable(function):
        raise TypeError(f"{name} must be callable.")
    checked: Callable[[], Any] = function
    return checked


def _build(context: CondContext, function: Callable[[], Any], what: str) -> tuple[Any, Any]:
    try:
        context.Enter()
        returned, result = context.BuildCondBranch(function)
        if returned is None:
            raise ValueError(f"{what} must have a return value.")
        context.ExitResult(result)
    finally:
        context.Exit()
    return returned, result


def _alone(result: Any) -> Any:
    return result[0] if isinstance(result, (list, tuple)) and len(result) == 1 else result


def _check_same_structure(
    returned_true: Any, returned_false: Any, result_true: Any, result_false: Any
) -> None:
    try:
        nest.assert_same_structure(returned_true, returned_false, expand_composites=True)
        for pairs in ((returned_true, returned_false), (result_true, result_false)):
            for x, y in zip(*map(nest.flatten, pairs), strict=False):
                _same_indices(x, y)
    except TypeError as e:
        raise TypeError(f"Incompatible return types of true_fn and false_fn: {e}") from None
    except ValueError as e:
        raise ValueError(f"Incompatible return values of true_fn and false_fn: {e}") from None


def _same_indices(a: Any, b: Any) -> None:
    """Makes the indices of both int64 if they differ in type."""
    if (
        isinstance(a, IndexedSlices)
        and isinstance(b, IndexedSlices)
        and a.indices.dtype is not b.indices.dtype
    ):
        for x in (a, b):
            x._indices = casting.cast(x.indices, dtypes.int64)


def case(
    pred_fn_pairs: Any,
    default: Callable[[], Any] | None = None,
    exclusive: bool = False,
    strict: bool = False,
    name: str = "case",
) -> Any:
    """What the function of the first true predicate returns.

    Args:
      pred_fn_pairs: list of pairs of a scalar bool tensor and a function, or a dictionary of them, which is
        taken in the order of the tensors' names.
      default: the function if no predicate is true; without it that is an error.
      exclusive: more than one true predicate is an error.
      strict: see `cond`.

    Raises:
      TypeError: the pairs are not as described.
      InvalidArgumentError (when run): no predicate, or with ``exclusive`` more than one, is true.
    """
    pairs = _checked_pairs(pred_fn_pairs, exclusive, name)
    predicates, actions = [p for p, _ in pairs], [a for _, a in pairs]
    with name_scope(name, "case", [predicates]):
        if default is None:
            default, predicates, actions = _last_as_default(predicates, actions)
        function = default
        for predicate, action in reversed(list(zip(predicates, actions, strict=True))):
            function = functools.partial(cond, predicate, true_fn=action, false_fn=function, strict=strict)
        if not exclusive:
            return function()
        with control_dependencies([_at_most_true(predicates, 1, "Input error: exclusive=True")]):
            return function()


def _checked_pairs(given: Any, exclusive: bool, name: str) -> list[tuple[Tensor, Callable[[], Any]]]:
    if not isinstance(given, (list, tuple, dict)):
        raise TypeError("fns must be a list, tuple, or dict")
    if isinstance(given, collections.OrderedDict):
        given = list(given.items())
    elif isinstance(given, dict):
        given = sorted(given.items(), key=lambda item: item[0].name)
        if not exclusive:
            tf_logging.warning(
                "%s: An unordered dictionary of predicate/fn pairs was provided, but exclusive=False. The order of "
                "conditional tests is deterministic but not guaranteed.",
                name,
            )
    for pair in given:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError("Each entry in pred_fn_pairs must be a 2-tuple")
        predicate, action = pair
        if not isinstance(predicate, Tensor):
            raise TypeError(f"pred must be a Tensor, got: {predicate}")
        if predicate.dtype is not dtypes.bool:
            raise TypeError(f"pred must be Tensor of type bool: {predicate.name}")
        if not callable(action):
            raise TypeError(f"fn for pred {predicate.name} must be callable.")
    return list(given)


def _last_as_default(predicates: list[Tensor], actions: list[Any]) -> tuple[Any, list[Tensor], list[Any]]:
    """The last action behind assertions that its predicate, and no other, is true; and the other pairs."""
    number = len(predicates) - 1
    others = predicates[:number]

    def last() -> Any:
        message = (
            f"Implementation error: selected default action #{number} was called, but some of other predicates are "
            "True: "
        )
        none_is_true = (
            "Input error: None of conditions evaluated as True:",
            joining.stack(predicates, name="preds_c"),
        )
        checks = [_at_most_true(others, 0, message), Assert(predicates[number], data=none_is_true)]
        with control_dependencies(checks):
            return actions[number]()

    return last, others, actions[:number]


def _at_most_true(predicates: list[Tensor], n: int, message: str) -> Operation:
    together = joining.stack(predicates, name="preds_c")
    count = reduction.reduce_sum(casting.cast(together, dtypes.int32), name="num_true_conds")
    condition = comparison.less_equal(count, constant(n, name="n_true_conds"))
    names = ", ".join(p.name for p in predicates)
    data = [f"{message}: more than {n} conditions ({names}) evaluated as True:", together]
    return Assert(condition, data=data, summarize=len(predicates))


def switch_case(branch_index: Any, branch_fns: Any, default: Any = None, name: str = "switch_case") -> Any:
    """What the function of number ``branch_index`` returns: a Case node, whatever `tf.enable_control_flow_v2` says.

    Args:
      branch_index: scalar int32 tensor.
      branch_fns: functions, or pairs of numbers from 0 on and functions, or a dictionary of them.
      default: the function for all other numbers; the last one by default.

    Raises:
      TypeError: the arguments are not as described.
      ValueError: there is no function, or the numbers do not go from 0 on.
    """
    from kvarn.ops.cond_v2 import indexed_case

    functions = _numbered(branch_index, branch_fns, default)
    with name_scope(name, "case", [branch_index]):
        return indexed_case(branch_index, functions)


def _numbered(branch_index: Any, branch_fns: Any, default: Any) -> list[Callable[[], Any]]:
    if not isinstance(branch_index, Tensor):
        raise TypeError(f"branch_index must a Tensor, got {type(branch_index)}")
    if not branch_index.dtype.is_integer:
        raise TypeError(f"branch_index must an integer Tensor, got {branch_index.dtype}")
    if not branch_fns:
        raise ValueError("Must provide at least one item in branch_fns")
    if not isinstance(branch_fns, (list, tuple, dict)):
        raise TypeError("branch_fns must be a list, tuple, or dict")
    pairs: list[Any] = list(branch_fns.items() if isinstance(branch_fns, dict) else branch_fns)
    if all(callable(function) for function in pairs):
        pairs = list(enumerate(pairs))
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError("Each entry in branch_fns must be a 2-tuple")
        key, function = pair
        if not isinstance(key, int):
            raise TypeError(f"key must be a Python `int`, got {type(key)}")
        if not callable(function):
            raise TypeError(f"fn for key {key} must be callable.")
    keys = [key for key, _ in pairs]
    if min(keys) < 0 or max(keys) >= len(keys) or len(set(keys)) != len(keys):
        found = ",".join(map(str, sorted(keys)))
        raise ValueError(
            f"branch indices (keys) must form contiguous range of [0 to {len(keys)}) but found {{{found}}}"
        )
    functions = [function for _, function in sorted(pairs, key=lambda pair: pair[0])]
    if default is not None:
        if not callable(default):
            raise TypeError("default must be callable.")
        functions.append(default)
    return functions
