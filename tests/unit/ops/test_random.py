"""Random ops give TensorFlow 1.15's numbers for the same seeds, run after run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.graph import Graph
from kvarn.graph.random_seed import get_seed, set_random_seed
from kvarn.graph.session import Session
from kvarn.ops import _philox, random

RECORDED = json.loads((Path(__file__).parents[2] / "golden/random/numbers.json").read_text())["runs"]
OPS = {
    "RandomUniform": random.random_uniform_,
    "RandomStandardNormal": random.random_standard_normal,
    "TruncatedNormal": random.truncated_normal_,
}


def build(name: str) -> Any:
    """The node that a recorded name stands for."""
    kind, *rest = name.split("/")
    if name == "RandomUniform/float32/odd seeds":
        return random.random_uniform_([3, 7], dtypes.float32, seed=-1, seed2=2**63 - 1)
    if kind in OPS:
        dtype, size = dtypes.as_dtype(rest[0]), int(rest[1])
        return OPS[kind]([size], dtype, seed=87654321, seed2=size + 7)
    if kind == "RandomUniformInt":
        dtype, low, high, size = dtypes.as_dtype(rest[0]), int(rest[1]), int(rest[2]), int(rest[3])
        low_, high_ = (np.array(x, dtype.np) for x in (low, high))
        return random.random_uniform_int([size], low_, high_, seed=3, seed2=-(2**40))
    size = int(rest[0])
    if kind == "RandomShuffle":
        return random.random_shuffle_(np.arange(size, dtype=np.int32), seed=2**62, seed2=9)
    logits = np.array([[0.1, 0.7, -2.0, 0.4]], np.float32)
    return random.multinomial_(logits, size, seed=1, seed2=size)


def bits(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype == ml_dtypes.bfloat16:
        array = array.view(np.uint16)
    elif array.dtype.kind == "f":
        array = array.view(f"uint{8 * array.itemsize}")
    return array.ravel()


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_two_runs_give_the_numbers_of_tensorflow(name: str) -> None:
    with Graph().as_default() as graph:
        node = build(name)
        session = Session(graph=graph)
    for recorded in RECORDED[name]:
        found = bits(session.run(node))
        shown = found if found.size <= 1000 else found[::1000]
        np.testing.assert_array_equal(shown, np.array(recorded["numbers"], found.dtype))
        assert hashlib.sha256(found.tobytes()).hexdigest() == recorded["sha256"]


def test_another_fetch_list_goes_on_with_the_same_stream() -> None:
    with Graph().as_default() as graph:
        a = random.random_uniform([3], seed=1)
        b = random.random_uniform([3], seed=2)
        together, apart = Session(graph=graph), Session(graph=graph)
    first = [together.run([a, b])[0], together.run([a, b])[0]]
    second = [apart.run(a), apart.run([b, a])[1]]
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_without_seeds_sessions_differ() -> None:
    with Graph().as_default() as graph:
        node = random.random_uniform([20])
        assert node.op.inputs[0].op.inputs[0].op.attrs["seed"] == 0
        assert not np.array_equal(Session(graph=graph).run(node), Session(graph=graph).run(node))


def test_seeds_of_graph_and_operation() -> None:
    with Graph().as_default() as graph:
        assert get_seed(None) == (None, None)
        assert get_seed(5) == (87654321, 5)
        set_random_seed(0)
        assert get_seed(0) == (0, 2**31 - 1)
        set_random_seed(2**31)
        assert get_seed(-1) == (1, 2**31 - 2)
        random.random_uniform([1])
        # The number of operations built so far stands for the seed that is missing.
        assert get_seed(None) == (1, len(graph.get_operations()))


def test_the_counter_carries_into_its_upper_half() -> None:
    low = _philox.Philox(7, 3, 2**64 - 2)
    crossing = low.blocks(np.arange(4, dtype=np.uint64))
    after = _philox.Philox(7, 4).blocks(np.arange(2, dtype=np.uint64))
    np.testing.assert_array_equal(crossing[2:], after)
    low.skip(2)
    assert (low.hi, low.lo) == (4, 0)


def test_log_sine_and_cosine_of_every_number_that_can_occur() -> None:
    # All 2 ** 23 floats of a uniform draw; the double results, rounded, may differ in the last bit.
    for start in range(0, 2**23, 2**20):
        x = _philox.to_float(np.arange(start, start + 2**20, dtype=np.uint32))
        u = np.maximum(x, np.float32(1e-7))
        angle = (x.astype(np.float64) * (2 * np.pi)).astype(np.float32)
        sin, cos = _philox.sincos_float(angle)
        wide = angle.astype(np.float64)
        for found, exact in (
            (_philox.log_float(u), np.log(u.astype(np.float64))),
            (sin, np.sin(wide)),
            (cos, np.cos(wide)),
        ):
            unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
            assert np.max(np.abs(found - exact) / unit) < 0.9


@pytest.mark.parametrize(
    ("build_it", "message"),
    [
        (lambda: random.random_uniform([2], 5, 5, dtypes.int32), "Need minval < maxval, got 5 >= 5"),
        (
            lambda: random.multinomial(np.zeros((1, 0), np.float32), 1),
            "num_classes should be positive, got 0",
        ),
        (lambda: random.multinomial(np.zeros((1, 2), np.float32), -1), "num_samples should be nonnegative"),
    ],
)
def test_bad_arguments_fail_when_run(build_it: Any, message: str) -> None:
    with Graph().as_default() as graph:
        node = build_it()
        with pytest.raises(errors.InvalidArgumentError, match=message):
            Session(graph=graph).run(node)


def test_bad_types_fail_when_built() -> None:
    with Graph().as_default():
        with pytest.raises(ValueError, match="Must specify maxval for integer dtype"):
            random.random_uniform([2], dtype=dtypes.int32)
        with pytest.raises(ValueError, match="Invalid dtype"):
            random.random_uniform([2], dtype=dtypes.string)


def test_empty_shapes() -> None:
    with Graph().as_default() as graph:
        nodes = [random.random_uniform([0, 3]), random.random_normal([2, 0]), random.truncated_normal([0])]
        shapes = [v.shape for v in Session(graph=graph).run(nodes)]
    assert shapes == [(0, 3), (2, 0), (0,)]


def test_shuffled_rows_are_the_same_rows() -> None:
    rows = np.arange(30).reshape(10, 3)
    with Graph().as_default() as graph:
        shuffled = Session(graph=graph).run(random.random_shuffle(rows, seed=1))
    assert not np.array_equal(shuffled, rows)
    np.testing.assert_array_equal(shuffled[np.argsort(shuffled[:, 0])], rows)
