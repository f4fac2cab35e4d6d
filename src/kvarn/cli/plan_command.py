"""``kvarn plan``: what a restore would do with each variable and each stored tensor."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kvarn.cli.arguments import Json, pairs
from kvarn.cli.output import DONE, NO, count_text, escaped, escaped_lines, line

if TYPE_CHECKING:
    from kvarn.graph.graph import Graph
    from kvarn.saver.saver import Saver


def plan(
    program: Annotated[
        str,
        typer.Argument(
            metavar="SCRIPT_OR_META", help="a program (.py), run up to its first session, or a .meta file"
        ),
    ],
    prefix: Annotated[
        str,
        typer.Argument(metavar="PREFIX", help="a checkpoint: its prefix, one of its files, or its folder"),
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="the program's own arguments, after --")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="what is stored as OLD counts as NEW; re:EXPRESSION=NEW replaces what is found; the first that fits "
            "decides, slots go with their variable",
        ),
    ] = None,
    slots: Annotated[
        str, typer.Option(metavar="keep|reset", help="the state of optimizers: kept, or started anew")
    ] = "keep",
    missing: Annotated[
        str, typer.Option(metavar="refuse|reset|leave", help="variables of which nothing is stored")
    ] = "refuse",
    changes: Annotated[
        bool, typer.Option("--changes", "-c", help="only rows that are not just matched")
    ] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="write the plan to be edited and run")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a restore would do, variable by variable, before anything is read.

    Status 1 if a row says refuse: somebody has to choose. Run a plan with saver.restore(sess, PREFIX, plan=FILE).

    Example: kvarn plan train.py /m/model.ckpt-9 --rename 're:^tower_0/=' --slots reset -o plan.json
    """
    if as_json and changes:
        raise typer.BadParameter("a plan in JSON has all rows", param_hint="--changes")
    savers, graph = _savers_of(program, arguments or [])
    rules = pairs(rename, "--rename")
    plans = [saver.plan(prefix, rename=rules, slots=slots, missing=missing, graph=graph) for saver in savers]
    found = max(plans, key=lambda one: len(one.variables))
    if len(plans) > 1:
        most = count_text(len(found.variables), "variable")
        _note(f"'{program}' makes {len(plans)} Savers: planned for the one of {most}")
    if output is not None:
        found.save(output)
    if as_json:
        sys.stdout.write(found.to_json())
    else:
        line(escaped_lines(found.text(matched=not changes)))
    raise typer.Exit(NO if found.undecided else DONE)


def _savers_of(path: str, arguments: list[str]) -> tuple[list[Saver], Graph]:
    """The Savers of a program or of a graph in a file, one at least, and their graph."""
    if path.endswith(".py"):
        return _savers_of_script(path, arguments)
    if arguments:
        raise typer.BadParameter("only a program has arguments", param_hint="ARGS")
    from kvarn.graph.graph import Graph
    from kvarn.saver.meta_graph import import_meta_graph

    if not os.path.exists(path) and os.path.exists(path + ".meta"):
        path += ".meta"
    with Graph().as_default() as graph:
        saver = import_meta_graph(path)
    if saver is None:
        raise OSError(f"'{path}' has no variables: there is nothing to restore")
    return [saver], graph


def _savers_of_script(script: str, arguments: list[str]) -> tuple[list[Saver], Graph]:
    from kvarn.compat.tensorflow.program import build_program
    from kvarn.saver.saver import Saver

    with contextlib.redirect_stdout(sys.stderr):
        graph, savers = build_program(script, arguments)
    if savers:
        return savers, graph
    _note(f"'{script}' makes no Saver: planned for one of all variables")
    graph._unsafe_unfinalize()
    with graph.as_default():
        return [Saver(allow_empty=True)], graph


def _note(text: str) -> None:
    print(f"note: {escaped(text)}", file=sys.stderr)
