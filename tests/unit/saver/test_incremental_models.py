"""Increments of other models: recovered and compacted, they are what the session was."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.checkpoint.chain import Chain
from kvarn.formats.bundle import BundleReader
from kvarn.formats.manifest import read_manifest
from kvarn.saver.incremental_saver import IncrementalSaver

FEEDS = ([1, 2], [2, 7], [1, 2, 7])
# What is fetched, the update, and the feed of a batch by its number.
Made = tuple[Any, Any, Callable[[int], dict[Any, Any]]]


def resource_variable_under_adam() -> Made:
    """Adam's slots are decayed as a whole: nothing is sparse."""
    ids = tf.placeholder(tf.int64, [None])
    w = tf.get_variable("w", [10, 2], initializer=tf.ones_initializer(), use_resource=True)
    rows = tf.nn.embedding_lookup(w, ids)
    return rows, tf.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(rows * rows)), lambda n: {ids: FEEDS[n]}


def resource_variable_under_momentum() -> Made:
    ids = tf.placeholder(tf.int64, [None])
    w = tf.get_variable("w", [10, 2], initializer=tf.ones_initializer(), use_resource=True)
    ev = tf.get_embedding_variable("e", 2)
    rows = tf.nn.embedding_lookup(w, ids) + tf.nn.embedding_lookup(ev, ids)
    train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(rows * rows))
    return rows, train, lambda n: {ids: FEEDS[n]}


def rows_of_scatter() -> Made:
    """The update is fetched itself: there is nothing that waits for it."""
    ids = tf.placeholder(tf.int64, [None])
    w = tf.get_variable("w", [10, 2], initializer=tf.ones_initializer())
    rows = tf.nn.embedding_lookup(w, ids)
    return rows, tf.scatter_add(w, ids, tf.ones_like(rows)), lambda n: {ids: FEEDS[n]}


def rows_and_an_assignment() -> Made:
    """What may change as a whole is saved as a whole."""
    ids = tf.placeholder(tf.int64, [None])
    w = tf.get_variable("w", [10, 2], initializer=tf.ones_initializer())
    rows = tf.nn.embedding_lookup(w, ids)
    update = tf.group(tf.scatter_add(w, ids, tf.ones_like(rows)))
    tf.assign(w, tf.zeros([10, 2]))
    return rows, update, lambda n: {ids: FEEDS[n]}


def dynamic_dimension() -> Made:
    ids, blocks = tf.placeholder(tf.int64, [None]), tf.placeholder(tf.int32, [None])
    d = tf.get_dynamic_dimension_embedding_variable(
        "d", 2, 3, initializer=tf.ones_initializer(), partitioner=tf.fixed_size_partitioner(2)
    )
    rows = tf.nn.embedding_lookup(d, ids, blocknums=blocks)
    train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows * rows))
    numbers = ([1, 3], [2, 3], [3, 3, 3])
    return rows, train, lambda n: {ids: FEEDS[n], blocks: numbers[n]}


SPARSE = {
    resource_variable_under_adam: set(),
    resource_variable_under_momentum: {"w", "w/Momentum", "e", "e/Momentum"},
    rows_of_scatter: {"w"},
    rows_and_an_assignment: set(),
    dynamic_dimension: {
        f"d/part_{part}/block{block}{slot}"
        for part in range(2)
        for block in range(3)
        for slot in ("", "/Adagrad")
    },
}


@pytest.mark.parametrize("make", SPARSE, ids=lambda make: make.__name__)
def test_recovered_and_compacted(tmp_path: Any, make: Callable[[], Made]) -> None:
    folder, target = str(tmp_path / "m"), str(tmp_path / "compacted")

    def built() -> tuple[Made, Any, IncrementalSaver, Any]:
        made = make()
        saver = tf.train.Saver(incremental_save_restore=True, incremental_include_normal_var=True)
        increments = IncrementalSaver(
            saver_def=saver.saver_def, defer_build=True, incremental_include_normal_var=True
        )
        increments.build(saver._builder.filename_tensor)
        return made, saver, increments, tf.global_variables_initializer()

    with tf.Graph().as_default():
        (fetch, train, feed), saver, increments, init = built()
        with tf.Session() as session:
            session.run(init)
            session.run(train, feed(0))
            saver.save(session, os.path.join(folder, "model.ckpt"), 1)
            session.run(train, feed(1))
            prefix = increments.incremental_save(
                session, os.path.join(folder, ".incremental_checkpoint/incremental_model.ckpt"), 2
            )
            wanted = session.run(fetch, feed(2))
    with BundleReader(prefix) as reader:
        suffix = "-sparse_incr_keys"
        found = {n.removesuffix(suffix) for n in list(reader.keys()) if n.endswith(suffix)}
    assert found == SPARSE[make]
    Chain.open(folder).compact(target)
    with tf.Graph().as_default():
        (fetch, train, feed), saver, increments, init = built()
        with tf.Session() as session:
            increments.recover(session, folder)
            np.testing.assert_array_equal(session.run(fetch, feed(2)), wanted)
        with tf.Session() as session:
            saver.restore(session, target)
            np.testing.assert_array_equal(session.run(fetch, feed(2)), wanted)


def test_every_save_with_embedding_variables_has_a_manifest(tmp_path: Any) -> None:
    """Counters by reason in every save, with or without increments; no manifest where there is nothing to say."""
    with tf.Graph().as_default(), tf.Session() as session:
        w = tf.get_variable("w", [1])
        b = tf.get_embedding_variable(
            "b", 1, ev_option=tf.EmbeddingVariableOption(filter_option=tf.CounterFilter(filter_freq=2))
        )
        rows = tf.nn.embedding_lookup(b, tf.constant([1, 1, 2], tf.int64))
        train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows), var_list=[b])
        session.run(tf.global_variables_initializer())
        session.run(train)
        plain = tf.train.Saver([w]).save(session, str(tmp_path / "plain"))
        saver = tf.train.Saver(max_to_keep=1)
        first = saver.save(session, str(tmp_path / "m"), 1)
        second = saver.save(session, str(tmp_path / "m"), 2)
    assert not os.path.exists(plain + ".kvarn_manifest")
    assert not os.path.exists(first + ".kvarn_manifest")
    manifest, _ = read_manifest(second)
    assert (manifest.number, manifest.kind, manifest.steps) == (2, "full", (1, 2))
    assert manifest.parent is not None
    assert manifest.parent.number == 1
    counts = manifest.variables["b"]
    assert (counts.upserts, counts.filtered, counts.keeps) == (1, 1, ("freqs",))
    assert counts.counters["admitted"] == 1
    assert {"filtered", "evicted_age", "evicted_norm", "evicted_frequency", "evicted_ceiling"} <= set(
        counts.counters
    )
    assert manifest.variables["b/Adagrad"].counters == {}
