"""Rows of sparse tensors as strings: TensorFlow's own bytes, and nothing bad gets through."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.graph.tensor import SparseTensor
from kvarn.ops import sparse_serial

INDICES = [[0, 1], [2, 0], [2, 3]]


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default():
        yield


def run(fetches):
    with Session() as session:
        return session.run(fetches)


# Row 2 of the two tensors below as TensorFlow 1.15.5 serializes it.
FLOATS = [
    "080912081202080212020801221000000000000000000300000000000000",
    "080112041202080222080000803f00000040",
    "080912041202080122080400000000000000",
]
TEXTS = "080712041202080222cb0100c801" + b"long".hex() * 50


def test_the_bytes_are_tensorflows():
    floats = SparseTensor(INDICES, [0.5, 1.0, 2.0], [3, 4])
    texts = SparseTensor(INDICES, ["a", "", "long" * 50], [3, 4])
    got, of_texts = run([sparse_serial.serialize_many_sparse(t) for t in (floats, texts)])
    assert got.shape == (3, 3)
    assert [t.hex() for t in got[2]] == FLOATS
    assert of_texts[2, 1].hex() == TEXTS


@pytest.mark.parametrize("values", [[0.5, 1.0, 2.0], [1, 2, 3], ["a", "", "long" * 50], [True, False, True]])
def test_there_and_back(values):
    tensor = SparseTensor(INDICES, values, [4, 4])
    packed = sparse_serial.serialize_many_sparse(tensor)
    back = sparse_serial.deserialize_many_sparse(packed, tensor.dtype, rank=2)
    assert back.indices.static_shape == (None, 2)
    want, got = run([tensor, back])
    for one, two in zip(want, got, strict=True):
        assert one.tolist() == two.tolist()


def test_rows_of_different_widths_take_the_greatest():
    narrow, wide = run(
        [sparse_serial.serialize_many_sparse(SparseTensor([[0, 0]], [1], [1, n])) for n in (2, 5)]
    )
    rows = np.concatenate([narrow, wide])
    got = run(sparse_serial.deserialize_many_sparse(rows, dtypes.int32))
    assert got.dense_shape.tolist() == [2, 5]
    assert got.indices.tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        (1, b"\xff\xff", "Could not parse"),
        (1, b"", "holds nothing"),
        (0, b"\x08\x09\x12\x04\x12\x02\x08\x01", "to have rank 2"),
        (0, b"\x08\x09\x12\x08\x12\x02\x08\x01\x12\x02\x08\x01\x22\x02ab", "Could not construct"),
        (2, b"\x08\x09\x12\x04\x12\x02\x08\x01\x22\x08" + bytes(8), "out of bounds"),
    ],
)
def test_damaged_rows_are_refused(column, text, message):
    rows = run(sparse_serial.serialize_many_sparse(SparseTensor([[0, 1]], [1], [1, 2])))
    rows[0, column] = text
    with pytest.raises(errors.InvalidArgumentError, match=message):
        run(sparse_serial.deserialize_many_sparse(rows, dtypes.int32))


def test_another_type_or_order_is_refused():
    rows = run(sparse_serial.serialize_many_sparse(SparseTensor([[0, 1]], [1], [1, 2])))
    with pytest.raises(errors.InvalidArgumentError, match="Requested values of type string"):
        run(sparse_serial.deserialize_many_sparse(rows, dtypes.string))
    with pytest.raises(errors.InvalidArgumentError, match="out of order"):
        run(sparse_serial.serialize_many_sparse(SparseTensor([[1, 0], [0, 0]], [1, 2], [2, 2])))
    with pytest.raises(errors.InvalidArgumentError, match="at least 1 serialized tensor"):
        run(sparse_serial.deserialize_many_sparse(rows[:0], dtypes.int32))
