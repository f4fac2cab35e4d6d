"""Losses over sampled classes, and swish: values of TensorFlow 1.15.5."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn.graph.convert import constant
from kvarn.graph.gradients import gradients
from kvarn.graph.graph import Graph
from kvarn.graph.random_seed import set_random_seed
from kvarn.graph.session import Session
from kvarn.ops import candidate_sampling
from kvarn.variables import sampled_losses, scope
from kvarn.variables.partitioners import fixed_size_partitioner
from kvarn.variables.swish import swish
from kvarn.variables.variable import VariableV1, global_variables_initializer

LABELS = np.array([[1, 2], [3, 4], [0, 8], [5, 5]], np.int64)


def numbers():
    random = np.random.RandomState(1)
    return [random.randn(*shape).astype(np.float32) for shape in ((9, 3), (9,), (4, 3))]


def run(build):
    with Graph().as_default() as graph, Session(graph=graph) as session:
        set_random_seed(7)
        fetches = build()
        session.run(global_variables_initializer())
        return session.run(fetches)


def test_sampled_softmax():
    weights, biases, inputs = numbers()

    def build():
        w, b = VariableV1(weights), VariableV1(biases)
        return sampled_losses.sampled_softmax_loss(w, b, constant(LABELS), constant(inputs), 5, 9, 2, seed=3)

    np.testing.assert_allclose(run(build), [4.17511, 2.6272, 4.9938, 3.95935], atol=5e-6)


@pytest.mark.parametrize(
    ("remove", "expected"),
    [(False, [4.81931, 5.88088, 9.02025, 4.70025]), (True, [4.73595, 4.39322, 9.02025, 4.5196])],
)
def test_noise_contrastive_estimation(remove, expected):
    weights, biases, inputs = numbers()

    def build():
        w, b = VariableV1(weights), VariableV1(biases)
        sampled = candidate_sampling.uniform_candidate_sampler(constant(LABELS), 2, 5, True, 9, seed=4)
        labels = constant(LABELS.astype(np.int32))
        x = constant(inputs)
        return sampled_losses.nce_loss(
            w, b, labels, x, 5, 9, 2, sampled_values=sampled, remove_accidental_hits=remove
        )

    np.testing.assert_allclose(run(build), expected, atol=1e-5)


def test_weights_in_parts():
    weights, biases, inputs = numbers()

    def build():
        with scope.variable_scope("p", partitioner=fixed_size_partitioner(3)):
            w = scope.get_variable("w", initializer=constant(weights))
            b = scope.get_variable("b", initializer=constant(biases))
        rest = (constant(LABELS), constant(inputs), 5, 9, 2)
        return [
            sampled_losses.sampled_softmax_loss_v2(w, b, *rest, seed=3),
            sampled_losses.sampled_softmax_loss(w, b, *rest, seed=3),
            sampled_losses.nce_loss_v2(w, b, *rest),
        ]

    cut, dealt, noise = run(build)
    np.testing.assert_allclose(cut, [4.17511, 2.6272, 4.9938, 3.95935], atol=5e-6)
    np.testing.assert_allclose(dealt, [5.30546, 2.56623, 4.99672, 2.42505], atol=1e-5)
    assert noise.shape == (4,)


def test_swish():
    with Graph().as_default() as graph, Session() as session:
        x = constant([-1.0, 0.5, 2.0])
        y = swish(x)
        (dx,) = gradients(y, x)
        # As in TensorFlow, the sigmoid of the gradient is one of its own, which waits for dy.
        assert y.name == "IdentityN:0"
        assert [o.name for o in graph.get_operations() if o.type == "Sigmoid"] == [
            "Sigmoid",
            "gradients/IdentityN_grad/Sigmoid",
        ]
        np.testing.assert_allclose(session.run(y), [-0.26894, 0.31123, 1.76159], atol=5e-6)
        np.testing.assert_allclose(session.run(dx), [0.07233, 0.73996, 1.09078], atol=5e-6)
