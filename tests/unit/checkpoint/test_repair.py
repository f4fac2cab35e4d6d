"""`repair`: recorded damaged checkpoints, embedding variables that do not fit, damaged indexes, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kvarn import errors
from kvarn.checkpoint.verbs.repair import Repair, repair
from kvarn.checkpoint.verbs.reshard import reshard
from kvarn.checkpoint.verbs.verify import verify
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding import SUFFIXES, bucket_order
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem
from kvarn.testing.commands import run
from kvarn.testing.files import FaultyFileSystem

CORRUPT = Path(__file__).parents[2] / "golden/checkpoints/tf115/corrupt"
Tensors = dict[str, np.ndarray]


@pytest.fixture
def fs() -> MemoryFileSystem:
    return MemoryFileSystem()


def tensors_of(
    stem: str, keys: np.ndarray, filtered: np.ndarray | None = None, scale: float = 1.0
) -> Tensors:
    """The nine tensors of a part or slot, in which every number tells its key."""
    filtered = np.empty(0, keys.dtype) if filtered is None else filtered
    made = {
        "-keys": keys,
        "-values": (np.stack([keys, -keys], 1) * scale).astype(np.float32),
        "-versions": keys.astype(np.int64) + 1,
        "-freqs": keys.astype(np.int64) + 2,
        "-keys_filtered": filtered,
        "-versions_filtered": filtered.astype(np.int64) + 3,
        "-freqs_filtered": filtered.astype(np.int64) + 4,
        "-partition_offset": bucket_order(keys)[1],
        "-partition_filter_offset": bucket_order(filtered)[1],
    }
    return {stem + suffix: value for suffix, value in made.items()}


def two_parts() -> Tensors:
    """Variable ``b`` in two parts with a slot; keys 0 to 39, 100 and 101 are filtered."""
    tensors: Tensors = {"w": np.arange(4), "z": np.array([b"text"], object)}
    for part in range(2):
        keys, filtered = np.arange(part, 40, 2), np.array([100 + part])
        tensors |= tensors_of(f"b/part_{part}", keys, filtered)
        tensors |= tensors_of(f"b/part_{part}/Adagrad", keys, filtered, 0.5)
    return tensors


def save(fs: MemoryFileSystem, tensors: Tensors, name: str = "a") -> None:
    with BundleWriter(name, fs) as writer:
        for tensor, value in tensors.items():
            writer.add(tensor, value)


def mended(fs: MemoryFileSystem, **options: object) -> tuple[Repair, Tensors]:
    """Repairs ``a``; the report, and what is there now.  It is whole, and ``a`` as it was."""
    before = {path: bytes(content) for path, content in fs.files.items() if path.startswith("a.")}
    report = repair("a", "c", fs=fs, **options)  # type: ignore[arg-type]
    assert {path: bytes(fs.files[path]) for path in before} == before
    assert verify("c", fs=fs).findings == ()
    with BundleReader("c", fs) as reader:
        return report, {name: reader.lookup(name) for name, _ in reader.entries()}


def equal(found: Tensors, expected: Tensors) -> None:
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].tolist() == value.tolist(), name


def texts(notices: object) -> list[str]:
    return [f"{notice.name}: {notice.text}" for notice in notices]  # type: ignore[attr-defined]


# Embedding variables --------------------------------------------------------------------------------


def test_what_is_whole_is_copied_bit_for_bit(fs: MemoryFileSystem) -> None:
    save(fs, two_parts())
    report, found = mended(fs)
    equal(found, two_parts())
    assert (report.changed, report.left_out, report.complete) == ((), (), True)
    assert len(report.kept) == len(two_parts())


def lose_rows(tensors: Tensors) -> None:
    for suffix in ("-keys", "-values", "-versions", "-freqs"):
        name = "b/part_1/Adagrad" + suffix
        tensors[name] = np.delete(tensors[name], [2, 5], axis=0)
    tensors["b/part_1/Adagrad-partition_offset"] = bucket_order(tensors["b/part_1/Adagrad-keys"])[1]


@pytest.mark.parametrize("init", [0.1, {"Adagrad": 0.1}, {"": 0.1}, {"Adagrad": 0.1, "": 7.0}])
def test_rows_that_a_slot_lost_are_filled(fs: MemoryFileSystem, init: object) -> None:
    tensors = two_parts()
    lose_rows(tensors)
    save(fs, tensors)
    report, found = mended(fs, slot_init=init)
    expected = two_parts()
    # Rows that are not there come first in their buckets; every bucket has one key here.
    expected["b/part_1/Adagrad-values"][[2, 5]] = np.float32(0.1)
    expected["b/part_1/Adagrad-versions"][[2, 5]] = -1
    expected["b/part_1/Adagrad-freqs"][[2, 5]] = 1
    equal(found, expected)
    assert texts(report.changed) == ["b/Adagrad: 2 keys (5, 11) without a row: filled with 0.1"]
    assert report.complete
    reshard("c", "d", partitions=3, fs=fs)


def test_a_mistyped_slot_is_refused(fs: MemoryFileSystem) -> None:
    save(fs, two_parts())
    with pytest.raises(errors.InvalidArgumentError, match=r"slot 'Adagard'\n.*the slots Adagrad"):
        repair("a", "c", slot_init={"Adagard": 0.1}, fs=fs)
    assert not [path for path in fs.files if path.startswith("c")]


def test_or_their_keys_are_dropped(fs: MemoryFileSystem) -> None:
    tensors = two_parts()
    lose_rows(tensors)
    save(fs, tensors)
    report, found = mended(fs, missing="drop")
    keys = np.delete(np.arange(1, 40, 2), [2, 5])
    expected = two_parts()
    expected |= tensors_of("b/part_1", keys, np.array([101]))
    expected |= tensors_of("b/part_1/Adagrad", keys, np.array([101]), 0.5)
    equal(found, expected)
    assert texts(report.left_out) == ["b: 2 keys (5, 11) without a row in every slot: dropped everywhere"]


def test_rows_without_a_key_are_dropped(fs: MemoryFileSystem) -> None:
    tensors = two_parts()
    tensors |= tensors_of("b/part_0/Adagrad", np.arange(0, 50, 2), np.array([100]), 0.5)
    save(fs, tensors)
    report, found = mended(fs)
    equal(found, two_parts())
    assert texts(report.changed) == [
        "b/Adagrad-keys: 5 keys (40, 42, 44, 46, 48) that the variable has not: rows dropped"
    ]


def test_of_a_key_that_is_twice_there_the_later_row_stays(fs: MemoryFileSystem) -> None:
    tensors = two_parts()
    keys = np.array([0, 2, 2, *range(4, 40, 2)])
    for stem, scale in (("b/part_0", 1.0), ("b/part_0/Adagrad", 0.5)):
        tensors |= tensors_of(stem, keys, np.array([100]), scale)
        tensors[stem + "-values"][1] = 77
    save(fs, tensors)
    report, found = mended(fs)
    equal(found, two_parts())
    assert texts(report.changed) == [
        "b-keys: 1 key (2) twice: the later row stays",
        "b/Adagrad-keys: 1 key (2) twice: the later row stays",
    ]


def test_keys_in_another_part_are_moved_and_offsets_made_anew(fs: MemoryFileSystem) -> None:
    tensors = two_parts()
    for stem, scale in (("b/part_{}", 1.0), ("b/part_{}/Adagrad", 0.5)):
        tensors |= tensors_of(stem.format(0), np.array([0, 3, *range(2, 40, 2)]), np.array([100]), scale)
        tensors |= tensors_of(stem.format(1), np.array([1, *range(5, 40, 2)]), np.array([101]), scale)
    save(fs, tensors)
    report, found = mended(fs)
    equal(found, two_parts())
    assert "b/part_0-keys: 1 key (3) of other parts: moved to them" in texts(report.changed)
    assert report.complete


def test_offsets_alone(fs: MemoryFileSystem) -> None:
    tensors = two_parts()
    tensors["b/part_0-partition_offset"] = np.arange(1001, dtype=np.int32)
    tensors["b/part_1/Adagrad-partition_filter_offset"] = np.zeros(7, np.int32)
    save(fs, tensors)
    report, found = mended(fs)
    equal(found, two_parts())
    assert texts(report.changed) == [
        "b/part_0-partition_offset: not where the buckets begin: made anew",
        "b/part_1/Adagrad-partition_filter_offset: not where the buckets begin: made anew",
    ]


@pytest.mark.parametrize(
    ("suffix", "value", "why"),
    [
        ("-freqs", np.arange(3), "'b/part_0-freqs' is int64[3] for 20 keys"),
        ("-versions", np.arange(19), "'b/part_0-versions' is int64[19] for 20 keys"),
        ("-freqs", np.ones(20, np.float32), "'b/part_0-freqs' is float32[20] for 20 keys"),
    ],
)
def test_columns_of_another_length_are_left_out(
    fs: MemoryFileSystem, suffix: str, value: np.ndarray, why: str
) -> None:
    tensors = two_parts()
    tensors["b/part_0" + suffix] = value
    save(fs, tensors)
    report, found = mended(fs)
    expected = two_parts() | {f"b/part_{part}{suffix}": np.empty(0, np.int64) for part in range(2)}
    equal(found, expected)
    assert texts(report.left_out) == [f"b{suffix}: {why}: left out in all parts"]


@pytest.mark.parametrize(("suffix", "value"), [("-versions", -1), ("-freqs", 1), ("-freqs_filtered", 1)])
def test_columns_that_one_part_has_not_are_filled(fs: MemoryFileSystem, suffix: str, value: int) -> None:
    """Those of the other parts are kept."""
    tensors = two_parts()
    count = len(tensors[f"b/part_0{suffix}"])
    tensors[f"b/part_0{suffix}"] = np.empty(0, np.int64)
    save(fs, tensors)
    report, found = mended(fs)
    equal(found, two_parts() | {f"b/part_0{suffix}": np.full(count, value)})
    assert report.complete
    assert texts(report.changed) == [f"b/part_0{suffix}: empty: filled with {value}"]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("gone", ["-keys", "-values", "-versions"])
def test_what_is_left_of_a_part_does_not_stand_in_the_way(
    fs: MemoryFileSystem, gone: str, partial: bool
) -> None:
    """The rest of the part's tensors was copied, and with ``partial`` written a second time."""
    tensors = two_parts()
    del tensors[f"b/part_0{gone}"]
    save(fs, tensors)
    report, found = mended(fs, partial=partial)
    assert set(found) == ({*two_parts()} if partial else {"w", "z"})
    assert not partial or not found["b/part_0-keys"].size
    assert not report.complete


def test_filtered_keys_that_are_admitted_too(fs: MemoryFileSystem) -> None:
    tensors = two_parts()
    for stem, scale in (("b/part_0", 1.0), ("b/part_0/Adagrad", 0.5)):
        tensors |= tensors_of(stem, np.arange(0, 40, 2), np.array([6, 100]), scale)
    save(fs, tensors)
    report, found = mended(fs)
    equal(found, two_parts())
    assert texts(report.changed)[0] == "b-keys_filtered: 1 key (6) admitted too: no longer filtered"


def test_a_slot_without_a_part_is_filled_and_that_is_said(fs: MemoryFileSystem) -> None:
    tensors = two_parts()
    for suffix in SUFFIXES:
        del tensors["b/part_1/Adagrad" + suffix]
    save(fs, tensors)
    report, found = mended(fs, slot_init=0.1)
    assert found["b/part_1/Adagrad-keys"].tolist() == list(range(1, 40, 2))
    assert (found["b/part_1/Adagrad-values"] == np.float32(0.1)).all()
    assert found["b/part_1-values"].tolist() == two_parts()["b/part_1-values"].tolist()
    assert texts(report.left_out) == ["b/Adagrad: 'b/part_1/Adagrad' is missing"]
    report, found = mended(fs, missing="drop", overwrite=True)
    assert sorted(found) == ["w", "z"]
    assert [notice.name for notice in report.left_out] == ["b"]


@pytest.mark.parametrize("name", ["b/part_1-values", "b/part_1-keys"])
def test_a_broken_part_takes_the_variable_with_it_or_not(fs: MemoryFileSystem, name: str) -> None:
    save(fs, two_parts())
    flip(fs, name)
    report, found = mended(fs)
    equal(found, {"w": np.arange(4), "z": np.array([b"text"], object)})
    assert texts(report.left_out) == [f"b: embedding variable with its slots: '{name}' is broken"]
    report, found = mended(fs, partial=True, overwrite=True)
    expected = two_parts()
    for slot in ("", "/Adagrad"):
        expected |= tensors_of(f"b/part_1{slot}", np.empty(0, np.int64), np.array([101] if slot else [], int))
    equal(found, expected)
    assert texts(report.left_out) == [f"b/part_1: '{name}' is broken: the part has no keys now"]


@pytest.mark.parametrize("suffix", SUFFIXES[2:])
def test_what_can_be_done_without_is_left_out(fs: MemoryFileSystem, suffix: str) -> None:
    save(fs, two_parts())
    flip(fs, "b/part_0" + suffix)
    report, found = mended(fs)
    assert found["b/part_0-values"].tolist() == two_parts()["b/part_0-values"].tolist()
    notices = report.changed if "offset" in suffix else report.left_out
    assert f"'b/part_0{suffix}' is broken" in texts(notices)[0] or "broken: made anew" in texts(notices)[0]
    assert report.complete == ("offset" in suffix)


def test_old_eras_need_no_repair(fs: MemoryFileSystem) -> None:
    keys = np.array([5, 3, 1003, 4])
    tensors = {name: value for name, value in tensors_of("b", keys).items() if name[1:] in SUFFIXES[:3]}
    save(fs, tensors)
    report, found = mended(fs)
    equal(found, tensors)
    assert report.changed == ()


def test_int32_keys_and_a_slot_that_cannot_be_read(fs: MemoryFileSystem) -> None:
    keys = np.array([0, 1, 2], np.int32)
    save(fs, tensors_of("b", keys) | tensors_of("b/Adagrad", keys))
    flip(fs, "b/Adagrad-values")
    report, found = mended(fs)
    assert found["b/Adagrad-keys"].dtype == np.int32
    assert found["b/Adagrad-values"].tolist() == [[0, 0]] * 3
    assert texts(report.left_out) == ["b/Adagrad: 'b/Adagrad-values' is broken"]


# Tensors and indexes --------------------------------------------------------------------------------


def flip(fs: MemoryFileSystem, name: str) -> None:
    with BundleReader("a", fs) as reader:
        entry = reader.entry(name)
    assert entry.size
    fs.files["a.data-00000-of-00001"][entry.offset + entry.size // 2] ^= 4


def test_broken_tensors_and_slices_are_left_out(fs: MemoryFileSystem) -> None:
    with BundleWriter("a", fs) as writer:
        writer.add("half", np.arange(6, dtype=np.float16))
        writer.add("strings", np.array([b"a", b"bc"], object))
        writer.add("w", np.arange(9))
        for start in (0, 2):
            for name in ("p", "q"):
                writer.add_slice(name, (4, 2), TensorSlice.parse(f"{start},2:-"), np.full((2, 2), start))
    size = len(fs.files["a.data-00000-of-00001"])
    with BundleReader("a", fs) as reader:
        start = reader.entry("w").offset
    fs.files["a.data-00000-of-00001"][start] ^= 1
    del fs.files["a.data-00000-of-00001"][size - 3 :]
    report, found = mended(fs)
    assert sorted(found) == ["half", "p", "strings"]
    assert found["p"].tolist() == [[0, 0], [0, 0], [2, 2], [2, 2]]
    assert [notice.name for notice in report.left_out] == ["q", "w"]
    assert "Checksum does not match" in report.left_out[1].text
    with BundleReader("c", fs) as reader:
        assert list(map(str, reader.info("p").slices)) == ["0,2:-", "2,2:-"]


# What of the damaged checkpoints TensorFlow recorded can be kept.
ALL = {"f", "i", "p", "s"}
KEPT = {
    "v2_good": ALL,
    "v2_data_bitflip": ALL - {"f"},
    "v2_string_length_bitflip": ALL - {"s"},
    "v2_string_body_bitflip": ALL - {"s"},
    "v2_data_truncated": ALL - {"p"},
    "v2_index_bitflip_index_block": ALL,
    "v2_index_truncated": ALL,
    "v2_bad_magic": ALL,
    "v2_footer_handle": ALL,
    "v2_min_consumer": ALL,
    "v2_header_garbage": ALL,
    "v2_wrong_shape": ALL - {"f"},
    "v2_num_shards": ALL,
    "v2_data_missing": set(),
    "v2_data_empty": set(),
    "v2_index_bitflip_data_block": set(),
    "v2_index_bitflip_crc": set(),
    "v2_index_short": set(),
    "v2_index_empty": set(),
    "v2_index_footer_only": set(),
    "v2_unknown_compression": set(),
    "v2_fake_snappy": set(),
}


@pytest.mark.parametrize("variant", sorted(KEPT))
def test_recorded_damage(variant: str, tmp_path: Path) -> None:
    source = CORRUPT / variant / "model.ckpt"
    kept = KEPT[variant]
    if not kept:
        with pytest.raises(errors.DataLossError):
            repair(source, tmp_path / "c")
        assert not list(tmp_path.iterdir())
        return
    report = repair(source, tmp_path / "c")
    with BundleReader(CORRUPT / "v2_good/model.ckpt") as good, BundleReader(tmp_path / "c") as reader:
        assert {name for name, _ in reader.entries()} == kept
        for name in kept:
            assert reader.lookup(name).tolist() == good.lookup(name).tolist()
    assert set(report.kept) == kept
    assert verify(tmp_path / "c").whole


def test_a_missing_shard_costs_the_tensors_in_it(tmp_path: Path) -> None:
    source = CORRUPT / "v2_missing_shard/model.ckpt-40"
    report = repair(source, tmp_path / "c")
    with BundleReader(source) as damaged, BundleReader(tmp_path / "c") as reader:
        lost = {info.name for info in damaged.tensors() if 1 in info.shards}
        assert lost > {"emb/bysize", "emb/cols", "emb/rows", "emb/whole"}  # as TensorFlow says
        assert {name for name, _ in reader.entries()} == {name for name, _ in damaged.entries()} - lost
        for name, _ in reader.entries():
            assert reader.lookup(name).tobytes() == damaged.lookup(name).tobytes()
    assert lost == {notice.name for notice in report.left_out}
    assert all("data-00001-of-00003' is not there" in notice.text for notice in report.left_out)
    assert report.kept


def test_no_flipped_byte_changes_what_is_kept(fs: MemoryFileSystem) -> None:
    keys = np.array([3, 1004, 5])
    whole = tensors_of("b", keys) | tensors_of("b/Adagrad", keys)
    whole |= {"w": np.arange(3), "s": np.array([b"x"], object)}
    # Offsets of zeros and ones are most of it, and all alike.
    whole = {name: value for name, value in whole.items() if "offset" not in name}
    save(fs, whole)
    outcomes = set()
    for path in ("a.index", "a.data-00000-of-00001"):
        for place in range(len(fs.files[path])):
            fs.files[path][place] ^= 1 << place % 8
            try:
                report = repair("a", "c", fs=fs, overwrite=True)
            except errors.OpError:
                outcomes.add("refused")
            else:
                outcomes.add("complete" if report.complete else "part")
                with BundleReader("c", fs) as reader:
                    for name in report.kept:
                        assert reader.lookup(name).tolist() == whole[name].tolist(), (path, place, name)
                    named = " ".join([notice.name + notice.text for notice in report.left_out])
                    for name in {"b-values", "b-keys", "w", "s"} - set(reader.keys()):
                        owner = name.partition("-")[0]
                        assert owner in named or "a.index" in named, (path, place, name, named)
                    if "b-values" in reader.keys():  # noqa: SIM118
                        rows = dict(
                            zip(
                                reader.lookup("b-keys").tolist(),
                                reader.lookup("b-values").tolist(),
                                strict=True,
                            )
                        )
                        assert rows == {key: [key, -key] for key in keys.tolist()}
            fs.files[path][place] ^= 1 << place % 8
    assert outcomes == {"refused", "complete", "part"}


def test_a_target_that_is_the_source_or_taken(fs: MemoryFileSystem) -> None:
    save(fs, two_parts())
    save(fs, {"x": np.arange(2)}, "c")
    with pytest.raises(errors.InvalidArgumentError, match="over its own source"):
        repair("a", "a", fs=fs, overwrite=True)
    with pytest.raises(errors.AlreadyExistsError):
        repair("a", "c", fs=fs)
    with pytest.raises(errors.InvalidArgumentError, match="`fill` or `drop`"):
        repair("a", "d", fs=fs, missing="guess")  # type: ignore[arg-type]
    with pytest.raises(errors.NotFoundError):
        repair("nothing", "d", fs=fs)


def test_urls_say_where_the_files_are(tmp_path: Path) -> None:
    place = f"memory://{tmp_path.name}"
    repair(CORRUPT / "v2_data_bitflip/model.ckpt", f"{place}/a")
    reshard(f"{place}/a", f"{place}/b", partitions={"i": 2}, shards=2)
    repair(f"{place}/b", tmp_path / "c")
    with BundleReader(tmp_path / "c") as reader:
        assert [name for name, _ in reader.entries()] == ["i", "p", "s"]
        assert len(reader.info("i").slices) == 2
    with pytest.raises(errors.InvalidArgumentError, match="over its own source"):
        repair(f"{place}/b", f"{place}/b", overwrite=True)


def test_an_error_at_every_write_leaves_nothing() -> None:
    base = MemoryFileSystem()
    tensors = two_parts()
    lose_rows(tensors)
    save(base, tensors)
    fs = FaultyFileSystem(base=base)
    repair("a", "c", fs=fs)
    for stop_at in range(1, fs.operations + 1):
        faulty = FaultyFileSystem(stop_at, error=True, base=base)
        try:
            repair("a", "c", fs=faulty)
        except errors.OpError:
            left = set(faulty.files) - set(base.files)
            assert not left or verify("c", fs=faulty).whole, (faulty.log[stop_at - 1], left)


def test_progress_is_of_two_readings(fs: MemoryFileSystem) -> None:
    save(fs, two_parts())
    seen: list[tuple[int, int]] = []
    repair("a", "c", fs=fs, progress=lambda done, total: seen.append((done, total)))
    assert len({total for _, total in seen}) == 1
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


# The command ----------------------------------------------------------------------------------------


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good, flipped = str(CORRUPT / "v2_good/model.ckpt"), str(CORRUPT / "v2_data_bitflip/model.ckpt")
    status, out, _ = run(capsys, "repair", good, str(tmp_path / "a"))
    assert (status, "nothing needed it" in out) == (0, True)
    status, out, _ = run(capsys, "repair", flipped, str(tmp_path / "b"))
    assert status == 1
    assert "left out" in out
    assert "Checksum does not match" in out
    status, out, _ = run(capsys, "repair", flipped, str(tmp_path / "b"), "--overwrite", "--json")
    document = json.loads(out)
    assert (status, document["kept"]) == (1, ["i", "p", "s"])
    assert [notice["name"] for notice in document["left_out"]] == ["f"]
    assert run(capsys, "repair", flipped, str(tmp_path / "b"))[0] == 2
    assert run(capsys, "repair", good, str(tmp_path / "c"), "--missing", "guess")[0] == 2
    assert run(capsys, "repair", good, str(tmp_path / "c"), "--slot-init", "x")[0] == 2
    assert run(capsys, "repair", good, str(tmp_path / "c"), "--slot-init", "Adagrad=0.1")[0] == 0
