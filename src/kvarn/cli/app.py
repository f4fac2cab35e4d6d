"""The commands and what they share: errors become one line on stderr and status 1."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from kvarn import errors
from kvarn.cli import checkpoint_commands

app = typer.Typer(
    name="kvarn",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    help="TensorFlow-1 and DeepRec programs and checkpoints without TensorFlow.",
)
app.command("ls")(checkpoint_commands.ls)
app.command("show")(checkpoint_commands.show)


@app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_command(context: typer.Context) -> None:
    """Run a TensorFlow program: kvarn run SCRIPT [ARGS]…"""
    from kvarn.compat.tensorflow.run import run_script

    run_script(context.args)


@app.callback(invoke_without_command=True)
def _options(
    shown: Annotated[
        bool, typer.Option("--version", "-V", help="Print kvarn's version.", is_eager=True)
    ] = False,
) -> None:
    if shown:
        version()
        raise typer.Exit


@app.command("version")
def version() -> None:
    """Print kvarn's version."""
    from kvarn import __version__

    print(__version__)


def run(arguments: list[str]) -> None:
    """Runs one command; SystemExit with its status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal cannot show is shown escaped.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(args=arguments, prog_name="kvarn")
    except errors.OpError as e:
        print(f"{type(e).__name__}: {e.message}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as e:
        if not isinstance(e, BrokenPipeError):
            print(f"kvarn: {e}", file=sys.stderr)
            raise SystemExit(1) from None
        # The reader of our output has gone: `kvarn ls … | head`.
        sys.stderr.close()
        raise SystemExit(0) from None
