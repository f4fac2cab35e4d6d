"""`kvarn scan`: what it prints, and the statuses that scripts rely on."""

from __future__ import annotations

import json
import pathlib

import pytest

from kvarn import protos
from kvarn.testing.commands import run


def test_programs(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "p.py"
    script.write_text(
        "import tensorflow as tf\ntf.nope\ntf.Session\nhasattr(tf, 'nope2')\n" + "tf.nope\n" * 5
    )
    status, out, err = run(capsys, "scan", script)
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        f"{script}: 4 names of TensorFlow, 2 covered, 2 not",
        "",
        "covered  name              where                    why not",
        "no       tensorflow.nope   p.py:2,5,6,7 and 2 more  kvarn does not have it",
        "guarded  tensorflow.nope2  p.py:4                   kvarn does not have it",
    ]
    status, out, _ = run(capsys, "scan", script, "--all")
    assert "\nyes      tensorflow.Session" in out
    status, out, _ = run(capsys, "scan", script, "--json")
    document = json.loads(out)
    assert (status, document["kind"], document["covered"]) == (1, "program", False)
    by_name = {name["name"]: name for name in document["names"]}
    assert by_name["tensorflow.nope2"] == {
        "name": "tensorflow.nope2", "covered": False, "guarded": True, "why": "kvarn does not have it",
        "places": [{"file": "p.py", "line": 4}],
    }  # fmt: skip
    script.write_text("import tensorflow as tf\nhasattr(tf, 'nope2')\n")
    assert run(capsys, "scan", script)[0] == 0


def test_graphs(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = protos.GraphDef()
    graph.node.add(name="a", op="NoOp")
    path = tmp_path / "g.pb"
    path.write_bytes(graph.SerializeToString())
    assert run(capsys, "scan", path) == (0, f"{path}: 1 node of 1 op, 1 covered, 0 not\n", "")
    graph.node.add(name="b", op="MyOp")
    path.write_bytes(graph.SerializeToString())
    status, out, _ = run(capsys, "scan", path)
    assert status == 1
    assert out.splitlines()[2:] == [
        "covered  op    nodes  first  why not",
        "no       MyOp      1  b      kvarn does not know it: the graph cannot be imported",
    ]
    status, out, _ = run(capsys, "scan", path, "--json")
    assert (status, json.loads(out)["covered"]) == (1, False)
    assert [op["op"] for op in json.loads(out)["ops"]] == ["MyOp", "NoOp"]


def test_files_that_are_not_there(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("p.py", "g.pb", "g.meta"):
        status, out, err = run(capsys, "scan", tmp_path / name)
        assert (status, out) == (2, "")
        assert name in err
