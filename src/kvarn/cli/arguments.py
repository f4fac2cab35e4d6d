"""Arguments and options that several commands have, each with one meaning and one help text."""

from __future__ import annotations

from typing import Annotated

import typer

CheckpointPath = Annotated[
    str, typer.Argument(metavar="PATH", help="a checkpoint: its prefix, one of its files, or its folder")
]
Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="a checkpoint: its prefix, one of its files, or its folder")
]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="prefix of the new checkpoint")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an existing target")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="only say what would be done")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]
Long = Annotated[bool, typer.Option("--long", "-l", help="all names, not the first few")]


def pairs(given: list[str] | None, option: str) -> list[tuple[str, str]]:
    """``OLD=NEW``, cut at the last ``=``: expressions may have some."""
    pairs = []
    for text in given or ():
        old, equals, new = text.rpartition("=")
        if not equals or not old:
            raise typer.BadParameter(f"'{text}' has no = with something before it", param_hint=option)
        pairs.append((old, new))
    return pairs
