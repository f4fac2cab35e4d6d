"""Metrics make the graphs and numbers that TensorFlow 1.15.5 makes of them (tests/golden/metrics)."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics"
EXPECTED = json.loads(gzip.decompress((GOLDEN / "expected.json.gz").read_bytes()))


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"metrics_{name}", GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROGRAMS = _module("programs")
RECORD = _module("record")


@pytest.mark.parametrize("name", EXPECTED)
def test_graph_and_numbers(name: str) -> None:
    found, expected = RECORD.run(tf, PROGRAMS.PROGRAMS[name], PROGRAMS.BATCHES), EXPECTED[name]
    assert found["nodes"] == expected["nodes"]
    assert found["variables"] == expected["variables"]
    assert found["collections"] == expected["collections"]
    for own, recorded in zip(found["results"], expected["results"], strict=True):
        np.testing.assert_allclose(own, recorded, rtol=2e-6, atol=1e-7)


def test_what_is_refused() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        with pytest.raises(ValueError, match="curve must be either ROC or PR, R unknown"):
            tf.metrics.auc([True], tf.constant([0.5]), curve="R")
        with pytest.raises(ValueError, match="Invalid summation_method: x"):
            tf.metrics.auc([True], tf.constant([0.5]), summation_method="x")
        with pytest.raises(ValueError, match="incompatible"):
            tf.metrics.accuracy([1, 2], [1, 2, 3])
        _, update = tf.metrics.auc([True, False], tf.placeholder_with_default([0.5, 1.5], None))
        session.run(tf.local_variables_initializer())
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"predictions must be in \[0, 1\]"):
            session.run(update)


@pytest.mark.parametrize("name", ["sensitivity_at_specificity", "specificity_at_sensitivity"])
def test_a_part_is_between_0_and_1(name: str) -> None:
    with tf.Graph().as_default(), pytest.raises(ValueError, match=r"must be in the range \[0, 1\]"):
        getattr(tf.metrics, name)([True], tf.constant([0.5]), 1.5)
