"""Slices and their strings, with TensorFlow's words for what is wrong with them."""

from __future__ import annotations

import pytest

from kvarn import errors
from kvarn.formats.tensor_slice import TensorSlice, parse_shape_and_slice


@pytest.mark.parametrize("text", ["4,3:0,4", "-:2,1", "-", ""])
def test_text_and_back(text: str) -> None:
    assert str(TensorSlice.parse(text)) == text


def test_whole_dimensions() -> None:
    piece = TensorSlice.parse("-:2,1")
    assert piece.extents == ((0, -1), (2, 1))
    assert piece.shape_within((5, 4)) == (5, 1)
    assert TensorSlice.full(2).is_full()
    assert not piece.is_full()


def test_intersections() -> None:
    a = TensorSlice.parse("0,4:-")
    assert str(a.intersect(TensorSlice.parse("2,5:1,2"))) == "2,2:1,2"
    assert a.intersect(TensorSlice.parse("4,1:-")) is None
    assert str(a.intersect(TensorSlice.parse("-:-"))) == "0,4:-"


def test_shape_and_slice() -> None:
    assert parse_shape_and_slice("10 4 4,3:0,4") == ((10, 4), TensorSlice(((4, 3), (0, 4))), (3, 4))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("4", errors.InvalidArgumentError, "Need least two elements in shape_and_slice specification: 4"),
        ("x 0,1", errors.InvalidArgumentError, "Non numerical dimension in shape_and_slice: x 0,1"),
        ("4 0", errors.InvalidArgumentError, "Expected a pair of numbers or '-' but got '0': string = 0"),
        (
            "4 3,0",
            errors.InvalidArgumentError,
            "Expected non-negative start and positive length but got start = 3, length = 0: string = 3,0",
        ),
        ("4 3,2", errors.InternalError, "Extent in dimension 0 out of bounds: shape = [4], slice = 3,2"),
        ("4 4 0,1", errors.InternalError, "Mismatching ranks: shape = [4,4], slice = 0,1"),
    ],
)
def test_errors(text: str, kind: type[errors.OpError], message: str) -> None:
    with pytest.raises(kind) as caught:
        parse_shape_and_slice(text)
    assert str(caught.value).splitlines()[0] == message
