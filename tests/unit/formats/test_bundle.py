"""Writer and reader: what they refuse, streaming, strings, and error texts."""

from __future__ import annotations

import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.bundle.strings import decode_strings, encode_strings
from kvarn.formats.checksum import crc32c, crc32c_combine
from kvarn.formats.coding import DecodeError
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem


@pytest.fixture
def fs() -> MemoryFileSystem:
    return MemoryFileSystem()


def save(fs: MemoryFileSystem, **tensors: object) -> BundleReader:
    with BundleWriter("m", fs) as writer:
        for name, value in tensors.items():
            writer.add(name, value)  # type: ignore[arg-type]
    return BundleReader("m", fs)


def test_string_tensors_have_tensorflows_bytes(fs: MemoryFileSystem) -> None:
    reader = save(fs, a=np.array([b"ab", b"", "é"], object), b=np.array(b"", object), c=np.empty(0, object))
    data = bytes(fs.files["m.data-00000-of-00001"])
    assert data.hex(" ") == "02 00 02 a0 d8 fc 1f 61 62 c3 a9 00 a6 7b 11 3a d8 ea 82 a2"
    crcs = [reader.entry(name).crc32c for name in "abc"]
    assert crcs == [0x61340DCA, 0xBE0767BD, 0x640CC1F6]
    assert reader.lookup("a").tolist() == [b"ab", b"", "é".encode()]


def test_strings_may_hold_zero_bytes_and_be_text_arrays(fs: MemoryFileSystem) -> None:
    reader = save(fs, a=np.array([b"x\0"], object), u=np.array(["å", "b"]))
    assert reader.lookup("a").tolist() == [b"x\0"]
    assert reader.lookup("u").tolist() == ["å".encode(), b"b"]


def test_string_lengths_above_four_bytes_count_as_eight() -> None:
    pieces, crc = encode_strings([b"ab", b""])
    flat, found = decode_strings(b"".join(pieces), 2)
    assert (flat.tolist(), found) == ([b"ab", b""], crc)
    with pytest.raises(DecodeError):
        decode_strings(b"".join(pieces) + b"x", 2)


def test_an_empty_tensor_has_a_checksum(fs: MemoryFileSystem) -> None:
    entry = save(fs, z=np.empty((0, 3), np.float32)).entry("z")
    assert (entry.size, entry.crc32c, entry.shape) == (0, 0xA282EAD8, (0, 3))


@pytest.mark.parametrize("dtype", [np.dtype(">f4"), np.dtype(">i8"), np.dtype(">c16")])
def test_big_endian_arrays_are_turned(fs: MemoryFileSystem, dtype: np.dtype) -> None:
    found = save(fs, a=np.arange(4).astype(dtype)).lookup("a")
    assert found.dtype.byteorder != ">"
    assert np.array_equal(found, np.arange(4))


def test_arrays_of_any_layout(fs: MemoryFileSystem) -> None:
    value = np.arange(24.0).reshape(4, 6)
    reader = save(fs, t=value.T, s=value[::2, 1::2], f=np.asfortranarray(value))
    assert np.array_equal(reader.lookup("t"), value.T)
    assert np.array_equal(reader.lookup("s"), value[::2, 1::2])
    assert np.array_equal(reader.lookup("f"), value)


def test_quantized_types_need_to_be_named(fs: MemoryFileSystem) -> None:
    with BundleWriter("m", fs) as writer:
        writer.add("q", np.array([1, 2], np.uint8), dtypes.quint8)
        writer.add("h", np.array([1], ml_dtypes.bfloat16))
    reader = BundleReader("m", fs)
    assert reader.lookup_dtype_and_shape("q") == (dtypes.quint8, (2,))
    assert reader.lookup("h").dtype == ml_dtypes.bfloat16


def test_duplicates_are_refused(fs: MemoryFileSystem) -> None:
    with BundleWriter("m", fs) as writer:
        writer.add("a", 1.0)
        with pytest.raises(errors.InvalidArgumentError, match=r"^Adding duplicate key: a"):
            writer.add("a", 1.0)
        with pytest.raises(errors.InvalidArgumentError, match=r"^Adding duplicate key: a"):
            writer.add_tensor_header("a", 1, ())
        with pytest.raises(errors.InvalidArgumentError, match=r"^Adding duplicate key: "):
            writer.add("", 1.0)
        with pytest.raises(errors.InvalidArgumentError, match=r"^Adding duplicate key: a"):
            writer.add_slice("a", (2,), TensorSlice.parse("0,1"), [1.0])


def test_what_cannot_be_saved(fs: MemoryFileSystem) -> None:
    with BundleWriter("m", fs) as writer:
        for value, dtype in (
            (np.array([object()], object), None),
            (np.array(["2020-01-01"], "datetime64[D]"), None),
            (np.array([1.0]), dtypes.resource),
            (np.array([1.0]), dtypes.int32),
            (np.array([1.0]), dtypes.string),
        ):
            with pytest.raises(errors.InvalidArgumentError, match="'x'"):
                writer.add("x", value, dtype)
        writer.add("x", 1)
    assert BundleReader("m", fs).keys() == ["x"]


def test_a_slice_of_another_shape_is_refused(fs: MemoryFileSystem) -> None:
    with BundleWriter("m", fs) as writer:
        with pytest.raises(errors.InvalidArgumentError) as caught:
            writer.add_slice("w", (4,), TensorSlice.parse("0,3"), [1.0, 2.0])
        assert str(caught.value).splitlines()[0] == (
            "Slice in shape_and_slice specification does not match the shape of the tensor to  save: "
            "4 0,3, tensor: [2]"
        )


def test_a_slice_that_is_the_whole_is_an_ordinary_tensor(fs: MemoryFileSystem) -> None:
    with BundleWriter("m", fs) as writer:
        writer.add_slice("w", (2,), TensorSlice.parse("0,2"), [1.0, 2.0])
    assert BundleReader("m", fs).entry("w").slices == []


def test_overlapping_slices_show_when_read(fs: MemoryFileSystem) -> None:
    with BundleWriter("m", fs) as writer:
        writer.add_slice("w", (4,), TensorSlice.parse("0,3"), [1.0, 2.0, 3.0])
        writer.add_slice("w", (4,), TensorSlice.parse("2,2"), [1.0, 2.0])
    with pytest.raises(
        errors.InternalError, match=r"^Overlapping slices: existing slice = 0,3, new slice = 2,2"
    ):
        BundleReader("m", fs).lookup("w")


def test_wrong_full_shape(fs: MemoryFileSystem) -> None:
    with pytest.raises(errors.InvalidArgumentError) as caught:
        save(fs, a=[1.0, 2.0]).lookup_slice("a", TensorSlice.full(1), (3,))
    assert str(caught.value).splitlines()[0] == (
        "tensor_name = a; shape in shape_and_slice spec [3] does not match "
        "the shape stored in checkpoint: [2]"
    )


def test_streaming(fs: MemoryFileSystem) -> None:
    value = np.arange(300_000, dtype=np.float32).reshape(-1, 3)
    with BundleWriter("m", fs) as writer:
        writer.add("before", 1.0)
        writer.add_tensor_header("big", np.float32, value.shape)
        for start in range(0, len(value), 7_000):
            writer.append_segment(value[start : start + 7_000])
        writer.end_segment()
        writer.add("after", 2.0)
    reader = BundleReader("m", fs)
    assert np.array_equal(reader.lookup("big"), value)
    assert reader.lookup("after") == 2.0
    assert reader.lookup_header("big").shape == value.shape
    out = bytearray(value.nbytes + 100)
    sizes, at = [], 0
    while count := reader.lookup_segment("big", memoryview(out)[at : at + 500_000]):
        sizes.append(count)
        at += count
    assert sizes == [500_000, 500_000, 200_000]
    assert bytes(out[:at]) == value.tobytes()


def test_streamed_damage_shows_with_the_last_bytes(fs: MemoryFileSystem) -> None:
    save(fs, a=np.zeros(100))
    fs.files["m.data-00000-of-00001"][5] = 1
    reader = BundleReader("m", fs)
    reader.lookup_header("a", 800)
    target = memoryview(bytearray(400))
    assert reader.lookup_segment("a", target) == 400
    with pytest.raises(errors.DataLossError, match="Checksum does not match"):
        reader.lookup_segment("a", target)


def test_streams_of_another_size_are_refused(fs: MemoryFileSystem) -> None:
    reader = save(fs, a=np.zeros(3), s=np.array([b"x"], object))
    with pytest.raises(errors.DataLossError, match="Invalid size in bundle entry: key a"):
        reader.lookup_header("a", 25)
    with pytest.raises(errors.DataLossError, match="segments"):
        reader.lookup_header("s")


def test_rows_by_ranged_reads(fs: MemoryFileSystem) -> None:
    values = np.arange(21, dtype=np.int16).reshape(7, 3)
    reader = save(fs, before=np.ones(5), v=values, s=np.array(["a", "b", "c"], object))
    assert reader.read_rows("v", 2, 5).tolist() == values[2:5].tolist()
    assert reader.read_rows("s", 1, 3).tolist() == [b"b", b"c"]
    assert reader.read_rows("v", 7, 7).shape == (0, 3)
    out = np.zeros((7, 3), np.int16)
    assert reader.read_rows("v", 0, 7, out=out) is out
    assert out.tolist() == values.tolist()
    crc = crc32c_combine(crc32c(values[:2]), crc32c(values[2:]), values[2:].nbytes)
    assert crc == reader.stored_checksum("v")
    reader.check_checksum("v", crc)
    with pytest.raises(errors.DataLossError, match="tensor 'v'"):
        reader.check_checksum("v", crc ^ 1)
    for start, stop in ((-1, 2), (3, 2), (0, 8)):
        with pytest.raises(errors.InvalidArgumentError, match=r"shape \[7,3\] has no rows"):
            reader.read_rows("v", start, stop)
    with pytest.raises(errors.InvalidArgumentError, match=r"do not fit into int16\[7, 3\]"):
        reader.read_rows("v", 0, 6, out=out)


def test_slices_in_pieces_have_the_bytes_of_slices(fs: MemoryFileSystem) -> None:
    values = np.arange(20, dtype=np.float32).reshape(5, 4)
    with BundleWriter("pieces", fs) as pieces, BundleWriter("whole", fs) as whole:
        for text, rows in (("0,3:0,4", values[:3]), ("3,2:-", values[3:])):
            whole.add_slice("p", (5, 4), TensorSlice.parse(text), rows)
            pieces.add_slice_header("p", (5, 4), TensorSlice.parse(text), np.float32)
            for row in rows:
                pieces.append_segment(row)
            pieces.end_segment()
        whole.add_slice("full", (5, 4), TensorSlice.parse("0,5:0,4"), values)
        pieces.add_slice_header("full", (5, 4), TensorSlice.parse("0,5:0,4"), np.float32)
        pieces.append_segment(values)
        pieces.end_segment()
        with pytest.raises(errors.InvalidArgumentError, match="Adding duplicate key"):
            pieces.add_slice_header("p", (5, 4), TensorSlice.parse("0,3:0,4"), np.float32)
        with pytest.raises(errors.InvalidArgumentError, match="Adding duplicate key"):
            pieces.add_slice_header("p", (6, 4), TensorSlice.parse("5,1:0,4"), np.float32)
    for suffix in (".index", ".data-00000-of-00001"):
        assert fs.files[f"pieces{suffix}"] == fs.files[f"whole{suffix}"]
    assert BundleReader("pieces", fs).lookup("p").tolist() == values.tolist()


def test_a_segment_that_is_not_whole_aborts_the_save(fs: MemoryFileSystem) -> None:
    writer = BundleWriter("m", fs)
    writer.add_tensor_header("a", np.int64, (2,))
    with pytest.raises(errors.FailedPreconditionError, match="'a' is open"):
        writer.add("b", 1)
    writer.append_segment(bytes(8))
    with pytest.raises(errors.InvalidArgumentError, match="got 8 bytes, not 16"):
        writer.end_segment()
    assert not fs.files
    with pytest.raises(errors.InternalError, match=r"^BundleWriter is closed"):
        writer.finish()


def test_a_missing_name_has_neighbours(fs: MemoryFileSystem) -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        save(fs, kernel=1.0, bias=2.0).lookup("kernal")
    assert str(caught.value).splitlines()[0] == "Key kernal not found in checkpoint"
    assert "'kernel'" in str(caught.value)
    assert caught.value.name == "kernal"


def test_a_parent_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFoundError, match="No such file or directory"):
        BundleWriter(tmp_path / "a" / "b" / "m")
    with BundleWriter(tmp_path / "a" / "m") as writer:
        writer.add("x", 1)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["m.data-00000-of-00001", "m.index"]


def test_prefixes_with_pattern_characters(tmp_path: Path) -> None:
    prefix = tmp_path / "m[1]*"
    with BundleWriter(prefix) as writer:
        writer.add("x", 1)
    assert BundleReader(prefix).lookup("x") == 1


def test_an_abandoned_writer_leaves_nothing(tmp_path: Path) -> None:
    writer = BundleWriter(tmp_path / "m")
    writer.add("x", np.zeros(1000))
    del writer
    assert list(tmp_path.iterdir()) == []


def test_threads_may_share_a_reader(fs: MemoryFileSystem) -> None:
    values = {f"t{i}": np.full(2000, i) for i in range(40)}
    reader = save(fs, **values)
    wrong: list[str] = []

    def read() -> None:
        wrong.extend(name for name, value in values.items() if not np.array_equal(reader.lookup(name), value))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
