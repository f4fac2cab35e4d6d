"""One restore of several embedding variables: what is done together, and when."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.engine.table import EmbeddingTable
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleWriter
from kvarn.ops import kv, kv_restore


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


@pytest.fixture
def imports(monkeypatch):
    """(keys, slots) of every import into a table; of one where all keys come in together, that too."""
    seen: list[tuple[list[int], list[Any]]] = []
    original, commit = EmbeddingTable.import_columns, EmbeddingTable.commit_import

    def spy(self: Any, keys: Any, columns: Any, *rest: Any) -> None:
        seen.append((np.asarray(keys).tolist(), list(columns)))
        original(self, keys, columns, *rest)

    def commit_spy(self: Any, staged: Any, keys: Any) -> None:
        seen.append((np.asarray(keys).tolist(), [*range(len(staged.slots)), "together"]))
        commit(self, staged, keys)

    monkeypatch.setattr(EmbeddingTable, "import_columns", spy)
    monkeypatch.setattr(EmbeddingTable, "commit_import", commit_spy)
    return seen


def write(prefix: Any, **keys_of: Any) -> str:
    with BundleWriter(str(prefix)) as writer:
        writer.add("global_step", np.int64(3))
        for name, keys in keys_of.items():
            keys = np.array(keys, np.int64)
            values = np.repeat(keys[:, None], 2, axis=1).astype(np.float32) + name.count("__")
            embedding.write_embedding(writer, name.replace("__", "/"), keys, values, dim=2)
    return str(prefix)


def model(name: str = "b") -> Any:
    var = tf.get_embedding_variable(name, 2, initializer=tf.constant_initializer(5.0))
    rows = tf.nn.embedding_lookup(var, tf.constant([1], tf.int64))
    tf.train.AdamOptimizer().minimize(tf.reduce_sum(rows), var_list=[var])
    return var


def evs() -> list[Any]:
    return [v for v in tf.global_variables() if type(v).__name__ == "EmbeddingVariable"]


def exported(session: Any) -> dict[str, dict[int, float]]:
    found = {}
    for var in evs():
        keys, values, _, _ = session.run(var.export())
        found[var.op.name] = dict(zip(keys.tolist(), values[:, 0].tolist(), strict=True))
    return found


def test_a_variable_and_its_slots_are_imported_together(tmp_path, imports) -> None:
    model()
    prefix = write(tmp_path / "m", b=[1, 2], b__Adam=[1, 2], b__Adam_1=[1, 2])
    with tf.Session() as session:
        tf.train.Saver(evs()).restore(session, prefix)
        assert imports == [([1, 2], [0, 1, 2, "together"])]
        assert exported(session) == {"b": {1: 1, 2: 2}, "b/Adam": {1: 2, 2: 3}, "b/Adam_1": {1: 2, 2: 3}}


def test_one_whose_rows_lie_in_another_order_is_imported_by_itself(tmp_path, imports) -> None:
    model()
    prefix = write(tmp_path / "m", b=[1, 1001], b__Adam=[1001, 1], b__Adam_1=[1, 1001])
    with tf.Session() as session:
        tf.train.Saver(evs()).restore(session, prefix)
        assert imports == [([1, 1001], [0, 2]), ([1001, 1], [1])]
        found = exported(session)
    assert found == {"b": {1: 1, 1001: 1001}, "b/Adam": {1: 2, 1001: 1002}, "b/Adam_1": {1: 2, 1001: 1002}}


def test_files_that_have_no_map_give_the_same(imports) -> None:
    model()
    prefix = write("memory://kv_restore/m", b=[1, 2], b__Adam=[1, 2], b__Adam_1=[1, 2])
    with tf.Session() as session:
        tf.train.Saver(evs()).restore(session, prefix)
        assert exported(session) == {"b": {1: 1, 2: 2}, "b/Adam": {1: 2, 2: 3}, "b/Adam_1": {1: 2, 2: 3}}


def test_rows_at_odd_addresses(tmp_path) -> None:
    """A tensor of single bytes before them in the file."""
    model()
    keys = np.array([1, 2])
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.add("bytes", np.zeros(3, np.uint8))
        for name in ("b", "b/Adam", "b/Adam_1"):
            embedding.write_embedding(
                writer, name, keys, np.ones((2, 2), np.float32), dim=2, freqs=keys, versions=keys
            )
    with tf.Session() as session:
        tf.train.Saver(evs()).restore(session, str(tmp_path / "m"))
        assert exported(session) == {name: {1: 1, 2: 1} for name in ("b", "b/Adam", "b/Adam_1")}


def test_variables_that_read_the_same_name_are_filled_each(tmp_path) -> None:
    """Two handles of one graph with the same name in the file, such as a graph imported twice."""
    prefix = write(tmp_path / "m", b=[1, 2])
    path = tf.placeholder(tf.string, [])
    handles = []
    loads = []
    for name in ("b", "other"):
        handle = kv.kv_var_handle_op(dtype=tf.float32, shape=[2], shared_name=name, name=name)
        handles.append(handle)
        loads.append(
            kv.kv_resource_import_v2(
                path, handle, handle, tf.zeros([1, 2]), tf.constant("b"), tf.constant(-1, tf.int64),
                shape=[2], counter_type=tf.uint64,
            )
        )  # fmt: skip
    everything = tf.group(*loads, name="restore")
    saver_def = tf.train.SaverDef(
        filename_tensor_name=path.name, save_tensor_name=path.name, restore_op_name=everything.name, version=2
    )
    counts = [kv.kv_variable_shape(handle, Tkeys=tf.int64) for handle in handles]
    with tf.Session() as session:
        tf.train.Saver(saver_def=saver_def).restore(session, prefix)
        assert [count[0] for count in session.run(counts)] == [2, 2]


def test_what_was_looked_at_and_never_asked_for_is_no_error(tmp_path) -> None:
    from kvarn.formats.detect import open_checkpoint

    prefix = write(tmp_path / "m", b=[1, 2], b__Adam=[1, 2])
    with open_checkpoint(prefix) as reader:
        run = kv_restore.EmbeddingRestore(reader)
        for name in ("b", "b/Adam"):
            run.look_at(name, variable=name, key_dtype=tf.int64, family="b", is_primary=name == "b")
        run.settle()
        with kv_restore.running(run):
            assert run.expects("b")
        assert not run.expects("c")


def test_newer_graphs_import_together_too(tmp_path, imports) -> None:
    """KvResourceImportV3 does not name the primary: the operation that makes the variable does."""
    var = model()
    path = tf.placeholder(tf.string, [])
    makes = []
    key = tf.constant(-1, tf.int64)
    for index, own in enumerate(evs()):
        makes.append(
            kv.initialize_kv_variable_v2_op(
                own.handle, var.handle, tf.ones([1, 2]), key, shape=[2], counter_type=tf.uint64,
                initial_num_buckets=0, slot_index=index, slot_num=2,
            )
        )  # fmt: skip
    with tf.control_dependencies(makes):
        loads = [
            kv.kv_resource_import_v3(
                path, own.handle, tf.constant(own.op.name), key, shape=[2], dtype=tf.float32
            )
            for own in evs()
        ]
    everything = tf.group(*loads, name="restore")
    saver_def = tf.train.SaverDef(
        filename_tensor_name=path.name, save_tensor_name=path.name, restore_op_name=everything.name, version=2
    )
    prefix = write(tmp_path / "m", b=[1, 2], b__Adam=[1, 2], b__Adam_1=[1, 2])
    with tf.Session() as session:
        tf.train.Saver(saver_def=saver_def).restore(session, prefix)
        assert imports == [([1, 2], [0, 1, 2, "together"])]


def test_rows_for_keys_that_are_there_come_one_batch_after_the_other(tmp_path, imports) -> None:
    """Room for all of them once more is not what a restore over a model should take."""
    model()
    prefix = write(tmp_path / "m", b=[1, 2], b__Adam=[1, 2], b__Adam_1=[1, 2])
    with tf.Session() as session:
        saver = tf.train.Saver(evs())
        saver.restore(session, prefix)
        before = exported(session)
        imports.clear()
        saver.restore(session, prefix)
        assert imports == [([1, 2], [0, 1, 2])]
        assert exported(session) == before


def test_a_part_that_cannot_be_read_to_its_end_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    from kvarn.formats import embedding_rows

    model()
    prefix = write(tmp_path / "m", b=range(9), b__Adam=range(9), b__Adam_1=range(9))
    monkeypatch.setattr(
        kv_restore.EmbeddingRestore, "_import", _in_pieces(kv_restore.EmbeddingRestore._import)
    )
    take = embedding_rows.RowStream.take
    left = iter([True] * 7)

    def breaks_off(self: Any, n: int) -> Any:
        if next(left, None) is None:
            raise tf.errors.DataLossError(None, None, "the disk is gone")
        return take(self, n)

    monkeypatch.setattr(embedding_rows.RowStream, "take", breaks_off)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with pytest.raises(tf.errors.DataLossError, match="the disk is gone"):
            tf.train.Saver(evs()).restore(session, prefix)
        assert {name: rows for name, rows in exported(session).items() if rows} == {}
        monkeypatch.setattr(embedding_rows.RowStream, "take", take)
        tf.train.Saver(evs()).restore(session, prefix)
        assert all(sorted(rows) == list(range(9)) for rows in exported(session).values())


def _in_pieces(method: Any) -> Any:
    """The method, while parts come in pieces of two rows."""
    from kvarn.formats import embedding_rows

    read_parts = embedding_rows.read_parts

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        small = functools.partial(read_parts, chunk_bytes=2 * 3 * 2 * 4)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(embedding_rows, "read_parts", small)
            return method(*args, **kwargs)

    return wrapped
