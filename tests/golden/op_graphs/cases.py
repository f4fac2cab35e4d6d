"""Small programs in TensorFlow 1's API, run by TensorFlow (see record.py) and by kvarn's tests.

Each function takes the module `tf` and returns the tensors to fetch, and, where it has placeholders, what to
feed.
"""

import numpy as np

CASES = {}


def case(f):
    CASES[f.__name__] = f
    return f


def _x(tf, rows=None):
    x = tf.placeholder(tf.float32, [rows, 3], name="x")
    return x, {x: np.array([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]], np.float32)}


def _known(tf, name="a"):
    return tf.constant([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]], name=name)


@case
def operators(tf):
    x, feed = _x(tf)
    y = tf.constant([[0.5, 2.0, -1.0]])
    z = (x + y) * 2.0 - 1.0 / (x * x + 1) + (-x) ** 2.0 // 1.5 + x % 2.0
    return [z, abs(x), x > 0, x <= y, 3 - x, 2 * x, 1 + x], feed


@case
def integer_operators(tf):
    a = tf.constant([7, -7, 8], name="a")
    b = tf.constant([2, 2, -3], name="b")
    return [
        a + b,
        a - b,
        a * b,
        a // b,
        a % b,
        a / b,
        tf.div(a, b),
        tf.truncatediv(a, b),
        tf.truncatemod(a, b),
        a >= b,
        -a,
    ]


@case
def logic(tf):
    a = tf.constant([True, False, True])
    b = tf.constant([True, True, False])
    return [
        a & b,
        a | b,
        a ^ b,
        ~a,
        tf.logical_xor(a, b),
        tf.logical_and(a, b),
        tf.reduce_all(a),
        tf.reduce_any(a, 0),
    ]


@case
def grad_arithmetic_dynamic(tf):
    x, feed = _x(tf)
    y = tf.constant([[0.5, 2.0, -1.0]], name="y")
    z = x * y + x / (y + 3.0) - y + tf.maximum(x, y) * tf.minimum(x, 1.0) + tf.squared_difference(x, y)
    return tf.gradients(z, [x, y]), feed


@case
def grad_arithmetic_static(tf):
    x = _known(tf)
    y = tf.constant([0.5, 2.0, 1.0], name="y")
    z = x * y + x / (y + 3.0) - y + tf.pow(tf.abs(x), y) + tf.div_no_nan(x, y) + tf.floormod(x, y) + x * x
    return tf.gradients(z, [x, y])


@case
def grad_same_shapes(tf):
    x = _known(tf)
    y = _known(tf, "b") * 2.0
    z = x * y + x - y + tf.multiply(x, y) + tf.divide(x, y)
    return tf.gradients(z, [x, y])


@case
def unary_functions(tf):
    x = tf.constant([0.1, 0.7, 0.4])
    names = [
        "square", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sin",
        "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
        "sigmoid", "erf", "erfc", "reciprocal", "negative", "sign", "abs", "floor",
        "ceil", "rint", "round", "lgamma", "is_nan", "is_inf", "is_finite", "log_sigmoid",
    ]  # fmt: skip
    return [
        getattr(tf, n)(x) if n != "reciprocal" else tf.math.reciprocal(x)
        for n in names
        if hasattr(tf, n) or n == "reciprocal"
    ]


@case
def grad_unary(tf):
    x = tf.constant([0.1, 0.7, 0.4], name="x")
    names = [
        "square", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sin",
        "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
        "sigmoid", "erf", "erfc", "abs", "sign",
    ]  # fmt: skip
    y = tf.add_n([getattr(tf, n)(x) for n in names])
    return tf.gradients(y, x)


@case
def second_grad(tf):
    x = tf.constant([0.3, 0.7, 0.4], name="x")
    y = tf.sqrt(x) * tf.rsqrt(x) + tf.tanh(x) + tf.sigmoid(x) + tf.nn.relu(x) + tf.nn.softplus(x)
    g = tf.gradients(y, x)[0]
    return tf.gradients(g, x)


@case
def casts(tf):
    x = tf.constant([1.7, -1.7, 0.0])
    i = tf.cast(x, tf.int32)
    return [
        i,
        tf.cast(i, tf.float64),
        tf.cast(x, tf.bool),
        tf.to_float(i),
        tf.to_int64(x),
        tf.cast(x, tf.float32),
        tf.cast(i, tf.uint8),
        tf.cast(2.9, tf.int64, name="c"),
        tf.saturate_cast(tf.constant([300.0, -5.0]), tf.uint8),
    ]


@case
def reductions_known(tf):
    x = _known(tf)
    return [
        tf.reduce_sum(x),
        tf.reduce_sum(x, 0),
        tf.reduce_mean(x, [1]),
        tf.reduce_max(x, -1, keepdims=True),
        tf.reduce_min(x, [0, 1]),
        tf.reduce_prod(x, 1),
        tf.reduce_logsumexp(x, 1),
        tf.reduce_mean(tf.constant([7, -8, 2])),
        tf.argmax(x, 1),
        tf.argmin(x, 0, output_type=tf.int32),
        tf.argmax(x),
        tf.count_nonzero(x, 1),
        tf.reduce_sum(x, axis=1, name="named"),
    ]


@case
def reductions_dynamic(tf):
    x, feed = _x(tf)
    u = tf.placeholder(tf.float32, name="u")
    feed[u] = np.ones((2, 2, 2), np.float32)
    return [
        tf.reduce_sum(x),
        tf.reduce_mean(x, 0),
        tf.reduce_logsumexp(x),
        tf.reduce_sum(u),
        tf.reduce_mean(u, [0, 2]),
    ], feed


@case
def grad_reductions(tf):
    x, feed = _x(tf)
    y = (
        tf.reduce_sum(x)
        + tf.reduce_sum(tf.reduce_mean(x, 0))
        + tf.reduce_sum(tf.reduce_max(x, 1))
        + tf.reduce_mean(x)
        + tf.reduce_sum(tf.reduce_logsumexp(x, 1, keepdims=True))
        + tf.reduce_sum(tf.reduce_prod(x, 1))
    )
    return tf.gradients(y, x), feed


@case
def grad_reductions_static(tf):
    x = _known(tf)
    y = (
        tf.reduce_sum(x)
        + tf.reduce_sum(tf.reduce_mean(x, 0))
        + tf.reduce_sum(tf.reduce_sum(x, [1], keepdims=True))
        + tf.reduce_mean(x)
        + tf.reduce_sum(tf.reduce_min(x, 1))
    )
    return tf.gradients(y, x)


@case
def running(tf):
    x = _known(tf)
    y = (
        tf.cumsum(x, 1)
        + tf.cumsum(x, 0, exclusive=True)
        + tf.cumprod(x, 1, reverse=True)
        + tf.cumsum(x, -1, exclusive=True, reverse=True)
    )
    return [y, *tf.gradients(y, x)]


@case
def matmuls(tf):
    a, feed = _x(tf)
    b = tf.constant(np.arange(12, dtype=np.float32).reshape(3, 4), name="b")
    c = tf.constant(np.arange(24, dtype=np.float32).reshape(2, 3, 4), name="c")
    y = [
        tf.matmul(a, b),
        tf.matmul(b, a, transpose_a=True, transpose_b=True),
        tf.matmul(a, a, transpose_b=True),
        tf.matmul(a, a, transpose_a=True),
        tf.matmul(c, c, transpose_b=True),
        tf.matmul(c, b, adjoint_b=True),
    ]
    g = tf.gradients([tf.reduce_sum(t) for t in y], [a, b, c])
    return [*y, a @ b, *g], feed


@case
def tensordots(tf):
    a = tf.constant(np.arange(24, dtype=np.float32).reshape(2, 3, 4), name="a")
    b = tf.constant(np.arange(12, dtype=np.float32).reshape(4, 3), name="b")
    x, feed = _x(tf)
    return [tf.tensordot(a, b, 1), tf.tensordot(a, b, [[1, 2], [1, 0]]), tf.tensordot(x, b, [[1], [1]])], feed


@case
def shapes(tf):
    x, feed = _x(tf)
    k = _known(tf)
    u = tf.placeholder(tf.float32, name="u")
    feed[u] = np.zeros((2, 1, 2), np.float32)
    return [
        tf.shape(x),
        tf.shape(k),
        tf.size(x),
        tf.size(k),
        tf.rank(x),
        tf.rank(u),
        tf.shape(k, out_type=tf.int64),
        tf.shape(x)[0],
        tf.shape_n([x, k])[1],
        tf.broadcast_dynamic_shape(tf.shape(x), tf.constant([1])),
    ], feed


@case
def reshapes(tf):
    x, feed = _x(tf)
    y = [
        tf.reshape(x, [-1]),
        tf.reshape(x, [3, -1]),
        tf.reshape(x, [tf.shape(x)[0], 3, 1]),
        tf.expand_dims(x, 1),
        tf.expand_dims(x, -1, name="e"),
        tf.squeeze(tf.expand_dims(x, 0)),
        tf.squeeze(tf.reshape(x, [1, -1, 1]), [0]),
        tf.transpose(x),
        tf.transpose(x, [1, 0]),
        tf.tile(x, [2, 1]),
    ]
    return y + tf.gradients([tf.reduce_sum(t * t) for t in y], x), feed


@case
def joined(tf):
    x, feed = _x(tf)
    k = _known(tf)
    c = tf.concat([x, k, x * 2.0], 0)
    d = tf.concat([k, k + 1.0], axis=1)
    s = tf.stack([x, x + 1.0], axis=1)
    t = tf.stack([tf.constant(1.0), 2.0, 3.0])
    u = tf.unstack(k, axis=1)
    v = tf.split(k, 3, axis=1)
    w = tf.split(c, [1, 2, -1], 0)
    one = tf.concat([x], 0)
    y = [c, d, s, t, one, *u, *v, *w]
    return y + tf.gradients([tf.reduce_sum(i * i) for i in y], [x, k]), feed


@case
def slices(tf):
    x, feed = _x(tf)
    k = tf.constant(np.arange(60, dtype=np.float32).reshape(3, 4, 5), name="k")
    i = tf.constant(1, name="i")
    y = [
        x[0],
        x[:, 1],
        x[-1:, ::2],
        k[..., 1],
        k[1:, ..., tf.newaxis, :2],
        k[i],
        k[i:, 0],
        k[::-1, 2, -3:-1],
        tf.slice(k, [0, 1, 2], [2, -1, 2]),
        tf.strided_slice(k, [0, 0, 0], [3, 4, 5], [2, 2, 2]),
        k[:, tf.newaxis, 0],
    ]
    return y + tf.gradients([tf.reduce_sum(t * t) for t in y], [x, k]), feed


@case
def gathers(tf):
    x, feed = _x(tf)
    k = tf.constant(np.arange(24, dtype=np.float32).reshape(2, 3, 4), name="k")
    i = tf.constant([1, 0, 1], name="i")
    y = [
        tf.gather(x, i),
        tf.gather(k, [2, 0], axis=1),
        tf.gather(k, [[0, 1], [1, 1]]),
        tf.gather_nd(k, [[0, 1], [1, 2]]),
        tf.gather_nd(k, [[0, 1, 3]]),
        tf.gather(k, tf.constant([[0, 1], [2, 2]]), batch_dims=1, axis=1),
    ]
    g = tf.gradients([tf.reduce_sum(t * t) for t in y], [k])
    h = tf.gradients(y[0], x)[0]
    return y + g + [h.values, h.indices, h.dense_shape, tf.convert_to_tensor(h)], feed


@case
def scatters(tf):
    u = tf.constant([9.0, 10.0, 11.0], name="u")
    y = tf.scatter_nd([[4], [3], [4]], u, [8])
    t = tf.tensor_scatter_add(tf.ones([8]), [[1], [1], [7]], u)
    v = tf.tensor_scatter_update(tf.ones([8]), [[1], [2], [7]], u)
    return [y, t, v, *tf.gradients([y * y, t * t, v * v], u)]


@case
def selections(tf):
    x, feed = _x(tf)
    y = tf.where(x > 0, x, x * 2.0)
    rows = tf.where(tf.constant([True, False]), _known(tf), tf.zeros([2, 3]))
    where = tf.where(x > 0)
    mask = tf.boolean_mask(x, tf.constant([True, False]))
    mask2 = tf.boolean_mask(_known(tf), [[True, False, True], [False, False, True]])
    masked = x[x > 0]
    hot = tf.one_hot([0, 2, -1], 3)
    hot2 = tf.one_hot([[0, 1]], 2, on_value=5, off_value=1, axis=0)
    seq = tf.sequence_mask([1, 3, 0], 4)
    seq2 = tf.sequence_mask([1, 3, 0], dtype=tf.float32)
    return [y, rows, where, mask, mask2, masked, hot, hot2, seq, seq2, *tf.gradients(y, x)], feed


@case
def uniques(tf):
    i = tf.constant([5, 1, 5, 2, 1, 9], name="i")
    y, idx = tf.unique(i)
    z, idx2, count = tf.unique_with_counts(tf.cast(i, tf.int64), out_idx=tf.int64)
    s, _ = tf.unique(tf.constant(["b", "a", "b"]))
    f, fi = tf.unique(tf.constant([0.5, 0.25, 0.5]))
    d, di = tf.setdiff1d(i, [1, 9])
    return [y, idx, z, idx2, count, s, f, fi, d, di]


@case
def partitions(tf):
    x = tf.constant(np.arange(12, dtype=np.float32).reshape(6, 2), name="x")
    parts = tf.dynamic_partition(x, [0, 1, 2, 0, 1, 2], 3)
    places = tf.dynamic_partition(tf.range(6), [0, 1, 2, 0, 1, 2], 3)
    back = tf.dynamic_stitch(places, [p * (i + 1.0) for i, p in enumerate(parts)])
    return [*parts, back, *tf.gradients(back * back, x)]


@case
def segments(tf):
    x = tf.constant(np.arange(1, 13, dtype=np.float32).reshape(6, 2), name="x")
    ids = [0, 0, 1, 1, 1, 3]
    u = [2, 0, -1, 0, 2, 3]
    y = [
        tf.segment_sum(x, ids),
        tf.segment_mean(x, ids),
        tf.segment_max(x, ids),
        tf.segment_min(x, ids),
        tf.unsorted_segment_sum(x, u, 4),
        tf.unsorted_segment_mean(x, u, 4),
        tf.unsorted_segment_sqrt_n(x, u, 4),
        tf.sparse_segment_sum(x, [0, 5, 5, 1], [0, 0, 1, 3]),
        tf.sparse_segment_mean(x, [0, 5, 5, 1], [0, 0, 1, 3]),
        tf.sparse_segment_sqrt_n(x, [0, 5, 5, 1], [0, 0, 1, 3]),
        tf.sparse_segment_mean(x, [0, 5, 5], [0, 0, 1], num_segments=4),
    ]
    more = [
        tf.segment_prod(x, ids),
        tf.unsorted_segment_max(x, u, 5),
        tf.unsorted_segment_min(x, u, 5),
        tf.unsorted_segment_prod(x, u, 5),
    ]
    g = tf.gradients([tf.reduce_sum(t * t) for t in y], x)
    h = tf.gradients([tf.reduce_sum(t) for t in more[1:]], x)
    return y + more + g + h


@case
def fills(tf):
    x, feed = _x(tf)
    n = tf.shape(x)[0]
    return [
        tf.zeros([2, 3]),
        tf.ones([2], tf.int64),
        tf.zeros([n, 2]),
        tf.ones(tf.shape(x)),
        tf.fill([n], 7),
        tf.zeros_like(x),
        tf.ones_like(x),
        tf.zeros_like(_known(tf)),
        tf.zeros_like(x, tf.int32),
        tf.zeros([40, 40])[0, :2],
        tf.zeros([2], tf.string),
        tf.fill([2, 2], "ab"),
        tf.zeros([], tf.bool),
        tf.ones_like(_known(tf), dtype=tf.int32),
    ], feed


@case
def ranges(tf):
    return [
        tf.range(5),
        tf.range(2, 9, 3),
        tf.range(3.0),
        tf.range(5, 0, -2),
        tf.range(0.0, 1.0, 0.25),
        tf.linspace(0.0, 1.0, 5),
        tf.range(tf.constant(3, tf.int64)),
    ]


@case
def pads(tf):
    x = _known(tf)
    y = [
        tf.pad(x, [[1, 0], [0, 2]]),
        tf.pad(x, [[1, 0], [0, 2]], constant_values=9.0),
        tf.pad(x, [[1, 1], [2, 0]], "REFLECT"),
        tf.pad(x, [[1, 1], [2, 0]], "SYMMETRIC"),
        tf.reverse(x, [1]),
        tf.reverse_sequence(x, [2, 3], seq_axis=1, batch_axis=0),
    ]
    return y + tf.gradients([tf.reduce_sum(t * t) for t in y], x)


@case
def diagonals(tf):
    x = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], name="x")
    y = [
        tf.matrix_diag(x),
        tf.matrix_diag_part(x),
        tf.matrix_set_diag(x, [8.0, 9.0]),
        tf.matrix_transpose(x),
        tf.trace(x),
    ]
    return y + tf.gradients([tf.reduce_sum(t * t) for t in y], x) + tf.meshgrid([1, 2], [3, 4, 5])


@case
def activations(tf):
    x, feed = _x(tf)
    n = tf.nn
    y = [
        n.relu(x),
        n.relu6(x * 4.0),
        n.leaky_relu(x),
        n.elu(x),
        n.selu(x),
        n.softplus(x),
        n.softsign(x),
        n.softmax(x),
        n.log_softmax(x),
        n.softmax(x, axis=0),
        n.sigmoid(x),
        n.tanh(x),
        n.crelu(x),
    ]
    return y + tf.gradients([tf.reduce_sum(t * t) for t in y], x), feed


@case
def cross_entropies(tf):
    x, feed = _x(tf)
    z = tf.constant([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], name="z")
    n = tf.nn
    y = [
        n.sigmoid_cross_entropy_with_logits(labels=z, logits=x),
        n.weighted_cross_entropy_with_logits(labels=z, logits=x, pos_weight=2.0),
        n.softmax_cross_entropy_with_logits(labels=z, logits=x),
        n.softmax_cross_entropy_with_logits_v2(labels=z, logits=x),
        n.sparse_softmax_cross_entropy_with_logits(labels=[2, 0], logits=x),
        n.sigmoid_cross_entropy_with_logits(labels=z, logits=_known(tf)),
    ]
    return y + tf.gradients(y, x), feed


@case
def layers(tf):
    x, feed = _x(tf)
    w = tf.constant(np.arange(6, dtype=np.float32).reshape(3, 2) - 2.0, name="w")
    b = tf.constant([0.5, -0.5], name="b")
    n = tf.nn
    mean, variance = n.moments(x, [0])
    y = [
        n.bias_add(tf.matmul(x, w), b),
        n.xw_plus_b(x, w, b),
        n.l2_normalize(x, 1),
        mean,
        variance,
        n.l2_loss(x),
        n.batch_normalization(x, mean, variance, 1.0, None, 0.001),
        n.relu_layer(x, w, b),
    ]
    values, indices = n.top_k(x, 2)
    inside = n.in_top_k(x, [0, 2], 1)
    sums = [tf.reduce_sum(t * t) for t in y]
    return [*y, values, indices, inside, *tf.gradients([*sums, values], [x, w, b])], feed


@case
def clips(tf):
    x, feed = _x(tf)
    clipped, norm = tf.clip_by_global_norm([x, None, _known(tf)], 1.0)
    y = [
        tf.clip_by_value(x, -1.0, 1.0),
        tf.clip_by_norm(x, 2.0),
        tf.clip_by_norm(x, 2.0, axes=[1]),
        tf.global_norm([x, x]),
        norm,
        clipped[0],
        clipped[2],
        tf.clip_by_average_norm(x, 0.5),
    ]
    return y + tf.gradients(y, x), feed


@case
def scopes_and_names(tf):
    with tf.name_scope("outer"):
        x = tf.placeholder(tf.float32, [None], name="x")
        y = tf.add(x, 1.0)
        with tf.name_scope("inner"):
            z = tf.add(y, y, name="sum") + tf.identity(x)
    w = tf.identity(z, name="outer/x")
    return [w, tf.add_n([w, y, y]), tf.add_n([w], name="one"), tf.stop_gradient(w) * 2.0], {
        x: np.array([1.0, 2.0], np.float32)
    }


@case
def strings(tf):
    a = tf.constant(["a", "b"])
    return [
        a + "x",
        tf.equal(a, "a"),
        tf.not_equal(a, ["b", "b"]),
        tf.gather(a, [1, 1]),
        tf.concat([a, a], 0),
        a[0],
        tf.stack([a, a]),
        tf.reshape(a, [2, 1]),
        tf.tile(a, [2]),
        tf.where([True, False], a, ["p", "q"]),
        tf.zeros_like(a),
    ]


@case
def complexes(tf):
    c = tf.complex([1.0, 2.0], [3.0, -4.0])
    return [c, tf.real(c), tf.imag(c), tf.abs(c), tf.conj(c), c * c]


@case
def bits(tf):
    a = tf.constant([5, -3, 12])
    b = tf.constant([3, 7, 1])
    w = tf.bitwise
    return [
        w.bitwise_and(a, b),
        w.bitwise_or(a, b),
        w.bitwise_xor(a, b),
        w.invert(a),
        w.left_shift(a, b),
        w.right_shift(a, b),
    ]


@case
def broadcasting(tf):
    x = tf.constant([[1.0], [2.0]], name="x")
    y = tf.broadcast_to(x, [2, 3])
    passed = [tf.bitcast(x, tf.int32), tf.check_numerics(x, "bad"), tf.guarantee_const(x)]
    return [y, *passed, *tf.gradients(y * y, x)]


@case
def einsums(tf):
    a = tf.constant(np.arange(6, dtype=np.float32).reshape(2, 3), name="a")
    b = tf.constant(np.arange(12, dtype=np.float32).reshape(3, 4), name="b")
    c = tf.constant(np.arange(24, dtype=np.float32).reshape(2, 3, 4), name="c")
    x, feed = _x(tf)
    return [
        tf.einsum("ij,jk->ik", a, b),
        tf.einsum("ij->ji", a),
        tf.einsum("bij,bij->b", c, c),
        tf.einsum("ij,bjk->bik", tf.transpose(b), tf.transpose(c, [0, 1, 2])),
        tf.einsum("ij,jk", x, b),
        tf.einsum("i,j->ij", a[0], b[0]),
        tf.einsum("...ij,jk->...ik", c, tf.transpose(b)),
    ], feed


@case
def accumulated(tf):
    x, feed = _x(tf)
    y = tf.accumulate_n([x, x * 2.0, x])
    return [y, *tf.gradients(y, x)], feed


@case
def cross_entropy_of_sequences(tf):
    x = tf.placeholder(tf.float32, [None, 2, 3], name="x")
    z = tf.placeholder(tf.int32, [None, 2], name="z")
    y = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=z, logits=x)
    w = tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.one_hot(z, 3), logits=x)
    feed = {x: np.arange(12, dtype=np.float32).reshape(2, 2, 3) % 5, z: np.array([[0, 2], [1, 1]], np.int32)}
    return [y, w, *tf.gradients([y, w], x)], feed


@case
def one_part(tf):
    x, feed = _x(tf)
    y = tf.expand_dims(x, 0)
    parts = [*tf.unstack(y), *tf.split(y, 1), *tf.split(y, [1]), *tf.dynamic_partition(y, [0], 1)]
    return [*parts, *tf.gradients(parts, x)], feed


@case
def gathers_in_batches(tf):
    x = tf.placeholder(tf.float32, [None, None, 3], name="x")
    known = tf.constant(np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3), name="known")
    one = tf.gather_nd(x, [[[1, 2]], [[0, 0]]], batch_dims=1)
    two = tf.gather_nd(known, [[[1], [0]], [[1], [1]]], batch_dims=2, name="two")
    return [one, two, *tf.gradients(one, x)], {x: np.arange(12, dtype=np.float32).reshape(2, 2, 3)}


@case
def repeats(tf):
    x, feed = _x(tf)
    known = _known(tf)
    anything = tf.placeholder(tf.float32, name="anything")
    feed[anything] = np.arange(6, dtype=np.float32).reshape(2, 3)
    made = [
        tf.repeat(known, 2),
        tf.repeat(known, 2, axis=0),
        tf.repeat(known, [1, 0, 2], axis=-1),
        tf.repeat(x, [1, 2], axis=0),
        tf.repeat(x, 3, axis=1),
        tf.repeat(4.0, 3),
        tf.repeat([1, 2], [0, 2]),
        tf.repeat(anything, 2, axis=1),
    ]
    return [*made, *tf.gradients(made[4], x)], feed


@case
def neighbours(tf):
    x, feed = _x(tf)
    y = tf.math.nextafter(x, [[2.0], [-4.0]])
    z = tf.math.reciprocal_no_nan(x * [0.0, 1.0, 2.0])
    return [y, z, *tf.gradients([y, z], x), tf.math.nextafter(np.float64(1), np.float64(2))], feed


@case
def sizes_of_sparse_values(tf):
    x = tf.SparseTensorValue(np.array([[0, 1]]), np.array([2.0], np.float32), np.array([4, 5]))
    return [tf.shape(x), tf.size(x), tf.rank(x)]


@case
def same_axis_twice(tf):
    x, feed = _x(tf)
    return [tf.reduce_sum(x, [1, -1]), tf.reduce_max(_known(tf), [0, 0], keepdims=True)], feed


@case
def sparse_of_dense(tf):
    x, feed = _x(tf)
    found = tf.sparse.from_dense(x * [[1.0, 0.0, 1.0]])
    words = tf.sparse.eye(2, 3, dtype=tf.int32)
    square = tf.sparse.eye(tf.shape(x)[1], name="square")
    parts = [found.indices, found.values, found.dense_shape, words.indices, words.values, words.dense_shape]
    return [*parts, square.indices, square.values, square.dense_shape, *tf.gradients(found.values, x)], feed
