"""Properties of verify and diff: no damage makes verify fail, and diff finds what a dict comparison finds."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn.checkpoint.verbs.diff import diff
from kvarn.checkpoint.verbs.salvage import open_damaged
from kvarn.checkpoint.verbs.verify import verify
from kvarn.errors import OpError
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.slices_v1 import TensorSliceWriter
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem


def small(writer: Any) -> None:
    writer.add("a", np.arange(5, dtype=np.float32))
    writer.add("s", np.array([b"one", b"", b"three"], np.object_))
    for start in (0, 2):
        piece = TensorSlice.parse(f"{start},2:0,2")
        writer.add_slice("p", [4, 2], piece, np.full((2, 2), start, np.int32))


def saved() -> dict[str, bytes]:
    fs = MemoryFileSystem()
    with BundleWriter("v2", fs) as bundle:
        small(bundle)
        keys = np.array([1, 2, 1001], np.int64)
        keys = keys[embedding.bucket_order(keys)[0]]
        for name in ("e", "e/Adagrad"):
            embedding.write_embedding(bundle, name, keys, np.ones((3, 2), np.float32), dim=2, freqs=keys)
    with TensorSliceWriter("v1", fs) as table:
        small(table)
    return {path: bytes(content) for path, content in fs.files.items()}


FILES = saved()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_broken_is_told(data: st.DataObject) -> None:
    fs = MemoryFileSystem()
    fs.files = {path: bytearray(content) for path, content in FILES.items()}
    path = data.draw(st.sampled_from(sorted(fs.files)))
    content = fs.files[path]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    prefix = path[:2]
    try:
        found = verify(prefix, fs=fs)
    except OpError:
        assert prefix not in fs.files
        assert prefix + ".index" not in fs.files
        return
    assert not set(found.broken) & set(found.intact)
    assert found.whole or any(finding.broken for finding in found.findings)
    if prefix == "v2" and found.intact:
        right = MemoryFileSystem()
        right.files = {name: bytearray(own) for name, own in FILES.items()}
        with BundleReader("v2", right) as good, open_damaged("v2", fs).reader as reader:
            for name in found.intact:
                assert reader.lookup(name).tolist() == good.lookup(name).tolist()


KEYS = st.integers(-3, 12) | st.sampled_from([1000, 2**62, -(2**62)])
ROWS = st.dictionaries(KEYS, st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=12)


def write(fs: MemoryFileSystem, prefix: str, rows: dict[int, tuple[int, int]], parts: int) -> None:
    with BundleWriter(prefix, fs) as writer:
        for part in range(max(1, parts)):
            own = np.array([key for key in rows if not parts or key % 1000 % parts == part], np.int64)
            own = own[embedding.bucket_order(own)[0]]
            values = np.array([[rows[int(key)][0]] for key in own], np.float32).reshape(-1, 1)
            freqs = np.array([rows[int(key)][1] for key in own], np.int64)
            name = f"e/part_{part}" if parts else "e"
            embedding.write_embedding(writer, name, own, values, dim=1, freqs=freqs)


@settings(max_examples=100, deadline=None)
@given(ROWS, ROWS, st.integers(0, 4), st.integers(0, 4))
def test_diff_by_key_is_that_of_dicts(
    a: dict[int, tuple[int, int]], b: dict[int, tuple[int, int]], parts_a: int, parts_b: int
) -> None:
    fs = MemoryFileSystem()
    write(fs, "a", a, parts_a)
    write(fs, "b", b, parts_b)
    found = diff("a", "b", fs=fs)
    if found.same:
        assert a == b
        return
    [ev] = found.embeddings
    changed = {key for key in a.keys() & b.keys() if a[key] != b[key]}
    assert (ev.num_added, ev.num_removed) == (len(b.keys() - a.keys()), len(a.keys() - b.keys()))
    assert (ev.num_changed, ev.num_same) == (len(changed), len(a.keys() & b.keys()) - len(changed))
    assert set(ev.changed) <= changed
    assert set(ev.added) <= b.keys() - a.keys()
    values = ev.columns.get("values")
    apart = [abs(a[key][0] - b[key][0]) for key in a.keys() & b.keys()]
    assert (values.max_abs if values is not None else 0) == max(apart, default=0)
