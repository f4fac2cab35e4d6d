"""Small training and lookup programs, run by TensorFlow 1.15.5 to record what it builds and computes, and by
kvarn to compare.  `record.py` writes tensorflow_1.15.5.json.gz from them.
"""

import numpy as np

G = np.linspace(-1, 2, 12).reshape(4, 3).astype(np.float32)
FIRST = (np.arange(12).reshape(4, 3) / 7.0 + 0.1).astype(np.float32)
IDS = np.array([[0, 5, 2], [9, 3, 5]], np.int64)
PLACES = [[0, 0], [0, 2], [2, 1], [3, 0]]

OPTIMIZERS = {
    "gradient_descent": lambda tf: tf.train.GradientDescentOptimizer(0.1),
    "adagrad": lambda tf: tf.train.AdagradOptimizer(0.1),
    "momentum": lambda tf: tf.train.MomentumOptimizer(0.1, 0.9),
    "nesterov": lambda tf: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adam": lambda tf: tf.train.AdamOptimizer(0.1),
    "ftrl": lambda tf: tf.train.FtrlOptimizer(
        0.1, l1_regularization_strength=0.01, l2_regularization_strength=0.02
    ),
    "ftrl_power": lambda tf: tf.train.FtrlOptimizer(
        0.1, learning_rate_power=-0.7, l2_shrinkage_regularization_strength=0.1
    ),
    "adadelta": lambda tf: tf.train.AdadeltaOptimizer(0.1),
    "proximal_gradient_descent": lambda tf: tf.train.ProximalGradientDescentOptimizer(0.1, 0.01, 0.02),
    "proximal_adagrad": lambda tf: tf.train.ProximalAdagradOptimizer(0.1, 0.1, 0.01, 0.02),
    "adagrad_da": lambda tf: tf.train.AdagradDAOptimizer(
        0.1, tf.train.get_global_step(), l1_regularization_strength=0.01, l2_regularization_strength=0.02
    ),
    "rmsprop": lambda tf: tf.train.RMSPropOptimizer(0.1, momentum=0.5),
    "rmsprop_centered": lambda tf: tf.train.RMSPropOptimizer(0.1, centered=True),
}


def train(tf, optimizer, sparse, resource):
    w = tf.get_variable("w", initializer=FIRST, use_resource=resource)
    if sparse:
        # Row 1 twice.
        loss = tf.reduce_sum(tf.gather(w, [1, 3, 1]) * tf.constant(G[:3]))
    else:
        loss = tf.reduce_sum(w * G * w)
    count = tf.train.get_or_create_global_step()
    opt = OPTIMIZERS[optimizer](tf)
    step = opt.minimize(loss, global_step=count)
    return step, [w, *[opt.get_slot(w, n) for n in opt.get_slot_names()], count]


def table(tf, parts, resource=False):
    return tf.get_variable(
        "e",
        shape=[10, 3],
        initializer=tf.random_uniform_initializer(0.1, 2.0, seed=5),
        partitioner=tf.fixed_size_partitioner(parts) if parts > 1 else None,
        use_resource=resource,
    )


def lookup(tf, strategy, resource, parts, max_norm):
    ids = tf.placeholder_with_default(IDS, [None, 3])
    rows = tf.nn.embedding_lookup(
        table(tf, parts, resource), ids, partition_strategy=strategy, max_norm=max_norm
    )
    return tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows * rows)), [rows]


def sparse_ids(tf, weighted):
    ids = tf.SparseTensor(PLACES, tf.constant([3, 1, 3, 9], tf.int64), [4, 3])
    weights = tf.SparseTensor(PLACES, tf.constant([0.5, 2.0, 1.0, -3.0]), [4, 3]) if weighted else None
    return ids, weights


def combine(tf, combiner, weighted, parts):
    ids, weights = sparse_ids(tf, weighted)
    ids = tf.SparseTensor([[0, 0], [0, 2], [1, 1], [2, 0]], ids.values, [3, 3])
    if weighted:
        weights = tf.SparseTensor(ids.indices, tf.constant([0.5, 2.0, 1.0, 3.0]), [3, 3])
    rows = tf.nn.embedding_lookup_sparse(table(tf, parts), ids, weights, combiner=combiner)
    return tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(rows * rows)), [rows]


def safe(tf, combiner, weighted, default_id):
    ids, weights = sparse_ids(tf, weighted)
    return None, [
        tf.nn.safe_embedding_lookup_sparse(
            table(tf, 2), ids, weights, combiner=combiner, default_id=default_id
        )
    ]


def gated_and_named(tf):
    w = tf.get_variable("w", initializer=FIRST)
    b = tf.get_variable("b", initializer=np.ones(3, np.float32))
    loss = tf.reduce_sum(tf.matmul(tf.constant(G[:2]), tf.transpose(w)) ** 2.0) + tf.reduce_sum(b * 2.0)
    opt = tf.train.AdagradOptimizer(tf.constant(0.05), name="MyAda")
    pairs = opt.compute_gradients(loss, gate_gradients=tf.train.Optimizer.GATE_GRAPH)
    count = tf.Variable(3, name="count", trainable=False)
    return opt.apply_gradients([(g * 0.5, v) for g, v in pairs], global_step=count, name="app"), [w, b, count]


def two_optimizers(tf):
    w = tf.get_variable("w", initializer=FIRST)
    loss = tf.reduce_sum(w * w)
    a, b = tf.train.AdagradOptimizer(0.1), tf.train.AdagradOptimizer(0.2)
    step = tf.group(a.minimize(loss))
    b.minimize(loss)
    return step, [w, b.get_slot(w, "accumulator")]


CASES = {
    **{
        f"{o}, {'sparse' if s else 'dense'}, {'resource' if r else 'reference'}": (train, (o, s, r))
        for o in OPTIMIZERS
        for s in (False, True)
        for r in (False, True)
    },
    **{
        f"lookup {s}, {'resource' if r else 'reference'}, {p} parts, max_norm {m}": (lookup, (s, r, p, m))
        for s in ("mod", "div")
        for r in (False, True)
        for p in (1, 3)
        for m in (None, 1.0)
    },
    **{
        f"{c}, {'weighted' if w else 'plain'}, {p} parts": (combine, (c, w, p))
        for c in ("sum", "mean", "sqrtn")
        for w in (False, True)
        for p in (1, 2)
    },
    **{
        f"safe {c}, {'weighted' if w else 'plain'}, default {d}": (safe, (c, w, d))
        for c in ("sum", "mean")
        for w in (False, True)
        for d in (None, 2)
    },
    "gated and named": (gated_and_named, ()),
    "two optimizers": (two_optimizers, ()),
}


def run(tf, name):
    """Nodes as [name, op, inputs, colocation groups], and what three steps give."""
    function, arguments = CASES[name]
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(7)
        step, fetches = function(tf, *arguments)
        nodes = [
            [n.name, n.op, list(n.input), sorted(s.decode() for s in n.attr["_class"].list.s)]
            for n in graph.as_graph_def().node
        ]
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            values = []
            for _ in range(3):
                if step is not None:
                    sess.run(step)
                values.append([np.asarray(x).tolist() for x in sess.run(fetches)])
    return {"nodes": nodes, "values": values}
