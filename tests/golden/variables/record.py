"""Writes graphs.json: what TensorFlow 1.15.5 builds for the programs beside this file.

python record.py        (Python 3.7 with tensorflow 1.15.5)
"""

import json
import os
import warnings

warnings.simplefilter("ignore")
import tensorflow as tf  # noqa: E402
from programs import PROGRAMS  # noqa: E402


def main():
    tf.logging.set_verbosity(tf.logging.ERROR)
    recorded = {}
    for name, build in sorted(PROGRAMS.items()):
        with tf.Graph().as_default() as graph:
            result = build(tf)
            nodes = []
            for node in graph.as_graph_def().node:
                entry = {"name": node.name, "op": node.op, "inputs": list(node.input)}
                if node.device:
                    entry["device"] = node.device
                groups = [g.decode() for g in node.attr["_class"].list.s]
                if groups:
                    entry["class"] = groups
                nodes.append(entry)
        recorded[name] = {"nodes": nodes, "result": result}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "graphs.json")
    with open(path, "w") as f:
        f.write("{\n")
        for i, (name, value) in enumerate(recorded.items()):
            f.write((",\n" if i else "") + json.dumps(name) + ': {\n "nodes": [\n')
            f.write(",\n".join("  " + json.dumps(n, sort_keys=True) for n in value["nodes"]))
            f.write('\n ],\n "result": ' + json.dumps(value["result"], sort_keys=True) + "\n}")
        f.write("\n}\n")


if __name__ == "__main__":
    main()
