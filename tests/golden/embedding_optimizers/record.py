"""Run with TensorFlow 1.15.5, in this folder: writes tensorflow_1.15.5.json."""

import json

import programs
import tensorflow as tf


def fresh(make, *args):
    with tf.Graph().as_default():
        return make(tf, *args)


if __name__ == "__main__":
    assert tf.__version__ == "1.15.5", tf.__version__
    recorded = {name: fresh(programs.sparse, name) for name in programs.OPTIMIZERS}
    for name in programs.ORDINARY:
        for resource in (False, True):
            recorded[f"{name}/{'resource' if resource else 'ref'}"] = fresh(programs.ordinary, name, resource)
    with open("tensorflow_1.15.5.json", "w") as f:
        json.dump(recorded, f, separators=(",", ":"), sort_keys=True)
        f.write("\n")
