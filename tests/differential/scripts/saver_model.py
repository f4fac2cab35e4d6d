"""saver_model.py save PREFIX: TensorFlow's own Saver saves `build`; prints the variables' values.
saver_model.py restore PREFIX: TensorFlow imports PREFIX.meta, restores it and prints the values.

`build` is also what kvarn builds in the test: the same program under both.
"""

import json
import sys


def build(tf):
    """Variables of many types, with values that depend on the position; some partitioned, one resource."""
    import numpy as np

    get = tf.get_variable
    get("f32", initializer=tf.constant(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)))
    get("f64", initializer=tf.constant(np.linspace(0, 1, 5)))
    get("f16", initializer=tf.constant(np.arange(7, dtype=np.float16)))
    get("i8", initializer=tf.constant(np.arange(-3, 3, dtype=np.int8)))
    get("i32", initializer=tf.constant(np.arange(6, dtype=np.int32).reshape(2, 3)))
    get("i64", initializer=tf.constant(np.array(2**40, np.int64)))
    get("b", initializer=tf.constant([True, False, True]))
    get("c64", initializer=tf.constant(np.array([1 + 2j, -3j], np.complex64)))
    get("s", initializer=tf.constant(["ab", "", "\u00e9"]))
    get("scope/r", initializer=tf.constant([0.5, 0.25]), use_resource=True)
    get(
        "p",
        initializer=tf.constant(np.arange(30, dtype=np.float32).reshape(10, 3)),
        partitioner=tf.fixed_size_partitioner(3),
    )
    tf.add_to_collection(
        "product", tf.multiply(tf.get_variable("w", initializer=[2.0, 3.0]), 4.0, name="product")
    )
    return tf.train.Saver()


def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def values(tf, sess):
    return {v.name: plain(sess.run(v).tolist()) for v in tf.global_variables()}


def main(what, prefix):
    import tensorflow

    tf = tensorflow.compat.v1
    tf.disable_v2_behavior()
    with tf.Session() as sess:
        if what == "save":
            saver = build(tf)
            sess.run(tf.global_variables_initializer())
            saver.save(sess, prefix)
            found = values(tf, sess)
        else:
            tf.train.import_meta_graph(prefix + ".meta").restore(sess, prefix)
            found = values(tf, sess)
            found["product"] = sess.run(tf.get_collection("product")[0]).tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
