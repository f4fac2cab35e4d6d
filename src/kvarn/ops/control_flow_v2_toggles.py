"""Switches for conditionals and loops as functions.

Source: tensorflow/python/ops/{control_flow_v2_toggles,control_flow_util_v2}.py (1.15).
"""

from __future__ import annotations

from kvarn.graph import control_flow_util
from kvarn.graph.graph import get_default_graph

_output_all_intermediates: bool | None = None


def enable_control_flow_v2() -> None:
    """From now on `tf.cond`, `tf.while_loop` and `tf.TensorArray` make functions and lists of tensors."""
    control_flow_util.ENABLE_CONTROL_FLOW_V2 = True


def disable_control_flow_v2() -> None:
    """From now on they make the nodes of TensorFlow 1."""
    control_flow_util.ENABLE_CONTROL_FLOW_V2 = False


def control_flow_v2_enabled() -> bool:
    """Whether conditionals and loops are built as functions."""
    return control_flow_util.EnableControlFlowV2(get_default_graph())


def output_all_intermediates(state: bool | None) -> None:
    """Whether such functions give all values that gradients might need at once; None for only those needed.

    With it second derivatives through loops are those of TensorFlow, which then leaves out what they owe to values
    that go round an inner loop.
    """
    global _output_all_intermediates
    _output_all_intermediates = state


def all_intermediates_wanted() -> bool:
    """What `output_all_intermediates` was told."""
    return bool(_output_all_intermediates)
