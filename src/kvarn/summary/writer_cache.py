"""One FileWriter for each folder.

Source: tensorflow/python/summary/writer/writer_cache.py.
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from kvarn.graph.graph import get_default_graph
from kvarn.summary.writer import FileWriter


class FileWriterCache:
    """The FileWriters that hooks share, by folder."""

    _cache: ClassVar[dict[Any, FileWriter]] = {}
    _lock: ClassVar[threading.RLock] = threading.RLock()

    @staticmethod
    def clear() -> None:
        """Closes and forgets all writers."""
        with FileWriterCache._lock:
            for writer in FileWriterCache._cache.values():
                writer.close()
            FileWriterCache._cache = {}

    @staticmethod
    def get(logdir: Any) -> FileWriter:
        """The writer of a folder; a new one begins with the default graph."""
        with FileWriterCache._lock:
            if logdir not in FileWriterCache._cache:
                FileWriterCache._cache[logdir] = FileWriter(logdir, graph=get_default_graph())
            return FileWriterCache._cache[logdir]
