"""Records graphs that call functions, what is fed and what comes out; run with TensorFlow 1.15.5."""

import gzip
import json
import os

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.python.framework import function
from tensorflow.python.ops import control_flow_util, functional_ops, gen_functional_ops

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = []


def case(build):
    graph = tf.Graph()
    with graph.as_default():
        runs, fetches = build()
        init = tf.global_variables_initializer() if tf.global_variables() else None
        recorded = []
        with tf.Session() as session:
            if init is not None:
                session.run(init)
            for feeds in runs:
                out = [np.asarray(session.run(t, feeds)) for t in fetches]
                recorded.append(
                    {
                        "feeds": {k.name: np.asarray(v).tolist() for k, v in feeds.items()},
                        "out": [[str(v.dtype), list(v.shape), v.ravel().tolist()] for v in out],
                    }
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


def scalar(name, dtype=tf.float32):
    return tf.placeholder(dtype, [], name=name)


@case
def defun():
    @function.Defun(tf.float32, tf.float32)
    def plus_product(a, b):
        return a + b, a * b

    x, y = scalar("x"), scalar("y")
    return [{x: 2.0, y: 3.0}], list(plus_product(x, y))


@case
def defun_in_defun():
    @function.Defun(tf.float32)
    def square(a):
        return a * a

    @function.Defun(tf.float32)
    def fourth(a):
        return square(square(a))

    x = scalar("x")
    return [{x: 1.5}], [fourth(x)]


@case
def defun_with_captures():
    x, y = scalar("x"), scalar("y")

    @function.Defun(tf.float32)
    def scaled(a):
        return a * y

    return [{x: 2.0, y: 3.0}], [scaled(x)]


@case
def defun_gradient():
    @function.Defun(tf.float32, tf.float32)
    def product(a, b):
        return tf.sin(a) * b

    x, y = scalar("x"), scalar("y")
    return [{x: 0.5, y: 3.0}], tf.gradients(product(x, y) * 2.0, [x, y])


@case
def defun_with_its_own_gradient():
    @function.Defun(tf.float32, tf.float32)
    def gradient(a, dy):
        return dy * 10.0

    @function.Defun(tf.float32, grad_func=gradient)
    def twice(a):
        return a * 2.0

    x = scalar("x")
    return [{x: 0.5}], tf.gradients(twice(x), x)


@case
def partitioned_calls():
    @function.Defun(tf.float32, tf.float32)
    def plus_product(a, b):
        return a + b, a * b

    x, y = scalar("x"), scalar("y")
    return [{x: 2.0, y: 3.0}], list(functional_ops.partitioned_call([x, y], plus_product))


@case
def functions_with_variables():
    v = tf.get_variable("v", initializer=1.0, use_resource=True)

    @function.Defun(tf.float32)
    def add(a):
        with tf.control_dependencies([v.assign_add(a)]):
            return v.read_value()

    x = scalar("x")
    return [{x: 2.0}, {x: 3.0}], [functional_ops.partitioned_call([x, *add.captured_inputs], add)[0]]


@case
def conditionals():
    @function.Defun(tf.float32)
    def double(a):
        return a * 2.0

    @function.Defun(tf.float32)
    def negate(a):
        return -a

    p, x = tf.placeholder(tf.bool, [], name="p"), scalar("x")
    i, s = scalar("i", tf.int32), tf.placeholder(tf.string, [], name="s")
    return [{p: True, x: 3.0, i: 0, s: ""}, {p: False, x: 3.0, i: 5, s: "yes"}], [
        functional_ops.If(p, [x], double, negate)[0],
        functional_ops.If(i, [x], double, negate)[0],
        functional_ops.If(s, [x], double, negate)[0],
        gen_functional_ops.stateless_if(p, [x], [tf.float32], double, negate)[0],
        gen_functional_ops.case(i, [x], [tf.float32], [double, negate])[0],
    ]


@case
def loops():
    @function.Defun(tf.int32, tf.float32)
    def below(i, a):
        return i < 5

    @function.Defun(tf.int32, tf.float32)
    def grow(i, a):
        return i + 1, a * 1.5

    @function.Defun(tf.int32, tf.float32)
    def step(i, a):
        return a + tf.to_float(i)

    i, x = scalar("i", tf.int32), scalar("x")
    return [{i: 0, x: 1.0}, {i: 7, x: 1.0}], [
        functional_ops.While([i, x], below, grow)[1],
        gen_functional_ops.stateless_while([i, x], below, grow)[1],
        functional_ops.For(0, i, 2, [x], step)[0],
        functional_ops.For(5, 0, -1, [x], step)[0],
    ]


@case
def conditionals_of_version_2():
    p, x = tf.placeholder(tf.bool, [], name="p"), scalar("x")
    w = tf.get_variable("w", initializer=2.0, use_resource=True)
    control_flow_util.ENABLE_CONTROL_FLOW_V2 = True
    y = tf.cond(p, lambda: x * w, lambda: tf.sin(x))
    _, z = tf.while_loop(lambda i, z: i < 3, lambda i, z: (i + 1, z * w), [0, x])
    gradients = tf.gradients(y, [x, w])
    control_flow_util.ENABLE_CONTROL_FLOW_V2 = False
    return [{p: True, x: 3.0}, {p: False, x: 3.0}], [y, z, *gradients]


with gzip.GzipFile(os.path.join(HERE, "graphs.json.gz"), "wb", mtime=0) as file:
    file.write(json.dumps({"made_by": "tensorflow " + tf.__version__, "cases": CASES}).encode())
print(len(CASES), "cases")
