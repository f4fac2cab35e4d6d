"""Under which names a checkpoint has the parts of an embedding variable.

    b                  unpartitioned               b/part_0        part 0
    b/Adagrad          its slot                    b/part_0/Adagrad
    b/block0           block 0 of a variable of    b/part_0/block0
    b/block0/Adagrad   dynamic dimension           b/part_0/block0/Adagrad

A scope, a variable or a slot can be called ``part_0`` too, so that a name alone does not tell.  Who restores knows
whether the variable is partitioned, and of a slot whose it is: then an unpartitioned variable's own name counts
before all parts, the part is the last in the name of the variable itself, and slots lie where their variable
lies.  Of names in a file alone `are_parts` asks the keys.

All parts that are there count, whatever their numbers: a Saver of some parts leaves gaps.
"""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.errors import OpError
from kvarn.formats import embedding
from kvarn.formats.embedding import KEYS, PARTITION_OFFSET, SAVED_PARTITION_NUM, Int64s
from kvarn.formats.reader import TensorReader

_PART = re.compile(r"/part_(0|[1-9]\d*)(?=/|\Z)")
# What may stand behind the part in the name of a variable that is no slot.
_BLOCK = re.compile(r"/block\d+\Z")
# Fewer could lie where they lie by chance.
_ENOUGH_KEYS = 8

# Before and behind the part; the second is None for a variable that has none.
_Layout = tuple[str, str | None]
_Numbers = dict[tuple[str, str], list[int]]
_numbers: weakref.WeakKeyDictionary[TensorReader, dict[str, _Numbers]] = weakref.WeakKeyDictionary()


def split_name(
    name: str, *, owner: str | None = None, partitioned: bool | None = None
) -> tuple[str, int, str] | None:
    """``b/part_3/Adagrad`` as (``b``, 3, ``/Adagrad``); None for what has no part.

    Args:
      owner: the variable that ``name`` is a slot of, or ``name`` itself; None if that is not known.
      partitioned: whether the variable is partitioned; None if that is not known.
    """
    if partitioned is False:
        return None
    primary, slot = _at_owner(name, owner)
    split = embedding.split_part(primary)
    if split is None or (owner is not None and not may_follow_part(split[2])):
        return None
    return split[0], split[1], split[2] + slot


def full_name(name: str, *, owner: str | None = None, partitioned: bool | None = None) -> str:
    """A name without its part; arguments as of `split_name`."""
    split = split_name(name, owner=owner, partitioned=partitioned)
    return name if split is None else split[0] + split[2]


def is_only_part(name: str) -> bool:
    """Whether a variable that is no slot is called like the one part of a variable that is cut into one."""
    split = embedding.split_part(name)
    return split is not None and split[1] == 0 and may_follow_part(split[2])


def may_follow_part(rest: str) -> bool:
    """Whether a variable that is no slot can have ``rest`` behind its part: nothing, or a block."""
    return not rest or bool(_BLOCK.fullmatch(rest))


def embedding_sources(
    reader: TensorReader,
    name: str,
    *,
    owner: str | None = None,
    partitioned: bool | None = None,
    keys: str = KEYS,
) -> list[str]:
    """The names in the file that hold what ``name`` stands for, by the numbers of the parts; empty if none does.

    Args:
      owner, partitioned: as of `split_name`.
      keys: the suffix of the tensor that tells that something is there.
    """
    primary, slot = _at_owner(name, owner)
    layouts = list(_layouts(reader, primary, owner, partitioned, keys))
    for layout in layouts:
        if _stems(reader, layout, "", keys):
            return _stems(reader, layout, slot, keys)
    # The slot without its variable.
    return next((found for layout in layouts if (found := _stems(reader, layout, slot, keys))), [])


def are_parts(reader: TensorReader, stems: Mapping[int, str]) -> bool:
    """Whether stems, by number, are parts of one variable, even if damaged: each has keys of its own buckets.

    That they are called so decides, unless there are keys enough to tell.  Then for some number of parts more than
    two thirds of the keys lie together with those of the same remainder of the bucket; of variables that have nothing
    to do with each other it is about one half at most.  What cannot be read is no evidence.
    """
    counts = [_keys_of_buckets(reader, stem) for stem in stems.values()]
    total = sum(int(each.sum()) for each in counts)
    if total < _ENOUGH_KEYS or max(stems) == 0:
        return True
    buckets = np.arange(SAVED_PARTITION_NUM)
    for num in range(max(2, len(stems)), SAVED_PARTITION_NUM + 1):
        together = sum(int(np.bincount(buckets % num, each).max()) for each in counts)
        if 3 * together > 2 * total:
            return True
    return False


def _at_owner(name: str, owner: str | None) -> tuple[str, str]:
    """A name as that of the variable and what is behind it."""
    if owner is None or not name.startswith(f"{owner}/"):
        return name, ""
    return owner, name[len(owner) :]


def _layouts(
    reader: TensorReader, primary: str, owner: str | None, partitioned: bool | None, keys: str
) -> Iterator[_Layout]:
    """Where a variable may lie, the most likely first."""
    split = split_name(primary, owner=owner, partitioned=partitioned)
    if split is None:
        yield primary, None
        yield primary, ""
        head, _, tail = primary.rpartition("/")
        if head and (owner is None or may_follow_part(f"/{tail}")):
            yield head, f"/{tail}"
        above, _, block = head.rpartition("/")
        if above and owner is None and may_follow_part(f"/{block}"):
            yield above, f"/{block}/{tail}"
        return
    before, part, behind = split
    parts = {n: _stem(before, n, behind) for n in _numbers_of(reader, before, behind, keys)}
    if partitioned is None and part in parts and keys == KEYS and not are_parts(reader, parts):
        yield primary, None
    whole = before + behind
    if _are_slots(reader, whole, list(parts.values()), keys):
        yield whole, None
    yield before, behind
    yield whole, None


def _are_slots(reader: TensorReader, owner: str, stems: list[str], keys: str) -> bool:
    """Whether an unpartitioned variable has slots of these names."""
    if not stems or not reader.contains(owner + keys):
        return False
    _, own = reader.lookup_dtype_and_shape(owner + keys)
    return all(reader.lookup_dtype_and_shape(stem + keys)[1] == own for stem in stems)


def _stems(reader: TensorReader, layout: _Layout, slot: str, keys: str) -> list[str]:
    before, behind = layout
    if behind is None:
        return [before + slot] if reader.contains(before + slot + keys) else []
    return [
        _stem(before, number, behind + slot) for number in _numbers_of(reader, before, behind + slot, keys)
    ]


def _stem(before: str, part: int, behind: str) -> str:
    return f"{before}/part_{part}{behind}"


def _numbers_of(reader: TensorReader, before: str, behind: str, keys: str) -> list[int]:
    """The numbers of the parts that are there, ascending."""
    known = _numbers.setdefault(reader, {})
    if keys not in known:
        found: _Numbers = {}
        names = reader.keys()
        for name in names:
            if name.endswith(keys) and "/part_" in name:
                stem = name.removesuffix(keys)
                for match in _PART.finditer(stem):
                    found.setdefault((stem[: match.start()], stem[match.end() :]), []).append(int(match[1]))
        known[keys] = {place: sorted(numbers) for place, numbers in found.items()}
    return known[keys].get((before, behind), [])


def _keys_of_buckets(reader: TensorReader, stem: str) -> Int64s:
    """How many keys of each bucket there are: int64 [1000]."""
    try:
        num_keys = math.prod(reader.lookup_dtype_and_shape(stem + KEYS)[1])
        if reader.contains(stem + PARTITION_OFFSET):
            offsets: npt.NDArray[Any] = reader.lookup(stem + PARTITION_OFFSET)
            if offsets.shape == (SAVED_PARTITION_NUM + 1,) and offsets[0] == 0 and offsets[-1] == num_keys:
                counts = np.diff(offsets)
                if (counts >= 0).all():
                    return counts.astype(np.int64)
        buckets = embedding.bucket_of(np.ravel(reader.lookup(stem + KEYS)))
        return np.bincount(buckets, minlength=SAVED_PARTITION_NUM).astype(np.int64)
    except OpError:
        return np.zeros(SAVED_PARTITION_NUM, np.int64)
