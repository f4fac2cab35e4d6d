"""Programs print under kvarn what they print under TensorFlow 1.15.5; see README.md beside this file."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "kvarn", "run"]
CASES = sorted(path.stem for path in (HERE / "cases").glob("*.py"))
LIMIT_SECS = 60


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"conformance_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run = _module(HERE / "run.py")


def test_every_case_has_a_recorded_document_and_the_other_way_round():
    assert CASES
    assert sorted(path.stem for path in (HERE / "expected").glob("*.json")) == CASES


@pytest.mark.parametrize("name", CASES)
def test_prints_what_tensorflow_prints(name):
    document, complaint, _, terms = run.run_case(COMMAND, str(HERE / "cases" / f"{name}.py"), LIMIT_SECS)
    assert complaint is None, complaint
    want = json.loads((HERE / "expected" / f"{name}.json").read_text())
    found = list(run.differences(want, document, terms.get("rtol", 1e-5), terms.get("atol", 1e-6)))
    assert not found, "\n".join(found)


def test_mission_programs(tmp_path):
    """The second program inspects and restores what the first one saved."""
    for name in _module(HERE / "mission" / "check.py").PROGRAMS:
        script = HERE / "mission" / f"{name}.py"
        done = subprocess.run(
            [*COMMAND, str(script), "Saved_model"], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith(f"{name}: ok"), done.stdout
