"""Training and lookup programs against what TensorFlow 1.15.5 built and computed (tests/golden/train)."""

from __future__ import annotations

import gzip
import importlib.util
import json
import pathlib

import numpy as np
import pytest

import kvarn as tf

FOLDER = pathlib.Path(__file__).parents[2] / "golden" / "train"


def load_programs():
    spec = importlib.util.spec_from_file_location("train_programs", FOLDER / "programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


programs = load_programs()
recorded = json.loads(gzip.decompress((FOLDER / "tensorflow_1.15.5.json.gz").read_bytes()))


def test_every_program_is_recorded():
    assert sorted(recorded) == sorted(programs.CASES)


@pytest.mark.parametrize("name", programs.CASES)
def test_nodes_and_numbers_are_tensorflows(name):
    found, expected = programs.run(tf, name), recorded[name]
    for mine, theirs in zip(found["nodes"], expected["nodes"], strict=False):
        assert mine == theirs
    assert len(found["nodes"]) == len(expected["nodes"])
    for mine, theirs in zip(found["values"], expected["values"], strict=True):
        for a, b in zip(mine, theirs, strict=True):
            # Eigen's reciprocal square roots differ from the true ones in the last bits.
            np.testing.assert_allclose(a, b, rtol=4e-6, atol=1e-6)
