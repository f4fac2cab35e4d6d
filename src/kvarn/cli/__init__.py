"""The command line: ``kvarn COMMAND`` or ``python -m kvarn COMMAND``.

``run`` needs nothing but kvarn itself; the commands that show checkpoints need the extra ``[cli]``.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; the process's arguments by default.

    Raises:
      SystemExit: with the command's status.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "run":
        from kvarn.compat.tensorflow.run import run_script

        run_script(arguments[1:])
        return
    try:
        from kvarn.cli.app import run
    except ModuleNotFoundError as e:
        if e.name not in ("typer", "rich", "click"):
            raise
        print(
            f"kvarn: this command needs the package '{e.name}', which is missing: install kvarn with its extra "
            "[cli] (from a clone: pip install '.[cli]')",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    run(arguments)
