"""Seeds of datasets, as tensors.

Source: tensorflow/python/data/util/random_seed.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph import random_seed
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, math


def get_seed(seed: Any) -> tuple[Tensor, Tensor]:
    """The two seeds (int64) for a dataset whose own seed is ``seed``; zeros if nobody gave one."""
    first, second = random_seed.get_seed(seed)
    if first is None:
        first_tensor = constant(0, dtype=dtypes.int64, name="seed")
    else:
        first_tensor = convert_to_tensor(first, dtype=dtypes.int64, name="seed")
    if second is None:
        return first_tensor, constant(0, dtype=dtypes.int64, name="seed2")
    with name_scope("seed2") as scope:
        second_tensor = convert_to_tensor(second, dtype=dtypes.int64)
        both_zero = math.logical_and(math.equal(first_tensor, 0), math.equal(second_tensor, 0))
        second_tensor = array.where(
            both_zero, constant(2**31 - 1, dtype=dtypes.int64), second_tensor, name=scope
        )
    return first_tensor, second_tensor
