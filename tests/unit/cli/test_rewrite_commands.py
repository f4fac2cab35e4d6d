"""`kvarn rewrite`, `average`, `merge` and `convert` on the command line."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from kvarn import checkpoint
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.testing.commands import run

EV = str(pathlib.Path(__file__).parents[2] / "golden" / "checkpoints" / "tf115" / "ev_deeprec" / "model.ckpt")


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    prefixes = []
    for step in (1, 2, 3):
        prefixes.append(str(tmp_path / f"m-{step}"))
        with BundleWriter(prefixes[-1]) as writer:
            writer.add("tower=0/w", np.float32(step))
            writer.add("tower=0/w/Adam", np.float32(step))
            writer.add("global_step", np.int64(step))
        checkpoint.update_checkpoint_state(str(tmp_path), prefixes[-1], prefixes)
    return tmp_path


def test_rewrite(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    rules = ["--slim", "--rename", "re:^tower=0/=", "--cast", "tower=0/w=float16", "--drop", "nothing"]
    status, out, _ = run(capsys, "rewrite", folder, folder / "x", *rules, "--dry-run", "--json")
    document = json.loads(out)
    assert status == 0
    assert [change["why"] for change in document["changes"]] == ["", "", "optimizer slot"]
    assert not (folder / "x.index").exists()
    status, out, err = run(capsys, "rewrite", folder, folder / "x", *rules)
    assert status == 0
    assert "drop 'nothing' means nothing" in err
    assert "float32 -> float16" in out
    assert checkpoint.load_variable(str(folder / "x"), "w") == np.float16(3)
    status, _, err = run(capsys, "rewrite", folder, folder / "y", *rules, "--strict")
    assert status == 2
    assert "means nothing" in err
    status, _, err = run(capsys, "rewrite", folder, folder / "x", *rules)
    assert status == 2
    assert "File exists" in err
    assert run(capsys, "rewrite", folder, folder / "x", *rules, "--overwrite")[0] == 0
    assert run(capsys, "rewrite", folder, folder / "z", "--rename", "w")[0] == 2


def test_a_rule_for_a_name_that_is_not_there_names_the_nearest(
    capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    _, _, err = run(capsys, "rewrite", folder, folder / "x", "--drop", "global_stp")
    assert "'global_step'" in err


def test_average_of_the_last(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    status, out, _ = run(capsys, "average", folder, folder / "mean", "--last", 2)
    assert status == 0
    assert "2 checkpoints" in out
    assert checkpoint.load_variable(str(folder / "mean"), "tower=0/w") == 2.5
    assert checkpoint.load_variable(str(folder / "mean"), "global_step") == 3
    weights = ["--weight", 3, "--weight", 1]
    status, out, _ = run(capsys, "average", folder / "m-1", folder / "m-3", folder / "w", *weights, "--json")
    assert json.loads(out)["from_last"] == ["global_step"]
    assert checkpoint.load_variable(str(folder / "w"), "tower=0/w") == 1.5
    assert run(capsys, "average", folder, folder / "v", "--last", 9)[0] == 2
    assert run(capsys, "average", folder / "m-1")[0] == 2


def test_merge(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    status, _, err = run(capsys, "merge", EV, folder / "m-1", folder / "all")
    assert status == 2
    assert "global_step" in err
    status, out, _ = run(capsys, "merge", EV, folder / "m-1", folder / "all", "--on-conflict", "last")
    assert status == 0
    assert "conflict: global_step" in out
    with BundleReader(folder / "all") as reader:
        assert reader.lookup("global_step") == 1
        assert reader.contains("b/part_3/Adagrad-keys")


def test_convert(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    status, out, _ = run(capsys, "convert", folder, folder / "x.npz")
    assert (status, out) == (0, f"{folder / 'x.npz'}: 3 tensors, V2 to npz\n")
    with np.load(folder / "x.npz") as stored:
        assert stored["tower=0/w"] == 3
    status, out, _ = run(capsys, "convert", EV, folder / "b.parquet", "--embedding", "b", "--json")
    assert json.loads(out)["rows"] == 270
    back = ["convert", folder / "b.parquet", folder / "b", "--embedding", "b", "--partitions", 2]
    assert run(capsys, *back)[0] == 0
    with BundleReader(folder / "b") as reader:
        assert reader.contains("b/part_1/Adagrad-values")
    status, _, err = run(capsys, "convert", EV, folder / "c.parquet", "--embedding", "B")
    assert status == 2
    assert "has 'a', 'b'" in err


@pytest.mark.parametrize("command", ["rewrite", "average", "merge", "convert"])
def test_every_command_has_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    status, out, _ = run(capsys, command, "--help")
    assert status == 0
    assert f"Example: kvarn {command} " in " ".join(out.split())
