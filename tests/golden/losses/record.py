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
        values = session.run(fetches, feeds)
        return {
            "nodes": [[n.name, n.op, list(n.input)] for n in graph.as_graph_def().node],
            "values": [np.asarray(v).tolist() for v in (values if isinstance(values, list) else [values])],
            "losses": [t.name for t in tf.losses.get_losses()],
        }


if __name__ == "__main__":
    found = {name: recorded(build) for name, build in programs.PROGRAMS.items()}
    with open(sys.argv[1], "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(json.dumps(found, sort_keys=True).encode())
