"""Reading event files.

Source: tensorflow/python/summary/summary_iterator.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn import protos
from kvarn.formats.tfrecord import read_records
from kvarn.io import Path


def summary_iterator(path: Path) -> Iterator[Any]:
    """The Event messages of a file, one after the other.

    Raises:
      NotFoundError: there is no such file.
      DataLossError: an event is cut off or damaged; those before it have come.
    """
    for record in read_records(path):
        yield protos.Event.FromString(record)
