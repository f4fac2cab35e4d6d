"""Many tensors at once: the same values, checks and errors as one by one, in whatever way they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kvarn import dtypes
from kvarn.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    UnimplementedError,
)
from kvarn.formats.bundle import BundleEntry, BundleHeader, BundleReader, BundleWriter
from kvarn.formats.bundle.commit import write_index
from kvarn.formats.checksum import crc32c, mask
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import LOCAL, FileSystem, MemoryFileSystem
from kvarn.io.local import LocalWriteFile

Arrays = dict[str, npt.NDArray[Any]]
Read = Callable[[BundleReader], Arrays]


def tensors() -> Arrays:
    generator = np.random.default_rng(0)
    made: Arrays = {
        "byte": np.uint8([7]),  # what follows is not aligned in the file
        "big/a": generator.standard_normal((300, 1000)).astype(np.float32),
        "big/b": generator.integers(0, 9, (3_000_000,)).astype(np.int64),
        "empty": np.zeros((0, 5), np.float64),
        "flag": np.array(True),
        "half": np.float16([1.5, -2.0]),
        "scalar": np.array(3.25),
        "text": np.array([b"ab", b""], object),
    }
    made |= {f"small/{i:04d}": generator.standard_normal(i % 40).astype(np.float32) for i in range(2000)}
    return made


TENSORS = tensors()
SLICED = np.arange(24, dtype=np.float32).reshape(6, 4)


def save(prefix: str, fs: FileSystem) -> None:
    with BundleWriter(prefix, fs) as writer:
        writer.add_many(TENSORS)
        for start in (0, 3):
            writer.add_slice("sliced", (6, 4), TensorSlice.parse(f"{start},3:-"), SLICED[start : start + 3])
        writer.add("brain", np.zeros(3, dtypes.bfloat16.np))


@pytest.fixture(params=["local", "memory"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, FileSystem]:
    local = request.param == "local"
    prefix, fs = (str(tmp_path / "m"), LOCAL) if local else ("m", MemoryFileSystem())
    save(prefix, fs)
    return prefix, fs


EVERYTHING = TENSORS | {"sliced": SLICED, "brain": np.zeros(3, dtypes.bfloat16.np)}
READS: dict[str, Read] = {
    "read": lambda reader: reader.read(),
    "read on one thread": lambda reader: reader.read(threads=1),
    "views": lambda reader: reader.views(),
    "views, not verified": lambda reader: reader.views(verify=False),
    "into arrays": lambda reader: reader.read(out={n: np.empty_like(v) for n, v in TENSORS.items()}),
    "lookup": lambda reader: {name: reader.lookup(name) for name, _ in reader.entries()},
}


@pytest.mark.parametrize("way", READS)
def test_every_way_of_reading_gives_the_same(checkpoint: tuple[str, FileSystem], way: str) -> None:
    with BundleReader(*checkpoint) as reader:
        found = READS[way](reader)
    assert list(found) == sorted(EVERYTHING)
    for name, expected in EVERYTHING.items():
        assert found[name].dtype == expected.dtype
        assert found[name].shape == expected.shape
        assert np.array_equal(found[name], expected)
        assert found[name].flags.writeable == ("views" not in way)
        assert found[name].flags.aligned or "views" in way


def test_names_in_the_order_asked_for(checkpoint: tuple[str, FileSystem]) -> None:
    with BundleReader(*checkpoint) as reader:
        assert list(reader.read(["half", b"byte", "half"])) == ["half", "byte"]
        assert list(reader.views(["text", "byte"])) == ["text", "byte"]
        assert reader.read([]) == {}
        with pytest.raises(NotFoundError, match="Key hal not found"):
            reader.read(["byte", "hal"])


def test_arrays_given_are_the_arrays_filled(checkpoint: tuple[str, FileSystem]) -> None:
    out = {"big/a": np.empty((300, 1000), np.float32), "small/0039": np.empty(39, np.float32)}
    out["sliced"] = np.empty((6, 4), np.float32)
    with BundleReader(*checkpoint) as reader:
        found = reader.read(["small/0001", *out], out=out)
        assert all(found[name] is array for name, array in out.items())
        assert all(np.array_equal(array, EVERYTHING[name]) for name, array in out.items())
        array = np.empty((300, 1000), np.float32)
        assert reader.lookup("big/a", array) is array
        assert np.array_equal(array, TENSORS["big/a"])


@pytest.mark.parametrize(
    "array",
    [
        np.empty((300, 999), np.float32),
        np.empty((300, 1000), np.float64),
        np.empty((1000, 300), np.float32).T,
        np.broadcast_to(np.float32(0), (300, 1000)),
        np.frombuffer(bytes(1_200_000), np.float32).reshape(300, 1000),
    ],
)
def test_arrays_that_do_not_fit(checkpoint: tuple[str, FileSystem], array: npt.NDArray[Any]) -> None:
    with BundleReader(*checkpoint) as reader:
        for read in (
            lambda: reader.lookup("big/a", array),
            lambda: reader.read(["big/a"], out={"big/a": array}),
        ):
            with pytest.raises(InvalidArgumentError, match="does not fit into the array given"):
                read()


CHECKED = [way for way in READS if "not verified" not in way]


@pytest.mark.parametrize("way", CHECKED)
@pytest.mark.parametrize("name", ["big/a", "big/b", "small/1234", "text"])
def test_one_flipped_bit_is_found(checkpoint: tuple[str, FileSystem], way: str, name: str) -> None:
    prefix, fs = checkpoint
    with BundleReader(prefix, fs) as reader:
        entry = reader.entry(name)
    change(fs, f"{prefix}.data-00000-of-00001", entry.offset + entry.size // 2)
    with BundleReader(prefix, fs) as reader:
        with pytest.raises(DataLossError, match="hecksum does not match") as caught:
            READS[way](reader)
        assert caught.value.name == name
        assert np.array_equal(reader.read(["half"])["half"], TENSORS["half"])


@pytest.mark.parametrize("way", READS)
def test_a_file_cut_short_is_found(checkpoint: tuple[str, FileSystem], way: str) -> None:
    prefix, fs = checkpoint
    path = f"{prefix}.data-00000-of-00001"
    if isinstance(fs, MemoryFileSystem):
        del fs.files[path][-1000:]
    else:
        os.truncate(path, os.path.getsize(path) - 1000)
    with BundleReader(prefix, fs) as reader, pytest.raises(OutOfRangeError, match="Read less bytes"):
        READS[way](reader)


def test_views_outlive_reader_and_file(tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    save(prefix, LOCAL)
    with BundleReader(prefix) as reader:
        found = reader.views()
        one = reader.view("big/a")
    os.remove(f"{prefix}.data-00000-of-00001")
    assert np.array_equal(found["big/b"], TENSORS["big/b"])
    assert np.array_equal(one, TENSORS["big/a"])


def test_tensors_that_lie_on_each_other_are_not_unfolded(checkpoint: tuple[str, FileSystem]) -> None:
    """A hostile index may name the same bytes a thousand times."""
    prefix, fs = checkpoint
    with BundleReader(prefix, fs) as reader:
        entry = reader.entry("big/a")
    records = {b"%04d" % i: entry.serialize() for i in range(1000)}
    write_index(fs, f"{prefix}.index", BundleHeader(), records)
    with BundleReader(prefix, fs) as reader:
        for read in (reader.read, reader.views):
            with pytest.raises(DataLossError, match="tensors overlap"):
                read()
        assert np.array_equal(reader.lookup("0007"), TENSORS["big/a"])
        assert list(reader.read(["0007", "0008"])) == ["0007", "0008"]


@pytest.mark.parametrize(
    ("rank", "error"), [(65, UnimplementedError), (254, UnimplementedError), (255, DataLossError)]
)
def test_more_dimensions_than_arrays_can_have(rank: int, error: type[Exception]) -> None:
    fs = MemoryFileSystem()
    save("m", fs)
    checksum = mask(crc32c(bytes(fs.files["m.data-00000-of-00001"][1:5])))
    entry = BundleEntry(1, (1,) * rank, 0, 1, 4, checksum)
    write_index(fs, "m.index", BundleHeader(), {b"deep": entry.serialize()})
    with BundleReader("m", fs) as reader:
        if error is UnimplementedError:
            assert reader.info("deep").shape == (1,) * rank
        for read in (lambda: reader.lookup("deep"), reader.read, reader.views):
            with pytest.raises(error, match="dimensions"):
                read()


def test_a_shape_whose_product_overflows() -> None:
    fs = MemoryFileSystem()
    save("m", fs)
    entry = BundleEntry(1, (1 << 31, 1 << 31, 4), 0, 0, 0, 0)
    write_index(fs, "m.index", BundleHeader(), {b"huge": entry.serialize()})
    with BundleReader("m", fs) as reader, pytest.raises(DataLossError, match="impossible shape"):
        reader.read()


def test_duplicates_are_refused() -> None:
    fs = MemoryFileSystem()
    writer = BundleWriter("m", fs)
    writer.add("a", np.float32([1]))
    with pytest.raises(InvalidArgumentError, match="Adding duplicate key: a"):
        writer.add_many({"b": np.float32([1]), "a": np.float32([2])})
    twice: Any = {"c": np.float32([1]), b"c": np.float32([2])}
    with pytest.raises(InvalidArgumentError, match="Adding duplicate key: c"):
        writer.add_many(twice)
    with pytest.raises(InvalidArgumentError, match="Adding duplicate key: "):
        writer.add_many({"": np.float32([1])})
    writer.abort()
    assert not fs.files


def test_a_save_syncs_unless_told_not_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(LocalWriteFile, "sync", lambda self: synced.append(self.path))
    monkeypatch.setattr(type(LOCAL), "sync_directory", lambda self, path: synced.append(path))
    with BundleWriter(str(tmp_path / "a"), sync=False) as writer:
        writer.add("w", np.float32([1]))
    assert not synced
    with BundleWriter(str(tmp_path / "b")) as writer:
        writer.add("w", np.float32([1]))
    assert len(synced) >= 4
    assert BundleReader(str(tmp_path / "a")).lookup("w") == 1


def test_an_array_that_lies_otherwise_is_not_copied_whole(tmp_path: Path) -> None:
    import tracemalloc

    array = np.arange(8 << 20, dtype=np.float32).reshape(2048, 4096)
    tracemalloc.start()
    try:
        with BundleWriter(str(tmp_path / "m"), sync=False) as writer:
            writer.add("turned", array.T)
            writer.add("swapped", array.view(">f4"))
            writer.add("one row", array.T[None])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    with BundleReader(str(tmp_path / "m")) as reader:
        assert np.array_equal(reader.lookup("turned"), array.T)
        assert np.array_equal(reader.lookup("swapped"), array.view(">f4"))
        assert np.array_equal(reader.lookup("one row"), array.T[None])


class CountingFile:
    """A file that counts what is read of it."""

    def __init__(self, fs: MemoryFileSystem, path: str) -> None:
        self.path = path
        self.requests: list[int] = []
        self._file = fs.open_read(path)
        self.size = self._file.size

    def read(self, offset: int, size: int) -> bytes:
        self.requests.append(size)
        return self._file.read(offset, size)

    def read_into(self, offset: int, target: memoryview) -> int:
        raise AssertionError("an index is read by `read`")

    def view(self) -> memoryview:
        raise AssertionError("an index is not mapped")

    def close(self) -> None:
        self._file.close()


def test_a_listing_is_a_handful_of_requests() -> None:
    from kvarn.formats.table.reader import Table

    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add_many({f"scope_{i:06d}/variable": np.float32([i]) for i in range(50_000)})
    file = CountingFile(fs, "m.index")
    keys, _ = Table(file).records()
    assert len(keys) == 50_001
    assert file.size > 1 << 20
    assert len(file.requests) <= 3
    assert sum(file.requests) < file.size + (1 << 17)


def change(fs: FileSystem, path: str, at: int) -> None:
    """Flips a bit of a file."""
    if isinstance(fs, MemoryFileSystem):
        fs.files[path][at] ^= 4
        return
    with open(path, "r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 4]))


def test_an_array_for_a_tensor_that_is_not_read(tmp_path: Path) -> None:
    """A mistyped name left the array as it was, without a word."""
    with BundleWriter(tmp_path / "m") as writer:
        writer.add_many({"a": np.ones(2), "b": np.ones(2)})
    with BundleReader(tmp_path / "m") as reader:
        for names in (None, ["a"]):
            with pytest.raises(InvalidArgumentError, match="array for 'A', which is not read"):
                reader.read(names, out={"A": np.zeros(2)})


def test_a_file_that_is_read_stays_open_when_the_reader_closes(tmp_path: Path) -> None:
    """Its number could have become another file's in the middle of a read."""
    with BundleWriter(tmp_path / "m") as writer:
        writer.add("a", np.arange(100_000))
    reader = BundleReader(tmp_path / "m")
    pieces = reader.chunks("a", 1 << 10)
    first = next(pieces)
    reader.close()
    others = [LOCAL.open_read(os.devnull) for _ in range(20)]
    assert np.array_equal(np.concatenate([first, *pieces]), np.arange(100_000))
    for file in others:
        file.close()
