"""Optimizers on embedding variables: sections 6, 6b, with 2.4 (ops), 3.4 (counts), 3.6 (versions), 3.10 (slots)."""

from __future__ import annotations

import importlib.util
import json
import pathlib

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.graph import registry
from kvarn.graph.tensor import IndexedSlices

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "embedding_optimizers"
RECORDED = json.loads((GOLDEN / "tensorflow_1.15.5.json").read_text())
INF, NAN = np.inf, np.nan


def load_programs():
    spec = importlib.util.spec_from_file_location("embedding_optimizers", GOLDEN / "programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


programs = load_programs()


@pytest.fixture(autouse=True, params=["reference", "native"])
def engine(request, monkeypatch):
    monkeypatch.setenv("KVARN_ENGINE", request.param)
    with tf.Graph().as_default():
        yield request.param


def variable(name="b", dim=1, value=0.5, **arguments):
    arguments.setdefault("initializer", tf.constant_initializer(value))
    return tf.get_embedding_variable(name, dim, **arguments)


def keys(*ids, dtype=tf.int64):
    return tf.constant(np.array(ids, dtype.as_numpy_dtype))


class Training:
    """One embedding variable, trained with the same gradient for the same ids in every step."""

    def __init__(self, make, dim=1, gradient=3.0, ids=(4,), b=None, **arguments):
        self.step = tf.train.get_or_create_global_step()
        self.b = variable(dim=dim, **arguments) if b is None else b
        self.ids = keys(*ids)
        self.rows = tf.nn.embedding_lookup(self.b, self.ids)
        loss = tf.reduce_sum(self.rows * tf.constant(gradient, tf.float32))
        self.optimizer = make(self.step)
        self.train = self.optimizer.minimize(loss, global_step=self.step)
        self.slots = {name: self.optimizer.get_slot(self.b, name) for name in self.optimizer.get_slot_names()}
        self.session = tf.Session()
        self.session.run(tf.global_variables_initializer())

    def run(self, steps=1):
        for _ in range(steps):
            self.session.run(self.train)
        return self

    def read(self, *names, ids=None):
        """The rows, then those of slots; of one id the row alone."""
        where = self.ids if ids is None else keys(*ids)
        fetched = [tf.nn.embedding_lookup(self.b, where)]
        for name in names:
            slot = self.slots[name]
            fetched.append(slot.sparse_read(where) if slot.op.type == "KvVarHandleOp" else slot)
        values = [np.asarray(v) for v in self.session.run(fetched)]
        if where.shape[0] == 1:
            values = [v.reshape(-1) for v in values]
        return values if names else values[0]


# What float32 makes of 1 - 0.999 is 1.3e-5 off, and so is what it multiplies.
ROUNDED_REST = 2e-5


@pytest.mark.parametrize(
    ("make", "slots", "after", "tolerance"),
    [
        pytest.param(
            lambda step: tf.train.AdagradOptimizer(0.05),
            ["accumulator"],
            [(0.45027548, 9.1), (0.41501793, 18.1), (0.38620374, 27.1)],
            1e-6,
            id="Adagrad",
        ),
        pytest.param(
            lambda step: tf.train.AdagradDecayOptimizer(
                0.05, step, accumulator_decay_step=2, accumulator_decay_rate=0.5
            ),
            ["accumulator"],
            [(0.4502755, 9.1), (0.4095260, 13.55), (None, 22.55), (None, 20.275), (None, 29.275)],
            1e-6,
            id="AdagradDecay",
        ),
        pytest.param(
            lambda step: tf.train.AdagradDecayOptimizerV2(
                0.05, step, accumulator_decay_step=2, accumulator_decay_rate=0.5
            ),
            ["accumulator"],
            [(0.4502755, 9.1), (0.4095260, 13.55), (None, 22.55), (None, 20.275), (None, 29.275)],
            1e-6,
            id="AdagradDecayV2",
        ),
        pytest.param(
            lambda step: tf.train.AdamOptimizer(0.05),
            ["m", "v"],
            [(0.45000001, 0.3, 0.009), (0.40000001, 0.57, 0.017991)],
            ROUNDED_REST,
            id="Adam",
        ),
        pytest.param(
            lambda step: tf.contrib.opt.LazyAdamOptimizer(0.05),
            ["m", "v"],
            [(0.45000001, 0.3, 0.009), (0.40000001, 0.57, 0.017991)],
            ROUNDED_REST,
            id="LazyAdam",
        ),
        pytest.param(
            lambda step: tf.train.AdamAsyncOptimizer(0.05),
            ["m", "v", "beta1_power", "beta2_power"],
            [
                (0.45000001, 0.3, 0.009, 0.9**2, 0.999**2),
                (0.40000001, 0.57, 0.017991, 0.729, 0.997003),
            ],
            ROUNDED_REST,
            id="AdamAsync",
        ),
        pytest.param(
            lambda step: tf.train.AdamAsyncOptimizer(0.05, apply_sparse_rmsprop=True),
            ["m", "beta1_power", "beta2_power"],
            [(-1.08113795, 1.58113795, 0.9, 0.999), (-3.62247540, 2.54133745, 0.9, 0.999)],
            ROUNDED_REST,
            id="AdamAsyncSparseRmsprop",
        ),
        pytest.param(
            lambda step: tf.train.AdamWOptimizer(0.01, 0.05),
            ["m", "v"],
            [(0.44992095, 0.3, 0.009), (0.39986802, 0.57, 0.017991)],
            ROUNDED_REST,
            id="AdamW",
        ),
        # The three below by hand: one element, from 0.5, gradient 3.
        pytest.param(
            lambda step: tf.train.GradientDescentOptimizer(0.05),
            [],
            [(0.35,), (0.2,), (0.05,)],
            1e-6,
            id="GradientDescent",
        ),
        pytest.param(
            lambda step: tf.train.MomentumOptimizer(0.05, 0.9),
            ["momentum"],
            [(0.35, 3.0), (0.065, 5.7)],
            1e-6,
            id="Momentum",
        ),
        pytest.param(
            lambda step: tf.train.MomentumOptimizer(0.05, 0.9, use_nesterov=True),
            ["momentum"],
            [(0.215, 3.0), (-0.1915, 5.7)],
            1e-6,
            id="Nesterov",
        ),
    ],
)
def test_6b_worked_numbers(make, slots, after, tolerance):
    """6b: initial value 0.5, gradient 3 in every step, rate 0.05, all else by default: value and slots."""
    training = Training(make)
    for expected in after:
        found = training.run().read(*slots) if slots else [training.run().read()]
        for value, want in zip(found, expected, strict=True):
            if want is not None:
                np.testing.assert_allclose(value, [want], rtol=tolerance)


def test_6b_worked_numbers_of_group_lasso():
    """6b: FTRL with l1 1, l2 0.01, rows of two, gradient (3, 1): value, linear, then value and accumulator."""
    training = Training(
        lambda step: tf.train.FtrlOptimizer(
            0.05, l1_regularization_strength=1.0, l2_regularization_strength=0.01
        ),
        dim=2,
        gradient=(3.0, 1.0),
    )
    value, accum, linear = training.run().read("accum", "linear")
    np.testing.assert_allclose(value, [0.38170708, 0.28914687], rtol=1e-6)
    np.testing.assert_allclose(linear, [-24.0039286, -6.3258108], rtol=1e-6)
    np.testing.assert_allclose(accum, [9.1, 1.1], rtol=1e-6)
    value, accum = training.run().read("accum")
    np.testing.assert_allclose(value, [0.34642316, 0.25506289], rtol=1e-6)
    np.testing.assert_allclose(accum, [18.1, 2.1], rtol=1e-6)


# -- formulas -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", programs.OPTIMIZERS)
def test_6_where_the_rule_is_tensorflows_the_numbers_are(name):
    """6: on equal gradients a key's row is what TensorFlow 1.15.5 makes of a row of a dense table; FTRL without l1
    or with one column, Adam when every row has a gradient, repeated ids summed once."""
    dim, ids, optimizer = programs.OPTIMIZERS[name]
    b = variable("w", dim, initializer=lambda *_, **__: programs.first(dim))
    found = programs.train(tf, lambda i: tf.nn.embedding_lookup(b, tf.cast(i, tf.int64)), ids, optimizer)
    np.testing.assert_allclose(found, RECORDED[name], rtol=4e-6, atol=1e-6)


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("name", programs.ORDINARY)
def test_6_ordinary_variables_as_contrib_trains_them(name, resource):
    """6: AdamW of ordinary variables first takes weight_decay of the value away; lazy Adam leaves other rows be."""
    found = programs.ordinary(tf, name, resource)
    expected = RECORDED[f"{name}/{'resource' if resource else 'ref'}"]
    np.testing.assert_allclose(found, expected, rtol=4e-6, atol=1e-6)


def decayed_adagrad(v, a, power, g, t, decay_step, rate, baseline, lr):
    """One row of AdagradDecay in float64; the power by its first element."""
    if t // decay_step > power:
        a = np.maximum(a * rate, baseline)
        power += 1
    a = a + g * g
    return v - lr * g / np.sqrt(a), a, power


@pytest.mark.parametrize("version", [1, 2])
def test_6_adagrad_decay_decays_once_a_touch_and_not_below_its_start(version):
    """6: one decay a touch even if several periods passed, max(a * rate, initial value), t = global_step + 1; the
    power slot has the variable's length, in version 2 one element."""
    make = tf.train.AdagradDecayOptimizer if version == 1 else tf.train.AdagradDecayOptimizerV2
    training = Training(
        lambda step: make(
            0.1, step, accumulator_decay_step=3, accumulator_decay_rate=0.01, initial_accumulator_value=0.4
        ),
        dim=2,
        gradient=(1.0, -2.0),
    )
    v, a, power = np.full(2, 0.5), np.full(2, 0.4), 0
    # The third run comes after more than two periods without a touch.
    for now in (0, 1, 8, 9, 10, 11):
        training.session.run(training.step.assign(now))
        training.run()
        v, a, power = decayed_adagrad(v, a, power, np.array([1.0, -2.0]), now + 1, 3, 0.01, 0.4, 0.1)
        value, accum, powers = training.read("accumulator", "accumulator_decay_power")
        np.testing.assert_allclose(value, v, rtol=1e-5)
        np.testing.assert_allclose(accum, a, rtol=1e-6)
        assert powers.tolist() == ([power, 0.0] if version == 1 else [power])
    assert power == 4


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("version", [1, 2])
def test_6_adagrad_decay_of_ordinary_variables(version, resource, sparse):
    """6: the same decay test against a power for the variable (dense) or for each row (sparse)."""
    make = tf.train.AdagradDecayOptimizer if version == 1 else tf.train.AdagradDecayOptimizerV2
    start = programs.first(3)
    w = tf.get_variable("w", initializer=start, use_resource=resource)
    step = tf.train.get_or_create_global_step()
    slopes = programs.gradients(3 if sparse else 4, 3)
    g = tf.placeholder(tf.float32, [None, 3])
    place = tf.placeholder(tf.int64, [None])
    loss = tf.reduce_sum((tf.gather(w, place) if sparse else w) * g)
    optimizer = make(0.1, step, accumulator_decay_step=2, accumulator_decay_rate=0.5)
    train = optimizer.minimize(loss, global_step=step)
    power = optimizer.get_slot(w, "accumulator_decay_power")
    assert power.dtype.base_dtype == tf.int64
    assert power.shape.as_list() == ([4, 3] if version == 1 else [4])
    v, a, powers = start.astype(np.float64), np.full((4, 3), 0.1), np.zeros(4)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for now, ids in enumerate(programs.SOME):
            sess.run(train, {g: slopes[now], place: ids})
            summed = np.zeros((4, 3))
            np.add.at(summed, ids if sparse else range(4), slopes[now].astype(np.float64))
            for row in sorted(set(ids)) if sparse else range(4):
                count = row if sparse else 0
                decays = (now + 1) // 2 > powers[count]
                if decays:
                    a[row] = np.maximum(a[row] * 0.5, 0.1)
                    powers[count] += sparse
                a[row] += summed[row] ** 2
                v[row] -= 0.1 * summed[row] / np.sqrt(a[row])
            if not sparse:
                powers[0] += (now + 1) // 2 > powers[0]
        np.testing.assert_allclose(sess.run(w), v, rtol=1e-5)
        np.testing.assert_allclose(sess.run(optimizer.get_slot(w, "accumulator")), a, rtol=1e-5)
        # Flat element i counts for row i, whatever the shape.
        assert sess.run(power).reshape(-1)[:4].tolist() == powers.tolist()


@pytest.mark.parametrize("kind", ["dense", "sparse", "rmsprop"])
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_6_adam_async_of_ordinary_variables(resource, kind):
    """6: Adam's formula with powers for each variable that the update multiplies; RMSProp of sparse gradients with
    momentum beta1 leaves the powers alone."""
    start = programs.first(3)
    w = tf.get_variable("w", initializer=start, use_resource=resource)
    step = tf.train.get_or_create_global_step()
    sparse = kind != "dense"
    slopes = programs.gradients(3 if sparse else 4, 3)
    g = tf.placeholder(tf.float32, [None, 3])
    place = tf.placeholder(tf.int64, [None])
    loss = tf.reduce_sum((tf.gather(w, place) if sparse else w) * g)
    optimizer = tf.train.AdamAsyncOptimizer(0.1, 0.8, 0.9, 1e-6, apply_sparse_rmsprop=kind == "rmsprop")
    train = optimizer.minimize(loss, global_step=step)
    theta, m, s = start.astype(np.float64), np.zeros((4, 3)), np.zeros((4, 3))
    power1, power2 = 0.8, 0.9
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for now, ids in enumerate(programs.SOME):
            sess.run(train, {g: slopes[now], place: ids})
            summed = np.zeros((4, 3))
            np.add.at(summed, ids if sparse else range(4), slopes[now].astype(np.float64))
            for r in sorted(set(ids)) if sparse else range(4):
                s[r] = 0.9 * s[r] + 0.1 * summed[r] ** 2
                if kind == "rmsprop":
                    m[r] = 0.8 * m[r] + 0.1 * summed[r] / np.sqrt(s[r] + 1e-6)
                    theta[r] -= m[r]
                else:
                    m[r] = 0.8 * m[r] + 0.2 * summed[r]
                    theta[r] -= 0.1 * np.sqrt(1 - power2) / (1 - power1) * m[r] / (np.sqrt(s[r]) + 1e-6)
            if kind != "rmsprop":
                power1, power2 = power1 * 0.8, power2 * 0.9
        np.testing.assert_allclose(sess.run(w), theta, rtol=2e-5, atol=1e-6)
        slots = [optimizer.get_slot(w, name) for name in ("m", "v", "beta1_power", "beta2_power")]
        for found, expected in zip(sess.run(slots), (m, s, power1, power2), strict=True):
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)


def test_6_group_lasso_makes_whole_rows_zero_and_only_small_ones():
    """6: v = 0 unless ||z|| > l1; TensorFlow's elementwise rule would keep the large element of such a row."""
    training = Training(
        lambda step: tf.train.FtrlOptimizer(0.05, l1_regularization_strength=4.0),
        dim=2,
        value=0.0,
        gradient=((3.9, 0.1), (3.9, 3.9)),
        ids=(1, 2),
    )
    value = training.run().read()
    assert value[0].tolist() == [0.0, 0.0]
    # z is the gradient, as the value was zero.
    norm = 3.9 * np.sqrt(2.0)
    accum = 0.1 + 3.9**2
    np.testing.assert_allclose(value[1], 3.9 * (4.0 - norm) / (np.sqrt(accum) / 0.05 * norm), rtol=1e-5)


def test_6_ftrl_v2_shrinks_the_gradient_but_not_what_is_accumulated():
    """6: G = g + 2 * l2_shrinkage * v enters A and z; a grows by the square of g."""
    lr, shrinkage, value = 0.05, 0.2, 0.5
    training = Training(
        lambda step: tf.train.FtrlOptimizer(
            lr,
            l1_regularization_strength=1.0,
            l2_regularization_strength=0.01,
            l2_shrinkage_regularization_strength=shrinkage,
        ),
        dim=2,
        gradient=(3.0, 1.0),
    )
    g, a, z, v = np.array([3.0, 1.0]), np.full(2, 0.1), np.zeros(2), np.full(2, value)
    for _ in range(3):
        shrunk = g + 2 * shrinkage * v
        new = a + shrunk**2
        z += shrunk - (np.sqrt(new) - np.sqrt(a)) / lr * v
        q = np.sqrt((z**2).sum())
        v = (z * (1.0 - q) / ((np.sqrt(new) / lr + 0.02) * q)) if q > 1.0 else np.zeros(2)
        a += g**2
        found, accum, linear = training.run().read("accum", "linear")
        np.testing.assert_allclose(found, v, rtol=1e-5)
        np.testing.assert_allclose(accum, a, rtol=1e-6)
        np.testing.assert_allclose(linear, z, rtol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda _: tf.train.AdamOptimizer(0.1), lambda _: tf.train.AdamWOptimizer(0.1, 0.1)]
)
def test_6_untouched_ids_keep_everything(make):
    """6: Adam is lazy, untouched ids keep m and v; AdamW decays only touched ids."""
    step = tf.train.get_or_create_global_step()
    b = variable(dim=2)
    ids = tf.placeholder(tf.int64, [None])
    optimizer = make(step)
    train = optimizer.minimize(tf.reduce_sum(b.sparse_read(ids) ** 2), global_step=step)
    one = keys(1)
    state = [b.sparse_read(one), *(optimizer.get_slot(b, name).sparse_read(one) for name in ("m", "v"))]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train, {ids: [1, 2]})
        before = sess.run(state)
        sess.run(train, {ids: [2, 3]})
        after = sess.run(state)
        assert np.array_equal(before, after)
        sess.run(train, {ids: [1]})
        assert not np.array_equal(before, sess.run(state))


def test_6_adam_w_decays_only_what_is_asked():
    """6, contrib: variables outside decay_var_list do not decay, embedding variables among them."""
    b, c = variable("b"), variable("c")
    w = tf.get_variable("w", initializer=[0.5], use_resource=True)
    optimizer = tf.train.AdamWOptimizer(0.01, 0.05)
    loss = 3.0 * (b.sparse_read(keys(1)) + c.sparse_read(keys(1)) + w)
    train = optimizer.minimize(tf.reduce_sum(loss), decay_var_list=[c])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        values = sess.run([b.sparse_read(keys(1)), c.sparse_read(keys(1)), w])
    np.testing.assert_allclose([np.ravel(v)[0] for v in values], [0.45, 0.44992095, 0.45], rtol=1e-6)


# -- slots ----------------------------------------------------------------------------------------

SLOTS = [
    # optimizer, names in the dictionary in order of their numbers, names of the variables, initial value
    (lambda s: tf.train.GradientDescentOptimizer(0.1), []),
    (lambda s: tf.train.AdagradOptimizer(0.1, 0.7), [("accumulator", "Adagrad", 0.7)]),
    (
        lambda s: tf.train.AdagradDecayOptimizer(0.1, s),
        [("accumulator", "AdagradDecay", 0.1), ("accumulator_decay_power", "AdagradDecay_1", 0.0)],
    ),
    (
        lambda s: tf.train.AdagradDecayOptimizerV2(0.1, s),
        [("accumulator", "AdagradDecay", 0.1), ("accumulator_decay_power", "AdagradDecay_1", 0.0)],
    ),
    (lambda s: tf.train.AdamOptimizer(0.1), [("m", "Adam", 0.0), ("v", "Adam_1", 0.0)]),
    (lambda s: tf.train.AdamAsyncOptimizer(0.1), [("m", "AdamAsync", 0.0), ("v", "AdamAsync_1", 0.0)]),
    (lambda s: tf.train.AdamWOptimizer(0.1), [("m", "AdamW", 0.0), ("v", "AdamW_1", 0.0)]),
    (lambda s: tf.train.FtrlOptimizer(0.1), [("accum", "Ftrl", 0.1), ("linear", "Ftrl_1", 0.0)]),
    (lambda s: tf.train.MomentumOptimizer(0.1, 0.9), [("momentum", "Momentum", 0.0)]),
    (lambda s: tf.train.RMSPropOptimizer(0.1), [("rms", "RMSProp", 1.0), ("momentum", "RMSProp_1", 0.0)]),
    (
        lambda s: tf.train.RMSPropOptimizer(0.1, centered=True),
        [("rms", "RMSProp", 1.0), ("mg", "RMSProp_1", 0.0), ("momentum", "RMSProp_2", 0.0)],
    ),
]


@pytest.mark.parametrize(("make", "slots"), SLOTS)
def test_3_10_slots_are_named_numbered_and_filled(make, slots):
    """3.10, 6: name <primary>/<optimizer>, numbered for further slots; slot_index from 1, slot_num of both init ops;
    no permission value 0; a slot of a key that no update touched is its initial value."""
    options = tf.EmbeddingVariableOption(init_option=tf.InitializerOption(default_value_no_permission=0.25))
    b = variable(dim=3, ev_option=options)
    training = Training(make, b=b, dim=3)
    assert int(b.initializer.graph.get_operation_by_name("b/Assign").attrs["slot_num"]) == len(slots)
    for index, (name, scope, initial) in enumerate(slots, 1):
        slot = training.slots[name]
        assert slot.name == f"b/{scope}:0"
        assert slot.dtype == tf.float32
        is_short = isinstance(training.optimizer, tf.train.AdagradDecayOptimizerV2) and index == 2
        assert slot.shape.as_list() == ([1] if is_short else [3])
        attrs = slot._engine
        assert (attrs["slot_index"], attrs["slot_num"]) == (index, len(slots))
        assert attrs["default_value_no_permission"] == 0.0
        found = training.session.run(slot.sparse_read(keys(77)))
        np.testing.assert_array_equal(found, np.full(found.shape, initial, np.float32))


def test_3_10_powers_of_adam_async_are_ordinary_variables():
    """3.10, 6: AdamAsync_2 and _3 of an embedding variable are ordinary variables of shape [1], of others scalars."""
    training = Training(lambda s: tf.train.AdamAsyncOptimizer(0.1))
    for name, scope in (("beta1_power", "AdamAsync_2"), ("beta2_power", "AdamAsync_3")):
        power = training.slots[name]
        assert (power.name, power.op.type, power.shape.as_list()) == (f"b/{scope}:0", "VarHandleOp", [1])
    w = tf.get_variable("w", initializer=[[1.0, 2.0]])
    optimizer = tf.train.AdamAsyncOptimizer(0.1)
    optimizer.minimize(tf.reduce_sum(w))
    assert optimizer.get_slot(w, "beta1_power").shape.as_list() == []


def test_6_adam_has_two_powers_for_all_variables():
    """6: beta1_power and beta2_power are two ordinary non-slot variables, multiplied once a step."""
    b, c = variable("b"), variable("c")
    optimizer = tf.train.AdamOptimizer(0.1, 0.5, 0.25)
    train = optimizer.minimize(tf.reduce_sum(b.sparse_read(keys(1)) + c.sparse_read(keys(2, 3))))
    names = {v.op.name: v for v in optimizer.variables()}
    assert set(names) == {"b/Adam", "b/Adam_1", "c/Adam", "c/Adam_1", "beta1_power", "beta2_power"}
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        sess.run(train)
        assert sess.run([names["beta1_power"], names["beta2_power"]]) == [0.5**3, 0.25**3]


def tensor_names(path):
    return {
        name.removesuffix("-values")
        for name, _ in tf.train.list_variables(path)
        if "-" not in name or "-values" in name
    }


def parted(n):
    return {"partitioner": tf.fixed_size_partitioner(n)}


@pytest.mark.parametrize(("make", "slots"), SLOTS)
def test_3_10_checkpoint_names_and_training_goes_on_after_a_restore(make, slots, tmp_path):
    """3.10, 4.3: the checkpoint names are the graph's; with all slots restored the next steps are those of training
    that was never interrupted."""
    ids = (5, 6, 7, -8)

    def training():
        with tf.Graph().as_default():
            return Training(make, dim=2, gradient=((1.0, 2.0), (-1.0, 0.5), (3.0, 0.1), (0.2, 0.3)), ids=ids)

    whole = training().run(3)
    with whole.session.graph.as_default():
        path = tf.train.Saver().save(whole.session, str(tmp_path / "model"))
        expected = whole.run(2).read()
    names = tensor_names(path)
    assert {"b", *(f"b/{scope}" for _, scope, _ in slots), "global_step"} <= names
    assert {n for n in names if n.startswith("b/")} - {f"b/{scope}" for _, scope, _ in slots} == (
        {"b/AdamAsync_2", "b/AdamAsync_3"}
        if isinstance(whole.optimizer, tf.train.AdamAsyncOptimizer)
        else set()
    )
    later = training()
    with later.session.graph.as_default():
        tf.train.Saver().restore(later.session, path)
        np.testing.assert_array_equal(later.run(2).read(), expected)


def test_6_each_part_of_a_partitioned_variable_has_slots_and_powers_of_its_own(tmp_path):
    """1.5, 3.10, 6: slots <name>/part_<i>/<optimizer>; AdamAsync counts powers for each part; a part whose ids are
    not in the batch does not count."""
    b = variable(dim=2, **parted(2))
    optimizer = tf.train.AdamAsyncOptimizer(0.05)
    ids = tf.placeholder(tf.int64, [None])
    train = optimizer.minimize(3.0 * tf.reduce_sum(tf.nn.embedding_lookup(b, ids)))
    powers = [optimizer.get_slot(part, "beta1_power") for part in b]
    assert [p.op.name for p in powers] == ["b/part_0/AdamAsync_2", "b/part_1/AdamAsync_2"]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train, {ids: [2, 4]})
        sess.run(train, {ids: [2, 3]})
        found = [float(p[0]) for p in sess.run(powers)]
        np.testing.assert_allclose(found, [0.729, 0.81], rtol=1e-6)
        path = tf.train.Saver().save(sess, str(tmp_path / "model"))
        # Both parts are slices of one tensor.
        np.testing.assert_allclose(tf.train.load_variable(path, "b/AdamAsync_2"), [0.729, 0.81], rtol=1e-6)


# -- versions and counts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "versions"),
    [
        (lambda s: tf.train.GradientDescentOptimizer(0.1), [0, 1]),
        (lambda s: tf.train.AdagradOptimizer(0.1), [0, 1]),
        (lambda s: tf.train.AdamOptimizer(0.1), [0, 1]),
        (lambda s: tf.train.AdamAsyncOptimizer(0.1), [0, 1]),
        (lambda s: tf.train.AdamWOptimizer(0.1), [0, 1]),
        (lambda s: tf.train.MomentumOptimizer(0.1, 0.9), [0, 1]),
        (lambda s: tf.train.RMSPropOptimizer(0.1), [0, 1]),
        (lambda s: tf.train.AdagradDecayOptimizer(0.1, s), [1, 2]),
        (lambda s: tf.train.AdagradDecayOptimizerV2(0.1, s), [1, 2]),
        (lambda s: tf.train.FtrlOptimizer(0.1), [-1, -1]),
        (lambda s: tf.train.FtrlOptimizer(0.1, l2_shrinkage_regularization_strength=0.1), [-1, -1]),
    ],
)
def test_3_6_the_version_is_the_step_before_it_is_counted(make, versions, monkeypatch):
    """3.6: the first step writes 0; AdagradDecay passes global_step + 1; FTRL leaves -1."""
    monkeypatch.setenv("TF_RECORD_VERSION", "1")
    training = Training(make)
    read = training.b.get_version(training.ids)
    for expected in versions:
        training.run()
        assert training.session.run(read).tolist() == [expected]


def apply_nodes(graph=None):
    graph = graph or tf.get_default_graph()
    return [n for n in graph.get_operations() if n.type.startswith("KvResourceSparseApply")]


@pytest.mark.parametrize(("make", "slots"), SLOTS)
def test_3_4_counts_are_passed_only_where_they_are_needed(make, slots, monkeypatch):
    """3.4: without need_counts() no counts; with it the op is the ...WithCounts form and its last input counts the
    occurrences of each distinct id of the gradient."""
    plain = Training(make, ids=(1, 2, 1), b=variable("plain"))
    (node,) = apply_nodes()
    assert not node.type.endswith("WithCounts")
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    with tf.Graph().as_default():
        counted = Training(make, ids=(1, 2, 1))
        (node,) = apply_nodes()
        assert node.type.endswith("WithCounts")
        ids, counts = node.inputs[inputs_of(node).index("indices")], node.inputs[-1]
        if "GradientDescent" not in node.type:
            found = [x.tolist() for x in counted.session.run([ids, counts])]
            assert found == [[1, 2], [2, 1]]
        counted.run(2)
        assert counted.session.run(counted.b.get_frequency(keys(1, 2, 3))).tolist() == [4, 2, 0]
        expected = counted.read()
    # Counting does not change the numbers.
    np.testing.assert_array_equal(plain.run(2).read(), expected)


def inputs_of(node):
    definition = registry.global_registry.look_up(node.type).op_def
    return [arg.name for arg in definition.inputs]


def test_3_4_ids_that_were_made_unique_count_as_often_as_they_occurred(monkeypatch):
    """3.4: remembered counts of embedding_lookup_sparse are used for their part, and all lookups are summed."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    b = variable(dim=2)
    sp_ids = tf.SparseTensor([[0, 0], [0, 1], [1, 0], [1, 1]], np.array([7, 7, 7, 9], np.int64), [2, 2])
    combined = tf.nn.embedding_lookup_sparse(b, sp_ids, None, combiner="sum")
    single = tf.nn.embedding_lookup(b, keys(9, 9, 8))
    train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(combined) + tf.reduce_sum(single))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for n in (1, 2):
            sess.run(train)
            found = sess.run(b.get_frequency(keys(7, 8, 9, 10)))
            assert found.tolist() == [3 * n, n, 3 * n, 0]


def test_3_4_counts_survive_clipped_and_gated_gradients(monkeypatch):
    """3.4, 6: clipping acts on the IndexedSlices before the update; counts are still those of the lookups."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    b = variable(dim=2)
    sp_ids = tf.SparseTensor([[0, 0], [0, 1], [1, 0]], np.array([7, 7, 9], np.int64), [2, 2])
    loss = tf.reduce_sum(tf.nn.embedding_lookup_sparse(b, sp_ids, None, combiner="sum"))
    optimizer = tf.train.GradientDescentOptimizer(1.0)
    pairs = optimizer.compute_gradients(loss, gate_gradients=tf.train.Optimizer.GATE_GRAPH)
    clipped, _ = tf.clip_by_global_norm([g for g, _ in pairs], 0.5)
    assert isinstance(clipped[0], IndexedSlices)
    train = optimizer.apply_gradients(zip(clipped, [v for _, v in pairs], strict=True))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        assert sess.run(b.get_frequency(keys(7, 9))).tolist() == [2, 1]
        moved = 0.5 - sess.run(b.sparse_read(keys(7, 9)))
        np.testing.assert_allclose(moved, 0.5 * np.array([[2, 2], [1, 1]]) / np.sqrt(10), rtol=1e-6)


def test_3_4_partitioned_variables_count_in_their_parts(monkeypatch):
    """3.4, 1.5: counts go with their ids to the parts."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    b = variable(dim=2, **parted(3))
    sp_ids = tf.SparseTensor([[0, 0], [0, 1], [0, 2], [1, 0]], np.array([7, 4, 7, 9], np.int64), [2, 3])
    loss = tf.reduce_sum(tf.nn.embedding_lookup_sparse(b, sp_ids, None, combiner="mean"))
    train = tf.train.AdamOptimizer(0.1).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        found = [sess.run(part.get_frequency(keys(4, 7, 9))).tolist() for part in b]
    assert found == [[0, 0, 1], [1, 2, 0], [0, 0, 0]]


def test_6_an_id_that_is_not_admitted_is_only_counted(monkeypatch):
    """6, 3.4: unadmitted ids get counts and a version, no slot and no value; step 2 admits and updates."""
    monkeypatch.setenv("TF_RECORD_VERSION", "1")
    b = variable(ev_option=tf.EmbeddingVariableOption(filter_option=tf.CounterFilter(4)))
    training = Training(lambda s: tf.train.AdagradOptimizer(0.05), b=b, ids=(4, 4), gradient=1.5)
    training.run()
    assert training.read().tolist() == [[0.0], [0.0]]
    assert training.session.run([b.get_frequency(keys(4)), b.get_version(keys(4))]) == [[2], [0]]
    training.run()
    value, accum = training.read("accumulator", ids=(4,))
    np.testing.assert_allclose([value[0], accum[0]], [0.45027548, 9.1], rtol=1e-6)
    assert training.session.run([b.get_frequency(keys(4)), b.get_version(keys(4))]) == [[4], [1]]


# -- all kinds of input ---------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "slots"), SLOTS)
def test_6_repeated_ids_are_summed_once(make, slots):
    """6: g is the gradient summed over duplicates of the id."""
    twice = Training(make, ids=(4, 4, 4), gradient=((1.0,), (0.5,), (1.5,)), b=variable("twice"))
    once = Training(make, ids=(4,), gradient=3.0, b=variable("once"))
    np.testing.assert_array_equal(twice.run(3).read()[:1], once.run(3).read()[None])


@pytest.mark.parametrize(("make", "slots"), SLOTS)
def test_6_an_empty_batch_changes_nothing_and_32_bit_keys_work(make, slots):
    """6, 2: no ids, no change; keys may be int32, negative ones included."""
    b = variable(dim=2, key_dtype=tf.int32)
    ids = tf.placeholder(tf.int32, [None])
    step = tf.train.get_or_create_global_step()
    optimizer = make(step)
    train = optimizer.minimize(3.0 * tf.reduce_sum(b.sparse_read(ids)), global_step=step)
    own = [optimizer.get_slot(b, n) for n in optimizer.get_slot_names()]
    ordinary = [v for v in own if v.op.type != "KvVarHandleOp"]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = sess.run(ordinary)
        sess.run(train, {ids: []})
        assert sess.run(b.total_count()).tolist() == [0, 2]
        assert [p.tolist() for p in sess.run(ordinary)] == [p.tolist() for p in before]
        sess.run(train, {ids: [-5, 2**31 - 1]})
        values = sess.run(b.sparse_read(ids), {ids: [-5, 2**31 - 1, 6]})
    assert np.all(values[:2] < 0.5)
    assert np.all(values[0] == values[1])
    assert np.all(values[2] == 0.5)


@pytest.mark.parametrize(("make", "slots"), SLOTS)
@pytest.mark.parametrize("gradient", [NAN, INF, -INF])
def test_6_a_gradient_that_is_not_finite_stays_in_its_row(make, slots, gradient):
    """6: other rows of the same batch are what they would have been without it."""
    good = Training(make, ids=(1, 2), gradient=((1.0,), (2.0,)), b=variable("good"))
    bad = Training(make, ids=(1, 2, 3), gradient=((1.0,), (2.0,), (gradient,)), b=variable("bad"))
    np.testing.assert_array_equal(bad.run(2).read()[:2], good.run(2).read())
    assert bad.read(ids=(3,)) != 0.5


def test_6_one_optimizer_trains_several_variables():
    """6: each embedding variable has slots of its own, ordinary ones beside them keep TensorFlow's rule."""
    b, c = variable("b", 2), variable("c", 3, value=-1.0)
    w = tf.get_variable("w", initializer=[[0.5, 0.5]], use_resource=True)
    optimizer = tf.train.AdagradOptimizer(0.05)
    loss = 3.0 * (
        tf.reduce_sum(b.sparse_read(keys(1))) + tf.reduce_sum(c.sparse_read(keys(1, 2))) + tf.reduce_sum(w)
    )
    train = optimizer.minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        found = sess.run([b.sparse_read(keys(1)), w])
        np.testing.assert_allclose(found, np.full((2, 1, 2), 0.45027548), rtol=1e-6)
        np.testing.assert_allclose(sess.run(c.sparse_read(keys(1, 2))), -1.04972452, rtol=1e-6)
        assert sess.run(optimizer.get_slot(c, "accumulator").total_count()).tolist() == [2, 3]


@pytest.mark.parametrize("kind", ["tensor", "callable", "placeholder", "variable"])
@pytest.mark.parametrize(
    "make",
    [
        lambda lr, s: tf.train.GradientDescentOptimizer(lr),
        lambda lr, s: tf.train.AdagradOptimizer(lr),
        lambda lr, s: tf.train.AdagradDecayOptimizer(lr, s),
        lambda lr, s: tf.train.AdamOptimizer(lr),
        lambda lr, s: tf.train.AdamAsyncOptimizer(lr),
        lambda lr, s: tf.train.AdamWOptimizer(0.01, lr),
        lambda lr, s: tf.train.MomentumOptimizer(lr, 0.9),
        lambda lr, s: tf.train.RMSPropOptimizer(lr),
    ],
)
def test_6_the_learning_rate_may_be_a_tensor_or_a_function(make, kind):
    """6, TensorFlow: a number, a tensor or a function that gives one; all the same."""
    rate = {
        "tensor": lambda: tf.constant(0.05),
        "callable": lambda: lambda: tf.constant(0.05),
        "placeholder": lambda: tf.placeholder_with_default(0.05, []),
        "variable": lambda: tf.get_variable("rate", initializer=0.05),
    }[kind]()
    found = Training(lambda s: make(rate, s), b=variable("found")).run(2).read()
    expected = Training(lambda s: make(0.05, s), b=variable("expected")).run(2).read()
    np.testing.assert_array_equal(found, expected)


# -- ops ------------------------------------------------------------------------------------------

INPUTS = {
    "Adagrad": "var accum lr grad indices global_step",
    "AdagradDecay": "var accum accum_decay_power lr accum_decay_step accum_decay_rate accum_baseline global_step grad"
    " indices",
    "Adam": "var m v beta1_power beta2_power lr beta1 beta2 epsilon grad indices global_step",
    "AdamAsync": "var m v beta1_power beta2_power lr beta1 beta2 epsilon grad indices global_step",
    "AdamW": "var m v beta1_power beta2_power lr beta1 beta2 epsilon grad indices global_step weight_decay",
    "Ftrl": "var accum linear grad indices lr l1 l2 lr_power",
    "FtrlV2": "var accum linear grad indices lr l1 l2 l2_shrinkage lr_power",
    "GradientDescent": "var alpha grad indices global_step",
}


@pytest.mark.parametrize("rule", INPUTS)
def test_2_4_ops_have_deeprecs_inputs(rule):
    """2.4: inputs in order; the form with counts has one more at the end, called counts for GradientDescent."""
    name = f"KvResourceSparseApply{rule}"
    plain, counted = (registry.global_registry.look_up(n).op_def for n in (name, name + "WithCounts"))
    assert [a.name for a in plain.inputs] == INPUTS[rule].split()
    last = "counts" if rule == "GradientDescent" else "indices_counts"
    assert [a.name for a in counted.inputs] == [*INPUTS[rule].split(), last]
    assert counted.to_proto().input_arg[-1].type == 9  # DT_INT64
    resources = [a.name for a in plain.to_proto().input_arg if a.type == 20]  # DT_RESOURCE
    expected = [
        n for n in INPUTS[rule].split() if n in ("var", "accum", "accum_decay_power", "linear", "m", "v")
    ]
    assert resources == expected + (["beta1_power", "beta2_power"] if rule == "AdamAsync" else [])


def run_op(op, *inputs, **attrs):
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(op(*inputs, **attrs))


def slots_of(n):
    b = variable(dim=2)
    optimizer = tf.train.AdamOptimizer(0.1) if n == 2 else tf.train.AdagradOptimizer(0.1)
    optimizer.minimize(tf.reduce_sum(b.sparse_read(keys(1))))
    names = ("m", "v") if n == 2 else ("accumulator",)
    return b, [optimizer.get_slot(b, name) for name in names]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": 0.0}, "lr is not a positive scalar"),
        ({"lr": NAN}, "lr is not a positive scalar"),
        ({"l1": -1.0}, "l1 regularization strength is not a non-negative scalar"),
        ({"l2": -1.0}, "l2 regularization strength is not a non-negative scalar"),
        ({"l2_shrinkage": -1.0}, "l2 shrinkage regularization strength is not a non-negative scalar"),
        ({"lr_power": 0.5}, "lr_power is not a non-positive scalar"),
    ],
)
def test_2_4_ftrl_refuses_numbers_out_of_range(changed, message):
    """2.4, TensorFlow: InvalidArgument as the dense ops have it."""
    from kvarn.ops import training_kv

    b, slots = slots_of(2)
    numbers = {"lr": 0.1, "l1": 0.0, "l2": 0.0, "l2_shrinkage": 0.0, "lr_power": -0.5} | changed
    with pytest.raises(errors.InvalidArgumentError, match=message):
        run_op(
            training_kv.kv_resource_sparse_apply_ftrl_v2,
            b.handle,
            *(s.handle for s in slots),
            tf.constant([[1.0, 2.0]]),
            keys(1),
            *numbers.values(),
        )


def test_2_4_a_decay_step_of_zero_is_refused():
    """2.4: where DeepRec divides by zero."""
    from kvarn.ops import training_kv

    b, slots = slots_of(2)
    with pytest.raises(errors.InvalidArgumentError, match="accum_decay_step must be positive: 0"):
        run_op(
            training_kv.kv_resource_sparse_apply_adagrad_decay,
            b.handle,
            *(s.handle for s in slots),
            0.1,
            tf.constant(0, tf.int64),
            0.5,
            0.1,
            tf.constant(1, tf.int64),
            tf.constant([[1.0, 2.0]]),
            keys(1),
        )


def test_2_4_shapes_are_checked_when_the_node_is_made():
    """2.4: lr is a scalar, indices a vector, grad has a row for each index and the row's length."""
    from kvarn.ops import training_kv

    b, (slot,) = slots_of(1)
    apply = training_kv.kv_resource_sparse_apply_adagrad_with_counts
    step, good = tf.constant(0, tf.int64), tf.constant([[1.0, 2.0]])
    one = tf.constant([1], tf.int64)
    apply(b.handle, slot.handle, 0.1, good, keys(1), step, one)
    for lr, grad, indices, counts in (
        ([0.1], good, keys(1), one),
        (0.1, tf.constant([[1.0]]), keys(1), one),
        (0.1, good, keys(1, 2), one),
        (0.1, good, tf.constant([[1]], tf.int64), one),
        (0.1, good, keys(1), tf.constant([1, 2], tf.int64)),
    ):
        with pytest.raises(ValueError, match=r"hape|imension"):
            apply(b.handle, slot.handle, lr, grad, indices, step, counts)


@pytest.mark.parametrize(
    ("fed", "message"),
    [
        ({"lr": [0.1, 0.2]}, "lr is not a scalar"),
        ({"step": [1]}, "global_step is not a scalar"),
        ({"grad": [[1.0]]}, "grads of shape"),
        ({"ids": [[1]]}, "indices must be one-dimensional"),
        ({"ids": [1, 2]}, "grads of shape"),
        ({"counts": [1, 2]}, "counts"),
        ({"counts": [-1]}, "counts"),
    ],
)
def test_2_4_shapes_are_checked_when_the_update_runs(fed, message, monkeypatch):
    """2.4: what was not known when the node was made is InvalidArgument later, and nothing has changed."""
    from kvarn.ops import training_kv

    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    b, (slot,) = slots_of(1)
    given = {"lr": 0.1, "grad": [[1.0, 2.0]], "ids": [1], "step": 0, "counts": [1]} | fed
    types = {"lr": tf.float32, "grad": tf.float32, "ids": tf.int64, "step": tf.int64, "counts": tf.int64}
    inputs = {name: tf.placeholder(types[name]) for name in given}
    update = training_kv.kv_resource_sparse_apply_adagrad_with_counts(b.handle, slot.handle, *inputs.values())
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        feed = {inputs[name]: value for name, value in given.items()}
        with pytest.raises(errors.InvalidArgumentError, match=message):
            sess.run(update, feed)
        assert sess.run(b.total_count()).tolist() == [0, 2]


def test_2_4_addresses_as_indices_are_refused():
    """2.4: indices_as_pointer, which a pass over DeepRec's own session sets; keys would be taken for addresses."""
    from kvarn.ops import training_kv

    b = variable(dim=2)
    inputs = (b.handle, 0.1, tf.constant([[1.0, 2.0]]), keys(1), tf.constant(0, tf.int64))
    with pytest.raises(errors.UnimplementedError, match="indices_as_pointer"):
        run_op(training_kv.kv_resource_sparse_apply_gradient_descent, *inputs, indices_as_pointer=True)


def test_2_4_handles_of_another_variable_are_refused():
    """2.4: a slot belongs to the entry of its primary."""
    from kvarn.ops import training_kv

    b, (slot,) = slots_of(1)
    with tf.variable_scope("other"):
        _, (strange,) = slots_of(1)
    rest = (0.1, tf.constant([[1.0, 2.0]]), keys(1), tf.constant(0, tf.int64))
    apply = training_kv.kv_resource_sparse_apply_adagrad
    with pytest.raises(errors.InvalidArgumentError, match="'other/other/b/Adagrad' is no slot of"):
        run_op(apply, b.handle, strange.handle, *rest)
    with pytest.raises(errors.InvalidArgumentError, match="'b/Adagrad' is an optimizer's slot"):
        run_op(apply, slot.handle, b.handle, *rest)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tf.train.AdadeltaOptimizer(),
        lambda: tf.train.ProximalAdagradOptimizer(0.1),
        lambda: tf.train.ProximalGradientDescentOptimizer(0.1),
        lambda: tf.train.AdagradDAOptimizer(0.1, tf.train.get_or_create_global_step()),
    ],
)
def test_2_4_optimizers_without_a_rule_refuse_at_construction(make):
    """2.4: there is no such op."""
    b = variable()
    with pytest.raises(errors.UnimplementedError, match="cannot train embedding variable 'b'"):
        make().minimize(tf.reduce_sum(b.sparse_read(keys(1))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial_accumulator_value": 0.0}, "initial_accumulator_value must be positive: 0.0"),
        ({"accumulator_decay_step": 0}, "accumulator_decay_step must be positive: 0"),
        ({"accumulator_decay_rate": 1.0}, r"accumulator_decay_rate must be in \(0.0, 1.0\): 1.0"),
        ({"accumulator_decay_rate": 0.0}, r"accumulator_decay_rate must be in \(0.0, 1.0\): 0.0"),
    ],
)
@pytest.mark.parametrize("version", ["", "V2"])
def test_6_adagrad_decay_checks_its_numbers(arguments, message, version):
    """6: the ranges of AdagradDecayOptimizer and its second version."""
    step = tf.train.get_or_create_global_step()
    with pytest.raises(ValueError, match=message):
        getattr(tf.train, f"AdagradDecayOptimizer{version}")(0.1, step, **arguments)
