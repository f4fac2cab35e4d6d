"""Which file system a path is on: what stands before ``://`` says it.

    /m/model.ckpt, m/model.ckpt, file:///m/model.ckpt   the machine's own files
    memory://m/model.ckpt                               files of this process, gone with it
    s3://bucket/model.ckpt, gs://…, az://…              an object store (kvarn.io.remote, extra [remote])

Source: `Env::GetFileSystemForFile` in tensorflow/core/platform/env.cc.
"""

from __future__ import annotations

from kvarn.errors import UnimplementedError
from kvarn.io.filesystem import FileSystem, Path, as_path, root_of, scheme_of
from kvarn.io.local import LOCAL
from kvarn.io.memory import MEMORY

# What the library of kvarn.io.remote reads and writes: Amazon and all that speak its protocol, Google, Azure.
REMOTE_SCHEMES = ("s3", "gs", "az")

_remote: dict[str, FileSystem] = {}


def file_system_of(path: Path) -> FileSystem:
    """The file system that a path or URL is on.  Ordinary paths load nothing.

    Raises:
      UnimplementedError: an unknown scheme, or one that needs the extra [remote].
    """
    name = as_path(path)
    scheme = scheme_of(name)
    if not scheme:
        return LOCAL
    if scheme == "memory":
        return MEMORY
    if scheme not in REMOTE_SCHEMES:
        raise UnimplementedError.of(
            f"File system scheme '{scheme}' not implemented (file: '{name}')",
            path=name,
            hint=f"Known are file, memory, {', '.join(REMOTE_SCHEMES)}; any other through the argument fs.",
        )
    root = root_of(name)
    if root not in _remote:
        from kvarn.io.remote import RemoteFileSystem

        _remote[root] = RemoteFileSystem(root)
    return _remote[root]
