"""Savers that write V1 checkpoints do as TensorFlow's did, file by file (tests/golden/checkpoints/…/state_v1*)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn.testing.goldens import GoldenCase, cases

ROOT = Path(__file__).parents[2] / "golden" / "checkpoints"
V1 = tf.train.SaverDef.V1


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


@pytest.mark.parametrize("case", cases(ROOT, "*/state_v1*"), ids=repr)
def test_the_same_files_and_states(case: GoldenCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sharded = "sharded" in case.facts["case"]
    with tf.device("/cpu:0"):
        v = tf.get_variable("v", [3])
    with tf.device("/cpu:1"):
        u = tf.get_variable("u", [2])
    saver = tf.train.Saver(write_version=V1, sharded=sharded, **case.facts["saver"])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for number, said in enumerate(case.facts["log"]):
            step = said["step"]
            v.load(np.full(3, step, np.float32), sess)
            u.load(np.full(2, -step, np.float32), sess)
            path = saver.save(sess, "./model.ckpt", global_step=step, write_meta_graph=number % 2 == 0)
            assert path == said["returned"]
            assert sorted(entry.name for entry in tmp_path.iterdir()) == said["files"]
            assert (tmp_path / "checkpoint").read_text() == said["state"]
            assert saver.last_checkpoints == said["last_checkpoints"]
        assert tf.train.latest_checkpoint(".") == case.facts["latest_checkpoint"]
        for file in tmp_path.glob("model.ckpt-?*"):
            if file.suffix != ".meta":
                assert file.read_bytes() == (case.folder / file.name).read_bytes(), file.name
        v.load(np.zeros(3, np.float32), sess)
        saver.restore(sess, path)
        assert sess.run(v).tolist() == [step] * 3


@pytest.mark.parametrize("name", ["v1_partitioned", "v1_sharded2", "v1_sharded3"])
@pytest.mark.parametrize("resource", [False, True])
def test_into_other_partitions(name: str, resource: bool) -> None:
    case = GoldenCase(ROOT / "tf115" / name)
    wanted = {tensor.name.decode(): tensor.value for tensor in case.tensors() if tensor.value.ndim}
    assert len(wanted) > 3
    for at, (full_name, value) in enumerate(wanted.items()):
        axis = at % value.ndim
        parts = min(2 + at, value.shape[axis])
        tf.get_variable(
            full_name,
            value.shape,
            tf.as_dtype(value.dtype),
            tf.zeros_initializer(),
            partitioner=tf.fixed_size_partitioner(parts, axis),
            use_resource=resource,
        )
    with tf.Session() as sess:
        tf.train.Saver().restore(sess, case.prefix)
        for variable in tf.global_variables():
            info = variable._save_slice_info
            where = tuple(slice(o, o + n) for o, n in zip(info.var_offset, info.var_shape, strict=True))
            np.testing.assert_array_equal(sess.run(variable), wanted[info.full_name][where])


def test_what_v1_cannot_hold_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    a = tf.get_variable("a", [2], initializer=tf.ones_initializer())
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        path = tf.train.Saver([a], write_version=V1).save(sess, str(tmp_path / "m"), write_meta_graph=False)
        before = Path(path).read_bytes()
        b = tf.Variable(tf.constant([1], tf.uint32), name="b")
        sess.run(b.initializer)
        with pytest.raises(tf.errors.UnimplementedError, match="Saving data type uint32 not yet supported"):
            tf.train.Saver([a, b], write_version=V1).save(sess, str(tmp_path / "m"), write_meta_graph=False)
    assert Path(path).read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoint", "m"]
