"""What a test asks of its surroundings: a folder to write to, the devices there are, and `tf.test.main`.

Source: tensorflow/python/platform/{test,googletest}.py (1.15).
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
import unittest
from collections.abc import Sequence
from typing import Any, NoReturn
from unittest import mock

__all__ = ["mock"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Reads the program's flags, runs the tests of the main module, and exits with 0 if all passed.

    Args:
      argv: the command line, the program's name first; by default that of the process.  What no flag of the
        program takes goes to unittest: names of tests, ``-v``, ``-k PATTERN``.
    """
    from kvarn.compat.tensorflow.flags import FLAGS

    unittest.main(argv=FLAGS(sys.argv if argv is None else argv, known_only=True))
    sys.exit(0)  # unittest.main has left already, unless a test replaced it


@functools.cache
def get_temp_dir() -> str:
    """A folder for the process's tests, below ``TEST_TMPDIR`` if that is set; it goes when the process ends."""
    program = os.path.splitext(os.path.basename(sys.argv[0] or "tests"))[0]
    base = os.environ.get("TEST_TMPDIR") or os.path.join(tempfile.gettempdir(), program)
    folder = tempfile.mkdtemp(prefix=base)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def test_src_dir_path(relative_path: str) -> str:
    """The absolute path of a file of TensorFlow's source tree, which the variable ``TEST_SRCDIR`` locates.

    Raises:
      KeyError: ``TEST_SRCDIR`` is not set.
    """
    return os.path.join(os.environ["TEST_SRCDIR"], "org_tensorflow/tensorflow", relative_path)


def is_built_with_cuda() -> bool:
    """False: kvarn runs on CPUs."""
    return False


is_built_with_rocm = is_built_with_gpu_support = IsBuiltWithCuda = is_built_with_cuda
IsGoogleCudaEnabled = IsBuiltWithROCm = IsMklEnabled = GpuSupportsHalfMatMulAndConv = is_built_with_cuda
is_xla_enabled = is_built_with_cuda


def is_gpu_available(cuda_only: bool = False, min_cuda_compute_capability: Any = None) -> bool:
    """False: kvarn runs on CPUs."""
    del cuda_only, min_cuda_compute_capability
    return False


def gpu_device_name() -> str:
    """``""``: kvarn runs on CPUs."""
    return ""


def create_local_cluster(
    num_workers: int,
    num_ps: int,
    protocol: str = "grpc",
    worker_config: Any = None,
    ps_config: Any = None,
) -> NoReturn:
    """Refused: there are no servers, a session runs in the process that makes it.

    Raises:
      UnimplementedError: always.
    """
    from kvarn import errors

    del protocol, worker_config, ps_config
    raise errors.UnimplementedError.of(
        f"A cluster of {num_workers} workers and {num_ps} parameter servers cannot be started.",
        hint="kvarn runs a session in the process that makes it; use tf.Session().",
    )


class StubOutForTesting:
    """Replaces attributes and puts them back: at the end of a ``with``, or by `CleanUp`."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> StubOutForTesting:
        return self

    def __exit__(self, *unused: Any) -> None:
        self.CleanUp()

    def __del__(self) -> None:
        self.CleanUp()

    def Set(self, parent: Any, child_name: str, new_child: Any) -> None:
        """Replaces ``child_name`` of a module, class or object.

        Raises:
          AttributeError: there is no such attribute.
        """
        old = getattr(parent, child_name)
        stored = vars(parent).get(child_name)
        self._replaced.append((parent, child_name, stored if isinstance(stored, staticmethod) else old))
        setattr(parent, child_name, new_child)

    def SmartSet(self, obj: Any, attr_name: str, new_attr: Any) -> None:
        """`Set` for whoever defines the attribute: of an object that is its class, unless it has its own.

        Raises:
          AttributeError: there is no such attribute.
        """
        if not isinstance(obj, (type, type(os))) and attr_name not in vars(obj):
            obj = type(obj)
        if isinstance(obj, type):
            obj = next((c for c in obj.__mro__ if attr_name in vars(c)), obj)
        self.Set(obj, attr_name, new_attr)

    def CleanUp(self) -> None:
        """Puts back everything, the last replacement first."""
        while self._replaced:
            setattr(*self._replaced.pop())

    UnsetAll = SmartUnsetAll = CleanUp


class Benchmark:
    """The base of benchmarks, which `main` does not run: it runs tests."""
