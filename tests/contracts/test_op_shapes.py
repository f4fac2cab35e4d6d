"""Every op has an example: its static shapes are its real shapes, and its gradient is its derivative.

An example is the arguments of the op; arrays of float64 are differentiated where it has a gradient.  All
dimensions differ, so that no mistake of order goes unseen.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import kvarn.ops
from kvarn import dtypes
from kvarn.graph import graph as graph_lib
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.op import NOT_DIFFERENTIABLE, OpFunction
from kvarn.graph.session import Session
from kvarn.testing.gradients import check_grad

# Modules whose ops need variables, tables, files or random numbers; they have tests of their own.
ELSEWHERE = frozenset(
    (
        "batch_norm",
        "candidate_sampling",
        "checkpoint",
        "control",
        "control_flow",
        "csv",
        "datasets",
        "encoding",
        "examples",
        "files",
        "functional",
        "image_resize",
        "incremental",
        "kv",
        "kv_group",
        "logging",
        "lookup",
        "matrices",
        "messages",
        "optionals",
        "queues",
        "random",
        "readers",
        "remapping",
        "resource_variable",
        "sequence_examples",
        "sets",
        "script",
        "sparse",
        "sparse_cross",
        "sparse_math",
        "sparse_serial",
        "sparse_shape",
        "stacks",
        "state",
        "string",
        "summary",
        "summary_writer",
        "tensor_array_ops",
        "tensor_list_joining",
        "tensor_list_ops",
        "training",
        "training_deeprec",
        "training_kv",
    )
)


def _own_ops() -> dict[str, OpFunction]:
    found: dict[str, OpFunction] = {}
    for module in kvarn.ops.MODULES:
        if module.split(".")[0] in ELSEWHERE:
            continue
        loaded = importlib.import_module(f"kvarn.ops.{module}")
        for value in vars(loaded).values():
            if isinstance(value, OpFunction) and value.__module__ == loaded.__name__:
                found[value.op_type] = value
    return found


OPS = _own_ops()

# A gradient that TensorFlow defines as none at all, as zero, or as not the derivative.
WITHOUT_DERIVATIVE = frozenset(
    (
        "ArgMax",
        "ArgMin",
        "Ceil",
        "Floor",
        "FloorDiv",
        "MaxPoolGrad",
        "MaxPoolGradGrad",
        # Of float32 only: they share everything with those of two dimensions.
        "MaxPool3D",
        "MaxPool3DGrad",
        "MaxPool3DGradGrad",
        "Rint",
        "Round",
        "Sign",
        "TruncateDiv",
        "PreventGradient",
        "SparseMatMul",
    )
)


def f(*shape: int, low: float = 0.2, high: float = 0.9, seed: int = 0) -> Any:
    """Distinct float64 numbers between low and high."""
    size = int(np.prod(shape))
    numbers = np.linspace(low, high, size) if size > 1 else np.array([(low + high) / 2])
    return np.random.default_rng(seed + size).permutation(numbers).reshape(shape)


def s(*shape: int) -> Any:
    """Distinct float64 numbers of both signs, none of them near zero."""
    x = f(*shape)
    return np.where(np.random.default_rng(1).random(shape) < 0.5, -x, x)


def i(*numbers: Any) -> Any:
    return np.array(numbers, np.int32)


_PAIR = (f(2, 3), f(2, 3, seed=5) + 0.3)
_WIDE = (f(2, 1, 3), f(4, 1, seed=5) + 0.3)
_SEGMENTS = i(0, 0, 1, 3)
_SPARSE = (f(5, 2), i(4, 0, 0, 3), _SEGMENTS)
_MASKS: dict[str, Any] = {
    "begin_mask": 2,
    "end_mask": 2,
    "ellipsis_mask": 0,
    "new_axis_mask": 4,
    "shrink_axis_mask": 1,
}
_SLICE = (i(1, 0, 0, 4), i(2, 0, 0, 0), i(1, 1, 1, -2))

_POOLED: dict[str, Any] = {"ksize": [1, 3, 2, 1], "strides": [1, 2, 1, 1], "padding": "SAME"}
_MAXIMA = f(2, 3, 4, 3)
_POOLED3D: dict[str, Any] = {"ksize": [1, 3, 2, 1, 1], "strides": [1, 2, 1, 1, 1], "padding": "SAME"}
_BLOCKS = f(2, 5, 4, 3, 2).astype(np.float32)

# op: examples, each the arguments or (arguments, attributes)
EXAMPLES: dict[str, list[Any]] = {
    # activation
    **{
        n: [(s(2, 3),)]
        for n in ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign", "Softmax", "LogSoftmax")
    },
    "LeakyRelu": [((s(2, 3),), {"alpha": 0.3})],
    "LeakyReluGrad": [((f(2, 3), s(2, 3)), {"alpha": 0.3})],
    **{
        n: [(f(2, 3), s(2, 3))]
        for n in ("ReluGrad", "Relu6Grad", "EluGrad", "SeluGrad", "SoftplusGrad", "SoftsignGrad")
    },
    # array
    "Const": [((), {"value": f(2, 3), "dtype": dtypes.float64})],
    "PlaceholderWithDefault": [((f(2, 3),), {"shape": [2, None]})],
    **{
        n: [(f(2, 3),)]
        for n in (
            "Identity",
            "StopGradient",
            "PreventGradient",
            "GuaranteeConst",
            "Snapshot",
            "Shape",
            "Size",
            "Rank",
        )
    },
    "CheckNumerics": [((f(2, 3),), {"message": "bad"})],
    "ZerosLike": [(f(2, 3),)],
    "OnesLike": [(f(2, 3),)],
    "IdentityN": [([f(2, 3), f(4)],), ([f(2, 3)],)],
    "ShapeN": [([f(2, 3), f(4)],), ([f(2, 3)],)],
    "Fill": [(i(2, 3), f())],
    "Reshape": [(f(2, 6), i(3, -1)), (f(2, 3, 4), i(-1))],
    "ExpandDims": [(f(2, 3), np.int32(1)), (f(2, 3), np.int32(-1))],
    "Squeeze": [(f(2, 1, 3, 1),), ((f(2, 1, 3, 1),), {"squeeze_dims": [-1]})],
    "Bitcast": [((f(2, 3),), {"type": dtypes.int32}), ((i(2, 3),), {"type": dtypes.int64})],
    "BroadcastGradientArgs": [(i(2, 1, 3), i(4, 1))],
    "BroadcastArgs": [(i(2, 1, 3), i(4, 1))],
    "BroadcastTo": [(f(2, 1), i(4, 2, 3))],
    # bitwise
    **{
        n: [(i(5, 3, -4), i(1, 2, 3))]
        for n in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift")
    },
    "Invert": [(i(5, 3),)],
    "PopulationCount": [(i(5, -3, 0),)],
    # clip
    "ClipByValue": [(f(2, 3), np.float64(0.3), np.float64(0.6))],
    # gather
    "Gather": [(f(5, 2), i(4, 0, 0))],
    "GatherV2": [
        (f(5, 2), i(4, 0, 0), np.int32(0)),
        (f(2, 5, 3), np.array([[4, 0], [1, 1], [2, 0], [3, 3]], np.int32), np.int32(1)),
        ((f(2, 5, 3), np.array([[4, 0, 1, 1], [2, 0, 3, 3]], np.int32), np.int32(1)), {"batch_dims": 1}),
    ],
    "GatherNd": [
        (f(2, 3, 4), np.array([[1, 2], [0, 0], [1, 2]], np.int32)),
        (f(5, 3), np.array([[4], [1], [1]], np.int32)),
    ],
    "ScatterNd": [(np.array([[4], [1], [4]], np.int32), f(3, 2), i(5, 2))],
    **{
        n: [(f(5, 2), np.array([[4], [1], [3]], np.int32), f(3, 2, seed=2))]
        for n in (
            "ScatterNdNonAliasingAdd",
            "TensorScatterUpdate",
            "TensorScatterAdd",
            "TensorScatterSub",
        )
    },
    "Unique": [(i(5, 1, 5),)],
    "UniqueWithCounts": [(i(5, 1, 5),)],
    "UniqueV2": [(np.array([[1, 2, 1], [3, 4, 3]], np.int32), i(1))],
    "UniqueWithCountsV2": [(np.array([[1, 2, 1], [3, 4, 3]], np.int32), i(1))],
    "ListDiff": [(i(5, 1, 7), i(1, 2))],
    "DynamicPartition": [
        ((f(4, 3), i(*places)), {"num_partitions": n}) for places, n in (((1, 0, 1, 1), 3), ((0, 0, 0, 0), 1))
    ],
    **{n: [([i(0, 3), i(2, 1, 4)], [f(2, 4), f(3, 4)])] for n in ("DynamicStitch", "ParallelDynamicStitch")},
    # joining
    "Pack": [
        ([f(2, 3), f(2, 3, seed=1), f(2, 3, seed=2), f(2, 3, seed=3)],),
        (([f(2, 3), f(2, 3, seed=1)],), {"axis": -1}),
    ],
    "Unpack": [((f(2, n, 4),), {"num": n, "axis": 1}) for n in (3, 1)],
    "ConcatV2": [([f(2, 3), f(2, 5)], np.int32(1)), ([f(2, 3), f(4, 3)], np.int32(-2))],
    "Concat": [(np.int32(1), [f(2, 3), f(2, 5)])],
    "ConcatOffset": [(np.int32(1), [i(2, 3), i(2, 5)])],
    "Split": [((np.int32(1), f(2, 6)), {"num_split": n}) for n in (3, 1)],
    "SplitV": [
        ((f(2, 6), i(*sizes), np.int32(1)), {"num_split": len(sizes)}) for sizes in ([1, -1, 2], [-1])
    ],
    # layout
    "Transpose": [(f(2, 3, 4), i(2, 0, 1))],
    "ConjugateTranspose": [(f(2, 3, 4), i(2, 0, 1))],
    "InvertPermutation": [(i(2, 0, 1),)],
    "Tile": [(f(2, 3), i(4, 2))],
    "Pad": [(f(2, 3), i([1, 2], [0, 3]))],
    "PadV2": [(f(2, 3), i([1, 2], [0, 3]), np.float32(0.5).astype(np.float64))],
    "MirrorPad": [((f(3, 4), i([1, 2], [0, 3])), {"mode": m}) for m in ("REFLECT", "SYMMETRIC")],
    "MirrorPadGrad": [((f(6, 7), i([1, 2], [0, 3])), {"mode": m}) for m in ("REFLECT", "SYMMETRIC")],
    "ReverseV2": [(f(2, 3, 4), i(0, 2))],
    "ReverseSequence": [((f(2, 4, 3), i(3, 1)), {"seq_dim": 1, "batch_dim": 0})],
    "MatrixDiag": [(f(2, 3),)],
    "MatrixDiagPart": [(f(2, 3, 4),), (f(2, 3, 3),)],
    "MatrixSetDiag": [(f(2, 4, 3), f(2, 3))],
    # linalg
    "MatMul": [
        ((f(*((3, 2) if a else (2, 3))), f(*((4, 3) if b else (3, 4)))), {"transpose_a": a, "transpose_b": b})
        for a in (False, True)
        for b in (False, True)
    ],
    "SparseMatMul": [(f(2, 3).astype(np.float32), f(3, 4).astype(np.float32))],
    "BatchMatMul": [
        ((f(5, *((3, 2) if a else (2, 3))), f(5, *((4, 3) if b else (3, 4)))), {"adj_x": a, "adj_y": b})
        for a in (False, True)
        for b in (False, True)
    ],
    "BatchMatMulV2": [(f(5, 2, 3), f(3, 4)), (f(5, 1, 2, 3), f(6, 3, 4)), (f(5, 2, 3), f(5, 3, 4))],
    # math
    **{
        n: [_PAIR, _WIDE]
        for n in [
            "Add",
            "AddV2",
            "Sub",
            "Mul",
            "MulNoNan",
            "Div",
            "RealDiv",
            "DivNoNan",
            "FloorDiv",
            "TruncateDiv",
            "Pow",
            "Maximum",
            "Minimum",
            "SquaredDifference",
            "Xlogy",
            "Xdivy",
            "Less",
            "LessEqual",
            "Greater",
            "GreaterEqual",
            "Equal",
            "NotEqual",
            "Mod",
            "TruncateMod",
            "Atan2",
        ]
    },
    "Atan2": [_PAIR],
    "NextAfter": [_PAIR],
    "FloorMod": [(f(2, 3) * 5, f(2, 3, seed=5) + 0.3)],
    "TruncateMod": [(i(5, -3), i(2, 2))],
    "Mod": [(i(5, -3), i(2, 2))],
    "ApproximateEqual": [_PAIR],
    "Neg": [(f(2, 3),)],
    "LogicalAnd": [(np.array([[True], [False]]), np.array([True, False, True]))],
    "LogicalOr": [(np.array([[True], [False]]), np.array([True, False, True]))],
    "LogicalNot": [(np.array([[True, False, True]]),)],
    "AddN": [([f(2, 3), f(2, 3, seed=1), f(2, 3, seed=2)],)],
    "AccumulateNV2": [(([f(2, 3), f(2, 3, seed=1)],), {"shape": [2, 3]})],
    "Cast": [((f(2, 3),), {"DstT": dtypes.int32}), ((f(2, 3),), {"DstT": dtypes.complex128})],
    # nn
    "BiasAdd": [(f(2, 4, 3), f(3)), ((f(2, 3, 4, 5), f(3)), {"data_format": "NCHW"})],
    "BiasAddV1": [(f(2, 4, 3), f(3))],
    "BiasAddGrad": [(f(2, 4, 3),), ((f(2, 3, 4, 5),), {"data_format": "NCHW"})],
    "SpaceToBatchND": [(f(2, 5, 4, 3), i(2, 3), np.array([[1, 0], [0, 2]], np.int32))],
    "BatchToSpaceND": [(f(12, 3, 2, 3), i(2, 3), np.array([[1, 0], [0, 2]], np.int32))],
    "Conv2D": [
        ((f(2, 5, 4, 3), f(3, 2, 3, 4)), {"strides": [1, 2, 1, 1], "padding": "SAME"}),
        (
            (f(2, 3, 7, 5), f(3, 2, 3, 4)),
            {"strides": [1, 1, 1, 2], "padding": "VALID", "data_format": "NCHW"},
        ),
        (
            (f(2, 5, 4, 3), f(3, 2, 3, 4)),
            {
                "strides": [1, 2, 1, 1],
                "padding": "EXPLICIT",
                "explicit_paddings": [0, 0, 1, 2, 0, 3, 0, 0],
                "dilations": [1, 2, 3, 1],
            },
        ),
    ],
    "Conv2DBackpropInput": [
        ((i(2, 5, 4, 3), f(3, 2, 3, 4), f(2, 3, 4, 4)), {"strides": [1, 2, 1, 1], "padding": "SAME"}),
        (
            (i(2, 3, 7, 5), f(3, 2, 3, 4), f(2, 4, 5, 2)),
            {"strides": [1, 1, 1, 2], "padding": "VALID", "data_format": "NCHW"},
        ),
    ],
    "Conv2DBackpropFilter": [
        ((f(2, 5, 4, 3), i(3, 2, 3, 4), f(2, 3, 4, 4)), {"strides": [1, 2, 1, 1], "padding": "SAME"}),
        (
            (f(2, 3, 7, 5), i(3, 2, 3, 4), f(2, 4, 5, 2)),
            {"strides": [1, 1, 1, 2], "padding": "VALID", "data_format": "NCHW"},
        ),
    ],
    "Conv3D": [
        ((f(2, 5, 4, 3, 2), f(3, 2, 1, 2, 4)), {"strides": [1, 2, 1, 1, 1], "padding": "SAME"}),
    ],
    "Conv3DBackpropInputV2": [
        (
            (i(2, 5, 4, 3, 2), f(3, 2, 1, 2, 4), f(2, 3, 4, 3, 4)),
            {"strides": [1, 2, 1, 1, 1], "padding": "SAME"},
        ),
    ],
    "Conv3DBackpropFilterV2": [
        (
            (f(2, 5, 4, 3, 2), i(3, 2, 1, 2, 4), f(2, 3, 4, 3, 4)),
            {"strides": [1, 2, 1, 1, 1], "padding": "SAME"},
        ),
    ],
    "DepthwiseConv2dNative": [
        ((f(2, 5, 4, 3), f(3, 2, 3, 2)), {"strides": [1, 2, 2, 1], "padding": "SAME"}),
        (
            (f(2, 3, 7, 5), f(3, 2, 3, 2)),
            {"strides": [1, 1, 2, 2], "padding": "VALID", "data_format": "NCHW"},
        ),
    ],
    "DepthwiseConv2dNativeBackpropInput": [
        ((i(2, 5, 4, 3), f(3, 2, 3, 2), f(2, 3, 2, 6)), {"strides": [1, 2, 2, 1], "padding": "SAME"}),
    ],
    "DepthwiseConv2dNativeBackpropFilter": [
        ((f(2, 5, 4, 3), i(3, 2, 3, 2), f(2, 3, 2, 6)), {"strides": [1, 2, 2, 1], "padding": "SAME"}),
    ],
    "MaxPool": [
        ((f(2, 5, 4, 3),), {"ksize": [1, 3, 2, 1], "strides": [1, 2, 1, 1], "padding": "SAME"}),
        (
            (f(2, 3, 5, 4),),
            {"ksize": [1, 1, 3, 2], "strides": [1, 1, 1, 2], "padding": "VALID", "data_format": "NCHW"},
        ),
    ],
    "MaxPoolGrad": [
        ((f(2, 5, 4, 3), _MAXIMA, f(2, 3, 4, 3)), _POOLED),
    ],
    "MaxPoolGradGrad": [
        ((f(2, 5, 4, 3), _MAXIMA, f(2, 5, 4, 3)), _POOLED),
    ],
    "MaxPool3D": [
        ((_BLOCKS,), _POOLED3D),
    ],
    "MaxPool3DGrad": [((_BLOCKS, _BLOCKS[:, ::2], _BLOCKS[:, ::2]), _POOLED3D)],
    "MaxPool3DGradGrad": [((_BLOCKS, _BLOCKS[:, ::2], _BLOCKS), _POOLED3D)],
    "AvgPool": [
        ((f(2, 5, 4, 3),), _POOLED),
        (
            (f(2, 3, 5, 4),),
            {"ksize": [1, 1, 3, 2], "strides": [1, 1, 1, 2], "padding": "VALID", "data_format": "NCHW"},
        ),
    ],
    "AvgPoolGrad": [((i(2, 5, 4, 3), f(2, 3, 4, 3)), _POOLED)],
    "AvgPool3D": [
        ((f(2, 5, 4, 3, 2),), _POOLED3D),
    ],
    "AvgPool3DGrad": [
        (
            (i(2, 5, 4, 3, 2), f(2, 3, 4, 3, 2)),
            _POOLED3D,
        ),
    ],
    "L2Loss": [(f(2, 3),)],
    "SoftmaxCrossEntropyWithLogits": [(f(2, 3), np.array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]]))],
    "SparseSoftmaxCrossEntropyWithLogits": [(f(2, 3), i(2, 0))],
    "TopK": [((f(2, 5),), {"k": 3})],
    "TopKV2": [(f(4, 2, 5), np.int32(3))],
    "InTopK": [((f(2, 3).astype(np.float32), i(0, 2)), {"k": 1})],
    "InTopKV2": [(f(2, 3).astype(np.float32), i(0, 2), np.int32(1))],
    # ranges
    "Range": [(np.int32(2), np.int32(11), np.int32(3)), (np.float64(0.0), np.float64(1.0), np.float64(0.3))],
    "LinSpace": [(np.float64(0.0), np.float64(1.0), np.int32(4))],
    # reduction
    **{
        n: [(f(2, 3, 4), i(1)), ((f(2, 3, 4), i(0, -1)), {"keep_dims": True}), (f(2, 3), i(0, 1))]
        for n in ("Sum", "Mean", "Prod", "Max", "Min", "EuclideanNorm")
    },
    "All": [(np.ones((2, 3, 4), np.bool_), i(1))],
    "Any": [((np.ones((2, 3, 4), np.bool_), i(1)), {"keep_dims": True})],
    "ArgMax": [(f(2, 3, 4), np.int32(1))],
    "ArgMin": [(f(2, 3, 4), np.int32(-1))],
    **{
        n: [
            ((f(2, 3, 4), np.int32(1)), {"exclusive": e, "reverse": r})
            for e in (False, True)
            for r in (False, True)
        ]
        for n in ("Cumsum", "Cumprod")
    },
    # data_format
    "DataFormatDimMap": [(i(0, -1, 3),)],
    "DataFormatVecPermute": [(i(7, 4, 9, 3),), (i([7, 4], [9, 3], [4, 5], [5, 1]),)],
    # segment
    **{
        n: [(f(4, 2), _SEGMENTS)]
        for n in ("SegmentSum", "SegmentMean", "SegmentProd", "SegmentMax", "SegmentMin")
    },
    **{
        n: [
            (f(4, 2), i(3, 0, -1, 0), np.int32(5)),
            (f(2, 3, 4), np.array([[3, 0, -1], [0, 1, 1]], np.int32), np.int32(4)),
        ]
        for n in ("UnsortedSegmentSum", "UnsortedSegmentProd")
    },
    # No segment without rows: its value is the limit of the type.
    **{n: [(f(4, 3), i(1, 0, -1, 0), np.int32(2))] for n in ("UnsortedSegmentMax", "UnsortedSegmentMin")},
    **{n: [_SPARSE] for n in ("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN")},
    **{f"SparseSegment{n}WithNumSegments": [(*_SPARSE, np.int32(6))] for n in ("Sum", "Mean", "SqrtN")},
    **{
        f"SparseSegment{n}Grad": [(f(4, 2), i(4, 0, 0, 3), _SEGMENTS, np.int32(5))] for n in ("Mean", "SqrtN")
    },
    # manip
    "Roll": [(f(3, 4), i(1, -2), i(1, 0)), (f(3, 4), np.int32(2), np.int32(-1))],
    # search
    "LowerBound": [(np.array([[1, 3, 3], [2, 4, 9]]), np.array([[3, 0], [4, 10]]))],
    "UpperBound": [((np.array([[1, 3, 3]]), np.array([[3, 0]])), {"out_type": dtypes.int64})],
    "Bucketize": [((f(2, 3),), {"boundaries": [0.3, 0.5]})],
    "HistogramFixedWidth": [(f(2, 3), np.array([0.0, 1.0]), np.int32(4))],
    # special
    "Digamma": [(f(2, 3),), (f(2, 3) - 3.0,)],
    "Polygamma": [(np.array([[1.0], [3.0]]), f(3))],
    "Zeta": [(np.array([[2.0], [3.0]]), f(3))],
    # selection
    "Where": [(np.array([[True, False, True], [False, True, True]]),)],
    "Select": [
        (np.array([[True, False, True], [False, True, True]]), f(2, 3), f(2, 3, seed=1)),
        (np.array([True, False]), f(2, 3), f(2, 3, seed=1)),
    ],
    "SelectV2": [(np.array([[True], [False]]), f(2, 3), f(3, seed=1))],
    "OneHot": [(np.array([[1, 0, 2]], np.int32), np.int32(4), np.float64(1.0), np.float64(0.0))],
    # slicing
    "Slice": [(f(4, 5), i(1, 2), i(2, -1))],
    "StridedSlice": [((f(3, 4, 5), *_SLICE), _MASKS)],
    "StridedSliceGrad": [((i(3, 4, 5), *_SLICE, f(4, 1, 2)), _MASKS)],
    # unary
    **{
        n: [(f(2, 3),)]
        for n in [
            "Square",
            "Sqrt",
            "Rsqrt",
            "Exp",
            "Expm1",
            "Log",
            "Log1p",
            "Sin",
            "Cos",
            "Tan",
            "Asin",
            "Acos",
            "Atan",
            "Sinh",
            "Cosh",
            "Tanh",
            "Sigmoid",
            "Erf",
            "Erfc",
            "Lgamma",
            "Floor",
            "Ceil",
            "Round",
            "Rint",
            "Reciprocal",
            "Inv",
            "IsNan",
            "IsInf",
            "IsFinite",
            "Sign",
        ]
    },
    "Abs": [(s(2, 3),)],
    "Acosh": [(f(2, 3) + 1.5,)],
    **{n: [_PAIR] for n in ("SqrtGrad", "RsqrtGrad", "TanhGrad", "SigmoidGrad", "ReciprocalGrad", "InvGrad")},
    "Complex": [((f(2, 3), f(2, 3, seed=1)), {"Tout": dtypes.complex128})],
    "ComplexAbs": [((f(2, 3) + 1j * f(2, 3, seed=1),), {"Tout": dtypes.float64})],
    "Conj": [(f(2, 3) + 1j * f(2, 3, seed=1),)],
    "Real": [((f(2, 3) + 1j * f(2, 3, seed=1),), {"Tout": dtypes.float64})],
    "Imag": [((f(2, 3) + 1j * f(2, 3, seed=1),), {"Tout": dtypes.float64})],
}

# These need a variable; the tests of variables run them.  Placeholders have no value.
NO_EXAMPLE = frozenset(("Placeholder", "RefIdentity", "ResourceStridedSliceAssign", "StridedSliceAssign"))


def _cases() -> list[Any]:
    return [
        pytest.param(name, example, id=f"{name}-{n}")
        for name in OPS
        for n, example in enumerate(EXAMPLES.get(name, []))
    ]


def _split(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if len(example) == 2 and isinstance(example[1], dict):
        return example
    return example, {}


def _converted(args: Any) -> list[Any]:
    return [[constant(x) for x in a] if isinstance(a, list) else constant(a) for a in args]


def _outputs(made: Any) -> list[Any]:
    return list(made) if isinstance(made, (list, tuple)) else [made]


@pytest.fixture(autouse=True)
def graphs_old_enough_for_every_op(monkeypatch):
    monkeypatch.setattr(graph_lib, "GRAPH_DEF_VERSION", 1)


def test_every_op_has_an_example():
    missing = sorted(n for n in OPS if not EXAMPLES.get(n) and n not in NO_EXAMPLE)
    assert not missing
    assert not set(EXAMPLES) - set(OPS)


@pytest.mark.parametrize(("name", "example"), _cases())
def test_static_shape_is_real_shape(name, example):
    args, attrs = _split(example)
    with Graph().as_default() as graph:
        tensors = _outputs(OPS[name](*_converted(args), **attrs))
        with Session(graph=graph) as session:
            values = session.run(tensors)
    for tensor, value in zip(tensors, values, strict=True):
        static = tensor.static_shape
        assert static is not None
        assert len(static) == np.ndim(value)
        for known, real in zip(static, np.shape(value), strict=True):
            assert known in (None, real)
        assert np.asarray(value).dtype == tensor.dtype.np


def _with_gradient() -> list[Any]:
    return [
        pytest.param(name, example, id=f"{name}-{n}")
        for name, function in OPS.items()
        if function._grad not in (None, NOT_DIFFERENTIABLE) and name not in WITHOUT_DERIVATIVE
        for n, example in enumerate(EXAMPLES.get(name, []))
    ]


@pytest.mark.parametrize(("name", "example"), _with_gradient())
def test_gradient_is_derivative(name, example):
    from kvarn.ops.unary import complex, imag, real

    args, attrs = _split(example)
    flat: list[Any] = []
    for a in args:
        for x in a if isinstance(a, list) else [a]:
            flat.extend([np.real(x), np.imag(x)] if np.iscomplexobj(x) else [x])

    def build(*tensors: Any) -> Any:
        pieces = iter(tensors)

        def take(x: Any) -> Any:
            return complex(next(pieces), next(pieces)) if np.iscomplexobj(x) else next(pieces)

        given = [[take(x) for x in a] if isinstance(a, list) else take(a) for a in args]
        outputs = _outputs(OPS[name](*given, **attrs))
        if name.endswith("SoftmaxCrossEntropyWithLogits"):
            # The second output is a gradient; TensorFlow differentiates it further only for the logits,
            # or not.
            outputs = outputs[:1]
        return [part for t in outputs for part in ([real(t), imag(t)] if t.dtype.is_complex else [t])]

    checked = check_grad(build, flat)
    unchecked = {"Cast": attrs.get("DstT") is dtypes.int32}
    assert checked or unchecked.get(name, False)
