"""What saving and restoring W1 (1 GiB) take of memory beyond the tensors: a process of its own each."""

import gc
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import numpy as np
from common import Scratch, args, emit, peak_rss, rss, w1_tensors

from kvarn.formats.bundle import BundleReader, BundleWriter


def forget_peak():
    """The peak counts from here (proc(5), clear_refs)."""
    gc.collect()
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")


def save(prefix):
    tensors = w1_tensors()
    forget_peak()
    before = rss()
    with BundleWriter(prefix, sync=False) as writer:
        writer.add_many(tensors)
    return peak_rss() - before


def view(prefix):
    forget_peak()
    before = rss()
    with BundleReader(prefix) as reader:
        found = reader.views(verify=False)
    peak = peak_rss() - before
    assert len(found) == 64
    assert np.isfinite(found["layer63/kernel"][-1]).all()
    return peak


def main():
    options = args(case=("all", "save", "view"), prefix="")
    if options.case != "all":
        print({"save": save, "view": view}[options.case](options.prefix))
        return
    with Scratch("disk") as folder:
        for case, what in (("save", "save, beyond the tensors"), ("view", "mapped restore, untouched")):
            command = [sys.executable, __file__, "--case", case, "--prefix", os.path.join(folder, "m")]
            peak = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            emit("W1", f"peak memory: {what}", "kvarn", [peak], unit="B")


main()
