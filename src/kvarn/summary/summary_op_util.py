"""Names and tags of summary operations.

Source: tensorflow/python/ops/summary_op_util.py.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kvarn import tf_logging
from kvarn.graph.graph import add_to_collection, name_scope

_ILLEGAL: Final = re.compile(r"[^-/\w\.]")


def collect(value: Any, collections: Iterable[Any] | None, default_collections: Iterable[Any]) -> None:
    """Adds a summary to collections, the default ones if None."""
    for key in default_collections if collections is None else collections:
        add_to_collection(key, value)


def clean_tag(name: str | None) -> str | None:
    """The name with ``_`` for every character that no node name has, without slashes in front."""
    if name is None:
        return None
    cleaned = _ILLEGAL.sub("_", name).lstrip("/")
    if cleaned != name:
        tf_logging.info("Summary name %s is illegal; using %s instead.", name, cleaned)
    return cleaned


@contextlib.contextmanager
def summary_scope(
    name: str | None,
    family: str | None = None,
    default_name: str | None = None,
    values: Iterable[Any] | None = None,
) -> Iterator[tuple[str, str]]:
    """A name scope for a summary; gives the tag and the scope.

    Args:
      name: of the summary.
      family: stands in front of the tag, and of the name inside the scope around.
      default_name: the name if ``name`` is None.
      values: the tensors of the summary.
    """
    name, family = clean_tag(name), clean_tag(family)
    with name_scope(name if family is None else f"{family}/{name}", default_name, values) as scope:
        tag = scope.rstrip("/")
        yield tag if family is None else f"{family}/{tag}", scope
