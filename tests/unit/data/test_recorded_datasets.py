"""Datasets, and what parses strings, give what TensorFlow 1.15.5 gives, by the same nodes (tests/golden/data)."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import kvarn as tf

GOLDEN = Path(__file__).parents[2] / "golden" / "data"
EXPECTED = json.loads((GOLDEN / "programs.json").read_text())
PARSING_EXPECTED = json.loads((GOLDEN / "parsing_programs.json").read_text())


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


PROGRAMS = _module("programs").PROGRAMS
RECORD = _module("record")
PARSING_PROGRAMS = _module("parsing_programs").PROGRAMS
RECORD_PARSING = _module("record_parsing")


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) or isinstance(found, float):
        return found == pytest.approx(expected, rel=1e-7, nan_ok=True)
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


@pytest.mark.parametrize("name", PARSING_EXPECTED)
def test_recorded_parsing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = PARSING_EXPECTED[name]
    monkeypatch.setitem(sys.modules, "record", RECORD)
    found = json.loads(json.dumps(RECORD_PARSING.run(tf, PARSING_PROGRAMS[name])))
    assert _same(found["values"], expected["values"]), f"{found['values']}, recorded {expected['values']}"
    assert found["nodes"] == expected["nodes"]
