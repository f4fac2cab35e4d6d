"""Small programs about variables; each takes `tf` and builds a graph.

`record.py` builds them with TensorFlow 1.15.5 into graphs.json; the tests build them with kvarn and compare.
A program may return a dictionary of values and messages to compare as well.
"""

# ruff: noqa: B015, E731 - the programs are written as users write them
PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def message(call):
    try:
        call()
    except Exception as e:
        return type(e).__name__ + ": " + str(e).split(" Originally defined at:")[0]
    return "nothing raised"


@program
def ref_from_value(tf):
    v = tf.Variable([1.0, 2.0], name="v")
    w = tf.Variable(3, name="v", trainable=False)
    x = tf.Variable(b"text")
    return {"repr": [repr(v), repr(w), repr(x)], "names": [v.name, w.op.name, v.initializer.name]}


@program
def ref_from_function(tf):
    with tf.name_scope("n"):
        v = tf.Variable(lambda: tf.constant([[1.0]]), name="v", dtype=tf.float32)
        tf.Variable(lambda: 5, dtype=tf.int64)
    return {"initial": v.initial_value.name, "shape": str(v.shape), "dtype": v.dtype.name}


@program
def resource_from_value(tf):
    v = tf.Variable([1.0, 2.0], name="v", use_resource=True)
    w = tf.Variable(lambda: tf.constant([1, 2]), name="v", use_resource=True, dtype=tf.int32)
    return {"repr": [repr(v), repr(w)], "shared": v._shared_name, "handle": w.handle.name, "op": v.op.type}


@program
def under_devices_and_control(tf):
    with tf.device("/job:ps/task:0"):
        a = tf.Variable(1.0, name="a")
        b = tf.Variable(2.0, name="b", use_resource=True)
    first = tf.constant(0.0, name="first")
    with tf.control_dependencies([first]):
        c = tf.Variable(lambda: tf.constant(1.0), name="c")
        d = tf.Variable(1.0, name="d", use_resource=True)
    with tf.colocate_with(a.op):
        tf.Variable(4.0, name="e")
        tf.Variable(4.0, name="f", use_resource=True)
    return {"devices": [a.device, b.device, c.device, d.device]}


@program
def caching_device(tf):
    tf.Variable(1.0, name="a", caching_device="/cpu:0")
    b = tf.Variable(1.0, name="b", caching_device="/cpu:0", use_resource=True)
    b.assign_add(2.0)
    b + 1.0


@program
def unknown_shape(tf):
    p = tf.placeholder_with_default([1.0], [None], name="p")
    v = tf.Variable(p, validate_shape=False, name="v")
    w = tf.Variable(lambda: p, validate_shape=False, name="w", dtype=tf.float32)
    return {
        "shapes": [str(v.shape), str(w.get_shape())],
        "error": message(lambda: tf.Variable(p, name="x")).split("Tensor(")[0],
    }


@program
def ref_updates(tf):
    v = tf.Variable([1.0, 2.0], name="v")
    v.assign([3.0, 4.0])
    v.assign([3.0, 4.0], name="named", use_locking=True)
    v.assign_add([1.0, 1.0])
    v.assign_sub([1.0, 1.0], name="less")
    rows = tf.IndexedSlices(tf.constant([5.0]), tf.constant([1]))
    v.scatter_add(rows)
    v.scatter_update(rows, name="rows")
    v.scatter_nd_add([[0]], [1.0])
    v.read_value()
    n = tf.Variable(0, name="n")
    n.count_up_to(3)
    op = v.assign([1.0, 2.0], read_value=False)
    return {"op": type(op).__name__, "error": message(lambda: v.scatter_add(3))}


@program
def resource_updates(tf):
    v = tf.Variable([1.0, 2.0], name="v", use_resource=True)
    done = v.assign([3.0, 4.0])
    v.assign([3.0, 4.0], name="named")
    v.assign_add([1.0, 1.0])
    v.assign_sub([1.0, 1.0], name="less")
    rows = tf.IndexedSlices(tf.constant([5.0]), tf.constant([1]))
    v.scatter_add(rows)
    v.scatter_update(rows, name="rows")
    v.scatter_nd_add([[0]], [1.0])
    v.read_value()
    v.sparse_read([1, 0])
    v.sparse_read([1], name="g")
    done.read_value()
    done + 1.0
    v.is_initialized()
    op = v.assign([1.0, 2.0], read_value=False)
    v.value()
    return {"op": op.name, "done": done.name, "error": message(lambda: v.assign([1.0]))}


@program
def operators(tf):
    for use_resource in (False, True):
        v = tf.Variable([4.0, 2.0], name="v", use_resource=use_resource)
        c = tf.constant([1.0, 1.0])
        v + 1.0
        1.0 - v
        c * v
        v / c
        v // 2.0
        v % 3.0
        v**2.0
        -v
        abs(v)
        v < 3.0
        v >= c
        v[0]
        v[:1]
    return {"same": v == v, "other": v == c, "hashable": len({v, v})}


@program
def slices_assigned(tf):
    v = tf.Variable([4.0, 2.0], name="v")
    v[1:].assign([3.0])
    w = tf.Variable([4.0, 2.0], name="w", use_resource=True)
    w[0].assign(3.0)


@program
def scopes(tf):
    with tf.variable_scope("a") as a:
        v = tf.get_variable("v", [2], initializer=tf.zeros_initializer())
        with tf.variable_scope("b"):
            w = tf.get_variable("w", [], initializer=tf.ones_initializer())
            x = v + 1.0
    with tf.variable_scope("a", reuse=True):
        same = tf.get_variable("v", [2]) is v
        y = v + 1.0
    with tf.variable_scope(a, auxiliary_name_scope=False):
        z = tf.constant(1.0, name="z")
    with tf.variable_scope(a) as again:
        t = tf.constant(1.0, name="t")
        with tf.variable_scope("b"):
            u = tf.constant(1.0, name="u")
    with tf.name_scope("outer"), tf.variable_scope("inner") as inner:
        k = tf.get_variable("k", initializer=tf.constant([1, 2]))
    return {
        "names": [e.name for e in (v, w, x, y, z, t, u, k)],
        "same": same,
        "original": [a.original_name_scope, again.original_name_scope, inner.original_name_scope],
        "scope": tf.get_variable_scope().name,
        "collections": [
            [i.name for i in a.global_variables()],
            [i.name for i in inner.trainable_variables()],
        ],
    }


@program
def default_names(tf):
    names = []
    for _ in range(3):
        with tf.variable_scope(None, "layer") as s:
            v = tf.get_variable("v", [1], initializer=tf.zeros_initializer())
            names += [s.name, v.name, s.original_name_scope]
    with tf.variable_scope("outer"):
        for _ in range(2):
            with tf.variable_scope(None, default_name="layer", values=[v]) as s:
                names.append(s.name)
    with tf.variable_scope("outer"), tf.variable_scope(None, "layer") as s:
        names += [s.name, s.original_name_scope]
    return {"names": names}


@program
def default_initializers(tf):
    for dtype in (tf.float32, tf.float64, tf.int32, tf.int64, tf.bool, tf.string, tf.float16):
        tf.get_variable("v_" + dtype.name, [2, 3], dtype)
    tf.get_variable("class", [2], initializer=tf.zeros_initializer)
    tf.get_variable("scalar", [])
    tf.get_variable("resource", [2, 2], use_resource=True)
    return {
        "complex": message(lambda: tf.get_variable("c", [1], tf.complex64)),
        "no shape": message(lambda: tf.get_variable("d")),
    }


@program
def sharing(tf):
    zeros = tf.zeros_initializer()
    out = {}
    with tf.variable_scope("s"):
        v = tf.get_variable("v", [2], initializer=zeros)
        out["exists"] = message(lambda: tf.get_variable("v", [2], initializer=zeros))
        r = tf.get_variable("r", [2], initializer=zeros, use_resource=True)
        out["resource exists"] = message(lambda: tf.get_variable("r", [2]))
    with tf.variable_scope("s", reuse=True) as s:
        out["missing"] = message(lambda: tf.get_variable("w", [2]))
        out["shape"] = message(lambda: tf.get_variable("v", [3]))
        out["dtype"] = message(lambda: tf.get_variable("v", [2], tf.int32))
        out["reuse"] = s.reuse
        with tf.variable_scope("deeper", reuse=False) as deeper:
            out["inherited"] = deeper.reuse
    with tf.variable_scope("s", reuse=tf.AUTO_REUSE):
        out["auto"] = [tf.get_variable("v", [2]) is v, tf.get_variable("r") is r]
        new = tf.get_variable("new", [1], initializer=zeros)
        out["again"] = tf.get_variable("new", [1]) is new
    with tf.variable_scope("s") as s:
        s.reuse_variables()
        out["reuse_variables"] = tf.get_variable("v") is v
    out["bad reuse"] = message(lambda: tf.variable_scope("x", reuse="yes"))
    out["no name"] = message(lambda: tf.variable_scope(None))
    out["default and reuse"] = message(lambda: tf.variable_scope(None, "d", reuse=True).__enter__())
    out["wrong name"] = message(lambda: tf.variable_scope(3).__enter__())
    out["auxiliary"] = message(lambda: tf.variable_scope("x", auxiliary_name_scope=1))
    out["value and shape"] = message(lambda: tf.get_variable("q", [1], initializer=tf.constant([1.0])))
    out["types"] = message(lambda: tf.get_variable("q", dtype=tf.int32, initializer=1.5))
    out["getter"] = message(lambda: tf.get_variable("q", [1], custom_getter=3))
    return out


@program
def scope_defaults(tf):
    def getter(getter, name, *args, **kwargs):
        seen.append(sorted(k for k in kwargs if k not in ("embedding_block_num",)))
        return getter(name + "_got", *args, **kwargs)

    seen = []
    with tf.variable_scope(
        "s",
        initializer=tf.constant_initializer(2.0),
        regularizer=lambda v: tf.reduce_sum(v) if hasattr(tf, "reduce_sum") else None,
        dtype=tf.float64,
        use_resource=True,
        caching_device="/cpu:0",
        constraint=abs,
    ) as s:
        v = tf.get_variable("v", [2])
        w = tf.get_variable("w", [2], regularizer=tf.no_regularizer)
        with tf.variable_scope("t", custom_getter=getter, use_resource=False) as t:
            x = tf.get_variable("x", [1])
            with tf.variable_scope("u", custom_getter=getter):
                y = tf.get_variable("y", [1])
        with tf.variable_scope(s, initializer=tf.zeros_initializer()) as again:
            z = tf.get_variable("z", [1])
    return {
        "names": [e.name for e in (v, w, x, y, z)],
        "seen": seen,
        "dtypes": [e.dtype.name for e in (v, x)],
        "constraints": [v.constraint is abs, x.constraint is abs],
        "scopes": [t.dtype.name, again.use_resource, again.caching_device, t.constraint is abs],
    }


@program
def regularizer(tf):
    double = lambda v: v + v
    with tf.variable_scope("s", regularizer=double):
        tf.get_variable("v", [2], initializer=tf.zeros_initializer())
        tf.get_variable("r", [2], initializer=tf.zeros_initializer(), use_resource=True)
        tf.get_variable("n", [2], initializer=tf.zeros_initializer(), regularizer=tf.no_regularizer)
    with tf.variable_scope("s", reuse=True):
        tf.get_variable("v", [2])
    return {"losses": [e.name for e in tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)]}


@program
def partitioned(tf):
    parts = tf.fixed_size_partitioner(3)
    v = tf.get_variable("v", [7, 2], initializer=tf.zeros_initializer(), partitioner=parts)
    with tf.variable_scope("s", partitioner=parts):
        w = tf.get_variable("w", [4, 2], initializer=tf.ones_initializer(), use_resource=True)
        scalar = tf.get_variable("scalar", [], initializer=tf.zeros_initializer())
        value = tf.get_variable("value", initializer=tf.constant([1.0, 2.0, 3.0]))
        default = tf.get_variable("default", [4, 4])
    one = tf.get_variable(
        "one", [2], initializer=tf.zeros_initializer(), partitioner=tf.fixed_size_partitioner(1)
    )
    tf.identity(v) + 1.0
    tf.identity(one)
    v.assign(tf.zeros([7, 2]))
    w.assign_add([p.value() for p in w], name="more")
    with tf.variable_scope("", reuse=True):
        same = tf.get_variable("v") is v
    infos = [p._get_save_slice_info() for p in v] + [p._get_save_slice_info() for p in value]
    return {
        "names": [[p.name for p in x] for x in (v, w, value, default, one)],
        "infos": [[i.full_name, list(i.full_shape), i.var_offset, i.var_shape, i.spec] for i in infos],
        "whole": [v.name, str(v.shape), v.dtype.name, len(v), v._get_partitions(), scalar.name],
        "protos": [str(p.to_proto()) for p in list(v)[1:2] + list(w)[:1]],
        "same": same,
        "errors": [
            message(lambda: tf.get_variable("v", [7, 2])),
            message(lambda: tf.get_variable("s/scalar", [2], partitioner=parts)),
            message(lambda: tf.get_variable("v", [7, 2], partitioner=parts)),
            message(lambda: tf.get_variable("p", [7, 2], partitioner=4)),
            message(lambda: tf.get_variable("p", [7, 2], partitioner=lambda **k: [1])),
            message(lambda: tf.get_variable("p", [7, 2], partitioner=lambda **k: [2, 2])),
            message(lambda: tf.get_variable("p", [7, 2], partitioner=lambda **k: [0, 2])),
            message(lambda: tf.get_variable("p", [7, 2], partitioner=lambda **k: 3)),
            message(lambda: tf.get_variable("p", [None, 2], partitioner=parts)),
        ],
    }


@program
def partitioners(tf):
    shape = tf.TensorShape([1000, 10])
    out = {
        "fixed": [
            tf.fixed_size_partitioner(n, axis=a)(shape=shape, dtype=tf.float32) for n, a in ((4, 0), (20, 1))
        ],
        "min_max": [
            tf.min_max_variable_partitioner(n, 0, size)(shape=shape, dtype=dtype)
            for n in (1, 7, 5000)
            for size in (100, 10000, 256 << 10)
            for dtype in (tf.float32, tf.string, tf.float64)
        ],
        "axis_size": [
            tf.variable_axis_size_partitioner(b, axis, max_shards=m)(shape=shape, dtype=dtype)
            for b in (1, 100, 4096, 10**6)
            for axis in (0, 1)
            for m in (None, 3)
            for dtype in (tf.float32, tf.string)
        ],
        "errors": [
            message(lambda: tf.variable_axis_size_partitioner(0)),
            message(lambda: tf.variable_axis_size_partitioner(1, max_shards=-1)),
            message(lambda: tf.min_max_variable_partitioner(axis=3)(shape=shape, dtype=tf.float32)),
            message(lambda: tf.variable_axis_size_partitioner(1)([3], tf.float32)),
        ],
    }
    made = tf.create_partitioned_variables([6, 2], [3, 1], tf.zeros_initializer(), name="made")
    tf.create_partitioned_variables([6, 2], [1, 2], tf.ones([6, 2]))
    out["made"] = [v.name for v in made]
    out["bad"] = message(lambda: tf.create_partitioned_variables([6, 2], [3], tf.zeros_initializer()))
    return out


@program
def creators(tf):
    def creator(next_creator, **kwargs):
        seen.append([kwargs["name"], sorted(k for k in kwargs)])
        kwargs["use_resource"] = True
        return next_creator(**kwargs)

    def outer(next_creator, **kwargs):
        kwargs["name"] = "outer_" + (kwargs["name"] or "none")
        return next_creator(**kwargs)

    seen = []
    with tf.variable_creator_scope(outer), tf.variable_creator_scope(creator):
        v = tf.Variable(1.0, name="v")
        w = tf.get_variable("w", [1], initializer=tf.zeros_initializer())
        x = tf.Variable(1.0)
    return {"seen": seen, "names": [v.name, w.name, x.name], "kinds": [type(v).__name__, type(w).__name__]}


@program
def lists(tf):
    a = tf.Variable(1.0, name="a")
    tf.Variable(1.0, name="b", trainable=False, use_resource=True)
    tf.get_local_variable("c", [1], initializer=tf.zeros_initializer())
    tf.Variable(1.0, name="d", collections=[tf.GraphKeys.MODEL_VARIABLES])
    tf.add_to_collection(tf.GraphKeys.MOVING_AVERAGE_VARIABLES, a)
    init = [
        tf.global_variables_initializer(),
        tf.local_variables_initializer(),
        tf.variables_initializer([]),
        tf.variables_initializer([a], name="only_a"),
    ]
    tf.is_variable_initialized(a)
    names = lambda vs: [v.name for v in vs]
    return {
        "lists": [
            names(f())
            for f in (
                tf.global_variables,
                tf.local_variables,
                tf.trainable_variables,
                tf.model_variables,
                tf.moving_average_variables,
                tf.all_variables,
            )
        ],
        "scoped": names(tf.global_variables("b")),
        "init": [i.name for i in init],
    }


@program
def reports(tf):
    a = tf.Variable(1.0, name="a")
    tf.Variable(1.0, name="b", use_resource=True)
    tf.assert_variables_initialized([a])
    tf.assert_variables_initialized()
    tf.report_uninitialized_variables()
    tf.report_uninitialized_variables([])
    tf.report_uninitialized_variables([a], name="mine")


@program
def protos(tf):
    with tf.name_scope("n"):
        a = tf.Variable([1.0], name="a")
        b = tf.Variable(1, name="b", use_resource=True, trainable=False, caching_device="/cpu:0")
    c = tf.Variable(lambda: 2.0, name="c", dtype=tf.float32)
    back = [tf.Variable.from_proto(c.to_proto())]
    return {
        "protos": [str(v.to_proto()) for v in (a, b, c)],
        "stripped": [str(v.to_proto(export_scope="n")) for v in (a, b)],
        "outside": c.to_proto(export_scope="n") is None,
        "back": [repr(v) for v in back],
        "nodes": [back[0].initializer.name, back[0].value().name, back[0].initial_value.name],
    }


@program
def argument_errors(tf):
    v = tf.Variable([1.0], name="v")
    r = tf.Variable([1.0], name="r", use_resource=True)

    def add_to(x):
        x += 1.0

    return {
        "none": message(lambda: tf.Variable()),
        "collections": message(lambda: tf.Variable(1.0, collections="variables")),
        "constraint": message(lambda: tf.Variable(1.0, constraint=3)),
        "resource none": message(lambda: tf.Variable(use_resource=True)),
        "synchronization": message(lambda: tf.Variable(1.0, synchronization=17)),
        "aggregation": message(lambda: tf.Variable(1.0, aggregation=17)),
        "iterate": message(lambda: list(v)),
        "update": message(lambda: add_to(r)),
        "convert": message(lambda: tf.convert_to_tensor(v, dtype=tf.int32)),
        "convert resource": message(lambda: tf.convert_to_tensor(r, dtype=tf.int32)),
        "set_shape": message(lambda: r.set_shape([1])),
        "shape": message(lambda: tf.Variable([1.0], use_resource=True, shape=[2])),
        "load": message(lambda: v.load([2.0])),
    }
