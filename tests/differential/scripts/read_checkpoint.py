"""read_checkpoint.py PREFIX OUT.npz: tensors as tf.train.load_variable gives them; prints names, shapes."""

import json
import sys

import numpy as np
import tensorflow as tf

prefix, out = sys.argv[1:]
listed = tf.train.list_variables(prefix)
values = [tf.train.load_variable(prefix, name) for name, _ in listed]
np.savez(out, **{f"t{i}": np.asarray(value) for i, value in enumerate(values)})
print(json.dumps([[name, list(shape)] for name, shape in listed]))
