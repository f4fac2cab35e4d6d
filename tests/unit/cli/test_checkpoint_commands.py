"""`kvarn ls` and `kvarn show` on checkpoints that TensorFlow wrote."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from kvarn import checkpoint
from kvarn.cli import main

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "golden" / "checkpoints"
EV = str(GOLDEN / "tf115" / "ev_deeprec" / "model.ckpt")
SLICES = str(GOLDEN / "tf115" / "v2_slices" / "model.ckpt")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        main(list(arguments))
        status = 0
    except SystemExit as e:
        status = int(e.code or 0)
    out = capsys.readouterr()
    return status, out.out, out.err


def test_ls_shows_an_embedding_variable_as_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "ls", EV)
    assert status == 0
    assert "Adagrad[8]" in out
    assert "220 + 50 filtered" in out
    assert "part_0" not in out
    assert "-keys" not in out


def test_ls_as_json_counts_what_the_file_holds(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "ls", EV, "--json")
    document = json.loads(out)
    found = {ev["name"]: ev for ev in document["embeddings"]}
    b = found["b"]
    keys = [len(checkpoint.load_variable(EV, f"b/part_{i}-keys")) for i in range(4)]
    assert b["keys_per_partition"] == keys
    assert (b["num_keys"], b["dim"], b["slots"]) == (sum(keys), 8, {"Adagrad": 8})


def test_show_an_embedding_variable(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", EV, "b", "--json")
    document = json.loads(out)
    freqs = np.concatenate([checkpoint.load_variable(EV, f"b/part_{i}-freqs") for i in range(4)])
    assert document["freqs"] == [freqs.min(), freqs.max()]
    assert document["sample"][0]["key"] == checkpoint.load_variable(EV, "b/part_0-keys")[0]
    _, out, _ = run(capsys, "show", EV, "b")
    assert f"{freqs.min()} to {freqs.max()}" in out


def test_show_a_sliced_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", SLICES, "cut2d/grid", "--json")
    document = json.loads(out)
    assert (document["shape"], len(document["slices"])) == ([6, 8], 9)
    value = checkpoint.load_variable(SLICES, "cut2d/grid")
    assert document["head"] == value.ravel()[:8].tolist()
    assert document["statistics"]["mean"] == pytest.approx(value.mean())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("ls", str(GOLDEN / "no_such_prefix")), "no_such_prefix"),
        (("show", EV, "b/part_0-kyes"), "b/part_0-keys"),
        (("ls", str(GOLDEN)), "checkpoint"),
    ],
)
def test_mistakes_are_one_message_and_status_1(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("NotFoundError: ")
    assert text in err
    assert "Traceback" not in err


def test_output_that_nobody_reads_ends_quietly() -> None:
    command = f"{sys.executable} -m kvarn ls {SLICES} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
