"""The ops: one class body each, by subject."""

from __future__ import annotations

import importlib

# Modules that declare ops; loaded when an op is first looked up by name.
MODULES = [
    "array",
    "checkpoint",
    "control",
    "kv",
    "logging",
    "math",
    "nn",
    "random",
    "resource_variable",
    "sparse",
    "state",
    "string",
    "training",
]


def load_all() -> None:
    """Imports every module that declares ops."""
    for module in MODULES:
        importlib.import_module(f"kvarn.ops.{module}")
