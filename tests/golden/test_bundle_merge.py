"""Merging the parts of a sharded save gives TensorFlow's files to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvarn import errors
from kvarn.formats.bundle import BundleReader, BundleWriter, merge_bundles, sharded_filename
from kvarn.formats.names import encode_name
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.testing.goldens import GoldenCase, cases

ROOT = Path(__file__).parent / "checkpoints"
SHARDED = [case for case in cases(ROOT, "tf*/v2_sharded*") if case.facts["case"] != "v2_sharded1"]


def write_parts(reader: BundleReader, directory: Path) -> list[str]:
    """The parts that were merged into a checkpoint, as they were before."""
    slices = {
        encode_slice_key(encode_name(name), piece): (name, entry.shape, piece)
        for name, entry in reader.entries()
        for piece in entry.slices
    }
    total = reader.header.num_shards
    prefixes = [sharded_filename(str(directory / "part"), shard, total) for shard in range(total)]
    stored = [(key, entry) for key, entry in reader.records() if not entry.slices]
    for shard, prefix in enumerate(prefixes):
        with BundleWriter(prefix) as writer:
            own = [(key, entry) for key, entry in stored if entry.shard_id == shard]
            for key, entry in sorted(own, key=lambda item: (item[1].offset, item[1].size)):
                if key in slices:
                    name, shape, piece = slices[key]
                    part = reader.lookup_stored_slice(name, piece)
                    writer.add_slice(name, shape, piece, part, entry.dtype)
                else:
                    writer.add(key, reader.lookup(key), entry.dtype)
    return prefixes


@pytest.mark.parametrize("case", SHARDED, ids=repr)
def test_merged_to_the_byte(case: GoldenCase, tmp_path: Path) -> None:
    merged = tmp_path / "out" / "model.ckpt"
    with BundleReader(case.prefix) as reader:
        total = reader.header.num_shards
        assert total in (2, 3)
        prefixes = write_parts(reader, tmp_path / "tmp")
    merge_bundles(prefixes, merged)
    suffixes = [".index", *(f".data-{shard:05d}-of-{total:05d}" for shard in range(total))]
    for suffix in suffixes:
        assert Path(f"{merged}{suffix}").read_bytes() == Path(case.prefix + suffix).read_bytes(), suffix
    assert not (tmp_path / "tmp").exists()
    assert len(list(merged.parent.iterdir())) == total + 1


def write(prefix: Path, value: float = 1.0, name: str = "w") -> str:
    with BundleWriter(prefix) as writer:
        writer.add(name, [value])
    return str(prefix)


def test_the_same_tensor_in_two_parts_is_refused_and_nothing_moves(tmp_path: Path) -> None:
    parts = [write(tmp_path / "a"), write(tmp_path / "b")]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(errors.InvalidArgumentError, match="Duplicate tensor keyed by w encountered"):
        merge_bundles(parts, tmp_path / "m")
    assert sorted(tmp_path.iterdir()) == before


def test_whole_in_one_part_and_sliced_in_another_is_refused(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "a") as writer:
        writer.add_slice("w", (2,), TensorSlice.parse("0,1"), [1.0])
    with pytest.raises(errors.InternalError, match="attempting to merge in a non-slice bundle entry"):
        merge_bundles([str(tmp_path / "a"), write(tmp_path / "b")], tmp_path / "m")


def test_a_missing_part_is_named_and_nothing_moves(tmp_path: Path) -> None:
    parts = [write(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(errors.NotFoundError, match=r"b\.index"):
        merge_bundles(parts, tmp_path / "m")
    assert BundleReader(parts[0]).lookup("w").tolist() == [1.0]


def test_parts_without_tensors_leave_no_files(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    BundleWriter(tmp_path / "t" / "empty").finish()
    merge_bundles([str(tmp_path / "t" / "empty"), write(tmp_path / "t" / "b")], tmp_path / "m")
    assert BundleReader(tmp_path / "m").lookup("w").tolist() == [1.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.data-00000-of-00001", "m.index"]


def test_directories_stay_when_asked_or_not_empty(tmp_path: Path) -> None:
    part = write(tmp_path / "t" / "a")
    merge_bundles([part], tmp_path / "m", delete_old_dirs=False)
    assert list((tmp_path / "t").iterdir()) == []
    part = write(tmp_path / "t" / "a")
    (tmp_path / "t" / "note").write_text("mine")
    merge_bundles([part], tmp_path / "m")
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["note"]
