"""The embedding table alone beside the bare C table of limits.c: same ids, same threads, no graph around it.

    python engine_micro.py [--threads 1] [--reps 5]

Ratios are kvarn's seconds over the limit's, wall and CPU, medians of the samples; what the table itself must
keep: lookup 1.5, train 1.7.
"""

import argparse
import time

import numpy as np
from common import W4_BATCH, W4_DIM, W4_FILL, mix_keys, w4_ranks
from evlib import RandLimit

from kvarn import _native
from kvarn.engine.table import EmbeddingTable

BATCHES = 10
FILL_CHUNK = 100_000


def timed(work):
    """Wall and CPU seconds of work()."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def report(what, n, ours, limit):
    """One line: rates in million keys a second and both ratios."""
    (wall, cpu), (limit_wall, limit_cpu) = np.median(ours, axis=0), np.median(limit, axis=0)
    print(
        f"{what:20} {n / wall / 1e6:6.1f} M keys/s   limit {n / limit_wall / 1e6:6.1f}   "
        f"ratio wall {wall / limit_wall:.2f} cpu {cpu / limit_cpu:.2f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--reps", type=int, default=5)
    args = parser.parse_args()
    _native.set_num_threads(args.threads)
    limit = RandLimit(args.threads)

    table = EmbeddingTable(np.int64, W4_DIM)
    table.set_default(0, np.full((4096, W4_DIM), 0.01, np.float32))
    accum = table.add_slot("Adagrad", W4_DIM, np.full((1, W4_DIM), 0.1, np.float32))
    chunks = [mix_keys(np.arange(o, o + FILL_CHUNK)) for o in range(0, W4_FILL, FILL_CHUNK)]
    wall, _ = timed(lambda: [table.lookup_or_create(keys) for keys in chunks])
    print(
        f"fill                 {W4_FILL / wall / 1e6:6.1f} M keys/s   "
        f"{table.memory_bytes / W4_FILL:.0f} B/key"
    )

    out = np.empty((W4_BATCH, W4_DIM), np.float32)

    def lookup(batches):
        for keys in batches:
            table.lookup_or_create(keys, out)

    def train(batches):
        for keys in batches:
            table.lookup_or_create(keys, out)
            table.apply("Adagrad", keys, limit.g, slots=[accum], params=[0.01])

    for dist in ("zipf1.05", "zipf1.2", "unif"):
        ranks = w4_ranks(dist, BATCHES)
        keys = mix_keys(np.where(ranks < W4_FILL, ranks, ranks - W4_FILL)).reshape(BATCHES, W4_BATCH)
        for case, ours, bare in (("lookup", lookup, limit.lookup), ("train", train, limit.train)):
            samples = [
                (bare(keys), timed(lambda ours=ours, keys=keys: ours(keys))) for _ in range(args.reps + 1)
            ]
            report(f"{case} {dist}", keys.size, [o for _, o in samples[1:]], [b for b, _ in samples[1:]])
    limit.close()

    cut = None

    def take():
        nonlocal cut
        cut = table.snapshot()
        cut.size  # noqa: B018

    print(f"snapshot             {timed(take)[0] * 1e3:6.1f} ms for {table.size} keys")
    wall, _ = timed(lambda: [None for slot in (0, accum) for _ in cut.chunks(slot)])
    print(f"read of its values   {2 * 4 * W4_DIM * table.size / wall / 1e9:6.2f} GB/s")


if __name__ == "__main__":
    main()
