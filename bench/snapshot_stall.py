"""How long a snapshot makes writers wait, and what memory it takes: 5 million keys with an Adagrad slot.

    python snapshot_stall.py [--keys 5000000] [--batch 512] [--bar-ms 50]

Two threads update random keys in small batches while a snapshot is taken and read to its end: keys, frequencies,
versions, values and slots. Printed: the longest update without and with a snapshot, how long the snapshot took, and
the memory at most above the table's own. Ends with status 1 if an update took longer than the bar.
"""

from __future__ import annotations

import argparse
import threading
import time

import numpy as np
from common import mix_keys, peak_rss, rss

from kvarn import _native
from kvarn.engine.table import EmbeddingTable

DIM = 16
WRITERS = 2
CHUNK = 100_000


class Writer(threading.Thread):
    """Updates random keys until told to stop; `longest` is the longest update since it was last set to 0."""

    def __init__(self, table, slot, n_keys, batch, seed):
        super().__init__(daemon=True)
        self.table, self.slot, self.stop = table, slot, False
        random = np.random.default_rng(seed)
        self.batches = [mix_keys(random.integers(0, n_keys, batch)) for _ in range(64)]
        self.grads = random.standard_normal((batch, DIM), np.float32)
        self.longest, self.updates = 0.0, 0

    def run(self):
        while not self.stop:
            for step, keys in enumerate(self.batches):
                begin = time.perf_counter()
                self.table.apply(
                    "Adagrad", keys, self.grads, slots=[self.slot], params=[0.01], counts=None, step=step
                )
                self.longest = max(self.longest, time.perf_counter() - begin)
                self.updates += 1


def read_to_the_end(cut, n_slots):
    n_bytes = cut.keys.nbytes + cut.freqs.nbytes + cut.versions.nbytes
    for slot in range(n_slots):
        n_bytes += sum(rows.nbytes for rows in cut.chunks(slot))
    return n_bytes


def forget_peak():
    """Lets VmHWM begin anew."""
    with open("/proc/self/clear_refs", "w") as out:
        out.write("5")


def phase(what, writers, work):
    """Runs work() beside the writers and prints the longest update meanwhile; returns it in ms."""
    for writer in writers:
        writer.longest, writer.updates = 0.0, 0
    begin, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    longest = max(writer.longest for writer in writers) * 1e3
    updates = sum(writer.updates for writer in writers)
    print(f"{what}: {wall:.2f} s (CPU {cpu:.2f} s), {updates} updates, the longest {longest:.1f} ms")
    return longest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--bar-ms", type=float, default=50.0)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    _native.set_num_threads(1)
    table = EmbeddingTable(np.int64, DIM, record_freq=True, record_version=True)
    slot = table.add_slot("Adagrad", DIM, np.full((1, DIM), 0.1, np.float32))
    for o in range(0, options.keys, CHUNK):
        table.lookup_or_create(mix_keys(np.arange(o, min(options.keys, o + CHUNK))))
    writers = [Writer(table, slot, options.keys, options.batch, seed) for seed in range(WRITERS)]
    for writer in writers:
        writer.start()
    worst = 0.0
    for number in range(options.times):
        phase("without a snapshot", writers, lambda: time.sleep(1))
        before = rss()
        forget_peak()

        def cut_and_read():
            with table.snapshot() as cut:
                read_to_the_end(cut, 2)

        worst = max(worst, phase(f"snapshot {number + 1} of {options.keys} keys", writers, cut_and_read))
        print(
            f"    memory: {before / 2**20:.0f} MiB before, at most {(peak_rss() - before) / 2**20:.0f} MiB "
            f"more ({table.memory_bytes / 2**20:.0f} MiB are the table's)",
            flush=True,
        )
    for writer in writers:
        writer.stop = True
    for writer in writers:
        writer.join()
    print(f"longest update beside a snapshot: {worst:.1f} ms (bar {options.bar_ms:g})")
    if worst > options.bar_ms:
        raise SystemExit("bar missed")


if __name__ == "__main__":
    main()
