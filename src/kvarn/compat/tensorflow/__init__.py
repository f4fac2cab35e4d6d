"""TensorFlow 1.15's and DeepRec's Python names.

`names` is the table, `namespace` the modules made from it, `importer` what makes ``import tensorflow``
find them, `run` what ``python -m kvarn run`` does.
"""
