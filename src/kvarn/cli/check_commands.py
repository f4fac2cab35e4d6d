"""``kvarn verify`` and ``kvarn diff``: is a checkpoint whole, and are two the same?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from kvarn.checkpoint.embeddings.diff import EmbeddingDifference
from kvarn.checkpoint.findings import Finding
from kvarn.checkpoint.value_diff import ValueDifference
from kvarn.checkpoint.verbs.diff import CheckpointDiff, TensorDifference
from kvarn.checkpoint.verbs.diff import diff as diff_checkpoints
from kvarn.checkpoint.verbs.verify import Verification, state_findings, verify_directory
from kvarn.checkpoint.verbs.verify import verify as verify_checkpoint
from kvarn.cli.arguments import CheckpointPath, Json, Long
from kvarn.cli.output import (
    NO,
    Progress,
    count_text,
    escaped,
    escaped_lines,
    line,
    print_json,
    shape_text,
    size_text,
)
from kvarn.io import file_system_of

# How many names are printed without --long.
_SHOWN = 8


# verify -----------------------------------------------------------------------------------------------


def verify(
    path: CheckpointPath,
    every: Annotated[
        bool, typer.Option("--all", help="every checkpoint that the folder's state file names")
    ] = False,
    long: Long = False,
    as_json: Json = False,
) -> None:
    """Read a whole checkpoint and say what is broken and what is intact.

    Exit status: 0 whole, 1 broken, 2 an error.

    Example: kvarn verify /models/ranker --all
    """
    with Progress("verify", quiet=as_json) as progress:
        found = (
            verify_directory(path, progress=progress)
            if every
            else [verify_checkpoint(path, progress=progress)]
        )
    in_folder = not every and file_system_of(path).is_directory(path)
    notes = state_findings(path) if in_folder else []
    whole = all(checkpoint.whole for checkpoint in found) and not any(note.broken for note in notes)
    if as_json:
        print_json(
            {
                "whole": whole,
                "findings": [asdict(note) for note in notes],
                "checkpoints": [_verification_document(checkpoint) for checkpoint in found],
            }
        )
    else:
        for at, checkpoint in enumerate(found):
            if at:
                line()
            _print_verification(checkpoint, long)
        for note in notes:
            _print_finding(note)
    if not whole:
        raise SystemExit(NO)


def _verification_document(found: Verification) -> dict[str, Any]:
    return {"prefix": found.prefix, "format": found.format, "whole": found.whole, **asdict(found)}


def _print_verification(found: Verification, long: bool) -> None:
    kind = f" ({found.format})" if found.format else ""
    counts = [count_text(len(found.intact), "tensor")]
    if found.intact_embeddings:
        counts.append(count_text(len(found.intact_embeddings), "embedding variable"))
    if found.whole:
        line(f"{escaped(found.prefix)}{kind} is whole: {' and '.join(counts)}, {size_text(found.size_bytes)}")
    else:
        line(f"{escaped(found.prefix)}{kind} is BROKEN")
    for finding in found.findings:
        _print_finding(finding)
    _print_names("broken tensors", found.broken, long)
    _print_names("broken embedding variables", found.broken_embeddings, long)
    if not found.whole or long:
        _print_names("intact tensors", found.intact, long)
        _print_names("intact embedding variables", found.intact_embeddings, long)


def _print_finding(finding: Finding) -> None:
    label = finding.kind if finding.broken else f"note, {finding.kind}"
    text = escaped_lines(finding.text).replace("\n", "\n    ")
    line(f"  {label}: {text}")
    where = escaped(finding.file) if finding.file else ""
    if where and where not in text:
        line(f"    in '{where}'" + ("" if finding.offset is None else f" at byte {finding.offset}"))


def _print_names(label: str, names: Sequence[str], long: bool) -> None:
    if not names:
        return
    if long:
        line(f"{label} ({len(names):,}):")
        for name in names:
            line(f"  {escaped(name)}")
        return
    more = ", …" if len(names) > _SHOWN else ""
    line(f"{label} ({len(names):,}): {', '.join(map(escaped, names[:_SHOWN]))}{more}")


# diff -------------------------------------------------------------------------------------------------


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="a checkpoint's prefix, or a folder")],
    b: Annotated[str, typer.Argument(metavar="B", help="another one")],
    tolerance: Annotated[
        float, typer.Option("--tolerance", "-t", min=0, help="both --rtol and --atol, where not given")
    ] = 0.0,
    rtol: Annotated[
        float | None, typer.Option(min=0, help="allowed difference in proportion to the number in B")
    ] = None,
    atol: Annotated[float | None, typer.Option(min=0, help="allowed difference")] = None,
    long: Long = False,
    as_json: Json = False,
) -> None:
    """Compare two checkpoints, bit by bit unless a tolerance is given.

    Slices, partitions, data files and formats do not matter; embedding variables are compared by key.

    Exit status: 0 the same, 1 they differ, 2 an error.

    Example: kvarn diff /models/ranker/model.ckpt-10 /models/ranker/model.ckpt-20 --tolerance 1e-6
    """
    with Progress("diff", quiet=as_json) as progress:
        found = diff_checkpoints(
            a,
            b,
            rtol=tolerance if rtol is None else rtol,
            atol=tolerance if atol is None else atol,
            progress=progress,
        )
    if as_json:
        print_json(_diff_document(found))
    else:
        _print_diff(found, long)
    if not found.same:
        raise SystemExit(NO)


def _diff_document(found: CheckpointDiff) -> dict[str, Any]:
    return {
        "a": found.a,
        "b": found.b,
        "same": found.same,
        "only_in_a": found.only_in_a,
        "only_in_b": found.only_in_b,
        "num_same": found.num_same,
        "tensors": [
            {**asdict(tensor), "values": None if tensor.values is None else _values_document(tensor.values)}
            for tensor in found.tensors
        ],
        "embeddings": [
            {**asdict(ev), "columns": {label: _values_document(v) for label, v in ev.columns.items()}}
            for ev in found.embeddings
        ],
    }


def _values_document(values: ValueDifference) -> dict[str, Any]:
    return {**asdict(values), "a": _element(values.a), "b": _element(values.b)}


def _element(value: Any) -> Any:
    """An element in a JSON document: complex numbers as pairs, bytes as text."""
    if isinstance(value, complex):
        return [value.real, value.imag]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _print_diff(found: CheckpointDiff, long: bool) -> None:
    line(f"a: {escaped(found.a)}")
    line(f"b: {escaped(found.b)}")
    _print_names("only in a", found.only_in_a, long)
    _print_names("only in b", found.only_in_b, long)
    shown = len(found.tensors) if long else 4 * _SHOWN
    for tensor in found.tensors[:shown]:
        line(f"{escaped(tensor.name)}: {_tensor_text(tensor)}")
    if len(found.tensors) > shown:
        line(f"… and {count_text(len(found.tensors) - shown, 'more tensor')} that differ; --long shows all")
    for ev in found.embeddings:
        _print_embedding(ev)
    line(f"the same: {found.num_same:,}" if not found.same else f"the same, all {found.num_same:,}")


def _tensor_text(tensor: TensorDifference) -> str:
    if tensor.values is not None:
        return _values_text(tensor.values)
    a, b = (f"{kind}{shape_text(shape)}" for kind, shape in zip(tensor.dtypes, tensor.shapes, strict=True))
    return f"{a} in a, {b} in b"


def _values_text(values: ValueDifference) -> str:
    text = f"{values.num_different:,} of {values.count:,} differ"
    if values.max_abs is not None:
        text += f", by at most {_number(values.max_abs)}"
        if values.max_rel is not None:
            text += f" (relative {values.max_rel:.3g})"
    at = f" at {shape_text(values.at)}" if values.at else ""
    return f"{text}{at}: {_element_text(values.a)} in a, {_element_text(values.b)} in b"


def _print_embedding(ev: EmbeddingDifference) -> None:
    counts = (
        f"{count_text(ev.num_added, 'key')} added, {ev.num_removed:,} removed, {ev.num_changed:,} changed, "
        f"{ev.num_same:,} the same"
    )
    line(f"{escaped(ev.name)}: {counts}")
    for text in ev.layout:
        line(f"  {escaped(text)}")
    named = (("added", ev.added, ev.num_added), ("removed", ev.removed, ev.num_removed))
    for label, keys, count in (*named, ("changed", ev.changed, ev.num_changed)):
        if keys:
            line(f"  {label}: {', '.join(map(str, keys))}{', …' if count > len(keys) else ''}")
    for label, values in ev.columns.items():
        where = f"key {values.at[0]}" + (f", column {values.at[1]}" if len(values.at) > 1 else "")
        line(f"  {escaped(label)}: {_values_text(_without_place(values))} (at {where})")


def _without_place(values: ValueDifference) -> ValueDifference:
    return ValueDifference(
        values.count, values.num_different, values.max_abs, values.max_rel, (), values.a, values.b
    )


def _element_text(value: Any) -> str:
    if isinstance(value, bytes):
        text = escaped(value.decode("utf-8", "surrogateescape"))
        return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"
