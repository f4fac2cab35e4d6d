"""The global step of a graph."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn.train import training_util


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def test_it_is_made_once_at_the_root():
    assert tf.train.get_global_step() is None
    with tf.name_scope("inside"):
        step = tf.train.get_or_create_global_step()
    assert (step.name, step.dtype.base_dtype, step.shape.as_list()) == ("global_step:0", tf.int64, [])
    assert not step.trainable
    assert tf.train.get_or_create_global_step() is step
    assert tf.train.get_global_step() is step
    with pytest.raises(ValueError, match='"global_step" already exists'):
        tf.train.create_global_step()
    with tf.Session() as sess:
        sess.run(step.initializer)
        assert tf.train.global_step(sess, step) == 0
        assert tf.train.global_step(sess, tf.constant([7])) == 7


def test_a_tensor_of_that_name_will_do():
    made = tf.Variable(np.int32(4), name="global_step", trainable=False)
    assert training_util.get_global_step().name == made.name


@pytest.mark.parametrize(
    ("value", "message"), [(1.5, "does not have integer type"), (np.array([1, 2]), "is not scalar")]
)
def test_it_must_be_an_integer_scalar(value, message):
    tf.Variable(value, name="global_step", trainable=False)
    with pytest.raises(TypeError, match=message):
        tf.train.get_global_step()


def test_several_in_the_collection_are_none(caplog):
    for i in range(2):
        tf.Variable(i, name=f"s{i}", collections=[tf.GraphKeys.GLOBAL_STEP, tf.GraphKeys.GLOBAL_VARIABLES])
    assert tf.train.get_global_step() is None
    assert "Multiple tensors in global_step collection." in caplog.text


def test_incrementing_needs_one():
    with pytest.raises(ValueError, match="should be created by"):
        training_util._increment_global_step(1)
