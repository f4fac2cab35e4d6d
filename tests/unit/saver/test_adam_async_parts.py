"""The powers that AdamAsync keeps for each part of an embedding variable, in other numbers of parts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import checkpoint
from kvarn.checkpoint.chain import Chain
from kvarn.saver.incremental_saver import IncrementalSaver

EVERY = list(range(12))
WAYS = [(None, 3), (4, None), (5, 7), (4, 2), (None, 1), (1, None), (2, 2)]


@contextlib.contextmanager
def model(parts: int | None) -> Iterator[tuple[Any, Any, Any, Any, list[Any]]]:
    """A session of a model, ids, a step of training, a Saver, the powers of the parts."""
    with tf.Graph().as_default():
        partitioner = tf.fixed_size_partitioner(parts) if parts else None
        v = tf.get_embedding_variable("emb", 2, initializer=tf.ones_initializer(), partitioner=partitioner)
        ids = tf.placeholder(tf.int64, [None])
        rows = tf.nn.embedding_lookup(v, ids)
        optimizer = tf.train.AdamAsyncOptimizer(0.1)
        train = optimizer.minimize(tf.reduce_sum(rows * rows), tf.train.get_or_create_global_step())
        pieces = list(v) if parts else [v]
        powers = [
            tf.stack([optimizer.get_slot(p, s)[0] for p in pieces]) for s in ("beta1_power", "beta2_power")
        ]
        saver = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            yield sess, lambda batch: sess.run(train, {ids: batch}), saver, powers, [rows, ids]


def saved(path: Path, parts: int | None, batches: Sequence[list[int]]) -> tuple[str, Any]:
    with model(parts) as (sess, step, saver, _, (rows, ids)):
        for batch in batches:
            step(batch)
        return saver.save(sess, path), sess.run(rows, {ids: EVERY})


@pytest.mark.parametrize(("before", "after"), WAYS)
def test_other_parts_go_on_with_the_powers(tmp_path: Path, before: int | None, after: int | None) -> None:
    prefix, values = saved(tmp_path / "m", before, [EVERY, EVERY])
    with model(after) as (sess, step, saver, powers, (rows, ids)):
        saver.restore(sess, prefix)
        for found, beta in zip(sess.run(powers), (0.9, 0.999), strict=True):
            np.testing.assert_allclose(found, np.full(after or 1, beta**3), rtol=1e-6)
        np.testing.assert_array_equal(sess.run(rows, {ids: EVERY}), values)
        step(EVERY)
        after_three = sess.run(rows, {ids: EVERY})
    _, expected = saved(tmp_path / "whole", None, [EVERY] * 3)
    np.testing.assert_array_equal(after_three, expected)


@pytest.mark.parametrize(("before", "after"), WAYS)
def test_a_plan_and_reshard_give_the_same(tmp_path: Path, before: int | None, after: int | None) -> None:
    prefix, values = saved(tmp_path / "m", before, [EVERY, EVERY])
    checkpoint.reshard(prefix, tmp_path / "cut", partitions={"emb": after or 0})
    for source in (prefix, str(tmp_path / "cut")):
        with model(after) as (sess, _, saver, powers, (rows, ids)):
            plan = saver.plan(source)
            assert {row.action for row in plan.variables} == {"restore", "keep"}
            saver.restore(sess, source, plan=plan)
            np.testing.assert_allclose(sess.run(powers[0]), np.full(after or 1, 0.9**3), rtol=1e-6)
            np.testing.assert_array_equal(sess.run(rows, {ids: EVERY}), values)
    assert not checkpoint.verify(tmp_path / "cut").broken


@pytest.mark.parametrize("parts", [None, 3])
def test_slots_that_a_plan_resets_start_with_fresh_powers(tmp_path: Path, parts: int | None) -> None:
    prefix, values = saved(tmp_path / "m", 4, [EVERY, EVERY])
    with model(parts) as (sess, _, saver, powers, (rows, ids)):
        saver.restore(sess, prefix, plan=saver.plan(prefix, slots="reset"))
        np.testing.assert_allclose(sess.run(powers[0]), np.full(parts or 1, 0.9), rtol=1e-6)
        np.testing.assert_array_equal(sess.run(rows, {ids: EVERY}), values)


def test_different_powers_give_the_smallest_with_a_warning(tmp_path: Path, caplog: Any) -> None:
    evens = EVERY[::2]
    prefix, _ = saved(tmp_path / "m", 2, [EVERY, evens, evens])
    with model(2) as (sess, _, saver, powers, _), caplog.at_level(logging.WARNING):
        saver.restore(sess, prefix)
        np.testing.assert_allclose(sess.run(powers[0]), [0.9**4, 0.9**2], rtol=1e-6)
    assert not caplog.records
    with model(3) as (sess, _, saver, powers, _), caplog.at_level(logging.WARNING):
        saver.restore(sess, prefix)
        np.testing.assert_allclose(sess.run(powers[0]), [0.9**4] * 3, rtol=1e-6)
    assert len([r for r in caplog.records if "has different numbers for the 2 parts" in r.getMessage()]) == 2


@pytest.mark.parametrize(("before", "after"), WAYS)
def test_a_chain_in_other_parts(tmp_path: Path, before: int | None, after: int | None) -> None:
    folder = tmp_path / "m"
    with model(before) as (sess, step, _, _, (rows, ids)):
        saver = tf.train.Saver(incremental_save_restore=True, incremental_include_normal_var=True)
        increments = IncrementalSaver(
            saver_def=saver.saver_def, defer_build=True, incremental_include_normal_var=True
        )
        increments.build(saver._builder.filename_tensor)
        for number in (1, 2):
            step(EVERY)
            if number == 1:
                saver.save(sess, folder / "model.ckpt", global_step=number)
            else:
                increments.incremental_save(
                    sess, str(folder / ".incremental_checkpoint/incremental_model.ckpt"), number
                )
        values = sess.run(rows, {ids: EVERY})
    Chain.open(folder).at(2, tmp_path / "served", partitions=after or 0)
    with model(after) as (sess, _, saver, powers, (rows, ids)):
        saver.restore(sess, str(tmp_path / "served"))
        np.testing.assert_allclose(sess.run(powers[0]), np.full(after or 1, 0.9**3), rtol=1e-6)
        np.testing.assert_array_equal(sess.run(rows, {ids: EVERY}), values)


@pytest.mark.parametrize("cumulative", [True, False])
@pytest.mark.parametrize(("before", "after"), WAYS)
def test_increments_are_recovered_into_other_parts(
    tmp_path: Path, before: int | None, after: int | None, cumulative: bool
) -> None:
    def incremental() -> tuple[Any, Any]:
        full = tf.train.Saver(incremental_save_restore=True)
        increments = IncrementalSaver(saver_def=full.saver_def, defer_build=True, cumulative=cumulative)
        increments.build()
        return full, increments

    with model(before) as (sess, step, _, _, (rows, ids)):
        full, increments = incremental()
        step(EVERY)
        full.save(sess, tmp_path / "model.ckpt", 1)
        for number in (2, 3):
            step(EVERY)
            increments.incremental_save(
                sess, str(tmp_path / ".incremental_checkpoint/incremental_model.ckpt"), number
            )
        values = sess.run(rows, {ids: EVERY})
    with model(after) as (_, step, _, powers, (rows, ids)), tf.Session() as sess:
        _, increments = incremental()
        increments.recover(sess, tmp_path)
        for found, beta in zip(sess.run(powers), (0.9, 0.999), strict=True):
            np.testing.assert_allclose(found, np.full(after or 1, beta**4), rtol=1e-6)
        np.testing.assert_array_equal(sess.run(rows, {ids: EVERY}), values)


def test_an_increment_of_another_dim_changes_nothing(tmp_path: Path) -> None:
    def build(dim: int) -> tuple[Any, Any, Any]:
        v = tf.get_embedding_variable("v", dim, initializer=tf.ones_initializer())
        rows = tf.nn.embedding_lookup(v, tf.constant([1, 2], tf.int64))
        train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(rows))
        full = tf.train.Saver(incremental_save_restore=True)
        increments = IncrementalSaver(saver_def=full.saver_def, defer_build=True)
        increments.build()
        return train, full, increments

    with tf.Graph().as_default(), tf.Session() as sess:
        train, full, increments = build(3)
        sess.run(tf.global_variables_initializer())
        full.save(sess, tmp_path / "model.ckpt", 1)
        sess.run(train)
        increments.incremental_save(sess, str(tmp_path / ".incremental_checkpoint/i"), 2)
    with tf.Graph().as_default(), tf.Session() as sess:
        _, _, increments = build(2)
        with pytest.raises(tf.errors.InvalidArgumentError, match="rows of 3 float32 of 'v', the variable"):
            increments.recover(sess, tmp_path)
        sess.run(tf.global_variables_initializer())
        (variable,) = tf.get_collection(tf.GraphKeys.EMBEDDING_VARIABLES)
        assert sess.run(variable.total_count())[0] == 0
