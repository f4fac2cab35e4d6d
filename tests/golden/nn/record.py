"""Records what TensorFlow 1.15.5 makes of the programs: ``python record.py tensorflow_1.15.5.json.gz``."""

import gzip
import json
import sys

import programs
import tensorflow as tf


def recorded(build):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        fetches = build(tf)
        return {
            "nodes": [[n.name, n.op, list(n.input)] for n in graph.as_graph_def().node],
            "shapes": [str(t.shape) for t in fetches],
            "values": [value.tolist() for value in session.run(fetches)],
        }


if __name__ == "__main__":
    found = {name: recorded(build) for name, build in programs.PROGRAMS.items()}
    with open(sys.argv[1], "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(json.dumps(found, sort_keys=True).encode())
