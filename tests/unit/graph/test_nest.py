"""Nested structures, as TensorFlow flattens, packs and compares them."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvarn as tf
from kvarn.graph import nest

Pair = collections.namedtuple("Pair", "a b")
LEAVES = st.one_of(st.integers(), st.text(), st.none(), st.floats(allow_nan=False))
NESTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.tuples(inner, inner).map(lambda p: Pair(*p)),
    ),
    max_leaves=12,
)


@given(NESTS)
def test_packing_undoes_flattening(structure: Any) -> None:
    flat = nest.flatten(structure)
    assert nest.pack_sequence_as(structure, flat) == structure
    nest.assert_same_structure(structure, structure)
    assert nest.flatten(nest.map_structure(lambda x: (x,) and "leaf", structure)) == ["leaf"] * len(flat)


def test_order() -> None:
    assert nest.flatten({"b": [3, (4,)], "a": Pair(1, 2)}) == [1, 2, 3, 4]
    ordered = collections.OrderedDict([("b", 1), ("a", 2)])
    assert nest.flatten(ordered) == [2, 1]
    assert nest.pack_sequence_as(ordered, [5, 6]) == collections.OrderedDict([("b", 6), ("a", 5)])
    assert list(nest.pack_sequence_as(ordered, [5, 6])) == ["b", "a"]
    default = nest.map_structure(str, collections.defaultdict(list, {"x": 1}))
    assert default == {"x": "1"}
    assert default["y"] == []


@pytest.mark.parametrize("leaf", ["text", b"bytes", 3, None, np.zeros([2, 2])])
def test_leaves(leaf: Any) -> None:
    assert not tf.nest.is_nested(leaf)
    assert len(nest.flatten(leaf)) == 1
    assert nest.flatten(leaf)[0] is leaf


def test_composites() -> None:
    with tf.Graph().as_default():
        sparse = tf.SparseTensor([[0, 1]], [1.0], [2, 2])
        rows = tf.IndexedSlices(tf.zeros([2, 3]), tf.constant([0, 1]))
        assert nest.flatten([sparse, rows]) == [sparse, rows]
        parts = nest.flatten([sparse, rows], expand_composites=True)
        assert [p.dtype for p in parts] == [tf.int64, tf.float32, tf.int64, tf.float32, tf.int32]
        again = nest.pack_sequence_as([sparse, rows], parts, expand_composites=True)
        assert again[0].values is sparse.values
        assert again[1].dense_shape is None


@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        ([1, 2], [1], ValueError, "don't have the same number of elements"),
        ([1], 1, ValueError, "is a sequence, while substructure"),
        ([1], (1,), TypeError, "don't have the same sequence type"),
        ({"a": 1}, {"b": 1}, ValueError, "don't have the same set of keys"),
        (Pair(1, 2), (1, 2), TypeError, "don't have the same sequence type"),
        (
            [1, [2]],
            [1, (2,)],
            TypeError,
            "Entire first structure:\n\\[., \\[.\\]\\]\nEntire second structure:",
        ),
    ],
)
def test_differences(a: Any, b: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nest.assert_same_structure(a, b)


def test_what_is_the_same() -> None:
    nest.assert_same_structure([1, (2,)], [3, [4]], check_types=False)
    nest.assert_same_structure({"a": 1}, collections.OrderedDict(a=2))
    other = collections.namedtuple("Pair", "a b")
    nest.assert_same_structure(Pair(1, 2), other(3, 4))


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="Structure had 2 elements, but flat_sequence had 3"):
        nest.pack_sequence_as([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"Structure is a scalar but len\(flat_sequence\) == 2"):
        nest.pack_sequence_as(1, [1, 2])
    with pytest.raises(TypeError, match="flat_sequence must be a sequence"):
        nest.pack_sequence_as([1], 1)
    with pytest.raises(TypeError, match="sortable keys"):
        nest.flatten({1: 2, "a": 3})
    with pytest.raises(TypeError, match="func must be callable"):
        nest.map_structure(1, [2])
    with pytest.raises(ValueError, match="at least one structure"):
        nest.map_structure(str)
