"""Sessions: fetches, feeds, plans, errors, and what a caller may do with what it gets."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph, control_dependencies
from kvarn.graph.session import InteractiveSession, Session, get_default_session
from kvarn.graph.tensor import IndexedSlices, IndexedSlicesValue, SparseTensor, SparseTensorValue
from kvarn.ops import array, math, state, string

Pair = collections.namedtuple("Pair", ["a", "b"])


@pytest.fixture(autouse=True)
def graph() -> Iterator[Graph]:
    with Graph().as_default() as g:
        yield g


def test_a_nest_comes_back_in_its_own_shape() -> None:
    x, y = constant(1.0), constant([2, 3])
    fetches = {"p": Pair(x, [y, y]), "t": (x, {"d": y.op})}
    with Session() as session:
        out = session.run(collections.OrderedDict(fetches))
    assert isinstance(out, collections.OrderedDict)
    assert isinstance(out["p"], Pair)
    np.testing.assert_array_equal(out["p"].b[1], [2, 3])
    assert out["t"][1]["d"] is None
    assert type(out["t"][0]) is np.float32


def test_names_operations_sparse_tensors_and_slices_can_be_fetched() -> None:
    x = constant(5, name="five")
    sparse = SparseTensor([[0, 1]], [2.0], [3, 4])
    slices = IndexedSlices(constant([[1.0]]), constant([7]))
    with Session() as session:
        assert session.run("five:0") == 5
        assert session.run(x.op) is None
        value = session.run(sparse)
        assert isinstance(value, SparseTensorValue)
        np.testing.assert_array_equal(value.dense_shape, [3, 4])
        assert isinstance(session.run(slices), IndexedSlicesValue)
        assert session.run([]) == []


@pytest.mark.parametrize(
    ("fetch", "error", "text"),
    [
        (None, TypeError, "Fetch argument None"),
        (3, TypeError, "must be a string or Tensor"),
        ("nothing:0", ValueError, "does not exist"),
        ("a:b:c", ValueError, "cannot be interpreted as a Tensor"),
    ],
)
def test_what_cannot_be_fetched(fetch: object, error: type[Exception], text: str) -> None:
    constant(1)
    with Session() as session, pytest.raises(error, match=text):
        session.run(fetch)


def test_a_tensor_of_another_graph_is_refused() -> None:
    with Graph().as_default():
        other = constant(1)
    constant(1)
    with Session() as session, pytest.raises(ValueError, match="not an element of this graph"):
        session.run(other)


def test_anything_can_be_fed_and_feeding_cuts_what_is_before() -> None:
    v = state.variable_v2(shape=[2], dtype=dtypes.float32)
    y = v * 2.0
    with Session() as session:
        np.testing.assert_array_equal(session.run(y, {v: [1, 2]}), [2, 4])
        np.testing.assert_array_equal(session.run(y, {y: [5, 6]}), [5, 6])
        sparse = array.sparse_placeholder(dtypes.float32) if hasattr(array, "sparse_placeholder") else None
        if sparse is not None:
            fed = session.run(sparse.values, {sparse: SparseTensorValue([[0]], [1.5], [2])})
            np.testing.assert_array_equal(fed, [1.5])


def test_feeds_that_do_not_fit() -> None:
    x = array.placeholder(dtypes.float32, [None, 2], name="x")
    n = array.placeholder(dtypes.int32, [], name="n")
    with Session() as session:
        with pytest.raises(
            ValueError, match=r"Cannot feed value of shape \(3,\) for Tensor 'x:0', which has shape"
        ):
            session.run(x, {x: [1, 2, 3]})
        with pytest.raises(TypeError, match=r"cannot be a tf\.Tensor"):
            session.run(x, {x: x})
        with pytest.raises(TypeError, match="not compatible with Tensor type"):
            session.run(n, {n: 2**40})
        with pytest.raises(TypeError, match="Cannot interpret feed_dict key as Tensor"):
            session.run(x, {"y:0": 1})
        with pytest.raises(ValueError, match="could not convert string to float"):
            session.run(x, {x: [[1, "a"]]})


def test_strings_keep_their_bytes() -> None:
    x = array.placeholder(dtypes.string, [None])
    with Session() as session:
        out = session.run(array.identity(x), {x: [b"a\x00", "é", np.bytes_(b"n")]})
    assert out.tolist() == [b"a\x00", "é".encode(), b"n"]


def test_a_plan_is_made_again_when_the_graph_changes(graph: Graph) -> None:
    x = constant(1.0, name="x")
    y = array.identity(x)
    with Session() as session:
        assert session.run(y) == 1.0
        y.op._update_input(0, constant(7.0))
        assert session.run(y) == 7.0


def test_what_is_fetched_belongs_to_the_caller() -> None:
    c = constant([1.0, 2.0])
    v = state.variable_v2(shape=[2], dtype=dtypes.float32)
    init = state.assign(v, c)
    with Session() as session:
        session.run(init.op)
        for tensor in (c, v, array.identity(v), init):
            session.run(tensor)[:] = -1
        np.testing.assert_array_equal(session.run(v), [1, 2])
        np.testing.assert_array_equal(session.run(c), [1, 2])


def test_what_is_fed_is_not_kept() -> None:
    x = array.placeholder(dtypes.float32, [2])
    v = state.variable_v2(shape=[2], dtype=dtypes.float32)
    put = state.assign(v, x)
    fed = np.array([1, 2], np.float32)
    with Session() as session:
        session.run(put.op, {x: fed})
        fed[:] = 9
        np.testing.assert_array_equal(session.run(v), [1, 2])


def test_a_value_that_was_read_stays_what_it_was() -> None:
    v = state.variable_v2(shape=[2], dtype=dtypes.float32)
    with control_dependencies([state.assign(v, constant([1.0, 2.0])).op]):
        before = array.identity(v)
    with control_dependencies([before.op]):
        after = state.assign_add(v, constant([10.0, 10.0]))
    with Session() as session:
        old, new = session.run([before, after])
    np.testing.assert_array_equal(old, [1, 2])
    np.testing.assert_array_equal(new, [11, 12])


def test_control_inputs_run_first() -> None:
    v = state.variable_v2(shape=[], dtype=dtypes.int32)
    first = state.assign(v, constant(5))
    with control_dependencies([first]):
        second = array.identity(constant(1))
    with Session() as session:
        session.run(second)
        assert session.run(v) == 5


def test_a_failing_kernel_names_node_shapes_and_the_users_line() -> None:
    x = array.placeholder(dtypes.float32, [None, None])
    y = math.matmul(x, x, name="product")  # the user's line
    with Session() as session, pytest.raises(errors.InvalidArgumentError) as caught:
        session.run(y, {x: np.zeros((2, 3), np.float32)})
    text = str(caught.value)
    assert "product (MatMul)" in text
    assert "float32[2,3], float32[2,3]" in text
    assert "test_session.py" in text
    assert "# the user's line" in text
    assert caught.value.op is y.op
    assert caught.value.name == "product"


def test_a_failing_kernel_calls_strings_strings() -> None:
    number = string.string_to_number(constant(["1", "two"]))
    with Session() as session, pytest.raises(errors.InvalidArgumentError, match=r"with inputs string\[2\]"):
        session.run(number)


def test_state_belongs_to_its_session() -> None:
    v = state.variable_v2(shape=[], dtype=dtypes.float32, name="v")
    init = state.assign(v, constant(1.0))
    with Session() as session:
        session.run(init)
        with Session() as other, pytest.raises(errors.FailedPreconditionError, match="uninitialized value v"):
            other.run(array.identity(v))


def test_a_closed_session_is_closed() -> None:
    c = constant(1)
    session = Session()
    session.close()
    with pytest.raises(RuntimeError, match="closed Session"):
        session.run(c)


def test_default_sessions() -> None:
    c = constant(4)
    with pytest.raises(ValueError, match=r"using `eval\(\)`: No default session is registered"):
        c.eval()
    with Session() as session:
        assert get_default_session() is session
        assert c.eval() == 4
        c.op.run()
    assert get_default_session() is None
    interactive = InteractiveSession()
    assert c.eval() == 4
    interactive.close()
    assert get_default_session() is None


def test_make_callable_feeds_in_order() -> None:
    x, y = array.placeholder(dtypes.float32, []), array.placeholder(dtypes.float32, [])
    with Session() as session:
        subtract = session.make_callable(x - y, feed_list=[x, y])
        assert subtract(5, 3) == 2
        with pytest.raises(TypeError, match="2 expected, 1 given"):
            subtract(5)


def test_runs_of_several_threads_do_not_mix() -> None:
    x = array.placeholder(dtypes.float32, [1000])
    y = math.reduce_sum(x * 2.0)
    wrong = []
    with Session() as session:

        def work(value: float) -> None:
            fed = np.full(1000, value, np.float32)
            wrong.extend(1 for _ in range(50) if session.run(y, {x: fed}) != value * 2000)

        threads = [threading.Thread(target=work, args=(float(i),)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert wrong == []


def test_a_cycle_is_an_error_not_a_hang() -> None:
    a = array.identity(constant(1.0))
    b = array.identity(a)
    a.op._update_input(0, b)
    with Session() as session, pytest.raises(errors.InvalidArgumentError, match="cycle"):
        session.run(b)


def test_the_finalized_graph_runs_and_does_not_grow(graph: Graph) -> None:
    c = constant(1)
    graph.finalize()
    with Session() as session:
        assert session.run(c) == 1
    with pytest.raises(RuntimeError, match="Graph is finalized and cannot be modified"):
        constant(2)
