"""The bars of the embedding engine: W3, W4 beside peers and on two threads, W7, scale, groups, snapshots."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

from bars import HERE, Bars, lines_of
from common import IoLimit, Scratch, lib, timed_limit

# Frequencies and versions are kept in all that is measured of W4.
KEPT = {"TF_RECORD_FREQ": "1", "TF_RECORD_VERSION": "1"}
ROUNDS = 2
MOST_REPS_OF_W4 = 7  # the bare table has no room for more insertions
# Samples of two threads are short: of few, half may be such that other work has disturbed.
LEAST_REPS_OF_THREADS = 31
W4_BARS = {"lookup": 1.6, "train": 1.8, "insert new keys (value only)": 2.0}


def peers() -> list[tuple[tuple[str, ...], str]]:
    """Programs and pythons of the peers whose interpreters are named in the environment."""
    found = []
    if "PY_TORCH" in os.environ:
        found.append((("peers/ev_torch.py", "--kind", "tbe"), os.environ["PY_TORCH"]))
        found.append((("peers/ev_torch.py", "--kind", "sparse"), os.environ["PY_TORCH"]))
    if "PY_TF115" in os.environ:
        found.append((("peers/ev_tf_dense.py",), os.environ["PY_TF115"]))
    return found


def read_into_new_memory(nbytes: int, reps: int) -> float:
    """CPU seconds of read(2) of a file that was just written, into pages that nobody has touched; the median."""
    with Scratch("disk") as folder:
        limit = IoLimit(nbytes, folder)
        limit.write(keep=True)
        path = limit.path.encode()
        return median(timed_limit(lib().kv_read_fresh, path, nbytes, 1 << 20, 1, 0)[1] for _ in range(reps))


def w3(bars: Bars, reps: int) -> None:
    print(
        "W3: save and restore 5 M keys x (16 + 16) floats through Saver, beside write(2) and read(2); CPU seconds"
    )
    command = ("--workload", "W3", "--threads", "1", "--reps", str(reps))
    for row in lines_of("peers/ev_kvarn.py", *command):
        limit = row["work"] / row["limit_cpu_median"] / 1e9
        print(
            f"     {row['case']}: {row['median']:.3g} s, CPU {row['cpu_median']:.3g} s, {row['x_limit_cpu']:.2f}x of "
            f"the limit, which is {limit:.1f} GB/s; {row['file_bytes'] / 2**20:.0f} MiB"
        )
        if row["case"] == "save":
            bars.show("W3 save", row["x_limit_cpu"], 2.0)
            continue
        bars.show("W3 restore", row["x_limit_cpu"], 3.0)
        fresh = read_into_new_memory(int(row["work"]), reps)
        print(
            f"     to a read of as many bytes into new memory, {fresh:.3g} s: {row['cpu_median'] / fresh:.2f} x"
        )
    if "PY_TF115" in os.environ:
        for row in lines_of("peers/ev_tf_dense.py", *command, python=os.environ["PY_TF115"]):
            print(f"     {row['peer']}, {row['case']}: {row['median']:.3g} s, CPU {row['cpu_median']:.3g} s")


def w4(bars: Bars, reps: int) -> None:
    print(
        "W4: 53,248 ids against 5 M keys, one thread, beside the bare C table; frequencies and versions kept"
    )
    others = peers()
    if not others:
        print("     (PY_TORCH and PY_TF115 are not set: no peers beside)")
    command = ("--workload", "W4", "--threads", "1", "--reps", str(min(reps, MOST_REPS_OF_W4)))
    pooled: dict[tuple[str, str, str], list[dict]] = {}
    for _ in range(ROUNDS):
        for (program, *own), python in [(("peers/ev_kvarn.py",), sys.executable), *others]:
            # fbgemm and torch spin on idle OpenMP threads otherwise.
            for row in lines_of(
                program,
                *command,
                *own,
                python=python,
                OMP_WAIT_POLICY="PASSIVE",
                PYTHONWARNINGS="ignore",
                **KEPT,
            ):
                pooled.setdefault((row["case"], row.get("dist", ""), row["peer"]), []).append(row)
    for (case, dist, peer), rows in sorted(
        pooled.items(), key=lambda item: (item[0][:2], item[0][2] != "kvarn")
    ):
        wall, cpu, limit, limit_cpu = (
            median(sample for row in rows for sample in row[column])
            for column in ("samples", "cpu_samples", "limit_samples", "limit_cpu_samples")
        )
        print(
            f"     {case} {dist}, {peer}: {rows[0]['work'] / cpu / 1e6:.1f} M keys/s of CPU, "
            f"wall {wall / limit:.2f}x, CPU {cpu / limit_cpu:.2f}x of the limit"
        )
        if peer == "kvarn":
            bars.show(f"W4 {case} {dist}".rstrip(), cpu / limit_cpu, W4_BARS[case])


def threads(bars: Bars, reps: int) -> None:
    print("W4 on two threads, beside one thread in the same process; wall seconds, medians")
    for row in lines_of("ev_threads.py", "--reps", str(max(reps, LEAST_REPS_OF_THREADS)), **KEPT):
        # One sample of one thread on a processor that ran faster for once decides what is best.
        best = row["min"] / row["limit_min"]
        told = f"{row['case']} {row['dist']}"
        if row["peer"] != "kvarn":
            print(f"     {told}, {row['peer']} table: {row['x_limit']:.3g}x, best {best:.2f}x")
            continue
        print(
            f"     {told}: best {best:.2f}x of one thread's best, CPU {row['x_limit_cpu']:.2f}x, CPU of the busiest "
            f"thread {row['busiest_thread']:.2f}x"
        )
        bars.show(f"W4 {told}", row["x_limit"], 0.6)


def w7(bars: Bars) -> None:
    print("W7: memory of 5 M keys x 16 floats")
    for slot in ((), ("--slot",)):
        for row in lines_of("peers/ev_kvarn.py", "--workload", "W7", "--threads", "1", *slot):
            payload = row["limit_median"]
            print(
                f"     {row['case']}: {row['median']:.1f} B, payload {payload:.0f} B; "
                f"at most {row['peak']:.1f} B while it grew ({row['peak'] / payload:.2f}x)"
            )
            bars.show(f"W7 {row['case']}", row["x_limit"], 1.25)
            # The old and the new table at once would be twice as much.
            bars.show(f"W7 {row['case']}, at most while it grew", row["peak"] / payload, 1.25)


def scale(bars: Bars, reps: int) -> None:
    print("Scale: a lookup among 50 M keys x 8 floats, beside one among 1 M; CPU seconds")
    for row in lines_of("ev_scale.py", "--reps", str(reps)):
        told = f"{row['case']}, {row['dist']}"
        if row["peer"] == "kvarn":
            bars.show(told, row["x_limit_cpu"], 2.0)
        else:
            print(f"     {told}, {row['peer']} table: {row['x_limit_cpu']:.2f}x")


def groups(bars: Bars, reps: int) -> None:
    print("Groups: 26 variables looked up by one group op, beside 26 lookups; CPU seconds")
    for row in lines_of("group_lookup.py", "--reps", str(reps)):
        bars.show(row["case"], row["x_limit_cpu"], 1.0)


def snapshots(bars: Bars) -> None:
    print("Snapshots: what writers wait, and the memory above the table", flush=True)
    done = subprocess.run([sys.executable, "snapshot_stall.py"], cwd=HERE, check=False)
    bars.missed += done.returncode != 0
