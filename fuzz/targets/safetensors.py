"""safetensors files.

byte 0      0: the rest is a file as it is; else parts
parts       header | bytes of the tensors
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz import framing
from fuzz.contract import attempt
from fuzz.reading import read_tensors
from kvarn.formats.safetensors import SafetensorsReader
from kvarn.io import MemoryFileSystem

LONGEST = 800
WORDS = (
    b'"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}',
    b'"dtype"',
    b'"shape"',
    b'"data_offsets"',
    b'"__metadata__":{"a":"b"}',
    b'"BF16"',
    b'"BOOL"',
    b'"F8_E4M3"',
    b"9223372036854775807",
    b"1e999",
    b"\\ud800",
    framing.SEPARATOR,
)


def check(data: bytes) -> None:
    content = data[1:]
    if data[:1] != b"\0":
        header, *rest = framing.split(content)
        content = len(header).to_bytes(8, "little") + header + b"".join(rest)
    fs = MemoryFileSystem()
    fs.files["m"] = bytearray(content)
    reader = attempt(SafetensorsReader, "m", fs)
    if reader is not None:
        with reader:
            read_tensors(reader)


def seeds() -> Iterator[bytes]:
    header = (
        b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},'
        b'"b":{"dtype":"BOOL","shape":[],"data_offsets":[8,9]},"c":{"dtype":"BF16","shape":[0],"data_offsets":[9,9]}}'
    )
    content = bytes(8) + b"\1"
    yield b"\1" + framing.join([header, content])
    yield b"\0" + len(header).to_bytes(8, "little") + header + content
    yield b"\1" + framing.join([b"{}", b""])
