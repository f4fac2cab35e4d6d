"""The base of the optimizers of Keras: settings that are variables, slots, and the step that updates variables.

Source: tensorflow/python/keras/optimizer_v2/optimizer_v2.py (1.15), in graph mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph.gradients import gradients
from kvarn.graph.graph import colocate_with, control_dependencies, init_scope, name_scope
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.graph.tensor_util import is_tensor
from kvarn.keras import backend, initializers, sessions
from kvarn.keras.base_layer import _make_variable, to_snake_case
from kvarn.ops import array, casting, clip, resource_variable, segment
from kvarn.train.trackable_optimizer import var_key
from kvarn.variables.checkpoint_position import CheckpointPosition
from kvarn.variables.trackable import Trackable
from kvarn.variables.variable import VariableAggregation, VariableV1

_ALLOWED = ("clipnorm", "clipvalue", "lr", "decay")


class OptimizerV2(Trackable):
    """What updates variables by gradients.

    A subclass sets its settings by `_set_hyper` and says `_create_slots`, `_prepare_local`,
    `_resource_apply_dense`, `_resource_apply_sparse` and `get_config`.

    Args:
      name: the scope of what it makes.
      clipnorm: gradients are clipped to that norm, each by itself.
      clipvalue: elements of gradients are clipped to that.
      lr: the learning rate by its older name.
      decay: what the learning rate falls by.

    Attributes:
      iterations: how many steps there have been.

    Raises:
      TypeError: another argument.
      ValueError: one is negative.
    """

    _use_locking = True

    def __init__(self, name: str | None, **kwargs: Any) -> None:
        for argument, value in kwargs.items():
            if argument not in _ALLOWED:
                raise TypeError(f"Unexpected keyword argument passed to optimizer: {argument}")
            if value < 0:
                raise ValueError(f"Expected {argument} >= 0, received: {value}")
        self._name = name or backend.unique_object_name(to_snake_case(type(self).__name__), zero_based=True)
        self._hyper: dict[str, Any] = {}
        self._slots: dict[Any, dict[str, Any]] = {}
        self._slot_names: list[str] = []
        self._weights: list[Any] = []
        self._iterations: Any = None
        self._hypers_created = False
        self._deferred_slot_restorations: dict[tuple[str, Any], list[CheckpointPosition]] = {}
        self._initial_decay = kwargs.get("decay", 0.0)
        self.clipnorm = kwargs.get("clipnorm")
        self.clipvalue = kwargs.get("clipvalue")

    # What subclasses say.

    def _create_slots(self, var_list: list[Any]) -> None:
        """Makes the slots of variables by `add_slot`."""

    def _prepare_local(self, dtype: Any) -> dict[str, Any]:
        """What updates of variables of a type have in common, by name."""
        return {"lr_t": array.identity(self._decayed_lr(dtype))}

    def _resource_apply_dense(self, grad: Tensor, var: Any, common: dict[str, Any]) -> Any:
        """The operation that updates a variable."""
        raise NotImplementedError("Must be implemented in subclasses.")

    def _resource_apply_sparse(self, grad: Tensor, var: Any, indices: Tensor, common: dict[str, Any]) -> Any:
        """The operation that updates rows of a variable, each of them once."""
        raise NotImplementedError("Must be implemented in subclasses.")

    def _resource_apply_sparse_duplicate_indices(
        self, grad: Tensor, var: Any, indices: Tensor, common: dict[str, Any]
    ) -> Any:
        distinct, positions = array.unique(indices)
        summed = segment.unsorted_segment_sum(grad, positions, array.shape(distinct)[0])
        return self._resource_apply_sparse(summed, var, distinct, common)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        clips = {"clipnorm": self.clipnorm, "clipvalue": self.clipvalue}
        return {"name": self._name} | {name: value for name, value in clips.items() if value is not None}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> OptimizerV2:
        """The optimizer whose `get_config` gave ``config``."""
        return cls(**{"learning_rate" if name == "lr" else name: value for name, value in config.items()})

    # A step.

    def get_gradients(self, loss: Any, params: list[Any]) -> list[Any]:
        """The gradients of a loss, clipped; ValueError if a variable has none."""
        with name_scope(self._name + "/gradients"):
            found = gradients(loss, params)
            for grad, param in zip(found, params, strict=True):
                if grad is None:
                    raise ValueError(
                        f"Variable {param} has `None` for gradient. Please make sure that all of your ops have a "
                        "gradient defined (i.e. are differentiable). Common ops without gradient: K.argmax, K.round, "
                        "K.eval."
                    )
            if self.clipnorm is not None:
                found = [clip.clip_by_norm(g, self.clipnorm) for g in found]
            if self.clipvalue is not None:
                found = [clip.clip_by_value(g, -self.clipvalue, self.clipvalue) for g in found]
            return found

    def get_updates(self, loss: Any, params: list[Any]) -> list[Any]:
        """The operations of a step that makes a loss smaller."""
        return [self.apply_gradients(list(zip(self.get_gradients(loss, params), params, strict=True)))]

    def minimize(self, loss: Any, var_list: Any, grad_loss: Any = None, name: str | None = None) -> Any:
        """A step that makes a loss smaller.

        Args:
          loss: a function without arguments.
          var_list: variables, or a function that gives them.

        Raises:
          NotImplementedError: ``grad_loss``.
        """
        if grad_loss is not None:
            raise NotImplementedError("`minimize` of a Keras optimizer with `grad_loss`")
        value = loss()
        variables = list(var_list() if callable(var_list) else var_list)
        pairs = zip(self.get_gradients(value, variables), variables, strict=True)
        return self.apply_gradients(list(pairs), name=name)

    def apply_gradients(self, grads_and_vars: Any, name: str | None = None) -> Any:
        """The operation of a step.

        Args:
          grads_and_vars: pairs; those without a gradient are left out.

        Raises:
          ValueError: there is no gradient at all.
        """
        pairs = [(grad, var) for grad, var in grads_and_vars if grad is not None]
        if not pairs:
            raise ValueError(
                f"No gradients provided for any variable: {[v.name for _, v in grads_and_vars]}."
            )
        variables = [var for _, var in pairs]
        with name_scope(self._name):
            with init_scope():
                _ = self.iterations
                self._create_hypers()
                self._create_slots(variables)
            kinds = {var.dtype.base_dtype: None for var in variables}
            common = {kind: self._prepare_local(kind) for kind in kinds}
            with name_scope(name or self._name):
                updates = [self._update(grad, var, common[var.dtype.base_dtype]) for grad, var in pairs]
                with control_dependencies(updates):
                    return self._iterations.assign_add(1).op

    def _update(self, grad: Any, var: Any, common: dict[str, Any]) -> Any:
        with name_scope("update_" + var.op.name), colocate_with(var.op):
            if isinstance(grad, IndexedSlices):
                if var.constraint is not None:
                    raise RuntimeError("Cannot use a constraint function on a sparse variable.")
                return self._resource_apply_sparse_duplicate_indices(grad.values, var, grad.indices, common)
            update = self._resource_apply_dense(grad, var, common)
            if var.constraint is None:
                return update
            with control_dependencies([update]):
                return var.assign(var.constraint(var))

    @staticmethod
    def _resource_scatter_add(var: Any, indices: Any, values: Any) -> Any:
        """The value of a variable after rows were added to."""
        with control_dependencies([resource_variable.resource_scatter_add(var.handle, indices, values)]):
            return var.value()

    # Settings.

    def _set_hyper(self, name: str, value: Any) -> None:
        """Sets a setting: a number becomes a variable, which later numbers are assigned to."""
        before = self._hyper.get(name)
        if isinstance(before, VariableV1) and not (is_tensor(value) or callable(value)):
            sessions.set_value(before, value)
        else:
            self._hyper[name] = value

    def _get_hyper(self, name: str, dtype: Any = None) -> Any:
        if not self._hypers_created:
            self._create_hypers()
        value = self._hyper[name]
        if callable(value) and not is_tensor(value):
            value = value()
        return casting.cast(value, dtype) if dtype else value

    def _create_hypers(self) -> None:
        if self._hypers_created:
            return
        for name, value in sorted(self._hyper.items()):
            if not is_tensor(value) and not callable(value):
                self._hyper[name] = self.add_weight(name, [], initializer=value)
        self._hypers_created = True

    def __getattr__(self, name: str) -> Any:
        hyper = self.__dict__.get("_hyper", {})
        name = "learning_rate" if name == "lr" else name
        if name in hyper:
            return self._get_hyper(name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        name = "learning_rate" if name == "lr" else name
        if name in self.__dict__.get("_hyper", {}):
            self._set_hyper(name, value)
        else:
            super().__setattr__(name, value)

    def _decayed_lr(self, dtype: Any) -> Any:
        rate = self._get_hyper("learning_rate", dtype)
        if self._initial_decay > 0.0:
            step = casting.cast(self.iterations, dtype)
            rate = rate / (1.0 + self._get_hyper("decay", dtype) * step)
        return rate

    def _setting(self, name: str) -> Any:
        value = self._hyper[name]
        return sessions.get_value(value) if is_tensor(value) else value() if callable(value) else value

    # Variables.

    @property
    def iterations(self) -> Any:
        """How many steps there have been: a variable, int64 []."""
        if self._iterations is None:
            self._iterations = self.add_weight("iter", [], dtype=dtypes.int64)
            self._weights.append(self._iterations)
        return self._iterations

    def add_weight(self, name: str, shape: Any, dtype: Any = None, initializer: Any = "zeros") -> Any:
        """Makes a variable of the optimizer, which is not trained."""
        if isinstance(initializer, str) or callable(initializer):
            initializer = initializers.get(initializer)
        made = self._add_variable_with_custom_getter(
            name=name,
            shape=shape,
            getter=_make_variable,
            overwrite=True,
            initializer=initializer,
            dtype=dtype or dtypes.float32,
            trainable=False,
            use_resource=True,
            aggregation=VariableAggregation.ONLY_FIRST_REPLICA,
        )
        sessions.track_variable(made)
        return made

    def add_slot(self, var: Any, slot_name: str, initializer: Any = "zeros") -> Any:
        """The slot of a variable: another variable of its shape and type, made when it is first asked for."""
        if slot_name not in self._slot_names:
            self._slot_names.append(slot_name)
        slots = self._slots.setdefault(var_key(var), {})
        if slot_name not in slots:
            kind = var.dtype.base_dtype
            make = initializers.get(initializer)
            with colocate_with(var.op):
                made: Any = _make_variable(
                    f"{var.op.name}/{slot_name}", var.shape, kind, make, trainable=False
                )
            sessions.track_variable(made)
            slots[slot_name] = made
            self._restore_slot_variable(slot_name, var, made)
            self._weights.append(made)
        return slots[slot_name]

    def get_slot(self, var: Any, slot_name: str) -> Any:
        """The slot of a variable; KeyError if it has none."""
        return self._slots[var_key(var)][slot_name]

    def get_slot_names(self) -> list[str]:
        """The names of slots."""
        return self._slot_names

    @property
    def weights(self) -> list[Any]:
        """The number of steps and the slots."""
        return self._weights

    def variables(self) -> list[Any]:
        """`weights`."""
        return self._weights

    def get_weights(self) -> list[Any]:
        """The values of `weights`."""
        return sessions.batch_get_value(self.weights)

    def set_weights(self, weights: Any) -> None:
        """Sets `weights`; ValueError if there are more or fewer, or one has another shape."""
        if len(self.weights) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on optimizer {self._name} with a  weight list of length "
                f"{len(weights)}, but the optimizer was expecting {len(self.weights)} weights. Provided weights: "
                f"{str(weights)[:50]}..."
            )
        for variable, value in zip(self.weights, weights, strict=True):
            shape = tuple(variable.shape.as_list())
            if shape != np.shape(value):
                raise ValueError(
                    f"Optimizer weight shape {shape} not compatible with provided weight shape {np.shape(value)}"
                )
        sessions.batch_set_value(list(zip(self.weights, weights, strict=True)))

    # Checkpoints.

    def _create_or_restore_slot_variable(
        self, slot_variable_position: CheckpointPosition, slot_name: str, variable: Any
    ) -> None:
        """Restores a slot of ``variable``, now or when it is made."""
        key = var_key(variable)
        slot = self._slots.get(key, {}).get(slot_name)
        if slot is None:
            self._deferred_slot_restorations.setdefault((slot_name, key), []).append(slot_variable_position)
        else:
            slot_variable_position.restore(slot)

    def _restore_slot_variable(self, slot_name: str, variable: Any, slot_variable: Any) -> None:
        waiting = self._deferred_slot_restorations.pop((slot_name, var_key(variable)), [])
        for position in sorted(waiting, key=lambda p: p.restore_uid, reverse=True):
            position.restore(slot_variable)
