"""An embedding variable from 4 parts to 7: memory and time, beside reading and writing the same bytes.

    python bench/reshard.py                       5 million keys x 16 floats with an Adagrad slot
    python bench/reshard.py --keys 300000 --partitions 0

The reshard runs in a process of its own, whose peak memory is what counts; afterwards every row of the new
checkpoint is held against the old one by key.  The limit is read(2) and write(2) of as many bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from statistics import median

import numpy as np
from common import IoLimit, Scratch, mix_keys, peak_rss

from kvarn.checkpoint.verbs.reshard import reshard
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding import bucket_order, part_name, part_of, write_embedding

NAME, SLOT = "emb", "Adagrad"
MEMORY_BAR_MIB, TIME_BAR = 512.0, 3.0
CHUNK_ROWS = 65536


def build(prefix: str, keys: np.ndarray, dim: int, parts: int) -> None:
    """Values are made of their keys as they are written; the slot has another order inside the buckets."""
    random = np.random.RandomState(5)
    with BundleWriter(prefix) as writer:
        for part in range(parts):
            own = keys[part_of(keys, parts) == part]
            for slot in ("", SLOT):
                own = random.permutation(own)
                ordered = own[bucket_order(own)[0]]
                rows = (
                    values_of(ordered[at : at + CHUNK_ROWS], dim, bool(slot))
                    for at in range(0, len(ordered), CHUNK_ROWS)
                )
                versions, freqs = ordered % 4093, ordered % 127
                name = part_name(NAME, part, slot)
                write_embedding(writer, name, ordered, rows, dim=dim, versions=versions, freqs=freqs)


def values_of(keys: np.ndarray, dim: int, slot: bool) -> np.ndarray:
    low = (keys % 1_000_003).astype(np.float32)
    return low[:, None] * np.linspace(1, 2, dim, dtype=np.float32) + np.float32(slot)


def rows_by_key(prefix: str, parts: int, slot: str) -> tuple[np.ndarray, ...]:
    """Keys ascending, with their values, versions and frequencies."""
    names = [part_name(NAME, part, slot) for part in range(parts)] or [f"{NAME}/{slot}" if slot else NAME]
    with BundleReader(prefix) as reader:
        columns = [
            np.concatenate([reader.lookup(name + suffix) for name in names])
            for suffix in ("-keys", "-values", "-versions", "-freqs")
        ]
        for name, part in zip(names, range(max(1, parts)), strict=True):
            keys = reader.lookup(name + "-keys")
            assert (part_of(keys, max(1, parts)) == part).all(), name
            offset = reader.lookup(name + "-partition_offset")
            assert offset.tolist() == bucket_order(keys)[1].tolist(), name
    order = np.argsort(columns[0])
    return tuple(column[order] for column in columns)


def measured(*command: str) -> dict:
    """Runs one in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *command], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def child(source: str, target: str, partitions: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = os.times().elapsed
    reshard(source, target, partitions={NAME: partitions})
    wall = os.times().elapsed - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak_rss()}))


def limit(size: int, directory: str) -> dict:
    """Wall and CPU seconds of plain read and write."""
    plain = IoLimit(size, directory)
    plain.write(fsync=True, keep=True)
    plain.read()
    before = resource.getrusage(resource.RUSAGE_SELF)
    wall = plain.read() + plain.write(fsync=True)
    after = resource.getrusage(resource.RUSAGE_SELF)
    plain.done()
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def clear_of(directory: str, prefix: str) -> None:
    for name in os.listdir(directory):
        if name.startswith(prefix):
            os.unlink(f"{directory}/{name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--partitions", type=int, default=7)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child[:2], int(options.child[2]))
        return 0
    with Scratch("disk") as directory:
        source, target = f"{directory}/old", f"{directory}/new"
        build(source, mix_keys(np.arange(options.keys)), options.dim, options.parts)
        size = os.path.getsize(f"{source}.data-00000-of-00001")
        plain, runs = [], []
        for _ in range(options.reps):
            plain.append(limit(size, directory))
            clear_of(directory, "new")
            runs.append(measured("--child", source, target, str(options.partitions)))
        for slot in ("", SLOT):
            old = rows_by_key(source, options.parts, slot)
            new = rows_by_key(target, options.partitions, slot)
            same = all(a.tobytes() == b.tobytes() for a, b in zip(old, new, strict=True))
            assert same, f"rows of '{slot or NAME}' are not those of the source"
            del old, new
    memory = max(run["peak"] for run in runs) / 2**20
    wall, cpu = (median(run[what] for run in runs) for what in ("wall", "cpu"))
    ratio = cpu / median(p["cpu"] for p in plain)
    print(
        f"     {options.keys:,} keys x {options.dim}, {options.parts} to {options.partitions} parts, "
        f"{size / 1e6:.0f} MB: wall {wall:.2f} s ({wall / median(p['wall'] for p in plain):.2f}x of read + write), "
        f"CPU {cpu:.2f} s; every row equal by key"
    )
    missed = 0
    for what, value, bar, unit in (
        ("reshard peak memory", memory, MEMORY_BAR_MIB, "MiB"),
        ("reshard CPU beside read + write", ratio, TIME_BAR, "x"),
    ):
        missed += value > bar
        print(f"{'ok  ' if value <= bar else 'MISS'} {what}: {value:.3g} {unit} (bar {bar:g})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
