"""Optionals: what TensorFlow 1.15.5 gives for them outside of datasets."""

from __future__ import annotations

import pytest

import kvarn as tf
from kvarn.data.optional import OptionalSpec


def test_elements_of_an_iterator_one_by_one() -> None:
    with tf.Graph().as_default():
        dataset = tf.data.Dataset.range(2).map(lambda x: (x, {"a": x * 2}))
        iterator = dataset.make_initializable_iterator()
        optional = tf.data.experimental.get_next_as_optional(iterator)
        assert optional.value_structure == dataset.element_spec
        there, value = optional.has_value("there"), optional.get_value("value")
        assert there.name == "there:0"
        assert [t.name for t in (value[0], value[1]["a"])] == ["value:0", "value:1"]
        chosen = tf.cond(there, lambda: optional.get_value()[0], lambda: tf.constant(-1, tf.int64))
        with tf.Session() as session:
            session.run(iterator.initializer)
            assert [session.run([there, value]) for _ in range(2)] == [
                [True, (0, {"a": 0})],
                [True, (1, {"a": 2})],
            ]
            assert not session.run(there)
            with pytest.raises(tf.errors.InvalidArgumentError, match="The given optional does not have"):
                session.run(value)
            session.run(iterator.initializer)
            assert [session.run(chosen) for _ in range(3)] == [0, 1, -1]


def test_made_from_values_and_from_nothing() -> None:
    spec = tf.TensorSpec([], tf.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        one = tf.data.experimental.Optional.from_value(1.5)
        none = tf.data.experimental.Optional.none_from_structure(spec)
        assert one.value_structure == none.value_structure == spec
        assert session.run([one.has_value(), one.get_value(), none.has_value()]) == [True, 1.5, False]
        assert none.get_value().shape.as_list() == []
    assert OptionalSpec.from_value(none) == OptionalSpec(spec) == tf.data.experimental.OptionalStructure(spec)
    assert OptionalSpec(spec) != OptionalSpec(tf.TensorSpec([], tf.int32))
