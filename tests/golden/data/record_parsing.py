"""Records what TensorFlow makes of parsing_programs.py in parsing_programs.json; run with TensorFlow 1.15.5."""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def run(tf, build):
    """What a program's fetches give, or its failure, and the nodes of its graph."""
    from record import failure, plain

    out = {}
    with tf.Graph().as_default() as graph:
        fetches = build(tf)
        out["nodes"] = [[op.name, op.type, [x.name for x in op.inputs]] for op in graph.get_operations()]
        with tf.Session() as session:
            try:
                out["values"] = plain(session.run(fetches))
            except tf.errors.OpError as e:
                out["values"] = failure(e)
    return out


def main():
    import tensorflow as tf
    from parsing_programs import PROGRAMS

    recorded = {name: run(tf, build) for name, build in PROGRAMS.items()}
    with open(os.path.join(HERE, "parsing_programs.json"), "w") as f:
        f.write("{\n")
        f.write(",\n".join(json.dumps(k) + ": " + json.dumps(v) for k, v in recorded.items()))
        f.write("\n}\n")


if __name__ == "__main__":
    sys.path.insert(0, HERE)
    main()
