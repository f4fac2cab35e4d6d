"""Incremental checkpoints: section 4.9, with the ops of 2.1 and 2.3 that they are made of."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.graph import registry
from kvarn.graph.op import OpFunction
from kvarn.ops import incremental
from kvarn.saver.incremental_saver import IncrementalSaver, _get_incremental_saver

FOLDER = ".incremental_checkpoint"
OPTIONS = ("filter_option", "evict_option")


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as made:
        yield made


class Model:
    """An embedding variable, a sparse and a dense variable under Adagrad, with both Savers."""

    def __init__(
        self,
        *,
        parts: int | None = None,
        cumulative: bool = True,
        include: bool = False,
        sharded: bool = False,
        key_dtype: Any = tf.int64,
        optimizer: Any = None,
        with_dense: bool = True,
        **options: Any,
    ) -> None:
        partitioner = tf.fixed_size_partitioner(parts) if parts else None
        ev = tf.EmbeddingVariableOption(**{k: options.pop(k) for k in OPTIONS if k in options})
        self.ids = tf.placeholder(key_dtype, [None])
        self.rows = tf.placeholder(tf.int64, [None])
        self.ev = tf.get_embedding_variable(
            "b",
            2,
            key_dtype=key_dtype,
            initializer=tf.ones_initializer(),
            partitioner=partitioner,
            ev_option=ev,
        )
        self.step = tf.train.get_or_create_global_step()
        self.emb = tf.nn.embedding_lookup(self.ev, self.ids)
        loss = tf.reduce_sum(self.emb)
        self.sparse = self.dense = None
        if with_dense:
            ones = tf.ones_initializer()
            self.sparse = tf.get_variable("w", [10, 2], initializer=ones, partitioner=partitioner)
            self.dense = tf.get_variable("d", [3], initializer=ones)
            self.looked_up = tf.nn.embedding_lookup(self.sparse, self.rows, partition_strategy="div")
            loss += tf.reduce_sum(self.looked_up) + tf.reduce_sum(self.dense * self.dense)
        self.train_op = (optimizer or tf.train.AdagradOptimizer(0.1)).minimize(loss, self.step)
        self.saver = tf.train.Saver(
            sharded=sharded, incremental_save_restore=True, incremental_include_normal_var=include, **options
        )
        self.increments = IncrementalSaver(
            sharded=sharded,
            saver_def=self.saver.saver_def,
            defer_build=True,
            incremental_include_normal_var=include,
            cumulative=cumulative,
        )
        self.increments.build(self.saver._builder.filename_tensor)
        self.session = tf.Session()

    def begin(self) -> Model:
        self.session.run(tf.global_variables_initializer())
        return self

    def train(self, ids: Any, rows: Any = ()) -> None:
        self.session.run(self.train_op, {self.ids: ids, self.rows: rows})

    def full(self, folder: Any, step: int) -> str:
        return self.saver.save(self.session, os.path.join(folder, "model.ckpt"), global_step=step)

    def increment(self, folder: Any, step: int) -> str:
        path = os.path.join(folder, FOLDER, "incremental_model.ckpt")
        return self.increments.incremental_save(self.session, path, global_step=step)

    def values(self, ids: Any) -> dict[str, Any]:
        return {
            "b": self.session.run(self.emb, {self.ids: ids}).tolist(),
            "w": self.session.run(self.looked_up, {self.rows: range(10)}).tolist(),
            "d": self.session.run(self.dense).tolist(),
            "step": int(self.session.run(self.step)),
        }


def tensors(prefix: str) -> dict[str, Any]:
    with BundleReader(prefix) as reader:
        return {name: reader.lookup(name) for name in list(reader.keys())}


def incremental_names(stem: str) -> set[str]:
    """What DeepRec writes of an embedding variable, and what only kvarn does."""
    return {
        stem + suffix
        for suffix in (
            "-incr_partition_offset", "-sparse_incr_keys", "-sparse_incr_values", "-sparse_incr_versions",
            "-sparse_incr_freqs", "-sparse_incr_removed_keys", "-sparse_incr_keys_filtered",
            "-sparse_incr_versions_filtered", "-sparse_incr_freqs_filtered",
        )
    }  # fmt: skip


# -- what is recorded ------------------------------------------------------------------------------


def test_an_increment_has_what_was_touched_since_the_last_full_save(tmp_path) -> None:
    """4.9: the recorder collects after the activation that follows a full save, and a full save clears it."""
    model = Model().begin()
    model.train([1, 2])
    model.full(tmp_path, 1)
    model.train([2, 3])
    found = tensors(model.increment(tmp_path, 2))
    assert found["b-sparse_incr_keys"].tolist() == [2, 3]
    model.full(tmp_path, 3)
    model.train([4])
    assert tensors(model.increment(tmp_path, 4))["b-sparse_incr_keys"].tolist() == [4]


def test_increments_are_cumulative(tmp_path) -> None:
    """4.9: an incremental save does not clear the recorder: the next holds all since the full save again."""
    model = Model().begin()
    model.full(tmp_path, 1)
    for step, key in enumerate((7, 5, 7, 6), 2):
        model.train([key])
        found = tensors(model.increment(tmp_path, step))["b-sparse_incr_keys"].tolist()
        assert found == [[7], [5, 7], [5, 7], [5, 6, 7]][step - 2]


def test_links_of_a_chain_hold_what_the_save_before_did_not(tmp_path) -> None:
    """Beside 4.9: with cumulative=False an increment begins where the one before ended."""
    model = Model(cumulative=False).begin()
    model.full(tmp_path, 1)
    found = []
    for step, key in enumerate((7, 5, 7), 2):
        model.train([key])
        found.append(tensors(model.increment(tmp_path, step))["b-sparse_incr_keys"].tolist())
    assert found == [[7], [5], [7]]


def test_slots_are_recorded_under_their_own_names(tmp_path) -> None:
    """10, 4.9: ids touched since activation are there for every saved variable, slots included."""
    model = Model(optimizer=tf.train.AdamOptimizer(0.1)).begin()
    model.full(tmp_path, 1)
    model.train([4, 6])
    found = tensors(model.increment(tmp_path, 2))
    for stem in ("b", "b/Adam", "b/Adam_1"):
        assert incremental_names(stem) <= found.keys()
        assert found[f"{stem}-sparse_incr_keys"].tolist() == [4, 6]


def test_what_is_touched_between_the_cut_of_a_full_save_and_its_commit_is_not_lost(
    tmp_path, monkeypatch
) -> None:
    """The recorder is the table's: a full save counts from its cut, not from the end of writing it."""
    from kvarn.formats.bundle.writer import BundleWriter as Writer

    model = Model().begin()
    model.train([1])
    finish = Writer.finish

    def slow(self: Any) -> None:
        monkeypatch.setattr(Writer, "finish", finish)
        model.train([9])
        finish(self)

    monkeypatch.setattr(Writer, "finish", slow)
    prefix = model.full(tmp_path, 1)
    assert 9 not in tensors(prefix)["b-keys"]
    assert tensors(model.increment(tmp_path, 2))["b-sparse_incr_keys"].tolist() == [9]


@pytest.mark.parametrize(
    "where", ["kvarn.formats.manifest.write_manifest", "kvarn.formats.meta_graph.write_meta_graph_file"]
)
def test_a_failed_full_save_loses_nothing(tmp_path, monkeypatch, where) -> None:
    """4.9: activation follows the save; one that failed does not begin a new recording."""
    model = Model().begin()
    model.full(tmp_path, 1)
    model.train([2])

    def fail(*args: Any, **kwargs: Any) -> None:
        raise errors.ResourceExhaustedError.of("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(where, fail)
        with pytest.raises(errors.ResourceExhaustedError):
            model.full(tmp_path, 2)
    model.train([3])
    assert tensors(model.increment(tmp_path, 3))["b-sparse_incr_keys"].tolist() == [2, 3]
    assert not (tmp_path / "model.ckpt-2.index").exists()
    with tf.Graph().as_default():
        other = Model()
        other.increments.recover(other.session, tmp_path)
        assert other.values([1, 2, 3]) == model.values([1, 2, 3])


def test_a_failed_increment_loses_nothing(tmp_path, monkeypatch) -> None:
    """Beside 4.9: also where increments begin with the one before."""
    from kvarn.formats import manifest

    model = Model(cumulative=False).begin()
    model.full(tmp_path, 1)
    model.train([2])

    def fail(*args: Any, **kwargs: Any) -> None:
        raise errors.ResourceExhaustedError.of("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(manifest, "write_manifest", fail)
        with pytest.raises(errors.ResourceExhaustedError):
            model.increment(tmp_path, 2)
    model.train([3])
    assert tensors(model.increment(tmp_path, 3))["b-sparse_incr_keys"].tolist() == [2, 3]
    assert not [name for name in os.listdir(tmp_path / FOLDER) if "ckpt-2" in name]


# -- what is written -------------------------------------------------------------------------------


def test_tensors_of_an_embedding_variable(tmp_path) -> None:
    """4.9: names, types and shapes; keys in bucket order, ascending inside a bucket."""
    model = Model().begin()
    model.full(tmp_path, 1)
    model.train([2003, 5, 3, 999, -997])
    found = tensors(model.increment(tmp_path, 2))
    assert {name for name in found if name.startswith("b-")} == incremental_names("b")
    assert found["b-sparse_incr_keys"].dtype == np.int64
    assert found["b-sparse_incr_keys"].tolist() == [-997, 3, 2003, 5, 999]
    assert found["b-sparse_incr_values"].dtype == np.float32
    assert found["b-sparse_incr_values"].shape == (5, 2)
    offset = found["b-incr_partition_offset"]
    assert (offset.dtype, offset.shape) == (np.int32, (1001,))
    assert offset[[3, 4, 5, 6, 999, 1000]].tolist() == [0, 3, 3, 4, 4, 5]
    for suffix in ("versions", "freqs"):
        column = found[f"b-sparse_incr_{suffix}"]
        assert (column.dtype, column.shape) == (np.int64, (5,))


def test_int32_keys(tmp_path) -> None:
    """4.9: the recorder's key type is int64 or int32."""
    model = Model(key_dtype=tf.int32).begin()
    model.full(tmp_path, 1)
    model.train([3, -1])
    found = tensors(model.increment(tmp_path, 2))
    assert found["b-sparse_incr_keys"].dtype == found["b-sparse_incr_removed_keys"].dtype == np.int32
    assert found["b-sparse_incr_keys"].tolist() == [3, -1]


def test_versions_are_zeros_without_steps_to_live(tmp_path) -> None:
    """4.9: versions are all 0 if steps_to_live is 0."""
    model = Model().begin()
    model.full(tmp_path, 1)
    model.train([3])
    model.train([4])
    assert tensors(model.increment(tmp_path, 2))["b-sparse_incr_versions"].tolist() == [0, 0]


def test_versions_with_steps_to_live(tmp_path) -> None:
    """4.9, 3.6: otherwise the step of the last update, as read before it counts."""
    model = Model(evict_option=tf.GlobalStepEvict(steps_to_live=100)).begin()
    model.full(tmp_path, 1)
    model.train([3])
    model.train([4])
    assert tensors(model.increment(tmp_path, 2))["b-sparse_incr_versions"].tolist() == [0, 1]


def test_only_keys_that_the_filter_has_admitted(tmp_path) -> None:
    """4.9: only keys with GetFreq(key) >= filter_freq; kvarn has the others beside them."""
    model = Model(filter_option=tf.CounterFilter(filter_freq=2)).begin()
    model.full(tmp_path, 1)
    model.train([3, 3, 4])
    found = tensors(model.increment(tmp_path, 2))
    assert found["b-sparse_incr_keys"].tolist() == [3]
    assert found["b-sparse_incr_freqs"].tolist() == [2]
    assert found["b-sparse_incr_keys_filtered"].tolist() == [4]
    assert found["b-sparse_incr_freqs_filtered"].tolist() == [1]


def test_parts_are_named_as_parts(tmp_path) -> None:
    """4.9: N of a partition is the slice's full name."""
    model = Model(parts=2, include=True).begin()
    model.full(tmp_path, 1)
    model.train([3, 4], [1, 7])
    found = tensors(model.increment(tmp_path, 2))
    assert incremental_names("b/part_1") | incremental_names("b/part_1/Adagrad") <= found.keys()
    assert found["b/part_0-sparse_incr_keys"].tolist() == [4]
    # Rows are those of the part: 7 is row 2 of the second.
    assert found["w/part_0-sparse_incr_keys"].tolist() == [1]
    assert found["w/part_1-sparse_incr_keys"].tolist() == [2]
    assert found["w/part_1/Adagrad-sparse_incr_keys"].tolist() == [2]


def test_a_sparse_ordinary_variable_has_its_rows_alone(tmp_path) -> None:
    """4.9: keys ascending and values [c, dim]; its slots as well; the dense one is a whole tensor."""
    model = Model(include=True).begin()
    model.full(tmp_path, 1)
    model.train([1], [7, 2, 7])
    found = tensors(model.increment(tmp_path, 2))
    assert found["w-sparse_incr_keys"].tolist() == [2, 7]
    assert found["w-sparse_incr_values"].shape == (2, 2)
    assert found["w/Adagrad-sparse_incr_keys"].tolist() == [2, 7]
    # g = 1 and 2: 1 - 0.1 g / sqrt(0.1 + g²).
    np.testing.assert_allclose(
        found["w-sparse_incr_values"][:, 0], [1 - 0.1 / np.sqrt(1.1), 1 - 0.2 / np.sqrt(4.1)], rtol=1e-6
    )
    assert "w" not in found
    assert found["d"].shape == (3,)
    assert "d-sparse_incr_keys" not in found
    assert int(found["global_step"]) == 1


@pytest.mark.parametrize("cumulative", [True, False])
@pytest.mark.parametrize(
    "how",
    [
        "load",
        "initializer",
        "later update",
        "later assignment",
        "restore op",
        "later restore op",
        "increment",
    ],
)
def test_rows_changed_other_than_by_recorded_updates_are_not_lost(tmp_path, how, cumulative) -> None:
    """Beside 4.9: a sparse variable that is loaded, initialized again, restored by an operation of a Saver, or
    changed by an operation made after the Savers has all its rows in the next increment."""
    model = Model(include=True, cumulative=cumulative).begin()
    before = model.full(tmp_path / "before", 0)
    model.train([1], [1])
    first = model.full(tmp_path, 1)
    model.train([2], [2])
    session, w = model.session, model.sparse
    if how in ("restore op", "later restore op"):
        names = (model.saver if how == "restore op" else tf.train.Saver()).saver_def
        session.run(names.restore_op_name, {names.filename_tensor_name: before})
    elif how == "increment":
        increment = model.increment(tmp_path / "before", 1)
        model.train([1], [1])
        model.full(tmp_path, 2)
        model.increments.incremental_restore(session, first, increment)
    elif how == "load":
        w.load(np.full((10, 2), 7.0, np.float32), session)
    elif how == "initializer":
        session.run(w.initializer)
    elif how == "later update":
        session.run(tf.scatter_update(w, [8], [[5.0, 5.0]]))
    else:
        session.run(tf.assign(w, w * 3.0))
    model.train([3], [3])
    model.increment(tmp_path, 3)
    model.train([3], [4])
    model.increment(tmp_path, 4)
    with tf.Graph().as_default():
        other = Model(include=True, cumulative=cumulative)
        other.increments.recover(other.session, tmp_path)
        assert other.values([1, 2, 3]) == model.values([1, 2, 3])


def test_a_saver_made_later_leaves_increments_their_single_rows(tmp_path) -> None:
    """Beside 4.9: its restore operations are recorded, so that nothing has to be taken for changed."""
    model = Model(include=True).begin()
    tf.train.Saver()
    model.full(tmp_path, 1)
    model.train([1], [7])
    assert tensors(model.increment(tmp_path, 2))["w-sparse_incr_keys"].tolist() == [7]


def test_without_the_option_ordinary_variables_are_whole(tmp_path) -> None:
    """4.9: incremental_include_normal_var decides about sparse ordinary variables; nothing is ever left out."""
    model = Model().begin()
    model.full(tmp_path, 1)
    model.train([1], [7])
    found = tensors(model.increment(tmp_path, 2))
    assert found["w"].shape == (10, 2)
    assert found["w/Adagrad"].shape == (10, 2)


def test_slices_of_a_whole_variable_stay_slices(tmp_path) -> None:
    """4.9: everything else is written whole, slice-aware like SaveV2."""
    model = Model(parts=2).begin()
    model.full(tmp_path, 1)
    found = []
    for prefix in (tmp_path / "model.ckpt-1", model.increment(tmp_path, 2)):
        with BundleReader(str(prefix)) as reader:
            found.append([str(s) for s in reader.info("w").slices])
    assert found == [["0,5:0,2", "5,5:0,2"]] * 2


def test_a_missing_recorder_is_a_warning_and_nothing_is_written(tmp_path, caplog) -> None:
    """4.9: of the op IncrSave.  (An IncrementalSaver refuses, so that nothing is lost.)"""
    v = tf.get_variable("v", [4, 2], initializer=tf.ones_initializer())
    b = tf.get_embedding_variable("b", 2)
    prefix = str(tmp_path / "x")
    save = incremental.incr_save(prefix, ["v", "b"], [], [True, True], [v, b._handle])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(save)
    assert tensors(prefix) == {}
    assert "v_sparse_incr Resource NOT FOUND" in caplog.text
    assert "b_sparse_incr Resource NOT FOUND" in caplog.text


def test_an_increment_without_a_full_save_is_refused(tmp_path) -> None:
    """Safer than 4.9: DeepRec writes an empty increment, and what was trained before is lost with it."""
    model = Model().begin()
    model.train([1])
    with pytest.raises(errors.FailedPreconditionError, match="no full save in this session"):
        model.increment(tmp_path, 2)
    assert not (tmp_path / FOLDER).exists()


def test_an_increment_does_not_evict(tmp_path) -> None:
    """3.8: incremental saves do not evict; a full save does, and the increment after it has the deletion."""
    model = Model(evict_option=tf.GlobalStepEvict(steps_to_live=1)).begin()
    model.train([5])
    model.full(tmp_path, 1)
    for _ in range(3):
        model.train([6])
    found = tensors(model.increment(tmp_path, 2))
    assert found["b-sparse_incr_keys"].tolist() == [6]
    assert found["b-sparse_incr_removed_keys"].tolist() == []
    assert tensors(model.full(tmp_path, 3))["b-keys"].tolist() == [6]


# -- files -----------------------------------------------------------------------------------------


def test_files_and_their_own_state_file(tmp_path) -> None:
    """4.9: <dir>/.incremental_checkpoint/incremental_model.ckpt-<step>, with a state file there."""
    model = Model().begin()
    model.full(tmp_path, 1)
    prefix = model.increment(tmp_path, 12)
    assert prefix == str(tmp_path / FOLDER / "incremental_model.ckpt-12")
    assert sorted(os.listdir(tmp_path / FOLDER)) == [
        "checkpoint",
        "incremental_model.ckpt-12.data-00000-of-00001",
        "incremental_model.ckpt-12.index",
        "incremental_model.ckpt-12.kvarn_manifest",
    ]
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-1")
    assert tf.train.latest_checkpoint(str(tmp_path / FOLDER)) == prefix
    assert model.increments.last_incr_checkpoints == [prefix]
    assert model.saver.last_checkpoints == [str(tmp_path / "model.ckpt-1")]


def test_increments_have_their_own_max_to_keep(tmp_path) -> None:
    """4.9: the oldest increments go, with their manifests; the full saves stay."""
    model = Model().begin()
    model.full(tmp_path, 1)
    for step in range(2, 9):
        model.increment(tmp_path, step)
    left = {name.partition(".ckpt-")[2].partition(".")[0] for name in os.listdir(tmp_path / FOLDER)} - {""}
    assert left == {"4", "5", "6", "7", "8"}
    assert (tmp_path / "model.ckpt-1.kvarn_manifest").exists()


def test_links_of_a_chain_stay_until_the_next_full_save(tmp_path) -> None:
    """Beside 4.9: without cumulative increments every one of them is needed."""
    model = Model(cumulative=False).begin()
    model.full(tmp_path, 1)
    for step in range(2, 10):
        model.increment(tmp_path, step)
    indexes = [name for name in os.listdir(tmp_path / FOLDER) if name.endswith(".index")]
    assert len(indexes) == 8
    model.full(tmp_path, 10)
    for step in range(11, 18):
        model.increment(tmp_path, step)
    steps = {int(n.partition("-")[2][:-6]) for n in os.listdir(tmp_path / FOLDER) if n.endswith(".index")}
    assert steps == set(range(11, 18))


def test_a_sharded_saver(tmp_path) -> None:
    """4.9: IncrementalSaver(sharded=True), which hooks make."""
    model = Model(sharded=True, parts=2).begin()
    model.full(tmp_path, 1)
    model.train([1, 2])
    found = tensors(model.increment(tmp_path, 2))
    assert found["b/part_0-sparse_incr_keys"].tolist() == [2]
    assert not [name for name in os.listdir(tmp_path / FOLDER) if "_temp_" in name]


def test_the_saver_that_hooks_make(tmp_path) -> None:
    """4.9: _get_incremental_saver gives None, or a built sharded one beside the full Saver."""
    model = Model().begin()
    assert _get_incremental_saver(False, model.saver) is None
    made = _get_incremental_saver(True, model.saver)
    model.full(tmp_path, 1)
    model.train([3])
    prefix = made.incremental_save(model.session, str(tmp_path / "i/x"), global_step=model.step)
    assert prefix.endswith("x-1")
    assert tensors(prefix)["b-sparse_incr_keys"].tolist() == [3]


def test_the_meta_graph_has_the_saver_of_increments(tmp_path) -> None:
    """4.9: MetaGraph gains incr_saver_def; an imported graph saves and restores increments by it."""
    model = Model().begin()
    message = model.increments.export_meta_graph(str(tmp_path / "g.meta"))
    assert message.incr_saver_def == model.increments.incr_saver_def
    assert message.incr_saver_def.restore_op_name == "incr_save/restore_all"
    with tf.Graph().as_default():
        saver = tf.train.import_meta_graph(str(tmp_path / "g.meta"))
        again = IncrementalSaver(
            saver_def=saver.saver_def, defer_build=True, incr_saver_def=message.incr_saver_def
        )
        again.build()
        with tf.Session() as session:
            session.run(tf.get_default_graph().get_operation_by_name("init"))
            saver.save(session, str(tmp_path / "model.ckpt"), global_step=1)
            prefix = again.incremental_save(session, str(tmp_path / "x"), global_step=2)
    assert incremental_names("b") <= tensors(prefix).keys()


# -- restoring -------------------------------------------------------------------------------------

IDS = [1, 2, 3, 4, 5, 1003]


@pytest.mark.parametrize("parts", [None, 2, 3])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("cumulative", [True, False])
def test_recovery_is_the_full_save_and_then_the_increments(tmp_path, parts, include, cumulative) -> None:
    """4.9: newest full save, then the newest increment (all of them if they are links), in any parts."""
    model = Model(parts=2, include=include, cumulative=cumulative, sharded=True).begin()
    model.train([1, 2], [1, 8])
    model.full(tmp_path, 1)
    model.train([2, 3], [2])
    model.increment(tmp_path, 2)
    model.train([1003, 5], [9, 1])
    model.increment(tmp_path, 3)
    wanted = model.values(IDS)
    same_cuts = parts if parts == 2 else None
    with tf.Graph().as_default():
        # Ordinary variables keep their parts where single rows are saved of them.
        other = Model(
            parts=2 if include else parts, include=include, cumulative=cumulative, sharded=bool(same_cuts)
        )
        other.increments.recover(other.session, tmp_path)
        assert other.values(IDS) == wanted


def test_an_increment_merges_over_the_full_save(tmp_path, monkeypatch) -> None:
    """4.9, 4.5: rows of the increment replace, all other keys stay, freqs are those of the file."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    model = Model(filter_option=tf.CounterFilter(filter_freq=2)).begin()
    model.train([1, 1, 2, 2])
    full = model.full(tmp_path, 1)
    model.train([2, 3])
    model.train([3])
    increment = model.increment(tmp_path, 2)
    with tf.Graph().as_default():
        other = Model(filter_option=tf.CounterFilter(filter_freq=2))
        other.saver.restore(other.session, full)
        other.increments.incremental_restore(other.session, full, increment)
        ids = tf.constant([1, 2, 3, 4], tf.int64)
        assert other.session.run(other.ev.get_frequency(ids)).tolist() == [2, 3, 2, 0]
        assert other.values([1, 2, 3]) == model.values([1, 2, 3])


def test_an_unadmitted_key_of_the_full_save_is_promoted(tmp_path) -> None:
    """4.5: DeepRec loses the values of a key that was a counter record before; kvarn promotes it."""
    model = Model(filter_option=tf.CounterFilter(filter_freq=3)).begin()
    model.train([7])
    full = model.full(tmp_path, 1)
    model.train([7, 7])
    increment = model.increment(tmp_path, 2)
    assert tensors(increment)["b-sparse_incr_keys"].tolist() == [7]
    with tf.Graph().as_default():
        other = Model(filter_option=tf.CounterFilter(filter_freq=3))
        other.saver.restore(other.session, full)
        assert other.values([7])["b"] == [[0, 0]]
        other.increments.incremental_restore(other.session, full, increment)
        assert other.values([7])["b"] == model.values([7])["b"]
        assert other.values([7])["b"] != [[0, 0]]


def test_deleted_keys_are_deleted_and_may_come_back(tmp_path) -> None:
    """Beside 4.9: DeepRec's increments cannot delete; kvarn's have the keys that left, and re-inserted ones."""
    model = Model().begin()
    model.train([1, 2, 3])
    full = model.full(tmp_path, 1)
    (resource,) = {id(r.shared): r for r in model.session.resources.all_of("EmbeddingVar")}.values()
    resource.table.remove(np.array([1, 2]))
    model.train([2])
    increment = model.increment(tmp_path, 2)
    found = tensors(increment)
    assert found["b-sparse_incr_removed_keys"].tolist() == [1]
    assert found["b-sparse_incr_keys"].tolist() == [2]
    with tf.Graph().as_default():
        other = Model()
        other.saver.restore(other.session, full)
        other.increments.incremental_restore(other.session, full, increment)
        keys = other.session.run(other.ev.export()).keys
        assert sorted(keys) == [2, 3]
        assert other.values([2, 3]) == model.values([2, 3])


def test_a_sparse_restore_puts_rows_into_the_value_of_the_full_save(tmp_path) -> None:
    """4.9: IncrRestore takes a value and overwrites the rows that are listed; rows beyond it are skipped."""
    with BundleWriter(str(tmp_path / "x")) as writer:
        writer.add("v-sparse_incr_keys", np.array([1, 9], np.int64))
        writer.add("v-sparse_incr_values", np.array([[5, 6], [7, 8]], np.float32))
    out = incremental.incr_restore(str(tmp_path / "x"), ["v"], [], [True], [tf.zeros([3, 2])])
    with tf.Session() as session:
        assert np.asarray(session.run(out)).reshape(3, 2).tolist() == [[0, 0], [5, 6], [0, 0]]


def test_a_dense_restore_is_plain(tmp_path) -> None:
    """4.9: without is_sparse the op reads whole tensors."""
    with BundleWriter(str(tmp_path / "x")) as writer:
        writer.add("v", np.array([1, 2], np.float32))
    out = incremental.incr_restore(str(tmp_path / "x"), ["v"], [""], [False], [tf.zeros([2])])
    with tf.Session() as session:
        assert np.ravel(session.run(out)).tolist() == [1, 2]


def test_recover_incr_checkpoints_applies_the_newest_increment_if_it_is_newer(tmp_path) -> None:
    """4.9: looks in <dir>/.incremental_checkpoint; nothing is applied whose step is not greater."""
    model = Model().begin()
    model.train([1])
    model.full(tmp_path, 1)
    model.train([2])
    model.increment(tmp_path, 2)
    wanted = model.values(IDS)

    def recovered() -> Model:
        other = Model()
        other.saver.restore(other.session, tf.train.latest_checkpoint(str(tmp_path)))
        other.increments.recover_incr_checkpoints(other.session, str(tmp_path))
        return other

    with tf.Graph().as_default():
        other = recovered()
        assert other.values(IDS) == wanted
        assert other.increments.last_incr_checkpoints == [str(tmp_path / FOLDER / "incremental_model.ckpt-2")]
    model.train([3])
    model.full(tmp_path, 3)
    with tf.Graph().as_default():
        assert recovered().values(IDS) == model.values(IDS)


def test_recover_incr_checkpoints_takes_increments_of_deeprec(tmp_path) -> None:
    """4.9: they have no manifests, and no tensors of kvarn's own."""
    model = Model().begin()
    model.train([1])
    model.full(tmp_path, 1)
    model.train([2])
    prefix = model.increment(tmp_path, 2)
    wanted = model.values(IDS)
    found = tensors(prefix)
    with BundleWriter(prefix) as writer:
        for name, value in found.items():
            if not name.endswith(("_removed_keys", "_filtered")):
                writer.add(name, value)
    assert not os.path.exists(prefix + ".kvarn_manifest")  # it told of the index that was replaced
    with tf.Graph().as_default():
        other = Model()
        other.saver.restore(other.session, str(tmp_path / "model.ckpt-1"))
        other.increments.recover_incr_checkpoints(other.session, str(tmp_path))
        assert other.values(IDS) == wanted


def test_increments_go_on_after_a_recovery(tmp_path) -> None:
    """Beside 4.9: a recovered session is in the chain: its increments follow the same full save."""
    model = Model().begin()
    model.train([1])
    model.full(tmp_path, 1)
    model.train([2])
    model.increment(tmp_path, 2)
    with tf.Graph().as_default():
        other = Model()
        other.increments.recover(other.session, tmp_path)
        other.train([3])
        found = tensors(other.increment(tmp_path, 3))
        assert found["b-sparse_incr_keys"].tolist() == [2, 3]
        wanted = other.values(IDS)
    with tf.Graph().as_default():
        third = Model()
        third.increments.recover(third.session, tmp_path)
        assert third.values(IDS) == wanted


def test_a_session_that_has_keys_is_not_recovered(tmp_path) -> None:
    """Beside 4.9: a restore keeps the keys that are there; the increments after it would miss them."""
    model = Model().begin()
    model.train([1])
    model.full(tmp_path, 1)
    model.train([2])
    model.increment(tmp_path, 2)
    with tf.Graph().as_default():
        other = Model().begin()
        other.train([3])
        before = other.values(IDS)
        with pytest.raises(
            errors.FailedPreconditionError, match=r"recover: embedding variable 'b'.* keys already"
        ):
            other.increments.recover(other.session, tmp_path)
        assert other.values(IDS) == before


def test_damage_is_found_before_anything_is_changed(tmp_path) -> None:
    """Better than 4.9: an increment is read as a whole first."""
    model = Model().begin()
    model.train([1])
    full = model.full(tmp_path, 1)
    model.train([1, 2])
    increment = model.increment(tmp_path, 2)
    data = increment + ".data-00000-of-00001"
    with open(data, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    with tf.Graph().as_default():
        other = Model()
        other.saver.restore(other.session, full)
        before = other.values(IDS)
        with pytest.raises(errors.DataLossError):
            other.increments.incremental_restore(other.session, full, increment)
        assert other.values(IDS) == before


# -- the ops alone ---------------------------------------------------------------------------------


def test_the_ops_are_deeprecs() -> None:
    """2.1, 2.3: names, inputs, outputs and attributes."""
    ours = [function.op_type for function in vars(incremental).values() if isinstance(function, OpFunction)]
    found = {
        op.name: ([a.name for a in op.inputs], [a.name for a in op.outputs], [a.name for a in op.attrs])
        for op in registry.global_registry.get_registered_ops()
        if op.name in ours
    }
    four = ["prefix", "tensor_names", "shape_and_slices", "is_sparse"]
    assert found == {
        "IncrSave": ([*four, "tensors"], [], ["dtypes"]),
        "IncrRestore": ([*four, "in_tensors"], ["out_tensors"], ["dtypes"]),
        "RecordSparseIndices": (["keys"], [], ["var_name", "TIndex", "auto_record"]),
        "ActivateSparseRecorder": (["tensor_names"], [], []),
        "CollectSparseIndices": (
            [],
            ["indices", "global_indices"],
            ["tensor_name", "config", "part_idx", "part_count", "hash_bucket_size", "part_mode", "ktype"],
        ),
        "KvResourceIncrImport": (
            ["prefix", "resource_handle", "tensor_names", "empty_key", "value"],
            [],
            ["Tkeys", "dtype", "partition_id", "partition_num"],
        ),
    }


def collected(updates: list[list[int]], **attrs: Any) -> tuple[list[int], list[int]]:
    ids = tf.placeholder(tf.int64, [None])
    record = incremental.record_sparse_indices(ids, var_name="v", auto_record=True)
    collect = incremental.collect_sparse_indices(tensor_name="v", ktype=tf.int64, **attrs)
    with tf.Session() as session:
        for update in updates:
            session.run(record, {ids: update})
        first, second = session.run(collect)
        again = session.run(collect)[0]
    assert again.tolist() == []
    return first.tolist(), second.tolist()


def test_collecting_takes_the_recorder_out() -> None:
    """4.9: CollectSparseIndices swaps out the recorder: what was collected is gone."""
    assert collected([[3, 1], [3]]) == ([1, 3], [1, 3])


def test_what_was_collected_is_in_the_next_increment_all_the_same(tmp_path) -> None:
    """Beside 4.9: rows that were delivered from a running session are not missing from its checkpoints."""
    model = Model(include=True)
    collect = incremental.collect_sparse_indices(tensor_name="w", ktype=tf.int64)
    model.begin()
    model.full(tmp_path, 1)
    for rows in ([2], [3, 2], [5]):
        model.train([1], rows)
        assert model.session.run(collect)[0].tolist() == sorted(rows)
    assert tensors(model.increment(tmp_path, 2))["w-sparse_incr_keys"].tolist() == [2, 3, 5]


def test_collecting_what_was_updated_often_enough() -> None:
    """4.9: config update_count_thd=<n> keeps ids that were updated n times."""
    assert collected([[3, 1], [3], [2, 2]], config="update_count_thd=2") == ([2, 3], [2, 3])


def test_collected_rows_of_parts_by_mod() -> None:
    """4.9: part_mode mod: global = local * count + idx."""
    attrs = {"part_idx": 2, "part_count": 3, "hash_bucket_size": 10, "part_mode": "mod"}
    assert collected([[0, 2]], **attrs) == ([0, 2], [2, 8])


@pytest.mark.parametrize(("part", "start"), [(0, 0), (1, 4), (2, 7)])
def test_collected_rows_of_parts_by_div(part, start) -> None:
    """4.9: otherwise stretches, the first size % count of them one longer: of 10 rows 4, 3, 3."""
    attrs = {"part_idx": part, "part_count": 3, "hash_bucket_size": 10, "part_mode": "div"}
    assert collected([[0, 2]], **attrs) == ([0, 2], [start, start + 2])


def test_nothing_is_recorded_before_activation() -> None:
    """4.9: it collects only after activation, and activation clears."""
    ids = tf.placeholder(tf.int64, [None])
    record = incremental.record_sparse_indices(ids, var_name="v")
    activate = incremental.activate_sparse_recorder(["v"])
    collect = incremental.collect_sparse_indices(tensor_name="v", ktype=tf.int64)
    with tf.Session() as session:
        session.run(record, {ids: [1]})
        assert session.run(collect)[0].tolist() == []
        session.run(activate)
        session.run(record, {ids: [2]})
        assert session.run(collect)[0].tolist() == [2]


def test_a_recorder_that_is_not_there_collects_nothing(caplog) -> None:
    """4.9: a warning, and empty vectors."""
    collect = incremental.collect_sparse_indices(tensor_name="v", ktype=tf.int32)
    with tf.Session() as session:
        first, second = session.run(collect)
    assert (first.dtype, first.tolist(), second.tolist()) == (np.int32, [], [])
    assert "v Resource NOT FOUND" in caplog.text


def test_the_program_of_deeprecs_own_test(tmp_path) -> None:
    """4.9: record, activate, IncrSave and KvResourceIncrImport run by hand, without Savers."""
    var = tf.get_embedding_variable("e", 3, initializer=tf.ones_initializer())
    ids = tf.constant([0, 1, 2], tf.int64)
    emb = tf.nn.embedding_lookup(var, ids)
    train = tf.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(emb))
    record = incremental.record_sparse_indices(ids, var_name="e")
    activate = incremental.activate_sparse_recorder(["e"])
    prefix = str(tmp_path / "i")
    save = incremental.incr_save(prefix, ["e"], [], [True], [var._handle])
    load = incremental.kv_resource_incr_import(
        prefix, var._handle, "e", tf.constant(2**63 - 1, tf.int64), var._initial_value
    )
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run([record, activate])
        session.run([train, record])
        session.run(save)
    assert tensors(prefix)["e-sparse_incr_values"].tolist() == [[0, 0, 0]] * 3
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(load)
        assert session.run(emb).tolist() == [[0, 0, 0]] * 3
