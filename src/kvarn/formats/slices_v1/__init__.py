"""V1 checkpoints: one table for each shard, which holds the names and the values.

TensorSliceReader, TensorSliceWriter    reading and writing
find_tables                             the files that a path or pattern means
save_order                              the order in which TensorFlow's save op takes its tensors
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvarn.formats.slices_v1.naming import find_tables
    from kvarn.formats.slices_v1.order import save_order
    from kvarn.formats.slices_v1.reader import TensorSliceReader
    from kvarn.formats.slices_v1.writer import TensorSliceWriter

__all__ = ["TensorSliceReader", "TensorSliceWriter", "find_tables", "save_order"]

# Who reads a V2 checkpoint loads nothing of this.
_PLACES = {
    "TensorSliceReader": "reader",
    "TensorSliceWriter": "writer",
    "find_tables": "naming",
    "save_order": "order",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'kvarn.formats.slices_v1' has no attribute {name!r}")
    return getattr(import_module(f"kvarn.formats.slices_v1.{_PLACES[name]}"), name)
