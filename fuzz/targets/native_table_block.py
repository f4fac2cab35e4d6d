"""Table blocks, as native/fuzz/fuzz_table_block.cc has them: the whole input is one, without its trailer."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz import goldens
from fuzz.targets.table import LONGEST, WORDS, check_block
from kvarn.formats.coding import DecodeError
from kvarn.formats.table.format import FOOTER_BYTES, BlockHandle, Footer
from kvarn.formats.table.reference import parse_block

__all__ = ["LONGEST", "WORDS", "check", "seeds"]

check = check_block


def seeds() -> Iterator[bytes]:
    for table in goldens.small_files("*.index", 1500):
        try:
            index = Footer.decode(table[-FOOTER_BYTES:]).index
            content = table[index.offset : index.offset + index.size]
            yield content
            for value in parse_block(content)[1]:
                handle = BlockHandle.decode(value)[0]
                yield table[handle.offset : handle.offset + handle.size]
        except DecodeError:
            continue  # a damaged one
