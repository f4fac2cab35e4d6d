"""Every recorded V2 checkpoint: read to the bit, and written again to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvarn import errors
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.names import encode_name
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.tensor_slice import TensorSlice, parse_shape_and_slice
from kvarn.testing.goldens import GoldenCase, cases

ROOT = Path(__file__).parent / "checkpoints"
V2 = cases(ROOT, "*/v2_*", "*/ev_*")
UNSHARDED_BY_TENSORFLOW = cases(ROOT, "tf*/v2_*", "tf*/ev_*")
# Of these TensorFlow reads a partitioned tensor only slice by slice.
UNCUTTABLE = (7, 15, 16, 17, 19, 22, 23)


def restore(reader: BundleReader, name: str | bytes, spec: str) -> np.ndarray[Any, Any]:
    if not spec:
        return reader.lookup(name)
    shape, piece, _ = parse_shape_and_slice(spec)
    return reader.lookup_slice(name, piece, shape)


def test_the_cases_are_there() -> None:
    assert len(V2) == 37


@pytest.mark.parametrize("case", V2, ids=repr)
def test_every_tensor(case: GoldenCase) -> None:
    with BundleReader(case.prefix) as reader:
        found = 0
        for expected in case.tensors():
            entry = reader.entry(expected.name)
            assert entry.dtype == expected.dtype
            assert reader.lookup_tensor_shape(expected.name) == entry.shape == expected.value.shape
            if entry.slices and expected.dtype in UNCUTTABLE:
                for piece in entry.slices:
                    part = expected.value[piece.relative_to(TensorSlice.of_shape(entry.shape))]
                    stored = reader.lookup_slice(expected.name, piece)
                    assert np.array_equal(stored, part), expected.name
                with pytest.raises(errors.InvalidArgumentError, match=r"^Dtype \w+ not supported\."):
                    reader.lookup(expected.name)
            else:
                assert expected.equals(reader.lookup(expected.name)), expected.name
            found += 1
        others = len(case.facts.get("opaque", ())) + len(case.facts.get("incomplete", ()))
        assert len(reader.keys()) == found + others


@pytest.mark.parametrize("case", cases(ROOT, "*/v2_slices"), ids=repr)
def test_every_region(case: GoldenCase) -> None:
    with BundleReader(case.prefix) as reader:
        for expected, facts in case.reads():
            if expected is not None:
                assert expected.equals(restore(reader, expected.name, expected.spec)), facts
                continue
            with pytest.raises(getattr(errors, facts["error"])) as caught:
                restore(reader, facts["name"], facts["spec"])
            assert str(caught.value).splitlines()[0] == facts["message"]


def test_a_tensor_with_a_gap_is_refused() -> None:
    with BundleReader(ROOT / "tf115/v2_slices/model.ckpt") as reader:
        with pytest.raises(errors.InvalidArgumentError, match="Does not have sufficient slices"):
            reader.lookup("gap")
        assert reader.lookup_slice("gap", TensorSlice.parse("4,2:0,2")).shape == (2, 2)


@pytest.mark.parametrize("case", UNSHARDED_BY_TENSORFLOW, ids=repr)
def test_written_again_to_the_byte(case: GoldenCase, tmp_path: Path) -> None:
    with BundleReader(case.prefix) as reader:
        if reader.header.num_shards > 1:
            assert "sharded" in case.facts["case"]  # these are made by merging: test_bundle_merge.py
            return
        slices = {
            encode_slice_key(encode_name(name), piece): (name, entry.shape, piece)
            for name, entry in reader.entries()
            for piece in entry.slices
        }
        stored = [(key, entry) for key, entry in reader.records() if not entry.slices]
        with BundleWriter(tmp_path / "again") as writer:
            # Data lies in the order of saving; of several at one offset only the last can have bytes.
            for key, entry in sorted(stored, key=lambda item: (item[1].offset, item[1].size)):
                if key in slices:
                    name, shape, piece = slices[key]
                    part = reader.lookup_stored_slice(name, piece)
                    writer.add_slice(name, shape, piece, part, entry.dtype)
                else:
                    writer.add(key, reader.lookup(key), entry.dtype)
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"again{suffix}").read_bytes() == Path(case.prefix + suffix).read_bytes()
    assert len(list(tmp_path.iterdir())) == 2
