"""Transforms that compute other weights: batch norms go into those of the layer before, values are rounded.

Source: tensorflow/tools/graph_transforms/fold_batch_norms.cc, fold_old_batch_norms.cc and round_weights.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph.transforms.matching import Match, Pattern, replace_matching
from kvarn.graph.transforms.node_defs import constant, copy_of, graph_def_of, value_of
from kvarn.graph.transforms.parameters import Context

_ANY, _CONST = Pattern("*"), Pattern("Const")
_CONV = Pattern("Conv2D|DepthwiseConv2dNative", (_ANY, _CONST))
_LAYER = Pattern("Conv2D|MatMul|DepthwiseConv2dNative", (_ANY, _CONST))

_FLOAT = dtypes.float32
_MIN_ROUNDED = 16


def _norm_after(value: Pattern) -> Pattern:
    return Pattern("BatchNormWithGlobalNormalization|FusedBatchNorm", (value,) + (_CONST,) * 4)


def fold_batch_norms(graph_def: Any, context: Context) -> Any:
    """The graph with constant factors of columns in the weights of the layer before them.

    Raises:
      InvalidArgumentError: a factor is no vector with an element for each column.
    """

    def fold(match: Match, needed: set[str]) -> list[Any]:
        layer, factors = match.inputs
        source, weights = (m.node for m in layer.inputs)
        if {layer.node.name, weights.name, factors.node.name} & needed:
            return [match.node, layer.node, source, weights, factors.node]
        values = value_of(factors.node)
        old = value_of(weights)
        if values.shape != (_columns(layer.node, old),):
            raise errors.InvalidArgumentError.of(
                f"Mul constant input to batch norm has bad shape: {_shape(values)}", name=match.node.name
            )
        scaled = _constant(weights.name, _scaled(old, values))
        return [scaled, source, copy_of(layer.node, name=match.node.name)]

    pattern = Pattern("Mul", (_LAYER, _CONST))
    return graph_def_of(replace_matching(list(graph_def.node), pattern, fold))


def fold_old_batch_norms(graph_def: Any, context: Context) -> Any:
    """The graph with batch norms in the weights of the convolutions before them, and a bias after these.

    A BatchToSpaceND or a Concat of two convolutions may stand between.

    Raises:
      InvalidArgumentError: the statistics of a norm are no vectors of one size.
    """
    nodes = list(graph_def.node)
    spread = Pattern("BatchToSpaceND", (_CONV, _CONST, _CONST))
    joined = Pattern("ConcatV2|Concat", (_CONV, _CONV, _CONST))
    for before, fold in ((_CONV, _after_conv), (spread, _after_batch_to_space), (joined, _after_concat)):
        nodes = _repeated(nodes, _norm_after(before), fold)
    return graph_def_of(nodes)


def _repeated(nodes: list[Any], pattern: Pattern, fold: Callable[[Match, Any, Any], list[Any]]) -> list[Any]:
    """Folds until nothing is left to: norms that share an input are not in one pass."""
    while True:
        changed = False

        def replace(match: Match, needed: set[str]) -> list[Any]:
            nonlocal changed
            changed = True
            return fold(match, *_scale_and_offset(match))

        nodes = replace_matching(nodes, pattern, replace)
        if not changed:
            return nodes


def _after_conv(match: Match, scale: Any, offset: Any) -> list[Any]:
    return _convolution(match.inputs[0], match.node.name, scale, offset)


def _after_batch_to_space(match: Match, scale: Any, offset: Any) -> list[Any]:
    spread = match.inputs[0]
    conv, block_shape, crops = spread.inputs
    name = f"{conv.node.name}/biasadd"
    inputs = [name, *spread.node.input[1:]]
    moved = copy_of(spread.node, name=match.node.name, input=inputs)
    return [*_convolution(conv, name, scale, offset), block_shape.node, crops.node, moved]


def _after_concat(match: Match, scale: Any, offset: Any) -> list[Any]:
    concat = match.inputs[0]
    first, second, axis = concat.inputs
    both = slice(None)
    parts = (both, both)
    if int(value_of(axis.node)) == 3:
        split = value_of(first.inputs[1].node).shape[3]
        parts = (slice(split), slice(split, None))
    names = [f"{concat.node.name}_bn_in{i}" for i in range(2)]
    result = []
    for conv, name, part in zip((first, second), names, parts, strict=True):
        result.extend(_convolution(conv, name, scale[part], offset[part]))
    joined = copy_of(concat.node, name=match.node.name, input=[*names, *concat.node.input[2:]])
    return [*result, axis.node, joined]


def _scale_and_offset(match: Match) -> tuple[Any, Any]:
    node = match.node
    values = [value_of(m.node).astype(np.float32) for m in match.inputs[1:]]
    if node.op == "FusedBatchNorm":
        gamma, beta, mean, variance = values
        epsilon, scales = node.attr["epsilon"].f, True
    else:
        mean, variance, beta, gamma = values
        epsilon, scales = node.attr["variance_epsilon"].f, node.attr["scale_after_normalization"].b
    for name, value in (("Mean", mean), ("Variance", variance), ("Beta", beta), ("gamma", gamma)):
        if value.ndim != 1 or value.shape != mean.shape:
            raise errors.InvalidArgumentError.of(
                f"{name} input to batch norm has bad shape: {_shape(value)}", name=node.name
            )
    scale = np.float32(1) / np.sqrt(variance + np.float32(epsilon))
    if scales:
        scale = scale * gamma
    return scale, (-mean * scale) + beta


def _convolution(match: Match, name: str, scale: Any, offset: Any) -> list[Any]:
    """The nodes of a convolution with scaled weights, and of a bias after it, which has the name given."""
    conv = match.node
    source, weights = (m.node for m in match.inputs)
    old = value_of(weights)
    if scale.shape != (_columns(conv, old),):
        raise errors.InvalidArgumentError.of(
            f"batch norm of {scale.size} values after '{conv.name}', which has {_columns(conv, old)} channels",
            name=conv.name,
        )
    bias = _constant(f"{conv.name}_bn_offset", offset)
    add = type(conv)(name=name, op="BiasAdd", input=[conv.name, bias.name])
    for key in ("data_format", "T"):
        if key in conv.attr:
            add.attr[key].CopyFrom(conv.attr[key])
    return [_constant(weights.name, _scaled(old, scale)), source, conv, bias, add]


def _constant(name: str, value: Any) -> Any:
    return constant(name, value, _FLOAT, packed=True)


def _columns(layer: Any, weights: Any) -> int:
    """How many channels a layer gives."""
    shape = weights.shape
    if layer.op == "Conv2D":
        return int(shape[3])
    return int(shape[2] * shape[3]) if layer.op == "DepthwiseConv2dNative" else int(shape[1])


def _scaled(weights: Any, scale: Any) -> Any:
    """The weights times a factor for each channel; those of all layers lie innermost."""
    flat = weights.reshape(-1, scale.size)
    return (flat.astype(np.float32) * scale.astype(np.float32)).reshape(weights.shape)


def _shape(value: Any) -> str:
    return f"[{','.join(map(str, value.shape))}]"


def round_weights(graph_def: Any, context: Context) -> Any:
    """The graph with large float constants rounded to ``num_steps`` values, 256 by default.

    Files of such graphs compress better.  Constants of less than 16 elements stay as they are.

    Raises:
      InvalidArgumentError: ``num_steps`` is no number.
    """
    steps = context.integer("num_steps", 256)

    def rounded(match: Match, needed: set[str]) -> Sequence[Any]:
        if match.node.attr["dtype"].type != _FLOAT.as_datatype_enum:
            return [match.node]
        values = value_of(match.node)
        if values.size < _MIN_ROUNDED:
            return [match.node]
        return [_constant(match.node.name, _rounded(values, steps))]

    return graph_def_of(replace_matching(list(graph_def.node), _CONST, rounded))


def _rounded(values: Any, steps: int) -> Any:
    low = values.min()
    # TensorFlow starts its search for the largest value there.
    high = max(values.max(), np.finfo(np.float32).tiny)
    if low == high:
        if abs(low) < np.float32(0.000001):
            high = low + np.float32(1)
        elif low > 0:
            high = np.float32(2) * low
        else:
            low = np.float32(2) * high
    width = (high - low) / np.float32(steps)
    buckets = np.floor((values - low) / width)
    return low + width * (buckets.astype(np.float32) + np.float32(0.5))
