"""``kvarn chain``: full saves and the increments on them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from kvarn.checkpoint.chain import Chain, Link
from kvarn.checkpoint.replay import Replay
from kvarn.cli.arguments import Json, Overwrite, Target
from kvarn.cli.output import (
    NO,
    Progress,
    count_text,
    escaped,
    escaped_lines,
    line,
    print_json,
    print_table,
)

ChainPath = Annotated[
    str,
    typer.Argument(metavar="PATH", help="the folder of the full saves, or the prefix of a save of the chain"),
]
Partitions = Annotated[
    int | None,
    typer.Option(
        "--partitions",
        "-p",
        help="parts of all embedding variables; 0: not partitioned [default: as in the last save]",
    ),
]

chain = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Full saves and the increments on them: what is there, is it whole, any step as a checkpoint.",
)


@chain.command("ls")
def ls(path: ChainPath, as_json: Json = False) -> None:
    """List the saves of a chain: numbers, steps, rows and deletions.

    Example: kvarn chain ls /models/ranker
    """
    found = Chain.open(path)
    if as_json:
        print_json(
            {
                "chain": found.id,
                "links": [_document(link) for link in found.links],
                "foreign": [_document(link) for link in found.foreign],
                "unread": found.unread,
            }
        )
        return
    line(f"chain {found.id}")
    rows = [_row(link) for link in found.links]
    headers = ("number", "kind", "steps", "on", "rows", "deletions", "prefix")
    print_table(headers, rows, right=("number", "on", "rows", "deletions"))
    for link in found.foreign:
        line(f"of another chain, {link.manifest.chain[:8]}: number {link} in {escaped(link.prefix)}")
    for text in found.unread.values():
        line(escaped_lines(text))


@chain.command("verify")
def verify(path: ChainPath, as_json: Json = False) -> None:
    """Read every save of a chain and say what is missing, damaged or does not belong to it.

    Exit status: 0 whole, 1 something is broken, 2 an error.

    Example: kvarn chain verify /models/ranker
    """
    found = Chain.open(path)
    with Progress("verify", quiet=as_json) as progress:
        report = found.verify(progress=progress)
    if as_json:
        print_json({"whole": report.whole, **asdict(report)})
    else:
        saves = count_text(len(found.links), "save")
        state = "is whole" if report.whole else "is BROKEN"
        line(f"chain {report.chain} {state}: {saves}, {len(report.restorable)} restorable")
        for finding in report.findings:
            label = finding.kind if finding.broken else f"note, {finding.kind}"
            text = escaped_lines(finding.text).replace("\n", "\n    ")
            line(f"  {label}: {text}")
        if not report.whole and report.restorable:
            line("restorable numbers: " + ", ".join(map(str, report.restorable)))
    if not report.whole:
        raise SystemExit(NO)


@chain.command("compact")
def compact(
    path: ChainPath,
    target: Target,
    partitions: Partitions = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the newest state of a chain as one full checkpoint.

    Example: kvarn chain compact /models/ranker /models/served/model.ckpt
    """
    _write(path, None, target, partitions, overwrite, as_json)


@chain.command("at")
def at(
    step: Annotated[int, typer.Argument(metavar="STEP", help="the last step of one of the saves")],
    path: ChainPath,
    target: Target,
    partitions: Partitions = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the state after a step as one full checkpoint.

    Example: kvarn chain at 500 /models/ranker /tmp/model.ckpt-500
    """
    _write(path, step, target, partitions, overwrite, as_json)


def _write(
    path: str, step: int | None, target: str, partitions: int | None, overwrite: bool, as_json: bool
) -> None:
    with Progress("replay", quiet=as_json) as progress:
        done = Chain.open(path).at(
            step, target, partitions=partitions, overwrite=overwrite, progress=progress
        )
    if as_json:
        print_json(asdict(done))
    else:
        _print(done)


def _print(done: Replay) -> None:
    step = "" if done.step is None else f" at step {done.step}"
    numbers = ", ".join(map(str, done.numbers))
    line(f"{escaped(done.target)}{step}  (made of {numbers}; {count_text(done.num_tensors, 'tensor')})")
    if done.embeddings:
        rows = [(escaped(name), f"{keys:,}") for name, keys in done.embeddings.items()]
        print_table(("embedding variable", "keys"), rows, right=("keys",))


def _row(link: Link) -> tuple[str, ...]:
    first, last = (("?" if step is None else str(step)) for step in link.manifest.steps)
    parent = link.manifest.parent
    # Slots have the keys of their variables again, and no counters.
    variables = link.manifest.variables.values()
    primaries = [counts for counts in variables if counts.counters] or variables
    return (
        str(link.number),
        link.kind,
        last if link.manifest.steps[0] is None else f"{first}..{last}",
        str(parent.number) if parent is not None and link.kind != "full" else "-",
        f"{sum(counts.upserts for counts in primaries):,}",
        f"{sum(counts.deletions for counts in primaries):,}",
        escaped(link.prefix),
    )


def _document(link: Link) -> dict[str, Any]:
    return {"prefix": link.prefix, "digest": link.digest, **asdict(link.manifest)}
