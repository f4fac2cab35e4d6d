"""Reads npz files, without pickle.

Every member's place, size and header are checked against the archive before memory is taken for it; its
CRC-32 is checked by `zipfile` as its last byte is read.
"""

from __future__ import annotations

import io
import json
import math
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import OpError, UnimplementedError
from kvarn.formats.npz.format import (
    BY_BITS,
    LARGEST_RATIO,
    NOTES,
    STAND_INS,
    SUFFIX,
    TRAILING_NULS,
    TYPES,
)
from kvarn.formats.reader import TensorInfo
from kvarn.formats.whole_tensors import WholeTensorReader
from kvarn.io.streams import ReadStream

_ENCRYPTED = 1
_PIECE_BYTES = 1 << 20
# A local header of a member: these bytes, then name and extra field.
_LOCAL_HEADER_BYTES = 30
# What `zipfile` and its decompressor say of damaged members.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class _Array:
    """Where an array lies in its member, and how."""

    member: zipfile.ZipInfo
    start: int
    stored: np.dtype[Any]
    fortran_order: bool


class NpzReader(WholeTensorReader):
    """An npz file, open; see `WholeTensorReader`."""

    format = "npz"

    def _read_directory(self) -> list[TensorInfo]:
        self._arrays: dict[str, _Array] = {}
        try:
            stream = cast("IO[bytes]", io.BufferedReader(ReadStream(self._file)))
            self._zip = zipfile.ZipFile(stream)
        except _ZIP_ERRORS as error:
            raise self.damaged(f"not an npz file: {error}") from error
        members = self._zip.infolist()
        self._check_members(members)
        notes = self._read_notes()
        self._nuls: dict[str, Any] = notes.get(TRAILING_NULS, {})
        types = notes.get(TYPES, {})
        arrays = [member for member in members if member.filename.endswith(SUFFIX)]
        return [self._read_array_header(member, types) for member in arrays]

    def _check_members(self, members: list[zipfile.ZipInfo]) -> None:
        end, names = 0, set()
        for member in sorted(members, key=lambda member: member.header_offset):
            name = member.filename
            if name in names:
                raise self._wrong(member, "occurs twice")
            names.add(name)
            if member.flag_bits & _ENCRYPTED or member.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise self._wrong(member, "is encrypted, or compressed in a way that NumPy does not write")
            if member.header_offset < end:
                raise self._wrong(member, "overlaps another")
            end = member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size
            ratio = 1 if member.compress_type == zipfile.ZIP_STORED else LARGEST_RATIO
            if end > self._file.size or member.file_size > ratio * max(member.compress_size, 0):
                raise self._wrong(member, f"promises {member.file_size} bytes in {member.compress_size}")

    def _read_notes(self) -> dict[str, Any]:
        if NOTES not in self._zip.namelist():
            return {}
        try:
            notes = json.loads(self._zip.read(NOTES))
        except (*_ZIP_ERRORS, RecursionError) as error:
            raise self.damaged(f"{NOTES} cannot be read: {error}", NOTES) from error
        if not isinstance(notes, dict) or not all(isinstance(note, dict) for note in notes.values()):
            raise self.damaged(f"{NOTES} is not one of kvarn's", NOTES)
        return notes

    def _read_array_header(self, member: zipfile.ZipInfo, types: dict[str, Any]) -> TensorInfo:
        name = member.filename.removesuffix(SUFFIX)
        try:
            with self._zip.open(member) as stream:
                major, _ = np.lib.format.read_magic(stream)
                read = (
                    np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                )
                shape, fortran_order, stored = read(stream)
                start = stream.tell()
        except OpError:
            raise
        except Exception as error:  # NumPy evaluates headers as Python: whatever that can raise
            raise self._wrong(member, f"has no array header that can be read: {error}") from error
        size = math.prod(shape) * stored.itemsize
        if stored.hasobject:
            raise UnimplementedError.of(
                f"array '{name}' in '{self.prefix}' holds pickled objects, which are not loaded: they can run code",
                name=name,
                path=self.prefix,
                hint="Save strings as an array of bytes (dtype S) instead of objects.",
            )
        if size != member.file_size - start or min((stored.itemsize - 1, *shape)) < 0:
            raise self._wrong(
                member, f"of type {stored} and shape {list(shape)} has {member.file_size - start} bytes"
            )
        dtype = self._dtype(name, stored, types.get(name))
        self._arrays[name] = _Array(member, start, stored, fortran_order)
        return TensorInfo(name, dtype, tuple(shape), size)

    def _dtype(self, name: str, stored: np.dtype[Any], note: Any) -> dtypes.DType:
        if note is not None:
            dtype = next((dtype for dtype in STAND_INS if dtype.name == note), None)
            if dtype is None or STAND_INS[dtype] != stored:
                raise self.damaged(f"{NOTES} says that '{name}', an array of {stored}, is {note!r:.50}", name)
            return dtype
        try:
            if stored.fields is not None or stored.subdtype is not None:
                raise TypeError
            return dtypes.as_dtype(stored)
        except TypeError:
            raise UnimplementedError.of(
                f"array '{name}' in '{self.prefix}' has the type {stored}, which TensorFlow has not",
                name=name,
                path=self.prefix,
                hint="Raw bits of ml_dtypes: save them as uint16 or uint8 with a note, as docs/formats/npz.md says.",
            ) from None

    def _stored_dtype(self, info: TensorInfo) -> np.dtype[Any]:
        return self._arrays[info.name].stored

    def _lies_in_rows(self, info: TensorInfo) -> bool:
        return not info.dtype.np.hasobject and not self._arrays[info.name].fortran_order

    def _bytes_of(self, info: TensorInfo) -> Callable[[memoryview], None]:
        array = self._arrays[info.name]
        stream: IO[bytes] | None = None
        left = info.size_bytes

        def fill(target: memoryview) -> None:
            nonlocal stream, left
            try:
                if stream is None:
                    stream = self._zip.open(array.member)
                    stream.read(array.start)
                done = 0
                while done < len(target):
                    piece = stream.read(min(_PIECE_BYTES, len(target) - done))
                    if not piece:
                        raise EOFError("the member ends too early")
                    target[done : done + len(piece)] = piece
                    done += len(piece)
                left -= len(target)
                if not left and stream.read(1):
                    raise EOFError("the member does not end")
            except _ZIP_ERRORS as error:
                raise self._wrong(array.member, f"cannot be read: {error}") from error

        return fill

    def _decode(self, info: TensorInfo, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._arrays[info.name].fortran_order:
            stored = np.ascontiguousarray(stored.reshape(-1).reshape(info.shape, order="F"))
        if info.dtype is dtypes.string:
            return self._strings(info, stored)
        if info.dtype in BY_BITS:
            return stored.view(info.dtype.np)
        if info.dtype in (dtypes.int4, dtypes.uint4):
            values = stored.astype(info.dtype.np)
            if not np.array_equal(values.astype(stored.dtype), stored):
                raise self.damaged(f"'{info.name}' has values that do not fit {info.dtype.name}", info.name)
            return values
        return super()._decode(info, stored.astype(info.dtype.np, copy=False))

    def _strings(self, info: TensorInfo, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        flat = np.empty(stored.size, np.object_)
        if stored.dtype.kind == "U":
            codes = stored.reshape(-1).view(np.dtype(np.uint32).newbyteorder(stored.dtype.byteorder))
            if codes.max(initial=0) > sys.maxunicode:
                raise self.damaged(f"'{info.name}' has a character that does not exist", info.name)
            flat[:] = [text.encode("utf-8", "surrogatepass") for text in stored.ravel().tolist()]
            return flat.reshape(info.shape)
        flat[:] = stored.ravel().tolist()
        nuls = self._nuls.get(info.name, {})
        if not isinstance(nuls, dict):
            raise self.damaged(f"{NOTES} does not fit '{info.name}'", info.name)
        for at, count in nuls.items():
            place = int(at) if at.isdecimal() and len(at) < 20 else stored.size
            if (
                place >= stored.size
                or type(count) is not int
                or not 0 < count <= stored.dtype.itemsize - len(flat[place])
            ):
                raise self.damaged(f"{NOTES} does not fit '{info.name}'", info.name)
            flat[place] += b"\0" * count
        return flat.reshape(info.shape)

    def _wrong(self, member: zipfile.ZipInfo, what: str) -> OpError:
        return self.damaged(
            f"the member '{member.filename}' {what}",
            member.filename.removesuffix(SUFFIX),
            member.header_offset,
        )
