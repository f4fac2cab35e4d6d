"""Usual tags of the graphs of a SavedModel.

Source: tensorflow/python/saved_model/tag_constants.py (1.15).
"""

from __future__ import annotations

from typing import Final

SERVING: Final = "serve"
TRAINING: Final = "train"
EVAL: Final = "eval"
GPU: Final = "gpu"
TPU: Final = "tpu"
