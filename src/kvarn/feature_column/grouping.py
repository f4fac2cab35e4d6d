"""Scopes in which embedding columns become a group that is looked up together.

Source: `group_embedding_column_scope` in tensorflow/python/feature_column/feature_column_v2.py of DeepRec.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator


class _Scopes(threading.local):
    def __init__(self) -> None:
        self.names: list[str] = []


_scopes = _Scopes()
_numbers = itertools.count()


@contextlib.contextmanager
def group_embedding_column_scope(name: str = "") -> Iterator[None]:
    """The columns that `embedding_column` makes inside are a group: `input_layer` looks them up together.

    Columns with weights or ``max_norm``, and those of vocabularies, are looked up one by one all the same.

    Args:
      name: of the group; a number by default.
    """
    _scopes.names.append(f"group_embedding_column_scope_{name or next(_numbers)}")
    try:
        yield
    finally:
        _scopes.names.pop()


def current_group() -> str:
    """The name of the group whose scope is open, or an empty string."""
    return _scopes.names[-1] if _scopes.names else ""
