"""Nodes of conditionals and loops can be in a graph; running one says that it cannot be."""

from __future__ import annotations

import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
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


def test_they_do_not_run() -> None:
    with Graph().as_default() as graph:
        on_false, _ = control_flow.switch(constant(1.0), True)
        with pytest.raises(errors.UnimplementedError, match="No kernel is registered for op type 'Switch'"):
            Session(graph=graph).run(on_false)
