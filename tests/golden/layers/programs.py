"""Layers, each program in a graph of its own: ``PROGRAMS[name](tf)`` returns what to fetch and what to feed.

Variables are constant or come from a seed of the initializer, so that the values are those of every implementation.
"""

import numpy as np

X = np.linspace(-1.0, 1.0, 6).reshape(2, 3).astype(np.float32)
IMAGES = np.linspace(-1.0, 1.0, 2 * 5 * 4 * 2).reshape(2, 5, 4, 2).astype(np.float32)
PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def ramp(shape, dtype, partition_info=None):
    """An initializer in plain NumPy: rising values, so that no two weights are alike."""
    del partition_info
    shape = [int(d) for d in shape]
    return np.linspace(-0.5, 0.7, int(np.prod(shape))).reshape(shape).astype(dtype.as_numpy_dtype)


@program
def dense(tf):
    x = tf.constant(X)
    outputs = [
        tf.layers.dense(x, 2, kernel_initializer=ramp),
        tf.layers.dense(x, 2, tf.nn.relu, kernel_initializer=ramp, name="named"),
        tf.layers.dense(x, 2, tf.nn.tanh, use_bias=False, kernel_initializer=ramp),
    ]
    gradients = tf.gradients(outputs, tf.trainable_variables())
    return outputs + gradients, {}


@program
def dense_of_rank_3(tf):
    x = tf.placeholder(tf.float32, [None, 2, 3], name="x")
    y = tf.layers.dense(x, 4, kernel_initializer=ramp)
    known = tf.layers.dense(tf.constant(np.stack([X, X])), 2, kernel_initializer=ramp)
    return [y, known], {x: np.stack([X, -X])}


@program
def dense_reused(tf):
    x = tf.constant(X)
    with tf.variable_scope("outer"):
        first = tf.layers.dense(x, 2, kernel_initializer=ramp, name="shared")
        second = tf.layers.dense(2 * x, 2, name="shared", reuse=True)
    with tf.variable_scope("outer", reuse=True):
        third = tf.layers.dense(3 * x, 2, name="shared")
    layer = tf.layers.Dense(1, kernel_initializer=ramp, name="object")
    return [first, second, third, layer(x), layer(-x)], {}


@program
def dense_with_losses(tf):
    x = tf.constant(X)

    def square(v):
        return tf.reduce_sum(v * v)

    y = tf.layers.dense(
        x, 2, kernel_initializer=ramp, kernel_regularizer=square, bias_regularizer=square,
        activity_regularizer=square, kernel_constraint=lambda v: tf.clip_by_value(v, -0.1, 0.1),
    )  # fmt: skip
    z = tf.layers.dense(y, 2, kernel_initializer=ramp, trainable=False)
    return [y, z, *tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)], {}


@program
def dense_in_scopes(tf):
    x = tf.constant(X)
    outputs = []
    with tf.name_scope("names"):
        outputs.append(tf.layers.dense(x, 1, kernel_initializer=ramp))
    with tf.variable_scope("variables", initializer=ramp, regularizer=tf.nn.l2_loss):
        outputs.append(tf.layers.dense(x, 1))
        outputs.append(tf.layers.dense(x, 1))
    with tf.variable_scope("resources", use_resource=True):
        outputs.append(tf.layers.dense(x, 1, kernel_initializer=ramp))
    return outputs + tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES), {}


@program
def dense_of_parts(tf):
    x = tf.constant(X)
    with tf.variable_scope("parts", partitioner=tf.fixed_size_partitioner(2, axis=1)):
        y = tf.layers.dense(x, 4, kernel_initializer=tf.constant_initializer(0.25), use_bias=False)
        z = tf.layers.dense(y, 4, kernel_initializer=tf.ones_initializer(), kernel_regularizer=tf.nn.l2_loss,
                            use_bias=False)  # fmt: skip
    return [y, z, *tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)], {}


@program
def dense_of_arrays(tf):
    return [tf.layers.dense(X, 2, kernel_initializer=ramp), tf.layers.dense(X.astype(np.float64), 2,
            kernel_initializer=ramp)], {}  # fmt: skip


@program
def dropout(tf):
    x = tf.constant(X)
    training = tf.placeholder(tf.bool, [], name="training")
    kept = tf.layers.dropout(x, 0.4, training=training)
    tf.layers.dropout(x, 0.4, noise_shape=[None, 1], seed=3, training=True)
    return [kept, tf.layers.dropout(x)], {training: False}


@program
def flatten(tf):
    x = tf.placeholder(tf.float32, [None, 4, 2], name="x")
    y = tf.placeholder(tf.float32, [2, None, 2], name="y")
    outputs = [
        tf.layers.flatten(x),
        tf.layers.flatten(y),
        tf.layers.flatten(tf.constant(IMAGES)),
        tf.layers.flatten(tf.constant(IMAGES), data_format="channels_first", name="first"),
    ]
    return outputs, {x: IMAGES[0, :4], y: IMAGES[0, :2]}


@program
def own_layer(tf):
    class Own(tf.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight("w", [int(shape[-1])], initializer=ramp)
            self.count = self.add_variable("count", [], initializer=tf.zeros_initializer(), trainable=False)
            self.built = True

        def call(self, x, scope=None):
            self.add_update(self.count.assign_add(tf.reduce_sum(x)), inputs=True)
            self.add_loss(tf.reduce_sum(x), inputs=x)
            return x * self.w

    layer = Own(name="own")
    y = layer(tf.constant(X))
    return [y, layer.apply(y), *tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)], {}


@program
def keras_dense(tf):
    layer = tf.keras.layers.Dense(
        2, "relu", kernel_initializer=ramp, kernel_regularizer=tf.keras.regularizers.l2(0.1)
    )
    outputs = [layer(tf.constant(X)), layer(tf.constant(-X)), *layer.losses]
    dropped = tf.keras.layers.Dropout(0.5)(tf.constant(X))
    return [*outputs, dropped, tf.keras.layers.Flatten()(tf.constant(IMAGES))], {}
