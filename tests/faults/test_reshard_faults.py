"""A reshard that is stopped anywhere: the source is whole, the target whole or not there."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn.checkpoint.verbs.reshard import reshard
from kvarn.errors import OpError
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding import part_name, write_embedding
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import FileSystem, MemoryFileSystem
from kvarn.testing.files import FaultyFileSystem, SimulatedCrash


@pytest.fixture
def source() -> MemoryFileSystem:
    fs = MemoryFileSystem()
    fs.make_directory("d")
    with BundleWriter("d/a", fs) as writer:
        writer.add("s", np.array([b"x", b"y" * 40], object))
        for part in range(2):
            keys = np.arange(part, 9, 2)
            values = np.ones((len(keys), 2), np.float32) * np.float32(keys)[:, None]
            write_embedding(writer, part_name("b", part), keys, values, dim=2)
            writer.add_slice("p", (6, 2), TensorSlice.parse(f"{3 * part},3:-"), np.full((3, 2), part))
    return fs


def run(fs: FileSystem) -> None:
    reshard("d/a", "d/c", partitions=3, shards=2, fs=fs)


def is_whole(fs: MemoryFileSystem) -> bool:
    """Whether the target is there; then it is whole.  The source always is."""
    with BundleReader("d/a", fs) as reader:
        assert reader.lookup("b/part_1-keys").tolist() == [1, 3, 5, 7]
        for name, _ in reader.entries():
            reader.verify(name)
    if not fs.exists("d/c.index"):
        return False
    with BundleReader("d/c", fs) as reader:
        for name, _ in reader.entries():
            reader.verify(name)
        assert reader.lookup("b/part_2-keys").tolist() == [2, 5, 8]
        assert reader.lookup("p")[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
        assert len(reader.info("p").slices) == 3
    return True


def operations(source: MemoryFileSystem) -> int:
    fs = FaultyFileSystem(base=source)
    run(fs)
    assert is_whole(fs)
    return fs.operations


@pytest.mark.parametrize("torn", [False, True])
def test_a_crash_at_every_operation(source: MemoryFileSystem, torn: bool) -> None:
    outcomes = set()
    for stop_at in range(1, operations(source) + 1):
        fs = FaultyFileSystem(stop_at, torn=torn, base=source)
        with pytest.raises(SimulatedCrash):
            run(fs)
        outcomes |= {is_whole(state) for state in fs.after_crash()}
    assert outcomes == {False, True}


def test_an_error_at_every_operation_leaves_nothing(source: MemoryFileSystem) -> None:
    for stop_at in range(1, operations(source) + 1):
        fs = FaultyFileSystem(stop_at, error=True, base=source)
        try:
            run(fs)
        except OpError:
            left = sorted(set(fs.files) - set(source.files))
            assert not left or is_whole(fs), (fs.log[stop_at - 1], left)
            assert not [path for path in left if "temp" in path], (fs.log[stop_at - 1], left)
        else:
            assert is_whole(fs)
