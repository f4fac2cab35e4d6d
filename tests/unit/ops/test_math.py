"""Mathematical ops at run time: messages, element types, values at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.graph.tensor import IndexedSlices
from kvarn.ops import array, linalg, math, nn, ranges, reduction, segment


def run(build):
    with Graph().as_default() as graph:
        fetches = build()
        with Session(graph=graph) as session:
            return session.run(fetches)


def unknown(value, dtype=None):
    value = np.asarray(value, dtype)
    return array.placeholder_with_default(value, [None] * value.ndim)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: unknown(np.zeros((2, 3))) + unknown(np.zeros(4)), r"Incompatible shapes: \[2,3\] vs. \[4\]"),
        (lambda: unknown([1, 2]) // 0, "Integer division by zero"),
        (lambda: unknown([1, 2]) % 0, "Integer division by zero"),
        (
            lambda: linalg.matmul(unknown(np.zeros((2, 3))), unknown(np.zeros((2, 3)))),
            r"Matrix size-incompatible: In\[0\]: \[2,3\], In\[1\]: \[2,3\]",
        ),
        (
            lambda: math.pow(unknown([2]), unknown([-1])),
            "Integers to negative integer powers are not allowed",
        ),
        (lambda: ranges.range(unknown(0), 5, 0), "Requires delta != 0: 0"),
        (lambda: ranges.range(unknown(5), 0, 1), "Requires start <= limit when delta > 0: 5/0"),
        (
            lambda: reduction.reduce_sum(unknown([1.0]), unknown(3)),
            r"Invalid reduction dimension \(3 for input with 1 dimension\(s\)",
        ),
        (lambda: segment.segment_sum(unknown([1.0, 2.0]), unknown([1, 0])), "segment ids are not increasing"),
        (
            lambda: segment.unsorted_segment_sum(unknown([1.0, 2.0]), unknown([0, 4]), 3),
            r"segment_ids\[1\] = 4 is out of range \[0, 3\)",
        ),
        (
            lambda: segment.sparse_segment_sum(unknown([1.0, 2.0]), [5], [0]),
            r"Bad: indices\[0\] == 5 out of range \[0, 2\)",
        ),
        (
            lambda: nn.sparse_softmax_cross_entropy_with_logits(
                labels=unknown([3]), logits=unknown([[1.0, 2.0]])
            ),
            r"Received a label value of 3 which is outside the valid range of \[0, 2\)",
        ),
        (
            lambda: nn.top_k(unknown([1.0, 2.0]), unknown(3, np.int32))[0],
            "input must have at least k columns",
        ),
    ],
)
def test_message(build, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        run(build)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_element_types_stay(dtype):
    def build():
        x = constant(np.array([[0.5, 1.5], [2.0, 0.25]], dtype))
        return [
            reduction.reduce_sum(x),
            reduction.reduce_mean(x, 1),
            math.sigmoid(x),
            math.sqrt(x),
            x / 2,
            x % 2,
            x**2,
            nn.softmax(x),
            nn.elu(x),
            nn.selu(x),
            nn.leaky_relu(x),
            nn.softplus(x),
            nn.l2_loss(x),
            math.erf(x),
            reduction.cumsum(x),
            reduction.reduce_logsumexp(x),
            linalg.matmul(x, x),
            math.div_no_nan(x, x),
            math.xlogy(x, x),
        ]

    assert {np.asarray(v).dtype for v in run(build)} == {np.dtype(dtype)}


def test_values_at_the_edges():
    def build():
        x = constant([-1000.0, 1000.0, 0.0])
        return [
            math.sigmoid(x),
            nn.softplus(x),
            nn.sigmoid_cross_entropy_with_logits(labels=constant([0.0, 1.0, 1.0]), logits=x),
            nn.softmax(x),
            math.div_no_nan(x, array.zeros([3])),
            reduction.reduce_max(array.zeros([0])),
            reduction.reduce_mean(array.zeros([0])),
        ]

    sigmoid, softplus, cross, softmax, no_nan, greatest, mean = run(build)
    np.testing.assert_array_equal(sigmoid, [0.0, 1.0, 0.5])
    np.testing.assert_allclose(softplus, [0.0, 1000.0, np.log(2.0)])
    np.testing.assert_allclose(cross, [0.0, 0.0, np.log(2.0)], rtol=1e-6)
    np.testing.assert_array_equal(softmax, [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(no_nan, [0.0, 0.0, 0.0])
    assert greatest == -np.inf
    assert np.isnan(mean)


def test_sum_of_one_indexed_slices_is_dense():
    def build():
        return math.add_n([IndexedSlices(constant([[1.0], [2.0]]), constant([2, 2]), constant([4, 1]))])

    assert run(build).tolist() == [[0.0], [0.0], [3.0], [0.0]]


def test_integers_divide_as_in_c_and_in_python():
    def build():
        a, b = constant([7, -7, 7, -7]), constant([2, 2, -2, -2])
        return [math.truncatediv(a, b), a // b, math.truncatemod(a, b), a % b]

    truncated, floored, truncated_rest, floored_rest = run(build)
    assert truncated.tolist() == [3, -3, -3, 3]
    assert floored.tolist() == [3, -4, -4, 3]
    assert truncated_rest.tolist() == [1, -1, 1, -1]
    assert floored_rest.tolist() == [1, 1, -1, -1]


def test_different_types_are_refused():
    with Graph().as_default(), pytest.raises(TypeError, match="that does not match type"):
        math.add(constant(1.0), constant(1))
    with Graph().as_default(), pytest.raises(TypeError, match="x and y must have the same dtype"):
        math.truediv(constant(1.0), constant(1))


def test_strings_cannot_be_multiplied():
    with Graph().as_default(), pytest.raises(TypeError, match="not in list of allowed values"):
        math.multiply(constant("a"), constant("b"))


def test_cast_of_the_same_type_adds_nothing():
    with Graph().as_default() as graph:
        x = constant(1.0)
        assert math.cast(x, dtypes.float32) is x
        assert len(graph.get_operations()) == 1
