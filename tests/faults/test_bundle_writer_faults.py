"""A save that is stopped anywhere: the old checkpoint is whole, or the new one is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kvarn.errors import OpError
from kvarn.formats.bundle import BundleReader, BundleWriter, merge_bundles
from kvarn.io import FileSystem, MemoryFileSystem, WriteFile
from kvarn.testing.files import FaultyFileSystem, SimulatedCrash

NAMES = ("a", "b", "s")


def values(version: int) -> dict[str, np.ndarray]:
    """Other values and other sizes in every version; one tensor that never changes."""
    return {
        "a": np.full(version * 3, version, np.float32),
        "b": np.array([b"x" * version, b"y"], object),
        "s": np.arange(5),
    }


def save(fs: FileSystem, version: int, prefix: str = "m") -> None:
    with BundleWriter(prefix, fs) as writer:
        for name, value in values(version).items():
            writer.add(name, value)


def save_sharded(fs: FileSystem, version: int) -> None:
    for shard, name in enumerate(NAMES):
        with BundleWriter(f"t/part-{shard}", fs) as writer:
            writer.add(name, values(version)[name])
    merge_bundles([f"t/part-{shard}" for shard in range(3)], "m", fs=fs)


def whole_version(fs: MemoryFileSystem) -> int:
    """Which version is whole and readable; 0 for none, with the promise that no index is there."""
    if not fs.exists("m.index"):
        return 0
    with BundleReader("m", fs) as reader:
        assert reader.keys() == list(NAMES)
        version = int(reader.lookup("a")[0])
        for name, value in values(version).items():
            assert np.array_equal(reader.lookup(name), value)
    return version


Save = Callable[[FileSystem, int], None]
SAVES = pytest.mark.parametrize("save", [save, save_sharded])
RENAMES = pytest.mark.parametrize("renames", [True, False], ids=["disk", "object store"])


def operations(save: Save, base: MemoryFileSystem, version: int) -> int:
    fs = FaultyFileSystem(base=base)
    save(fs, version)
    assert fs.operations > 4
    return fs.operations


@SAVES
@RENAMES
@pytest.mark.parametrize("fault", ["torn", "late", ""])
def test_crash_in_the_first_save(save: Save, renames: bool, fault: str) -> None:
    base = MemoryFileSystem(renames=renames)
    for stop_at in range(1, operations(save, base, 1) + 1):
        fs = FaultyFileSystem(stop_at, torn=fault == "torn", late=fault == "late", base=base)
        with pytest.raises(SimulatedCrash):
            save(fs, 1)
        for state in fs.after_crash():
            assert whole_version(state) in (0, 1)
            save(state, 2)
            assert whole_version(state) == 2


@SAVES
@RENAMES
@pytest.mark.parametrize("fault", ["torn", "late", ""])
def test_crash_in_a_save_over_an_older_checkpoint(save: Save, renames: bool, fault: str) -> None:
    base = MemoryFileSystem(renames=renames)
    save(base, 1)
    outcomes = []
    for stop_at in range(1, operations(save, base, 2) + 1):
        fs = FaultyFileSystem(stop_at, torn=fault == "torn", late=fault == "late", base=base)
        with pytest.raises(SimulatedCrash):
            save(fs, 2)
        for state in fs.after_crash():
            outcomes.append(whole_version(state))
            assert outcomes[-1] in (1, 2)
    assert set(outcomes) == {1, 2}


class InterruptedFileSystem(MemoryFileSystem):
    """Ctrl-C comes when a rename has just happened, before the program knows of it."""

    def __init__(self, base: MemoryFileSystem, stop_at: int) -> None:
        super().__init__()
        self.files = {path: bytearray(content) for path, content in base.files.items()}
        self.directories = set(base.directories)
        self.renames_left = stop_at

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self.renames_left -= 1
        if not self.renames_left:
            raise KeyboardInterrupt


@SAVES
@pytest.mark.parametrize("older", [0, 1])
def test_interrupt_right_behind_a_rename(save: Save, older: int) -> None:
    """No index without its data: the data was removed behind an index that had its name already."""
    base = MemoryFileSystem()
    if older:
        save(base, older)
    counted = InterruptedFileSystem(base, 0)
    save(counted, 2)
    outcomes = set()
    for stop_at in range(1, 1 - counted.renames_left):
        fs = InterruptedFileSystem(base, stop_at)
        with pytest.raises(KeyboardInterrupt):
            save(fs, 2)
        outcomes.add(whole_version(fs))
        if not older:
            assert not [path for path in fs.files if path.startswith("m")]
    assert outcomes <= {older, 2}


@SAVES
def test_interrupt_when_a_file_was_just_made(save: Save) -> None:
    """The file is there and nobody has it: nothing else would remove it."""

    class Interrupted(MemoryFileSystem):
        left = 0

        def open_write(self, path: str) -> WriteFile:
            file = super().open_write(path)
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return file

    counted = Interrupted()
    save(counted, 1)
    for stop_at in range(1, 1 - counted.left):
        fs = Interrupted()
        fs.left = stop_at
        with pytest.raises(KeyboardInterrupt):
            save(fs, 1)
        assert not [path for path in fs.files if path.startswith("m")]


def test_the_name_of_the_index_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "m.index").mkdir()
    with pytest.raises(OpError, match="Is a directory"), BundleWriter(tmp_path / "m") as writer:
        writer.add("a", np.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["m.index"]


@SAVES
@RENAMES
def test_the_next_save_tidies_up(save: Save, renames: bool) -> None:
    base = MemoryFileSystem(renames=renames)
    save(base, 1)
    shards = 1 if save is not save_sharded else 3
    expected = ["m.index", *(f"m.data-{i:05d}-of-{shards:05d}" for i in range(shards))]
    for stop_at in range(1, operations(save, base, 2) + 1):
        fs = FaultyFileSystem(stop_at, base=base)
        with pytest.raises(SimulatedCrash):
            save(fs, 2)
        for state in fs.after_crash():
            save(state, 3)
            assert whole_version(state) == 3
            left = [path for path in state.files if not path.startswith("t/")]
            assert sorted(left) == sorted(expected)


@SAVES
@RENAMES
def test_crash_in_the_tidying_up(save: Save, renames: bool) -> None:
    """A save over an older checkpoint is cut between its last steps, and the next save is cut too."""
    base = MemoryFileSystem(renames=renames)
    save(base, 1)
    begun = []
    for stop_at in range(1, operations(save, base, 2) + 1):
        fs = FaultyFileSystem(stop_at, base=base)
        with pytest.raises(SimulatedCrash):
            save(fs, 2)
        begun.append(next(fs.after_crash()))
    begun = [state for state in begun if "m.index.tempstate" in " ".join(state.files)]
    assert len(begun) >= 3
    for state in begun:
        for stop_at in range(1, operations(save, state, 3) + 1):
            fs = FaultyFileSystem(stop_at, base=state)
            with pytest.raises(SimulatedCrash):
                save(fs, 3)
            for found in fs.after_crash():
                assert whole_version(found) in (1, 2, 3)


@SAVES
@pytest.mark.parametrize(
    ("renames", "late"),
    [(True, False), (False, False), (False, True)],
    ids=["disk", "object store", "object store, answer lost"],
)
def test_an_error_leaves_the_old_checkpoint_and_nothing_else(save: Save, renames: bool, late: bool) -> None:
    base = MemoryFileSystem(renames=renames)
    save(base, 1)
    for stop_at in range(1, operations(save, base, 2) + 1):
        fs = FaultyFileSystem(stop_at, error=True, late=late, base=base)
        try:
            save(fs, 2)
        except OpError:
            # Once old data is replaced the new checkpoint is the whole one, its index still waiting.
            version = whole_version(fs)
            assert version in (1, 2)
            if version == 1:
                assert [path for path in fs.files if "tempstate" in path] == []
        else:
            assert whole_version(fs) == 2  # only tidying failed


@pytest.mark.parametrize("late", [False, True])
def test_an_error_in_the_first_save_to_an_object_store_leaves_nothing(late: bool) -> None:
    base = MemoryFileSystem(renames=False)
    for stop_at in range(1, operations(save, base, 1) + 1):
        fs = FaultyFileSystem(stop_at, error=True, late=late, base=base)
        with pytest.raises(OpError):
            save(fs, 1)
        assert not fs.files


def test_a_first_save_to_an_object_store_copies_nothing() -> None:
    fs = FaultyFileSystem(renames=False)
    save(fs, 1)
    assert [line.split()[0] for line in fs.log] == ["open", "append", "close"] * 2


def test_stale_data_on_an_object_store_is_swept_before_a_first_save() -> None:
    fs = MemoryFileSystem(renames=False)
    for name in ("m.data-00001-of-00003", "m.data-00000-of-00001.tempstate7", "m.data-of-mine", "m.meta"):
        fs.files[name] = bytearray(b"stale")
    save(fs, 1)
    assert sorted(fs.files) == ["m.data-00000-of-00001", "m.data-of-mine", "m.index", "m.meta"]


def test_an_error_in_the_first_save_leaves_nothing() -> None:
    for stop_at in range(1, operations(save, MemoryFileSystem(), 1) + 1):
        fs = FaultyFileSystem(stop_at, error=True)
        with pytest.raises(OpError):
            save(fs, 1)
        # The last operation syncs the directory after the commit: there the checkpoint is whole.
        assert whole_version(fs) == 1 or not fs.files


def test_an_exception_in_the_block_leaves_nothing() -> None:
    fs = MemoryFileSystem()

    def interrupted() -> None:
        with BundleWriter("m", fs) as writer:
            writer.add("a", np.ones(100_000))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert not fs.files


def test_a_stale_index_is_not_taken_for_a_commit() -> None:
    """An unfinished save still has its data beside its index: the old checkpoint holds."""
    fs = FaultyFileSystem(base=MemoryFileSystem())
    save(fs, 1)
    fs.files["m.index.tempstate5"] = bytearray(b"half an index")
    fs.files["m.data-00000-of-00001.tempstate5"] = bytearray(b"data")
    assert whole_version(fs) == 1


def test_old_index_with_new_data_never_reads_as_valid() -> None:
    """What a reader without kvarn's rule sees between the two renames: the checksums tell."""
    fs = MemoryFileSystem()
    save(fs, 1)
    index = bytes(fs.files["m.index"])
    save(fs, 2)
    fs.files["m.index"] = bytearray(index)
    with BundleReader("m", fs) as reader:
        for name in ("a", "b"):
            with pytest.raises(OpError):
                reader.lookup(name)


def test_a_reader_that_meets_the_last_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    """It saw the index under its temporary name; when it opens it, it has its final one."""
    fs = MemoryFileSystem()
    save(fs, 1)
    monkeypatch.setattr("kvarn.formats.bundle.naming.committed_index", lambda fs, prefix: ".tempstate9")
    assert whole_version(fs) == 1
