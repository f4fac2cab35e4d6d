"""Names of tensors: files have bytes, programs have text.

TensorFlow's names are bytes, nearly always UTF-8.  Bytes that are not stand in the text as surrogates
(``surrogateescape``), so that every name can be read, listed and written again as it was.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection


def encode_name(name: str | bytes) -> bytes:
    """The bytes of a tensor name."""
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")


def decode_name(name: str | bytes) -> str:
    """The text of a tensor name; `encode_name` gives the bytes back."""
    return name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")


def is_utf8(name: str) -> bool:
    """Whether the bytes of a tensor name are UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def nearest_names(name: str, names: Collection[str], prefix: str) -> str:
    """For a hint: how many tensors a checkpoint has, and which of them a name that it lacks may mean."""
    near = difflib.get_close_matches(name, names, n=3)
    nearest = "; the nearest are " + ", ".join(f"'{other}'" for other in near) if near else ""
    return f"'{prefix}' has {len(names)} tensors{nearest}."
