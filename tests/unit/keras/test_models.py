"""Keras models: the graphs and numbers of TensorFlow 1.15.5 (tests/golden/keras)."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf

FOLDER = Path(__file__).parents[2] / "golden" / "keras"
RECORDED = json.loads(gzip.decompress((FOLDER / "tensorflow_1.15.5.json.gz").read_bytes()))


def _module() -> Any:
    spec = importlib.util.spec_from_file_location("keras_programs", FOLDER / "programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROGRAMS = _module()


@pytest.fixture(autouse=True)
def no_session_left():
    yield
    tf.keras.backend.clear_session()


def _assert_close(found: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for name in expected:
            _assert_close(found[name], expected[name], f"{where} {name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, (f, e) in enumerate(zip(found, expected, strict=True)):
            _assert_close(f, e, f"{where} {i}")
    else:
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6, err_msg=where)


def test_every_program_is_recorded():
    assert set(PROGRAMS.PROGRAMS) == set(RECORDED)


@pytest.mark.parametrize("name", sorted(PROGRAMS.PROGRAMS))
def test_as_tensorflow(name):
    found, expected = PROGRAMS.run(tf, name), RECORDED[name]
    _assert_close(found["values"], expected["values"], name)
    assert list(found["graphs"]) == list(found["graphs"])
    for stage, nodes in expected["graphs"].items():
        assert found["graphs"][stage] == nodes, stage
