"""The ops: one class body each, by subject."""

from __future__ import annotations

import importlib

from kvarn.ops import operators

# Modules that declare ops; loaded when an op is first looked up by name.
MODULES = [
    "activation",
    "array",
    "batch_norm",
    "bitwise",
    "candidate_sampling",
    "casting",
    "checkpoint",
    "clip",
    "comparison",
    "control",
    "control_flow",
    "convolution",
    "csv",
    "data_format",
    "datasets.batching",
    "datasets.functional",
    "datasets.iterators",
    "datasets.ordering",
    "datasets.randomness",
    "datasets.readers",
    "datasets.selection",
    "datasets.sources",
    "datasets.tuning",
    "division",
    "encoding",
    "examples",
    "files",
    "functional",
    "gather",
    "image_resize",
    "incremental",
    "joining",
    "kv",
    "kv_group",
    "layout",
    "linalg",
    "logging",
    "lookup",
    "manip",
    "math",
    "matrices",
    "messages",
    "nn",
    "optionals",
    "pooling",
    "queues",
    "random",
    "ranges",
    "readers",
    "reduction",
    "remapping",
    "resource_variable",
    "script",
    "search",
    "segment",
    "selection",
    "sequence_examples",
    "sets",
    "slicing",
    "space_to_batch",
    "sparse",
    "sparse_cross",
    "sparse_math",
    "sparse_serial",
    "sparse_shape",
    "special",
    "stacks",
    "state",
    "string",
    "summary",
    "summary_writer",
    "tensor_array_ops",
    "tensor_list_joining",
    "tensor_list_ops",
    "training",
    "training_deeprec",
    "training_kv",
    "unary",
]


def load_all() -> None:
    """Imports every module that declares ops."""
    for module in MODULES:
        importlib.import_module(f"kvarn.ops.{module}")


operators.install()
