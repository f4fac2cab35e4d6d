"""Python functions in a graph: what they get, what they may return, and which errors they become."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import script


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default() as g:
        yield g


def run(fetches):
    with Session() as session:
        return session.run(fetches)


def test_arrays_go_in_and_come_out_on_every_run():
    calls = []

    def double(x, text):
        calls.append((x.dtype, text))
        x *= 2
        return x, text + b"\x00"

    kept = constant([1.0, 2.0])
    y, text = script.py_func(double, [kept, b"a"], [dtypes.float32, dtypes.string])
    assert y.static_shape is None
    with Session() as session:
        for _ in range(2):
            # The function changed its own copy, not the constant.
            got = session.run([y, text, kept])
            assert got[0].tolist() == [2.0, 4.0]
            assert got[1] == b"a\x00"
            assert got[2].tolist() == [1.0, 2.0]
    assert calls == [(np.dtype(np.float32), b"a")] * 2


def test_kinds_of_nodes():
    assert script.py_func(np.sum, [[1]], dtypes.int64).op.type == "PyFunc"
    assert script.py_func(np.sum, [[1]], dtypes.int64, stateful=False).op.type == "PyFuncStateless"
    assert run(script.numpy_function(lambda: ["é", "b"], [], [dtypes.string, dtypes.string])) == [
        "é".encode(),
        b"b",
    ]
    with pytest.raises(ValueError, match="Expected func to be callable"):
        script.py_func(3, [], dtypes.int64)


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (ValueError, errors.InvalidArgumentError),
        (TypeError, errors.InvalidArgumentError),
        (StopIteration, errors.OutOfRangeError),
        (MemoryError, errors.ResourceExhaustedError),
        (NotImplementedError, errors.UnimplementedError),
        (KeyError, errors.UnknownError),
    ],
)
def test_exceptions(raised, becomes):
    def fails():
        raise raised("inside")

    with pytest.raises(becomes, match="inside"):
        run(script.py_func(fails, [], dtypes.int64))


def test_an_exception_tells_where_it_comes_from():
    def inner():
        raise ValueError("blah")

    def outer():
        inner()

    with pytest.raises(
        errors.InvalidArgumentError, match=r"(?s)^ValueError: blah\n.*in outer.*in inner.*: blah"
    ):
        run(script.py_func(outer, [], dtypes.int64))


def test_errors_of_runs_inside_are_unknown_ones():
    def fails():
        raise errors.InvalidArgumentError(None, None, "of a run inside")

    with pytest.raises(errors.UnknownError, match="of a run inside"):
        run(script.py_func(fails, [], dtypes.int64))


# What TensorFlow 1.15.5 says.
@pytest.mark.parametrize(
    ("result", "types", "error", "message"),
    [
        (
            np.int32(1),
            dtypes.int64,
            "InvalidArgument",
            "0-th value returned by pyfunc_.* is int32, but expects int64",
        ),
        ((1.0, 2.0), [dtypes.float64], "InvalidArgument", "returns 2 values, but expects to see 1 values"),
        (b"a", dtypes.int64, "InvalidArgument", "is string, but expects int64"),
        (None, [dtypes.int64], "InvalidArgument", "returns 0 values, but expects to see 1 values"),
        (np.array(None), [dtypes.int64], "InvalidArgument", "returns 0 values, but expects to see 1 values"),
        ("a", [], "InvalidArgument", "returns 1 values, but expects to see 0 values"),
        ([None], [dtypes.int64], "Internal", "Unsupported object type NoneType"),
        ({"a": 1}, [dtypes.int64], "Internal", "Unsupported object type dict"),
        (np.array(["a", None], object), [dtypes.string], "Internal", "Unsupported object type NoneType"),
        (np.array([], [("a", np.float32)]), [dtypes.float32], "Internal", "Unsupported numpy data type"),
        (np.array(["2019"], "datetime64"), [dtypes.int64], "Internal", "Unsupported numpy type: "),
    ],
)
def test_other_results_than_promised(result, types, error, message):
    with pytest.raises(getattr(errors, f"{error}Error"), match=message):
        run(script.py_func(lambda: result, [], types))


def test_nothing_returned():
    calls = []
    stateful = script.py_func(lambda: calls.append(1), [], [])
    assert stateful.type == "PyFunc"
    assert run(stateful) is None
    assert calls == [1]
    assert script.py_func(lambda: None, [], [], stateful=False) == []


def test_a_function_lives_as_long_as_its_graph():
    gc.collect()
    before = len(script._functions)
    g = Graph()
    with g.as_default():
        script.py_func(lambda: np.int64(1), [], dtypes.int64)
        # It refers to the graph.
        script.py_func(constant([1.0]).eval, [], dtypes.float32)
    gc.collect()
    assert len(script._functions) == before + 2
    del g
    gc.collect()
    assert len(script._functions) <= before


def test_functions_on_tensors_are_refused():
    with pytest.raises(errors.UnimplementedError, match="eager execution") as caught:
        script.eager_py_func(lambda x: x, [1.0], dtypes.float32)
    assert "tf.py_func" in caught.value.hint
    with pytest.raises(ValueError, match="callable"):
        script.eager_py_func(1.0, [1.0], dtypes.float32)


def test_a_function_of_another_process_is_named():
    node = script.py_func_(input=[], token="pyfunc_from_elsewhere", Tout=[dtypes.int64])
    with pytest.raises(errors.InvalidArgumentError, match="pyfunc_from_elsewhere is not found") as caught:
        run(node)
    assert caught.value.hint
