"""Datasets give what TensorFlow 1.15.5 gives, in the same order, with the same nodes (tests/golden/data)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import kvarn as tf

GOLDEN = Path(__file__).parents[2] / "golden" / "data"
EXPECTED = json.loads((GOLDEN / "programs.json").read_text())


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROGRAMS = _module("programs").PROGRAMS
RECORD = _module("record")


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) or isinstance(found, float):
        return found == pytest.approx(expected, rel=1e-6)
    if isinstance(expected, list):
        if len(expected) == 2 and isinstance(expected[0], str) and expected[0].endswith("Error"):
            return found[0] == expected[0] and _message(found[1], expected[1])
        return len(found) == len(expected) and all(map(_same, found, expected))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_same(found[k], v) for k, v in expected.items())
    return found == expected


def _message(found: str, expected: str) -> bool:
    return found in expected or expected in found


@pytest.mark.filterwarnings("ignore:tf.data static optimizations are not compatible")
@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_programs(name: str) -> None:
    expected = EXPECTED[name]
    found = json.loads(json.dumps(RECORD.run(tf, PROGRAMS[name])))
    for i, (own, recorded) in enumerate(zip(found["elements"], expected["elements"], strict=False)):
        assert _same(own, recorded), f"element {i}: {own}, recorded {recorded}"
    assert len(found["elements"]) == len(expected["elements"])
    assert found["repr"] == expected["repr"]
    assert found["nodes"] == expected["nodes"]
