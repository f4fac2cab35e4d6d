"""Shapes of the nodes of conditionals and loops; how they run is in tests/unit/graph/test_control_flow.py."""

from __future__ import annotations

import pytest

from kvarn import dtypes
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.ops import array, control_flow


def test_shapes() -> None:
    with Graph().as_default():
        x = constant([1.0, 2.0])
        on_false, on_true = control_flow.switch(x, True)
        assert (on_false.static_shape, on_true.static_shape) == ((2,), (2,))
        merged, index = control_flow.merge([x, constant([3.0])])
        assert (merged.static_shape, index.static_shape) == ((None,), ())
        assert control_flow.merge([x, constant(3.0)])[0].static_shape is None
        assert control_flow.merge([x, array.placeholder(dtypes.float32)])[0].static_shape is None
        assert control_flow.enter(x, "loop").static_shape is None
        assert control_flow.enter(x, "loop", is_constant=True).static_shape == (2,)
        with pytest.raises(ValueError, match="must be rank 0"):
            control_flow.switch(x, [True])
