"""Records what TensorFlow 1.15 makes of cases.py: run with it, writes expected.json.gz."""

import gzip
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)


def encoded(value):
    """A value as JSON: its type, shape and elements; strings as Latin-1, floats by repr."""
    if isinstance(value, (bytes, str)):
        return ["string", [], [value.decode("latin1")]]
    if isinstance(value, tuple):
        return [encoded(v) for v in value]
    array = np.asarray(value)
    if array.dtype == object:
        return ["string", list(array.shape), [v.decode("latin1") for v in array.ravel()]]
    flat = array.ravel().tolist()
    return [str(array.dtype), list(array.shape), [repr(v) if array.dtype.kind in "fc" else v for v in flat]]


def observed(graph, session, tf, case, later):
    """What a case gives: nodes, static shapes and values, or the error."""
    try:
        with graph.as_default():
            made = case(tf)
            if isinstance(made, later):
                session.run(made.first)
                made = made.rest()
        fetches = made if isinstance(made, list) else [made]
        nodes = [
            [op.name, op.type, [i.name for i in op.inputs], sorted(c.name for c in op.control_inputs)]
            for op in graph.get_operations()
        ]
        shapes = [str(getattr(t, "shape", None)) for t in fetches]
        values = []
        for fetch in fetches:
            value = session.run(fetch)
            values.append(None if value is None else encoded(value))
    except Exception as e:
        return {"error": type(e).__name__, "message": str(e).split("\n")[0]}
    return {"nodes": nodes, "shapes": shapes, "values": values}


def namespace():
    """The functions that cases use, by kvarn's names."""
    import types

    import tensorflow as tf
    from tensorflow.python.ops import control_flow_ops, init_ops, state_ops, string_ops
    from tensorflow.python.ops import gen_resource_variable_ops as resource_ops

    api = types.SimpleNamespace(**{k: getattr(tf, k) for k in dir(tf) if not k.startswith("_")})
    for module in (resource_ops, state_ops):
        for k in dir(module):
            if not k.startswith("_") and callable(getattr(module, k)):
                setattr(api, k, getattr(module, k))
    api.init = init_ops
    api.string_split_v2 = string_ops.string_split_v2
    api.with_dependencies = control_flow_ops.with_dependencies
    api.string_length, api.substr = tf.strings.length, tf.strings.substr
    api.string_lower, api.string_upper = tf.strings.lower, tf.strings.upper
    api.string_format = tf.strings.format
    api.regex_full_match = tf.strings.regex_full_match
    api.sparse_reorder, api.sparse_reshape = tf.sparse.reorder, tf.sparse.reshape
    api.sparse_retain, api.sparse_fill_empty_rows = tf.sparse.retain, tf.sparse.fill_empty_rows
    api.sparse_tensor_to_dense, api.sparse_to_dense = tf.sparse.to_dense, tf.sparse_to_dense
    api.sparse_tensor_dense_matmul = tf.sparse.sparse_dense_matmul
    api.print_v2 = tf.print
    return tf, api


def main():
    from cases import CASES, Later

    tf, api = namespace()
    found = {}
    for name, case in CASES.items():
        graph = tf.Graph()
        with tf.Session(graph=graph) as session:
            found[name] = observed(graph, session, api, case, Later)
    with gzip.GzipFile(os.path.join(HERE, "expected.json.gz"), "wb", mtime=0) as f:
        f.write(json.dumps(found, separators=(",", ":"), sort_keys=True).encode())
    print(len(found), "cases")


if __name__ == "__main__":
    main()
