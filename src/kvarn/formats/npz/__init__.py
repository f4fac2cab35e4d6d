"""npz files: kvarn.formats.npz.format says how they lie."""

from __future__ import annotations

from kvarn.formats.npz.reader import NpzReader
from kvarn.formats.npz.writer import NpzWriter

__all__ = ["NpzReader", "NpzWriter"]
