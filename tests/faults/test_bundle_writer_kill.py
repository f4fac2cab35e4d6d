"""A process that saves to one prefix over and over is killed: each time one whole version is there."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from kvarn.formats.bundle import BundleReader

PROGRAM = """
import sys
import numpy as np
from kvarn.formats.bundle import BundleWriter

version = int(sys.argv[2])
print("ready", flush=True)
while True:
    version += 1
    with BundleWriter(sys.argv[1]) as writer:
        for i in range(20):
            writer.add(f"t{i}", np.full(1000 * (version % 7 + 1) + i, version))
"""
KILLS = 10


def test_killed_at_any_moment(tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    moments = random.Random(7)
    newest = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, prefix, str(newest)], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.02, 0.1))
            process.kill()
        if not Path(f"{prefix}.index").exists():
            assert newest == 0
            continue
        with BundleReader(prefix) as reader:
            tensors = [reader.lookup(f"t{i}") for i in range(20)]
        versions = {int(value) for tensor in tensors for value in (tensor.min(), tensor.max())}
        assert len(versions) == 1
        found = versions.pop()
        assert [len(tensor) for tensor in tensors] == [1000 * (found % 7 + 1) + i for i in range(20)]
        assert found >= newest
        newest = found
        # The pair itself, and what one killed save leaves; the saves before have been tidied up.
        assert len(list(tmp_path.iterdir())) <= 4
    assert newest > 0
