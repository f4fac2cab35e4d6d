"""Writes npz files that `numpy.load` reads."""

from __future__ import annotations

import json
import zipfile
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.formats.names import decode_name, is_utf8
from kvarn.formats.npz.format import BY_BITS, NOTES, STAND_INS, SUFFIX, TRAILING_NULS, TYPES
from kvarn.formats.reader import TensorInfo
from kvarn.formats.whole_tensors import WholeTensorWriter
from kvarn.io.streams import WriteStream

# Strings of very unequal length would take this much more than they are.
_LARGEST_PADDING = 64
_SMALL_BYTES = 64 << 20


class NpzWriter(WholeTensorWriter):
    """An npz file in the making; see `WholeTensorWriter`."""

    format = "npz"

    @classmethod
    def refuses(cls, info: TensorInfo) -> str:
        if info.dtype in (dtypes.variant, dtypes.resource):
            return f"it has no type {info.dtype.name}"
        if "\0" in info.name:
            return "the name has a NUL in it"
        if not is_utf8(info.name):
            return "the name is not UTF-8"
        return (
            ""
            if len(info.name.encode()) + len(SUFFIX) < 1 << 16
            else "the name is longer than a zip archive allows"
        )

    def add(self, name: str | bytes, array: npt.ArrayLike, dtype: Any = None) -> None:
        values = np.asarray(array)
        if values.dtype.hasobject:
            values = self._strings(decode_name(name), values)
        super().add(name, values, dtype)

    def _begin_file(self) -> None:
        self._types: dict[str, str] = {}
        self._nuls: dict[str, dict[str, int]] = {}
        self._member: IO[bytes] | None = None
        self._stream = WriteStream(self._append)
        self._zip = zipfile.ZipFile(cast("IO[bytes]", self._stream), "w", zipfile.ZIP_STORED, allowZip64=True)

    def _stored_dtype(self, info: TensorInfo, array: npt.NDArray[Any] | None) -> np.dtype[Any]:
        if info.dtype is dtypes.string:
            assert array is not None
            return array.dtype
        return STAND_INS.get(info.dtype, info.dtype.np)

    def _encode(self, info: TensorInfo, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        stored = self._stored_dtype(info, array)
        return array.view(stored) if info.dtype in BY_BITS else array.astype(stored, copy=False)

    def _begin_tensor(self, info: TensorInfo, stored: np.dtype[Any]) -> None:
        if info.dtype in STAND_INS:
            self._types[info.name] = info.dtype.name
        self._member = self._zip.open(zipfile.ZipInfo(info.name + SUFFIX), "w", force_zip64=True)
        np.lib.format.write_array_header_1_0(
            self._member,
            {
                "descr": np.lib.format.dtype_to_descr(stored),
                "fortran_order": False,
                "shape": info.shape,
            },
        )

    def _put(self, data: memoryview) -> None:
        assert self._member is not None
        self._member.write(data)

    def _end_tensor(self) -> None:
        assert self._member is not None
        self._member.close()
        self._member = None

    def abort(self) -> None:
        if self._file is not None:
            # `zipfile` ends what it has begun, sooner or later: it may, but nowhere.
            self._stream.append = None
            if self._member is not None:
                self._member.close()
            self._zip.close()
        super().abort()

    def _end_file(self) -> None:
        notes = {kind: found for kind, found in ((TYPES, self._types), (TRAILING_NULS, self._nuls)) if found}
        if notes:
            self._zip.writestr(zipfile.ZipInfo(NOTES), json.dumps(notes, ensure_ascii=False))
        self._zip.close()

    def _strings(self, name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Strings as bytes of equal width; what that loses goes to the note."""
        flat = [text.encode() if isinstance(text, str) else bytes(text) for text in values.ravel().tolist()]
        width = max(map(len, flat), default=1) or 1
        if len(flat) * width > _SMALL_BYTES + _LARGEST_PADDING * sum(map(len, flat)):
            info = TensorInfo(name, dtypes.string, values.shape, 0)
            self._fail(info, f"has strings of too unequal length: {len(flat)} times {width} bytes")
        nuls = {
            str(at): len(text) - len(text.rstrip(b"\0")) for at, text in enumerate(flat) if text[-1:] == b"\0"
        }
        if nuls:
            self._nuls[name] = nuls
        return np.array(flat, f"S{width}").reshape(values.shape)
