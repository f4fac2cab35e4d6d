"""Learning rates that change with the step, held against their formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kvarn as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def at(make: Any, *steps: int) -> list[float]:
    step = tf.placeholder(tf.int64, [], name="step")
    rate = make(step)
    with tf.Session() as sess:
        return [float(sess.run(rate, {step: s})) for s in steps]


def check(found: list[float], wanted: list[float]) -> None:
    np.testing.assert_allclose(found, wanted, rtol=2e-6)


def test_exponential() -> None:
    check(
        at(lambda s: tf.train.exponential_decay(0.5, s, 4, 0.9), 0, 2, 9),
        [0.5 * 0.9 ** (s / 4) for s in (0, 2, 9)],
    )
    check(
        at(lambda s: tf.train.exponential_decay(0.5, s, 4, 0.9, staircase=True), 3, 4, 9),
        [0.5, 0.5 * 0.9, 0.5 * 0.9**2],
    )
    check(at(lambda s: tf.train.natural_exp_decay(0.5, s, 4, 0.1), 0, 3), [0.5, 0.5 * math.exp(-0.1 * 3 / 4)])


def test_inverse_time() -> None:
    check(at(lambda s: tf.train.inverse_time_decay(0.5, s, 4, 2.0), 0, 2), [0.5, 0.5 / (1 + 2 * 0.5)])


def test_piecewise_constant() -> None:
    check(
        at(lambda s: tf.train.piecewise_constant(s, [3, 6], [1.0, 0.5, 0.1]), 0, 3, 4, 6, 7, 99),
        [1.0, 1.0, 0.5, 0.5, 0.1, 0.1],
    )
    with pytest.raises(ValueError, match="must have the same dtype as x"):
        tf.train.piecewise_constant(tf.constant(1), [1.5], [1.0, 2.0])
    with pytest.raises(ValueError, match="Values must have elements all with the same dtype"):
        tf.train.piecewise_constant(tf.constant(1), [1], [1.0, 2])


def test_polynomial() -> None:
    def wanted(s: float, power: float) -> float:
        return (0.5 - 0.1) * (1 - min(s, 10) / 10) ** power + 0.1

    check(
        at(lambda s: tf.train.polynomial_decay(0.5, s, 10, 0.1, power=2.0), 0, 5, 20),
        [wanted(s, 2) for s in (0, 5, 20)],
    )
    check(
        at(lambda s: tf.train.polynomial_decay(0.5, s, 10, 0.1, cycle=True), 0, 5, 15),
        [0.5, 0.3, (0.5 - 0.1) * (1 - 15 / 20) + 0.1],
    )


def test_cosine() -> None:
    def wanted(s: float) -> float:
        return 0.5 * (0.9 * 0.5 * (1 + math.cos(math.pi * min(s, 8) / 8)) + 0.1)

    check(at(lambda s: tf.train.cosine_decay(0.5, s, 8, alpha=0.1), 0, 3, 9), [wanted(s) for s in (0, 3, 9)])


def test_cosine_with_restarts() -> None:
    def wanted(fraction: float, height: float) -> float:
        return 0.5 * height * 0.5 * (1 + math.cos(math.pi * fraction))

    check(
        at(lambda s: tf.train.cosine_decay_restarts(0.5, s, 4, t_mul=2.0, m_mul=0.5), 1, 6, 15),
        [wanted(1 / 4, 1.0), wanted(2 / 8, 0.5), wanted(3 / 16, 0.25)],
    )
    check(
        at(lambda s: tf.train.cosine_decay_restarts(0.5, s, 4, t_mul=1.0), 1, 6),
        [wanted(1 / 4, 1.0), wanted(2 / 4, 1.0)],
    )


def test_linear_cosine() -> None:
    def wanted(s: float) -> float:
        done = min(s, 8) / 8
        return 0.5 * ((0.2 + 1 - done) * 0.5 * (1 + math.cos(math.pi * 2 * 1.5 * done)) + 0.01)

    check(
        at(lambda s: tf.train.linear_cosine_decay(0.5, s, 8, 1.5, 0.2, 0.01), 0, 3, 9),
        [wanted(s) for s in (0, 3, 9)],
    )
    quiet = at(lambda s: tf.train.noisy_linear_cosine_decay(0.5, s, 8, 0.0, 0.55, 1.5, 0.2, 0.01), 0, 3, 9)
    check(quiet, [wanted(s) for s in (0, 3, 9)])
    noisy = at(lambda s: tf.train.noisy_linear_cosine_decay(0.5, s, 8, 1.0, 0.55, 1.5, 0.2, 0.01), 3, 3)
    assert noisy[0] != noisy[1]
