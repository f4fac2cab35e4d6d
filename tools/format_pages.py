"""Writes docs/formats/*.md from the docstrings of the format modules and from bytes made on the spot.

python tools/format_pages.py          writes the pages
python tools/format_pages.py --check  fails when one is stale
"""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PAGES = Path(__file__).resolve().parents[1] / "docs" / "formats"

# Page -> title, the modules whose docstrings it is made of, and the example below them.
CONTENTS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "table": (
        "The table",
        ("kvarn.formats.table.format", "kvarn.formats.table.builder", "kvarn.formats.compression"),
        "index",
    ),
    "bundle": (
        "V2 checkpoints (tensor bundles)",
        (
            "kvarn.formats.bundle.naming",
            "kvarn.formats.bundle.entry",
            "kvarn.formats.bundle.strings",
            "kvarn.formats.bundle.commit",
            "kvarn.formats.bundle.merge",
        ),
        "data",
    ),
    "slices_v1": (
        "V1 checkpoints (tensor slices)",
        (
            "kvarn.formats.slices_v1.naming",
            "kvarn.formats.slices_v1.format",
            "kvarn.formats.slices_v1.values",
            "kvarn.formats.slices_v1.order",
        ),
        "slices",
    ),
    "slice_keys": (
        "Keys and names of slices",
        ("kvarn.formats.ordered_code", "kvarn.formats.tensor_slice"),
        "",
    ),
    "embedding": ("Embedding variables", ("kvarn.formats.embedding",), ""),
    "increment": (
        "Increments and manifests",
        ("kvarn.formats.embedding_increment", "kvarn.formats.manifest"),
        "",
    ),
    "safetensors": ("safetensors", ("kvarn.formats.safetensors.format",), ""),
    "npz": ("npz", ("kvarn.formats.npz.format",), ""),
    "numbers": (
        "Numbers, checksums and messages",
        ("kvarn.formats.coding", "kvarn.formats.checksum", "kvarn.formats.wire", "kvarn.formats.messages"),
        "",
    ),
    "directory": (
        "State file and meta graph",
        ("kvarn.formats.checkpoint_state", "kvarn.formats.meta_graph", "kvarn.formats.detect"),
        "",
    ),
}


def pages() -> Iterator[tuple[Path, str]]:
    """Path and text of every page."""
    for stem, (title, modules, example) in CONTENTS.items():
        parts = [f"# {title}", "<!-- Made by tools/format_pages.py from the docstrings; edit those. -->"]
        for name in modules:
            docstring = importlib.import_module(name).__doc__ or ""
            summary, _, rest = docstring.partition("\n")
            parts += [f"## {summary.rstrip('.')}", f"`{name}`", as_markdown(rest)]
        if example:
            parts += ["## Example, byte by byte", example_of(example)]
        yield PAGES / f"{stem}.md", "\n\n".join(part for part in parts if part) + "\n"


def as_markdown(text: str) -> str:
    """A docstring with its indented pictures as code blocks."""
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        if block.startswith("    "):
            blocks.append(f"```\n{textwrap.dedent(block).rstrip()}\n```")
        else:
            blocks.append(block.strip())
    return "\n\n".join(block for block in blocks if block)


def example_of(which: str) -> str:
    """A checkpoint of two tensors: its index or its data, or the file that is both in V1."""
    from kvarn.formats.bundle import BundleWriter, data_filename, index_filename
    from kvarn.formats.slices_v1 import TensorSliceWriter
    from kvarn.io import MemoryFileSystem

    fs = MemoryFileSystem()
    with TensorSliceWriter("m", fs) if which == "slices" else BundleWriter("m", fs) as writer:
        writer.add("w", np.array([[1.0, 2.0, 3.0]], np.float32))
        writer.add("names", np.array([b"ab", b"", "é".encode()], object))
    path = {"index": index_filename("m"), "data": data_filename("m", 0, 1), "slices": "m"}[which]
    intro = f"`{path}` of the float tensor `w` = [[1, 2, 3]] and the strings `names` = [ab, (empty), é]:"
    return f"{intro}\n\n```\n{hex_dump(bytes(fs.files[path]))}\n```"


def hex_dump(data: bytes) -> str:
    """Offset, 16 bytes, and what of them is printable."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:04x}  {row.hex(' '):<47}  {text}")
    return "\n".join(lines)


def main() -> int:
    stale = [path for path, text in pages() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        print("\n".join(f"{path.name} is stale" for path in stale) or "the pages fit the code")
        return 1 if stale else 0
    PAGES.mkdir(parents=True, exist_ok=True)
    for path, text in pages():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
