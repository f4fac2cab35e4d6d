"""What variables do when a session runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import Graph, GraphKeys, control_dependencies, get_default_graph
from kvarn.graph.session import Session
from kvarn.graph.tensor import IndexedSlices
from kvarn.ops import array
from kvarn.variables import initializers
from kvarn.variables.partitioners import fixed_size_partitioner
from kvarn.variables.scope import get_variable
from kvarn.variables.variable import (
    Variable,
    VariableV1,
    assert_variables_initialized,
    global_variables_initializer,
    is_variable_initialized,
    report_uninitialized_variables,
)


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with Graph().as_default():
        yield


@pytest.fixture(params=[False, True], ids=["ref", "resource"])
def use_resource(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def v(use_resource: bool) -> Any:
    return VariableV1([1.0, 2.0, 3.0], name="v", use_resource=use_resource)


def test_is_a_variable(v: Any) -> None:
    assert isinstance(v, VariableV1)
    assert isinstance(v, Variable)


def test_reading_before_initializing_fails_with_the_name(v: Any) -> None:
    with Session() as sess:
        assert not sess.run(is_variable_initialized(v))
        for fetch in (v, v.value(), v + 1.0, v.read_value()):
            with pytest.raises(errors.FailedPreconditionError, match=r"\bv\b"):
                sess.run(fetch)
        sess.run(v.initializer)
        assert sess.run(is_variable_initialized(v))


def test_assignments_change_the_value_and_return_it(v: Any) -> None:
    assigned, added = v.assign([4.0, 5.0, 6.0]), v.assign_add([1.0, 1.0, 1.0])
    subtracted = v.assign_sub([0.5, 0.5, 0.5])
    with Session() as sess:
        sess.run(v.initializer)
        np.testing.assert_array_equal(sess.run(assigned), [4, 5, 6])
        np.testing.assert_array_equal(sess.run(added), [5, 6, 7])
        np.testing.assert_array_equal(sess.run(subtracted), [4.5, 5.5, 6.5])
        np.testing.assert_array_equal(v.eval(sess), [4.5, 5.5, 6.5])


def test_sessions_do_not_share_values(v: Any) -> None:
    with Session() as first, Session() as second:
        first.run(v.initializer)
        with pytest.raises(errors.FailedPreconditionError):
            second.run(v)


def test_a_fetched_value_stays_what_it_was(v: Any) -> None:
    add = v.assign_add([1.0, 1.0, 1.0], read_value=False)
    with Session() as sess:
        sess.run(v.initializer)
        before = sess.run(v)
        sess.run(add)
        np.testing.assert_array_equal(before, [1, 2, 3])
        before[:] = 0
        np.testing.assert_array_equal(sess.run(v), [2, 3, 4])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("scatter_update", [5, 2, 6]),
        ("scatter_add", [6, 2, 9]),
        ("scatter_sub", [-4, 2, -3]),
        ("scatter_mul", [5, 2, 18]),
        ("scatter_div", [0.2, 2, 0.5]),
        ("scatter_min", [1, 2, 3]),
        ("scatter_max", [5, 2, 6]),
    ],
)
def test_scatters(v: Any, method: str, expected: list[float]) -> None:
    rows = IndexedSlices(constant([5.0, 6.0]), constant([0, 2]))
    changed = getattr(v, method)(rows)
    with Session() as sess:
        sess.run(v.initializer)
        np.testing.assert_allclose(sess.run(changed), expected)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("scatter_nd_update", [1, 9, 3]), ("scatter_nd_add", [1, 11, 3]), ("scatter_nd_sub", [1, -7, 3])],
)
def test_scatters_of_elements(v: Any, method: str, expected: list[float]) -> None:
    changed = getattr(v, method)([[1]], [9.0])
    with Session() as sess:
        sess.run(v.initializer)
        np.testing.assert_array_equal(sess.run(changed), expected)


def test_count_up_to(use_resource: bool) -> None:
    n = VariableV1(0, name="n", use_resource=use_resource)
    count = n.count_up_to(2)
    with Session() as sess:
        sess.run(n.initializer)
        assert [sess.run(count), sess.run(count)] == [0, 1]
        with pytest.raises(errors.OutOfRangeError):
            sess.run(count)
        assert sess.run(n) == 2


def test_load(v: Any) -> None:
    with Session() as sess:
        v.load([7.0, 8.0, 9.0], sess)
        np.testing.assert_array_equal(sess.run(v), [7, 8, 9])
        with sess.as_default():
            v.load([1.0, 1.0, 1.0])
        np.testing.assert_array_equal(sess.run(v), [1, 1, 1])
    with pytest.raises(ValueError, match="default session"):
        v.load([1.0, 1.0, 1.0])


def test_feeding_a_variable_replaces_its_value_for_one_run(v: Any) -> None:
    with Session() as sess:
        sess.run(v.initializer)
        read = v.value()
        np.testing.assert_array_equal(sess.run(read * 2.0, {read: [0.0, 1.0, 0.0]}), [0, 2, 0])
        np.testing.assert_array_equal(sess.run(v), [1, 2, 3])


def test_operators(v: Any) -> None:
    with Session() as sess:
        sess.run(v.initializer)
        results = sess.run([v + 1.0, 1.0 - v, v * v, v / 2.0, -v, v**2.0, v > 1.5, v[1], v[:2], abs(-v)])
    expected = [
        [2, 3, 4], [0, -1, -2], [1, 4, 9], [0.5, 1, 1.5], [-1, -2, -3], [1, 4, 9], [False, True, True], 2.0,
        [1, 2], [1, 2, 3],
    ]  # fmt: skip
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_numpy_on_the_left(v: Any) -> None:
    with Session() as sess:
        sess.run(v.initializer)
        np.testing.assert_array_equal(sess.run(np.ones(3, np.float32) + v), [2, 3, 4])


def test_sliced_assignment(v: Any) -> None:
    done = v[1:].assign([8.0, 9.0])
    with Session() as sess:
        sess.run(v.initializer)
        np.testing.assert_array_equal(sess.run(done), [1, 8, 9])


def test_sliced_assignment_of_another_shape(v: Any) -> None:
    other, none = v[1:].assign([8.0]), v[1:1].assign([8.0, 9.0])
    message = r"sliced l-value shape \[2\] does not match r-value shape \[1\]. Automatic broadcasting not yet"
    with Session() as sess:
        sess.run(v.initializer)
        with pytest.raises(errors.UnimplementedError, match=message):
            sess.run(other)
        np.testing.assert_array_equal(sess.run(none), [1, 2, 3])


def test_a_handle_is_no_constant() -> None:
    handle = VariableV1(1.0, use_resource=True).handle
    promised = array.guarantee_const(handle)
    with Session() as sess, pytest.raises(errors.InvalidArgumentError, match="cannot be a resource variable"):
        sess.run(promised)


def test_sparse_read_and_gather_nd() -> None:
    v = VariableV1([[1.0, 2.0], [3.0, 4.0]], use_resource=True)
    rows, element = v.sparse_read([[1, 0]]), v.gather_nd([[1, 0]])
    assert rows.static_shape == (1, 2, 2)
    with Session() as sess:
        sess.run(v.initializer)
        np.testing.assert_array_equal(sess.run(rows), [[[3, 4], [1, 2]]])
        np.testing.assert_array_equal(sess.run(element), [3])


def test_initial_value_from_an_earlier_variable() -> None:
    a = VariableV1([1.0, 2.0], name="a")
    b = VariableV1(a * 2.0, name="b")
    r = VariableV1(array.identity(b), name="r", use_resource=True)
    with Session() as sess:
        sess.run(global_variables_initializer())
        np.testing.assert_array_equal(sess.run(r), [2, 4])


def test_reports() -> None:
    a = VariableV1(1.0, name="a")
    VariableV1(1.0, name="b", use_resource=True)
    report, check = report_uninitialized_variables(), assert_variables_initialized()
    with Session() as sess:
        assert sess.run(report).tolist() == [b"a", b"b"]
        with pytest.raises(errors.FailedPreconditionError):
            sess.run(check)
        sess.run(a.initializer)
        assert sess.run(report).tolist() == [b"b"]
        sess.run(global_variables_initializer())
        assert sess.run(report).tolist() == []
        sess.run(check)


def test_partitioned_value_and_assignment(use_resource: bool) -> None:
    whole = np.arange(14, dtype=np.float32).reshape(7, 2)
    v = get_variable(
        "v", initializer=constant(whole), partitioner=fixed_size_partitioner(3), use_resource=use_resource
    )
    value = convert_to_tensor(v)
    assign, add = v.assign(whole * 2), v.assign_add(list(v))
    with Session() as sess:
        sess.run(global_variables_initializer())
        np.testing.assert_array_equal(sess.run(value), whole)
        assert [p.shape[0] for p in sess.run([p.value() for p in v])] == [3, 2, 2]
        sess.run(assign)
        np.testing.assert_array_equal(sess.run(value), whole * 2)
        sess.run(add[0])
        np.testing.assert_array_equal(sess.run(value)[:3], whole[:3] * 4)


def test_parts_of_an_array_are_cut_from_it() -> None:
    v = get_variable(
        "v", [3], dtypes.int64, initializer=np.array([1, 2, 3]), partitioner=fixed_size_partitioner(2)
    )
    with Session() as sess:
        sess.run(global_variables_initializer())
        assert sess.run(convert_to_tensor(v)).tolist() == [1, 2, 3]


def test_default_initializers_give_values_of_their_types() -> None:
    made = [get_variable(t.name, [2], t) for t in (dtypes.float32, dtypes.int32, dtypes.bool, dtypes.string)]
    with Session() as sess:
        sess.run(global_variables_initializer())
        floats, ints, bools, strings = sess.run(made)
    assert floats.dtype == np.float32
    assert np.all(np.abs(floats) <= np.sqrt(3.0))
    assert ints.dtype == np.int32
    assert ints.tolist() == [0, 0]
    assert bools.tolist() == [False, False]
    assert strings.tolist() == [b"", b""]


def test_proto_of_a_part_keeps_its_slice(use_resource: bool) -> None:
    v = get_variable(
        "v",
        [4, 2],
        initializer=initializers.Zeros(),
        partitioner=fixed_size_partitioner(2),
        use_resource=use_resource,
    )
    part = list(v)[1]
    back = Variable.from_proto(part.to_proto())
    assert type(back) is type(part)
    info = back._get_save_slice_info()
    assert (info.full_name, info.spec) == ("v", "4 2 2,2:0,2")
    assert back.trainable == part.trainable
    with Session() as sess:
        sess.run(back.initializer)
        np.testing.assert_array_equal(sess.run(part), np.zeros((2, 2)))


def test_collections_once_each() -> None:
    v = VariableV1(1.0, collections=(GraphKeys.GLOBAL_VARIABLES, GraphKeys.TRAINABLE_VARIABLES, "mine"))
    graph = get_default_graph()
    for name in (GraphKeys.GLOBAL_VARIABLES, GraphKeys.TRAINABLE_VARIABLES, "mine"):
        assert graph.get_collection(name) == [v]


def test_empty_names_are_refused(use_resource: bool) -> None:
    with pytest.raises(ValueError, match="not a valid node name"):
        get_variable("", [1], use_resource=use_resource)


def test_what_waits_for_an_update_sees_it() -> None:
    """Reads of reference variables share the buffer, as in TensorFlow; the numbers are from 1.15.5."""
    v = VariableV1([1.0, 2.0], name="v")
    with control_dependencies([v.assign_add([10.0, 10.0])]):
        y = v + 0.5
    w = VariableV1([1.0, 2.0], name="w")
    loss = w * w
    with control_dependencies([w.assign_sub(w * 2.0)]):
        z = w * 1.0
    with Session() as sess:
        sess.run(global_variables_initializer())
        assert sess.run(y).tolist() == [11.5, 12.5]
        assert sess.run(y).tolist() == [21.5, 22.5]
        after, before = sess.run([z, loss])
        assert (after.tolist(), before.tolist()) == ([-1.0, -2.0], [1.0, 4.0])
        # A value that is fed stays what was fed.
        assert sess.run(y, {v.value(): [0.0, 0.0]}).tolist() == [0.5, 0.5]
