"""Object-based checkpoints against what TensorFlow 1.15.5 built, wrote and read (tests/golden/object_based)."""

import importlib.util
import json
import pathlib

import pytest

import kvarn as tf
from kvarn.compat.tensorflow import importer

FOLDER = pathlib.Path(__file__).parents[3] / "golden" / "object_based"
RECORDED = json.loads((FOLDER / "expected.json").read_text())


def load(name):
    spec = importlib.util.spec_from_file_location("object_based_" + name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


programs, scenarios = load("programs"), load("scenarios")


def test_nodes_files_and_object_graph_are_tensorflows(tmp_path):
    found = programs.save(tf, str(tmp_path))
    for what, expected in RECORDED.items():
        if what not in ("loaded", "scenarios"):
            assert found[what] == expected, what


def test_a_checkpoint_of_tensorflow_is_restored_and_trained_on():
    assert programs.load(tf, str(FOLDER / "ck-2")) == RECORDED["loaded"]


def test_an_own_checkpoint_is_restored_as_tensorflows(tmp_path):
    with tf.Graph().as_default():
        programs.save(tf, str(tmp_path))
    assert programs.load(tf, str(tmp_path / "ck-2")) == RECORDED["loaded"]


@pytest.fixture
def tensorflow_modules():
    importer.install()
    yield
    importer.uninstall()


@pytest.mark.usefixtures("tensorflow_modules")
@pytest.mark.parametrize("scenario", scenarios.CASES, ids=lambda scenario: scenario.__name__)
def test_late_missing_and_different_objects_are_treated_as_by_tensorflow(scenario, tmp_path):
    # Written and read, as what is recorded was: tuples are lists there.
    found = json.loads(json.dumps(scenario(tf, str(tmp_path))))
    assert found == RECORDED["scenarios"][scenario.__name__]
