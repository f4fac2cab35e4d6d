"""Finds a real TensorFlow: this Python's own, or that of the Python which KVARN_TF_PYTHON names."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="session")
def tensorflow() -> Callable[..., Any]:
    """``tensorflow(script, *arguments)`` runs scripts/<script>.py there; what it prints as JSON."""
    python = os.environ.get("KVARN_TF_PYTHON")
    if python is None:
        if importlib.util.find_spec("tensorflow") is None:
            pytest.skip(
                "no TensorFlow: install the test-tf extra, or set KVARN_TF_PYTHON to a Python that has it"
            )
        python = sys.executable

    def run(script: str, *arguments: object) -> Any:
        done = subprocess.run(
            [python, str(SCRIPTS / f"{script}.py"), *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
