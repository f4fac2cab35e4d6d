"""Candidate samplers: the classes and expected counts that TensorFlow 1.15.5 gives for the same seeds."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest

from kvarn import errors
from kvarn.graph.graph import Graph
from kvarn.graph.random_seed import set_random_seed
from kvarn.graph.session import Session
from kvarn.ops import array, candidate_sampling

CLASSES = np.array([[0, 3], [6, 2]], np.int64)


def runs(build, times=2):
    with Graph().as_default() as graph, Session(graph=graph) as session:
        set_random_seed(5)
        fetches = build()
        return [session.run(fetches) for _ in range(times)]


def sampler(name, count, unique, *args, seed=3, **kwargs):
    function = getattr(candidate_sampling, f"{name}_candidate_sampler")
    return lambda: function(CLASSES, 2, count, unique, *args, seed=seed, **kwargs)


@pytest.mark.parametrize(
    ("name", "unique", "samples", "expected"),
    [
        ("uniform", False, [[2, 0, 6, 5, 0, 2, 4], [5, 5, 3, 4, 1, 2, 6]], [1.0, 1.0, 1.0, 1.0]),
        (
            "uniform",
            True,
            [[2, 0, 6, 5, 4, 1, 3], [5, 3, 4, 1, 2, 6, 0]],
            [0.93763262, 0.93763262, 0.93763262, 0.93763262],
        ),
        (
            "log_uniform",
            False,
            [[0, 1, 3, 5, 6, 5, 2], [5, 1, 0, 5, 1, 0, 0]],
            [2.33333349, 0.75116557, 0.44950518, 0.96842086],
        ),
        (
            "log_uniform",
            True,
            [[0, 1, 3, 5, 6, 2, 4], [5, 1, 0, 2, 6, 3, 4]],
            [0.99997360, 0.94773328, 0.82193530, 0.97917151],
        ),
    ],
)
def test_fixed_distributions(name, unique, samples, expected):
    first, second = runs(sampler(name, 7, unique, 7))
    assert [first[0].tolist(), second[0].tolist()] == samples
    assert first[1].shape == (2, 2)
    assert first[1].dtype == np.float32
    # Of the second run: how often each true class is expected.
    np.testing.assert_allclose(second[1].reshape(-1), expected, rtol=2e-7)


@pytest.mark.parametrize(
    ("name", "count", "unique", "range_max", "seed", "digest"),
    [
        ("uniform", 500, True, 1000, 3, "34462fa6"),
        ("uniform", 500, True, 1024, 3, "a5675cd5"),
        ("log_uniform", 800, True, 1000000, 9, "8a3b42a2"),
        ("learned_unigram", 300, True, 1001, None, "762f6d23"),
    ],
)
def test_large_samples(name, count, unique, range_max, seed, digest):
    (sampled, _, _), *_ = runs(sampler(name, count, unique, range_max, seed=seed))
    assert hashlib.md5(sampled.tobytes()).hexdigest()[:8] == digest


def test_classes_seen_become_more_probable():
    found = runs(sampler("learned_unigram", 5, False, 7), 4)
    assert [f[0].tolist() for f in found] == [
        [4, 3, 5, 4, 5],
        [6, 0, 1, 0, 5],
        [6, 6, 4, 3, 0],
        [3, 0, 3, 0, 2],
    ]
    counts = [0.71428573, 0.90909094, 1.0, 1.05263162]
    np.testing.assert_allclose([f[1][0, 0] for f in found], counts, rtol=2e-7)
    # Class 1 was never a true one.
    np.testing.assert_allclose(found[1][2][2], 0.45454547, rtol=2e-7)


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("a,1\nb,2.5\nc,0.25\nd,4\ne,3\nf,1\ng,2\n")
    return str(path)


def test_weights_of_a_list():
    found = runs(sampler("fixed_unigram", 5, True, 7, unigrams=[1, 2, 3, 4, 5, 6, 7.5]))
    assert [f[0].tolist() for f in found] == [[3, 4, 2, 6, 5], [6, 4, 1, 2, 5]]
    expected = [0.41478223, 0.89652908, 0.98975253, 0.81144857]
    np.testing.assert_allclose(found[1][1].reshape(-1), expected, rtol=2e-7)


def test_many_weights():
    weights = [float(i % 17 + 1) for i in range(3000)]
    found = runs(sampler("fixed_unigram", 2000, False, 3000, unigrams=weights))
    assert [hashlib.md5(f[0].tobytes()).hexdigest()[:8] for f in found] == ["d64e0d5f", "b1b67a53"]


def test_weights_of_a_file(vocabulary):
    options = {"vocab_file": vocabulary, "num_reserved_ids": 2, "distortion": 0.75}
    found = runs(sampler("fixed_unigram", 5, False, 9, **options))
    assert [f[0].tolist() for f in found] == [[8, 3, 3, 8, 6], [6, 5, 6, 5, 7]]
    np.testing.assert_allclose(found[0][1].reshape(-1), [0.0, 0.89304417, 1.02390313, 0.44917744], rtol=2e-7)


@pytest.mark.parametrize(
    ("shard", "range_max", "samples"), [(0, 6, [[4, 2, 3], [5, 2, 4]]), (1, 5, [[1, 4, 3], [4, 3, 1]])]
)
def test_weights_of_a_shard(vocabulary, shard, range_max, samples):
    options = {"vocab_file": vocabulary, "num_reserved_ids": 3, "num_shards": 2, "shard": shard}
    found = runs(sampler("fixed_unigram", 3, True, range_max, **options))
    assert [f[0].tolist() for f in found] == samples


def test_all_classes():
    sampled, of_true, of_sampled = runs(sampler("all", 7, True))[0]
    assert sampled.tolist() == list(range(7))
    assert of_true.tolist() == [[1, 1], [1, 1]]
    assert of_sampled.tolist() == [1] * 7


def unknown(value):
    return array.placeholder_with_default(np.array(value, np.int64), None)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (sampler("uniform", 9, True, 7), "Sampler's range is too small."),
        (
            lambda: candidate_sampling.uniform_candidate_sampler(CLASSES, 1, 2, False, 7),
            "true_classes must have num_true columns, expected: 2 was: 1",
        ),
        (
            lambda: candidate_sampling.uniform_candidate_sampler(unknown([1]), 1, 2, False, 7),
            "true_classes must be a matrix",
        ),
        (sampler("fixed_unigram", 2, True, 7), "Must provide either vocab_file or unigrams."),
        (
            sampler("fixed_unigram", 2, True, 7, vocab_file="x", unigrams=[1.0]),
            "Must only provide one of vocab_file and unigrams.",
        ),
        (sampler("fixed_unigram", 2, True, 7, unigrams=[1.0]), "range_max is 7, but there are 1 weights"),
        (
            lambda: candidate_sampling.learned_unigram_candidate_sampler(CLASSES, 2, 2, False, 6),
            "the true class 6 is not in [0, 6)",
        ),
        (
            lambda: candidate_sampling.compute_accidental_hits(unknown(CLASSES), [1], 1),
            "true_candidates must be a batch_size * num_true matrix",
        ),
        (
            lambda: candidate_sampling.compute_accidental_hits(CLASSES, unknown(CLASSES), 2),
            "sampled_candidates must be a vector, which is typically an output from CandidateSampler",
        ),
    ],
)
def test_refusals(build, message):
    with pytest.raises(errors.InvalidArgumentError, match="^" + re.escape(message)):
        runs(build, 1)


def test_a_damaged_file(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("a,1\nb,two\n")
    build = sampler("fixed_unigram", 2, True, 2, vocab_file=str(path))
    with pytest.raises(errors.InvalidArgumentError, match="Wrong vocabulary format at line: b,two"):
        runs(build, 1)


def test_accidental_hits():
    candidates = np.array([2, 9, 0, 6], np.int64)
    (rows, ids, weights), *_ = runs(
        lambda: candidate_sampling.compute_accidental_hits(CLASSES, candidates, 2)
    )
    assert rows.tolist() == [0, 1, 1]
    assert ids.tolist() == [2, 3, 0]
    assert weights.tolist() == [np.finfo(np.float32).min] * 3
    with Graph().as_default(), pytest.raises(ValueError, match="Dimension must be 1 but is 2"):
        candidate_sampling.compute_accidental_hits(CLASSES, candidates, 1)
