"""Records what the function optimizer of TensorFlow 1.15.5 makes of calls: run it with that release's Python.

    python record_functions.py functions.json.gz

Each case has a graph, what is fetched, and the graph that comes out.
"""

import gzip
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.eager import function as eager_function
from tensorflow.python.framework.function import Defun
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training import saver

tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)

CASES = []


def case(build):
    CASES.append(build)
    return build


def scalar(name="a"):
    return tf.placeholder(tf.float32, [], name=name)


@case
def call_that_waits():
    @Defun(tf.float32, tf.float32)
    def function(x, y):
        return tf.multiply(tf.add(x, y, name="z"), 2.0, name="w")

    with tf.control_dependencies([tf.constant(3.0, name="before")]):
        y = function(scalar(), tf.constant(2.0, name="b"), name="call")
    with tf.control_dependencies([y.op]):
        after = tf.constant(1.0, name="after")
    return [tf.identity(y, name="out"), after]


@case
def nested_calls():
    @Defun(tf.float32)
    def inner(x):
        return tf.square(x, name="square"), tf.negative(x, name="negative")

    @Defun(tf.float32)
    def outer(x):
        p, q = inner(x, name="inner")
        with tf.control_dependencies([p]):
            return inner(q, name="again")[1] + p

    a = scalar()
    return [tf.identity(outer(outer(a, name="first"), name="second"), name="out"), inner(a, name="third")[0]]


@case
def noinline():
    @Defun(tf.float32, noinline=True)
    def kept(x):
        return tf.square(x, name="square")

    @Defun(tf.float32)
    def function(x):
        return kept(x, name="inner") + 1.0

    with tf.control_dependencies([tf.constant(3.0, name="before")]):
        return [tf.identity(function(scalar(), name="call"), name="out")]


@case
def fetched_call():
    @Defun(tf.float32)
    def function(x):
        return tf.square(x, name="square")

    tf.constant(1.0, name="unused")
    return [function(scalar(), name="call")]


@case
def effects_without_results():
    @Defun(tf.float32)
    def function(x):
        tf.random_uniform([], name="number")
        return tf.square(x, name="square")

    return [tf.identity(function(scalar(), name="call"), name="out")]


@case
def effects_with_results():
    @Defun(tf.float32)
    def function(x):
        return tf.square(x, name="square") + tf.random_uniform([], name="number", seed=1)

    return [tf.identity(function(scalar(), name="call"), name="out")]


@case
def unused_call():
    @Defun(tf.float32)
    def function(x):
        return tf.square(x, name="square")

    a = scalar()
    function(a, name="call")
    return [tf.identity(a, name="out"), tf.negative(a), tf.exp(a)]


@case
def device_of_call():
    @Defun(tf.float32)
    def function(x):
        with tf.device("/cpu:0"):
            y = tf.square(x, name="square")
        return y + 1.0

    a = scalar()
    with tf.device("/job:worker"):
        y = function(a, name="call")
    return [tf.identity(y, name="out")]


@case
def reference_argument():
    @Defun(tf.float32)
    def function(x):
        return x + 1.0

    variable = tf.Variable(1.0, name="v")
    return [tf.multiply(function(variable), 2.0, name="out"), variable]


@case
def stateful_partitioned_call():
    variable = tf.get_variable("v", initializer=1.0, use_resource=True)

    @eager_function.defun
    def function(x):
        with tf.control_dependencies([variable.assign_add(1.0)]):
            return x * variable

    y = function(scalar())
    with tf.control_dependencies([tf.constant(3.0, name="before")]):
        z = function(y)
    with tf.control_dependencies([z.op]):
        after = tf.constant(1.0, name="after")
    return [tf.identity(z, name="out"), after]


@case
def stateful_call_without_resource():
    @eager_function.defun
    def function(x):
        tf.print("effect")
        return x * 2.0

    return [tf.identity(function(scalar()), name="out")]


@case
def partitioned_calls():
    @eager_function.defun
    def inner(x):
        return x * 2.0

    @eager_function.defun
    def outer(x):
        return inner(x) + 1.0, x

    y, z = outer(scalar())
    with tf.control_dependencies([y.op]):
        after = tf.constant(1.0, name="after")
    return [tf.identity(y, name="out"), z, after]


@case
def partitioned_call_that_reads():
    variable = tf.get_variable("v", initializer=1.0, use_resource=True)
    read = eager_function.defun(lambda x: x * variable)
    return [tf.identity(read(scalar()), name="out")]


@case
def partitioned_call_that_draws():
    draw = eager_function.defun(lambda x: x * tf.random_uniform([], seed=1))
    return [tf.identity(draw(scalar()), name="out")]


@case
def effect_that_is_waited_for():
    @eager_function.defun
    def function(x):
        tf.print("effect")
        return x * 2.0

    y = function(scalar())
    with tf.control_dependencies([y.op]):
        return [tf.identity(y, name="out")]


@case
def calls_without_arguments():
    @Defun()
    def direct():
        return tf.constant(1.0, name="one")

    partitioned = eager_function.defun(lambda: tf.constant(2.0, name="two"))
    return [tf.add(direct(name="call"), partitioned(), name="out"), scalar()]


@case
def devices_of_partitioned_calls():
    @eager_function.defun
    def function(x):
        with tf.device("/cpu:0"):
            y = tf.square(x, name="square")
        return y + 1.0

    with tf.device("/job:other"):
        a = scalar()
    with tf.device("/job:worker"):
        y = function(a)
    with tf.control_dependencies([y.op]):
        return [tf.identity(y, name="out"), tf.constant(1.0)]


@case
def small_graph():
    @Defun(tf.float32)
    def function(x):
        return x + 1.0

    return [function(scalar(), name="call")]


def recorded(build):
    with tf.Graph().as_default() as graph:
        fetches = [x.op.name for x in build()]
        meta_graph = saver.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    meta_graph.collection_def["train_op"].node_list.value.extend(fetches)
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers.append("function")
    options.min_graph_nodes = 0 if build is small_graph else -1
    made = tf_optimizer.OptimizeGraph(config, meta_graph)
    return {
        "name": build.__name__,
        "min_graph_nodes": options.min_graph_nodes,
        "fetches": fetches,
        "graph": str(meta_graph.graph_def),
        "made": str(made),
    }


if __name__ == "__main__":
    text = json.dumps([recorded(build) for build in CASES], indent=0)
    with open(sys.argv[1], "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(text.encode())
