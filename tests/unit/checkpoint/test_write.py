"""Checkpoints from arrays."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kvarn import checkpoint, dtypes, errors
from kvarn.formats.bundle import BundleReader
from kvarn.formats.embedding import write_embedding
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.testing.files import FaultyFileSystem

TENSORS = {f"t{i}": np.full((i + 1, 100), i, np.float32) for i in range(7)}


def test_the_bytes_are_those_of_tensors_one_by_one(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "a", TENSORS)
    with checkpoint.Writer(tmp_path / "b") as writer:
        for name, value in TENSORS.items():
            writer.add(name, value)
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("num_shards", [2, 3])
def test_data_files_are_filled_evenly(num_shards: int, tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path / "m", TENSORS, num_shards=num_shards)
    with checkpoint.open(path) as found:
        sizes = [size for _, size in found.files()][1:]
        assert len(sizes) == num_shards
        assert max(sizes) < 2 * min(sizes)
        assert all(np.array_equal(found[name], value) for name, value in TENSORS.items())
    assert len(list(tmp_path.iterdir())) == num_shards + 1


def test_the_caller_may_choose_the_data_file(tmp_path: Path) -> None:
    with checkpoint.Writer(tmp_path / "m", num_shards=2) as writer:
        writer.add("a", np.ones(3), shard=1)
        writer.add_slice("s", (4,), TensorSlice.parse("0,2"), np.array([1, 2]), shard=0)
        writer.add_slice("s", (4,), TensorSlice.parse("2,2"), np.array([3, 4]), shard=1)
        writer.add_tensor_header("long", dtypes.float32, (2, 2), shard=0)
        writer.append_segment(np.ones(2, np.float32))
        writer.append_segment(np.zeros(2, np.float32))
        writer.end_segment()
        with pytest.raises(errors.InvalidArgumentError, match="no data file 2"):
            writer.add("b", 1.0, shard=2)
    with checkpoint.open(tmp_path / "m") as found:
        # TensorFlow numbers data files in the order in which the entries name them.
        assert found.info("s").shards == (0, 1)
        assert found["s"].tolist() == [1, 2, 3, 4]
        assert found["long"].tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("num_shards", [1, 2])
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "half", "complex64"])
def test_tensors_in_pieces_of_every_kind(num_shards: int, dtype: str, tmp_path: Path) -> None:
    kind = dtypes.as_dtype(dtype)
    values = np.arange(6).astype(kind.np)
    with checkpoint.Writer(tmp_path / "m", num_shards=num_shards) as writer:
        writer.add_tensor_header("t", kind, (6,))
        writer.append_segment(values[:4])
        writer.append_segment(values[4:].tobytes())
        writer.end_segment()
    with checkpoint.open(tmp_path / "m") as found:
        assert found["t"].tobytes() == values.tobytes()
        assert found.info("t").dtype is kind


@pytest.mark.parametrize("num_shards", [1, 2])
def test_tensors_may_begin_at_multiples(num_shards: int, tmp_path: Path) -> None:
    tensors = {f"t{i}": np.full(i + 1, i, np.int8) for i in range(9)}
    path = checkpoint.write(tmp_path / "m", tensors, num_shards=num_shards, data_alignment=64)
    with BundleReader(path) as reader:
        assert all(reader.entry(name).offset % 64 == 0 for name in tensors)
        assert all(np.array_equal(reader.lookup(name), value) for name, value in tensors.items())


def test_embedding_variables_by_the_same_writer(tmp_path: Path) -> None:
    keys = np.array([2, 1002, 7])
    with checkpoint.Writer(tmp_path / "m", num_shards=2) as writer:
        write_embedding(writer, "e", keys, np.ones((3, 4), np.float32), dim=4, freqs=keys)
        write_embedding(writer, "e/Adagrad", keys, np.zeros((3, 4), np.float32), dim=4)
    with checkpoint.open(tmp_path / "m") as found:
        table = found.embedding("e")
        assert (table.check(), table.slots) == ([], {"Adagrad": 4})
        assert table.lookup([7]).values.sum() == 4


@pytest.mark.parametrize("num_shards", [1, 3])
def test_an_error_leaves_the_older_checkpoint(num_shards: int, tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path / "m", {"w": np.ones(3)})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(errors.InvalidArgumentError):
        checkpoint.write(path, {"w": np.zeros(3), "bad": np.array(["x", 1], object)}, num_shards=num_shards)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("num_shards", [1, 2])
def test_a_failing_disk_at_every_step(num_shards: int) -> None:
    whole = FaultyFileSystem()
    checkpoint.write("m", TENSORS, num_shards=num_shards, fs=whole)
    assert whole.operations > 5
    for step in range(1, whole.operations + 1):
        files = FaultyFileSystem(step, error=True)
        with contextlib.suppress(errors.UnavailableError):
            checkpoint.write("m", TENSORS, num_shards=num_shards, fs=files)
        if files.exists("m.index"):  # committed, and only then something failed
            with checkpoint.open("m", files) as found:
                assert found.read_all().keys() == TENSORS.keys()
        else:
            assert not [path for path in files.files if "part" not in path], step


_FORKING = """
import os, sys
import numpy as np
from kvarn import checkpoint

with checkpoint.Writer(sys.argv[1], num_shards=int(sys.argv[2])) as writer:
    writer.add("w", np.arange(3))
    child = os.fork()
    if not child:
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


@pytest.mark.parametrize("num_shards", [1, 2])
def test_a_forked_process_that_ends_leaves_the_files_of_its_parent(num_shards: int, tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    subprocess.run([sys.executable, "-c", _FORKING, path, str(num_shards)], check=True)
    with checkpoint.open(path) as found:
        assert found["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "options", [{"format": "V3"}, {"num_shards": 0}, {"format": "V1", "num_shards": 2}], ids=str
)
def test_what_is_no_checkpoint(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="cannot be written"):
        checkpoint.write(tmp_path / "m", TENSORS, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
