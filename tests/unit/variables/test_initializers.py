"""Initializers: configurations, partitions, spread; values are recorded in tests/golden/ops."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kvarn import dtypes
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.graph.tensor_shape import TensorShape
from kvarn.variables import initializers as init


def value(initializer: Any, shape: Any, **kwargs: Any) -> Any:
    with Graph().as_default() as graph:
        return Session(graph=graph).run(initializer(shape, **kwargs))


@pytest.mark.parametrize(
    ("initializer", "config"),
    [
        (init.Zeros(), {"dtype": "float32"}),
        (init.Ones(dtypes.int32), {"dtype": "int32"}),
        (init.Constant(3, dtypes.float64), {"value": 3, "dtype": "float64"}),
        (init.RandomUniform(-1, 2, 3), {"minval": -1, "maxval": 2, "seed": 3, "dtype": "float32"}),
        (init.RandomNormal(1.0, 2.0, 3), {"mean": 1.0, "stddev": 2.0, "seed": 3, "dtype": "float32"}),
        (init.TruncatedNormal(1.0, 2.0), {"mean": 1.0, "stddev": 2.0, "seed": None, "dtype": "float32"}),
        (init.UniformUnitScaling(1.5), {"factor": 1.5, "seed": None, "dtype": "float32"}),
        (
            init.VarianceScaling(2.0, "fan_out", "Uniform", 1),
            {"scale": 2.0, "mode": "fan_out", "distribution": "uniform", "seed": 1, "dtype": "float32"},
        ),
        (init.Orthogonal(2.0, 4), {"gain": 2.0, "seed": 4, "dtype": "float32"}),
        (init.Identity(2.0), {"gain": 2.0, "dtype": "float32"}),
        (init.GlorotUniform(5), {"seed": 5, "dtype": "float32"}),
        (init.GlorotNormal(5), {"seed": 5, "dtype": "float32"}),
    ],
)
def test_a_configuration_makes_the_same_initializer(initializer: Any, config: dict[str, Any]) -> None:
    assert initializer.get_config() == config
    again = type(initializer).from_config(config)
    assert again.get_config() == config
    assert vars(again) == vars(initializer)


def test_parts_of_a_variable_scale_by_the_whole() -> None:
    part = SimpleNamespace(full_shape=[100, 30], var_offset=[10, 0])
    limit = math.sqrt(6 / 130)
    numbers = value(init.GlorotUniform(1), [10, 30], partition_info=part)
    assert limit * 0.9 < np.abs(numbers).max() <= limit
    scaled = value(init.UniformUnitScaling(seed=1), [10, 30], partition_info=part)
    assert np.abs(scaled).max() <= math.sqrt(3 / 100)
    identity = value(init.Identity(3.0), [20, 30], partition_info=part)
    np.testing.assert_array_equal(identity, 3 * np.eye(100, 30)[10:30])


def test_shapes_may_be_tensor_shapes() -> None:
    shape = TensorShape([4, 3])
    assert value(init.he_normal(1), shape).shape == (4, 3)
    assert value(init.Orthogonal(), shape).shape == (4, 3)
    np.testing.assert_array_equal(value(init.Identity(), shape), np.eye(4, 3))


@pytest.mark.parametrize("shape", [[6, 4], [4, 6], [2, 3, 4], [3, 3]])
def test_orthogonal_rows_or_columns(shape: list[int]) -> None:
    matrix = value(init.Orthogonal(gain=2.0, seed=1, dtype=dtypes.float64), shape).reshape(-1, shape[-1]) / 2
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows < columns else matrix.T @ matrix
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)


def test_the_type_given_to_the_call_wins() -> None:
    assert value(init.RandomNormal(seed=1), [3], dtype=dtypes.float64).dtype == np.float64
    assert value(init.Constant(1.5), [3], dtype=dtypes.float16).dtype == np.float16
    assert value(init.Zeros(), [2], dtype=dtypes.string).tolist() == [b"", b""]


def test_short_constants_repeat_their_last_value() -> None:
    np.testing.assert_array_equal(value(init.Constant([1, 2]), [2, 2]), [[1, 2], [2, 2]])


def test_no_shape_less_than_a_matrix_is_orthogonal() -> None:
    with Graph().as_default(), pytest.raises(ValueError, match="at least two-dimensional"):
        init.Orthogonal()([3])
