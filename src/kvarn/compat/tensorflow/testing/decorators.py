"""Decorators that say in which of TensorFlow's modes a test runs: here there are graphs and sessions only.

Source: tensorflow/python/framework/test_util.py (1.15).
"""

from __future__ import annotations

import contextlib
import functools
import gc
import unittest
from collections.abc import Callable
from typing import Any, TypeVar

from kvarn.graph import control_flow_util
from kvarn.graph.graph import device as graph_device
from kvarn.ops import control_flow_v2_toggles

F = TypeVar("F", bound=Callable[..., Any])


def _identity(function: F) -> F:
    return function


def _maybe_called(decorator: Callable[[F], F], function: F | None) -> Any:
    """What a decorator that can be written with and without parentheses gives back."""
    return decorator if function is None else decorator(function)


def _skipped(reason: str, function: Any) -> Any:
    def decorator(method: Any) -> Any:
        if isinstance(method, type):
            raise ValueError("The decorator only supports test methods.")

        @functools.wraps(method)
        def skip(self: Any, *unused: Any, **unused_too: Any) -> None:
            self.skipTest(reason)

        return skip

    return _maybe_called(decorator, function)


# -- modes ----------------------------------------------------------------------------------------


def run_in_graph_and_eager_modes(
    func: Any = None,
    config: Any = None,
    use_gpu: bool = True,
    reset_test: bool = True,
    assert_no_eager_garbage: bool = False,
) -> Any:
    """Runs the test in a cached session of the test case: its graph half, there is no eager mode.

    Raises:
      ValueError: it decorates a class.
    """
    del reset_test, assert_no_eager_garbage  # these are about the second half

    def decorator(method: Any) -> Any:
        if isinstance(method, type):
            raise ValueError(
                "`run_in_graph_and_eager_modes` only supports test methods. Did you mean to use "
                "`run_all_in_graph_and_eager_modes`?"
            )

        @functools.wraps(method)
        def in_session(self: Any, *args: Any, **kwargs: Any) -> None:
            with self.test_session(use_gpu=use_gpu, config=config):
                method(self, *args, **kwargs)

        return in_session

    return _maybe_called(decorator, func)


def run_all_in_graph_and_eager_modes(cls: type) -> type:
    """`run_in_graph_and_eager_modes` for all tests of a class."""
    for name in dir(cls):
        if (
            name.startswith(unittest.TestLoader.testMethodPrefix)
            and not name.startswith(("testSkipEager", "test_skip_eager"))
            and name != "test_session"
            and callable(getattr(cls, name))
        ):
            setattr(cls, name, run_in_graph_and_eager_modes(getattr(cls, name)))
    return cls


def deprecated_graph_mode_only(func: Any = None) -> Any:
    """The test as it is, or a class of tests: graph mode is the only one."""
    return _maybe_called(_identity, func)


run_deprecated_v1 = deprecated_graph_mode_only


def run_v1_only(reason: str, func: Any = None) -> Any:
    """The test as it is, or a class of tests.

    Raises:
      ValueError: ``reason`` is no string.
    """
    if not isinstance(reason, str):
        raise ValueError(f"'reason' should be string, got {type(reason)}")
    return _maybe_called(_identity, func)


def run_v2_only(func: Any = None) -> Any:
    """Skips the test: this is TensorFlow 1."""
    return _skipped("Test is only compatible with v2", func)


def run_gpu_only(func: Any = None) -> Any:
    """Skips the test: there is no GPU."""
    return _skipped("Test requires GPU", func)


run_cuda_only = run_gpu_only


def also_run_as_tf_function(func: Any) -> Any:
    """Skips the test, which runs eagerly."""
    return _skipped("Test requires eager mode", func)


def build_as_function_and_v1_graph(func: Any = None) -> Any:
    """Runs the test in a new graph: its half without `tf.function`."""

    def decorator(method: Any) -> Any:
        @functools.wraps(method)
        def in_graph(self: Any, *args: Any, **kwargs: Any) -> None:
            from kvarn.graph.graph import Graph

            with Graph().as_default():
                method(self, *args, **kwargs)

        return in_graph

    return _maybe_called(decorator, func)


# -- control flow ---------------------------------------------------------------------------------


def enable_control_flow_v2(fn: F) -> F:
    """Runs the test with conditionals and loops that are built as functions."""

    @functools.wraps(fn)
    def with_functions(*args: Any, **kwargs: Any) -> Any:
        before = control_flow_util.ENABLE_CONTROL_FLOW_V2
        control_flow_util.ENABLE_CONTROL_FLOW_V2 = True
        try:
            return fn(*args, **kwargs)
        finally:
            control_flow_util.ENABLE_CONTROL_FLOW_V2 = before

    return with_functions  # type: ignore[return-value]


def with_control_flow_v2(cls: type) -> type:
    """Adds each test once more for conditionals and loops that are built as functions."""
    if control_flow_util.ENABLE_CONTROL_FLOW_V2:
        return cls
    for name, value in list(vars(cls).items()):
        if (
            callable(value)
            and name.startswith(unittest.TestLoader.testMethodPrefix)
            and not getattr(value, "_disable_control_flow_v2", False)
        ):
            setattr(cls, name + "WithControlFlowV2", enable_control_flow_v2(value))
    return cls


def disable_control_flow_v2(unused_msg: str) -> Callable[[F], F]:
    """Keeps `with_control_flow_v2` from adding the test once more."""

    def decorator(func: F) -> F:
        func._disable_control_flow_v2 = True  # type: ignore[attr-defined]
        return func

    return decorator


def enable_output_all_intermediates(fn: F) -> F:
    """Runs the test with conditionals and loops whose functions give all their values."""

    @functools.wraps(fn)
    def with_all(*args: Any, **kwargs: Any) -> Any:
        before = control_flow_v2_toggles.all_intermediates_wanted()
        control_flow_v2_toggles.output_all_intermediates(True)
        try:
            return fn(*args, **kwargs)
        finally:
            control_flow_v2_toggles.output_all_intermediates(before)

    return with_all  # type: ignore[return-value]


# -- things that TensorFlow has and that cannot be on here ----------------------------------------


def skip_if(condition: Any) -> Callable[[F], F]:
    """Leaves the test out when a condition, or a function without arguments, is true."""

    def decorator(func: F) -> F:
        @functools.wraps(func)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if condition() if callable(condition) else condition:
                return None
            return func(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorator


def disable_xla(description: str) -> Callable[[F], F]:
    """The test as it is: there is no XLA."""
    del description
    return _identity


no_xla_auto_jit = xla_allow_fallback = enable_tf_xla_constant_folding = disable_xla


def use_deterministic_cudnn(func: F) -> F:
    """The test as it is: there is no GPU."""
    return func


def enable_c_shapes(fn: F) -> F:
    """The test as it is: shapes are always worked out."""
    return fn


with_c_shapes = enable_c_shapes


def assert_no_new_pyobjects_executing_eagerly(f: Any) -> Any:
    """Skips the test, which runs eagerly."""
    return _skipped("Test requires eager mode", f)


# -- devices --------------------------------------------------------------------------------------


@contextlib.contextmanager
def device(use_gpu: bool) -> Any:
    """Operations made inside are placed on the CPU by name; ``use_gpu`` changes nothing without a GPU."""
    del use_gpu
    with graph_device("/device:CPU:0"):
        yield


def use_gpu() -> Any:
    """`device` with a GPU if there is one."""
    return device(True)


def force_gpu() -> Any:
    """Operations made inside are placed on ``/device:GPU:0`` by name."""
    return graph_device("/device:GPU:0")


def force_cpu() -> Any:
    """Operations made inside are placed on ``/device:CPU:0`` by name."""
    return graph_device("/device:CPU:0")


# -- memory ---------------------------------------------------------------------------------------


def assert_no_garbage_created(f: F) -> F:
    """Fails the test if it leaves objects that only refer to one another."""

    @functools.wraps(f)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        enabled, flags = gc.isenabled(), gc.get_debug()
        gc.disable()
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        before = len(gc.garbage)
        try:
            result = f(self, *args, **kwargs)
            gc.collect()
            left = [type(o).__name__ for o in gc.garbage[before:]]
        finally:
            gc.set_debug(flags)
            del gc.garbage[before:]
            if enabled:
                gc.enable()
        self.assertEqual(left, [], "the test left objects in cycles")
        return result

    return watched  # type: ignore[return-value]
