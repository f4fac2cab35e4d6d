"""Names of tensors: files have bytes, programs have text.

TensorFlow's names are bytes, nearly always UTF-8.  Bytes that are not stand in the text as surrogates
(``surrogateescape``), so that every name can be read, listed and written again as it was.
"""

from __future__ import annotations


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
