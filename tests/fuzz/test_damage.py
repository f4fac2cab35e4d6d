"""Damaged checkpoints cost no more than sound ones: memory in a process of its own, whose address space is
limited, and time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHECKPOINTS = HERE.parent / "golden/checkpoints"
WORKER = HERE / "damage_worker.py"
# Peak of allocations for a byte of all files of a checkpoint (and a kilobyte more, for the smallest).
LARGEST_RATIO = 32
LONGEST_SECS = 2.0


def run(*folders: Path) -> dict[str, list[float]]:
    """By kind of damage: how many cases, and the most memory (as a ratio) and seconds that one took."""
    done = subprocess.run(
        [sys.executable, WORKER, *folders], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ["v2_good", "v1_good"])
def test_changed_in_every_place(name: str) -> None:
    worst = run(CHECKPOINTS / "tf115/corrupt" / name)
    kinds = {"none", "cut", "flip", "flip, checksum right", "huge number", "huge number in the index block"}
    assert kinds <= set(worst)
    for kind in kinds:
        count, ratio, secs = worst[kind]
        assert count > 0, kind
        assert ratio <= LARGEST_RATIO, (kind, ratio)
        assert secs <= LONGEST_SECS, (kind, secs)


def test_recorded_damage() -> None:
    folders = [path for path in sorted((CHECKPOINTS / "tf115/corrupt").iterdir()) if path.is_dir()]
    damaged = [path for path in folders if not path.name.endswith("_good")]
    count, ratio, secs = run(*damaged)["recorded"]
    assert count >= len(damaged)
    assert ratio <= LARGEST_RATIO
    assert secs <= LONGEST_SECS
