"""Reading files needs neither graph nor engine, and importing costs no protobuf."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded(statement: str, tmp_path: object = None) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "kvarn.formats.bundle",
        "kvarn.formats.embedding",
        "kvarn.formats.detect",
        "kvarn.checkpoint",
        "kvarn.io",
    ],
)
def test_files_alone(module: str) -> None:
    modules = loaded(f"import {module}")
    assert module in modules
    heavy = {"kvarn.graph", "kvarn.ops", "kvarn.engine", "kvarn.variables", "kvarn.train", "google.protobuf"}
    assert not modules & heavy


def test_reading_a_tensor_needs_no_protobuf() -> None:
    statement = (
        "import tempfile, os\n"
        "from kvarn.formats.bundle import BundleReader, BundleWriter\n"
        "from kvarn import checkpoint\n"
        "prefix = os.path.join(tempfile.mkdtemp(), 'm')\n"
        "with BundleWriter(prefix) as writer: writer.add('w', 1.0)\n"
        "assert checkpoint.load_variable(prefix, 'w') == 1.0\n"
    )
    assert "google.protobuf" not in loaded(statement)
