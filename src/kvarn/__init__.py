"""kvarn: TensorFlow-1 and DeepRec programs, checkpoints and embedding variables without TensorFlow.

``import kvarn as tf`` gives TensorFlow 1.15's names (`kvarn.compat.tensorflow.names` is the table); they
are loaded when they are first used, so importing kvarn costs next to nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

# kvarn's own rooms.  `data`, `feature_column`, `keras`, `layers`, `train`, `saved_model`, `summary`, `io` and
# `compat` are namespaces of TensorFlow as well: as attributes of this module these nine are TensorFlow's
# (`tf.train.Saver`); the packages are reached by importing them.
_ROOMS = frozenset(
    (
        "checkpoint", "cli", "dtypes", "engine", "errors", "formats", "graph", "ops", "protos", "saver",
        "testing", "variables", "_native",
    )
)  # fmt: skip
_SHARED = frozenset(
    ("compat", "data", "feature_column", "io", "keras", "layers", "saved_model", "summary", "train")
)


def _namespace(name: str) -> Any:
    return importlib.import_module("kvarn.compat.tensorflow.namespace").module_of(name)


class _Kvarn(ModuleType):
    """This module's class: importing the package `kvarn.train` must not hide the namespace `tf.train`."""

    def __getattribute__(self, name: str) -> Any:
        if name in _SHARED:
            return _namespace(name)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module 'kvarn' has no attribute {name!r}")
        if name in _ROOMS:
            return importlib.import_module(f"kvarn.{name}")
        value = importlib.import_module("kvarn.compat.tensorflow.namespace").resolve("", name, "kvarn")
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        names = importlib.import_module("kvarn.compat.tensorflow.names")
        return sorted({*super().__dir__(), *_ROOMS, *_SHARED, *names.names_in("")})


sys.modules[__name__].__class__ = _Kvarn
