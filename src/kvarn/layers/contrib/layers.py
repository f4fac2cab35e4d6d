"""`tf.contrib.layers.fully_connected`, `dropout` and `flatten`.

Source: tensorflow/contrib/layers/python/layers/{layers,utils}.py (1.15).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import add_to_collection, add_to_collections, get_collection, name_scope
from kvarn.layers import core
from kvarn.layers.contrib.arg_scope import add_arg_scope
from kvarn.layers.contrib.initializers import xavier_initializer
from kvarn.layers.contrib.variables import model_variable
from kvarn.ops import activation
from kvarn.variables.initializers import Zeros
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.scope import variable_scope

_ZEROS = Zeros()
_XAVIER = xavier_initializer()

# What `model_variable` takes of a getter's arguments.
_TAKEN = frozenset(
    (
        "shape", "dtype", "initializer", "regularizer", "trainable", "collections", "caching_device", "partitioner",
        "use_resource", "synchronization", "aggregation",
    )
)  # fmt: skip


def _getter_of_model_variables(rename: dict[str, str]) -> Callable[..., Any]:
    """A getter that makes model variables, some of them under other names."""

    def renamed(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        scope, slash, short = name.rpartition("/")
        taken = {key: value for key, value in kwargs.items() if key in _TAKEN}
        return model_variable(scope + slash + rename.get(short, short), *args, custom_getter=getter, **taken)

    return renamed


def _add_to_collections_of(variable: Any, collections: Any, kind: str) -> None:
    """Adds a variable, or all its parts, to the collections that are given for its kind."""
    if isinstance(collections, dict):
        collections = collections.get(kind)
    for collection in collections or ():
        for part in variable if isinstance(variable, PartitionedVariable) else [variable]:
            if not any(part is known for known in get_collection(collection)):
                add_to_collection(collection, part)


def collect_named_outputs(collections: Any, alias: str, outputs: Any) -> Any:
    """``outputs``, added to collections with one more name in its list ``aliases``."""
    if collections:
        outputs.aliases = [*getattr(outputs, "aliases", []), alias.removesuffix("/")]
        add_to_collections(collections, outputs)
    return outputs


@add_arg_scope
def fully_connected(
    inputs: Any,
    num_outputs: int,
    activation_fn: Any = activation.relu,
    normalizer_fn: Any = None,
    normalizer_params: dict[str, Any] | None = None,
    weights_initializer: Any = _XAVIER,
    weights_regularizer: Any = None,
    biases_initializer: Any = _ZEROS,
    biases_regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Any:
    """`tf.layers.dense` with variables ``weights`` and ``biases``, which are model variables.

    Args:
      inputs: [..., n].
      num_outputs: size of the last dimension of the outputs.
      activation_fn: a function, or None.
      normalizer_fn: what is done to the outputs in place of adding biases.
      normalizer_params: its keyword arguments.
      weights_initializer, weights_regularizer, biases_initializer, biases_regularizer: functions; there are no
        biases without an initializer.
      reuse: whether the variables are those of an earlier layer of that scope.
      variables_collections: of all variables, or by ``weights`` and ``biases``.
      outputs_collections: of the outputs.
      trainable: whether the variables go to the collection of trainable ones.
      scope: a variable scope or its name.

    Raises:
      ValueError: ``num_outputs`` is no integer, or the last dimension of the inputs is not known.
    """
    if not isinstance(num_outputs, int):
        raise ValueError(f"num_outputs type should be one of [<class 'int'>], got {type(num_outputs)}.")
    getter = _getter_of_model_variables({"bias": "biases", "kernel": "weights"})
    with variable_scope(scope, "fully_connected", [inputs], reuse=reuse, custom_getter=getter) as sc:
        inputs = convert_to_tensor(inputs)
        layer = core.Dense(
            units=num_outputs,
            activation=None,
            use_bias=not normalizer_fn and biases_initializer,
            kernel_initializer=weights_initializer,
            bias_initializer=biases_initializer,
            kernel_regularizer=weights_regularizer,
            bias_regularizer=biases_regularizer,
            activity_regularizer=None,
            trainable=trainable,
            name=sc.name,
            dtype=inputs.dtype.base_dtype,
            _scope=sc,
            _reuse=reuse,
        )
        outputs = layer.apply(inputs)
        _add_to_collections_of(layer.kernel, variables_collections, "weights")
        if layer.bias is not None:
            _add_to_collections_of(layer.bias, variables_collections, "biases")
        if normalizer_fn is not None:
            outputs = normalizer_fn(outputs, **(normalizer_params or {}))
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        return collect_named_outputs(outputs_collections, sc.name, outputs)


linear = functools.partial(fully_connected, activation_fn=None)
relu = functools.partial(fully_connected, activation_fn=activation.relu)
relu6 = functools.partial(fully_connected, activation_fn=activation.relu6)
elu = functools.partial(fully_connected, activation_fn=activation.elu)


@add_arg_scope
def dropout(
    inputs: Any,
    keep_prob: Any = 0.5,
    noise_shape: Any = None,
    is_training: Any = True,
    outputs_collections: Any = None,
    scope: Any = None,
    seed: int | None = None,
) -> Any:
    """`tf.layers.dropout` that keeps with probability ``keep_prob``, and is training unless it is said not to be."""
    getter = _getter_of_model_variables({})
    with variable_scope(scope, "Dropout", [inputs], custom_getter=getter) as sc:
        inputs = convert_to_tensor(inputs)
        layer = core.Dropout(rate=1 - keep_prob, noise_shape=noise_shape, seed=seed, name=sc.name, _scope=sc)
        outputs = layer.apply(inputs, training=is_training)
        return collect_named_outputs(outputs_collections, sc.name, outputs)


@add_arg_scope
def flatten(inputs: Any, outputs_collections: Any = None, scope: str | None = None) -> Any:
    """`inputs` [batch, ...] as [batch, n]."""
    with name_scope(scope, "Flatten", [inputs]) as sc:
        outputs = core.flatten(convert_to_tensor(inputs))
        return collect_named_outputs(outputs_collections, sc, outputs)
