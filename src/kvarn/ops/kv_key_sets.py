"""Key sets of an embedding variable and its slots in a checkpoint: compared, and what to do when they differ.

A save by kvarn has one set of keys for a variable and all its slots.  A save by another program that trained on
meanwhile may not, nor may one that was put together by hand.  The rules:

    refuse         nothing is restored (default)
    primary        the variable's keys count: rows of other keys are left out of its slots, and a slot that lacks a
                   row starts it from its initial values
    intersection   only keys that the variable and all its slots have
    union          all keys, as DeepRec restores them: what is missing starts from initial values

The rule is the argument ``ev_key_mismatch`` of a Saver, which travels with its graph, else the environment
variable ``KVARN_EV_KEY_MISMATCH``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from kvarn import errors

if TYPE_CHECKING:
    from kvarn.formats.reader import TensorReader

Keys = npt.NDArray[Any]

REFUSE: Final = "refuse"
PRIMARY: Final = "primary"
INTERSECTION: Final = "intersection"
UNION: Final = "union"
RULES: Final = (REFUSE, PRIMARY, INTERSECTION, UNION)

# On an importing node: the rule of the Saver that made it.
ATTR: Final = "_kvarn_key_mismatch"

_VARIABLE: Final = "KVARN_EV_KEY_MISMATCH"
# Keys that are compared at a time.
_GROUP_BYTES: Final = 64 << 20
_SAMPLE: Final = 5


def rule(asked: str | bytes | None = None) -> str:
    """The rule that holds: the one ``asked`` for, else that of the environment.

    Raises:
      InvalidArgumentError: there is no such rule.
    """
    found = os.environ.get(_VARIABLE, REFUSE) if asked is None else asked
    if isinstance(found, bytes):
        found = found.decode()
    if found not in RULES:
        where = f"The environment variable {_VARIABLE}" if asked is None else "ev_key_mismatch"
        raise errors.InvalidArgumentError.of(
            f"{where} is '{found}'; it can be {', '.join(map(repr, RULES))}.",
            name=_VARIABLE if asked is None else "ev_key_mismatch",
            hint="Leave it out to refuse slots whose keys are not those of their variable.",
        )
    return found


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """What two sets of keys do not share, each ascending.

    Attributes:
      lacking: keys that only the variable has.
      extra: keys that only the slot has.
    """

    lacking: Keys
    extra: Keys


def difference(reader: TensorReader, primary: Sequence[str], slot: Sequence[str]) -> KeyDifference | None:
    """Compares the keys of all parts of a variable with those of all parts of a slot; None if they are the same.

    In memory are the keys of a few buckets at a time, and those that differ.

    Args:
      primary, slot: the names of the parts.
    """
    from kvarn.checkpoint.embeddings.bucket_rows import BucketIndex, RowReader, bucket_groups
    from kvarn.formats.embedding import KEYS

    names = [[source + KEYS for source in sources] for sources in (primary, slot)]
    own, its = (BucketIndex(reader, tensors) for tensors in names)
    buckets = np.flatnonzero(own.differs_from(its)).tolist()
    if not buckets:
        return None
    lacking: list[Keys] = []
    extra: list[Keys] = []
    sizes = 8 * (own.totals + its.totals)
    for group in bucket_groups(buckets, sizes, _GROUP_BYTES):
        first, second = (
            RowReader(reader, tensors).array_of_buckets(index, group)
            for tensors, index in zip(names, (own, its), strict=True)
        )
        lacking.append(np.setdiff1d(first, second))
        extra.append(np.setdiff1d(second, first))
    found = KeyDifference(np.sort(np.concatenate(lacking)), np.sort(np.concatenate(extra)))
    # A key that a file has twice changes the sums, but not the set.
    return found if len(found.lacking) or len(found.extra) else None


def describe(prefix: str, primary: str, differences: Mapping[str, KeyDifference]) -> str:
    """Which slots have other keys, how many, and some of them."""
    lines = [f"Embedding variable '{primary}' and its slots have different keys in '{prefix}':"]
    for slot, found in differences.items():
        if len(found.lacking):
            lines.append(f"  {_some(found.lacking)} of '{primary}' not in '{slot}'")
        if len(found.extra):
            lines.append(f"  {_some(found.extra)} of '{slot}' not in '{primary}'")
    return "\n".join(lines)


def refusal(prefix: str, primary: str, text: str) -> errors.OpError:
    """The error of the rule `REFUSE`."""
    return errors.DataLossError.of(
        text,
        name=primary,
        path=prefix,
        hint=(
            "Nothing was restored. The checkpoint was not saved at one moment, or was put together. Take another, "
            f"or set {_VARIABLE} (or the Saver's ev_key_mismatch) to 'primary' to go by the keys of the variable."
        ),
    )


def left_out(
    rule: str, primary: str, slots: Sequence[str], differences: Mapping[str, KeyDifference]
) -> dict[str, Keys]:
    """The keys, by name, that a rule leaves out of the variable and its slots.

    Args:
      slots: all of them; ``differences`` has those whose keys differ.
    """
    if rule == PRIMARY:
        return {slot: found.extra for slot, found in differences.items() if len(found.extra)}
    if rule == INTERSECTION:
        lacking = np.unique(np.concatenate([found.lacking for found in differences.values()]))
        out = dict.fromkeys((primary, *slots), lacking)
        return out | {slot: np.union1d(found.extra, lacking) for slot, found in differences.items()}
    return {}


def _some(keys: Keys) -> str:
    shown = ", ".join(map(str, keys[:_SAMPLE].tolist()))
    count = "1 key" if len(keys) == 1 else f"{len(keys)} keys"
    return f"{count} ({shown}{', …' if len(keys) > _SAMPLE else ''})"
