"""Reads safetensors files.

All that the header says is checked against the file before any of it is used: a file that lies costs no more
memory than its own size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from kvarn.errors import OpError, UnimplementedError
from kvarn.formats.reader import TensorInfo
from kvarn.formats.safetensors.format import DTYPES, LARGEST_HEADER_BYTES, LENGTH_BYTES, METADATA
from kvarn.formats.whole_tensors import WholeTensorReader

# Dimensions beyond these NumPy does not have.
_LARGEST_RANK = 64
_LARGEST_SIZE = (1 << 63) - 1


class SafetensorsReader(WholeTensorReader):
    """A safetensors file, open; see `WholeTensorReader`.  The format has no checksums.

    Attributes:
      metadata: the texts of the header.
    """

    format = "safetensors"
    metadata: dict[str, str]

    def _read_directory(self) -> list[TensorInfo]:
        size = self._file.size
        if size < LENGTH_BYTES:
            raise self.damaged(f"a file of {size} bytes is too short to be safetensors")
        length = int.from_bytes(self._file.read(0, LENGTH_BYTES), "little")
        if length > min(size - LENGTH_BYTES, LARGEST_HEADER_BYTES):
            raise self.damaged(
                f"a header of {length} bytes is promised, the file has {size}; is it safetensors?", offset=0
            )
        self._data = LENGTH_BYTES + length
        header = self._parse(self._file.read(LENGTH_BYTES, length))
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise self.damaged("the metadata are not texts", offset=LENGTH_BYTES)
        self.metadata = metadata
        self._starts: dict[str, int] = {}
        found = []
        for name, fields in header.items():
            info, start = self._tensor(name, fields)
            self._starts[name] = start
            found.append(info)
        self._check_cover(found)
        return found

    def _parse(self, data: bytes) -> dict[str, Any]:
        if not data.startswith(b"{"):
            raise self.damaged("the header is not a JSON object", offset=LENGTH_BYTES)

        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            found = dict(pairs)
            if len(found) != len(pairs):
                raise ValueError("a name occurs twice")
            return found

        try:
            return dict(json.loads(data.decode(), object_pairs_hook=unique))
        except (ValueError, RecursionError) as error:
            raise self.damaged(f"the header cannot be read: {error}", offset=LENGTH_BYTES) from error

    def _tensor(self, name: str, fields: Any) -> tuple[TensorInfo, int]:
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise self._wrong(ascii(name), "has half a character in its name")
        if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
            raise self._wrong(name, "has not the fields dtype, shape and data_offsets")
        shape, offsets = fields["shape"], fields["data_offsets"]
        if (
            not _are_sizes(shape)
            or not _are_sizes(offsets)
            or len(offsets) != 2
            or len(shape) > _LARGEST_RANK
        ):
            raise self._wrong(name, f"has the shape {shape!r:.200} and the offsets {offsets!r:.200}")
        dtype = DTYPES.get(fields["dtype"]) if isinstance(fields["dtype"], str) else None
        if dtype is None:
            raise UnimplementedError.of(
                f"tensor '{name}' in '{self.prefix}' has the type {fields['dtype']!r:.50}, which TensorFlow has not",
                name=name,
                path=self.prefix,
                hint="Convert it with the program that wrote it.",
            )
        start, end = offsets
        if end - start != math.prod(shape) * dtype.size or start < 0 or end > self._file.size - self._data:
            raise self._wrong(
                name, f"of type {dtype.name} and shape {shape} does not fit the bytes {start}..{end}"
            )
        return TensorInfo(name, dtype, tuple(shape), end - start), start

    def _check_cover(self, found: list[TensorInfo]) -> None:
        """The tensors must lie without gap or overlap, to the end of the file."""
        end = 0
        for info in sorted(found, key=lambda info: (self._starts[info.name], info.size_bytes)):
            if self._starts[info.name] != end:
                raise self._wrong(
                    info.name, f"begins at byte {self._starts[info.name]} of the data, not {end}"
                )
            end += info.size_bytes
        if end != self._file.size - self._data:
            raise self.damaged(
                f"the tensors take {end} bytes, the file has {self._file.size - self._data} after the header",
                offset=self._data + end,
            )

    def _bytes_of(self, info: TensorInfo) -> Callable[[memoryview], None]:
        position = self._data + self._starts[info.name]

        def fill(target: memoryview) -> None:
            nonlocal position
            if self._file.read_into(position, target) != len(target):
                raise self._wrong(info.name, f"ends before byte {position + len(target)} of the file")
            position += len(target)

        return fill

    def _wrong(self, name: str, what: str) -> OpError:
        return self.damaged(f"tensor '{name}' {what}", name, LENGTH_BYTES)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value <= _LARGEST_SIZE for value in values
    )
