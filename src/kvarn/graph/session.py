"""Sessions: running parts of a graph.

Source: tensorflow/python/client/session.py (1.15).
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import executor, local_servers, plan
from kvarn.graph.allocation import keep_freed_memory
from kvarn.graph.deadline import within
from kvarn.graph.device import canonical_name
from kvarn.graph.graph import Graph, get_default_graph
from kvarn.graph.operation import Operation
from kvarn.graph.resources import ResourceManager
from kvarn.graph.tensor import IndexedSlices, IndexedSlicesValue, SparseTensor, SparseTensorValue, Tensor

# Plans kept for one session; a program that builds new fetches on every step must not grow without end.
_MAX_PLANS = 256


class _DefaultSessionStack(threading.local):
    def __init__(self) -> None:
        self.sessions: list[Any] = []

    def get_default(self) -> Any:
        """The innermost session, or None."""
        return self.sessions[-1] if self.sessions else None

    def reset(self) -> None:
        """Forgets all sessions of this thread."""
        self.sessions.clear()


_default_session_stack = _DefaultSessionStack()
# All sessions of the process, for `Session.reset`.
_sessions: weakref.WeakSet[BaseSession] = weakref.WeakSet()
_sessions_lock = threading.Lock()


def get_default_session() -> Any:
    """The innermost session of `Session.as_default`, or None."""
    return _default_session_stack.get_default()


class _DefaultSession:
    def __init__(self, session: Any) -> None:
        self._session = session

    def __enter__(self) -> Any:
        _default_session_stack.sessions.append(self._session)
        return self._session

    def __exit__(self, *unused: Any) -> None:
        sessions = _default_session_stack.sessions
        if not sessions or sessions[-1] is not self._session:
            raise AssertionError("Nesting violated by pushing and popping default sessions out of order.")
        sessions.pop()


def evaluate(tensor: Any, feed_dict: Any, session: Any, graph: Graph) -> Any:
    """What `Tensor.eval` does."""
    return _session_for("evaluate tensor", "`eval(session=sess)`", session, graph).run(tensor, feed_dict)


def run_operation(operation: Operation, feed_dict: Any, session: Any, graph: Graph) -> None:
    """What `Operation.run` does."""
    _session_for("execute operation", "`run(session=sess)`", session, graph).run(operation, feed_dict)


def _session_for(what: str, call: str, session: Any, graph: Graph) -> Any:
    if session is None:
        session = get_default_session()
        if session is None:
            raise ValueError(
                f"Cannot {what} using `{call[1:5].rstrip('(')}()`: No default session is registered. Use `with "
                f"sess.as_default()` or pass an explicit session to {call}"
            )
        if session.graph is not graph:
            raise ValueError(
                f"Cannot use the default session to {what}: the graph is different from the session's graph. Pass "
                f"an explicit session to {call}."
            )
    elif session.graph is not graph:
        raise ValueError(
            f"Cannot use the given session to {what}: the graph is different from the session's graph."
        )
    return session


# -- fetches --------------------------------------------------------------------------------------

# Classes beside tensors that can be fetched or fed: type -> (fetch, feed, feed for make_callable).
_conversions: list[tuple[type, Callable[..., Any], Callable[..., Any] | None, Callable[..., Any] | None]] = []


def register_session_run_conversion_functions(
    tensor_type: type,
    fetch_function: Any = None,
    feed_function: Any = None,
    feed_function_for_partial_run: Any = None,
) -> None:
    """Lets values of ``tensor_type`` be fetched and fed.

    Args:
      fetch_function: value -> (list of fetches, function of their values).
      feed_function: (key, value) -> list of (tensor, value) pairs.

    Raises:
      ValueError: the type has been registered.
    """
    if any(kind is tensor_type for kind, *_ in _conversions):
        raise ValueError(f"{tensor_type} has already been registered so ignore it.")
    _conversions.insert(0, (tensor_type, fetch_function, feed_function, feed_function_for_partial_run))


class _Fetches:
    """The flat fetches of a nest, and how to put their values back into its shape."""

    def __init__(self, graph: Graph, fetches: Any) -> None:
        self.tensors: list[Tensor] = []
        self.targets: list[Operation] = []
        self._index: dict[Tensor, int] = {}
        self._graph = graph
        # Whatever `_key` took the id of lives as long as this, even when the program changes its nest.
        self._held: list[Any] = []
        self.restore = self._map(fetches)

    def _map(self, fetch: Any) -> Callable[[list[Any]], Any]:
        self._held.append(fetch)
        if fetch is None:
            raise TypeError(f"Fetch argument {fetch!r} has invalid type {type(fetch)!r}")
        if isinstance(fetch, tuple) and hasattr(fetch, "_fields"):
            parts = [self._map(f) for f in fetch]
            kind: Any = type(fetch)
            if isinstance(fetch, (SparseTensorValue, IndexedSlicesValue)):
                kind = type(fetch)
            return lambda values: kind(*[p(values) for p in parts])
        if isinstance(fetch, (list, tuple)):
            parts = [self._map(f) for f in fetch]
            if type(fetch) is tuple:
                return lambda values: tuple([p(values) for p in parts])
            return lambda values: [p(values) for p in parts]
        if isinstance(fetch, dict):
            mapped = {k: self._map(f) for k, f in fetch.items()}
            make: Any = type(fetch) if type(fetch) is not dict else dict
            return lambda values: make([(k, p(values)) for k, p in mapped.items()])
        if hasattr(type(fetch), "__attrs_attrs__"):
            # A class of the attrs package.
            names = [a.name for a in type(fetch).__attrs_attrs__]
            parts, made = [self._map(getattr(fetch, name)) for name in names], type(fetch)
            return lambda values: made(*[p(values) for p in parts])
        if isinstance(fetch, SparseTensor):
            i, v, s = (self._map(x) for x in (fetch.indices, fetch.values, fetch.dense_shape))
            return lambda values: SparseTensorValue(i(values), v(values), s(values))
        if isinstance(fetch, IndexedSlices):
            v, i = self._map(fetch.values), self._map(fetch.indices)
            if fetch.dense_shape is None:
                return lambda values: IndexedSlicesValue(v(values), i(values), None)
            s = self._map(fetch.dense_shape)
            return lambda values: IndexedSlicesValue(v(values), i(values), s(values))
        for kind, fetch_function, _, _ in _conversions:
            if isinstance(fetch, kind) and fetch_function is not None:
                inner, contract = fetch_function(fetch)
                parts = [self._map(f) for f in inner]
                return lambda values: contract([p(values) for p in parts])
        return self._element(fetch)

    def _element(self, fetch: Any) -> Callable[[list[Any]], Any]:
        try:
            element = self._graph.as_graph_element(fetch, allow_tensor=True, allow_operation=True)
        except TypeError as e:
            raise TypeError(
                f"Fetch argument {fetch!r} has invalid type {type(fetch)!r}, must be a string or Tensor. ({e})"
            ) from None
        except ValueError as e:
            raise ValueError(f"Fetch argument {fetch!r} cannot be interpreted as a Tensor. ({e})") from None
        except KeyError as e:
            raise ValueError(f"Fetch argument {fetch!r} cannot be interpreted as a Tensor. ({e})") from None
        if not self._graph.is_fetchable(element):
            raise ValueError(f"Operation {element.name!r} has been marked as not fetchable.")
        if isinstance(element, Operation):
            self.targets.append(element)
            return lambda values: None
        index = self._index.get(element)
        if index is None:
            index = self._index[element] = len(self.tensors)
            self.tensors.append(element)
        place = index
        return lambda values: values[place]


class _Prepared:
    """Everything about one (fetches, feeds, graph version) that does not change between runs."""

    __slots__ = ("feeds", "fetches", "plan", "runs")

    def __init__(self, fetches: _Fetches, feeds: list[Tensor], plan_: plan.Plan) -> None:
        self.fetches = fetches
        self.feeds = feeds
        self.plan = plan_
        # How often this has run, where cost models ask for it.
        self.runs = 0


class BaseSession:
    """Runs operations of one graph and holds the state they make: variables, tables.

    Args:
      target: ``""`` or ``"local"``, or the target of a `tf.train.Server` of this process, whose sessions share their
        variables.
      graph: the graph, by default the default graph.
      config: a ConfigProto; ``intra_op_parallelism_threads`` sets how many threads the native kernels
        use, ``device_count`` how many CPUs there are, ``operation_timeout_in_ms`` how long a run may take, the
        ``graph_options`` ``infer_shapes``, ``build_cost_model`` and ``build_cost_model_after`` what `graph_def`
        and RunMetadata have; the rest has no effect.

    Raises:
      NotFoundError: ``target`` is anything else.
      TypeError: ``config`` is no ConfigProto, or an argument is of another wrong type.
    """

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None) -> None:
        if graph is not None and not isinstance(graph, Graph):
            raise TypeError(f"graph must be a tf.Graph, but got {type(graph)}")
        if target is not None and not isinstance(target, (str, bytes)):
            raise TypeError(f"target must be a string, but got {type(target)}")
        self._graph = graph if graph is not None else get_default_graph()
        self._target = os.fsdecode(target or "")
        self._server = local_servers.find(self._target)
        if self._server is None and self._target not in ("", "local"):
            raise errors.NotFoundError.of(
                "No session factory registered for the given session options: "
                f'{{target: "{self._target}"}}. Registered factories are {{DIRECT_SESSION}}.',
                name=self._target,
                hint="Leave the target empty: kvarn runs a session in the process that makes it.",
            )
        if config is None and self._server is not None:
            config = self._server.config
        if config is not None:
            from kvarn import protos

            if not isinstance(config, protos.ConfigProto):
                raise TypeError(f"config must be a tf.ConfigProto, but got {type(config)}")
        self._config = config
        self._timeout = int(getattr(config, "operation_timeout_in_ms", 0) or 0)
        self._add_shapes = config is not None and bool(config.graph_options.infer_shapes)
        self._builds_cost_models = config is not None and config.graph_options.build_cost_model > 0
        self._closed = False
        self._reset = False
        self._resources = ResourceManager() if self._server is None else self._server.resources
        self._plans: dict[Any, _Prepared] = {}
        self._lock = threading.Lock()
        threads = int(getattr(config, "intra_op_parallelism_threads", 0) or 0)
        if threads > 0:
            from kvarn import _native

            _native.set_num_threads(threads)
        keep_freed_memory()
        with _sessions_lock:
            _sessions.add(self)

    @property
    def graph(self) -> Graph:
        return self._graph

    @property
    def graph_def(self) -> Any:
        """The graph as a GraphDef; with the shapes of all outputs if the config has ``infer_shapes``."""
        return self._graph.as_graph_def(add_shapes=self._add_shapes)

    @property
    def sess_str(self) -> str:
        return self._target

    @property
    def is_cancelled(self) -> bool:
        """Whether runs are to end: the session was closed, by itself or by `Session.reset`."""
        return self._closed or self._reset

    @property
    def resources(self) -> ResourceManager:
        """The session's live objects; RuntimeError if it is closed."""
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        return self._resources

    def list_devices(self) -> list[Any]:
        counts = {} if self._config is None else self._config.device_count
        cpus = max(1, counts["CPU"]) if "CPU" in counts else 1
        task = "/job:localhost/replica:0/task:0" if self._server is None else self._server.task
        return [_DeviceAttributes(f"{task}/device:CPU:{i}", "CPU", 0, 0) for i in range(cpus)]

    def close(self) -> None:
        """Frees everything the session holds; what belongs to a server stays.

        Runs of other threads end with a CancelledError.
        """
        if not self._closed:
            self._closed = True
            self._plans.clear()
            if self._server is None:
                self._resources.clear()

    def as_default(self) -> _DefaultSession:
        """A context manager that makes this the default session."""
        return _DefaultSession(self)

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """Runs what ``fetches`` need and returns their values.

        Args:
          fetches: a Tensor, Operation, variable, SparseTensor, IndexedSlices or name, or any nest of lists,
            tuples and dictionaries of these.
          feed_dict: values to use instead of tensors: arrays, numbers, lists; SparseTensorValue for
            sparse tensors.
          options: a RunOptions; ``timeout_in_ms`` ends loops and waiting for queues.
          run_metadata: a RunMetadata, which is emptied; then it gets ``step_stats`` (when each operation ran,
            if the ``trace_level`` is above NO_TRACE), ``partition_graphs`` (``output_partition_graphs``) and
            ``cost_graph`` (``build_cost_model`` of the config).

        Returns:
          NumPy arrays, or scalars for tensors of rank 0, in the nest's own shape; None for operations.

        Raises:
          RuntimeError: the session is closed, or its graph is empty.
          CancelledError: the session was closed, by `close` or `Session.reset`, before the run was over; the
            latter also of runs that begin later.
          TypeError, ValueError: a fetch or feed is not of the graph or does not fit.
          DeadlineExceededError: the time allowed is over.
          OpError: a kernel failed; the message names the node, its input shapes and the line that built it.
        """
        self._check_usable()
        if feed_dict:
            if not hasattr(feed_dict, "items"):
                raise TypeError("The value of feed_dict must be a dictionary.")
            feeds, values = self._feeds(feed_dict.items())
        else:
            feeds, values = [], []
        return self._run(self._prepare(fetches, feeds), values, options, run_metadata)

    def _run(self, prepared: _Prepared, values: list[Any], options: Any, run_metadata: Any) -> Any:
        milliseconds = self._timeout if options is None else options.timeout_in_ms or self._timeout
        try:
            with within(milliseconds) if milliseconds > 0 else contextlib.nullcontext():
                if run_metadata is None and not self._builds_cost_models:
                    results = executor.execute(prepared.plan, values)
                else:
                    from kvarn.graph import tracing

                    results = tracing.execute(prepared, values, options, run_metadata, self._config)
        except errors.OpError as error:
            # Whatever it lacked when it failed was there before the session was closed.
            if not self.is_cancelled or isinstance(error, errors.CancelledError):
                raise
            raise _cancelled() from error
        if self.is_cancelled:
            raise _cancelled()
        return prepared.fetches.restore(executor.fetched(prepared.plan, results))

    def _check_usable(self) -> None:
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        if self._reset:
            raise errors.CancelledError.of(
                "Session has been closed.", hint="Session.reset closed it; make a new Session."
            )
        if not self._graph._version:
            raise RuntimeError(
                "The Session graph is empty.  Add operations to the graph before calling run()."
            )

    def _prepare(self, fetches: Any, feeds: list[Tensor]) -> _Prepared:
        # A nest is a key by the identity of its leaves; what cannot be a key is prepared anew.
        version = self._graph._version
        try:
            key = (_key(fetches), tuple(map(id, feeds)))
        except TypeError:
            key = None
        if key is not None:
            held = self._plans.get(key)
            if held is not None and held[0] == version:  # type: ignore[index]
                found: _Prepared = held[1]  # type: ignore[index]
                return found
        mapped = _Fetches(self._graph, fetches)
        built = plan.build(mapped.tensors, mapped.targets, feeds, self._resources, self)
        prepared = _Prepared(mapped, feeds, built)
        if key is not None:
            with self._lock:
                if len(self._plans) >= _MAX_PLANS:
                    self._plans.pop(next(iter(self._plans)))
                self._plans[key] = (version, prepared)  # type: ignore[assignment]
        return prepared

    def _feeds(self, pairs: Iterable[tuple[Any, Any]]) -> tuple[list[Tensor], list[Any]]:
        tensors: list[Tensor] = []
        values: list[Any] = []
        for key, value in pairs:
            if type(key) is Tensor and key.op._graph is self._graph:
                tensors.append(key)
                values.append(self._feed_value(key, value))
                continue
            for tensor, part in _flatten_feed(key, value):
                try:
                    element = self._graph.as_graph_element(tensor, allow_tensor=True, allow_operation=False)
                except Exception as e:
                    raise TypeError(f"Cannot interpret feed_dict key as Tensor: {e.args[0]}") from None
                tensors.append(element)
                values.append(self._feed_value(element, part))
        return tensors, values

    def _feed_value(self, tensor: Tensor, value: Any) -> Any:
        if self._graph._unfeedable_tensors and not self._graph.is_feedable(tensor):
            raise ValueError(f"Tensor {tensor} may not be fed.")
        dtype = tensor.dtype.base_dtype
        if type(value) is np.ndarray and value.dtype is dtype.np and not dtype.np.hasobject:
            array = value
        else:
            array = _to_feed(tensor, dtype, value)
        shape = tensor._shape
        if shape is not None and array.shape != shape:
            found = array.shape
            if len(found) != len(shape) or any(
                d is not None and d != f for d, f in zip(shape, found, strict=True)
            ):
                raise ValueError(
                    f"Cannot feed value of shape {found!r} for Tensor {tensor.name!r}, which has shape "
                    f"'{tensor.shape}'"
                )
        return array

    def partial_run_setup(self, fetches: Any, feeds: Any = None) -> Any:
        """Refused: kvarn runs a graph in one go.

        Raises:
          UnimplementedError: always.
        """
        raise errors.UnimplementedError.of(
            "kvarn has no partial runs",
            hint="Use Session.run; where a later feed depends on an earlier fetch, run twice.",
        )

    def partial_run(self, handle: Any, fetches: Any, feed_dict: Any = None) -> Any:
        """Refused, as `partial_run_setup` gives no handle.

        Raises:
          InvalidArgumentError: always.
        """
        raise errors.InvalidArgumentError.of(
            "Must run 'setup' before performing partial runs!",
            hint="kvarn has no partial runs: use Session.run.",
        )

    def make_callable(
        self, fetches: Any, feed_list: Sequence[Any] | None = None, accept_options: bool = False
    ) -> Any:
        """A function of the values of ``feed_list`` that does what `run` would.

        Args:
          fetches: as in `run`.
          feed_list: what `run` takes as keys of ``feed_dict``.
          accept_options: whether the function takes ``options`` and ``run_metadata`` by keyword.  One with feeds
            takes them always.

        Raises:
          TypeError: ``feed_list`` is no list; (when called) another number of values than feeds.
        """
        if feed_list is not None and not isinstance(feed_list, (list, tuple)):
            raise TypeError("`feed_list` must be a list or tuple.")
        keys = list(feed_list or ())

        def call(*args: Any, options: Any = None, run_metadata: Any = None) -> Any:
            if len(args) != len(keys):
                raise TypeError(
                    f"Feed values must match the feed list: {len(keys)} expected, {len(args)} given."
                )
            self._check_usable()
            feeds, values = self._feeds(zip(keys, args, strict=True))
            return self._run(self._prepare(fetches, feeds), values, options, run_metadata)

        return call if accept_options or keys else lambda *args: call(*args)

    def _make_callable_from_options(self, callable_options: Any) -> Any:
        """A function of a CallableOptions: the values of its ``feed`` -> the list of values of its ``fetch``.

        Raises:
          UnimplementedError: it connects tensors.
          ValueError, TypeError, KeyError: it names what is not in the graph.
        """
        if callable_options.tensor_connection:
            raise errors.UnimplementedError.of(
                "CallableOptions: kvarn does not connect tensors",
                hint="Feed the value of the one tensor to the other.",
            )
        targets = [self._graph.as_graph_element(n, allow_tensor=False) for n in callable_options.target]
        fetches, n_fetches = [*callable_options.fetch, *targets], len(callable_options.fetch)
        feeds = [self._graph.as_graph_element(n, allow_operation=False) for n in callable_options.feed]
        run = self.make_callable(fetches, feeds, accept_options=True)
        options = callable_options.run_options

        def call(*args: Any, run_metadata: Any = None) -> Any:
            return run(*args, options=options, run_metadata=run_metadata)[:n_fetches]

        return call


class Session(BaseSession):
    """A `BaseSession` that can be used with ``with``: it is the default session inside and closed after."""

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None) -> None:
        super().__init__(target, graph, config)
        self._contexts: contextlib.ExitStack | None = None

    def __enter__(self) -> Session:
        """Makes this the default session, and its graph the default graph.

        Raises:
          RuntimeError: this has been entered before, and not left.
        """
        if self._contexts is not None:
            raise RuntimeError(
                "Session context managers are not re-entrant. Use `Session.as_default()` if you want to enter a "
                "session multiple times."
            )
        self._contexts = contextlib.ExitStack()
        self._contexts.enter_context(self._graph.as_default())
        self._contexts.enter_context(self.as_default())
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, exc_traceback: Any) -> None:
        contexts, self._contexts = self._contexts, None
        if contexts is not None:
            contexts.__exit__(exc_type, exc_value, exc_traceback)
        self.close()

    @staticmethod
    def reset(target: str, containers: Any = None, config: Any = None) -> None:
        """Empties containers of all sessions of a target, and closes these sessions.

        Args:
          target: as that of the sessions.
          containers: names given to `Graph.container`; all containers if there are none.

        Raises:
          TypeError: a name is no string.
        """
        del config
        if target is not None and not isinstance(target, (str, bytes)):
            raise TypeError(f"target must be a string, but got {type(target)}")
        names = [os.fsdecode(c) for c in containers or ()]
        server = local_servers.find(os.fsdecode(target or ""))
        with _sessions_lock:
            sessions = [session for session in _sessions if session._server is server]
        held = [session._resources for session in sessions] if server is None else [server.resources]
        for session in sessions:
            session._reset = True
        for resources in held:
            for name in names:
                resources.cleanup(name)
            if not names:
                resources.clear()


class InteractiveSession(BaseSession):
    """A session that makes itself the default one until it is closed.

    A second one while the first is open brings a warning.
    """

    # How many are open.
    _active_session_count = 0

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None) -> None:
        super().__init__(target, graph, config)
        with _sessions_lock:
            if InteractiveSession._active_session_count > 0:
                warnings.warn(
                    "An interactive session is already active. This can cause out-of-memory errors in some cases. "
                    "You must explicitly call `InteractiveSession.close()` to release resources held by the other "
                    "session(s).",
                    stacklevel=2,
                )
            InteractiveSession._active_session_count += 1
        self._default_session = self.as_default()
        self._default_session.__enter__()
        self._default_graph: Any = None
        if graph is not None:
            self._default_graph = graph.as_default()
            self._default_graph.__enter__()

    def close(self) -> None:
        if not self._closed:
            super().close()
            with _sessions_lock:
                InteractiveSession._active_session_count -= 1
            if self._default_graph is not None:
                self._default_graph.__exit__(None, None, None)
            sessions = _default_session_stack.sessions
            if self in sessions:
                sessions.remove(self)


class _DeviceAttributes:
    """A device of a session; ``incarnation`` changes when it starts anew."""

    def __init__(self, name: str, device_type: str, memory_limit_bytes: int, incarnation: int) -> None:
        self.name = canonical_name(name)
        self.device_type = device_type
        self.memory_limit_bytes = memory_limit_bytes
        self.incarnation = incarnation

    def __repr__(self) -> str:
        return f"_DeviceAttributes({self.name}, {self.device_type}, {self.memory_limit_bytes}, {self.incarnation})"


def _cancelled() -> errors.OpError:
    return errors.CancelledError.of(
        "Run call was cancelled", hint="Another thread closed the session before the run was over."
    )


def _key(fetches: Any) -> Any:
    kind = type(fetches)
    if kind is Tensor or kind is Operation:
        return id(fetches)
    if kind is list or kind is tuple:
        return (kind, *[_key(f) for f in fetches])
    if kind is dict:
        return (kind, *[(k, _key(f)) for k, f in fetches.items()])
    if kind is str:
        return fetches
    if isinstance(fetches, (list, tuple, dict)):
        raise TypeError
    return id(fetches)


def _flatten_feed(key: Any, value: Any) -> list[tuple[Any, Any]]:
    if isinstance(key, SparseTensor):
        # Where the shape is a constant, indices and values are enough.
        return list(zip((key.indices, key.values, key.dense_shape), value, strict=False))
    if isinstance(key, IndexedSlices):
        pairs = [(key.values, value[0]), (key.indices, value[1])]
        if key.dense_shape is not None:
            pairs.append((key.dense_shape, value[2]))
        return pairs
    if isinstance(key, tuple):
        if len(key) != len(value):
            raise ValueError(f"Feed keys and values must have the same number of elements: {key} and {value}")
        return [pair for k, v in zip(key, value, strict=True) for pair in _flatten_feed(k, v)]
    for kind, _, feed_function, _ in _conversions:
        if isinstance(key, kind) and feed_function is not None:
            return list(feed_function(key, value))
    return [(key, value)]


def _to_feed(tensor: Tensor, dtype: Any, value: Any) -> Any:
    if isinstance(value, Tensor):
        raise TypeError(
            "The value of a feed cannot be a tf.Tensor object. Acceptable feed values include Python scalars, "
            "strings, lists, numpy ndarrays, or TensorHandles. For reference, the tensor object was "
            f"{value} which was passed to the feed with key {tensor}."
        )
    if dtype.name == "resource" or dtype.name == "variant":
        return value
    if dtype.name == "string":
        if isinstance(value, int):
            raise _misfit(value, object)
        return _strings(value)
    if isinstance(value, int) and not isinstance(value, bool) and dtype.is_integer and not dtype.is_bool:
        low, high = int(dtype.min), int(dtype.max)
        if not low <= value <= high:
            raise _misfit(value, dtype.as_numpy_dtype)
    try:
        array = np.asarray(value, dtype=dtype.np)
        # A scalar as such, like those that kernels return: a fraction of the work for the kernels that take it.
        return array if array.ndim else array[()]
    except (TypeError, ValueError) as e:
        raise type(e)(f"{e} (the value fed for Tensor '{tensor.name}', dtype {dtype.name})") from None


def _misfit(value: Any, kind: type) -> TypeError:
    return TypeError(
        f"Type of feed value {value} with type {type(value)} is not compatible with Tensor type {kind}. Try "
        "explicitly setting the type of the feed tensor to a larger type (e.g. int64)."
    )


def _strings(value: Any) -> Any:
    """``value`` as an object array of bytes; TypeError if an element is neither bytes nor text."""
    # NumPy's own strings drop trailing zero bytes, so lists must not become one on the way.
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
    out = np.empty(array.shape, dtype=object)
    flat = out.reshape(-1)
    for i, item in enumerate(array.reshape(-1)):
        if isinstance(item, str):
            item = item.encode()
        if not isinstance(item, bytes):
            raise TypeError(f"Unsupported object type {type(item).__name__}")
        flat[i] = bytes(item)
    return out
