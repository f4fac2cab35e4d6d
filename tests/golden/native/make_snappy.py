"""Writes snappy.json. Needs TensorFlow 2: python make_snappy.py > snappy.json"""

import json

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.python.data.experimental.ops import compression_ops


def field(message: bytes) -> bytes:
    """The bytes of the length-delimited field that `message` begins with."""
    n = shift = 0
    at = 1
    while True:
        n |= (message[at] & 127) << shift
        shift += 7
        at += 1
        if message[at - 1] < 128:
            return message[at : at + n]


random = np.random.RandomState(3)
plain = [
    b"",
    b"a",
    b"kvarn" * 40,
    bytes(range(256)),
    random.randint(0, 3, 3000).astype(np.uint8).tobytes(),
    random.randint(0, 256, 90).astype(np.uint8).tobytes() * 3,
]
streams = []
for data in plain:
    element = compression_ops.compress((tf.constant(np.frombuffer(data, np.uint8)),))
    content = tensor_pb2.TensorProto.FromString(tf.io.serialize_tensor(element).numpy()).tensor_content
    compressed = field(field(content[content.index(b"CompressedElement") + len(b"CompressedElement") :]))
    streams.append({"plain": data.hex(), "snappy": compressed.hex()})
print(json.dumps({"streams": streams}, indent=1))
