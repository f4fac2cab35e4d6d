"""Records what TensorFlow 1.15.5 makes of cases.py: run with it, writes tensorflow_1.15.5.{json.gz,tfevents}."""

import base64
import glob
import gzip
import json
import os
import shutil
import sys
import tempfile

import tensorflow as tf
from tensorflow.python.ops import gen_logging_ops, logging_ops, summary_ops_v2

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import cases  # noqa: E402


def encoded(graph):
    return base64.b64encode(graph.as_graph_def(add_shapes=True).SerializeToString()).decode()


def main():
    os.chdir(tempfile.mkdtemp())
    values = {}
    made = cases.operations(tf, gen_logging_ops)
    with tf.Session() as session:
        for name, tensor in made.items():
            try:
                values[name] = base64.b64encode(session.run(tensor)).decode()
            except tf.errors.OpError as error:
                values[name] = [type(error).__name__, error.message.split("\n")[0]]
    with tf.Graph().as_default() as graph:
        collections = cases.graph(tf)
    document = {"operations": values, "graph": encoded(graph), "collections": collections}
    with tf.Graph().as_default() as graph:
        collections = cases.tagged(tf, logging_ops)
    document["tagged"] = {"graph": encoded(graph), "collections": collections}
    with tf.Graph().as_default() as graph:
        document["session_writer"] = {
            "names": cases.session_writer(tf, summary_ops_v2),
            "graph": encoded(graph),
        }
    (path,) = glob.glob("logs/*")
    events = [base64.b64encode(event).decode() for event in cases.events_in(tf, path)]
    document["session_writer"]["events"] = events
    shutil.rmtree("logs")
    cases.write_events(tf)
    (path,) = glob.glob("logs/*")
    shutil.copy(path, os.path.join(HERE, "tensorflow_1.15.5.tfevents"))
    path = os.path.join(HERE, "tensorflow_1.15.5.json.gz")
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.write(json.dumps(document, indent=0, sort_keys=True).encode())


if __name__ == "__main__":
    main()
