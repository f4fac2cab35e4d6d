"""V1 checkpoints between kvarn and a real TensorFlow 2.x, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvarn import dtypes
from kvarn.formats.slices_v1 import TensorSliceReader, TensorSliceWriter, save_order
from kvarn.formats.slices_v1.values import can_hold
from kvarn.formats.tensor_slice import TensorSlice

pytestmark = pytest.mark.tf

NUMBERS = np.array([-3, 0, 1, 200])
# What V1 holds of the types that NumPy has.
TYPES = [
    d for d in map(dtypes.as_dtype, range(1, 24)) if can_hold(d) and not d.is_quantized and not d.np.hasobject
]
# Name, slice specification, value; two tensors in so many slices that their order is that of std::sort.
Item = tuple[str, str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow", reason="the test-tf extra")


def items() -> list[Item]:
    random = np.random.default_rng(3)
    out: list[Item] = [("scalar/é", "", np.float32(1.5)), ("empty", "", np.zeros((0, 3), np.int16))]
    out += [("big", "", random.standard_normal((300, 500)).astype(np.float32))]
    out += [("strings", "", np.array([b"a\0", b"", b"x" * 300], object))]
    out += [(dtype.name, "", NUMBERS.astype(dtype.np)) for dtype in TYPES]
    for name, count in (("p", 40), ("q", 23)):
        rows = random.standard_normal((count * 2, 3))
        out += [(name, f"{count * 2} 3 {2 * i},2:-", rows[2 * i : 2 * i + 2]) for i in range(count)]
    return [out[i] for i in random.permutation(len(out))]


def write(path: Path, of: list[Item]) -> None:
    with TensorSliceWriter(path) as writer:
        for i in save_order([name.encode() for name, _, _ in of]):
            name, spec, value = of[i]
            if spec:
                *shape, part = spec.split(" ")
                writer.add_slice(name, tuple(map(int, shape)), TensorSlice.parse(part), value)
            else:
                writer.add(name, value)


def test_both_write_the_same_bytes(tf: Any, tmp_path: Path) -> None:
    saved = items()
    names, specs, arrays = zip(*saved, strict=True)
    tensors = [tf.constant(a.tolist() if a.dtype == object else a) for a in arrays]
    tf.raw_ops.SaveSlices(
        filename=str(tmp_path / "theirs"), tensor_names=names, shapes_and_slices=specs, data=tensors
    )
    write(tmp_path / "ours", saved)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_tensorflow_restores_what_kvarn_wrote(tf: Any, tmp_path: Path) -> None:
    saved = items()
    write(tmp_path / "m", saved)
    names, specs, arrays = zip(*saved, strict=True)
    types = [tf.string if a.dtype == object else a.dtype for a in arrays]
    found = tf.raw_ops.RestoreV2(
        prefix=str(tmp_path / "m"), tensor_names=names, shape_and_slices=specs, dtypes=types
    )
    for array, tensor in zip(arrays, found, strict=True):
        assert tensor.shape == array.shape
        assert np.asarray(tensor).ravel().tolist() == array.ravel().tolist()
    with TensorSliceReader(tmp_path / "m") as reader:
        (whole,) = tf.raw_ops.RestoreV2(
            prefix=str(tmp_path / "m"), tensor_names=["p"], shape_and_slices=[""], dtypes=[tf.float64]
        )
        assert np.array_equal(whole, reader.lookup("p"))
