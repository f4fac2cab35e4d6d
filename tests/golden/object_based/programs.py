"""Programs that save and restore objects.  `record.py` runs them in TensorFlow 1.15.5, the tests in kvarn."""

import os


def build(tf):
    """Objects of every kind, and the operations of a step of training."""

    class Net(tf.contrib.checkpoint.Checkpointable):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="w")
            self.b = tf.Variable([0.5, 0.25], name="b", use_resource=True)
            self.parts = [tf.Variable(7.0, name="l0"), {"k/e.y": tf.Variable(8, name="l1")}]
            self.plain = tf.contrib.checkpoint.NoDependency([tf.Variable(9.0, name="no")])
            self.empty = []
            self.number = 3

    net = Net()
    optimizer = tf.train.AdamOptimizer(0.1)
    loss = tf.reduce_sum(tf.matmul([[1.0, 1.0]], net.w) * net.b)
    step = tf.train.get_or_create_global_step()
    train = optimizer.minimize(loss, global_step=step)

    def outer():
        first = tf.get_variable("a", [2], initializer=tf.ones_initializer())
        inner = tf.make_template(
            "inner", lambda: tf.get_variable("b", [], initializer=tf.zeros_initializer())
        )
        return first + inner()

    template = tf.make_template("t", outer)
    template()
    table = tf.contrib.lookup.MutableHashTable(tf.string, tf.int64, -1, name="tab")
    insert = table.insert(["a", "b"], tf.constant([1, 2], tf.int64))
    static = tf.contrib.lookup.HashTable(tf.contrib.lookup.KeyValueTensorInitializer(["x"], [5]), -1)
    mapping = tf.contrib.checkpoint.Mapping(
        both=tf.contrib.checkpoint.List([net.w, tf.Variable(1.0, name="listed")])
    )
    checkpoint = tf.train.Checkpoint(
        net=net,
        optimizer=optimizer,
        step=step,
        template=template,
        table=table,
        static=static,
        mapping=mapping,
    )
    return checkpoint, train, insert


def nodes(tf, before=()):
    """The nodes of the default graph that are new: [name, op, inputs, device]."""
    graph_def = tf.get_default_graph().as_graph_def()
    return [
        [n.name, n.op, list(n.input), n.device]
        for n in graph_def.node
        if n.name not in {b[0] for b in before}
    ]


def save(tf, folder):
    """Two saves and a restore: the nodes they add, the files, the state, the object graph."""
    checkpoint, train, insert = build(tf)
    found = {}
    with tf.Session() as sess:
        sess.run([tf.global_variables_initializer(), tf.tables_initializer()])
        sess.run(insert)
        sess.run(train)
        built = nodes(tf)
        checkpoint.save(os.path.join(folder, "ck"))
        prefix = checkpoint.save(os.path.join(folder, "ck"))
        found["saving"] = nodes(tf, built)
        saved = nodes(tf)
        checkpoint.restore(prefix).assert_consumed().run_restore_ops()
        found["restoring"] = nodes(tf, saved)
    found["files"] = sorted(os.listdir(folder))
    with open(os.path.join(folder, "checkpoint")) as state:
        found["state"] = state.read()
    reader = tf.train.NewCheckpointReader(prefix)
    found["tensors"] = {
        name: [shape, tf.as_dtype(reader.get_variable_to_dtype_map()[name]).name]
        for name, shape in reader.get_variable_to_shape_map().items()
    }
    found["graph"] = str(tf.contrib.checkpoint.object_metadata(prefix))
    return found


def load(tf, prefix):
    """What a new program has of a checkpoint, and after another step of training."""
    checkpoint, train, _ = build(tf)
    slot = checkpoint.optimizer.get_slot(checkpoint.net.w, "m")
    values = [checkpoint.net.w, checkpoint.net.b, slot, checkpoint.step, checkpoint.template.variables[0]]
    with tf.Session() as sess:
        sess.run([tf.global_variables_initializer(), tf.tables_initializer()])
        checkpoint.restore(prefix).assert_consumed().initialize_or_restore()
        before = sess.run([*values, checkpoint.save_counter])
        keys, numbers = sess.run(checkpoint.table.export())
        sess.run(train)
        after = sess.run(values)
    table = sorted(map(lambda key, number: [key.decode(), int(number)], keys, numbers))
    return {"before": [v.tolist() for v in before], "after": [v.tolist() for v in after], "table": table}
