"""`tf.flags` and `tf.app`: over absl, and without it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from absl import flags as absl_flags

from kvarn.compat.tensorflow import absl_flags as flags

PROGRAM = """
import tensorflow as tf
flags = tf.app.flags
flags.DEFINE_string("folder", "x", "where")
flags.DEFINE_integer("steps", 3, "how many", lower_bound=1)
flags.DEFINE_float("rate", 1, "")
flags.DEFINE_bool("shuffle", True, "")
flags.DEFINE_list("names", "a,b", "")
flags.DEFINE_enum("mode", "train", ["train", "test"], "")
FLAGS = tf.flags.FLAGS
def main(rest):
    print(FLAGS.folder, FLAGS.steps, FLAGS.rate, FLAGS.shuffle, FLAGS.names, FLAGS.mode, rest[1:])
    FLAGS.steps = 9
    assert FLAGS.steps == 9
tf.compat.v1.disable_v2_behavior()
tf.app.run()
"""
WITHOUT_ABSL = "import sys; sys.modules['absl'] = None\n"


def run(folder: pathlib.Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "program.py"
    script.write_text(program)
    command = [sys.executable, "-m", "kvarn", "run", str(script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("program", [PROGRAM, WITHOUT_ABSL + PROGRAM], ids=["absl", "without absl"])
def test_flags_and_app(tmp_path: pathlib.Path, program: str) -> None:
    done = run(tmp_path, program, "--steps=5", "--noshuffle", "--names", "c,d", "--rate", "0.5", "more")
    assert done.stdout == "x 5 0.5 False ['c', 'd'] train ['more']\n", done.stderr
    done = run(tmp_path, program, "--shuffle=false", "--mode", "test")
    assert done.stdout == "x 3 1.0 False ['a', 'b'] test []\n", done.stderr
    # What nobody defined is handed on.
    done = run(tmp_path, program, "--nothing=1", "more")
    assert done.stdout.endswith("['--nothing=1', 'more']\n"), done.stderr


@pytest.mark.parametrize(
    ("before", "status", "texts"),
    [
        ("", 1, ("flag --steps=0:", "flag --mode=no:")),
        (WITHOUT_ABSL, 2, ("0 is not between 1", "'no'")),
    ],
    ids=["absl", "without absl"],
)
def test_values_that_do_not_fit(
    tmp_path: pathlib.Path, before: str, status: int, texts: tuple[str, str]
) -> None:
    for wrong, text in zip(("--steps=0", "--mode=no"), texts, strict=True):
        done = run(tmp_path, before + PROGRAM, wrong)
        assert done.returncode == status
        assert text in done.stdout + done.stderr


def test_flags_are_those_of_absl(tmp_path: pathlib.Path) -> None:
    program = """
from absl import app, flags
import tensorflow as tf
flags.DEFINE_string("by_absl", "a", "one")
tf.flags.DEFINE_multi_integer("by_tf", [1], "two")
def main(argv):
    print(tf.flags.FLAGS.by_absl, flags.FLAGS.by_tf, tf.app.flags is tf.flags, argv[1:])
    print([f.name for f in flags.FLAGS.get_key_flags_for_module("__main__")])
app.run(main)
"""
    done = run(
        tmp_path, program.replace("__main__", "program.py"), "--by_absl=b", "--by_tf=2", "--by_tf=3", "more"
    )
    assert done.stdout.splitlines()[0] == "b [2, 3] True ['more']", done.stderr


def test_without_absl_other_kinds_are_refused(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, WITHOUT_ABSL + "import tensorflow as tf\ntf.flags.DEFINE_multi_string('a', [], '')")
    assert "Install absl-py" in done.stderr


@pytest.fixture
def values() -> tuple[object, flags._FlagValuesWrapper]:
    original = flags.FlagValues()
    wrapped = flags._FlagValuesWrapper(original)
    flags.DEFINE_string("test", "default", "test flag", flag_values=wrapped)
    return original, wrapped


def test_the_command_line_is_read_when_a_flag_is_asked_for(values, monkeypatch):
    _, wrapped = values
    monkeypatch.setattr(sys, "argv", ["program", "--test=new"])
    assert not wrapped.is_parsed()
    assert wrapped.test == "new"
    assert wrapped.is_parsed()
    assert flags.FLAGS.is_parsed == absl_flags.FLAGS.is_parsed


def test_values_are_set_listed_and_deleted(values):
    original, wrapped = values
    wrapped(["program", "--test=given"])
    assert wrapped.test == "given"
    wrapped.test = "set"
    assert wrapped["test"] is original["test"]
    assert (dir(wrapped), list(wrapped), len(wrapped), str(wrapped)) == (["test"], ["test"], 1, str(original))
    wrapped["fruit"] = flags.Flag(
        flags.ArgumentParser(), flags.ArgumentSerializer(), "fruit", "apple", "the fruit type"
    )
    assert wrapped.fruit == "apple"
    del wrapped.test
    assert "test" not in wrapped
    with pytest.raises(AttributeError):
        _ = wrapped.test


@pytest.mark.parametrize(
    ("define", "default"),
    [
        (flags.DEFINE_string, "a"),
        (flags.DEFINE_integer, 1),
        (flags.DEFINE_float, 1.5),
        (flags.DEFINE_bool, True),
        (flags.DEFINE_boolean, False),
    ],
)
def test_the_older_names_of_arguments(values, caplog, define, default):
    original, _ = values
    define(flag_name="old", default_value=default, docstring="what", flag_values=original)
    assert "is deprecated, please use (name, default, help)" in caplog.text
    caplog.clear()
    define(name="new", default=default, help="what", flag_values=original)
    assert not caplog.text
    assert [(original[n].default, original[n].help) for n in ("old", "new")] == [(default, "what")] * 2
