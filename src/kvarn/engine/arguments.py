"""Checks and conversions of what callers hand to a table: arrays of any layout in, contiguous arrays out.

Shared by the native table and its reference, so that both refuse the same input with the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kvarn import errors
from kvarn.engine.policies import EvictionPolicy, SeededRows

if TYPE_CHECKING:
    from kvarn.engine.optimizer_rules import OptimizerRule

_INT64 = np.dtype(np.int64)
_INT32 = np.dtype(np.int32)


def invalid(message: str, hint: str | None = None) -> errors.OpError:
    """The error for an argument that can never work."""
    return errors.InvalidArgumentError.of(message, hint=hint)


def released() -> errors.OpError:
    """The error for reading a snapshot that was released."""
    return errors.FailedPreconditionError.of(
        "the snapshot was released", hint="Take a new one with EmbeddingTable.snapshot()."
    )


def key_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """`dtype` if a table can have such keys."""
    given = np.dtype(dtype)
    if given not in (_INT64, _INT32):
        raise invalid(
            f"embedding keys of dtype {given}: expected int64 or int32",
            "Hash strings first, e.g. with tf.strings.to_hash_bucket_fast.",
        )
    return given


def dimension(name: str, dim: int) -> int:
    """`dim` if it is a possible row length."""
    if dim < 1:
        raise invalid(f"{name} is {dim}: expected at least 1")
    return int(dim)


def slot(number: int, slots: Sequence[tuple[str, int]]) -> int:
    """The dimension of slot `number`."""
    if not 0 <= number < len(slots):
        raise invalid(f"slot {number}: the table has slots 0 to {len(slots) - 1}")
    return slots[number][1]


def keys(given: npt.ArrayLike, dtype: np.dtype[Any]) -> tuple[npt.NDArray[np.int64], tuple[int, ...]]:
    """The keys as contiguous int64 [n], and the shape they had."""
    array = np.asarray(given)
    if array.dtype != dtype and not _is_empty_literal(given, array):
        raise invalid(
            f"embedding keys of dtype {array.dtype}: the table's key dtype is {dtype}",
            f"Cast the ids to {dtype}.",
        )
    return np.ascontiguousarray(array, np.int64).reshape(-1), array.shape


def rows(name: str, given: npt.ArrayLike, n: int, dim: int) -> npt.NDArray[np.float32]:
    """`given` as contiguous float32 [n, dim]."""
    array = np.asarray(given)
    if array.dtype != np.float32 and not _is_empty_literal(given, array):
        raise invalid(f"{name} of dtype {array.dtype}: expected float32")
    if array.shape != (n, dim) and not (array.size == 0 and n == 0):
        raise invalid(f"{name} of shape {list(array.shape)}: expected [{n}, {dim}], a row for every key")
    return np.ascontiguousarray(array, np.float32).reshape(n, dim)


def defaults(given: npt.ArrayLike, dim: int) -> npt.NDArray[np.float32]:
    """`given` as a contiguous default-value matrix, float32 [R, dim]."""
    array = np.asarray(given)
    if array.dtype != np.float32:
        raise invalid(f"default-value matrix of dtype {array.dtype}: expected float32")
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] != dim:
        raise invalid(f"default-value matrix of shape {list(array.shape)}: expected [R, {dim}] with R >= 1")
    return np.ascontiguousarray(array)


def default_of(given: npt.ArrayLike | SeededRows, dim: int) -> npt.NDArray[np.float32] | SeededRows:
    """What the rows of a slot start from: a copy of a matrix as `defaults`, or rows by seed."""
    return given if isinstance(given, SeededRows) else defaults(given, dim).copy()


def rule(
    name: str, slot_numbers: Sequence[int], params: Sequence[float], slots: Sequence[tuple[str, int]]
) -> OptimizerRule:
    """The optimizer's rule `name`, if the slots and parameters given are what it takes."""
    from kvarn.engine.optimizer_rules import RULES

    found = RULES.get(name)
    if found is None:
        raise invalid(f"optimizer rule '{name}'", f"Known are {', '.join(sorted(RULES))}.")
    if len(slot_numbers) != len(found.slots) or len(params) != len(found.params):
        raise invalid(
            f"rule '{name}' with {len(slot_numbers)} slots and {len(params)} parameters: "
            f"expected {len(found.slots)} slots and the parameters {list(found.params)}"
        )
    if 0 in slot_numbers or len(set(slot_numbers)) != len(slot_numbers):
        raise invalid(f"rule '{name}' on slots {list(slot_numbers)}: expected different ones, none of them 0")
    for number, shape in zip(slot_numbers, found.slots, strict=True):
        wanted = shape.dim(slots[0][1])
        if slot(number, slots) != wanted:
            raise invalid(
                f"rule '{name}' on slot {number} of dimension {slots[number][1]}: expected {wanted}"
            )
    return found


def counts(given: npt.ArrayLike | None, n: int) -> npt.NDArray[np.int64] | None:
    """How often each of `n` keys occurred, int64 [n], or None."""
    array = per_key("counts", given, n)
    if array is not None and array.size and array.min() < 0:
        raise invalid(f"counts of {array.min()}: a key occurs 0 times at least")
    return array


def eviction(policy: EvictionPolicy, *, record_freq: bool, record_version: bool) -> None:
    """Refuses a policy whose conditions ask for what a table does not record."""
    if policy.by_age and not record_version:
        raise invalid(
            "eviction by age from a table without versions",
            "Record them: record_version, or the environment variable TF_RECORD_VERSION=1.",
        )
    if policy.by_frequency and not record_freq:
        raise invalid(
            "eviction by frequency from a table without frequencies",
            "Record them: record_freq, or the environment variable TF_RECORD_FREQ=1.",
        )


def per_key(name: str, given: npt.ArrayLike | None, n: int) -> npt.NDArray[np.int64] | None:
    """`given` as contiguous int64 [n], or None."""
    if given is None:
        return None
    array = np.asarray(given)
    if array.shape != (n,) or (n and array.dtype.kind not in "iu"):
        raise invalid(
            f"{name} of dtype {array.dtype} and shape {list(array.shape)}: "
            f"expected int64 [{n}], one for every key"
        )
    return np.ascontiguousarray(array, np.int64)


def output(out: npt.NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Checks that rows of `shape` can be written to `out`."""
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise invalid(
            f"out is {out.dtype} {list(out.shape)}: expected writable C-contiguous float32 {list(shape)}"
        )


def _is_empty_literal(given: npt.ArrayLike, array: npt.NDArray[Any]) -> bool:
    """Whether this is ``[]``, which has no dtype of its own."""
    return array.size == 0 and not isinstance(given, np.ndarray)
