"""Every recorded checkpoint through the front door: names, types, shapes and bytes; and every state file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kvarn import checkpoint
from kvarn.formats.checkpoint_state import read_state, write_state
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.testing.goldens import GoldenCase, cases

ROOT = Path(__file__).parent / "checkpoints"
ALL = cases(ROOT, "*/*")
STATES = cases(ROOT, "tf*/state_*", "tf*/object_manager")


def test_every_folder_is_a_case() -> None:
    folders = {folder for writer in ROOT.iterdir() if writer.is_dir() for folder in writer.iterdir()}
    # The damaged ones have a list of their own: test_damaged_checkpoints.py.
    assert folders - {ROOT / "tf115/corrupt"} == {case.folder for case in ALL}
    assert len(ALL) == 92


@pytest.mark.parametrize("case", ALL, ids=repr)
def test_every_tensor(case: GoldenCase) -> None:
    with checkpoint.open(case.prefix) as found:
        assert found.kind == "prefix"
        assert found.format == ("V1" if Path(found.reader.files()[0][0]).suffix != ".index" else "V2")
        expected = {tensor.name.decode("utf-8", "surrogateescape"): tensor for tensor in case.tensors()}
        others = {name["name"] for kind in ("opaque", "incomplete") for name in case.facts.get(kind, ())}
        assert set(found) == expected.keys() | others
        for info in found.tensors():
            if info.name in others:
                continue
            tensor = expected[info.name]
            assert (info.dtype.as_datatype_enum, info.shape) == (tensor.dtype, tensor.value.shape)
            for piece in info.slices:
                part = tensor.value[piece.resolve(info.shape).relative_to(TensorSlice.of_shape(info.shape))]
                stored = found.reader.lookup_stored_slice(info.name, piece)
                assert np.array_equal(stored.view(part.dtype) if stored.dtype.kind == "V" else stored, part)
            if not info.slices:
                assert tensor.equals(found[info.name]), info.name
        whole = [info.name for info in found.tensors() if not info.slices]
        many, views = found.read_all(whole), found.views(whole)
        for name in expected.keys() & set(whole):
            assert expected[name].equals(many[name]), name
            assert expected[name].equals(views[name]), name


@pytest.mark.parametrize("case", STATES, ids=repr)
def test_every_state(case: GoldenCase, tmp_path: Path) -> None:
    """After every save of the log, the state as TensorFlow wrote it is read, and written again to the byte."""
    texts = [step["state"] for step in case.facts.get("log", ())] or [case.facts["state"]]
    for text in texts:
        (tmp_path / "recorded").write_text(text, "utf-8")
        state = read_state(str(tmp_path / "recorded"))
        write_state(str(tmp_path / "again"), state)
        if "tf2" not in repr(case) or text.isascii():  # 2.x writes bytes from 80 on as they are
            assert (tmp_path / "again").read_text("utf-8") == text
        assert read_state(str(tmp_path / "again")) == state
        assert state.all_model_checkpoint_paths[-1] == state.model_checkpoint_path


@pytest.mark.parametrize("case", [c for c in STATES if "latest_checkpoint" in c.facts], ids=repr)
def test_every_newest(case: GoldenCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """`latest_checkpoint` says what TensorFlow said, from the directory that it was asked in."""
    recorded, directory = case.facts["latest_checkpoint"], case.facts["save_dir"]
    latest = "latest" if "latest" in case.facts["log"][-1]["files"] else None
    monkeypatch.chdir(case.folder)
    if Path(directory).is_absolute():
        # Its paths are of the machine it was made on; from the state alone nothing is found here.
        state = checkpoint.get_checkpoint_state(".")
        assert state.model_checkpoint_path == recorded
        assert checkpoint.latest_checkpoint(".") is None
        with checkpoint.open(".") as found:
            assert Path(found.prefix).name == Path(recorded).name
        return
    assert checkpoint.latest_checkpoint(directory, latest) == recorded
    with checkpoint.open(directory) as found:
        assert found.kind == "directory"
        assert Path(found.prefix).name == Path(recorded).name
