"""Attributes that TensorFlow 2.x gives to ops of 1.15.

A GraphDef of a later TensorFlow has them on every node, and a frozen graph does not say what their defaults are,
which 1.15 would need in order to read it.  At its default, such an attribute says what the op does anyway.

Source: the op definitions of TensorFlow 2.21 beside those of 1.15.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from kvarn.graph import attr_value

_SEGMENTS: Final = """
    SparseSegmentMean SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments
    SparseSegmentSum SparseSegmentSumWithNumSegments
"""
_INT32: Final = 3

# (attribute, its type, its default, the ops that have it)
_TABLE: Final[tuple[tuple[str, str, Any, str], ...]] = (
    ("allow_missing_files", "bool", False, "MergeV2Checkpoints"),
    ("allowed_devices", "list(string)", [], "VarHandleOp"),
    ("bad_indices_policy", "string", b"", """
        GatherNd ResourceScatterNdAdd ResourceScatterNdSub ResourceScatterNdUpdate ScatterNd ScatterNdAdd
        ScatterNdNonAliasingAdd ScatterNdSub ScatterNdUpdate TensorScatterAdd TensorScatterSub TensorScatterUpdate
    """),
    ("index_type", "type", _INT32, "TopKV2"),
    ("multiply_linear_by_lr", "bool", False, """
        ApplyFtrl ApplyFtrlV2 ResourceApplyFtrl ResourceApplyFtrlV2 ResourceSparseApplyFtrl
        ResourceSparseApplyFtrlV2 SparseApplyFtrl SparseApplyFtrlV2
    """),
    ("offset", "int", 0, "InitializeTableFromTextFile InitializeTableFromTextFileV2"),
    ("shape_type", "type", _INT32, "ConcatOffset"),
    ("sparse_gradient", "bool", False, _SEGMENTS),
    ("Tk", "type", _INT32, "TopKV2"),
    ("Tsegmentids", "type", _INT32, _SEGMENTS + "SparseSegmentMeanGrad SparseSegmentSqrtNGrad"),
    ("validate_shape", "bool", False, "AssignVariableOp"),
)  # fmt: skip

# Those that only serve messages or say that the op is part of a gradient say nothing, whatever their value.
_LABELS: Final = frozenset(
    (
        ("BatchMatMul", "grad_x"), ("BatchMatMul", "grad_y"), ("BatchMatMulV2", "grad_x"),
        ("BatchMatMulV2", "grad_y"), ("MatMul", "grad_a"), ("MatMul", "grad_b"), ("VarHandleOp", "debug_name"),
    )
)  # fmt: skip


def says_nothing(op_type: str, name: str, value: Any) -> bool:
    """Whether a node means the same without an attribute that 1.15 does not know.

    Args:
      op_type: the node's op.
      name: of the attribute.
      value: an AttrValue message.
    """
    if (op_type, name) in _LABELS:
        return True
    default = _defaults().get((op_type, name))
    return default is not None and bool(value == default)


@cache
def _defaults() -> dict[tuple[str, str], Any]:
    return {
        (op_type, name): attr_value.to_attr_value(default, kind)
        for name, kind, default, ops in _TABLE
        for op_type in ops.split()
    }
