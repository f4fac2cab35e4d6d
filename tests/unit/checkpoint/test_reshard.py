"""`reshard`: recorded checkpoints, eras of DeepRec's format, what is refused, damage, the command."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from kvarn import checkpoint, errors
from kvarn.checkpoint.embeddings import bucket_rows
from kvarn.checkpoint.verbs.reshard import ReshardedVariable, reshard
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding import SUFFIXES, bucket_order, part_name, write_embedding
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import LOCAL, MemoryFileSystem
from kvarn.testing.commands import run
from kvarn.testing.goldens import GoldenCase

GOLDEN = Path(__file__).parents[2] / "golden/checkpoints"
EV = GOLDEN / "tf115/ev_deeprec"


@pytest.fixture
def fs() -> MemoryFileSystem:
    return MemoryFileSystem()


def write(fs: MemoryFileSystem, change: Callable[[dict[str, np.ndarray]], None] | None = None) -> None:
    """Checkpoint ``a``: variable ``b`` in two parts with a slot, every tensor open to change."""
    tensors: dict[str, np.ndarray] = {"w": np.arange(4)}
    for part in range(2):
        for slot in ("", "Adagrad"):
            keys = np.arange(part, 40, 2)
            kept = MemoryFileSystem()
            with BundleWriter("x", kept) as writer:
                columns = {"versions": keys + 1, "freqs": keys + 2, "freqs_filtered": np.arange(1)}
                values = np.stack([keys, keys * 2], 1).astype(np.float32)
                filtered = np.array([part + 100])
                write_embedding(
                    writer, part_name("b", part, slot), keys, values, dim=2, keys_filtered=filtered, **columns
                )
            with BundleReader("x", kept) as reader:
                tensors |= {name: reader.lookup(name) for name, _ in reader.entries()}
    if change is not None:
        change(tensors)
    with BundleWriter("a", fs) as writer:
        for name, value in tensors.items():
            writer.add(name, value)


# Recorded checkpoints -------------------------------------------------------------------------------


def test_a_recorded_embedding_variable_is_equal_by_key(tmp_path: Path) -> None:
    case = GoldenCase(EV)
    expected = {tensor.name.decode(): tensor.value for tensor in case.tensors()}
    made = reshard(case.prefix, tmp_path / "m", partitions={"a": 3, "b": 7}, shards=2)
    assert made.changed == (
        ReshardedVariable("a", "embedding", 0, 3),
        ReshardedVariable("b", "embedding", 4, 7),
    )
    with BundleReader(tmp_path / "m") as reader:
        for name, before, after in (("a", 0, 3), ("b", 4, 7)):
            for slot in ("", "/Adagrad"):
                for tail in ("", "_filtered"):
                    old, new = (
                        by_key(get, [f"{name}/part_{p}{slot}" for p in range(n)] or [name + slot], tail)
                        for get, n in ((expected.__getitem__, before), (reader.lookup, after))
                    )
                    assert old
                    assert new == old
        rest = [name for name in expected if not name.startswith(("a", "b/"))]
        assert rest
        assert all(reader.lookup(name).tobytes() == expected[name].tobytes() for name in rest)


def by_key(get: Callable[[str], np.ndarray], stems: list[str], tail: str) -> dict[int, list[bytes]]:
    rows: dict[int, list[bytes]] = {}
    for stem in stems:
        keys = get(f"{stem}-keys{tail}")
        others = [f"-versions{tail}", f"-freqs{tail}", *(["-values"] if not tail else [])]
        columns = [column for other in others if len(column := get(stem + other))]
        for at, key in enumerate(keys.tolist()):
            rows[key] = [column[at].tobytes() for column in columns]
    return rows


@pytest.mark.parametrize("folder", ["v2_partitioned", "v2_sharded3", "v2_slices", "v2_dtypes"])
@pytest.mark.parametrize("partitions", [None, 1, 3])
def test_recorded_tensors_hold_the_same_elements(folder: str, partitions: int | None, tmp_path: Path) -> None:
    case = GoldenCase(GOLDEN / "tf115" / folder)
    # All but the tensor with a gap, which cannot be cut.
    wanted = {"*/*": partitions} if folder == "v2_slices" and partitions is not None else partitions
    reshard(case.prefix, tmp_path / "m", partitions=wanted, shards=2)
    with BundleReader(tmp_path / "m") as reader:
        for tensor in case.tensors():
            assert tensor.equals(joined(reader, tensor.name)), tensor.name


def joined(reader: BundleReader, name: bytes) -> np.ndarray:
    """A tensor put together of its slices, also of types that TensorFlow does not cut."""
    info = reader.info(name)
    if not info.slices:
        return reader.lookup(name)
    whole = np.empty(info.shape, info.dtype.np)
    for piece in info.slices:
        place = piece.resolve(info.shape).relative_to(TensorSlice.of_shape(info.shape))
        whole[place] = reader.lookup_stored_slice(name, piece)
    return whole


def test_big_endian_checkpoints_become_little_endian(tmp_path: Path) -> None:
    case = GoldenCase(GOLDEN / "derived/v2_big_endian")
    reshard(case.prefix, tmp_path / "m", shards=3)
    with BundleReader(tmp_path / "m") as reader:
        assert not reader.big_endian
        for tensor in case.tensors():
            assert tensor.equals(reader.lookup(tensor.name)), tensor.name


def test_parts_are_those_of_fixed_size_partitioner(tmp_path: Path) -> None:
    case = GoldenCase(GOLDEN / "tf115/v2_partitioned")
    reshard(case.prefix, tmp_path / "m", partitions={"emb/rows": 4, "emb/cols": 3, "emb/bysize": 0})
    with BundleReader(tmp_path / "m") as reader:
        rows, cols = reader.info("emb/rows"), reader.info("emb/cols")
        assert (rows.shape, cols.shape) == ((10, 4), (3, 7))
        assert list(map(str, rows.slices)) == ["0,3:0,4", "3,3:0,4", "6,2:0,4", "8,2:0,4"]
        assert list(map(str, cols.slices)) == ["0,3:0,3", "0,3:3,2", "0,3:5,2"]
        assert reader.info("emb/bysize").slices == ()


# Embedding variables --------------------------------------------------------------------------------


def test_a_slot_that_lost_rows_is_named(fs: MemoryFileSystem) -> None:
    def lose(tensors: dict[str, np.ndarray]) -> None:
        for suffix in ("-keys", "-values", "-versions", "-freqs"):
            tensors["b/part_1/Adagrad" + suffix] = tensors["b/part_1/Adagrad" + suffix][1:]

    refused(fs, lose, r"'b/part_0/Adagrad'.*39 and 40 in all, 0 and 1 with key mod 1000 == 1")


def test_an_unpartitioned_slot_that_lost_rows_is_no_other_variable(fs: MemoryFileSystem) -> None:
    with BundleWriter("a", fs) as writer:
        for name, keys in (("b", np.arange(4)), ("b/Adagrad", np.arange(3)), ("b/inner", np.arange(2))):
            write_embedding(writer, name, keys, np.ones((len(keys), 2), np.float32), dim=2)
    with pytest.raises(errors.DataLossError, match=r"(?s)'b/Adagrad'.*3 and 4 in all.*kvarn repair"):
        reshard("a", "c", partitions={"b": 2}, fs=fs)
    reshard("a", "c", partitions={"b/inner": 2}, fs=fs)
    with BundleReader("c", fs) as reader:
        assert reader.lookup("b/inner/part_1-keys").tolist() == [1]
        assert reader.lookup("b/Adagrad-keys").tolist() == [0, 1, 2]


def test_other_keys_of_as_many_are_found(fs: MemoryFileSystem) -> None:
    def swap(tensors: dict[str, np.ndarray]) -> None:
        tensors["b/part_1/Adagrad-keys"] = tensors["b/part_1/Adagrad-keys"].copy()
        tensors["b/part_1/Adagrad-keys"][3] += 10000

    refused(fs, swap, r"40 and 40 in all, 1 and 1 with key mod 1000 == 7")


@pytest.mark.parametrize("held", [True, False])
def test_a_key_that_is_twice_there(fs: MemoryFileSystem, held: bool) -> None:
    def twice(tensors: dict[str, np.ndarray]) -> None:
        for slot in ("", "/Adagrad"):
            tensors[f"b/part_1{slot}-keys"] = np.sort(np.append(np.arange(3, 40, 2), 37))

    with mock.patch.object(bucket_rows, "_HELD_BYTES", bucket_rows._HELD_BYTES if held else -1):
        refused(fs, twice, r"'b/part_0'.*key 37 is there twice")


def test_a_part_between_that_is_missing(fs: MemoryFileSystem) -> None:
    def rename(tensors: dict[str, np.ndarray]) -> None:
        for name in [name for name in tensors if name.startswith("b/part_1")]:
            tensors[name.replace("part_1", "part_2")] = tensors.pop(name)

    refused(fs, rename, r"'b/part_1-keys' is missing among its parts")


def test_a_last_part_that_is_missing_shows_in_the_keys(fs: MemoryFileSystem) -> None:
    def drop(tensors: dict[str, np.ndarray]) -> None:
        for name in [name for name in tensors if name.startswith("b/part_0")]:
            del tensors[name]
        for name in [name for name in tensors if name.startswith("b/part_1")]:
            tensors[name.replace("part_1", "part_0")] = tensors.pop(name)
            tensors[name.replace("part_1", "part_1")] = tensors[name.replace("part_1", "part_0")]

    refused(fs, drop, r"'b/part_0'.*has keys that part 0 of 2 does not have")


def test_a_slot_without_one_of_its_parts(fs: MemoryFileSystem) -> None:
    def drop(tensors: dict[str, np.ndarray]) -> None:
        for suffix in SUFFIXES:
            del tensors["b/part_1/Adagrad" + suffix]

    refused(fs, drop, r"'b/part_1/Adagrad-keys' is missing among its parts")


@pytest.mark.parametrize("suffix", ["-freqs", "-versions", "-freqs_filtered"])
def test_columns_that_only_some_parts_have(fs: MemoryFileSystem, suffix: str) -> None:
    def empty(tensors: dict[str, np.ndarray]) -> None:
        tensors["b/part_1" + suffix] = np.empty(0, np.int64)

    refused(fs, empty, rf"'b/part_1{suffix}' has 0 rows for (20|1) keys")


def test_values_for_other_keys(fs: MemoryFileSystem) -> None:
    def cut(tensors: dict[str, np.ndarray]) -> None:
        tensors["b/part_0-values"] = tensors["b/part_0-values"][:-1]

    refused(fs, cut, r"'b/part_0-values' has 19 rows for 20 keys")


def test_wrong_offsets_are_made_anew(fs: MemoryFileSystem) -> None:
    def shift(tensors: dict[str, np.ndarray]) -> None:
        tensors["b/part_0-partition_offset"] = tensors["b/part_0-partition_offset"][::-1].copy()

    write(fs, shift)
    reshard("a", "c", partitions=1, fs=fs)
    with BundleReader("c", fs) as reader:
        keys = reader.lookup("b/part_0-keys")
        assert reader.lookup("b/part_0-partition_offset").tolist() == bucket_order(keys)[1].tolist()


def test_rows_in_files_of_an_ssd_tier_are_not_left_behind(fs: MemoryFileSystem) -> None:
    write(fs)
    fs.files["a-b_part_1-ssd_record.index"] = bytearray(b"x")
    with pytest.raises(errors.UnimplementedError, match=r"SSD tier.*b_part_1"):
        reshard("a", "c", fs=fs)


def test_blocks_of_a_dynamic_dimension_move_together(fs: MemoryFileSystem) -> None:
    keys = np.arange(20)
    with BundleWriter("a", fs) as writer:
        for part in range(2):
            for tail, own in (("block0", keys), ("block0/Adagrad", keys), ("block1", keys[:9])):
                mine = own[own % 2 == part]
                rows = np.repeat(mine.astype(np.float32)[:, None], 2, axis=1)
                write_embedding(writer, f"d/part_{part}/{tail}", mine, rows, dim=2)
    made = reshard("a", "c", partitions=3, fs=fs)
    assert made.changed == (ReshardedVariable("d", "embedding", 2, 3),)
    with BundleReader("c", fs) as reader:
        assert reader.lookup("d/part_2/block0/Adagrad-values")[:, 0].tolist() == [2, 5, 8, 11, 14, 17]
        assert reader.lookup("d/part_1/block1-keys").tolist() == [1, 4, 7]


def refused(fs: MemoryFileSystem, change: Callable[[dict[str, np.ndarray]], None], text: str) -> None:
    write(fs, change)
    before = {path: bytes(content) for path, content in fs.files.items()}
    with pytest.raises(errors.DataLossError, match=text) as caught:
        reshard("a", "c", partitions=3, shards=2, fs=fs)
    assert "kvarn repair" in str(caught.value)
    assert {path: bytes(content) for path, content in fs.files.items()} == before


# Damage and refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 40])
def test_every_damaged_byte_is_found_before_the_target_is_there(
    fs: MemoryFileSystem, size: int | None
) -> None:
    write(fs)
    data = fs.files["a.data-00000-of-00001"]
    with BundleReader("a", fs) as reader:
        places = [
            (name, entry.offset + at)
            for name, entry in reader.entries()
            for at in ({0, entry.size // 2, entry.size - 1} if entry.size else ())
        ]
    assert len(places) > 60
    held = bucket_rows._HELD_BYTES if size is None else -1
    with (
        mock.patch.object(bucket_rows, "_HELD_BYTES", held),
        mock.patch.object(bucket_rows, "CHUNK_BYTES", size or bucket_rows.CHUNK_BYTES),
    ):
        for name, place in places:
            data[place] ^= 0x10
            before = set(fs.files)
            with pytest.raises(errors.DataLossError) as caught:
                reshard("a", "c", partitions=3, shards=2, fs=fs)
            assert set(fs.files) == before
            data[place] ^= 0x10
            owner = name.rpartition("-")[0] or name
            assert owner.split("/")[0] in str(caught.value), name
        reshard("a", "c", partitions=3, shards=2, fs=fs)


def test_values_read_by_ranges_are_compared_with_their_checksum(fs: MemoryFileSystem) -> None:
    write(fs)
    with BundleReader("a", fs) as reader:
        place = reader.entry("b/part_1/Adagrad-values").offset + 9
    fs.files["a.data-00000-of-00001"][place] ^= 1
    with (
        mock.patch.object(bucket_rows, "_HELD_BYTES", -1),
        pytest.raises(errors.DataLossError, match=r"(?s)Checksum.*tensor 'b/part_1/Adagrad-values'"),
    ):
        reshard("a", "c", partitions=3, fs=fs)


def test_a_target_that_is_the_source_or_taken(tmp_path: Path) -> None:
    fs = LOCAL
    for name in ("a", "taken"):
        with BundleWriter(tmp_path / name, fs) as writer:
            writer.add("w", np.array(name))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(errors.InvalidArgumentError, match="over its own source"):
        reshard(tmp_path / "a", tmp_path / "link/a", overwrite=True)
    with pytest.raises(errors.AlreadyExistsError):
        reshard(tmp_path / "a", tmp_path / "taken")
    reshard(tmp_path / "a", tmp_path / "taken", overwrite=True)
    with BundleReader(tmp_path / "taken") as reader:
        assert reader.lookup("w") == b"a"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"shards": 0}, "0 shards"),
        ({"partitions": -1}, "-1 partitions"),
        ({"partitions": {"b": 1001}}, "1001 partitions"),
        ({"partitions": {"b": 2, "b/part_0": 3}}, "fits the pattern 'b/part_0'"),
        ({"partitions": {"w": 2}, "axis": 1}, r"'w' of shape \[4\] has no axis 1"),
    ],
)
def test_wrong_arguments(fs: MemoryFileSystem, arguments: dict[str, object], text: str) -> None:
    write(fs)
    before = set(fs.files)
    with pytest.raises(errors.InvalidArgumentError, match=text):
        reshard("a", "c", fs=fs, **arguments)  # type: ignore[arg-type]
    assert set(fs.files) == before


def test_slices_with_a_gap_are_copied_but_not_cut(fs: MemoryFileSystem) -> None:
    with BundleWriter("a", fs) as writer:
        writer.add_slice("p", (6, 2), TensorSlice.parse("0,2:-"), np.ones((2, 2)))
        writer.add_slice("p", (6, 2), TensorSlice.parse("3,3:-"), np.ones((3, 2)))
    reshard("a", "c", shards=2, fs=fs)
    with BundleReader("c", fs) as reader:
        assert list(map(str, reader.info("p").slices)) == ["0,2:-", "3,3:-"]
    with pytest.raises(errors.DataLossError, match="cover 10 of its 12 elements"):
        reshard("a", "d", partitions=2, fs=fs)


def test_progress_ends_at_all(fs: MemoryFileSystem) -> None:
    write(fs)
    seen: list[tuple[int, int]] = []
    made = reshard("a", "c", partitions=3, fs=fs, progress=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {made.size_bytes}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] <= made.size_bytes


# Memory ---------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_values(tmp_path: Path) -> None:
    keys, dim = np.arange(400_000) * 7, 24
    keys = keys[bucket_order(keys)[0]]
    with BundleWriter(tmp_path / "a") as writer:
        for part in range(2):
            own = keys[keys % 2 == part]
            for slot in ("", "Adagrad"):
                rows = np.repeat(own.astype(np.float32)[:, None], dim, axis=1)
                write_embedding(writer, part_name("b", part, slot), own, rows, dim=dim)
    script = """
        import sys
        from kvarn.checkpoint.verbs.reshard import reshard

        def status(what):
            lines = open("/proc/self/status").read().splitlines()
            return int(next(line for line in lines if line.startswith(what)).split()[1]) << 10

        before = status("VmRSS")
        reshard(sys.argv[1], sys.argv[2], partitions=3)
        print(status("VmHWM") - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "a"), str(tmp_path / "c")],
        capture_output=True,
        text=True,
        check=True,
    )
    values_bytes = keys.size * dim * 4
    # Values of one family whole would be more.
    assert int(done.stdout) < 28 << 20 < values_bytes
    with BundleReader(tmp_path / "c") as reader:
        for part in range(3):
            keys = reader.lookup(f"b/part_{part}-keys")
            for slot in ("", "/Adagrad"):
                assert (reader.lookup(f"b/part_{part}{slot}-values")[:, 5] == keys.astype(np.float32)).all()


# The command ----------------------------------------------------------------------------------------


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source, target = str(EV / "model.ckpt"), str(tmp_path / "m")
    status, out, _ = run(capsys, "reshard", source, target, "-p", "b=7", "-p", "a=2", "-s", "2")
    assert status == 0
    assert [line.split() for line in out.splitlines()[1:3]] == [
        ["a", "embedding", "-", "2"],
        ["b", "embedding", "4", "7"],
    ]
    assert "2 data files" in out
    status, out, err = run(capsys, "reshard", source, target, "--json")
    assert (status, out) == (2, "")
    assert "File exists" in err
    status, out, _ = run(capsys, "reshard", source, target, "-p", "3", "--json", "--overwrite")
    assert status == 0
    assert json.loads(out)["changed"] == [{"name": "b", "kind": "embedding", "before": 4, "after": 3}]
    status, out, _ = run(capsys, "reshard", source, target, "-p", "4", "--overwrite")
    assert status == 0
    assert out.startswith(
        "no variable is in other parts now: N alone is for those that are partitioned, NAME=N for any"
    )
    for wrong in (["-p", "x"], ["-p", "b=x"], ["-p", "3", "-p", "b=2"]):
        assert run(capsys, "reshard", source, str(tmp_path / "n"), *wrong)[0] == 2
    assert not list(tmp_path.glob("n*"))


@pytest.mark.parametrize("target", ["folder/", "folder/sub/"])
def test_a_target_without_a_name_is_refused(target: str, tmp_path: Path) -> None:
    source = checkpoint.write(tmp_path / "m", {"step": np.int64(1)})
    with pytest.raises(errors.InvalidArgumentError, match="names no file"):
        reshard(source, f"{tmp_path}/{target}")


def test_a_scalar_that_is_named_cannot_be_cut(tmp_path: Path) -> None:
    source = checkpoint.write(tmp_path / "m", {"step": np.int64(1), "w": np.ones((4, 2))})
    with pytest.raises(errors.InvalidArgumentError, match="A scalar cannot be cut"):
        reshard(source, tmp_path / "n", partitions={"step": 2})
    reshard(source, tmp_path / "n", partitions={"*": 2})
    with checkpoint.open(tmp_path / "n") as found:
        assert len(found.info("w").slices) == 2
        assert found["step"] == 1


def test_parts_that_are_said_twice_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = checkpoint.write(tmp_path / "m", {"w": np.ones((4, 2))})
    status, _, said = run(capsys, "reshard", source, tmp_path / "n", "-p", "w=2", "-p", "w=3")
    assert status == 2
    assert "w=3" in said
    assert not (tmp_path / "n.index").exists()
