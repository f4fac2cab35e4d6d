"""The pages on byte formats are what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_pages_are_made_from_the_code() -> None:
    tool = ROOT / "tools/format_pages.py"
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_made_by_the_tool() -> None:
    for page in (ROOT / "docs/formats").glob("*.md"):
        assert "Made by tools/format_pages.py" in page.read_text(), page.name
