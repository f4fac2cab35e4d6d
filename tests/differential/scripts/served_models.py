"""served_models.py save NAME DIR: TensorFlow builds a model, exports it and freezes it; prints what it gives.
served_models.py load NAME DIR: TensorFlow loads what DIR has, runs it, and prints what it gives.

The models are also what kvarn builds in the test: the same program under both.
"""

import json
import sys


def dense(tf, directory):
    """Two layers, one of resource variables, one partitioned."""
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    w = tf.get_variable("w", initializer=tf.reshape(tf.range(12.0), [4, 3]) / 7.0, use_resource=True)
    p = tf.get_variable(
        "p",
        initializer=tf.reshape(tf.range(6.0), [3, 2]) - 2.5,
        partitioner=tf.fixed_size_partitioner(2),
        use_resource=False,
    )
    hidden = tf.nn.relu(tf.matmul(x, w) - 1.0)
    y = tf.identity(tf.matmul(hidden, tf.convert_to_tensor(p)), name="y")
    return {"x": x}, {"y": y}, {"x": [[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 2.0, 0.25]]}, None


def words(tf, directory):
    """Words to rows of a table, by a vocabulary that moves with the model."""
    path = directory + "_vocabulary.txt"
    with open(path, "w") as file:
        file.write("red\ngreen\nblue\n")
    x = tf.placeholder(tf.string, [None], name="x")
    initializer = tf.lookup.TextFileInitializer(
        path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    ids = tf.lookup.StaticHashTable(initializer, 3).lookup(x)
    rows = tf.get_variable("rows", initializer=tf.reshape(tf.range(8.0), [4, 2]), use_resource=True)
    y = tf.identity(tf.nn.embedding_lookup(rows, ids), name="y")
    return {"x": x}, {"y": y, "ids": ids}, {"x": ["blue", "red", "grey"]}, tf.tables_initializer()


def loop(tf, directory):
    """A loop and a conditional, as Switch and Merge."""
    x = tf.placeholder(tf.float32, [], name="x")
    step = tf.get_variable("step", initializer=1.5, use_resource=False)
    _, total = tf.while_loop(
        lambda i, t: i < 5, lambda i, t: (i + 1, t * 1.25 + step), [tf.constant(0), x], name="loop"
    )
    y = tf.cond(total > 10.0, lambda: total - step, lambda: -total)
    return {"x": x}, {"y": tf.identity(y, name="y")}, {"x": 2.0}, None


MODELS = {"dense": dense, "loop": loop, "words": words}


def save(tf, name, directory):
    """Exports to ``directory``, freezes to ``directory`` + "_frozen.pb" what has no tables; returns what it gives."""
    with tf.Graph().as_default(), tf.Session() as sess:
        inputs, outputs, feeds, init = MODELS[name](tf, directory)
        sess.run([tf.global_variables_initializer(), tf.tables_initializer()])
        tf.saved_model.simple_save(sess, directory, inputs, outputs, legacy_init_op=init)
        if init is None:
            graph_def = tf.graph_util.convert_variables_to_constants(sess, sess.graph.as_graph_def(), ["y"])
            with open(directory + "_frozen.pb", "wb") as file:
                file.write(graph_def.SerializeToString())
        found = sess.run(outputs, {inputs[key]: value for key, value in feeds.items()})
    return {key: value.tolist() for key, value in found.items()}


def load(tf, name, directory):
    """What the SavedModel gives, and what the frozen graph gives."""
    with tf.Graph().as_default():
        _, outputs, feeds, init = MODELS[name](tf, directory)
    with tf.Graph().as_default(), tf.Session() as sess:
        signature = tf.saved_model.load(sess, ["serve"], directory).signature_def["serving_default"]
        names = {key: signature.outputs[key].name for key in outputs}
        found = sess.run(names, {signature.inputs[key].name: value for key, value in feeds.items()})
    result = {key: value.tolist() for key, value in found.items()}
    if init is None:
        graph_def = tf.GraphDef()
        with open(directory + "_frozen.pb", "rb") as file:
            graph_def.ParseFromString(file.read())
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.import_graph_def(graph_def, name="")
            result["frozen"] = sess.run("y:0", {key + ":0": value for key, value in feeds.items()}).tolist()
    return result


def main(what, name, directory):
    import tensorflow

    tf = tensorflow.compat.v1
    tf.disable_v2_behavior()
    print(json.dumps({"save": save, "load": load}[what](tf, name, directory)))


if __name__ == "__main__":
    main(*sys.argv[1:])
