"""Operands of einsum that are no tensors yet."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf


@pytest.mark.parametrize("resource", [False, True])
def test_variables_and_arrays(resource: bool) -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        w = tf.get_variable("w", initializer=[[1.0, 2.0], [3.0, 4.0]], use_resource=resource)
        y = tf.einsum("ij,jk->ik", np.float32([[1, 10]]), w)
        sess.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(sess.run(y), [[31.0, 42.0]])
