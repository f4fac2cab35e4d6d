"""Names of NumPy 1 that NumPy 2 dropped, for programs that cannot be changed.

``kvarn run`` puts them back into the process of the program; nothing else does.  ``np.bool`` and ``np.long``, which
NumPy 2 has again, stay what they are there.

Source: the migration guide of NumPy 2.0 and the release notes of NumPy 1.24.
"""

from __future__ import annotations

import builtins
from typing import Any, Final

import numpy as np

# What each name stood for.
_OLD: Final[dict[str, Any]] = {
    "int": builtins.int,
    "float": builtins.float,
    "complex": builtins.complex,
    "object": builtins.object,
    "str": builtins.str,
    "unicode": builtins.str,
    "bool8": np.bool_,
    "object0": np.object_,
    "int0": np.intp,
    "uint0": np.uintp,
    "float_": np.float64,
    "complex_": np.complex128,
    "cfloat": np.complex128,
    "singlecomplex": np.complex64,
    "string_": np.bytes_,
    "unicode_": np.str_,
    "Inf": np.inf,
    "Infinity": np.inf,
    "infty": np.inf,
    "PINF": np.inf,
    "NINF": -np.inf,
    "NaN": np.nan,
    "NZERO": -0.0,
    "PZERO": 0.0,
    "product": np.prod,
    "cumproduct": np.cumprod,
    "alltrue": np.all,
    "sometrue": np.any,
    "round_": np.round,
    "row_stack": np.vstack,
    "in1d": np.isin,
    "asfarray": lambda a, dtype=np.float64: np.asarray(a, dtype),
    "asscalar": lambda a: a.item(),
}


def install() -> None:
    """Puts the names back, those that NumPy does not have."""
    for name, value in _OLD.items():
        if name not in np.__dict__:
            setattr(np, name, value)
