"""Work on single byte strings for the string ops: hashes, splitting, substrings, regular expressions.

Source: tensorflow/core/lib/hash/hash.cc, tensorflow/core/kernels/{string_split_op,substr_op,
regex_replace_op,regex_full_match_op}.cc; SipHash: Aumasson and Bernstein, 2012.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np

from kvarn import errors

_MASK = 2**64 - 1
_WHITESPACE = b" \t\n\v\f\r"


def scalar(value: Any) -> bytes:
    """The string of a scalar, which may come as an array."""
    return bytes(value.item() if isinstance(value, np.ndarray) else value)


def hash64(data: bytes, seed: int = 0xDECAFCAFFE) -> int:
    """The hash of `tf.string_to_hash_bucket`, a MurmurHash."""
    m = 0xC6A4A7935BD1E995
    h = seed ^ (len(data) * m & _MASK)
    whole = len(data) & ~7
    for i in range(0, whole, 8):
        k = int.from_bytes(data[i : i + 8], "little") * m & _MASK
        k = (k ^ (k >> 47)) * m & _MASK
        h = (h ^ k) * m & _MASK
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & _MASK
    h = (h ^ (h >> 47)) * m & _MASK
    return h ^ (h >> 47)


def sip_hash(key: tuple[int, int], data: bytes) -> int:
    """SipHash-2-4, the keyed hash of `tf.string_to_hash_bucket_strong`."""
    k0, k1 = key[0] & _MASK, key[1] & _MASK
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rounds(count: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = (v0 + v1) & _MASK
            v1 = (((v1 << 13) | (v1 >> 51)) & _MASK) ^ v0
            v0 = ((v0 << 32) | (v0 >> 32)) & _MASK
            v2 = (v2 + v3) & _MASK
            v3 = (((v3 << 16) | (v3 >> 48)) & _MASK) ^ v2
            v0 = (v0 + v3) & _MASK
            v3 = (((v3 << 21) | (v3 >> 43)) & _MASK) ^ v0
            v2 = (v2 + v1) & _MASK
            v1 = (((v1 << 17) | (v1 >> 47)) & _MASK) ^ v2
            v2 = ((v2 << 32) | (v2 >> 32)) & _MASK

    whole = len(data) & ~7
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | ((len(data) & 0xFF) << 56))
    for word in words:
        v3 ^= word
        rounds(2)
        v0 ^= word
    v2 ^= 0xFF
    rounds(4)
    return v0 ^ v1 ^ v2 ^ v3


def split(text: bytes, delimiters: bytes, skip_empty: bool) -> list[bytes]:
    """``text`` cut at every byte that is one of ``delimiters``; after every byte if there are none."""
    if not text:
        return []
    if not delimiters:
        return [text[i : i + 1] for i in range(len(text))]
    if len(delimiters) > 1:
        text = text.translate(bytes(delimiters[0] if b in delimiters else b for b in range(256)))
        # The other delimiters do not occur any more.
    parts = text.split(delimiters[:1])
    return [p for p in parts if p] if skip_empty else parts


def split_v2(text: bytes, separator: bytes, maxsplit: int) -> list[bytes]:
    """``text`` cut as Python's ``str.split`` does, at most ``maxsplit`` times if that is not negative.

    With runs of white space as separators and a limit, what remains is a part even when it is empty.
    """
    if maxsplit == 0:
        return [text]
    if separator:
        return text.split(separator, maxsplit)
    if maxsplit < 0:
        return text.split()
    parts: list[bytes] = []
    text = text.lstrip(_WHITESPACE)
    while text:
        token = text.split(None, 1)[0]
        parts.append(token)
        text = text[len(token) :].lstrip(_WHITESPACE)
        if len(parts) == maxsplit:
            parts.append(text)
            break
    return parts


def count_characters(text: bytes) -> int:
    """Characters of a UTF-8 string: bytes that do not continue one."""
    return sum((b & 0xC0) != 0x80 for b in text)


def substring(text: bytes, pos: int, length: int) -> bytes | None:
    """``length`` bytes from ``pos`` (from the end if negative) on; None if ``pos`` is not in the string."""
    start = pos + len(text) if pos < 0 else pos
    if not 0 <= start <= len(text):
        return None
    return text[start:] if length < 0 else text[start : start + length]


def substring_utf8(text: bytes, pos: int, length: int) -> bytes | None:
    """`substring` in characters of UTF-8."""
    starts = [i for i, b in enumerate(text) if (b & 0xC0) != 0x80]
    count = len(starts)
    start = pos + count if pos < 0 else pos
    if not 0 <= start <= count:
        return None
    starts.append(len(text))
    stop = min(start + max(length, 0), count)
    return text[starts[start] : starts[stop]]


# -- regular expressions --------------------------------------------------------------------------
#
# Patterns are RE2's. Those that both know mean the same in Python's `re` when strings are text of UTF-8 and
# classes such as \w are ASCII only; bytes that are no UTF-8 pass through as surrogates.


@functools.lru_cache(maxsize=256)
def regex(pattern: bytes) -> re.Pattern[str]:
    """The compiled pattern; InvalidArgumentError if it is not one."""
    text = pattern.decode("utf-8", "surrogateescape").replace(r"\z", r"\Z").replace(r"\C", r"[\s\S]")
    try:
        return re.compile(text, re.ASCII)
    except (re.error, RecursionError, OverflowError) as e:
        raise errors.InvalidArgumentError.of(
            f"Invalid pattern: {pattern.decode('utf-8', 'replace')}, error: {e}",
            hint="Patterns are RE2's, as far as Python's re knows them.",
        ) from None


@functools.lru_cache(maxsize=256)
def _rewrite_parts(rewrite: bytes, groups: int) -> tuple[str | int, ...]:
    """A replacement as texts and numbers of groups."""
    parts: list[str | int] = []
    text = rewrite.decode("utf-8", "surrogateescape")
    i = 0
    while i < len(text):
        if text[i] != "\\":
            parts.append(text[i])
            i += 1
            continue
        following = text[i + 1 : i + 2]
        if following.isdigit() and following.isascii() and int(following) <= groups:
            parts.append(int(following))
        elif following == "\\":
            parts.append("\\")
        else:
            raise errors.InvalidArgumentError.of(
                f"Invalid rewrite {rewrite.decode('utf-8', 'replace')!r}: a backslash must be followed by "
                f"the number of one of the {groups} groups or by a backslash"
            )
        i += 2
    return tuple(parts)


def full_match(pattern: re.Pattern[str], text: bytes) -> bool:
    """Whether the whole of ``text`` matches."""
    return pattern.fullmatch(text.decode("utf-8", "surrogateescape")) is not None


def replace(pattern: re.Pattern[str], text: bytes, rewrite: bytes, everywhere: bool) -> bytes:
    """``text`` with the first match, or all that do not overlap, replaced.

    Args:
      rewrite: the replacement; ``\\0`` to ``\\9`` stand for the match and its groups.
    """
    parts = _rewrite_parts(rewrite, pattern.groups)
    source = text.decode("utf-8", "surrogateescape")
    out: list[str] = []
    done = 0
    last_end = -1
    for match in pattern.finditer(source):
        start, end = match.span()
        if start == end == last_end:
            # RE2 takes no empty match where another one has just ended.
            continue
        out.append(source[done:start])
        out.extend(p if isinstance(p, str) else (match.group(p) or "") for p in parts)
        done = last_end = end
        if not everywhere:
            break
    if last_end < 0:
        return text
    out.append(source[done:])
    return "".join(out).encode("utf-8", "surrogateescape")
