"""A restore that fails changes nothing, however late in the files the fault lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.formats.bundle import BundleReader

KEYS = np.array([5, -3, 7007, 2**62], np.int64)


class Model:
    """Two embedding variables with slots and two dense variables, on two devices."""

    def __init__(self, *, key_dtype: Any = tf.int64, dense_dtype: Any = tf.float32, more: str = "") -> None:
        with tf.Graph().as_default() as self.graph:
            zeros = tf.zeros_initializer()
            with tf.device("/cpu:0"):
                self.a = tf.get_variable("a", [3], dense_dtype, zeros)
            with tf.device("/cpu:1"):
                self.b = tf.get_variable("b", [2], initializer=zeros, use_resource=True)
            self.tables = [
                tf.get_embedding_variable(
                    name, embedding_dim=4, initializer=tf.constant_initializer(0.0), key_dtype=key_dtype
                )
                for name in ("one", "two")
            ]
            ids = tf.constant(KEYS.astype(key_dtype.as_numpy_dtype))
            loss = tf.add_n([tf.reduce_sum(tf.nn.embedding_lookup(t, ids)) for t in self.tables])
            optimizer = tf.train.AdagradOptimizer(0.5)
            self.train = optimizer.apply_gradients(optimizer.compute_gradients(loss, self.tables))
            if more == "dense":
                tf.get_variable("more", [1], initializer=zeros)
            elif more == "table":
                tf.get_embedding_variable("more", embedding_dim=4, initializer=zeros)
            slots = [optimizer.get_slot(t, "accumulator") for t in self.tables]
            self.all = [self.a, self.b, *[t.export() for t in (*self.tables, *slots)]]
            self.advance = tf.group(self.b.assign([1.0, 2.0]), self.train)
            self.init = tf.global_variables_initializer()
            self.saver = tf.train.Saver(sharded=True)

    def state(self, sess: Any) -> list[Any]:
        return [
            np.array(x) for item in sess.run(self.all) for x in (item if isinstance(item, tuple) else [item])
        ]


@pytest.fixture
def saved(tmp_path: Path) -> str:
    model = Model()
    with tf.Session(graph=model.graph) as sess:
        sess.run(model.init)
        for _ in range(3):
            sess.run(model.advance)
        return model.saver.save(sess, str(tmp_path / "m"))


def refused(model: Model, prefix: str, cls: Any) -> errors.OpError:
    """The error of a restore, after which everything is as it was before."""
    with tf.Session(graph=model.graph) as sess:
        with pytest.raises(cls):
            model.saver.restore(sess, prefix)
        with pytest.raises(errors.FailedPreconditionError):
            sess.run(model.all[-1])
    with tf.Session(graph=model.graph) as sess:
        sess.run(model.init)
        sess.run(model.train)
        before = model.state(sess)
        with pytest.raises(cls) as info:
            model.saver.restore(sess, prefix)
        for old, new in zip(before, model.state(sess), strict=True):
            np.testing.assert_array_equal(old, new)
    error: errors.OpError = info.value
    assert error.hint
    assert error.name
    assert error.name in str(error)
    assert error.path is not None
    assert error.path.startswith(prefix)
    assert prefix in str(error)
    return error


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "b",
        "one-keys",
        "one-values",
        "two-values",
        "two/Adagrad-values",
        "two/Adagrad-keys",
    ],
)
def test_damaged_bytes(saved: str, name: str) -> None:
    with BundleReader(saved) as reader:
        entry = reader.entry(name)
        path = Path(f"{saved}.data-{entry.shard_id:05d}-of-{reader.header.num_shards:05d}")
    content = bytearray(path.read_bytes())
    content[entry.offset + entry.size - 1] ^= 1
    path.write_bytes(content)
    error = refused(Model(), saved, errors.DataLossError)
    assert error.name == name
    assert error.path == str(path)


def test_a_cut_shard(saved: str) -> None:
    for path in Path(saved).parent.glob("m.data-*"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        assert refused(Model(), saved, (errors.OutOfRangeError, errors.DataLossError)).path == str(path)
        path.write_bytes(content)


@pytest.mark.parametrize("more", ["dense", "table"])
def test_a_name_that_is_not_there(saved: str, more: str) -> None:
    error = refused(Model(more=more), saved, errors.NotFoundError)
    assert "more" in error.name


def test_another_key_type(saved: str) -> None:
    error = refused(Model(key_dtype=tf.int32), saved, errors.InvalidArgumentError)
    assert "are int64, those of embedding variable" in str(error)


def test_another_type_of_a_dense_variable(saved: str) -> None:
    error = refused(Model(dense_dtype=tf.float64), saved, errors.InvalidArgumentError)
    assert "tensor_name = a; expected dtype double does not equal original dtype float" in str(error)


def test_a_flipped_bit_in_any_byte(saved: str) -> None:
    """An error, or what was saved: the index, keys, values and all other bytes that a restore reads."""
    model = Model()
    paths = [Path(saved + ".index"), *sorted(Path(saved).parent.glob("m.data-*"))]
    with tf.Session(graph=model.graph) as sess:
        model.saver.restore(sess, saved)
        right = model.state(sess)
    with BundleReader(saved) as reader:
        # Long and all alike, 16 of the 17 kB: every 97th byte of them will do.
        offsets = [
            (paths[1 + entry.shard_id], entry.offset, entry.offset + entry.size)
            for name, entry in reader.entries()
            if name.endswith("offset")
        ]
    seen = 0
    for path in paths:
        content = path.read_bytes()
        skipped = {
            at for own, start, end in offsets if own == path for at in range(start, end) if (at - start) % 97
        }
        for at in range(len(content)):
            if at in skipped:
                continue
            changed = bytearray(content)
            changed[at] ^= 1 << at % 8
            path.write_bytes(changed)
            error = None
            with tf.Session(graph=model.graph) as sess:
                try:
                    model.saver.restore(sess, saved)
                except errors.OpError as e:
                    error = e
                else:
                    for old, new in zip(right, model.state(sess), strict=True):
                        np.testing.assert_array_equal(old, new)
            if path.suffix != ".index":
                assert error is not None, f"byte {at} of {path.name}"
            if error is not None:
                assert error.hint
                assert error.path.startswith(saved)
                assert saved in str(error)
                seen += 1
        path.write_bytes(content)
    assert seen > 500
