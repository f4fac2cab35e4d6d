"""Records what TensorFlow makes of programs.py; run with TensorFlow 1.15.5.

In programs.json.gz as they are, in functional_programs.json.gz with conditionals and loops as functions.
"""

import gzip
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)


def outcome(tf, session, tensor, feeds):
    try:
        value = np.asarray(session.run(tensor, feeds))
        return [str(value.dtype), list(value.shape), np.ravel(value).tolist()]
    except tf.errors.OpError as e:
        return {"error": type(e).__name__}


def observed(tf, function):
    """The nodes and contexts of the graph that a program builds, and what its runs fetch."""
    with tf.Graph().as_default() as graph:
        runs, fetches = function(tf)
        nodes = [
            [op.name, op.type, [i.name for i in op.inputs], sorted(c.name for c in op.control_inputs)]
            for op in graph.get_operations()
        ]
        shapes = [None if t.shape.ndims is None else t.shape.as_list() for t in fetches]
        collections = tf.train.export_meta_graph().collection_def
        contexts = {
            key: [str(json_of(key, value)) for value in collections[key].bytes_list.value]
            for key in ("cond_context", "while_context")
            if key in collections
        }
        out = []
        for feeds in runs:
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                out.append([outcome(tf, session, t, feeds) for t in fetches])
    return {"nodes": nodes, "shapes": shapes, "contexts": contexts, "runs": out}


def json_of(key, value):
    """A context as it is in a meta graph, in text."""
    from tensorflow.core.protobuf import control_flow_pb2

    kind = control_flow_pb2.CondContextDef if key == "cond_context" else control_flow_pb2.WhileContextDef
    return kind.FromString(value)


def main():
    import tensorflow as tf
    from programs import FUNCTIONAL, PROGRAMS

    record("programs", {name: observed(tf, function) for name, function in PROGRAMS.items()})
    tf.compat.v1.enable_control_flow_v2()
    record("functional_programs", {name: observed(tf, PROGRAMS[name]) for name in FUNCTIONAL})


def record(file, found):
    with gzip.GzipFile(os.path.join(HERE, file + ".json.gz"), "wb", mtime=0) as f:
        f.write(json.dumps(found, separators=(",", ":")).encode())
    print(len(found), file)


if __name__ == "__main__":
    main()
