"""Counts the branches of chosen modules for the fuzzer, and of no others.

atheris can do this to whole distributions, and not to one that is installed editable.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType

from atheris.instrument_bytecode import patch_code


class InstrumentingFinder:
    """A finder before all others, that hands their sources over to `patch_code`.

    Args:
      names: modules, and packages with all that is in them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._inner: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name in self._inner or not any(name == own or name.startswith(f"{own}.") for own in self._names):
            return None
        self._inner.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._inner.discard(name)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            spec.loader = _Loader(name, spec.origin)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        return None if code is None else patch_code(code, True)


def guide_by(names: Sequence[str]) -> None:
    """Instruments these modules when they are imported from now on."""
    early = [name for name in names if name in sys.modules]
    if early:
        raise RuntimeError(f"imported before they could be instrumented: {', '.join(early)}")
    sys.meta_path.insert(0, InstrumentingFinder(names))
