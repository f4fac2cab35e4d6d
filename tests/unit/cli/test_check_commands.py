"""`kvarn verify` and `kvarn diff`: what they print, and the statuses that scripts rely on."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from kvarn import checkpoint
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleWriter
from kvarn.testing.commands import run

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "golden" / "checkpoints" / "tf115"


def write(prefix: pathlib.Path, **tensors: object) -> str:
    with BundleWriter(str(prefix)) as writer:
        for name, value in tensors.items():
            writer.add(name, value)
    return str(prefix)


def test_a_whole_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    prefix = str(GOLDEN / "ev_deeprec" / "model.ckpt")
    status, out, err = run(capsys, "verify", prefix)
    assert (status, err) == (0, "")
    assert out == f"{prefix} (V2) is whole: 92 tensors and 2 embedding variables, 121.1 kB\n"
    status, out, _ = run(capsys, "verify", prefix, "--json")
    document = json.loads(out)
    assert (status, document["whole"], document["findings"]) == (0, True, [])
    [found] = document["checkpoints"]
    assert (found["intact_embeddings"], len(found["intact"]), found["broken"]) == (["a", "b"], 92, [])


def test_a_broken_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    prefix = str(GOLDEN / "corrupt" / "v2_data_bitflip" / "model.ckpt")
    status, out, _ = run(capsys, "verify", prefix)
    assert status == 1
    assert out.splitlines()[0] == f"{prefix} (V2) is BROKEN"
    assert "broken tensors (1): f" in out
    assert "intact tensors (3): i, p, s" in out
    assert "checksum: Checksum does not match: stored 3222809213" in out
    status, out, _ = run(capsys, "verify", prefix, "--json")
    [found] = json.loads(out)["checkpoints"]
    assert (status, found["broken"], found["whole"]) == (1, ["f"], False)
    assert found["findings"][0]["kind"] == "checksum"
    assert found["findings"][0]["file"].endswith(".data-00000-of-00001")


def test_every_file_of_a_checkpoint_stands_for_it(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    prefix = write(tmp_path / "m-1", w=np.float32(1))
    checkpoint.update_checkpoint_state(tmp_path, prefix)
    for path in (
        tmp_path,
        prefix,
        prefix + ".index",
        prefix + ".data-00000-of-00001",
        tmp_path / "checkpoint",
    ):
        status, out, err = run(capsys, "verify", str(path))
        assert status == 0, err
        assert out.startswith(f"{prefix} (V2) is whole")


def test_all_checkpoints_of_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    paths = [write(tmp_path / f"m-{step}", w=np.float32(step)) for step in (1, 2)]
    checkpoint.update_checkpoint_state(tmp_path, paths[-1], paths)
    assert run(capsys, "verify", str(tmp_path), "--all")[0] == 0
    (tmp_path / "m-1.index").unlink()
    status, out, _ = run(capsys, "verify", str(tmp_path))
    assert status == 0  # training goes on from the newest
    assert "note, state: the state file names a checkpoint" in out
    status, out, _ = run(capsys, "ls", str(tmp_path), "--all", "--json")
    entries = json.loads(out)["checkpoints"]
    assert [(e["step"], e["format"], e["newest"]) for e in entries] == [(1, "", False), (2, "V2", True)]
    _, out, _ = run(capsys, "ls", str(tmp_path), "--all")
    assert out.splitlines()[1].endswith("m-1  gone")
    assert run(capsys, "verify", str(tmp_path / "nothing"), "--all")[0] == 2


def test_keys_of_a_slot_that_are_not_those_of_its_variable(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    with BundleWriter(str(tmp_path / "m")) as writer:
        for name, keys in (("e", [1, 2, 3]), ("e/Adagrad", [1, 2, 4])):
            embedding.write_embedding(writer, name, np.array(keys), np.ones((3, 2), np.float32), dim=2)
    status, out, _ = run(capsys, "verify", str(tmp_path / "m"), "--json")
    [found] = json.loads(out)["checkpoints"]
    assert (status, found["broken"], found["broken_embeddings"]) == (1, [], ["e"])
    assert {f["kind"] for f in found["findings"]} == {"embedding"}


def test_names_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    hostile = "\x1b]0;title\x07\u202e\x9b2J\n\r"
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.add(hostile, 1.0)
        writer.add(b"\xff", 2.0)
    data = tmp_path / "m.data-00000-of-00001"
    data.write_bytes(b"\1" * data.stat().st_size)
    for command in (
        ["ls"],
        ["ls", "--long"],
        ["verify"],
        ["verify", "--long"],
        ["diff", str(GOLDEN / "v2_saver")],
    ):
        _, out, err = run(capsys, command[0], *command[1:], str(tmp_path / "m"))
        for text in (out, err):
            assert not any(c in text for c in "\x1b\x07\u202e\x9b\r"), command
    _, out, _ = run(capsys, "ls", str(tmp_path / "m"))
    assert r"\x1b]0;title\x07\u202e\x9b2J\x0a\x0d" in out
    _, out, _ = run(capsys, "ls", str(tmp_path / "m"), "--json")
    assert [t["name"] for t in json.loads(out)["tensors"]] == [hostile, "\udcff"]


def test_diff(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    a = write(tmp_path / "a", same=1, w=np.arange(4.0), gone=2, s=np.array([b"x"], np.object_))
    b = write(tmp_path / "b", same=1, w=np.array([0, 1, 2.5, 3]), new=2, s=np.array([b"y\x1b"], np.object_))
    assert run(capsys, "diff", a, a)[:2] == (0, f"a: {a}\nb: {a}\nthe same, all 4\n")
    status, out, _ = run(capsys, "diff", a, b)
    assert status == 1
    assert out.splitlines()[2:] == [
        "only in a (1): gone",
        "only in b (1): new",
        r"s: 1 of 1 differ at [0]: 'x' in a, 'y\x1b' in b",
        "w: 1 of 4 differ, by at most 0.5 (relative 0.2) at [2]: 2 in a, 2.5 in b",
        "the same: 1",
    ]
    status, out, _ = run(capsys, "diff", a, b, "--json")
    document = json.loads(out)
    assert (status, document["same"], document["only_in_a"], document["num_same"]) == (1, False, ["gone"], 1)
    assert {t["name"]: t["values"]["max_abs"] for t in document["tensors"]} == {"s": None, "w": 0.5}


def test_a_tolerance(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    a = write(tmp_path / "a", w=np.array([100.0]))
    b = write(tmp_path / "b", w=np.array([100.5]))
    for options, status in (
        (["--tolerance", "0.001"], 1),
        (["--tolerance", "0.01"], 0),
        (["--rtol", "0.01"], 0),
        (["--atol", "0.5"], 0),
        (["--tolerance", "1", "--rtol", "0", "--atol", "0.1"], 1),
        (["--atol", "-1"], 2),
    ):
        assert run(capsys, "diff", a, b, *options)[0] == status, options


def test_keys_in_a_diff(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    for prefix, keys, value in (("a", [1, 2, 3], 1.0), ("b", [2, 3, 4], 1.5)):
        with BundleWriter(str(tmp_path / prefix)) as writer:
            rows = np.array([[value if key == 3 else 0.0] for key in keys], np.float32)
            embedding.write_embedding(writer, "e", np.array(keys), rows, dim=1)
    status, out, _ = run(capsys, "diff", str(tmp_path / "a"), str(tmp_path / "b"))
    assert status == 1
    assert out.splitlines()[2:] == [
        "e: 1 key added, 1 removed, 1 changed, 1 the same",
        "  added: 4",
        "  removed: 1",
        "  changed: 3",
        "  values: 1 of 2 differ, by at most 0.5 (relative 0.333): 1 in a, 1.5 in b (at key 3, column 0)",
        "the same: 0",
    ]
    status, out, _ = run(capsys, "diff", str(tmp_path / "a"), str(tmp_path / "b"), "--json")
    [found] = json.loads(out)["embeddings"]
    assert (found["num_added"], found["removed"], found["columns"]["values"]["at"]) == (1, [1], [3, 0])


def test_damage_is_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = (str(GOLDEN / "corrupt" / case / "model.ckpt") for case in ("v2_good", "v2_data_bitflip"))
    status, out, err = run(capsys, "diff", good, bad)
    assert (status, out) == (2, "")
    assert err.startswith("DataLossError: ")
