"""Building, saving and restoring many variables through `tf.train.Saver`: kvarn, and TensorFlow 1.15 beside it.

    python bench/many_variables.py --variables 50000        needs PY_TF115, the interpreter that has TensorFlow

Each takes a turn in a process of its own; wall seconds of the whole, imports left out.
"""

from __future__ import annotations  # the interpreter may be one that TensorFlow 1.15 runs on

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

BAR = 0.1


def work(module: str, count: int) -> dict[str, float]:
    """The seconds of each part."""
    import numpy as np

    if module == "kvarn":
        import kvarn as tf
    else:
        import tensorflow as tf
    folder = tempfile.mkdtemp()
    marks = [time.perf_counter()]

    def mark() -> None:
        marks.append(time.perf_counter())

    try:
        with tf.Graph().as_default():
            variables = [
                tf.get_variable(
                    f"scope_{i // 500:03d}/block_{i // 50 % 10:02d}/var_{i:05d}",
                    initializer=np.full([16], i % 7, np.float32),
                )
                for i in range(count)
            ]
            init = tf.global_variables_initializer()
            mark()
            saver = tf.train.Saver(variables)
            mark()
            with tf.Session() as session:
                session.run(init)
                mark()
                path = saver.save(session, os.path.join(folder, "model.ckpt"))
                mark()
                saver.restore(session, path)
                mark()
                assert session.run(variables[-1])[0] == (count - 1) % 7
    finally:
        shutil.rmtree(folder)
    parts = ("build", "Saver", "initialize", "save", "restore")
    return {part: marks[i + 1] - marks[i] for i, part in enumerate(parts)}


def measured(python: str, module: str, count: int) -> dict[str, float]:
    command = [python, os.path.abspath(__file__), "--module", module, "--variables", str(count)]
    quiet = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"     {module}: {sum(found.values()):.2f} s: " + ", ".join(f"{k} {v:.2f}" for k, v in found.items())
    )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variables", type=int, default=50_000)
    parser.add_argument("--module", choices=("kvarn", "tensorflow"), help="only this one, its parts as JSON")
    options = parser.parse_args()
    if options.module:
        print(json.dumps(work(options.module, options.variables)))
        return 0
    print(f"{options.variables:,} variables built, initialized, saved and restored")
    ours = sum(measured(sys.executable, "kvarn", options.variables).values())
    if "PY_TF115" not in os.environ:
        print("     (PY_TF115 is not set: no TensorFlow beside)")
        return 0
    ratio = ours / sum(measured(os.environ["PY_TF115"], "tensorflow", options.variables).values())
    print(f"{'ok  ' if ratio <= BAR else 'MISS'} against TensorFlow 1.15: {ratio:.3f} (bar {BAR})")
    return int(ratio > BAR)


if __name__ == "__main__":
    sys.exit(main())
