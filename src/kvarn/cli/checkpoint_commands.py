"""``kvarn ls``: what a checkpoint holds, on a terminal or as JSON."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvarn.checkpoint.paths import prefix_of
from kvarn.cli.arguments import CheckpointPath, Json
from kvarn.cli.output import count_text, escaped, line, print_json, print_table, shape_text, size_text
from kvarn.errors import OpError
from kvarn.formats import embedding
from kvarn.formats.detect import V2, open_checkpoint
from kvarn.formats.reader import TensorInfo, TensorReader

if TYPE_CHECKING:
    from kvarn.checkpoint.embeddings.table import EmbeddingTable


def ls(
    path: CheckpointPath,
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="PATTERN", help="only these names: a shell pattern such as 'dnn/*', or re:EXPRESSION"
        ),
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
    with opened(path) as reader:
        infos = list(reader.tensors())
        tables, variables = contents(reader, infos)
        if pattern is not None:
            from kvarn.checkpoint.verbs.patterns import matcher

            wanted = matcher(pattern)
            tables = [table for table in tables if wanted.search(table.name)]
            variables = [info for info in variables if wanted.search(info.name)]
        if sort == "size":
            tables.sort(key=lambda table: -table.size_bytes)
            variables.sort(key=lambda info: -info.size_bytes)
        if as_json:
            print_json(_document(reader, tables, variables))
            return
        _print_files(reader, sum(info.size_bytes for info in infos))
        if tables:
            line()
            _print_tables(tables, long)
        if variables:
            line()
            _print_tensors(variables, long)
        line()
        counts = [count_text(len(variables), "tensor")]
        if tables:
            counts.append(count_text(len(tables), "embedding variable"))
        shown = sum(t.size_bytes for t in tables) + sum(info.size_bytes for info in variables)
        line(f"{' and '.join(counts)}, {size_text(shown)}")


_TIME = "%Y-%m-%d %H:%M:%S"


def _ls_folder(path: str, as_json: bool) -> None:
    from kvarn.checkpoint.folder import list_checkpoints

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


def _print_files(reader: TensorReader, size_bytes: int) -> None:
    files = reader.files()
    count = count_text(len(files) - 1, "data file") if reader.format == V2 else count_text(len(files), "file")
    line(f"{escaped(reader.prefix)}  ({reader.format}, {count}, {size_text(size_bytes)})")
    for path, size in files:
        if size < 0:
            line(f"missing: {escaped(path)}")


def _print_tables(tables: Sequence[EmbeddingTable], long: bool) -> None:
    headers = ["embedding variable", "keys", "dim", "slots", "parts", "bytes"]
    rows = []
    for table in tables:
        keys = f"{table.num_keys:,}" + (f" + {table.num_filtered:,} filtered" if table.num_filtered else "")
        parts = str(table.num_partitions) if table.partitioned else "-"
        size = size_text(table.size_bytes)
        row = [escaped(table.name), keys, str(table.dim), escaped(slots_text(table)), parts, size]
        if long:
            types = f"{table.key_dtype.name} -> {table.value_dtype.name}"
            row += [types, " ".join(map(str, table.keys_per_partition))]
        rows.append(row)
    if long:
        headers += ["types", "keys of the parts"]
    print_table(headers, rows, right=("keys", "dim", "parts", "bytes"))


def _print_tensors(tensors: Sequence[TensorInfo], long: bool) -> None:
    headers = ["tensor", "dtype", "shape", "slices", "bytes"]
    # Most tensors of a large checkpoint have one of a few sizes and shapes.
    sizes: dict[int, str] = {}
    shapes: dict[tuple[int, ...], str] = {}
    rows = []
    for info in tensors:
        size = sizes.get(info.size_bytes) or sizes.setdefault(info.size_bytes, size_text(info.size_bytes))
        shape = shapes.get(info.shape) or shapes.setdefault(info.shape, shape_text(info.shape))
        row = [
            escaped(info.name),
            info.dtype.name,
            shape,
            str(len(info.slices)) if info.slices else "-",
            size,
        ]
        if long:
            row += [" ".join(map(str, info.shards)), "  ".join(map(str, info.slices))]
        rows.append(row)
    if long:
        headers += ["shards", "where the slices are"]
    print_table(headers, rows, right=("slices", "bytes"))


def _document(
    reader: TensorReader, tables: Sequence[EmbeddingTable], variables: Sequence[TensorInfo]
) -> dict[str, Any]:
    return {
        "prefix": reader.prefix,
        "format": reader.format,
        "files": [{"path": path, "bytes": size} for path, size in reader.files()],
        "embeddings": [table_document(table) for table in tables],
        "tensors": [tensor_document(info) for info in variables],
    }


# Shared with `show` -----------------------------------------------------------------------------------


def opened(path: str) -> TensorReader:
    """A reader of the checkpoint that a path means: a prefix, one of its files, a folder.

    Raises:
      NotFoundError: there is none.
    """
    prefix = prefix_of(path)
    if prefix.endswith((".safetensors", ".npz")):
        from kvarn.checkpoint.verbs.transfer import open_source

        return open_source(prefix)
    return open_checkpoint(prefix)


def contents(
    reader: TensorReader, infos: Sequence[TensorInfo]
) -> tuple[list[EmbeddingTable], list[TensorInfo]]:
    """The embedding variables, and the tensors that belong to none of them.

    One whose tensors do not fit one another is not among the first: its tensors are listed one by one.
    """
    if not any(info.name.endswith(embedding.KEYS) for info in infos):
        return [], list(infos)
    from kvarn.checkpoint.embeddings.table import EmbeddingTable, embedding_names, embedding_tables

    try:
        tables = embedding_tables(reader)
    except OpError:
        tables = []
        for name in embedding_names(reader):
            with contextlib.suppress(OpError):
                tables.append(EmbeddingTable(reader, name))
    taken = {name for table in tables for name in table.tensor_names}
    return tables, [info for info in infos if info.name not in taken]


def table_document(table: EmbeddingTable) -> dict[str, Any]:
    """An embedding variable in a JSON document."""
    return {
        "name": table.name,
        "partitioned": table.partitioned,
        "num_partitions": table.num_partitions,
        "key_dtype": table.key_dtype.name,
        "value_dtype": table.value_dtype.name,
        "dim": table.dim,
        "num_keys": table.num_keys,
        "num_filtered": table.num_filtered,
        "keys_per_partition": table.keys_per_partition,
        "slots": table.slots,
        "size_bytes": table.size_bytes,
    }


def tensor_document(info: TensorInfo) -> dict[str, Any]:
    """A tensor in a JSON document."""
    return {
        "name": info.name,
        "dtype": info.dtype.name,
        "shape": info.shape,
        "size_bytes": info.size_bytes,
        "slices": [str(piece) for piece in info.slices],
        "shards": info.shards,
    }


def slots_text(table: EmbeddingTable) -> str:
    """The slots of an embedding variable and their dims: ``Adam[16], Adam_1[16]``."""
    return ", ".join(f"{slot}[{dim}]" for slot, dim in table.slots.items()) or "-"
