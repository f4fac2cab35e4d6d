"""The commands by name, and how one is run: errors become a message on stderr and status 2.

Only the module of the command that is asked for is loaded; help loads all.
"""

from __future__ import annotations

import io
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer

from kvarn import errors
from kvarn.cli import output

# Name of a command, and the function that is it.  In the order of `kvarn --help`.
COMMANDS = (
    ("ls", "kvarn.cli.checkpoint_commands:ls"),
    ("show", "kvarn.cli.show_command:show"),
    ("verify", "kvarn.cli.check_commands:verify"),
    ("diff", "kvarn.cli.check_commands:diff"),
    ("rewrite", "kvarn.cli.rewrite_commands:rewrite"),
    ("average", "kvarn.cli.rewrite_commands:average"),
    ("merge", "kvarn.cli.rewrite_commands:merge"),
    ("convert", "kvarn.cli.rewrite_commands:convert"),
    ("reshard", "kvarn.cli.reshard_commands:reshard"),
    ("repair", "kvarn.cli.reshard_commands:repair"),
    ("scan", "kvarn.cli.scan_command:scan"),
    ("plan", "kvarn.cli.plan_command:plan"),
    ("freeze", "kvarn.cli.freeze_command:freeze"),
    ("chain", "kvarn.cli.chain_commands:chain"),
)


def run(arguments: list[str]) -> None:
    """Runs one command.

    Raises:
      SystemExit: with its status; see `kvarn.cli.output`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal cannot show is shown escaped.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            _application(arguments)(args=arguments, prog_name="kvarn")
        finally:
            output.flush()
    except errors.OpError as e:
        print(f"{type(e).__name__}: {output.escaped_lines(e.message)}", file=sys.stderr)
        raise SystemExit(output.FAILED) from None
    except OSError as e:
        print(f"kvarn: {output.escaped_lines(str(e))}", file=sys.stderr)
        raise SystemExit(output.FAILED) from None
    except KeyboardInterrupt:
        raise SystemExit(output.INTERRUPTED) from None
    except Exception:  # a fault of kvarn's own: Python would end with 1, which means "no"
        traceback.print_exc()
        raise SystemExit(output.FAILED) from None


def _application(arguments: list[str]) -> typer.Typer:
    app = typer.Typer(
        name="kvarn",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=False,
        pretty_exceptions_enable=False,
        help="TensorFlow-1 and DeepRec programs and checkpoints without TensorFlow.",
    )
    app.callback(invoke_without_command=True)(_options)
    wanted = [entry for entry in COMMANDS if arguments[:1] == [entry[0]]]
    for name, place in wanted or COMMANDS:
        function = _function(place)
        if isinstance(function, typer.Typer):
            app.add_typer(function, name=name)
        else:
            app.command(name)(function)
    if not wanted:
        settings = {"allow_extra_args": True, "ignore_unknown_options": True}
        app.command("run", context_settings=settings)(_run)
        app.command("version")(_version)
    return app


def _function(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _options(
    shown: Annotated[
        bool, typer.Option("--version", "-V", help="Print kvarn's version.", is_eager=True)
    ] = False,
) -> None:
    if shown:
        _version()
        raise typer.Exit


def _run(context: typer.Context) -> None:
    """Run a TensorFlow program: kvarn run SCRIPT [ARGS]…"""
    from kvarn.compat.tensorflow.run import run_script

    run_script(context.args)


def _version() -> None:
    """Print kvarn's version."""
    from kvarn import __version__

    output.line(__version__)
