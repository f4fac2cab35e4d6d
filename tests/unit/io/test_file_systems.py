"""What every file system does alike, and atomic replacement."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvarn import errors
from kvarn.io import LOCAL, FileSystem, MemoryFileSystem, as_path, atomic_replace, directory_of, io_error
from kvarn.testing.files import FaultyFileSystem, SimulatedCrash, read_file, write_file


@pytest.fixture(params=["local", "memory", "faulty"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileSystem, str]:
    """A file system and an empty directory of it."""
    if request.param == "local":
        return LOCAL, str(tmp_path)
    fs = MemoryFileSystem() if request.param == "memory" else FaultyFileSystem()
    fs.make_directories("/top/dir")
    return fs, "/top/dir"


def test_reading_by_position(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    write_file(fs, f"{top}/f", b"01234", memoryview(b"56789"))
    file = fs.open_read(f"{top}/f")
    assert file.size == fs.size(f"{top}/f") == 10
    assert (file.read(3, 4), file.read(8, 9), file.read(20, 3)) == (b"3456", b"89", b"")
    target = bytearray(4)
    assert file.read_into(8, memoryview(target)) == 2
    assert bytes(target[:2]) == b"89"
    assert bytes(file.view()) == b"0123456789"
    file.close()


def test_a_closed_file_has_no_view(tmp_path: Path) -> None:
    """It was as many zeros as the file had bytes."""
    write_file(LOCAL, str(tmp_path / "f"), b"01234")
    file = LOCAL.open_read(str(tmp_path / "f"))
    file.close()
    with pytest.raises(errors.OpError, match="Bad file descriptor"):
        file.view()


def test_empty_files_have_an_empty_view(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    write_file(fs, f"{top}/f")
    assert bytes(fs.open_read(f"{top}/f").view()) == b""


def test_writing_empties_first(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    write_file(fs, f"{top}/f", b"long content")
    write_file(fs, f"{top}/f", b"x")
    assert read_file(fs, f"{top}/f") == b"x"


def test_names(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    fs.make_directory(f"{top}/d")
    fs.make_directory(f"{top}/d")
    fs.make_directories(f"{top}/e/f/g")
    for name in ("a1", "a2", "b", "d/a3"):
        write_file(fs, f"{top}/{name}", b"x")
    assert fs.list_directory(top) == ["a1", "a2", "b", "d", "e"]
    assert fs.glob(f"{top}/a?") == [f"{top}/a1", f"{top}/a2"]
    assert fs.glob(f"{top}/*/a*") == [f"{top}/d/a3"]
    assert fs.is_directory(f"{top}/d")
    assert not fs.is_directory(f"{top}/b")
    fs.rename(f"{top}/a1", f"{top}/b")
    assert not fs.exists(f"{top}/a1")
    fs.remove(f"{top}/d/a3")
    fs.remove_directory(f"{top}/d")
    fs.sync_directory(top)
    assert fs.list_directory(top) == ["a2", "b", "e"]
    assert fs.modified_secs(f"{top}/b") > 0


def test_refusals(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    write_file(fs, f"{top}/f", b"")
    for call in (
        lambda: fs.open_read(f"{top}/no"),
        lambda: fs.open_write(f"{top}/no/f"),
        lambda: fs.rename(f"{top}/no", f"{top}/x"),
        lambda: fs.remove(f"{top}/no"),
        lambda: fs.list_directory(f"{top}/no"),
        lambda: fs.make_directory(f"{top}/no/deeper"),
        lambda: fs.size(f"{top}/no"),
    ):
        with pytest.raises(errors.NotFoundError, match=f"{top}/no.*; No such file or directory"):
            call()
    with pytest.raises(errors.FailedPreconditionError):
        fs.open_write(top)
    fs.make_directories(f"{top}/d/e")
    with pytest.raises(errors.FailedPreconditionError, match="not empty"):
        fs.remove_directory(f"{top}/d")


def test_a_directory_cannot_be_read(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    with pytest.raises(errors.FailedPreconditionError, match="directory"):
        fs.open_read(top)


def test_atomic_replace(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    atomic_replace(fs, f"{top}/f", b"one")
    atomic_replace(fs, f"{top}/f", b"two")
    assert read_file(fs, f"{top}/f") == b"two"
    assert fs.list_directory(top) == ["f"]
    with pytest.raises(errors.AlreadyExistsError):
        atomic_replace(fs, f"{top}/f", b"three", overwrite=False)
    assert read_file(fs, f"{top}/f") == b"two"


@pytest.mark.parametrize("torn", [False, True])
def test_atomic_replace_at_every_crash(torn: bool) -> None:
    base = MemoryFileSystem()
    atomic_replace(base, "f", b"old")
    whole = FaultyFileSystem(base=base)
    atomic_replace(whole, "f", b"new!")
    found = set()
    for stop_at in range(1, whole.operations + 1):
        fs = FaultyFileSystem(stop_at, torn=torn, base=base)
        with pytest.raises(SimulatedCrash):
            atomic_replace(fs, "f", b"new!")
        found |= {bytes(state.files["f"]) for state in fs.after_crash()}
    assert found == {b"old", b"new!"}


def test_atomic_replace_at_every_error() -> None:
    base = MemoryFileSystem()
    atomic_replace(base, "f", b"old")
    whole = FaultyFileSystem(base=base)
    atomic_replace(whole, "f", b"new!")
    for stop_at in range(1, whole.operations + 1):
        fs = FaultyFileSystem(stop_at, error=True, base=base)
        with pytest.raises(errors.UnavailableError):
            atomic_replace(fs, "f", b"new!")
        assert list(fs.files) == ["f"]


def test_faults_are_counted_and_torn() -> None:
    fs = FaultyFileSystem(2, torn=True)
    file = fs.open_write("f")
    with pytest.raises(SimulatedCrash):
        file.append(b"abcdef")
    with pytest.raises(SimulatedCrash):
        file.append(b"after death")
    killed, lost, nothing, *_ = fs.after_crash()
    assert bytes(killed.files["f"]) == b"abc"
    assert bytes(lost.files["f"]) == b""
    assert nothing.files == {}


def test_paths() -> None:
    assert as_path(b"a/b") == as_path(Path("a/b")) == "a/b"
    assert (directory_of("a"), directory_of("/a/b")) == (".", "/a")


def test_errors_of_the_system_have_tensorflows_classes_and_text() -> None:
    import errno

    for number, kind in (
        (errno.ENOENT, errors.NotFoundError),
        (errno.EACCES, errors.PermissionDeniedError),
        (errno.ENOSPC, errors.ResourceExhaustedError),
        (errno.EEXIST, errors.AlreadyExistsError),
        (errno.EIO, errors.UnknownError),
    ):
        error = io_error("p", OSError(number, ""))
        assert type(error) is kind
        assert str(error).splitlines()[0] == f"p; {os.strerror(number)}"
        assert error.path == "p"


def test_a_file_system_that_cannot_sync_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def refuse(number: int) -> None:
        def fsync(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    refuse(errno.EINVAL)
    LOCAL.sync_directory(str(tmp_path))
    refuse(errno.EIO)
    with pytest.raises(errors.UnknownError, match="Input/output error"):
        LOCAL.sync_directory(str(tmp_path))
