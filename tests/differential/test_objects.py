"""Object-based checkpoints that kvarn and a real TensorFlow write for each other."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import kvarn as tf

pytestmark = pytest.mark.tf


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


@pytest.fixture(scope="module")
def program():
    path = Path(__file__).parent / "scripts" / "objects.py"
    spec = importlib.util.spec_from_file_location("objects_program", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tensorflow_restores_what_kvarn_saved(tensorflow, program, tmp_path: Path) -> None:
    with tf.Session() as sess:
        path, expected = program.save(tf, sess, str(tmp_path / "ck"))
    assert tensorflow("objects", "restore", path) == expected


def test_kvarn_restores_what_tensorflow_saved(tensorflow, program, tmp_path: Path) -> None:
    path, expected = tensorflow("objects", "save", tmp_path / "ck")
    with tf.Session() as sess:
        assert program.restore(tf, sess, path) == expected
