"""`rewrite`: names, tensors and types change as the rules say; everything else stays to the bit."""

from __future__ import annotations

import pathlib

import ml_dtypes
import numpy as np
import pytest

from kvarn import checkpoint, dtypes
from kvarn.checkpoint.verbs.rewrite import RewriteReport, rewrite
from kvarn.errors import AlreadyExistsError, DataLossError, InvalidArgumentError, OpError
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.safetensors import SafetensorsReader
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import LocalFileSystem, MemoryFileSystem

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "checkpoints"
EV = str(GOLDEN / "tf115" / "ev_deeprec" / "model.ckpt")
SLICES = str(GOLDEN / "tf115" / "v2_slices" / "model.ckpt")
DTYPES = str(GOLDEN / "tf115" / "v2_dtypes" / "model.ckpt")


@pytest.fixture
def fs() -> MemoryFileSystem:
    """A model with slots of two optimizers, one of whose variables is gone."""
    files = MemoryFileSystem()
    with BundleWriter("m", files) as writer:
        for name in ("w", "w/Adam", "w/Adam_1", "gone/Momentum", "w/ExponentialMovingAverage", "Adam"):
            writer.add(name, np.arange(6, dtype=np.float32).reshape(3, 2) + len(name))
        writer.add("beta1_power", np.float32(0.9))
        writer.add("scope/beta2_power_1", np.float32(0.999))
        writer.add("global_step", np.int64(7))
        for start, length in ((4, 2), (0, 4)):
            rows = np.arange(start, start + length, dtype=np.float16)
            writer.add_slice("parts", (6,), TensorSlice(((start, length),)), rows)
        writer.add("names", np.array([b"a", b"\xff"], object))
        writer.add("q", np.array([1, 2], np.int8), dtypes.qint8)
    return files


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    if expected.dtype.hasobject:
        return bool(found.tolist() == expected.tolist())
    return bool(found.dtype == expected.dtype and found.tobytes() == expected.tobytes())


def names(report: RewriteReport) -> list[str]:
    return [change.name for change in report.removed]


def test_slim_takes_slots_of_variables_that_are_there_and_no_others(fs: MemoryFileSystem) -> None:
    report = rewrite("m", "slim", slim=True, fs=fs)
    assert names(report) == ["beta1_power", "scope/beta2_power_1", "w/Adam", "w/Adam_1"]
    assert {change.why for change in report.removed} == {"optimizer slot"}
    assert "gone/Momentum" in report.notes[0]
    with BundleReader("slim", fs) as reader:
        assert reader.keys() == [
            "Adam", "global_step", "gone/Momentum", "names", "parts", "q", "w", "w/ExponentialMovingAverage",
        ]  # fmt: skip


def test_slim_of_an_embedding_variable(tmp_path: pathlib.Path) -> None:
    report = rewrite(EV, tmp_path / "slim", slim=True)
    assert "b/Adagrad" in names(report)
    with BundleReader(EV) as before, BundleReader(tmp_path / "slim") as after:
        left = [name for name in before.keys() if "/Adagrad" not in name]  # noqa: SIM118
        assert after.keys() == left
        for name in left:
            assert after.lookup(name).tobytes() == before.lookup(name).tobytes()


def test_names_of_an_embedding_variable_change_with_all_parts_and_slots(tmp_path: pathlib.Path) -> None:
    rewrite(EV, tmp_path / "new", rename=[("b", "user/b"), ("re:^a/Adagrad$", "a/Adagrad_1")])
    with BundleReader(EV) as before, BundleReader(tmp_path / "new") as after:
        for name in before.keys():  # noqa: SIM118
            new = f"user/{name}" if name.startswith("b/part_") else name.replace("a/Adagrad-", "a/Adagrad_1-")
            assert after.lookup(new).tobytes() == before.lookup(name).tobytes()
        assert len(after.keys()) == len(before.keys())


def test_nothing_changes_without_rules() -> None:
    for source in (SLICES, DTYPES, EV):
        fs = MemoryFileSystem()
        fs.make_directories("x")
        with BundleReader(source) as before:
            rewrite(source, "x/copy", target_fs=fs)
            with BundleReader("x/copy", fs) as after:
                assert list(after.tensors()) == [
                    type(info)(info.name, info.dtype, info.shape, info.size_bytes, info.slices)
                    for info in before.tensors()
                ]
                for info in before.tensors():
                    for piece in info.slices:
                        stored = before.lookup_stored_slice(info.name, piece)
                        assert same(after.lookup_stored_slice(info.name, piece), stored)
                    if not info.slices:
                        assert same(after.lookup(info.name), before.lookup(info.name))


def test_slices_stay_unless_asked(fs: MemoryFileSystem) -> None:
    rewrite("m", "kept", keep=["parts"], rename=[("parts", "p")], fs=fs)
    rewrite("m", "joined", keep=["parts"], unslice=True, fs=fs)
    with BundleReader("kept", fs) as kept, BundleReader("joined", fs) as joined:
        assert [str(piece) for piece in kept.info("p").slices] == ["4,2", "0,4"]
        assert joined.info("parts").slices == ()
        assert joined.lookup("parts").tolist() == [0, 1, 2, 3, 4, 5]


def test_a_gap_between_slices_is_an_error() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add_slice("h", (6, 2), TensorSlice.parse("0,2:-"), np.zeros((2, 2), np.float16))
    before = set(fs.files)
    with pytest.raises(InvalidArgumentError, match="sufficient slices"):
        rewrite("m", "x", unslice=True, fs=fs)
    assert set(fs.files) == before


def test_keep_and_drop(fs: MemoryFileSystem) -> None:
    rewrite("m", "x", keep=["w*", "global_step"], drop=["*/Adam*"], fs=fs)
    with BundleReader("x", fs) as reader:
        assert reader.keys() == ["global_step", "w", "w/ExponentialMovingAverage"]


def test_a_slot_of_an_embedding_variable_can_be_dropped_alone(tmp_path: pathlib.Path) -> None:
    report = rewrite(EV, tmp_path / "x", drop=["b/Adagrad"])
    assert names(report) == ["b/Adagrad"]
    with BundleReader(tmp_path / "x") as reader:
        assert reader.contains("a/Adagrad-keys")
        assert reader.contains("b/part_3-keys")
        assert not reader.contains("b/part_3/Adagrad-keys")


def test_the_first_rule_that_means_a_name_decides(fs: MemoryFileSystem) -> None:
    rules = [("w", "Adam"), ("Adam", "w"), (r"re:^w/(\w+)$", r"w.\1")]
    rewrite("m", "x", rename=rules, fs=fs)
    with BundleReader("m", fs) as before, BundleReader("x", fs) as after:
        assert after.lookup("Adam").tolist() == before.lookup("w").tolist()
        assert after.lookup("w").tolist() == before.lookup("Adam").tolist()
        assert after.lookup("w.Adam_1").tolist() == before.lookup("w/Adam_1").tolist()


def test_two_things_of_one_name_are_both_named(fs: MemoryFileSystem) -> None:
    before = set(fs.files)
    with pytest.raises(InvalidArgumentError, match=r"'Adam' and 'w' would both be called 'w'"):
        rewrite("m", "x", rename=[("Adam", "w")], fs=fs)
    assert set(fs.files) == before


def test_casts(fs: MemoryFileSystem) -> None:
    report = rewrite("m", "x", cast={"w": "bfloat16", "global_step": "int32", "*": dtypes.float16}, fs=fs)
    assert not report.unmatched
    with BundleReader("x", fs) as reader:
        assert reader.lookup("w").dtype == ml_dtypes.bfloat16
        assert reader.lookup("w/Adam").tolist() == [[6, 7], [8, 9], [10, 11]]
        assert reader.lookup("w/Adam").dtype == np.float16
        step = reader.lookup("global_step")
        assert (step.dtype, step) == (np.int32, 7)
        assert reader.info("names").dtype is dtypes.string
        assert reader.info("q").dtype is dtypes.qint8


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.float32(1e6), "float16"),
        (np.array([0, np.inf], np.float32), "float8_e4m3fn"),
        (np.float64(1e39), "float32"),
        (np.array([1, -1], np.int64), "uint64"),
        (np.uint64(1 << 63), "int64"),
        (np.int64(8), "int4"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error(value: np.ndarray, dtype: str) -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add("v", value)
    before = set(fs.files)
    with pytest.raises(InvalidArgumentError, match="'v' has the value"):
        rewrite("m", "x", cast={"v": dtype}, fs=fs)
    assert set(fs.files) == before


def test_what_fits_is_cast_exactly() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add("i", np.array([-8, 7], np.int64))
        writer.add("f", np.array([np.nan, np.inf, -np.inf, 65504, -0.0], np.float64))
    rewrite("m", "x", cast={"i": "int4", "f": "float16"}, fs=fs)
    with BundleReader("x", fs) as reader:
        assert reader.lookup("i").astype(int).tolist() == [-8, 7]
        assert (
            reader.lookup("f").tobytes() == np.array([np.nan, np.inf, -np.inf, 65504, -0.0], "f2").tobytes()
        )


@pytest.mark.parametrize(
    "rules",
    [
        {"cast": {"names": "float16"}},
        {"cast": {"w": "int32"}},
        {"cast": {"w": "string"}},
        {"cast": {"w": "no type"}},
        {"drop": ["re:("]},
        {"rename": [("w", "")]},
    ],
)
def test_rules_that_cannot_be_are_refused(fs: MemoryFileSystem, rules: dict) -> None:
    before = set(fs.files)
    with pytest.raises(InvalidArgumentError):
        rewrite("m", "x", fs=fs, **rules)
    assert set(fs.files) == before


def test_a_slot_does_not_leave_its_variable(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidArgumentError, match="away from its embedding variable 'b'"):
        rewrite(EV, tmp_path / "x", rename=[("b/Adagrad", "c/Adagrad")])


def test_a_rule_that_means_nothing_is_told(fs: MemoryFileSystem) -> None:
    report = rewrite("m", "x", drop=["w/Adma"], rename=[("re:^z", "")], fs=fs)
    assert "'w/Adam'" in report.unmatched[1]
    assert len(report.unmatched) == 2
    with pytest.raises(InvalidArgumentError, match="rename 're:\\^z'"):
        rewrite("m", "y", rename=[("re:^z", "")], strict=True, fs=fs)


def test_a_dry_run_writes_nothing(fs: MemoryFileSystem) -> None:
    before = set(fs.files)
    report = rewrite("m", "x", slim=True, dry_run=True, fs=fs)
    assert len(report.removed) == 4
    assert set(fs.files) == before


def test_the_meta_goes_along_only_if_it_stays_true(fs: MemoryFileSystem) -> None:
    fs.files["m.meta"] = bytearray(b"graph")
    assert rewrite("m", "a", fs=fs).meta_copied
    assert bytes(fs.files["a.meta"]) == b"graph"
    assert not rewrite("m", "b", drop=["names"], fs=fs).meta_copied
    assert not rewrite("m", "c", cast={"w": "float16"}, fs=fs).meta_copied
    assert not {"b.meta", "c.meta"} & set(fs.files)


def test_the_source_is_never_the_target(tmp_path: pathlib.Path) -> None:
    with BundleWriter(tmp_path / "m") as writer:
        writer.add("w", np.zeros(2))
    (tmp_path / "link").symlink_to(tmp_path)
    for target in ("m", "../" + tmp_path.name + "/m", "link/m"):
        with pytest.raises(InvalidArgumentError, match="own source"):
            rewrite(tmp_path / "m", tmp_path / target, overwrite=True)
    rewrite(tmp_path / "m", tmp_path / "x")
    with pytest.raises(AlreadyExistsError):
        rewrite(tmp_path / "m", tmp_path / "x")
    rewrite(tmp_path / "m", tmp_path / "x", rename=[("w", "v")], overwrite=True)
    with BundleReader(tmp_path / "x") as reader:
        assert reader.keys() == ["v"]


def test_strings_cut_along_columns_are_joined(fs: MemoryFileSystem) -> None:
    """TensorFlow does not cut strings; slices that were stored are put together all the same."""
    words = np.array([[b"a", b"", b"\0b"], [b"c", b"\xff", b"d"]], object)
    with BundleWriter("words", fs) as writer:
        writer.add_slice("w", (2, 3), TensorSlice.parse("-:1,2"), words[:, 1:])
        writer.add_slice("w", (2, 3), TensorSlice.parse("-:0,1"), words[:, :1])
    assert checkpoint.diff("words", "words", fs=fs).same
    rewrite("words", "joined", unslice=True, fs=fs)
    with BundleReader("joined", fs) as reader:
        assert reader.lookup("w").tolist() == words.tolist()


def test_a_target_that_is_linked_to_the_source_is_refused(tmp_path: pathlib.Path) -> None:
    """Replacing it would replace what the links show."""
    checkpoint.write(tmp_path / "m", {"w": np.zeros(2)})
    for file in list(tmp_path.iterdir()):
        (tmp_path / file.name.replace("m.", "link.")).symlink_to(file)
    for source, target in (("m", "link"), ("link", "m")):
        for verb in (rewrite, checkpoint.reshard, checkpoint.repair):
            with pytest.raises(InvalidArgumentError, match="own source"):
                verb(tmp_path / source, tmp_path / target, overwrite=True)


def test_a_file_of_the_source_is_never_the_target(tmp_path: pathlib.Path) -> None:
    checkpoint.write(tmp_path / "m", {"w": np.zeros(2)})
    for name in ("m.index", "m.data-00000-of-00001"):
        with pytest.raises(InvalidArgumentError, match="own source"):
            checkpoint.convert(tmp_path / "m", tmp_path / name, to="V1", overwrite=True)
    assert checkpoint.verify(tmp_path / "m").whole


def test_two_local_file_systems_are_one_place(tmp_path: pathlib.Path) -> None:
    checkpoint.write(tmp_path / "m", {"w": np.zeros(2)})
    with pytest.raises(InvalidArgumentError, match="own source"):
        rewrite(
            tmp_path / "m",
            tmp_path / "m",
            overwrite=True,
            fs=LocalFileSystem(),
            target_fs=LocalFileSystem(),
        )


def test_damage_in_the_source_leaves_nothing(fs: MemoryFileSystem) -> None:
    fs.files["m.data-00000-of-00001"][30] ^= 1
    before = set(fs.files)
    for target in ("x", "x.npz"):
        with pytest.raises(DataLossError, match="Checksum"):
            rewrite("m", target, fs=fs)
        assert set(fs.files) == before


def test_other_formats_by_the_suffix(fs: MemoryFileSystem) -> None:
    rewrite("m", "x.safetensors", drop=["names", "q"], fs=fs)
    with SafetensorsReader("x.safetensors", fs) as reader:
        assert reader.lookup("parts").tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(OpError, match="names"):
        rewrite("m", "y.safetensors", fs=fs)


def test_progress_ends_at_all(fs: MemoryFileSystem) -> None:
    seen: list[tuple[int, int]] = []
    rewrite("m", "x", fs=fs, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


def table(writer: BundleWriter, stem: str, rows: int) -> None:
    keys = np.arange(rows)
    embedding.write_embedding(writer, stem, keys, np.zeros((rows, 2), np.float32), dim=2)


def test_blocks_parts_and_slots_of_adam_async_go_with_their_variable() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        for part in (0, 1):
            for rest in ("/block0", "/block0/Adagrad", "/block1", "/block1/Adagrad"):
                table(writer, f"d/part_{part}{rest}", 2)
        for stem in ("e", "e/AdamAsync", "e/AdamAsync_1"):
            table(writer, stem, 3)
        for slot in ("AdamAsync_2", "AdamAsync_3"):
            writer.add(f"e/{slot}", np.ones(1, np.float32))
    rewrite("m", "x", rename=[("d", "dd"), ("e", "ee")], fs=fs)
    with BundleReader("m", fs) as before, BundleReader("x", fs) as after:
        assert after.keys() == sorted(
            name.replace("d/", "dd/", 1) if name.startswith("d/") else f"e{name}"
            for name in (info.name for info in before.tensors())
        )
    report = rewrite("m", "slim", slim=True, fs=fs)
    assert names(report) == [
        "d/block0/Adagrad", "d/block1/Adagrad", "e/AdamAsync", "e/AdamAsync_1", "e/AdamAsync_2", "e/AdamAsync_3",
    ]  # fmt: skip
    with BundleReader("slim", fs) as reader:
        assert {name.rsplit("-", 1)[0] for name in (info.name for info in reader.tensors())} == {
            "d/part_0/block0", "d/part_0/block1", "d/part_1/block0", "d/part_1/block1", "e",
        }  # fmt: skip


def test_a_slot_that_lost_rows_is_still_a_slot() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        table(writer, "b", 3)
        table(writer, "b/Adagrad", 2)
    assert names(rewrite("m", "x", slim=True, fs=fs)) == ["b/Adagrad"]
