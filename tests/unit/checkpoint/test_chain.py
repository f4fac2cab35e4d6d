"""Chains: what is said of saves that are missing, forked, foreign or there twice; ordinary variables; commands."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import numpy as np
import pytest

from kvarn import checkpoint
from kvarn.checkpoint.chain import Chain
from kvarn.cli import main
from kvarn.errors import (
    AlreadyExistsError,
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OpError,
)
from kvarn.formats import embedding_increment as increment
from kvarn.formats import manifest as manifests
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.manifest import FULL, INCREMENT, Manifest, Parent, RowCounts
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import LOCAL, MemoryFileSystem
from kvarn.testing.chains import ChainFiles, TableModel, stored_state

FOLDER = f"m/{increment.FOLDER}/{increment.BASENAME}"


def five(fs: Any, folder: str = "m", **arguments: Any) -> ChainFiles:
    """Five saves, of steps 100 to 500; the first is full."""
    model = TableModel(slots={"": 2})
    files = ChainFiles(fs, folder, model, **arguments)
    for number in range(1, 6):
        model.put(number, float(number))
        if number > 2:
            model.remove(number - 2)
        files.save(100 * number, full=number == 1)
    return files


@pytest.fixture
def fs() -> MemoryFileSystem:
    return MemoryFileSystem()


def drop(fs: MemoryFileSystem, prefix: str) -> None:
    for path in [path for path in fs.files if os.path.splitext(path)[0] == prefix]:
        del fs.files[path]


def copy(fs: MemoryFileSystem, prefix: str, to: str) -> None:
    for path in [path for path in fs.files if os.path.splitext(path)[0] == prefix]:
        fs.files[to + os.path.splitext(path)[1]] = bytearray(fs.files[path])


def refusal(chain: Chain, step: int | None = None) -> OpError:
    with pytest.raises(OpError) as caught:
        chain.path(step)
    return caught.value


def test_a_gap_is_named_by_the_numbers_around_it(fs: MemoryFileSystem) -> None:
    five(fs)
    drop(fs, f"{FOLDER}-400")
    error = refusal(Chain.open("m", fs))
    assert isinstance(error, NotFoundError)
    assert error.without_hint.startswith("increment 4 is missing between 3 (step 300) and 5 (step 500)")
    assert [link.number for link in Chain.open("m", fs).path(300)] == [1, 2, 3]


def test_a_missing_full_save(fs: MemoryFileSystem) -> None:
    five(fs)
    drop(fs, "m/model.ckpt-100")
    assert refusal(Chain.open("m", fs)).without_hint.startswith("full save 1 is missing before 2 (step 200)")


def test_a_gap_says_whose_manifest_cannot_be_read(fs: MemoryFileSystem) -> None:
    five(fs)
    fs.files[f"{FOLDER}-400{manifests.SUFFIX}"][30] ^= 1
    error = refusal(Chain.open("m", fs))
    assert "increment 4 is missing between 3 (step 300) and 5 (step 500)" in error.message
    assert f"the manifest '{FOLDER}-400.kvarn_manifest' is damaged" in error.message


def test_a_save_that_is_there_twice(fs: MemoryFileSystem) -> None:
    five(fs)
    copy(fs, f"{FOLDER}-300", "m/again")
    error = refusal(Chain.open("m", fs))
    assert isinstance(error, FailedPreconditionError)
    assert error.without_hint == f"number 3 (step 300) is there twice, '{FOLDER}-300' and 'm/again'"
    assert len(Chain.open("m", fs).path(200)) == 2


def test_a_fork(fs: MemoryFileSystem) -> None:
    """Two runs go on from number 4: number 5 of both is there."""
    five(fs)
    other = MemoryFileSystem()
    model = TableModel(slots={"": 2})
    again = ChainFiles(other, "m", model)
    for number in range(1, 6):
        model.put(number, float(number) if number < 5 else 77.0)
        if number > 2:
            model.remove(number - 2)
        again.save(100 * number, full=number == 1)
    copy(other, f"{FOLDER}-500", "x")
    for path, content in other.files.items():
        if path.startswith("x."):
            fs.files[f"m/other{os.path.splitext(path)[1]}"] = content
    error = refusal(Chain.open("m", fs))
    assert isinstance(error, FailedPreconditionError)
    assert "number 5 (step 500) is there twice" in error.without_hint
    assert "they differ: the chain 00000000 forks there" in error.without_hint


def test_an_increment_on_another_save_of_that_number(fs: MemoryFileSystem) -> None:
    files = five(fs)
    drop(fs, f"{FOLDER}-400")
    other = MemoryFileSystem()
    model = TableModel(slots={"": 2})
    again = ChainFiles(other, "m", model, files.chain)
    for number in range(1, 5):
        model.put(number, -1.0)
        again.save(100 * number, full=number == 1)
    for path, content in other.files.items():
        if path.startswith(f"{FOLDER}-400"):
            fs.files[path] = content
    error = refusal(Chain.open("m", fs))
    assert error.without_hint == (
        f"increment 5 (step 500) was made on another increment 4 than '{FOLDER}-400': the chain 00000000 forks there"
    )


def test_a_newer_save_of_another_chain(fs: MemoryFileSystem) -> None:
    five(fs)
    other = MemoryFileSystem()
    model = TableModel(slots={"": 2})
    foreign = ChainFiles(other, "m", model, "f" * 32)
    foreign.save(550, full=True)
    foreign.save(600)
    fs.files |= {path: file for path, file in other.files.items() if "600" in path}
    chain = Chain.open("m", fs)
    assert [link.number for link in chain.foreign] == [2]
    error = refusal(chain)
    assert isinstance(error, FailedPreconditionError)
    assert error.without_hint == (
        f"'{FOLDER}-600' is number 2 (step 600) of another chain, ffffffff, and newer than the last of this one, "
        "5 (step 500)"
    )
    assert "is number 2 of another chain" in refusal(chain, 600).message
    assert chain.path(500)[-1].number == 5


def test_a_step_that_nothing_ends_with(fs: MemoryFileSystem) -> None:
    five(fs)
    error = refusal(Chain.open("m", fs), 250)
    assert isinstance(error, InvalidArgumentError)
    assert "ends with step 250; there are 100, 200, 300, 400, 500" in error.message


def test_an_index_of_another_save(fs: MemoryFileSystem) -> None:
    five(fs)
    fs.files[f"{FOLDER}-300.index"] = fs.files[f"{FOLDER}-200.index"]
    error = refusal(Chain.open("m", fs))
    assert isinstance(error, DataLossError)
    assert "is not the index that increment 3 (step 300) was saved with" in error.message
    del fs.files[f"{FOLDER}-300.index"]
    assert "increment 3 (step 300) has lost its index" in refusal(Chain.open("m", fs)).message


def test_a_data_file_that_is_damaged(fs: MemoryFileSystem) -> None:
    five(fs)
    fs.files[f"{FOLDER}-300.data-00000-of-00001"][-10] ^= 1
    with pytest.raises(DataLossError, match=r"number 3 \(step 300\) of the chain cannot be used"):
        Chain.open("m", fs).at(500, "out", output_fs=fs)
    assert not [path for path in fs.files if path.startswith("out")]
    report = Chain.open("m", fs).verify()
    assert not report.whole
    assert report.restorable == (1, 2)


def test_a_newest_save_that_the_state_file_knows_and_is_gone(fs: MemoryFileSystem) -> None:
    five(fs)
    checkpoint.update_checkpoint_state_internal(
        f"m/{increment.FOLDER}", f"m/{increment.FOLDER}/incremental_model.ckpt-500", fs=fs
    )
    Chain.open("m", fs).path()
    drop(fs, f"{FOLDER}-500")
    error = refusal(Chain.open("m", fs))
    assert "names 'incremental_model.ckpt-500' as the newest, which is not in the chain" in error.message
    assert [link.number for link in Chain.open("m", fs).path(400)] == [1, 2, 3, 4]


def test_a_newest_save_without_a_step_that_is_not_in_the_chain(fs: MemoryFileSystem) -> None:
    five(fs)
    checkpoint.update_checkpoint_state_internal(f"m/{increment.FOLDER}", f"m/{increment.FOLDER}/other", fs=fs)
    assert "names 'other' as the newest, which is not in the chain" in refusal(Chain.open("m", fs)).message
    assert [link.number for link in Chain.open("m", fs).path(400)] == [1, 2, 3, 4]


def test_a_save_over_another_takes_its_manifest(fs: MemoryFileSystem) -> None:
    five(fs)
    with BundleReader(f"{FOLDER}-200", fs) as reader, BundleWriter(f"{FOLDER}-200", fs) as writer:
        for name in reader.keys():  # noqa: SIM118
            writer.add(name, reader.lookup(name))
    assert "increment 2 is missing" in refusal(Chain.open("m", fs)).message


@pytest.mark.parametrize("slots", [{"": 2}, {"": 2, "/Adagrad": 2}])
@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 3), (7, 0), (1, 0)])
def test_increments_in_other_parts_than_the_full_save(
    fs: MemoryFileSystem, slots: dict[str, int], before: int, after: int
) -> None:
    model = TableModel(slots=slots)
    files = ChainFiles(fs, "m", model)
    for key in (1, 2, 1001):
        model.put(key, float(key))
    files.save(100, full=True, parts=before)
    model.put(3, 0.25)
    model.remove(2)
    files.save(200, parts=after)
    Chain.open("m", fs).compact("out", output_fs=fs)
    assert stored_state("out", model, fs) == files.states[200]


def test_cumulative_increments_need_the_full_save_alone(fs: MemoryFileSystem) -> None:
    model = TableModel(slots={"": 2})
    files = ChainFiles(fs, "m", model)
    files.save(1, full=True)
    for step in (2, 3, 4):
        model.put(step, 1.0)
        files.save(step, cumulative=True)
    drop(fs, f"{FOLDER}-2")
    drop(fs, f"{FOLDER}-3")
    chain = Chain.open("m", fs)
    assert [link.number for link in chain.path()] == [1, 4]
    assert chain.verify().whole
    chain.compact("out", output_fs=fs)
    assert stored_state("out", model, fs) == files.states[4]


def test_opening_by_folder_or_prefix(fs: MemoryFileSystem) -> None:
    five(fs)
    for path in ("m", f"m/{increment.FOLDER}", "m/model.ckpt-100", f"{FOLDER}-300", f"{FOLDER}-300.index"):
        assert len(Chain.open(path, fs).links) == 5, path
    with pytest.raises(NotFoundError, match="manifest"):
        Chain.open("m/no", fs)
    fs.make_directory("empty")
    with pytest.raises(NotFoundError, match="no checkpoint in 'empty' has a manifest"):
        Chain.open("empty", fs)


def test_a_replay_into_other_parts(fs: MemoryFileSystem) -> None:
    files = five(fs)
    for parts, names in ((0, ["b"]), (1, ["b/part_0"]), (3, ["b/part_0", "b/part_1", "b/part_2"])):
        done = Chain.open("m", fs).at(400, f"out-{parts}", partitions=parts, output_fs=fs)
        assert (done.step, done.numbers, done.embeddings) == (400, (1, 2, 3, 4), {"b": 2})
        with BundleReader(f"out-{parts}", fs) as reader:
            assert [n[:-5] for n in list(reader.keys()) if n.endswith("-keys")] == names
        assert stored_state(f"out-{parts}", files.model, fs) == files.states[400]
    with pytest.raises(InvalidArgumentError, match="1001 partitions"):
        Chain.open("m", fs).at(400, "out", partitions=1001, output_fs=fs)


def test_a_target_that_is_there_is_not_replaced_unasked(fs: MemoryFileSystem) -> None:
    files = five(fs)
    chain = Chain.open("m", fs)
    chain.at(100, "out", output_fs=fs)
    with pytest.raises(AlreadyExistsError):
        chain.at(500, "out", output_fs=fs)
    assert stored_state("out", files.model, fs) == files.states[100]
    chain.at(500, "out", overwrite=True, output_fs=fs)
    assert stored_state("out", files.model, fs) == files.states[500]
    with pytest.raises(InvalidArgumentError, match="own source"):
        chain.at(500, "m/model.ckpt-100", overwrite=True, output_fs=fs)


def test_tensors_that_the_manifest_does_not_tell_of(fs: MemoryFileSystem) -> None:
    """A manifest and an index that fit each other, and tensors of other lengths: never a silent half."""
    five(fs)
    link = Chain.open("m", fs).links[-1]
    with BundleReader(link.prefix, fs) as reader:
        tensors = {name: reader.lookup(name) for name in list(reader.keys())}
    tensors["b" + increment.REMOVED_KEYS] = np.array([4, 9], np.int64)
    with BundleWriter(link.prefix, fs) as writer:
        for name, array in tensors.items():
            writer.add(name, array)
    digest = manifests.digest(bytes(fs.files[link.prefix + ".index"]))
    manifests.write_manifest(link.prefix, dataclasses.replace(link.manifest, index_digest=digest), fs)
    with pytest.raises(DataLossError, match=r"number 5 \(step 500\) .* does not fit its manifest: .* 1 rows"):
        Chain.open("m", fs).compact("out", output_fs=fs)


# -- ordinary variables --------------------------------------------------------------------------------


class Dense:
    """A full save of ordinary tensors, and increments on it."""

    def __init__(self, fs: MemoryFileSystem) -> None:
        self.fs = fs
        self.number = 0
        self.parent: Parent | None = None

    def save(self, step: int, rows: dict[str, RowCounts], write: Any) -> None:
        prefix = f"m/ckpt-{step}"
        with BundleWriter(prefix, self.fs) as writer:
            write(writer)
        self.number += 1
        kind = FULL if self.parent is None else INCREMENT
        index = manifests.digest(bytes(self.fs.files[prefix + ".index"]))
        made = Manifest("0" * 32, self.number, kind, False, self.parent, (None, step), index, {}, rows)
        self.parent = Parent(self.number, kind, step, manifests.write_manifest(prefix, made, self.fs))


def halves(writer: BundleWriter, values: Any) -> None:
    for start in (0, 2):
        piece = TensorSlice(((start, 2), (0, 2)))
        writer.add_slice("w", (4, 2), piece, values[start : start + 2])


def test_rows_of_increments_are_put_into_the_slices_of_the_full_save(fs: MemoryFileSystem) -> None:
    w = np.arange(8, dtype=np.float32).reshape(4, 2)
    dense = Dense(fs)
    dense.save(1, {}, lambda writer: (halves(writer, w), writer.add("d", np.zeros(2))))
    second = RowCounts("w", "4 2 2,2:0,2", 1)

    def rows(value: float, row: int) -> Any:
        def write(writer: BundleWriter) -> None:
            increment.write_rows(writer, "w/part_1", np.array([row]), np.full((1, 2), value, np.float32))
            writer.add("d", np.full(2, value))

        return write

    dense.save(2, {"w/part_1": second}, rows(50.0, 1))
    dense.save(3, {"w/part_1": second}, rows(60.0, 0))
    Chain.open("m", fs).at(3, "out", output_fs=fs)
    with BundleReader("out", fs) as reader:
        assert len(reader.info("w").slices) == 2
        assert reader.lookup("w").tolist() == [[0, 1], [2, 3], [60, 60], [50, 50]]
        assert reader.lookup("d").tolist() == [60, 60]


@pytest.mark.parametrize(
    ("counts", "row", "said"),
    [
        (RowCounts("w", "4 2 2,2:0,2", 1), 2, "beyond its 2"),
        (RowCounts("w", "5 2 2,2:0,2", 1), 0, "the tensor has"),
        (RowCounts("w", "4 2 0,4:0,1", 1), 0, "another axis"),
        (RowCounts("w", "4 2 2,2:0,2", 2), 0, "does not fit its manifest"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    fs: MemoryFileSystem, counts: RowCounts, row: int, said: str
) -> None:
    dense = Dense(fs)
    dense.save(1, {}, lambda writer: halves(writer, np.zeros((4, 2), np.float32)))
    dense.save(
        2,
        {"w/part_1": counts},
        lambda writer: increment.write_rows(
            writer, "w/part_1", np.array([row]), np.zeros((1, 2), np.float32)
        ),
    )
    with pytest.raises(DataLossError, match=said):
        Chain.open("m", fs).at(2, "out", output_fs=fs)
    assert not [path for path in fs.files if path.startswith("out")]


# -- commands ------------------------------------------------------------------------------------------


def command(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    try:
        main(list(arguments))
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_commands(tmp_path: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = five(LOCAL)
    status, out, _ = command(capsys, "chain", "ls", "m", "--json")
    listed = json.loads(out)
    assert status == 0
    assert [link["number"] for link in listed["links"]] == [1, 2, 3, 4, 5]
    assert listed["links"][2]["variables"]["b"]["deletions"] == 1
    status, out, _ = command(capsys, "chain", "verify", "m", "--json")
    assert (status, json.loads(out)["restorable"]) == (0, [1, 2, 3, 4, 5])
    status, out, _ = command(capsys, "chain", "at", "300", "m", "o/x", "--partitions", "2", "--json")
    assert (status, json.loads(out)["numbers"]) == (0, [1, 2, 3])
    assert stored_state("o/x", files.model) == files.states[300]
    status, out, _ = command(capsys, "chain", "compact", "m", "o/y")
    assert status == 0
    assert out.startswith("o/y at step 500  (made of 1, 2, 3, 4, 5; 1 tensor)")
    os.remove(f"{FOLDER}-400{manifests.SUFFIX}")
    status, out, _ = command(capsys, "chain", "verify", "m")
    assert status == 1
    assert "increment 4 is missing between 3 (step 300) and 5 (step 500)" in out
    assert f"manifest: '{FOLDER}-400' has no manifest" in out
    status, _, err = command(capsys, "chain", "compact", "m", "o/z")
    assert status == 2
    assert "increment 4 is missing between 3 (step 300) and 5 (step 500)" in err
    assert not os.path.exists("o/z.index")


def test_a_checkpoint_beside_the_chain_does_not_break_it(fs: MemoryFileSystem) -> None:
    five(fs)
    Chain.open("m", fs).compact("m/compact", output_fs=fs)
    report = Chain.open("m", fs).verify()
    assert report.whole
    assert report.restorable == (1, 2, 3, 4, 5)
    assert [finding.text for finding in report.findings] == ["'m/compact' has no manifest"]
    checkpoint.update_checkpoint_state_internal("m", "m/compact", fs=fs)
    assert not Chain.open("m", fs).verify().whole


def test_a_target_that_is_a_save_of_the_chain(fs: MemoryFileSystem) -> None:
    five(fs)
    with pytest.raises(InvalidArgumentError) as caught:
        Chain.open("m", fs).compact("m/model.ckpt-100", overwrite=True, output_fs=fs)
    assert "of the chain cannot be used" not in caught.value.message
