"""Chains of every kind of variable, recovered and compacted into other numbers of parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.checkpoint.chain import Chain
from kvarn.saver.incremental_saver import IncrementalSaver

WAYS = [(0, 2), (2, 0), (2, 3), (0, 0)]
KEYS = [1, 2, 3, 5, 6, 7, 1001, 11]


def partitioner(parts: int) -> Any:
    return tf.fixed_size_partitioner(parts) if parts else None


def blocks(ids: Any, parts: int) -> Any:
    variable = tf.get_dynamic_dimension_embedding_variable(
        "b", 2, 3, initializer=tf.ones_initializer(), partitioner=partitioner(parts)
    )
    return tf.nn.embedding_lookup(variable, ids, blocknums=tf.cast(ids % 4, tf.int32))


def rows_of_a_table(ids: Any, parts: int) -> Any:
    table = tf.get_variable(
        "w", [40, 2], initializer=tf.ones_initializer(), partitioner=partitioner(parts), use_resource=True
    )
    variable = tf.get_embedding_variable("b", 2, initializer=tf.ones_initializer())
    return tf.nn.embedding_lookup(table, ids % 40, partition_strategy="div") + tf.nn.embedding_lookup(
        variable, ids
    )


class Model:
    def __init__(self, kind: Any, parts: int, cumulative: bool) -> None:
        self.session = tf.Session()
        self.ids = tf.placeholder(tf.int64, [None])
        self.found = kind(self.ids, parts)
        self.step = tf.train.get_or_create_global_step()
        optimizer = tf.train.AdagradOptimizer(0.1)
        self.train_op = optimizer.minimize(tf.reduce_sum(self.found**2), self.step)
        self.saver = tf.train.Saver(incremental_save_restore=True, incremental_include_normal_var=True)
        self.increments = IncrementalSaver(
            saver_def=self.saver.saver_def,
            defer_build=True,
            incremental_include_normal_var=True,
            cumulative=cumulative,
        )
        self.increments.build()

    def train(self, *keys: int) -> None:
        self.session.run(self.train_op, {self.ids: keys})

    def increment(self, folder: Path) -> str:
        prefix = folder / ".incremental_checkpoint/incremental_model.ckpt"
        return str(self.increments.incremental_save(self.session, str(prefix), self.step))

    def values(self) -> Any:
        return self.session.run(self.found, {self.ids: KEYS})


@pytest.fixture(params=[blocks, rows_of_a_table])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def saved(kind: Any, parts: int, cumulative: bool, folder: Path) -> tuple[Any, Any]:
    """Two increments on a full save: what is found then, and after one more step."""
    with tf.Graph().as_default():
        model = Model(kind, parts, cumulative)
        model.session.run(tf.global_variables_initializer())
        model.train(1, 2, 3, 1001)
        model.saver.save(model.session, str(folder / "model.ckpt"), model.step)
        for keys in ((1, 6, 7), (11, 3, 7)):
            model.train(*keys)
            model.increment(folder)
        found = model.values()
        model.train(*KEYS)
        return found, model.values()


@pytest.mark.parametrize("cumulative", [True, False])
@pytest.mark.parametrize(("before", "after"), WAYS)
def test_recovered_and_compacted(
    kind: Any, before: int, after: int, cumulative: bool, tmp_path: Path
) -> None:
    now, later = saved(kind, before, cumulative, tmp_path / "m")
    with tf.Graph().as_default():
        model = Model(kind, after, cumulative)
        model.increments.recover(model.session, tmp_path / "m")
        np.testing.assert_array_equal(model.values(), now)
        model.train(*KEYS)
        np.testing.assert_allclose(model.values(), later, rtol=1e-6)
        model.increment(tmp_path / "m")
        later = model.values()
    Chain.open(tmp_path / "m").compact(tmp_path / "compact")
    for parts in {before, after}:
        with tf.Graph().as_default():
            model = Model(kind, parts, cumulative)
            model.saver.restore(model.session, str(tmp_path / "compact"))
            np.testing.assert_array_equal(model.values(), later)


@pytest.mark.parametrize("parts", [0, 2, 3])
def test_blocks_at_a_step_in_other_parts(parts: int, tmp_path: Path) -> None:
    now, _ = saved(blocks, 0, True, tmp_path / "m")
    Chain.open(tmp_path / "m").at(3, tmp_path / "at", partitions=parts)
    for wanted in {0, 2, parts}:
        with tf.Graph().as_default():
            model = Model(blocks, wanted, True)
            model.saver.restore(model.session, str(tmp_path / "at"))
            np.testing.assert_array_equal(model.values(), now)


def test_an_increment_without_a_variable_changes_nothing(tmp_path: Path) -> None:
    saved(blocks, 0, True, tmp_path / "m")
    with tf.Graph().as_default():
        model = Model(blocks, 0, True)
        # No increment has anything of this one.
        extra = tf.get_embedding_variable("extra", 2, initializer=tf.ones_initializer())
        tf.nn.embedding_lookup(extra, model.ids)
        other = IncrementalSaver(saver_def=model.saver.saver_def, defer_build=True)
        other.build()
        with pytest.raises(
            tf.errors.NotFoundError, match=r"number 3 .* Key extra-sparse_incr_keys not found"
        ):
            other.recover(model.session, tmp_path / "m")
        model.increments.recover(model.session, tmp_path / "m")


def test_increments_go_on_when_there_was_nothing_to_recover(tmp_path: Path) -> None:
    """A session restored from the newest full save, by which `recover_incr_checkpoints` has nothing to do."""
    with tf.Graph().as_default():
        model = Model(blocks, 0, True)
        model.session.run(tf.global_variables_initializer())
        model.train(1, 2)
        prefix = model.saver.save(model.session, str(tmp_path / "model.ckpt"), model.step)
    for keys in ((5,), (6,)):  # nothing there, then one that is older
        with tf.Graph().as_default():
            model = Model(blocks, 0, True)
            model.saver.restore(model.session, prefix)
            model.increments.recover_incr_checkpoints(model.session, tmp_path)
            model.train(*keys)
            model.increment(tmp_path)
            now = model.values()
            prefix = model.saver.save(model.session, str(tmp_path / "model.ckpt"), model.step)
    with tf.Graph().as_default():
        model = Model(blocks, 0, True)
        model.increments.recover(model.session, tmp_path)
        np.testing.assert_array_equal(model.values(), now)
    assert [link.number for link in Chain.open(tmp_path).links] == [1, 2, 3, 4, 5]
