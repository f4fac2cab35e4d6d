"""W1 and W2 with kvarn's V2 bundles.  --workload W1|W2 --target disk|shm --threads N

Reads take N threads, as the limit takes one; those named "all threads" take what kvarn takes by default.

Checked before anything is timed: what was written is read back equal, and as views of the file.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import numpy as np
from common import Scratch, args, io_bench, io_tensors

import kvarn
from kvarn.formats.bundle import BundleReader, BundleWriter


def save(folder):
    # As the limit it is held against: without a sync, which `save+fsync` adds.
    with BundleWriter(os.path.join(folder, "m"), sync=False) as writer:
        writer.add_many(TENSORS)


def read(folder, **options):
    with BundleReader(os.path.join(folder, "m")) as reader:
        return reader.read(**options)


def views(folder, **options):
    with BundleReader(os.path.join(folder, "m")) as reader:
        return reader.views(**options)


def list_names(folder):
    with BundleReader(os.path.join(folder, "m")) as reader:
        return len(reader.keys())


def check():
    with Scratch(OPTIONS.target) as folder:
        save(folder)
        read_back = read(folder)
        assert list(read_back) == sorted(TENSORS)
        assert all(np.array_equal(read_back[name], value) for name, value in TENSORS.items())
        mapped = views(folder)
        assert all(np.array_equal(mapped[name], value) for name, value in TENSORS.items())


OPTIONS = args(workload=("W1", "W2"))
THREADS = OPTIONS.threads
TENSORS = io_tensors(OPTIONS.workload)
# In one piece and touched, as the memory that the limit reads into.
MEMORY = np.ones(sum(value.size for value in TENSORS.values()), np.float32)
PARTS = np.split(MEMORY, np.cumsum([value.size for value in TENSORS.values()])[:-1])
REUSED = {name: part.reshape(TENSORS[name].shape) for name, part in zip(TENSORS, PARTS, strict=True)}
check()
io_bench(
    "kvarn",
    OPTIONS.workload,
    OPTIONS.target,
    OPTIONS.reps,
    TENSORS,
    save,
    lambda folder: read(folder, threads=THREADS),
    list_names,
    fsync_case=OPTIONS.target == "disk",
    extra_reads=[
        # Right after a gigabyte of new memory was taken and given back the machine is slow for a while: the
        # one without a bar goes first.
        ("restore into reused memory, all threads", lambda folder: read(folder, out=REUSED)),
        ("restore into reused memory", lambda folder: read(folder, out=REUSED, threads=THREADS)),
        ("map, verified", lambda folder: views(folder, threads=THREADS)),
        ("map, verified, all threads", views),
        ("map, not verified", lambda folder: views(folder, verify=False)),
    ],
    version=kvarn.__version__,
)
