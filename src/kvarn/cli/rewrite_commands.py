"""``kvarn rewrite``, ``average``, ``merge`` and ``convert``: new checkpoints made of old ones."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from kvarn.cli.arguments import DryRun, Json, Overwrite, Source, Target, pairs
from kvarn.cli.output import (
    Progress,
    count_text,
    escaped,
    line,
    print_json,
    print_table,
    size_text,
)

_PATTERN = "a name, a shell pattern such as 'dnn/*', or re:EXPRESSION; may be given again"


def rewrite(
    source: Source,
    target: Target,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="rename; re:EXPRESSION=NEW replaces what is found; the first that fits decides",
        ),
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help=f"keep only {_PATTERN}")] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help=f"leave out {_PATTERN}")] = None,
    cast: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN=TYPE", help="convert floats to another float type, integers likewise"),
    ] = None,
    slim: Annotated[bool, typer.Option("--slim", help="leave out the slots of optimizers")] = False,
    unslice: Annotated[bool, typer.Option("--unslice", help="make tensors kept in slices whole")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="a rule that means nothing is an error")] = False,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a checkpoint with other names, fewer tensors or other element types.

    Embedding variables are one thing under their name, with all parts and slots.  The .meta goes along only
    if nothing changes.

    Example: kvarn rewrite /m/model.ckpt-9 /serving/model --slim --rename 're:^tower_0/=' --cast 'dnn/*=bfloat16'
    """
    from kvarn.checkpoint.verbs.rewrite import rewrite as rewrite_checkpoint

    # Its notes are in the report, and printed below.
    logging.getLogger("kvarn.checkpoint.verbs.rewrite").addHandler(logging.NullHandler())
    with Progress("rewrite", quiet=as_json) as progress:
        report = rewrite_checkpoint(
            source,
            target,
            rename=pairs(rename, "--rename"),
            keep=keep or (),
            drop=drop or (),
            cast=dict(pairs(cast, "--cast")),
            slim=slim,
            unslice=unslice,
            strict=strict,
            dry_run=dry_run,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json(asdict(report))
        return
    for note in report.notes:
        print(f"note: {escaped(note)}", file=sys.stderr)
    rows = [
        (escaped(c.name), escaped(c.new_name) if c.kept else f"- ({c.why})", _types(c.dtype, c.new_dtype))
        for c in report.changes
        if not c.kept or c.name != c.new_name or c.dtype != c.new_dtype
    ]
    if rows:
        print_table(("before", "after", "type"), rows)
        line()
    kept = len(report.changes) - len(report.removed)
    freed = sum(change.size_bytes for change in report.removed)
    text = f"{_target(report.target, dry_run)}: {kept:,} kept, {len(report.removed):,} left out ({size_text(freed)})"
    line(text + (", .meta copied" if report.meta_copied else ""))


def average(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE... TARGET", help="checkpoints, the newest last; then the new prefix"),
    ],
    last: Annotated[
        int, typer.Option(min=0, help="the source is a folder: average so many of its newest checkpoints")
    ] = 0,
    weight: Annotated[
        list[float] | None, typer.Option(help="of the sources in turn; equal ones by default")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help=f"average only {_PATTERN}")
    ] = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the mean of several checkpoints.

    Floats are averaged, embedding variables by key; integers, strings and the like are those of the last.

    Example: kvarn average /m /m/averaged --last 5
    """
    from kvarn.checkpoint.verbs.average import average as average_checkpoints
    from kvarn.checkpoint.verbs.average import newest_checkpoints

    sources, target = _sources_and_target(paths)
    if last and len(sources) != 1:
        raise typer.BadParameter("takes one folder, and a target", param_hint="--last")
    chosen: Sequence[str] = newest_checkpoints(sources[0], last) if last else sources
    with Progress("average", quiet=as_json) as progress:
        report = average_checkpoints(
            chosen,
            target,
            weights=weight or None,
            names=only or None,
            dry_run=dry_run,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json(asdict(report))
        return
    line(
        f"{_target(report.target, dry_run)}: the mean of {count_text(len(chosen), 'checkpoint')}, "
        f"{len(report.averaged):,} averaged, {len(report.from_last):,} of the last"
    )


def merge(
    paths: Annotated[
        list[str], typer.Argument(metavar="SOURCE... TARGET", help="checkpoints; then the new prefix")
    ],
    on_conflict: Annotated[
        str, typer.Option(help="what is in several and differs: 'error', or take it from 'first' or 'last'")
    ] = "error",
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write one checkpoint with everything that several have; embedding variables are united by key.

    Example: kvarn merge /m/dense /m/sparse /m/all --on-conflict last
    """
    from kvarn.checkpoint.verbs.merge import merge as merge_checkpoints

    sources, target = _sources_and_target(paths)
    with Progress("merge", quiet=as_json) as progress:
        report = merge_checkpoints(
            sources,
            target,
            on_conflict=on_conflict,
            dry_run=dry_run,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json(asdict(report))
        return
    for name in report.conflicts:
        line(f"conflict: {escaped(name)}, of the {on_conflict}")
    what = count_text(len(report.taken), "tensor or embedding variable", "tensors and embedding variables")
    line(f"{_target(report.target, dry_run)}: {what} of {count_text(len(sources), 'checkpoint')}")


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="a checkpoint, or a .safetensors, .npz, .parquet or .arrow file"
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="a file, whose suffix says the format, or the prefix of a checkpoint"
        ),
    ],
    to: Annotated[
        str | None, typer.Option(help="the format: V1, V2, safetensors, npz, parquet or arrow")
    ] = None,
    skip_unsupported: Annotated[
        bool, typer.Option("--skip-unsupported", help="leave out what the format cannot hold")
    ] = False,
    embedding: Annotated[
        str | None, typer.Option(metavar="NAME", help="of or for a table: the embedding variable")
    ] = None,
    partitions: Annotated[
        int, typer.Option(help="from a table: parts to write; 0 for an unpartitioned variable")
    ] = 0,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a checkpoint in another format, or an embedding variable as a table, and back.

    Example: kvarn convert /m/model.ckpt-9 model.safetensors
    """
    from kvarn.checkpoint.verbs.convert import convert as convert_checkpoint

    with Progress("convert", quiet=as_json) as progress:
        report = convert_checkpoint(
            source,
            target,
            to=to,
            skip_unsupported=skip_unsupported,
            embedding=embedding,
            partitions=partitions,
            dry_run=dry_run,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json(asdict(report))
        return
    for name, why in report.skipped.items():
        print(f"left out: {escaped(name)}: {why}", file=sys.stderr)
    what = count_text(len(report.converted), "tensor") if report.rows < 0 else count_text(report.rows, "row")
    line(f"{_target(report.target, dry_run)}: {what}, {report.source_format} to {report.target_format}")


def _sources_and_target(paths: list[str]) -> tuple[list[str], str]:
    if len(paths) < 2:
        raise typer.BadParameter("give one source at least, and a target", param_hint="SOURCE... TARGET")
    return paths[:-1], paths[-1]


def _types(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def _target(path: str, dry_run: bool) -> str:
    return f"{escaped(path)} (not written)" if dry_run else escaped(path)
