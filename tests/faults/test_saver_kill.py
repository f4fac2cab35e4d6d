"""kill -9 at random moments of a save loop: what `checkpoint` names restores whole, every time."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import kvarn as tf

PROGRAM = Path(__file__).with_name("save_loop.py")
KILLS = 50
LONGEST_SECS = 0.12


def _program():
    spec = importlib.util.spec_from_file_location("save_loop", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(process: subprocess.Popen) -> str:
    text = process.stdout.readline().strip()
    assert text, "the program has ended"
    return text


def test_the_newest_checkpoint_survives_fifty_kills(tmp_path: Path) -> None:
    chance = random.Random(20)
    directory = tmp_path / "d"
    directory.mkdir()
    model = _program().Model()
    package = Path(tf.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(package)},
    )
    steps = [0]
    unfinished = 0
    litter: set[str] = set()
    with process:
        try:
            for _ in range(KILLS):
                process.stdin.write("\n")
                process.stdin.flush()
                said = {line(process), line(process)}
                (child,) = said - {"ready"}
                time.sleep(chance.uniform(0.0, LONGEST_SECS))
                os.kill(int(child), signal.SIGKILL)
                assert line(process) == "dead"
                now = {name for name in os.listdir(directory) if ".temp" in name or ".tmp" in name}
                unfinished += bool(now - litter)
                litter = now
                prefix = tf.train.latest_checkpoint(str(directory))
                if prefix is None:
                    assert steps == [0]
                    continue
                with tf.Session(graph=model.graph) as sess:
                    model.saver.restore(sess, prefix)
                    step = model.check(sess)
                assert prefix.endswith(f"m-{step}")
                assert step >= steps[-1]
                with tf.Graph().as_default():
                    tf.train.import_meta_graph(prefix + ".meta")
                steps.append(step)
        finally:
            process.stdin.close()
            process.kill()
    assert len(set(steps)) > KILLS // 4, steps
    assert unfinished > 0, "no kill fell into a save: the test has lost its aim"
