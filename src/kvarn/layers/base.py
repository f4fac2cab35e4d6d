"""`tf.layers.Layer`: a layer whose variables live in a variable scope, which other layers may share.

Source: tensorflow/python/layers/base.py (1.15).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from kvarn import dtypes
from kvarn.graph import nest
from kvarn.graph.graph import Graph, GraphKeys, get_collection_ref, get_default_graph, init_scope, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.keras import backend, base_layer
from kvarn.keras.base_layer import InputSpec, to_snake_case, trainable_default
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.scope import VariableScope, get_variable, variable_scope
from kvarn.variables.variable import (
    VariableAggregation,
    VariableSynchronization,
    global_variables,
    trainable_variables,
)

__all__ = ["InputSpec", "Layer", "keras_style_scope", "set_keras_style"]

_keras_style = False


@contextlib.contextmanager
def keras_style_scope() -> Iterator[None]:
    """Layers made inside keep their variables to themselves, as those of Keras do; they take no scope and reuse."""
    global _keras_style
    previous, _keras_style = _keras_style, True
    try:
        yield
    finally:
        _keras_style = previous


def set_keras_style() -> None:
    """All layers made from now on are as in a `keras_style_scope`."""
    global _keras_style
    _keras_style = True


class Layer(base_layer.Layer):
    """The base of `tf.layers`.

    The variable scope of a layer is opened when it is first called: ``name``, or the class's name made unique.

    Args:
      trainable: whether its variables go to the collection of trainable ones.
      name: of the layer and its scope.
      dtype: of the variables; by default that of the first input.
      _scope: the scope, or its name.
      _reuse: whether the variables are those of an earlier layer in the same scope.
      **kwargs: as `tf.keras.layers.Layer` takes them.
    """

    def __init__(self, trainable: bool = True, name: Any = None, dtype: Any = None, **kwargs: Any) -> None:
        self._use_resource_variables = False
        scope = kwargs.pop("_scope", None)
        self._reuse = kwargs.pop("_reuse", None)
        self._trainable_weights: list[Any] = []
        self.built = False
        super().__init__(trainable=trainable, name=name, dtype=dtype, **kwargs)
        self._keras_style = _keras_style
        if _keras_style:
            for argument, value in (("scope", scope), ("reuse", self._reuse)):
                if value is not None:
                    raise ValueError(
                        f"{argument} argument not allowed when keras style layers are enabled, but saw: {value}"
                    )
        self._scope: VariableScope | None = None
        if scope:
            with variable_scope(scope) as captured:
                self._scope = captured
        self._current_scope: Any = None

    @property
    def graph(self) -> None:
        """None: layers belong to no graph."""
        return None

    def _init_set_name(self, name: Any, zero_based: bool = True) -> None:
        self._base_name = name.name if isinstance(name, VariableScope) else name
        self._name = name
        if isinstance(name, VariableScope):
            self._name, _ = self._make_unique_name()
        if not name:
            self._name, self._base_name = self._make_unique_name()

    def _make_unique_name(
        self, name_uid_map: Any = None, avoid_names: Any = None, namespace: str = "", zero_based: bool = False
    ) -> tuple[str, str]:
        base_name = to_snake_case(type(self).__name__)
        name = backend.unique_object_name(base_name, name_uid_map, avoid_names, namespace, zero_based)
        return name, base_name

    @property
    def scope_name(self) -> str:
        """The name of the variable scope; ValueError before the first call."""
        if not self._scope:
            raise ValueError(
                f'No name available for layer scope because the layer "{self._name}" has not been used yet. The '
                "scope name  is determined the first time the layer instance is called. You must therefore call the "
                "layer before querying `scope_name`."
            )
        return self._scope.name

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Adds losses, to the collection of regularization losses as well."""
        made, callable_before = len(self._losses), len(self._callable_losses)
        super().add_loss(losses, inputs=inputs)
        new = [loss for loss, _ in self._losses[made:]]
        new += [loss() for loss, _ in self._callable_losses[callable_before:]]
        _add_to_collection([loss for loss in new if loss is not None], GraphKeys.REGULARIZATION_LOSSES)

    def _name_scope(self) -> str:
        if self._keras_style:
            return super()._name_scope()
        return self._current_scope.original_name_scope  # type: ignore[no-any-return]

    def _set_scope(self, scope: Any = None) -> None:
        """Opens the layer's scope, unless it has one."""
        if self._scope is not None:
            return
        if self._reuse:
            opened = variable_scope(self._base_name if scope is None else scope)
        else:
            opened = variable_scope(scope, default_name=self._base_name)
        with opened as captured:
            self._scope = captured

    def add_weight(  # type: ignore[override]
        self,
        name: str,
        shape: Any,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool | None = None,
        constraint: Any = None,
        use_resource: bool | None = None,
        synchronization: Any = VariableSynchronization.AUTO,
        aggregation: Any = VariableAggregation.NONE,
        partitioner: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Makes a variable in the layer's scope, or gets the one that another layer has made there.

        Args:
          name, shape, dtype, initializer, constraint, use_resource, synchronization, aggregation, partitioner: as
            `tf.get_variable` takes them; the scope's initializer and kind by default.
          regularizer: a function; its loss is added once for each variable.
          trainable: whether it is among the trainable variables, if the layer is trainable.

        Raises:
          TypeError: another argument.
          ValueError: as `tf.get_variable`, or a trainable variable is synchronized on reads.
        """
        for argument in kwargs:
            if argument != "experimental_autocast":
                raise TypeError("Unknown keyword argument:", argument)
        if self._keras_style:
            return super().add_weight(
                name=name,
                shape=shape,
                dtype=dtype,
                initializer=initializer,
                regularizer=regularizer,
                trainable=trainable and self.trainable,
                constraint=constraint,
                use_resource=use_resource,
                partitioner=partitioner,
            )
        trainable = trainable_default(trainable, synchronization)
        init_graph = _graph_of_variables()
        with init_graph.as_default():
            existing = set(global_variables())
        self._set_scope(None)
        count = len(self._trainable_weights)
        with variable_scope(
            self._scope, reuse=self.built or self._reuse, auxiliary_name_scope=False
        ) as scope:
            self._current_scope = scope
            with name_scope(self._name_scope()):
                variable = super().add_weight(
                    name,
                    shape,
                    dtype=dtypes.as_dtype(dtype or self.dtype or dtypes.float32),
                    initializer=scope.initializer if initializer is None else initializer,
                    trainable=trainable and self.trainable,
                    constraint=constraint,
                    partitioner=partitioner,
                    use_resource=use_resource or self._use_resource_variables or scope.use_resource,
                    synchronization=synchronization,
                    aggregation=aggregation,
                    getter=get_variable,
                )
                parts = list(variable) if isinstance(variable, PartitionedVariable) else [variable]
                if regularizer and not any(part in existing for part in parts):
                    self._handle_weight_regularization(name, variable, regularizer)
                with init_graph.as_default():
                    known = trainable_variables()
                if trainable and self.trainable and variable not in known:
                    # Someone's getter, or a scope, has made it one that is not trained.
                    self._non_trainable_weights += self._trainable_weights[count:]
                    del self._trainable_weights[count:]
        return variable

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The outputs for ``inputs``.  Updates go to the collection of update operations.

        Args:
          inputs: a tensor or a structure of tensors.
          *args, **kwargs: for `call`.
          scope: the variable scope, or its name, if this is the first call.

        Raises:
          ValueError: as `tf.keras.layers.Layer`, or a scope is given in Keras style.
        """
        scope = kwargs.pop("scope", None)
        if self._keras_style:
            if scope is not None:
                raise ValueError(
                    f"scope argument not allowed when keras style layers are enabled, but saw: {scope}"
                )
            return super().__call__(inputs, *args, **kwargs)
        self._set_scope(scope)
        reuse = True if self.built else self._reuse
        with variable_scope(self._scope, reuse=reuse, auxiliary_name_scope=False) as entered:
            self._current_scope = entered
            if "scope" in self._call_fn_args:
                kwargs["scope"] = entered
            outputs = super().__call__(inputs, *args, **kwargs)
        _add_to_collection(self.updates, GraphKeys.UPDATE_OPS)
        return outputs

    def __deepcopy__(self, memo: dict[int, Any]) -> Layer:
        result: Layer = type(self).__new__(type(self))
        memo[id(self)] = result
        for name, value in self.__dict__.items():
            if name == "_scope":
                copied = copy.copy(value)
            elif isinstance(value, Tensor) or (
                isinstance(value, list) and value and all(isinstance(x, Tensor) for x in value)
            ):
                copied = value
            else:
                copied = copy.deepcopy(value, memo)
            setattr(result, name, copied)
        return result

    def __setattr__(self, name: str, value: Any) -> None:
        # Variables are tracked as `add_weight` makes them, layers in attributes are not.
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)


def _graph_of_variables() -> Graph:
    """The graph that variables are made in: from within a function, the one around it."""
    if not get_default_graph().building_function:
        return get_default_graph()
    with init_scope():
        return get_default_graph()


def _add_to_collection(elements: list[Any], name: str) -> None:
    """Adds what is not there yet."""
    collection = get_collection_ref(name)
    known = {id(x) for x in collection}
    for element in nest.flatten(elements):
        if id(element) not in known:
            known.add(id(element))
            collection.append(element)
