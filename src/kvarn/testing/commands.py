"""Commands run inside the process, as a test wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvarn.cli import main

if TYPE_CHECKING:
    import pytest


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Runs ``kvarn`` with these arguments; its status, and what it wrote to stdout and stderr."""
    try:
        main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as e:
        status = int(e.code or 0)
    out = capsys.readouterr()
    return status, out.out, out.err
