"""What options ask for reaches the table, by whatever way the graph comes; what cannot go together is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.engine.policies import CounterAdmission, EvictionPolicy, SeededRows
from kvarn.ops.kv_resource import KIND


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def option(**arguments: Any) -> Any:
    return tf.EmbeddingVariableOption(**arguments)


def variable(name: str = "b", dim: int = 2, **arguments: Any) -> Any:
    arguments.setdefault("initializer", tf.constant_initializer(0.5))
    return tf.get_embedding_variable(name, dim, **arguments)


def keys(*ids: int) -> Any:
    return tf.constant(np.array(ids, np.int64))


def train(b: Any, ids: Any, optimizer: Any = None) -> Any:
    optimizer = tf.train.AdagradOptimizer(0.1) if optimizer is None else optimizer
    step = tf.train.get_or_create_global_step()
    return optimizer.minimize(tf.reduce_sum(tf.nn.embedding_lookup(b, ids)), global_step=step)


def resources(session: Any) -> dict[str, Any]:
    return {r.name: r for r in session.resources.all_of(KIND)}


COMBINED = {"steps_to_live": 9, "l2_weight_threshold": 0.5, "min_frequency": 3, "require": "all"}


def test_everything_reaches_the_table() -> None:
    init = tf.InitializerOption(default_value_no_permission=0.25)
    b = variable(
        ev_option=option(
            filter_option=tf.CounterFilter(4),
            evict_option=tf.CombinedEvict(**COMBINED, min_keys=1, max_keys=7),
            init_option=init,
        )
    )
    train(b, keys(1))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = resources(session)
        assert found.keys() == {"b", "b/Adagrad"}
        table = found["b"].table
        assert table is found["b/Adagrad"].table
        assert table.admission == CounterAdmission(4)
        assert table.no_permission == 0.25
        assert (table.record_freq, table.record_version) == (True, True)
        for resource in found.values():
            assert resource.eviction == EvictionPolicy(9, 0.5, 3, "all", 1, 7)


@pytest.mark.parametrize(
    ("evict", "freq", "version"),
    [
        (tf.GlobalStepEvict(5), False, True),
        (tf.L2WeightEvict(0.5), False, False),
        (tf.CombinedEvict(l2_weight_threshold=0.5), False, False),
        (tf.CombinedEvict(steps_to_live=5), False, True),
        (tf.CombinedEvict(min_frequency=5), True, False),
        (tf.CombinedEvict(max_keys=5), True, True),
        (tf.CombinedEvict(l2_weight_threshold=0.5, min_keys=5), True, True),
    ],
)
def test_an_eviction_has_recorded_what_it_goes_by(evict: Any, freq: bool, version: bool) -> None:
    b = variable(ev_option=option(evict_option=evict))
    with tf.Session() as session:
        session.run(b.initializer)
        table = resources(session)["b"].table
        assert (table.record_freq, table.record_version) == (freq, version)


@pytest.mark.parametrize("how", ["meta_graph", "graph_def"])
def test_policies_survive_the_graph_as_a_file(how: str, tmp_path: Any) -> None:
    """And a file says nothing that other readers of graphs would refuse: own attributes begin with "_"."""
    seeded = tf.InitializerOption(tf.random_uniform_initializer(-0.1, 0.1), row_seed=-5)
    b = variable(
        ev_option=option(
            filter_option=tf.CBFFilter(4, 100, 0.01),
            evict_option=tf.CombinedEvict(**COMBINED, max_keys=7),
            init_option=seeded,
        )
    )
    train_op = train(b, keys(3, 3, 3, 3))
    init = tf.global_variables_initializer()
    rows = tf.nn.embedding_lookup(b, keys(3))

    def learnt(init: Any, train_op: Any, rows: Any) -> Any:
        with tf.Session() as session:
            session.run(init)
            session.run(train_op)
            found = resources(session)
            policies = {name: (r.eviction, r.shared.options, r.seeded) for name, r in found.items()}
            return session.run(rows).tolist(), policies

    before = learnt(init, train_op, rows)
    assert before[1]["b"][0] == EvictionPolicy(9, 0.5, 3, "all", 0, 7)
    assert before[1]["b"][2].seed == -5
    names = (init.name, train_op.name, rows.name)
    if how == "meta_graph":
        tf.train.export_meta_graph(str(tmp_path / "m.meta"))
        with tf.Graph().as_default() as g:
            tf.train.import_meta_graph(str(tmp_path / "m.meta"))
            again = next(v for v in tf.global_variables() if v.op.name == "b")
            assert again.need_counts()
            assert learnt(*map(g.as_graph_element, names)) == before
    else:
        definition = tf.get_default_graph().as_graph_def()
        with tf.Graph().as_default() as g:
            tf.import_graph_def(definition, name="")
            assert learnt(*map(g.as_graph_element, names)) == before


def test_a_variable_of_an_imported_graph_gets_slots_that_inherit(tmp_path: Any) -> None:
    init = tf.InitializerOption(default_value_no_permission=2.0)
    evict = tf.CombinedEvict(**COMBINED)
    variable(ev_option=option(evict_option=evict, filter_option=tf.CounterFilter(2), init_option=init))
    tf.train.export_meta_graph(str(tmp_path / "m.meta"))
    with tf.Graph().as_default():
        tf.train.import_meta_graph(str(tmp_path / "m.meta"))
        (b,) = tf.global_variables()
        train(b, keys(1))
        with tf.Session() as session:
            slot = next(v for v in tf.global_variables() if v.op.name == "b/Adagrad")
            # The slot alone makes the table: with the policies of the primary.
            initializing = [slot._restore_op(tf.constant("nowhere"), "b/Adagrad")]
            with pytest.raises(errors.OpError):
                session.run(initializing)
            session.run(tf.global_variables_initializer())
            found = resources(session)["b"]
            assert found.table.no_permission == 2.0
            assert found.eviction == evict.policy


# -- rows by seed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("initializer", "rows"),
    [
        (tf.random_uniform_initializer(-0.5, 0.25), SeededRows(3, "uniform", -0.5, 0.25)),
        (tf.random_uniform_initializer(), SeededRows(3, "uniform", 0.0, 1.0)),
        (tf.random_normal_initializer(1.0, 0.5), SeededRows(3, "normal", 1.0, 0.5)),
        (tf.truncated_normal_initializer(0.0, 2.0), SeededRows(3, "truncated_normal", 0.0, 2.0)),
        (tf.truncated_normal_initializer, SeededRows(3, "truncated_normal", 0.0, 1.0)),
        (None, SeededRows(3, "truncated_normal", 0.0, 1.0)),
    ],
)
@pytest.mark.parametrize("parts", [None, 3])
def test_rows_by_seed(initializer: Any, rows: SeededRows, parts: int | None) -> None:
    partitioner = None if parts is None else tf.fixed_size_partitioner(parts)
    init = tf.InitializerOption(row_seed=3)
    b = variable(dim=5, initializer=initializer, partitioner=partitioner, ev_option=option(init_option=init))
    ids = np.array([0, 1, 7, -7, 10**15], np.int64)
    found = tf.nn.embedding_lookup(b, tf.constant(ids))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(found), rows.rows(ids, 5))
    first = next(iter(b)) if parts else b
    assert first.initializer.get_attr("default_value_dim") == 1


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        (tf.constant_initializer(1.0), "row_seed"),
        (tf.glorot_uniform_initializer(), "row_seed"),
        (tf.zeros_initializer(), "row_seed"),
    ],
)
def test_rows_by_seed_of_other_initializers_are_refused(initializer: Any, message: str) -> None:
    init = tf.InitializerOption(initializer, row_seed=3)
    with pytest.raises(errors.InvalidArgumentError, match=message):
        variable(ev_option=option(init_option=init))


def test_rows_by_seed_ask_for_numbers() -> None:
    init = tf.InitializerOption(tf.random_uniform_initializer(tf.constant(0.0), 1.0), row_seed=3)
    with pytest.raises(errors.InvalidArgumentError, match="must be numbers"):
        variable(ev_option=option(init_option=init))
    init = tf.InitializerOption(tf.random_uniform_initializer(), row_seed=2**63)
    with pytest.raises(errors.InvalidArgumentError, match="64 bits"):
        variable("c", ev_option=option(init_option=init))


# -- rows of a checkpoint ----------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [None, 3])
def test_initial_rows_of_a_checkpoint(parts: int | None, tmp_path: Any) -> None:
    """`CheckpointOption`: the initializer brings them; slots start anew, and other keys from the initializer."""
    old = variable("old", initializer=tf.constant_initializer(4.0))
    update = train(old, keys(1, 2, 1005), tf.train.GradientDescentOptimizer(1.0))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(update)
        path = tf.train.Saver([old]).save(session, str(tmp_path / "m"))
    with tf.Graph().as_default() as graph:
        b = variable(
            partitioner=None if parts is None else tf.fixed_size_partitioner(parts),
            ev_option=option(ckpt=tf.CheckpointOption(path, "old")),
        )
        rows = tf.nn.embedding_lookup(b, keys(1, 2, 1005, 9))
        train(b, keys(1))
        definition = tf.train.export_meta_graph()
        expected = [[3.0, 3.0]] * 3 + [[0.5, 0.5]]
        init = tf.global_variables_initializer()
        with tf.Session() as session:
            session.run(init)
            sizes = [r.table.size for r in resources(session).values() if r.slot == 0]
            assert sum(sizes) == 3
            assert len(sizes) == (parts or 1)
            assert session.run(rows).tolist() == expected
            session.run(init)  # changes nothing, as without the option
            assert session.run(rows).tolist() == expected
    with tf.Graph().as_default():
        tf.train.import_meta_graph(definition)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            assert session.run(tf.get_default_graph().get_tensor_by_name(rows.name)).tolist() == expected
    del graph


def test_initial_rows_under_the_own_name_and_a_checkpoint_that_is_not_there(tmp_path: Any) -> None:
    b = variable(ev_option=option(ckpt=tf.CheckpointOption(str(tmp_path / "none"))))
    with tf.Session() as session:
        with pytest.raises(errors.NotFoundError):
            session.run(b.initializer)
        assert not session.run(b.is_initialized())


# -- what cannot go together --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"evict_option": tf.GlobalStepEvict(-3)}, "steps_to_live must be >= 0"),
        ({"filter_option": tf.CBFFilter(300, 100, 0.1, tf.uint8)}, "'b': counters of 1 bytes never reach"),
        ({"filter_option": tf.CBFFilter(3, 100, 1e-9)}, "hash functions"),
        ({"filter_option": tf.CBFFilter(3, 100, 2.0)}, "false_positive_probability"),
    ],
)
def test_values_that_can_never_work(asked: Any, message: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message) as e:
        variable(ev_option=option(**asked))
    assert e.value.name == "b"


def test_both_ways_to_say_steps_to_live() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="CombinedEvict alone"):
            variable(steps_to_live=3, ev_option=option(evict_option=tf.CombinedEvict(min_frequency=3)))


def test_an_engine_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVARN_ENGINE", "cuckoo")
    b = variable()
    with tf.Session() as session, pytest.raises(errors.InvalidArgumentError, match="'cuckoo'"):
        session.run(b.initializer)


# -- asking in a session ------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [None, 2])
def test_explain_evict_and_counters(parts: int | None) -> None:
    b = variable(
        partitioner=None if parts is None else tf.fixed_size_partitioner(parts),
        ev_option=option(filter_option=tf.CounterFilter(2), evict_option=tf.GlobalStepEvict(3)),
    )
    ids = tf.placeholder(tf.int64, [None])
    update = train(b, ids)
    with tf.Session() as session:
        with pytest.raises(errors.FailedPreconditionError):
            b.counters()
        session.run(tf.global_variables_initializer())
        session.run(update, {ids: [1, 1, 2, 2, 3, -4]})
        assert [b.explain(k).state for k in (1, 2, 3, -4, 9)] == [
            "in",
            "in",
            "filtered",
            "filtered",
            "absent",
        ]
        assert (b.explain(3).frequency, b.explain(3).needed_frequency) == (1, 2)
        assert b.explain(1, step=4).would_evict == "age"
        assert b.explain(1, step=3).would_evict is None
        assert b.counters()["admitted"] == b.counters()["filtered"] == 2
        dry = b.evict(4, dry_run=True)
        assert (dry.examined, dry.removed, dry.dry_run) == (4, 4, True)
        assert sorted(dry.sample_keys) == [-4, 1, 2, 3]
        assert b.counters()["admitted"] == 2
        assert b.evict().removed == 0  # the global step is 1
        session.run(update, {ids: [2]})
        report = b.evict(4)
        assert (report.examined, report.removed, report.by_reason) == (4, 3, {"age": 3})
        assert [b.explain(k).state for k in (1, 2, 3)] == ["evicted", "in", "evicted"]
        counters = b.counters()
        assert (counters["admitted"], counters["filtered"], counters["evicted_age"]) == (1, 0, 3)
        only = b.evict(9, policy=tf.CombinedEvict(max_keys=0), dry_run=True)
        assert only.by_reason == {"ceiling": 1}
    with pytest.raises(ValueError, match="session"):
        b.explain(1)
    with tf.Session() as other, pytest.raises(errors.FailedPreconditionError, match="uninitialized"):
        b.evict(1, session=other)


def test_questions_to_a_closed_session() -> None:
    b = variable(ev_option=option(evict_option=tf.GlobalStepEvict(3)))
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    session.close()
    for ask in (
        lambda: b.explain(1, session=session),
        lambda: b.evict(session=session, step=1),
        lambda: b.counters(session),
    ):
        with pytest.raises(RuntimeError, match="closed Session"):
            ask()


def test_evict_without_a_global_step() -> None:
    b = variable(ev_option=option(evict_option=tf.L2WeightEvict(0.1)))
    with tf.Session() as session:
        session.run(b.initializer)
        with pytest.raises(ValueError, match="no global step"):
            b.evict()
        assert b.evict(0).removed == 0


def test_evict_by_any_policy() -> None:
    b = variable()
    ids = tf.placeholder(tf.int64, [None])
    update = train(b, ids)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(update, {ids: [1, 2]})
        assert b.evict(9, policy=tf.L2WeightEvict(1e9), dry_run=True).by_reason == {"norm": 2}
        assert b.evict(9, policy=tf.CombinedEvict(max_keys=1), dry_run=True).removed == 1
        with pytest.raises(errors.InvalidArgumentError, match="from a table without versions"):
            b.evict(9, policy=tf.GlobalStepEvict(1))
        with pytest.raises(TypeError, match="3 is no policy: give a GlobalStepEvict"):
            b.evict(9, policy=3)
    aged = variable("aged", ev_option=option(evict_option=tf.GlobalStepEvict(100)))
    update = train(aged, ids)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(update, {ids: [1, 2]})
        assert aged.evict(9, policy=tf.GlobalStepEvict(1)).by_reason == {"age": 2}


def test_what_is_no_number_is_refused_by_name() -> None:
    for make, what in (
        (lambda: tf.CounterFilter("3"), "filter_freq must be an integer, not '3'"),
        (lambda: tf.CounterFilter(2.5), "filter_freq must be an integer, not 2.5"),
        (lambda: tf.CBFFilter(3.0), "filter_freq must be an integer, not 3.0"),
        (lambda: tf.GlobalStepEvict("5"), "steps_to_live must be an integer, not '5'"),
        (lambda: variable(dim="4"), "'b': embedding_dim must be an integer, not '4'"),
        (
            lambda: variable(ev_option=tf.CounterFilter(3)),
            "'b': ev_option must be an EmbeddingVariableOption",
        ),
    ):
        with pytest.raises(TypeError, match=what):
            make()
    assert tf.CounterFilter(np.int64(3)).filter_freq == 3
