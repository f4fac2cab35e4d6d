"""Run with TensorFlow 1.15.5, in this folder: writes tensorflow_1.15.5.json.gz."""

import gzip
import json

import programs
import tensorflow as tf

if __name__ == "__main__":
    assert tf.__version__ == "1.15.5", tf.__version__
    recorded = {name: programs.run(tf, name) for name in programs.CASES}
    text = json.dumps(recorded, indent=None, separators=(",", ":"), sort_keys=True).encode()
    with open("tensorflow_1.15.5.json.gz", "wb") as f, gzip.GzipFile("", "wb", fileobj=f, mtime=0) as z:
        # Without a time stamp the same text gives the same file.
        z.write(text)
