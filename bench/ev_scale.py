"""What a lookup costs in a table of 50 million keys x 8 floats and in one of 1 million, in turn in one process.

    python ev_scale.py [--large 50000000] [--reps 5]

One JSON line a distribution; its limit is the small table. The same two sizes of the bare C table stand beside them:
what the machine's own caches make of the difference.
"""

from __future__ import annotations

import argparse
import ctypes

import numpy as np
from common import W4_BATCH, emit, lib, mix_keys, ptr, timed, timed_limit, zipf_cdf, zipf_ranks
from kvarn_ev import Adapter

BATCHES, DIM = 20, 8
SMALL = 1_000_000
CHUNK = 1_000_000
BYTES_A_KEY = 130  # of both tables together, with room to spare


def available_bytes() -> int:
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))


def chunks(n):
    return (mix_keys(np.arange(o, min(n, o + CHUNK))) for o in range(0, n, CHUNK))


class Bare:
    """The bare C table of n keys."""

    def __init__(self, n):
        self.lib, self.out = lib(), np.ones((W4_BATCH, DIM), np.float32)
        self.table = ctypes.c_void_p(self.lib.kv_ht_new(int(np.ceil(np.log2(n / 0.75))), n, DIM))
        for keys in chunks(n):
            self.lib.kv_ht_insert(self.table, ptr(keys), len(keys), 0.01, 0.1)

    def lookup(self, keys):
        return timed_limit(
            self.lib.kv_ht_lookup, self.table, ptr(keys), W4_BATCH, len(keys), ptr(self.out), 1
        )


class Ours:
    def __init__(self, n, options):
        self.adapter = Adapter(options, dim=DIM, slot=False)
        for keys in chunks(n):
            self.adapter.insert(keys)

    def lookup(self, keys):
        return timed(lambda: [self.adapter.lookup(batch) for batch in keys])[:2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--large", type=int, default=50_000_000)
    parser.add_argument("--reps", type=int, default=5)
    options = parser.parse_args()
    options.threads, options.init = 1, "uniform"
    needed = options.large * BYTES_A_KEY + (1 << 30)
    if available_bytes() < needed:
        print(f"skipped: {needed >> 30} GiB of free memory are needed, {available_bytes() >> 30} are there")
        return
    sizes = (SMALL, options.large)
    tables = {("kvarn", n): Ours(n, options) for n in sizes} | {("bare C", n): Bare(n) for n in sizes}
    for (_, n), table in tables.items():
        # All keys once: after so much new memory the host is busy with its pages for a while.
        for some in chunks(n):
            table.lookup(some[: len(some) // W4_BATCH * W4_BATCH].reshape(-1, W4_BATCH))
    for dist in ("zipf1.05", "unif"):
        keys = {}
        for n in sizes:
            if dist == "unif":
                ranks = np.random.RandomState(7).randint(0, n, BATCHES * W4_BATCH)
            else:
                ranks = zipf_ranks(zipf_cdf(n, float(dist[4:])), BATCHES * W4_BATCH, 7)
            keys[n] = mix_keys(ranks).reshape(BATCHES, W4_BATCH)
        samples = {which: [] for which in tables}
        for rep in range(options.reps + 1):
            for (peer, n), table in tables.items():
                sample = table.lookup(keys[n])
                if rep:
                    samples[peer, n].append(sample)
        for peer in ("kvarn", "bare C"):
            emit(
                "scale",
                f"lookup among {options.large} keys",
                peer,
                samples[peer, options.large],
                work=BATCHES * W4_BATCH,
                work_unit="keys",
                dist=dist,
                limit_name=f"among {SMALL}",
                limit=samples[peer, SMALL],
            )


if __name__ == "__main__":
    main()
