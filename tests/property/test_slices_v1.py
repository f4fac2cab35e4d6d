"""V1 checkpoints: what is written is read back, and what is damaged is an error or what it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn import dtypes
from kvarn.errors import OpError
from kvarn.formats.messages import Versions
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.slices_v1 import TensorSliceReader, TensorSliceWriter
from kvarn.formats.slices_v1.format import (
    SliceMeta,
    parse_meta,
    parse_record,
    record_head,
    serialize_meta,
    slice_head,
)
from kvarn.formats.slices_v1.values import can_hold, decode_values, encode_values
from kvarn.formats.table.builder import TableBuilder
from kvarn.formats.tensor_slice import FULL_EXTENT, TensorSlice, first_overlap
from kvarn.io import MemoryFileSystem
from kvarn.testing.strategies import arrays, shapes, slices_of

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ARRAYS = arrays().filter(lambda item: can_hold(item[1]))


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if expected.dtype == np.object_:
        return found.ravel().tolist() == expected.ravel().tolist()
    return found.tobytes() == expected.tobytes()


def shard(number: int, total: int) -> str:
    return f"m-{number:05d}-of-{total:05d}" if total > 1 else "m"


@settings(deadline=None)
@given(tensors=st.dictionaries(NAMES, ARRAYS, max_size=8), total=st.integers(1, 3))
def test_any_tensors_in_any_shards(tensors: dict, total: int) -> None:
    fs = MemoryFileSystem()
    writers = [TensorSliceWriter(shard(number, total), fs) for number in range(total)]
    for at, (name, (array, dtype)) in enumerate(tensors.items()):
        writers[at % total].add(name, array, dtype)
    for writer in writers:
        writer.finish()
    assert len(fs.files) == total
    pattern = f"m-?????-of-{total:05d}" if total > 1 else "m"
    for prefix in {pattern, "m"}:
        with TensorSliceReader(prefix, fs) as reader:
            assert sorted(reader.keys()) == sorted(tensors)
            for name, (array, dtype) in tensors.items():
                assert same(reader.lookup(name), array)
                assert reader.lookup_dtype_and_shape(name) == (dtype, array.shape)


@settings(deadline=None)
@given(data=st.data(), shape=shapes(max_rank=3, max_side=6).filter(lambda s: s and all(s)))
def test_any_partition_of_a_tensor_and_any_region_of_it(data: st.DataObject, shape: tuple[int, ...]) -> None:
    dtype = data.draw(st.sampled_from([dtypes.float32, dtypes.int16, dtypes.string, dtypes.float16]))
    numbers = np.arange(np.prod(shape)) - 3
    value = numbers.astype("S").astype(object) if dtype is dtypes.string else numbers.astype(dtype.np)
    value = value.reshape(shape)
    cuts = [sorted(data.draw(st.sets(st.integers(1, size), max_size=2)) | {0, size}) for size in shape]
    pieces = [
        TensorSlice(tuple((start, stop - start) for start, stop in edges))
        for edges in itertools.product(*map(itertools.pairwise, cuts))
    ]
    fs = MemoryFileSystem()
    writers = [TensorSliceWriter(shard(number, 2), fs) for number in range(2)]
    for piece in data.draw(st.permutations(pieces)):
        part = value[piece.relative_to(TensorSlice.of_shape(shape))]
        writers[data.draw(st.integers(0, 1))].add_slice("w", shape, piece, part, dtype)
    for writer in writers:
        writer.finish()
    region = data.draw(slices_of(shape))
    with TensorSliceReader("m-?????-of-00002", fs, preferred_shard=data.draw(st.integers(0, 1))) as reader:
        cut = value[region.relative_to(TensorSlice.of_shape(shape))]
        assert same(reader.lookup_slice("w", region, shape), cut)
        assert same(reader.lookup("w"), value)
        assert same(np.concatenate(list(reader.chunks("w", data.draw(st.integers(1, 40))))), value)
        assert set(reader.info("w").slices) == set(pieces)


@given(
    boxes=st.lists(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=2), max_size=7
    )
)
def test_overlaps_are_found(boxes: list) -> None:
    pieces = [TensorSlice(tuple(box)) for box in boxes]
    pairs = {
        (a, b)
        for (a, one), (b, other) in itertools.combinations(enumerate(pieces), 2)
        if (common := one.intersect(other)) is not None and all(length for _, length in common.extents)
    }
    found = first_overlap(pieces)
    assert found in pairs if pairs else found is None


def small_checkpoint() -> tuple[bytes, dict[str, np.ndarray]]:
    """One block of every kind of record."""
    fs = MemoryFileSystem()
    tensors = {
        "f": np.float32([[1.5, -2.0]]),
        "i": np.int64([-1, 300]),
        "s": np.array([b"ab", b""], object),
        "h": np.float16(3.0),
    }
    with TensorSliceWriter("m", fs) as writer:
        for name, value in tensors.items():
            writer.add(name, value)
        rows = np.arange(6, dtype=np.int32).reshape(3, 2)
        for piece in ("0,2:-", "2,1:-"):
            where = TensorSlice.parse(piece)
            part = rows[where.resolve((3, 2)).relative_to(TensorSlice.of_shape((3, 2)))]
            writer.add_slice("p", (3, 2), where, part)
    return bytes(fs.files["m"]), {**tensors, "p": rows}


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """What a function gives, or the error that it raises."""
    try:
        return function(*args)
    except OpError as error:
        return error


def check(damaged: bytes, expected: dict[str, np.ndarray]) -> int:
    """How many tensors are read, all of them as they were; for the others there is a good error."""
    fs = MemoryFileSystem()
    fs.files["m"] = bytearray(damaged)
    reader = attempt(TensorSliceReader, "m", fs)
    results = [reader]
    if not isinstance(reader, OpError):
        results = [attempt(reader.lookup, name) for name in expected]
        reader.close()
    for result, value in zip(results, expected.values(), strict=False):
        if isinstance(result, OpError):
            assert result.hint
            assert result.path == "m"
        else:
            assert same(result, value)
    return sum(not isinstance(result, OpError) for result in results)


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_anywhere(bit: int) -> None:
    data, expected = small_checkpoint()
    assert check(data, expected) == len(expected)
    harmless = 0
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << bit
        harmless += check(bytes(damaged), expected) == len(expected)
    # Metaindex block with its trailer, its handle, and the padding of the footer are never looked at.
    assert harmless < 8 + 5 + 40


def test_cut_anywhere() -> None:
    data, expected = small_checkpoint()
    for length in range(len(data)):
        assert check(data[:length], expected) == 0


@settings(deadline=None)
@given(value=st.binary(max_size=60), as_meta=st.booleans())
def test_any_bytes_as_a_record(value: bytes, as_meta: bool) -> None:
    fs = MemoryFileSystem()
    file = fs.open_write("m")
    table = TableBuilder(file.append)
    piece = TensorSlice(((0, FULL_EXTENT),))
    meta = serialize_meta([SliceMeta(b"a", (2,), 3, [piece])], Versions())
    table.add(b"", value if as_meta else meta)
    table.add(encode_slice_key(b"a", piece), value)
    table.finish()
    reader = attempt(TensorSliceReader, "m", fs)
    if isinstance(reader, OpError):
        assert reader.hint
        return
    for name in [*reader.keys(), "zz"]:
        results = [attempt(read, name) for read in (reader.info, reader.lookup, reader.verify)]
        assert all(result.hint for result in results if isinstance(result, OpError))
        if isinstance(results[1], np.ndarray):
            assert results[1].shape == results[0].shape


EXTENTS = st.tuples(st.integers(0, 2**40), st.integers(1, 2**40)) | st.just((0, FULL_EXTENT))
PIECES = st.lists(EXTENTS, max_size=3).map(lambda extents: TensorSlice(tuple(extents)))
METAS = st.builds(
    SliceMeta,
    NAMES.map(str.encode),
    st.lists(st.integers(0, 2**15), max_size=4).map(tuple),
    st.integers(0, 40),
    st.lists(PIECES, max_size=3),
)


def set_slice(message: Any, piece: TensorSlice) -> None:
    message.SetInParent()
    for start, length in piece.extents:
        extent = message.extent.add()
        if length != FULL_EXTENT:
            extent.start, extent.length = start, length


@settings(deadline=None)
@given(metas=st.lists(METAS, max_size=4))
def test_the_first_record_has_the_bytes_of_protobuf(metas: list[SliceMeta]) -> None:
    from kvarn import protos

    message = protos.SavedTensorSlices()
    message.meta.versions.producer = 1
    for meta in metas:
        tensor = message.meta.tensor.add(name=meta.name.decode(), type=meta.dtype)
        tensor.shape.SetInParent()
        for size in meta.shape:
            tensor.shape.dim.add(size=size)
        for piece in meta.slices:
            set_slice(tensor.slice.add(), piece)
    data = message.SerializeToString(deterministic=True)
    assert serialize_meta(metas, Versions()) == data
    assert parse_meta(data) == (metas, Versions())


# Type -> field of TensorProto, and how Python's protobuf takes its numbers.
FIELDS = {
    dtypes.float32: ("float_val", np.float32),
    dtypes.float64: ("double_val", np.float64),
    dtypes.int64: ("int64_val", np.int64),
    dtypes.bool: ("bool_val", np.bool_),
    dtypes.float16: ("half_val", np.uint16),
    dtypes.complex64: ("scomplex_val", np.float32),
    dtypes.complex128: ("dcomplex_val", np.float64),
}


def of_numbers(item: tuple) -> bool:
    """Python makes quiet NaNs of signalling ones: these are left to the recorded checkpoints."""
    array, dtype = item
    return dtype is not dtypes.string and not np.isnan(array).any()


@settings(deadline=None)
@given(name=NAMES, piece=PIECES, item=ARRAYS.filter(of_numbers))
def test_slice_records_have_the_bytes_of_protobuf(name: str, piece: TensorSlice, item: tuple) -> None:
    from kvarn import protos

    array, dtype = item
    message = protos.SavedTensorSlices()
    message.data.name = name
    set_slice(message.data.slice, piece)
    message.data.data.SetInParent()
    field, numbers = FIELDS.get(dtype, ("int_val", array.dtype))
    getattr(message.data.data, field).extend(array.ravel().view(numbers).tolist())
    content = b"".join(encode_values(array, dtype))
    record = record_head(slice_head(name.encode(), piece), len(content)) + content
    assert record == message.SerializeToString(deterministic=True)
    found_name, found_piece, values = parse_record(memoryview(record))
    assert (found_name, found_piece) == (name.encode(), piece)
    assert same(decode_values(values, dtype, array.shape), array)
