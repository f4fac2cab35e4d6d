"""`kvarn show`: regions, histograms, strings, rows of embedding variables."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from kvarn.formats.bundle import BundleWriter
from kvarn.formats.detect import open_checkpoint
from kvarn.testing.commands import run

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "golden" / "checkpoints"
EV = str(GOLDEN / "tf115" / "ev_deeprec" / "model.ckpt")
LARGE = np.arange(600_000 * 4, dtype=np.float32).reshape(600_000, 4)  # two chunks


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("show") / "m")
    with BundleWriter(path) as writer:
        writer.add("large", LARGE)
        writer.add("scalar", np.int64(7))
        writer.add("half", np.float32([1.5, np.nan, -np.inf, 0]).astype(ml_dtypes.bfloat16))
        writer.add("words", np.array([[b"plain", b"\x1b[31mred"], [b"\xff\xfe", "é".encode()]], np.object_))
        writer.add("complex", np.complex64([1 + 2j]))
        writer.add("empty", np.zeros((0, 3), np.float32))
        writer.add("flags", np.array([True, False]))
    return path


REGIONS: list[tuple[str, Any]] = [
    ("0:3,:", np.s_[0:3, :]),
    ("599998:", np.s_[599998:]),
    ("5,1:3", np.s_[5, 1:3]),
    ("-1", np.s_[-1]),
    ("-3:,::2", np.s_[-3:, ::2]),
    ("524286:524291,0", np.s_[524286:524291, 0]),
    ("::100000,3", np.s_[::100000, 3]),
    ("599999::-200000,1", np.s_[599999::-200000, 1]),
    ("[7, 2]", np.s_[7, 2]),
    ("9:3", np.s_[9:3]),
]


@pytest.mark.parametrize(("text", "index"), REGIONS)
def test_a_region_is_that_of_numpy(
    capsys: pytest.CaptureFixture[str], prefix: str, text: str, index: Any
) -> None:
    status, out, err = run(capsys, "show", prefix, "large", "--json", "--", text)
    assert status == 0, err
    assert json.loads(out)["values"] == LARGE[index].tolist()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1,2,3", "it has 3 dimensions"),
        ("x", "'x' is no number"),
        ("0,9", "9 is out of bounds"),
        ("::0", "a step cannot be 0"),
        (":", "2,400,000 elements are more"),
        ("1,,2", "is no slice"),
    ],
)
def test_what_is_no_region(capsys: pytest.CaptureFixture[str], prefix: str, text: str, why: str) -> None:
    status, out, err = run(capsys, "show", prefix, "large", text)
    assert (status, out) == (2, "")
    assert why in err


def test_statistics_and_histogram(capsys: pytest.CaptureFixture[str], prefix: str) -> None:
    _, out, _ = run(capsys, "show", prefix, "large", "--bins", "4", "--json")
    own = json.loads(out)["statistics"]
    assert own["histogram"]["counts"] == [LARGE.size // 4] * 4
    assert (own["min"], own["max"], own["count"]) == (0, LARGE.size - 1, LARGE.size)
    _, out, _ = run(capsys, "show", prefix, "large", "--bins", "4")
    assert out.count("█" * 40) == 4
    assert "0 1 2 3 4 5 6 7 …" in out
    _, out, _ = run(capsys, "show", prefix, "large", "--bins", "0")
    assert "█" not in out


def test_nan_and_infinity_are_counted(capsys: pytest.CaptureFixture[str], prefix: str) -> None:
    _, out, _ = run(capsys, "show", prefix, "half", "--json")
    document = json.loads(out, parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert document["statistics"]["nan"] == document["statistics"]["inf"] == 1
    assert document["head"] == [1.5, None, None, 0.0]
    _, out, _ = run(capsys, "show", prefix, "half")
    assert "zero 1  nan 1  inf 1" in out


def test_strings_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str], prefix: str) -> None:
    _, out, _ = run(capsys, "show", prefix, "words")
    assert out.splitlines()[-1] == r"plain \x1b[31mred \xff\xfe é"
    _, out, _ = run(capsys, "show", prefix, "words", "1,:", "--json")
    assert json.loads(out)["values"] == [r"\xff\xfe", "é"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("scalar", "7"), ("empty", "(no elements)"), ("flags", "True False"), ("complex", "(1+2j)")],
)
def test_small_things(capsys: pytest.CaptureFixture[str], prefix: str, name: str, shown: str) -> None:
    status, out, err = run(capsys, "show", prefix, name)
    assert status == 0, err
    assert out.splitlines()[-1] == shown
    assert run(capsys, "show", prefix, name, "--json")[0] == 0


def test_a_row_by_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    with open_checkpoint(EV) as reader:
        keys, filtered = reader.lookup("b/part_2-keys"), reader.lookup("b/part_2-keys_filtered")
        values, freqs = reader.lookup("b/part_2-values"), reader.lookup("b/part_2-freqs")
        slot_keys = reader.lookup("b/part_2/Adagrad-keys")
        slot_values = reader.lookup("b/part_2/Adagrad-values")
        waiting = reader.lookup("b/part_2-freqs_filtered")
    status, out, _ = run(capsys, "show", EV, "b", "--key", str(keys[3]), "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["found"], found["admitted"], found["partition"]) == (True, True, 2)
    assert (found["value"], found["freq"]) == (values[3].tolist(), freqs[3])
    assert found["slots"] == {"Adagrad": slot_values[slot_keys.tolist().index(keys[3])].tolist()}
    _, out, _ = run(capsys, "show", EV, "b", "--key", str(keys[3]))
    assert f"key {keys[3]}, part 2" in out
    status, out, _ = run(capsys, "show", EV, "b", "--key", str(filtered[0]), "--json")
    found = json.loads(out)
    assert (status, found["admitted"], found["freq"]) == (0, False, waiting[0])
    status, out, _ = run(capsys, "show", EV, "b", "--key", "-12345")
    assert (status, out) == (1, "key -12345 is not in b\n")


def test_a_key_of_what_has_none(capsys: pytest.CaptureFixture[str], prefix: str) -> None:
    assert run(capsys, "show", prefix, "scalar", "--key", "1")[0] == 2
    assert run(capsys, "show", EV, "b", "0:3")[0] == 2
