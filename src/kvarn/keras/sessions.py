"""The session of Keras, values of variables in it, and functions of tensors that are called with arrays.

Source: tensorflow/python/keras/backend.py (1.15).
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph import nest
from kvarn.graph.graph import Graph, control_dependencies, get_default_graph, reset_default_graph
from kvarn.graph.session import Session, get_default_session
from kvarn.graph.tensor_shape import TensorShape
from kvarn.graph.tensor_util import is_tensor
from kvarn.keras import backend
from kvarn.ops import array, casting, control, state
from kvarn.variables.variable import Variable, VariableV1


class _Own(threading.local):
    session: Any = None


_own = _Own()
_initializes = True
# The variables of layers, optimizers and metrics, in the order in which they were made.
_variables: weakref.WeakKeyDictionary[Graph, list[weakref.ref[Any]]] = weakref.WeakKeyDictionary()


def track_variable(variable: Any) -> None:
    """Has `get_session` initialize a variable, or the parts of a partitioned one."""
    for part in variable if isinstance(variable, (list, tuple)) else [variable]:
        graph = getattr(part, "graph", None) or get_default_graph()
        _variables.setdefault(graph, []).append(weakref.ref(part))


def get_session(op_input_list: Any = ()) -> Any:
    """The default session, or else a session of Keras for the default graph.

    The variables of layers that have no value yet are initialized in it, each one time.

    Args:
      op_input_list: not looked at: there is one graph, the default one.
    """
    session = get_default_session()
    if session is None:
        if _own.session is None or _own.session.graph is not get_default_graph():
            _own.session = Session()
        session = _own.session
    if _initializes:
        with session.graph.as_default():
            _initialize_variables(session)
    return session


def set_session(session: Any) -> None:
    """Makes ``session`` that of Keras in this thread."""
    _own.session = session


def manual_variable_initialization(value: bool) -> None:
    """Whether variables are left alone by `get_session`."""
    global _initializes
    _initializes = not value


def clear_session() -> None:
    """Starts anew: an empty default graph with a learning phase, names that count from the start, no session."""
    reset_default_graph()
    backend.reset_uids()
    _own.session = None
    backend.learning_phase()


def _initialize_variables(session: Any) -> None:
    tracked = [reference() for reference in _variables.get(session.graph, [])]
    candidates = [v for v in tracked if v is not None and not getattr(v, "_keras_initialized", False)]
    if not candidates:
        return
    flags = session.run([state.is_variable_initialized(v) for v in candidates])
    for variable in candidates:
        variable._keras_initialized = True
    missing = [v.initializer for v, flag in zip(candidates, flags, strict=True) if not flag]
    if missing:
        session.run(control.group(*missing, name="init"))


def get_value(x: Any) -> Any:
    """The value of a variable or a tensor; anything else is its own value."""
    return x.eval(session=get_session()) if is_tensor(x) else x


def batch_get_value(tensors: Any) -> list[Any]:
    """The values of several variables and tensors."""
    return list(get_session().run(list(tensors))) if tensors else []


def set_value(x: Any, value: Any) -> None:
    """Sets a variable to an array."""
    batch_set_value([(x, value)])


def batch_set_value(tuples: Any) -> None:
    """Sets several variables.

    Args:
      tuples: pairs of a variable and an array.
    """
    assignments, feeds = [], {}
    for x, value in tuples:
        kind = x.dtype.base_dtype
        value = np.asarray(value, dtype=kind.as_numpy_dtype)
        if not hasattr(x, "_assign_placeholder"):
            x._assign_placeholder = array.placeholder(kind, shape=TensorShape([None] * value.ndim))
            x._assign_op = x.assign(x._assign_placeholder)
        assignments.append(x._assign_op)
        feeds[x._assign_placeholder] = value
    if assignments:
        get_session().run(assignments, feed_dict=feeds)


def eval(x: Any) -> Any:
    """The value of a variable or a tensor."""
    return get_value(x)


def placeholder(
    shape: Any = None,
    ndim: int | None = None,
    dtype: Any = None,
    sparse: bool = False,
    name: str | None = None,
) -> Any:
    """A placeholder of a shape, or of any shape of a rank; of floats by default."""
    if not shape and ndim:
        shape = (None,) * ndim
    make: Any = array.sparse_placeholder if sparse else array.placeholder
    return make(dtypes.as_dtype(dtype or backend.floatx()), shape=shape, name=name)


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None) -> Any:
    """A variable that `get_session` initializes; of floats by default."""
    make: Any = VariableV1
    kind = dtypes.as_dtype(dtype or backend.floatx())
    made = make(value, dtype=kind, name=name, constraint=constraint, use_resource=True)
    track_variable(made)
    return made


class GraphExecutionFunction:
    """Tensors and updates that are run with arrays for the inputs.

    Args:
      inputs, outputs: structures of tensors; at least one output.
      updates: operations, or pairs of a variable and its new value, that run after the first output.
      name: not looked at.
      **session_kwargs: refused.

    Raises:
      TypeError: the updates are no list.
      NotImplementedError: an argument for the session.
    """

    def __init__(
        self, inputs: Any, outputs: Any, updates: Any = None, name: Any = None, **session_kwargs: Any
    ) -> None:
        if session_kwargs:
            raise NotImplementedError(f"Arguments of `tf.keras.backend.function`: {sorted(session_kwargs)}")
        if not isinstance(updates or [], (list, tuple)):
            raise TypeError("`updates` in a Keras backend function should be a list or tuple.")
        self.inputs = nest.flatten(inputs)
        self._structure = outputs
        self.outputs = [array.identity(x) if isinstance(x, Variable) else x for x in nest.flatten(outputs)]
        with control_dependencies([self.outputs[0]]):
            made = [state.assign(*u) if isinstance(u, tuple) else u for u in updates or []]
            self.updates_op = control.group(*made)

    def __call__(self, inputs: Any) -> Any:
        """The outputs, in their structure.

        Args:
          inputs: an array for each input; None leaves a placeholder with a default at that.  Tensors are computed
            first.
        """
        session = get_session()
        feeds = {}
        values = nest.flatten(inputs)
        for x, value in zip(self.inputs, values, strict=False):
            if value is None:
                continue
            if is_tensor(value):
                value = session.run(casting.cast(value, x.dtype))
            feeds[x] = np.asarray(value, dtype=x.dtype.as_numpy_dtype)
        *fetched, _ = session.run([*self.outputs, self.updates_op], feed_dict=feeds)
        return nest.pack_sequence_as(self._structure, fetched)


def function(inputs: Any, outputs: Any, updates: Any = None, name: Any = None, **kwargs: Any) -> Any:
    """A function of arrays; arguments as `GraphExecutionFunction` takes them."""
    return GraphExecutionFunction(inputs, outputs, updates=updates, name=name, **kwargs)
