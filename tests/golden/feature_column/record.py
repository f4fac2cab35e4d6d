"""Records what TensorFlow 1.15.5 makes of the programs: ``python record.py tensorflow_1.15.5.json.gz``."""

import gzip
import json
import sys

import numpy as np
import programs
import tensorflow as tf


def recorded(build):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        fetches, feeds = build(tf)
        session.run(graph.get_collection("table_initializer"))
        session.run(tf.global_variables_initializer())
        values = session.run(fetches, feeds)
        return {
            "nodes": [[n.name, n.op, list(n.input)] for n in graph.as_graph_def().node],
            "shapes": [str(t.shape) for t in fetches],
            "values": [np.asarray(v).tolist() for v in values],
            "collections": {
                name: [x.name for x in graph.get_collection(name) if hasattr(x, "name")]
                for name in sorted(graph.get_all_collection_keys())
            },
        }


if __name__ == "__main__":
    found = {name: recorded(build) for name, build in programs.PROGRAMS.items()}
    with open(sys.argv[1], "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(json.dumps(found, sort_keys=True).encode())
