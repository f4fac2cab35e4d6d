"""Element types by number and name."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import kvarn as tf
from kvarn import dtypes


@pytest.mark.parametrize("dtype", [tf.float32, tf.int64, tf.string, tf.bfloat16, dtypes.float32._as_ref])
def test_there_is_one_object_of_each_type(dtype: tf.DType) -> None:
    assert tf.DType(dtype.as_datatype_enum) is dtype
    assert tf.as_dtype(dtype.name) is dtype
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert copy.deepcopy(dtype) is dtype


def test_a_number_that_no_type_has() -> None:
    with pytest.raises(TypeError, match=r"type_enum is not a valid types_pb2\.DataType"):
        tf.DType(99)


def test_a_type_equals_what_stands_for_it() -> None:
    assert tf.float32 == np.float32
    assert tf.float32 == "float32"
    assert tf.float32 != np.float64
    # A reference can stand where a value is wanted, not the other way round.
    assert tf.float32.is_compatible_with(dtypes.float32._as_ref)
    assert not dtypes.float32._as_ref.is_compatible_with(tf.float32)
