"""TensorFlow 1.15.5's own test files under kvarn, held against what is known to fail.

    make peer TREE=…        TREE: a source tree of TensorFlow 1.15.5, the folder that holds the top `tensorflow/`
    python tests/peer/run.py --source TREE [--only 'training/saver*'] [--jobs 2]

Says which tests fail that `failing.toml` has not, and which pass that it has; status 1 if there are any.

`peer_suites.py` runs the files, unmodified; `baseline_graph.json` has the 3,597 tests in 92 files that pass on the
real TensorFlow 1.15.5 where eager execution was taken away.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent


def known_failures() -> dict[tuple[str, str], str]:
    """By file and test, why it fails."""
    with (HERE / "failing.toml").open("rb") as text:
        groups = tomllib.load(text)["group"]
    return {
        (file, test): group["reason"]
        for group in groups
        for file, tests in group["tests"].items()
        for test in tests
    }


def failures(detail: dict, baseline: dict[str, list[str]]) -> set[tuple[str, str]]:
    """Of the files that ran, the tests of the baseline that did not pass."""
    return {
        (file, test)
        for file, report in detail.items()
        for test in baseline.get(file, [])
        if report["tests"].get(test) != "ok"
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", required=True)
    parser.add_argument("--only", action="append", default=[], help="glob over files; may repeat")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--command", default=f"{sys.executable} -m kvarn run")
    options = parser.parse_args()
    baseline = json.loads((HERE / "baseline_graph.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        detail = pathlib.Path(folder) / "detail.json"
        command = [sys.executable, str(HERE / "peer_suites.py"), "--source", options.source]
        command += ["--command", options.command, "--jobs", options.jobs, "--detail", str(detail)]
        for glob in options.only:
            command += ["--only", glob]
        subprocess.run(command, check=False)
        ran = json.loads(detail.read_text())
    known = known_failures()
    found = failures(ran, baseline)
    expected = {place for place in known if place[0] in ran}
    for title, places in (
        ("fail and are not listed", found - expected),
        ("are listed and pass", expected - found),
    ):
        if places:
            print(f"{len(places)} {title}:")
            print("\n".join(f"    {file} {test}" for file, test in sorted(places)))
    return 0 if found == expected else 1


if __name__ == "__main__":
    sys.exit(main())
