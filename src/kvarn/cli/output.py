"""What all commands share: plain text and tables, JSON, a progress bar, exit statuses.

    0    done; the same; whole
    1    the command's own "no": two checkpoints differ, one is broken
    2    an error, or wrong usage
    130  interrupted by Ctrl-C

Names come from files that anybody may have made: whatever is printed as text goes through `escaped`, so
that no name moves the cursor or colours the terminal.  In JSON documents names are as they are.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

DONE, NO, FAILED, INTERRUPTED = 0, 1, 2, 130

# A bar is shown when work has taken this long, and drawn anew no more often than that.
_PATIENCE_SECS = 2.0
_REDRAW_SECS = 0.1
_BAR_WIDTH = 24


# Text -------------------------------------------------------------------------------------------------


def line(text: str = "") -> None:
    """Prints a line; one that nobody reads any more is dropped."""
    _write(text + "\n")


def print_json(document: dict[str, Any]) -> None:
    """Prints one JSON document, a line for each of its parts and for each element of a list of objects.

    Numbers that JSON does not have (NaN, infinities) become null.
    """
    try:
        text = _json_text(document)
    except ValueError:
        text = _json_text(_without_nan(document))
    _write(text)


def _json_text(document: dict[str, Any]) -> str:
    # An encoder of its own costs nothing, json.dumps with an indent is ten times as slow as without.
    encode = json.JSONEncoder(allow_nan=False).encode
    parts = []
    for label, value in document.items():
        if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            text = "[\n    " + ",\n    ".join(map(encode, value)) + "\n  ]"
        else:
            text = encode(value)
        parts.append(f"  {encode(label)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[str] = ()) -> None:
    """Prints aligned columns, two blanks between them.

    Args:
      right: headers of the columns whose cells stand at the right edge: numbers.
    """
    table = [tuple(headers), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    aligned = set(right)
    cells = [f"{{:{'>' if h in aligned else '<'}{w}}}" for h, w in zip(headers, widths, strict=True)]
    pattern = "  ".join(cells)
    _write("".join([pattern.format(*row).rstrip() + "\n" for row in table]))


def flush() -> None:
    """Hands over all that was printed."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _nobody_reads()


def escaped(text: str) -> str:
    """``text`` with everything that is no visible character as an escape: ``\\x1b``, ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def escaped_lines(text: str) -> str:
    """As `escaped`, but the ends of lines stay: for messages."""
    return "\n".join(map(escaped, text.split("\n")))


def size_text(count: int) -> str:
    """A number of bytes for people: ``1.5 MB``; units of 1000."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.95 or (unit == "B" and size < 1000):
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def shape_text(shape: Sequence[int]) -> str:
    """``[2, 3]``; ``[]`` for a scalar."""
    return "[" + ", ".join(map(str, shape)) + "]"


def count_text(count: int, noun: str, plural: str | None = None) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        _nobody_reads()


def _nobody_reads() -> None:
    # `kvarn ls … | head`: the reader has gone.  The command goes on, for its status.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8 (surrogateescape)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


# Progress ---------------------------------------------------------------------------------------------


class Progress:
    """A bar on stderr for long work, as the ``progress`` argument of the verbs takes it.

        with Progress("verify", quiet=as_json) as progress:
            verify(path, progress=progress)

    It appears after two seconds, only on a terminal, and is gone at the end of the block.

    Args:
      title: what is being done, a word or two.
      quiet: never show it.
    """

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._title = title
        self._hidden = quiet or not sys.stderr.isatty()
        self._start = self._drawn = time.monotonic()
        self._width = 0

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """So much is done."""
        if self._hidden:
            return
        now = time.monotonic()
        if now - self._start < _PATIENCE_SECS or now - self._drawn < _REDRAW_SECS:
            return
        self._drawn = now
        self._draw(done_bytes, total_bytes, now - self._start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()

    def _draw(self, done: int, total: int, secs: float) -> None:
        share = min(1.0, done / total) if total else 1.0
        full, empty = ("━", "─") if (sys.stderr.encoding or "").lower().startswith("utf") else ("#", ".")
        filled = int(share * _BAR_WIDTH)
        text = f"{self._title} {full * filled}{empty * (_BAR_WIDTH - filled)} {share:4.0%}"
        text += f"  {size_text(done)} of {size_text(total)}  {size_text(int(done / secs))}/s"
        if done:
            text += f"  {_duration((total - done) * secs / done)} left"
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
        except OSError:
            columns = 80
        text = text[: columns - 1]
        sys.stderr.write("\r" + text.ljust(min(self._width, columns - 1)))
        sys.stderr.flush()
        self._width = len(text)


def _duration(secs: float) -> str:
    whole = max(0, round(secs))
    minutes = f"{whole // 60 % 60}:{whole % 60:02d}"
    return minutes if whole < 3600 else f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
