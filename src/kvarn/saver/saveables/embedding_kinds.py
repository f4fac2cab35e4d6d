"""Variables made of variables: each is saved as what it is made of, under the names of those.

Source: tensorflow/python/training/saving/saveable_object_util.py of DeepRec.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveables import Kind, kind_of, saveable_for
from kvarn.variables.dynamic_embedding_variable import DynamicEmbeddingVariable
from kvarn.variables.multihash_variable import MultiHashVariable


@saveable_for(DynamicEmbeddingVariable, MultiHashVariable)
class VariableOfVariablesKind(Kind):
    """The blocks of a variable of dynamic dimension, the two halves of a multi-hash variable."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        for variable in value:
            kind_of(variable).add_to(names, variable)

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        """Halves that are given a name stay apart by the ends of their own: ``name/multhash_Q``."""
        for variable in value:
            yield from kind_of(variable).saveables(
                variable, name + variable.name[len(value.name) :].split(":")[0]
            )
