"""SavedModels and frozen graphs that kvarn and a real TensorFlow write for each other give equal numbers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
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


def check(got: dict, wanted: dict) -> None:
    frozen = {f"frozen {name}": values for name, values in wanted.items() if name != "words"}
    assert len(wanted) >= 20
    assert sorted(got) == sorted({**wanted, **frozen})
    for name, values in {**wanted, **frozen}.items():
        assert sorted(got[name]) == sorted(values), name
        for key, value in values.items():
            np.testing.assert_allclose(got[name][key], value, rtol=1e-5, atol=1e-6, err_msg=f"{name} {key}")


def elsewhere(directory: Path) -> str:
    """The models at another place: the files that they were made of are gone."""
    (directory / "vocabulary.txt").unlink()
    return str(directory.rename(directory.parent / "elsewhere"))


def test_tensorflow_runs_what_kvarn_exports(tensorflow, program, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    wanted = program.save(tf, str(tmp_path / "models"))
    check(tensorflow("served_models", "load", elsewhere(tmp_path / "models")), wanted)


def test_kvarn_runs_what_tensorflow_exports(tensorflow, program, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    wanted = tensorflow("served_models", "save", tmp_path / "models")
    check(program.load(tf, elsewhere(tmp_path / "models")), wanted)
