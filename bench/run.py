"""The numbers that must hold, each measured in this run beside what it is held against.

    make bench                            all of it
    PY_TF115=…/python make bench          W4 and W6 beside TensorFlow 1.15 of that interpreter
    PY_TORCH=…/python make bench          W4 beside torch and fbgemm
    .venv/bin/python bench/run.py --only w3,w4,threads,w7,scale,groups,snapshots --reps 3     the embedding engine
    .venv/bin/python bench/run.py --only w1,w2,start,memory,w5,w6,reshard,size --reps 3

Wall and CPU seconds are both read: on a busy machine the ratio of CPU seconds is the one to believe.
Ends with status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

import embedding
from bars import HERE, Bars, lines_of

ROOT = HERE.parent
# Recorded with TensorFlow 1.15.5 (bench/README.md); used where no TensorFlow is at hand.
RECORDED_TF115_READ_CPU_SECS = 0.9
RECORDED_TF115_US = {
    "build, per op (1,000-op graph)": 310.0,
    "session.run of a constant": 91.0,
    "later run, per op (chain of 1,000 scalar multiplies)": 0.47,
    "session.run, scalar feed and fetch": 152.0,
}


def verify() -> None:
    print("verify: is the work done right, before any timing is believed")
    subprocess.run([sys.executable, "verify.py", "peers/ev_kvarn.py"], cwd=HERE, check=True)


def w1(bars: Bars, reps: int) -> None:
    print(
        "W1: 64 tensors, 1 GiB, one thread, beside write(2) and read(2) of as many bytes; CPU seconds count"
    )
    asked = {
        "save": 1.4,
        "restore into reused memory": 1.5,
        "map, verified": 0.6,
        "map, not verified": 0.01,
    }
    for row in lines_of("peers/io_kvarn.py", "--workload", "W1", "--threads", "1", "--reps", str(reps)):
        told = (
            f"{row['case']}: {row['median']:.3g} s, CPU {row['cpu_median']:.3g} s, wall {row['x_limit']:.2f}x"
        )
        if row["case"] in asked:
            print(f"     {told} of the limit")
            bars.show(f"W1 {row['case']}", row["x_limit_cpu"], asked[row["case"]])
        else:
            print(f"     {told}, CPU {row['x_limit_cpu']:.2f}x of the limit (no bar)")


def w2(bars: Bars, reps: int) -> None:
    print("W2: 50,000 tensors of 16 floats; CPU time of each")
    asked = {"save": 2.0, "restore hot": 2.0, "list names": 1.0}
    for row in lines_of("peers/io_kvarn.py", "--workload", "W2", "--reps", str(reps)):
        if row["case"] in asked:
            each = row["cpu_median"] / row["tensors"] * 1e6
            bars.show(f"W2 {row['case']}", each, asked[row["case"]], "us a tensor")


def start(bars: Bars, reps: int) -> None:
    print("Processes that read one tensor, or list 50,000, from start to end")
    rows = lines_of("peers/io_start.py", "--reps", str(reps))
    for row in rows:
        print(f"     {row['peer']}, {row['case']}: {row['median']:.3g} s, CPU {row['cpu_median']:.3g} s")
    ours = {row["case"]: row for row in rows if row["peer"] == "kvarn"}
    theirs = [row["cpu_median"] for row in rows if row["peer"] != "kvarn"]
    if not theirs:
        print("     (PY_TF115 is not set: beside TensorFlow's recorded CPU seconds)")
    reference = theirs[0] if theirs else RECORDED_TF115_READ_CPU_SECS
    read, listing = ours["process start to one tensor read"], ours["process that lists 50,000"]
    bars.show("start to one tensor read, against TensorFlow 1.15, CPU", read["cpu_median"] / reference, 0.2)
    bars.show("process that lists 50,000", listing["cpu_median"], 0.5, "s CPU")


def memory(bars: Bars) -> None:
    print("Memory of W1 beyond the tensors")
    for row in lines_of("peers/io_memory.py"):
        bars.show(row["case"], row["median"] / 2**20, 64, "MiB")


def w5(reps: int) -> None:
    print("W5: training step of a model with 26 tables, beside peak FMA and the bare C table (no bar)")
    for threads in (1, 2):
        command = ("peers/train_kvarn.py", "--threads", str(threads), "--reps", str(reps))
        # NumPy's own matrix products do not ask a session how many threads they may use.
        for row in lines_of(*command, OPENBLAS_NUM_THREADS=str(threads)):
            print(
                f"     {threads} thread{'s' if threads > 1 else ''}: {row['median'] * 1e3:.1f} ms a step "
                f"(CPU {row['cpu_median'] * 1e3:.1f} ms), wall {row['x_limit']:.2f}x, "
                f"CPU {row['x_limit_cpu']:.2f}x of the limit; loss {row['first_loss']:.4f} to {row['last_loss']:.4f}",
                flush=True,
            )


def w6(bars: Bars, reps: int) -> None:
    print("W6: start-up and the cost of a session, beside TensorFlow 1.15")
    ours = {row["case"]: row for row in lines_of("peers/start.py", "--module", "kvarn", "--reps", str(reps))}
    theirs: dict[str, dict] = {}
    python = os.environ.get("PY_TF115")
    if python:
        rows = lines_of("peers/start.py", "--only", "graph", "--reps", str(reps), python=python)
        theirs = {row["case"]: row for row in rows}
    else:
        print("     (PY_TF115 is not set: beside TensorFlow's recorded numbers)")
    for case, row in ours.items():
        if case.startswith("installed"):
            continue  # of this environment, tools included; `size` measures a clean one
        print(
            f"     {case}: {row['median']:.4g} {row['unit']}"
            + (f", TensorFlow {theirs[case]['median']:.4g}" if case in theirs else "")
        )
    for case, bar in (
        ("session.run of a constant", 0.25),
        ("session.run, scalar feed and fetch", 0.25),
        ("build, per op (1,000-op graph)", 0.1),
        ("later run, per op (chain of 1,000 scalar multiplies)", 2.0),
    ):
        reference = theirs[case]["median"] if case in theirs else RECORDED_TF115_US[case]
        bars.show(f"W6 {case}, against TensorFlow 1.15", ours[case]["median"] / reference, bar)
    imported = ours["import"]
    bars.show("import kvarn above import numpy", imported["median"] - imported["limit_median"], 0.2, "s")
    bars.show("RSS after import kvarn", ours["RSS after import"]["median"] / 2**20, 80, "MB")


def size(bars: Bars) -> None:
    print("Size: a core install without extras")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = os.path.join(folder, "bin", "python")
        site = next(pathlib.Path(folder, "lib").glob("python*/site-packages"))
        before = tree_bytes(site)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)], check=True
        )
        bars.show("core install", (tree_bytes(site) - before) / 2**20, 120, "MB")


def tree_bytes(folder: pathlib.Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())


def reshard(bars: Bars, reps: int) -> None:
    print(
        "reshard: 5 M keys x 16 floats with an Adagrad slot, 4 to 7 parts, beside read and write", flush=True
    )
    done = subprocess.run([sys.executable, "reshard.py", "--reps", str(reps)], cwd=HERE, check=False)
    bars.missed += done.returncode != 0


def variables(bars: Bars) -> None:
    done = subprocess.run([sys.executable, "many_variables.py"], cwd=HERE, check=False)
    bars.missed += done.returncode != 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        default="verify,w1,w2,start,memory,w3,w4,threads,w5,w6,w7,snapshots,scale,groups,reshard,variables,size",
    )
    parser.add_argument("--reps", type=int, default=3)
    options = parser.parse_args()
    chosen = options.only.split(",")
    bars = Bars()
    if {"verify", "w3", "w4", "threads", "w7"} & set(chosen):
        verify()
    if "w1" in chosen:
        w1(bars, options.reps)
    if "w2" in chosen:
        w2(bars, options.reps)
    if "start" in chosen:
        start(bars, options.reps)
    if "memory" in chosen:
        memory(bars)
    if "w3" in chosen:
        embedding.w3(bars, options.reps)
    if "w4" in chosen:
        embedding.w4(bars, options.reps)
    if "threads" in chosen:
        embedding.threads(bars, options.reps)
    if "w5" in chosen:
        w5(options.reps)
    if "variables" in chosen:
        variables(bars)
    if "w6" in chosen:
        w6(bars, options.reps)
    if "w7" in chosen:
        embedding.w7(bars)
    if "snapshots" in chosen:
        embedding.snapshots(bars)
    # Last of the engine's: when it gives back its gigabytes, a virtual machine may stall others for a while.
    if "scale" in chosen:
        embedding.scale(bars, options.reps)
    if "groups" in chosen:
        embedding.groups(bars, options.reps)
    if "reshard" in chosen:
        reshard(bars, options.reps)
    if "size" in chosen:
        size(bars)
    if bars.missed:
        raise SystemExit(f"{bars.missed} bars missed")


if __name__ == "__main__":
    main()
