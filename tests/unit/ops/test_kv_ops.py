"""The embedding-variable ops on their own: handles, initialization, lookup, export, counts."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import array, kv, kv_resource, training_kv


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default() as g:
        yield g


def handle(name="ev", dim=3, keys=dtypes.int64):
    return kv.kv_var_handle_op(dtype=dtypes.float32, shape=[dim], shared_name=name, Tkeys=keys, name=name)


def initialize(own, primary=None, value=((1.0, 2.0, 3.0),), keys=dtypes.int64, **attrs):
    value = np.asarray(value, np.float32)
    attrs.setdefault("shape", [value.shape[-1]])
    return kv.initialize_kv_variable_op(
        own,
        own if primary is None else primary,
        constant(value),
        constant(-1, keys),
        counter_type=dtypes.uint64,
        **attrs,
    )


def gather(own, ids, **attrs):
    return kv.kv_resource_gather(own, ids, constant(1.0), **attrs)


def test_handle_has_deeprecs_shape_rules():
    h = handle(dim=5)
    assert h.dtype.name == "resource"
    assert h.static_shape == ()
    assert kv.handle_shape(h) == (5,)
    assert gather(h, constant([[1, 2]], dtypes.int64)).static_shape == (1, 2, 5)


def test_a_lookup_creates_missing_keys_from_row_abs_key_mod_rows():
    h = handle(dim=2)
    matrix = np.arange(8, dtype=np.float32).reshape(4, 2)
    init = initialize(h, value=matrix)
    ids = [0, 1, 5, -1, -6, 2**63 - 1, -(2**63)]
    rows = gather(h, constant(ids, dtypes.int64))
    size = kv.kv_variable_shape(h, Tkeys=dtypes.int64)
    with Session() as sess:
        sess.run(init)
        assert sess.run(size).tolist() == [0, 2]
        got = sess.run(rows)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, matrix[[abs(i) % 4 for i in ids]])
        assert sess.run(size).tolist() == [7, 2]
        assert sess.run(size).dtype == np.int32


def test_the_newer_rule_inserts_only_in_an_update(monkeypatch):
    monkeypatch.setenv("KVARN_EV_INSERT", "apply")
    h = handle()
    init = initialize(h)
    rows = gather(h, constant([7, 8], dtypes.int64))
    size = kv.kv_variable_shape(h, Tkeys=dtypes.int64)
    train = training_kv.kv_resource_sparse_apply_gradient_descent(
        h, 0.5, constant([[2.0, 2.0, 2.0]]), constant([8], dtypes.int64), constant(0, dtypes.int64)
    )
    with Session() as sess:
        sess.run(init)
        assert sess.run(rows).tolist() == [[1, 2, 3], [1, 2, 3]]
        assert sess.run(size).tolist() == [0, 3]
        sess.run(train)
        assert sess.run(rows).tolist() == [[1, 2, 3], [0, 1, 2]]
        assert sess.run(size).tolist() == [1, 3]


def test_a_misspelt_rule_is_refused(monkeypatch):
    monkeypatch.setenv("KVARN_EV_INSERT", "Apply")
    init = initialize(handle())
    with Session() as sess, pytest.raises(errors.InvalidArgumentError, match="can be 'lookup' or 'apply'"):
        sess.run(init)


def test_ids_of_any_rank_and_int32_keys():
    h = handle(keys=dtypes.int32)
    init = initialize(h, keys=dtypes.int32)
    ids = constant([[[1], [-2]]], dtypes.int32)
    with Session() as sess:
        sess.run(init)
        assert sess.run(gather(h, ids)).shape == (1, 2, 1, 3)
        assert sess.run(gather(h, constant(4, dtypes.int32))).shape == (3,)
        keys = sess.run(kv.kv_resource_export(h, Tkeys=dtypes.int32))[0]
        assert keys.dtype == np.int32
        assert sorted(keys.tolist()) == [-2, 1, 4]


def test_using_it_before_the_initializer_fails():
    h = handle("fresh")
    is_initialized = kv.kv_var_is_initialized_op(h, Tkeys=dtypes.int64)
    rows = gather(h, constant([1], dtypes.int64))
    with Session() as sess:
        assert sess.run(is_initialized) == np.False_
        with pytest.raises(errors.FailedPreconditionError, match="uninitialized embedding variable fresh"):
            sess.run(rows)


def test_running_the_initializer_again_keeps_the_keys_and_initial_values():
    h = handle()
    first, second = initialize(h), initialize(h, value=[[9.0, 9.0, 9.0]])
    with Session() as sess:
        sess.run(first)
        sess.run(gather(h, constant([1], dtypes.int64)))
        sess.run(second)
        assert sess.run(gather(h, constant([1, 2], dtypes.int64))).tolist() == [[1, 2, 3], [1, 2, 3]]


def test_no_buckets_makes_the_object_without_initializing_it():
    h = handle()
    init = initialize(h, initial_num_buckets=0)
    with Session() as sess:
        sess.run(init)
        assert not sess.run(kv.kv_var_is_initialized_op(h, Tkeys=dtypes.int64))


def test_sessions_do_not_share_tables():
    h = handle()
    init = initialize(h)
    size = kv.kv_variable_shape(h, Tkeys=dtypes.int64)
    with Session() as a, Session() as b:
        a.run(init)
        b.run(init)
        a.run(gather(h, constant([1, 2], dtypes.int64)))
        assert a.run(size).tolist() == [2, 3]
        assert b.run(size).tolist() == [0, 3]


def test_a_given_row_starts_a_missing_key_only():
    h = handle()
    init = initialize(h)
    ids = constant([1, 2, 2], dtypes.int64)
    given = constant([[5.0] * 3, [6.0] * 3, [7.0] * 3])
    rows = kv.kv_resource_gather(h, ids, given, is_use_default_value_tensor=True)
    with Session() as sess:
        sess.run(init)
        sess.run(gather(h, constant([1], dtypes.int64)))
        assert sess.run(rows).tolist() == [[1, 2, 3], [6, 6, 6], [6, 6, 6]]


def test_frequencies_and_versions_are_recorded_on_demand():
    h = handle()
    init = initialize(h, record_freq=True, record_version=True)
    ids = constant([4, 4, 9], dtypes.int64)
    rows = gather(h, ids)
    counted = kv.kv_resource_gather_v1(h, constant([9], dtypes.int64), constant(1.0), constant([5]))
    frequency = kv.ev_get_frequency(h, constant([[4, 9, 1]], dtypes.int64), Tvalues=dtypes.float32)
    version = kv.ev_get_version(h, constant([4, 9, 1], dtypes.int64), Tvalues=dtypes.float32)
    step = constant(41, dtypes.int64)
    nine, grad = constant([9], dtypes.int64), constant([[1.0] * 3])
    train = training_kv.kv_resource_sparse_apply_gradient_descent(h, 1.0, grad, nine, step)
    train_counted = training_kv.kv_resource_sparse_apply_gradient_descent_with_counts(
        h, 0.0, grad, nine, step, constant([5], dtypes.int64)
    )
    with Session() as sess:
        sess.run(init)
        sess.run([rows, counted])
        assert sess.run(frequency).tolist() == [[0, 0, 0]]  # lookups are not counted
        sess.run(train)
        assert sess.run(frequency).tolist() == [[0, 1, 0]]
        assert sess.run(version).tolist() == [-1, 41, -1]
        sess.run(train_counted)
        assert sess.run(frequency).tolist() == [[0, 6, 0]]
        keys, values, versions, freqs = sess.run(kv.kv_resource_export(h, Tkeys=dtypes.int64))
        assert keys.tolist() == [4, 9]
        assert values.tolist() == [[1, 2, 3], [0, 1, 2]]
        assert versions.tolist() == [-1, 41]
        assert freqs.tolist() == [0, 6]


def test_export_without_records_has_empty_versions_and_frequencies():
    h = handle()
    init = initialize(h)
    with Session() as sess:
        sess.run(init)
        sess.run(gather(h, constant([3], dtypes.int64)))
        keys, values, versions, freqs = sess.run(kv.kv_resource_export(h, Tkeys=dtypes.int64))
        assert (keys.tolist(), values.tolist()) == ([3], [[1, 2, 3]])
        assert versions.shape == freqs.shape == (0,)


def test_slots_share_the_primarys_keys_in_either_order():
    h, accum = handle("ev"), handle("ev/Adagrad")
    init_accum = initialize(accum, h, value=[[0.1, 0.1, 0.1]], slot_index=1, slot_num=1)
    init = initialize(h, slot_num=1)
    for order in ([init, init_accum], [init_accum, init]):
        with Session() as sess:
            for o in order:
                sess.run(o)
            sess.run(gather(h, constant([1], dtypes.int64)))
            assert sess.run(kv.kv_variable_shape(accum, Tkeys=dtypes.int64)).tolist() == [1, 3]
            np.testing.assert_array_equal(
                sess.run(gather(accum, constant([1, 2], dtypes.int64))), np.full((2, 3), 0.1, np.float32)
            )
            assert sess.run(gather(h, constant([2], dtypes.int64))).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("attrs", "named"),
    [
        ({"storage_type": 99}, "storage type 99"),
        ({"storage_type": 12, "storage_path": ""}, "storage_path"),
        ({"storage_type": 12, "storage_path": "/tmp", "storage_size": [0]}, "storage_size"),
    ],
)
def test_a_storage_that_cannot_be_is_refused_by_name(attrs, named):
    init = initialize(handle(), **attrs)
    with Session() as sess, pytest.raises(errors.InvalidArgumentError, match=named):
        sess.run(init)


def test_wrong_shapes_and_types_are_refused():
    with Session() as sess:
        with pytest.raises(errors.InvalidArgumentError, match="must have shape"):
            sess.run(initialize(handle("a", 3), value=[[1.0, 2.0]], shape=[3]))
        with pytest.raises(errors.InvalidArgumentError, match="one dimension"):
            sess.run(initialize(handle("b"), shape=[2, 3], value=[[1.0, 2.0, 3.0]]))
        with pytest.raises(errors.InvalidArgumentError, match="steps_to_live"):
            sess.run(initialize(handle("c"), steps_to_live=-1))
    with pytest.raises(TypeError, match="not in list of allowed values"):
        gather(handle("d"), constant(["x"]))


def test_destroy_forgets_the_variable():
    h = handle()
    init = initialize(h)
    destroy = kv.destroy_kv_resource_op(h)
    strict = kv.destroy_kv_resource_op(h, ignore_lookup_error=False)
    with Session() as sess:
        sess.run(init)
        sess.run(strict)
        sess.run(destroy)
        with pytest.raises(errors.NotFoundError, match="ev"):
            sess.run(strict)


def test_an_address_stands_for_the_variable_in_its_session():
    h = handle()
    init = initialize(h)
    address = kv.kv_resource_lookup_resource(h, Tkeys=dtypes.int64)
    with Session() as sess, Session() as other:
        sess.run(init)
        number = sess.run(address)
        assert number.dtype == np.int64
        assert kv_resource.resource_at(sess.resources, number).name == "ev"
        with pytest.raises(errors.NotFoundError):
            kv_resource.resource_at(other.resources, number)


def test_the_tier_of_a_key_is_zero_or_minus_one():
    h = handle()
    init = initialize(h)
    tier = kv.kv_resource_lookup_tier(h, constant([1, 2], dtypes.int64), dtype=dtypes.float32)
    with Session() as sess:
        sess.run(init)
        sess.run(gather(h, constant([2], dtypes.int64)))
        assert sess.run(tier).tolist() == [-1, 0]


def test_adagrad_gives_the_worked_numbers_and_sums_equal_keys():
    h, accum = handle("ev", 1), handle("ev/Adagrad", 1)
    init = initialize(h, value=[[0.5]])
    init_accum = initialize(accum, h, value=[[0.1]], slot_index=1, slot_num=1)
    ids = constant([5, 5], dtypes.int64)
    train = training_kv.kv_resource_sparse_apply_adagrad(
        h, accum, 0.05, constant([[1.0], [2.0]]), ids, constant(0, dtypes.int64)
    )
    one = constant([5], dtypes.int64)
    with Session() as sess:
        sess.run(init)
        sess.run(init_accum)
        for value, total in ((0.45027548, 9.1), (0.41501793, 18.1), (0.38620374, 27.1)):
            sess.run(train)
            np.testing.assert_allclose(sess.run(gather(h, one))[0, 0], value, rtol=1e-6)
            np.testing.assert_allclose(sess.run(gather(accum, one))[0, 0], total, rtol=1e-6)


def test_an_update_refuses_what_is_no_slot_of_the_variable():
    h, other = handle("ev"), handle("other")
    inits = [initialize(h), initialize(other)]
    train = training_kv.kv_resource_sparse_apply_adagrad(
        h, other, 0.1, constant([[1.0] * 3]), constant([1], dtypes.int64), constant(0, dtypes.int64)
    )
    with Session() as sess:
        for init in inits:
            sess.run(init)
        with pytest.raises(
            errors.InvalidArgumentError, match="'other' is no slot of embedding variable 'ev'"
        ):
            sess.run(train)


def test_a_gradient_of_another_width_is_refused():
    h = handle("ev")
    init = initialize(h)
    one, step = constant([1], dtypes.int64), constant(0, dtypes.int64)
    with pytest.raises(ValueError, match=r"Dimension 0 in both shapes must be equal, but are 2 and 3"):
        training_kv.kv_resource_sparse_apply_gradient_descent(h, 0.1, constant([[1.0, 2.0]]), one, step)
    grad = array.placeholder(dtypes.float32, None)
    train = training_kv.kv_resource_sparse_apply_gradient_descent(h, 0.1, grad, one, step)
    with Session() as sess:
        sess.run(init)
        with pytest.raises(errors.InvalidArgumentError, match=r"grads of shape \[1, 2\]: expected \[1, 3\]"):
            sess.run(train, {grad: [[1.0, 2.0]]})
        assert sess.run(kv.kv_variable_shape(h, Tkeys=dtypes.int64)).tolist() == [0, 3]
