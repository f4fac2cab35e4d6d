"""`tf.keras.layers.Layer`: an object that makes its variables when it is first called.

Source: tensorflow/python/keras/engine/base_layer.py (1.15), what of it concerns graphs.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph import nest
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.graph.tensor_util import is_tensor
from kvarn.keras import backend, constraints, initializers, regularizers, sessions
from kvarn.keras.call_context import call_context
from kvarn.keras.input_spec import InputSpec, assert_input_compatibility
from kvarn.keras.layer_connections import are_keras_tensors
from kvarn.keras.layer_losses import Losses
from kvarn.ops import array, casting
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.trackable import no_automatic_dependency_tracking
from kvarn.variables.variable import Variable, VariableAggregation, VariableSynchronization, VariableV1

__all__ = ["InputSpec", "Layer", "to_snake_case"]

_ALLOWED = frozenset(
    ("input_shape", "batch_input_shape", "batch_size", "weights", "activity_regularizer", "autocast")
)


def to_snake_case(name: str) -> str:
    """``MyLayer`` as ``my_layer``; a name that begins with an underscore gets ``private`` before it."""
    insecure = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)).lower()
    return "private" + insecure if insecure.startswith("_") else insecure


def _make_variable(
    name: str,
    shape: Any = None,
    dtype: Any = dtypes.float32,
    initializer: Any = None,
    trainable: Any = None,
    constraint: Any = None,
    use_resource: bool | None = None,
    collections: Any = None,
    synchronization: Any = VariableSynchronization.AUTO,
    aggregation: Any = VariableAggregation.NONE,
    partitioner: Any = None,
) -> Any:
    """A variable outside variable scopes; resource variables by default.  A partitioner is not looked at."""
    made = callable(initializer)
    if inspect.isclass(initializer):
        initializer = initializer()
    shape = TensorShape(shape)
    make: Any = VariableV1
    return make(
        initial_value=(lambda: initializer(shape, dtype=dtype)) if made else initializer,
        name=name,
        trainable=trainable,
        dtype=dtype.base_dtype if made else None,
        constraint=constraint,
        use_resource=use_resource is not False,
        collections=collections,
        synchronization=synchronization,
        aggregation=aggregation,
    )


class Layer(Losses):
    """A part of a model: state in variables, and a `call` that turns inputs into outputs.

    Subclasses make their variables in `build` by `add_weight`, and say in `call` what they compute.  A layer, or a
    variable, that is assigned to an attribute belongs to the layer.

    Args:
      trainable: whether its variables are among the trainable ones.
      name: by default the class's, with a number that makes it unique in the graph.
      dtype: type of the variables; by default that of the first input.
      dynamic: whether `call` can only run eagerly; refused.
      activity_regularizer: makes a loss of each output.
      input_shape, batch_input_shape, batch_size: what a model would be built for.
      weights: initial values of the variables, set when they are made; refused without a session.
      autocast: whether inputs of floats are cast to ``dtype``.

    Attributes:
      built: whether the variables are made.
      input_spec: the `InputSpec` of each input, or None.
      stateful, supports_masking: what subclasses say of themselves.

    Raises:
      TypeError: an argument that no layer has.
    """

    @no_automatic_dependency_tracking
    def __init__(
        self,
        trainable: bool = True,
        name: Any = None,
        dtype: Any = None,
        dynamic: bool = False,
        **kwargs: Any,
    ) -> None:
        for argument in kwargs:
            if argument not in _ALLOWED:
                raise TypeError("Keyword argument not understood:", argument)
        if dynamic:
            raise TypeError("Dynamic layers need eager execution, which there is none of.")
        if kwargs.get("weights") is not None:
            raise TypeError("Layers get initial weights from initializers; `weights` needs a session.")
        self._trainable = trainable
        self.stateful = False
        self.built = False
        self.input_spec = None
        self.supports_masking = False
        self._init_set_name(name)
        self._activity_regularizer = kwargs.get("activity_regularizer")
        self._maybe_create_attribute("_trainable_weights", [])
        self._maybe_create_attribute("_non_trainable_weights", [])
        self._maybe_create_attribute("_layers", [])
        # With each whether it depends on the inputs.
        self._updates: list[tuple[Any, bool]] = []
        self._losses: list[tuple[Any, bool]] = []
        self._callable_losses: list[tuple[Callable[[], Any], bool]] = []
        self._dtype_name = None if dtype is None else dtypes.as_dtype(dtype).name
        self._autocast = bool(kwargs.get("autocast", False))
        if "batch_input_shape" in kwargs:
            self._batch_input_shape = tuple(kwargs["batch_input_shape"])
        elif "input_shape" in kwargs:
            self._batch_input_shape = (kwargs.get("batch_size"), *kwargs["input_shape"])

    # What subclasses say.

    def build(self, input_shape: Any) -> None:
        """Makes the variables; called before the first `call`.

        Args:
          input_shape: a TensorShape, or a structure of them like the inputs.
        """
        self.built = True

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The outputs for ``inputs``: a tensor or a structure of tensors."""
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for inputs of a shape; NotImplementedError unless the layer says it."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, serializable as JSON.

        Raises:
          NotImplementedError: a subclass takes arguments and does not say which.
        """
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable}
        if hasattr(self, "_batch_input_shape"):
            config["batch_input_shape"] = self._batch_input_shape
        config["dtype"] = self.dtype
        if type(self).get_config is Layer.get_config:
            arguments = inspect.getfullargspec(type(self).__init__).args
            if len([a for a in arguments if a not in (*config, "dynamic")]) > 1:
                raise NotImplementedError("Layers with arguments in `__init__` must override `get_config`.")
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """The layer whose `get_config` gave ``config``, without its variables."""
        return cls(**config)

    # Variables.

    def add_weight(
        self,
        name: Any = None,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool | None = None,
        constraint: Any = None,
        partitioner: Any = None,
        use_resource: bool | None = None,
        synchronization: Any = VariableSynchronization.AUTO,
        aggregation: Any = VariableAggregation.NONE,
        **kwargs: Any,
    ) -> Any:
        """Makes a variable of the layer.

        Args:
          name, shape, dtype, constraint, partitioner, use_resource, synchronization, aggregation: of the variable;
            a scalar of the layer's type by default.
          initializer, regularizer: functions, or names of Keras.
          trainable: whether it is among the trainable variables; True by default, unless it is synchronized on
            reads.
          getter: what makes it, `tf.Variable` by default.
          collections: of the graph, that it is added to.

        Raises:
          TypeError: another argument.
          ValueError: a trainable variable that is synchronized on reads, or there is no initializer for the type.
        """
        for argument in kwargs:
            if argument not in ("getter", "collections", "experimental_autocast"):
                raise TypeError("Unknown keyword argument:", argument)
        kind = dtypes.as_dtype(dtype or self.dtype or backend.floatx())
        if self._dtype_name is None:
            self._dtype_name = kind.base_dtype.name
        initializer = initializers.get(initializer)
        regularizer = regularizers.get(regularizer)
        trainable = trainable_default(trainable, synchronization)
        if initializer is None:
            if kind.is_floating:
                initializer = initializers.GlorotUniform()
            elif kind.is_integer or kind.is_unsigned or kind.is_bool:
                initializer = initializers.Zeros()
            else:
                raise ValueError(
                    f"An initializer for variable {name} of type {kind.base_dtype} is required for layer {self.name}"
                )
        variable = self._add_variable_with_custom_getter(
            name=name,
            shape=() if shape is None else shape,
            getter=kwargs.get("getter", _make_variable),
            overwrite=True,
            initializer=initializer,
            dtype=kind,
            constraint=constraints.get(constraint),
            trainable=trainable,
            partitioner=partitioner,
            use_resource=use_resource,
            collections=kwargs.get("collections"),
            synchronization=synchronization,
            aggregation=aggregation,
        )
        if regularizer is not None:
            self._handle_weight_regularization(variable.name.partition(":")[0], variable, regularizer)
        sessions.track_variable(list(variable) if isinstance(variable, PartitionedVariable) else variable)
        (self._trainable_weights if trainable else self._non_trainable_weights).append(variable)
        return variable

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        """The older name of `add_weight`."""
        return self.add_weight(*args, **kwargs)

    def _handle_weight_regularization(self, name: str, variable: Any, regularizer: Any) -> None:
        def loss_of(part: Any) -> Any:
            with name_scope(name + "/Regularizer"):
                return regularizer(part)

        for part in variable if isinstance(variable, PartitionedVariable) else [variable]:
            self.add_loss(functools.partial(loss_of, part))

    def count_params(self) -> int:
        """The number of elements of all variables; ValueError before they are made."""
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on {self.name}, but the layer isn't built. You can build it "
                f"manually via: `{self.name}.build(batch_input_shape)`."
            )
        return self._count_of_weights()

    # The call.

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The outputs for ``inputs``; the first time the variables are made.

        Args:
          inputs: a tensor or a structure of tensors; arrays and numbers become tensors.
          *args, **kwargs: for `call`.

        Raises:
          ValueError: the inputs are not what `input_spec` says, or `call` returned None.
        """
        flat = nest.flatten(inputs)
        symbolic = all(isinstance(x, (Tensor, SparseTensor, Variable)) for x in flat)
        if any(isinstance(x, (np.ndarray, float, int)) for x in flat):
            inputs = nest.map_structure(
                lambda x: convert_to_tensor(x) if isinstance(x, (np.ndarray, float, int)) else x, inputs
            )
        connected, passed = are_keras_tensors(inputs), dict(kwargs)
        training = self._training_value(args, kwargs)
        with call_context.enter(self, inputs, training):
            if symbolic:
                assert_input_compatibility(self.input_spec, inputs, self.name)
            with name_scope(self._name_scope()):
                self._maybe_build(inputs)
                outputs = self.call(self._maybe_cast_inputs(inputs), *args, **kwargs)
                if outputs is None:
                    raise ValueError(
                        "A layer's `call` method should return a Tensor or a list of Tensors, not None "
                        f"(layer: {self.name})."
                    )
                if connected:
                    arguments = {name: value for name, value in passed.items() if name in kwargs}
                    arguments.update(zip(self._call_fn_args[1:], args, strict=False))
                    outputs = self._connect(inputs, outputs, arguments)
                self._handle_activity_regularization(inputs, outputs)
        return outputs

    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer."""
        return self(inputs, *args, **kwargs)

    def _training_value(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The training flag of the call; that of the layer around goes to a `call` which takes one."""
        names = self._call_fn_args
        takes = "training" in names or self._call_accepts_kwargs
        if "training" in kwargs:
            return kwargs["training"] if takes else kwargs.pop("training")
        if "training" in names[1 : len(args) + 1]:
            return args[names.index("training") - 1]
        training = call_context.training
        if takes and training is not None:
            kwargs["training"] = (
                casting.cast(training, dtypes.bool) if is_tensor(training) else bool(training)
            )
        return training

    @functools.cached_property
    def _call_spec(self) -> inspect.FullArgSpec:
        return inspect.getfullargspec(self.call)

    @property
    def _call_fn_args(self) -> list[str]:
        names = self._call_spec.args
        return names[1:] if names[:1] == ["self"] else names

    @property
    def _call_accepts_kwargs(self) -> bool:
        return self._call_spec.varkw is not None

    def _maybe_build(self, inputs: Any) -> None:
        if self.built:
            return
        assert_input_compatibility(self.input_spec, inputs, self.name)
        flat = nest.flatten(inputs)
        if flat and self._dtype_name is None and hasattr(flat[0], "dtype"):
            self._dtype_name = flat[0].dtype.base_dtype.name
        shapes = None
        if all(hasattr(x, "shape") for x in flat):
            shapes = nest.map_structure(lambda x: x.shape, inputs)
        self.build(shapes)
        self.built = True

    def _maybe_cast_inputs(self, inputs: Any) -> Any:
        dtype = self._compute_dtype
        if not self._autocast or not dtype or not dtypes.as_dtype(dtype).is_floating:
            return inputs

        def cast(x: Any) -> Any:
            floats = isinstance(x, (Tensor, SparseTensor)) and x.dtype.is_floating
            return casting.cast(x, dtype) if floats and x.dtype.base_dtype.name != dtype else x

        return nest.map_structure(cast, inputs)

    def _handle_activity_regularization(self, inputs: Any, outputs: Any) -> None:
        if not self._activity_regularizer:
            return
        with name_scope("ActivityRegularizer"):
            for output in nest.flatten(outputs):
                loss = self._activity_regularizer(output)
                batch_size = casting.cast(array.shape(output)[0], loss.dtype)
                self.add_loss(loss / batch_size, inputs=inputs)

    # What it is.

    @property
    def name(self) -> str:
        return self._name

    @property
    def dtype(self) -> str | None:
        """The name of the type of the variables; None before it is known."""
        return self._dtype_name

    @property
    def _dtype(self) -> str | None:
        return self._dtype_name

    @_dtype.setter
    def _dtype(self, value: Any) -> None:
        self._dtype_name = dtypes.as_dtype(value).name

    @property
    def _compute_dtype(self) -> str | None:
        return self._dtype_name

    @property
    def dynamic(self) -> bool:
        """False."""
        return False

    @property
    def activity_regularizer(self) -> Any:
        """What makes a loss of each output, or None."""
        return self._activity_regularizer

    @activity_regularizer.setter
    def activity_regularizer(self, regularizer: Any) -> None:
        self._activity_regularizer = regularizer

    @property
    def input_spec(self) -> Any:
        """What the layer demands of its inputs; None is nothing."""
        return self._input_spec

    @input_spec.setter
    @no_automatic_dependency_tracking
    def input_spec(self, value: Any) -> None:
        for spec in nest.flatten(value):
            if spec is not None and not isinstance(spec, InputSpec):
                raise TypeError(f"Layer input_spec must be an instance of InputSpec. Got: {spec}")
        self._input_spec = value

    def _name_scope(self) -> str:
        return self.name

    def _init_set_name(self, name: Any, zero_based: bool = True) -> None:
        self._name = name or backend.unique_object_name(
            to_snake_case(type(self).__name__), zero_based=zero_based
        )

    @property
    def _object_identifier(self) -> str:
        return "_tf_keras_layer"


def trainable_default(trainable: bool | None, synchronization: Any) -> bool:
    """Whether a variable is trainable; ValueError if it can not be as it is synchronized on reads."""
    if synchronization == VariableSynchronization.ON_READ:
        if trainable:
            raise ValueError(
                "Synchronization value can be set to VariableSynchronization.ON_READ only for non-trainable "
                "variables. You have specified trainable=True and synchronization=VariableSynchronization.ON_READ."
            )
        return False
    return True if trainable is None else trainable
