"""The native group lookup gives, bit for bit, what its NumPy specification gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn import _native, errors
from kvarn.engine import group_lookup
from kvarn.engine.policies import CounterAdmission
from kvarn.engine.table import EmbeddingTable


@st.composite
def lookups(draw: st.DrawFn) -> dict[str, Any]:
    """One lookup: what its table is made with and what is looked up, before and now."""
    dim = draw(st.sampled_from([1, 3, 4, 8, 16, 33]))
    n = draw(st.integers(0, 60))
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    index = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1), st.integers(-1, 1))
    key_type = draw(st.sampled_from([np.int64, np.int32]))
    bounds = np.iinfo(key_type)
    key = st.one_of(st.integers(-6, 6), st.sampled_from([bounds.min, bounds.max]))
    return {
        "dim": dim,
        "rows": draw(st.integers(1, 7)),
        "key_type": key_type,
        "known": np.array(draw(st.lists(key, max_size=8)), key_type),
        "keys": np.array(draw(st.lists(key, min_size=n, max_size=n)), key_type),
        "indices": np.array(draw(st.lists(index, min_size=n, max_size=n)), np.int64).reshape(n, 3),
        "shape": draw(st.sampled_from([(rows,), (rows, columns)])),
        "weighted": draw(st.booleans()),
        "create": draw(st.booleans()),
        "filtered": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**16)),
    }


def made(spec: dict[str, Any]) -> group_lookup.Lookup:
    random = np.random.default_rng(spec["seed"])
    table = EmbeddingTable(
        spec["key_type"],
        spec["dim"],
        admission=CounterAdmission(2) if spec["filtered"] else None,
        no_permission=0.5,
    )
    table.set_default(0, random.normal(size=(spec["rows"], spec["dim"])).astype(np.float32))
    table.lookup_or_create(spec["known"])
    weights = random.normal(size=spec["keys"].size).astype(np.float32) if spec["weighted"] else None
    return group_lookup.Lookup(
        table.lookup_or_create if spec["create"] else table.lookup,
        group_lookup.Source(table, 0, spec["create"]),
        spec["dim"],
        spec["keys"],
        spec["indices"],
        spec["shape"],
        weights,
    )


@settings(max_examples=150, deadline=None)
@given(
    specs=st.lists(lookups(), min_size=1, max_size=5),
    combiner=st.sampled_from(group_lookup.COMBINERS),
    threads=st.sampled_from([1, 3]),
)
def test_native_is_the_specification(specs: list[dict[str, Any]], combiner: str, threads: int) -> None:
    before = _native.num_threads()
    _native.set_num_threads(threads)
    try:
        native = [made(spec) for spec in specs]
        plain = [made(spec) for spec in specs]
        found = group_lookup.combined(native, combiner)
        expected = group_lookup.reference(plain, combiner)
    finally:
        _native.set_num_threads(before)
    for one, other, a, b in zip(found, expected, native, plain, strict=True):
        assert one.rows.tobytes() == other.rows.tobytes()
        np.testing.assert_array_equal(one.unique_keys, other.unique_keys)
        assert one.unique_keys.dtype == other.unique_keys.dtype
        np.testing.assert_array_equal(one.unique_idx, other.unique_idx)
        np.testing.assert_array_equal(one.ends, other.ends)
        assert one.rows.shape == other.rows.shape
        assert a.source is not None
        assert b.source is not None
        assert sorted(a.source.table.export()[0].tolist()) == sorted(b.source.table.export()[0].tolist())


def lookup(table: EmbeddingTable, **change: Any) -> group_lookup.Lookup:
    given: dict[str, Any] = {
        "keys": np.array([1, 2, 1]),
        "indices": np.array([[0, 0], [0, 1], [1, 1]]),
        "shape": (2,),
        "weights": None,
        **change,
    }
    source = group_lookup.Source(table, 0, True)
    return group_lookup.Lookup(table.lookup_or_create, source, table.value_dim, **given)


def test_a_norm_is_cut_before_rows_are_added() -> None:
    table = EmbeddingTable(np.int64, 2)
    matrix = np.array([[3.0, 4.0], [0.03, 0.04], [-5.0, 12.0]], np.float32)
    table.set_default(0, matrix)
    (found,) = group_lookup.combined([lookup(table)], "sum", 0.5)
    short = np.array([[0.03, 0.04], [-2.5 / 13, 6 / 13]])
    np.testing.assert_allclose(found.rows, [short[0] + short[1], short[0]], rtol=1e-6)


@pytest.mark.parametrize("how", [group_lookup.combined, group_lookup.reference])
@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.array([[0, 0], [2, 1], [1, 1]])},
        {"indices": np.array([[0, 0], [-1, 1], [1, 1]])},
        {"indices": np.array([[0, 0], [0, 2], [1, 1]]), "shape": (2, 2)},
        {"indices": np.array([[0, 0], [0, -1], [1, 1]]), "shape": (2, 2)},
        {"shape": (2, 0)},
        {"shape": (0,)},
        {"indices": np.array([[0], [0], [1]]), "shape": (2, 2)},
        {"indices": np.array([[0, 0]])},
        {"weights": np.ones(1, np.float32)},
        {"weights": np.ones(0, np.float32)},
    ],
)
def test_arrays_that_do_not_fit_are_errors_before_a_table_is_touched(
    how: Any, change: dict[str, Any]
) -> None:
    table = EmbeddingTable(np.int64, 4)
    with pytest.raises(errors.InvalidArgumentError, match="lookup 1"):
        how([lookup(table), lookup(table, **change)], "sum")
    assert table.size == 0


def test_a_matrix_without_columns_has_empty_rows() -> None:
    table = EmbeddingTable(np.int64, 4)
    nothing = {"keys": np.zeros(0, np.int64), "indices": np.zeros((0, 2), np.int64)}
    for shape in ((3, 0), (0, 2), (0,)):
        (found,) = group_lookup.combined([lookup(table, shape=shape, **nothing)], "mean")
        assert found.rows.shape == (*shape, 4)
        assert found.ends.tolist() == [0] * shape[0]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, [None]),
        (1, [1]),
        (1, []),
        (6, [np.empty((2, 3), np.float32)]),
        (6, [np.empty(8, np.float32)]),
        (7, [np.empty(1, np.int32)]),
        (8, [np.empty(1, np.int32)]),
        (9, "max"),
    ],
)
def test_the_native_call_checks_what_it_is_given(at: int, value: Any) -> None:
    table = EmbeddingTable(np.int64, 4)
    arguments: list[Any] = [
        [table._table],
        [0],
        [True],
        [np.array([1, 2])],
        [np.array([[0], [1]])],
        [None],
        [np.empty((2, 4), np.float32)],
        [np.empty(2, np.int32)],
        [np.empty(2, np.int32)],
        "sum",
    ]
    assert [keys.tolist() for keys in _native.group_lookup(*arguments)] == [[1, 2]]
    table.clear()
    arguments[at] = value
    with pytest.raises((errors.InvalidArgumentError, TypeError)):
        _native.group_lookup(*arguments)
    assert table.size == 0
