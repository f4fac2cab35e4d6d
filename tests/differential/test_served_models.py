"""SavedModels and frozen graphs that kvarn and a real TensorFlow write for each other give equal numbers."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

import kvarn as tf

pytestmark = pytest.mark.tf

SCRIPT = Path(__file__).parent / "scripts" / "served_models.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("served_models", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_frozen(name: str, outputs: dict) -> dict:
    return outputs if name == "words" else {**outputs, "frozen": outputs["y"]}


def moved(directory: Path) -> str:
    """The model at another place, where the files that it was made of are gone."""
    target = directory.parent / "elsewhere" / directory.name
    target.parent.mkdir()
    directory.rename(target)
    for extra in directory.parent.glob(f"{directory.name}_*"):
        if extra.name.endswith("_frozen.pb"):
            shutil.copy(extra, target.parent / extra.name)
        extra.unlink()
    return str(target)


@pytest.mark.parametrize("name", ["dense", "loop", "words"])
def test_tensorflow_runs_what_kvarn_exports(tensorflow, program, tmp_path: Path, name: str) -> None:
    wanted = program.save(tf, name, str(tmp_path / "m"))
    assert tensorflow("served_models", "load", name, moved(tmp_path / "m")) == with_frozen(name, wanted)


@pytest.mark.parametrize("name", ["dense", "loop", "words"])
def test_kvarn_runs_what_tensorflow_exports(tensorflow, program, tmp_path: Path, name: str) -> None:
    wanted = tensorflow("served_models", "save", name, tmp_path / "m")
    assert program.load(tf, name, moved(tmp_path / "m")) == with_frozen(name, wanted)
