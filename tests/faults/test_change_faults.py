"""rewrite, merge, average and convert, stopped anywhere: the target is whole or not there, sources never change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kvarn.checkpoint.verbs.average import average
from kvarn.checkpoint.verbs.convert import convert
from kvarn.checkpoint.verbs.merge import merge
from kvarn.checkpoint.verbs.rewrite import rewrite
from kvarn.checkpoint.verbs.transfer import open_source
from kvarn.errors import OpError
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleWriter
from kvarn.io import FileSystem, MemoryFileSystem
from kvarn.testing.files import FaultyFileSystem, SimulatedCrash

VERBS: dict[str, tuple[str, Callable[[FileSystem], object]]] = {
    "rewrite": ("x", lambda fs: rewrite("m", "x", rename=[("b", "c")], cast={"w": "float16"}, fs=fs)),
    "copy with .meta": ("x", lambda fs: rewrite("m", "x", fs=fs)),
    "merge": ("x", lambda fs: merge(["m", "n"], "x", on_conflict="last", fs=fs)),
    "average": ("x", lambda fs: average(["m", "n"], "x", fs=fs)),
    "safetensors": ("x.safetensors", lambda fs: convert("m", "x.safetensors", fs=fs)),
    "npz": ("x.npz", lambda fs: convert("m", "x.npz", fs=fs)),
    "parquet": ("x.parquet", lambda fs: convert("m", "x.parquet", fs=fs)),
}


@pytest.fixture(scope="module")
def base() -> MemoryFileSystem:
    fs = MemoryFileSystem()
    for prefix, first in (("m", 0), ("n", 5)):
        with BundleWriter(prefix, fs) as writer:
            writer.add("w", np.arange(6, dtype=np.float32) + first)
            keys = np.arange(first, first + 20)
            for stem in ("b", "b/Adagrad"):
                values = np.full((20, 3), first, np.float32)
                embedding.write_embedding(writer, stem, keys, values, dim=3, freqs=keys)
    fs.files["m.meta"] = bytearray(b"graph")
    return fs


def content(fs: MemoryFileSystem, path: str) -> object:
    """What a target holds, or None if it is not there."""
    if not fs.exists(path if "." in path else f"{path}.index"):
        return None
    if path.endswith("parquet"):
        return bytes(fs.files[path])
    with open_source(path, fs) as reader:
        return {name: reader.lookup(name).tobytes() for name in reader.keys()}  # noqa: SIM118


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", ["crash", "error", "torn"])
def test_stopped_anywhere(base: MemoryFileSystem, verb: str, kind: str) -> None:
    target, run = VERBS[verb]
    whole = FaultyFileSystem(base=base)
    run(whole)
    expected = content(whole, target)
    assert expected
    for stop_at in range(1, whole.operations + 1):
        fs = FaultyFileSystem(stop_at, error=kind != "crash", torn=kind == "torn", base=base)
        with pytest.raises((SimulatedCrash, OpError)):
            run(fs)
        states = list(fs.after_crash()) if kind == "crash" else [fs]
        for state in states:
            assert content(state, target) in (None, expected)
            for path, data in base.files.items():
                assert state.files[path] == data
        if kind != "crash":
            # What a failing disk could not remove itself is the only thing left.
            left = set(fs.files) - set(base.files)
            assert content(fs, target) is not None or len(left) <= 1, left
