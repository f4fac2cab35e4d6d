"""W6 for checkpoints alone: a process that reads one tensor, beside TensorFlow's (PY_TF115), and one that lists
50,000.  Wall and CPU seconds of the whole process, from its start to its end."""

import os
import resource
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import numpy as np
from common import Scratch, args, emit, now, w2_tensors

from kvarn.formats.bundle import BundleWriter

READ = "import sys, {0}; v = {1}.load_variable(sys.argv[1], 'layer07'); assert v[0] == 7 and v.size == 1024"
LIST = "import sys, kvarn.checkpoint as c; assert len(c.list_variables(sys.argv[1])) == 50000"


def child(python, code, prefix, **environment):
    """Wall and CPU seconds of `python -c code prefix`."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), now()
    quiet = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # NumPy's BLAS starts threads when it is loaded and lets them spin: seconds that say nothing of either side.
    quiet |= {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OPENBLAS_NUM_THREADS": "1",
    } | environment
    subprocess.run([python, "-c", code, prefix], check=True, env=quiet, stderr=subprocess.DEVNULL)
    wall, after = now() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    options = args(reps=5)
    tensorflow = os.environ.get("PY_TF115")
    with Scratch("disk") as folder:
        small, large = os.path.join(folder, "small"), os.path.join(folder, "large")
        with BundleWriter(small) as writer:
            writer.add_many({f"layer{i:02d}": np.full(1024, i, np.float32) for i in range(64)})
        with BundleWriter(large) as writer:
            writer.add_many(w2_tensors())
        ours, theirs, listing, bare = [], [], [], []
        for i in range(options.reps + 1):
            samples = [
                (ours, sys.executable, READ.format("kvarn.checkpoint as c", "c"), small),
                (listing, sys.executable, LIST, large),
                (bare, sys.executable, "import numpy", small),
            ]
            if tensorflow:
                samples.append((theirs, tensorflow, READ.format("tensorflow as tf", "tf.train"), small))
            for into, python, code, prefix in samples:
                # Compiled once, as an installed package is, but not into the source tree.
                compiled = (
                    {"PYTHONPYCACHEPREFIX": os.path.join(folder, "pyc")} if python == sys.executable else {}
                )
                sample = child(python, code, prefix, **compiled)
                if i:
                    into.append(sample)
    one = "process start to one tensor read"
    emit("W6", one, "kvarn", ours, limit_name="python -c 'import numpy'", limit=bare)
    emit(
        "W6", "process that lists 50,000", "kvarn", listing, limit_name="python -c 'import numpy'", limit=bare
    )
    if theirs:
        emit("W6", one, "tf1.15", theirs, limit_name="python -c 'import numpy'", limit=bare)


main()
