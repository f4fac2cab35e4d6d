"""Names of NumPy 1 in programs that `kvarn run` runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np


def test_a_program_finds_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, tensorflow as tf\n"
        "print(np.int(3.5), np.float is float, np.object is object, np.product([2, 3]), np.NaN != np.NaN)\n"
        "print(np.asfarray([1, 2]).dtype, np.string_(b'x'), np.bool is np.bool_)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "kvarn", "run", str(script)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "3 True True 6 True\nfloat64 b'x' True\n", done.stderr


def test_nothing_else_puts_them_back() -> None:
    assert not hasattr(np, "float_")
    assert not hasattr(np, "product")
