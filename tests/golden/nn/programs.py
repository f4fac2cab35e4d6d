"""Convolutions, pooling and batch normalisation, each in a graph of its own with its gradients.

``PROGRAMS[name](tf)`` returns what to fetch.
"""

import numpy as np

PROGRAMS = {}


def numbers(*shape):
    """Distinct numbers from -1 to 1, in an order without order."""
    count = int(np.prod(shape))
    return (
        np.random.RandomState(count)
        .permutation(np.linspace(-1.0, 1.0, count))
        .reshape(shape)
        .astype(np.float32)
    )


X = numbers(2, 5, 4, 3)
FILTER = numbers(3, 2, 3, 4)
LINE = numbers(2, 7, 3)
BLOCK = numbers(2, 4, 5, 3, 2)


def with_gradients(name, make, *arrays):
    """A program of ``make(tf, *tensors)`` and the gradients of the sum of its square for all tensors."""

    def build(tf):
        tensors = [tf.constant(a) for a in arrays]
        made = make(tf, *tensors)
        return [made, *tf.gradients(tf.reduce_sum(made * made), tensors)]

    PROGRAMS[name] = build


with_gradients("conv2d_same", lambda tf, x, f: tf.nn.conv2d(x, f, [1, 1, 1, 1], "SAME"), X, FILTER)
with_gradients("conv2d_valid", lambda tf, x, f: tf.nn.conv2d(x, f, 1, "VALID", name="mine"), X, FILTER)
with_gradients("conv2d_strides", lambda tf, x, f: tf.nn.conv2d(x, f, [2, 3], "SAME"), X, FILTER)
with_gradients("conv2d_strides_valid", lambda tf, x, f: tf.nn.conv2d(x, f, 2, "VALID"), X, FILTER)
with_gradients(
    "conv2d_explicit",
    lambda tf, x, f: tf.nn.conv2d(x, f, [1, 2, 1, 1], [[0, 0], [1, 2], [0, 3], [0, 0]]),
    X,
    FILTER,
)
with_gradients(
    "conv2d_twice", lambda tf, x, f: tf.gradients(tf.nn.conv2d(x, f, 1, "SAME") ** 3, x)[0], X, FILTER
)
with_gradients("conv1d", lambda tf, x, f: tf.nn.conv1d(x, f, 2, "SAME"), LINE, FILTER[:, 0])
with_gradients(
    "conv3d", lambda tf, x, f: tf.nn.conv3d(x, f, [1, 1, 2, 1, 1], "SAME"), BLOCK, numbers(2, 3, 1, 2, 2)
)
with_gradients("convolution", lambda tf, x, f: tf.nn.convolution(x, f, "VALID"), X, FILTER)
with_gradients(
    "with_holes", lambda tf, x, f: tf.nn.convolution(x, f, "SAME", dilation_rate=[2, 2]), X, FILTER
)
with_gradients(
    "with_holes_valid", lambda tf, x, f: tf.nn.convolution(x, f, "VALID", dilation_rate=[2, 1]), X, FILTER
)
with_gradients("atrous", lambda tf, x, f: tf.nn.atrous_conv2d(x, f, 2, "SAME"), X, FILTER)
with_gradients(
    "conv2d_transpose",
    lambda tf, x, f: tf.nn.conv2d_transpose(x, f, [2, 9, 8, 2], 2, "SAME"),
    X,
    numbers(3, 2, 2, 3),
)
with_gradients(
    "depthwise", lambda tf, x, f: tf.nn.depthwise_conv2d(x, f, [1, 2, 2, 1], "SAME"), X, numbers(3, 2, 3, 2)
)
with_gradients(
    "separable",
    lambda tf, x, f, g: tf.nn.separable_conv2d(x, f, g, [1, 1, 1, 1], "VALID"),
    X,
    numbers(3, 2, 3, 2),
    numbers(1, 1, 6, 5),
)
with_gradients("max_pool", lambda tf, x: tf.nn.max_pool(x, [1, 3, 2, 1], [1, 2, 1, 1], "SAME"), X)
with_gradients("max_pool_valid", lambda tf, x: tf.nn.max_pool(x, 2, 2, "VALID"), X)
with_gradients("max_pool_of_equals", lambda tf, x: tf.nn.max_pool(x, 2, 1, "SAME"), np.round(X * 2))
with_gradients("max_pool_twice", lambda tf, x: tf.gradients(tf.nn.max_pool(x, 2, 1, "SAME") ** 3, x)[0], X)
with_gradients("max_pool1d", lambda tf, x: tf.nn.max_pool1d(x, 3, 2, "SAME"), LINE)
with_gradients("max_pool2d", lambda tf, x: tf.nn.max_pool2d(x, 2, 2, "SAME"), X)
with_gradients("max_pool3d", lambda tf, x: tf.nn.max_pool3d(x, 2, 2, "SAME"), BLOCK)
with_gradients("avg_pool", lambda tf, x: tf.nn.avg_pool(x, [1, 3, 2, 1], [1, 2, 1, 1], "SAME"), X)
with_gradients("avg_pool_valid", lambda tf, x: tf.nn.avg_pool(x, 2, 2, "VALID"), X)
with_gradients("avg_pool_twice", lambda tf, x: tf.gradients(tf.nn.avg_pool(x, 2, 1, "SAME") ** 3, x)[0], X)
with_gradients("avg_pool1d", lambda tf, x: tf.nn.avg_pool1d(x, 3, 2, "VALID"), LINE)
with_gradients("avg_pool3d", lambda tf, x: tf.nn.avg_pool3d(x, 2, 2, "SAME"), BLOCK)
with_gradients(
    "batch_norm",
    lambda tf, x, scale, offset: tf.nn.fused_batch_norm(x, scale, offset)[0],
    X,
    numbers(3),
    numbers(3),
)
with_gradients(
    "batch_norm_inference",
    lambda tf, x, scale, offset, mean, variance: (
        tf.nn.fused_batch_norm(x, scale, offset, mean, variance, is_training=False)[0]
        + 0.0 * tf.reduce_sum(mean + variance)
    ),
    X,
    numbers(3),
    numbers(3),
    numbers(3),
    2 + numbers(3),
)
with_gradients(
    "batch_norm_twice",
    lambda tf, x, scale: tf.gradients(tf.nn.fused_batch_norm(x, scale, [0.1, 0.2, 0.3])[0] ** 3, x)[0],
    X,
    numbers(3),
)
with_gradients("lrn", lambda tf, x: tf.nn.lrn(x, 1, 0.5, 0.25, 0.75), numbers(2, 2, 3, 7))


def moments_of_a_batch(tf):
    _, mean, variance = tf.nn.fused_batch_norm(tf.constant(X), [1.0, 2.0, 3.0], [0.0, 0.5, 1.0])
    return [mean, variance]


PROGRAMS["moments_of_a_batch"] = moments_of_a_batch


for way, options in {
    "": {},
    "_aligned": {"align_corners": True},
    "_half": {"half_pixel_centers": True},
}.items():
    for size in ([7, 3], [2, 9]):
        suffix = f"{way}_{size[0]}_{size[1]}"
        with_gradients(
            "bilinear" + suffix,
            lambda tf, x, size=size, options=options: tf.image.resize_bilinear(x, size, **options),
            X,
        )
        with_gradients(
            "nearest" + suffix,
            lambda tf, x, size=size, options=options: tf.image.resize_nearest_neighbor(x, size, **options),
            X,
        )
