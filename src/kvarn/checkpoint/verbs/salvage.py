"""Opens a checkpoint whose index is damaged: with what can be read of it.

Of V2:

    index opens, a block is damaged        the other blocks
    index does not open, or is cut off     blocks from the start of the file on, found by their own checksums
    header damaged                         the number of shards from the names of the data files
    an entry damaged                       the other entries

Of V1, which has a table for each shard: the shards that open.

What is read this way is as certain as ever: blocks have checksums, and so have tensors.  A checkpoint without
fault is opened as always.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

from kvarn.checkpoint.findings import ENTRY, HEADER, INDEX, Finding
from kvarn.errors import DataLossError, OpError
from kvarn.formats import compression
from kvarn.formats.bundle.entry import HEADER_KEY, BundleEntry, BundleHeader
from kvarn.formats.bundle.naming import committed_index, data_stem, index_filename
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.checksum import crc32c, unmask
from kvarn.formats.coding import DecodeError, decode_fixed32, decode_varint
from kvarn.formats.elements import dtype_of
from kvarn.formats.messages import VERSION
from kvarn.formats.names import decode_name
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.reader import TensorReader
from kvarn.formats.slices_v1 import TensorSliceReader
from kvarn.formats.table.block import Block
from kvarn.formats.table.builder import TableBuilder
from kvarn.formats.table.format import FOOTER_BYTES, TRAILER_BYTES, BlockHandle, Footer
from kvarn.io import FileSystem, ReadFile, directory_of, file_system_of
from kvarn.io.memory import MemoryReadFile

_SHARDS = re.compile(r"\d{5,}-of-(\d{5,})")
Record = tuple[bytes, bytes]


@dataclass(frozen=True)
class Salvaged:
    """A checkpoint as far as its index can be read.

    Attributes:
      reader: gives the tensors whose records are whole, and no others.
      findings: the faults of the index.
      lost: names that are known, but whose records are not whole.
    """

    reader: BundleReader
    findings: tuple[Finding, ...]
    lost: tuple[str, ...]


def open_damaged(prefix: str, fs: FileSystem | None = None) -> Salvaged:
    """Opens a V2 checkpoint, damaged or not.

    Raises:
      NotFoundError: there is no index.
      DataLossError: nothing of the index can be read.
    """
    files = fs or file_system_of(prefix)
    path = index_filename(prefix) + committed_index(files, prefix)
    file = files.open_read(path)
    try:
        index = file.read(0, file.size)
    finally:
        file.close()
    findings: list[Finding] = []
    records = _ascending(path, _records(path, index, findings), findings)
    if not records:
        raise DataLossError.of(
            f"nothing of the index '{path}' can be read\n  " + "\n  ".join(f.text for f in findings),
            path=path,
            offset=0,
            hint="Take another copy of the file, or an older checkpoint.",
        )
    header, entries, lost = _parse(prefix, path, files, records, findings)
    if not findings:
        return Salvaged(BundleReader(prefix, files), (), ())
    rebuilt = cast(FileSystem, _WithFile(files, path, _table(header, entries)))
    return Salvaged(BundleReader(prefix, rebuilt), tuple(findings), tuple(lost))


def open_damaged_tables(
    pattern: str, tables: list[str], fs: FileSystem
) -> tuple[TensorReader, list[Finding]]:
    """Opens a V1 checkpoint without those of its shards that do not open.

    Args:
      pattern: what names the checkpoint.
      tables: its shards, as `kvarn.formats.detect.find_files` gives them.

    Returns:
      The reader, and a finding for each shard that is left out.

    Raises:
      DataLossError, InternalError and the like: no shard can be opened.
    """
    try:
        return TensorSliceReader(pattern, fs), []
    except OpError:
        if len(tables) == 1:
            raise
    findings: list[Finding] = []
    hidden: set[str] = set()
    for path in tables:
        try:
            TensorSliceReader(path, fs).close()
        except OpError as error:
            findings.append(Finding.of_error(INDEX, error))
            hidden.add(path)
    return TensorSliceReader(pattern, cast(FileSystem, _WithoutFiles(fs, hidden))), findings


# Blocks -----------------------------------------------------------------------------------------------


def _records(path: str, index: bytes, findings: list[Finding]) -> Iterator[Record]:
    try:
        handles = _handles(index)
    except DecodeError as error:
        blocks = list(_scan(index))
        text = f"the index cannot be opened: {error}; blocks found without it: {len(blocks)}"
        findings.append(Finding(INDEX, text, file=path, offset=max(0, len(index) - FOOTER_BYTES)))
    else:
        blocks = []
        last = b""
        for separator, handle in handles:
            try:
                blocks.append(_block(index, handle))
            except DecodeError as error:
                names = f"names from '{decode_name(last)}' to '{decode_name(separator)}' were in it"
                findings.append(Finding(INDEX, f"{error}; {names}", file=path, offset=handle.offset))
            last = separator
    for block in blocks:
        yield from zip(block.keys, block.values, strict=True)


def _handles(index: bytes) -> list[tuple[bytes, BlockHandle]]:
    """The last key, or a little more, and the place of each data block."""
    if len(index) < FOOTER_BYTES:
        raise DecodeError("file is too short to be an sstable")
    block = _block(index, Footer.decode(index[-FOOTER_BYTES:]).index)
    places = (BlockHandle.decode(value)[0] for value in block.values)
    return list(zip(block.keys, places, strict=True))


def _block(index: bytes, handle: BlockHandle) -> Block:
    end = handle.offset + handle.size
    if end + TRAILER_BYTES > len(index):
        raise DecodeError(
            f"Read less bytes than requested: a block at bytes {handle.offset}..{end + TRAILER_BYTES - 1} "
            f"of a file of {len(index)}"
        )
    stored = unmask(decode_fixed32(index, end + 1))
    computed = crc32c(memoryview(index)[handle.offset : end + 1])
    if stored != computed:
        raise DecodeError(f"block checksum mismatch: stored {stored:#010x}, computed {computed:#010x}")
    return Block(compression.decompress(index[end], index[handle.offset : end]))


def _scan(index: bytes) -> Iterator[Block]:
    """The uncompressed data blocks that follow one another from the start of the file."""
    start = 0
    while (end := _block_end(index, start)) is not None:
        block = Block(index[start:end])
        if not block.keys:
            return  # the metaindex block; what follows is the index block
        yield block
        start = end + TRAILER_BYTES


def _block_end(index: bytes, start: int) -> int | None:
    """Where the block that begins at ``start`` ends: its entries are followed until its restart array."""
    position = start
    while position < len(index):
        if index[position : position + 4] == bytes(4):  # the first restart is 0; hardly ever an entry
            end = _restarts_end(index, start, position)
            if end is not None:
                return end
        try:
            _, position = decode_varint(index, position)
            unshared, position = decode_varint(index, position)
            size, position = decode_varint(index, position)
        except DecodeError:
            return None
        position += unshared + size
    return None


def _restarts_end(index: bytes, start: int, position: int) -> int | None:
    """The end of the block if its restart array begins at ``position``."""
    count, last = 0, -1
    while position + 8 + TRAILER_BYTES <= len(index):
        restart = decode_fixed32(index, position)
        if restart <= last:
            return None
        count, last, position = count + 1, restart, position + 4
        end = position + 4
        if decode_fixed32(index, position) == count and index[end] == compression.NONE:
            stored = unmask(decode_fixed32(index, end + 1))
            if stored == crc32c(memoryview(index)[start : end + 1]):
                return end
    return None


def _ascending(path: str, records: Iterator[Record], findings: list[Finding]) -> list[Record]:
    kept: list[Record] = []
    for key, value in records:
        if kept and key <= kept[-1][0]:
            name = decode_name(key)
            text = f"'{name}' comes after '{decode_name(kept[-1][0])}', against the order of a table"
            findings.append(Finding(INDEX, text, name, path))
        else:
            kept.append((key, value))
    return kept


# Records ----------------------------------------------------------------------------------------------


def _parse(
    prefix: str, path: str, fs: FileSystem, records: list[Record], findings: list[Finding]
) -> tuple[BundleHeader, dict[bytes, BundleEntry], list[str]]:
    """The header, the entries that are whole, and the names of the tensors that are lost."""
    header = _header(prefix, path, fs, records, findings)
    damaged = any(f.kind == INDEX for f in findings)
    entries: dict[bytes, BundleEntry] = {}
    lost: dict[str, None] = {}

    def lose(key: bytes, why: str) -> None:
        name = decode_name(_owner(key) or key)
        lost[name] = None
        findings.append(Finding(ENTRY, f"{why}\n  tensor '{name}' in '{path}'", name, path))

    for key, value in records:
        if key == HEADER_KEY:
            continue
        try:
            entry = BundleEntry.parse(value)
        except DecodeError as error:
            lose(key, f"its entry is not parseable: {error}")
            continue
        try:
            dtype_of(entry.dtype, decode_name(key), prefix)
        except OpError:
            lose(key, f"its entry has the element type {entry.dtype}, which is none that can be saved")
            continue
        if not entry.slices and entry.shard_id >= header.num_shards:
            lose(key, f"its entry has the shard {entry.shard_id} of {header.num_shards}")
        else:
            entries[key] = entry
    listed: set[bytes] = set()
    for key, entry in list(entries.items()):
        pieces = [encode_slice_key(key, piece) for piece in entry.slices]
        listed.update(pieces)
        missing = [str(s) for s, k in zip(entry.slices, pieces, strict=True) if k not in entries]
        if missing:
            del entries[key]
            some = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
            lose(key, f"{len(missing)} of its {len(pieces)} slices are not in the index: {some}")
    if damaged or lost:
        for key in [key for key in entries if _owner(key) is not None]:
            name = _owner(key) or b""
            if key not in listed or name not in entries:
                del entries[key]  # a slice without the entry of its tensor
                if decode_name(name) not in lost:
                    lose(key, "it has slices, but no entry")
    return header, entries, list(lost)


def _header(
    prefix: str, path: str, fs: FileSystem, records: list[Record], findings: list[Finding]
) -> BundleHeader:
    """The header; if it cannot be read, one that fits the files."""
    try:
        if records[0][0] != HEADER_KEY:
            raise DecodeError("there is none")
        header = BundleHeader.parse(records[0][1])
        if header.num_shards < 1:
            raise DecodeError(f"{header.num_shards} shards")
    except DecodeError as error:
        totals = _totals_on_disk(prefix, fs)
        total = max(totals, default=1)
        findings.append(
            Finding(
                HEADER, f"the header cannot be read: {error}; number of shards taken for {total}", file=path
            )
        )
        return BundleHeader(num_shards=total)
    if header.min_consumer > VERSION or VERSION in header.bad_consumers:
        findings.append(
            Finding(
                HEADER,
                f"the header refuses readers of version {VERSION}: min_consumer {header.min_consumer}, "
                f"bad_consumers {list(header.bad_consumers)}",
                file=path,
            )
        )
        return replace(header, min_consumer=0, bad_consumers=())
    totals = _totals_on_disk(prefix, fs)
    if totals and header.num_shards not in totals and len(totals) == 1:
        # The files that are there know better than a number that fits none of them.
        text = f"the header says {header.num_shards} shards, the data files are of {totals[0]}"
        findings.append(Finding(HEADER, text, file=path))
        return replace(header, num_shards=totals[0])
    return header


def _totals_on_disk(prefix: str, fs: FileSystem) -> list[int]:
    """The numbers of shards in the names of the data files, ascending."""
    stem = data_stem(prefix)
    try:
        names = fs.list_directory(directory_of(prefix))
    except OpError:
        return []
    found = (_SHARDS.fullmatch(name[len(stem) :]) for name in names if name.startswith(stem))
    return sorted({int(match[1]) for match in found if match})


def _owner(key: bytes) -> bytes | None:
    """The name in a slice key; None for a key of another form."""
    if key[:1] != b"\0":
        return None
    name = bytearray()
    position = 1
    while position < len(key) - 1:
        byte, after = key[position], key[position + 1]
        if (byte, after) == (0x00, 0x01):
            return bytes(name)
        if byte in (0x00, 0xFF):
            if after != 0xFF - byte:
                return None
            position += 1
        name.append(byte)
        position += 1
    return None


# The index anew ---------------------------------------------------------------------------------------


def _table(header: BundleHeader, entries: dict[bytes, BundleEntry]) -> bytes:
    content = bytearray()
    builder = TableBuilder(content.extend)
    builder.add(HEADER_KEY, header.serialize())
    for key, entry in sorted(entries.items()):
        builder.add(key, entry.serialize())
    builder.finish()
    return bytes(content)


class _WithFile:
    """A file system in which one file has another content."""

    def __init__(self, fs: FileSystem, path: str, content: bytes) -> None:
        self._fs = fs
        self._path = path
        self._content = content

    def open_read(self, path: str) -> ReadFile:
        return MemoryReadFile(path, self._content) if path == self._path else self._fs.open_read(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)


class _WithoutFiles:
    """A file system in which some files are not there."""

    def __init__(self, fs: FileSystem, hidden: set[str]) -> None:
        self._fs = fs
        self._hidden = hidden

    def exists(self, path: str) -> bool:
        return path not in self._hidden and self._fs.exists(path)

    def glob(self, pattern: str) -> list[str]:
        return [path for path in self._fs.glob(pattern) if path not in self._hidden]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)
