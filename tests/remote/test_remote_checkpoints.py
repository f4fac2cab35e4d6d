"""Checkpoints on an S3 server: written, listed, read, compared and replaced by their URLs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import checkpoint, cli, errors
from kvarn.checkpoint.verbs.convert import convert
from kvarn.checkpoint.verbs.diff import diff
from kvarn.checkpoint.verbs.reshard import reshard
from kvarn.checkpoint.verbs.rewrite import rewrite
from kvarn.checkpoint.verbs.verify import verify
from kvarn.formats.bundle import BundleReader, BundleWriter, merge_bundles
from kvarn.io import FileSystem, MemoryFileSystem, file_system_of
from kvarn.testing.files import CountingFileSystem, write_file

MIB = 1 << 20


def write(prefix: str, version: int, fs: FileSystem | None = None) -> None:
    with BundleWriter(prefix, fs) as writer:
        writer.add("a", np.full((version, 7), version, np.float32))
        writer.add("b", np.array([b"x" * version, b"y"], object))
        writer.add("s", np.arange(5))


def test_written_listed_and_read(bucket: str) -> None:
    prefix = f"{bucket}/run 1/model.ckpt-3"
    write(prefix, 3)
    checkpoint.update_checkpoint_state(f"{bucket}/run 1", prefix)
    assert checkpoint.latest_checkpoint(f"{bucket}/run 1") == prefix
    assert checkpoint.list_variables(f"{bucket}/run 1") == [("a", [3, 7]), ("b", [2]), ("s", [5])]
    assert checkpoint.load_variable(prefix, "a").tolist() == [[3.0] * 7] * 3
    assert checkpoint.load_variable(f"{prefix}.index", "b").tolist() == [b"xxx", b"y"]
    assert checkpoint.checkpoint_exists(prefix)
    assert not checkpoint.checkpoint_exists(f"{bucket}/run 1/model.ckpt-4")
    assert [size for _, size in checkpoint.describe(prefix).files][1] == 3 * 7 * 4 + 2 + 4 + 4 + 40
    assert not verify(prefix).findings
    checkpoint.remove_checkpoint(prefix)
    assert file_system_of(prefix).list_directory(f"{bucket}/run 1") == ["checkpoint"]


def test_the_same_bytes_as_on_disk(bucket: str, tmp_path: Path) -> None:
    write(f"{bucket}/m", 5)
    write(str(tmp_path / "m"), 5)
    fs = file_system_of(bucket)
    for path in tmp_path.iterdir():
        file = fs.open_read(f"{bucket}/{path.name}")
        assert file.read(0, file.size) == path.read_bytes()
    assert len(fs.list_directory(bucket)) == 2


def test_what_is_not_there(bucket: str) -> None:
    write(f"{bucket}/d/m-1", 1)
    with pytest.raises(errors.NotFoundError, match="m-1") as info:
        checkpoint.load_checkpoint(f"{bucket}/d/m-2")
    assert f"'{bucket}/d' has the checkpoints m-1." in str(info.value)
    with pytest.raises(errors.InvalidArgumentError, match="Failed to get matching files"):
        checkpoint.load_checkpoint(f"{bucket}/none/m-2")
    with pytest.raises(ValueError, match="Couldn't find 'checkpoint' file"):
        checkpoint.load_checkpoint(f"{bucket}/d")
    file_system_of(bucket).remove(f"{bucket}/d/m-1.data-00000-of-00001")
    with pytest.raises(errors.NotFoundError, match="shard 0 of 1, which holds tensor 'a'"):
        checkpoint.load_variable(f"{bucket}/d/m-1", "a")


def test_a_listing_reads_the_index_only(bucket: str, server: Any) -> None:
    """A bundle of 12 MiB with 2000 tensors: its size and the 128 KiB of its index come over the wire."""
    prefix = f"{bucket}/m"
    with BundleWriter(prefix) as writer:
        writer.add("big", np.zeros(3 * MIB, np.float32))
        for number in range(1000):
            writer.add(f"layer_{number:05d}/w", np.float32(number))
    server.reset()
    assert len(checkpoint.list_variables(prefix)) == 1001
    # Is it a directory; is there an index (twice); is a commit under way; its size; its bytes.
    assert len(server.requests) <= 6, server.requests
    assert not [request for request in server.requests if ".data-" in request and "GET" in request]
    assert server.bytes_sent < 40_000
    server.reset()
    assert checkpoint.load_variable(prefix, "layer_00500/w") == 500
    assert server.bytes_sent < 40_000 + (128 << 10)


class Zeros:
    """A data file of a declared size, all zeros."""

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        self.size = size

    def read(self, offset: int, size: int) -> bytes:
        return bytes(max(0, min(size, self.size - offset)))

    def read_into(self, offset: int, target: memoryview) -> int:
        size = max(0, min(len(target), self.size - offset))
        target[:size] = bytes(size)
        return size

    def view(self) -> memoryview:
        raise AssertionError("nobody needs a GiB at once")

    def close(self) -> None:
        pass


class SparseFileSystem(MemoryFileSystem):
    """Data files that were written as one GiB of zeros, without their bytes."""

    def open_write(self, path: str) -> Any:
        file = super().open_write(path)
        if ".data-" in path:
            file.append = lambda data: None  # type: ignore[method-assign]
        return file

    def open_read(self, path: str) -> Any:
        return Zeros(path, 1 << 30) if ".data-" in path else super().open_read(path)


def test_a_listing_of_a_gib_reads_less_than_a_hundredth() -> None:
    base = SparseFileSystem(renames=False)
    block = np.zeros(16 * MIB, np.uint8)
    with BundleWriter("m", base) as writer:
        for number in range(64):
            writer.add(f"table_{number:02d}", block)
    fs = CountingFileSystem(base)
    assert sum(np.prod(shape) for _, shape in checkpoint.list_variables("m", fs)) == 1 << 30
    assert fs.bytes_read < 10_000
    assert len(fs.requests) < 12
    assert not checkpoint.load_variable("m", "table_63", fs).any()
    assert 16 * MIB <= fs.bytes_read < 16 * MIB + 20_000


def test_replacing_a_checkpoint_is_seen_whole_or_not_at_all(bucket: str, server: Any) -> None:
    """After each request of a save over an older checkpoint a reader finds the old one or the new one."""
    prefix = f"{bucket}/m"
    write(prefix, 1)
    fs = file_system_of(prefix)
    versions: list[int] = []
    watching = False

    def look(request: str) -> bool:
        nonlocal watching
        if not watching and request.split()[0] in ("PUT", "DELETE"):
            watching = True
            with BundleReader(prefix) as reader:
                version = len(reader.lookup("a"))
                assert reader.lookup("b")[0] == b"x" * version
            versions.append(version)
            watching = False
        return False

    server.refuse = look
    write(prefix, 2)
    server.reset()
    assert versions == sorted(versions)
    assert set(versions) == {1, 2}
    assert len(checkpoint.load_variable(prefix, "a")) == 2
    assert fs.list_directory(bucket) == ["m.data-00000-of-00001", "m.index"]


def test_old_index_with_new_data_is_data_loss(bucket: str) -> None:
    """What a reader that does not know the waiting index may meet while data is replaced."""
    prefix = f"{bucket}/m"
    write(prefix, 1)
    fs = file_system_of(prefix)
    fs.copy(f"{prefix}.index", f"{prefix}.old")
    write(prefix, 2)
    fs.copy(f"{prefix}.old", f"{prefix}.index")
    for name in ("a", "b"):
        with pytest.raises(errors.DataLossError):
            checkpoint.load_variable(prefix, name)


def test_a_save_that_fails_leaves_the_old_one(bucket: str, server: Any) -> None:
    from kvarn.io.remote import RemoteFileSystem

    prefix = f"{bucket}/m"
    write(prefix, 1)
    fs = RemoteFileSystem(bucket, retry_config={"max_retries": 0})
    server.refuse = lambda request: request.startswith("PUT") and ".index" in request
    with pytest.raises(errors.UnavailableError):
        write(prefix, 2, fs)
    server.reset()
    assert len(checkpoint.load_variable(prefix, "a")) == 1
    assert fs.list_directory(bucket) == ["m.data-00000-of-00001", "m.index"]


def test_parts_are_merged_on_the_store(bucket: str) -> None:
    for part in range(2):
        with BundleWriter(f"{bucket}/t/part-{part}") as writer:
            writer.add(f"w{part}", np.full(4, part))
    merge_bundles([f"{bucket}/t/part-{part}" for part in range(2)], f"{bucket}/m")
    assert [checkpoint.load_variable(f"{bucket}/m", f"w{part}")[0] for part in range(2)] == [0, 1]
    fs = file_system_of(bucket)
    assert fs.list_directory(bucket) == ["m.data-00000-of-00002", "m.data-00001-of-00002", "m.index"]


def test_verbs_from_place_to_place(bucket: str, tmp_path: Path) -> None:
    local, remote = str(tmp_path / "m"), f"{bucket}/m"
    write(local, 4)
    rewrite(local, remote)
    assert diff(local, remote).same
    reshard(remote, f"{bucket}/two", shards=2)
    assert diff(local, f"{bucket}/two").same
    assert len(checkpoint.describe(f"{bucket}/two").files) == 3
    rewrite(remote, f"{bucket}/numbers", drop=["b"])
    convert(f"{bucket}/numbers", f"{bucket}/m.safetensors")
    convert(f"{bucket}/m.safetensors", "memory://verbs/back")
    found = diff(local, "memory://verbs/back")
    assert not found.same
    assert checkpoint.load_variable("memory://verbs/back", "a").tolist() == [[4.0] * 7] * 4


def test_commands(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(f"{bucket}/m", 2)
    with pytest.raises(SystemExit) as done:
        cli.main(["ls", f"{bucket}/m", "--json"])
    assert done.value.code in (0, None)
    found = json.loads(capsys.readouterr().out)
    assert found["prefix"] == f"{bucket}/m"
    assert [tensor["name"] for tensor in found["tensors"]] == ["a", "b", "s"]
    with pytest.raises(SystemExit) as done:
        cli.main(["ls", f"{bucket}/no"])
    assert done.value.code == 2
    assert "NotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "sharded"])
@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_a_saver_saves_and_restores_by_url(request: pytest.FixtureRequest, kind: str, sharded: bool) -> None:
    top = request.getfixturevalue("bucket") if kind == "s3" else f"memory://saver-{sharded}"
    with tf.Graph().as_default():
        w = tf.get_variable("w", [3], initializer=tf.ones_initializer())
        saver = tf.train.Saver(max_to_keep=2, sharded=sharded)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for step in (1, 2, 3):
                sess.run(w.assign([step] * 3))
                assert saver.save(sess, f"{top}/d/m", global_step=step) == f"{top}/d/m-{step}"
            sess.run(w.assign([0.0] * 3))
            saver.restore(sess, tf.train.latest_checkpoint(f"{top}/d"))
            assert sess.run(w).tolist() == [3.0] * 3
    names = file_system_of(top).list_directory(f"{top}/d")
    endings = (".data-00000-of-00001", ".index", ".meta")
    assert names == ["checkpoint", *[f"m-{step}{end}" for step in (2, 3) for end in endings]]


GOLDEN = Path(__file__).parents[1] / "golden/checkpoints"
PREFIXES = [path.with_suffix("") for path in sorted(GOLDEN.rglob("*.index"))]
WHOLE = [prefix for prefix in PREFIXES if "corrupt" not in prefix.parts]
DAMAGED = [prefix for prefix in PREFIXES if "corrupt" in prefix.parts]


def uploaded(local: Path, directory: str) -> str:
    fs = file_system_of(directory)
    for path in local.parent.glob(f"{local.name}.*"):
        write_file(fs, f"{directory}/{path.name}", path.read_bytes())
    return f"{directory}/{local.name}"


def test_checkpoints_of_tensorflow_read_the_same_from_a_store(bucket: str) -> None:
    assert len(WHOLE) > 10
    for number, local in enumerate(WHOLE):
        assert diff(str(local), uploaded(local, f"{bucket}/{number}")).same, local


def outcomes(prefix: str) -> list[type[BaseException] | None]:
    """How reading each tensor ends, or opening."""
    found: list[type[BaseException] | None] = []
    try:
        with BundleReader(prefix) as reader:
            for name in reader.keys():  # noqa: SIM118
                try:
                    reader.lookup(name)
                except errors.OpError as error:
                    found.append(type(error))
                else:
                    found.append(None)
    except errors.OpError as error:
        found.append(type(error))
    return found


def test_damaged_checkpoints_fail_the_same_from_a_store(bucket: str) -> None:
    failed = 0
    for number, local in enumerate(DAMAGED):
        expected = outcomes(str(local))
        failed += any(expected)
        assert outcomes(uploaded(local, f"{bucket}/{number}")) == expected, local
    assert failed > 10


def test_v1_by_url(bucket: str, server: Any) -> None:
    from kvarn.formats.slices_v1 import TensorSliceWriter

    values = np.arange(400_000, dtype=np.float32)
    with TensorSliceWriter(f"{bucket}/d/v1") as writer:
        writer.add("w", values)
        writer.add("s", np.arange(3))
    assert file_system_of(bucket).list_directory(f"{bucket}/d") == ["v1"]
    server.reset()
    assert checkpoint.list_variables(f"{bucket}/d/v1") == [("s", [3]), ("w", [400_000])]
    assert server.bytes_sent < 600_000
    assert np.array_equal(checkpoint.load_variable(f"{bucket}/d/v1", "w"), values)
