"""Embedding variables to a checkpoint and back, without a Saver: `save_group` and the importing ops."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.bundle.writer import BundleWriter
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.resources import ResourceHandle, ResourceManager
from kvarn.graph.session import Session
from kvarn.ops import array, kv, kv_checkpoint, kv_resource, kv_restore  # noqa: F401 - array declares what constants are made of

SUFFIXES = [
    "keys",
    "values",
    "versions",
    "freqs",
    "keys_filtered",
    "versions_filtered",
    "freqs_filtered",
    "partition_offset",
    "partition_filter_offset",
]


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default() as g:
        yield g


def table(name="ev", dim=2, default=None, primary=None, resources=None, keys=dtypes.int64, **attrs):
    """An initialised embedding variable outside a session."""
    resources = resources or ResourceManager()
    own = ResourceHandle("", name, kv_resource.KIND, dtypes.float32, (dim,))
    attrs = {"shape": (dim,), "dtype": dtypes.float32, "Tkeys": keys, **attrs}
    found = kv_resource.find_or_create(resources, own, own if primary is None else primary, attrs)
    found.set_default(np.ones((1, dim), np.float32) if default is None else np.asarray(default, np.float32))
    found.init_ran = found.is_initialized = True
    return found


def save(path, *resources):
    with BundleWriter(str(path)) as writer:
        kv_checkpoint.save_group([(r.name, r) for r in resources], writer)
        writer.finish()
    return str(path)


def contents(resource):
    keys, values, _, _ = resource.table.export(resource.slot)
    return dict(zip(keys.tolist(), values.tolist(), strict=True))


def test_nine_tensors_in_deeprecs_order_and_shapes(tmp_path):
    ev = table(default=[[0.0, 0.5], [1.0, 1.5]])
    ev.table.lookup_or_create(np.array([3, 2003, 5, 999, -1]))
    reader = BundleReader(save(tmp_path / "ck", ev))
    assert sorted(reader.keys()) == sorted(f"ev-{s}" for s in SUFFIXES)
    # Empty tensors lie where the next one begins.
    offsets = [reader.entry(f"ev-{s}").offset for s in SUFFIXES]
    assert offsets == sorted(offsets)
    assert offsets[0] < offsets[1] < offsets[2]
    assert offsets[7] < offsets[8]
    assert reader.lookup("ev-keys").tolist() == [3, 2003, 5, 999, -1]
    assert reader.lookup("ev-keys").dtype == np.int64
    assert reader.lookup("ev-values").tolist() == [[1.0, 1.5]] * 5
    for s in ("versions", "freqs", "keys_filtered", "versions_filtered", "freqs_filtered"):
        assert reader.lookup(f"ev-{s}").shape == (0,)
    offset = reader.lookup("ev-partition_offset")
    assert (offset.dtype, offset.shape) == (np.dtype(np.int32), (1001,))
    # -1 lies with 999: the floor modulus.
    assert [int(offset[i]) for i in (0, 3, 4, 5, 6, 999, 1000)] == [0, 0, 2, 2, 3, 3, 5]
    assert not reader.lookup("ev-partition_filter_offset").any()


def test_an_empty_variable_saves_nine_tensors_without_rows(tmp_path):
    reader = BundleReader(save(tmp_path / "ck", table(dim=4)))
    assert reader.lookup("ev-keys").shape == (0,)
    assert reader.lookup("ev-values").shape == (0, 4)
    assert reader.lookup("ev-partition_offset").tolist() == [0] * 1001


def test_saving_what_is_not_initialised_writes_nothing(tmp_path):
    good, bad = table("a"), table("b")
    bad.is_initialized = False
    with pytest.raises(errors.FailedPreconditionError, match="uninitialized embedding variable b"):
        save(tmp_path / "ck", good, bad)
    assert list(tmp_path.iterdir()) == []


def slot_of(ev, resources, name="ev/Adagrad", dim=2, value=0.1):
    primary = ResourceHandle("", ev.name, kv_resource.KIND, dtypes.float32, (ev.dim,))
    return table(name, dim, np.full((1, dim), value), primary, resources)


def test_primary_and_slots_are_cut_at_one_moment(tmp_path):
    resources = ResourceManager()
    ev = table(dim=8, default=np.zeros((1, 8)), resources=resources)
    accum = slot_of(ev, resources, dim=8)
    keys = np.arange(2000)
    ev.table.lookup_or_create(keys)
    grads = np.ones((len(keys), 8), np.float32)
    stop = threading.Event()

    def train():
        while not stop.is_set():
            ev.table.apply("Adagrad", keys, grads, slots=[accum.slot], params=[1.0])

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for i in range(5):
            reader = BundleReader(save(tmp_path / f"ck{i}", ev, accum))
            values, sums = reader.lookup("ev-values"), reader.lookup("ev/Adagrad-values")
            assert (sums == sums[0]).all()
            # The value follows from how many updates the accumulator has seen.
            steps = round(float(sums[0, 0]) - 0.1)
            expected = -sum(1 / np.sqrt(0.1 + k) for k in range(1, steps + 1))
            np.testing.assert_allclose(values, expected, rtol=1e-3)
    finally:
        stop.set()
        thread.join()


def test_rows_frequencies_and_versions_come_back_bit_for_bit(tmp_path):
    ev = table(record_freq=True, record_version=True)
    keys = np.array([7, -3, 2**63 - 1, -(2**63), 0])
    ev.table.lookup_or_create(keys)
    grads = np.random.RandomState(1).standard_normal((5, 2)).astype(np.float32)
    ev.table.apply("GradientDescent", keys, grads, params=[0.1], step=12)
    path = save(tmp_path / "ck", ev)
    again = table(record_freq=True, record_version=True)
    kv_restore.restore(again, path, "ev")
    assert contents(again) == contents(ev)
    np.testing.assert_array_equal(again.table.frequency(keys), ev.table.frequency(keys))
    np.testing.assert_array_equal(again.table.version(keys), [12] * 5)
    assert save(tmp_path / "again", again)
    for s in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"again{s}").read_bytes() == (tmp_path / f"ck{s}").read_bytes()
    fresh = table(record_freq=True, record_version=True)
    kv_restore.restore(fresh, path, "ev", reset_version=True)
    np.testing.assert_array_equal(fresh.table.version(keys), [0] * 5)


def test_a_restore_adds_to_what_is_there(tmp_path):
    ev = table()
    ev.table.import_rows(0, np.array([1, 2]), np.full((2, 2), 5, np.float32))
    path = save(tmp_path / "ck", ev)
    target = table()
    target.table.import_rows(0, np.array([2, 3]), np.full((2, 2), 7, np.float32))
    kv_restore.restore(target, path, "ev")
    assert contents(target) == {1: [5, 5], 2: [5, 5], 3: [7, 7]}


@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 3), (3, 1), (4, 3), (2, 5)])
def test_any_number_of_parts_into_any_other(tmp_path, old, new):
    keys = np.concatenate([np.arange(-50, 50), np.arange(10**6, 10**6 + 50)])
    rows = np.stack([keys, -keys], 1).astype(np.float32)
    parts = []
    resources = ResourceManager()
    for i in range(old):
        ev = table("ev" if old == 1 else f"ev/part_{i}", resources=resources)
        mine = keys % 1000 % old == i
        ev.table.import_rows(0, keys[mine], rows[mine])
        accum = slot_of(ev, resources, f"{ev.name}/Adagrad")
        accum.table.import_rows(accum.slot, keys[mine], rows[mine] * 2)
        parts += [ev, accum]
    path = save(tmp_path / "ck", *parts)
    found, found_sums = {}, {}
    resources = ResourceManager()
    for i in range(new):
        ev = table("ev" if new == 1 else f"ev/part_{i}", resources=resources)
        accum = slot_of(ev, resources, f"{ev.name}/Adagrad")
        kv_restore.restore(ev, path, ev.name, partition_id=i, partition_num=new)
        kv_restore.restore(accum, path, accum.name, partition_id=i, partition_num=new)
        assert all(k % 1000 % new == i for k in contents(ev))
        found |= contents(ev)
        found_sums |= contents(accum)
    assert found == dict(zip(keys.tolist(), rows.tolist(), strict=True))
    assert found_sums == dict(zip(keys.tolist(), (rows * 2).tolist(), strict=True))


def test_a_smaller_dim_keeps_the_common_columns(tmp_path):
    ev = table(dim=3, default=[[1.0, 2.0, 3.0]])
    ev.table.lookup_or_create(np.array([4]))
    path = save(tmp_path / "ck", ev)
    smaller = table(dim=2)
    kv_restore.restore(smaller, path, "ev")
    assert contents(smaller) == {4: [1, 2]}


def test_a_larger_dim_is_filled_from_the_initial_values_if_the_initializer_ran(tmp_path):
    ev = table(dim=1, default=[[9.0]])
    ev.table.lookup_or_create(np.array([4, -5, -(2**63)]))
    path = save(tmp_path / "ck", ev)
    larger = table(dim=3, default=[[0.0, 10.0, 20.0], [1.0, 11.0, 21.0], [2.0, 12.0, 22.0]])
    kv_restore.restore(larger, path, "ev")
    assert contents(larger) == {4: [9, 11, 21], -5: [9, 12, 22], -(2**63): [9, 12, 22]}


def test_a_larger_dim_is_filled_with_zeros_if_no_initializer_ran(tmp_path):
    ev = table(dim=1, default=[[9.0]])
    ev.table.lookup_or_create(np.array([4]))
    path = save(tmp_path / "ck", ev)
    h = kv.kv_var_handle_op(dtype=dtypes.float32, shape=[3], shared_name="ev", name="ev")
    load = import_v2(h, h, path, "ev", [[7.0, 7.0, 7.0]])
    with Session() as sess:
        sess.run(load)
        rows = kv.kv_resource_gather(h, constant([4, 5], dtypes.int64), constant(1.0))
        # A key that the checkpoint does not have starts from the initial values all the same.
        assert sess.run(rows).tolist() == [[9, 0, 0], [7, 7, 7]]


def import_v2(own, primary, path, name, value, **attrs):
    value = np.asarray(value, np.float32)
    return kv.kv_resource_import_v2(
        constant(path),
        own,
        primary,
        constant(value),
        constant(name),
        constant(-1, dtypes.int64),
        shape=[value.shape[-1]],
        counter_type=dtypes.uint64,
        **attrs,
    )


def test_import_v2_needs_no_initializer_and_takes_slots_in_any_order(tmp_path):
    resources = ResourceManager()
    ev = table(resources=resources)
    accum = slot_of(ev, resources)
    keys = np.array([1, 2, 3])
    ev.table.lookup_or_create(keys)
    ev.table.apply("Adagrad", keys, np.ones((3, 2), np.float32), slots=[accum.slot], params=[0.5])
    path = save(tmp_path / "ck", ev, accum)
    h = kv.kv_var_handle_op(dtype=dtypes.float32, shape=[2], shared_name="ev", name="ev")
    s = kv.kv_var_handle_op(dtype=dtypes.float32, shape=[2], shared_name="ev/Adagrad", name="ev/Adagrad")
    loads = [
        import_v2(s, h, path, "ev/Adagrad", [[0.1, 0.1]], slot_index=1, slot_num=1),
        import_v2(h, h, path, "ev", [[1.0, 1.0]], slot_num=1),
    ]
    is_initialized = [kv.kv_var_is_initialized_op(x, Tkeys=dtypes.int64) for x in (h, s)]
    ids = constant([1, 2, 3, 4], dtypes.int64)
    rows = [kv.kv_resource_gather(x, ids, constant(1.0)) for x in (h, s)]
    for order in (loads, loads[::-1]):
        with Session() as sess:
            for load in order:
                sess.run(load)
            assert sess.run(is_initialized) == [True, True]
            values, sums = sess.run(rows)
            np.testing.assert_array_equal(values[:3], ev.table.lookup(keys))
            np.testing.assert_array_equal(sums[:3], accum.table.lookup(keys, slot=accum.slot))
            np.testing.assert_array_equal(values[3], [1, 1])
            np.testing.assert_array_equal(sums[3], np.full(2, 0.1, np.float32))


def test_a_slot_that_comes_later_gives_restored_keys_their_initial_row(tmp_path):
    ev = table()
    ev.table.lookup_or_create(np.array([1]))
    path = save(tmp_path / "ck", ev)
    resources = ResourceManager()
    again = table(resources=resources)
    kv_restore.restore(again, path, "ev")
    accum = slot_of(again, resources)
    np.testing.assert_array_equal(
        accum.table.lookup(np.array([1]), slot=accum.slot), np.full((1, 2), 0.1, np.float32)
    )


def test_import_v3_fills_an_object_that_an_initializing_op_made(tmp_path):
    ev = table()
    ev.table.lookup_or_create(np.array([1]))
    path = save(tmp_path / "ck", ev)
    h = kv.kv_var_handle_op(dtype=dtypes.float32, shape=[2], shared_name="ev", name="ev")
    key = constant(-1, dtypes.int64)
    make = kv.initialize_kv_variable_v2_op(
        h, h, constant([[3.0, 3.0]]), key, shape=[2], counter_type=dtypes.uint64, initial_num_buckets=0
    )
    load = kv.kv_resource_import_v3(constant(path), h, constant("ev"), key, shape=[2], dtype=dtypes.float32)
    rows = kv.kv_resource_gather(h, constant([1, 2], dtypes.int64), constant(1.0))
    with Session() as sess:
        with pytest.raises(errors.NotFoundError):
            sess.run(load)
        sess.run(make)
        sess.run(load)
        assert sess.run(rows).tolist() == [[1, 1], [3, 3]]


def test_missing_and_unfitting_tensors_are_named(tmp_path):
    path = save(tmp_path / "ck", table())
    with pytest.raises(errors.NotFoundError, match="other-keys not found in checkpoint") as e:
        kv_restore.restore(table("other"), path, "other")
    assert (e.value.name, e.value.path) == ("other", path)
    with pytest.raises(errors.InvalidArgumentError, match=r"keys of 'ev' in '.*' are int64") as e:
        kv_restore.restore(table(keys=dtypes.int32), path, "ev")
    assert e.value.path == path
    with pytest.raises(errors.NotFoundError):
        kv_restore.restore(table(), str(tmp_path / "nothing"), "ev")


def test_keys_not_admitted_by_a_filter_start_from_the_initial_values(tmp_path):
    from kvarn.formats.embedding import write_embedding

    with BundleWriter(str(tmp_path / "ck")) as writer:
        write_embedding(
            writer,
            "ev",
            np.array([1]),
            np.array([[5.0, 5.0]], np.float32),
            dim=2,
            freqs=np.array([9]),
            keys_filtered=np.array([2]),
            freqs_filtered=np.array([1]),
        )
        writer.finish()
    ev = table(record_freq=True)
    kv_restore.restore(ev, str(tmp_path / "ck"), "ev")
    assert contents(ev) == {1: [5, 5], 2: [1, 1]}
    assert ev.table.frequency(np.array([1, 2])).tolist() == [9, 1]
