"""`convert`: to another format and back, to the bit."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn.checkpoint.verbs.convert import convert
from kvarn.checkpoint.verbs.transfer import open_source
from kvarn.errors import (
    AlreadyExistsError,
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    OpError,
    UnimplementedError,
)
from kvarn.formats import embedding, embedding_rows
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import MemoryFileSystem
from kvarn.testing import goldens, strategies

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "checkpoints"
EV = str(GOLDEN / "tf115" / "ev_deeprec" / "model.ckpt")
NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=9)


def content(reader: BundleReader) -> dict[str, Any]:
    found = {}
    for info in reader.tensors():
        value = reader.lookup(info.name)
        found[info.name] = (
            info.dtype,
            info.shape,
            value.ravel().tolist() if value.dtype.hasobject else value.tobytes(),
        )
    return found


@settings(max_examples=60)
@given(
    tensors=st.dictionaries(NAMES, strategies.arrays(), max_size=5),
    suffix=st.sampled_from([".npz", ".safetensors"]),
)
def test_there_and_back_is_the_same_to_the_bit(tensors: dict, suffix: str) -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        for name, (array, dtype) in sorted(tensors.items(), key=lambda item: item[0].encode()):
            writer.add(name, array, dtype)
    report = convert("m", f"x{suffix}", skip_unsupported=True, fs=fs)
    assert suffix == ".safetensors" or not report.skipped
    convert(f"x{suffix}", "back", fs=fs)
    with BundleReader("m", fs) as before, BundleReader("back", fs) as after:
        left = {name: value for name, value in content(before).items() if name not in report.skipped}
        assert content(after) == left
    if not report.skipped:
        assert fs.files["back.index"] == fs.files["m.index"] or suffix == ".safetensors"


@pytest.mark.parametrize(
    "case", ["v2_dtypes", "v2_shapes", "v2_blocks", "v2_partitioned", "v2_slices", "ev_deeprec"]
)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_tensorflow_wrote_survives(case: str, suffix: str) -> None:
    fs = MemoryFileSystem()
    source = str(GOLDEN / "tf115" / case / "model.ckpt")
    with BundleReader(source) as before:
        names = [info.name for info in before.tensors()]
        if case == "v2_slices":  # has a tensor with a gap on purpose, and names with NULs
            with pytest.raises(OpError):
                convert(source, f"x{suffix}", target_fs=fs)
            assert not fs.files
            return
        report = convert(source, f"x{suffix}", skip_unsupported=True, target_fs=fs)
        convert(f"x{suffix}", "back", fs=fs)
        with BundleReader("back", fs) as after:
            expected = content(before)
            assert content(after) == {name: expected[name] for name in names if name not in report.skipped}


def test_what_a_format_cannot_hold_is_named_before_a_byte_is_written() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add("w", np.zeros(2))
        writer.add("words", np.array([b"a"], object))
        writer.add(b"\xff", np.zeros(1, np.float32))
        writer.add("z", np.zeros(1, np.complex128))
    before = set(fs.files)
    for dry_run in (True, False):
        with pytest.raises(UnimplementedError) as caught:
            convert("m", "x.safetensors", dry_run=dry_run, fs=fs)
        for text in ("'words': it has no type string", "complex128", "not UTF-8", "--skip-unsupported"):
            assert text in caught.value.message
        assert set(fs.files) == before
    report = convert("m", "x.safetensors", skip_unsupported=True, fs=fs)
    assert report.converted == ("w",)
    assert sorted(report.skipped) == ["words", "z", "\udcff"]


def test_slices_are_joined_and_arguments_checked(tmp_path: pathlib.Path) -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        for column in (2, 0):
            part = np.arange(4, dtype=np.float16).reshape(2, 2) + column
            writer.add_slice("h", (2, 4), TensorSlice(((0, 2), (column, 2))), part)
    convert("m", "x.npz", fs=fs)
    with np.load(io.BytesIO(bytes(fs.files["x.npz"]))) as stored:
        assert stored["h"].tolist() == [[0, 1, 2, 3], [2, 3, 4, 5]]
    with pytest.raises(AlreadyExistsError):
        convert("m", "x.npz", fs=fs)
    with pytest.raises(InvalidArgumentError, match="no format"):
        convert("m", "y", to="hdf5", fs=fs)
    with pytest.raises(InvalidArgumentError, match="own source"):
        convert("x.npz", "x.npz", overwrite=True, fs=fs)
    with pytest.raises(NotFoundError):
        convert(tmp_path, tmp_path / "x.npz")


def test_rows_in_files_of_an_ssd_tier_are_not_left_behind() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add("w", np.zeros(2))
    fs.files["m-b-ssd_record.index"] = bytearray(b"rows")
    with pytest.raises(UnimplementedError, match="SSD"):
        convert("m", "x.npz", fs=fs)


# Tables ---------------------------------------------------------------------------------------------


def rows_of(path: Any, name: str, fs: Any = None) -> dict:
    with BundleReader(path, fs) as reader:
        return {
            key: (
                None if chunk.values is None else chunk.values[i].tobytes(),
                None if chunk.versions is None else chunk.versions[i],
                None if chunk.freqs is None else chunk.freqs[i],
            )
            for chunk in embedding_rows.read_embedding(reader, name)
            for i, key in enumerate(chunk.keys.tolist())
        }


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("partitions", [0, 1, 4, 7])
def test_an_embedding_variable_as_a_table_and_back(
    tmp_path: pathlib.Path, suffix: str, partitions: int
) -> None:
    table = tmp_path / f"b{suffix}"
    report = convert(EV, table, embedding="b")
    assert report.rows == 270
    convert(table, tmp_path / "back", embedding="b", partitions=partitions)
    for name in ("b", "b/Adagrad"):
        assert rows_of(tmp_path / "back", name) == rows_of(EV, name)
    with BundleReader(tmp_path / "back") as reader:
        assert reader.contains("b/part_3-keys") == (partitions > 3)


def test_what_stands_in_a_table(tmp_path: pathlib.Path) -> None:
    convert(EV, tmp_path / "b.parquet", embedding="b")
    table = parquet.read_table(tmp_path / "b.parquet")
    assert table.schema.names == ["key", "value", "Adagrad", "freq", "version", "partition", "admitted"]
    assert str(table.schema.field("value").type).startswith("fixed_size_list<")
    found = table.to_pylist()
    with BundleReader(EV) as reader:
        for part in range(4):
            keys = reader.lookup(f"b/part_{part}-keys").tolist()
            values = dict(zip(keys, reader.lookup(f"b/part_{part}-values").tolist(), strict=True))
            slots = dict(zip(keys, reader.lookup(f"b/part_{part}/Adagrad-values").tolist(), strict=True))
            own = [row for row in found if row["partition"] == part]
            assert {row["key"]: row["value"] for row in own if row["admitted"]} == values
            assert {row["key"]: row["Adagrad"] for row in own if row["admitted"]} == slots
            filtered = reader.lookup(f"b/part_{part}-keys_filtered").tolist()
            assert sorted(row["key"] for row in own if not row["admitted"]) == sorted(filtered)


def test_a_table_that_another_program_made(tmp_path: pathlib.Path) -> None:
    keys = np.random.default_rng(1).permutation(5000).astype(np.int64)
    values = [[float(key), float(-key)] for key in keys]
    table = pyarrow.table({"key": keys, "value": pyarrow.array(values, pyarrow.list_(pyarrow.float32()))})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=700)
    convert(tmp_path / "t.parquet", tmp_path / "m", embedding="user", partitions=3)
    found = rows_of(tmp_path / "m", "user")
    assert found == {key: (np.array([key, -key], np.float32).tobytes(), None, None) for key in keys.tolist()}


def bad(**columns: Any) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


ONE = pyarrow.array([[1.0]], pyarrow.list_(pyarrow.float32()))
BAD = {
    "nothing": b"",
    "no table": b"PAR1 and nothing more PAR1",
    "cut": bad(key=[1], value=ONE)[:-9],
    "no key": bad(value=ONE),
    "text keys": bad(key=["a"], value=ONE),
    "no list": bad(key=[1], value=[1.0]),
    "null key": bad(key=pyarrow.array([None], pyarrow.int64()), value=ONE),
    "null value": bad(key=[1], value=pyarrow.array([None], pyarrow.list_(pyarrow.float32()))),
    "uneven": bad(key=[1, 2], value=pyarrow.array([[1.0], [1.0, 2.0]], pyarrow.list_(pyarrow.float32()))),
    "uneven, but right in sum": bad(
        key=[1, 2, 3], value=pyarrow.array([[1.0, 2.0], [1.0], [1.0, 2.0, 3.0]], pyarrow.list_(pyarrow.float32()))
    ),
    "twice": bad(key=[1, 1], value=pyarrow.array([[1.0], [2.0]], pyarrow.list_(pyarrow.float32()))),
    "half known": bad(key=[1, 2], value=pyarrow.concat_arrays([ONE, ONE]), freq=[1, None]),
    "admitted by number": bad(key=[1], value=ONE, admitted=[1]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_tables_that_make_no_embedding_variable(name: str) -> None:
    fs = MemoryFileSystem()
    fs.files["t.parquet"] = bytearray(BAD[name])
    with pytest.raises(DataLossError):
        convert("t.parquet", "m", embedding="b", fs=fs)
    assert set(fs.files) == {"t.parquet"}


def test_a_table_needs_a_name() -> None:
    fs = MemoryFileSystem()
    fs.files["t.parquet"] = bytearray(bad(key=[1], value=ONE))
    with pytest.raises(InvalidArgumentError, match="--embedding"):
        convert("t.parquet", "m", fs=fs)
    with pytest.raises(InvalidArgumentError, match="cannot become"):
        convert("t.parquet", "m.npz", embedding="b", fs=fs)
    with pytest.raises(NotFoundError, match="has 'a', 'b'"):
        convert(EV, "t2.parquet", target_fs=fs)
    with pytest.raises(NotFoundError, match="no embedding variable 'B'"):
        convert(EV, "t2.parquet", embedding="B", target_fs=fs)


@pytest.mark.parametrize("part", [0, 2])
def test_a_table_does_not_lack_the_rows_of_a_part(part: int) -> None:
    """A part that is not there was passed over without a word."""
    fs = MemoryFileSystem()
    with BundleReader(EV) as reader, BundleWriter("m", fs) as writer:
        for name, _ in reader.entries():
            if not name.startswith(f"b/part_{part}"):
                writer.add(name, reader.lookup(name))
    with pytest.raises(DataLossError, match=f"lacks 'b/part_{part}"):
        convert("m", "b.parquet", embedding="b", fs=fs)
    assert "b.parquet" not in fs.files


def test_a_table_has_no_key_twice() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        embedding.write_embedding(writer, "b", np.array([4, 4]), np.ones((2, 3), np.float32), dim=3)
    with pytest.raises(DataLossError, match="the key 4 twice"):
        convert("m", "b.parquet", embedding="b", fs=fs)
    assert "b.parquet" not in fs.files


def test_a_damaged_embedding_variable_makes_no_table(tmp_path: pathlib.Path) -> None:
    fs = MemoryFileSystem()
    convert(EV, "m", target_fs=fs)
    with BundleReader("m", fs) as reader:
        place = reader.entry("b/part_2/Adagrad-values").offset
    fs.files["m.data-00000-of-00001"][place + 5] ^= 1
    before = set(fs.files)
    with pytest.raises(DataLossError):
        convert("m", "b.parquet", embedding="b", fs=fs)
    assert set(fs.files) == before


# V1 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["v1_dtypes", "v1_shapes", "v1_saver", "v1_partitioned"])
def test_v1_to_v2_and_back_gives_the_bytes_of_tensorflow(case: str) -> None:
    found = goldens.cases(GOLDEN, f"tf115/{case}")[0]
    fs = MemoryFileSystem()
    report = convert(found.prefix, "v2", target_fs=fs)
    assert (report.source_format, report.target_format) == ("V1", "V2")
    with BundleReader("v2", fs) as reader:
        for tensor in found.tensors():
            assert tensor.equals(reader.lookup(tensor.name))
            assert reader.info(tensor.name).dtype.as_datatype_enum == tensor.dtype
    convert("v2", "v1", to="V1", fs=fs)
    with open_source("v1", fs) as reader:
        for tensor in found.tensors():
            assert tensor.equals(reader.lookup(tensor.name))
    # V2 does not keep how a slice that is everything was spelled.
    assert case == "v1_partitioned" or bytes(fs.files["v1"]) == pathlib.Path(found.prefix).read_bytes()


def test_what_v1_cannot_hold_is_named() -> None:
    fs = MemoryFileSystem()
    with BundleWriter("m", fs) as writer:
        writer.add("w", np.zeros(2))
        writer.add("u", np.zeros(2, np.uint64))
    with pytest.raises(UnimplementedError, match="'u': it has no type uint64"):
        convert("m", "x", to="V1", fs=fs)
    assert not fs.exists("x")
    assert convert("m", "x", to="V1", skip_unsupported=True, fs=fs).converted == ("w",)
