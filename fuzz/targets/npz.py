"""npz files, whose CRC-32 are right.

byte 0      0: the rest is a file as it is; 1: parts, stored; 2: parts, deflated
parts       name | content of the member | name | content | …
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator

import numpy as np

from fuzz import framing
from fuzz.contract import attempt
from fuzz.reading import read_tensors
from kvarn.formats.npz import NpzReader
from kvarn.io import MemoryFileSystem

LONGEST = 1000
WORDS = (
    b"\x93NUMPY\x01\x00",
    b"\x93NUMPY\x03\x00",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
    b"'|S2'",
    b"'<U1'",
    b"'>i8'",
    b"'|O'",
    b"True",
    b"__kvarn__.json",
    b'{"types":{"a":"bfloat16"}}',
    b'{"trailing_nuls":{"a":{"0":1}}}',
    b".npy",
    b"PK\x01\x02",
    b"PK\x05\x06",
    framing.SEPARATOR,
)


def check(data: bytes) -> None:
    content = data[1:]
    if data[:1] in (b"\1", b"\2"):
        content = archive(
            framing.split(content), zipfile.ZIP_STORED if data[0] == 1 else zipfile.ZIP_DEFLATED
        )
    fs = MemoryFileSystem()
    fs.files["m"] = bytearray(content)
    reader = attempt(NpzReader, "m", fs)
    if reader is not None:
        with reader:
            read_tensors(reader)


def archive(parts: list[bytes], compression: int) -> bytes:
    """A sound zip archive with these names and contents."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as found, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that occurs twice
        for name, content in zip(parts[::2], parts[1::2], strict=False):
            member = zipfile.ZipInfo(name.decode("utf-8", "replace"))
            member.compress_type = compression
            found.writestr(member, content)
    return out.getvalue()


def seeds() -> Iterator[bytes]:
    members: list[bytes] = []
    for name, array in {
        "a": np.ones((2, 1), np.float32),
        "b": np.array([b"x", b"yz"]),
        "c": np.asfortranarray(np.zeros((2, 2), np.int64)),
        "d": np.array("é"),
        "e": np.array([1], np.uint16),
    }.items():
        content = io.BytesIO()
        np.lib.format.write_array(content, array, version=(1, 0))
        # numpy fills its headers up to 64 bytes: a fuzzer has nothing from blanks
        members += (f"{name}.npy".encode(), _squeezed(content.getvalue()))
    notes = [b"__kvarn__.json", b'{"types":{"e":"bfloat16"},"trailing_nuls":{"b":{"0":1}}}']
    yield b"\1" + framing.join([*members[:4], *notes, *members[-2:]])
    yield b"\2" + framing.join(members)
    yield b"\0" + archive(members[:2], zipfile.ZIP_STORED)


def _squeezed(content: bytes) -> bytes:
    size = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + size].rstrip() + b"\n"
    return content[:8] + len(header).to_bytes(2, "little") + header + content[10 + size :]
