"""Keys at the ends of their types go through training, saving and any number of parts; others are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors

DIM = 2


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


def extremes(key_dtype: Any) -> Any:
    limits = np.iinfo(key_dtype.as_numpy_dtype)
    near_zero = [-1001, -1000, -999, -1, 0, 1, 999, 1000, 1001]
    return np.array(
        [limits.min, limits.min + 1, *near_zero, limits.max - 1, limits.max], key_dtype.as_numpy_dtype
    )


class Model:
    """One embedding variable in parts, with a slot."""

    def __init__(self, key_dtype: Any, parts: int) -> None:
        with tf.Graph().as_default() as self.graph:
            partitioner = tf.fixed_size_partitioner(parts) if parts > 1 else None
            table = tf.get_embedding_variable(
                "e",
                embedding_dim=DIM,
                key_dtype=key_dtype,
                initializer=tf.constant_initializer(0.5),
                partitioner=partitioner,
            )
            keys = extremes(key_dtype)
            self.rows = tf.nn.embedding_lookup(table, tf.constant(keys))
            weights = np.arange(keys.size * DIM, dtype=np.float32).reshape(-1, DIM)
            self.train = tf.train.AdagradOptimizer(0.5).minimize(tf.reduce_sum(self.rows * weights))
            self.tables = [part.export() for part in (table if parts > 1 else [table])]
            self.init = tf.global_variables_initializer()
            self.saver = tf.train.Saver()

    def keys(self, sess: Any) -> list[int]:
        return sorted(np.concatenate([keys for keys, *_ in sess.run(self.tables)]).tolist())


@pytest.mark.parametrize("key_dtype", [tf.int64, tf.int32], ids=["int64", "int32"])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_keys_at_the_ends_of_the_type(tmp_path: Path, key_dtype: Any, parts: int) -> None:
    model = Model(key_dtype, parts)
    with tf.Session(graph=model.graph) as sess:
        sess.run(model.init)
        for _ in range(3):
            sess.run(model.train)
        rows = sess.run(model.rows)
        prefix = model.saver.save(sess, str(tmp_path / "m"))
    for other in (1, 2, 3, 7):
        restored = Model(key_dtype, other)
        with tf.Session(graph=restored.graph) as sess:
            restored.saver.restore(sess, prefix)
            assert restored.keys(sess) == extremes(key_dtype).tolist()
            np.testing.assert_array_equal(sess.run(restored.rows), rows)
            assert restored.keys(sess) == extremes(key_dtype).tolist()


@pytest.mark.parametrize("kind", [tf.float32, tf.int16, tf.uint64])
def test_a_key_type_that_no_table_can_have(kind: Any) -> None:
    with pytest.raises(ValueError, match=f"^Not support key_dtype: {kind.name}, only support int64") as info:
        tf.get_embedding_variable("e", embedding_dim=DIM, key_dtype=kind)
    assert "'e'" in str(info.value)
    assert "Cast its ids to tf.int64" in str(info.value)


def test_string_keys_are_to_be_hashed() -> None:
    with pytest.raises(errors.InvalidArgumentError, match=r"'e' has keys of type string") as info:
        tf.get_embedding_variable("e", embedding_dim=DIM, key_dtype=tf.string)
    assert info.value.name == "e"
    assert "tf.strings.to_hash_bucket_fast" in info.value.hint


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("own", "given"), [(tf.int64, tf.int32), (tf.int32, tf.int64)])
def test_ids_of_the_other_type(own: Any, given: Any, parts: int) -> None:
    partitioner = tf.fixed_size_partitioner(parts) if parts > 1 else None
    table = tf.get_embedding_variable("e", embedding_dim=DIM, key_dtype=own, partitioner=partitioner)
    ids = tf.placeholder(given, [None])
    rows = tf.nn.embedding_lookup(table, ids)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.InvalidArgumentError) as info:
            sess.run(rows, {ids: [1, 2]})
    text = str(info.value)
    assert f"embedding keys of dtype {given.name}: the table's key dtype is {own.name}" in text
    assert "resource e" in text
    assert f"Cast the ids to {own.name}." in text


@pytest.mark.parametrize("kind", [tf.string, tf.float32])
def test_ids_that_are_no_integers(kind: Any) -> None:
    table = tf.get_embedding_variable("e", embedding_dim=DIM)
    with pytest.raises(TypeError, match=f"{kind.name} not in list of allowed values"):
        tf.nn.embedding_lookup(table, tf.placeholder(kind, [None]))


@pytest.mark.parametrize(("saved", "own"), [(tf.int64, tf.int32), (tf.int32, tf.int64)])
def test_a_checkpoint_with_keys_of_the_other_type(tmp_path: Path, saved: Any, own: Any) -> None:
    model = Model(saved, 1)
    with tf.Session(graph=model.graph) as sess:
        sess.run(model.init)
        sess.run(model.train)
        prefix = model.saver.save(sess, str(tmp_path / "m"))
    other = Model(own, 2)
    with tf.Session(graph=other.graph) as sess:
        with pytest.raises(errors.InvalidArgumentError) as info:
            other.saver.restore(sess, prefix)
        with pytest.raises(errors.FailedPreconditionError):
            sess.run(other.tables)
    assert f"are {saved.name}, those of embedding variable 'e/part_0' {own.name}" in str(info.value)
    assert info.value.path == prefix
    assert info.value.hint
