"""Programs with conditionals, loops and arrays of tensors, for TensorFlow 1.15 and kvarn alike.

Each builds its graph and returns the feeds of its runs and what to fetch.
"""

import collections

PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def scalar(tf, name, dtype="float32"):
    return tf.placeholder(getattr(tf, dtype), [], name=name)


@program
def cond_of_constants(tf):
    p, x = scalar(tf, "p", "bool"), scalar(tf, "x")
    y = tf.cond(p, lambda: x * 2.0, lambda: tf.constant(7.0))
    return [{p: True, x: 3.0}, {p: False, x: 3.0}], [y]


@program
def cond_of_structures(tf):
    p, x = scalar(tf, "p", "bool"), scalar(tf, "x")
    Pair = collections.namedtuple("Pair", "a b")
    y = tf.cond(
        p,
        lambda: {"u": [x, x + 1.0], "v": Pair(x, (x * 3.0,))},
        lambda: {"u": [x - 1.0, x], "v": Pair(tf.zeros([]), (x,))},
        name="choose",
    )
    return [{p: True, x: 3.0}, {p: False, x: 3.0}], [y["u"][0], y["u"][1], y["v"].a, y["v"].b[0]]


@program
def cond_of_operations(tf):
    p = scalar(tf, "p", "bool")
    v = tf.Variable(1.0, name="v")
    with tf.control_dependencies([tf.cond(p, lambda: tf.assign(v, 5.0).op, lambda: tf.no_op())]):
        after = tf.identity(v)
    return [{p: False}, {p: True}], [after]


@program
def cond_singletons(tf):
    p, x = scalar(tf, "p", "bool"), scalar(tf, "x")
    loose = tf.cond(p, lambda: [x], lambda: (x + 1.0,))
    strict = tf.cond(p, lambda: [x], lambda: [x + 1.0], strict=True)
    return [{p: True, x: 3.0}, {p: False, x: 3.0}], [loose, strict[0]]


@program
def cond_in_cond(tf):
    x = scalar(tf, "x")
    y = tf.cond(
        x > 0.0,
        lambda: tf.cond(x > 10.0, lambda: x * 100.0, lambda: x + 1.0),
        lambda: tf.cond(x < -10.0, lambda: tf.constant(0.5), lambda: -x),
    )
    return [{x: 20.0}, {x: 5.0}, {x: -5.0}, {x: -50.0}], [y, tf.gradients(y, x)[0]]


@program
def cond_gradients(tf):
    p = scalar(tf, "p", "bool")
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    w = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="w")
    y = tf.cond(p, lambda: tf.matmul(x, w), lambda: x * 2.0)
    g = tf.gradients(tf.reduce_sum(y * y), [x, w])
    return [{p: True, x: [[1.0, 2.0]]}, {p: False, x: [[1.0, 2.0], [3.0, 4.0]]}], [y, *g]


@program
def cond_resource_gradients(tf):
    p = scalar(tf, "p", "bool")
    w = tf.get_variable("w", initializer=[[1.0, 2.0], [3.0, 4.0]], use_resource=True)
    y = tf.cond(p, lambda: tf.reduce_sum(w * w), lambda: tf.reduce_sum(w * 3.0))
    return [{p: True}, {p: False}], [y, tf.gradients(y, w)[0]]


@program
def cond_sparse_gradients(tf):
    p = scalar(tf, "p", "bool")
    w = tf.get_variable("w", initializer=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    y = tf.cond(p, lambda: tf.gather(w, [0, 2]), lambda: tf.gather(w, [1, 1]))
    g = tf.gradients(tf.reduce_sum(y * y), w)[0]
    return [{p: True}, {p: False}], [y, tf.convert_to_tensor(g)]


@program
def cond_training(tf):
    p = scalar(tf, "p", "bool")
    w = tf.Variable([1.0, 2.0], name="w")
    loss = tf.reduce_sum(w * w)
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    train = tf.cond(p, lambda: optimizer.minimize(loss), lambda: tf.no_op())
    with tf.control_dependencies([train]):
        after = w + 0.0
    return [{p: False}, {p: True}, {p: True}], [after]


@program
def cond_sparse_tensors(tf):
    p = scalar(tf, "p", "bool")
    a = tf.SparseTensor([[0, 1]], [1.0], [2, 2])
    b = tf.SparseTensor([[0, 0], [1, 1]], [3.0, 4.0], [2, 2])
    y = tf.cond(p, lambda: a, lambda: b)
    return [{p: True}, {p: False}], [tf.sparse_tensor_to_dense(y)]


@program
def cond_with_control_inputs(tf):
    p, x = scalar(tf, "p", "bool"), scalar(tf, "x")
    v = tf.Variable(0.0, name="v")
    step = tf.assign_add(v, 1.0)

    def true_fn():
        with tf.control_dependencies([tf.assign_add(v, 10.0)]):
            return x + 1.0

    with tf.control_dependencies([step]):
        y = tf.cond(p, true_fn, lambda: x)
    with tf.control_dependencies([y]):
        after = tf.identity(v)
    return [{p: True, x: 1.0}, {p: False, x: 1.0}], [after]


@program
def cases(tf):
    x = scalar(tf, "x", "int32")
    pairs = [(x < 0, lambda: tf.constant(-1)), (x > 100, lambda: x // 100)]
    return [{x: -4}, {x: 7}, {x: 450}], [
        tf.case(pairs, default=lambda: x),
        tf.case(pairs, default=lambda: x + 1, exclusive=True, name="one_of"),
    ]


@program
def case_without_default(tf):
    x = scalar(tf, "x", "int32")
    y = tf.case([(x < 0, lambda: tf.constant(-1)), (x > 100, lambda: x // 100)])
    return [{x: -4}, {x: 450}, {x: 7}], [y]


@program
def case_of_a_dictionary(tf):
    x = scalar(tf, "x", "int32")
    y = tf.case({x < 0: lambda: tf.constant(-1), x > 5: lambda: x * 2}, default=lambda: x, exclusive=True)
    return [{x: -4}, {x: 4}, {x: 7}], [y]


@program
def loop(tf):
    n = scalar(tf, "n", "int32")
    i, s = tf.while_loop(lambda i, s: i < n, lambda i, s: (i + 1, s + tf.to_float(i) * 0.5), [0, 1.0])
    return [{n: 10}, {n: 0}, {n: 3}], [i, s]


@program
def loop_of_one(tf):
    x = scalar(tf, "x")
    y = tf.while_loop(lambda x: x < 100.0, lambda x: x * 2.0, [x], name="double", parallel_iterations=1)
    z = tf.while_loop(lambda x: x < 100.0, lambda x: [x * 2.0], [x], return_same_structure=True)
    return [{x: 3.0}, {x: 300.0}], [y, z[0], *tf.gradients(y, x)]


@program
def loop_with_a_limit(tf):
    x = scalar(tf, "x")
    y = tf.while_loop(lambda x: x < 100.0, lambda x: x * 2.0, [x], maximum_iterations=3)
    a, b = tf.while_loop(
        lambda a, b: a < 100.0, lambda a, b: [a * 2.0, b + a], [x, 0.0], maximum_iterations=2
    )
    return [{x: 3.0}, {x: 60.0}], [y, a, b, *tf.gradients([y, b], x)]


@program
def loop_of_structures(tf):
    x = scalar(tf, "x")
    Pair = collections.namedtuple("Pair", "a b")
    out = tf.while_loop(
        lambda i, p: i < 3,
        lambda i, p: (i + 1, Pair(p.a + p.b["u"], {"u": p.b["u"] * 2.0, "v": p.a})),
        [tf.constant(0), Pair(x, {"u": x, "v": x})],
    )
    return [{x: 1.5}], [out[0], out[1].a, out[1].b["u"], out[1].b["v"], *tf.gradients(out[1].a, x)]


@program
def loop_with_invariants(tf):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    i, m = tf.while_loop(
        lambda i, m: tf.less(i, 3),
        lambda i, m: (i + 1, tf.concat([m, x], 0)),
        [tf.constant(0), x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 2])],
    )
    return [{x: [[1.0, 2.0]]}, {x: [[1.0, 2.0], [3.0, 4.0]]}], [i, m, tf.gradients(m * m, x)[0]]


@program
def loop_of_sparse_tensors(tf):
    x = tf.SparseTensor([[0, 0], [1, 1]], [3.0, 4.0], [2, 2])
    _, y = tf.while_loop(
        lambda i, s: i < 3,
        lambda i, s: (i + 1, tf.SparseTensor(s.indices, s.values * 2.0, s.dense_shape)),
        [0, x],
    )
    return [{}], [tf.sparse_tensor_to_dense(y)]


@program
def loop_in_loop(tf):
    n = scalar(tf, "n", "int32")

    def body(i, t):
        _, u = tf.while_loop(lambda j, u: j < i, lambda j, u: (j + 1, u + i * j), [0, t])
        return i + 1, u

    i, t = tf.while_loop(lambda i, t: i < n, body, [0, 0])
    return [{n: 5}, {n: 1}], [i, t]


@program
def loop_gradients(tf):
    n = scalar(tf, "n", "int32")
    x = tf.placeholder(tf.float32, [2], name="x")
    w = tf.Variable([2.0, 3.0], name="w")
    _, y = tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, y * w + tf.sin(y)), [0, x])
    return [{n: 3, x: [0.5, 0.25]}, {n: 0, x: [0.5, 0.25]}], [y, *tf.gradients(y, [x, w])]


@program
def loop_gradients_of_unknown_shapes(tf):
    x = tf.placeholder(tf.float32, name="x")
    w = tf.placeholder(tf.float32, name="w")
    _, y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * w + w), [0, x])
    return [{x: [1.0, 2.0], w: [0.5, 0.25]}], [y, *tf.gradients(y, [x, w])]


@program
def loop_gradients_of_unused_results(tf):
    x, y = scalar(tf, "x"), scalar(tf, "y")
    _, a, _b = tf.while_loop(lambda i, a, b: i < 3, lambda i, a, b: (i + 1, a * b, b + y), [0, x, y])
    c, _d = tf.while_loop(lambda c, d: c < 10.0, lambda c, d: (c + d, x), [x, y])
    return [{x: 1.5, y: 2.0}], [a, c, *tf.gradients(a, [x, y]), *tf.gradients(c, [x, y])]


@program
def loop_gradients_not_wanted(tf):
    x = scalar(tf, "x")
    _, y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * x), [0, x], back_prop=False)
    return [{x: 1.5}], [y, *tf.gradients(y * x, [x])]


@program
def loop_in_loop_gradients(tf):
    n = scalar(tf, "n", "int32")
    x, w = scalar(tf, "x"), tf.Variable(1.5, name="w")

    def body(i, t):
        _, u = tf.while_loop(lambda j, u: j < i, lambda j, u: (j + 1, u * w + t * 0.1), [0, t])
        return i + 1, u + x

    _, t = tf.while_loop(lambda i, t: i < n, body, [0, x])
    return [{n: 4, x: 0.5}, {n: 1, x: 0.5}], [t, *tf.gradients(t, [x, w])]


@program
def loop_in_loop_gradients_of_unknown_shapes(tf):
    x = tf.placeholder(tf.float32, name="x")

    def body(i, t):
        _, u = tf.while_loop(lambda j, u: j < 2, lambda j, u: (j + 1, u * t * x), [0, t])
        return i + 1, u + x

    _, t = tf.while_loop(lambda i, t: i < 2, body, [0, x])
    return [{x: [0.5, 1.0]}], [t, *tf.gradients(t, [x])]


@program
def cond_in_loop(tf):
    n, x = scalar(tf, "n", "int32"), scalar(tf, "x")

    def body(i, e):
        return i + 1, tf.cond(tf.equal(i % 2, 0), lambda: e * x, lambda: e + x * x)

    _, e = tf.while_loop(lambda i, e: i < n, body, [0, 1.0])
    return [{n: 5, x: 2.0}, {n: 0, x: 2.0}, {n: 1, x: 3.0}], [e, *tf.gradients(e, x)]


@program
def cond_in_loop_of_unknown_shapes(tf):
    x = tf.placeholder(tf.float32, name="x")

    def body(i, e):
        return i + 1, tf.cond(tf.equal(i % 2, 0), lambda: e * x, lambda: e + 1.0)

    _, e = tf.while_loop(lambda i, e: i < 4, body, [0, x])
    return [{x: [2.0, 3.0]}], [e, *tf.gradients(e, x)]


@program
def loop_in_cond(tf):
    p, x = scalar(tf, "p", "bool"), scalar(tf, "x")
    y = tf.cond(
        p,
        lambda: tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * x), [0, x])[1],
        lambda: x + 1.0,
    )
    return [{p: True, x: 2.0}, {p: False, x: 2.0}], [y, *tf.gradients(y, x)]


@program
def loop_with_variables(tf):
    v = tf.Variable(0.0, name="v", use_resource=True)
    w = tf.Variable([1.0, 2.0], name="w")

    def body(i):
        with tf.control_dependencies([v.assign_add(tf.to_float(i))]):
            return i + 1

    i = tf.while_loop(lambda i: i < 4, body, [1])
    with tf.control_dependencies([i]):
        read = v.read_value()
    _, s = tf.while_loop(lambda j, s: j < 3, lambda j, s: (j + 1, s + w), [0, tf.zeros([2])])
    return [{}, {}], [read, s]


@program
def loop_with_resource_gradients(tf):
    w = tf.get_variable("w", initializer=[[1.0, 2.0], [3.0, 4.0]], use_resource=True)
    x = tf.placeholder(tf.float32, [1, 2], name="x")
    _, y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.matmul(y, w)), [0, x])
    return [{x: [[1.0, 0.5]]}], [y, *tf.gradients(y, [x, w])]


@program
def loop_with_sparse_gradients(tf):
    w = tf.get_variable("w", initializer=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    r = tf.get_variable("r", initializer=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], use_resource=True)

    def body(i, y):
        return i + 1, y + tf.reduce_sum(tf.gather(w, [i, 0]) * tf.gather(r, [i]))

    _, y = tf.while_loop(lambda i, y: i < 3, body, [0, 0.0])
    g = [tf.convert_to_tensor(x) for x in tf.gradients(y, [w, r])]
    return [{}], [y, *g]


@program
def loop_with_control_inputs(tf):
    x = scalar(tf, "x")
    v = tf.Variable(1.0, name="v")
    outside = tf.assign_add(v, 1.0)

    def body(i, y):
        with tf.control_dependencies([outside]):
            return i + 1, y + x

    with tf.control_dependencies([tf.no_op(name="first")]):
        _, y = tf.while_loop(lambda i, y: i < 3, body, [0, x])
    return [{x: 2.0}], [y]


@program
def loop_that_assigns_what_it_reads(tf):
    v, w = tf.Variable([2.0, 3.0], name="v"), tf.Variable([1.0, 2.0], name="w")

    def body(i):
        changed = tf.cond(i < 2, lambda: tf.assign(v, tf.square(v)), lambda: v)
        with tf.control_dependencies([changed]):
            return i + 1

    def doubled(i):
        with tf.control_dependencies([tf.assign_add(w, w)]):
            return i + 1

    def nested(i):
        with tf.control_dependencies([tf.while_loop(lambda j: j < 2, doubled, [0])]):
            return i + 1

    i = tf.while_loop(lambda i: i < 3, body, [0])
    j = tf.while_loop(lambda i: i < 2, nested, [0])
    with tf.control_dependencies([i, j]):
        return [{}], [v.read_value(), w.read_value()]


@program
def loop_with_invariants_of_sparse_tensors(tf):
    x = tf.SparseTensor([[0], [3]], [2.0, 4.0], [10])

    def body(i, x):
        places = tf.concat([x.indices, [[i], [i]]], axis=1)
        return i + 1, tf.SparseTensor(places, x.values * 2.0, tf.concat([x.dense_shape, [10]], axis=0))

    shapes = [tf.TensorShape([]), tf.TensorShape([None])]
    _, y = tf.while_loop(lambda i, _: i < 2, body, [0, x], shapes)
    return [{}], [y.indices, y.values, y.dense_shape]


@program
def array_written_and_read(tf):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    array = tf.TensorArray(tf.float32, 2, dynamic_size=True, clear_after_read=False, element_shape=[2])
    array = array.write(0, x[0]).write(2, x[1]).write(1, [5.0, 6.0]).identity()
    y = array.read(2, name="read") + array.read(0)
    closed = tf.TensorArray(tf.float32, 1).close()
    with tf.control_dependencies([closed]):
        found = [array.stack("all"), array.gather([1, 0], name="some"), array.size("count"), y]
    return [{x: [[1.0, 2.0], [3.0, 4.0]]}], [*found, *tf.gradients([y, found[0]], x)]


@program
def array_written_in_a_loop(tf):
    n = scalar(tf, "n", "int32")
    array = tf.TensorArray(tf.float32, n, clear_after_read=False)
    _, array = tf.while_loop(
        lambda i, a: i < n, lambda i, a: (i + 1, a.write(i, tf.to_float(i) * [1.0, 2.0])), [0, array]
    )
    return [{n: 3}], [array.stack(), array.size(), array.read(1), array.gather([2, 0]), array.concat()]


@program
def array_that_grows(tf):
    array = tf.TensorArray(tf.int32, 0, dynamic_size=True, infer_shape=False)
    _, array = tf.while_loop(lambda i, a: i < 4, lambda i, a: (i + 1, a.write(i, tf.range(i))), [0, array])
    return [{}], [array.concat(), array.size()]


@program
def array_gradients(tf):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    w = tf.Variable([0.5, 2.0], name="w")
    n = tf.shape(x)[0]
    read = tf.TensorArray(tf.float32, n).unstack(x)
    written = tf.TensorArray(tf.float32, n)

    def body(i, state, out):
        state = tf.tanh(state * w + read.read(i))
        return i + 1, state, out.write(i, state)

    _, state, out = tf.while_loop(lambda i, *_: i < n, body, [0, tf.zeros([2]), written])
    y = out.stack()
    return [{x: [[0.1, 0.2], [0.3, 0.4], [0.5, 0.1]]}], [y, state, *tf.gradients(y * y, [x, w])]


@program
def array_split_and_joined(tf):
    x = tf.placeholder(tf.float32, [4, 2], name="x")
    array = tf.TensorArray(tf.float32, 2, infer_shape=False).split(x, [1, 3])
    y = array.concat()
    z = tf.TensorArray(tf.float32, 3).scatter([2, 0, 1], x[:3]).gather([0, 2, 1])
    return [{x: [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]}], [
        y,
        z,
        *tf.gradients(y * y, x),
        *tf.gradients(z * z, x),
    ]


@program
def array_split_and_grown(tf):
    x = tf.placeholder(tf.float32, [3], name="x")
    array = tf.TensorArray(tf.float32, 3, dynamic_size=True).split(x, [1, 1, 1]).write(3, [4.0])
    y = array.concat()
    return [{x: [1.0, 2.0, 3.0]}], [y, *tf.gradients(y * y, x)]


@program
def array_unstacked_and_grown(tf):
    x = tf.placeholder(tf.float32, [3], name="x")
    y = tf.TensorArray(tf.float32, 3, dynamic_size=True).unstack(x).write(3, 4.0).stack()
    return [{x: [1.0, 2.0, 3.0]}], [y, *tf.gradients(y * y, x)]


@program
def arrays_in_conditionals(tf):
    p, x = scalar(tf, "p", "bool"), scalar(tf, "x")
    array = tf.TensorArray(tf.float32, 2, element_shape=[]).write(0, x)
    array = tf.cond(p, lambda: array.write(1, x * 2.0), lambda: array.write(1, x * 3.0))
    return [{p: True, x: 2.0}, {p: False, x: 2.0}], [array.stack()]


@program
def mapped(tf):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    y = tf.map_fn(lambda row: row * tf.reduce_sum(row), x)
    pair = tf.map_fn(
        lambda ab: (ab[0] + 1, tf.to_float(ab[1])),
        (tf.constant([1, 2]), tf.constant([3, 4])),
        dtype=(tf.int32, tf.float32),
    )
    return [{x: [[1.0, 2.0], [3.0, 4.0]]}], [y, *pair, *tf.gradients(y, x)]


@program
def mapped_with_variables(tf):
    def fn(row):
        with tf.variable_scope("inside", reuse=tf.AUTO_REUSE):
            w = tf.get_variable("w", initializer=[2.0, 3.0])
        return row * w

    return [{}], [tf.map_fn(fn, tf.constant([[1.0, 2.0], [3.0, 4.0]]))]


@program
def folded(tf):
    x = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    left = tf.foldl(lambda a, row: a * 2.0 + row, x)
    right = tf.foldr(lambda a, row: a * 2.0 + row, x, initializer=tf.zeros([2]))
    both = tf.foldr(lambda a, row: a * 2.0 + row, x)
    return [{}], [left, right, both, *tf.gradients(left, x)]


@program
def scanned(tf):
    x = tf.placeholder(tf.float32, [None], name="x")
    sums = tf.scan(lambda a, e: a + e, x)
    backwards = tf.scan(lambda a, e: (a[0] * e, a[1] + e), x, initializer=(1.0, 0.0), reverse=True)
    return [{x: [1.0, 2.0, 3.0]}], [sums, *backwards, *tf.gradients(sums, x)]


@program
def second_derivatives(tf):
    x = tf.placeholder(tf.float32, [2], name="x")
    y = x[0] * x[0] * x[1] + tf.reduce_sum(x * x)
    return [{x: [1.0, 2.0]}], tf.hessians(y, x)


# Those that are built with conditionals and loops as functions, too: there arrays are lists of tensors.
FUNCTIONAL = (
    "array_written_and_read",
    "array_written_in_a_loop",
    "array_that_grows",
    "array_gradients",
    "array_split_and_joined",
    "arrays_in_conditionals",
    "mapped",
    "mapped_with_variables",
    "folded",
    "scanned",
)
