"""How rules name tensors.

dnn/w            that name
dnn/*            a shell pattern; * and ? also stand for slashes
re:^dnn/(.+)$    a regular expression, found anywhere in the name
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable
from typing import TypeAlias

from kvarn.errors import InvalidArgumentError

Pattern: TypeAlias = "str | re.Pattern[str]"

REGEX_MARK = "re:"


def matcher(pattern: Pattern) -> re.Pattern[str]:
    """The expression to `search` names with.

    Raises:
      InvalidArgumentError: it is no regular expression.
    """
    if isinstance(pattern, re.Pattern):
        return pattern
    if not pattern.startswith(REGEX_MARK):
        return re.compile(rf"\A(?:{re.escape(pattern)}\Z|{fnmatch.translate(pattern)})", re.DOTALL)
    try:
        return re.compile(pattern.removeprefix(REGEX_MARK))
    except re.error as error:
        raise InvalidArgumentError.of(
            f"'{pattern}' is no regular expression: {error}", hint="Python's `re` says what may stand in one."
        ) from error


def is_name(pattern: Pattern) -> bool:
    """Whether a pattern can only mean one name."""
    return isinstance(pattern, str) and not pattern.startswith(REGEX_MARK) and not set(pattern) & set("*?[")


def renamed(pattern: Pattern, new: str, name: str) -> str | None:
    """What a rule calls ``name``; None if the pattern does not mean it.

    A string that is no regular expression means one whole name.  Of an expression what is found is replaced;
    ``new`` may have its groups.
    """
    if isinstance(pattern, str) and not pattern.startswith(REGEX_MARK):
        return new if pattern == name else None
    expression = matcher(pattern)
    return expression.sub(new, name) if expression.search(name) else None


def text_of(pattern: Pattern) -> str:
    """A pattern as users write it."""
    return pattern if isinstance(pattern, str) else REGEX_MARK + pattern.pattern


def nearest(pattern: Pattern, names: Iterable[str]) -> str:
    """A sentence on the names closest to one that is not there; empty if none is."""
    near = difflib.get_close_matches(text_of(pattern), list(names), n=3) if is_name(pattern) else []
    return f"The nearest are {', '.join(map(repr, near))}." if near else ""
