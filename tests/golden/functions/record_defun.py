"""Records what TensorFlow makes of defun_programs.py in defun_programs.json; run with TensorFlow 1.15.5."""

import json
import os
import re
import sys

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import function

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)


def plain(message):
    """The FunctionDef without what kvarn does not write, and without the hash in names."""
    kept = type(message)()
    kept.signature.CopyFrom(message.signature)
    kept.node_def.extend(message.node_def)
    for key, value in message.ret.items():
        kept.ret[key] = value
    return re.sub(r"_[A-Za-z0-9]{11}(?![A-Za-z0-9])", "", json_text(kept))


def json_text(message):
    from google.protobuf import json_format

    return json.dumps(json_format.MessageToDict(message), sort_keys=True)


def main():
    from defun_programs import PROGRAMS

    out = {}
    for name, build in PROGRAMS.items():
        with tf.Graph().as_default() as graph:
            fetches = build(tf, function)
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                values = [np.asarray(v).tolist() for v in session.run(fetches)]
            library = graph.as_graph_def().library
            out[name] = {
                "values": values,
                "functions": sorted(plain(f) for f in library.function),
                "variables": [v.name for v in tf.global_variables()],
            }
    with open(os.path.join(HERE, "defun_programs.json"), "w") as f:
        json.dump(out, f, indent=1)


if __name__ == "__main__":
    main()
