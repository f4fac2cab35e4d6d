"""Static shapes: everything that TensorFlow was asked about, and the tuples underneath."""

from __future__ import annotations

import copy
import json
import pathlib
import pickle
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvarn import dtypes
from kvarn.graph import shape_inference, tensor_shape
from kvarn.graph.tensor_shape import Dimension, TensorShape

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "graphs"
RECORDED = json.loads((GOLDEN / "tensor_shape.json").read_text())

# The names under which the recorded expressions find things.
TF = types.SimpleNamespace(
    TensorShape=TensorShape,
    Dimension=Dimension,
    dimension_value=tensor_shape.dimension_value,
    float32=dtypes.float32,
)
TF.compat = types.SimpleNamespace(
    v1=types.SimpleNamespace(dimension_at_index=tensor_shape.dimension_at_index)
)


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["call"])
def test_does_what_tensorflow_does(case: dict) -> None:
    if "error" in case:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the class is compared below
            eval(case["call"], {"tf": TF})
        assert type(caught.value).__name__ == case["error"]
        # The texts of Python's own errors change with its releases.
        if case["error"] != "IndexError" and "int()" not in case["text"] and "__int__" not in case["text"]:
            assert str(caught.value) == case["text"]
    else:
        value = eval(case["call"], {"tf": TF})
        expected = case["value"]
        assert (value if value is None or isinstance(value, bool) else repr(value)) == expected


def test_v2_behaviour_gives_plain_sizes() -> None:
    tensor_shape.enable_v2_tensorshape()
    try:
        shape = TensorShape([2, None])
        assert shape[0] == 2
        assert shape[1] is None
        assert list(shape) == [2, None]
        assert repr(shape) == "TensorShape([2, None])"
        assert str(shape) == "(2, None)"
    finally:
        tensor_shape.disable_v2_tensorshape()
    assert isinstance(TensorShape([2])[0], Dimension)


def test_shapes_copy_and_pickle() -> None:
    shape = TensorShape([2, None])
    for twin in (copy.copy(shape), copy.deepcopy(shape), pickle.loads(pickle.dumps(shape))):
        assert twin.as_list() == [2, None]
    assert pickle.loads(pickle.dumps(Dimension(3))).value == 3


def test_to_tuple_takes_everything_that_describes_a_shape() -> None:
    expected = (2, None)
    for value in (
        TensorShape([2, None]),
        [2, None],
        (np.int64(2), None),
        [Dimension(2), Dimension(None)],
        TensorShape([2, None]).as_proto(),
        iter([2, None]),
    ):
        assert tensor_shape.to_tuple(value) == expected
    assert tensor_shape.to_tuple(None) is None
    assert tensor_shape.to_tuple(np.array([3, 4])) == (3, 4)
    assert tensor_shape.to_tuple(7) == (7,)
    assert tensor_shape.to_tuple(TensorShape(None).as_proto()) is None


def test_a_proto_with_a_size_below_minus_one_is_refused() -> None:
    proto = TensorShape([2]).as_proto()
    proto.dim[0].size = -2
    with pytest.raises(ValueError, match="must be >= 0"):
        tensor_shape.to_tuple(proto)


SIZES = st.one_of(st.none(), st.integers(0, 3))
SHAPES = st.one_of(st.none(), st.lists(SIZES, max_size=3).map(tuple))


@given(SHAPES, SHAPES)
def test_merging_agrees_with_compatibility(a: tuple | None, b: tuple | None) -> None:
    if tensor_shape.compatible(a, b):
        merged = tensor_shape.merge_tuples(a, b)
        assert merged == tensor_shape.merge_tuples(b, a)
        for shape in (a, b):
            assert shape is None or all(x in (None, y) for x, y in zip(shape, merged, strict=True))
    else:
        with pytest.raises(ValueError, match="are not compatible"):
            tensor_shape.merge_tuples(a, b)


@given(st.lists(st.integers(0, 3), max_size=3), st.lists(st.integers(0, 3), max_size=3))
def test_broadcasting_agrees_with_numpy(a: list[int], b: list[int]) -> None:
    try:
        expected = np.broadcast_shapes(tuple(a), tuple(b))
    except ValueError:
        with pytest.raises(ValueError, match="Dimensions must be equal"):
            shape_inference.broadcast_shapes(tuple(a), tuple(b))
    else:
        assert shape_inference.broadcast_shapes(tuple(a), tuple(b)) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (None, (2,), None),
        ((None,), (3,), (3,)),
        ((None,), (1,), (None,)),
        ((None,), (None,), (None,)),
        ((2, 1), (None,), (2, None)),
    ],
)
def test_broadcasting_unknown_sizes(a: tuple | None, b: tuple | None, expected: tuple | None) -> None:
    assert shape_inference.broadcast_shapes(a, b) == expected
    assert shape_inference.broadcast_shapes(b, a) == expected
