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


@program
def conv2d(tf):
    x = tf.placeholder(tf.float32, [None, 5, 4, 2], name="x")
    outputs = [
        tf.layers.conv2d(x, 3, 3, kernel_initializer=ramp),
        tf.layers.conv2d(
            x, 3, [3, 2], [2, 1], "same", activation=tf.nn.relu, kernel_initializer=ramp, name="named"
        ),
        tf.layers.conv2d(x, 2, 2, padding="SAME", dilation_rate=2, use_bias=False, kernel_initializer=ramp),
        tf.layers.conv2d(
            x, 2, 2, dilation_rate=(2, 1), kernel_initializer=ramp, kernel_regularizer=tf.nn.l2_loss
        ),
        tf.layers.conv2d(x, 3, [3, 2], [2, 1], "same", name="named", reuse=True),
    ]
    return outputs + tf.gradients(outputs, tf.trainable_variables()), {x: IMAGES}


@program
def conv1d_and_conv3d(tf):
    x, y = tf.constant(IMAGES[0]), tf.constant(IMAGES[:, :, :, :, None])
    return [
        tf.layers.conv1d(x, 3, 2, kernel_initializer=ramp),
        tf.layers.conv1d(x, 3, 2, padding="same", strides=2, activation=tf.nn.tanh, kernel_initializer=ramp),
        tf.layers.conv3d(y, 2, 2, kernel_initializer=ramp),
        tf.layers.conv3d(y, 2, (1, 2, 2), strides=(1, 2, 1), padding="same", kernel_initializer=ramp),
        tf.keras.layers.Conv1D(2, 2, padding="causal", kernel_initializer=ramp)(x),
    ], {}


@program
def conv_transpose(tf):
    x = tf.placeholder(tf.float32, [None, 5, 4, 2], name="x")
    y = tf.constant(IMAGES[:, :, :, :, None])
    return [
        tf.layers.conv2d_transpose(x, 3, 3, kernel_initializer=ramp),
        tf.layers.conv2d_transpose(x, 3, 3, strides=2, padding="same", kernel_initializer=ramp),
        tf.layers.conv3d_transpose(y, 2, 2, strides=2, kernel_initializer=ramp),
    ], {x: IMAGES}


@program
def separable_conv(tf):
    x, line = tf.constant(IMAGES), tf.constant(IMAGES[0])
    options = {"depthwise_initializer": ramp, "pointwise_initializer": ramp}
    return [
        tf.layers.separable_conv2d(x, 3, 2, depth_multiplier=2, **options),
        tf.layers.separable_conv2d(x, 3, 2, strides=2, padding="same", **options),
        tf.layers.separable_conv1d(line, 3, 2, **options),
    ], {}


@program
def pooling(tf):
    x, line, block = tf.constant(IMAGES), tf.constant(IMAGES[0]), tf.constant(IMAGES[:, :, :, :, None])
    first = tf.transpose(line, [0, 2, 1])
    return [
        tf.layers.max_pooling2d(x, 2, 2),
        tf.layers.max_pooling2d(x, [3, 2], [2, 1], "same", name="named"),
        tf.layers.average_pooling2d(x, 2, 2),
        tf.layers.max_pooling1d(line, 2, 2),
        tf.layers.average_pooling1d(line, 2, 1, "same"),
        tf.layers.max_pooling1d(first, 2, 2, data_format="channels_first"),
        tf.layers.max_pooling3d(block, 2, 2),
        tf.layers.average_pooling3d(tf.transpose(block, [0, 4, 1, 2, 3]), 2, 1, data_format="channels_first"),
        tf.keras.layers.MaxPool2D()(x),
    ], {}


@program
def batch_normalization(tf):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    training = tf.placeholder(tf.bool, [], name="training")
    outputs = [
        tf.layers.batch_normalization(x),
        tf.layers.batch_normalization(x, training=True, momentum=0.5),
        tf.layers.batch_normalization(x, training=training, scale=False, name="dynamic"),
        tf.layers.batch_normalization(x, training=True, name="dynamic", scale=False, reuse=True),
        tf.layers.batch_normalization(x, center=False, training=True, trainable=False),
    ]
    gradients = tf.gradients(outputs, tf.trainable_variables())
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
        count = tf.constant(len(updates))
    return [*outputs, *gradients, count], {x: X, training: True}


@program
def batch_normalization_of_images(tf):
    x = tf.placeholder(tf.float32, [None, 5, 4, 2], name="x")
    training = tf.placeholder_with_default(False, [], name="training")
    outputs = [
        tf.layers.batch_normalization(x),
        tf.layers.batch_normalization(x, training=True, gamma_initializer=ramp, beta_initializer=ramp),
        tf.layers.batch_normalization(x, training=training, epsilon=0.01),
        tf.layers.batch_normalization(x, training=True, fused=False),
        tf.layers.batch_normalization(x, axis=1, training=True, fused=False),
        tf.layers.batch_normalization(x, axis=[1, 3], training=True, center=False),
        tf.layers.batch_normalization(x, training=True, scale=False, center=False),
    ]
    return [*outputs, *tf.gradients(outputs, tf.trainable_variables())], {x: IMAGES}


@program
def batch_normalization_of_parts(tf):
    x = tf.constant(X)
    with tf.variable_scope("parts", partitioner=tf.fixed_size_partitioner(2), use_resource=True):
        y = tf.layers.batch_normalization(x, training=True, gamma_regularizer=tf.nn.l2_loss)
        z = tf.layers.dense(y, 2, kernel_initializer=tf.ones_initializer())
    return [y, z], {}


@program
def keras_normalization(tf):
    x = tf.constant(IMAGES)
    return [
        tf.keras.layers.BatchNormalization()(tf.constant(X)),
        tf.keras.layers.BatchNormalization()(x, training=True),
        tf.keras.layers.LayerNormalization()(tf.constant(X)),
        tf.keras.layers.LayerNormalization(axis=[1, 2], gamma_initializer=ramp)(x),
    ], {}


@program
def contrib_layers(tf):
    layers, framework = tf.contrib.layers, tf.contrib.framework
    x = tf.constant(X)
    regularizer = layers.l1_l2_regularizer(0.5, 0.25)
    outputs = [
        layers.fully_connected(x, 2, weights_initializer=ramp),
        layers.fully_connected(
            x, 2, None, weights_initializer=ramp, weights_regularizer=regularizer, scope="named"
        ),
        layers.fully_connected(x, 2, None, reuse=True, scope="named"),
        layers.linear(
            x, 2, weights_initializer=ramp, biases_initializer=None, variables_collections=["mine"]
        ),
    ]
    with framework.arg_scope(
        [layers.fully_connected],
        activation_fn=tf.nn.tanh,
        weights_initializer=ramp,
        outputs_collections="ends",
    ) as scope:
        outputs.append(layers.fully_connected(x, 3))
    with framework.arg_scope(scope), framework.arg_scope([framework.model_variable], device="/cpu:0"):
        outputs.append(layers.fully_connected(x, 3, normalizer_fn=tf.nn.relu6))
    outputs.append(layers.flatten(tf.constant(IMAGES)))
    outputs.append(layers.dropout(x, is_training=False))
    layers.apply_regularization(layers.l2_regularizer(0.5), tf.trainable_variables()[:1])
    layers.apply_regularization(layers.l1_regularizer(0.0), tf.trainable_variables()[:1])
    return outputs + tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES), {}


@program
def contrib_initializers(tf):
    tf.set_random_seed(5)
    layers = tf.contrib.layers
    return [
        layers.xavier_initializer()([3, 4]),
        layers.xavier_initializer(uniform=False, seed=2)([3, 3, 2, 4]),
        layers.variance_scaling_initializer(mode="FAN_OUT")([3]),
        layers.variance_scaling_initializer(factor=1.0, uniform=True)([]),
    ], {}


@program
def batch_renormalization(tf):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    training = tf.placeholder(tf.bool, [], name="training")
    outputs = [
        tf.layers.batch_normalization(x, training=True, renorm=True),
        tf.layers.batch_normalization(
            x,
            training=training,
            renorm=True,
            renorm_clipping={"rmin": 0.5, "rmax": 2.0, "dmax": 0.1},
            momentum=0.5,
        ),
    ]
    return [*outputs, *tf.gradients(outputs, tf.trainable_variables())], {x: X, training: False}


@program
def batch_normalization_of_virtual_batches(tf):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.constant(IMAGES)

    def adjustment(shape):
        return tf.ones([3]) * 1.5, tf.ones([3]) * 0.5

    return [
        tf.layers.batch_normalization(x, training=True, virtual_batch_size=2),
        tf.layers.batch_normalization(x, virtual_batch_size=2),
        tf.layers.batch_normalization(y, training=True, virtual_batch_size=1),
        tf.layers.batch_normalization(x, training=True, adjustment=adjustment),
        tf.layers.batch_normalization(x, training=True, adjustment=adjustment, scale=False, center=False),
    ], {x: np.concatenate([X, 2 * X])}


@program
def keras_embedding(tf):
    layer = tf.keras.layers.Embedding(4, 2, embeddings_initializer=ramp)
    return [layer(tf.constant([[0, 3], [1, 1]])), layer(tf.constant([2.0]))], {}
