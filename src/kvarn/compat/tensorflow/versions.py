"""What TensorFlow says of itself, and switches between its versions, most of which change nothing here."""

from __future__ import annotations

from kvarn.compat.tensorflow.names import TENSORFLOW_VERSION
from kvarn.graph.graph_def import TENSORFLOW_GIT_VERSION
from kvarn.ops.control_flow_v2_toggles import disable_control_flow_v2

VERSION = TENSORFLOW_VERSION
GIT_VERSION = TENSORFLOW_GIT_VERSION
COMPILER_VERSION = "none"


def disable_eager_execution() -> None:
    """Nothing: graphs and sessions are all there is."""


disable_v2_tensorshape = disable_eager_execution


def disable_v2_behavior() -> None:
    """Conditionals and loops are built as TensorFlow 1 builds them; all else is as it always is."""
    disable_control_flow_v2()


def executing_eagerly() -> bool:
    """False."""
    return False


def enabled() -> bool:
    """Whether TensorFlow 2's behaviour is switched on (``tensorflow.python.tf2``): never."""
    return False
