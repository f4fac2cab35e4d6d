"""Where the tensors of a checkpoint lie: data files that are missing or short, slices that do not cover,
bytes that belong to nobody."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from kvarn.checkpoint.findings import (
    ENTRY,
    INDEX,
    MISSING_FILE,
    SHORT_FILE,
    SLICES,
    UNUSED_BYTES,
    Finding,
)
from kvarn.errors import InternalError, InvalidArgumentError
from kvarn.formats.bundle.entry import BundleEntry
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.names import decode_name
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.reader import TensorInfo
from kvarn.formats.tensor_slice import first_overlap

# A run of zeros up to this long between two tensors is what alignment leaves.
_LARGEST_ALIGNMENT = 4096


def check_data_files(
    reader: BundleReader, findings: list[Finding], broken: set[str]
) -> dict[str, tuple[int, int]]:
    """Compares the data files of a bundle with what the index says of them; reads hardly any of their bytes.

    Args:
      findings, broken: what is found is added.

    Returns:
      Shard and offset of the first byte of each tensor, by name.
    """
    # What is unused can be told only if every name is known.
    all_known = not any(finding.kind in (INDEX, ENTRY) for finding in findings)
    stored: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    places: dict[str, tuple[int, int]] = {}
    for name, entry in _pieces(reader, findings, broken):
        stored[entry.shard_id].append((entry.offset, entry.offset + entry.size, name))
        place = (entry.shard_id, entry.offset)
        places[name] = min(places.get(name, place), place)
    for shard, (path, size) in enumerate(reader.files()[1:]):
        runs = sorted(stored.get(shard, ()))
        if size < 0:
            _lose(MISSING_FILE, f"the data file '{path}' is not there", path, runs, findings, broken)
            continue
        beyond = [run for run in runs if run[1] > size]
        if beyond:
            needed = max(end for _, end, _ in beyond)
            text = f"the data file '{path}' has {size} bytes of the {needed} that the index asks for"
            _lose(SHORT_FILE, text, path, beyond, findings, broken)
        if all_known:
            _note_unused(reader, path, size, runs, findings)
    return places


def check_cover(info: TensorInfo, path: str) -> None:
    """Looks whether the stored slices of a tensor cover it, each element once.

    Raises:
      InvalidArgumentError: a part is missing.
      InternalError: two overlap, or one reaches past the tensor.
    """
    spans = [piece.resolve(info.shape) for piece in info.slices]
    pair = first_overlap(spans)
    if pair is not None:
        raise InternalError.of(
            f"Overlapping slices: existing slice = {spans[pair[0]]}, new slice = {spans[pair[1]]}\n"
            f"  tensor '{info.name}' in '{path}'",
            name=info.name,
            path=path,
            hint="Two parts were saved for the same elements; none is known to be right.",
        )
    elements, covered = math.prod(info.shape), sum(span.num_elements for span in spans)
    if covered != elements:
        raise InvalidArgumentError.of(
            f"the stored slices of '{info.name}' have {covered} of its {elements} elements\n"
            f"  in '{path}': {len(spans)} slices of a tensor of shape {list(info.shape)}",
            name=info.name,
            path=path,
            hint="A part was not saved, or its shard was not merged.",
        )


def _pieces(
    reader: BundleReader, findings: list[Finding], broken: set[str]
) -> Iterator[tuple[str, BundleEntry]]:
    """Name and entry of every run of stored bytes: of a whole tensor, or of each slice."""
    entries = dict(reader.records())
    hidden: set[bytes] = set()
    for key, entry in entries.items():
        name = decode_name(key)
        for piece in entry.slices:
            slice_key = encode_slice_key(key, piece)
            hidden.add(slice_key)
            own = entries[slice_key]
            wanted = piece.shape_within(entry.shape)
            if (own.dtype, own.shape) != (entry.dtype, wanted):
                broken.add(name)
                text = (
                    f"slice {piece} of '{name}' has type {own.dtype} and shape {list(own.shape)}, its tensor "
                    f"says {entry.dtype} and {list(wanted)}"
                )
                findings.append(Finding(SLICES, text, name, reader.index_path))
            yield name, own
    for key, entry in entries.items():
        if not entry.slices and key not in hidden:
            yield decode_name(key), entry


def _lose(
    kind: str,
    text: str,
    path: str,
    runs: list[tuple[int, int, str]],
    findings: list[Finding],
    broken: set[str],
) -> None:
    names = sorted({name for _, _, name in runs})
    if names:
        some = ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
        text += f"; bytes of {len(names)} tensor{'s' * (len(names) > 1)} are missing: {some}"
    broken.update(names)
    findings.append(Finding(kind, text, file=path))


def _note_unused(
    reader: BundleReader, path: str, size: int, runs: list[tuple[int, int, str]], findings: list[Finding]
) -> None:
    """Notes what no tensor uses: holes that are more than alignment, and bytes at the end."""
    holes: list[tuple[int, int]] = []
    end = 0
    for start, stop, _ in runs:
        if start > end:
            holes.append((end, min(start, size)))
        end = max(end, stop)
    if any(stop > start for start, stop in holes):
        holes = _without_alignment(reader, path, holes)
    if holes:
        unused = sum(stop - start for start, stop in holes)
        text = f"{unused} bytes in {len(holes)} holes between tensors belong to none"
        findings.append(Finding(UNUSED_BYTES, text, file=path, offset=holes[0][0], broken=False))
    if size > end:
        text = f"{size - end} bytes behind the last tensor belong to none"
        findings.append(Finding(UNUSED_BYTES, text, file=path, offset=end, broken=False))


def _without_alignment(
    reader: BundleReader, path: str, holes: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    file = reader.fs.open_read(path)
    try:
        return [
            (start, stop)
            for start, stop in holes
            if stop - start > _LARGEST_ALIGNMENT or any(file.read(start, stop - start))
        ]
    finally:
        file.close()
