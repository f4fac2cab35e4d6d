"""The front door: what a path is taken for, and what a checkpoint gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kvarn import checkpoint, dtypes, errors
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem

GOLDEN = Path(__file__).parents[2] / "golden/checkpoints"
TF = GOLDEN / "tf115"


@pytest.mark.parametrize(
    ("path", "kind", "prefix"),
    [
        ("v2_saver/model.ckpt-7", "prefix", "v2_saver/model.ckpt-7"),
        ("v2_saver/model.ckpt-7.index", "index", "v2_saver/model.ckpt-7"),
        ("v2_saver/model.ckpt-7.meta", "meta graph", "v2_saver/model.ckpt-7"),
        ("v2_saver/model.ckpt-7.data-00000-of-00001", "data file", "v2_saver/model.ckpt-7"),
        ("v2_saver/checkpoint", "state file", "v2_saver/model.ckpt-7"),
        ("v2_saver", "directory", "v2_saver/model.ckpt-7"),
        ("v1_saver/model.ckpt-7", "prefix", "v1_saver/model.ckpt-7"),
        ("v1_saver/model.ckpt-7.meta", "meta graph", "v1_saver/model.ckpt-7"),
        ("v1_sharded3", "directory", "v1_sharded3/model.ckpt-40-?????-of-00003"),
        ("v1_sharded3/model.ckpt-40", "prefix", "v1_sharded3/model.ckpt-40-?????-of-00003"),
        (
            "v1_sharded3/model.ckpt-40-00001-of-00003",
            "data file",
            "v1_sharded3/model.ckpt-40-?????-of-00003",
        ),
        ("saved_model_v1/model", "SavedModel", "saved_model_v1/model/variables/variables"),
        ("saved_model_v1/model/saved_model.pb", "SavedModel", "saved_model_v1/model/variables/variables"),
        ("saved_model_v1/model/variables", "directory", "saved_model_v1/model/variables/variables"),
    ],
)
def test_what_a_path_is_taken_for(path: str, kind: str, prefix: str) -> None:
    with checkpoint.open(TF / path) as found:
        assert (found.kind, found.prefix) == (kind, str(TF / prefix))
        assert found.path == str(TF / path)
        assert found.keys()
        assert str(found).startswith(f"{found.prefix} ({found.format}")
        assert kind == "prefix" or found.path in str(found)


def test_steps() -> None:
    steps = {"v2_saver": 7, "v1_sharded3": 40, "saved_model_v1/model": None}
    for path, step in steps.items():
        with checkpoint.open(TF / path) as found:
            assert found.step == step


def test_a_directory_without_state_gives_the_newest_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (9, 100, 20):
        checkpoint.write(tmp_path / f"m-{step}", {"step": np.int64(step)})
    with checkpoint.open(tmp_path) as found:
        assert found["step"] == 100
        assert str(found).endswith(f"the newest of the directory {tmp_path}")
    assert "has no state file" in caplog.text


@pytest.mark.parametrize(
    ("path", "kind", "says"),
    [
        ("v2_saver/model.ckpt-8", errors.NotFoundError, "has the checkpoints model.ckpt-7"),
        ("no_such_folder/m", errors.InvalidArgumentError, "No such file or directory"),
        ("v2_saver/expected.json", errors.DataLossError, "not an sstable"),
    ],
)
def test_what_is_none(path: str, kind: type[errors.OpError], says: str) -> None:
    with pytest.raises(kind, match=says):
        checkpoint.open(TF / path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.npz", b"PK\x03\x04" + bytes(100), "NumPy archive"),
        ("m.zip", b"PK\x03\x04" + bytes(100), "zip file"),
        ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        ("m", b"\x40" + bytes(7) + b'{"w":' + bytes(100), "safetensors"),
        ("m", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        ("m", b"", "is empty"),
        ("frozen.pb", bytes(100), "import_graph_def"),
        ("m", bytes(100), "Give the prefix of a checkpoint"),
    ],
)
def test_a_file_of_another_kind_is_named(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.DataLossError) as caught:
        checkpoint.open(tmp_path / name)
    assert says in caught.value.hint
    assert str(caught.value).startswith(f"Unable to open table file {tmp_path / name}: Data loss: ")
    assert caught.value.path == str(tmp_path / name)


def test_a_folder_of_folders_names_those_with_checkpoints(tmp_path: Path) -> None:
    for name in ("a", "b", "empty"):
        (tmp_path / name).mkdir()
    checkpoint.write(tmp_path / "a/m-1", {"w": np.ones(1)})
    checkpoint.write(tmp_path / "b/m-1", {"w": np.ones(1)})
    with pytest.raises(errors.NotFoundError) as caught:
        checkpoint.open(tmp_path)
    assert f"give '{tmp_path}/a', '{tmp_path}/b'." in caught.value.hint


def test_a_checkpoint_beside_a_folder_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    path = checkpoint.write(tmp_path / "m", {"w": np.ones(1)})
    with checkpoint.open(path) as found:
        assert (found.kind, found.prefix) == ("prefix", path)
    checkpoint.write(tmp_path / "m/inner-1", {"w": np.zeros(1)})
    with checkpoint.open(path) as found:
        assert (found.kind, found["w"]) == ("directory", 0)


def test_a_saved_model_without_variables(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    for path in (tmp_path, tmp_path / "saved_model.pb"):
        with pytest.raises(errors.NotFoundError, match="has no variables"):
            checkpoint.open(path)


def test_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFoundError, match="no checkpoint"):
        checkpoint.open(tmp_path)


@pytest.mark.parametrize("format_name", ["V1", "V2"])
def test_reading(format_name: str, tmp_path: Path) -> None:
    tensors = {
        "a": np.arange(12, dtype=np.float32).reshape(4, 3),
        "b": np.array([b"x", b""], object),
        "c": np.float64(2.5),
    }
    path = checkpoint.write(tmp_path / "m", tensors, format_name)
    with checkpoint.open(path) as found:
        assert found.format == format_name
        assert list(found) == ["a", "b", "c"]
        assert len(found) == 3
        assert "a" in found
        assert "z" not in found
        assert found.info("a").dtype is dtypes.float32
        many = found.read_all()
        for name, value in tensors.items():
            assert np.array_equal(found[name], value)
            assert np.array_equal(many[name], value)
        assert np.array_equal(found.read_slice("a", "1,2:-"), tensors["a"][1:3])
        assert np.array_equal(found.read_slice("a", TensorSlice(((0, 1), (2, 1)))), [[2.0]])
        assert np.array_equal(np.concatenate(list(found.chunks("a", 24))), tensors["a"])
        out = np.empty((4, 3), np.float32)
        assert found.read("a", out) is out
        assert np.array_equal(out, tensors["a"])
        again = np.empty((4, 3), np.float32)
        assert found.read_all(["a"], out={"a": again})["a"] is again
        for wrong in (np.empty((3, 4), np.float32), np.empty((4, 3), np.float64)):
            with pytest.raises(errors.InvalidArgumentError):
                found.read("a", wrong)
        views = found.views()
        with pytest.raises(ValueError, match="read-only"):
            views["a"][0, 0] = 1
        with pytest.raises(errors.NotFoundError, match=r"^(Key aa|Tensor name \"aa\") not found"):
            found["aa"]
        assert found.describe().tensors[0].name == "a"
    assert np.array_equal(views["a"], tensors["a"]), "views stay valid"


def test_embeddings_and_meta_graphs() -> None:
    with checkpoint.open(TF / "ev_deeprec") as found:
        assert found.embeddings
        table = found.embedding(found.embeddings[0])
        assert len(table.keys()) == table.num_keys
        with pytest.raises(errors.NotFoundError, match="nobody"):
            found.embedding("nobody")
        with pytest.raises(errors.NotFoundError, match="meta"):
            found.meta_graph()
    with checkpoint.open(TF / "v2_saver") as found:
        assert found.meta_graph().graph_def.node


def test_another_file_system() -> None:
    files = MemoryFileSystem()
    checkpoint.write("m", {"w": np.ones(3)}, fs=files)
    with checkpoint.open("m.index", files) as found:
        assert found["w"].sum() == 3


@pytest.mark.parametrize("format", ["V1", "V2"])
def test_every_array_that_is_given_is_filled(format: str, tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path / "m", {"a": np.ones(2), "b": np.ones(2)}, format)
    with checkpoint.open(path) as found:
        target = np.zeros(2)
        assert found.read_all(out={"a": target})["a"] is target
        assert target.tolist() == [1, 1]
        with pytest.raises(errors.InvalidArgumentError, match="array for 'A'"):
            found.read_all(out={"A": target})
