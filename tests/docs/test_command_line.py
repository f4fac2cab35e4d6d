"""The pages on the command line: their examples print what the page says, with the statuses it says."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

from kvarn.cli.app import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = {
    name: (ROOT / f"docs/guide/{name}.md").read_text()
    for name in ("command-line", "programs", "restore-plans", "saved-models")
}
SESSIONS = [
    (name, session)
    for name, page in PAGES.items()
    for session in re.findall(r"<!-- run -->\s*```console\n(.*?)```", page, re.DOTALL)
]
LOOKING = ("ls", "show", "verify", "diff")


def steps(session: str) -> list[tuple[str, int, str]]:
    """Command, status and output of each step."""
    found = []
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        command, _, remark = command.partition("  # status ")
        found.append((command, int(remark or 0), shown))
    return found


def setup(page: str) -> str:
    """The program that writes the files of a page's examples."""
    found = re.search(r"<!-- setup -->\s*```python\n(.*?)```", PAGES[page], re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(("page", "session"), SESSIONS)
def test_sessions(page: str, session: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "m").mkdir()
    subprocess.run([sys.executable, "-c", setup(page)], cwd=tmp_path, check=True, timeout=60)
    kvarn = tmp_path / "bin" / "kvarn"
    kvarn.parent.mkdir()
    kvarn.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kvarn "$@"\n')
    kvarn.chmod(0o755)
    environment = {**os.environ, "PATH": f"{kvarn.parent}:{os.environ['PATH']}", "PYTHONIOENCODING": "utf-8"}
    for command, status, shown in steps(session):
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == status, (command, done.stderr)
        assert done.stdout == shown, command


def test_every_command_is_told_of() -> None:
    shown = {
        command.split()[1] for _, session in SESSIONS for command, *_ in steps(session) if "kvarn" in command
    }
    page = PAGES["command-line"]
    assert set(LOOKING) <= shown
    for name, _ in COMMANDS:
        assert f"`{name}`" in page or f"`kvarn {name}`" in page, name
