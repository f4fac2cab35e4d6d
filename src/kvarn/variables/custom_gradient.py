"""`tf.custom_gradient`: functions with gradients of their own.

Source: tensorflow/python/ops/custom_gradient.py (1.15).
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any

from kvarn import tf_logging
from kvarn.graph import nest
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.gradients import RegisterGradient, gradients
from kvarn.graph.graph import GraphKeys, control_dependencies, get_collection, get_default_graph
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops import array
from kvarn.ops.resource_variable import handle_shape_and_type
from kvarn.variables.scope import get_variable_scope
from kvarn.variables.variable import Variable

_numbers = itertools.count()
_VARIABLES = ("VariableV2", "VarHandleOp")


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a function that returns its result and the function of its gradient.

        @tf.custom_gradient
        def log1pexp(x):
            e = tf.exp(x)
            return tf.log(1 + e), lambda dy: dy * (1 - 1 / (1 + e))

    Args:
      f: ``f(*tensors)`` returns ``(result, grad_fn)``; ``grad_fn(*d_results)`` returns the gradients of the
        arguments.  If ``f`` uses variables, which must be resource variables, ``grad_fn`` takes a keyword
        argument ``variables`` and returns a pair: the gradients of the arguments, and those of the variables.

    Raises (when called):
      ValueError: keyword arguments, or not a gradient for each variable.
      TypeError: the variables of ``f`` and the arguments of ``grad_fn`` do not fit.
    """

    @functools.wraps(f)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise ValueError(
                "The custom_gradient decorator currently supports keywords arguments only when eager execution is "
                "enabled."
            )
        return _call(f, args)

    return decorated


def _all_variables() -> set[Variable]:
    scope = get_variable_scope()
    return {*scope.global_variables(), *scope.local_variables()}


def _call(f: Callable[..., Any], given: tuple[Any, ...]) -> Any:
    name = f"CustomGradient-{next(_numbers)}"
    args = [convert_to_tensor(x) for x in given]
    before = _all_variables()
    result, grad_fn = f(*args)
    for v in _all_variables() - before:
        if not isinstance(getattr(v, "handle", None), Tensor):
            raise TypeError(
                "All variables used by a function wrapped with @custom_gradient must be `ResourceVariable`s. Ensure "
                "that no `variable_scope` is created with `use_resource=False`."
            )
    variables = get_dependent_variables(input_ops=args, output_ops=result)
    _check_signature(grad_fn, variables)
    results = nest.flatten(result)

    @RegisterGradient(name)
    def gradient(unused_op: Operation, *grads: Any) -> list[Any]:
        grads = grads[: len(results)]
        if not variables:
            return [None] * len(results) + nest.flatten(grad_fn(*grads))
        of_inputs, of_variables = grad_fn(*grads, variables=variables)
        if len(of_variables) != len(variables):
            raise ValueError("Must return gradient for each variable from @custom_gradient grad_fn.")
        return [None] * len(results) + nest.flatten(of_inputs) + list(of_variables)

    originals = [*results, *args, *(v.handle for v in variables)]
    with get_default_graph().gradient_override_map({"IdentityN": name}):
        tensors = array.identity_n(originals)
    for original, tensor in zip(originals, tensors, strict=True):
        original = convert_to_tensor(original)
        if original.dtype.name == "resource":
            tensor._handle_shape_and_type = handle_shape_and_type(original)
    return nest.pack_sequence_as(result, tensors[: len(results)])


def _check_signature(grad_fn: Callable[..., Any], variables: list[Any]) -> None:
    parameters = inspect.getfullargspec(grad_fn)
    takes_variables = "variables" in parameters.args or bool(parameters.varkw)
    if variables and not takes_variables:
        raise TypeError(
            "If using @custom_gradient with a function that uses variables, then grad_fn must accept a keyword "
            "argument 'variables'."
        )
    if takes_variables and not variables:
        if not get_variable_scope().use_resource:
            raise TypeError(
                "If using @custom_gradient with a function that uses variables, the enclosing variable scope must "
                "have use_resource=True."
            )
        tf_logging.warning(
            "@custom_gradient grad_fn has 'variables' in signature, but no ResourceVariables were used on the "
            "forward pass."
        )


def get_variable_by_name(var_name: str) -> Any:
    """The trainable global variable of that name; None if it is not trainable.

    Raises:
      ValueError: there is no such variable, or several.
    """
    found = get_collection(GraphKeys.GLOBAL_VARIABLES, scope=f"{var_name}:0")
    if not found:
        raise ValueError(f"Unsuccessful at finding variable {var_name}.")
    trainable = [v for v in found if v.trainable]
    if len(trainable) > 1:
        raise ValueError(
            f"Unsuccessful at finding trainable variable {var_name}. Number of candidates: {len(trainable)}. "
            f"Candidates: {trainable}"
        )
    return trainable[0] if trainable else None


def get_dependent_variables(input_ops: Any, output_ops: Any) -> list[Any]:
    """The trainable variables that ``output_ops`` depend on, not through ``input_ops``; nests of tensors."""
    ends = nest.flatten(nest.map_structure(array.identity, output_ops))
    stops = set(nest.flatten(input_ops))
    seen: dict[Operation, None] = {}
    stack = [x.op for x in ends]
    while stack:
        op = stack.pop(0)
        if op in seen:
            continue
        seen[op] = None
        stack.extend(x.op for x in op.inputs if x not in stops and _differentiable(x))
    found = (get_variable_by_name(op.name) for op in seen if op.type in _VARIABLES)
    return [v for v in found if v is not None]


def _differentiable(tensor: Tensor) -> bool:
    dtype = tensor.dtype.base_dtype
    return dtype.is_floating or dtype.is_complex or dtype.name in ("resource", "variant")


def recompute_grad(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` whose values are not kept for its gradient, but computed again."""

    @custom_gradient
    def inner(*args: Any) -> Any:
        def grad(d_result: Any, variables: Any = None) -> Any:
            with control_dependencies([d_result]):
                again = f(*args)
            xs = [*args, *(variables or ())]
            grads = gradients(again, xs, grad_ys=[d_result])
            return grads[: len(args)] if variables is None else (grads[: len(args)], grads[len(args) :])

        return f(*args), grad

    return inner


def grad_pass_through(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` whose gradient is that of the identity."""

    @custom_gradient
    def passing(*args: Any) -> Any:
        def grad(*grads: Any, **kwargs: Any) -> Any:
            variables = kwargs.get("variables")
            return grads if variables is None else (grads, [None] * len(variables))

        return f(*args), grad

    return functools.wraps(f)(passing)
