"""V1 checkpoints: what is refused and in which words, what is read when, and how much memory it takes.

The texts are those that TensorFlow 1.15.5 gives for the same calls.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.detect import checkpoint_exists, open_checkpoint
from kvarn.formats.messages import Versions
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.slices_v1 import TensorSliceReader, TensorSliceWriter
from kvarn.formats.slices_v1.format import SliceMeta, record_head, serialize_meta, slice_head
from kvarn.formats.table.builder import TableBuilder
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem, ReadFile

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def piece(text: str) -> TensorSlice:
    return TensorSlice.parse(text)


def save(fs: MemoryFileSystem, path: str, **tensors: np.ndarray) -> None:
    with TensorSliceWriter(path, fs) as writer:
        for name, value in tensors.items():
            writer.add(name, value)


def save_rows(fs: MemoryFileSystem, path: str, *spans: tuple[int, int]) -> None:
    with TensorSliceWriter(path, fs) as writer:
        for start, length in spans:
            writer.add_slice("w", (4, 3), piece(f"{start},{length}:-"), ROWS[start : start + length])


def says(error: pytest.ExceptionInfo[errors.OpError]) -> str:
    return str(error.value).splitlines()[0]


class CountingFileSystem(MemoryFileSystem):
    """Remembers what was opened and read."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.bytes_read = 0

    def open_read(self, path: str) -> ReadFile:
        self.opened.append(path)
        file = super().open_read(path)
        read = file.read

        def counted(offset: int, size: int) -> bytes:
            data = read(offset, size)
            self.bytes_read += len(data)
            return data

        file.read = counted  # type: ignore[method-assign]
        return file


# Writing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype", "size", "part", "estimate"),
    [
        ("x", np.int8, 214748400, None, 2147485031),
        ("emb/é", np.int8, 214748300, (300000000, "1000,214748300"), 2147484044),
        ("f", np.float16, 715828000, None, 2147485031),
    ],
)
def test_a_slice_that_is_too_large(
    name: str, dtype: type, size: int, part: tuple | None, estimate: int
) -> None:
    fs = MemoryFileSystem()
    value = np.broadcast_to(np.zeros((), dtype), (size,))  # takes no memory
    text = f"Tensor slice is too large to serialize (conservative estimate: {estimate} bytes)"
    with TensorSliceWriter("m", fs) as writer:
        full, where = part or (size, "-")
        with pytest.raises(errors.InvalidArgumentError) as caught:
            writer.add_slice(name, (full,), piece(where), value)
        assert says(caught) == text
        if part is None:
            with pytest.raises(errors.InvalidArgumentError) as caught:
                writer.add(name, value)
            assert says(caught) == text
            with pytest.raises(errors.InvalidArgumentError) as caught:
                writer.add_tensor_header(name, dtype, [size])
            assert says(caught) == text
        writer.abort()
    assert not fs.files


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("bfloat16", "bfloat16"), ("uint32", "uint32"), ("uint64", "uint64"), ("qint16", "qint16"),
     ("quint16", "quint16"), ("variant", "variant"), ("resource", "resource"), ("float8_e5m2", "float8_e5m2")],
)  # fmt: skip
def test_types_that_cannot_be_saved(dtype: str, name: str) -> None:
    kind = dtypes.as_dtype(dtype)
    with (
        pytest.raises(errors.UnimplementedError) as caught,
        TensorSliceWriter("m", fs := MemoryFileSystem()) as w,
    ):
        w.add("a", np.zeros(3, kind.np), kind)
    assert says(caught) == f"Saving data type {name} not yet supported"
    assert "V2" in str(caught.value.hint)
    assert not fs.files


def test_what_does_not_fit_together() -> None:
    writer = TensorSliceWriter("m", MemoryFileSystem())
    writer.add_slice("a", (4,), piece("0,2"), np.zeros(2, np.float32))
    with pytest.raises(errors.InternalError) as caught:
        writer.add_slice("a", (5,), piece("2,3"), np.zeros(3, np.float32))
    assert says(caught) == "Mismatching shapes: existing tensor = [4], trying to add name a, shape = [5]"
    with pytest.raises(errors.InternalError) as caught:
        writer.add_slice("a", (4,), piece("2,2"), np.zeros(2, np.int32))
    assert says(caught) == "Mismatching types: existing type = float, trying to add name a, type = int32"
    with pytest.raises(errors.InvalidArgumentError) as caught:
        writer.add_slice("a", (4,), piece("0,2"), np.zeros(3, np.float32))
    assert says(caught) == (
        "Slice in shape_and_slice specification does not match the shape of the tensor to  save: "
        "4 0,2, tensor: [3]"
    )
    with pytest.raises(errors.InvalidArgumentError, match="Adding duplicate key: a"):
        writer.add_slice("a", (4,), piece("0,2"), np.zeros(2, np.float32))
    with pytest.raises(errors.InternalError, match="Extent in dimension 0 out of bounds"):
        writer.add_slice("a", (4,), piece("3,2"), np.zeros(2, np.float32))
    with pytest.raises(errors.InvalidArgumentError, match="not UTF-8"):
        writer.add(b"\xff", np.zeros(2, np.float32))


def test_slices_that_overlap_are_not_saved() -> None:
    fs = MemoryFileSystem()
    writer = TensorSliceWriter("m", fs)
    writer.add_slice("a", (4,), piece("0,3"), np.zeros(3, np.float32))
    writer.add_slice("a", (4,), piece("2,2"), np.zeros(2, np.float32))
    with pytest.raises(errors.InternalError) as caught:
        writer.finish()
    assert says(caught) == "Overlapping slices: existing slice = 0,3, new slice = 2,2"
    assert not fs.files


def test_a_tensor_in_segments_has_the_bytes_of_one_added_whole() -> None:
    fs = MemoryFileSystem()
    numbers = np.arange(-5, 7, dtype=np.int64).reshape(4, 3)
    save(fs, "whole", f=ROWS, i=numbers)
    with TensorSliceWriter("segments", fs) as writer:
        for name, value in (("f", ROWS), ("i", numbers)):
            writer.add_tensor_header(name, value.dtype, value.shape)
            with pytest.raises(errors.FailedPreconditionError, match="is open"):
                writer.add("z", ROWS)
            writer.append_segment(value[:1])
            writer.append_segment(value[1:].tobytes())
            writer.end_segment()
    assert fs.files["segments"] == fs.files["whole"]


def test_segments_that_are_too_short_end_the_save() -> None:
    fs = MemoryFileSystem()
    writer = TensorSliceWriter("m", fs)
    with pytest.raises(errors.FailedPreconditionError, match="no tensor is open"):
        writer.append_segment(b"")
    with pytest.raises(errors.InvalidArgumentError, match="cannot be written in segments"):
        writer.add_tensor_header("s", dtypes.string, [1])
    writer.add_tensor_header("f", np.float32, [2])
    writer.append_segment(b"1234")
    with pytest.raises(errors.InvalidArgumentError, match=r"tensor 'f' of shape \[2\] got 4 bytes, not 8"):
        writer.end_segment()
    with pytest.raises(errors.InternalError, match="closed"):
        writer.add("g", ROWS)
    assert not fs.files


def test_what_is_changed_after_it_was_added_was_saved_before() -> None:
    fs, value = MemoryFileSystem(), ROWS.copy()
    with TensorSliceWriter("m", fs) as writer:
        writer.add("w", value)
        value[:] = 0
    assert np.array_equal(TensorSliceReader("m", fs).lookup("w"), ROWS)


def test_a_v2_checkpoint_of_that_name_would_hide_it() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add("a", ROWS)
    with pytest.raises(errors.FailedPreconditionError, match=r"'m\.index' exists"):
        TensorSliceWriter("m", fs)


def test_the_directory_is_made(tmp_path: Path) -> None:
    with TensorSliceWriter(tmp_path / "new" / "m") as writer:
        writer.add("a", ROWS)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m"]
    with pytest.raises(errors.NotFoundError):
        TensorSliceWriter(tmp_path / "no" / "such" / "m")


# Names of files ------------------------------------------------------------------------------------------


def test_shards_by_pattern_by_name_and_alone() -> None:
    fs = MemoryFileSystem()
    save(fs, "d/m-00000-of-00002", a=ROWS)
    save(fs, "d/m-00001-of-00002", b=ROWS)
    for prefix, names in (
        ("d/m-?????-of-00002", ["a", "b"]),
        ("d/m", ["a", "b"]),
        ("d/m-00001-of-00002", ["b"]),
    ):
        with open_checkpoint(prefix, fs) as reader:
            assert reader.keys() == names
            assert reader.format == "V1"
            assert reader.prefix == prefix
    with open_checkpoint("d/m", fs) as reader:
        assert reader.info("b").shards == (1,)
        assert [path for path, _ in reader.files()] == ["d/m-00000-of-00002", "d/m-00001-of-00002"]
    save(fs, "d/m-00000-of-00001", c=ROWS)
    with pytest.raises(errors.NotFoundError, match="shards of several saves"):
        open_checkpoint("d/m", fs)


def test_a_name_with_pattern_characters_finds_itself(tmp_path: Path) -> None:
    path = tmp_path / "m[1]*?"
    with TensorSliceWriter(path) as writer:
        writer.add("a", ROWS)
    assert checkpoint_exists(path)
    assert open_checkpoint(path).keys() == ["a"]


def test_nothing_there() -> None:
    fs = MemoryFileSystem()
    save(fs, "d/m", a=ROWS)
    with pytest.raises(errors.NotFoundError) as caught:
        TensorSliceReader("d/n", fs)
    assert says(caught) == (
        "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for d/n"
    )
    with pytest.raises(
        errors.InvalidArgumentError, match="Failed to get matching files on e/n: Not found: e"
    ):
        TensorSliceReader("e/n", fs)


# Reading -------------------------------------------------------------------------------------------------


def test_slices_over_shards_and_their_gaps() -> None:
    fs = MemoryFileSystem()
    save_rows(fs, "m-00000-of-00003", (0, 1), (2, 1))
    save_rows(fs, "m-00001-of-00003", (1, 1))
    save_rows(fs, "m-00002-of-00003", (3, 1))
    with TensorSliceReader("m", fs) as reader:
        assert np.array_equal(reader.lookup("w"), ROWS)
        assert np.array_equal(reader.lookup_slice("w", piece("1,2:1,1")), ROWS[1:3, 1:2])
        assert reader.info("w").shards == (0, 1, 2)
        reader.verify("w")
    fs.remove("m-00001-of-00003")
    with TensorSliceReader("m", fs) as reader:
        assert np.array_equal(reader.lookup_slice("w", piece("2,2:-")), ROWS[2:])
        for read in (reader.lookup, reader.verify, lambda name: list(reader.chunks(name))):
            with pytest.raises(errors.InvalidArgumentError) as caught:
                read("w")
            assert says(caught) == "Error copying slice data"
            assert "'m-00001-of-00003' is missing" in str(caught.value.hint)
        with pytest.raises(errors.NotFoundError, match="slice 1,1:- of tensor 'w' is not in 'm'"):
            reader.lookup_stored_slice("w", piece("1,1:-"))


def test_shards_that_contradict_each_other_lose_that_tensor_only() -> None:
    for other, text in (
        (
            np.zeros(4, np.float32),
            "Incompatible tensor shapes detected for tensor a: existing = [3], new = [4]",
        ),
        (
            np.zeros(3, np.int32),
            "Incompatible tensor types detected for tensor a: existing = float, new = int32",
        ),
        (np.zeros(3, np.float32), "Overlapping slices: existing slice = -, new slice = -"),
    ):
        fs = MemoryFileSystem()
        save(fs, "m-00000-of-00002", a=np.zeros(3, np.float32), b=ROWS)
        save(fs, "m-00001-of-00002", a=other)
        with TensorSliceReader("m", fs) as reader:
            assert reader.keys() == ["a", "b"]
            for _ in range(2):
                for read in (reader.lookup, reader.info, reader.verify):
                    with pytest.raises(errors.InternalError) as caught:
                        read("a")
                    assert says(caught) == text
            assert np.array_equal(reader.lookup("b"), ROWS)


def test_other_shards_are_opened_when_they_are_needed() -> None:
    fs = CountingFileSystem()
    save_rows(fs, "m-00000-of-00003", (0, 2))
    save_rows(fs, "m-00001-of-00003", (2, 2))
    save(fs, "m-00002-of-00003", b=ROWS)
    with TensorSliceReader("m-?????-of-00003", fs, preferred_shard=1) as reader:
        assert np.array_equal(reader.lookup_slice("w", piece("2,2:-")), ROWS[2:])
        assert reader.contains("w")
        assert fs.opened == ["m-00001-of-00003"]
        assert np.array_equal(reader.lookup("w"), ROWS)
        assert len(fs.opened) == 3
    with TensorSliceReader("m-?????-of-00003", fs, preferred_shard=2) as reader:
        assert not reader.contains("zz")
        assert reader.keys() == ["b", "w"]


def test_a_missing_name_and_a_wrong_shape() -> None:
    fs = MemoryFileSystem()
    save(fs, "m", kernel=ROWS)
    with TensorSliceReader("m", fs) as reader:
        with pytest.raises(errors.NotFoundError) as caught:
            reader.lookup("kernels")
        assert says(caught) == 'Tensor name "kernels" not found in checkpoint files m'
        assert "'kernel'" in str(caught.value.hint)
        with pytest.raises(errors.InvalidArgumentError) as caught:
            reader.lookup_slice("kernel", piece("-:-"), (3, 4))
        assert says(caught) == (
            "Shape in shape_and_slice spec does not match the shape in the save file: [3,4], "
            "save file shape: [4,3]"
        )


def test_neighbours_share_a_read() -> None:
    fs = CountingFileSystem()
    save(fs, "m", **{f"v{i}": np.full(10, i, np.float32) for i in range(500)})
    with TensorSliceReader("m", fs) as reader:
        for i in range(500):
            assert reader.lookup(f"v{i}")[0] == i
    assert fs.bytes_read < 2 * fs.size("m")


def test_chunks_of_rows_hold_a_slice_at_a_time() -> None:
    fs = CountingFileSystem()
    value = np.arange(1 << 20, dtype=np.float32).reshape(-1, 8)
    with TensorSliceWriter("m", fs) as writer:
        for start in range(0, len(value), 1 << 14):
            part = value[start : start + (1 << 14)]
            writer.add_slice("w", value.shape, piece(f"{start},{len(part)}:-"), part)
    with TensorSliceReader("m", fs) as reader:
        start = 0
        for part in reader.chunks("w", 1 << 16):
            if start == 0:
                assert fs.bytes_read < fs.size("m") // 3
            assert part.nbytes <= 1 << 16
            assert np.array_equal(part, value[start : start + len(part)])
            start += len(part)
        assert start == len(value)


def test_an_array_is_nobody_elses() -> None:
    fs = MemoryFileSystem()
    save(fs, "m", w=ROWS, s=np.array([b"a"], object))
    with TensorSliceReader("m", fs) as reader:
        for name in ("w", "s"):
            found = reader.lookup(name)
            assert found.flags.writeable
            found[...] = found[:1]
        assert np.array_equal(reader.lookup("w"), ROWS)


def test_values_larger_than_a_block_are_not_copied_around() -> None:
    fs = MemoryFileSystem()
    value = np.arange(2 << 20, dtype=np.float32)
    save(fs, "m", w=value, x=value)
    with TensorSliceReader("m", fs) as reader:
        tracemalloc.start()
        try:
            assert np.array_equal(reader.lookup("w"), value)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 2.5 * value.nbytes


def handmade(fs: MemoryFileSystem, meta: SliceMeta, content: bytes, *, name: bytes = b"a") -> None:
    """A table with one tensor whose TensorProto is ``content``."""
    file = fs.open_write("m")
    table = TableBuilder(file.append)
    table.add(b"", serialize_meta([meta], Versions()))
    for stored in meta.slices:
        head = slice_head(name, stored)
        table.add(encode_slice_key(b"a", stored), record_head(head, len(content)) + content)
    table.finish()


@pytest.mark.parametrize("dtype", [1, 3, 7, 9, 10, 18, 19])
@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20), (3, 0, 1 << 50)])
def test_a_shape_that_promises_too_much_takes_no_memory(dtype: int, shape: tuple[int, ...]) -> None:
    fs = MemoryFileSystem()
    handmade(fs, SliceMeta(b"a", shape, dtype, [TensorSlice.full(len(shape))]), b"")
    with TensorSliceReader("m", fs) as reader:
        tracemalloc.start()
        try:
            if 0 in shape:
                assert reader.lookup("a").shape == shape
            else:
                with pytest.raises(errors.InvalidArgumentError, match=r"^Error copying slice data"):
                    reader.lookup("a")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("content", "dtype", "why"),
    [
        (b"\x2a\x05\0\0\0\0\0", 1, "cut off"),
        (b"\x2a\x04\0\0\0\0", 1, "it has 1 elements, not 2"),
        (b"\x3a\x03\x01\x02\x03", 3, "it has 3 elements, not 2"),
        (b"\x3a\x03\x01\x02\x83", 3, "cut off"),
        (b"\x3a\x0c" + b"\xff" * 10 + b"\x01\x01", 3, "more than 10 bytes"),
        (b"\x42\x01a", 7, "it has 1 elements, not 2"),
        (b"\x42\x09a", 7, "cut off"),
    ],
)
def test_values_that_do_not_fit(content: bytes, dtype: int, why: str) -> None:
    fs = MemoryFileSystem()
    handmade(fs, SliceMeta(b"a", (2,), dtype, [TensorSlice.full(1)]), content)
    with TensorSliceReader("m", fs) as reader, pytest.raises(errors.InvalidArgumentError) as caught:
        reader.lookup("a")
    assert says(caught) == "Error copying slice data"
    assert why in str(caught.value)
    assert (caught.value.name, caught.value.path) == ("a", "m")


def test_a_record_of_another_tensor_is_refused() -> None:
    fs = MemoryFileSystem()
    handmade(fs, SliceMeta(b"a", (1,), 10, [TensorSlice.full(1)]), b"\x5a\x01\x01", name=b"b")
    with TensorSliceReader("m", fs) as reader, pytest.raises(errors.InvalidArgumentError) as caught:
        reader.lookup("a")
    assert "its record is that of slice - of tensor 'b'" in str(caught.value)


def test_numbers_in_unusual_spelling() -> None:
    fs, whole = MemoryFileSystem(), [TensorSlice.full(1)]
    handmade(fs, SliceMeta(b"a", (4,), 10, whole), b"\x5a\x05\x00\x80\x02\x81\x00\x58\x01")
    assert TensorSliceReader("m", fs).lookup("a").tolist() == [False, True, True, True]
    handmade(fs, SliceMeta(b"a", (3,), 6, whole), b"\x38\x05\x3a\x03\x07\xff\x01")
    assert TensorSliceReader("m", fs).lookup("a").tolist() == [5, 7, -1]


def test_more_dimensions_than_numpy_has() -> None:
    fs, shape = MemoryFileSystem(), (1,) * 100
    handmade(fs, SliceMeta(b"a", shape, 10, [TensorSlice.full(100)]), b"\x5a\x01\x01")
    with TensorSliceReader("m", fs) as reader:
        assert reader.info("a").shape == shape
        reader.verify("a")
        with pytest.raises(errors.UnimplementedError, match="100 dimensions"):
            reader.lookup("a")


def test_types_that_v1_does_not_have() -> None:
    fs = MemoryFileSystem()
    for dtype, text in (
        (14, r"^Restoring data type bfloat16 not yet supported"),
        (77, "element type number 77"),
    ):
        handmade(fs, SliceMeta(b"a", (3,), dtype, [TensorSlice.full(1)]), b"")
        with TensorSliceReader("m", fs) as reader:
            assert reader.keys() == ["a"]
            with pytest.raises(errors.UnimplementedError, match=text):
                reader.lookup("a")


def test_a_file_without_versions_is_read() -> None:
    fs = MemoryFileSystem()
    handmade(fs, SliceMeta(b"a", (1,), 10, [TensorSlice.full(1)]), b"\x5a\x01\x01")
    meta = serialize_meta([SliceMeta(b"a", (1,), 10, [TensorSlice.full(1)])], Versions(producer=0))
    assert meta.endswith(b"\x12\x00")
    file = fs.open_write("m")
    table = TableBuilder(file.append)
    table.add(b"", bytes([0x0A, len(meta) - 4]) + meta[2:-2])
    table.finish()
    assert TensorSliceReader("m", fs).keys() == ["a"]
