"""V2 checkpoints ("tensor bundles"): an index table, and data files that hold nothing but tensor bytes.

BundleReader, BundleWriter, merge_bundles     reading, writing, joining the parts of a sharded save
BundleEntry, BundleHeader                     the records of the index
index_filename, data_filename, sharded_filename
"""

from __future__ import annotations

from kvarn.formats.bundle.entry import BundleEntry, BundleHeader, HashSlice
from kvarn.formats.bundle.merge import merge_bundles
from kvarn.formats.bundle.naming import data_filename, index_filename, sharded_filename
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.bundle.writer import BundleWriter

__all__ = [
    "BundleEntry",
    "BundleHeader",
    "BundleReader",
    "BundleWriter",
    "HashSlice",
    "data_filename",
    "index_filename",
    "merge_bundles",
    "sharded_filename",
]
