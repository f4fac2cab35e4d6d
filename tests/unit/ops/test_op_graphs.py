"""Programs make the graphs and the numbers that TensorFlow 1.15.5 makes of them (tests/golden/op_graphs)."""

import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import kvarn

GOLDEN = Path(__file__).parents[2] / "golden" / "op_graphs"


def _load(name):
    spec = importlib.util.spec_from_file_location(f"op_graphs_{name}", GOLDEN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = _load("cases").CASES
observed = _load("record").observed
EXPECTED = json.loads(gzip.decompress((GOLDEN / "expected.json.gz").read_bytes()))


def test_every_case_is_recorded():
    assert set(CASES) == set(EXPECTED)


@pytest.mark.parametrize("name", CASES)
def test_graph_and_values(name):
    found, wanted = observed(kvarn, CASES[name]), EXPECTED[name]
    assert found["nodes"] == wanted["nodes"]
    assert found["shapes"] == wanted["shapes"]
    for (dtype, shape, elements), (wanted_dtype, wanted_shape, wanted_elements) in zip(
        found["values"], wanted["values"], strict=True
    ):
        assert (dtype, shape) == (wanted_dtype, wanted_shape)
        if dtype == "string":
            assert elements == wanted_elements
        else:
            np.testing.assert_allclose(
                np.array(elements), np.array(wanted_elements), rtol=2e-5, atol=1e-6, equal_nan=True
            )
