"""Checkpoints and meta graphs that kvarn and a real TensorFlow 2.x write for each other."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import kvarn as tf

pytestmark = pytest.mark.tf

SUFFIXES = [
    "-freqs",
    "-freqs_filtered",
    "-keys",
    "-keys_filtered",
    "-partition_filter_offset",
    "-partition_offset",
    "-values",
    "-versions",
    "-versions_filtered",
]


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


@pytest.fixture(scope="module")
def program():
    path = Path(__file__).parent / "scripts" / "saver_model.py"
    spec = importlib.util.spec_from_file_location("saver_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tensorflow_reads_embedding_variables(tensorflow, tmp_path: Path) -> None:
    """The EVs of a model as DeepRec names them, slots included, through tf.train.load_variable."""
    four = tf.fixed_size_partitioner(num_shards=4)
    var_0 = tf.get_embedding_variable("var_0", embedding_dim=5, partitioner=four)
    var_23 = tf.get_embedding_variable("var_23", embedding_dim=3, partitioner=four)
    ids = tf.constant([0, 1, 2, 5, 6, 7], tf.int64)
    rows = tf.nn.embedding_lookup(var_0, ids)
    other = tf.nn.embedding_lookup(var_23, ids)
    train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows * 2.0))
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run([train, other])
        found = sess.run(rows)
        prefix = saver.save(sess, str(tmp_path / "test.ckpt"), global_step=0)
    listed = tensorflow("read_checkpoint", prefix, tmp_path / "read.npz")
    names = [name for name, _ in listed]
    parts = [f"var_{v}/part_{i}" for v in (0, 23) for i in range(4)]
    slots = [f"var_0/part_{i}/Adagrad" for i in range(4)]
    assert set(names) - {"global_step"} == {n + s for n in parts + slots for s in SUFFIXES}
    with np.load(tmp_path / "read.npz") as stored:
        values = {name: stored[f"t{i}"] for i, name in enumerate(names)}
    by_key = {}
    for i in range(4):
        keys = values[f"var_0/part_{i}-keys"]
        assert (keys % 1000 % 4 == i).all()
        assert values[f"var_0/part_{i}-partition_offset"].dtype == np.int32
        by_key.update(zip(keys.tolist(), values[f"var_0/part_{i}-values"], strict=True))
    np.testing.assert_array_equal([by_key[k] for k in (0, 1, 2, 5, 6, 7)], found)
    for name, shape in listed:
        np.testing.assert_array_equal(tf.train.load_variable(prefix, name), values[name])
        assert list(values[name].shape) == shape


def test_tensorflow_writes_and_kvarn_restores_bit_for_bit(tensorflow, program, tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    wanted = tensorflow("saver_model", "save", prefix)
    saver = program.build(tf)
    with tf.Session() as sess:
        saver.restore(sess, prefix)
        assert program.values(tf, sess) == wanted
        again = saver.save(sess, str(tmp_path / "again"))
    for kind in (".index", ".data-00000-of-00001"):
        assert Path(again + kind).read_bytes() == Path(prefix + kind).read_bytes()


def test_kvarn_writes_and_tensorflow_runs_its_graph(tensorflow, program, tmp_path: Path) -> None:
    saver = program.build(tf)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        prefix = saver.save(sess, str(tmp_path / "m"))
        wanted = program.values(tf, sess)
    found = tensorflow("saver_model", "restore", prefix)
    assert found.pop("product") == [8.0, 12.0]
    assert found == wanted


def test_tensorflow_lists_the_same_names(tensorflow, program, tmp_path: Path) -> None:
    saver = program.build(tf)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        prefix = saver.save(sess, str(tmp_path / "m"))
    listed = tensorflow("read_checkpoint", prefix, tmp_path / "read.npz")
    assert [(name, shape) for name, shape in listed] == tf.train.list_variables(prefix)
