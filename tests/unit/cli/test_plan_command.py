"""`kvarn plan`: of programs and of graphs in files, and the statuses that scripts rely on."""

from __future__ import annotations

import json
import pathlib
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.compat.tensorflow import importer
from kvarn.formats.bundle import BundleWriter
from kvarn.graph.session import BaseSession
from kvarn.saver.restore_plan import RestorePlan
from kvarn.testing.commands import run


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a program finds in its process goes again: TensorFlow's modules, NumPy's old names, its arguments."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(vars(np))
    with tf.Graph().as_default():
        yield
    importer.uninstall()
    for name in set(vars(np)) - known:
        delattr(np, name)


@pytest.fixture
def prefix(tmp_path: pathlib.Path) -> str:
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.add("w", np.ones((2, 3), np.float32))
        writer.add("w/Momentum", np.ones((2, 3), np.float32))
        writer.add("old/b", np.ones(3, np.float32))
    return str(tmp_path / "m")


def program(path: pathlib.Path, rest: str) -> pathlib.Path:
    model = """
        import sys
        import tensorflow as tf
        print("building")
        w = tf.get_variable("w", [2, 3])
        b = tf.get_variable("new/b", [3])
        train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(w), var_list=[w])
    """
    path = path / "program.py"
    path.write_text(textwrap.dedent(model) + textwrap.dedent(rest))
    return path


# However a program goes on, its graph is planned for and nothing runs.
ENDINGS = {
    "restores": "saver = tf.train.Saver()\nsess = tf.Session()\nsaver.restore(sess, 'nowhere')\nraise SystemError",
    "runs": "saver = tf.train.Saver()\nwith tf.Session() as sess:\n  sess.run(train)\n  raise SystemError",
    "runs before its Saver": "with tf.Session() as sess:\n  sess.run(train)\n  raise SystemError",
    "monitored": "with tf.train.MonitoredTrainingSession() as sess:\n  sess.run(train)\n  raise SystemError",
    "ends": "tf.train.Saver()",
    "exits": "tf.train.Saver()\nsys.exit(3)",
    "main": "def main(_):\n  with tf.Session() as sess:\n    sess.run(train)\ntf.app.run()",
    "two savers": "tf.train.Saver([w])\ntf.train.Saver()",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_programs(
    ending: str, prefix: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = BaseSession.run, tf.train.Saver.restore, tf.train.Saver.build
    status, out, err = run(capsys, "plan", program(tmp_path, ENDINGS[ending]), prefix, "--json")
    assert (BaseSession.run, tf.train.Saver.restore, tf.train.Saver.build) == before
    assert status == 1
    rows = {row.get("variable"): row for row in json.loads(out)["rows"]}
    assert {name: row["action"] for name, row in rows.items()} == {
        "new/b": "refuse", "w": "restore", "w/Momentum": "keep", None: "drop",
    }  # fmt: skip
    assert rows["new/b"]["near"] == ["old/b"]
    assert "building" in err


def test_choices_and_the_file(
    prefix: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = program(tmp_path, "assert sys.argv[1:] == ['--steps', '3']\n" + ENDINGS["runs"])
    status, out, _ = run(
        capsys, "plan", script, prefix, "--rename", "re:^old/=new/", "--slots", "reset", "--changes",
        "--output", tmp_path / "plan.json", "--", "--steps", "3",
    )  # fmt: skip
    assert status == 0
    assert out == textwrap.dedent(
        f"""\
        restore of {prefix}: 2 restore, 1 reset

        action   variable  wanted      status   source  stored      remarks
        restore  new/b     float32[3]  renamed  old/b   float32[3]  by rule re:^old/=new/

        and 2 that match as they are
        """
    )
    saved = RestorePlan.load(tmp_path / "plan.json")
    assert {row.name: row.action for row in saved.rows} == {
        "new/b": "restore",
        "w": "restore",
        "w/Momentum": "reset",
    }


def test_graphs_in_files(prefix: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    w = tf.get_variable("w", [2, 3], initializer=tf.zeros_initializer())
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(w.initializer)
        saver.save(sess, str(tmp_path / "other"))
    for path in (tmp_path / "other.meta", tmp_path / "other"):
        status, out, _ = run(capsys, "plan", path, prefix)
        assert status == 0
        assert out.splitlines()[0] == f"restore of {prefix}: 1 restore, 2 drop"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.py", "{prefix}"], "no file 'nowhere.py'"),
        (["nowhere.meta", "{prefix}"], "File nowhere.meta does not exist"),
        (["{script}", "nowhere"], "NotFoundError"),
        (["{script}", "{prefix}", "--slots", "drop"], "slots is 'drop'; it can be 'keep', 'reset'"),
        (["{script}", "{prefix}", "--rename", "x=y"], "the rule to rename 'x' means nothing"),
        (["{prefix}", "{prefix}", "--", "x"], "only a program has arguments"),
        (["{script}", "{prefix}", "--json", "--changes"], "all rows"),
    ],
)
def test_errors(
    arguments: list[str], said: str, prefix: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = program(tmp_path, ENDINGS["ends"])
    status, out, err = run(capsys, "plan", *(a.format(prefix=prefix, script=script) for a in arguments))
    assert (status, out) == (2, "")
    assert said in err


def test_a_program_that_fails_or_gives_up(
    prefix: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "plan", program(tmp_path, "1 / 0"), prefix)
    assert status == 2
    assert "ZeroDivisionError" in err
    (tmp_path / "p.py").write_text("raise SystemExit(4)")
    assert run(capsys, "plan", tmp_path / "p.py", prefix)[0] == 4
