"""Other element types, without a silent loss of more than digits.

Floats become floats, integers integers.  A float is rounded; one that was finite must stay finite, and an
infinity an infinity.  An integer must stay what it is.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import InvalidArgumentError


def can_cast(source: dtypes.DType, target: dtypes.DType) -> bool:
    """Whether both are floats or both are integers."""
    return (source.is_floating and target.is_floating) or (source.is_integer and target.is_integer)


def cast(array: npt.NDArray[Any], target: dtypes.DType, name: str) -> npt.NDArray[Any]:
    """The elements as another type.

    Raises:
      InvalidArgumentError: a value does not fit; it is named.
    """
    if array.dtype == target.np or not array.size:
        return array.astype(target.np)
    if dtypes.as_dtype(array.dtype).is_integer:
        # As objects, so that neither type's limits wrap the comparison.
        limits: Any = ml_dtypes.iinfo(target.np)  # type: ignore[no-untyped-call]
        low, high = array.min(), array.max()
        if int(low) < int(limits.min) or int(high) > int(limits.max):
            raise _does_not_fit(name, low if int(low) < int(limits.min) else high, target)
        return array.astype(target.np)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        found = array.astype(target.np)
    wrong = (np.isfinite(array) != np.isfinite(found)) | (np.isnan(array) != np.isnan(found))
    if wrong.any():
        raise _does_not_fit(name, array[wrong].flat[0], target)
    return found


def _does_not_fit(name: str, value: Any, target: dtypes.DType) -> Exception:
    return InvalidArgumentError.of(
        f"tensor '{name}' has the value {value}, which {target.name} cannot hold",
        name=name,
        hint="Choose a wider type, or leave the tensor out of the cast. Nothing was written.",
    )
