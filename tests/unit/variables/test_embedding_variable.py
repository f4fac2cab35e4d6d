"""`EmbeddingVariable`: its nodes, members, options and messages; lookups, slots and training of it."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.graph.graph import GraphKeys
from kvarn.variables import embedding_variable
from kvarn.variables.embedding_variable import EmbeddingVariable
from kvarn.variables.resource_variable import ResourceVariable


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def variable(name="b", dim=3, value=0.5, **arguments):
    arguments.setdefault("initializer", tf.constant_initializer(value))
    return tf.get_embedding_variable(name, embedding_dim=dim, **arguments)


def keys(*ids):
    return tf.constant(ids, tf.int64)


def names(graph, prefix):
    return {
        n.name: n.type for n in graph.get_operations() if n.name == prefix or n.name.startswith(prefix + "/")
    }


def test_its_nodes(graph):
    b = variable()
    assert names(graph, "b") == {
        "b": "KvVarHandleOp",
        "b/invalid_key": "Const",
        "b/Initializer/Const": "Const",
        "b/IsInitialized/KvVarIsInitializedOp": "KvVarIsInitializedOp",
        "b/Assign": "InitializeKvVariableOp",
        "b/Assign/Const": "Const",
    }
    assert b.initializer.name == "b/Assign"
    assert b.initializer.get_attr("counter_type") is tf.uint64
    assert b.initializer.get_attr("max_freq") == 99999
    assert b.initializer.get_attr("default_value_dim") == 1
    assert b.op.get_attr("_class") == [b"loc:@b"]
    assert b.op.get_attr("shared_name") == b"b"


def test_its_members():
    b = variable()
    assert isinstance(b, EmbeddingVariable)
    assert isinstance(b, ResourceVariable)
    assert isinstance(b, tf.Variable)
    assert (b.name, b.op.name, b.dtype, b.shape.as_list()) == ("b:0", "b", tf.float32, [3])
    assert b.initial_value.shape.as_list() == [1, 3]
    assert (b.invalid_key, b.steps_to_live, b.block_num, b.need_counts()) == (2**63 - 1, 0, 1, False)
    assert repr(b) == "<tf.EmbeddingVariable 'b:0' embedding dim=(3,) dtype=float32>"
    for collection in (
        GraphKeys.GLOBAL_VARIABLES,
        GraphKeys.TRAINABLE_VARIABLES,
        GraphKeys.EMBEDDING_VARIABLES,
    ):
        assert tf.get_collection(collection) == [b]
    assert variable("c", trainable=False) not in tf.trainable_variables()


@pytest.mark.parametrize(
    "use",
    [
        lambda b: b.value(),
        lambda b: b.read_value(),
        lambda b: b.assign(1.0),
        lambda b: b.assign_add(1.0),
        lambda b: b.assign_sub(1.0),
        lambda b: b._ref(),
        lambda b: b.eval(),
        lambda b: tf.convert_to_tensor(b),
        lambda b: b + 1.0,
    ],
)
def test_it_has_no_value_as_a_whole(use):
    with pytest.raises(NotImplementedError):
        use(variable())


def test_reuse_gives_the_same_variable():
    with tf.variable_scope("s", reuse=tf.AUTO_REUSE):
        assert variable() is variable()
    assert variable().name == "b:0"


def test_a_random_initializer_makes_a_matrix_of_rows():
    b = variable(initializer=tf.random_uniform_initializer(seed=1))
    assert b.initial_value.shape.as_list() == [4096, 3]
    with tf.Session() as sess:
        sess.run(b.initializer)
        rows = sess.run(b.sparse_read(keys(1, 1 + 4096, -1, 2)))
    assert (rows[0] == rows[1]).all()
    assert (rows[0] == rows[2]).all()
    assert (rows[0] != rows[3]).any()


def test_lookup_counts_export_and_initialization():
    b = variable()
    rows = tf.nn.embedding_lookup(b, tf.constant([[1, 2], [2, 9]], tf.int64))
    assert rows.shape.as_list() == [2, 2, 3]
    with tf.Session() as sess:
        assert not sess.run(b.is_initialized())
        with pytest.raises(errors.FailedPreconditionError, match="uninitialized embedding variable b"):
            sess.run(rows)
        sess.run(tf.global_variables_initializer())
        assert sess.run(b.is_initialized())
        assert sess.run(rows).tolist() == [[[0.5] * 3] * 2] * 2
        assert sess.run(b.total_count()).tolist() == [3, 3]
        assert sess.run(b.get_dynamic_shape()).tolist() == [3, 3]
        assert sess.run(b.export())[0].tolist() == [1, 2, 9]
        assert sess.run(embedding_variable.lookup_tier(b, keys(1, 5))).tolist() == [0, -1]
        # Numbers become ids of the key type.
        assert sess.run(b.get_frequency([1, 5])).tolist() == [0, 0]
        assert sess.run(b.get_version([1, 5])).tolist() == [-1, -1]


def test_frequencies_and_versions_are_recorded_when_asked_for(monkeypatch):
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    monkeypatch.setenv("TF_RECORD_VERSION", "1")
    b = variable()
    assert b.need_counts()
    ids = tf.SparseTensor([[0, 0], [0, 1], [1, 0]], keys(4, 4, 7), [2, 2])
    rows = tf.nn.embedding_lookup_sparse(b, ids, None, combiner="sum")
    step = tf.train.get_or_create_global_step()
    train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(rows), global_step=step)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        sess.run(train)
        # Counted by occurrence although the lookup is of distinct ids.
        assert sess.run(b.get_frequency(keys(4, 7, 5))).tolist() == [4, 2, 0]
        assert sess.run(b.get_version(keys(4, 7, 5))).tolist() == [1, 1, -1]


def test_parts_hold_the_keys_of_their_buckets():
    parts = variable("p", partitioner=tf.fixed_size_partitioner(4))
    ids = np.array([0, 5, 6, 7, -1, 1003, 999, 5], np.int64)
    rows = tf.nn.embedding_lookup(parts, ids)
    assert rows.shape.as_list() == [8, 3]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(rows).shape == (8, 3)
        for i, part in enumerate(parts):
            assert part.name == f"p/part_{i}:0"
            info = part._get_save_slice_info()
            assert (info.full_name, info.full_shape[0], info.var_offset[0]) == ("p", 4, i)
            held = sess.run(part.export())[0]
            assert sorted(held) == sorted({int(k) for k in ids if k % 1000 % 4 == i})


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("optimizer", ["adagrad", "descent"])
def test_training_is_that_of_a_dense_table(parts, optimizer):
    """Same lookups, same optimizer, same numbers as an ordinary variable whose rows are the keys."""
    partitioner = tf.fixed_size_partitioner(parts) if parts > 1 else None
    b = variable("b", partitioner=partitioner)
    dense = tf.get_variable("dense", shape=[50, 3], initializer=tf.constant_initializer(0.5))
    ids = tf.placeholder(tf.int64, [None])
    factor = tf.placeholder(tf.float32, [None, 3])

    def step(table):
        rows = tf.nn.embedding_lookup(table, ids)
        make = tf.train.AdagradOptimizer if optimizer == "adagrad" else tf.train.GradientDescentOptimizer
        opt = make(0.1, name=f"opt_{table.name.replace(':', '_')}")
        loss = tf.reduce_sum(rows * rows * factor)
        return opt.minimize(loss, var_list=list(table) if partitioner and table is b else [table])

    train = tf.group(step(b), step(dense))
    everything = tf.range(50, dtype=tf.int64)
    rows, rows_dense = tf.nn.embedding_lookup(b, everything), tf.nn.embedding_lookup(dense, everything)
    random = np.random.RandomState(0)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(5):
            sess.run(train, {ids: random.randint(0, 50, 40), factor: random.rand(40, 3)})
        found, expected = sess.run([rows, rows_dense])
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    assert (expected != 0.5).any()


def test_slots_are_embedding_variables_beside_their_primary(graph):
    parts = variable("p", partitioner=tf.fixed_size_partitioner(2))
    opt = tf.train.AdagradOptimizer(0.1, initial_accumulator_value=0.25)
    opt.minimize(tf.reduce_sum(tf.nn.embedding_lookup(parts, keys(1, 2))))
    for i, part in enumerate(parts):
        slot = opt.get_slot(part, "accumulator")
        assert isinstance(slot, EmbeddingVariable)
        assert slot.name == f"p/part_{i}/Adagrad:0"
        assert slot.initializer.get_attr("slot_index") == 1
        assert slot.initializer.get_attr("slot_num") == 1
        assert slot.initializer.inputs[1] is part.handle
        assert part.initializer.get_attr("slot_num") == 1
        info = slot._get_save_slice_info()
        assert (info.full_name, info.full_shape, info.var_offset) == ("p/Adagrad", [2], [i])
        assert slot not in tf.trainable_variables()
        assert slot in tf.global_variables()
        # The primary exists before its slot.
        waited = {
            c for x in [slot.initializer, *[t.op for t in slot.initializer.inputs]] for c in x.control_inputs
        }
        assert part.initializer in waited
    assert opt.get_slot_names() == ["accumulator"]
    assert [v.name for v in opt.variables()] == ["p/part_0/Adagrad:0", "p/part_1/Adagrad:0"]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        slot = opt.get_slot(list(parts)[1], "accumulator")
        assert sess.run(slot.sparse_read(keys(1))).tolist() == [[0.25] * 3]


def test_the_update_has_the_gradients_distinct_ids_and_the_global_step(graph):
    b = variable()
    step = tf.train.get_or_create_global_step()
    train = tf.train.AdagradOptimizer(0.1).minimize(
        tf.reduce_sum(b.sparse_read(keys(1, 1))), global_step=step
    )
    update = graph.get_operation_by_name("Adagrad/update_b/KvResourceSparseApplyAdagrad")
    assert [x.op.type for x in update.inputs] == [
        "KvVarHandleOp",
        "KvVarHandleOp",
        "Const",
        "UnsortedSegmentSum",
        "Unique",
        "Identity",
    ]
    assert update.inputs[5].op.name == "global_step/read"
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        assert sess.run(step) == 1


def test_an_optimizer_without_a_rule_for_tables_says_so():
    b = variable()
    loss = tf.reduce_sum(b.sparse_read(keys(1)))
    with pytest.raises(
        errors.UnimplementedError, match="AdadeltaOptimizer cannot train embedding variable 'b'"
    ):
        tf.train.AdadeltaOptimizer().minimize(loss)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"ckpt": tf.CheckpointOption(init_data_source="x")}, "init_data_source"),
        (
            {"ckpt": tf.CheckpointOption("x", always_load_from_specific_ckpt=True)},
            "always_load_from_specific_ckpt",
        ),
    ],
)
def test_an_option_that_cannot_be_honoured_is_refused_by_name(option, named):
    with pytest.raises(errors.UnimplementedError, match=named) as e:
        variable(ev_option=tf.EmbeddingVariableOption(**option))
    assert e.value.name == "b"


def test_key_and_value_types_that_cannot_be():
    with pytest.raises(errors.InvalidArgumentError, match="keys of type string") as e:
        variable(key_dtype=tf.string)
    assert "to_hash_bucket_fast" in str(e.value)
    with pytest.raises(ValueError, match="key_dtype: float32"):
        variable("c", key_dtype=tf.float32)
    with pytest.raises(errors.UnimplementedError, match="float64"):
        variable("d", value_dtype=tf.float64)
    b = variable("e")
    with tf.Session() as sess:
        sess.run(b.initializer)
        with pytest.raises(errors.InvalidArgumentError, match="dtype int32: the table's key dtype is int64"):
            sess.run(b.sparse_read(tf.constant([1], tf.int32)))


def test_int32_keys():
    b = variable(key_dtype=tf.int32)
    assert b.invalid_key == -1
    with tf.Session() as sess:
        sess.run(b.initializer)
        sess.run(tf.nn.embedding_lookup(b, [3, -1]))
        held = sess.run(b.export())[0]
    assert held.dtype == np.int32
    assert sorted(held) == [-1, 3]


def test_to_a_message_and_back():
    parts = variable("p", partitioner=tf.fixed_size_partitioner(2))
    tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(tf.nn.embedding_lookup(parts, keys(1))))
    for b in tf.get_collection(GraphKeys.EMBEDDING_VARIABLES):
        message = b.to_proto()
        assert message.is_embedding_var
        assert message.is_resource
        again = tf.Variable.from_proto(message)
        assert isinstance(again, EmbeddingVariable)
        assert again.to_proto() == message
        assert again.handle is b.handle
        assert again._primary_handle is b._primary_handle
        assert again._engine == {k: again._engine[k] for k in b._engine}
        assert (again.invalid_key, again._invalid_key_type) == (b.invalid_key, b._invalid_key_type)
        assert (again.initializer, again.initial_value) == (b.initializer, b.initial_value)


@pytest.mark.parametrize("parts", [1, 2])
def test_rows_that_missing_keys_start_from(parts):
    b = variable(partitioner=tf.fixed_size_partitioner(parts) if parts > 1 else None)
    start = np.arange(6, dtype=np.float32).reshape(2, 3)
    rows = tf.nn.embedding_lookup(b, keys(10, 11), ev_init_value=tf.constant(start))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(tf.nn.embedding_lookup(b, keys(11)))
        assert sess.run(rows).tolist() == [[0, 1, 2], [0.5, 0.5, 0.5]]


def test_combining_rows():
    b = variable(initializer=tf.random_uniform_initializer(1.0, 2.0, seed=3))
    ids = tf.SparseTensor([[0, 0], [0, 2], [1, 1], [3, 0]], keys(3, -1, 3, 9), [4, 3])
    table = tf.nn.embedding_lookup(b, keys(3, 9))
    total = tf.nn.safe_embedding_lookup_sparse(b, ids, combiner="sum")
    tiled = tf.nn.embedding_lookup_sparse(b, ids, None, combiner="tile")
    clipped = tf.nn.embedding_lookup(b, keys(3), max_norm=0.5)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        (three, nine), summed, side_by_side, short = sess.run([table, total, tiled, clipped])
        minus_one = sess.run(b.sparse_read(keys(-1)))[0]
    # Ids below zero are dropped by the safe lookup, as documented; an empty row is zeros.
    np.testing.assert_array_equal(summed, [three, three, [0, 0, 0], nine])
    zeros = np.zeros(3)
    np.testing.assert_array_equal(side_by_side[0], np.concatenate([three, zeros, minus_one]))
    np.testing.assert_array_equal(side_by_side[1], np.concatenate([zeros, three, zeros]))
    np.testing.assert_array_equal(side_by_side[2], np.zeros(9))
    np.testing.assert_allclose(np.linalg.norm(short), 0.5, rtol=1e-6)


def test_block_numbers_are_refused():
    with pytest.raises(ValueError, match="get_dynamic_dimension_embedding_variable"):
        tf.nn.embedding_lookup(variable(), keys(1), blocknums=[1])


@pytest.mark.parametrize("width", [0, -3, None])
def test_a_row_without_elements_is_refused(width):
    with pytest.raises(ValueError, match="embedding variable 'u': embedding_dim must be greater than 0"):
        tf.get_embedding_variable("u", embedding_dim=width)
