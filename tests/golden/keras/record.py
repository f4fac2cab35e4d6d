"""Writes tensorflow_1.15.5.json.gz: what TensorFlow makes of `programs.py`.  Run with TensorFlow 1.15.5."""

import gzip
import json
from pathlib import Path

import tensorflow as tf
from programs import PROGRAMS, run

assert tf.__version__ == "1.15.5", tf.__version__
recorded = {name: run(tf, name) for name in PROGRAMS}
text = json.dumps(recorded, sort_keys=True).encode()
target = Path(__file__).with_name("tensorflow_1.15.5.json.gz")
with target.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
    packed.write(text)
print({name: {k: len(v) for k, v in found["graphs"].items()} for name, found in recorded.items()})
