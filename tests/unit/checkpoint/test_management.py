"""The state file of a directory, held to what TensorFlow wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kvarn import checkpoint, protos
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.checkpoint_state import read_state, write_state
from kvarn.formats.meta_graph import meta_graph_filename, read_meta_graph_file, write_meta_graph_file

GOLDEN = Path(__file__).parents[2] / "golden/checkpoints"


def save(prefix: Path) -> str:
    with BundleWriter(prefix) as writer:
        writer.add("w", 1.0)
    return str(prefix)


@pytest.mark.parametrize("case", ["state_relative_flag", "state_nonascii", "state_same_name"])
def test_state_files_of_tensorflow_are_written_again_to_the_byte(case: str, tmp_path: Path) -> None:
    recorded = GOLDEN / "tf115" / case / "checkpoint"
    state = read_state(str(recorded))
    write_state(str(tmp_path / "checkpoint"), state)
    assert (tmp_path / "checkpoint").read_bytes() == recorded.read_bytes()
    # 2.x writes bytes from 80 on as they are.
    assert read_state(str(GOLDEN / "tf2" / case / "checkpoint")) == state


@pytest.mark.parametrize("writer", ["tf115", "tf2"])
def test_newest_with_a_name_that_is_not_ascii(writer: str) -> None:
    newest = checkpoint.latest_checkpoint(GOLDEN / writer / "state_nonascii")
    assert newest is not None
    assert newest.endswith("mé变.ckpt-2")
    assert checkpoint.list_variables(newest)


def test_text_that_readers_take(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text(
        "# a comment\nmodel_checkpoint_path: 'first'; model_checkpoint_path: \"a\" 'b\\x63\\303\\251'\n"
        'all_model_checkpoint_paths: ["x", "/abs/y"]'
    )
    state = checkpoint.get_checkpoint_state(tmp_path)
    assert state.model_checkpoint_path == str(tmp_path / "abcé")
    assert list(state.all_model_checkpoint_paths) == [str(tmp_path / "x"), "/abs/y"]


@pytest.mark.parametrize("content", [b"nonsense {", b"unknown_field: 3", b"\xff\xfe"])
def test_garbage_counts_as_no_state(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "checkpoint").write_bytes(content)
    assert checkpoint.get_checkpoint_state(tmp_path) is None
    assert checkpoint.latest_checkpoint(tmp_path) is None
    assert "Checkpoint ignored" in caplog.text


def test_a_state_without_newest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text('all_model_checkpoint_paths: "a"')
    with pytest.raises(ValueError, match="Invalid checkpoint state loaded from"):
        checkpoint.get_checkpoint_state(tmp_path)


def test_no_state() -> None:
    assert checkpoint.get_checkpoint_state("/no/such/place") is None
    assert checkpoint.latest_checkpoint("/no/such/place") is None


def test_newest_must_be_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint.update_checkpoint_state(tmp_path, str(tmp_path / "m-1"))
    assert checkpoint.latest_checkpoint(tmp_path) is None
    assert "Couldn't match files for checkpoint" in caplog.text
    save(tmp_path / "m-1")
    assert checkpoint.latest_checkpoint(tmp_path) == str(tmp_path / "m-1")
    assert checkpoint.latest_checkpoint(tmp_path, "other") is None


def test_paths_are_relative_to_a_relative_directory() -> None:
    state = checkpoint.generate_checkpoint_state_proto("run", "run/m-2", ["run/m-1"])
    assert state.model_checkpoint_path == "m-2"
    assert list(state.all_model_checkpoint_paths) == ["m-1", "m-2"]
    state = checkpoint.generate_checkpoint_state_proto("/data", "/data/m-2")
    assert state.model_checkpoint_path == "/data/m-2"


def test_save_relative_paths(tmp_path: Path) -> None:
    paths = [str(tmp_path / "m-1"), str(tmp_path / "m-2")]
    checkpoint.update_checkpoint_state_internal(tmp_path, paths[1], paths, save_relative_paths=True)
    assert (tmp_path / "checkpoint").read_text() == (
        'model_checkpoint_path: "m-2"\nall_model_checkpoint_paths: "m-1"\nall_model_checkpoint_paths: "m-2"\n'
    )


def test_times_are_written_after_the_paths(tmp_path: Path) -> None:
    checkpoint.update_checkpoint_state(
        tmp_path,
        "/m-1",
        ["/m-1"],
        "list",
        all_model_checkpoint_timestamps=[1.5],
        last_preserved_timestamp=0.25,
    )
    assert (tmp_path / "list").read_text().splitlines()[2:] == [
        "all_model_checkpoint_timestamps: 1.5",
        "last_preserved_timestamp: 0.25",
    ]
    with pytest.raises(ValueError, match="must match checkpoint paths"):
        checkpoint.generate_checkpoint_state_proto("/d", "/m", ["/m"], [1.0, 2.0])


def test_the_state_file_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="conflicts with path used for checkpoint state"):
        checkpoint.update_checkpoint_state(tmp_path, str(tmp_path / "checkpoint"))


def test_existence_times_and_removal(tmp_path: Path) -> None:
    prefix = save(tmp_path / "m-1")
    (tmp_path / "m-1.meta").write_bytes(b"")
    (tmp_path / "m-10.index").write_bytes(b"")
    assert checkpoint.checkpoint_exists(prefix)
    assert not checkpoint.checkpoint_exists(tmp_path / "m-2")
    assert len(checkpoint.get_checkpoint_mtimes([prefix, tmp_path / "m-2"])) == 1
    assert checkpoint.get_checkpoint_mtimes([prefix])[0] == (tmp_path / "m-1.index").stat().st_mtime
    checkpoint.remove_checkpoint(prefix)
    assert [path.name for path in tmp_path.iterdir()] == ["m-10.index"]


@pytest.mark.parametrize("name", ["m?", "m*", "[m]", "m[a-b]"])
def test_a_prefix_with_pattern_characters_is_removed_alone(tmp_path: Path, name: str) -> None:
    others = [save(tmp_path / other) for other in ("ma", "mb", "m")]
    prefix = save(tmp_path / name)
    for one in (prefix, *others):
        Path(one + ".meta").write_bytes(b"")
    before = {path.name for path in tmp_path.iterdir()}
    checkpoint.remove_checkpoint(prefix)
    assert before - {path.name for path in tmp_path.iterdir()} == {
        f"{name}.index",
        f"{name}.meta",
        f"{name}.data-00000-of-00001",
    }
    checkpoint.remove_checkpoint(prefix)
    assert all(checkpoint.checkpoint_exists(other) for other in others)
    assert len(list(tmp_path.iterdir())) == len(before) - 3


def test_names_of_meta_graphs() -> None:
    assert meta_graph_filename("a/m-5") == "a/m-5.meta"
    assert meta_graph_filename("m-5-00001-of-00003") == "m-5.meta"
    assert meta_graph_filename("m-5-?????-of-00003", "x") == "m-5.x"


def test_meta_graphs_binary_and_text(tmp_path: Path) -> None:
    recorded = GOLDEN / "tf115/v2_saver/model.ckpt-7.meta"
    meta_graph = read_meta_graph_file(recorded)
    assert meta_graph.saver_def.save_tensor_name == "save/control_dependency:0"
    assert meta_graph.meta_info_def.tensorflow_version == "1.15.5"
    for as_text in (False, True):
        write_meta_graph_file(tmp_path / "m.meta", meta_graph, as_text=as_text)
        assert read_meta_graph_file(tmp_path / "m.meta") == meta_graph
        assert (tmp_path / "m.meta").read_bytes()[:1] == (b"m" if as_text else b"\n")
    assert protos.MetaGraphDef.FromString(recorded.read_bytes()) == meta_graph


def test_meta_graphs_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="does not exist"):
        read_meta_graph_file(tmp_path / "no.meta")
    for content in (b"\xff\xff\xff", b"not a proto {"):
        (tmp_path / "bad.meta").write_bytes(content)
        with pytest.raises(OSError, match="Cannot parse file"):
            read_meta_graph_file(tmp_path / "bad.meta")


def test_golden_directories_are_not_written_to(tmp_path: Path) -> None:
    """Reading leaves a directory as it is, even a read-only copy."""
    copy = tmp_path / "copy"
    shutil.copytree(GOLDEN / "tf115/v2_saver", copy)
    before = {path: path.stat().st_mtime_ns for path in copy.iterdir()}
    checkpoint.describe(copy / "model.ckpt-7")
    checkpoint.latest_checkpoint(copy)
    assert before == {path: path.stat().st_mtime_ns for path in copy.iterdir()}
