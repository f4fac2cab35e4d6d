"""``python -m kvarn run script.py [args…]``: a TensorFlow program as it is."""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys

from kvarn.compat.tensorflow import importer, numpy_names


def run_script(arguments: list[str]) -> None:
    """Runs a program with kvarn in TensorFlow's place, as ``python script.py args…`` would.

    Args:
      arguments: the script (or ``-m`` and a module), then its own arguments.

    Raises:
      SystemExit: the script is missing (status 2), or ended so itself.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        stream = sys.stdout if arguments else sys.stderr
        print(
            "usage: python -m kvarn run SCRIPT [ARGS…]   |   python -m kvarn run -m MODULE [ARGS…]",
            file=stream,
        )
        raise SystemExit(0 if arguments else 2)
    importer.install()
    numpy_names.install()
    if arguments[0] == "-m":
        if len(arguments) < 2:
            print("kvarn run: -m needs the name of a module", file=sys.stderr)
            raise SystemExit(2)
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        try:
            found = importlib.util.find_spec(arguments[1])
        except ModuleNotFoundError:
            found = None
        if found is None:
            print(
                f"kvarn run: no module named '{arguments[1]}' in {os.getcwd()} or installed", file=sys.stderr
            )
            raise SystemExit(2)
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    script = arguments[0]
    if not os.path.isfile(script):
        print(
            f"kvarn run: no file '{script}' (in {os.getcwd()}); give the path of the program to run",
            file=sys.stderr,
        )
        raise SystemExit(2)
    sys.argv = arguments
    # What `python script.py` does: modules beside the script can be imported.
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    runpy.run_path(script, run_name="__main__")
