"""W4 with one thread and with two, sample by sample in turn in one process: JSON lines with both.

python ev_threads.py --reps 5
"""

from __future__ import annotations

import argparse

import numpy as np
from common import W4_BATCH, W4_FILL, emit, mix_keys, now, w4_ranks
from evlib import fill
from kvarn_ev import Adapter

from kvarn import _native

BATCHES = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=5)
    options = parser.parse_args()
    options.threads, options.init = 2, "uniform"
    adapter = Adapter(options, slot=True)
    fill(adapter)
    for dist in ("zipf1.05", "zipf1.2", "unif"):
        ranks = w4_ranks(dist, BATCHES)
        keys = mix_keys(np.where(ranks < W4_FILL, ranks, ranks - W4_FILL))
        for case in ("lookup", "train"):
            work = getattr(adapter, case)
            samples = {1: [], 2: []}
            for rep in range(options.reps + 1):
                for threads in samples:
                    _native.set_num_threads(threads)
                    begin = now()
                    for batch in keys:
                        work(batch)
                    if rep:
                        samples[threads].append(now() - begin)
            emit(
                "W4",
                f"{case}, two threads",
                adapter.name,
                samples[2],
                work=BATCHES * W4_BATCH,
                work_unit="keys",
                dist=dist,
                limit_name="one thread",
                limit=samples[1],
            )


if __name__ == "__main__":
    main()
