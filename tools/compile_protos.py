"""Compiles src/kvarn/protos/*.proto into the descriptor set that `kvarn.protos` loads.

    python tools/compile_protos.py          writes descriptors.bin and descriptors.sha256
    python tools/compile_protos.py --check  fails when they do not fit the sources

Needs grpcio-tools, which only developers have.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parents[1] / "src" / "kvarn" / "protos"


def source_digest(directory: Path = PROTOS) -> str:
    """SHA-256 over the names and texts of the sources, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.proto")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def compile_protos(directory: Path = PROTOS) -> bytes:
    """The serialized FileDescriptorSet of the sources and of what they import."""
    import grpc_tools
    from grpc_tools import protoc

    assert grpc_tools.__file__ is not None
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "descriptors.bin"
        sources = sorted(path.name for path in directory.glob("*.proto"))
        arguments = [
            f"-I{directory}",
            f"-I{well_known}",
            "--include_imports",
            f"--descriptor_set_out={target}",
        ]
        if protoc.main(["protoc", *arguments, *sources]) != 0:
            raise SystemExit("protoc failed")
        return target.read_bytes()


def main() -> int:
    binary, digest = PROTOS / "descriptors.bin", PROTOS / "descriptors.sha256"
    if "--check" in sys.argv[1:]:
        fresh = binary.read_bytes() == compile_protos() and digest.read_text().strip() == source_digest()
        print("descriptors.bin fits its sources" if fresh else "descriptors.bin is stale: compile again")
        return 0 if fresh else 1
    binary.write_bytes(compile_protos())
    digest.write_text(source_digest() + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
