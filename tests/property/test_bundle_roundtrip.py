"""What is written is read back, whatever it is."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn import checkpoint, dtypes
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.bundle.entry import BundleEntry, BundleHeader, HashSlice
from kvarn.formats.ordered_code import encode_number, encode_signed, encode_slice_key, encode_string
from kvarn.formats.table.builder import TableBuilder
from kvarn.formats.table.reader import Table
from kvarn.formats.tensor_slice import FULL_EXTENT, TensorSlice
from kvarn.io import MemoryFileSystem
from kvarn.testing.strategies import arrays, shapes, slices_of, tensor_names

INT64S = st.integers(-(2**63), 2**63 - 1)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    if expected.dtype == np.object_:
        return found.shape == expected.shape and found.ravel().tolist() == expected.ravel().tolist()
    return (
        found.shape == expected.shape
        and found.dtype == expected.dtype
        and found.tobytes() == expected.tobytes()
    )


@settings(deadline=None)
@given(tensors=st.dictionaries(tensor_names(), arrays(), max_size=8), alignment=st.sampled_from([1, 64]))
def test_any_tensors(tensors: dict, alignment: int) -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs, data_alignment=alignment) as writer:
        for name, (array, dtype) in tensors.items():
            writer.add(name, array, dtype)
    with BundleReader("m", fs) as reader:
        assert sorted(reader.keys()) == sorted(tensors)
        for name, (array, dtype) in tensors.items():
            assert same(reader.lookup(name), array)
            assert reader.lookup_dtype_and_shape(name) == (dtype, array.shape)
    assert sorted(fs.files) == ["m.data-00000-of-00001", "m.index"]


@settings(deadline=None)
@given(
    tensors=st.dictionaries(tensor_names(), arrays(), max_size=8),
    total=st.integers(1, 4),
    places=st.lists(st.integers(0, 3), min_size=8, max_size=8),
)
def test_any_tensors_in_any_data_files(tensors: dict, total: int, places: list[int]) -> None:
    fs = MemoryFileSystem()
    with checkpoint.Writer("m", num_shards=total, fs=fs) as writer:
        for place, (name, (array, dtype)) in zip(places, tensors.items(), strict=False):
            writer.add(name, array, dtype, shard=place % total)
    filled = len({place % total for place, _ in zip(places, tensors, strict=False)})
    with BundleReader("m", fs) as reader:
        assert reader.header.num_shards == max(1, filled)
        assert sorted(reader.keys()) == sorted(tensors)
        many = reader.read()
        for name, (array, dtype) in tensors.items():
            assert same(reader.lookup(name), array)
            assert same(many[name], array)
            assert reader.lookup_dtype_and_shape(name) == (dtype, array.shape)
    assert len(fs.files) == max(1, filled) + 1


@settings(deadline=None)
@given(data=st.data(), shape=shapes(max_rank=3, max_side=6).filter(lambda s: s and all(s)))
def test_any_partition_of_a_tensor_and_any_region_of_it(data: st.DataObject, shape: tuple[int, ...]) -> None:
    value = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    cuts = sorted(data.draw(st.sets(st.integers(1, shape[axis]), max_size=3)) | {0, shape[axis]})
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        for start, stop in itertools.pairwise(cuts):
            extents = [(0, FULL_EXTENT)] * len(shape)
            extents[axis] = (start, stop - start)
            piece = TensorSlice(tuple(extents))
            writer.add_slice(
                "w", shape, piece, value[piece.resolve(shape).relative_to(TensorSlice.of_shape(shape))]
            )
    region = data.draw(slices_of(shape))
    with BundleReader("m", fs) as reader:
        assert reader.keys() == ["w"]
        assert same(reader.lookup("w"), value)
        assert same(
            reader.lookup_slice("w", region, shape), value[region.relative_to(TensorSlice.of_shape(shape))]
        )


@settings(deadline=None)
@given(
    entries=st.dictionaries(st.binary(max_size=12), st.binary(max_size=40), max_size=60),
    block_bytes=st.integers(1, 200),
    restart_interval=st.integers(1, 5),
)
def test_any_table(entries: dict[bytes, bytes], block_bytes: int, restart_interval: int) -> None:
    fs = MemoryFileSystem()
    file = fs.open_write("t")
    builder = TableBuilder(file.append, block_bytes=block_bytes, restart_interval=restart_interval)
    for key in sorted(entries):
        builder.add(key, entries[key])
    assert builder.finish() == fs.size("t")
    table = Table(fs.open_read("t"))
    assert list(table.items()) == sorted(entries.items())
    assert all(table.find(key) == value for key, value in entries.items())
    assert table.find(b"\xff" * 13) is None


@st.composite
def bundle_entries(draw: st.DrawFn) -> BundleEntry:
    sizes = st.integers(0, 2**63 - 1)
    shape = tuple(draw(st.lists(st.integers(0, 2**15), max_size=4)))
    extent = st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)) | st.just((0, FULL_EXTENT))
    pieces = draw(st.lists(st.lists(extent, max_size=3).map(lambda e: TensorSlice(tuple(e))), max_size=3))
    hashed = [HashSlice(1, 2, 3)] * len(pieces) if draw(st.booleans()) else []
    crc = draw(st.integers(0, 2**32 - 1))
    place = draw(st.integers(0, 2**31 - 1)), draw(sizes), draw(sizes)
    return BundleEntry(draw(st.integers(0, 40)), shape, *place, crc, pieces, hashed)


@settings(deadline=None)
@given(entry=bundle_entries())
def test_entries_have_the_bytes_of_protobuf(entry: BundleEntry) -> None:
    from kvarn import protos

    message = protos.BundleEntryProto(
        dtype=entry.dtype, shard_id=entry.shard_id, offset=entry.offset, size=entry.size, crc32c=entry.crc32c
    )
    message.shape.SetInParent()
    for size in entry.shape:
        message.shape.dim.add(size=size)
    for at, piece in enumerate(entry.slices):
        proto = message.slices.add()
        for start, length in piece.extents:
            extent = proto.extent.add()
            if length != FULL_EXTENT:
                extent.start, extent.length = start, length
        if entry.hash_slices:
            hashed = entry.hash_slices[at]
            proto.hash_slice_begin, proto.hash_slice_length = hashed.begin, hashed.length
            proto.hash_slice_size = hashed.size
    raw = protos.serialize(message)
    assert entry.serialize() == raw
    assert BundleEntry.parse(raw) == entry


@settings(deadline=None)
@given(
    shards=st.integers(1, 2**31 - 1),
    big=st.integers(0, 1),
    versions=st.tuples(*[st.integers(0, 2**31 - 1)] * 2),
    bad=st.lists(st.integers(-5, 2**31 - 1), max_size=3),
)
def test_headers_have_the_bytes_of_protobuf(
    shards: int, big: int, versions: tuple[int, int], bad: list[int]
) -> None:
    from kvarn import protos

    header = BundleHeader(shards, big, *versions, tuple(bad))
    message = protos.BundleHeaderProto(num_shards=shards, endianness=big)
    message.version.SetInParent()
    message.version.producer, message.version.min_consumer = versions
    message.version.bad_consumers.extend(bad)
    raw = protos.serialize(message)
    assert header.serialize() == raw
    assert BundleHeader.parse(raw) == header


@settings(deadline=None)
@given(a=INT64S, b=INT64S)
def test_signed_numbers_sort_as_they_are(a: int, b: int) -> None:
    assert (encode_signed(a) < encode_signed(b)) == (a < b)
    assert (encode_signed(a) == encode_signed(b)) == (a == b)


@settings(deadline=None)
@given(a=st.integers(0, 2**64 - 1), b=st.integers(0, 2**64 - 1))
def test_numbers_sort_as_they_are(a: int, b: int) -> None:
    assert (encode_number(a) < encode_number(b)) == (a < b)


@settings(deadline=None)
@given(a=st.binary(max_size=8), b=st.binary(max_size=8))
def test_strings_sort_as_they_are_and_none_begins_another(a: bytes, b: bytes) -> None:
    assert (encode_string(a) < encode_string(b)) == (a < b)
    assert a == b or not encode_string(b).startswith(encode_string(a))


@settings(deadline=None)
@given(name=st.binary(min_size=1, max_size=8), start=st.integers(0, 2**40), length=st.integers(1, 2**40))
def test_slice_keys_differ(name: bytes, start: int, length: int) -> None:
    one = encode_slice_key(name, TensorSlice(((start, length),)))
    assert one != encode_slice_key(name, TensorSlice(((start + 1, length),)))
    assert one != encode_slice_key(name + b"\x00", TensorSlice(((start, length),)))
    assert one.startswith(b"\x00")


def test_all_plain_dtypes_are_tried() -> None:
    from kvarn.testing.strategies import PLAIN_DTYPES

    assert len(PLAIN_DTYPES) == 27
    assert dtypes.bfloat16 in PLAIN_DTYPES
