"""The page on restore plans: its example in Python, after the program that its command line examples are run on."""

from __future__ import annotations

import pathlib
import re

import pytest

import kvarn as tf

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/guide/restore-plans.md").read_text()


def block(mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\s*```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_example(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with tf.Graph().as_default():
        exec(block("setup"), names)
    with tf.Graph().as_default():
        program = (
            pathlib.Path("train.py").read_text().replace("import tensorflow as tf", "import kvarn as tf")
        )
        model, _, _ = program.partition("with tf.Session")
        exec(model, names)
        exec(block("run in train.py"), names)
