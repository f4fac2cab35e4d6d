"""Where seeds come from: the recorded checkpoints of the tests, all written by TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "tests/golden/checkpoints"


def small_files(pattern: str, longest: int) -> Iterator[bytes]:
    """The contents of recorded files of at most ``longest`` bytes, none twice."""
    seen: set[bytes] = set()
    for path in sorted(ROOT.rglob(pattern)):
        if path.is_file() and path.stat().st_size <= longest:
            content = path.read_bytes()
            if content not in seen:
                seen.add(content)
                yield content


def small_prefixes(longest: int) -> Iterator[str]:
    """The prefixes of recorded V2 checkpoints whose files together have at most ``longest`` bytes."""
    for index in sorted(ROOT.rglob("*.index")):
        prefix = str(index).removesuffix(".index")
        files = [index, *index.parent.glob(index.name.removesuffix(".index") + ".data-*")]
        if sum(file.stat().st_size for file in files) <= longest:
            yield prefix
