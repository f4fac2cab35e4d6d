"""Writes the names of TensorFlow's modules, one a line, to the file given; run with TensorFlow 1.15.5."""

import os
import sys

import tensorflow_core

ROOT = os.path.dirname(tensorflow_core.__file__)


def main(target):
    found = set()
    for part in ("contrib", "core", "python", "tools"):
        for folder, _, files in os.walk(os.path.join(ROOT, part)):
            for file in files:
                if file.endswith(".py"):
                    path = os.path.relpath(os.path.join(folder, file), ROOT)[: -len(".py")]
                    name = path.replace(os.sep, ".")
                    found.add(name[: -len(".__init__")] if name.endswith(".__init__") else name)
    with open(target, "w") as f:
        f.write("\n".join(sorted(found)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
