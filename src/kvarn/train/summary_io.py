"""Event files, as far as hooks and supervisors write them: the modules that do are loaded when one is wanted.

Source: tensorflow/python/training/summary_io.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.graph import GraphKeys, get_collection


def writer_of(logdir: Any) -> Any:
    """The FileWriter of a folder; all hooks share it."""
    from kvarn.summary.writer_cache import FileWriterCache

    return FileWriterCache.get(logdir)


def new_writer(logdir: Any) -> Any:
    """A FileWriter of a folder, nobody else's."""
    from kvarn.summary import writer

    return writer.FileWriter(logdir)


def session_log(status: str, checkpoint_path: str = "") -> Any:
    """A SessionLog: ``status`` is ``START``, ``STOP`` or ``CHECKPOINT``."""
    from kvarn import protos

    return protos.SessionLog(
        status=protos.SessionLog.SessionStatus.Value(status), checkpoint_path=checkpoint_path
    )


def scalar(tag: str, value: float) -> Any:
    """A Summary of one number."""
    from kvarn import protos

    return protos.Summary(value=[protos.Summary.Value(tag=tag, simple_value=value)])


def merge_all() -> Any:
    """A tensor of all summaries of the default graph; None if there are none."""
    if not get_collection(GraphKeys.SUMMARIES):
        return None
    from kvarn.summary import summary

    return summary.merge_all()
