"""W4 with one thread and with two, sample by sample in turn in one process: JSON lines with both.

python ev_threads.py --reps 31

The bare C table does the same in between: how much of a second thread the machine gives at this hour.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
from common import W4_BATCH, W4_FILL, emit, mix_keys, timed, w4_ranks
from evlib import RandLimit, fill
from kvarn_ev import Adapter

from kvarn import _native

BATCHES = 20


def seconds_by_thread():
    """CPU seconds of every thread so far."""
    return {
        t: int(open(f"/proc/self/task/{t}/schedstat").read().split()[0]) / 1e9
        for t in os.listdir("/proc/self/task")
    }


def busiest_since(before):
    """What wall seconds cannot fall below, however many processors are idle."""
    return max(seconds - before.get(thread, 0.0) for thread, seconds in seconds_by_thread().items())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=5)
    options = parser.parse_args()
    options.threads, options.init = 2, "uniform"
    adapter = Adapter(options, slot=True)
    fill(adapter)
    bare = RandLimit(1)
    for dist in ("zipf1.05", "zipf1.2", "unif"):
        ranks = w4_ranks(dist, BATCHES)
        keys = mix_keys(np.where(ranks < W4_FILL, ranks, ranks - W4_FILL))
        for case in ("lookup", "train"):
            ours, theirs = getattr(adapter, case), getattr(bare, case)
            work = {"kvarn": lambda: [ours(batch) for batch in keys], "bare C": lambda: theirs(keys)}  # noqa: B023
            samples = {peer: {1: [], 2: []} for peer in work}
            busiest = {peer: {1: [], 2: []} for peer in work}
            for rep in range(options.reps + 1):
                for threads in (1, 2):
                    _native.set_num_threads(threads)
                    bare.t = threads
                    for peer, run in work.items():
                        before = seconds_by_thread()
                        wall, cpu, _ = timed(run)
                        if rep:
                            samples[peer][threads].append((wall, cpu))
                            busiest[peer][threads].append(busiest_since(before))
            for peer in work:
                emit(
                    "W4",
                    f"{case}, two threads",
                    peer,
                    samples[peer][2],
                    work=BATCHES * W4_BATCH,
                    work_unit="keys",
                    dist=dist,
                    limit_name="one thread",
                    limit=samples[peer][1],
                    busiest_thread=np.median(busiest[peer][2]) / np.median(busiest[peer][1]),
                )


if __name__ == "__main__":
    main()
