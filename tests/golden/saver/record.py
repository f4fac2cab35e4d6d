"""Records the save graphs of TensorFlow 1.15.5: run it with that release's Python.

    python record.py > save_graphs.json

Each program of `programs.py` builds variables, then a Saver; recorded are the nodes that the Saver added
and its SaverDef.  The uuid in the names of temporary files is zeros.
"""

import json
import os
import uuid

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import programs
import tensorflow as tf
from tensorflow.python.training import saver

tf.BaseSaverBuilder = saver.BaseSaverBuilder
tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)


class Zeros:
    hex = "0" * 32


uuid.uuid4 = lambda: Zeros


def attr(value):
    kind = value.WhichOneof("value")
    if kind == "list":
        return {"type": list(value.list.type), "s": [s.decode() for s in value.list.s]}
    if kind == "tensor":
        flat = tf.make_ndarray(value.tensor).ravel().tolist()
        return [v.decode() if isinstance(v, bytes) else v for v in flat]
    if kind == "shape":
        return None if value.shape.unknown_rank else [d.size for d in value.shape.dim]
    found = getattr(value, kind)
    return found.decode() if isinstance(found, bytes) else found


def record(program):
    with tf.Graph().as_default() as graph:
        make = program(tf)
        before = len(graph.as_graph_def().node)
        saver_def = make().saver_def
        nodes = graph.as_graph_def().node[before:]
        return {
            "nodes": [
                [n.name, n.op, list(n.input), n.device, {k: attr(n.attr[k]) for k in sorted(n.attr)}]
                for n in nodes
            ],
            "saver_def": [
                saver_def.filename_tensor_name,
                saver_def.save_tensor_name,
                saver_def.restore_op_name,
                saver_def.max_to_keep,
                saver_def.sharded,
                saver_def.keep_checkpoint_every_n_hours,
                saver_def.version,
            ],
        }


out = {name: record(program) for name, program in programs.ALL.items()}
for i, (name, found) in enumerate(sorted(out.items())):
    # One node a line keeps differences readable.
    print("{" if i == 0 else ",", json.dumps(name), ": {")
    print('"saver_def":', json.dumps(found["saver_def"]), ',"nodes": [')
    print(",\n".join(json.dumps(node) for node in found["nodes"]))
    print("]}")
print("}")
