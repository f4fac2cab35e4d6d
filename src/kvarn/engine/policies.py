"""The parts that an embedding table is composed of, as plain data: who is let in, what new rows start from, who has
to leave, and where rows are kept.

The tables, native and reference, do what is written here. Each part is checked when it is made; any of them go
together.

Source: DeepRec tensorflow/core/framework/embedding/{embedding_config,bloom_filter_policy,globalstep_shrink_policy,
l2weight_shrink_policy}.h; `SeededRows` and the combinations of `EvictionPolicy` are kvarn's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from kvarn import errors

_UInt64s = npt.NDArray[np.uint64]
_Float64s = npt.NDArray[np.float64]


def _refuse(message: str, hint: str) -> errors.OpError:
    return errors.InvalidArgumentError.of(message, hint=hint)


# -- who is let in --------------------------------------------------------------------------------


@dataclass(frozen=True)
class CounterAdmission:
    """A key is admitted by the update that counts its ``filter_freq``-th occurrence; each key has a counter.

    Raises:
      InvalidArgumentError: ``filter_freq`` below 1.
    """

    filter_freq: int

    def __post_init__(self) -> None:
        _check_filter_freq(self.filter_freq)


# The seeds of the hash functions of a counting Bloom filter: the first 25 primes.
BLOOM_SEEDS: Final = (
    2,
    3,
    5,
    7,
    11,
    13,
    17,
    19,
    23,
    29,
    31,
    37,
    41,
    43,
    47,
    53,
    59,
    61,
    67,
    71,
    73,
    79,
    83,
    89,
    97,
)


@dataclass(frozen=True)
class BloomAdmission:
    """As `CounterAdmission`, counted in a counting Bloom filter: little memory, and now and then a key too early.

    Args:
      filter_freq: occurrences needed.
      max_element_size: keys expected.
      false_positive_probability: of a key that was never counted, above 0 and below 1.
      counter_bytes: 1, 2, 4 or 8; a counter stays at the greatest number it holds.

    Raises:
      InvalidArgumentError: a number outside its range, a ``filter_freq`` that counters cannot reach, or a
        probability so small that it needs more than 25 hash functions.
    """

    filter_freq: int
    max_element_size: int
    false_positive_probability: float
    counter_bytes: int = 8

    def __post_init__(self) -> None:
        _check_filter_freq(self.filter_freq)
        if self.max_element_size < 1 or not 0.0 < self.false_positive_probability < 1.0:
            raise _refuse(
                f"a Bloom filter for {self.max_element_size} keys with false_positive_probability "
                f"{self.false_positive_probability}",
                "Give CBFFilter at least one key and a probability between 0 and 1.",
            )
        if self.counter_bytes not in (1, 2, 4, 8):
            raise _refuse(f"Bloom filter counters of {self.counter_bytes} bytes", "They have 1, 2, 4 or 8.")
        if self.filter_freq >= 1 << (8 * self.counter_bytes):
            raise _refuse(
                f"counters of {self.counter_bytes} bytes never reach filter_freq {self.filter_freq}",
                "Give CBFFilter a wider counter_type.",
            )
        if self.num_hash > len(BLOOM_SEEDS):
            raise _refuse(
                f"false_positive_probability {self.false_positive_probability} needs {self.num_hash} hash "
                f"functions, there are {len(BLOOM_SEEDS)}",
                "Give CBFFilter a probability of at least 3e-8.",
            )

    @property
    def num_hash(self) -> int:
        """Hash functions: the logarithm of the probability to base one half, rounded up."""
        return math.ceil(abs(math.log(self.false_positive_probability) / math.log(2.0)))

    @property
    def num_counter(self) -> int:
        """Counters of the filter."""
        per_key = abs(math.log(self.false_positive_probability)) / (math.log(2.0) * math.log(2.0))
        return math.ceil(per_key * self.max_element_size)

    @staticmethod
    def hash(keys: npt.ArrayLike, seed: int) -> _UInt64s:
        """The hash function of one seed, before it is reduced to a counter: uint64 like ``keys``."""
        m = np.uint64(0x880355F21E6D1965)
        with np.errstate(over="ignore"):
            h = np.uint64(seed) ^ (np.uint64(8) * m)
            mixed: _UInt64s = np.asarray((h ^ _bloom_mix(np.asarray(keys, np.int64).astype(np.uint64))) * m)
            # The second word is 0, and so is its mix.
            return _bloom_mix(mixed * m)

    def places(self, keys: npt.ArrayLike) -> _UInt64s:
        """The counters of each key: [num_hash, n]."""
        flat = np.ravel(np.asarray(keys, np.int64))
        number = np.uint64(self.num_counter)
        return np.stack([self.hash(flat, seed) % number for seed in BLOOM_SEEDS[: self.num_hash]])


def _bloom_mix(h: _UInt64s) -> _UInt64s:
    with np.errstate(over="ignore"):
        h = (h ^ (h >> np.uint64(23))) * np.uint64(0x2127599BF4325C37)
        return np.asarray(h ^ (h >> np.uint64(47)), np.uint64)


def _check_filter_freq(filter_freq: int) -> None:
    if filter_freq < 1:
        raise _refuse(
            f"a filter with filter_freq {filter_freq}", "Leave the filter out, or ask for at least 1."
        )


Admission = CounterAdmission | BloomAdmission


# -- what new rows start from ---------------------------------------------------------------------


@dataclass(frozen=True)
class SeededRows:
    """Rows drawn from (seed, key, column) alone: a key starts the same in every process and partition.

    64 bits are mixed from the three numbers by `bits`.  Uniform numbers take the upper 24 of them, exactly, times
    ``b - a`` plus ``a`` in float32.  Normal ones take the upper 53 as a probability p = (n + 0.5) / 2**53 and go
    through the inverse of the normal distribution (Acklam's approximation, relative error 1.2e-9) in float64, times
    ``b`` plus ``a``, rounded to float32 at the end; truncated ones spread p over the probabilities of -2 to 2 first.
    All operations are + - * / and square root in a fixed order, so that the native core gives the same bits.

    Args:
      seed: any int64.
      distribution: "uniform" over [a, b), "normal" or "truncated_normal" with mean a and standard deviation b.

    Raises:
      InvalidArgumentError: an unknown distribution, or a or b not finite.
    """

    seed: int
    distribution: Literal["uniform", "normal", "truncated_normal"]
    a: float
    b: float

    def __post_init__(self) -> None:
        if self.distribution not in ("uniform", "normal", "truncated_normal"):
            raise _refuse(
                f"rows of the distribution {self.distribution!r}",
                "It can be 'uniform', 'normal' or 'truncated_normal'.",
            )
        if not (math.isfinite(self.a) and math.isfinite(self.b)):
            raise _refuse(f"rows of {self.distribution}({self.a}, {self.b})", "Both numbers must be finite.")

    def bits(self, keys: npt.ArrayLike, dim: int) -> _UInt64s:
        """64 mixed bits for every key and column: uint64 [n, dim]."""
        seed = np.array(self.seed, np.int64).astype(np.uint64)
        with np.errstate(over="ignore"):
            h = _mix64(seed * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x632BE59BD9B4E019))
            h = _mix64(h ^ np.ravel(np.asarray(keys, np.int64)).astype(np.uint64))
            columns = np.arange(1, dim + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
            return _mix64(h[:, None] + columns)

    def rows(self, keys: npt.ArrayLike, dim: int) -> npt.NDArray[np.float32]:
        """The rows of ``keys`` [n]: float32 [n, dim]."""
        bits = self.bits(keys, dim)
        if self.distribution == "uniform":
            unit = (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
            low, high = np.float32(self.a), np.float32(self.b)
            return np.asarray(unit * (high - low) + low, np.float32)
        p = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        if self.distribution == "truncated_normal":
            p = p * (1.0 - 2.0 * _BELOW_MINUS_2) + _BELOW_MINUS_2
        return (_inverse_normal(p) * self.b + self.a).astype(np.float32)


def _mix64(h: _UInt64s) -> _UInt64s:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(h ^ (h >> np.uint64(31)), np.uint64)


# The probability that a normal number is below -2.
_BELOW_MINUS_2: Final = 0.022750131948179195
# Acklam's coefficients, highest power first.
_A = (-3.969683028665376e01, 2.209460984245205e02, -2.759285104469687e02,
      1.383577518672690e02, -3.066479806614716e01, 2.506628277459239e00)  # fmt: skip
_B = (-5.447609879822406e01, 1.615858368580409e02, -1.556989798598866e02,
      6.680131188771972e01, -1.328068155288572e01, 1.0)  # fmt: skip
_C = (-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e00,
      -2.549732539343734e00, 4.374664141464968e00, 2.938163982698783e00)  # fmt: skip
_D = (7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00, 3.754408661907416e00, 1.0)
_TAIL: Final = 0.02425


def _polynomial(coefficients: tuple[float, ...], x: _Float64s) -> _Float64s:
    total = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        total = total * x + c
    return total


def _log(x: _Float64s) -> _Float64s:
    """The natural logarithm of numbers above 0, by a series: libraries differ in the last bit."""
    mantissa, exponent = np.frexp(x)  # in [0.5, 1)
    small = mantissa < 0.7071067811865476
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    e = np.where(small, exponent - 1, exponent).astype(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    total = np.full_like(s, 1.0 / 23.0)
    for odd in range(21, 0, -2):
        total = total * square + 1.0 / odd
    return e * 0.6931471805599453 + 2.0 * s * total


def _inverse_normal(p: _Float64s) -> _Float64s:
    """The number that a normal one is below with probability p, 0 < p < 1."""
    q = p - 0.5
    r = q * q
    middle = _polynomial(_A, r) * q / _polynomial(_B, r)
    tail = np.sqrt(-2.0 * _log(np.where(p < 0.5, p, 1.0 - p)))
    outer = _polynomial(_C, tail) / _polynomial(_D, tail)
    return np.where((p < _TAIL) | (p > 1.0 - _TAIL), np.where(p < 0.5, outer, -outer), middle)


# -- who has to leave -----------------------------------------------------------------------------


@dataclass(frozen=True)
class EvictionPolicy:
    """Which keys have had their time.

    Conditions, each left out by its default:

    - age: ``step - version > steps_to_live``; a key without a version gets the version ``step`` and stays.
    - norm: ``0.5 * sum(value ** 2) < l2_weight_threshold``.
    - frequency: counted fewer than ``min_frequency`` times.

    Keys that a filter has not admitted yet have an age only.

    Args:
      require: whether "any" condition makes a key leave, or "all" must hold.
      min_keys: the floor: so many admitted keys stay whatever the conditions say, those with the greatest
        (frequency, version, key).
      max_keys: the ceiling: of more admitted keys than that, those with the least (frequency, version, key) leave.

    Raises:
      InvalidArgumentError: a negative number (but -1.0 for the threshold), a ceiling below the floor, or a policy
        that never evicts.
    """

    steps_to_live: int = 0
    l2_weight_threshold: float = -1.0
    min_frequency: int = 0
    require: Literal["any", "all"] = "any"
    min_keys: int = 0
    max_keys: int | None = None

    def __post_init__(self) -> None:
        if self.require not in ("any", "all"):
            raise _refuse(f"an eviction that requires {self.require!r}", "It can be 'any' or 'all'.")
        if min(self.steps_to_live, self.min_frequency, self.min_keys, self.max_keys or 0) < 0:
            raise _refuse(f"negative numbers in {self}", "Leave out what is not wanted.")
        if self.max_keys is not None and self.max_keys < self.min_keys:
            raise _refuse(f"a ceiling below the floor in {self}", "Let max_keys be at least min_keys.")
        if not (self.by_age or self.by_norm or self.by_frequency) and self.max_keys is None:
            raise _refuse("an eviction without a condition", "Give it one, or leave it out.")

    @property
    def by_age(self) -> bool:
        return self.steps_to_live != 0

    @property
    def by_norm(self) -> bool:
        return self.l2_weight_threshold != -1.0

    @property
    def by_frequency(self) -> bool:
        return self.min_frequency > 0

    def reason(
        self, *, step: int, version: int, frequency: int, value: npt.NDArray[np.float32] | None
    ) -> str | None:
        """Why a key leaves by its own state: "age", "norm" or "frequency", the first that holds; None if it stays.

        Args:
          value: the primary's row; None for a key that was not admitted.
        """
        held: list[tuple[str, bool]] = []
        if self.by_age:
            held.append(("age", version != -1 and step - version > self.steps_to_live))
        if value is not None and self.by_norm:
            held.append(("norm", bool(_half_norm(value) < np.float32(self.l2_weight_threshold))))
        if value is not None and self.by_frequency:
            held.append(("frequency", frequency < self.min_frequency))
        if self.require == "all" and not all(holds for _, holds in held):
            return None
        return next((name for name, holds in held if holds), None)


def _half_norm(value: npt.NDArray[np.float32]) -> np.float32:
    # One addition after the other, as the native core does it.
    total = np.float32(0)
    with np.errstate(over="ignore", invalid="ignore"):
        for x in value:
            total = np.float32(total + x * x)
    return np.float32(np.float32(0.5) * total)


@dataclass(frozen=True)
class EvictionReport:
    """What an eviction did, or, of a dry run, would do.

    Attributes:
      examined: keys looked at, those that were not admitted included.
      removed: keys that left.
      by_reason: "age", "norm", "frequency" and "ceiling" to the number of keys; the first reason that held counts.
      bytes: of memory that the entries of the keys took.
      sample_keys: some of the keys.
      spared: keys that the floor kept.
      dry_run: nothing was changed.
    """

    examined: int
    removed: int
    by_reason: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    sample_keys: tuple[int, ...] = ()
    spared: int = 0
    dry_run: bool = False

    def __add__(self, other: EvictionReport) -> EvictionReport:
        """Both as one, of parts of a variable: with the sample keys of both."""
        reasons = {**self.by_reason, **other.by_reason}
        return EvictionReport(
            self.examined + other.examined,
            self.removed + other.removed,
            {reason: self.by_reason.get(reason, 0) + other.by_reason.get(reason, 0) for reason in reasons},
            self.bytes + other.bytes,
            self.sample_keys + other.sample_keys,
            self.spared + other.spared,
            self.dry_run and other.dry_run,
        )


@dataclass(frozen=True)
class Explanation:
    """Why a key is in a table, filtered, or gone.

    Attributes:
      state: "in", "filtered" (counted, not admitted), "evicted" (and remembered), "absent".
      reason: the same in words.
      frequency, version, tier: as the table says.
      needed_frequency: what the filter asks for; None without one.
      would_evict: why the policy that was asked about would evict it now; None if it would not.
    """

    key: int
    state: Literal["in", "filtered", "absent", "evicted"]
    reason: str
    frequency: int
    version: int
    tier: int
    needed_frequency: int | None = None
    would_evict: str | None = None


# -- where rows are kept --------------------------------------------------------------------------


@dataclass(frozen=True)
class TieredStorage:
    """Rows in memory up to a number of bytes, and the others in files.

    Args:
      path: the folder of the files; made if it is missing.  Tables and processes may share one.
      dram_bytes: what the values and slots in memory may take, each slot counted as a multiple of 16 bytes, as
        DeepRec does.  One batch may take more, until the next.
      cache: which leave memory first: "lru", those not updated for longest, or "lfu", those updated least often.
      file_bytes: of one file; a table has at most as many files open as the process may.

    Raises:
      InvalidArgumentError: no path, or a number of bytes below 1.
    """

    path: str
    dram_bytes: int
    cache: Literal["lru", "lfu"] = "lfu"
    file_bytes: int = 128 << 20

    def __post_init__(self) -> None:
        if not self.path:
            raise _refuse("rows on disk without a folder", "Give StorageOption a storage_path.")
        if self.dram_bytes < 1 or self.file_bytes < 1:
            raise _refuse(
                f"tiers of {self.dram_bytes} bytes in memory and files of {self.file_bytes} bytes",
                "Both are at least 1; storage_size[0] is that of memory.",
            )
        if self.cache not in ("lru", "lfu"):
            raise _refuse(f"a cache {self.cache!r}", "It can be 'lru' or 'lfu'.")

    def capacity(self, dims: Iterable[int]) -> int:
        """How many entries memory holds whose slots, the value included, have ``dims`` floats; at least one."""
        entry_bytes = sum(-(-dim // 4) * 16 for dim in dims)
        return max(1, self.dram_bytes // max(1, entry_bytes))
