"""Programs that train four rows by sparse gradients, for TensorFlow 1.15.5 to record and kvarn to compare."""

import numpy as np

ROWS = 4
STEPS = 4


def first(dim):
    return (np.arange(ROWS * dim).reshape(ROWS, dim) / 7.0 - 0.6).astype(np.float32)


# Every row at its own steps, one twice in a step.
SOME = ([1, 3, 1], [0, 1, 3], [2, 2, 3], [1, 0, 2])
ALL = ([1, 3, 0, 2, 1],) * STEPS


def gradients(n, dim):
    g = np.random.RandomState(n).uniform(-2, 2, [STEPS, n, dim])
    return g.astype(np.float32)


# name: (dim, ids of each step, the optimizer)
OPTIMIZERS = {
    "gradient_descent": (3, SOME, lambda tf: tf.train.GradientDescentOptimizer(0.1)),
    "adagrad": (3, SOME, lambda tf: tf.train.AdagradOptimizer(0.1, 0.3)),
    "momentum": (3, SOME, lambda tf: tf.train.MomentumOptimizer(0.1, 0.9)),
    "nesterov": (3, SOME, lambda tf: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True)),
    "rmsprop": (3, SOME, lambda tf: tf.train.RMSPropOptimizer(0.1, decay=0.8, momentum=0.5)),
    "rmsprop_centered": (3, SOME, lambda tf: tf.train.RMSPropOptimizer(0.1, momentum=0.2, centered=True)),
    "ftrl_without_l1": (3, SOME, lambda tf: tf.train.FtrlOptimizer(0.1, l2_regularization_strength=0.02)),
    "ftrl_power": (3, SOME, lambda tf: tf.train.FtrlOptimizer(0.1, learning_rate_power=-0.7)),
    "ftrl_one_column": (
        1,
        SOME,
        lambda tf: tf.train.FtrlOptimizer(
            0.1, l1_regularization_strength=2.0, l2_regularization_strength=0.02
        ),
    ),
    # Adam moves rows without a gradient too: all rows have one.
    "adam": (3, ALL, lambda tf: tf.train.AdamOptimizer(0.1)),
    "lazy_adam": (3, SOME, lambda tf: tf.contrib.opt.LazyAdamOptimizer(0.1, beta1=0.8, beta2=0.99)),
}

# Of ordinary variables: name: (sparse gradients, the optimizer)
ORDINARY = {
    "lazy_adam_dense": (False, lambda tf: tf.contrib.opt.LazyAdamOptimizer(0.1)),
    "lazy_adam_sparse": (True, lambda tf: tf.contrib.opt.LazyAdamOptimizer(0.1)),
    "adam_w_dense": (False, lambda tf: tf.contrib.opt.AdamWOptimizer(0.01, 0.1)),
    "adam_w_sparse": (True, lambda tf: tf.contrib.opt.AdamWOptimizer(0.01, 0.1)),
}


def train(tf, lookup, ids, optimizer):
    """Runs all steps; ``lookup(ids)`` gives rows.  The rows of the table after every step."""
    dim = lookup([0]).shape[-1]
    place = tf.placeholder(tf.int64, [None])
    g = tf.placeholder(tf.float32, [None, int(dim)])
    loss = tf.reduce_sum(lookup(place) * g)
    step = tf.train.get_or_create_global_step()
    update = optimizer(tf).minimize(loss, global_step=step)
    everything = lookup(list(range(ROWS)))
    out = []
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        slopes = gradients(len(ids[0]), int(dim))
        for now, rows in enumerate(ids):
            sess.run(update, {place: rows, g: slopes[now]})
            assert sess.run(step) == now + 1
            out.append(sess.run(everything).tolist())
    return out


def sparse(tf, name):
    """One of `OPTIMIZERS` on an ordinary variable."""
    dim, ids, optimizer = OPTIMIZERS[name]
    w = tf.get_variable("w", initializer=first(dim), use_resource=True)
    return train(tf, lambda i: tf.gather(w, tf.cast(i, tf.int64)), ids, optimizer)


def ordinary(tf, name, resource):
    """One of `ORDINARY`."""
    is_sparse, optimizer = ORDINARY[name]
    w = tf.get_variable("w", initializer=first(3), use_resource=resource)
    if is_sparse:
        return train(tf, lambda i: tf.gather(w, tf.cast(i, tf.int64)), SOME, optimizer)
    # A gradient that is the same whatever the table holds.
    step = tf.train.get_or_create_global_step()
    slopes = gradients(ROWS, 3)
    g = tf.placeholder(tf.float32, [ROWS, 3])
    update = optimizer(tf).minimize(tf.reduce_sum(w * g), global_step=step)
    out = []
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for now in range(STEPS):
            sess.run(update, {g: slopes[now]})
            out.append(sess.run(w).tolist())
    return out
