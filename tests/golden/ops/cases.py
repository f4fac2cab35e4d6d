"""Small programs with string, sparse, state and random ops.

TensorFlow 1.15 runs them in record.py, kvarn in its tests.  A case takes a namespace with TensorFlow's
functions and returns what to run: a tensor, operation or sparse tensor, a list of these to run one after
another, or `Later`: what must run before the rest is built.
"""

import numpy as np

WORDS = [
    b"",
    b"a",
    b"hello",
    b"kvarn",
    b"1234567",
    b"12345678",
    b"123456789",
    b"x" * 100,
    "schön".encode(),
    b"\xff\x00z",
    b" pad\t",
]


class Later:
    """Run ``first``, then what ``rest()`` builds."""

    def __init__(self, first, rest):
        self.first = first
        self.rest = rest


def mk(tf, i=((0, 1), (2, 0), (2, 3)), v=(1.0, 2.0, 3.0), s=(4, 5)):
    return tf.SparseTensor(list(i), list(v), list(s))


def un(tf):
    return mk(tf, [[2, 3], [0, 1], [2, 0]], [3.0, 1.0, 2.0])


def gsp(tf, f):
    v = tf.constant([3.0, 1.0, 2.0])
    return tf.gradients(f(v), v)


def mmg(tf, adjoint_a, adjoint_b, b):
    v = tf.constant([1.0, 2.0, 3.0])
    b = tf.constant(np.array(b, np.float32))
    y = tf.sparse_tensor_dense_matmul(
        tf.SparseTensor([[0, 1], [2, 0], [2, 3]], v, [4, 5]), b, adjoint_a, adjoint_b
    )
    return [y, *tf.gradients(y, [v, b])]


B = np.arange(10).reshape(5, 2)
B4 = np.arange(8).reshape(4, 2)


def filled(tf):
    v = tf.constant([3.0, 1.0, 2.0])
    d = tf.constant(9.0)
    y, empty = tf.sparse_fill_empty_rows(tf.SparseTensor([[2, 3], [0, 1], [2, 0]], v, [4, 5]), d)
    return [empty, *tf.gradients(y.values * y.values, [v, d])]


def densified(tf):
    v = tf.constant([1.0, 2.0])
    d = tf.constant(5.0)
    y = tf.sparse_to_dense([[1], [3]], [5], v, d)
    return [y, *tf.gradients(y * y, [v, d])]


def state(tf, f, init=((1.0, 2.0), (3.0, 4.0), (5.0, 6.0))):
    init = init if isinstance(init, np.ndarray) else np.array(init, np.float32)
    v = tf.variable_op_v2(init.shape, tf.as_dtype(init.dtype), name="w")
    return [tf.assign(v, init), f(v)]


def res(tf, f):
    h = tf.var_handle_op(dtype=tf.float32, shape=(3, 2), shared_name="r")
    first = tf.assign_variable_op(h, tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    return Later(first, lambda: f(h))


def gathered(tf):
    def build(h):
        y = tf.resource_gather(h, [[1, 0], [2, 2]], dtype=tf.float32)
        d = tf.gradients(y, h)[0]
        return [y, d.values, d.indices, d.dense_shape]

    return res(tf, build)


def seeded(f):
    def case(tf):
        tf.set_random_seed(11)
        return f(tf)

    return case


STRING = {
    "fast": lambda tf: tf.string_to_hash_bucket_fast(WORDS, 1000),
    "fast_big": lambda tf: tf.string_to_hash_bucket_fast([WORDS], 2**40),
    "strong": lambda tf: tf.string_to_hash_bucket_strong(WORDS, 10**12, key=[123, 456]),
    "strong_neg": lambda tf: tf.string_to_hash_bucket_strong(WORDS, 1000, key=[-1, 5]),
    "old": lambda tf: tf.string_to_hash_bucket(WORDS, 10**15),
    "as_f": lambda tf: tf.as_string(
        np.array([1.5, -2.25, 1e10, 0, float("inf"), -float("inf"), 1e-7], np.float32)
    ),
    "as_f_p": lambda tf: tf.as_string(
        np.array([1.5, -2.25, 1e10, float("inf")], np.float32), precision=2, width=9, fill="0"
    ),
    "as_sci": lambda tf: tf.as_string(np.array([1.5, -2.25e-9]), scientific=True),
    "as_short": lambda tf: tf.as_string(np.array([1.5, -2.25e-9, 100000, 1e6, 0.1]), shortest=True),
    "as_i": lambda tf: tf.as_string(np.array([1, -20, 300]), width=5, fill="0"),
    "as_i8": lambda tf: tf.as_string(np.array([1, -20], np.int8), width=5, fill="-"),
    "as_b": lambda tf: tf.as_string(np.array([True, False])),
    "as_c": lambda tf: tf.as_string(np.array([1 + 2j, -0.5j], np.complex64), precision=1),
    "num_f": lambda tf: tf.string_to_number(
        ["1", " 2.5 ", "-1e3", "inf", "-Inf", "nan", "1e400", ".5", "5.", "+7", "0x10"]
    ),
    "num_f0": lambda tf: tf.string_to_number(["Infinity"]),
    "num_f1": lambda tf: tf.string_to_number(["0x1p3"]),
    "num_f2": lambda tf: tf.string_to_number(["1_0"]),
    "num_f3": lambda tf: tf.string_to_number([""]),
    "num_f4": lambda tf: tf.string_to_number(["abc"]),
    "num_f5": lambda tf: tf.string_to_number(["1.5f"]),
    "num_i": lambda tf: tf.string_to_number(["1", " -2 ", "007"], tf.int32),
    "num_i2": lambda tf: tf.string_to_number(["+1"], tf.int64),
    "num_i3": lambda tf: tf.string_to_number(["2147483648"], tf.int32),
    "num_i4": lambda tf: tf.string_to_number(["1.0"], tf.int64),
    "join": lambda tf: tf.string_join([["a", "b"], "-", ["c", "d"]], separator="."),
    "join0": lambda tf: tf.string_join(["a", "b"]),
    "rjoin": lambda tf: tf.reduce_join([["a", "b"], ["c", "d"]]),
    "rjoin0": lambda tf: tf.reduce_join([["a", "b"], ["c", "d"]], 0, separator=","),
    "rjoin1": lambda tf: tf.reduce_join([["a", "b"], ["c", "d"]], [-1], keep_dims=True),
    "rjoin1k": lambda tf: tf.reduce_join([["a", "b"], ["c", "d"]], [-1], keepdims=True),
    "rjoin01": lambda tf: tf.reduce_join([["a", "b"], ["c", "d"]], [0, 1]),
    "rjoine": lambda tf: tf.reduce_join([["a", "b"], ["c", "d"]], []),
    "rjoinx": lambda tf: tf.reduce_join([["a", "b"], ["c", "d"]], [0, 0]),
    "split": lambda tf: tf.string_split(["a b  c", "", "dd e"]),
    "split_c": lambda tf: tf.string_split(["a,b;c,,d"], ",;"),
    "split_ce": lambda tf: tf.string_split(["a,b;c,,d", ""], ",;", skip_empty=False),
    "split_b": lambda tf: tf.string_split(["abc"], ""),
    "split2": lambda tf: tf.string_split_v2(["a b  c ", "", "  dd e"]),
    "split2m": lambda tf: tf.string_split_v2(["a b  c ", "a", "  dd e", " "], maxsplit=1),
    "split2s": lambda tf: tf.string_split_v2(["1<>2<><>3", "", "<>"], "<>"),
    "split2sm": lambda tf: tf.string_split_v2(["1<>2<><>3", "", "<>"], "<>", maxsplit=1),
    "split20": lambda tf: tf.string_split_v2([" a b"], maxsplit=0),
    "len": lambda tf: tf.string_length(WORDS),
    "lenu": lambda tf: tf.string_length(WORDS, unit="UTF8_CHAR"),
    "sub": lambda tf: tf.substr(["hello", "world"], 1, 3),
    "subn": lambda tf: tf.substr(["hello", "world"], -3, 2),
    "subv": lambda tf: tf.substr(["hello", "world"], [0, 2], [9, 1]),
    "subb": lambda tf: tf.substr([["ten", "eleven"], ["one", "two222"]], [1, 2], [1, 2]),
    "subo": lambda tf: tf.substr(["abc"], 4, 1),
    "suboo": lambda tf: tf.substr(["abc"], -4, 1),
    "subu": lambda tf: tf.substr(["schön", "åäö"], 2, 2, unit="UTF8_CHAR"),
    "subun": lambda tf: tf.substr(["schön", "åäö"], -2, 1, unit="UTF8_CHAR"),
    "subuo": lambda tf: tf.substr(["åäö"], 4, 1, unit="UTF8_CHAR"),
    "subneg": lambda tf: tf.substr(["hello"], 1, -1),
    "strip": lambda tf: tf.string_strip(WORDS),
    "lower": lambda tf: tf.string_lower(["ABC Ä"]),
    "loweru": lambda tf: tf.string_lower(["ABC Ä"], encoding="utf-8"),
    "upper": lambda tf: tf.string_upper(["abc ä"]),
    "rr": lambda tf: tf.regex_replace(["a1b22", "xyz"], "[0-9]+", "#"),
    "rr1": lambda tf: tf.regex_replace(["a1b22", "xyz"], r"([a-z])(\d)", r"\2\1", replace_global=False),
    "rre": lambda tf: tf.regex_replace(["baac", "abc", ""], "a*", "-"),
    "rrd": lambda tf: tf.regex_replace(["schön"], ".", "x"),
    "rrt": lambda tf: tf.regex_replace(["a1b22"], tf.constant("[0-9]"), "#"),
    "rm": lambda tf: tf.regex_full_match(["abc", "abcd", "ABC"], "[a-c]+"),
    "rmi": lambda tf: tf.regex_full_match(["abc", "abcd", "ABC"], "(?i)[a-c]+"),
    "fmt": lambda tf: tf.string_format("x {} y {}", (np.arange(10), np.arange(12.0).reshape(3, 4) * 1.1)),
    "fmt3": lambda tf: tf.string_format("{}", [np.arange(24).reshape(2, 3, 4)], summarize=1),
    "fmts": lambda tf: tf.string_format("{}", [["a", "b\n"]], summarize=-1),
    "fmt0": lambda tf: tf.string_format("{}", [3.5]),
}

OTHER = {
    "reorder": lambda tf: tf.sparse_reorder(un(tf)),
    "todense": lambda tf: tf.sparse_tensor_to_dense(mk(tf)),
    "todense_d": lambda tf: tf.sparse_tensor_to_dense(mk(tf), 7.0),
    "todense_s": lambda tf: tf.sparse_tensor_to_dense(mk(tf, v=["a", "b", "c"])),
    "todense_o": lambda tf: tf.sparse_tensor_to_dense(un(tf)),
    "todense_nv": lambda tf: tf.sparse_tensor_to_dense(un(tf), validate_indices=False),
    "todense_rep": lambda tf: tf.sparse_tensor_to_dense(mk(tf, [[0, 1], [0, 1], [2, 0]])),
    "todense_oob": lambda tf: tf.sparse_tensor_to_dense(mk(tf, [[0, 1], [0, 7], [2, 0]])),
    "todense_oob2": lambda tf: tf.sparse_tensor_to_dense(
        mk(tf, [[0, 1], [0, 7], [2, 0]]), validate_indices=False
    ),
    "std": lambda tf: tf.sparse_to_dense([1, 3], [5], [7, 8]),
    "std0": lambda tf: tf.sparse_to_dense(2, [5], 7, 1),
    "stdbad": lambda tf: tf.sparse_to_dense([1, 3], [5], [7, 8, 9]),
    "std1": lambda tf: tf.sparse_to_dense([[0, 1], [1, 0]], [2, 2], 5.0, -1.0),
    "stdbad2": lambda tf: tf.sparse_to_dense([[0, 1], [1, 0]], [2], 5.0, -1.0),
    "retain": lambda tf: tf.sparse_retain(mk(tf), [True, False, True]),
    "reshape": lambda tf: tf.sparse_reshape(mk(tf), [2, -1]),
    "reshape1": lambda tf: tf.sparse_reshape(mk(tf), [20]),
    "reshape3": lambda tf: tf.sparse_reshape(mk(tf), [2, 2, 5]),
    "reshapebad": lambda tf: tf.sparse_reshape(mk(tf), [3, 7]),
    "reshapebad2": lambda tf: tf.sparse_reshape(mk(tf), [-1, -1]),
    "fill": lambda tf: list(tf.sparse_fill_empty_rows(un(tf), 9.0)),
    "fillg": filled,
    "fillbad": lambda tf: list(tf.sparse_fill_empty_rows(mk(tf, [[0, 1], [5, 1], [2, 0]]), 9.0)),
    "fill0": lambda tf: list(
        tf.sparse_fill_empty_rows(
            tf.SparseTensor(np.zeros((0, 2), np.int64), np.zeros(0, np.float32), [2, 5]), 9.0
        )
    ),
    "mm": lambda tf: mmg(tf, False, False, B),
    "mmt": lambda tf: mmg(tf, True, False, B4),
    "mmb": lambda tf: mmg(tf, False, True, B.T),
    "mmtb": lambda tf: mmg(tf, True, True, B4.T),
    "mmbad": lambda tf: tf.sparse_tensor_dense_matmul(mk(tf), tf.constant(B.astype(np.float32).T)),
    "reorderg": lambda tf: gsp(
        tf,
        lambda v: (
            tf.sparse_reorder(tf.SparseTensor([[2, 3], [0, 1], [2, 0]], v, [4, 5])).values
            * [1.0, 10.0, 100.0]
        ),
    ),
    "stdg": densified,
    "add": lambda tf: state(tf, lambda v: tf.assign_add(v, [[1.0, 1.0]] * 3)),
    "sub": lambda tf: state(tf, lambda v: tf.assign_sub(v, [[1.0, 1.0]] * 3)),
    "su": lambda tf: state(tf, lambda v: tf.scatter_update(v, [2, 0], [[9.0, 9.0], [8.0, 8.0]])),
    "sa": lambda tf: state(tf, lambda v: tf.scatter_add(v, [2, 2, 0], [[9.0, 9.0], [8.0, 8.0], [0.5, 0.5]])),
    "ss": lambda tf: state(tf, lambda v: tf.scatter_sub(v, [[2, 2], [0, 1]], np.ones((2, 2, 2), np.float32))),
    "sm": lambda tf: state(tf, lambda v: tf.scatter_mul(v, [1, 1], [[2.0, 2.0], [3.0, 3.0]])),
    "sd": lambda tf: state(tf, lambda v: tf.scatter_div(v, [1, 1], [[2.0, 2.0], [3.0, 3.0]])),
    "sdi": lambda tf: state(tf, lambda v: tf.scatter_div(v, [1, 0], [2, -2]), np.array([-7, 7, 5], np.int32)),
    "smin": lambda tf: state(tf, lambda v: tf.scatter_min(v, [1, 1], [[2.0, 20.0], [3.0, 3.0]])),
    "smax": lambda tf: state(tf, lambda v: tf.scatter_max(v, [1, 1], [[2.0, 20.0], [3.0, 3.0]])),
    "sscal": lambda tf: state(tf, lambda v: tf.scatter_add(v, [1, 1], 2.0)),
    "sbad": lambda tf: state(tf, lambda v: tf.scatter_add(v, [1, 3], 2.0)),
    "sbad2": lambda tf: state(tf, lambda v: tf.scatter_add(v, [[1], [-1]], 2.0)),
    "sbad3": lambda tf: state(tf, lambda v: tf.scatter_add(v, [1, 1], [2.0])),
    "snu": lambda tf: state(tf, lambda v: tf.scatter_nd_update(v, [[0, 1], [2, 0]], [9.0, 8.0])),
    "snu1": lambda tf: state(tf, lambda v: tf.scatter_nd_update(v, [[2]], [[9.0, 8.0]])),
    "sna": lambda tf: state(tf, lambda v: tf.scatter_nd_add(v, [[0, 1], [0, 1]], [9.0, 8.0])),
    "sns": lambda tf: state(tf, lambda v: tf.scatter_nd_sub(v, [[0, 1], [0, 1]], [9.0, 8.0])),
    "snbad": lambda tf: state(tf, lambda v: tf.scatter_nd_add(v, [[0, 1], [0, 2]], [9.0, 8.0])),
    "snbad2": lambda tf: state(tf, lambda v: tf.scatter_nd_add(v, [[0, 1], [0, 1]], [9.0])),
    "cut": lambda tf: state(tf, lambda v: tf.count_up_to(v, 3), np.array(1, np.int32)),
    "cutx": lambda tf: state(tf, lambda v: tf.count_up_to(v, 1), np.array(1, np.int64)),
    "assignbad": lambda tf: state(tf, lambda v: tf.assign(v, [[1.0]])),
    "assignnv": lambda tf: state(tf, lambda v: tf.assign(v, [[1.0]], validate_shape=False)),
    "isinit": lambda tf: [tf.is_variable_initialized(tf.variable_op_v2([2], tf.float32, name="q"))],
    "uninit": lambda tf: [tf.assign_add(tf.variable_op_v2([1], tf.float32, name="q"), [1.0])],
    "rg": gathered,
    "rread": lambda tf: res(tf, lambda h: tf.read_variable_op(h, dtype=tf.float32)),
    "rshape": lambda tf: res(tf, lambda h: tf.variable_shape(h)),
    "risinit": lambda tf: res(tf, lambda h: tf.var_is_initialized_op(h)),
    "rgbad": lambda tf: res(tf, lambda h: tf.resource_gather(h, [3], dtype=tf.float32)),
    "rgn": lambda tf: res(tf, lambda h: tf.resource_gather_nd(h, [[0, 1], [2, 0]], dtype=tf.float32)),
    "rw": lambda tf: res(tf, lambda h: tf.read_variable_op(h, dtype=tf.int32)),
    "runinit": lambda tf: tf.read_variable_op(
        tf.var_handle_op(dtype=tf.float32, shape=(3, 2), shared_name="zz"), dtype=tf.float32
    ),
    "group0": lambda tf: [tf.group()],
    "group": lambda tf: [tf.group(tf.constant(1.0), tf.constant(2.0), name="gg")],
    "tup": lambda tf: tf.tuple([tf.constant(1.0), tf.constant([2.0])]),
    "wd": lambda tf: tf.with_dependencies([tf.constant(1.0)], tf.constant(3.0)),
    "assert": lambda tf: tf.Assert(tf.constant(False), ["msg", tf.constant(3)]),
    "assert_sum": lambda tf: tf.Assert(
        tf.constant(False), ["m", tf.constant(np.arange(10).reshape(2, 5).astype(np.int32))], summarize=7
    ),
    "print": lambda tf: tf.Print(tf.constant([1.5, 2]), ["x", tf.constant([[1, 2], [3, 4]])], "m: "),
    "tfprint": lambda tf: tf.print_v2(
        "a", tf.constant([1.5]), {"k": tf.constant(1)}, [tf.constant(2), "z"], sep="|"
    ),
    "tfprint1": lambda tf: tf.print_v2(tf.constant("s")),
    "eye": lambda tf: tf.eye(3),
    "eye2": lambda tf: tf.eye(2, 3),
    "eyeb": lambda tf: tf.eye(2, batch_shape=[2]),
}

INITIALIZERS = {
    "zeros": lambda tf: tf.init.Zeros()([2, 3]),
    "zeros_i": lambda tf: tf.init.Zeros()([2], tf.int64),
    "zeros_s": lambda tf: tf.init.Zeros()([2], tf.string),
    "zeros_big": lambda tf: tf.init.Zeros()([40, 40]),
    "ones": lambda tf: tf.init.Ones(tf.float64)([2]),
    "const": lambda tf: tf.init.Constant(2.5)([2, 2]),
    "const_l": lambda tf: tf.init.Constant([1, 2, 3])([2, 3]),
    "const_many": lambda tf: tf.init.Constant([1, 2, 3])([2]),
    "const_v": lambda tf: tf.init.Constant([1, 2, 3], verify_shape=True)([2, 3]),
    "const_np": lambda tf: tf.init.Constant(np.arange(4.0).reshape(2, 2))([2, 2]),
    "const_bad": lambda tf: tf.init.Constant(object()),
    "ru": lambda tf: tf.init.RandomUniform(-1, 1)([3, 2]),
    "ru_i": lambda tf: tf.init.RandomUniform(0, 10, dtype=tf.int32)([5]),
    "rn": lambda tf: tf.init.RandomNormal(1.0, 0.5)([7]),
    "tn": lambda tf: tf.init.TruncatedNormal(seed=4)([7]),
    "tn64": lambda tf: tf.init.TruncatedNormal(seed=4, dtype=tf.float64)([3]),
    "uus": lambda tf: tf.init.UniformUnitScaling()([4, 3]),
    "vs1": lambda tf: tf.init.VarianceScaling(2.0, "fan_out", "uniform")([4, 3]),
    "vs2": lambda tf: tf.init.VarianceScaling(2.0, "fan_avg", "untruncated_normal")([4, 3]),
    "vs3": lambda tf: tf.init.VarianceScaling(1.0, "fan_in", "normal")([2, 2, 4, 3]),
    "vsbad": lambda tf: tf.init.VarianceScaling(mode="x"),
    "gu": lambda tf: tf.init.GlorotUniform()([4, 3]),
    "gn": lambda tf: tf.init.GlorotNormal(seed=1)([5]),
    "lu": lambda tf: tf.init.lecun_uniform()([4, 3]),
    "ln": lambda tf: tf.init.lecun_normal()([4, 3]),
    "hu": lambda tf: tf.init.he_uniform()([4, 3]),
    "hn": lambda tf: tf.init.he_normal()([4, 3]),
    "id": lambda tf: tf.init.Identity(2.0)([3, 3]),
    "id2": lambda tf: tf.init.Identity()([2, 3]),
    "idbad": lambda tf: tf.init.Identity()([3]),
    "orth": lambda tf: tf.init.Orthogonal()([4, 3]),
    "orthw": lambda tf: tf.init.Orthogonal(2.0)([2, 3]),
    "orth4": lambda tf: tf.init.Orthogonal()([2, 2, 3]),
    "scalar": lambda tf: tf.init.GlorotUniform()([]),
    "fl": lambda tf: tf.init.RandomNormal(dtype=tf.int32),
}

CASES = {f"string_{k}": f for k, f in STRING.items()}
CASES.update({f"op_{k}": f for k, f in OTHER.items()})
CASES.update({f"init_{k}": seeded(f) for k, f in INITIALIZERS.items()})
