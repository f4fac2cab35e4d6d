"""Candidates: classes drawn at random, to train on instead of all classes.

A node's draws follow from its two seeds and from how often it has run in the session.

Source: tensorflow/core/ops/candidate_sampling_ops.cc, tensorflow/core/kernels/candidate_sampler_ops.cc,
tensorflow/python/ops/candidate_sampling_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import random_seed
from kvarn.graph.op import op
from kvarn.graph.resources import KERNEL_STATE, ResourceHandle
from kvarn.graph.shape_inference import with_rank
from kvarn.ops import _philox
from kvarn.ops._range_samplers import (
    AllSampler,
    FixedUnigramSampler,
    LogUniformSampler,
    RangeSampler,
    UniformSampler,
    UnigramSampler,
    Words,
    weights_of_file,
)

_OUTPUTS = "sampled_candidates: int64, true_expected_count: float, sampled_expected_count: float"
_COUNTS = ["num_true: int >= 1", "num_sampled: int >= 1", "unique: bool"]
_SEEDS = ["seed: int = 0", "seed2: int = 0"]
# Numbers that a run may use of its generator for each class that it samples.
_RESERVED_BLOCKS = 2048 // 4


class _Sampling:
    """What a node keeps in its session."""

    def __init__(self, sampler: RangeSampler, seed: int, seed2: int) -> None:
        self.sampler = sampler
        self.generator = _philox.GuardedPhilox(seed, seed2)


def _sampling_of(ctx: Any, make: Callable[[Any], RangeSampler]) -> _Sampling:
    found: _Sampling | None = ctx.cache
    if found is None:
        handle = ResourceHandle(KERNEL_STATE, ctx.op.name, "CandidateSampler")
        attrs = ctx.attrs
        found = ctx.cache = ctx.resources.look_up_or_create(
            handle, lambda: _Sampling(make(attrs), attrs["seed"], attrs["seed2"])
        )
    return found


def _sampled_shapes(c: Any, true_classes: Any) -> Any:
    batch, _ = with_rank(true_classes, 2)
    sampled = (c.attrs["num_sampled"],)
    return [sampled, (batch, c.attrs["num_true"]), sampled]


def _sampling(make: Callable[[Any], RangeSampler]) -> Callable[..., Any]:
    """The kernel of a sampler that ``make`` builds from the attributes."""

    def kernel(ctx: Any, true_classes: Any) -> Any:
        if true_classes.ndim != 2:
            raise errors.InvalidArgumentError.of("true_classes must be a matrix")
        num_true, count = ctx.attrs["num_true"], ctx.attrs["num_sampled"]
        if true_classes.shape[1] != num_true:
            raise errors.InvalidArgumentError.of(
                f"true_classes must have num_true columns, expected: {true_classes.shape[1]} was: {num_true}"
            )
        sampling = _sampling_of(ctx, make)
        sampler, unique = sampling.sampler, ctx.attrs["unique"]
        if unique and count > sampler.range:
            raise errors.InvalidArgumentError.of("Sampler's range is too small.")
        words = Words(sampling.generator.reserve_blocks(_RESERVED_BLOCKS * count))
        sampled, tries = sampler.sample(words, count, unique)
        expected = (sampler.expected_count(classes, count, tries) for classes in (true_classes, sampled))
        outputs = (sampled, *expected)
        sampler.update(true_classes)
        return outputs

    return kernel


@op(
    "UniformCandidateSampler",
    inputs="true_classes: int64",
    outputs=_OUTPUTS,
    attrs=[*_COUNTS, "range_max: int >= 1", *_SEEDS],
    stateful=True,
)
class uniform_candidate_sampler_:
    """Classes that are all equally probable."""

    shape = _sampled_shapes
    kernel = _sampling(lambda attrs: UniformSampler(attrs["range_max"]))


@op(
    "LogUniformCandidateSampler",
    inputs="true_classes: int64",
    outputs=_OUTPUTS,
    attrs=[*_COUNTS, "range_max: int >= 1", *_SEEDS],
    stateful=True,
)
class log_uniform_candidate_sampler_:
    """Classes of a distribution that falls about as one over the class."""

    shape = _sampled_shapes
    kernel = _sampling(lambda attrs: LogUniformSampler(attrs["range_max"]))


@op(
    "LearnedUnigramCandidateSampler",
    inputs="true_classes: int64",
    outputs=_OUTPUTS,
    attrs=[*_COUNTS, "range_max: int >= 1", *_SEEDS],
    stateful=True,
)
class learned_unigram_candidate_sampler_:
    """Classes as often as they have been true ones in the session so far."""

    shape = _sampled_shapes
    kernel = _sampling(lambda attrs: UnigramSampler(attrs["range_max"]))


@op(
    "ThreadUnsafeUnigramCandidateSampler",
    inputs="true_classes: int64",
    outputs=_OUTPUTS,
    attrs=[*_COUNTS, "range_max: int >= 1", *_SEEDS],
    stateful=True,
)
class thread_unsafe_unigram_candidate_sampler:
    """As `learned_unigram_candidate_sampler`; here it is safe as well."""

    shape = _sampled_shapes
    kernel = _sampling(lambda attrs: UnigramSampler(attrs["range_max"]))


def _fixed(attrs: Any) -> RangeSampler:
    path, unigrams = attrs["vocab_file"].decode(), attrs["unigrams"]
    if not path and not unigrams:
        raise errors.InvalidArgumentError.of("Must provide either vocab_file or unigrams.")
    if path and unigrams:
        raise errors.InvalidArgumentError.of("Must only provide one of vocab_file and unigrams.")
    return FixedUnigramSampler(
        attrs["range_max"],
        weights_of_file(path) if path else unigrams,
        attrs["distortion"],
        attrs["num_reserved_ids"],
        attrs["num_shards"],
        attrs["shard"],
    )


@op(
    "FixedUnigramCandidateSampler",
    inputs="true_classes: int64",
    outputs=_OUTPUTS,
    attrs=[
        *_COUNTS,
        "range_max: int >= 1",
        "vocab_file: string = ''",
        "distortion: float = 1.0",
        "num_reserved_ids: int = 0",
        "num_shards: int >= 1 = 1",
        "shard: int >= 0 = 0",
        "unigrams: list(float) = []",
        *_SEEDS,
    ],
    stateful=True,
)
class fixed_unigram_candidate_sampler_:
    """Classes in proportion to weights of a list or a file."""

    shape = _sampled_shapes
    kernel = _sampling(_fixed)


@op(
    "AllCandidateSampler",
    inputs="true_classes: int64",
    outputs=_OUTPUTS,
    attrs=[*_COUNTS, *_SEEDS],
    stateful=True,
)
class all_candidate_sampler_:
    """All of the `num_sampled` classes."""

    shape = _sampled_shapes
    kernel = _sampling(lambda attrs: AllSampler(attrs["num_sampled"]))


@op(
    "ComputeAccidentalHits",
    inputs="true_classes: int64, sampled_candidates: int64",
    outputs="indices: int32, ids: int64, weights: float",
    attrs=["num_true: int", *_SEEDS],
)
class compute_accidental_hits_:
    """Where sampled classes are true ones: (row, place among the sampled, the least float) of each case."""

    def shape(c: Any, true_classes: Any, sampled_candidates: Any) -> Any:
        columns, num_true = with_rank(true_classes, 2)[1], c.attrs["num_true"]
        if columns not in (None, num_true):
            raise ValueError(f"Dimension must be {num_true} but is {columns}")
        with_rank(sampled_candidates, 1)
        return [(None,)] * 3

    def kernel(ctx: Any, true_classes: Any, sampled_candidates: Any) -> Any:
        if true_classes.ndim != 2 or true_classes.shape[1] != ctx.attrs["num_true"]:
            raise errors.InvalidArgumentError.of("true_candidates must be a batch_size * num_true matrix")
        if sampled_candidates.ndim != 1:
            raise errors.InvalidArgumentError.of(
                "sampled_candidates must be a vector, which is typically an output from CandidateSampler"
            )
        place = {value: i for i, value in enumerate(sampled_candidates.tolist())}
        hits = [(i, place[t]) for i, row in enumerate(true_classes.tolist()) for t in row if t in place]
        found = np.array(hits, np.int64).reshape(-1, 2)
        weights = np.full(len(found), np.finfo(np.float32).min, np.float32)
        return found[:, 0].astype(np.int32), found[:, 1], weights


# -- functions of tf -------------------------------------------------------------------------------


def uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Classes of [0, range_max), all equally probable.

    Args:
      true_classes: int64 [batch, num_true].
      num_true: true classes of each example.
      num_sampled: how many to draw.
      unique: whether no class comes twice.
      range_max: the number of classes.
      seed: of the operation; see `tf.set_random_seed`.

    Returns:
      (sampled_candidates int64 [num_sampled], true_expected_count float32 [batch, num_true],
      sampled_expected_count float32 [num_sampled]): the classes, and how often the true and the sampled ones
      are expected in such a sample.

    Raises (when run):
      InvalidArgumentError: the classes are not a matrix of ``num_true`` columns, or there are fewer classes
        than unique ones are asked for.
    """
    seed1, seed2 = random_seed.get_seed(seed)
    return uniform_candidate_sampler_(
        true_classes, num_true, num_sampled, unique, range_max, seed=seed1, seed2=seed2, name=name
    )


def log_uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Classes of [0, range_max), class k with probability log((k + 2) / (k + 1)) / log(range_max + 1).

    That suits classes in the order of falling frequency.  See `uniform_candidate_sampler`.
    """
    seed1, seed2 = random_seed.get_seed(seed)
    return log_uniform_candidate_sampler_(
        true_classes, num_true, num_sampled, unique, range_max, seed=seed1, seed2=seed2, name=name
    )


def learned_unigram_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Classes of [0, range_max) as often as they were true ones so far, once added to each.

    The counts live in the session; no checkpoint holds them.  See `uniform_candidate_sampler`.
    """
    seed1, seed2 = random_seed.get_seed(seed)
    return learned_unigram_candidate_sampler_(
        true_classes, num_true, num_sampled, unique, range_max, seed=seed1, seed2=seed2, name=name
    )


def fixed_unigram_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    vocab_file: str = "",
    distortion: float = 1.0,
    num_reserved_ids: int = 0,
    num_shards: int = 1,
    shard: int = 0,
    unigrams: Sequence[float] = (),
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Classes of [0, range_max) in proportion to given weights.  See `uniform_candidate_sampler`.

    Args:
      vocab_file: a file of comma-separated values; the last column is the weight of the line's class.
      distortion: the power that weights are raised to.
      num_reserved_ids: how many classes before the weighted ones are never drawn.
      num_shards, shard: take of the classes those with the remainder ``shard`` of a division by ``num_shards``.
      unigrams: the weights themselves; exactly one of this and ``vocab_file`` is given.
    """
    seed1, seed2 = random_seed.get_seed(seed)
    return fixed_unigram_candidate_sampler_(
        true_classes,
        num_true,
        num_sampled,
        unique,
        range_max,
        vocab_file=vocab_file,
        distortion=distortion,
        num_reserved_ids=num_reserved_ids,
        num_shards=num_shards,
        shard=shard,
        unigrams=unigrams,
        seed=seed1,
        seed2=seed2,
        name=name,
    )


def all_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """All of the ``num_sampled`` classes.  See `uniform_candidate_sampler`."""
    seed1, seed2 = random_seed.get_seed(seed)
    return all_candidate_sampler_(
        true_classes, num_true, num_sampled, unique, seed=seed1, seed2=seed2, name=name
    )


def compute_accidental_hits(
    true_classes: Any,
    sampled_candidates: Any,
    num_true: int,
    seed: int | None = None,
    name: str | None = None,
) -> Any:
    """Where sampled classes happen to be true ones.

    Args:
      true_classes: int64 [batch, num_true].
      sampled_candidates: int64 [num_sampled], all different.

    Returns:
      (indices int32 [hits], ids int64 [hits], weights float32 [hits]): the row of the true class, the place of
      the sampled one, and the least float32 there is, which makes a logit that it is added to not count.
    """
    seed1, seed2 = random_seed.get_seed(seed)
    return compute_accidental_hits_(
        true_classes, sampled_candidates, num_true, seed=seed1, seed2=seed2, name=name
    )
