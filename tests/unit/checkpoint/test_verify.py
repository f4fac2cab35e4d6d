"""What `verify` says of whole and of damaged checkpoints: what is broken, and what is intact."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from kvarn.checkpoint.verbs.verify import Verification, verify, verify_directory
from kvarn.errors import NotFoundError, OpError
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.bundle.entry import HEADER_KEY
from kvarn.formats.slices_v1 import TensorSliceReader, TensorSliceWriter
from kvarn.formats.table.builder import TableBuilder
from kvarn.formats.table.reader import Table
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem

CORRUPT = pathlib.Path(__file__).resolve().parents[2] / "golden/checkpoints/tf115/corrupt"
GOOD = CORRUPT.parent
ALL = ("f", "i", "p", "s")

# Kinds of the findings, and what is broken; the rest of f, i, p, s is intact.
DAMAGE: dict[str, tuple[set[str], tuple[str, ...]]] = {
    "v2_good": (set(), ()),
    "v2_data_bitflip": ({"checksum"}, ("f",)),
    "v2_string_length_bitflip": ({"checksum"}, ("s",)),
    "v2_string_body_bitflip": ({"checksum"}, ("s",)),
    "v2_data_truncated": ({"short file"}, ("p",)),
    "v2_data_missing": ({"missing file"}, ALL),
    "v2_data_empty": ({"short file"}, ALL),
    "v2_index_bitflip_index_block": ({"index"}, ()),
    "v2_index_truncated": ({"index"}, ()),
    "v2_bad_magic": ({"index"}, ()),
    "v2_footer_handle": ({"index"}, ()),
    "v2_unknown_compression_index_block": ({"index"}, ()),
    "v2_min_consumer": ({"header"}, ()),
    "v2_header_garbage": ({"header"}, ()),
    "v2_num_shards": ({"header"}, ()),
    "v2_wrong_shape": ({"entry"}, ("f",)),
}
# The only block of the index is gone: no name is known.
NAMELESS = [
    "v2_index_bitflip_data_block",
    "v2_index_bitflip_crc",
    "v2_index_short",
    "v2_index_empty",
    "v2_index_footer_only",
    "v2_unknown_compression",
    "v2_fake_snappy",
]


@pytest.mark.parametrize("variant", DAMAGE)
def test_damaged_bundles(variant: str) -> None:
    kinds, broken = DAMAGE[variant]
    found = verify(CORRUPT / variant / "model.ckpt")
    assert found.broken == broken
    assert found.intact == tuple(name for name in ALL if name not in broken)
    assert {finding.kind for finding in found.findings} == kinds
    assert found.whole == (not kinds)
    for finding in found.findings:
        assert finding.file is not None
        assert str(CORRUPT / variant) in finding.file


@pytest.mark.parametrize("variant", NAMELESS)
def test_an_index_of_which_nothing_is_left(variant: str) -> None:
    found = verify(CORRUPT / variant / "model.ckpt")
    assert not found.whole
    assert (found.broken, found.intact) == ((), ())
    assert found.findings[0].kind == "index"


def test_a_missing_shard_costs_what_was_in_it() -> None:
    prefix = CORRUPT / "v2_missing_shard" / "model.ckpt-40"
    found = verify(prefix)
    with BundleReader(prefix) as reader:
        readable = []
        for name in list(reader.keys()):
            try:
                reader.lookup(name)
            except OpError:
                continue
            readable.append(name)
    assert found.intact == tuple(readable)
    assert len(found.broken) == 6
    assert [f.kind for f in found.findings] == ["missing file"]


def test_no_checkpoint_is_an_error_and_no_finding() -> None:
    with pytest.raises(NotFoundError, match="Failed to find any matching files"):
        verify(CORRUPT / "no_such_file" / "model.ckpt")


@pytest.mark.parametrize(
    "case",
    ["tf115/v2_dtypes", "tf115/v2_slices", "tf115/ev_deeprec", "tf115/v2_variant", "derived/v2_aligned"],
)
def test_whole_checkpoints_are_whole(case: str) -> None:
    prefix = next((GOOD.parent / case).glob("*.index")).with_suffix("")
    found = verify(prefix)
    broken = {name for name in found.broken if name != "gap"}  # v2_slices has a tensor with a gap on purpose
    assert not broken, found.findings
    assert {f.kind for f in found.findings} <= {"slices"}


def small_checkpoint() -> tuple[MemoryFileSystem, str]:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add("a", np.arange(5, dtype=np.float32))
        writer.add("s", np.array([b"one", b"", b"three"], np.object_))
        writer.add_slice("p", [4, 2], TensorSlice.parse("0,2:0,2"), np.ones((2, 2), np.int32))
        writer.add_slice("p", [4, 2], TensorSlice.parse("2,2:0,2"), np.zeros((2, 2), np.int32))
        writer.add("z", np.int64(7))
    return fs, "m"


def values(fs: MemoryFileSystem, prefix: str) -> dict[str, Any]:
    with BundleReader(prefix, fs) as reader:
        return {name: reader.lookup(name).tolist() for name in list(reader.keys())}


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_every_flipped_byte_is_found_or_harmless(suffix: str) -> None:
    fs, prefix = small_checkpoint()
    right = values(fs, prefix)
    content = fs.files[prefix + suffix]
    harmless = 0
    for at in range(len(content)):
        for mask in (0x01, 0x80, 0xFF):
            content[at] ^= mask
            found = verify(prefix, fs=fs)
            if found.whole:
                assert values(fs, prefix) == right, at
                harmless += 1
            else:
                intact = set(found.intact)
                assert all(values_of(fs, prefix, name) == right[name] for name in intact), at
            content[at] ^= mask
    # Only the metaindex block with its trailer (13), its handle and the padding of the footer say nothing.
    assert harmless <= (0 if suffix != ".index" else 3 * (13 + 40))


def values_of(fs: MemoryFileSystem, prefix: str, name: str) -> Any:
    """A tensor that `verify` calls intact, read in the way it found it."""
    from kvarn.checkpoint.verbs.salvage import open_damaged

    with open_damaged(prefix, fs).reader as reader:
        return reader.lookup(name).tolist()


def test_one_damaged_block_of_many_costs_its_names_only() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        for i in range(400):
            writer.add(f"layer_{i:03d}", np.float32([i, i]))
    small_blocks(fs, "m.index")
    content = fs.files["m.index"]
    content[len(content) // 2] ^= 0x10
    found = verify("m", fs=fs)
    assert not found.whole
    assert 300 < len(found.intact) < 400
    assert found.broken == ()
    [finding] = found.findings
    assert (finding.kind, finding.file) == ("index", "m.index")
    assert "names from 'layer_" in finding.text
    # The first and last name of what is lost are in the text.
    lost = sorted({f"layer_{i:03d}" for i in range(400)} - set(found.intact))
    assert lost[-1] in finding.text


@pytest.mark.parametrize("cut", [48, 49, 300, 2000])
def test_a_cut_index_gives_the_blocks_before_the_cut(cut: int) -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        for i in range(400):
            writer.add(f"layer_{i:03d}", np.float32([i, i]))
    small_blocks(fs, "m.index")
    del fs.files["m.index"][-cut:]
    found = verify("m", fs=fs)
    assert not found.whole
    assert len(found.intact) > 250
    assert found.intact == tuple(f"layer_{i:03d}" for i in range(len(found.intact)))


def small_blocks(fs: MemoryFileSystem, path: str) -> None:
    """Writes a table again in blocks of about 500 bytes."""
    file = fs.open_read(path)
    records = list(Table(file).items())
    content = bytearray()
    builder = TableBuilder(content.extend, block_bytes=500)
    for key, value in records:
        builder.add(key, value)
    builder.finish()
    fs.files[path] = content


def without_records(fs: MemoryFileSystem, path: str, drop: Any) -> None:
    """Writes a table again without the records whose key ``drop`` picks."""
    file = fs.open_read(path)
    content = bytearray()
    builder = TableBuilder(content.extend)
    for key, value in Table(file).items():
        if key == HEADER_KEY or not drop(key):
            builder.add(key, value)
    builder.finish()
    fs.files[path] = content


def test_a_slice_that_is_not_in_the_index() -> None:
    fs, prefix = small_checkpoint()
    slices: list[bytes] = []
    without_records(fs, "m.index", lambda key: key[:1] == b"\0" and not slices and not slices.append(key))
    assert len(slices) == 1
    found = verify(prefix, fs=fs)
    assert found.broken == ("p",)
    assert found.intact == ("a", "s", "z")
    assert "1 of its 2 slices are not in the index" in found.findings[0].text


def test_slices_that_do_not_cover_or_overlap() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add_slice("gap", [5], TensorSlice.parse("0,2"), np.float32([1, 2]))
        writer.add_slice("gap", [5], TensorSlice.parse("3,2"), np.float32([1, 2]))
        writer.add_slice("twice", [3], TensorSlice.parse("0,2"), np.float32([1, 2]))
        writer.add_slice("twice", [3], TensorSlice.parse("1,2"), np.float32([1, 2]))
        writer.add("whole", 1.0)
    found = verify("m", fs=fs)
    assert (found.broken, found.intact) == (("gap", "twice"), ("whole",))
    texts = {f.name: f.text for f in found.findings}
    assert "have 4 of its 5 elements" in texts["gap"]
    assert "Overlapping slices" in texts["twice"]


def test_bytes_that_belong_to_no_tensor_are_notes() -> None:
    fs, prefix = small_checkpoint()
    fs.files["m.data-00000-of-00001"] += b"garbage"
    found = verify(prefix, fs=fs)
    assert found.whole
    [note] = found.findings
    assert (note.kind, note.broken) == ("unused bytes", False)
    assert note.text.startswith("7 bytes behind the last tensor")
    without_records(fs, "m.index", lambda key: key == b"s")
    found = verify(prefix, fs=fs)
    assert found.whole
    assert "in 1 holes between tensors" in found.findings[0].text


def test_a_broken_tensor_makes_its_embedding_variable_broken() -> None:
    fs = MemoryFileSystem()
    keys = np.arange(10, dtype=np.int64)
    with BundleWriter("m", fs) as writer:
        for name in ("emb", "emb/Adagrad", "other"):
            embedding.write_embedding(writer, name, keys, np.ones((10, 4), np.float32), dim=4)
        writer.add("w", 1.0)
    with BundleReader("m", fs) as reader:
        at = reader.entry("emb/Adagrad-values").offset
    fs.files["m.data-00000-of-00001"][at] ^= 1
    found = verify("m", fs=fs)
    assert found.broken == ("emb/Adagrad-values",)
    assert (found.broken_embeddings, found.intact_embeddings) == (("emb",), ("other",))
    assert "embedding variable 'emb'" in found.findings[-1].text


_OTHER_TYPES = {
    "b/part_1-keys_filtered": (np.int32, "'b/part_1-keys_filtered' are int32, the keys of 'b' int64"),
    "b/part_1/Adagrad-keys": (np.int32, "'b/part_1/Adagrad-keys' are int32, the keys of 'b' int64"),
    "b/part_1/Adagrad-values": (np.float64, "its parts are float32[n, 8], float64[n, 8]"),
    "b/part_1-freqs": (None, "'b/part_1-freqs' is empty, that of another part is not"),
    "b/part_1-versions": (None, "'b/part_1-versions' is empty, that of another part is not"),
}


@pytest.mark.parametrize("name", _OTHER_TYPES)
def test_tensors_of_an_embedding_variable_that_are_unlike(name: str) -> None:
    """They were called whole, and no verb took them."""
    dtype, text = _OTHER_TYPES[name]
    fs = MemoryFileSystem()
    with BundleReader(CORRUPT.parent / "ev_deeprec/model.ckpt") as reader, BundleWriter("m", fs) as writer:
        for other, _ in reader.entries():
            value = reader.lookup(other)
            writer.add(other, value if other != name else value.astype(dtype) if dtype else value[:0])
    found = verify("m", fs=fs)
    assert (found.broken_embeddings, found.intact_embeddings) == (("b",), ("a",))
    assert any(text in finding.text for finding in found.findings)


def test_a_meta_graph_that_cannot_be_parsed(tmp_path: pathlib.Path) -> None:
    with BundleWriter(tmp_path / "m") as writer:
        writer.add("w", 1.0)
    (tmp_path / "m.meta").write_bytes(b"\xff\xff no graph")
    found = verify(tmp_path / "m")
    assert [f.kind for f in found.findings] == ["meta graph"]
    assert (found.whole, found.intact) == (False, ("w",))


def test_all_checkpoints_of_a_directory(tmp_path: pathlib.Path) -> None:
    from kvarn import checkpoint

    for step in (1, 2, 3):
        with BundleWriter(tmp_path / f"m-{step}") as writer:
            writer.add("w", float(step))
    paths = [str(tmp_path / f"m-{step}") for step in (1, 2, 3)]
    checkpoint.update_checkpoint_state(tmp_path, paths[-1], paths)
    (tmp_path / "m-1.index").unlink()
    data = tmp_path / "m-2.data-00000-of-00001"
    data.write_bytes(b"\0" * data.stat().st_size)
    found: list[Verification] = verify_directory(tmp_path)
    assert [(v.prefix, v.whole) for v in found] == list(zip(paths, (True, False, True), strict=True))
    assert found[0].findings[0].kind == "state"
    (tmp_path / "m-3.index").unlink()
    assert not verify_directory(tmp_path)[2].whole


def test_progress_ends_with_all_bytes() -> None:
    fs, prefix = small_checkpoint()
    told: list[tuple[int, int]] = []
    found = verify(prefix, fs=fs, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (found.size_bytes, found.size_bytes)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


# V1 ---------------------------------------------------------------------------------------------------

V1_DAMAGE = [
    "v1_bad_magic",
    "v1_block_bad_crc",
    "v1_data_bitflip",
    "v1_index_block_bitflip",
    "v1_min_consumer",
    "v1_short",
    "v1_text_file",
    "v1_truncated",
    "v1_unknown_compression",
]


@pytest.mark.parametrize("variant", V1_DAMAGE)
def test_a_damaged_table_of_one_block(variant: str) -> None:
    found = verify(CORRUPT / variant / "model.ckpt")
    assert (found.format, found.whole) == ("V1", False)
    assert (found.broken, found.intact) == ((), ())
    assert [f.kind for f in found.findings] == ["index"]


def test_a_missing_table() -> None:
    found = verify(CORRUPT / "v1_missing_shard" / "model.ckpt-40")
    assert found.broken == ("emb/bysize", "emb/cols", "emb/int", "emb/rows")
    assert "emb/single" in found.intact
    assert "emb/whole" not in (*found.intact, *found.broken)  # no table that is there has its name
    assert {f.kind for f in found.findings} == {"missing file", "slices"}


@pytest.mark.parametrize("case", ["tf115/v1_dtypes", "tf115/v1_sharded3", "derived/v1_snappy"])
def test_whole_tables_are_whole(case: str) -> None:
    folder = GOOD.parent / case
    prefix = json.loads((folder / "expected.json").read_text())["prefix"]
    found = verify(folder / prefix)
    assert found.whole, found.findings
    assert len(found.intact) > 2


def small_tables() -> tuple[MemoryFileSystem, str]:
    fs = MemoryFileSystem()
    for shard in range(2):
        with TensorSliceWriter(f"m-{shard:05d}-of-00002", fs) as writer:
            writer.add(f"a{shard}", np.arange(5, dtype=np.float32))
            writer.add(f"s{shard}", np.array([b"one", b"", b"three"], np.object_))
            piece = TensorSlice.parse(f"{2 * shard},2:0,2")
            writer.add_slice("p", [4, 2], piece, np.full((2, 2), shard, np.int32))
    return fs, "m-?????-of-00002"


def test_every_flipped_byte_of_a_table_is_found_or_harmless() -> None:
    fs, pattern = small_tables()
    with TensorSliceReader(pattern, fs) as reader:
        right = {name: reader.lookup(name).tolist() for name in list(reader.keys())}
    content = fs.files["m-00001-of-00002"]
    harmless = 0
    for at in range(len(content)):
        for mask in (0x01, 0xFF):
            content[at] ^= mask
            found = verify(pattern, fs=fs)
            if found.whole:
                with TensorSliceReader(pattern, fs) as reader:
                    assert {name: reader.lookup(name).tolist() for name in list(reader.keys())} == right, at
                harmless += 1
            else:
                # The other table is used all the same.
                assert {"a0", "s0"} <= set(found.intact), at
                assert "p" in found.broken, at
                assert found.findings[0].file == "m-00001-of-00002"
            content[at] ^= mask
    assert harmless <= 2 * (13 + 40)


def test_a_damaged_block_of_a_table_costs_what_is_in_it() -> None:
    fs = MemoryFileSystem()
    with TensorSliceWriter("m", fs) as writer:
        for i in range(4):
            writer.add(f"w{i}", np.full(100_000, i, np.float32))  # more than a block each
    fs.files["m"][len(fs.files["m"]) // 2] ^= 1
    found = verify("m", fs=fs)
    assert len(found.broken) == 1
    assert len(found.intact) == 3
    assert found.findings[0].kind == "checksum"
