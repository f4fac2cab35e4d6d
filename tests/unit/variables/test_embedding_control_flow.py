"""Embedding variables in conditionals and loops: only what was looked up is trained, created and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import tf_logging


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def plain(var: Any, *ids: int) -> Any:
    return tf.reduce_sum(tf.nn.embedding_lookup(var, tf.constant(ids, tf.int64)))


def joined(var: Any, *ids: int) -> Any:
    places = [[0, i] for i in range(len(ids))]
    batch = tf.SparseTensor(places, np.array(ids, np.int64), [1, len(ids)])
    return tf.reduce_sum(tf.nn.embedding_lookup_sparse(var, batch, None, combiner="sum"))


def trained(
    loss: Callable[[Any, Any], Any], runs: list[bool], parts: int | None = None, **options: Any
) -> Any:
    """(value, frequency) of each key of a variable of ones after steps by 0.1 times the gradient."""
    var = tf.get_embedding_variable(
        "e",
        2,
        initializer=tf.ones_initializer(),
        partitioner=None if parts is None else tf.fixed_size_partitioner(parts),
        **options,
    )
    taken = tf.placeholder(tf.bool, [])
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss(var, taken))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for value in runs:
            sess.run(train, {taken: value})
        found: dict[int, tuple[float, int]] = {}
        for part in [var] if parts is None else var:
            keys, values, _, freqs = sess.run(part.export())
            freqs = freqs if len(freqs) else np.zeros(len(keys), np.int64)
            for key, row, freq in zip(keys.tolist(), values, freqs.tolist(), strict=True):
                found[key] = (round(float(row[0]), 5), freq)
    return found


@pytest.mark.parametrize("parts", [None, 3])
@pytest.mark.parametrize("lookup", [plain, joined])
@pytest.mark.parametrize("slot", [0, 1])
def test_a_branch_trains_when_it_is_taken(lookup: Any, parts: int | None, slot: int) -> None:
    def loss(var: Any, taken: Any) -> Any:
        branches = [lambda: lookup(var, 1, 1, 2), lambda: 0.0]
        return tf.cond(taken, *(branches if slot == 0 else branches[::-1]))

    values = trained(loss, [True, False, True], parts)
    steps = 2 if slot == 0 else 1
    assert values == {1: (round(1 - 0.2 * steps, 5), 0), 2: (round(1 - 0.1 * steps, 5), 0)}


def test_a_branch_that_is_never_taken_makes_no_keys() -> None:
    assert trained(lambda var, p: tf.cond(p, lambda: joined(var, 5), lambda: 0.0), [False, False]) == {}


@pytest.mark.parametrize("parts", [None, 3])
@pytest.mark.parametrize("lookup", [plain, joined])
def test_both_branches_and_beside(lookup: Any, parts: int | None) -> None:
    values = trained(
        lambda var, p: tf.cond(p, lambda: lookup(var, 1, 1, 2), lambda: lookup(var, 3)) + lookup(var, 9),
        [True, False],
        parts,
    )
    assert values == {1: (0.8, 0), 2: (0.9, 0), 3: (0.9, 0), 9: (0.8, 0)}


def rounds(body: Callable[[], Any]) -> Any:
    return tf.while_loop(
        lambda i, a: i < 3, lambda i, a: (i + 1, a + body()), [tf.constant(0), tf.constant(0.0)]
    )[1]


@pytest.mark.parametrize("parts", [None, 3])
@pytest.mark.parametrize("lookup", [plain, joined])
def test_a_loop_trains_what_each_round_looked_up(lookup: Any, parts: int | None) -> None:
    """TensorFlow's sum over the rounds begins with a row of zeros for id 0, which would be a key here."""
    assert trained(lambda var, p: rounds(lambda: lookup(var, 1, 2)), [True], parts) == {
        1: (0.7, 0),
        2: (0.7, 0),
    }


def test_a_conditional_in_a_loop() -> None:
    values = trained(
        lambda var, p: rounds(lambda: tf.cond(p, lambda: plain(var, 1), lambda: plain(var, 2, 2))),
        [True, False],
    )
    assert values == {1: (0.7, 0), 2: (0.4, 0)}


COUNTED = {"ev_option": tf.EmbeddingVariableOption(filter_option=tf.CounterFilter(1))}


@pytest.mark.parametrize("parts", [None, 3])
def test_occurrences_are_counted_through_conditionals(monkeypatch: Any, parts: int | None) -> None:
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    values = trained(
        lambda var, p: (
            tf.cond(p, lambda: joined(var, 1, 1, 2), lambda: joined(var, 3, 3, 3) * 2.0) + joined(var, 9, 9)
        ),
        [True, False],
        parts,
        **COUNTED,
    )
    assert {key: freq for key, (_, freq) in values.items()} == {1: 2, 2: 1, 3: 3, 9: 4}


def test_counts_that_are_given_in_a_branch(monkeypatch: Any) -> None:
    monkeypatch.setenv("TF_RECORD_FREQ", "1")

    def lookup(var: Any) -> Any:
        ids = tf.constant([4, 6], tf.int64)
        return tf.reduce_sum(tf.nn.embedding_lookup(var, ids, counts=tf.constant([5, 2])))

    values = trained(lambda var, p: tf.cond(p, lambda: lookup(var), lambda: 0.0), [True], **COUNTED)
    assert {key: freq for key, (_, freq) in values.items()} == {4: 5, 6: 2}


def test_a_loop_whose_occurrences_are_not_known_says_so(monkeypatch: Any) -> None:
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    said: list[str] = []
    monkeypatch.setattr(tf_logging, "warning", lambda text, *rest: said.append(text % rest))
    values = trained(lambda var, p: rounds(lambda: joined(var, 1, 1)), [True], **COUNTED)
    assert values[1][1] == 3
    assert any("'e:0' is looked up in a loop" in text for text in said)
