"""objects.py save PREFIX: TensorFlow saves the objects of `build` after a step; prints the prefix and the values.
objects.py restore PREFIX: TensorFlow restores them into a new program, and prints the values.

`build` is also what kvarn builds in the test: the same program under both.
"""

import json
import sys


def build(tf):
    """Variables of both kinds in lists and dictionaries, an optimizer with slots, a template."""
    checkpoint = tf.train.Checkpoint()
    checkpoint.w = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="w", use_resource=False)
    checkpoint.parts = [
        tf.Variable([0.5, 0.25], name="b", use_resource=True),
        {"a/b.c": tf.Variable(7, name="n")},
    ]
    checkpoint.template = tf.make_template(
        "t", lambda: tf.get_variable("x", [2], initializer=tf.ones_initializer())
    )
    loss = tf.reduce_sum(tf.matmul([[1.0, 1.0]], checkpoint.w) * checkpoint.parts[0] * checkpoint.template())
    checkpoint.optimizer = tf.train.AdamOptimizer(0.1)
    return checkpoint, checkpoint.optimizer.minimize(loss)


def values(tf, sess):
    return {v.name: sess.run(v).tolist() for v in tf.global_variables()}


def save(tf, sess, prefix):
    checkpoint, train = build(tf)
    sess.run(tf.global_variables_initializer())
    sess.run(train)
    path = checkpoint.save(prefix)
    return [path, values(tf, sess)]


def restore(tf, sess, prefix):
    checkpoint, _ = build(tf)
    checkpoint.restore(prefix).assert_consumed().initialize_or_restore()
    return values(tf, sess)


def main(what, prefix):
    import tensorflow

    tf = tensorflow.compat.v1
    tf.disable_v2_behavior()
    with tf.Session() as sess:
        print(json.dumps({"save": save, "restore": restore}[what](tf, sess, prefix)))


if __name__ == "__main__":
    main(*sys.argv[1:])
