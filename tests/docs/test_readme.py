"""The examples of the documents run as they are printed."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLE = re.compile(r"<!-- run -->\s*```python\n(.*?)```", re.DOTALL)
EXAMPLES = [
    pytest.param(code, id=f"{path.relative_to(ROOT)}-{i}")
    for path in DOCUMENTS
    for i, code in enumerate(EXAMPLE.findall(path.read_text()))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_runs(code: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_example_prints_what_it_says(tmp_path: pathlib.Path) -> None:
    code = EXAMPLE.findall((ROOT / "README.md").read_text())[0]
    (tmp_path / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "[2 4]", done.stderr
    assert lines[-1] == f"[{1 << 40}            7]" or sorted(map(int, lines[-1].strip("[]").split())) == [
        7,
        1 << 40,
    ]


def test_the_same_program_runs_under_tensorflows_name(tmp_path: pathlib.Path) -> None:
    code = EXAMPLE.findall((ROOT / "README.md").read_text())[0].replace(
        "import kvarn as tf", "import tensorflow as tf"
    )
    (tmp_path / "example.py").write_text(code)
    command = [sys.executable, "-m", "kvarn", "run", "example.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[2 4]"


def test_every_document_that_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"`((?:docs|bench)/[\w./]+|\w+\.md)`", text):
        assert (ROOT / path).exists(), path
