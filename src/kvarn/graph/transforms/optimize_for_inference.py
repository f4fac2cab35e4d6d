"""Graphs for inference: without what only training needs, and with batch norms in the weights.

Source: tensorflow/python/tools/optimize_for_inference_lib.py (1.15).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from kvarn import dtypes, tf_logging
from kvarn.graph.graph_util import remove_training_nodes
from kvarn.graph.transforms.node_defs import constant, graph_def_of, node_name, value_of
from kvarn.graph.transforms.strip_unused import strip_unused

# In which order a batch norm has its inputs, and which attribute is its epsilon.
INPUT_ORDER = {
    "BatchNormWithGlobalNormalization": ["conv_op", "mean_op", "var_op", "beta_op", "gamma_op"],
    "FusedBatchNorm": ["conv_op", "gamma_op", "beta_op", "mean_op", "var_op"],
}
EPSILON_ATTR = {"BatchNormWithGlobalNormalization": "variance_epsilon", "FusedBatchNorm": "epsilon"}


def optimize_for_inference(
    input_graph_def: Any,
    input_node_names: Sequence[str],
    output_node_names: Sequence[str],
    placeholder_type_enum: int | list[int],
    toco_compatible: bool = False,
) -> Any:
    """The GraphDef for inference.

    Args:
      input_graph_def: a GraphDef message.
      input_node_names, output_node_names, placeholder_type_enum: as in
        `kvarn.graph.transforms.strip_unused.strip_unused`.
      toco_compatible: do not fuse resizing and padding with convolutions.

    Raises:
      ValueError: nodes have the same name, or an input of a node does not exist.
      AssertionError, KeyError: as `strip_unused`.
    """
    ensure_graph_is_valid(input_graph_def)
    graph_def = strip_unused(input_graph_def, input_node_names, output_node_names, placeholder_type_enum)
    graph_def = fold_batch_norms(remove_training_nodes(graph_def, output_node_names))
    if not toco_compatible:
        graph_def = fuse_resize_and_conv(graph_def, output_node_names)
    ensure_graph_is_valid(graph_def)
    return graph_def


def ensure_graph_is_valid(graph_def: Any) -> None:
    """Checks names and inputs.

    Raises:
      ValueError: nodes have the same name, or an input of a node does not exist.
    """
    names = _nodes_by_name(graph_def)
    for node in graph_def.node:
        for text in node.input:
            if node_name(text) not in names:
                raise ValueError(f"Input for {node.name} not found: {text}")


def node_from_map(node_map: dict[str, Any], name: str) -> Any:
    """The node of ``node_map`` that an input comes from.

    Raises:
      ValueError: it has none.
    """
    if node_name(name) not in node_map:
        raise ValueError(f"No node named '{name}' found in map.")
    return node_map[node_name(name)]


def values_from_const(node_def: Any) -> Any:
    """The array of a Const.

    Raises:
      ValueError: the node is something else.
    """
    if node_def.op != "Const":
        raise ValueError(f"Node named '{node_def.name}' should be a Const op for values_from_const.")
    return value_of(node_def)


def scale_after_normalization(node: Any) -> bool:
    """Whether a batch norm multiplies by gamma."""
    if node.op == "BatchNormWithGlobalNormalization":
        return bool(node.attr["scale_after_normalization"].b)
    return True


def fold_batch_norms(input_graph_def: Any) -> Any:
    """The graph with batch norms in the weights of the convolutions before them, and a bias after these.

    A norm whose convolution or statistics are no constants stays, with a warning.

    Raises:
      ValueError: nodes have the same name, or an input of a batch norm does not exist.
    """
    nodes = _nodes_by_name(input_graph_def)
    gone: set[str] = set()
    new: list[Any] = []
    for node in input_graph_def.node:
        if node.op in INPUT_ORDER:
            inputs = dict(zip(INPUT_ORDER[node.op], node.input, strict=False))
            folded = _folded(node, {key: node_from_map(nodes, text) for key, text in inputs.items()}, nodes)
            if folded is not None:
                removed, made = folded
                gone |= removed
                new.extend(made)
    return graph_def_of([n for n in input_graph_def.node if n.name not in gone] + new)


def _folded(node: Any, inputs: dict[str, Any], nodes: dict[str, Any]) -> tuple[set[str], list[Any]] | None:
    """The names of the nodes that go, and those that come; None with a warning where that cannot be."""
    conv = inputs["conv_op"]
    if conv.op not in ("Conv2D", "DepthwiseConv2dNative"):
        tf_logging.warning("Didn't find expected Conv2D or DepthwiseConv2dNative input to '%s'", node.name)
        return None
    weights_op = node_from_map(nodes, conv.input[1])
    if weights_op.op != "Const":
        _warn_of_variable("conv", conv.name, weights_op)
        return None
    weights = values_from_const(weights_op)
    shape = weights.shape
    channels = shape[3] if conv.op == "Conv2D" else shape[2] * shape[3]
    values = {}
    for key in ("mean", "var", "beta", "gamma"):
        source = inputs[f"{key}_op"]
        if source.op != "Const":
            _warn_of_variable(key, node.name, source)
            return None
        values[key] = value = values_from_const(source)
        if value.shape != (channels,):
            tf_logging.warning(
                "Incorrect shape for %s, found %s, expected %s, for node %s",
                key, value.shape, (channels,), node.name,
            )  # fmt: skip
            return None
    # The root is a double's, as TensorFlow computes it here.
    scale = 1.0 / np.sqrt((values["var"] + node.attr[EPSILON_ATTR[node.op]].f).astype(np.float64))
    if scale_after_normalization(node):
        scale = scale * values["gamma"]
    offset = (-values["mean"] * scale) + values["beta"]
    scaled = (weights.reshape(-1, channels) * scale).astype(weights.dtype).reshape(shape)
    weight_type, offset_type = (
        dtypes.as_dtype(op.attr["dtype"].type) for op in (weights_op, inputs["mean_op"])
    )
    offset_op = constant(f"{conv.name}_bn_offset", offset.astype(offset_type.as_numpy_dtype), offset_type)
    bias = type(node)(name=node.name, op="BiasAdd", input=[conv.name, offset_op.name])
    bias.attr["T"].CopyFrom(conv.attr["T"])
    bias.attr["data_format"].CopyFrom(conv.attr["data_format"])
    removed = {node.name, weights_op.name, *(op.name for op in inputs.values())}
    return removed, [constant(weights_op.name, scaled, weight_type), conv, offset_op, bias]


def _warn_of_variable(what: str, name: str, found: Any) -> None:
    tf_logging.warning(
        "Didn't find expected %s Constant input to '%s', found %s instead. Maybe because freeze_graph wasn't run "
        "first?",
        what,
        name,
        found,
    )


def fuse_resize_and_conv(input_graph_def: Any, output_node_names: Sequence[str]) -> Any:
    """The graph with ResizeBilinear and MirrorPad before a Conv2D fused with it.

    Args:
      input_graph_def: a GraphDef message.
      output_node_names: nodes that stay.

    Raises:
      ValueError: nodes have the same name, or an input of a convolution does not exist.
    """
    nodes = _nodes_by_name(input_graph_def)
    uses = Counter(node_name(text) for node in input_graph_def.node for text in node.input)
    uses.update(output_node_names)
    new: list[Any] = []
    for conv in input_graph_def.node:
        if conv.op != "Conv2D":
            continue
        source = node_from_map(nodes, conv.input[0])
        pad = source if source.op == "MirrorPad" else None
        resize = node_from_map(nodes, pad.input[0]) if pad is not None else source
        if resize.op != "ResizeBilinear":
            resize = None
        if pad is None and resize is None:
            continue
        uses[conv.name] = 0
        uses.subtract(op.name for op in (pad, resize) if op is not None)
        new.extend(_fused(conv, pad, resize))
    return graph_def_of([node for node in input_graph_def.node if uses[node.name] > 0] + new)


def _fused(conv: Any, pad: Any, resize: Any) -> list[Any]:
    fused = type(conv)(name=conv.name, op="FusedPadConv2D" if resize is None else "FusedResizeAndPadConv2D")
    extra = []
    if pad is not None:
        paddings = pad.input[1]
        fused.attr["mode"].CopyFrom(pad.attr["mode"])
    else:
        nothing = constant(f"{conv.name}_dummy_paddings", np.zeros([4, 2], np.int32), dtypes.int32)
        extra, paddings = [nothing], nothing.name
        fused.attr["mode"].s = b"REFLECT"
    if resize is not None:
        fused.input.extend([*resize.input[:2], paddings, conv.input[1]])
        fused.attr["resize_align_corners"].CopyFrom(resize.attr["align_corners"])
    else:
        fused.input.extend([pad.input[0], paddings, conv.input[1]])
    for key in ("T", "strides", "padding"):
        fused.attr[key].CopyFrom(conv.attr[key])
    return [*extra, fused]


def _nodes_by_name(graph_def: Any) -> dict[str, Any]:
    nodes: dict[str, Any] = {}
    for node in graph_def.node:
        if node.name in nodes:
            raise ValueError(f"Duplicate node names detected for {node.name}")
        nodes[node.name] = node
    return nodes
