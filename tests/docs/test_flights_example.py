"""The example learns, is killed, goes on, and ends with the weights of a run that was not killed."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

from kvarn import checkpoint

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
STEPS = 60


def start(folder: pathlib.Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kvarn", "run", str(EXAMPLES / "flights.py"), "--folder", str(folder)]
    options = ["--steps", str(STEPS), "--save-steps", "10", "--log-steps", "1"]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def log_of(folder: pathlib.Path) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def tensors_of(folder: pathlib.Path) -> dict[str, np.ndarray[Any, Any]]:
    """All tensors of the newest checkpoint, rows of embedding variables in order of their keys."""
    reader = checkpoint.load_checkpoint(str(folder))
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    for name in [n for n in tensors if n.endswith("-keys")]:
        order = np.argsort(tensors[name], kind="stable")
        for kind in ("-keys", "-values"):
            whole = name.removesuffix("-keys") + kind
            tensors[whole] = tensors[whole][order]
    return tensors


def test_killed_and_resumed_equals_uninterrupted(tmp_path: pathlib.Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    first = start(whole)
    second = start(broken)
    while not any(entry["step"] >= 25 for entry in log_of(broken)):
        assert second.poll() is None, second.communicate()[0]
        time.sleep(0.01)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    killed_at = max(entry["step"] for entry in log_of(broken))
    assert killed_at < STEPS
    third = start(broken)
    said, _ = third.communicate(timeout=120)
    assert third.returncode == 0, said
    assert "resumed from" in said
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 0, said

    losses = [entry["loss"] for entry in log_of(whole) if "loss" in entry]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.05
    left, right = tensors_of(whole), tensors_of(broken)
    assert left.keys() == right.keys()
    assert left["global_step"] == right["global_step"] == STEPS
    different = [name for name in left if left[name].tobytes() != right[name].tobytes()]
    assert different == []
