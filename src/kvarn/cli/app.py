"""The commands and what they share: errors become one line on stderr and status 1."""

from __future__ import annotations

import sys

import typer

from kvarn import errors
from kvarn.cli import checkpoint_commands

app = typer.Typer(
    name="kvarn",
    no_args_is_help=True,
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


@app.command("version")
def version() -> None:
    """Print kvarn's version."""
    from kvarn import __version__

    print(__version__)


def run(arguments: list[str]) -> None:
    """Runs one command; SystemExit with its status."""
    try:
        app(args=arguments, prog_name="kvarn")
    except errors.OpError as e:
        print(f"{type(e).__name__}: {e.message}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:
        # The reader of our output has gone: `kvarn ls … | head`.
        sys.stderr.close()
        raise SystemExit(0) from None
