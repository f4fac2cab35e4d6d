"""Moving averages of variables and tensors.

Source: tensorflow/python/training/moving_averages.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import (
    GraphKeys,
    add_to_collection,
    colocate_with,
    get_default_graph,
    init_scope,
    name_scope,
)
from kvarn.ops import control, math, state
from kvarn.train import slot_creator
from kvarn.variables import initializers, listing
from kvarn.variables import scope as variable_scope
from kvarn.variables.variable import Variable

_FLOATS = (dtypes.bfloat16, dtypes.float16, dtypes.float32, dtypes.float64)
_VARIABLE_OPS = ("Variable", "VariableV2", "VarHandleOp")


def assign_moving_average(
    variable: Any, value: Any, decay: Any, zero_debias: bool = True, name: str | None = None
) -> Any:
    """An operation that sets ``variable`` to ``variable * decay + value * (1 - decay)``.

    Args:
      variable: the average, any shape.
      value: a tensor of the same shape and type.
      decay: a float, or a scalar tensor.
      zero_debias: correct that the average starts from 0, by a count of the steps beside the variable: its value is
        then the average, so weighted, of the values that there were.
      name: of the operation, ``AssignMovingAvg`` by default.

    Returns:
      The variable after the update.
    """
    with name_scope(name, "AssignMovingAvg", [variable, value, decay]) as scope:
        rest = convert_to_tensor(1.0 - decay, name="decay")
        if rest.dtype != variable.dtype.base_dtype:
            rest = math.cast(rest, variable.dtype.base_dtype)
        if zero_debias:
            return _zero_debias(variable, value, rest)
        with colocate_with(variable):
            return state.assign_sub(variable, (variable - value) * rest, name=scope)


def weighted_moving_average(
    value: Any,
    decay: Any,
    weight: Any,
    truediv: bool = True,
    collections: Sequence[str] | None = None,
    name: str | None = None,
) -> Any:
    """The moving average of ``value * weight`` divided by that of ``weight``.

    Args:
      value, weight: tensors of shapes that broadcast.
      decay: a float, or a scalar tensor.
      truediv: divide integers as Python does.
      collections: of the two variables; GLOBAL_VARIABLES by default.
      name: scope of the variables, ``WeightedMovingAvg`` by default.

    Returns:
      A tensor with the average after this value.
    """
    if collections is None:
        collections = [GraphKeys.GLOBAL_VARIABLES]
    with variable_scope.variable_scope(name, "WeightedMovingAvg", [value, weight, decay]) as scope:
        value_x_weight = _zeros("value_x_weight", value, collections)
        weights = _zeros("weight", weight, collections)
        numerator = assign_moving_average(value_x_weight, value * weight, decay, zero_debias=False)
        denominator = assign_moving_average(weights, weight, decay, zero_debias=False)
        divide = math.truediv if truediv else math.div
        return divide(numerator, denominator, name=scope.name)


def _zeros(name: str, like: Any, collections: Sequence[str]) -> Any:
    return variable_scope.get_variable(
        name,
        shape=like.get_shape(),
        dtype=like.dtype,
        initializer=initializers.zeros_initializer(),
        trainable=False,
        collections=collections,
    )


def _zero_debias(unbiased: Any, value: Any, rest: Any) -> Any:
    """Sets ``unbiased`` to the moving average from 0, divided by ``1 - decay ** steps``.

    Args:
      unbiased: a variable.
      value: a tensor.
      rest: ``1 - decay``, of the variable's type.
    """
    scope_name = unbiased.name[: -len(":0")]
    with variable_scope.variable_scope(scope_name, values=[unbiased, value, rest]), colocate_with(unbiased):
        zeros = initializers.zeros_initializer()
        biased = variable_scope.get_variable(
            _unique("biased"),
            initializer=zeros,
            shape=unbiased.get_shape(),
            dtype=unbiased.dtype,
            trainable=False,
        )
        steps = variable_scope.get_variable(
            _unique("local_step"), shape=[], dtype=unbiased.dtype, initializer=zeros, trainable=False
        )
    with colocate_with(unbiased):
        update = state.assign_sub(biased, (biased - value) * rest)
        step = steps.assign_add(1)
        bias = 1 - math.pow(1.0 - rest, step)
        return state.assign(unbiased, update / bias, name=get_default_graph().get_name_scope() + "/")


def _unique(name: str) -> str:
    """``name``, or with a number after it, so that the variable scope has no variable of that name."""
    scope = variable_scope.get_variable_scope()
    if scope.reuse:
        return name
    taken = {v.op.name for v in scope.global_variables()}
    found, number = name, 0
    while f"{scope.name}/{found}" in taken:
        number += 1
        found = f"{name}_{number}"
    return found


class ExponentialMovingAverage:
    """Moving averages of variables, or tensors, by an exponential decay.

    Args:
      decay: a float, or a scalar tensor: how much of the average stays in one update.
      num_updates: the number of updates so far, a number or variable: the decay is then at most
        ``(1 + num_updates) / (10 + num_updates)``.
      zero_debias: of tensors, whose averages start from 0, correct that; see `assign_moving_average`.
      name: part of the averages' names.
    """

    def __init__(
        self,
        decay: Any,
        num_updates: Any = None,
        zero_debias: bool = False,
        name: str = "ExponentialMovingAverage",
    ) -> None:
        self._decay = decay
        self._num_updates = num_updates
        self._zero_debias = zero_debias
        self._name = name
        # By the identity of what they are averages of, which is held so that it stays its own.
        self._averages: dict[int, tuple[Any, Any]] = {}

    @property
    def name(self) -> str:
        return self._name

    def apply(self, var_list: Iterable[Any] | None = None) -> Any:
        """Makes the averages that there are not yet, and gives an operation that updates them.

        Averages of variables start from their initial values, those of tensors from 0.  They are no trainable
        variables, and are saved.

        Args:
          var_list: variables and tensors of floats; all trainable variables by default.

        Raises:
          TypeError: one has another type.
        """
        var_list = listing.trainable_variables() if var_list is None else list(var_list)
        debiased: set[int] = set()
        for var in var_list:
            if var.dtype.base_dtype not in _FLOATS:
                raise TypeError(f"The variables must be half, float, or double: {var.name}")
            if id(var) not in self._averages:
                with init_scope():
                    average = self._create(var)
                if self._zero_debias and not isinstance(var, Variable):
                    debiased.add(id(var))
                self._averages[id(var)] = (var, average)
        with name_scope(self.name) as scope:
            decay = convert_to_tensor(self._decay, name="decay")
            if self._num_updates is not None:
                updates = math.cast(self._num_updates, dtypes.float32, name="num_updates")
                decay = math.minimum(decay, (1.0 + updates) / (10.0 + updates))
            return control.group(
                *(
                    assign_moving_average(self._averages[id(var)][1], var, decay, id(var) in debiased)
                    for var in var_list
                ),
                name=scope,
            )

    def _create(self, var: Any) -> Any:
        if isinstance(var, Variable):
            average = slot_creator.create_slot(
                var, var.initialized_value(), self.name, colocate_with_primary=True
            )
            # The collection has what is averaged, not the averages.
            add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, var)
            return average
        return slot_creator.create_zeros_slot(
            var, self.name, colocate_with_primary=var.op.type in _VARIABLE_OPS
        )

    def average(self, var: Any) -> Any:
        """The variable with the average of ``var``; None if `apply` was not given it."""
        found = self._averages.get(id(var))
        return None if found is None else found[1]

    def average_name(self, var: Any) -> str:
        """The name that the average of ``var`` has, or would have."""
        average = self.average(var)
        if average is not None:
            name: str = average.op.name
            return name
        return get_default_graph().unique_name(f"{var.op.name}/{self.name}", mark_as_used=False)

    def variables_to_restore(self, moving_avg_variables: Iterable[Any] | None = None) -> dict[str, Any]:
        """What a Saver is given to restore averages into the variables that they are of.

        Args:
          moving_avg_variables: the variables that have averages; by default all trainable ones and those that
            averages were made of.

        Returns:
          All global variables by name, those that have averages by the names of these.
        """
        if moving_avg_variables is None:
            moving_avg_variables = listing.trainable_variables() + listing.moving_average_variables()
        averaged = list(dict.fromkeys(moving_avg_variables))
        found = {self.average_name(v): v for v in averaged}
        names = {v.name for v in averaged}
        for v in listing.global_variables():
            if v.name not in names:
                found.setdefault(v.op.name, v)
        return found
