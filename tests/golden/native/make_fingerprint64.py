"""Writes fingerprint64.json. Needs TensorFlow 1.15: python make_fingerprint64.py > fingerprint64.json"""

import json

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import gen_sparse_ops

data = np.random.RandomState(20).randint(0, 256, 400).astype(np.uint8).tobytes()
strings = np.array([data[:n] for n in range(301)], dtype=object)
given = tf.placeholder(tf.string, [None])
buckets = [tf.string_to_hash_bucket_fast(given, n) for n in (2**63 - 1, 1000003)]
crosses = []
with tf.Session() as session:
    full, small = session.run(buckets, {given: strings})
    for a, b in [(0, 0), (1, 2), (2, 1), (123456789, -5), (2**62, 17)]:
        cross = gen_sparse_ops.sparse_cross(
            indices=[],
            values=[],
            shapes=[],
            dense_inputs=[tf.constant([[a]], tf.int64), tf.constant([[b]], tf.int64)],
            hashed_output=True,
            num_buckets=0,
            hash_key=0xDECAFCAFFE,
            out_type=tf.int64,
            internal_type=tf.int64,
        )
        crosses.append([a, b, int(session.run(cross)[1][0])])
answers = {
    "tensorflow": tf.__version__,
    "bytes": data[:300].hex(),
    "buckets_2_63_minus_1": full.tolist(),
    "buckets_1000003": small.tolist(),
    "crosses": crosses,
}
print(json.dumps(answers, indent=1))
