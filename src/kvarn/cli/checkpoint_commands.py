"""``kvarn ls`` and ``kvarn show``: what a checkpoint holds, on a terminal or as JSON."""

from __future__ import annotations

import difflib
import json
import math
import os
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kvarn import checkpoint, errors
from kvarn.checkpoint import CheckpointDescription, EmbeddingDescription, TensorDescription

Prefix = Annotated[str, typer.Argument(help="a checkpoint's prefix, or a folder for its newest checkpoint")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]

# How many elements or rows `show` prints before it stops; a few more are no reason to stop.
_SHOWN = 8
_ALL = 16


def ls(prefix: Prefix, as_json: Json = False) -> None:
    """List the tensors and embedding variables of a checkpoint."""
    found = _describe(prefix, ranges=False)
    if as_json:
        print(json.dumps(_ls_document(found), indent=2))
        return
    console = _console()
    total = sum(t.size_bytes for t in found.tensors)
    count = len(found.files) - 1
    files = f"{count} data file{'' if count == 1 else 's'}"
    console.print(f"{escape(found.prefix)}  ({found.format}, {files}, {_bytes(total)})", soft_wrap=True)
    for path, size in found.files:
        if size < 0:
            console.print(f"[red]missing:[/] {escape(path)}", soft_wrap=True)
    if found.embeddings:
        table = Table("embedding variable", "keys", "dim", "slots", "parts", "bytes", title_justify="left")
        for column in (1, 2, 4, 5):
            table.columns[column].justify = "right"
        for ev in found.embeddings:
            keys = f"{ev.num_keys:,}" + (f" + {ev.num_filtered:,} filtered" if ev.num_filtered else "")
            parts = str(ev.num_partitions) if ev.partitioned else "-"
            table.add_row(
                escape(ev.name), keys, str(ev.dim), escape(_slots(ev)), parts, _bytes(ev.size_bytes)
            )
        console.print(table)
    if found.variables:
        table = Table("tensor", "dtype", "shape", "slices", "bytes")
        table.columns[4].justify = "right"
        for tensor in found.variables:
            slices = str(len(tensor.slices)) if tensor.slices else "-"
            table.add_row(
                escape(tensor.name), tensor.dtype, _shape(tensor.shape), slices, _bytes(tensor.size_bytes)
            )
        console.print(table)


def show(
    prefix: Prefix,
    name: Annotated[str, typer.Argument(help="a tensor, or an embedding variable")],
    as_json: Json = False,
) -> None:
    """Show one tensor, or an embedding variable with its keys, slots and ranges as one thing."""
    found = _describe(prefix, ranges=True)
    for ev in found.embeddings:
        if ev.name == name:
            _show_embedding(found, ev, as_json)
            return
    for tensor in found.tensors:
        if tensor.name == name:
            _show_tensor(found, tensor, as_json)
            return
    names = [ev.name for ev in found.embeddings] + [t.name for t in found.variables]
    near = difflib.get_close_matches(name, names, n=3) or [n for n in names if n.startswith(name)][:3]
    near = near or difflib.get_close_matches(name, [t.name for t in found.tensors], n=3)
    advice = f"The nearest are {', '.join(repr(n) for n in near)}. " if near else ""
    raise errors.NotFoundError.of(
        f"Key {name} not found in checkpoint '{found.prefix}'.",
        name=name,
        path=found.prefix,
        hint=f"{advice}`kvarn ls {found.prefix}` lists all {len(names)}.",
    )


def _describe(prefix: str, ranges: bool) -> CheckpointDescription:
    if os.path.isfile(prefix):
        # Files that lie beside a checkpoint stand for it.
        prefix = os.path.dirname(prefix) or "." if os.path.basename(prefix) == "checkpoint" else prefix
        prefix = prefix.removesuffix(".meta")
    try:
        return checkpoint.describe(prefix, ranges=ranges)
    except ValueError as e:
        raise errors.NotFoundError.of(
            str(e),
            path=prefix,
            hint="Give the prefix that save returned, or a folder with a `checkpoint` file.",
        ) from None


def _console() -> Console:
    # Piped output is for other programs: no wrapping at the width of a terminal that is not there.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def _ls_document(found: CheckpointDescription) -> dict[str, Any]:
    return {
        "prefix": found.prefix,
        "format": found.format,
        "files": [{"path": path, "bytes": size} for path, size in found.files],
        "embeddings": [_embedding_document(ev) for ev in found.embeddings],
        "tensors": [asdict(t) for t in found.variables],
    }


def _embedding_document(ev: EmbeddingDescription) -> dict[str, Any]:
    document = asdict(ev)
    del document["tensor_names"]
    return document


def _show_tensor(found: CheckpointDescription, tensor: TensorDescription, as_json: bool) -> None:
    value = np.asarray(checkpoint.load_variable(found.prefix, tensor.name))
    statistics: dict[str, Any] = {}
    if value.size and value.dtype.kind in "fiu":
        wide = value.astype(np.float64)
        finite = wide[np.isfinite(wide)]
        if finite.size:
            statistics = {
                "min": finite.min(),
                "max": finite.max(),
                "mean": finite.mean(),
                "std": finite.std(),
            }
            statistics = {k: float(v) for k, v in statistics.items()}
        if value.dtype.kind == "f":
            statistics["nan"] = int(np.isnan(wide).sum())
            statistics["inf"] = int(np.isinf(wide).sum())
    shown = value.size if value.size <= _ALL else _SHOWN
    head = [_plain(v) for v in value.ravel()[:shown]]
    if as_json:
        finite_head = [None if isinstance(v, float) and not math.isfinite(v) else v for v in head]
        print(json.dumps({**asdict(tensor), "statistics": statistics, "head": finite_head}, indent=2))
        return
    console = _console()
    console.print(f"{escape(tensor.name)}  {tensor.dtype}{_shape(tensor.shape)}  {_bytes(tensor.size_bytes)}")
    if tensor.slices:
        console.print(f"stored in {len(tensor.slices)} slices: {escape('  '.join(tensor.slices[:_SHOWN]))}")
    if statistics:
        console.print("  ".join(f"{k} {v:.6g}" for k, v in statistics.items()))
    more = " …" if value.size > shown else ""
    if not value.size:
        head = ["(no elements)"]
    console.print(escape(" ".join(str(v) for v in head) + more))


def _show_embedding(found: CheckpointDescription, ev: EmbeddingDescription, as_json: bool) -> None:
    stem = next(n for n in ev.tensor_names if n.endswith("-keys")).removesuffix("-keys")
    keys = checkpoint.load_variable(found.prefix, stem + "-keys")[:_SHOWN]
    rows = checkpoint.load_variable(found.prefix, stem + "-values")[:_SHOWN]
    if as_json:
        sample = [{"key": int(k), "value": [float(x) for x in r]} for k, r in zip(keys, rows, strict=True)]
        print(json.dumps({**_embedding_document(ev), "sample": sample}, indent=2))
        return
    console = _console()
    console.print(
        f"{escape(ev.name)}  embedding variable, {ev.key_dtype} -> {ev.value_dtype}[{ev.dim}]", markup=False
    )
    table = Table(show_header=False)
    table.add_row("keys", f"{ev.num_keys:,}")
    if ev.num_filtered:
        table.add_row("filtered keys", f"{ev.num_filtered:,}")
    if ev.partitioned:
        table.add_row("parts", ", ".join(f"{n:,}" for n in ev.keys_per_partition))
    table.add_row("slots", escape(_slots(ev)))
    table.add_row("frequencies", "not recorded" if ev.freqs is None else f"{ev.freqs[0]} to {ev.freqs[1]}")
    table.add_row(
        "versions", "not recorded" if ev.versions is None else f"{ev.versions[0]} to {ev.versions[1]}"
    )
    table.add_row("bytes", _bytes(ev.size_bytes))
    console.print(table)
    table = Table("key", "row", title=f"first rows of {escape(stem)}" if ev.partitioned else None)
    for key, row in zip(keys, rows, strict=True):
        table.add_row(
            str(key), " ".join(f"{x:.5g}" for x in row[:_SHOWN]) + (" …" if len(row) > _SHOWN else "")
        )
    console.print(table)


def _slots(ev: EmbeddingDescription) -> str:
    return ", ".join(f"{slot}[{dim}]" for slot, dim in ev.slots.items()) or "-"


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "fiub" else str(value)


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
