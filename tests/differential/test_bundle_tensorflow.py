"""V2 checkpoints between kvarn and a real TensorFlow 2.x, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from kvarn import checkpoint, dtypes, protos
from kvarn.formats import embedding as ev
from kvarn.formats.bundle import BundleReader, BundleWriter, merge_bundles
from kvarn.formats.tensor_slice import TensorSlice

pytestmark = pytest.mark.tf

NUMBERS = np.array([0, 1, 2, 100, 3, 4], np.int64)
TENSORS: dict[str, np.ndarray[Any, Any]] = {
    **{
        f"d/{dtype.name}": NUMBERS.astype(dtype.np).reshape(2, 3)
        for dtype in (
            dtypes.float32, dtypes.float64, dtypes.int32, dtypes.uint8, dtypes.int16, dtypes.int8,
            dtypes.complex64, dtypes.int64, dtypes.bool, dtypes.uint16, dtypes.complex128, dtypes.float16,
            dtypes.uint32, dtypes.uint64,
        )
    },
    "d/bfloat16": NUMBERS.astype(ml_dtypes.bfloat16),
    "scalar": np.array(1.5, np.float32),
    "empty": np.empty((0, 4), np.float32),
    "strings": np.array([b"a\0", b"", b"x" * 300], object),
}  # fmt: skip


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow", reason="the test-tf extra")


def test_tensorflow_reads_what_kvarn_wrote(tf: Any, tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    keys = np.arange(-5, 3000, 7)
    keys = keys[ev.bucket_order(keys)[0]]
    values = np.arange(len(keys) * 4, dtype=np.float32).reshape(-1, 4)
    with BundleWriter(prefix) as writer:
        for name, value in TENSORS.items():
            writer.add(name, value)
        writer.add_slice("p", (4, 2), TensorSlice.parse("2,2:-"), values[2:4, :2])
        writer.add_slice("p", (4, 2), TensorSlice.parse("0,2:-"), values[:2, :2])
        ev.write_embedding(writer, "e/part_0", keys, values, dim=4)
    for name, value in TENSORS.items():
        found = np.asarray(tf.train.load_variable(prefix, name))
        assert found.shape == value.shape
        assert found.ravel().tolist() == value.ravel().tolist()
    assert np.array_equal(tf.train.load_variable(prefix, "p"), values[:4, :2])
    assert np.array_equal(tf.train.load_variable(prefix, "e/part_0-keys"), keys)
    assert np.array_equal(tf.train.load_variable(prefix, "e/part_0-values"), values)
    listed = [(name, list(shape)) for name, shape in tf.train.list_variables(prefix)]
    assert listed == checkpoint.list_variables(prefix)


def test_both_write_the_same_bytes(tf: Any, tmp_path: Path) -> None:
    theirs, ours = str(tmp_path / "theirs"), str(tmp_path / "ours")
    names = list(TENSORS)
    tensors = [tf.constant(TENSORS[name].tolist() if name == "strings" else TENSORS[name]) for name in names]
    tf.raw_ops.SaveV2(prefix=theirs, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    with BundleWriter(ours) as writer:
        for name in names:
            writer.add(name, TENSORS[name])
    for suffix in (".index", ".data-00000-of-00001"):
        assert Path(ours + suffix).read_bytes() == Path(theirs + suffix).read_bytes()
    with BundleReader(theirs) as reader:
        for name in names:
            assert reader.lookup(name).tolist() == TENSORS[name].tolist()


def test_both_merge_to_the_same_bytes(tf: Any, tmp_path: Path) -> None:
    merged = []
    for who in ("theirs", "ours"):
        parts = [str(tmp_path / who / "tmp" / f"part-{i}") for i in range(3)]
        (tmp_path / who).mkdir()
        for i, part in enumerate(parts):
            with BundleWriter(part) as writer:
                writer.add(f"own/{i}", np.arange(i + 2))
                writer.add_slice("p", (6,), TensorSlice(((2 * i, 2),)), np.arange(2.0) + i)
        target = str(tmp_path / who / "m")
        if who == "theirs":
            tf.raw_ops.MergeV2Checkpoints(
                checkpoint_prefixes=parts, destination_prefix=target, delete_old_dirs=True
            )
        else:
            merge_bundles(parts, target)
        merged.append({path.name: path.read_bytes() for path in (tmp_path / who).iterdir()})
    assert merged[0] == merged[1]


def test_messages_live_beside_tensorflows(tf: Any) -> None:
    ours = protos.GraphDef()
    ours.node.add(name="a", op="NoOp")
    theirs = tf.compat.v1.GraphDef.FromString(ours.SerializeToString())
    assert theirs.node[0].op == "NoOp"
    assert protos.GraphDef.FromString(theirs.SerializeToString()) == ours
