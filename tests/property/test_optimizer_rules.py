"""Every native kernel gives the bits of its specification in NumPy, whatever the rows, slots and parameters."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from kvarn.engine.optimizer_rules import RULES, OptimizerRule
from kvarn.engine.reference import ReferenceEmbeddingTable
from kvarn.engine.table import EmbeddingTable

ANY_FLOAT = st.floats(width=32, allow_subnormal=True)
# Where a rule is meant to be used.
ORDINARY = st.floats(-2, 2, width=32)
RATES = st.floats(2**-10, 1, width=32)


@st.composite
def cases(draw: Any, rule: OptimizerRule) -> Any:
    dim = draw(st.sampled_from([1, 2, 7, 8, 9, 16, 23, 32, 40]))
    element = draw(st.sampled_from([ANY_FLOAT, ORDINARY]))
    keys = draw(st.lists(st.integers(-3, 6), min_size=1, max_size=12))
    steps = [draw(arrays(np.float32, (len(keys), dim), elements=element)) for _ in range(2)]
    value = draw(arrays(np.float32, (3, dim), elements=element))
    # A slot's entries are seldom below zero, but nothing keeps them from being so in a checkpoint.
    slots = [draw(arrays(np.float32, (2, s.dim(dim)), elements=element)) for s in rule.slots]
    if draw(st.booleans()):
        slots = [np.abs(s) for s in slots]
    parameters = draw(st.sampled_from([ANY_FLOAT, RATES]))
    params = [draw(parameters) for _ in rule.params]
    if "lr_power" in rule.params:
        params[rule.params.index("lr_power")] = draw(st.sampled_from([-0.5, -0.7, -1.0, 0.0, -0.25]))
    # Slots that another optimizer put between ours, and in any order.
    order = draw(st.permutations(range(len(slots))))
    gap = draw(st.booleans())
    return keys, value, slots, order, gap, steps, params


@pytest.mark.parametrize("name", RULES)
def test_native_kernels_give_the_bits_of_numpy(name: str) -> None:
    rule = RULES[name]

    @settings(max_examples=40, deadline=None)
    @given(case=cases(rule))
    def check(case: Any) -> None:
        keys, value, slots, order, gap, steps, params = case
        dim = value.shape[1]
        tables = [
            table(np.int64, dim, record_freq=True, record_version=True)
            for table in (EmbeddingTable, ReferenceEmbeddingTable)
        ]
        for table in tables:
            table.set_default(0, value)
            if gap:
                table.add_slot("between", 3, np.ones((1, 3), np.float32))
            numbers = {i: table.add_slot(f"slot {i}", slots[i].shape[1], slots[i]) for i in order}
            for step, grads in enumerate(steps):
                with np.errstate(over="ignore", invalid="ignore"):  # sums of gradients in the reference
                    table.apply(
                        name,
                        np.array(keys, np.int64),
                        grads,
                        slots=[numbers[i] for i in range(len(slots))],
                        params=params,
                        counts=np.arange(len(keys), dtype=np.int64),
                        step=step,
                    )
        native, reference = tables
        everything = np.unique(np.array([*keys, 100], np.int64))
        for slot in range(len(native.slots)):
            found, expected = (t.lookup(everything, slot=slot) for t in tables)
            # Equal, but for the bits of NaN, which IEEE leaves open.
            np.testing.assert_array_equal(found, expected)
            zeros = expected == 0
            np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(expected[zeros]))
        for ask in ("frequency", "version"):
            np.testing.assert_array_equal(
                getattr(native, ask)(everything), getattr(reference, ask)(everything)
            )

    check()
