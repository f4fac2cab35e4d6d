"""A V1 save that is stopped anywhere: the old file is whole, or the new one is, and there is no half one."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn.errors import OpError
from kvarn.formats.slices_v1 import TensorSliceReader, TensorSliceWriter
from kvarn.io import FileSystem, MemoryFileSystem
from kvarn.testing.files import FaultyFileSystem, SimulatedCrash


def values(version: int) -> dict[str, np.ndarray]:
    return {"a": np.full(version * 3, version, np.float32), "s": np.array([b"x" * version], object)}


def save(fs: FileSystem, version: int) -> None:
    with TensorSliceWriter("d/m", fs) as writer:
        for name, value in values(version).items():
            writer.add(name, value)


def whole_version(fs: MemoryFileSystem) -> int:
    """Which version is there; 0 for none."""
    if not fs.exists("d/m"):
        return 0
    with TensorSliceReader("d/m", fs) as reader:
        version = int(reader.lookup("a")[0])
        assert reader.keys() == ["a", "s"]
        for name, value in values(version).items():
            assert np.array_equal(reader.lookup(name), value)
    return version


def saved(version: int, *, renames: bool) -> MemoryFileSystem:
    fs = MemoryFileSystem(renames=renames)
    if version:
        save(fs, version)
    return fs


def operations(base: MemoryFileSystem) -> int:
    fs = FaultyFileSystem(base=base)
    save(fs, 2)
    assert fs.operations > 2
    return fs.operations


@pytest.mark.parametrize("renames", [True, False], ids=["disk", "object store"])
@pytest.mark.parametrize("old", [0, 1])
@pytest.mark.parametrize("torn", [False, True])
def test_crash(renames: bool, old: int, torn: bool) -> None:
    base = saved(old, renames=renames)
    for stop_at in range(1, operations(base) + 1):
        fs = FaultyFileSystem(stop_at, torn=torn, base=base)
        with pytest.raises(SimulatedCrash):
            save(fs, 2)
        for state in fs.after_crash():
            assert whole_version(state) in (old, 2)
            save(state, 3)
            assert whole_version(state) == 3


@pytest.mark.parametrize("renames", [True, False], ids=["disk", "object store"])
@pytest.mark.parametrize("old", [0, 1])
def test_error(renames: bool, old: int) -> None:
    base = saved(old, renames=renames)
    for stop_at in range(1, operations(base) + 1):
        fs = FaultyFileSystem(stop_at, error=True, base=base)
        with pytest.raises(OpError):
            save(fs, 2)
        assert whole_version(fs) in (old, 2)
        assert set(fs.files) <= {"d/m"}, fs.log
