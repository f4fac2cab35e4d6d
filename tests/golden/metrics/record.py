"""Records what TensorFlow makes of programs.py in expected.json.gz; run with TensorFlow 1.15.5."""

import gzip
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def run(tf, build, batches):
    """The nodes of a program, its variables, what each update gives, and the value after it."""
    with tf.Graph().as_default() as graph:
        given = [
            tf.placeholder(tf.float32, [None], name=name) for name in ("labels", "predictions", "weights")
        ]
        value, update = build(tf, *given)
        nodes = [
            [op.name, op.type, [i.name for i in op.inputs], sorted(c.name for c in op.control_inputs)]
            for op in graph.get_operations()
        ]
        collections = {
            k: len(graph.get_collection(k)) for k in ("local_variables", "metric_variables", "m", "u")
        }
        results = []
        with tf.Session() as session:
            session.run(tf.local_variables_initializer())
            results.append(np.asarray(session.run(value)).tolist())
            for batch in batches:
                feeds = {given[i]: values for i, values in enumerate(batch)}
                results.append(np.asarray(session.run(update, feeds)).tolist())
                results.append(np.asarray(session.run(value)).tolist())
        variables = [v.name for v in tf.local_variables()]
    return {"nodes": nodes, "collections": collections, "variables": variables, "results": results}


def main():
    import tensorflow as tf
    from programs import BATCHES, PROGRAMS

    found = {name: run(tf, build, BATCHES) for name, build in PROGRAMS.items()}
    with gzip.GzipFile(os.path.join(HERE, "expected.json.gz"), "wb", mtime=0) as f:
        f.write(json.dumps(found, separators=(",", ":")).encode())
    print(len(found), "programs")


if __name__ == "__main__":
    sys.path.insert(0, HERE)
    main()
