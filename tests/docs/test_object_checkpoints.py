"""The page on checkpoints of objects: its program runs, twice, and prints what the page says."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/guide/object-checkpoints.md").read_text()


def test_example(tmp_path: pathlib.Path) -> None:
    found = re.search(r"<!-- run -->\s*```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    program, _, shown = found[1].rpartition("\n# ")
    (tmp_path / "train.py").write_text(program)
    for last in (5, 10):
        done = subprocess.run(
            [sys.executable, "-m", "kvarn", "run", "train.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == shown
        assert (tmp_path / f"run/ckpt-{last}.index").exists()
        assert len(list((tmp_path / "run").glob("*.index"))) == 3
