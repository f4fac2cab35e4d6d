"""The optimizers of Keras by name, and those of `tf.train` as optimizers of Keras.

Source: tensorflow/python/keras/optimizer_v2, tensorflow/python/keras/optimizers.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.keras import backend, identifiers, sessions
from kvarn.keras.optimizer_v2 import OptimizerV2
from kvarn.ops import array, casting, control, gather, math, resource_variable, state, training
from kvarn.train.optimizer import Optimizer
from kvarn.variables import initializers
from kvarn.variables.trackable import Trackable


def _check_momentum(momentum: Any) -> bool:
    """Whether there is a momentum; ValueError if it is a number below 0 or above 1."""
    if isinstance(momentum, (int, float)) and not 0 <= momentum <= 1:
        raise ValueError("`momentum` must be between [0, 1].")
    return not isinstance(momentum, (int, float)) or momentum > 0


class SGD(OptimizerV2):
    """var -= learning_rate * grad, with a momentum if there is one.

    Args:
      learning_rate: a number, a tensor or a function without arguments.
      momentum: which part of the last step is taken again.
      nesterov: whether the gradient is taken as after that step.
      name, **kwargs: as `OptimizerV2` takes them.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: Any = 0.0,
        nesterov: bool = False,
        name: str = "SGD",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("decay", self._initial_decay)
        self._momentum = _check_momentum(momentum)
        self._set_hyper("momentum", momentum)
        self.nesterov = nesterov

    def _create_slots(self, var_list: list[Any]) -> None:
        for var in var_list if self._momentum else []:
            self.add_slot(var, "momentum")

    def _prepare_local(self, dtype: Any) -> dict[str, Any]:
        common = super()._prepare_local(dtype)
        return {**common, "momentum": array.identity(self._get_hyper("momentum", dtype))}

    def _resource_apply_dense(self, grad: Any, var: Any, common: dict[str, Any]) -> Any:
        if not self._momentum:
            return training.resource_apply_gradient_descent(
                var.handle, common["lr_t"], grad, use_locking=self._use_locking
            )
        return training.resource_apply_keras_momentum(
            var.handle,
            self.get_slot(var, "momentum").handle,
            common["lr_t"],
            grad,
            common["momentum"],
            use_locking=self._use_locking,
            use_nesterov=self.nesterov,
        )

    def _resource_apply_sparse_duplicate_indices(
        self, grad: Any, var: Any, indices: Any, common: dict[str, Any]
    ) -> Any:
        if self._momentum:
            return super()._resource_apply_sparse_duplicate_indices(grad, var, indices, common)
        return resource_variable.resource_scatter_add(var.handle, indices, -grad * common["lr_t"])

    def _resource_apply_sparse(self, grad: Any, var: Any, indices: Any, common: dict[str, Any]) -> Any:
        return training.resource_sparse_apply_keras_momentum(
            var.handle,
            self.get_slot(var, "momentum").handle,
            common["lr_t"],
            grad,
            indices,
            common["momentum"],
            use_locking=self._use_locking,
            use_nesterov=self.nesterov,
        )

    def get_config(self) -> dict[str, Any]:
        settings = {name: self._setting(name) for name in ("learning_rate", "decay", "momentum")}
        return {**super().get_config(), **settings, "nesterov": self.nesterov}


class Adam(OptimizerV2):
    """Steps by means of gradients and of their squares.

    Args:
      learning_rate: a number, a tensor or a function without arguments.
      beta_1, beta_2: how much of the means is kept at each step.
      epsilon: what is added to the root of the mean of squares.
      amsgrad: whether the largest mean of squares so far counts.
      name, **kwargs: as `OptimizerV2` takes them.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-7,
        amsgrad: bool = False,
        name: str = "Adam",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("decay", self._initial_decay)
        self._set_hyper("beta_1", beta_1)
        self._set_hyper("beta_2", beta_2)
        self.epsilon = epsilon or backend.epsilon()
        self.amsgrad = amsgrad

    def _create_slots(self, var_list: list[Any]) -> None:
        for slot in ("m", "v", "vhat") if self.amsgrad else ("m", "v"):
            for var in var_list:
                self.add_slot(var, slot)

    def _prepare_local(self, dtype: Any) -> dict[str, Any]:
        common = super()._prepare_local(dtype)
        step = casting.cast(self.iterations + 1, dtype)
        beta_1 = array.identity(self._get_hyper("beta_1", dtype))
        beta_2 = array.identity(self._get_hyper("beta_2", dtype))
        beta_1_power, beta_2_power = math.pow(beta_1, step), math.pow(beta_2, step)
        return {
            **common,
            "lr": common["lr_t"] * (math.sqrt(1 - beta_2_power) / (1 - beta_1_power)),
            "epsilon": convert_to_tensor(self.epsilon, dtype),
            "beta_1": beta_1,
            "beta_1_power": beta_1_power,
            "one_minus_beta_1": 1 - beta_1,
            "beta_2": beta_2,
            "beta_2_power": beta_2_power,
            "one_minus_beta_2": 1 - beta_2,
        }

    def _resource_apply_dense(self, grad: Any, var: Any, common: dict[str, Any]) -> Any:
        slots = ("m", "v", "vhat") if self.amsgrad else ("m", "v")
        settings = ("beta_1_power", "beta_2_power", "lr_t", "beta_1", "beta_2", "epsilon")
        apply = training.resource_apply_adam_with_amsgrad if self.amsgrad else training.resource_apply_adam
        return apply(
            var.handle,
            *(self.get_slot(var, slot).handle for slot in slots),
            *(common[name] for name in settings),
            grad,
            use_locking=self._use_locking,
        )

    def _decayed_sum(self, slot: Any, decay: Any, indices: Any, values: Any) -> Any:
        """The value of a slot after it was multiplied with ``decay`` and rows were added to."""
        decayed = state.assign(slot, slot * decay, use_locking=self._use_locking)
        with control_dependencies([decayed]):
            return self._resource_scatter_add(slot, indices, values)

    def _resource_apply_sparse(self, grad: Any, var: Any, indices: Any, common: dict[str, Any]) -> Any:
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        m_t = self._decayed_sum(m, common["beta_1"], indices, grad * common["one_minus_beta_1"])
        v_t = self._decayed_sum(v, common["beta_2"], indices, grad * grad * common["one_minus_beta_2"])
        updates = [m_t, v_t]
        if self.amsgrad:
            v_hat = self.get_slot(var, "vhat")
            v_t = math.maximum(v_hat, v_t)
            with control_dependencies([v_t]):
                v_t = state.assign(v_hat, v_t, use_locking=self._use_locking)
            updates.append(v_t)
        root = math.sqrt(v_t)
        step = common["lr"] * m_t / (root + common["epsilon"])
        var_update = state.assign_sub(var, step, use_locking=self._use_locking)
        return control.group(var_update, *updates)

    def get_config(self) -> dict[str, Any]:
        names = ("learning_rate", "decay", "beta_1", "beta_2")
        settings = {name: self._setting(name) for name in names}
        return {**super().get_config(), **settings, "epsilon": self.epsilon, "amsgrad": self.amsgrad}


class RMSprop(OptimizerV2):
    """Steps by gradients over the root of the mean of their squares.

    Args:
      learning_rate: a number, a tensor or a function without arguments.
      rho: how much of the mean is kept at each step.
      momentum: which part of the last step is taken again.
      epsilon: what is added to the root.
      centered: whether the square of the mean is taken off the mean of squares.
      name, **kwargs: as `OptimizerV2` takes them.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: Any = 0.9,
        momentum: Any = 0.0,
        epsilon: Any = 1e-7,
        centered: bool = False,
        name: str = "RMSprop",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("decay", self._initial_decay)
        self._set_hyper("rho", rho)
        self._momentum = _check_momentum(momentum)
        self._set_hyper("momentum", momentum)
        self.epsilon = epsilon or backend.epsilon()
        self.centered = centered

    def _create_slots(self, var_list: list[Any]) -> None:
        wanted = {"rms": True, "momentum": self._momentum, "mg": self.centered}
        for slot in (slot for slot, is_wanted in wanted.items() if is_wanted):
            for var in var_list:
                self.add_slot(var, slot)

    def _prepare_local(self, dtype: Any) -> dict[str, Any]:
        common = super()._prepare_local(dtype)
        rho = array.identity(self._get_hyper("rho", dtype))
        return {
            **common,
            "neg_lr_t": -common["lr_t"],
            "epsilon": convert_to_tensor(self.epsilon, dtype),
            "rho": rho,
            "momentum": array.identity(self._get_hyper("momentum", dtype)),
            "one_minus_rho": 1.0 - rho,
        }

    def _apply_with_momentum(self, grad: Any, var: Any, indices: list[Any], common: dict[str, Any]) -> Any:
        """One operation for a gradient, or with indices for rows of it."""
        if self.centered:
            slots = ["mg", "rms", "momentum"]
            dense, rows = (
                training.resource_apply_centered_rms_prop,
                training.resource_sparse_apply_centered_rms_prop,
            )
        else:
            slots = ["rms", "momentum"]
            dense, rows = training.resource_apply_rms_prop, training.resource_sparse_apply_rms_prop
        return (rows if indices else dense)(
            var.handle,
            *(self.get_slot(var, slot).handle for slot in slots),
            *(common[name] for name in ("lr_t", "rho", "momentum", "epsilon")),
            grad,
            *indices,
            use_locking=self._use_locking,
        )

    def _resource_apply_dense(self, grad: Any, var: Any, common: dict[str, Any]) -> Any:
        if self._momentum:
            return self._apply_with_momentum(grad, var, [], common)
        rms = self.get_slot(var, "rms")
        rms_t = common["rho"] * rms + common["one_minus_rho"] * math.square(grad)
        rms_t = denominator = state.assign(rms, rms_t, use_locking=self._use_locking)
        if self.centered:
            mg = self.get_slot(var, "mg")
            mg_t = common["rho"] * mg + common["one_minus_rho"] * grad
            mg_t = state.assign(mg, mg_t, use_locking=self._use_locking)
            denominator = rms_t - math.square(mg_t)
        var_t = var - common["lr_t"] * grad / (math.sqrt(denominator) + common["epsilon"])
        return state.assign(var, var_t, use_locking=self._use_locking).op

    def _decayed_rows(self, slot: Any, rho: Any, indices: Any, values: Any) -> tuple[Any, Any]:
        """The value of a slot after it was multiplied with ``rho`` and rows were added to, and those rows."""
        decayed = state.assign(slot, slot * rho, use_locking=self._use_locking)
        with control_dependencies([decayed]):
            summed = self._resource_scatter_add(slot, indices, values)
            return summed, gather.gather(summed, indices)

    def _resource_apply_sparse(self, grad: Any, var: Any, indices: Any, common: dict[str, Any]) -> Any:
        if self._momentum:
            return self._apply_with_momentum(grad, var, [indices], common)
        squares = grad * grad * common["one_minus_rho"]
        rms_t, denominator = self._decayed_rows(self.get_slot(var, "rms"), common["rho"], indices, squares)
        updates = [rms_t]
        if self.centered:
            scaled = grad * common["one_minus_rho"]
            mg_t, rows = self._decayed_rows(self.get_slot(var, "mg"), common["rho"], indices, scaled)
            denominator = denominator - math.square(rows)
            updates.append(mg_t)
        step = common["neg_lr_t"] * grad / (math.sqrt(denominator) + common["epsilon"])
        return control.group(self._resource_scatter_add(var, indices, step), *updates)

    def get_config(self) -> dict[str, Any]:
        settings = {name: self._setting(name) for name in ("learning_rate", "decay", "rho", "momentum")}
        return {**super().get_config(), **settings, "epsilon": self.epsilon, "centered": self.centered}


class Adagrad(OptimizerV2):
    """Steps by gradients over the root of the sum of their squares.

    Args:
      learning_rate: a number, a tensor or a function without arguments.
      initial_accumulator_value: where the sums begin.
      epsilon: what is added to the root.
      name, **kwargs: as `OptimizerV2` takes them.

    Raises:
      ValueError: sums begin below 0.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: Any = 1e-7,
        name: str = "Adagrad",
        **kwargs: Any,
    ) -> None:
        if initial_accumulator_value < 0.0:
            raise ValueError(f"initial_accumulator_value must be non-negative: {initial_accumulator_value}")
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("decay", self._initial_decay)
        self._initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon or backend.epsilon()

    def _create_slots(self, var_list: list[Any]) -> None:
        for var in var_list:
            begin = initializers.Constant(self._initial_accumulator_value, dtype=var.dtype.base_dtype)
            self.add_slot(var, "accumulator", begin)

    def _prepare_local(self, dtype: Any) -> dict[str, Any]:
        common = super()._prepare_local(dtype)
        return {
            **common,
            "epsilon": convert_to_tensor(self.epsilon, dtype),
            "neg_lr_t": -common["lr_t"],
            "zero": array.zeros((), dtype=dtypes.int64),
        }

    def _resource_apply_dense(self, grad: Any, var: Any, common: dict[str, Any]) -> Any:
        return training.resource_apply_adagrad_v2(
            var.handle,
            self.get_slot(var, "accumulator").handle,
            common["lr_t"],
            common["epsilon"],
            grad,
            use_locking=self._use_locking,
        )

    def _resource_apply_sparse(self, grad: Any, var: Any, indices: Any, common: dict[str, Any]) -> Any:
        return training.resource_sparse_apply_adagrad_v2(
            var.handle,
            self.get_slot(var, "accumulator").handle,
            common["lr_t"],
            common["epsilon"],
            grad,
            indices,
            use_locking=self._use_locking,
        )

    def get_config(self) -> dict[str, Any]:
        settings = {name: self._setting(name) for name in ("learning_rate", "decay")}
        begin = {"initial_accumulator_value": self._initial_accumulator_value}
        return {**super().get_config(), **settings, **begin, "epsilon": self.epsilon}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> OptimizerV2:
        """The optimizer of a configuration; sums begin at 0 if it does not say where, so those of ``"adagrad"``."""
        return super().from_config({"initial_accumulator_value": 0.0, **config}, custom_objects)


class TFOptimizer(Trackable):
    """An optimizer of `tf.train` as one of Keras.

    Attributes:
      optimizer: it.
      iterations: how many steps there have been.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._track_trackable(optimizer, name="optimizer")
        with name_scope("TFOptimizer"):
            self.iterations: Any = sessions.variable(0, dtype="int64", name="iterations")
        self._track_trackable(self.iterations, name="global_step")

    def get_updates(self, loss: Any, params: list[Any]) -> list[Any]:
        """The operations of a step that makes a loss smaller."""
        if not params:
            return [state.assign_add(self.iterations, 1)]
        pairs = self.optimizer.compute_gradients(loss, params)
        update = self.optimizer.apply_gradients(pairs, global_step=self.iterations)
        for variable in self.optimizer.variables():
            sessions.track_variable(variable)
        return [update]


_KNOWN = {"adagrad": Adagrad, "adam": Adam, "rmsprop": RMSprop, "sgd": SGD}
_MISSING = ("adadelta", "adamax", "ftrl", "nadam")


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The optimizer of a configuration.

    Raises:
      ValueError: there is none of that name.
      NotImplementedError: it is one that is not there yet.
    """
    name = config["class_name"]
    if name.lower() in _MISSING:
        raise NotImplementedError(f"The Keras optimizer {name}; there are {', '.join(sorted(_KNOWN))}.")
    known = name.lower() if name.lower() in _KNOWN else name
    return identifiers.deserialize({**config, "class_name": known}, _KNOWN, "optimizer", custom_objects)


def serialize(optimizer: Any) -> Any:
    """The configuration of an optimizer."""
    return identifiers.serialize(optimizer)


def get(identifier: Any) -> Any:
    """The optimizer that a name or a configuration stands for; one of `tf.train` is wrapped.

    Raises:
      ValueError: it stands for none.
      NotImplementedError: it stands for one that is not there yet.
    """
    if isinstance(identifier, (OptimizerV2, TFOptimizer)):
        return identifier
    if isinstance(identifier, Optimizer):
        return TFOptimizer(identifier)
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    raise ValueError("Could not interpret optimizer identifier:", identifier)
