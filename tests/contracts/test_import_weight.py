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


def test_a_listing_loads_only_what_lists() -> None:
    statement = (
        "import tempfile, os\n"
        "import numpy as np\n"
        "from kvarn import checkpoint\n"
        "prefix = os.path.join(tempfile.mkdtemp(), 'm')\n"
        "checkpoint.write(prefix, {f'layer_{i}/kernel': np.float32(i) for i in range(1000)}, sync=False)\n"
        "assert len(checkpoint.list_variables(prefix)) == 1000\n"
    )
    modules = loaded(statement)
    verbs = {
        name
        for name in modules
        if name.startswith(("kvarn.checkpoint.verbs", "kvarn.checkpoint.embeddings."))
    }
    heavy = {
        "kvarn.io.remote",
        "kvarn.graph",
        "kvarn.engine",
        "google.protobuf",
        "typer",
        "rich",
        "pyarrow",
        "obstore",
    }
    assert not modules & heavy
    assert not verbs
    assert not {
        name for name in modules if name.startswith(("kvarn.formats.npz", "kvarn.formats.safetensors"))
    }
