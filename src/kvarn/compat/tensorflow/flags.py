"""`tf.flags` and `tf.app`: absl's flags, as in TensorFlow; without absl, the commonest kinds of flags."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

_source = importlib.import_module(
    "kvarn.compat.tensorflow.absl_flags"
    if importlib.util.find_spec("absl") is not None
    else "kvarn.compat.tensorflow.plain_flags"
)


def __getattr__(name: str) -> Any:
    return getattr(_source, name)
