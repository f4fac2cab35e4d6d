"""get_embedding_variable: what it makes of its arguments, sharing, and parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from kvarn import dtypes
from kvarn.engine import options
from kvarn.graph.graph import Graph, GraphKeys, get_collection
from kvarn.variables import initializers
from kvarn.variables.embedding_variable import EmbeddingVariable
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.partitioners import fixed_size_partitioner
from kvarn.variables.scope import (
    AUTO_REUSE,
    get_embedding_variable,
    get_embedding_variable_v2_internal,
    variable_creator_scope,
    variable_scope,
)


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with Graph().as_default():
        yield


def default_rows(ev: Any) -> int:
    return int(ev.initial_value.static_shape[0])


def test_makes_an_embedding_variable() -> None:
    with variable_scope("s"):
        ev = get_embedding_variable("b", 8)
    assert isinstance(ev, EmbeddingVariable)
    assert (ev.name, ev.shape.as_list(), ev.dtype) == ("s/b:0", [8], dtypes.float32)
    assert default_rows(ev) == 4096
    for collection in (
        GraphKeys.GLOBAL_VARIABLES,
        GraphKeys.TRAINABLE_VARIABLES,
        GraphKeys.EMBEDDING_VARIABLES,
    ):
        assert get_collection(collection) == [ev]


def test_initializer_is_truncated_normal_by_default() -> None:
    ev = get_embedding_variable("b", 8)
    assert "truncated_normal" in ev.initial_value.name


def test_constant_initializer_makes_one_row() -> None:
    assert default_rows(get_embedding_variable("b", 8, initializer=initializers.Constant(1.0))) == 1
    # Zeros and Ones are classes of their own in TensorFlow 1.15.
    assert default_rows(get_embedding_variable("c", 8, initializer=initializers.Ones())) == 4096


def test_default_value_dim_and_initializer_of_the_options() -> None:
    init = options.InitializerOption(initializer=initializers.Ones(), default_value_dim=16)
    ev = get_embedding_variable(
        "b", 8, initializer=initializers.Zeros(), ev_option=options.EmbeddingVariableOption(init_option=init)
    )
    assert default_rows(ev) == 16
    assert ev.initial_value.name == "b/Initializer/ones:0"


def test_options_of_one_variable_do_not_change_another() -> None:
    config = options.EmbeddingVariableConfig()
    get_embedding_variable_v2_internal("a", 4, initializer=initializers.Constant(1.0), evconfig=config)
    assert config.default_value_dim == 4096
    assert default_rows(get_embedding_variable_v2_internal("b", 4, evconfig=config)) == 4096


@pytest.mark.parametrize(("key_dtype", "invalid"), [(dtypes.int64, 2**63 - 1), (dtypes.int32, -1)])
def test_key_types(key_dtype: dtypes.DType, invalid: int) -> None:
    ev = get_embedding_variable("b", 4, key_dtype=key_dtype)
    assert ev.op.attrs["Tkeys"] is key_dtype
    assert ev.invalid_key == invalid


def test_other_key_types_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        get_embedding_variable("b", 4, key_dtype=dtypes.float32)


def test_sharing() -> None:
    with variable_scope("s"):
        ev = get_embedding_variable("b", 4)
        with pytest.raises(ValueError, match="s/b already exists, disallowed"):
            get_embedding_variable("b", 4)
    with variable_scope("s", reuse=AUTO_REUSE):
        assert get_embedding_variable("b", 4) is ev
    with variable_scope("s", reuse=True):
        with pytest.raises(ValueError, match=r"specified shape \(5,\) and found shape \(4,\)"):
            get_embedding_variable("b", 5)
        with pytest.raises(ValueError, match="does not exist"):
            get_embedding_variable("c", 4)


def test_parts() -> None:
    asked = []

    def partitioner(shape: Any, dtype: Any) -> list[int]:
        asked.append(shape.as_list())
        return fixed_size_partitioner(3)(shape=shape, dtype=dtype)

    whole = get_embedding_variable("b", 4, partitioner=partitioner, initializer=initializers.Ones())
    assert isinstance(whole, PartitionedVariable)
    assert asked[0] == [sys.maxsize, 4]
    assert [p.name for p in whole] == ["b/part_0:0", "b/part_1:0", "b/part_2:0"]
    assert all(isinstance(p, EmbeddingVariable) for p in whole)
    for i, part in enumerate(whole):
        info = part._get_save_slice_info()
        assert (info.full_name, info.full_shape, info.var_offset) == ("b", [3, 4], [i, 0])
        assert (info.var_shape, info.var_full_name) == ([1, 4], f"b/part_{i}")
        assert part.initial_value.static_shape == (4096, 4)
    with variable_scope("", reuse=True):
        assert get_embedding_variable("b", 4) is whole
        assert get_embedding_variable("b", 4, partitioner=partitioner) is whole
        with pytest.raises(ValueError, match="found shape"):
            get_embedding_variable("b", 4, partitioner=fixed_size_partitioner(2))


def test_creators_see_embedding_variables() -> None:
    seen = []

    def creator(next_creator: Any, **kwargs: Any) -> Any:
        seen.append((kwargs["name"], kwargs["invalid_key"]))
        return next_creator(**kwargs)

    with variable_creator_scope(creator):
        get_embedding_variable("b", 4)
    assert seen == [("b", 2**63 - 1)]


def test_both_ways_to_evict_are_refused() -> None:
    option = options.EmbeddingVariableOption(evict_option=options.L2WeightEvict(0.5))
    with (
        pytest.warns(UserWarning, match="GlobalStepEvict"),
        pytest.raises(ValueError, match="l2_weight_threshold"),
    ):
        get_embedding_variable("b", 4, steps_to_live=5, ev_option=option)


def test_an_unknown_way_to_evict_is_refused() -> None:
    with pytest.raises(ValueError, match="evict_option"):
        get_embedding_variable("b", 4, ev_option=options.EmbeddingVariableOption(evict_option="soon"))
