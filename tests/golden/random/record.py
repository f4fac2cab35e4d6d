"""Records random numbers of TensorFlow 1.15 for `tests/unit/ops/test_random.py`.

Run it with a Python that has TensorFlow 1.15; it writes ``numbers.json`` beside itself.  Of long results only
a checksum and every thousandth number are kept.
"""

import hashlib
import json
import os

import numpy as np
import tensorflow as tf

SIZES = [1, 5, 256, 1000, 100003]


def build():
    """Name -> tensor, each with seeds of its own."""
    tensors = {}
    for size in SIZES:
        for dtype in ("float16", "bfloat16", "float32", "float64"):
            t = tf.as_dtype(dtype)
            for name, op in (
                ("RandomUniform", tf.raw_ops.RandomUniform),
                ("RandomStandardNormal", tf.raw_ops.RandomStandardNormal),
                ("TruncatedNormal", tf.raw_ops.TruncatedNormal),
            ):
                tensors[f"{name}/{dtype}/{size}"] = op(shape=[size], dtype=t, seed=87654321, seed2=size + 7)
        for dtype, low, high in (
            ("int32", -5, 1000003),
            ("int64", -(2**40), 2**61 + 5),
            ("int32", -(2**31), 2**31 - 1),
        ):
            t = tf.as_dtype(dtype)
            tensors[f"RandomUniformInt/{dtype}/{low}/{high}/{size}"] = tf.raw_ops.RandomUniformInt(
                shape=[size],
                minval=tf.constant(low, t),
                maxval=tf.constant(high, t),
                seed=3,
                seed2=-(2**40),
            )
    for size in (1, 2, 5, 256, 1000):
        value = tf.range(size)
        tensors[f"RandomShuffle/{size}"] = tf.raw_ops.RandomShuffle(value=value, seed=2**62, seed2=9)
        tensors[f"Multinomial/{size}"] = tf.raw_ops.Multinomial(
            logits=tf.constant([[0.1, 0.7, -2.0, 0.4]]), num_samples=size, seed=1, seed2=size
        )
    tensors["RandomUniform/float32/odd seeds"] = tf.raw_ops.RandomUniform(
        shape=[3, 7], dtype=tf.float32, seed=-1, seed2=2**63 - 1
    )
    return tensors


def entry(value):
    value = np.asarray(value)
    if value.dtype.kind == "V" or value.dtype.name == "bfloat16":
        value = value.view(np.uint16)
    elif value.dtype.kind == "f":
        value = value.view(f"uint{8 * value.itemsize}")
    flat = value.ravel()
    shown = flat if flat.size <= 1000 else flat[::1000]
    return {"sha256": hashlib.sha256(flat.tobytes()).hexdigest(), "numbers": [int(x) for x in shown]}


def main():
    tensors = build()
    names = sorted(tensors)
    with tf.Session() as sess:
        runs = [sess.run([tensors[n] for n in names]) for _ in range(2)]
    recorded = {n: [entry(run[i]) for run in runs] for i, n in enumerate(names)}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "numbers.json")
    with open(path, "w") as f:
        json.dump(
            {"tensorflow": tf.__version__, "runs": recorded},
            f,
            indent=None,
            separators=(",", ":"),
            sort_keys=True,
        )
        f.write("\n")


if __name__ == "__main__":
    main()
