"""Graphs and checkpoints that real TensorFlow wrote together: plans of them have nothing to say against a restore."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.checkpoint import checkpoint_exists
from kvarn.compat.tensorflow.scan_graph import UNKNOWN, scan_graph
from kvarn.saver.meta_graph import import_meta_graph

HERE = pathlib.Path(__file__).parent


def can_be_imported(meta: pathlib.Path) -> bool:
    """Two of them have ops of TensorFlow 2 alone."""
    return all(used.why != UNKNOWN for used in scan_graph(str(meta)))


METAS = sorted(
    path
    for path in HERE.rglob("*.meta")
    if checkpoint_exists(str(path.with_suffix(""))) and can_be_imported(path)
)


def test_there_are_some() -> None:
    assert len(METAS) >= 30


@pytest.mark.parametrize("meta", METAS, ids=lambda path: str(path.relative_to(HERE)))
def test_a_restore_by_plan_is_a_restore(meta: pathlib.Path) -> None:
    prefix = str(meta.with_suffix(""))

    def values(by_plan: bool) -> dict[str, Any]:
        with tf.Graph().as_default() as graph, tf.Session() as sess:
            saver = import_meta_graph(str(meta))
            plan = saver.plan(prefix)
            assert not plan.undecided
            assert not any(row.status == ("renamed",) for row in plan.rows)
            saver.restore(sess, prefix, plan=plan if by_plan else None)
            return {v.name: sess.run(v) for v in graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}

    strictly, by_plan = values(False), values(True)
    assert strictly
    for name, value in strictly.items():
        np.testing.assert_array_equal(by_plan[name], value)
