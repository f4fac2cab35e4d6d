"""Specs of tensors and composites."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import kvarn as tf
from kvarn.graph.type_spec import IndexedSlicesSpec, SparseTensorSpec, type_spec_from_value


def test_what_they_are_made_of() -> None:
    spec = SparseTensorSpec([None, 3], tf.string)
    assert [(s.shape.as_list(), s.dtype) for s in spec._component_specs] == [
        ([None, 2], tf.int64),
        ([None], tf.string),
        ([2], tf.int64),
    ]
    spec = IndexedSlicesSpec([7, 3], tf.float64, tf.int32, tf.int64, [5])
    assert [(s.shape.as_list(), s.dtype) for s in spec._component_specs] == [
        ([5, 3], tf.float64),
        ([5], tf.int32),
        ([2], tf.int64),
    ]
    assert len(IndexedSlicesSpec()._component_specs) == 2


@pytest.mark.parametrize(
    ("a", "b", "same", "fit"),
    [
        (SparseTensorSpec([2, 3]), SparseTensorSpec([2, 3]), True, True),
        (SparseTensorSpec(), SparseTensorSpec(), True, True),
        (SparseTensorSpec([None, 3]), SparseTensorSpec([2, 3]), False, True),
        (SparseTensorSpec([4, 3]), SparseTensorSpec([2, 3]), False, False),
        (SparseTensorSpec([2], tf.int32), SparseTensorSpec([2]), False, False),
        (SparseTensorSpec([2]), IndexedSlicesSpec([2]), False, False),
        (IndexedSlicesSpec(indices_shape=[100]), IndexedSlicesSpec(), False, True),
    ],
)
def test_comparisons(a: object, b: object, same: bool, fit: bool) -> None:
    assert (a == b) is same
    assert a.is_compatible_with(b) is fit  # type: ignore[attr-defined]
    if same:
        assert hash(a) == hash(b)
    assert pickle.loads(pickle.dumps(a)) == a


def test_the_narrowest_that_fits_both() -> None:
    found = SparseTensorSpec([2, 3]).most_specific_compatible_type(SparseTensorSpec([2, 4]))
    assert found == SparseTensorSpec([2, None])
    with pytest.raises(ValueError, match="No TypeSpec is compatible with both"):
        SparseTensorSpec().most_specific_compatible_type(IndexedSlicesSpec())
    with pytest.raises(ValueError, match="Types are not compatible"):
        SparseTensorSpec(dtype=tf.int32).most_specific_compatible_type(SparseTensorSpec())


def test_specs_of_values() -> None:
    with tf.Graph().as_default():
        assert type_spec_from_value(np.zeros([2, 3], np.float32)) == tf.TensorSpec([2, 3], tf.float32)
        sparse = tf.SparseTensor([[0, 1]], [1.0], [2, 2])
        assert type_spec_from_value(sparse) == SparseTensorSpec([2, 2], tf.float32)
        assert SparseTensorSpec([None, 2]).is_compatible_with(sparse)
        rows = tf.IndexedSlices(tf.zeros([2, 3]), tf.constant([0, 1]), tf.constant([4, 3]))
        assert type_spec_from_value(rows) == IndexedSlicesSpec([4, 3], tf.float32, tf.int32, tf.int32, [2])
        parts = SparseTensorSpec([2, 2])._to_components(sparse)
        assert SparseTensorSpec([2, 2])._from_components(parts).values is sparse.values
        with pytest.raises(TypeError, match="Could not build a TypeSpec"):
            type_spec_from_value(object())
    assert tf.TensorSpec([None, 3]).is_compatible_with(tf.TensorSpec([2, 3], name="x"))
    assert repr(tf.TensorSpec([2], tf.int32, "x")) == "TensorSpec(shape=(2,), dtype=tf.int32, name='x')"
