"""Records graphs with conditionals and loops, what is fed and what comes out; run with TensorFlow 1.15.5."""

import json
import os

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = []


def outcome(session, tensor, feeds):
    try:
        return {"value": np.asarray(session.run(tensor, feeds)).tolist()}
    except tf.errors.OpError as e:
        return {"error": type(e).__name__, "message": e.message.split("\n")[0]}


def case(build):
    """Records what `build` makes: feeds of each run, and tensors to fetch one by one."""
    graph = tf.Graph()
    with graph.as_default():
        runs, fetches = build()
        init = tf.global_variables_initializer() if tf.global_variables() else None
        recorded = []
        with tf.Session() as session:
            if init is not None:
                session.run(init)
            for feeds in runs:
                out = [outcome(session, tensor, feeds) for tensor in fetches]
                recorded.append(
                    {"feeds": {k.name: np.asarray(v).tolist() for k, v in feeds.items()}, "out": out}
                )
        CASES.append(
            {
                "name": build.__name__,
                "init": None if init is None else init.name,
                "fetches": [t.name for t in fetches],
                "runs": recorded,
                "graph": text_format.MessageToString(graph.as_graph_def(), as_one_line=True),
            }
        )
    return build


@case
def cond():
    x, p = tf.placeholder(tf.float32, [], name="x"), tf.placeholder(tf.bool, [], name="p")
    return [{x: 3.0, p: True}, {x: 3.0, p: False}], [tf.cond(p, lambda: x * 2, lambda: x - 1)]


@case
def nested_cond():
    x = tf.placeholder(tf.int32, [], name="x")
    y = tf.cond(x > 0, lambda: tf.cond(x > 10, lambda: x * 100, lambda: x + 1), lambda: tf.constant(-7))
    return [{x: 20}, {x: 5}, {x: -5}], [y]


@case
def cond_with_effects():
    p = tf.placeholder(tf.bool, [], name="p")
    v, w = tf.Variable(1, name="v", use_resource=True), tf.Variable(1, name="w")
    y = tf.cond(p, lambda: v.assign_add(10).op, lambda: tf.assign(w, 5).op)
    with tf.control_dependencies([y.op]):
        after = tf.stack([v.read_value(), tf.identity(w)])
    return [{p: True}, {p: False}, {p: True}], [after]


@case
def case_of_several():
    x = tf.placeholder(tf.int32, [], name="x")
    y = tf.case([(x < 0, lambda: tf.constant(-1)), (x > 100, lambda: x // 100)], default=lambda: x)
    return [{x: -4}, {x: 7}, {x: 450}], [y]


@case
def while_loop():
    n = tf.placeholder(tf.int32, [], name="n")
    i, s = tf.while_loop(lambda i, s: i < n, lambda i, s: (i + 1, s + tf.cast(i, tf.float32) * 0.5), [0, 1.0])
    return [{n: 10}, {n: 0}, {n: 3}], [i, s]


@case
def while_with_invariants():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    i, m = tf.while_loop(
        lambda i, m: tf.less(i, 3),
        lambda i, m: (i + 1, tf.concat([m, x], 0)),
        [tf.constant(0), x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 2])],
    )
    return [{x: [[1.0, 2.0]]}, {x: [[1.0, 2.0], [3.0, 4.0]]}], [i, m]


@case
def nested_while():
    n = tf.placeholder(tf.int32, [], name="n")

    def body(i, t):
        _, u = tf.while_loop(lambda j, u: j < i, lambda j, u: (j + 1, u + i * j), [0, t])
        return i + 1, u

    i, t = tf.while_loop(lambda i, t: i < n, body, [0, 0])
    return [{n: 5}, {n: 1}, {n: 8}], [i, t]


@case
def cond_in_while():
    n = tf.placeholder(tf.int32, [], name="n")
    i, e = tf.while_loop(
        lambda i, e: i < n,
        lambda i, e: (i + 1, tf.cond(tf.equal(i % 2, 0), lambda: e + i, lambda: e * 2)),
        [0, 1],
    )
    return [{n: 6}, {n: 7}], [i, e]


@case
def while_in_cond():
    p = tf.placeholder(tf.bool, [], name="p")
    y = tf.cond(p, lambda: tf.while_loop(lambda i: i < 5, lambda i: i + 2, [0]), lambda: tf.constant(-3))
    return [{p: True}, {p: False}], [y]


@case
def while_with_variables():
    v, w = tf.Variable(0.0, name="v", use_resource=True), tf.Variable([1.0, 2.0], name="w")

    def body(i):
        with tf.control_dependencies([v.assign_add(tf.cast(i, tf.float32))]):
            return i + 1

    i = tf.while_loop(lambda i: i < 4, body, [1])
    with tf.control_dependencies([i]):
        read = v.read_value()
    _, s = tf.while_loop(lambda j, s: j < 3, lambda j, s: (j + 1, s + w), [0, tf.zeros([2])])
    return [{}, {}], [read, s]


@case
def error_in_a_round():
    n = tf.placeholder(tf.int32, [], name="n")
    _, s = tf.while_loop(lambda i, s: i < n, lambda i, s: (i + 1, s + 10 // (2 - i)), [0, 0])
    return [{n: 2}, {n: 4}], [s]


with open(os.path.join(HERE, "graphs.json"), "w") as file:
    json.dump({"made_by": "tensorflow " + tf.__version__, "cases": CASES}, file)
