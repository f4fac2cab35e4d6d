"""`tf.test.TestCase`: a fresh default graph for each test, sessions, checked threads and a folder.

Source: `TensorFlowTestCase` of tensorflow/python/framework/test_util.py (1.15).
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kvarn import protos
from kvarn.compat.tensorflow.testing.assertions import Assertions
from kvarn.compat.tensorflow.testing.environment import get_temp_dir
from kvarn.graph import graph as graph_lib
from kvarn.graph.graph import Graph
from kvarn.graph.random_seed import DEFAULT_GRAPH_SEED, set_random_seed
from kvarn.graph.session import Session, get_default_session

_OPTIMIZER_OFF = -1  # OptimizerOptions.L0


class TestCase(Assertions):
    """A test of graphs: each method starts with an empty default graph and the same seeds."""

    __test__ = True

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)
        self._threads: list[_CheckedThread] = []
        self._tempdir: str | None = None
        self._cached_session: Session | None = None
        self._cached_arguments: tuple[Any, ...] = ()

    def setUp(self) -> None:
        self._ClearCachedSession()
        random.seed(DEFAULT_GRAPH_SEED)
        np.random.seed(DEFAULT_GRAPH_SEED)
        # A test that failed inside `Graph.as_default` may have left its graph there.
        graph_lib._default_graph_stack.stack.clear()
        graph_lib.reset_default_graph()
        set_random_seed(DEFAULT_GRAPH_SEED)
        self._skip_the_method_that_is_no_test()

    def tearDown(self) -> None:
        for thread in self._threads:
            thread.check_termination()
        self._ClearCachedSession()

    def _ClearCachedSession(self) -> None:
        if self._cached_session is not None:
            self._cached_session.close()
            self._cached_session = None

    def _skip_the_method_that_is_no_test(self) -> None:
        # unittest takes `test_session` for a test because of its name.
        if self.id().endswith(".test_session"):
            self.skipTest("Not a test.")

    def get_temp_dir(self) -> str:
        """A folder of this test's own; the same one for every call."""
        if self._tempdir is None:
            self._tempdir = tempfile.mkdtemp(dir=get_temp_dir())
        return self._tempdir

    @contextlib.contextmanager
    def captureWritesToStream(self, stream: Any) -> Iterator[CapturedWrites]:
        """Inside, what is written to a stream's file descriptor goes to a file that the value reads."""
        stream.flush()
        descriptor = stream.fileno()
        kept = os.dup(descriptor)
        try:
            with tempfile.NamedTemporaryFile(dir=self.get_temp_dir(), delete=False) as captured:
                os.dup2(captured.fileno(), descriptor)
                try:
                    yield CapturedWrites(captured.name)
                finally:
                    stream.flush()
                    os.dup2(kept, descriptor)
        finally:
            os.close(kept)

    # -- sessions ---------------------------------------------------------------------------------

    def evaluate(self, tensors: Any) -> Any:
        """The values of a nest of tensors, in the default session or the test's cached one."""
        session = get_default_session()
        if session is not None:
            return session.run(tensors)
        with self.test_session() as session:
            return session.run(tensors)

    @contextlib.contextmanager
    def session(
        self, graph: Graph | None = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Iterator[Session]:
        """A new session as the default one, its graph as the default graph; closed at the end.

        Args:
          graph: by default the default graph.
          config: a ConfigProto.
          use_gpu: if False, operations made inside are placed on the CPU by name.
          force_gpu: operations made inside are placed on ``/device:GPU:0`` by name.
        """
        with self._create_session(graph, config, force_gpu) as session, _placed(session, use_gpu, force_gpu):
            yield session

    @contextlib.contextmanager
    def cached_session(
        self, graph: Graph | None = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Iterator[Session]:
        """`session`, but the same one for all calls in a test; closed when the test ends.

        Raises:
          ValueError: another graph, config or ``force_gpu`` than in the first call.
        """
        session = self._get_cached_session(graph, config, force_gpu, crash_if_inconsistent_args=True)
        with _placed(session, use_gpu, force_gpu):
            yield session

    @contextlib.contextmanager
    def test_session(
        self, graph: Graph | None = None, config: Any = None, use_gpu: bool = False, force_gpu: bool = False
    ) -> Iterator[Session]:
        """`session` if a graph is given, otherwise the cached session whatever it was made with."""
        self._skip_the_method_that_is_no_test()
        if graph is not None:
            with self.session(graph, config, use_gpu, force_gpu) as session:
                yield session
            return
        session = self._get_cached_session(None, config, force_gpu, crash_if_inconsistent_args=False)
        with _placed(session, use_gpu, force_gpu):
            yield session

    def _get_cached_session(
        self, graph: Graph | None, config: Any, force_gpu: bool, crash_if_inconsistent_args: bool
    ) -> Session:
        given = (graph, config, force_gpu)
        if self._cached_session is None:
            self._cached_session = self._create_session(graph, config, force_gpu)
            self._cached_arguments = given
        elif crash_if_inconsistent_args:
            for what, new, old in zip(
                ("graph", "config", "force_gpu value"), given, self._cached_arguments, strict=True
            ):
                if new is not old:
                    raise ValueError(
                        f"The {what} used to get the cached session is different than the one that was used to "
                        "create the session. Maybe create a new session with self.session()"
                    )
        return self._cached_session

    def _create_session(self, graph: Graph | None, config: Any, force_gpu: bool) -> Session:
        config = protos.ConfigProto() if config is None else config
        config.allow_soft_placement = not force_gpu
        config.graph_options.optimizer_options.opt_level = _OPTIMIZER_OFF
        return Session(graph=graph, config=config)

    # -- threads ----------------------------------------------------------------------------------

    def checkedThread(
        self, target: Callable[..., Any], args: Any = None, kwargs: Any = None
    ) -> _CheckedThread:
        """A thread whose error fails the test at `join`; the test must join it."""
        thread = _CheckedThread(self, target, args or (), kwargs or {})
        self._threads.append(thread)
        return thread


class CapturedWrites:
    """What `TestCase.captureWritesToStream` caught."""

    def __init__(self, path: str) -> None:
        self._path = path

    def contents(self) -> str:
        """All that was written so far."""
        with open(self._path, encoding="utf-8", errors="replace") as file:
            return file.read()


class _CheckedThread:
    def __init__(self, case: TestCase, target: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._case = case
        self._call = (target, args, kwargs)
        self._error: Exception | None = None
        self._joined = False
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        target, args, kwargs = self._call
        try:
            target(*args, **kwargs)
        except Exception as e:
            self._error = e

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Waits for the end; fails the test if the target raised."""
        self._joined = True
        self._thread.join()
        if self._error is not None:
            self._case.fail(f"Error in checkedThread: {self._error}")

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def check_termination(self) -> None:
        """Fails the test if nobody joined the thread; RuntimeError if it still runs."""
        if not self._joined:
            self._case.fail("A checked thread was not joined.")
        if self.is_alive():
            raise RuntimeError(
                "Thread was not joined with main thread, and is still running when the test finished."
            )


@contextlib.contextmanager
def _placed(session: Session, use_gpu: bool, force_gpu: bool) -> Iterator[None]:
    """The session and its graph as the default ones, and the device that operations made inside get."""
    with session.graph.as_default(), session.as_default():
        if use_gpu and not force_gpu:
            yield
        else:
            with session.graph.device("/device:GPU:0" if force_gpu else "/device:CPU:0"):
                yield


TensorFlowTestCase = TestCase
