"""``kvarn ls``: what a checkpoint holds, on a terminal or as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from kvarn import checkpoint, errors
from kvarn.checkpoint import CheckpointDescription, EmbeddingDescription, TensorDescription
from kvarn.checkpoint.folder import list_checkpoints
from kvarn.cli.output import (
    count_text,
    escaped,
    line,
    print_json,
    print_table,
    shape_text,
    size_text,
)

Prefix = Annotated[
    str, typer.Argument(metavar="PATH", help="a checkpoint's prefix, or a folder for its newest checkpoint")
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]


def ls(
    path: Prefix,
    pattern: Annotated[
        str | None,
        typer.Argument(help="only these names: a shell pattern such as 'dnn/*', or re:EXPRESSION"),
    ] = None,
    sort: Annotated[str, typer.Option(help="by 'name', or by 'size', the largest first")] = "name",
    long: Annotated[bool, typer.Option("--long", "-l", help="slices, data files and parts too")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="the checkpoints of a folder, with step, size and time")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the tensors and embedding variables of a checkpoint, or with --all the checkpoints of a folder.

    Example: kvarn ls /models/ranker 'dnn/*' --sort size
    """
    if sort not in ("name", "size"):
        raise typer.BadParameter(f"'{sort}' is neither 'name' nor 'size'", param_hint="--sort")
    if every:
        _ls_folder(path, as_json)
        return
    found = described(path)
    embeddings, variables = list(found.embeddings), list(found.variables)
    if pattern is not None:
        from kvarn.checkpoint.patterns import matcher

        wanted = matcher(pattern)
        embeddings = [ev for ev in embeddings if wanted.search(ev.name)]
        variables = [tensor for tensor in variables if wanted.search(tensor.name)]
    if sort == "size":
        embeddings.sort(key=lambda ev: -ev.size_bytes)
        variables.sort(key=lambda tensor: -tensor.size_bytes)
    if as_json:
        print_json(_document(found, embeddings, variables))
        return
    total = sum(tensor.size_bytes for tensor in found.tensors)
    files = count_text(len(found.files) - 1, "data file") if found.format == "V2" else "V1"
    line(f"{escaped(found.prefix)}  ({found.format}, {files}, {size_text(total)})")
    for name, size in found.files:
        if size < 0:
            line(f"missing: {escaped(name)}")
    if embeddings:
        line()
        _print_embeddings(embeddings, long)
    if variables:
        line()
        _print_tensors(variables, long)
    line()
    line(_totals(embeddings, variables))


def _ls_folder(path: str, as_json: bool) -> None:
    found = list_checkpoints(path)
    if as_json:
        print_json({"directory": path, "checkpoints": [asdict(entry) for entry in found]})
        return
    rows = []
    for entry in found:
        marks = ["newest"] if entry.newest else []
        marks += [] if entry.format else ["gone"]
        marks += [] if entry.in_state else ["not in the state file"]
        when = (
            "-" if entry.modified_secs is None else time.strftime(_TIME, time.localtime(entry.modified_secs))
        )
        step = "-" if entry.step is None else str(entry.step)
        size = size_text(entry.size_bytes) if entry.format else "-"
        rows.append((step, entry.format or "-", size, when, escaped(entry.prefix), ", ".join(marks)))
    print_table(("step", "format", "bytes", "completed", "checkpoint", ""), rows, right=("step", "bytes"))


def _print_embeddings(embeddings: Sequence[EmbeddingDescription], long: bool) -> None:
    headers = ["embedding variable", "keys", "dim", "slots", "parts", "bytes"]
    rows = []
    for ev in embeddings:
        keys = f"{ev.num_keys:,}" + (f" + {ev.num_filtered:,} filtered" if ev.num_filtered else "")
        parts = str(ev.num_partitions) if ev.partitioned else "-"
        row = [escaped(ev.name), keys, str(ev.dim), escaped(slots_text(ev)), parts, size_text(ev.size_bytes)]
        if long:
            row += [f"{ev.key_dtype} -> {ev.value_dtype}", " ".join(map(str, ev.keys_per_partition))]
        rows.append(row)
    if long:
        headers += ["types", "keys of the parts"]
    print_table(headers, rows, right=("keys", "dim", "parts", "bytes"))


def _print_tensors(tensors: Sequence[TensorDescription], long: bool) -> None:
    headers = ["tensor", "dtype", "shape", "slices", "bytes"]
    # Most tensors of a large checkpoint have one of a few sizes and shapes.
    sizes: dict[int, str] = {}
    shapes: dict[tuple[int, ...], str] = {}
    rows = []
    for t in tensors:
        size = sizes.get(t.size_bytes) or sizes.setdefault(t.size_bytes, size_text(t.size_bytes))
        shape = shapes.get(t.shape) or shapes.setdefault(t.shape, shape_text(t.shape))
        row = [escaped(t.name), t.dtype, shape, str(len(t.slices)) if t.slices else "-", size]
        if long:
            row += [" ".join(map(str, t.shards)), "  ".join(t.slices)]
        rows.append(row)
    if long:
        headers += ["shards", "where the slices are"]
    print_table(headers, rows, right=("slices", "bytes"))


def _totals(embeddings: Sequence[EmbeddingDescription], tensors: Sequence[TensorDescription]) -> str:
    counts = [count_text(len(tensors), "tensor")]
    if embeddings:
        counts.append(count_text(len(embeddings), "embedding variable"))
    total = sum(t.size_bytes for t in tensors) + sum(ev.size_bytes for ev in embeddings)
    return f"{' and '.join(counts)}, {size_text(total)}"


def _document(
    found: CheckpointDescription,
    embeddings: Sequence[EmbeddingDescription],
    variables: Sequence[TensorDescription],
) -> dict[str, Any]:
    return {
        "prefix": found.prefix,
        "format": found.format,
        "files": [{"path": path, "bytes": size} for path, size in found.files],
        "embeddings": [embedding_document(ev) for ev in embeddings],
        "tensors": [tensor_document(tensor) for tensor in variables],
    }


_TIME = "%Y-%m-%d %H:%M:%S"

# Shared with `show` -----------------------------------------------------------------------------------


def described(path: str) -> CheckpointDescription:
    """What the checkpoint at a path holds, whichever of its files the path is.

    Raises:
      NotFoundError: there is none.
    """
    if os.path.isfile(path):
        # Files that lie beside a checkpoint stand for it.
        path = os.path.dirname(path) or "." if os.path.basename(path) == "checkpoint" else path
        path = path.removesuffix(".meta")
    try:
        return checkpoint.describe(path, ranges=False)
    except ValueError as e:
        raise errors.NotFoundError.of(
            str(e),
            path=path,
            hint="Give the prefix that save returned, or a folder with a `checkpoint` file.",
        ) from None


def embedding_document(ev: EmbeddingDescription) -> dict[str, Any]:
    """An embedding variable in a JSON document."""
    document = asdict(ev)
    for left_out in ("tensor_names", "freqs", "versions"):  # `show` has their statistics
        del document[left_out]
    return document


def tensor_document(tensor: TensorDescription) -> dict[str, Any]:
    """A tensor in a JSON document."""
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": tensor.shape,
        "size_bytes": tensor.size_bytes,
        "slices": tensor.slices,
        "shards": tensor.shards,
    }


def slots_text(ev: EmbeddingDescription) -> str:
    """The slots of an embedding variable and their dims: ``Adam[16], Adam_1[16]``."""
    return ", ".join(f"{slot}[{dim}]" for slot, dim in ev.slots.items()) or "-"
