"""A bucket as a file system: what every store does alike, and what a server makes of it."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from kvarn import errors
from kvarn.io import FileSystem, MemoryFileSystem, atomic_replace, file_system_of, remote
from kvarn.io.remote import RemoteFileSystem
from kvarn.io.upload import RemoteWriteFile
from kvarn.testing.files import read_file, write_file

MIB = 1 << 20


@pytest.fixture(params=["s3", "memory"])
def place(request: pytest.FixtureRequest) -> tuple[FileSystem, str]:
    """A store and an empty directory of it: the one that is played must do as the real one does."""
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        return file_system_of(bucket), f"{bucket}/top"
    return MemoryFileSystem(renames=False), "memory://bucket/top"


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
    assert file.view().readonly
    file.close()


def test_an_empty_file(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    write_file(fs, f"{top}/f")
    file = fs.open_read(f"{top}/f")
    assert (file.size, file.read(0, 9), bytes(file.view())) == (0, b"", b"")


def test_a_file_appears_when_it_is_closed(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    write_file(fs, f"{top}/f", b"old")
    file = fs.open_write(f"{top}/f")
    file.append(b"new")
    file.sync()
    assert read_file(fs, f"{top}/f") == b"old"
    file.close()
    file.close()
    assert read_file(fs, f"{top}/f") == b"new"
    file = fs.open_write(f"{top}/f")
    file.append(b"never")
    file.discard()
    file.close()
    assert read_file(fs, f"{top}/f") == b"new"


def test_names(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    fs.make_directory(f"{top}/d")
    fs.make_directories(f"{top}/e/f/g")
    for name in ("a1", "a2", "b", "d/a3", "with [x] * ?#%é"):
        write_file(fs, f"{top}/{name}", b"x")
    assert fs.list_directory(top) == ["a1", "a2", "b", "d", "with [x] * ?#%é"]
    assert fs.glob(f"{top}/a?") == [f"{top}/a1", f"{top}/a2"]
    assert fs.glob(f"{top}/a1") == [f"{top}/a1"]
    assert fs.glob(f"{top}/c") == []
    assert fs.glob(f"{top}/*/a*") == [f"{top}/d/a3"]
    assert fs.glob(f"{top}/with [[]x] [*] ?[#]*") == [f"{top}/with [x] * ?#%é"]
    assert fs.is_directory(f"{top}/d")
    assert fs.is_directory(top)
    assert not fs.is_directory(f"{top}/b")
    assert not fs.is_directory(f"{top}/a")
    assert fs.exists(f"{top}/d")
    assert fs.exists(f"{top}/b")
    assert not fs.exists(f"{top}/c")
    assert read_file(fs, f"{top}/with [x] * ?#%é") == b"x"
    fs.copy(f"{top}/a1", f"{top}/b2")
    assert read_file(fs, f"{top}/b2") == b"x"
    fs.remove(f"{top}/d/a3")
    assert not fs.exists(f"{top}/d")
    fs.remove_directory(f"{top}/d")
    fs.sync_directory(top)
    assert fs.modified_secs(f"{top}/b2") > 0


def test_refusals(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    write_file(fs, f"{top}/f", b"")
    for call in (
        lambda: fs.open_read(f"{top}/no"),
        lambda: fs.copy(f"{top}/no", f"{top}/x"),
        lambda: fs.remove(f"{top}/no"),
        lambda: fs.list_directory(f"{top}/no"),
        lambda: fs.size(f"{top}/no"),
        lambda: fs.modified_secs(f"{top}/no"),
    ):
        with pytest.raises(errors.NotFoundError, match=f"{top}/no.*; No such file or directory") as info:
            call()
        assert info.value.path == f"{top}/no"
    with pytest.raises(errors.UnimplementedError, match="does not rename"):
        fs.rename(f"{top}/f", f"{top}/g")
    with pytest.raises(errors.FailedPreconditionError, match="not empty"):
        fs.remove_directory(top)


def test_replacing_is_one_upload(place: tuple[FileSystem, str]) -> None:
    fs, top = place
    atomic_replace(fs, f"{top}/f", b"one")
    atomic_replace(fs, f"{top}/f", b"two")
    assert read_file(fs, f"{top}/f") == b"two"
    assert fs.list_directory(top) == ["f"]
    with pytest.raises(errors.AlreadyExistsError):
        atomic_replace(fs, f"{top}/f", b"three", overwrite=False)


def test_the_root_of_a_bucket(s3: FileSystem, bucket: str) -> None:
    assert fs_names(s3, bucket) == []
    write_file(s3, f"{bucket}/f", b"x")
    assert fs_names(s3, bucket) == fs_names(s3, f"{bucket}/") == ["f"]
    assert s3.is_directory(bucket)
    with pytest.raises(errors.FailedPreconditionError, match="directory"):
        s3.open_read(bucket)


def fs_names(fs: FileSystem, path: str) -> list[str]:
    return fs.list_directory(path)


def test_small_reads_share_windows(s3: FileSystem, bucket: str, server: Any) -> None:
    content = bytes(range(256)) * 4096 * 5  # 5 MiB
    write_file(s3, f"{bucket}/f", content)
    server.reset()
    file = s3.open_read(f"{bucket}/f")
    assert file.read(len(content) - 48, 48) == content[-48:]
    assert file.read(len(content) - 5000, 4000) == content[-5000:-1000]
    assert len(server.requests) == 2  # its size, its end
    assert server.bytes_sent == 128 << 10
    got = b"".join(file.read(at, 10_000) for at in range(0, len(content), 10_000))
    assert got == content
    assert len(server.requests) <= 2 + 8  # windows that double
    assert server.bytes_sent <= len(content) + (256 << 10)


def test_a_few_bytes_cost_one_window(s3: FileSystem, bucket: str, server: Any) -> None:
    write_file(s3, f"{bucket}/f", bytes(4 * MIB))
    server.reset()
    file = s3.open_read(f"{bucket}/f")
    for offset in (3 * MIB, MIB, 2 * MIB):
        file.read(offset, 100)
    assert server.bytes_sent == 3 * (128 << 10)


def ranges(server: Any) -> list[tuple[int, int]]:
    """First byte and length of what was asked for."""
    asked = [request.partition("bytes=")[2].split("-") for request in server.requests if "bytes=" in request]
    return sorted((int(first), int(last) - int(first) + 1) for first, last in asked)


def test_a_large_read_is_parallel_ranges(s3: FileSystem, bucket: str, server: Any) -> None:
    content = bytes(range(256)) * 4096 * 20  # 20 MiB
    write_file(s3, f"{bucket}/f", content)
    server.reset()
    file = s3.open_read(f"{bucket}/f")
    target = bytearray(17 * MIB)
    assert file.read_into(MIB, memoryview(target)) == len(target)
    assert target == content[MIB : 18 * MIB]
    assert ranges(server) == [(MIB + at * 17 * MIB // 8, 17 * MIB // 8) for at in range(8)]
    server.reset()
    assert file.read_into(15 * MIB, memoryview(target)) == 5 * MIB
    assert target[: 5 * MIB] == content[15 * MIB :]
    assert ranges(server) == [(15 * MIB, 2 * MIB), (17 * MIB, 2 * MIB), (19 * MIB, MIB)]


def test_many_reads_at_once(s3: FileSystem, bucket: str, server: Any) -> None:
    content = bytes(range(256)) * 4096
    write_file(s3, f"{bucket}/f", content)
    server.reset()
    file = s3.open_read(f"{bucket}/f")
    offsets = [0, 1000, 500_000, MIB - 10, MIB + 7]
    targets = [memoryview(bytearray(size)) for size in (10, 300_000, 0, 20, 5)]
    assert file.read_many(offsets, targets) == [10, 300_000, 0, 10, 0]
    for offset, target in zip(offsets[:3], targets, strict=False):
        assert target == content[offset : offset + len(target)]
    assert targets[3][:10] == content[-10:]
    assert ranges(server) == [(0, 10), (1000, 300_000), (MIB - 10, 10)]


def test_a_range_that_fails_fails_the_read(bucket: str, server: Any) -> None:
    fs = RemoteFileSystem(bucket, retry_config={"max_retries": 0})
    write_file(fs, f"{bucket}/f", bytes(9 * MIB))
    file = fs.open_read(f"{bucket}/f")
    server.refuse = lambda request: f"bytes={4 * MIB}-" in request
    with pytest.raises(errors.UnavailableError, match="503"):
        file.read(0, 9 * MIB)
    server.reset()
    assert file.read(0, 9 * MIB) == bytes(9 * MIB)
    server.refuse = lambda request: "bytes=" in request
    with pytest.raises(errors.UnavailableError):
        file.read(10, 10)
    server.reset()
    assert file.read(10, 10) == bytes(10)


def test_an_object_that_changes_while_it_is_read(s3: FileSystem, bucket: str) -> None:
    write_file(s3, f"{bucket}/f", bytes(4 * MIB))
    file = s3.open_read(f"{bucket}/f")
    file.read(0, 10)
    write_file(s3, f"{bucket}/f", b"1" * (4 * MIB))
    assert file.read(20, 10) == bytes(10)  # what it has is of the version that it opened
    with pytest.raises(errors.FailedPreconditionError, match="anew"):
        file.read(3 * MIB, 10)


def test_a_large_file_goes_in_parts(s3: FileSystem, bucket: str, server: Any) -> None:
    piece = bytes(range(256)) * 4096 * 3  # 3 MiB
    server.reset()
    write_file(s3, f"{bucket}/f", *[piece] * 12)
    parts = [request for request in server.requests if "partNumber" in request]
    assert len(parts) == 3  # 16, 16 and 4 MiB
    assert read_file(s3, f"{bucket}/f") == piece * 12


def uploads(server: Any, bucket: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server.endpoint}/{bucket[5:]}?uploads") as answer:
        return answer.read()


def test_an_upload_given_up_leaves_nothing(s3: FileSystem, bucket: str, server: Any) -> None:
    file = s3.open_write(f"{bucket}/f")
    for _ in range(3):
        file.append(bytes(RemoteWriteFile.PART_BYTES))
    assert b"<Upload>" in uploads(server, bucket)
    file.discard()
    assert not s3.exists(f"{bucket}/f")
    assert b"<Upload>" not in uploads(server, bucket)


def test_an_upload_that_fails_says_so_and_leaves_nothing(bucket: str, server: Any) -> None:
    fs = RemoteFileSystem(bucket, retry_config={"max_retries": 0})
    server.refuse = lambda request: "partNumber=2" in request
    file = fs.open_write(f"{bucket}/f")

    def write() -> None:
        for _ in range(8):
            file.append(bytes(RemoteWriteFile.PART_BYTES))
        file.close()

    with pytest.raises(errors.UnavailableError, match=f"{bucket}/f; .*503"):
        write()
    assert not fs.exists(f"{bucket}/f")
    assert b"<Upload>" not in uploads(server, bucket)


def test_a_file_of_too_many_parts_is_refused_at_once(
    s3: FileSystem, bucket: str, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RemoteWriteFile, "MOST_PARTS", 2)
    file = s3.open_write(f"{bucket}/f")
    file.append(bytes(2 * RemoteWriteFile.PART_BYTES))
    with pytest.raises(errors.OutOfRangeError, match="2 parts"):
        file.append(bytes(RemoteWriteFile.PART_BYTES))
    file.discard()
    assert b"<Upload>" not in uploads(server, bucket)


def test_an_object_too_large_for_a_copy_is_sent_again(
    s3: FileSystem, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_LARGEST_COPY_BYTES", MIB)
    content = bytes(range(256)) * 4096 * 10
    write_file(s3, f"{bucket}/f", content)
    s3.copy(f"{bucket}/f", f"{bucket}/g")
    assert read_file(s3, f"{bucket}/g") == content


def test_a_server_that_stumbles_is_asked_again(s3: FileSystem, bucket: str, server: Any) -> None:
    write_file(s3, f"{bucket}/f", b"content")
    server.reset()
    failures = iter([True, True])
    server.refuse = lambda request: next(failures, False)
    assert read_file(s3, f"{bucket}/f") == b"content"
    assert len(server.requests) == 4


def test_no_such_bucket(server: Any) -> None:
    fs = file_system_of("s3://kvarn-no-such-bucket")
    with pytest.raises(errors.NotFoundError, match="No such bucket: s3://kvarn-no-such-bucket"):
        write_file(fs, "s3://kvarn-no-such-bucket/f", b"x")
    with pytest.raises(errors.NotFoundError, match="No such bucket"):
        fs.list_directory("s3://kvarn-no-such-bucket")
    assert not fs.exists("s3://kvarn-no-such-bucket/f")


@pytest.mark.parametrize(("status", "kind"), [(403, "PermissionDeniedError"), (401, "UnauthenticatedError")])
def test_refused_credentials(bucket: str, server: Any, status: int, kind: str) -> None:
    server.status = f"{status} No"
    server.refuse = lambda request: True
    try:
        with pytest.raises(getattr(errors, kind), match="AWS_SECRET_ACCESS_KEY") as info:
            file_system_of(bucket).open_read(f"{bucket}/m.index")
    finally:
        server.status = "503 Slow Down"
    assert str(info.value).startswith(f"{bucket}/m.index; ")
    assert "Debug" not in str(info.value)


def test_a_server_that_is_not_there(server: Any) -> None:
    fs = RemoteFileSystem("s3://b", {"endpoint": "http://127.0.0.1:9"}, retry_config={"max_retries": 0})
    with pytest.raises(errors.UnavailableError, match="could not be reached"):
        fs.open_read("s3://b/f")


def test_one_file_system_is_one_bucket(s3: FileSystem, bucket: str) -> None:
    assert file_system_of(f"{bucket}/a/b") is s3
    with pytest.raises(errors.InvalidArgumentError, match="is not in"):
        s3.size("s3://another/f")
    with pytest.raises(errors.InvalidArgumentError):
        RemoteFileSystem(bucket, {"no_such_option": "x"})
