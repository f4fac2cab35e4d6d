"""Datasets as operations: what `tf.data` builds its graphs of.

A dataset is a Python object in a variant tensor (`base.Dataset`); an iterator of one is a Python iterator over
elements, which are tuples of values.
"""
