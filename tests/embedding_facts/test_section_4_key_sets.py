"""Key sets that differ between a variable and its slots: found before a row is written, named, and settled by a rule.

Where section 4.5 leaves what it finds: DeepRec restores each for itself.
"""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleWriter

OF_B, OF_SLOT = [1, 2, 3, 1004], [2, 3, 7, 1004]


@pytest.fixture(autouse=True, params=["reference", "native"])
def engine(request, monkeypatch):
    monkeypatch.setenv("KVARN_ENGINE", request.param)
    with tf.Graph().as_default():
        yield request.param


def write(prefix, **keys_of):
    """Rows of 10 * key, in slots of key."""
    with BundleWriter(str(prefix)) as writer:
        for name, keys in keys_of.items():
            order, _ = embedding.bucket_order(np.array(keys, np.int64))
            keys = np.array(keys, np.int64)[order]
            scale = 1.0 if "Adagrad" in name or "Adam" in name else 10.0
            values = np.repeat(keys[:, None] * scale, 2, axis=1).astype(np.float32)
            embedding.write_embedding(writer, name.replace("__", "/"), keys, values, dim=2)
    return str(prefix)


class Model:
    """A variable that starts from 5 and its slot of Adagrad, which starts from 0.1."""

    def __init__(self, parts=0, optimizer=None, **saver):
        self.optimizer = optimizer or tf.train.AdagradOptimizer(0.1)
        partitioner = tf.fixed_size_partitioner(parts) if parts else None
        self.b = tf.get_embedding_variable(
            "b", 2, initializer=tf.constant_initializer(5.0), partitioner=partitioner
        )
        rows = tf.nn.embedding_lookup(self.b, tf.constant([1], tf.int64))
        self.optimizer.minimize(tf.reduce_sum(rows), var_list=[self.b])
        self.evs = [v for v in tf.global_variables() if type(v).__name__ == "EmbeddingVariable"]
        self.saver = tf.train.Saver(self.evs, **saver)

    def restored(self, prefix, saver=None):
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            error = None
            try:
                (saver or self.saver).restore(session, prefix)
            except errors.DataLossError as e:
                error = e
            found = {}
            for var in self.evs:
                keys, values, _, _ = session.run(var.export())
                found[var.op.name] = dict(zip(keys.tolist(), values[:, 0].tolist(), strict=True))
            return found, error


@pytest.fixture
def torn(tmp_path):
    return write(tmp_path / "m", b=OF_B, b__Adagrad=OF_SLOT)


def test_refused_by_default_and_nothing_is_changed(torn):
    """The error names the variable and its slot, how many keys differ, and some of them."""
    found, error = Model().restored(torn)
    assert found == {"b": {}, "b/Adagrad": {}}
    assert "'b' and its slots have different keys" in str(error)
    assert "1 key (1) of 'b' not in 'b/Adagrad'" in str(error)
    assert "1 key (7) of 'b/Adagrad' not in 'b'" in str(error)
    assert "KVARN_EV_KEY_MISMATCH" in error.hint
    assert (error.name, error.path) == ("b", torn)


def test_some_of_many_keys_are_named(tmp_path):
    """Five of them, in order, and how many there are."""
    _, error = Model().restored(write(tmp_path / "m", b=range(100), b__Adagrad=range(0, 100, 2)))
    assert "50 keys (1, 3, 5, 7, 9, …) of 'b' not in 'b/Adagrad'" in str(error)


RESULTS = {
    # The keys of the variable count; a row that the slot lacks starts from its initial values.
    "primary": ({1: 10, 2: 20, 3: 30, 1004: 10040}, {1: 0.1, 2: 2, 3: 3, 1004: 1004}),
    "intersection": ({2: 20, 3: 30, 1004: 10040}, {2: 2, 3: 3, 1004: 1004}),
    "union": ({1: 10, 2: 20, 3: 30, 7: 5, 1004: 10040}, {1: 0.1, 2: 2, 3: 3, 7: 7, 1004: 1004}),
}


def check(found, rule):
    for name, expected in zip(("b", "b/Adagrad"), RESULTS[rule], strict=True):
        assert found[name] == {key: np.float32(value) for key, value in expected.items()}


@pytest.mark.parametrize("rule", RESULTS)
@pytest.mark.parametrize("how", ["environment", "argument", "graph"])
def test_rules(torn, monkeypatch, rule, how):
    """From the environment, a Saver's argument, or a graph that such a Saver was exported with."""
    if how == "environment":
        monkeypatch.setenv("KVARN_EV_KEY_MISMATCH", rule)
        found, error = Model().restored(torn)
    elif how == "argument":
        # What a program says counts more than the environment.
        monkeypatch.setenv("KVARN_EV_KEY_MISMATCH", "refuse")
        found, error = Model(ev_key_mismatch=rule).restored(torn)
    else:
        exported = Model(ev_key_mismatch=rule).saver.export_meta_graph()
        with tf.Graph().as_default():
            saver = tf.train.import_meta_graph(exported)
            model = Model.__new__(Model)
            model.evs = tf.get_collection(tf.GraphKeys.EMBEDDING_VARIABLES)
            if not model.evs:
                model.evs = [v for v in tf.global_variables() if type(v).__name__ == "EmbeddingVariable"]
            found, error = model.restored(torn, saver)
    assert error is None
    check(found, rule)


@pytest.mark.parametrize("rule", RESULTS)
def test_rules_with_parts(tmp_path, monkeypatch, rule):
    """Parts are compared together, and restored into others."""
    monkeypatch.setenv("KVARN_EV_KEY_MISMATCH", rule)
    parts = {
        f"b__part_{i}{slot}": [k for k in keys if k % 1000 % 3 == i]
        for i in range(3)
        for slot, keys in (("", OF_B), ("__Adagrad", OF_SLOT))
    }
    found, error = Model(parts=2).restored(write(tmp_path / "m", **parts))
    assert error is None
    joined = {
        name: found["b/part_0" + name[1:]] | found["b/part_1" + name[1:]] for name in ("b", "b/Adagrad")
    }
    check(joined, rule)


def test_an_intersection_is_of_all_slots(tmp_path, monkeypatch):
    """A key that one slot lacks leaves the variable and the slots that have it."""
    monkeypatch.setenv("KVARN_EV_KEY_MISMATCH", "intersection")
    prefix = write(tmp_path / "m", b=[1, 2, 3], b__Adam=[1, 2, 3], b__Adam_1=[2, 3, 4])
    found, error = Model(optimizer=tf.train.AdamOptimizer()).restored(prefix)
    assert error is None
    assert found == {"b": {2: 20, 3: 30}, "b/Adam": {2: 2, 3: 3}, "b/Adam_1": {2: 2, 3: 3}}


def test_the_same_keys_in_another_order_are_no_difference(tmp_path):
    """Inside a bucket the order means nothing; each row goes to its key."""
    prefix = write(tmp_path / "m", b=[1, 1001, 2001], b__Adagrad=[2001, 1, 1001])
    found, error = Model().restored(prefix)
    assert error is None
    assert found == {"b": {1: 10, 1001: 10010, 2001: 20010}, "b/Adagrad": {1: 1, 1001: 1001, 2001: 2001}}


def test_an_operation_that_runs_without_a_saver_refuses_too(torn):
    """The importing op of a slot compares its keys with those of its variable in the file."""
    model = Model()
    imports = [op for op in tf.get_default_graph().get_operations() if op.type == "KvResourceImportV2"]
    slot = next(op for op in imports if op.attrs["slot_index"] == 1)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with pytest.raises(errors.DataLossError, match="1 key \\(7\\)"):
            session.run(slot, {model.saver.saver_def.filename_tensor_name: torn})


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_a_rule_that_does_not_exist(torn, monkeypatch, how):
    """It is named, with those that do."""
    arguments = {"ev_key_mismatch": "largest"} if how == "argument" else {}
    if how == "environment":
        monkeypatch.setenv("KVARN_EV_KEY_MISMATCH", "largest")
    with pytest.raises(errors.InvalidArgumentError, match="'largest'; it can be 'refuse', 'primary'"):
        Model(**arguments).restored(torn)
