"""Variables' buffers: what is read stays, what fails changes nothing, sessions are apart."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph, control_dependencies
from kvarn.graph.session import Session
from kvarn.ops import array, resource_variable, state
from kvarn.ops.state import assign, assign_add, variable_op_v2


def session_with(value: Any, name: str = "v") -> tuple[Session, Any]:
    """A session with a reference variable that holds ``value``."""
    array_ = np.asarray(value)
    v = variable_op_v2(array_.shape, dtypes.as_dtype(array_.dtype), name=name)
    session = Session()
    session.run(assign(v, array_))
    return session, v


@pytest.fixture(autouse=True)
def graph() -> Any:
    with Graph().as_default() as g:
        yield g


def test_a_value_read_before_an_update_stays_what_it_was() -> None:
    session, v = session_with(np.zeros((2, 2), np.float32))
    before = array.identity(v)
    with control_dependencies([before]):
        update = assign_add(v, np.ones((2, 2), np.float32))
    with control_dependencies([update]):
        after = array.identity(v)
    got = session.run([before, after])
    np.testing.assert_array_equal(got[0], np.zeros((2, 2)))
    np.testing.assert_array_equal(got[1], np.ones((2, 2)))


def test_what_is_fetched_is_the_callers_own() -> None:
    session, v = session_with(np.zeros(3, np.float32))
    held = session.run(v)
    held += 5
    session.run(assign_add(v, np.ones(3, np.float32)))
    np.testing.assert_array_equal(held, [5, 5, 5])
    np.testing.assert_array_equal(session.run(v), [1, 1, 1])


def test_a_constant_that_was_assigned_does_not_change_with_the_variable() -> None:
    c = constant([1.0, 2.0])
    v = variable_op_v2([2], dtypes.float32)
    session = Session()
    init = assign(v, c)
    for _ in range(2):
        session.run(init)
        session.run(state.scatter_add(v, [0], [10.0]))
        np.testing.assert_array_equal(session.run(c), [1, 2])
        np.testing.assert_array_equal(session.run(v), [11, 2])


def test_assigning_a_transposed_value_and_updating_rows() -> None:
    v = variable_op_v2([3, 2], dtypes.float32)
    session = Session()
    session.run(assign(v, array.transpose(constant(np.arange(6.0, dtype=np.float32).reshape(2, 3)))))
    session.run(state.scatter_add(v, [1, 1], np.ones((2, 2), np.float32)))
    np.testing.assert_array_equal(session.run(v), [[0, 3], [3, 6], [2, 5]])


@pytest.mark.parametrize(
    "update",
    [
        lambda v: state.scatter_add(v, [0, 3], [[1.0, 1.0], [1.0, 1.0]]),
        lambda v: state.scatter_update(v, [0, -1], [[1.0, 1.0], [1.0, 1.0]]),
        lambda v: state.scatter_nd_add(v, [[0, 0], [0, 2]], [1.0, 1.0]),
        lambda v: state.scatter_nd_update(v, [[0, 0], [3, 0]], [1.0, 1.0]),
    ],
)
def test_an_update_that_fails_changes_nothing(update: Any) -> None:
    value = np.arange(6, dtype=np.float32).reshape(3, 2)
    session, v = session_with(value)
    with pytest.raises(errors.InvalidArgumentError):
        session.run(update(v))
    np.testing.assert_array_equal(session.run(v), value)


def test_integer_division_by_zero_changes_nothing() -> None:
    session, v = session_with(np.array([7, 8], np.int32))
    with pytest.raises(errors.InvalidArgumentError, match="division by zero"):
        session.run(state.scatter_div(v, [0, 1], np.array([2, 0], np.int32)))
    np.testing.assert_array_equal(session.run(v), [7, 8])


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "int32", "int64", "complex64"]
)
@pytest.mark.parametrize("how", ["add", "sub", "mul", "update"])
def test_scattered_rows_as_a_loop_would(dtype: str, how: str) -> None:
    kind = dtypes.as_dtype(dtype)
    rng = np.random.default_rng(3)
    value = rng.integers(1, 9, (5, 3)).astype(kind.np)
    rows = rng.integers(0, 5, (4, 2))
    updates = rng.integers(1, 4, (4, 2, 3)).astype(kind.np)
    session, v = session_with(value)
    found = session.run(getattr(state, f"scatter_{how}")(v, rows, updates))
    expected = value.copy()
    for row, update in zip(rows.ravel(), updates.reshape(-1, 3), strict=True):
        old = expected[row]
        expected[row] = {"add": old + update, "sub": old - update, "mul": old * update, "update": update}[how]
    assert found.dtype == kind.np
    np.testing.assert_array_equal(found, expected)


def test_no_indices_and_no_rows() -> None:
    session, v = session_with(np.ones((2, 2), np.float32))
    session.run(state.scatter_add(v, np.zeros(0, np.int32), np.zeros((0, 2), np.float32)))
    np.testing.assert_array_equal(session.run(v), np.ones((2, 2)))
    empty_session, empty = session_with(np.ones((0, 2), np.float32), "empty")
    with pytest.raises(errors.InvalidArgumentError, match=r"is not in \[0, 0\)"):
        empty_session.run(state.scatter_add(empty, [0], np.zeros((1, 2), np.float32)))
    narrow_session, narrow = session_with(np.ones((3, 0), np.float32), "narrow")
    assert narrow_session.run(state.scatter_add(narrow, [1], np.zeros((1, 0), np.float32))).shape == (3, 0)


def test_sessions_have_variables_of_their_own() -> None:
    session, v = session_with([1.0])
    with pytest.raises(errors.FailedPreconditionError, match="Attempting to use uninitialized value v"):
        Session().run(v)
    np.testing.assert_array_equal(session.run(v), [1.0])


def test_variables_of_one_shared_name_are_one() -> None:
    a = variable_op_v2([1], dtypes.float32, name="a", shared_name="both")
    b = variable_op_v2([1], dtypes.float32, name="b", shared_name="both")
    session = Session()
    session.run(assign(a, [4.0]))
    assert session.run(b) == [4.0]


def test_assign_checks_the_shape_when_it_runs() -> None:
    v = variable_op_v2([2], dtypes.float32, name="v")
    value = array.placeholder(dtypes.float32)
    session = Session()
    init = assign(v, value)
    for _ in range(2):
        with pytest.raises(errors.InvalidArgumentError) as caught:
            session.run(init, {value: [1.0, 2.0, 3.0]})
        wanted = "Assign requires shapes of both tensors to match. lhs shape= [2] rhs shape= [3]"
        assert wanted in str(caught.value)
        session.run(init, {value: [1.0, 2.0]})
    session.run(assign(v, value, validate_shape=False), {value: [[1.0, 2.0, 3.0]]})
    np.testing.assert_array_equal(session.run(v), [[1, 2, 3]])


def test_updates_of_many_threads_all_count() -> None:
    session, v = session_with(np.zeros(50, np.float64))
    one = assign_add(v, np.ones(50))
    rows = state.scatter_add(v, np.arange(50), np.ones(50))

    def work() -> None:
        for _ in range(100):
            session.run([one.op, rows.op])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    np.testing.assert_array_equal(session.run(v), np.full(50, 800.0))


def test_overflow_is_no_error() -> None:
    session, v = session_with(np.array([3e38], np.float32))
    assert session.run(assign_add(v, [3e38])) == [np.inf]
    assert np.isnan(session.run(state.scatter_sub(v, [0], [np.inf])))[0]


class TestResourceVariables:
    def handle(self, name: str = "r") -> Any:
        return resource_variable.var_handle_op(dtype=dtypes.float32, shape=(2,), shared_name=name, name=name)

    def test_a_read_value_stays(self) -> None:
        h = self.handle()
        session = Session()
        session.run(resource_variable.assign_variable_op(h, [1.0, 2.0]))
        before = resource_variable.read_variable_op(h, dtype=dtypes.float32)
        with control_dependencies([before]):
            update = resource_variable.assign_sub_variable_op(h, [1.0, 1.0])
        with control_dependencies([update]):
            after = resource_variable.read_variable_op(h, dtype=dtypes.float32)
        np.testing.assert_array_equal(session.run([before, after]), [[1, 2], [0, 1]])

    def test_destroyed_it_is_uninitialized(self) -> None:
        h = self.handle()
        session = Session()
        destroy = resource_variable.destroy_resource_op(h, ignore_lookup_error=False)
        with pytest.raises(errors.NotFoundError):
            session.run(destroy)
        session.run(resource_variable.assign_variable_op(h, [1.0, 2.0]))
        is_there = resource_variable.var_is_initialized_op(h)
        assert session.run(is_there)
        session.run(destroy)
        assert not session.run(is_there)
        with pytest.raises(
            errors.FailedPreconditionError, match="Error while reading resource variable r from"
        ):
            session.run(resource_variable.read_variable_op(h, dtype=dtypes.float32))

    def test_an_update_of_another_shape_is_refused(self) -> None:
        h = self.handle()
        value = array.placeholder(dtypes.float32)
        session = Session()
        session.run(resource_variable.assign_variable_op(h, [1.0, 2.0]))
        update = resource_variable.assign_add_variable_op(h, value)
        with pytest.raises(
            errors.InvalidArgumentError, match=r"Cannot update variable with shape \[2\] using"
        ):
            session.run(update, {value: [1.0]})

    def test_gather_in_batches(self) -> None:
        h = resource_variable.var_handle_op(dtype=dtypes.float32, shape=(2, 3, 2), shared_name="b")
        value = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
        indices = np.array([[2, 0], [1, 1]])
        session = Session()
        session.run(resource_variable.assign_variable_op(h, value))
        got = session.run(resource_variable.resource_gather(h, indices, dtype=dtypes.float32, batch_dims=1))
        np.testing.assert_array_equal(got, np.stack([value[i][indices[i]] for i in range(2)]))

    def test_counting_up_to_a_limit(self) -> None:
        h = resource_variable.var_handle_op(dtype=dtypes.int64, shape=(), shared_name="c")
        session = Session()
        session.run(resource_variable.assign_variable_op(h, constant(0, dtypes.int64)))
        count = resource_variable.resource_count_up_to(h, 2, T=dtypes.int64)
        assert [session.run(count), session.run(count)] == [0, 1]
        with pytest.raises(errors.OutOfRangeError, match="Reached limit of 2"):
            session.run(count)
