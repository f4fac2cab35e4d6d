"""What all commands share: tables, JSON, the progress bar, statuses."""

from __future__ import annotations

import io
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from kvarn.cli import app, main, output
from kvarn.formats.bundle import BundleWriter


def test_escapes() -> None:
    assert output.escaped("dnn/w é 雪") == "dnn/w é 雪"
    assert output.escaped("a\x1b[0m\n\u202e\udcff\U000e0001") == r"a\x1b[0m\x0a\u202e\xff\U000e0001"
    assert output.escaped_lines("a\x07\nb") == "a\\x07\nb"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (5 * 10**12, "5.0 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert output.size_text(count) == text


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "n", "x"), [("a", "1", ""), ("long", "100", "y")], right=("n",))
    assert capsys.readouterr().out == "name    n  x\na       1\nlong  100  y\n"


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"a": [{"x": 1}, {"x": float("nan")}], "b": [], "c": {"d": [float("inf"), 1.5]}, "e": "\udcff"}
    output.print_json(document)
    out = capsys.readouterr().out
    assert json.loads(out, parse_constant=lambda c: pytest.fail(c)) == {
        "a": [{"x": 1}, {"x": None}],
        "b": [],
        "c": {"d": [None, 1.5]},
        "e": "\udcff",
    }
    assert len(out.splitlines()) == 9


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


def test_the_bar_comes_late_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with output.Progress("verify") as progress:
        for done in range(0, 101, 10):
            progress(done * 1_000_000, 100_000_000)
            if done == 20:
                assert terminal.getvalue() == ""  # two seconds have not passed
            clock[0] += 0.9
    shown = terminal.getvalue().split("\r")
    assert "verify ━━━━━━━" in shown[1]
    assert "30%  30.0 MB of 100.0 MB  11.1 MB/s  0:06 left" in shown[1]
    assert "100%" in shown[-3]
    assert shown[-2].strip() == shown[-1] == ""
    assert all(len(part) < 80 for part in shown)


@pytest.mark.parametrize("quiet", [True, False])
def test_no_bar_without_a_terminal_or_when_quiet(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    stream = Terminal() if quiet else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(time, "monotonic", iter(range(1000)).__next__)
    with output.Progress("x", quiet=quiet) as progress:
        for done in range(50):
            progress(done, 50)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "name",
    [name for name, _ in app.COMMANDS if name != "chain"]
    + [f"chain {name}" for name in ("ls", "verify", "compact", "at")],
)
def test_every_command_has_help_with_an_example_and_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert not ended.value.code
    text = capsys.readouterr().out
    assert f"Example: kvarn {name} " in " ".join(text.split())
    assert "--json" in text


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["no-such-command"],
        ["ls"],
        ["ls", "x", "--no-such-option"],
        ["ls", "x", "--sort", "y"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2, arguments
    capsys.readouterr()


def test_a_fault_of_our_own_is_no_no(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("kvarn.cli.checkpoint_commands.opened", broken)
    with pytest.raises(SystemExit) as ended:
        main(["ls", "x"])
    assert ended.value.code == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kvarn.cli.checkpoint_commands.opened", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["ls", "x"])
    assert ended.value.code == 130


def test_ctrl_c_leaves_nothing_behind(tmp_path: pathlib.Path) -> None:
    """A long rewrite is interrupted while it writes: no target, no temporary file."""
    with BundleWriter(str(tmp_path / "m")) as writer:
        for i in range(60):
            writer.add(f"w{i:02d}", np.full((1 << 20,), i, np.float32))
    for attempt in range(20):  # it may be done before it is interrupted
        target = tmp_path / f"target{attempt}"
        target.mkdir()
        command = [sys.executable, "-m", "kvarn", "rewrite", str(tmp_path / "m"), str(target / "n")]
        process = subprocess.Popen(
            [*command, "--cast", "*=float64"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and not list(target.iterdir()):
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        if process.returncode != 0:
            break
        shutil.rmtree(target)
    else:
        pytest.fail("the rewrite was always done before it could be interrupted")
    assert (process.returncode, err) == (130, "")
    assert list(target.iterdir()) == []


def test_fifty_thousand_tensors_are_listed_at_once(tmp_path: pathlib.Path) -> None:
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.add_many(
            {f"model/layer_{i // 100}/block_{i % 100}/kernel": np.float32([i]) for i in range(50_000)}
        )
    for options in ([], ["--json"]):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "kvarn", "ls", str(tmp_path / "m"), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.stdout.count("/kernel") == 50_000, done.stderr
        # Half a second on an idle machine; a busy one with its cores shared takes longer.
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.2


def test_a_listing_loads_no_more_than_it_needs() -> None:
    code = (
        "import sys\n"
        "from kvarn.cli import main\n"
        "try: main(['ls', '/no/such/checkpoint'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"rich", "google.protobuf", "kvarn.graph", "kvarn.engine", "kvarn.formats.npz"}
    heavy |= {"pyarrow", "obstore", "safetensors"}
    assert not heavy & set(done.stdout.split())


def test_a_reader_that_has_gone_does_not_change_the_status(tmp_path: pathlib.Path) -> None:
    with BundleWriter(str(tmp_path / "m")) as writer:
        for i in range(20_000):
            writer.add(f"some/rather/long/name/of/a/tensor/{i}", np.float32([i]))
    command = f"{sys.executable} -m kvarn ls {tmp_path / 'm'} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, env={**os.environ}
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""
