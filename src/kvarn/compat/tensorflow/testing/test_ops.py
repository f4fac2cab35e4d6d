"""The ops that TensorFlow's tests of graphs use; importing this module declares them.

Most can be built, imported and written, and there is nothing to run; a few say what ran them.

Source: tensorflow/python/framework/test_ops.cc (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn.compat.tensorflow.gen_ops import snake_case
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import OpFunction, op

# Name | inputs -> outputs | attributes | stateful
_OPS = """
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
FuncListAttr | -> | f: list(func)
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
    scalar = name == "DevicePlacementOp"
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


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


_functions = {snake_case(f.op_type): f for f in map(_declared, _OPS.strip().splitlines())}


# -- operations that run ----------------------------------------------------------------------------


def _label(ctx: Any) -> Any:
    return np.array(b"My label is: " + (ctx.op.attrs.get("_kernel") or b"default"), dtype=object)


@op("KernelLabel", outputs="result: string")
class kernel_label:
    """The label of the kernel that was asked for."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _label(ctx)


@op("KernelLabelRequired", inputs="input: int32", outputs="result: string")
class kernel_label_required:
    """The same of kernels that all have labels; input is of rank 1."""

    def shape(c: Any, input: Any) -> Any:
        shapes.with_rank(input, 1)
        return ()

    def kernel(ctx: Any, input: Any) -> Any:
        return _label(ctx)


@op("GraphDefVersion", outputs="version: int32", stateful=True)
class graph_def_version:
    """The producer version of the graph."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return np.int32(ctx.op.graph.graph_def_versions.producer)


@op("Old", deprecated=(8, "For reasons"))
class old:
    """Does nothing, in graphs of versions before 8."""

    shape = shapes.no_outputs

    def kernel(ctx: Any) -> None:
        return None


@op(
    "StubResourceHandleOp",
    outputs="resource: resource",
    attrs=["container: string = ''", "shared_name: string = ''"],
    stateful=True,
)
class stub_resource_handle_op:
    """The handle of a resource that is nothing but there."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return ctx.handle("StubResource")


@op("ResourceCreateOp", inputs="resource: resource")
class resource_create_op:
    """Makes the resource of a handle."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, resource: Any) -> None:
        ctx.resources.create(resource, object())


@op("ResourceInitializedOp", inputs="resource: resource", outputs="initialized: bool")
class resource_initialized_op:
    """Whether the resource is there."""

    shape = shapes.scalar

    def kernel(ctx: Any, resource: Any) -> Any:
        return np.bool_(ctx.resources.find(resource) is not None)


@op(
    "DefaultAttrs",
    attrs=[
        "string_val: string = 'abc'",
        "string_list_val: list(string) = ['abc', '']",
        "int_val: int = 123",
        "int_list_val: list(int) = [1, 2, 3]",
        "float_val: float = 10.0",
        "float_list_val: list(float) = [10.0]",
        "bool_val: bool = true",
        "bool_list_val: list(bool) = [true, false]",
        "type_val: type = DT_INT32",
        "type_list_val: list(type) = [DT_INT32, DT_FLOAT]",
        "shape_val: shape = { dim { size: 2 } dim { size: 1 } }",
        "shape_list_val: list(shape) = [{}, { dim { size: 1 } }]",
        "tensor_val: tensor = { dtype: DT_INT32 tensor_shape: {} int_val: 1 }",
        "tensor_list_val: list(tensor) = [{ dtype: DT_INT32 tensor_shape: {} int_val: 1 }]",
    ],
    graph_only=True,
)
class default_attrs:
    """Attributes of all kinds with defaults."""

    shape = shapes.no_outputs


def __getattr__(name: str) -> Any:
    try:
        return _functions[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
