"""safetensors and npz: what goes in comes out to the bit, the packages of the formats agree, liars are refused."""

from __future__ import annotations

import io
import json
import pathlib
import zipfile
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from kvarn import dtypes
from kvarn.errors import DataLossError, OpError, UnimplementedError
from kvarn.formats.npz import NpzReader, NpzWriter
from kvarn.formats.npz.format import STAND_INS
from kvarn.formats.reader import TensorInfo
from kvarn.formats.safetensors import SafetensorsReader, SafetensorsWriter
from kvarn.formats.whole_tensors import WholeTensorReader, WholeTensorWriter
from kvarn.io import MemoryFileSystem
from kvarn.testing import strategies

Tensors = dict[str, tuple[np.ndarray[Any, Any], dtypes.DType]]
NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20)
TENSORS = st.dictionaries(NAMES, strategies.arrays(), max_size=6)


def infos(tensors: Tensors) -> list[TensorInfo]:
    return [TensorInfo(name, dtype, array.shape, array.nbytes) for name, (array, dtype) in tensors.items()]


def write(
    writer_class: type[WholeTensorWriter],
    path: str,
    tensors: Tensors,
    fs: MemoryFileSystem,
    pieces: bool = False,
) -> None:
    with writer_class(path, infos(tensors), fs) as writer:
        for name in writer.order:
            array, dtype = tensors[name]
            if pieces and array.ndim and not dtype.np.hasobject:
                writer.add_tensor_header(name, dtype, array.shape)
                for row in array:
                    writer.append_segment(row[np.newaxis])
                writer.end_segment()
            else:
                writer.add(name, array, dtype)


def same(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    if found.dtype.hasobject:
        return bool(found.ravel().tolist() == expected.ravel().tolist())
    return found.tobytes() == expected.tobytes()


def check(reader: WholeTensorReader, tensors: Tensors) -> None:
    assert sorted(reader.keys()) == sorted(tensors)
    for name, (array, dtype) in tensors.items():
        info = reader.info(name)
        assert (info.dtype, info.shape) == (dtype, array.shape)
        assert same(reader.lookup(name), array)
        pieces = list(reader.chunks(name, 5))
        joined = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        assert same(joined, array)
    reader.close()


@given(tensors=TENSORS, pieces=st.booleans())
def test_npz_holds_everything_but_variants(tensors: Tensors, pieces: bool) -> None:
    fs = MemoryFileSystem()
    write(NpzWriter, "x.npz", tensors, fs, pieces)
    assert fs.list_directory(".") == ["x.npz"]
    check(NpzReader("x.npz", fs), tensors)
    with np.load(io.BytesIO(bytes(fs.files["x.npz"]))) as stored:
        for name, (array, dtype) in tensors.items():
            assert stored[name].shape == array.shape
            if dtype not in STAND_INS and not dtype.np.hasobject:
                assert same(stored[name], array)


@given(tensors=TENSORS, pieces=st.booleans())
def test_safetensors_writes_the_bytes_of_its_package(tensors: Tensors, pieces: bool) -> None:
    fs = MemoryFileSystem()
    refused = {info.name for info in infos(tensors) if SafetensorsWriter.refuses(info)}
    assert refused == {
        name
        for name, (_, dtype) in tensors.items()
        if dtype.name in ("string", "complex128", "int4", "uint4", "float8_e4m3b11fnuz") or dtype.is_quantized
    }
    if refused:
        with pytest.raises(UnimplementedError) as caught:
            write(SafetensorsWriter, "x.safetensors", tensors, fs)
        assert caught.value.name in refused
        assert not fs.files
    tensors = {name: value for name, value in tensors.items() if name not in refused}
    write(SafetensorsWriter, "x.safetensors", tensors, fs, pieces)
    data = bytes(fs.files["x.safetensors"])
    arrays = {name: np.ascontiguousarray(array) for name, (array, _) in tensors.items()}
    specs = {
        name: safetensors.TensorSpec(
            dtype=tensors[name][1].name,
            shape=tensors[name][0].shape,
            data_ptr=a.ctypes.data,
            data_len=a.nbytes,
        )
        for name, a in arrays.items()
    }
    assert data == bytes(safetensors.serialize(specs))
    check(SafetensorsReader("x.safetensors", fs), tensors)


def flipped(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def example(writer_class: type[WholeTensorWriter]) -> bytes:
    fs = MemoryFileSystem()
    tensors: Tensors = {
        "a/w": (np.arange(6, dtype=np.float32).reshape(2, 3), dtypes.float32),
        "b": (np.array([1, 2], np.int64), dtypes.int64),
        "c": (np.array([True, False]), dtypes.bool),
        "d": (np.array([1.5, 2], dtypes.bfloat16.np), dtypes.bfloat16),
    }
    write(writer_class, "x", tensors, fs)
    return bytes(fs.files["x"])


def read_all(reader_class: type[WholeTensorReader], data: bytes) -> dict[str, Any]:
    fs = MemoryFileSystem()
    fs.files["x"] = bytearray(data)
    with reader_class("x", fs) as reader:
        return {info.name: reader.lookup(info.name) for info in reader.tensors()}


EXAMPLES = {SafetensorsReader: example(SafetensorsWriter), NpzReader: example(NpzWriter)}


@pytest.mark.parametrize("reader_class", EXAMPLES)
@given(data=st.data())
def test_damage_is_named_or_harmless(reader_class: type[WholeTensorReader], data: st.DataObject) -> None:
    whole = EXAMPLES[reader_class]
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        damaged = flipped(whole, data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255)))
    try:
        read_all(reader_class, damaged)
        found = None
    except OpError as error:
        found = error
    assert found is None or (found.path == "x" and found.hint)


def test_a_flipped_value_in_an_npz_is_found() -> None:
    whole = EXAMPLES[NpzReader]
    at = whole.index(np.float32(5).tobytes())
    with pytest.raises(DataLossError, match="a/w"):
        read_all(NpzReader, flipped(whole, at, 1))


def header(**tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def entry(start: int, end: int, shape: list[Any], dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HOSTILE = {
    "no length": b"\0\0\0",
    "header longer than the file": (1 << 62).to_bytes(8, "little") + b"{}",
    "no object": (2).to_bytes(8, "little") + b"[]",
    "deep": (100_000).to_bytes(8, "little") + b'{"a":' + b"[" * 99_995,
    "overlap": header(a=entry(0, 4, [4]), b=entry(2, 6, [4])) + bytes(6),
    "hole": header(a=entry(0, 2, [2]), b=entry(4, 6, [2])) + bytes(6),
    "beyond the end": header(a=entry(0, 1 << 40, [1 << 40])) + bytes(6),
    "bytes left over": header(a=entry(0, 2, [2])) + bytes(6),
    "shape and bytes differ": header(a=entry(0, 6, [1 << 62, 1 << 62])) + bytes(6),
    "negative": header(a=entry(0, 6, [-1, -6])) + bytes(6),
    "backwards": header(a=entry(6, 0, [6])) + bytes(6),
    "fractions": header(a=entry(0, 6, [6.0])) + bytes(6),
    "truth": header(a=entry(0, 1, [True])) + bytes(1),
    "twice": header(a=entry(0, 1, [1]), b=entry(0, 1, [1])).replace(b'"b"', b'"a"') + bytes(1),
    "no bool": header(a=entry(0, 1, [1], "BOOL")) + b"\2",
    "metadata": header(__metadata__={"a": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_safetensors(name: str) -> None:
    with pytest.raises(DataLossError):
        read_all(SafetensorsReader, HOSTILE[name])


def test_a_type_that_tensorflow_has_not_is_named() -> None:
    with pytest.raises(UnimplementedError, match="F8_E8M0"):
        read_all(SafetensorsReader, header(a=entry(0, 1, [1], "F8_E8M0")) + b"\0")


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return stream.getvalue()


def npy(descr: str, shape: tuple[int, ...], data: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + data


QINT8 = b'{"types": {"a": "qint8"}}'
NOTE = b'{"trailing_nuls": {"s": {"0": 99999999999}}}'
HOSTILE_NPZ = {
    "no zip": b"PK\3\4 and nothing more",
    "no array": archive({"a.npy": b"nothing"}),
    "more elements than bytes": archive({"a.npy": npy("<f4", (1 << 40,), bytes(8))}),
    "elements of no size": archive({"a.npy": npy("|S0", (1 << 40,))}),
    "product overflows": archive({"a.npy": npy("<f4", (1 << 32, 1 << 32), bytes(8))}),
    "negative": archive({"a.npy": npy("<f4", (-1, -2), bytes(8))}),
    "bzip2": archive({"a.npy": npy("<f4", (2,), bytes(8))}, zipfile.ZIP_BZIP2),
    "a note of more NULs than there is room": archive({"s.npy": npy("|S2", (1,), b"a\0"), "__kvarn__.json": NOTE}),
    "a note of another type": archive({"a.npy": npy("<f4", (1,), bytes(4)), "__kvarn__.json": QINT8}),
    "a note that is none": archive({"__kvarn__.json": b"[]"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NPZ)
def test_hostile_npz(name: str) -> None:
    with pytest.raises(DataLossError):
        read_all(NpzReader, HOSTILE_NPZ[name])


def test_pickles_are_not_loaded() -> None:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, a=np.array([{}], object))
    with pytest.raises(UnimplementedError, match="pickle"):
        read_all(NpzReader, stream.getvalue())


def test_a_bomb_of_overlapping_members_is_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("a.npy", npy("<f4", (1000,), bytes(4000)))
        twin = zipfile.ZipInfo("b.npy")
        first = made.infolist()[0]
        for field in ("CRC", "compress_size", "file_size", "header_offset"):
            setattr(twin, field, getattr(first, field))
        made.filelist.append(twin)
        made._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(DataLossError, match="overlaps"):
        read_all(NpzReader, stream.getvalue())


def test_what_numpy_compresses_and_turns_is_read(tmp_path: pathlib.Path) -> None:
    arrays = {
        "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "texts": np.array(["é", ""]),
        "zeros": np.zeros(100_000),
    }
    np.savez_compressed(tmp_path / "x.npz", allow_pickle=False, **arrays)
    with NpzReader(tmp_path / "x.npz") as reader:
        assert reader.lookup("turned").tolist() == arrays["turned"].tolist()
        assert reader.lookup("big").tolist() == [0, 1, 2]
        assert reader.lookup("big").dtype == np.int32
        assert reader.lookup("texts").tolist() == ["é".encode(), b""]
        assert sum(len(piece) for piece in reader.chunks("zeros", 1000)) == 100_000


def test_a_writer_that_fails_leaves_nothing() -> None:
    fs = MemoryFileSystem()
    tensors: Tensors = {"a": (np.zeros(2, np.float32), dtypes.float32)}
    for writer_class in (SafetensorsWriter, NpzWriter):
        writer = writer_class("x", infos(tensors), fs)
        with pytest.raises(OpError, match="not added"):
            writer.finish()
        with pytest.raises(OpError, match="shape"):
            writer_class("x", infos(tensors), fs).add("a", np.zeros(3, np.float32))
        with pytest.raises(OpError, match="instead of 'a'"):
            writer_class("x", infos(tensors), fs).add("b", np.zeros(3, np.float32))
        assert not fs.files
