"""The engine as programs meet it: sections 3.3 to 3.6, 3.8 and 3.10, with 1.2 to 1.4 and 2.1, on both engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.engine.policies import EvictionPolicy
from kvarn.variables.embedding_variable import EmbeddingVariable


@pytest.fixture(autouse=True, params=["native", "reference"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("KVARN_ENGINE", request.param)
    for name in ("KVARN_EV_INSERT", "TF_RECORD_FREQ", "TF_RECORD_VERSION"):
        monkeypatch.delenv(name, raising=False)
    with tf.Graph().as_default():
        yield request.param


def option(**arguments: Any) -> Any:
    return tf.EmbeddingVariableOption(**arguments)


def variable(name: str = "b", dim: int = 1, value: float = 0.5, **arguments: Any) -> Any:
    arguments.setdefault("initializer", tf.constant_initializer(value))
    return tf.get_embedding_variable(name, dim, **arguments)


def keys(*ids: int, dtype: Any = tf.int64) -> Any:
    return tf.constant(np.array(ids, dtype.as_numpy_dtype))


class Program:
    """Trains one variable with gradient 3 of the ids that are fed."""

    def __init__(self, b: Any, optimizer: Any = None) -> None:
        self.b = b
        self.step = tf.train.get_or_create_global_step()
        self.ids = tf.placeholder(tf.int64, [None])
        self.rows = tf.nn.embedding_lookup(b, self.ids)
        optimizer = tf.train.AdagradOptimizer(0.05) if optimizer is None else optimizer
        self.train = optimizer.minimize(tf.reduce_sum(self.rows) * 3.0, global_step=self.step)
        self.session = tf.Session()
        self.session.run(tf.global_variables_initializer())

    def run(self, *ids: int) -> None:
        self.session.run(self.train, {self.ids: ids})

    def look_up(self, *ids: int) -> list[float]:
        return self.session.run(self.rows, {self.ids: ids})[:, 0].tolist()

    def frequencies(self, *ids: int) -> list[int]:
        return self.session.run(self.b.get_frequency(keys(*ids))).tolist()

    def versions(self, *ids: int) -> list[int]:
        return self.session.run(self.b.get_version(keys(*ids))).tolist()

    def count(self) -> int:
        return int(self.session.run(self.b.total_count())[0])


# -- 3.3, 3.4: the filter in a program -------------------------------------------------------------


@pytest.mark.parametrize("rule", ["lookup", "apply"])
def test_counter_filter_of_the_worked_numbers(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """3.4, 6b: F = 4, seen twice a step: no permission in lookups 1 and 2, the learnt row in lookup 3."""
    monkeypatch.setenv("KVARN_EV_INSERT", rule)
    init = tf.InitializerOption(default_value_no_permission=-1.0)
    program = Program(variable(ev_option=option(filter_option=tf.CounterFilter(4), init_option=init)))
    assert program.look_up(6) == [-1.0]
    program.run(6, 6)
    assert program.frequencies(6) == [2]
    assert program.look_up(6) == [-1.0]
    program.run(6, 6)
    assert program.frequencies(6) == [4]
    # The two occurrences are one update of gradient 6.
    a = np.float32(0.1) + np.float32(36)
    np.testing.assert_allclose(program.look_up(6), [0.5 - 0.05 * 6 / np.sqrt(a)], rtol=1e-6)


@pytest.mark.parametrize(
    "filter_option", [tf.CounterFilter(2), tf.CBFFilter(2, 1000, 0.01)], ids=["counter", "bloom"]
)
def test_a_filtered_variable_never_inserts_at_lookup(filter_option: Any) -> None:
    """3.3: neither inserted, counted nor admitted, under either rule of insertion."""
    program = Program(variable(ev_option=option(filter_option=filter_option)))
    for _ in range(5):
        assert program.look_up(1, 1, 1) == [0.0] * 3
    assert program.count() == 0
    assert program.frequencies(1) == [0]
    program.run(1)
    assert program.look_up(1) == [0.0]
    program.run(1)
    assert program.look_up(1) != [0.0]


@pytest.mark.parametrize("rule", ["lookup", "apply"])
def test_frequencies_are_of_updates(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """3.4: each occurrence in the ids of an update counts, no lookup does, whatever the rule of insertion."""
    monkeypatch.setenv("KVARN_EV_INSERT", rule)
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    program = Program(variable())
    program.look_up(4, 4)
    assert program.frequencies(4) == [0]
    program.run(4, 4, 9)
    program.run(4)
    program.look_up(4, 9)
    assert program.frequencies(4, 9, 7) == [3, 1, 0]


def test_counts_of_lookups_that_made_ids_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    """3.4: `embedding_lookup_sparse` looks each id up once, and hands its occurrences to the update."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    b = variable()
    sparse = tf.SparseTensor([[0, 0], [0, 1], [1, 0], [2, 0]], tf.constant([5, 5, 5, 8], tf.int64), [3, 2])
    loss = tf.reduce_sum(tf.nn.embedding_lookup_sparse(b, sparse, None, combiner="sum"))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        assert session.run(b.get_frequency(keys(5, 8))).tolist() == [3, 1]


# -- 3.5, 3.6 --------------------------------------------------------------------------------------


def test_versions_without_tracking_are_minus_one() -> None:
    """3.5: a fatal error in the source."""
    program = Program(variable())
    program.run(1)
    assert program.versions(1, 2) == [-1, -1]


@pytest.mark.parametrize(
    ("make", "first"),
    [
        (lambda step: tf.train.AdagradOptimizer(0.1), 0),
        (lambda step: tf.train.AdamOptimizer(0.1), 0),
        (lambda step: tf.train.AdamAsyncOptimizer(0.1), 0),
        (lambda step: tf.train.AdamWOptimizer(0.01, 0.1), 0),
        (lambda step: tf.train.GradientDescentOptimizer(0.1), 0),
        (lambda step: tf.train.AdagradDecayOptimizer(0.1, step), 1),
        (lambda step: tf.train.AdagradDecayOptimizerV2(0.1, step), 1),
        (lambda step: tf.train.FtrlOptimizer(0.1), -1),
    ],
    ids=["adagrad", "adam", "adam_async", "adam_w", "sgd", "decay", "decay_v2", "ftrl"],
)
def test_the_version_is_the_step_that_the_optimizer_hands_on(
    make: Any, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3.6: the step before the increment; AdagradDecay hands on one more, Ftrl none."""
    monkeypatch.setenv("TF_RECORD_VERSION", "1")
    program = Program(variable(), make(tf.train.get_or_create_global_step()))
    program.run(4)
    assert program.versions(4) == [first]
    program.run(5)
    assert program.versions(4, 5) == [first, first if first < 0 else first + 1]


# -- 3.8 --------------------------------------------------------------------------------------------


def test_global_step_evict_of_the_worked_numbers() -> None:
    """3.8, 6b: GlobalStepEvict(3), key last touched when the step read 10: kept at 13, gone at 14."""
    program = Program(variable(ev_option=option(evict_option=tf.GlobalStepEvict(3))))
    for _ in range(11):
        program.run(6)
    assert program.versions(6) == [10]
    session = program.session
    assert program.b.evict(13, dry_run=True, session=session).removed == 0
    assert program.b.evict(14, dry_run=True, session=session).removed == 1
    assert program.b.evict(session=session).removed == 0  # the global step is 11
    assert program.b.evict(13, session=session).removed == 0
    assert program.b.evict(14, session=session).by_reason == {"age": 1}
    assert program.count() == 0


def test_l2_weight_evict() -> None:
    """3.8: half the sum of squares below the threshold."""
    program = Program(variable(ev_option=option(evict_option=tf.L2WeightEvict(0.12))))
    program.look_up(1)  # 0.5: 0.125
    program.run(2)  # 0.45027548: 0.10137
    assert program.b.evict(0, session=program.session).sample_keys == (2,)
    assert program.count() == 1


# -- 3.10 -------------------------------------------------------------------------------------------


def slots_of(b: Any) -> list[Any]:
    return [v for v in tf.global_variables() if isinstance(v, EmbeddingVariable) and v is not b]


def test_slot_names() -> None:
    """3.10: `<primary>/<optimizer>`, a further slot with a number; parts by part."""
    Program(variable(), tf.train.AdamOptimizer(0.1))
    assert [s.op.name for s in slots_of(tf.global_variables()[0])][-2:] == ["b/Adam", "b/Adam_1"]
    parts = variable("p", partitioner=tf.fixed_size_partitioner(2))
    Program(parts)
    names = {v.op.name for v in tf.global_variables()}
    assert {"p/part_0/Adagrad", "p/part_1/Adagrad"} <= names


@pytest.mark.parametrize(
    ("asked", "attrs"),
    [
        ({"filter_option": tf.CounterFilter(3)}, {"filter_freq": 3}),
        (
            {"filter_option": tf.CBFFilter(3, 100, 0.25, tf.uint16)},
            {
                "filter_freq": 3,
                "max_element_size": 100,
                "false_positive_probability": 0.25,
                "counter_type": tf.uint16,
            },
        ),
        ({"evict_option": tf.GlobalStepEvict(7)}, {"steps_to_live": 7}),
        ({"evict_option": tf.L2WeightEvict(0.5)}, {"l2_weight_threshold": 0.5}),
    ],
)
def test_a_slot_inherits_filter_and_eviction(asked: Any, attrs: Any) -> None:
    """3.10: and keeps 0 as its no-permission value."""
    init = tf.InitializerOption(default_value_no_permission=2.0)
    b = variable(ev_option=option(init_option=init, **asked))
    Program(b)
    (slot,) = slots_of(b)
    for name, value in attrs.items():
        assert slot.initializer.get_attr(name) == value == b.initializer.get_attr(name)
    assert slot.initializer.get_attr("default_value_no_permission") == 0.0
    assert b.initializer.get_attr("default_value_no_permission") == 2.0


def test_slot_numbers() -> None:
    """3.10: slot_index from 1, slot_num of all slots, also on the primary."""
    b = variable()
    Program(b, tf.train.AdamOptimizer(0.1))
    assert b.initializer.get_attr("slot_num") == 2
    assert [s.initializer.get_attr("slot_index") for s in slots_of(b)] == [1, 2]
    assert [s.initializer.get_attr("slot_num") for s in slots_of(b)] == [2, 2]


def test_a_slot_of_a_key_never_updated_reads_its_initial_value() -> None:
    """3.10: 0.1 of an Adagrad accumulator."""
    program = Program(variable())
    program.look_up(3)
    (slot,) = slots_of(program.b)
    assert program.session.run(slot.export())[1].tolist() == [[np.float32(0.1)]]
    assert slot.initializer.get_attr("default_value_dim") == 1


# -- 1.4, 2.1 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "asked", "needed"),
    [
        ({}, {}, False),
        ({"TF_RECORD_FREQ": "1"}, {}, True),
        ({"TF_RECORD_FREQ": "0"}, {}, False),
        ({"TF_RECORD_VERSION": "1"}, {}, False),
        ({}, {"filter_option": tf.CounterFilter(1)}, True),
        ({}, {"filter_option": tf.CounterFilter(0)}, False),
        ({}, {"filter_option": tf.CounterFilter(-1)}, False),
        ({}, {"evict_option": tf.GlobalStepEvict(5)}, False),
        ({}, {"evict_option": tf.CombinedEvict(min_frequency=2)}, True),
        ({}, {"evict_option": tf.CombinedEvict(max_keys=9)}, True),
        ({}, {"evict_option": tf.CombinedEvict(steps_to_live=9)}, False),
    ],
)
def test_who_needs_counts(
    environment: Any, asked: Any, needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1.4: recorded frequencies or a filter; kvarn's evictions that go by frequency too."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    b = variable(ev_option=option(**asked))
    assert b.need_counts() is needed
    Program(b)
    ops = {o.type for o in tf.get_default_graph().get_operations()}
    assert ("KvResourceSparseApplyAdagradWithCounts" in ops) is needed


def test_tracking_is_read_when_the_variable_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.4: TF_RECORD_FREQ and TF_RECORD_VERSION, "1" only."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    monkeypatch.setenv("TF_RECORD_VERSION", "true")
    b = variable()
    monkeypatch.setenv("TF_RECORD_VERSION", "1")
    c = variable("c")
    found = [[v.initializer.get_attr(a) for a in ("record_freq", "record_version")] for v in (b, c)]
    assert found == [[True, False], [True, True]]


def test_waiting_keys_in_total_count_and_export() -> None:
    """1.4, 2.1: they count, and appear with the first default row."""
    matrix = np.arange(8, dtype=np.float32).reshape(4, 2) + 1
    init = tf.InitializerOption(lambda shape, **_: tf.constant(matrix), 4)
    program = Program(
        variable(dim=2, ev_option=option(filter_option=tf.CounterFilter(2), init_option=init)),
        tf.train.GradientDescentOptimizer(0.0),
    )
    program.run(6, 6, 3)
    assert program.count() == 2
    found, rows, versions, freqs = program.session.run(program.b.export())
    assert found.tolist() == [6, 3]
    assert rows.tolist() == [matrix[2].tolist(), matrix[0].tolist()]
    assert versions.tolist() == []
    assert freqs.tolist() == [2, 1]


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_keys_of_both_types(dtype: Any) -> None:
    """1.3, 3.9 (kvarn): negative, reserved and extreme keys are filtered, counted and trained like any other."""
    limits = np.iinfo(dtype.as_numpy_dtype)
    ids = [limits.min, -222, -111, -2, -1, 0, limits.max]
    init = tf.InitializerOption(default_value_no_permission=-1.0)
    b = variable(key_dtype=dtype, ev_option=option(filter_option=tf.CounterFilter(2), init_option=init))
    rows = tf.nn.embedding_lookup(b, keys(*ids, dtype=dtype))
    train = tf.train.GradientDescentOptimizer(0.5).minimize(tf.reduce_sum(rows))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(3):
            assert session.run(rows)[:, 0].tolist() == [-1.0 if step < 2 else 0.0] * len(ids)
            session.run(train)
            assert session.run(b.get_frequency(keys(*ids, dtype=dtype))).tolist() == [min(step + 1, 2)] * 7
        assert session.run(rows)[:, 0].tolist() == [-0.5] * len(ids)
        assert b.counters(session)["admitted"] == len(ids)


def test_policy_given_by_hand() -> None:
    """3.8 (kvarn): any policy, whatever the variable was made with."""
    program = Program(variable())
    program.run(1)
    with pytest.raises(ValueError, match="evict_option"):
        program.b.evict(1, session=program.session)
    policy = EvictionPolicy(max_keys=0)
    assert program.b.evict(1, policy=policy, session=program.session).by_reason == {"ceiling": 1}


def test_a_full_save_evicts_from_memory_and_file(tmp_path: Any) -> None:
    """3.8: right before the snapshot, with the global step; deleted keys vanish from memory and from the file."""
    program = Program(variable(ev_option=option(evict_option=tf.GlobalStepEvict(3))))
    saver = tf.train.Saver()
    program.run(6)  # at step 0
    for _ in range(3):
        program.run(7)
    saver.save(program.session, str(tmp_path / "kept"))  # the step is 4: 6 has not been updated for 4 steps
    for stem in ("b", "b/Adagrad"):
        assert tf.train.load_variable(str(tmp_path / "kept"), f"{stem}-keys").tolist() == [7]
    assert program.count() == 1
    assert program.b.explain(6, session=program.session).state == "evicted"


def test_without_an_eviction_a_save_changes_nothing(tmp_path: Any) -> None:
    """3.8: none unless asked for."""
    program = Program(variable())
    for key in range(9):
        program.run(key)
    tf.train.Saver().save(program.session, str(tmp_path / "m"))
    assert program.count() == 9
