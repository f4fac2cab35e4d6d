"""Statistics of operations by registered functions."""

from __future__ import annotations

import pytest

import kvarn as tf
from kvarn.graph import statistics


def test_a_registered_function_gives_them() -> None:
    @statistics.RegisterStatistics("StatisticsTestOp", "flops")
    def flops(graph: object, node: object) -> statistics.OpStats:
        return statistics.OpStats("flops", 3)

    with tf.Graph().as_default() as graph:
        node = tf.constant(1.0).op.node_def
    assert statistics.get_stats_for_node_def(graph, node, "flops").value is None
    node.op = "StatisticsTestOp"
    total = statistics.OpStats("flops")
    for _ in range(2):
        total += statistics.get_stats_for_node_def(graph, node, "flops")
    total += statistics.OpStats("flops")
    assert total.value == 6
    with pytest.raises(ValueError, match="Can't add an OpStat of type flops to one of bytes"):
        total += statistics.OpStats("bytes", 1)
    with pytest.raises(KeyError, match="StatisticsTestOp,flops"):
        statistics.RegisterStatistics("StatisticsTestOp", "flops")(flops)
    with pytest.raises(TypeError, match="comma"):
        statistics.RegisterStatistics("a,b", "flops")
