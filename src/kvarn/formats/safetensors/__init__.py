"""safetensors files: kvarn.formats.safetensors.format says how they lie."""

from __future__ import annotations

from kvarn.formats.safetensors.reader import SafetensorsReader
from kvarn.formats.safetensors.writer import SafetensorsWriter

__all__ = ["SafetensorsReader", "SafetensorsWriter"]
