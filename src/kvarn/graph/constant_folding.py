"""What a run computes from constants alone is computed once, when its plan is made.

(What shape functions ask for while a graph is built is in `folding`.)  Products with constant zeros become
zeros there, whatever the other factor is: a program whose other factor cannot be computed runs in
TensorFlow, and has to run here.

Source: tensorflow/core/grappler/optimizers/constant_folding.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import numpy as np

from kvarn import dtypes, protos
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor

# What is folded stays in memory as long as its plan: results of this many bytes, or no larger than the inputs.
_MAX_CONSTANT_BYTES: Final = 100 * 1024

# They look at files, which may change between runs.
_OF_FILES: Final = ("Save", "Restore", "Read", "File")

_PRODUCTS: Final = frozenset({"Mul", "MatMul", "BatchMatMul", "BatchMatMulV2"})


def is_off(config: Any) -> bool:
    """Whether a ConfigProto (or None) asks to run the graph as it is."""
    if config is None:
        return False
    options = config.graph_options
    rewrite = options.rewrite_options
    return bool(
        rewrite.disable_meta_optimizer
        or rewrite.constant_folding == protos.RewriterConfig.OFF
        or options.optimizer_options.opt_level < 0
    )


def fold(
    order: Sequence[Operation],
    fed: Collection[Tensor],
    kept: Collection[Operation],
    evaluate: Callable[[Operation, list[Any]], Sequence[Any]],
) -> dict[Tensor, Any]:
    """The values of tensors that depend on constants alone.

    Args:
      order: the operations of a run, each after its inputs.
      fed: tensors that are given; what depends on them is not constant.
      kept: operations that are to run all the same.
      evaluate: gives the results of an operation with these inputs.  What it raises is left to the run.
    """
    constants: dict[Tensor, Any] = {}
    folded: dict[Tensor, Any] = {}
    for op in order:
        if op.type == "Const":
            tensor = op._outputs[0]
            if tensor not in fed:
                constants[tensor] = op.attrs["value"].array
            continue
        inputs = op._inputs
        if not inputs or not any(x in constants for x in inputs) or op in kept or not _is_foldable(op, fed):
            continue
        results: Sequence[Any] | None
        if all(x in constants for x in inputs):
            try:
                results = evaluate(op, [constants[x] for x in inputs])
            except Exception:
                continue  # The run says what is wrong, if it gets there.
            size = sum(_bytes(r) for r in results)
            if size > max(_MAX_CONSTANT_BYTES, sum(_bytes(constants[x]) for x in inputs)):
                continue
        else:
            results = _zero_product(op, constants)
            if results is None:
                continue
        for tensor, value in zip(op._outputs, results, strict=True):
            constants[tensor] = folded[tensor] = value
    return folded


def _is_foldable(op: Operation, fed: Collection[Tensor]) -> bool:
    registration = op.registration
    return (
        bool(op._outputs)
        and not op.type.startswith("Placeholder")
        and registration.kernel is not None
        and not registration.op_def.is_stateful
        and not registration.is_function_op
        and not any(part in op.type for part in _OF_FILES)
        and not any(_is_handle(x) for x in (*op._inputs, *op._outputs))
        and not any(x in fed for x in op._outputs)
    )


def _is_handle(x: Tensor) -> bool:
    return x.dtype.is_ref or x.dtype in (dtypes.variant, dtypes.resource)


def _bytes(value: Any) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else 0


def _zero_product(op: Operation, constants: dict[Tensor, Any]) -> Sequence[Any] | None:
    """Zeros for a product with zeros, if its shape is known."""
    output = op._outputs[0]
    shape = output._shape
    if op.type not in _PRODUCTS or shape is None or None in shape:
        return None
    factor = next(constants[x] for x in op._inputs if x in constants)
    if not isinstance(factor, np.ndarray) or factor.size == 0 or np.any(factor):
        return None
    known = tuple(int(n or 0) for n in shape)
    if int(np.prod(known)) * factor.itemsize > max(_MAX_CONSTANT_BYTES, factor.nbytes):
        return None
    return [np.zeros(known, factor.dtype)]
