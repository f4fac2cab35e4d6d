"""Records what the graph tools of TensorFlow 1.15.5 make of graphs: run it with that release's Python.

    python record.py transforms.json.gz

Each case has a graph, the names of its inputs and outputs, the transforms, and the graph that comes out or the error.
Numbers that TensorFlow counts up over a process (``__cf__3``) are recorded as they come.
"""

import gzip
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tensorflow.python.tools import optimize_for_inference_lib, strip_unused_lib
from tensorflow.tools.graph_transforms import TransformGraph

tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)

GRAPHS = {}


def graph(build):
    """Names the graph that a function builds after it."""

    def built():
        with tf.Graph().as_default() as g:
            build()
        graph_def = g.as_graph_def()
        for node in graph_def.node:
            if node.op == "FusedBatchNorm" and node.name in ("scaled", "plain"):
                before_version_9(node)
        return graph_def

    GRAPHS[build.__name__] = built
    return build


@graph
def layers():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    other = tf.placeholder(tf.int64, [], name="other")
    w = tf.constant([[1.0, 2.0], [3.0, 4.0]], name="w")
    checked = tf.debugging.check_numerics(tf.matmul(x, w, name="matmul"), "bad", name="checked")
    with tf.device("/cpu:0"), tf.control_dependencies([checked]):
        same = tf.identity(checked, name="same")
    with tf.control_dependencies([same]):
        again = tf.identity(same, name="again")
    parts = tf.split(again, 2, axis=1, name="parts")
    second = tf.identity(parts[1], name="second")
    tf.add(second, parts[0], name="y")
    tf.cast(other, tf.float32, name="unused")
    with tf.control_dependencies([second]):
        tf.no_op(name="done")


@graph
def constants():
    x = tf.placeholder(tf.float32, [4, None], name="x")
    a, b = tf.constant(2.0, name="a"), tf.constant([3.0, 5.0, 7.0], name="b")
    product = tf.multiply(a, b, name="product")
    folded = tf.add(product, 1.0, name="folded")
    first, second = tf.split(tf.constant([[1.0], [2.0]]), 2, name="halves")
    both = tf.add(first, second, name="both")
    known = tf.placeholder(tf.float32, [4, 3], name="known")
    rows = tf.cast(tf.shape(known, name="shape"), tf.float32, name="rows")
    rank = tf.rank(x, name="rank")
    size = tf.size(known, name="size")
    default = tf.placeholder_with_default(tf.constant(4.0, name="four"), [], name="default")
    scaled = tf.multiply(default, a, name="scaled")
    sum_ = tf.add_n([tf.reduce_sum(folded), tf.reduce_sum(both), tf.reduce_sum(rows), scaled], name="sum")
    y = tf.multiply(x, sum_, name="y")
    with tf.control_dependencies([y]):
        waited = tf.identity(product, name="waited")
    tf.multiply(tf.cast(rank * size, tf.float32), known, name="z")
    tf.concat([waited, tf.reshape(y, [-1])], 0, name="w")
    tf.random_uniform([2], seed=1, name="random")


@graph
def shapes():
    x = tf.placeholder(tf.float32, [4, None], name="x")
    known = tf.placeholder(tf.float32, [4, 3], name="known")
    other = tf.placeholder_with_default(tf.constant([1.0, 2.0], name="two"), [2], name="other")
    shape = tf.raw_ops.Shape(input=known, name="shape")
    both = tf.raw_ops.ShapeN(input=[other, known], out_type=tf.int64, name="both")
    rank = tf.raw_ops.Rank(input=x, name="rank")
    size = tf.raw_ops.Size(input=known, name="size")
    tf.raw_ops.Size(input=x, name="unknown")
    y = tf.reshape(x, shape, name="y")
    z = tf.add(tf.cast(rank * size, tf.int64), both[0], name="z")
    with tf.control_dependencies([y]):
        again = tf.raw_ops.Shape(input=known, name="again")
    tf.add(again, tf.cast(z, tf.int32), name="w")
    tf.add(tf.cast(both[1], tf.float32), x, name="v")


@graph
def norms():
    x = tf.placeholder(tf.float32, [1, 4, 4, 2], name="x")
    flat = tf.placeholder(tf.float32, [None, 2], name="flat")
    kernel = tf.constant(np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) / 7, name="kernel")
    conv = tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "VALID", name="conv")
    tf.multiply(conv, tf.constant([2.0, 3.0, 5.0], name="scale"), name="conv_y")
    dense = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], name="dense")
    product = tf.matmul(flat, dense, name="product")
    tf.multiply(product, tf.constant([0.1, 0.2, 0.3], name="factor"), name="dense_y")
    deep = tf.constant(np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2) / 3, name="deep")
    depth = tf.nn.depthwise_conv2d(x, deep, [1, 1, 1, 1], "SAME", name="depth")
    tf.multiply(depth, tf.constant([1.0, 10.0, 100.0, 1000.0], name="tens"), name="depth_y")
    shared = tf.matmul(flat, tf.constant([[1.0], [2.0]], name="shared_w"), name="shared")
    tf.add(tf.multiply(shared, tf.constant([3.0], name="three"), name="shared_y"), shared, name="both")


@graph
def bad_norm():
    flat = tf.placeholder(tf.float32, [None, 2], name="flat")
    product = tf.matmul(flat, tf.constant([[1.0, 2.0], [3.0, 4.0]]), name="product")
    tf.multiply(product, tf.constant(3.0, name="scalar"), name="y")


def batch_norm(value, name, width=3):
    from tensorflow.python.ops import gen_nn_ops

    mean, variance, beta, gamma = (
        tf.constant(np.linspace(a, a + 1, width, dtype=np.float32), name=f"{name}_{i}")
        for i, a in enumerate((0.5, 1.0, -2.0, 3.0))
    )
    return gen_nn_ops._fused_batch_norm(
        value, gamma, beta, mean, variance, 0.01, is_training=False, name=name
    )


def before_version_9(node):
    """Makes a batch norm one that only graphs of old versions may have, which can no longer be built."""
    conv, gamma, beta, mean, variance = node.input
    node.op = "BatchNormWithGlobalNormalization"
    node.input[:] = [conv, mean, variance, beta, gamma]
    node.attr["variance_epsilon"].f = node.attr["epsilon"].f
    node.attr["scale_after_normalization"].b = node.name == "scaled"
    for key in ("epsilon", "data_format", "is_training"):
        del node.attr[key]


@graph
def old_norms():
    x = tf.placeholder(tf.float32, [1, 4, 4, 2], name="x")
    for name in ("scaled", "plain", "fused"):
        kernel = tf.constant(np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) / 7, name=name + "_kernel")
        conv = tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "VALID", name=name + "_conv")
        batch_norm(conv, name)
    kernel = tf.constant(np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2) / 3, name="deep")
    batch_norm(tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME", name="depth"), "fused_depth", 4)
    spread = tf.space_to_batch_nd(x, [2, 2], [[0, 0], [0, 0]], name="spread")
    kernel = tf.constant(np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3), name="spread_kernel")
    conv = tf.nn.conv2d(spread, kernel, [1, 1, 1, 1], "SAME", name="spread_conv")
    batch_norm(tf.batch_to_space_nd(conv, [2, 2], [[0, 0], [0, 0]], name="gathered"), "fused_spread")
    convs = [
        tf.nn.conv2d(
            x,
            tf.constant(np.arange(4 * n, dtype=np.float32).reshape(1, 2, 2, n) - 3, name=f"k{n}"),
            [1, 1, 1, 1],
            "SAME",
            name=f"conv{n}",
        )
        for n in (1, 2)
    ]
    batch_norm(tf.concat(convs, 3, name="joined"), "fused_joined")


@graph
def weights():
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    w = tf.constant(np.linspace(-1, 3, 32, dtype=np.float32).reshape(4, 8), name="w")
    equal = tf.constant(np.full([4, 8], 2.0, np.float32), name="equal")
    small = tf.constant([1.0] * 8, name="small")
    tf.add(tf.matmul(x, w) + tf.matmul(x, equal), small, name="y")


@graph
def loop():
    x = tf.placeholder(tf.float32, [], name="x")
    _, y = tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v * 2.0), [tf.constant(0), x])
    tf.identity(y, name="y")


@graph
def pads():
    x = tf.placeholder(tf.float32, [1, 4, 4, 2], name="x")
    kernel = tf.constant(np.ones([2, 2, 2, 1], np.float32), name="kernel")
    bigger = tf.image.resize_bilinear(x, [8, 8], name="bigger")
    padded = tf.pad(bigger, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT", name="padded")
    tf.nn.conv2d(padded, kernel, [1, 1, 1, 1], "VALID", name="both")
    tf.nn.conv2d(
        tf.pad(x, [[0, 0], [2, 2], [2, 2], [0, 0]], "SYMMETRIC", name="pad_only"),
        kernel, [1, 2, 2, 1], "VALID", name="pad",
    )  # fmt: skip
    tf.nn.conv2d(
        tf.image.resize_bilinear(x, [6, 6], name="size_only"), kernel, [1, 1, 1, 1], "SAME", name="size"
    )


CASES = [
    ("layers", "x", "y", "strip_unused_nodes"),
    ("layers", "same", "y", 'strip_unused_nodes(type=double, shape="2,2")'),
    ("layers", "same", "y", 'strip_unused_nodes(name=same, type_for_name=int32, shape_for_name="3,1")'),
    ("layers", "x", "gone", "strip_unused_nodes"),
    ("layers", "same", "y", "strip_unused_nodes(type=strange)"),
    ("layers", "same", "y", "strip_unused_nodes(shape=a)"),
    ("layers", "same", "y", "strip_unused_nodes(name=same)"),
    ("layers", "same", "y", "strip_unused_nodes(type=float, type=double)"),
    ("layers", "x", "y", "remove_nodes(op=Identity)"),
    ("layers", "x", "y", "remove_nodes(op=Identity, op=CheckNumerics)"),
    ("layers", "x", "second", "remove_nodes(op=Identity, op=MatMul, max_inputs=2)"),
    ("layers", "x", "y", "remove_nodes"),
    ("layers", "x", "y", "remove_nodes(op=Identity, max_inputs=many)"),
    ("layers", "x", "y", "sort_by_execution_order"),
    ("layers", "x", "y", "remove_control_dependencies"),
    ("layers", "x", "y", "remove_attribute(attribute_name=T, op_name=Identity)"),
    ("layers", "x", "y", "remove_attribute(attribute_name=T)"),
    ("layers", "x", "y", "remove_attribute"),
    ("layers", "x", "y", "rename_attribute(old_attribute_name=T, new_attribute_name=U, op_name=Identity)"),
    ("layers", "x", "y", "rename_attribute(old_attribute_name=T)"),
    ("layers", "x", "y", "rename_op(old_op_name=Identity, new_op_name=Snapshot)"),
    ("layers", "x", "y", "rename_op"),
    ("layers", "x", "y", "remove_device"),
    ("layers", "x", "y", 'set_device(device="/gpu:1", if_default=true)'),
    ("layers", "x", "y", 'set_device(device="/gpu:1")'),
    ("layers", "x", "y", "set_device(device=a, device=b)"),
    ("layers", "x", "y", "set_device(if_default=maybe)"),
    ("layers", "x", "y", "obfuscate_names"),
    ("layers", "x", "y", "remove_attribute(attribute_name=transpose_a) add_default_attributes"),
    ("layers", "x", "y", "no_such_transform"),
    ("layers", "x", "y", "remove_nodes(ignore_errors=true) remove_device"),
    ("layers", "x", "y", "remove_nodes(ignore_errors=perhaps)"),
    ("layers", "x", "y", "remove_nodes(op"),
    ("layers", "x", "y", "remove_nodes(op="),
    ("layers", "x", "y", "remove_nodes(=)"),
    ("layers", "x", "y", "(op=Identity)"),
    ("layers", "x", "y", '  strip_unused_nodes\n remove_nodes( op=Identity,\n op="CheckNumerics" ) '),
    ("loop", "x", "y", "sort_by_execution_order"),
    ("constants", "x,known", "y,w,z", "fold_constants"),
    ("constants", "x,known,default", "y", "fold_constants"),
    ("constants", "x,known", "y", "fold_constants(exclude_op=Mul)"),
    ("constants", "x,known", "y", "fold_constants(exclude_node=folded)"),
    ("constants", "x,known", "y", "fold_constants(max_constant_size_in_bytes=4)"),
    (
        "constants",
        "x,known",
        "w",
        "fold_constants(ignore_errors=true) strip_unused_nodes sort_by_execution_order",
    ),
    ("constants", "x", "folded", "fold_constants"),
    ("constants", "x", "y,random", "fold_constants"),
    ("layers", "x", "y", "fold_constants"),
    ("layers", "x", "parts:1", "fold_constants"),
    ("layers", "gone", "y", "fold_constants"),
    ("layers", "x", "gone", "fold_constants"),
    ("layers", "same", "y", "fold_constants"),
    ("shapes", "x,known", "y,z,w,v,unknown", "fold_constants"),
    ("loop", "x", "y", "fold_constants"),
    ("norms", "x,flat", "conv_y,dense_y,depth_y,both", "fold_batch_norms"),
    ("bad_norm", "flat", "y", "fold_batch_norms"),
    ("old_norms", "x", "scaled,plain,fused,fused_depth,fused_spread,fused_joined", "fold_old_batch_norms"),
    ("weights", "x", "y", "round_weights(num_steps=4)"),
    ("weights", "x", "y", "round_weights"),
]

FLOAT = tf.float32.as_datatype_enum
TOOLS = [
    ("layers", "strip_unused", [["x"], ["y"], FLOAT]),
    ("layers", "strip_unused", [["same", "other"], ["y"], [FLOAT, tf.int64.as_datatype_enum]]),
    ("layers", "strip_unused", [["same:0"], ["y"], FLOAT]),
    ("layers", "strip_unused", [["gone"], ["y"], FLOAT]),
    ("weights", "optimize_for_inference", [["x"], ["y"], FLOAT]),
    ("old_norms", "optimize_for_inference", [["x"], ["scaled", "plain", "fused", "fused_depth"], FLOAT]),
    ("pads", "optimize_for_inference", [["x"], ["both", "pad", "size"], FLOAT]),
    ("pads", "optimize_for_inference", [["x"], ["both", "pad", "size"], FLOAT, True]),
]  # fmt: skip
FUNCTIONS = {
    "strip_unused": strip_unused_lib.strip_unused,
    "optimize_for_inference": optimize_for_inference_lib.optimize_for_inference,
}


def outcome(function, *arguments):
    try:
        return {"graph": str(function(*arguments))}
    except Exception as e:  # whatever it is, it is recorded
        return {"error": type(e).__name__, "message": getattr(e, "message", None) or str(e)}


def main(path):
    graphs = {name: build() for name, build in GRAPHS.items()}
    cases = []
    for name, inputs, outputs, transforms in CASES:
        arguments = [inputs.split(","), outputs.split(","), [transforms]]
        found = outcome(TransformGraph, graphs[name], *arguments)
        cases.append(dict(found, on=name, function="TransformGraph", arguments=arguments))
    for name, function, arguments in TOOLS:
        copy = tf.GraphDef()
        copy.CopyFrom(graphs[name])
        found = outcome(FUNCTIONS[function], copy, *arguments)
        cases.append(dict(found, on=name, function=function, arguments=arguments))
    recorded = {"graphs": {name: str(g) for name, g in graphs.items()}, "cases": cases}
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as file:
        file.write(json.dumps(recorded, indent=1, sort_keys=True).encode())
    for case in cases:
        print(
            case["on"],
            case["function"],
            case["arguments"],
            case.get("error", ""),
            case.get("message", "")[:150],
        )


if __name__ == "__main__":
    main(sys.argv[1])
