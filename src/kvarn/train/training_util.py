"""The global step: the variable that counts the training steps of a graph.

Source: tensorflow/python/training/training_util.py (1.15).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import kvarn.variables.scope as variable_scope
from kvarn import dtypes, tf_logging
from kvarn.graph.graph import Graph, GraphKeys, add_to_collection, control_dependencies, get_default_graph
from kvarn.graph.tensor import Tensor
from kvarn.ops import state
from kvarn.variables import initializers
from kvarn.variables import variable as variables

# Collection of the one tensor that reads the global step after its initialization.
GLOBAL_STEP_READ_KEY: Final = "global_step_read_op_cache"


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """The value of the global step in a session; the tensor has one element, of any shape."""
    return int(np.asarray(sess.run(global_step_tensor)).item())


def get_global_step(graph: Graph | None = None) -> Any:
    """The global step of a graph: the one of collection `GraphKeys.GLOBAL_STEP`, or ``global_step:0``.

    Returns:
      The variable or tensor; None if there is none, or more than one in the collection.

    Raises:
      TypeError: it is no integer scalar.
    """
    graph = graph or get_default_graph()
    found = graph.get_collection(GraphKeys.GLOBAL_STEP)
    if len(found) == 1:
        step = found[0]
    elif not found:
        try:
            step = graph.get_tensor_by_name("global_step:0")
        except KeyError:
            return None
    else:
        tf_logging.error("Multiple tensors in global_step collection.")
        return None
    assert_global_step(step)
    return step


def create_global_step(graph: Graph | None = None) -> Any:
    """Makes the variable ``global_step``, an int64 that starts from 0.

    Raises:
      ValueError: the graph has one.
    """
    graph = graph or get_default_graph()
    if get_global_step(graph) is not None:
        raise ValueError('"global_step" already exists.')
    with graph.as_default() as g, g.name_scope(None):
        return variable_scope.get_variable(
            GraphKeys.GLOBAL_STEP,
            shape=[],
            dtype=dtypes.int64,
            initializer=initializers.zeros_initializer(),
            trainable=False,
            aggregation=variables.VariableAggregation.ONLY_FIRST_REPLICA,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )


def get_or_create_global_step(graph: Graph | None = None) -> Any:
    """`get_global_step`, or `create_global_step` if there is none."""
    graph = graph or get_default_graph()
    found = get_global_step(graph)
    return create_global_step(graph) if found is None else found


def assert_global_step(global_step_tensor: Any) -> None:
    """TypeError unless the argument is an integer scalar variable or tensor."""
    if not isinstance(global_step_tensor, (variables.Variable, Tensor)):
        raise TypeError(f'Existing "global_step" must be a Variable or Tensor: {global_step_tensor}.')
    if not global_step_tensor.dtype.base_dtype.is_integer:
        raise TypeError(f'Existing "global_step" does not have integer type: {global_step_tensor.dtype}')
    shape = global_step_tensor.get_shape()
    if shape.ndims != 0 and shape.is_fully_defined():
        raise TypeError(f'Existing "global_step" is not scalar: {shape}')


def _get_global_step_read(graph: Graph | None = None) -> Any:
    found = (graph or get_default_graph()).get_collection(GLOBAL_STEP_READ_KEY)
    if len(found) > 1:
        raise RuntimeError(
            f"There are multiple items in collection {GLOBAL_STEP_READ_KEY}. There should be only one."
        )
    return found[0] if found else None


def _get_or_create_global_step_read(graph: Graph | None = None) -> Any:
    """A tensor with the global step that waits for its initialization; None without a global step."""
    graph = graph or get_default_graph()
    read = _get_global_step_read(graph)
    if read is not None:
        return read
    step = get_global_step(graph)
    if step is None:
        return None
    with graph.as_default() as g, g.name_scope(None), g.name_scope(step.op.name + "/"):
        value = step.initialized_value() if isinstance(step, variables.Variable) else step
        # Adding nothing makes a tensor of the variable.
        add_to_collection(GLOBAL_STEP_READ_KEY, value + 0)
    return _get_global_step_read(graph)


def _increment_global_step(increment: Any, graph: Graph | None = None) -> Any:
    graph = graph or get_default_graph()
    step = get_global_step(graph)
    if step is None:
        raise ValueError(
            "Global step tensor should be created by tf.train.get_or_create_global_step before calling "
            "increment."
        )
    read = _get_or_create_global_step_read(graph)
    with (
        graph.as_default() as g,
        g.name_scope(None),
        g.name_scope(step.op.name + "/"),
        control_dependencies([read]),
    ):
        return state.assign_add(step, increment)
