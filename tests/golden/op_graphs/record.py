"""Records what TensorFlow makes of cases.py in expected.json.gz; run with TensorFlow 1.15.5."""

import gzip
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)


def encoded(value):
    """A value as JSON: its type, shape and elements."""
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind == "S":
        elements = [v.decode() for v in np.ravel(array).tolist()]
        return ["string", list(array.shape), elements]
    flat = np.ravel(array)
    if array.dtype.kind == "c":
        return [str(array.dtype), list(array.shape), [[float(v.real), float(v.imag)] for v in flat]]
    return [str(array.dtype), list(array.shape), flat.tolist()]


def observed(tf, function):
    """The nodes of the graph that a case builds, and the values of its results."""
    graph = tf.Graph()
    with graph.as_default():
        made = function(tf)
        fetches, feed = made if isinstance(made, tuple) else (made, {})
        # The operations, since the results name them before anything else is added.
        nodes = [
            [op.name, op.type, [i.name for i in op.inputs], [c.name for c in op.control_inputs]]
            for op in graph.get_operations()
        ]
        shapes = [None if t.shape.ndims is None else t.shape.as_list() for t in fetches]
        with tf.Session(graph=graph) as session:
            values = session.run(fetches, feed)
    return {"nodes": nodes, "shapes": shapes, "values": [encoded(v) for v in values]}


def main():
    import tensorflow as tf
    from cases import CASES

    found = {}
    for name, function in CASES.items():
        found[name] = observed(tf, function)
    with gzip.GzipFile(os.path.join(HERE, "expected.json.gz"), "wb", mtime=0) as f:
        f.write(json.dumps(found, indent=None, separators=(",", ":")).encode())
    print(len(found), "cases")


if __name__ == "__main__":
    main()
