"""What TensorFlow says of itself, and switches between its versions, which change nothing here."""

from __future__ import annotations

from kvarn.compat.tensorflow.names import TENSORFLOW_VERSION
from kvarn.graph.graph_def import TENSORFLOW_GIT_VERSION

VERSION = TENSORFLOW_VERSION
GIT_VERSION = TENSORFLOW_GIT_VERSION
COMPILER_VERSION = "none"


def disable_v2_behavior() -> None:
    """Nothing: graphs and sessions are all there is."""


disable_eager_execution = disable_v2_tensorshape = disable_control_flow_v2 = disable_v2_behavior


def executing_eagerly() -> bool:
    """False."""
    return False


def enabled() -> bool:
    """Whether TensorFlow 2's behaviour is switched on (``tensorflow.python.tf2``): never."""
    return False
