"""What a save writes of embedding variables: sections 4.1 to 4.4, with 2.3 (save ops) and 3.8 (eviction)."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.formats.bundle import BundleReader, BundleWriter

# In the order of the data file.
SUFFIXES = (
    "-keys",
    "-values",
    "-versions",
    "-freqs",
    "-keys_filtered",
    "-versions_filtered",
    "-freqs_filtered",
    "-partition_offset",
    "-partition_filter_offset",
)


@pytest.fixture(autouse=True, params=["reference", "native"])
def engine(request, monkeypatch):
    monkeypatch.setenv("KVARN_ENGINE", request.param)
    with tf.Graph().as_default():
        yield request.param


def variable(name="b", dim=2, value=0.5, **arguments):
    option = {
        key: arguments.pop(key)
        for key in ("filter_option", "evict_option", "init_option")
        if key in arguments
    }
    return tf.get_embedding_variable(
        name,
        dim,
        initializer=arguments.pop("initializer", tf.constant_initializer(value)),
        ev_option=tf.EmbeddingVariableOption(**option),
        **arguments,
    )


def trained(var, ids, optimizer=None, gradient=1.0, step=None):
    """The operation of one step that names each of ``ids`` as often as it is there."""
    optimizer = tf.train.AdagradOptimizer(0.1) if optimizer is None else optimizer
    kind = var._invalid_key_type if hasattr(var, "_invalid_key_type") else tf.int64
    rows = tf.nn.embedding_lookup(var, tf.constant(np.array(ids, kind.as_numpy_dtype)))
    return optimizer.minimize(tf.reduce_sum(rows * gradient), var_list=[var], global_step=step)


def saved(path, *runs, before=(), var_list=None, **arguments):
    """Initializes, runs each of ``runs``, saves; the reader of the checkpoint."""
    saver = tf.train.Saver(var_list, **arguments)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for run in runs:
            session.run(run)
        return BundleReader(saver.save(session, str(path / "m")))


def stems(reader):
    return sorted(name.removesuffix("-keys") for name in reader.columns.names if name.endswith("-keys"))


def rows_of(reader, name):
    return dict(
        zip(reader.lookup(name + "-keys").tolist(), reader.lookup(name + "-values").tolist(), strict=True)
    )


# -- 4.1 ------------------------------------------------------------------------------------------


def test_nine_tensors_of_the_worked_example(tmp_path):
    """6b: dtypes, shapes and offsets of a variable without options trained with Adagrad on ids 4 and 6."""
    reader = saved(tmp_path, trained(variable(), [4, 6]))
    assert stems(reader) == ["b", "b/Adagrad"]
    for name in ("b", "b/Adagrad"):
        assert {
            suffix: (reader.info(name + suffix).dtype.name, reader.info(name + suffix).shape)
            for suffix in SUFFIXES
        } == {
            "-keys": ("int64", (2,)),
            "-values": ("float32", (2, 2)),
            "-versions": ("int64", (0,)),
            "-freqs": ("int64", (0,)),
            "-keys_filtered": ("int64", (0,)),
            "-versions_filtered": ("int64", (0,)),
            "-freqs_filtered": ("int64", (0,)),
            "-partition_offset": ("int32", (1001,)),
            "-partition_filter_offset": ("int32", (1001,)),
        }
        assert reader.lookup(name + "-keys").tolist() == [4, 6]
        assert reader.lookup(name + "-partition_offset").tolist() == [0] * 5 + [1] * 2 + [2] * 994
        assert not reader.lookup(name + "-partition_filter_offset").any()
    # And nothing else: the optimizer has made the step.
    others = set(reader.columns.names) - {name + suffix for name in ("b", "b/Adagrad") for suffix in SUFFIXES}
    assert others == {"global_step"}


def test_order_in_the_data_file(tmp_path):
    """4.1: the tensors lie in the data file in this order, variables in the Saver's, by name; no gaps."""
    reader = saved(tmp_path, [trained(variable(), [4]), trained(variable("a"), [5])])
    at = 0
    for name in ("a", "a/Adagrad", "b", "b/Adagrad"):
        for suffix in SUFFIXES:
            entry = reader.entry(name + suffix)
            assert (entry.offset, entry.shard_id) == (at, 0)
            at += entry.size


def test_all_nine_of_a_variable_without_keys(tmp_path):
    """4.1: zero-length entries, values of shape [0, dim], offsets all 0."""
    var = variable(dim=3)
    reader = saved(tmp_path, var.total_count())
    assert [reader.info("b" + suffix).shape for suffix in SUFFIXES] == [
        (0,), (0, 3), (0,), (0,), (0,), (0,), (0,), (1001,), (1001,),
    ]  # fmt: skip
    assert not reader.lookup("b-partition_offset").any()
    assert not reader.lookup("b-partition_filter_offset").any()


def test_rows_lie_by_bucket(tmp_path):
    """4.1: key k is in bucket k % 1000, bucket b is rows offset[b] to offset[b + 1]; the example of the section."""
    reader = saved(tmp_path, trained(variable(), [999, 2003, 5, 3]))
    offset = reader.lookup("b-partition_offset")
    assert offset.tolist() == [0] * 4 + [2] * 2 + [3] * 994 + [4]
    keys = reader.lookup("b-keys")
    for bucket in range(1000):
        assert (keys[offset[bucket] : offset[bucket + 1]] % 1000 == bucket).all()


@pytest.mark.parametrize("kind", [tf.int32, tf.int64])
def test_negative_keys_are_saved_in_the_bucket_of_the_floor_modulus(tmp_path, kind):
    """4.1 (kvarn): DeepRec loses them."""
    least = np.iinfo(kind.as_numpy_dtype).min
    reader = saved(tmp_path, trained(variable(key_dtype=kind), [-1, -1000, least, 999]))
    keys, offset = reader.lookup("b-keys"), reader.lookup("b-partition_offset")
    assert keys.dtype == kind.as_numpy_dtype
    assert set(keys.tolist()) == {-1, -1000, least, 999}
    for bucket in (0, 999, least % 1000):
        expected = {key for key in (-1, -1000, least, 999) if key % 1000 == bucket}
        assert set(keys[offset[bucket] : offset[bucket + 1]].tolist()) == expected


def test_keys_that_are_not_admitted_are_saved_without_values(tmp_path):
    """4.1: keys_filtered, freqs_filtered and the second offsets; their values are never saved."""
    var = variable(filter_option=tf.CounterFilter(3))
    reader = saved(tmp_path, trained(var, [7, 7, 7, 1008, 8, 8, -2]))
    for name in ("b", "b/Adagrad"):
        assert reader.lookup(name + "-keys").tolist() == [7]
        assert reader.lookup(name + "-values").shape == (1, 2)
        filtered = reader.lookup(name + "-keys_filtered")
        assert sorted(filtered[:2].tolist()) == [8, 1008]
        assert filtered[2:].tolist() == [-2]
        counts = dict(zip(filtered.tolist(), reader.lookup(name + "-freqs_filtered").tolist(), strict=True))
        assert counts == {1008: 1, 8: 2, -2: 1}
        assert reader.lookup(name + "-partition_filter_offset").tolist() == [0] * 9 + [2] * 990 + [3] * 2
        assert reader.lookup(name + "-partition_offset").tolist() == [0] * 8 + [1] * 993
        assert reader.lookup(name + "-versions_filtered").shape == (0,)


def test_filtered_features_can_be_left_out(tmp_path, monkeypatch):
    """4.1: TF_EV_SAVE_FILTERED_FEATURES=false leaves the three tensors empty, and still there."""
    monkeypatch.setenv("TF_EV_SAVE_FILTERED_FEATURES", "false")
    var = variable(filter_option=tf.CounterFilter(3), evict_option=tf.GlobalStepEvict(5))
    reader = saved(tmp_path, trained(var, [7, 7, 7, 8]))
    assert reader.lookup("b-keys").tolist() == [7]
    for suffix in ("-keys_filtered", "-freqs_filtered", "-versions_filtered"):
        assert reader.info("b" + suffix).shape == (0,)
    assert not reader.lookup("b-partition_filter_offset").any()


@pytest.mark.parametrize("record", ["0", "1"])
def test_frequencies_of_admitted_keys_behind_a_counter(tmp_path, monkeypatch, record):
    """4.1: `filter_freq` for every key, or the count where frequencies are recorded."""
    monkeypatch.setenv("TF_RECORD_FREQ", record)
    reader = saved(tmp_path, trained(variable(filter_option=tf.CounterFilter(2)), [7] * 5 + [8] * 2))
    freqs = dict(zip(reader.lookup("b-keys").tolist(), reader.lookup("b-freqs").tolist(), strict=True))
    assert freqs == ({7: 5, 8: 2} if record == "1" else {7: 2, 8: 2})
    np.testing.assert_array_equal(reader.lookup("b/Adagrad-freqs"), reader.lookup("b-freqs"))


def test_frequencies_of_a_bloom_filter_without_recorded_ones(tmp_path):
    """9, defect 8 (kvarn): the least counter, and at least `filter_freq`; a Bloom filter lists no filtered keys."""
    var = variable(filter_option=tf.CBFFilter(3, 1000, 0.01))
    reader = saved(tmp_path, trained(var, [7, 7]), trained(var, [7, 8]))
    assert reader.lookup("b-keys").tolist() == [7]
    assert reader.lookup("b-freqs").tolist() == [3]
    assert reader.info("b-keys_filtered").shape == (0,)


@pytest.mark.parametrize("record", ["0", "1"])
def test_frequencies_without_a_filter(tmp_path, monkeypatch, record):
    """4.1: [0] unless filter_freq or TF_RECORD_FREQ=1."""
    monkeypatch.setenv("TF_RECORD_FREQ", record)
    reader = saved(tmp_path, trained(variable(), [7, 7, 8]))
    for name in ("b", "b/Adagrad"):
        freqs = dict(
            zip(reader.lookup(name + "-keys").tolist(), reader.lookup(name + "-freqs").tolist(), strict=False)
        )
        assert freqs == ({7: 2, 8: 1} if record == "1" else {})


@pytest.mark.parametrize(("record", "steps_to_live"), [("0", 0), ("1", 0), ("0", 100)])
def test_versions(tmp_path, monkeypatch, record, steps_to_live):
    """4.1: [0] unless steps_to_live or TF_RECORD_VERSION=1; 3.6: the step before it is counted on."""
    monkeypatch.setenv("TF_RECORD_VERSION", record)
    step = tf.train.get_or_create_global_step()
    evict = {"evict_option": tf.GlobalStepEvict(steps_to_live)} if steps_to_live else {}
    var = variable(filter_option=tf.CounterFilter(2), **evict)
    first, second = trained(var, [7, 7, 9], step=step), trained(var, [8, 8], step=step)
    reader = saved(tmp_path, first, second)
    for name in ("b", "b/Adagrad"):
        versions = reader.lookup(name + "-versions").tolist()
        kept = record == "1" or steps_to_live > 0
        assert dict(zip(reader.lookup(name + "-keys").tolist(), versions, strict=False)) == (
            {7: 0, 8: 1} if kept else {}
        )
        assert reader.lookup(name + "-versions_filtered").tolist() == ([0] if kept else [])


def test_slots_write_a_whole_set_of_their_own(tmp_path):
    """4.1: the same keys again in every slot, in the same order, with the slot's values and dim."""
    reader = saved(tmp_path, trained(variable(), [3, 5, 2003], tf.train.AdamOptimizer(0.1)))
    assert stems(reader) == ["b", "b/Adam", "b/Adam_1"]
    for slot, value in (("b/Adam", 0.1), ("b/Adam_1", 0.001)):
        np.testing.assert_array_equal(reader.lookup(slot + "-keys"), reader.lookup("b-keys"))
        np.testing.assert_allclose(reader.lookup(slot + "-values"), np.full((3, 2), value), rtol=1e-4)


def test_a_slot_of_a_key_that_no_update_has_named_is_saved_as_it_starts(tmp_path):
    """3.10: all slots are filled when a key is created."""
    var = variable()
    reader = saved(tmp_path, trained(var, [3]), tf.nn.embedding_lookup(var, tf.constant([4], tf.int64)))
    assert rows_of(reader, "b/Adagrad")[4] == [np.float32(0.1)] * 2


def test_values_are_written_in_pieces(tmp_path, monkeypatch):
    """What a save holds of the values does not grow with the table."""
    sizes = []
    append = BundleWriter.append_segment
    monkeypatch.setattr(
        BundleWriter, "append_segment", lambda self, data: (sizes.append(data.nbytes), append(self, data))[1]
    )
    var = variable(dim=2000)
    saved(tmp_path, tf.nn.embedding_lookup(var, tf.range(tf.constant(300, tf.int64))))
    assert sum(sizes) == 300 * 8000
    assert max(sizes) <= 1 << 20
    assert len(sizes) > 2


# -- 4.2, 4.3, 4.4 --------------------------------------------------------------------------------


def test_one_bundle_that_lists_all_names(tmp_path):
    """4.2: an unsharded Saver writes one bundle; `list_variables` names all nine."""
    reader = saved(tmp_path, trained(variable(), [4]))
    assert [path.name for path in tmp_path.glob("m.data*")] == ["m.data-00000-of-00001"]
    names = [name for name, _ in tf.train.list_variables(reader.prefix)]
    assert names == [
        *sorted(stem + suffix for stem in ("b", "b/Adagrad") for suffix in SUFFIXES),
        "global_step",
    ]


def test_sharded_savers_put_variables_into_the_file_of_their_device(tmp_path):
    """4.2: then the parts are merged as usual."""
    with tf.device("/cpu:0"):
        first = variable("a")
    with tf.device("/cpu:1"):
        second = variable("b")
    reader = saved(tmp_path, [trained(first, [4]), trained(second, [5])], sharded=True)
    shards = {name: reader.entry(name + "-keys").shard_id for name in ("a", "a/Adagrad", "b", "b/Adagrad")}
    assert shards == {"a": 0, "a/Adagrad": 0, "b": 1, "b/Adagrad": 1}


def test_names_of_parts_and_their_slots(tmp_path):
    """4.3, and 1.5: ids 5 to 9 in four parts, as documented."""
    var = variable(partitioner=tf.fixed_size_partitioner(4))
    reader = saved(tmp_path, trained(var, range(5, 10)))
    expected = {0: [8], 1: [5, 9], 2: [6], 3: [7]}
    assert stems(reader) == sorted(f"b/part_{i}{slot}" for i in range(4) for slot in ("", "/Adagrad"))
    for part, keys in expected.items():
        for slot in ("", "/Adagrad"):
            assert reader.lookup(f"b/part_{part}{slot}-keys").tolist() == keys
            assert reader.lookup(f"b/part_{part}{slot}-values").shape == (len(keys), 2)
            assert reader.lookup(f"b/part_{part}{slot}-freqs").shape == (0,)


@pytest.mark.parametrize("parts", [0, 2])
def test_names_of_blocks(tmp_path, parts):
    """4.3: b/block0, b/part_0/block1, slots behind; each block with the keys that have it."""
    partitioner = tf.fixed_size_partitioner(parts) if parts else None
    var = tf.get_dynamic_dimension_embedding_variable(
        "b", 2, 2, initializer=tf.ones_initializer(), partitioner=partitioner
    )
    ids = tf.constant([4, 5], tf.int64)
    rows = tf.nn.embedding_lookup(var, ids, blocknums=tf.constant([2, 1]))
    reader = saved(tmp_path, tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows)))
    shards = [f"b/part_{i}" for i in range(parts)] or ["b"]
    assert stems(reader) == sorted(
        f"{s}/block{i}{slot}" for s in shards for i in (0, 1) for slot in ("", "/Adagrad")
    )
    home = [shards[key % 1000 % len(shards)] for key in (4, 5)]
    assert 4 in reader.lookup(f"{home[0]}/block1-keys")
    assert 5 in reader.lookup(f"{home[1]}/block0-keys")
    assert 5 not in reader.lookup(f"{home[1]}/block1-keys")


def test_names_come_from_the_variable(tmp_path):
    """4.4: keys of a dictionary do not rename embedding variables."""
    var = variable()
    train = trained(var, [4])
    reader = saved(tmp_path, train, var_list={"other": var})
    assert stems(reader) == ["b"]


def test_specs_of_the_saveable():
    """4.4: keys, values, versions, frequencies of the handle, without slices; the name is the variable's."""
    from kvarn.saver.saveables.embedding_variable import EmbeddingVariableSaveable

    var = variable(key_dtype=tf.int32)
    saveable = EmbeddingVariableSaveable(var, "x")
    assert saveable.name == "b"
    assert [
        (spec.name, spec.dtype, spec.slice_spec, spec.tensor is var.handle) for spec in saveable.specs
    ] == [
        ("b-keys", tf.int32, "", True),
        ("b-values", tf.float32, "", True),
        ("b-versions", tf.int64, "", True),
        ("b-freqs", tf.int64, "", True),
    ]


def test_lists_may_name_a_partitioned_variable_a_shard_or_a_slot(tmp_path):
    """4.4: a Saver with an explicit list."""
    optimizer = tf.train.AdagradOptimizer(0.1)
    var = variable(partitioner=tf.fixed_size_partitioner(2))
    train = trained(var, [4, 5], optimizer)
    slot = optimizer.get_slot(list(var)[1], "accumulator")
    for i, (names, var_list) in enumerate(
        [
            (["b/part_0", "b/part_1"], [var]),
            (["b/part_1"], [list(var)[1]]),
            (["b/part_1/Adagrad"], [slot]),
        ]
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        assert stems(saved(folder, train, var_list=var_list)) == names


# -- 2.3 and 3.8 ----------------------------------------------------------------------------------


def aged(tmp_path, step_at_save, *, var_list=None, **option):
    """A variable whose key 7 was updated at step 10 and key 8 named there once, saved at another step."""
    step = tf.train.get_or_create_global_step()
    var = variable(evict_option=tf.GlobalStepEvict(3), **option)
    train = trained(var, [7, 7, 8], step=step)
    count = var.total_count()
    saver = tf.train.Saver(var_list(var) if var_list else None)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(step.assign(10))
        session.run(train)
        session.run(step.assign(step_at_save))
        path = saver.save(session, str(tmp_path / "m"))
        return BundleReader(path), int(session.run(count)[0])


@pytest.mark.parametrize(("step", "left"), [(13, [7, 8]), (14, [])])
def test_age_is_counted_to_the_step_handed_to_the_save(tmp_path, step, left):
    """6b: GlobalStepEvict(3), touched at 10: kept at 13, deleted at 14; from memory, file and slots."""
    reader, count = aged(tmp_path, step)
    for name in ("b", "b/Adagrad"):
        assert reader.lookup(name + "-keys").tolist() == left
    assert count == len(left)


@pytest.mark.parametrize(("step", "left"), [(13, [8]), (14, [])])
def test_age_of_keys_on_their_way_counts_too(tmp_path, step, left):
    """3.8: counter records leave by age as admitted keys do."""
    reader, count = aged(tmp_path, step, filter_option=tf.CounterFilter(2))
    assert reader.lookup("b-keys_filtered").tolist() == left
    assert count == len(left) * 2


def test_a_key_without_a_version_gets_one_and_stays(tmp_path):
    """3.8: version -1 becomes the global step."""
    step = tf.train.get_or_create_global_step()
    var = variable(evict_option=tf.GlobalStepEvict(3))
    looked_up = tf.nn.embedding_lookup(var, tf.constant([5], tf.int64))
    reader = saved(tmp_path, looked_up, step.assign(50))
    assert reader.lookup("b-keys").tolist() == [5]
    assert reader.lookup("b-versions").tolist() == [50]


def test_small_values_leave(tmp_path):
    """3.8: L2WeightEvict deletes iff half the sum of squares is below the threshold, strictly; slots go along."""
    var = variable(dim=2, evict_option=tf.L2WeightEvict(0.25))
    rows = tf.constant([[0.5, 0.5], [0.5, 0.4], [3.0, 0.0]])
    optimizer = tf.train.AdagradOptimizer(0.1)
    trained(var, [1], optimizer)
    given = var.sparse_read(tf.constant([1, 2, 3], tf.int64), ev_init_value=rows)
    reader = saved(tmp_path, given)
    # 0.5 * (0.25 + 0.25) is 0.25, which is not below.
    assert sorted(reader.lookup("b-keys").tolist()) == [1, 3]
    assert sorted(reader.lookup("b/Adagrad-keys").tolist()) == [1, 3]


def test_a_save_without_the_primary_evicts_nothing(tmp_path):
    """3.8: eviction is a matter of the primary; its slots alone only tell of their rows."""
    reader, count = aged(
        tmp_path, 99, var_list=lambda var: [v for v in tf.global_variables() if v.op.name == "b/Adagrad"]
    )
    assert sorted(reader.lookup("b/Adagrad-keys").tolist()) == [7, 8]
    assert count == 2


def test_the_step_that_ages_are_counted_to_is_not_in_the_file(tmp_path):
    """2.3: tensor 0 of the save op is used for eviction and not written."""
    reader, _ = aged(tmp_path, 99, var_list=lambda var: [var])
    assert stems(reader) == ["b"]
    assert not reader.contains("global_step")
    assert reader.lookup("b-keys").tolist() == []


@pytest.mark.parametrize("kind", [tf.int32, tf.int64])
def test_the_newer_save_op_takes_addresses_and_a_step_of_either_type(tmp_path, kind):
    """2.3: SaveV3, five fixed inputs, then the step."""
    from kvarn.ops import checkpoint, kv

    step = tf.train.get_or_create_global_step()
    var = variable(evict_option=tf.GlobalStepEvict(3))
    train = trained(var, [7], step=step)
    now = tf.placeholder(kind, [])
    save = checkpoint.save_v3(
        str(tmp_path / "m"),
        ["global_step", "w"],
        ["", ""],
        ["b"],
        tf.reshape(kv.kv_resource_lookup_resource(var.handle, Tkeys=tf.int64, dtype=tf.float32), [1]),
        [now, tf.constant([1.0])],
        ev_key_types=[tf.int64],
        has_ev=True,
    )
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        for at, left in ((3, [7]), (4, [])):
            session.run(save, {now: at})
            reader = BundleReader(str(tmp_path / "m"))
            assert reader.lookup("b-keys").tolist() == left
            assert sorted(set(reader.columns.names) - {"b" + s for s in SUFFIXES}) == ["w"]


def test_a_step_that_is_no_integer_is_refused(tmp_path):
    """2.3 (kvarn): DeepRec reads whatever bytes there are."""
    from kvarn.ops import checkpoint

    var = variable()
    save = checkpoint.save_v2(
        str(tmp_path / "m"),
        ["step", "b"],
        ["", ""],
        [tf.constant(1.5), var.handle],
        ev_key_types=[tf.int64],
        has_ev=True,
    )
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with pytest.raises(errors.InvalidArgumentError, match="must be the global step"):
            session.run(save)
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_is_refused_evicts_nothing(tmp_path):
    """A variable without its initializer is found before keys leave the others."""
    step = tf.train.get_or_create_global_step()
    var = variable(evict_option=tf.GlobalStepEvict(3))
    train = trained(var, [7], step=step)
    ready = tf.global_variables_initializer()
    variable("c")
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(ready)
        session.run(train)
        session.run(step.assign(99))
        with pytest.raises(errors.FailedPreconditionError):
            saver.save(session, str(tmp_path / "m"))
        assert session.run(var.total_count())[0] == 1
