"""Whole files: read, written, and found by pattern.

Source: tensorflow/core/ops/io_ops.cc, tensorflow/core/kernels/{whole_file_read_ops,matching_files_op}.cc.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.io import as_path, atomic_replace, directory_of, file_system_of


def _scalar(what: str, value: Any) -> bytes:
    if np.ndim(value) != 0:
        raise errors.InvalidArgumentError.of(
            f"{what} tensor must be scalar, but had shape: {shapes.fmt(np.shape(value))}"
        )
    found: bytes = np.asarray(value, dtype=object).item()
    return found


def _text(value: bytes) -> Any:
    out = np.empty((), dtype=object)
    out[()] = value
    return out


@op("ReadFile", inputs="filename: string", outputs="contents: string")
class read_file:
    """All bytes of a file; NotFoundError if there is none."""

    def shape(c: Any, filename: Any) -> Any:
        shapes.with_rank(filename, 0)
        return ()

    def kernel(ctx: Any, filename: Any) -> Any:
        path = os.fsdecode(_scalar("Input filename", filename))
        fs, path = file_system_of(path), as_path(path)
        file = fs.open_read(path)
        try:
            return _text(file.read(0, fs.size(path)))
        finally:
            file.close()

    grad = NOT_DIFFERENTIABLE


@op("WriteFile", inputs=["filename: string", "contents: string"], stateful=True)
class write_file:
    """Writes ``contents`` to a file, whole or not at all; its folder is made if there is none."""

    def shape(c: Any, filename: Any, contents: Any) -> Any:
        shapes.with_rank(filename, 0)
        shapes.with_rank(contents, 0)
        return []

    def kernel(ctx: Any, filename: Any, contents: Any) -> None:
        path = os.fsdecode(_scalar("Input filename", filename))
        data = _scalar("Contents", contents)
        fs, path = file_system_of(path), as_path(path)
        folder = directory_of(path)
        if not fs.exists(folder):
            fs.make_directories(folder)
        atomic_replace(fs, path, data)

    grad = NOT_DIFFERENTIABLE


@op("MatchingFiles", inputs="pattern: string", outputs="filenames: string")
class matching_files:
    """The names of all files that match a pattern or one of several, sorted."""

    def shape(c: Any, pattern: Any) -> Any:
        if pattern is not None and len(pattern) > 1:
            raise ValueError(f"Shape must be at most rank 1 but is rank {len(pattern)}")
        return (None,)

    def kernel(ctx: Any, pattern: Any) -> Any:
        if np.ndim(pattern) > 1:
            raise errors.InvalidArgumentError.of(
                f"Input patterns tensor must be scalar or vector, but had shape: {shapes.fmt(pattern.shape)}"
            )
        patterns = np.asarray(pattern, dtype=object).reshape(-1)
        found = sorted(os.fsencode(n) for p in patterns for n in file_system_of(p).glob(as_path(p)))
        out = np.empty(len(found), dtype=object)
        out[:] = found
        return out

    grad = NOT_DIFFERENTIABLE
