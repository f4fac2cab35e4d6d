"""Every recorded V1 checkpoint: read to the bit, and written again to the byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kvarn import errors
from kvarn.formats.detect import open_checkpoint
from kvarn.formats.slices_v1 import TensorSliceReader, TensorSliceWriter, find_tables, save_order
from kvarn.formats.tensor_slice import TensorSlice, parse_shape_and_slice
from kvarn.io import LOCAL
from kvarn.testing.goldens import GoldenCase, cases

ROOT = Path(__file__).parent / "checkpoints"
V1 = cases(ROOT, "*/v1_*", "*/state_v1*")
WRITTEN_BY_TENSORFLOW = cases(ROOT, "tf*/v1_*", "tf*/state_v1*")


def restore(reader: TensorSliceReader, name: str | bytes, spec: str) -> np.ndarray:
    if not spec:
        return reader.lookup(name)
    shape, piece, _ = parse_shape_and_slice(spec)
    return reader.lookup_slice(name, piece, shape)


def test_the_cases_are_there() -> None:
    assert len(V1) == 27


@pytest.mark.parametrize("case", V1, ids=repr)
def test_every_tensor(case: GoldenCase) -> None:
    with open_checkpoint(case.prefix) as reader:
        assert isinstance(reader, TensorSliceReader)
        found = 0
        for expected in case.tensors():
            dtype, shape = reader.lookup_dtype_and_shape(expected.name)
            assert dtype.as_datatype_enum == expected.dtype
            assert shape == expected.value.shape
            assert expected.equals(reader.lookup(expected.name)), expected.name
            pieces = list(reader.chunks(expected.name, 64))
            assert expected.equals(np.concatenate(pieces) if len(pieces) > 1 else pieces[0]), expected.name
            reader.verify(expected.name)
            found += 1
        assert len(reader.keys()) == found + len(case.facts.get("incomplete", ()))
        assert [info.name for info in reader.tensors()] == reader.keys()
        assert reader.keys() == sorted(
            reader.keys(), key=lambda name: name.encode("utf-8", "surrogateescape")
        )


@pytest.mark.parametrize("case", V1, ids=repr)
def test_every_stored_slice(case: GoldenCase) -> None:
    with TensorSliceReader(case.prefix) as reader:
        for expected, facts in zip(case.tensors(), case.facts["tensors"], strict=True):
            info = reader.info(expected.name)
            stored = {tuple(tuple(extent) for extent in piece) for piece in facts.get("slices", ())}
            if info.slices:
                assert {piece.extents for piece in info.slices} == stored
            for piece in info.slices:
                where = piece.resolve(info.shape).relative_to(TensorSlice.of_shape(info.shape))
                assert np.array_equal(reader.lookup_stored_slice(expected.name, piece), expected.value[where])


def test_every_region() -> None:
    (case,) = cases(ROOT, "tf115/v1_slices")
    with TensorSliceReader(case.prefix) as reader:
        seen = 0
        for expected, facts in case.reads():
            seen += 1
            if expected is not None:
                assert expected.equals(restore(reader, expected.name, expected.spec)), facts
                continue
            with pytest.raises(errors.OpError) as caught:
                restore(reader, facts["name"], facts["spec"])
            assert type(caught.value).__name__ == facts["error"]
            assert str(caught.value).splitlines()[0] == facts["message"]
        assert seen == len(case.facts["reads"]) > 20


def test_a_tensor_with_a_gap_is_refused() -> None:
    (case,) = cases(ROOT, "tf115/v1_slices")
    (facts,) = case.facts["incomplete"]
    name = facts["name"]
    with TensorSliceReader(case.prefix) as reader:
        with pytest.raises(errors.InvalidArgumentError, match=r"^Error copying slice data"):
            reader.lookup(name)
        with pytest.raises(errors.InvalidArgumentError, match=r"^Error copying slice data"):
            reader.verify(name)
        piece = reader.info(name).slices[0]
        shape = piece.shape_within(reader.info(name).shape)
        assert reader.lookup_stored_slice(name, piece).shape == shape


@pytest.mark.parametrize("case", WRITTEN_BY_TENSORFLOW, ids=repr)
def test_written_again_to_the_byte(case: GoldenCase, tmp_path: Path) -> None:
    for path in find_tables(LOCAL, case.prefix):
        again = tmp_path / Path(path).name
        with TensorSliceReader(path) as reader, TensorSliceWriter(again) as writer:
            for info in reader.tensors():
                if not info.slices:
                    writer.add(info.name, reader.lookup(info.name), info.dtype)
                for piece in info.slices:
                    part = reader.lookup_stored_slice(info.name, piece)
                    writer.add_slice(info.name, info.shape, piece, part, info.dtype)
        assert again.read_bytes() == Path(path).read_bytes()
        again.unlink()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", cases(ROOT, "derived/v1_*"), ids=repr)
def test_tables_that_only_readers_know_become_ordinary_ones(case: GoldenCase, tmp_path: Path) -> None:
    with TensorSliceReader(case.prefix) as reader, TensorSliceWriter(tmp_path / "again") as writer:
        for info in reader.tensors():
            writer.add(info.name, reader.lookup(info.name), info.dtype)
    made_from = case.facts["made_by"].removeprefix("re-encoded from ").partition(":")[0]
    (original,) = cases(ROOT, f"tf115/{made_from}")
    assert (tmp_path / "again").read_bytes() == Path(original.prefix).read_bytes()


def test_the_order_of_saving() -> None:
    assert save_order([b"b", b"a", b"c"]) == [1, 0, 2]
    assert save_order([b"b", b"a"] * 8) == [*range(1, 16, 2), *range(0, 16, 2)]
