"""`kvarn ls` and `kvarn show` on checkpoints that TensorFlow wrote."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from kvarn import checkpoint
from kvarn.testing.commands import run

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "golden" / "checkpoints"
EV = str(GOLDEN / "tf115" / "ev_deeprec" / "model.ckpt")
SLICES = str(GOLDEN / "tf115" / "v2_slices" / "model.ckpt")


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
    own = document["statistics"]["freqs"]
    assert (own["min"], own["max"], own["count"]) == (freqs.min(), freqs.max(), freqs.size)
    assert sum(own["histogram"]["counts"]) == freqs.size
    assert document["sample"][0]["key"] == checkpoint.load_variable(EV, "b/part_0-keys")[0]
    _, out, _ = run(capsys, "show", EV, "b")
    assert f"min {freqs.min()}  max {freqs.max()}" in out


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
def test_mistakes_are_one_message_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("NotFoundError: ")
    assert text in err
    assert "Traceback" not in err


def test_output_that_nobody_reads_ends_quietly() -> None:
    command = f"{sys.executable} -m kvarn ls {SLICES} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


def test_a_wrong_name_points_to_embedding_variables_too(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "show", EV, "bb")
    assert status == 2
    assert "Key bb not found" in err
    assert "kvarn ls" in err


def test_the_files_beside_a_checkpoint_stand_for_it(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    import kvarn as tf

    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("v", initializer=np.float32([1, np.nan, np.inf]))
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "m"))
    for path in (prefix, prefix + ".meta", prefix + ".index", str(tmp_path / "checkpoint"), str(tmp_path)):
        status, out, err = run(capsys, "ls", path)
        assert status == 0, err
        assert f"{prefix}  (V2, 1 data file, " in out
    _, out, _ = run(capsys, "show", prefix, "v", "--json")
    assert json.loads(out, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))["head"] == [
        1.0,
        None,
        None,
    ]
    (tmp_path / "m.data-00000-of-00001").unlink()
    _, out, _ = run(capsys, "ls", prefix)
    assert "missing: " in out


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    from kvarn import __version__

    assert run(capsys, "--version")[1].strip() == __version__
    assert "ls" in run(capsys, "-h")[1]


def test_a_terminal_that_knows_only_ascii(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "kvarn", "show", SLICES, "far/offsets"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
