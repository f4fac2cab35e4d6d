"""Classes drawn from distributions over [0, range): TensorFlow's candidates, number for number.

A sampler draws from a `Words`, the single uint32 that a Philox generator gives one after the other.

Source: tensorflow/core/kernels/range_sampler.{h,cc}, tensorflow/core/lib/random/{simple_philox.h,
exact_uniform_int.h,weighted_picker.cc,distribution_sampler.{h,cc}} (1.15).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import errors
from kvarn.io import as_path, file_system_of
from kvarn.ops import _philox

Array = npt.NDArray[Any]

# Blocks that are computed at a time.
_BLOCKS = 256
_MAX_INT32 = 2**31 - 1


class Words:
    """The numbers of a generator as a stream."""

    def __init__(self, generator: _philox.Philox) -> None:
        self._generator = generator
        self._next_block = 0
        self._ahead = np.empty(0, np.uint32)

    def peek(self, count: int) -> Array:
        """The next ``count`` numbers, which stay in the stream: uint32 [count]."""
        missing = count - len(self._ahead)
        if missing > 0:
            blocks = max(_BLOCKS, -(-missing // 4))
            places = np.arange(self._next_block, self._next_block + blocks, dtype=np.uint64)
            self._next_block += blocks
            self._ahead = np.concatenate([self._ahead, self._generator.blocks(places).reshape(-1)])
        return self._ahead[:count]

    def take(self, count: int) -> Array:
        """The next ``count`` numbers: uint32 [count]."""
        found = self.peek(count)
        self._ahead = self._ahead[count:]
        return found


def _uniform(words: Array, n: int) -> Array:
    """Those of ``words`` (of any unsigned type) that are not rejected, as numbers below ``n``."""
    kind = words.dtype.type
    if n & (n - 1) == 0:
        numbers: Array = words & kind(n - 1)
    else:
        rejected = np.iinfo(kind).max % n + 1
        numbers = words[words >= kind(rejected)] % kind(n)
    return numbers


class RangeSampler:
    """Base of the samplers.

    Args:
      range_max: the number of classes.
    """

    def __init__(self, range_max: int) -> None:
        self.range = range_max

    def draw(self, words: Words, count: int) -> Array:
        """At most ``count`` classes, as many as it happens to be: int64 [n]."""
        raise NotImplementedError

    def probability(self, classes: Array) -> Array:
        """How probable each class is in one draw: float32, of the shape of ``classes``."""
        raise NotImplementedError

    def update(self, classes: Array) -> None:
        """Learns that ``classes`` have been seen."""

    def sample(self, words: Words, count: int, unique: bool) -> tuple[Array, int]:
        """``count`` classes, and how many were drawn to get them.

        Args:
          unique: whether no class comes twice: those that do are drawn again.
        """
        picked: list[int] = []
        used: set[int] = set()
        tries = 0
        while len(picked) < count:
            for value in self.draw(words, count - len(picked)).tolist():
                tries += 1
                if not unique:
                    picked.append(value)
                elif value not in used:
                    used.add(value)
                    picked.append(value)
        return np.array(picked, np.int64), tries

    def expected_count(self, classes: Array, count: int, tries: int) -> Array:
        """How often each class is expected among ``count`` that took ``tries``: float32.

        Where classes are unique it can differ from TensorFlow's in the last bit: logarithms are rounded once here.
        """
        p = self.probability(classes)
        if tries == count:
            return p * np.float32(count)
        # 1 - (1 - p) ** tries, each step rounded to float32.
        log = np.log1p(-p.astype(np.float64)).astype(np.float32)
        return -np.expm1((np.float32(tries) * log).astype(np.float64)).astype(np.float32)


class AllSampler(RangeSampler):
    """Every class, once."""

    def sample(self, words: Words, count: int, unique: bool) -> tuple[Array, int]:
        return np.arange(count, dtype=np.int64), count

    def expected_count(self, classes: Array, count: int, tries: int) -> Array:
        return np.ones(classes.shape, np.float32)


class UniformSampler(RangeSampler):
    """All classes are equally probable."""

    def draw(self, words: Words, count: int) -> Array:
        pairs = words.take(2 * count).astype(np.uint64)
        return _uniform(pairs[0::2] | pairs[1::2] << np.uint64(32), self.range).astype(np.int64)

    def probability(self, classes: Array) -> Array:
        return np.full(classes.shape, 1.0 / self.range, np.float32)


class LogUniformSampler(RangeSampler):
    """Class k has the probability log((k + 2) / (k + 1)) / log(range + 1)."""

    def __init__(self, range_max: int) -> None:
        super().__init__(range_max)
        self._log_range = math.log1p(range_max)

    def draw(self, words: Words, count: int) -> Array:
        pairs = words.take(2 * count)
        exponents = _philox.to_double(pairs[0::2], pairs[1::2]) * self._log_range
        # The C library's exponential function: NumPy's own rounds differently on some processors.
        values = np.fromiter(map(math.exp, exponents.tolist()), np.float64, count)
        return (values.astype(np.int64) - 1) % self.range

    def probability(self, classes: Array) -> Array:
        ratios = (classes + 2.0) / (classes + 1.0)
        return (np.log(ratios) / self._log_range).astype(np.float32)


class UnigramSampler(RangeSampler):
    """Classes in proportion to how often they have been seen, each once more than it was."""

    def __init__(self, range_max: int) -> None:
        if range_max >= _MAX_INT32:
            raise errors.InvalidArgumentError.of(f"range_max is {range_max}: it must be below {_MAX_INT32}")
        super().__init__(range_max)
        self._weights = np.ones(range_max, np.int64)
        self._ends = np.cumsum(self._weights)
        self._lock = threading.Lock()

    def draw(self, words: Words, count: int) -> Array:
        with self._lock:
            positions = _uniform(words.take(count), int(self._ends[-1]))
            return np.searchsorted(self._ends, positions, side="right")

    def probability(self, classes: Array) -> Array:
        with self._lock:
            _check_classes(classes, self.range)
            return self._weights[classes].astype(np.float32) / np.float32(self._ends[-1])

    def update(self, classes: Array) -> None:
        with self._lock:
            np.add.at(self._weights, classes.reshape(-1)[: _MAX_INT32 - int(self._ends[-1])], 1)
            np.cumsum(self._weights, out=self._ends)


def _check_classes(classes: Array, limit: int) -> None:
    if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < limit:
        bad = classes[(classes < 0) | (classes >= limit)][0]
        raise errors.InvalidArgumentError.of(f"the true class {bad} is not in [0, {limit})")


class FixedUnigramSampler(RangeSampler):
    """Classes in proportion to given weights.

    Args:
      range_max: the number of classes.
      unigrams: a weight for each class behind the reserved ones.
      distortion: the power that weights are raised to.
      num_reserved_ids: how many classes before these have the weight 0.
      num_shards, shard: of all classes, those whose number has the remainder ``shard`` count, renumbered.

    Raises:
      InvalidArgumentError: there are not ``range_max`` weights.
    """

    def __init__(
        self,
        range_max: int,
        unigrams: Sequence[float],
        distortion: float,
        num_reserved_ids: int,
        num_shards: int,
        shard: int,
    ) -> None:
        super().__init__(range_max)
        reserved = np.zeros(len(range(shard, num_reserved_ids, num_shards)), np.float32)
        # The weights are numbered behind the reserved classes of this shard only.
        first = (shard - len(reserved)) % num_shards
        given = np.array(unigrams, np.float32)[first::num_shards].astype(np.float64)
        mine = (given ** float(np.float32(distortion))).astype(np.float32)
        self._weights = np.concatenate([reserved, mine])
        if len(self._weights) != range_max:
            raise errors.InvalidArgumentError.of(
                f"range_max is {range_max}, but there are {len(self._weights)} weights, reserved ones included"
            )
        self._total = np.add.accumulate(mine, dtype=np.float32)[-1] if mine.size else np.float32(0)
        self._keep, self._alias = _alias_table(self._weights)

    def draw(self, words: Words, count: int) -> Array:
        n = self.range
        ahead = words.peek(2 * count)
        chosen = ahead[1::2]
        if n & (n - 1):
            rejected = np.flatnonzero(chosen < np.uint32((2**32 - 1) % n + 1))
            if rejected.size:
                # One number too many is taken from the stream here: what follows is out of step.
                count = int(rejected[0])
                if count == 0:
                    return self._after_rejection(words)
        pairs = words.take(2 * count)
        return self._resolved(_philox.to_float(pairs[0::2]), _uniform(pairs[1::2], n))

    def _after_rejection(self, words: Words) -> Array:
        fraction = _philox.to_float(words.take(1))
        bucket = _uniform(words.take(1), self.range)
        while not bucket.size:
            bucket = _uniform(words.take(1), self.range)
        return self._resolved(fraction, bucket)

    def _resolved(self, fractions: Array, buckets: Array) -> Array:
        return np.where(fractions < self._keep[buckets], buckets.astype(np.int64), self._alias[buckets])

    def probability(self, classes: Array) -> Array:
        inside = (classes >= 0) & (classes < self.range)
        weights = np.where(inside, self._weights[np.where(inside, classes, 0)], np.float32(0))
        return weights / self._total


def _alias_table(weights: Array) -> tuple[Array, Array]:
    """For each bucket: how much of it is its own class (float32), and the class of the rest (int64)."""
    n = len(weights)
    total = math.fsum(weights.tolist()) if n else 0.0
    share = ((weights * np.float32(n)).astype(np.float64) / total).tolist()
    alias = np.full(n, -1, np.int64)
    low = [i for i, p in enumerate(share) if p < 1.0]
    high = [i for i, p in enumerate(share) if p >= 1.0]
    while low and high:
        small, large = low.pop(), high.pop()
        alias[small] = large
        share[large] -= 1.0 - share[small]
        (low if share[large] < 1.0 else high).append(large)
    keep = np.array(share, np.float32)
    # What is left over is a whole bucket but for rounding.
    for i in (*high, *low):
        keep[i], alias[i] = 1.0, i
    return keep, alias


def weights_of_file(path: str) -> list[float]:
    """The last column of each line of a file of comma-separated values.

    Raises:
      NotFoundError: there is no such file.
      InvalidArgumentError: a last column is not a number.
    """
    fs, file_path = file_system_of(path), as_path(path)
    file = fs.open_read(file_path)
    try:
        lines = bytes(file.read(0, fs.size(file_path))).replace(b"\r", b"").split(b"\n")
    finally:
        file.close()
    if not lines[-1]:
        lines.pop()
    weights = []
    for line in lines:
        try:
            weights.append(float(line.rpartition(b",")[2]))
        except ValueError:
            raise errors.InvalidArgumentError.of(
                f"Wrong vocabulary format at line: {line.decode(errors='replace')}", path=path
            ) from None
    return weights
