"""TensorFlow's Graph Transform Tool: transforms by name.

Source: tensorflow/tools/graph_transforms/__init__.py and transform_graph.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from kvarn import errors, tf_logging
from kvarn.graph.transforms import attributes, fold_constants, pruning, weights
from kvarn.graph.transforms.node_defs import node_name
from kvarn.graph.transforms.parameters import Context, parse

TRANSFORMS: Final[dict[str, Callable[[Any, Context], Any]]] = {
    "add_default_attributes": attributes.add_default_attributes,
    "fold_batch_norms": weights.fold_batch_norms,
    "fold_constants": fold_constants.fold_constants,
    "fold_old_batch_norms": weights.fold_old_batch_norms,
    "obfuscate_names": attributes.obfuscate_names,
    "remove_attribute": attributes.remove_attribute,
    "remove_control_dependencies": pruning.remove_control_dependencies,
    "remove_device": attributes.remove_device,
    "remove_nodes": pruning.remove_nodes,
    "rename_attribute": attributes.rename_attribute,
    "rename_op": attributes.rename_op,
    "round_weights": weights.round_weights,
    "set_device": attributes.set_device,
    "sort_by_execution_order": pruning.sort_by_execution_order,
    "strip_unused_nodes": pruning.strip_unused_nodes,
}

# TensorFlow's others.
_ABSENT: Final = frozenset((
    "backport_concatv2", "backport_tensor_array_v3", "flatten_atrous_conv", "freeze_requantization_ranges",
    "fuse_pad_and_conv", "fuse_remote_graph", "fuse_resize_and_conv", "fuse_resize_pad_and_conv",
    "insert_logging", "merge_duplicate_nodes", "quantize_nodes", "quantize_weights", "sparsify_gather",
))  # fmt: skip


def TransformGraph(
    input_graph_def: Any, inputs: Sequence[str], outputs: Sequence[str], transforms: Sequence[str]
) -> Any:
    """The graph after transforms, one after the other.

    Args:
      input_graph_def: a GraphDef message; it stays as it is.
      inputs: names of nodes that are fed.
      outputs: names of nodes that are fetched.
      transforms: names of `TRANSFORMS`, with parameters: ``["remove_nodes(op=Identity)", "fold_constants"]``.  With
        the parameter ``ignore_errors=true`` a transform that fails is left out.

    Returns:
      A new GraphDef.

    Raises:
      InvalidArgumentError: the transforms or their parameters are wrong, or do not fit the graph.
      UnimplementedError: TensorFlow has the transform, kvarn has not.
      InternalError: a node's input is missing afterwards.
    """
    result = type(input_graph_def)()
    result.CopyFrom(input_graph_def)
    for name, parameters in parse(" ".join(transforms)):
        transform = _find(name)
        context = Context(_split(inputs), _split(outputs), parameters)
        ignored = (context.values("ignore_errors") or ["false"])[0].lower()
        if ignored not in ("true", "false"):
            raise errors.InvalidArgumentError.of(f"ignore_errors should be true or false, found {ignored}")
        try:
            changed = transform(result, context)
        except (errors.OpError, ValueError) as e:
            if ignored == "false":
                raise
            tf_logging.error("%s: Ignoring error %s", name, e)
            continue
        changed.library.CopyFrom(result.library)
        _check_inputs(changed)
        result = changed
    return result


def _find(name: str) -> Callable[[Any, Context], Any]:
    if name in TRANSFORMS:
        return TRANSFORMS[name]
    hint = f"kvarn has {', '.join(TRANSFORMS)}."
    if name in _ABSENT:
        raise errors.UnimplementedError.of(
            f"kvarn does not have the transform '{name}'", name=name, hint=hint
        )
    raise errors.InvalidArgumentError.of(f"Transform '{name}' not recognized.", name=name, hint=hint)


def _split(names: Sequence[str]) -> list[str]:
    text = ",".join(names)
    return text.split(",") if text else []


def _check_inputs(graph_def: Any) -> None:
    names = {node.name for node in graph_def.node}
    for node in graph_def.node:
        for text in node.input:
            if node_name(text) not in names:
                raise errors.InternalError.of(
                    "Invalid graph with inputs referring to nonexistent nodes", name=node.name,
                    hint=f"Node '{node.name}' has the input '{text}'.",
                )  # fmt: skip
