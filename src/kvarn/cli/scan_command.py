"""``kvarn scan``: what of TensorFlow a program or a graph uses, and whether kvarn has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from kvarn.cli.arguments import Json
from kvarn.cli.output import DONE, NO, count_text, escaped, line, print_json, print_table
from kvarn.compat.tensorflow.scan_graph import UsedOp, scan_graph
from kvarn.compat.tensorflow.scan_program import UsedName, scan_program

# Lines of a program that are told for a name.
_PLACES_SHOWN = 4


def scan(
    path: Annotated[
        str,
        typer.Argument(
            metavar="SCRIPT|META|PB", help="a program (.py), or a graph: .meta, .pb, .pbtxt, a SavedModel"
        ),
    ],
    everything: Annotated[bool, typer.Option("--all", "-a", help="also what is covered")] = False,
    as_json: Json = False,
) -> None:
    """Tell before a run which names and ops kvarn has, and which it has not.

    A program is read, not run, and so are the modules beside it that it imports; of a graph also the functions.
    Status 1 if something is not covered that is used without a way out.

    Example: kvarn scan train.py
    """
    if path.endswith(".py"):
        names = scan_program(path)
        covered = all(name.covered or name.guarded for name in names)
        if as_json:
            document = {"path": path, "kind": "program", "covered": covered}
            print_json({**document, "names": [_document(name) for name in names]})
        else:
            _print_names(path, names, everything)
    else:
        ops = scan_graph(path)
        covered = all(op.covered for op in ops)
        if as_json:
            print_json({"path": path, "kind": "graph", "covered": covered, "ops": [asdict(op) for op in ops]})
        else:
            _print_ops(path, ops, everything)
    raise typer.Exit(DONE if covered else NO)


def _document(name: UsedName) -> dict[str, object]:
    places = [{"file": file, "line": number} for file, number in name.places]
    return {**asdict(name), "places": places}


def _print_names(path: str, names: Sequence[UsedName], everything: bool) -> None:
    lacking = [name for name in names if not name.covered]
    counted = count_text(len(names), "name")
    line(f"{escaped(path)}: {counted} of TensorFlow, {len(names) - len(lacking)} covered, {len(lacking)} not")
    shown = names if everything else lacking
    if shown:
        line()
        rows = [(_answer(name), name.name, _places(name), name.why or "-") for name in shown]
        print_table(("covered", "name", "where", "why not"), rows)


def _answer(name: UsedName) -> str:
    if name.covered:
        return "yes"
    return "guarded" if name.guarded else "no"


def _places(name: UsedName) -> str:
    """``train.py:3,9 model.py:1``; of many the first."""
    by_file: dict[str, list[int]] = {}
    for file, number in name.places[:_PLACES_SHOWN]:
        by_file.setdefault(file, []).append(number)
    text = " ".join(f"{escaped(file)}:{','.join(map(str, lines))}" for file, lines in by_file.items())
    more = len(name.places) - _PLACES_SHOWN
    return f"{text} and {more} more" if more > 0 else text


def _print_ops(path: str, ops: Sequence[UsedOp], everything: bool) -> None:
    lacking = [op for op in ops if not op.covered]
    nodes = count_text(sum(op.nodes for op in ops), "node")
    kinds = count_text(len(ops), "op")
    line(f"{escaped(path)}: {nodes} of {kinds}, {len(ops) - len(lacking)} covered, {len(lacking)} not")
    shown = ops if everything else lacking
    if shown:
        line()
        rows = [
            ("yes" if op.covered else "no", escaped(op.op), str(op.nodes), escaped(op.first), op.why or "-")
            for op in shown
        ]
        print_table(("covered", "op", "nodes", "first", "why not"), rows, right=("nodes",))
