"""Tensors and Examples in strings: the bytes, values and messages of TensorFlow 1.15.5."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.ops import encoding


def run(build: Any) -> Any:
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(build())


@pytest.mark.parametrize(
    ("value", "dtype", "serialized"),
    [
        (
            [[1, 2], [3, 4]],
            "float32",
            b'\x08\x01\x12\x08\x12\x02\x08\x02\x12\x02\x08\x02"\x10\0\0\x80?\0\0\0@\0\0@@\0\0\x80@',
        ),
        (5, "int64", b'\x08\t\x12\x00"\x08\x05\0\0\0\0\0\0\0'),
        ([b"a", b"bcd"], "string", b"\x08\x07\x12\x04\x12\x02\x08\x02B\x01aB\x03bcd"),
        (np.zeros((0, 3)), "float16", b"\x08\x13\x12\x06\x12\x00\x12\x02\x08\x03"),
        ([True, False], "bool", b'\x08\n\x12\x04\x12\x02\x08\x02"\x02\x01\0'),
        ([1 + 2j], "complex64", b'\x08\x08\x12\x04\x12\x02\x08\x01"\x08\0\0\x80?\0\0\0@'),
    ],
)
def test_tensors(value: Any, dtype: str, serialized: bytes) -> None:
    assert run(lambda: tf.serialize_tensor(tf.constant(value, dtype))) == serialized
    found = run(lambda: tf.io.parse_tensor(serialized, tf.as_dtype(dtype)))
    assert found.shape == np.shape(value)
    assert np.asarray(found).tolist() == np.asarray(value).tolist()


ONES = b"\x08\x01\x12\x04\x12\x02\x08\x02\x2d\x00\x00\x80\x3f"


def test_a_value_that_repeats() -> None:
    assert run(lambda: tf.parse_tensor(ONES, tf.float32)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("serialized", "message"),
    [
        (ONES, r"Type mismatch between parsed tensor \(float\) and dtype \(int32\)"),
        (b"bogus", "Could not parse `serialized` as TensorProto: 'bogus'"),
        (b"", "Cannot parse tensor from proto: "),
        ([b"a"], r"Expected `serialized` to be a scalar, got shape: \[1\]"),
    ],
)
def test_strings_that_are_no_tensor(serialized: Any, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(lambda: tf.parse_tensor(serialized, tf.int32))


@pytest.mark.parametrize(
    ("text", "dtype", "options", "expected"),
    [
        (["\x01\x02\x03\x04\x05"], "int16", {"fixed_length": 4}, [[513, 1027]]),
        (["\x01\x02\x03\x04\x05"], "int16", {"fixed_length": 6}, [[513, 1027, 5]]),
        ([["\x01\x02\x03"]], "uint8", {"fixed_length": 6}, [[[1, 2, 3, 0, 0, 0]]]),
        (["a", "bcd"], "uint8", {"fixed_length": 2}, [[97, 0], [98, 99]]),
        (["abcdefgh"], "int16", {"fixed_length": 4, "little_endian": False}, [[24930, 25444]]),
        (["a\0\0\0", "bcde"], "int16", {"fixed_length": 4}, [[97, 0], [25442, 25956]]),
        (["ab"], "int16", {}, [[25185]]),
    ],
)
def test_bytes_as_numbers(text: Any, dtype: str, options: dict[str, Any], expected: Any) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        found = encoding.decode_raw(text, tf.as_dtype(dtype), **options)
        assert found.dtype.name == dtype
        if options:
            assert found.shape.as_list() == list(np.shape(expected))
        assert session.run(found).tolist() == expected


def test_lengths_that_do_not_fit() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        for length, message in [
            (3, "Dimension size must be evenly divisible by 2 but is 3"),
            (-2, "Dimension size, given by scalar input 1, must be non-negative but is -2"),
            ([4], "Input must be scalar but has rank 1"),
        ]:
            with pytest.raises(ValueError, match=message):
                encoding.decode_raw(["a"], tf.int16, fixed_length=length)
        for fed, message in [
            (3, r"fixed_length \(3\) must be a multiple of the size of out_type \(2\)"),
            (-2, r"fixed_length \(-2\) must be greater than zero"),
            ([4], r"k must be scalar, got shape \[1\]"),
        ]:
            length = tf.placeholder_with_default(fed, None)
            found = encoding.decode_raw(["a"], tf.int16, fixed_length=length)
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                session.run(found)
    with pytest.raises(ValueError, match=r"decode_raw_v1\(\) missing 1 positional argument: 'out_type'"):
        tf.decode_raw(["a"])
    with pytest.raises(ValueError, match="Exactly one"):
        tf.decode_raw(out_type=tf.int16)


@pytest.mark.parametrize(
    ("text", "serialized"),
    [
        ("{}", b""),
        ('{"features": {}}', b"\n\x00"),
        (
            '{"features":{"feature":{"a":{"floatList":{"value":[1,2.5]}}}}}',
            b"\n\x13\n\x11\n\x01a\x12\x0c\x12\n\r\0\0\x80?\r\0\0 @",
        ),
        (
            '{"features":{"feature":{"a":{"float_list":{"value":[1]}}}}}',
            b"\n\x0e\n\x0c\n\x01a\x12\x07\x12\x05\r\0\0\x80?",
        ),
        (
            '{"features":{"feature":{"b":{"int64List":{"value":["1",2]}},"a":{"bytesList":{"value":["aGk="]}}}}}',
            b"\n\x1a\n\x0b\n\x01b\x12\x06\x1a\x04\x08\x01\x08\x02\n\x0b\n\x01a\x12\x06\n\x04\n\x02hi",
        ),
    ],
)
def test_examples_in_json(text: str, serialized: bytes) -> None:
    assert run(lambda: tf.decode_json_example([[text]])).tolist() == [[serialized]]


def test_examples_in_json_are_examples() -> None:
    text = json.dumps({"features": {"feature": {"a": {"int64List": {"value": [-1, 2]}}, "none": {}}}})
    features = {"a": tf.FixedLenFeature([2], tf.int64), "none": tf.VarLenFeature(tf.string)}
    found = run(lambda: tf.parse_example(tf.decode_json_example([text]), features))
    assert found["a"].tolist() == [[-1, 2]]
    assert found["none"].values.size == 0


@pytest.mark.parametrize(
    "text", ["{]", '{"x": 1}', "", " 3", '{"features":{"feature":{"a":{"int64List":{"value":[1.5]}}}}}']
)
def test_text_that_is_no_example(text: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="Error while parsing JSON: "):
        run(lambda: tf.decode_json_example([text]))
