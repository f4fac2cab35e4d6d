"""A resharded checkpoint and a real TensorFlow 2.x: it reads it, and its own sharded save has the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvarn.checkpoint.verbs.reshard import reshard
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding import bucket_order, write_embedding
from kvarn.formats.tensor_slice import TensorSlice

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow", reason="the test-tf extra")


@pytest.fixture
def source(tmp_path: Path) -> str:
    prefix = str(tmp_path / "a")
    with BundleWriter(prefix) as writer:
        for at in range(4):
            writer.add(f"w{at}", np.full((3, 5), at, np.float32))
        writer.add("x/strings", np.array([b"a", b"", b"bcd"], object))
        for start in (0, 6):
            part = np.arange(start * 4, (start + 6) * 4, dtype=np.float32).reshape(6, 4)
            writer.add_slice("p/w", (12, 4), TensorSlice.parse(f"{start},6:0,4"), part)
        keys = np.arange(50) * 37
        keys = keys[bucket_order(keys)[0]]
        write_embedding(writer, "b", keys, np.float32(keys)[:, None], dim=1, freqs=keys)
    return prefix


def test_tensorflow_reads_what_was_resharded(tf: Any, source: str, tmp_path: Path) -> None:
    target = str(tmp_path / "c")
    reshard(source, target, partitions={"p/w": 5, "b": 3}, shards=3)
    old, new = tf.train.load_checkpoint(source), tf.train.load_checkpoint(target)
    for name in ("w0", "w3", "x/strings", "p/w"):
        assert old.get_tensor(name).tolist() == new.get_tensor(name).tolist()
    assert new.get_tensor("b/part_2-keys").dtype == np.int64
    found = np.concatenate([new.get_tensor(f"b/part_{part}-keys") for part in range(3)])
    assert sorted(found) == sorted(old.get_tensor("b-keys"))
    rows = tf.raw_ops.RestoreV2(
        prefix=target, tensor_names=["p/w", "p/w"],
        shape_and_slices=["12 4 3,3:0,4", "12 4 2,9:1,2"], dtypes=[tf.float32, tf.float32],
    )  # fmt: skip
    whole = old.get_tensor("p/w")
    assert rows[0].numpy().tolist() == whole[3:6].tolist()
    assert rows[1].numpy().tolist() == whole[2:11, 1:3].tolist()


def test_the_files_are_those_of_tensorflows_sharded_save(tf: Any, source: str, tmp_path: Path) -> None:
    reshard(source, tmp_path / "c", partitions={"p/w": 5, "b": 2}, shards=2)
    with BundleReader(tmp_path / "c") as reader:
        # What each data file has, in the order in which it was written.
        saved: list[list[tuple[int, str, str, np.ndarray]]] = [[], []]
        for info in reader.tensors():
            if not info.slices:
                entry = reader.entry(info.name)
                saved[entry.shard_id].append((entry.offset, info.name, "", reader.lookup(info.name)))
            for part, piece in enumerate(sorted(info.slices, key=lambda s: s.extents)):
                spec = f"{' '.join(map(str, info.shape))} {piece}"
                value = reader.lookup_stored_slice(info.name, piece)
                saved[part % 2].append((0, info.name, spec, value))
    parts = []
    for shard, tensors in enumerate(saved):
        whole = sorted((t for t in tensors if not t[2]), key=lambda t: (t[0], len(t[3]) > 0))
        slices = [t for t in tensors if t[2]]
        # Copies come first, then what is cut, then embedding variables.
        copies = [t for t in whole if not t[1].startswith("b/")]
        order = copies + slices + [t for t in whole if t[1].startswith("b/")]
        parts.append(str(tmp_path / f"t/part-{shard:05d}-of-00002"))
        tf.raw_ops.SaveV2(
            prefix=parts[-1], tensor_names=[t[1] for t in order], shape_and_slices=[t[2] for t in order],
            tensors=[tf.constant(t[3]) for t in order],
        )  # fmt: skip
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(tmp_path / "tf"))
    for suffix in (".data-00000-of-00002", ".data-00001-of-00002", ".index"):
        assert (tmp_path / f"c{suffix}").read_bytes() == (tmp_path / f"tf{suffix}").read_bytes(), suffix
