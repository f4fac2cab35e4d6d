"""The list of TensorFlow's tests that fail says what is there, and the README counts it."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import tomllib
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def runner() -> Any:
    spec = importlib.util.spec_from_file_location("peer_run", HERE / "run.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_listed_test_is_one_of_tensorflows() -> None:
    baseline = json.loads((HERE / "baseline_graph.json").read_text())
    groups = tomllib.loads((HERE / "failing.toml").read_text())["group"]
    listed = [(file, test) for group in groups for file, tests in group["tests"].items() for test in tests]
    assert len(set(listed)) == len(listed)
    assert not [(file, test) for file, test in listed if test not in baseline[file]]
    assert all(len(group["reason"]) > 10 for group in groups)


def test_the_readme_counts_them() -> None:
    baseline = json.loads((HERE / "baseline_graph.json").read_text())
    total = sum(map(len, baseline.values()))
    passing = total - len(runner().known_failures())
    counted = f"Of the {total:,} tests in {len(baseline)} of TensorFlow 1.15.5's own test files"
    text = (ROOT / "README.md").read_text()
    assert f"{counted} that pass there in graph mode, {passing:,} pass" in text


def test_what_fails_is_held_against_the_list() -> None:
    detail = {"a_test.py": {"tests": {"T.good": "ok", "T.bad": "error", "T.more": "ok"}}}
    assert runner().failures(detail, {"a_test.py": ["T.good", "T.bad", "T.gone"], "b_test.py": ["T.x"]}) == {
        ("a_test.py", "T.bad"),
        ("a_test.py", "T.gone"),
    }
