"""Values and TensorProtos: what TensorFlow makes of Python values, and every encoding it may write."""

from __future__ import annotations

import base64
import json
import pathlib
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kvarn import dtypes, protos
from kvarn.graph import convert, tensor_util
from kvarn.graph.graph import Graph
from kvarn.graph.tensor_proto import IN_CONTENT, TensorValue
from kvarn.graph.tensor_shape import Dimension, TensorShape

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "graphs"
RECORDED = json.loads((GOLDEN / "make_tensor_proto.json").read_text())
CONSTS = json.loads((GOLDEN / "graph_consts" / "expected.json").read_text())

TF = types.SimpleNamespace(
    make_tensor_proto=tensor_util.make_tensor_proto,
    TensorShape=TensorShape,
    Dimension=Dimension,
    **{name: value for name, value in vars(dtypes).items() if isinstance(value, dtypes.DType)},
)


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["call"])
def test_make_tensor_proto_does_what_tensorflow_does(case: dict) -> None:
    names = {"tf": TF, "np": np}
    if "error" in case:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the class is compared below
            eval(case["call"], names)
        assert (type(caught.value).__name__, str(caught.value)) == (case["error"], case["text"])
    else:
        assert protos.serialize(eval(case["call"], names)) == base64.b64decode(case["proto"])


@pytest.fixture(scope="module")
def expected_arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "graph_consts" / "expected.npz") as data:
        return dict(data)


@pytest.mark.parametrize(("file", "key"), [("graph.pb", "tensors"), ("py_consts.pb", "py_consts")])
def test_every_encoding_of_a_constant_is_read_and_written_again(
    file: str, key: str, expected_arrays: dict[str, np.ndarray]
) -> None:
    graph_def = protos.GraphDef.FromString((GOLDEN / "graph_consts" / file).read_bytes())
    constants = {node.name: node.attr["value"].tensor for node in graph_def.node}
    assert len(CONSTS[key]) == len(constants)
    for case in CONSTS[key]:
        proto = constants[case["name"]]
        value = TensorValue.from_proto(proto)
        assert value.to_proto() == proto, case["name"]
        array = tensor_util.MakeNdarray(proto)
        assert array.flags.writeable
        assert list(array.shape) == case["shape"]
        assert protos.DataType.Name(value.dtype.as_datatype_enum) == case["dtype"]
        if "array" in case:
            start, count = case["offset"], int(np.prod(case["shape"], dtype=int))
            want = expected_arrays[case["array"]][start : start + count]
            assert array.tobytes() == want.tobytes(), case["name"]
        else:
            assert array.ravel().tolist() == [base64.b64decode(s) for s in case["strings_b64"]]


ELEMENTS = st.sampled_from(
    ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "f2", "c8", "c16"]
)


@given(ELEMENTS.flatmap(lambda t: npst.arrays(t, npst.array_shapes(min_dims=0, min_side=0, max_side=3))))
def test_arrays_survive_the_proto_bit_for_bit(array: np.ndarray) -> None:
    back = tensor_util.MakeNdarray(tensor_util.make_tensor_proto(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    # Typed fields of floats pass through doubles, which quiets a signalling NaN.
    np.testing.assert_array_equal(back, array)


@given(st.lists(st.binary(max_size=5), max_size=4))
def test_strings_keep_their_zeros(values: list[bytes]) -> None:
    proto = tensor_util.make_tensor_proto(values, dtype=dtypes.string)
    assert tensor_util.MakeNdarray(proto).tolist() == values


def test_other_byte_orders_are_stored_right() -> None:
    proto = tensor_util.make_tensor_proto(np.array([1, 2], ">i4"))
    assert proto.tensor_content == b"\1\0\0\0\2\0\0\0"


def test_a_splat_takes_no_memory_and_one_value() -> None:
    value = tensor_util.to_tensor_value(1.5, shape=[1 << 20, 1 << 20])
    assert value.shape == (1 << 20, 1 << 20)
    assert list(value.to_proto().float_val) == [1.5]


def test_constants_do_not_see_later_changes_of_the_array() -> None:
    array = np.zeros(3, np.float32)
    value = tensor_util.to_tensor_value(array)
    array[:] = 1
    assert value.array.tolist() == [0, 0, 0]
    assert not value.array.flags.writeable


def test_content_counts_as_stored_in_content() -> None:
    proto = tensor_util.make_tensor_proto([1.0, 2.0])
    assert TensorValue.from_proto(proto).stored == IN_CONTENT


def test_equal_values_are_equal_however_they_are_stored() -> None:
    full = TensorValue(np.full(3, 2.0, np.float32))
    splat = tensor_util.to_tensor_value(2.0, shape=[3])
    assert full == splat
    assert full != TensorValue(np.full(3, 2.0, np.float64))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            'dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: "abc"',
            "has 3 bytes instead of 8",
        ),
        (
            "dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1 float_val: 2",
            "more than its 1 elem",
        ),
        ("dtype: DT_FLOAT tensor_shape { dim { size: -1 } }", "no definite shape"),
        ("dtype: DT_FLOAT tensor_shape { unknown_rank: true }", "no definite shape"),
        ("dtype: DT_COMPLEX64 tensor_shape { } scomplex_val: 1", "without an imaginary one"),
        ("dtype: DT_HALF tensor_shape { } half_val: 70000", "not 16 bits wide"),
        ('dtype: DT_STRING tensor_shape { } tensor_content: "abc"', "instead of none"),
    ],
)
def test_a_proto_that_contradicts_itself_is_refused(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        tensor_util.MakeNdarray(protos.from_text(text, protos.TensorProto()))


def test_resources_have_no_array() -> None:
    with pytest.raises(TypeError, match="Unsupported tensor type: 20"):
        tensor_util.MakeNdarray(protos.TensorProto(dtype=20))


def test_shape_equals() -> None:
    proto = tensor_util.make_tensor_proto([[1, 2]])
    assert tensor_util.ShapeEquals(proto, [1, 2])
    assert tensor_util.ShapeEquals(proto, proto.tensor_shape)
    assert not tensor_util.ShapeEquals(proto, (2, 1))
    with pytest.raises(TypeError, match="shape is not a list or tuple"):
        tensor_util.ShapeEquals(proto, 3)
    with pytest.raises(TypeError, match=r"not a tensor_pb2.TensorProto"):
        tensor_util.ShapeEquals(3, [3])


def test_lists_of_tensors_are_no_values() -> None:
    with Graph().as_default():
        tensor = convert.constant(1, name="c")
        with pytest.raises(TypeError, match="List of Tensors when single Tensor expected"):
            tensor_util.make_tensor_proto([tensor])
        with pytest.raises(
            TypeError, match=r"Expected int32, got <tf.Tensor 'c:0' shape=\(\) dtype=int32> of type"
        ):
            tensor_util.make_tensor_proto([tensor], dtype=dtypes.int32)


def _op(op_type: str, *inputs: object, **attrs: object) -> object:
    graph = inputs[0].graph
    return graph.create_op(op_type, list(inputs), attrs=attrs).outputs[0]


def test_constant_value_folds_what_the_graph_tells() -> None:
    with Graph().as_default() as graph:
        two = convert.constant(2)
        floats = convert.constant([1.5, 2.5])
        placeholder = graph.create_op("Placeholder", [], attrs={"dtype": dtypes.float32, "shape": (3, None)})
        x = placeholder.outputs[0]
        assert tensor_util.constant_value(floats).tolist() == [1.5, 2.5]
        assert tensor_util.constant_value(x) is None
        assert tensor_util.constant_value("text") == "text"
        assert tensor_util.constant_value(
            _op("Cast", floats, SrcT=dtypes.float32, DstT=dtypes.int32)
        ).tolist() == [1, 2]
        assert tensor_util.constant_value(_op("Rank", x, T=dtypes.float32)) == 2
        assert tensor_util.constant_value(_op("Shape", x, T=dtypes.float32)) is None
        assert tensor_util.constant_value(_op("Shape", floats, T=dtypes.float32)).tolist() == [2]
        assert tensor_util.constant_value(_op("Size", floats, T=dtypes.float32)) == 2
        pack = _op("Pack", two, two, N=2, T=dtypes.int32, axis=0)
        assert tensor_util.constant_value(pack).tolist() == [2, 2]
        assert not graph.is_feedable(pack)
        assert graph.is_feedable(x)


def test_shape_functions_may_look_without_consequences() -> None:
    with Graph().as_default() as graph:
        floats = convert.constant([1.5, 2.5])
        shape = _op("Shape", floats, T=dtypes.float32)
        cast = _op("Cast", shape, SrcT=dtypes.int32, DstT=dtypes.int64)
        assert tensor_util.known_value(cast).tolist() == [2]
        assert tensor_util.known_shape(cast).as_tuple() == (2,)
        assert graph.is_feedable(cast)
        assert graph.is_feedable(shape)
        tensor_util.constant_value(cast)
        assert not graph.is_feedable(cast)
        assert not graph.is_feedable(shape)


def test_constant_value_is_a_copy() -> None:
    with Graph().as_default():
        tensor = convert.constant([1, 2])
        tensor_util.constant_value(tensor)[0] = 7
        assert tensor_util.constant_value(tensor).tolist() == [1, 2]


def test_constant_value_as_shape() -> None:
    with Graph().as_default() as graph:
        x = graph.create_op("Placeholder", [], attrs={"dtype": dtypes.int32, "shape": (4, None)}).outputs[0]
        scalar = graph.create_op("Placeholder", [], attrs={"dtype": dtypes.int32, "shape": ()}).outputs[0]
        vector = graph.create_op("Placeholder", [], attrs={"dtype": dtypes.int32, "shape": (2,)}).outputs[0]
        five = convert.constant(5)
        as_tuple = lambda t: tensor_util.constant_value_as_shape(t).as_tuple()  # noqa: E731
        assert as_tuple(convert.constant([2, -1])) == (2, None)
        assert as_tuple(convert.constant([], dtypes.int32)) == ()
        assert as_tuple(convert.constant(-1)) is None
        assert as_tuple(vector) == (None, None)
        assert as_tuple(_op("Shape", x, T=dtypes.int32)) == (4, None)
        pack = _op("Pack", five, scalar, N=2, T=dtypes.int32, axis=0)
        assert as_tuple(pack) == (5, None)
        zero = convert.constant(0)
        both = _op("ConcatV2", pack, convert.constant([7]), zero, N=2, T=dtypes.int32, Tidx=dtypes.int32)
        assert as_tuple(both) == (5, None, 7)
        with pytest.raises(ValueError, match="Received a scalar with unknown value as shape"):
            tensor_util.constant_value_as_shape(scalar)
        with pytest.raises(ValueError, match="Received a scalar value '5' as shape"):
            tensor_util.constant_value_as_shape(five)
