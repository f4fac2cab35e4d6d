"""The ops that TensorFlow's tests of graphs use; importing this module declares them.

They can be built, imported and written; there is nothing to run.

Source: tensorflow/python/framework/test_ops.cc (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.compat.tensorflow.gen_ops import snake_case
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import OpFunction, op

# Name | inputs -> outputs | attributes | stateful
_OPS = """
KernelLabel | -> result: string
KernelLabelRequired | input: int32 -> result: string
GraphDefVersion | -> version: int32 |  | stateful
ResourceInitializedOp | resource: resource -> initialized: bool
ResourceCreateOp | resource: resource ->
ResourceUsingOp | resource: resource ->
TestStringOutput | input: float -> output1: float, output2: string
TestAttr | -> out: T | T: {float, double}
A | -> out: float32
B | -> out: float32
Foo1 | a: float32, b: int32, c: int32 -> d: float32, e: int32
Foo2 | a: float32, b: string, c: string -> d: float32, e: int32
Foo3 | a: float32, b: string, c: float32 -> d: float32, e: int32
CopyOp | a: T -> b: T | T: type
None | ->
IntOutput | -> a: int32
Int64Output | -> out: int64
RefOutput | -> a: Ref(int32)
FloatOutput | -> a: float32
TwoFloatOutputs | -> a: float32, b: float32
FiveFloatOutputs | -> a: float32, b: float32, c: float32, d: float32, e: float32
RefOutputFloatOutput | -> a: Ref(float32), b: float32
RefInputFloatInput | a: Ref(float), b: float ->
IntInput | a: int32 ->
IntInputIntOutput | a: int32 -> b: int32
FloatInput | a: float32 ->
TwoIntOutputs | -> a: int32, b: int32
IntOutputFloatOutput | -> a: int32, b: float32
FloatOutputStringOutput | -> a: float32, b: string
TwoIntInputs | a: int32, b: int32 ->
TwoFloatInputs | a: float32, b: float32 ->
IntInputFloatInput | a: int32, b: float32 ->
RefInputIntInput | a: Ref(int32), b: int32 ->
TwoFloatInputsFloatOutput | a: float32, b: float32 -> c: float32
TwoFloatInputsIntOutput | a: float32, b: float32 -> c: int32
RefInputFloatInputIntOutput | a: Ref(float32), b: float32 -> c: int32
ListInput | a: N * T -> | N: int >= 1; T: type
ListOutput | -> a: T | T: list(type) >= 1
Unary | a: T -> b: T | T: type
OpWithDefaultAttr | -> a: int32 | default_float: float = 123.0
OpWithFutureDefaultAttr | ->
IntAttr | -> out: int64 | foo: int = 1
StringListAttr | -> | a: list(string); b: string
FuncAttr | -> | f: func
Simple | a: int32 -> out: float
OutT | -> a: T | T: type
ReservedInput | input: int32 ->
Polymorphic | a: T -> out: T | T: type
PolymorphicOut | -> out: T | T: type
PolymorphicDefaultOut | -> out: T | T: type = DT_STRING
Binary | a: T, b: T -> out: T | T: type
Restrict | a: T -> out: T | T: {string, bool}
TypeList | a: T -> | T: list(type) >= 0
TypeListTwice | a: T, b: T -> | T: list(type) >= 0
OutTypeList | -> out: T | T: list(type) >= 0
TypeListRestrict | a: T -> | T: list({string, bool})
OutTypeListRestrict | -> out: t | t: list({string, bool})
Attr | -> | a: int
AttrFloat | -> | a: float
AttrBool | -> | a: bool
AttrBoolList | -> | a: list(bool)
AttrMin | -> | a: int >= 5
AttrListMin | -> | a: list(int) >= 2
AttrEnum | -> | a: {'apples', 'oranges'}
AttrEnumList | -> | a: list({'apples', 'oranges'})
AttrShape | -> | a: shape
AttrShapeList | -> | a: list(shape)
AttrPartialShape | -> | a: shape
AttrPartialShapeList | -> | a: list(shape)
AttrDefault | -> | a: string = 'banana'
AttrListDefault | -> | a: list(int) = [5, 15]
AttrEmptyListDefault | -> | a: list(float) = []
ReservedAttr | -> | range: int
AttrTypeDefault | a: T -> | T: type = DT_INT32
AttrListTypeDefault | a: N * T, b: N * T -> | T: type = DT_INT32; N: int
NIntsIn | a: N * int32 -> | N: int >= 2
NPolymorphicIn | a: N * T -> | T: type; N: int >= 2
NPolymorphicRestrictIn | a: N * T -> | T: {string, bool}; N: int >= 2
NInTwice | a: N * int32, b: N * string -> | N: int >= 0
NInPolymorphicTwice | a: N * T, b: N * T -> | T: type; N: int >= 0
NInTwoTypeVariables | a: N * S, b: N * T -> | S: type; T: type; N: int >= 0
InPolymorphicTwice | a: N * T, b: M * T -> | T: type; N: int >= 0; M: int >= 0
NIntsOut | -> a: N * int32 | N: int >= 2
NIntsOutDefault | -> a: N * int32 | N: int >= 2 = 3
NPolymorphicOut | -> a: N * T | T: type; N: int >= 2
NPolymorphicOutDefault | -> a: N * T | T: type = DT_BOOL; N: int >= 2 = 2
NPolymorphicRestrictOut | -> a: N * T | T: {string, bool}; N: int >= 2
RefIn | a: Ref(T) -> | T: type
TwoRefsIn | a: Ref(T), b: Ref(T) -> | T: type
RefOut | -> a: Ref(T) | T: type
SimpleStruct | -> a: n_a * int32 | n_a: int >= 0
MixedStruct | -> a: n_a * int32, b: float | n_a: int >= 0
ComplexStruct | -> a: n_a * int32, b: n_b * int64, c: t_c | n_a: int >= 0; n_b: int >= 0; t_c: list(type) >= 0
DevicePlacementOp | -> device: string |  | stateful
"""


def _declared(line: str) -> OpFunction:
    name, arguments, attrs, flag = [part.strip() for part in f"{line} | | |".split("|")[:4]]
    inputs, outputs = [side.strip() for side in arguments.split("->")]
    scalar = outputs and name in _SCALARS
    body = {"__doc__": f"{name} of the tests.", "shape": shapes.scalar if scalar else None}
    declare = op(
        name,
        _split(inputs),
        _split(outputs),
        [a.strip() for a in attrs.split(";") if a.strip()],
        stateful=flag == "stateful",
        graph_only=True,
    )
    return declare(type(name, (), body))


_SCALARS = ("DevicePlacementOp", "GraphDefVersion", "KernelLabel", "ResourceInitializedOp")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


_functions = {snake_case(f.op_type): f for f in map(_declared, _OPS.strip().splitlines())}


def __getattr__(name: str) -> Any:
    try:
        return _functions[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
