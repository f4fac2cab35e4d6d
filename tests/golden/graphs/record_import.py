"""Records what TensorFlow 1.15 makes of the imports in import_calls.json.

python record_import.py > import.json
"""

import json
import pathlib

import tensorflow as tf
from google.protobuf import text_format

found = []
for case in json.loads(pathlib.Path(__file__).with_name("import_calls.json").read_text()):
    graph_def = text_format.Parse(case["graph"], tf.GraphDef())
    with tf.Graph().as_default() as graph:
        try:
            result = tf.import_graph_def(graph_def, **case["arguments"])
        except Exception as e:
            outcome = {"error": type(e).__name__, "text": str(e)}
        else:
            outcome = {"result": result and [r.name for r in result]}
        outcome["nodes"] = [
            [n.name, n.op, list(n.input), sorted(n.attr)] for n in graph.as_graph_def(add_shapes=True).node
        ]
    found.append({"label": case["label"], **outcome})
print(json.dumps(found, indent=1))
