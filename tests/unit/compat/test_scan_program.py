"""Names of TensorFlow in programs: which are found, and that the answer is that of a run."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import textwrap

import pytest

from kvarn.compat.tensorflow import names
from kvarn.compat.tensorflow.scan_program import UsedName, scan_program

CASES = pathlib.Path(__file__).resolve().parents[2] / "conformance" / "cases"


def scan(path: pathlib.Path, text: str, **beside: str) -> dict[str, UsedName]:
    for name, content in {"program": text, **beside}.items():
        file = path.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(content))
    return {used.name: used for used in scan_program(str(path / "program.py"))}


def lacking(found: dict[str, UsedName]) -> dict[str, list[int]]:
    return {name: [line for _, line in used.places] for name, used in found.items() if not used.covered}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # How a module gets its name.
        ("import tensorflow\ntensorflow.nope", {"tensorflow.nope": [2]}),
        ("import tensorflow as t\nt.train.nope", {"tensorflow.train.nope": [2]}),
        ("import tensorflow.compat.v1 as tf\ntf.nope", {"tensorflow.compat.v1.nope": [2]}),
        ("from tensorflow import train as t\nt.nope()", {"tensorflow.train.nope": [2]}),
        ("from tensorflow.python.ops import math_ops\nmath_ops.nope", {"tensorflow.python.ops.math_ops.nope": [2]}),
        ("import tensorflow.python.ops.math_ops\ntensorflow.python.ops.math_ops.nope",
         {"tensorflow.python.ops.math_ops.nope": [2]}),
        ("from tensorflow_core import train\ntrain.nope", {"tensorflow.train.nope": [2]}),
        ("from tensorflow.train import Saver, nope", {"tensorflow.train.nope": [1]}),
        ("from tensorflow.train import *", {"tensorflow.train.*": [1]}),
        ("import tensorflow.nope.nope as x", {"tensorflow.nope.nope": [1]}),
        # Assignments.
        ("import tensorflow as tf\nx = tf.train\ny = x\ny.nope", {"tensorflow.train.nope": [4]}),
        ("import tensorflow as tf\nx = tf.train.nope", {"tensorflow.train.nope": [2]}),
        ("import tensorflow as tf\nx = tf.train\nx = 3\nx.nope", {}),
        ("import tensorflow as tf\nx = tf.train.Saver\nx.nope", {"tensorflow.train.Saver.nope": [3]}),
        ("x = y\ny = x\nx.z", {}),
        # Scopes.
        ("import tensorflow as tf\ndef f(tf):\n  tf.nope", {}),
        ("import tensorflow as tf\ndef f(*, a=tf.nope):\n  return tf.nope2",
         {"tensorflow.nope": [2], "tensorflow.nope2": [3]}),
        ("import tensorflow as tf\ndef f():\n  tf = 1\n  tf.nope\ntf.nope", {"tensorflow.nope": [5]}),
        ("import tensorflow as tf\n[tf.nope for tf in ()]\n[tf.nope for x in ()]", {"tensorflow.nope": [3]}),
        ("import tensorflow as tf\nf = lambda tf: tf.nope", {}),
        ("def f():\n  import tensorflow as tf\n  def g():\n    tf.nope\ntf.nope", {"tensorflow.nope": [4]}),
        ("class A:\n  import tensorflow as tf\n  x = tf.nope\n  def f(self):\n    tf.nope", {"tensorflow.nope": [3]}),
        ("def f():\n  global tf\n  import tensorflow as tf\nimport tensorflow as tf\ndef g():\n  tf.nope",
         {"tensorflow.nope": [6]}),
        ("import tensorflow as tf\nfor tf in (): pass\ntf.nope", {}),
        ("import tensorflow as tf\nwith open('') as tf: tf.nope", {}),
        ("import tensorflow as tf\ntry: pass\nexcept ValueError as tf: tf.nope", {}),
        # Where a chain ends.
        ("import tensorflow as tf\ntf.train.Saver().nope", {}),
        ("import tensorflow as tf\ntf.nope(tf.nope2).x[tf.nope3]",
         {"tensorflow.nope": [2], "tensorflow.nope2": [2], "tensorflow.nope3": [2]}),
        ("import tensorflow as tf\ntf.float32.nope\ntf.flags.FLAGS.nope", {}),
        ("import tensorflow as tf\ntf.GraphKeys.nope", {"tensorflow.GraphKeys.nope": [2]}),
        ("import tensorflow as tf\n@tf.nope\nclass A(tf.nope2): pass",
         {"tensorflow.nope": [2], "tensorflow.nope2": [3]}),
        ("import tensorflow as tf\nx: tf.nope = 1", {"tensorflow.nope": [2]}),
        ("import tensorflow as tf\ngetattr(tf.train, 'nope')", {"tensorflow.train.nope": [2]}),
        # What can be imported, and not used.
        ("import tensorflow.contrib.slim as slim", {}),
        ("import tensorflow.contrib.slim as slim\nslim.conv2d", {"tensorflow.contrib.slim.conv2d": [2]}),
        ("from tensorflow.contrib.slim import conv2d", {}),
        ("from tensorflow.contrib.slim import conv2d as c\nc()", {"tensorflow.contrib.slim.conv2d": [2]}),
    ],
)  # fmt: skip
def test_what_is_lacking(tmp_path: pathlib.Path, text: str, expected: dict[str, list[int]]) -> None:
    assert lacking(scan(tmp_path, text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "try:\n  from tensorflow.train import nope\nexcept ImportError: nope = None",
        "try:\n  tf.nope\nexcept (ValueError, AttributeError): pass",
        "try:\n  tf.nope\nexcept: pass",
        "getattr(tf, 'nope', None)",
        "hasattr(tf, 'nope')",
    ],
)
def test_what_a_program_can_do_without(tmp_path: pathlib.Path, text: str) -> None:
    [used] = [u for u in scan(tmp_path, "import tensorflow as tf\n" + text).values() if not u.covered]
    assert used.guarded
    assert used.name.endswith(".nope")


def test_a_name_that_is_used_without_a_way_out_somewhere_is_not_guarded(tmp_path: pathlib.Path) -> None:
    found = scan(tmp_path, "import tensorflow as tf\nhasattr(tf, 'nope')\ntf.nope")
    assert not found["tensorflow.nope"].guarded
    assert found["tensorflow.nope"].places == [("program.py", 2), ("program.py", 3)]


def test_the_import_that_works_decides(tmp_path: pathlib.Path) -> None:
    text = """
        try:
            from tensorflow.nope import train
        except ImportError:
            from tensorflow import train
        train.Saver
        try:
            import tensorflow.compat.v1 as tf
        except ImportError:
            tf = None
        tf.Session
    """
    found = scan(tmp_path, text)
    assert found["tensorflow.train.Saver"].covered
    assert found["tensorflow.compat.v1.Session"].covered


def test_modules_beside_the_program_are_read(tmp_path: pathlib.Path) -> None:
    found = scan(
        tmp_path,
        """
        import helper, package.inner
        from package import inner, other as o
        from helper import tf, t as train
        import numpy.nope
        helper.tf.nope1
        tf.nope2
        train.nope3
        o.train.nope4
        inner.nothing
        """,
        helper="import tensorflow as tf\nt = tf.train\nimport program\ntf.nope5",
        package____init__="",
        package__inner="from .other import train\nfrom . import other\ntrain.nope6\nother.train.nope7\n",
        package__other="from tensorflow import train",
    )
    assert {name: used.places for name, used in found.items() if not used.covered} == {
        "tensorflow.nope1": [("program.py", 6)],
        "tensorflow.nope2": [("program.py", 7)],
        "tensorflow.train.nope3": [("program.py", 8)],
        "tensorflow.train.nope4": [("program.py", 9)],
        "tensorflow.nope5": [("helper.py", 4)],
        "tensorflow.train.nope6": [("package/inner.py", 3)],
        "tensorflow.train.nope7": [("package/inner.py", 4)],
    }


def test_every_name_of_the_table_is_covered(tmp_path: pathlib.Path) -> None:
    text = "import tensorflow as tf\n" + "\n".join(f"tf.{name}" for name in names.all_names())
    assert lacking(scan(tmp_path, text)) == {}


@pytest.mark.parametrize("case", sorted(CASES.glob("*.py")), ids=lambda path: path.stem)
def test_programs_that_run_are_covered(case: pathlib.Path) -> None:
    assert [used.name for used in scan_program(str(case)) if not used.covered and not used.guarded] == []


def test_near_names_are_told(tmp_path: pathlib.Path) -> None:
    found = scan(tmp_path, "import tensorflow as tf\ntf.train.Savr")
    assert "nearest: tf.train.Saver" in found["tensorflow.train.Savr"].why


@pytest.mark.parametrize("text", ["def", "x = '\0'"])
def test_what_is_no_program(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(OSError, match=r"program.py' cannot be read as Python"):
        scan(tmp_path, text)


@pytest.mark.parametrize(
    "use",
    [
        "tf.train.Saver", "tf.train.nope", "tf.compat.v1.Session", "tf.GraphKeys.GLOBAL_STEP", "tf.GraphKeys.nope",
        "tf.contrib.lookup.HashTable", "tf.contrib.slim", "tf.raw_ops.MatMul", "tf.raw_ops.Nope",
        "tf.app.flags.FLAGS",
    ],
)  # fmt: skip
def test_a_run_says_the_same(tmp_path: pathlib.Path, use: str) -> None:
    text = f"import tensorflow as tf\n{use}\n"
    covered = not lacking(scan(tmp_path, text))
    done = subprocess.run(
        [sys.executable, "-m", "kvarn", "run", "program.py"], cwd=tmp_path, capture_output=True, timeout=60
    )
    assert (done.returncode == 0) == covered
