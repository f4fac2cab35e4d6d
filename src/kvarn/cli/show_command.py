"""``kvarn show``: values and statistics of one tensor or embedding variable."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from kvarn import errors
from kvarn.checkpoint.embeddings.rows import EmbeddingRows
from kvarn.checkpoint.embeddings.table import EmbeddingTable
from kvarn.checkpoint.verbs.statistics import Histogram, Statistics, has_statistics, statistics_of
from kvarn.cli.arguments import CheckpointPath, Json
from kvarn.cli.checkpoint_commands import (
    contents,
    opened,
    slots_text,
    table_document,
    tensor_document,
)
from kvarn.cli.output import NO, escaped, line, print_json, print_table, shape_text, size_text
from kvarn.formats import embedding
from kvarn.formats.reader import TensorInfo, TensorReader

# How many elements or rows are shown before it stops; a few more are no reason to stop.
_SHOWN = 8
_ALL = 16
# Elements of a region that is asked for.
_LARGEST_REGION = 1 << 16
_BAR_WIDTH = 40
# The eighths of a cell, for the ends of bars.
_EIGHTHS = " ▏▎▍▌▋▊▉"
Index = tuple[int | slice, ...]


def show(
    path: CheckpointPath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="a tensor, or an embedding variable")],
    region: Annotated[
        str | None,
        typer.Argument(
            metavar="SLICE",
            help="the elements to show, as Python has it: '0:3,:'; after -- if a minus is first",
        ),
    ] = None,
    bins: Annotated[int, typer.Option(min=0, max=1000, help="bars of the histogram; 0 for none")] = 10,
    key: Annotated[
        int | None,
        typer.Option(help="of an embedding variable: this key's row, slots, frequency and version"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show one tensor, or an embedding variable with its keys, slots and ranges as one thing.

    Exit status: 0; with --key 1 if the key is not there; 2 an error.

    Example: kvarn show /models/ranker dnn/kernel '0:3,:' --bins 20
    """
    with opened(path) as reader:
        infos = list(reader.tensors())
        tables, variables = contents(reader, infos)
        for table in tables:
            if table.name == name:
                if region is not None:
                    raise typer.BadParameter("an embedding variable has rows by --key", param_hint="SLICE")
                if key is None:
                    _show_table(table, bins, as_json)
                else:
                    _show_key(table, key, as_json)
                return
        if key is not None:
            raise typer.BadParameter(f"'{name}' is no embedding variable", param_hint="--key")
        for info in infos:
            if info.name == name:
                _show_tensor(reader, info, region, bins, as_json)
                return
    raise _no_such_name(reader.prefix, name, [*(t.name for t in tables), *(i.name for i in variables)], infos)


def _no_such_name(prefix: str, name: str, names: list[str], infos: Sequence[TensorInfo]) -> errors.OpError:
    near = difflib.get_close_matches(name, names, n=3) or [n for n in names if n.startswith(name)][:3]
    near = near or difflib.get_close_matches(name, [info.name for info in infos], n=3)
    advice = f"The nearest are {', '.join(repr(n) for n in near)}. " if near else ""
    return errors.NotFoundError.of(
        f"Key {name} not found in checkpoint '{prefix}'.",
        name=name,
        path=prefix,
        hint=f"{advice}`kvarn ls {prefix}` lists all {len(names)}.",
    )


# Tensors ----------------------------------------------------------------------------------------------


def _show_tensor(
    reader: TensorReader, tensor: TensorInfo, region: str | None, bins: int, as_json: bool
) -> None:
    index = None if region is None else _parse_region(region, tensor)
    statistics = None
    if has_statistics(tensor.dtype.np):
        statistics = statistics_of(lambda: reader.chunks(tensor.name), bins)
    values = _region(reader, tensor, index) if index is not None else _head(reader, tensor)
    if as_json:
        document: dict[str, Any] = tensor_document(tensor)
        document["statistics"] = None if statistics is None else _statistics_document(statistics)
        document["head" if index is None else "values"] = _plain(values)
        print_json(document)
        return
    line(
        f"{escaped(tensor.name)}  {tensor.dtype.name}{shape_text(tensor.shape)}  {size_text(tensor.size_bytes)}"
    )
    if tensor.slices:
        more = " …" if len(tensor.slices) > _SHOWN else ""
        line(f"stored in {len(tensor.slices)} slices: {'  '.join(map(str, tensor.slices[:_SHOWN]))}{more}")
    if statistics is not None:
        _print_statistics(statistics)
    line()
    if index is not None:
        line(_array_text(values))
    elif not math.prod(tensor.shape):
        line("(no elements)")
    else:
        more = " …" if math.prod(tensor.shape) > values.size else ""
        line(" ".join(map(_element_text, values.tolist())) + more)


def _head(reader: TensorReader, tensor: TensorInfo) -> npt.NDArray[Any]:
    """The first elements, flat."""
    count = math.prod(tensor.shape)
    shown = count if count <= _ALL else _SHOWN
    pieces: list[npt.NDArray[Any]] = []
    for chunk in reader.chunks(tensor.name):  # to the end: only then it is known that they are right
        if not pieces or sum(map(len, pieces)) < shown:
            pieces.append(chunk.reshape(-1)[:shown].copy())
    return np.concatenate(pieces)[:shown]


def _region(reader: TensorReader, tensor: TensorInfo, index: Index) -> npt.NDArray[Any]:
    """The elements that an index asks for."""
    if not index or not tensor.shape:
        return np.asarray(reader.lookup(tensor.name)[index])
    first, rest = index[0], index[1:]
    rows = range(tensor.shape[0])[first] if isinstance(first, slice) else [range(tensor.shape[0])[first]]
    empty = np.empty((0, *tensor.shape[1:]), tensor.dtype.np)
    picked: dict[int, npt.NDArray[Any]] = {}
    start = 0
    for chunk in reader.chunks(tensor.name):
        for row in _within(rows, start, start + len(chunk)):
            picked[row] = chunk[(row - start, *rest)].copy()
        start += len(chunk)
    if not isinstance(first, slice):
        return np.asarray(picked[rows[0]])
    return np.stack([picked[row] for row in rows]) if picked else empty[(slice(0), *rest)]


def _within(rows: range | list[int], start: int, stop: int) -> Iterator[int]:
    if isinstance(rows, list):
        yield from (row for row in rows if start <= row < stop)
        return
    ascending = rows if rows.step > 0 else rows[::-1]
    if not ascending:
        return
    first = max(0, -(-(start - ascending.start) // ascending.step))
    for row in ascending[first:]:
        if row >= stop:
            return
        yield row


def _parse_region(text: str, tensor: TensorInfo) -> Index:
    """``0:3,:`` as an index into the tensor.

    Raises:
      InvalidArgumentError: it is none, or asks for what is not there.
    """

    def wrong(why: str) -> errors.OpError:
        return errors.InvalidArgumentError.of(
            f"'{text}' is no region of '{tensor.name}' of shape {shape_text(tensor.shape)}: {why}",
            name=tensor.name,
            hint="Give a number or start:stop:step for each dimension, separated by commas: '0:3,:'.",
        )

    index: list[int | slice] = []
    for item in text.strip().strip("[]").split(",") if text.strip().strip("[]") else []:
        try:
            numbers = [int(n) if n.strip() else None for n in item.split(":")]
        except ValueError:
            raise wrong(f"'{item}' is no number") from None
        if len(numbers) > 3 or (len(numbers) == 1 and numbers[0] is None):
            raise wrong(f"'{item}' is no slice")
        if len(numbers) == 3 and numbers[2] == 0:
            raise wrong("a step cannot be 0")
        index.append(slice(*numbers) if len(numbers) > 1 else (numbers[0] or 0))
    if len(index) > len(tensor.shape):
        raise wrong(f"it has {len(index)} dimensions")
    count = 1
    for at, size in enumerate(tensor.shape):
        item_at = index[at] if at < len(index) else slice(None)
        if isinstance(item_at, slice):
            count *= len(range(size)[item_at])
        elif not -size <= item_at < size:
            raise wrong(f"{item_at} is out of bounds")
    if count > _LARGEST_REGION:
        raise wrong(f"{count:,} elements are more than the {_LARGEST_REGION:,} that are shown at once")
    return tuple(index)


# Embedding variables ----------------------------------------------------------------------------------


def _show_table(table: EmbeddingTable, bins: int, as_json: bool) -> None:
    statistics = {
        label: statistics_of(partial(_column, table, suffix), bins)
        for label, suffix, there in (
            ("values", embedding.VALUES, True),
            ("freqs", embedding.FREQS, table.has_freqs),
            ("versions", embedding.VERSIONS, table.has_versions),
        )
        if there
    }
    keys = _first_keys(table)
    rows = table.lookup(keys, verify=False) if len(keys) else None
    if as_json:
        document: dict[str, Any] = table_document(table)
        document["statistics"] = {label: _statistics_document(own) for label, own in statistics.items()}
        document["sample"] = [_row_document(rows, at, int(key)) for at, key in enumerate(keys)]
        print_json(document)
        return
    types = f"{table.key_dtype.name} -> {table.value_dtype.name}[{table.dim}]"
    line(f"{escaped(table.name)}  embedding variable, {types}")
    _print_facts(table)
    for label, own in statistics.items():
        line()
        line(label)
        _print_statistics(own)
    if rows is not None:
        line()
        line("first rows" + (f" of {escaped(table.stems[0])}" if table.partitioned else ""))
        texts = [(str(key), _row_text(row)) for key, row in zip(keys, rows.values, strict=True)]
        print_table(("key", "row"), texts, right=("key",))


def _print_facts(table: EmbeddingTable) -> None:
    facts = [("keys", f"{table.num_keys:,}")]
    if table.num_filtered:
        facts.append(("filtered keys", f"{table.num_filtered:,}"))
    if table.partitioned:
        facts.append(("parts", ", ".join(f"{n:,}" for n in table.keys_per_partition)))
    facts += [("slots", escaped(slots_text(table))), ("bytes", size_text(table.size_bytes))]
    width = max(len(label) for label, _ in facts)
    for label, text in facts:
        line(f"{label:{width}}  {text}")


def _column(table: EmbeddingTable, suffix: str) -> Iterator[npt.NDArray[Any]]:
    """A column of all parts."""
    for stem in table.stems:
        if table.reader.contains(stem + suffix):
            yield from table.reader.chunks(stem + suffix)


def _first_keys(table: EmbeddingTable) -> npt.NDArray[Any]:
    for keys in _column(table, embedding.KEYS):
        if len(keys):
            return keys[:_SHOWN]
    return np.empty(0, np.int64)


def _show_key(table: EmbeddingTable, key: int, as_json: bool) -> None:
    """One row with its slots; status 1 if the key is not there."""
    row = _row_document(table.lookup([key]), 0, key)
    if row is None:
        row = _filtered_row(table, key)
    if as_json:
        print_json({"name": table.name, "key": key, "found": row is not None, **(row or {})})
    elif row is None:
        line(f"key {key} is not in {escaped(table.name)}")
    else:
        line(
            f"{escaped(table.name)}  key {key}" + (f", part {row['partition']}" if table.partitioned else "")
        )
        if not row["admitted"]:
            line("not admitted yet: it has no row")
        for label, value in (("value", row["value"]), *row["slots"].items()):
            if value is not None:
                line(f"{escaped(label)}  {' '.join(f'{x:.6g}' for x in value)}")
        for label in ("freq", "version"):
            line(f"{label}  {'not recorded' if row[label] is None else row[label]}")
    if row is None:
        raise SystemExit(NO)


def _filtered_row(table: EmbeddingTable, key: int) -> dict[str, Any] | None:
    for chunk in table.filtered_chunks():
        at = np.flatnonzero(chunk.keys == key)
        if len(at):
            return {
                "key": key,
                "admitted": False,
                "partition": chunk.partition,
                "value": None,
                "slots": {},
                "freq": None if chunk.freqs is None else int(chunk.freqs[at[0]]),
                "version": None if chunk.versions is None else int(chunk.versions[at[0]]),
            }
    return None


def _row_document(rows: EmbeddingRows | None, at: int, key: int) -> dict[str, Any] | None:
    """A row in a JSON document; None for a key that is not there."""
    if rows is None or not rows.found[at]:
        return None
    return {
        "key": key,
        "admitted": True,
        "partition": int(rows.partitions[at]),
        "value": _plain(rows.values[at]),
        "slots": {slot: _plain(values[at]) for slot, values in rows.slots.items()},
        "freq": None if rows.freqs is None else int(rows.freqs[at]),
        "version": None if rows.versions is None else int(rows.versions[at]),
    }


def _row_text(row: npt.NDArray[Any]) -> str:
    return " ".join(f"{float(x):.5g}" for x in row[:_SHOWN]) + (" …" if len(row) > _SHOWN else "")


# Numbers ----------------------------------------------------------------------------------------------


def _print_statistics(found: Statistics) -> None:
    facts = [("min", found.minimum), ("max", found.maximum), ("mean", found.mean), ("std", found.std)]
    counts = [("zero", found.num_zero), ("nan", found.num_nan), ("inf", found.num_inf)]
    texts = [f"{label} {_number_text(value)}" for label, value in facts if value is not None]
    texts += [f"{label} {count:,}" for label, count in counts if count]
    line("  ".join(texts))
    if found.histogram is not None and len(found.histogram.counts) > 1:
        line()
        _print_histogram(found.histogram)


def _print_histogram(histogram: Histogram) -> None:
    edges = [_number_text(edge) for edge in histogram.edges]
    width = max(map(len, edges))
    counts = [f"{count:,}" for count in histogram.counts]
    count_width = max(map(len, counts))
    most = max(histogram.counts)
    for at, count in enumerate(histogram.counts):
        eighths = round(count / most * _BAR_WIDTH * 8)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        if count and not bar:
            bar = _EIGHTHS[1]
        line(f"{edges[at]:>{width}} … {edges[at + 1]:>{width}}  {counts[at]:>{count_width}}  {bar}".rstrip())


def _statistics_document(found: Statistics) -> dict[str, Any]:
    document: dict[str, Any] = {
        "count": found.count,
        "nan": found.num_nan,
        "inf": found.num_inf,
        "zero": found.num_zero,
        "min": found.minimum,
        "max": found.maximum,
        "mean": found.mean,
        "std": found.std,
        "histogram": None,
    }
    if found.histogram is not None:
        document["histogram"] = {"edges": found.histogram.edges, "counts": found.histogram.counts}
    return document


def _number_text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _array_text(values: npt.NDArray[Any]) -> str:
    if values.dtype == np.object_:
        return "\n".join(map(_element_text, values.reshape(-1).tolist()))
    return np.array2string(values, max_line_width=100, threshold=_LARGEST_REGION)


def _element_text(value: Any) -> str:
    if isinstance(value, bytes):
        return escaped(value.decode("utf-8", "surrogateescape"))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(values: npt.NDArray[Any]) -> Any:
    """Nested lists of what JSON has."""
    if values.dtype == np.object_:
        texts = [v.decode("utf-8", "backslashreplace") for v in values.reshape(-1).tolist()]
        return np.array(texts, np.object_).reshape(values.shape).tolist()
    if values.dtype.kind == "c":
        return np.stack((values.real, values.imag), axis=-1).tolist()
    if values.dtype.kind == "V":  # bfloat16 and its like
        return values.astype(np.float64).tolist()
    return values.tolist()
