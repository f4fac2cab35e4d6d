"""Writes safetensors files, to the bytes that the package `safetensors` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kvarn.errors import InvalidArgumentError
from kvarn.formats.names import is_utf8
from kvarn.formats.reader import TensorInfo
from kvarn.formats.safetensors.format import (
    ALIGNMENT,
    LARGEST_HEADER_BYTES,
    LENGTH_BYTES,
    METADATA,
    NAMES,
    RANKS,
)
from kvarn.formats.whole_tensors import WholeTensorWriter
from kvarn.io import FileSystem, Path


class SafetensorsWriter(WholeTensorWriter):
    """A safetensors file in the making; see `WholeTensorWriter`.

    Args:
      metadata: texts for the header.
    """

    format = "safetensors"

    def __init__(
        self,
        path: Path,
        tensors: Sequence[TensorInfo],
        fs: FileSystem | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._metadata = dict(metadata or {})
        super().__init__(path, tensors, fs)

    @classmethod
    def refuses(cls, info: TensorInfo) -> str:
        if info.dtype not in NAMES:
            return f"it has no type {info.dtype.name}"
        if info.name == METADATA:
            return "the name is taken by the format"
        return "" if is_utf8(info.name) else "the name is not UTF-8"

    def _ordered(self, tensors: Sequence[TensorInfo]) -> list[TensorInfo]:
        return sorted(tensors, key=lambda info: (-RANKS[info.dtype], info.name.encode()))

    def _begin_file(self) -> None:
        header: dict[str, Any] = {METADATA: self._metadata} if self._metadata else {}
        offset = 0
        for info in self._infos:
            end = offset + math.prod(info.shape) * info.dtype.size
            header[info.name] = {
                "dtype": NAMES[info.dtype],
                "shape": list(info.shape),
                "data_offsets": [offset, end],
            }
            offset = end
        data = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        data += b" " * (-len(data) % ALIGNMENT)
        if len(data) > LARGEST_HEADER_BYTES:
            raise InvalidArgumentError.of(
                f"'{self.prefix}' would need a header of {len(data)} bytes, more than the "
                f"{LARGEST_HEADER_BYTES} that readers of safetensors take",
                path=self.prefix,
                hint="Split the tensors over several files. Nothing was written.",
            )
        self._append(len(data).to_bytes(LENGTH_BYTES, "little") + data)
