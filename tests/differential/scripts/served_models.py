"""served_models.py save DIR: TensorFlow trains the models, exports and freezes them; prints what each gives.
served_models.py load DIR: TensorFlow loads what DIR has, runs it, and prints what each gives.

The models are also what kvarn builds in the test: the same program under both.
"""

import json
import os
import sys

MODELS = {}


def model(build):
    """A function of (tf, directory) that gives inputs, outputs, feeds and a loss."""
    MODELS[build.__name__] = build
    return build


def variable(tf, name, shape, **more):
    """A variable whose values depend on their positions."""
    count = 1
    for size in shape:
        count *= size
    values = tf.reshape(tf.range(float(count)), shape) / count - 0.4
    return tf.get_variable(name, initializer=values, **more)


@model
def linear(tf, directory):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.matmul(x, variable(tf, "w", [3, 1])) + variable(tf, "b", [1])
    return {"x": x}, {"y": y}, {"x": [[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]]}, tf.reduce_mean(tf.square(y - 1.0))


@model
def resources(tf, directory):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    hidden = tf.nn.relu(tf.matmul(x, variable(tf, "w", [4, 3], use_resource=True)) + 0.3)
    y = tf.tanh(tf.matmul(hidden, variable(tf, "v", [3, 2], use_resource=True)))
    return {"x": x}, {"y": y}, {"x": [[1.0, 2.0, 3.0, 4.0]]}, tf.reduce_sum(tf.square(y))


@model
def partitioned(tf, directory):
    x = tf.placeholder(tf.float32, [None, 5], name="x")
    w = variable(tf, "w", [5, 2], partitioner=tf.fixed_size_partitioner(3))
    y = tf.matmul(x, tf.convert_to_tensor(w))
    return {"x": x}, {"y": y}, {"x": [[1.0, 0.0, -1.0, 2.0, 3.0]]}, tf.reduce_sum(tf.abs(y))


@model
def embedding(tf, directory):
    ids = tf.placeholder(tf.int64, [None], name="ids")
    rows = tf.nn.embedding_lookup(variable(tf, "rows", [6, 3], use_resource=True), ids)
    y = tf.reduce_sum(rows, axis=1)
    return {"ids": ids}, {"y": y, "rows": rows}, {"ids": [5, 0, 5, 2]}, tf.reduce_sum(tf.square(y))


@model
def sparse_features(tf, directory):
    x = tf.sparse_placeholder(tf.float32, name="x")
    y = tf.sparse_tensor_dense_matmul(x, variable(tf, "w", [4, 2]))
    feed = ([[0, 0], [0, 2], [1, 3]], [3.0, -1.0, 0.5], [2, 4])
    return {"x": x}, {"y": y}, {"x": feed}, tf.reduce_sum(tf.square(y))


@model
def words(tf, directory):
    """Words to rows of a table, by a vocabulary that moves with the model."""
    path = os.path.join(directory, "vocabulary.txt")
    with open(path, "w") as file:
        file.write("red\ngreen\nblue\n")
    x = tf.placeholder(tf.string, [None], name="x")
    initializer = tf.lookup.TextFileInitializer(
        path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    ids = tf.lookup.StaticHashTable(initializer, 3).lookup(x)
    y = tf.nn.embedding_lookup(variable(tf, "rows", [4, 2], use_resource=True), ids)
    return {"x": x}, {"y": y, "ids": ids}, {"x": ["blue", "red", "grey"]}, tf.reduce_sum(tf.square(y))


@model
def hashed(tf, directory):
    x = tf.placeholder(tf.string, [None], name="x")
    ids = tf.strings.to_hash_bucket_fast(tf.strings.join([x, "!"]), 7)
    y = tf.nn.embedding_lookup(variable(tf, "rows", [7, 2]), ids)
    return {"x": x}, {"y": y, "ids": ids}, {"x": ["a", "bc", ""]}, tf.reduce_sum(y)


@model
def loop(tf, directory):
    x = tf.placeholder(tf.float32, [], name="x")
    step = variable(tf, "step", [1])
    _, total = tf.while_loop(
        lambda i, t: i < 5, lambda i, t: (i + 1, t * 1.25 + step[0]), [tf.constant(0), x], name="loop"
    )
    return {"x": x}, {"y": total}, {"x": 2.0}, tf.square(total)


@model
def recurrence(tf, directory):
    """A recurrent cell over time, its states collected in a TensorArray."""
    x = tf.placeholder(tf.float32, [4, None, 2], name="x")
    w, u = variable(tf, "w", [2, 3]), variable(tf, "u", [3, 3])
    states = tf.TensorArray(tf.float32, 4)

    def body(t, state, states):
        state = tf.tanh(tf.matmul(x[t], w) + tf.matmul(state, u))
        return t + 1, state, states.write(t, state)

    start = tf.zeros([tf.shape(x)[1], 3])
    _, last, states = tf.while_loop(
        lambda t, *_: t < 4,
        body,
        [tf.constant(0), start, states],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 3]), tf.TensorShape(None)],
    )
    feed = [[[0.1 * (t + i + j) for j in range(2)] for i in range(2)] for t in range(4)]
    return {"x": x}, {"y": states.stack(), "last": last}, {"x": feed}, tf.reduce_sum(tf.square(last))


@model
def conditional(tf, directory):
    x = tf.placeholder(tf.float32, [], name="x")
    w = variable(tf, "w", [2], use_resource=True)
    y = tf.cond(x > 1.0, lambda: w[0] * x, lambda: tf.cond(x > 0.0, lambda: w[1] - x, lambda: -x))
    return {"x": x}, {"y": y}, {"x": 0.5}, tf.square(y)


@model
def cases(tf, directory):
    x = tf.placeholder(tf.int32, [], name="x")
    w = variable(tf, "w", [3])
    y = tf.case([(x < 0, lambda: w[0]), (tf.equal(x, 0), lambda: w[1] * 2.0)], default=lambda: w[2] * 3.0)
    return {"x": x}, {"y": y}, {"x": 7}, tf.square(y)


@model
def classes(tf, directory):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    logits = tf.matmul(x, variable(tf, "w", [3, 4]))
    values, order = tf.nn.top_k(tf.nn.softmax(logits), 2)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[2, 0], logits=logits))
    outputs = {"values": values, "order": order, "best": tf.argmax(logits, axis=1)}
    return {"x": x}, outputs, {"x": [[1.0, 2.0, 3.0], [3.0, 2.0, -9.0]]}, loss


@model
def normalized(tf, directory):
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    mean, variance = tf.nn.moments(x, [1], keep_dims=True)
    y = (x - mean) * tf.rsqrt(variance + 0.001) * variable(tf, "gamma", [4]) + variable(tf, "beta", [4])
    return {"x": x}, {"y": y}, {"x": [[1.0, 5.0, 2.0, 4.0]]}, tf.reduce_sum(tf.square(y))


@model
def averaged(tf, directory):
    """The moving average of a variable, which a graph for serving reads."""
    x = tf.placeholder(tf.float32, [], name="x")
    w = variable(tf, "w", [2])
    average = tf.train.ExponentialMovingAverage(0.5)
    with tf.control_dependencies([average.apply([w])]):
        loss = tf.reduce_sum(tf.square(w * 1.0))
    return {"x": x}, {"y": average.average(w) * x}, {"x": 3.0}, loss


@model
def products(tf, directory):
    x = tf.placeholder(tf.float32, [2, 2, 3], name="x")
    y = tf.tensordot(x, variable(tf, "w", [3, 2]), 1)
    z = tf.matmul(x, x, transpose_b=True)
    feed = [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[0.5, 0.25, 0.0], [1.0, -1.0, 2.0]]]
    return {"x": x}, {"y": y, "z": z}, {"x": feed}, tf.reduce_sum(tf.square(y))


@model
def pieces(tf, directory):
    x = tf.placeholder(tf.float32, [3, None], name="x")
    w = variable(tf, "w", [3, 1])
    first, rest = tf.split(x * w, [1, 2], axis=0)
    y = tf.concat([rest[:, ::-1], tf.pad(first, [[0, 0], [0, 0]]), tf.tile(first, [2, 1])], 0)
    z = tf.transpose(tf.stack(tf.unstack(rest), axis=1))
    return (
        {"x": x},
        {"y": y, "z": z},
        {"x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]},
        tf.reduce_sum(tf.square(y)),
    )


@model
def segments(tf, directory):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    scaled = x * variable(tf, "w", [2])
    ids = tf.constant([0, 0, 2, 1])
    y = tf.segment_sum(scaled, tf.constant([0, 0, 1, 2]))
    z = tf.unsorted_segment_max(scaled, ids, 3)
    feed = [[1.0, 2.0], [3.0, 4.0], [-5.0, 6.0], [7.0, 8.0]]
    return {"x": x}, {"y": y, "z": z}, {"x": feed}, tf.reduce_sum(tf.square(y))


@model
def masks(tf, directory):
    lengths = tf.placeholder(tf.int32, [None], name="lengths")
    mask = tf.sequence_mask(lengths, 4)
    w = variable(tf, "w", [4])
    chosen = tf.where(mask, tf.ones_like(mask, tf.float32) * w, tf.zeros_like(mask, tf.float32))
    count = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    outputs = {"y": chosen, "count": count, "any": tf.reduce_any(mask, axis=1)}
    return {"lengths": lengths}, outputs, {"lengths": [2, 0, 4]}, tf.reduce_sum(tf.square(chosen))


@model
def points(tf, directory):
    x = tf.placeholder(tf.int32, [None, 2], name="x")
    w = variable(tf, "w", [3, 3])
    y = tf.gather_nd(w * 1.0, x)
    z = tf.scatter_nd(x, y, [3, 3])
    return {"x": x}, {"y": y, "z": z}, {"x": [[0, 1], [2, 2]]}, tf.reduce_sum(tf.square(z))


@model
def doubles(tf, directory):
    x = tf.placeholder(tf.float64, [None], name="x")
    w = tf.get_variable("w", initializer=tf.constant([0.5, -1.5], tf.float64))
    y = tf.exp(-tf.abs(x[:, tf.newaxis] - w)) + tf.floormod(x, tf.constant(2.0, tf.float64))[:, tf.newaxis]
    return {"x": x}, {"y": y}, {"x": [1.25, -3.5]}, tf.reduce_sum(tf.square(y))


@model
def clipped(tf, directory):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    w = variable(tf, "w", [2, 2], use_resource=True)
    y = tf.clip_by_value(tf.matmul(x, w), -0.5, 0.5)
    penalty, _ = tf.clip_by_global_norm([w * 3.0], 0.1)
    return {"x": x}, {"y": y, "z": penalty[0]}, {"x": [[1.0, 2.0], [0.1, 0.2]]}, tf.reduce_sum(tf.square(y))


def optimizers(tf):
    return [
        lambda: tf.train.GradientDescentOptimizer(0.1),
        lambda: tf.train.AdamOptimizer(0.05),
        lambda: tf.train.MomentumOptimizer(0.05, 0.9),
        lambda: tf.train.AdagradOptimizer(0.1),
        lambda: tf.train.FtrlOptimizer(0.1),
        lambda: tf.train.RMSPropOptimizer(0.01),
        lambda: tf.train.AdadeltaOptimizer(0.1),
    ]


def save(tf, directory):
    """Trains, exports to DIR/NAME and freezes to DIR/NAME.pb what has no tables; returns what each gives."""
    result = {}
    for i, (name, build) in enumerate(sorted(MODELS.items())):
        with tf.Graph().as_default(), tf.Session() as sess:
            inputs, outputs, feeds, loss = build(tf, directory)
            outputs = {key: tf.identity(value, name="out_" + key) for key, value in outputs.items()}
            train = optimizers(tf)[i % 7]().minimize(loss)
            sess.run([tf.global_variables_initializer(), tf.tables_initializer()])
            feed = {inputs[key]: value for key, value in feeds.items()}
            for _ in range(3):
                sess.run(train, feed)
            init = tf.tables_initializer() if name == "words" else None
            path = os.path.join(directory, name)
            tf.saved_model.simple_save(sess, path, inputs, outputs, legacy_init_op=init)
            if init is None:
                keep = [value.op.name for value in outputs.values()]
                frozen = tf.graph_util.convert_variables_to_constants(sess, sess.graph.as_graph_def(), keep)
                with open(path + ".pb", "wb") as file:
                    file.write(frozen.SerializeToString())
            result[name] = plain(sess.run(outputs, feed))
    return result


def load(tf, directory):
    """What each SavedModel gives, and below "frozen" what its frozen graph gives."""
    result = {}
    for name, build in sorted(MODELS.items()):
        with tf.Graph().as_default():
            _, outputs, feeds, _ = build(tf, directory)
        path = os.path.join(directory, name)
        with tf.Graph().as_default(), tf.Session() as sess:
            signature = tf.saved_model.load(sess, ["serve"], path).signature_def["serving_default"]
            feed = {}
            for key, value in feeds.items():
                info = signature.inputs[key]
                if info.WhichOneof("encoding") == "name":
                    feed[info.name] = value
                else:
                    sparse = info.coo_sparse
                    parts = (
                        sparse.indices_tensor_name,
                        sparse.values_tensor_name,
                        sparse.dense_shape_tensor_name,
                    )
                    feed.update(zip(parts, value))  # noqa: B905 - TensorFlow 1.15 runs it with an older Python
            names = {key: signature.outputs[key].name for key in outputs}
            result[name] = plain(sess.run(names, feed))
        if os.path.exists(path + ".pb"):
            graph_def = tf.GraphDef()
            with open(path + ".pb", "rb") as file:
                graph_def.ParseFromString(file.read())
            with tf.Graph().as_default(), tf.Session() as sess:
                tf.import_graph_def(graph_def, name="")
                kept = {node.name for node in graph_def.node}
                feed = {key: value for key, value in feed.items() if key.split(":")[0] in kept}
                result["frozen " + name] = plain(sess.run(names, feed))
    return result


def plain(values):
    return {key: value.tolist() for key, value in values.items()}


def main(what, directory):
    import tensorflow

    tf = tensorflow.compat.v1
    tf.disable_v2_behavior()
    print(json.dumps({"save": save, "load": load}[what](tf, directory)))


if __name__ == "__main__":
    main(*sys.argv[1:])
