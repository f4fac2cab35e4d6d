"""Reads the cases of recorded checkpoints: what real TensorFlow wrote, and what it says of it.

A case is a folder with ``expected.json`` and ``expected.npz``: every tensor by name, element type and shape,
with its elements as a stretch of a flat array of the npz, or as base64 for strings.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kvarn import protos


@dataclass(frozen=True)
class ExpectedTensor:
    """A tensor, or a region of one, that a checkpoint must give.

    Attributes:
      name: the bytes of its name.
      dtype: number of the element type.
      value: strings as an object array of bytes; bfloat16 and float8 as raw bits, int4 as int8.
    """

    name: bytes
    dtype: int
    value: np.ndarray[Any, Any]
    spec: str = ""

    def equals(self, found: np.ndarray[Any, Any]) -> bool:
        """True if shape and every bit are the same."""
        if found.shape != self.value.shape:
            return False
        if self.value.dtype == np.object_:
            return bool(found.ravel().tolist() == self.value.ravel().tolist())
        if found.dtype.name in ("int4", "uint4"):
            return bool(np.array_equal(found.astype(self.value.dtype), self.value))
        return found.tobytes() == self.value.tobytes()


class GoldenCase:
    """One folder of recorded files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = json.loads((folder / "expected.json").read_text())

    def __repr__(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def prefix(self) -> str:
        return str(self.folder / self.facts["prefix"])

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        with np.load(self.folder / "expected.npz") as stored:
            return dict(stored)

    def tensors(self) -> Iterator[ExpectedTensor]:
        """Every tensor of the checkpoint."""
        return map(self._expected, self.facts["tensors"])

    def reads(self) -> Iterator[tuple[ExpectedTensor | None, dict[str, Any]]]:
        """Regions, each as the value that reading it gives, or None with the facts about the error."""
        for facts in self.facts.get("reads", ()):
            yield (None if "error" in facts else self._expected(facts)), facts

    def _expected(self, facts: dict[str, Any]) -> ExpectedTensor:
        name = base64.b64decode(facts["name_b64"]) if "name_b64" in facts else facts["name"].encode()
        shape = tuple(facts["shape"])
        if "strings_b64" in facts:
            flat = np.empty(len(facts["strings_b64"]), np.object_)
            flat[:] = [base64.b64decode(text) for text in facts["strings_b64"]]
        else:
            flat = self._arrays[facts["array"]][facts["offset"] : facts["offset"] + math.prod(shape)]
        number = protos.DataType.Value(facts["dtype"])
        return ExpectedTensor(name, number, flat.reshape(shape), facts.get("spec", ""))


def cases(root: Path, *patterns: str) -> list[GoldenCase]:
    """The cases below ``root`` whose ``<writer>/<case>`` matches one of the patterns, sorted."""
    found = {folder for pattern in patterns for folder in root.glob(pattern)}
    return [GoldenCase(folder) for folder in sorted(found) if (folder / "expected.json").exists()]
