"""Reads damaged checkpoints under a limit of address space; prints what the costliest of them took.

    python damage_worker.py FOLDER…    every checkpoint in the folders as it is, then changed in every place

Changed are the table (index of V2, shards of V1): cut at every length, each byte flipped, each varint made
huge, with the checksums as they were and made right.  A line of JSON tells the worst of each kind.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from fuzz.contract import Broken, attempt, measured  # noqa: E402
from fuzz.reading import read_tensors  # noqa: E402

from fuzz import framing  # noqa: E402
from kvarn.formats.coding import encode_varint  # noqa: E402
from kvarn.formats.detect import open_checkpoint  # noqa: E402
from kvarn.formats.table.format import MAGIC, BlockHandle, Footer  # noqa: E402
from kvarn.formats.table.reference import parse_block  # noqa: E402
from kvarn.io import MemoryFileSystem  # noqa: E402

SPARE_BYTES = 256 << 20
HUGE = tuple(map(encode_varint, (0x7FFFFFFF, 0xFFFFFFFF, (1 << 62) + 1, (1 << 64) - 1)))


def read_all(prefix: str, files: dict[str, bytes]) -> None:
    """Everything a checkpoint can be asked for."""
    fs = MemoryFileSystem()
    fs.files = {name: bytearray(content) for name, content in files.items()}
    reader = attempt(open_checkpoint, prefix, fs)
    if reader is not None:
        with reader:
            read_tensors(reader)


def tables(files: dict[str, bytes]) -> list[str]:
    return [name for name, content in files.items() if content[-8:] == MAGIC.to_bytes(8, "little")]


def changes(table: bytes) -> Iterator[tuple[str, bytes]]:
    """The table with one change, and what kind of change that is."""
    for size in range(0, len(table), 5):
        yield "cut", table[:size]
    for at, byte in enumerate(table):
        flipped = table[:at] + bytes([byte ^ 1 << at % 8]) + table[at + 1 :]
        yield "flip", flipped
        yield "flip, checksum right", framing.mended(flipped)
    blocks, index = _blocks(table)
    for own, block in enumerate(blocks):
        for start, end in framing.varint_positions(block[1:]):
            huge = HUGE[start % len(HUGE)]
            changed = block[: 1 + start] + huge + block[1 + end :]
            yield "huge number", framing.table_of_blocks([*blocks[:own], changed, *blocks[own + 1 :]])
    for start, end in framing.varint_positions(index):
        changed = index[:start] + HUGE[start % len(HUGE)] + index[end:]
        yield "huge number in the index block", framing.table_of_blocks(blocks, changed)


def _blocks(table: bytes) -> tuple[list[bytes], bytes]:
    """Type byte and content of each data block, and the content of the index block."""
    handle = Footer.decode(table[-48:]).index
    index = table[handle.offset : handle.offset + handle.size]
    found = []
    for value in parse_block(index)[1]:
        own = BlockHandle.decode(value)[0]
        end = own.offset + own.size
        found.append(table[end : end + 1] + table[own.offset : end])
    return found, index


def cases(folder: Path) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    """Kind of damage, prefix and files."""
    facts = folder / "expected.json"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    prefix = json.loads(facts.read_text())["prefix"] if facts.exists() else "model.ckpt"
    if facts.exists() or folder.name.endswith("_good"):
        yield "none", prefix, files
        for name in tables(files):
            for kind, changed in changes(files[name]):
                yield kind, prefix, {**files, name: changed}
    else:
        prefixes = {name.removesuffix(".index").partition(".data-")[0] for name in files}
        for prefix in sorted(prefixes):
            yield "recorded", prefix, files


def main() -> None:
    logging.disable(logging.CRITICAL)
    worst: dict[str, list[float]] = {}
    for folder in map(Path, sys.argv[1:]):
        for kind, prefix, files in cases(folder):
            content = b"".join(files[name] for name in files if not name.endswith((".json", ".npz")))

            def check(_: bytes, prefix: str = prefix, files: dict[str, bytes] = files) -> None:
                read_all(prefix, files)

            if not worst:
                # What is loaded once is not counted; from here on no memory can be taken beyond the limit.
                check(content)
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                limit = pages * resource.getpagesize() + SPARE_BYTES
                resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            try:
                secs, peak_bytes = measured(check, content)
            except (Broken, MemoryError) as error:
                raise SystemExit(f"{folder}, {kind}: {traceback.format_exc()}") from error
            seen = worst.setdefault(kind, [0, 0.0, 0.0])
            worst[kind] = [
                seen[0] + 1,
                max(seen[1], peak_bytes / (len(content) + 1024)),
                max(seen[2], secs),
            ]
    worst["resident"] = [1, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, 0.0]
    print(json.dumps(worst))


if __name__ == "__main__":
    main()
