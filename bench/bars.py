"""Bars: a number that was measured, what it must not exceed, and programs that measure in processes of their own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


class Bars:
    """Prints numbers beside their bars and counts those that are missed."""

    def __init__(self) -> None:
        self.missed = 0

    def show(self, what: str, value: float, bar: float, unit: str = "x") -> None:
        good = value <= bar
        self.missed += not good
        print(f"{'ok  ' if good else 'MISS'} {what}: {value:.3g} {unit} (bar {bar:g})", flush=True)


def lines_of(*command: str, python: str = sys.executable, **environment: str) -> list[dict]:
    """The JSON lines that a program of this folder prints; its other lines are printed on."""
    done = subprocess.run(
        [python, *command],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    rows = []
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            rows.append(json.loads(line))
        else:
            print(f"     {line}")
    return rows
