"""The IncrementalSaver beside a full Saver, which a Scaffold and hooks share.

Source: `Scaffold` and `CheckpointSaverHook` of DeepRec.
"""

from __future__ import annotations

import weakref

from kvarn.graph.graph import GraphKeys, add_to_collection, get_collection, get_default_graph
from kvarn.saver.incremental_saver import IncrementalSaver, _get_incremental_saver
from kvarn.saver.saver import Saver, _get_saver_or_default

_made: weakref.WeakKeyDictionary[Saver, IncrementalSaver] = weakref.WeakKeyDictionary()


def default_saver() -> Saver:
    """The Saver of the collection ``savers``, or a new one that increments can follow.

    Raises:
      RuntimeError: there are several.
    """
    if not get_collection(GraphKeys.SAVERS):
        saver = Saver(sharded=True, allow_empty=True, incremental_save_restore=True)
        add_to_collection(GraphKeys.SAVERS, saver)
        return saver
    return _get_saver_or_default()


def incremental_saver_of(saver: Saver) -> IncrementalSaver:
    """The IncrementalSaver of a full Saver; its operations are added to the default graph the first time.

    Raises:
      ValueError: the Saver was made without ``incremental_save_restore``.
      RuntimeError: the graph is final, so that nothing can be added.
    """
    found = _made.get(saver)
    if found is not None:
        return found
    if not saver._incremental_save_restore:
        raise ValueError(
            "Increments need a Saver that records what changes: make it with "
            "tf.train.Saver(incremental_save_restore=True)."
        )
    if get_default_graph().finalized:
        raise RuntimeError(
            "The graph is final and has no operations that save increments: give the hook its saver, or use "
            "tf.train.Scaffold(incremental_save_restore=True)."
        )
    saver.build()
    made = _get_incremental_saver(True, saver)
    assert made is not None
    _made[saver] = made
    return made
