"""Embedding variables of dynamic dimension: blocks, what is looked up, trained, saved and restored."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.engine.options import EmbeddingVariableConfig
from kvarn.ops.kv_blocks import BlockFamily, standing_still
from kvarn.ops.kv_resource import SharedTable
from kvarn.variables.dynamic_embedding_variable import DynamicEmbeddingVariable
from kvarn.variables.scope import get_embedding_variable_v2_internal


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def keys(*values: int) -> Any:
    return tf.constant(list(values), tf.int64)


def variable(dim: int = 2, blocks: int = 3, **kwargs: Any) -> Any:
    kwargs.setdefault("initializer", tf.ones_initializer())
    return tf.get_dynamic_dimension_embedding_variable("b", dim, blocks, **kwargs)


def started() -> Any:
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return session


def test_blocks_are_embedding_variables_beside_each_other() -> None:
    """1.6: B variables ``name/block<i>``, block 0 the primary of all, wrapped as one."""
    with tf.variable_scope("s"):
        b = variable(4, 3)
    assert isinstance(b, DynamicEmbeddingVariable)
    assert (b.name, b.shape.as_list(), b.blocknum(), b.dtype) == ("s/b", [12], 3, tf.float32)
    assert [block.name for block in b] == ["s/b/block0:0", "s/b/block1:0", "s/b/block2:0"]
    assert b.mainev() is next(iter(b))
    inits = [block.initializer for block in b]
    assert [op.get_attr("emb_index") for op in inits] == [0, 1, 2]
    assert [op.get_attr("block_num") for op in inits] == [3, 3, 3]
    assert [op.inputs[1].op.name for op in inits] == ["s/b/block0"] * 3
    assert tf.trainable_variables() == list(b)


def test_missing_blocks_are_zeros() -> None:
    """1.6: block i is read for ids with more than i blocks; no blocks, all zeros; more than there are, all."""
    b = variable()
    rows = tf.nn.embedding_lookup(b, keys(1, 2, 5, -7), blocknums=[1, 2, 0, 9])
    assert rows.shape.as_list() == [4, 6]
    with started() as sess:
        np.testing.assert_array_equal(
            sess.run(rows), [[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0] * 6, [1] * 6]
        )
        found = [sorted(sess.run(block.export())[0].tolist()) for block in b]
    # A key is in the blocks that it was read from, and only in those.
    assert found == [[-7, 1, 2], [-7, 2], [-7]]


def test_sparse_read_gives_what_each_block_has() -> None:
    first, second, third = variable().sparse_read(keys(1, 2, 3), [1, 2, 0])
    with started() as sess:
        shapes = [x.shape for x in sess.run([first, second, third])]
    assert shapes == [(2, 2), (1, 2), (0, 2)]


def test_ids_of_any_shape_and_a_norm() -> None:
    b = variable(2, 2)
    rows = tf.nn.embedding_lookup(b, tf.constant([[1, 2], [3, 4]], tf.int64), blocknums=[[1, 2], [0, 2]])
    short = tf.nn.embedding_lookup(b, keys(1, 2), blocknums=[1, 2], max_norm=1.0)
    assert rows.shape.as_list() == [2, 2, 4]
    with started() as sess:
        found, clipped = sess.run([rows, short])
    np.testing.assert_array_equal(found.sum(-1), [[2, 4], [0, 4]])
    np.testing.assert_allclose(np.linalg.norm(clipped, axis=1), [1, 1], rtol=1e-6)


def test_every_key_starts_from_the_first_row() -> None:
    """1.6: blocks are filled from row 0 of the matrix, whatever the key."""
    matrix = np.arange(8 * 2, dtype=np.float32).reshape(8, 2)

    def rows(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        return tf.constant(np.resize(matrix, shape))

    b = variable(2, 2, initializer=rows)
    with started() as sess:
        found = sess.run(tf.nn.embedding_lookup(b, keys(0, 3, -5, 4097), blocknums=[2, 2, 2, 2]))
    np.testing.assert_array_equal(found, [[0, 1, 0, 1]] * 4)


def test_blocknums_are_needed_and_fit_nothing_else() -> None:
    b = variable()
    with pytest.raises(ValueError, match="blocknums must be valid for dynamic embedding variable"):
        tf.nn.embedding_lookup(b, keys(1))
    sparse = tf.SparseTensor([[0, 0]], keys(1), [1, 1])
    with pytest.raises(ValueError, match="blocknums must be valid"):
        tf.nn.embedding_lookup_sparse(b, sparse, None, combiner="sum")
    with pytest.raises(ValueError, match="blocknums must be valid"):
        tf.nn.safe_embedding_lookup_sparse(b, sparse)
    plain = tf.get_embedding_variable("plain", 2)
    with pytest.raises(ValueError, match="blocknums are for variables of get_dynamic_dimension"):
        tf.nn.embedding_lookup(plain, keys(1), blocknums=[1])


def test_duplicates_take_the_greatest_number_of_blocks() -> None:
    """1.8: ``blocknums`` of equal ids are reduced by maximum."""
    b = variable(1, 3)
    sparse = tf.SparseTensor([[0, 0], [0, 1], [1, 0], [1, 2]], keys(4, 4, 4, 7), [2, 3])
    summed = tf.nn.embedding_lookup_sparse(
        b, sparse, None, combiner="sum", blocknums=tf.constant([1, 2, 1, 3])
    )
    weighted = tf.nn.embedding_lookup_sparse(
        b,
        sparse,
        tf.SparseTensor(sparse.indices, tf.constant([1.0, 3.0, 2.0, 0.5]), sparse.dense_shape),
        combiner="mean",
        blocknums=tf.constant([1, 2, 1, 3]),
    )
    with started() as sess:
        one, two = sess.run([summed, weighted])
    # Key 4 has two blocks everywhere, key 7 three.
    np.testing.assert_array_equal(one, [[2, 2, 0], [2, 2, 1]])
    np.testing.assert_allclose(two, [[1, 1, 0], [1, 1, 0.5 / 2.5]], rtol=1e-6)


@pytest.mark.parametrize("partitioned", [False, True])
@pytest.mark.parametrize("optimizer", ["Adagrad", "GradientDescent"])
def test_with_all_blocks_it_trains_like_one_wide_variable(optimizer: str, partitioned: bool) -> None:
    """DeepRec's own check: two blocks of 4 and one variable of 8 give equal rows after equal steps."""
    opt = {"Adagrad": tf.train.AdagradOptimizer, "GradientDescent": tf.train.GradientDescentOptimizer}[
        optimizer
    ]
    cut = {"partitioner": tf.fixed_size_partitioner(4)} if partitioned else {}
    narrow = variable(4, 2, **cut)
    wide = tf.get_embedding_variable("wide", 8, initializer=tf.ones_initializer())
    ids = keys(0, 1, 2, 5, 6, -7)
    of_blocks = tf.nn.embedding_lookup(narrow, ids, blocknums=[2] * 6)
    of_one = tf.nn.embedding_lookup(wide, ids)
    weights = tf.constant(np.arange(48, dtype=np.float32).reshape(6, 8))
    steps = [opt(0.1).minimize(tf.reduce_sum(x * weights)) for x in (of_blocks, of_one)]
    with started() as sess:
        for _ in range(3):
            sess.run(steps)
        one, two = sess.run([of_blocks, of_one])
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, np.ones((6, 8)))


def test_only_blocks_that_were_read_are_trained() -> None:
    b = variable(1, 2)
    short = tf.nn.embedding_lookup(b, keys(1, 2), blocknums=[1, 2])
    whole = tf.nn.embedding_lookup(b, keys(1, 2), blocknums=[2, 2])
    step = tf.train.GradientDescentOptimizer(0.5).minimize(tf.reduce_sum(short), var_list=[b])
    with started() as sess:
        sess.run(step)
        np.testing.assert_array_equal(sess.run(whole), [[0.5, 1], [0.5, 0.5]])


def test_a_partitioner_cuts_the_keys_and_keeps_the_blocks_together() -> None:
    """1.6: shard k is ``name/part_<k>/block<i>``; 1.5: key k is in part ``k mod 1000 mod parts``."""
    b = variable(2, 2, partitioner=tf.fixed_size_partitioner(4))
    assert [block.op.name for part in b for block in part][:3] == [
        "b/part_0/block0",
        "b/part_0/block1",
        "b/part_1/block0",
    ]
    info = next(iter(list(b)[1]))._get_save_slice_info()
    assert (info.full_name, info.full_shape, info.var_offset) == ("b/block0", [4, 2], [1, 0])
    rows = tf.nn.embedding_lookup(b, keys(5, 6, 7, 8, 9, 1003, -1), blocknums=[2, 1, 2, 0, 2, 2, 2])
    with started() as sess:
        found = sess.run(rows)
        held = {block.op.name: sorted(sess.run(block.export())[0].tolist()) for part in b for block in part}
    np.testing.assert_array_equal(found.sum(1), [4, 2, 4, 0, 4, 4, 4])
    assert held["b/part_1/block0"] == held["b/part_1/block1"] == [5, 9]
    assert (held["b/part_2/block0"], held["b/part_2/block1"]) == ([6], [])
    # 1003 mod 1000 mod 4 = 3, and -1 mod 1000 mod 4 = 3.
    assert held["b/part_3/block0"] == [-1, 7, 1003]
    assert held["b/part_0/block0"] == []


def test_checkpoint_names_and_a_restore_with_other_parts(tmp_path: Path) -> None:
    """4.3: ``b/block0-keys``, ``b/part_0/block1-keys``, slots ``b/block<i>/Adagrad-keys``."""
    ids, numbers = keys(1, 2, 3, -4), [1, 2, 0, 2]

    def program(**kwargs: Any) -> tuple[Any, Any, Any]:
        b = variable(1, 2, **kwargs)
        rows = tf.nn.embedding_lookup(b, keys(1, 2, 3, -4), blocknums=numbers)
        step = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows))
        return b, rows, step

    del ids
    with tf.Graph().as_default():
        _, rows, step = program()
        saver = tf.train.Saver()
        with started() as sess:
            sess.run([step])
            sess.run([step])
            trained = sess.run(rows)
            path = saver.save(sess, str(tmp_path / "whole"))
            sess.run(step)
            after = sess.run(rows)
    listed = {name for name, _ in tf.train.list_variables(path) if name.endswith("-keys")}
    assert listed == {"b/block0-keys", "b/block1-keys", "b/block0/Adagrad-keys", "b/block1/Adagrad-keys"}
    for name, held in (("b/block0", [-4, 1, 2]), ("b/block1/Adagrad", [-4, 2])):
        assert sorted(tf.train.load_variable(path, f"{name}-keys").tolist()) == held
    with tf.Graph().as_default():
        b, rows, step = program(partitioner=tf.fixed_size_partitioner(3))
        whole, of_parts = tf.train.Saver(), tf.train.Saver({"b": b})
        with started() as sess:
            whole.restore(sess, path)
            np.testing.assert_array_equal(sess.run(rows), trained)
            sess.run(step)
            np.testing.assert_array_equal(sess.run(rows), after)
            parts = of_parts.save(sess, str(tmp_path / "parts"))
    listed = {name for name, _ in tf.train.list_variables(parts) if name.endswith("-keys")}
    assert listed == {f"b/part_{k}/block{i}-keys" for k in range(3) for i in range(2)}
    with tf.Graph().as_default():
        b, rows, _ = program()
        with started() as sess:
            tf.train.Saver([b]).restore(sess, parts)
            np.testing.assert_array_equal(sess.run(rows), after)


def test_an_imported_graph_finds_the_blocks_and_their_slots(tmp_path: Path) -> None:
    b = variable(1, 2)
    rows = tf.nn.embedding_lookup(b, keys(1, 2), blocknums=[1, 2], name="rows")
    step = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows))
    with started() as sess:
        sess.run(step)
        expected = sess.run(rows)
        path = tf.train.Saver().save(sess, str(tmp_path / "m"))
    with tf.Graph().as_default() as graph:
        saver = tf.train.import_meta_graph(path + ".meta")
        with tf.Session() as sess:
            saver.restore(sess, path)
            np.testing.assert_array_equal(sess.run(graph.get_tensor_by_name(rows.name)), expected)
            again = saver.save(sess, str(tmp_path / "again"))
    assert tf.train.list_variables(again) == tf.train.list_variables(path)


def test_slots_initialised_before_their_block_share_its_table() -> None:
    b = variable(1, 2)
    rows = tf.nn.embedding_lookup(b, keys(1), blocknums=[2])
    tf.train.AdagradOptimizer(0.1, initial_accumulator_value=0.5).minimize(tf.reduce_sum(rows))
    slot = next(v for v in tf.global_variables() if v.op.name == "b/block1/Adagrad")
    assert slot.initializer.inputs[1].op.name == "b/block0"
    with started() as sess:
        sess.run(rows)
        np.testing.assert_array_equal(sess.run(slot.sparse_read(keys(1))), [[0.5]])
        assert sess.run(slot.export())[0].tolist() == [1]


@pytest.mark.parametrize(("dim", "blocks"), [(0, 2), (2, 0), (-1, 1)])
def test_a_variable_without_elements_is_refused(dim: int, blocks: int) -> None:
    with pytest.raises(
        ValueError, match=r"embedding variable 'b': embedding_(dim|block_num) must be greater"
    ):
        variable(dim, blocks)


def test_a_scope_partitioner_cuts_it_too() -> None:
    with tf.variable_scope("s", partitioner=tf.fixed_size_partitioner(2)) as scope:
        b = variable(2, 2)
        assert scope.partitioner is not None
    assert [block.op.name for part in b for block in part] == [
        f"s/b/part_{k}/block{i}" for k in range(2) for i in range(2)
    ]


def test_sharing_gives_the_same_blocks() -> None:
    first = variable()
    with tf.variable_scope("", reuse=True):
        assert list(variable()) == list(first)
    with pytest.raises(ValueError, match="b/block0 already exists"):
        variable()


def test_blocks_leave_by_age_and_a_key_keeps_its_first_block_longest(tmp_path: Path) -> None:
    b = variable(1, 2, steps_to_live=3)
    ids, numbers = tf.placeholder(tf.int64, [None]), tf.placeholder(tf.int32, [None])
    rows = tf.nn.embedding_lookup(b, ids, blocknums=numbers)
    step = tf.train.get_or_create_global_step()
    train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows), global_step=step)
    saver = tf.train.Saver()
    with started() as sess:
        sess.run(train, {ids: [7, 8, 9], numbers: [2, 2, 2]})
        for _ in range(4):
            sess.run(train, {ids: [8, 9], numbers: [1, 2]})
        path = saver.save(sess, str(tmp_path / "m"))
        held = [sorted(sess.run(block.export())[0].tolist()) for block in b]
    # 7 was last updated at step 0, so was block 1 of 8; the save is at step 5.
    assert held == [[8, 9], [9]]
    for name, there in (("b/block0", [8, 9]), ("b/block1", [9]), ("b/block1/Adagrad", [9])):
        assert sorted(tf.train.load_variable(path, f"{name}-keys").tolist()) == there


@pytest.mark.parametrize(
    "option",
    [{"filter_strategy": tf.CounterFilter(2)}, {"l2_weight_threshold": 0.5}],
)
def test_options_that_each_block_would_decide_for_itself_are_refused(option: dict[str, Any]) -> None:
    config = EmbeddingVariableConfig(emb_index=0, block_num=2, **option)
    with pytest.raises(tf.errors.InvalidArgumentError, match="each holds some keys only"):
        get_embedding_variable_v2_internal("b/block0", 2, evconfig=config)


# -- one cut over all blocks ------------------------------------------------------------------------


def table() -> Any:
    return SharedTable(tf.int64, 1)


def test_a_cut_waits_for_changes_and_holds_others_up() -> None:
    family = BlockFamily()
    blocks = [family.block(i, table) for i in range(2)]
    assert family.block(1, table) is blocks[1]
    held, done = threading.Event(), []

    def change() -> None:
        held.wait(10)
        blocks[1].table.lookup_or_create(np.array([1], np.int64))
        done.append(True)

    thread = threading.Thread(target=change)
    thread.start()
    with standing_still([*blocks, table()]):
        held.set()
        thread.join(0.1)
        assert thread.is_alive()
        assert not done
        # The thread that cuts is not held up by itself.
        blocks[0].table.lookup_or_create(np.array([1], np.int64))
    thread.join(10)
    assert done


def test_snapshots_of_all_blocks_are_of_one_moment() -> None:
    """A key goes into block 0 first: a cut that has it in block 1 alone is torn."""
    family = BlockFamily()
    blocks = [family.block(i, table) for i in range(3)]
    stop = threading.Event()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def write(start: int) -> None:
        key = start
        while not stop.is_set() and key < start + 20_000:
            for block in blocks:
                block.table.lookup_or_create(np.array([key], np.int64))
            key += 1

    threads = [threading.Thread(target=write, args=(k * 1_000_000,)) for k in range(2)]
    for t in threads:
        t.start()
    try:
        for _ in range(60):
            with standing_still(blocks):
                cuts = [block.table.snapshot() for block in blocks]
            sets = [set(cut.keys.tolist()) for cut in cuts]
            assert sets[0] >= sets[1] >= sets[2]
            # Each writer can be between two blocks with one key.
            assert len(sets[0] - sets[2]) <= len(threads)
    finally:
        stop.set()
        for t in threads:
            t.join()
        sys.setswitchinterval(interval)
