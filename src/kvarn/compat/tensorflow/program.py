"""The graph and the Saver of a program, found by running it up to the first thing that it would run or restore."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from kvarn.compat.tensorflow.run import run_script
from kvarn.graph.graph import Graph, get_default_graph
from kvarn.graph.session import BaseSession
from kvarn.saver.saver import Saver


class _GraphIsBuilt(BaseException):
    """Ends the program; no `except Exception` of it comes between."""


def build_program(script: str, arguments: Sequence[str] = ()) -> tuple[Graph, list[Saver]]:
    """Runs a program until it first runs a session or restores, or to its end.

    Args:
      script: path of the program.
      arguments: its own.

    Returns:
      The graph of that session, or of its last Saver, or the default graph; and the Savers of the graph, or the
      one that would have restored.

    Raises:
      SystemExit: there is no such file, or the program ended itself before it had built anything.
      Whatever else the program raises before.
    """
    reached: list[tuple[Graph, Saver | None]] = []
    made: list[tuple[Graph, Saver]] = []
    with _stopping(reached, made), contextlib.suppress(_GraphIsBuilt):
        try:
            run_script([script, *arguments])
        except SystemExit:
            if not reached and not made:
                raise
    # A program that goes on after the first time does not change what was found.
    graph, restoring = reached[0] if reached else (made[-1][0] if made else get_default_graph(), None)
    return graph, [restoring] if restoring is not None else [saver for g, saver in made if g is graph]


@contextlib.contextmanager
def _stopping(reached: list[tuple[Graph, Saver | None]], made: list[tuple[Graph, Saver]]) -> Iterator[None]:
    """Inside, sessions and Savers end the program instead of working; Savers that are built are remembered."""

    def run(session: BaseSession, *arguments: Any, **options: Any) -> None:
        reached.append((session.graph, None))
        raise _GraphIsBuilt

    def restore(saver: Saver, sess: Any, *arguments: Any, **options: Any) -> None:
        reached.append((sess.graph, saver))
        raise _GraphIsBuilt

    build = Saver.build

    def remembering(saver: Saver) -> None:
        build(saver)
        if not any(saver is other for _, other in made):
            made.append((get_default_graph(), saver))

    replaced: list[tuple[Any, str, Any]] = [
        (BaseSession, "run", run),
        (BaseSession, "make_callable", run),
        (Saver, "restore", restore),
        (Saver, "build", remembering),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, replacement in replaced:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, replacement)
        yield
