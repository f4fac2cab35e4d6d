"""Records what TensorFlow 1.15.5 does with `programs.py` and `scenarios.py`.

Run it with that TensorFlow, in this folder.  It writes expected.json, and the checkpoint ck-2 that kvarn
has to restore.
"""

import json
import os
import shutil
import tempfile

import programs
import scenarios
import tensorflow as tf

HERE = os.path.dirname(os.path.abspath(__file__))
folder = tempfile.mkdtemp()
with tf.Graph().as_default():
    found = programs.save(tf, folder)
with tf.Graph().as_default():
    found["loaded"] = programs.load(tf, os.path.join(folder, "ck-2"))
for name in os.listdir(folder):
    if name.startswith("ck-2."):
        shutil.copy(os.path.join(folder, name), HERE)
found["scenarios"] = {}
for scenario in scenarios.CASES:
    with tf.Graph().as_default():
        found["scenarios"][scenario.__name__] = scenario(tf, tempfile.mkdtemp())
with open(os.path.join(HERE, "expected.json"), "w") as out:
    json.dump(found, out, indent=1, sort_keys=True)
