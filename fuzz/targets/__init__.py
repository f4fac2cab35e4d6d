"""One module a parser; those of `NATIVE` have their fuzzer in native/fuzz.  Each has

check(data)   the body: the fuzzer's entry, and the replay of the committed corpus
seeds()       small sound inputs, made from what TensorFlow wrote
WORDS         byte strings that the format gives a meaning
LONGEST       bytes of the longest input worth trying
"""

from __future__ import annotations

import importlib
from types import ModuleType

# By target, the modules whose branches guide the fuzzer.
GUIDED_BY = {
    "table": ("kvarn.formats",),
    "bundle": ("kvarn.formats", "kvarn.checkpoint.embeddings"),
    "entry": ("kvarn.formats",),
    "strings": ("kvarn.formats",),
    "snappy": ("kvarn.formats", "fuzz.targets.snappy"),
    "v1": ("kvarn.formats",),
    "safetensors": ("kvarn.formats", "json"),
    "npz": ("kvarn.formats", "zipfile"),
    "messages": ("kvarn.formats", "kvarn.protos", "google.protobuf.text_format"),
    "state": ("kvarn.formats", "kvarn.checkpoint", "google.protobuf.text_format"),
    "manifest": ("kvarn.formats", "kvarn.checkpoint.chain", "json"),
}

# What native/fuzz has: the module here replays the corpus through the Python binding.
NATIVE = ("native_snappy", "native_table_block", "native_bundle_entry", "native_varints")
NAMES = (*GUIDED_BY, *NATIVE)


def target(name: str) -> ModuleType:
    """The module of a target; imported when asked for, since the fuzzer instruments what it imports."""
    if name not in NAMES:
        raise ValueError(f"no target '{name}'; there are {', '.join(NAMES)}")
    return importlib.import_module(f"fuzz.targets.{name}")
