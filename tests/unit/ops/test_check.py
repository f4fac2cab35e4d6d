"""Assertions are decided while the graph is built where values are known, otherwise when it runs."""

from __future__ import annotations

import pytest

from kvarn import dtypes, errors
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import array, check


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default():
        yield


BINARY = [
    (check.assert_equal, [1, 2], [1, 2], [1, 3]),
    (check.assert_none_equal, [1, 2], [2, 1], [2, 2]),
    (check.assert_less, [1, 2], [2, 3], [2, 2]),
    (check.assert_less_equal, [1, 2], [1, 3], [0, 3]),
    (check.assert_greater, [1, 2], [0, 1], [1, 1]),
    (check.assert_greater_equal, [1, 2], [1, 1], [1, 3]),
]


@pytest.mark.parametrize(("function", "x", "good", "bad"), BINARY, ids=lambda v: getattr(v, "__name__", None))
def test_two_values(function, x, good, bad):
    function(x, good)
    with pytest.raises(errors.InvalidArgumentError, match=r"did not hold element-wise:\nx \("):
        function(x, bad)
    fed = array.placeholder(dtypes.int32, [2])
    later = function(fed, good, message="mine", name="c")
    assert later.name == ("c_1/Assert/Assert" if function is check.assert_equal else "c/Assert/Assert")
    wrong = function(fed, bad, message="mine")
    with Session() as session:
        session.run(later, {fed: x})
        with pytest.raises(errors.InvalidArgumentError, match=r"assertion failed: \[mine\]"):
            session.run(wrong, {fed: x})


@pytest.mark.parametrize(
    ("function", "good", "bad"),
    [
        (check.assert_positive, [1, 2], [1, 0]),
        (check.assert_negative, [-1, -2], [-1, 0]),
        (check.assert_non_negative, [0, 1], [-1, 1]),
        (check.assert_non_positive, [0, -1], [0, 1]),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_one_value(function, good, bad):
    function(good)
    with pytest.raises(errors.InvalidArgumentError, match="why\nCondition x "):
        function(bad, message="why")
    fed = array.placeholder(dtypes.int32, [2])
    later = function(fed)
    with Session() as session:
        session.run(later, {fed: good})
        with pytest.raises(errors.InvalidArgumentError, match="assertion failed"):
            session.run(later, {fed: bad})


def test_rank_and_type():
    assert check.assert_rank([1, 2], 1).type == "NoOp"
    with pytest.raises(ValueError, match=r"must have rank 2\.  Received rank 1"):
        check.assert_rank([1, 2], 2)
    with pytest.raises(TypeError, match="must be of type"):
        check.assert_rank([1, 2], 1.0)
    with pytest.raises(ValueError, match="Rank must be a scalar"):
        check.assert_rank([1, 2], [1])
    unknown = array.placeholder(dtypes.int32)
    later = check.assert_rank(unknown, 1)
    with Session() as session:
        session.run(later, {unknown: [1]})
        with pytest.raises(errors.InvalidArgumentError, match="must have rank"):
            session.run(later, {unknown: 1})
    assert check.assert_type([1], dtypes.int32).type == "NoOp"
    with pytest.raises(TypeError, match=r"text.*must be of type"):
        check.assert_type([1], dtypes.float32, "text")


def test_one_of_several_ranks():
    assert check.assert_rank_in([1, 2], (0, 1)).type == "NoOp"
    with pytest.raises(
        ValueError, match=r"m\.  Tensor .*x:0 must have rank in \(0, 2\)\.  Received rank 1, shape \(2,\)"
    ):
        check.assert_rank_in([1, 2], (0, 2), message="m")
    with pytest.raises(TypeError, match="must be of type"):
        check.assert_rank_in([1, 2], (1.0,))
    with pytest.raises(ValueError, match="Rank must be a scalar"):
        check.assert_rank_in([1, 2], ([1],))
    x, rank = array.placeholder(dtypes.float32), array.placeholder(dtypes.int32)
    later = check.assert_rank_in(x, (0, rank))
    with Session() as session:
        session.run(later, {x: 1.0, rank: 2})
        session.run(later, {x: [[1.0]], rank: 2})
        with pytest.raises(errors.InvalidArgumentError, match="must have rank in"):
            session.run(later, {x: [1.0], rank: 2})
        with pytest.raises(errors.InvalidArgumentError, match="Rank must be a scalar"):
            session.run(later, {x: [1.0], rank: [1]})
