"""Runs one fuzzer until it has done a number of executions or found something.

    python fuzz/run.py --target table --runs 2000000

Needs the extra [fuzz] (atheris), for the targets native_… clang too.  New inputs go to
build/fuzz/<target>/corpus, findings to build/fuzz/<target>/findings; the committed corpus is read and not
changed.  At the end every input that was kept is run once more with memory and time measured.  The exit code
is 1 if there was a finding.

    --minimise    instead of fuzzing: put the fewest inputs that reach every branch into fuzz/corpora/<target>
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CORPORA = ROOT / "fuzz/corpora"
BUILD = ROOT / "build/fuzz"
# Seconds for one input; megabytes of the whole process, what importing takes included.
LIMITS = ("-timeout=10", "-rss_limit_mb=2048")
# No honest allocation for an input of a few kilobytes comes near this; what threads reserve does.
ADDRESS_SPARE_BYTES = 1 << 30
# Executions between two whose memory is measured: measuring takes several times as long.
MEASURE_EVERY = 200


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--target", required=True, help="a module of fuzz/targets, or all")
    arguments.add_argument("--runs", type=int, default=100_000)
    arguments.add_argument("--minimise", action="store_true")
    arguments.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    from fuzz.targets import NAMES

    if options.child is not None:
        fuzz(options.target, options.child)
        return 0
    if options.minimise:
        return minimise(options.target)
    if options.target == "all":
        return max(campaign(name, options.runs) for name in NAMES)
    return campaign(options.target, options.runs)


def campaign(name: str, runs: int) -> int:
    """Fuzzes in a process of its own and prints executions done and findings."""
    corpus, findings = BUILD / name / "corpus", BUILD / name / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    log = BUILD / name / "log"
    before = set(findings.iterdir())
    with log.open("wb") as out:
        command = [f"-runs={runs}", f"-artifact_prefix={findings}/", "-print_final_stats=1"]
        (CORPORA / name).mkdir(parents=True, exist_ok=True)
        folders = [corpus, CORPORA / name, write_seeds(name)]
        code = child(name, [*command, *map(str, folders)], out)
    text = log.read_text(errors="replace")
    # What stops before its end gives no statistics: then the last number that it printed.
    done = [int(n) for n in re.findall(r"(?:^#|stat::number_of_executed_units: )(\d+)", text, re.MULTILINE)]
    rate = re.findall(r"stat::average_exec_per_sec: +(\d+)", text)
    found = sorted(set(findings.iterdir()) - before)
    costly = measure(name, corpus)
    print(
        f"{name}: {done[-1] if done else 0} executions, {rate[-1] if rate else '?'}/s, "
        f"{len(found) + len(costly)} findings, log {log}"
    )
    for line in (*map(str, found), *costly):
        print(f"  {line}")
    if code:
        print("".join(f"  {line}\n" for line in _failure(text)))
    return 1 if found or costly or code else 0


def measure(name: str, corpus: Path) -> list[str]:
    """Which inputs take too much memory or time."""
    from fuzz.contract import Broken, measured
    from fuzz.targets import target

    logging.disable(logging.CRITICAL)
    check = target(name).check
    costly: list[str] = []
    for path in sorted(corpus.iterdir()):
        check(path.read_bytes())  # what is loaded once is not counted
        try:
            measured(check, path.read_bytes())
        except Broken as error:
            costly.append(f"{path}: {error}")
    return costly


def minimise(name: str) -> int:
    """Merges all that was found into the smallest corpus with the same coverage."""
    target = CORPORA / name
    merged = BUILD / name / "merged"
    merged.mkdir(parents=True, exist_ok=True)
    for old in merged.iterdir():
        old.unlink()
    found = BUILD / name / "found"  # a copy: a fuzzer that runs meanwhile goes on changing its own
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir(parents=True)
    for path in (BUILD / name / "corpus").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(path, found)
    sources = [found, write_seeds(name)]
    with (BUILD / name / "merge.log").open("wb") as out:
        code = child(name, ["-set_cover_merge=1", str(merged), *map(str, sources)], out)
    if code:
        print(f"{name}: merging failed, see {BUILD / name / 'merge.log'}")
        return 1
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("in-*"):  # what was found to be wrong once has another name, and stays
        old.unlink()
    for path in merged.iterdir():
        content = path.read_bytes()
        (target / f"in-{hashlib.sha1(content).hexdigest()[:10]}").write_bytes(content)
    sizes = [path.stat().st_size for path in target.iterdir()]
    print(f"{name}: {len(sizes)} inputs, {sum(sizes)} bytes")
    return 0


def write_seeds(name: str) -> Path:
    """The sound inputs of a target, as files."""
    from fuzz.targets import target

    folder = BUILD / name / "seeds"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for seed in target(name).seeds():
        (folder / hashlib.sha1(seed).hexdigest()[:10]).write_bytes(seed)
    words = ['"' + "".join(map("\\x{:02x}".format, word)) + '"' for word in target(name).WORDS]
    (BUILD / name / "words.dict").write_text("\n".join(words) + "\n")
    return folder


def child(name: str, arguments: list[str], out: BinaryIO) -> int:
    """Runs the fuzzer proper; its exit code."""
    from fuzz.targets import NATIVE, target

    if name in NATIVE:
        command = [str(native_fuzzer(name)), f"-max_len={target(name).LONGEST}", *LIMITS]
    else:
        command = [sys.executable, __file__, "--target", name, "--child"]
    return subprocess.run(
        [*command, *arguments], stdout=out, stderr=subprocess.STDOUT, check=False
    ).returncode


def native_fuzzer(name: str) -> Path:
    """Builds what native/fuzz has, with clang and all sanitizers; the program of a target."""
    folder = BUILD / "native"
    parts = name.removeprefix("native_")
    configure = ["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DKVARN_FUZZ=ON"]
    options = ["-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
    sanitize = ["-DKVARN_SANITIZE=address,undefined"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in (
        [*configure, *options, *sanitize],
        ["cmake", "--build", folder, "--target", f"fuzz_{parts}"],
    ):
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=os.environ | {"PATH": path})
    return folder / f"fuzz_{parts}"


def fuzz(name: str, arguments: list[str]) -> None:
    """The fuzzing process; does not return."""
    import resource

    import atheris

    from fuzz import targets
    from fuzz.instrument import guide_by

    logging.disable(logging.CRITICAL)
    guide_by(targets.GUIDED_BY[name])
    module = targets.target(name)
    from fuzz.contract import measured

    used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    executions = 0

    def once(data: bytes) -> None:
        nonlocal executions
        executions += 1
        if executions % MEASURE_EVERY:
            module.check(data)
        else:
            measured(module.check, data)

    limits = [
        f"-max_len={module.LONGEST}",
        f"-dict={BUILD / name / 'words.dict'}",
        *LIMITS,
    ]
    if not any("merge" in argument for argument in arguments):
        resource.setrlimit(resource.RLIMIT_AS, (used_bytes + ADDRESS_SPARE_BYTES, resource.RLIM_INFINITY))
    # Merging starts this program again, by a shell, with the first of these words.
    again = f"{sys.executable} {__file__} --target {name} --child"
    atheris.Setup([again, *arguments, *limits], once)
    atheris.Fuzz()


def _failure(text: str) -> list[str]:
    """The lines of a log that tell what was found."""
    lines = text.splitlines()
    starts = [at for at, line in enumerate(lines) if "=== Uncaught" in line or "ERROR: " in line]
    return lines[starts[0] : starts[0] + 40] if starts else lines[-10:]


if __name__ == "__main__":
    sys.exit(main())
