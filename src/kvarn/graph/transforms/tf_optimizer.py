"""Meta graphs optimized as grappler does it, as far as that changes which nodes there are.

Source: tensorflow/python/grappler/tf_optimizer.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import errors, protos
from kvarn.graph.transforms.inline_functions import inline_functions

_MIN_GRAPH_NODES = 4
_OFF = 2  # `RewriterConfig.Toggle`


def OptimizeGraph(
    config_proto: Any,
    metagraph: Any,
    verbose: bool = True,
    graph_id: bytes = b"graph_to_optimize",
    cluster: Any = None,
) -> Any:
    """The GraphDef of a meta graph with its calls inlined.

    Of grappler's optimizers only ``function`` has an effect here; what the others do changes no number.

    Args:
      config_proto: a ConfigProto; ``graph_options.rewrite_options`` says which optimizers, all by default, and from
        how many nodes on.
      metagraph: a MetaGraphDef, whose collection ``train_op`` names what is fetched.
      verbose, graph_id, cluster: have no effect.

    Raises:
      TypeError: ``config_proto`` is no ConfigProto.
      InvalidArgumentError: nothing is fetched.
    """
    if not isinstance(config_proto, protos.ConfigProto):
        raise TypeError(f"Expected config_proto to be a ConfigProto, saw type {type(config_proto)}")
    fetched = (
        list(metagraph.collection_def["train_op"].node_list.value)
        if "train_op" in metagraph.collection_def
        else []
    )
    if not fetched:
        raise errors.InvalidArgumentError.of("Failed to import metagraph, check error log for more info.")
    options = config_proto.graph_options.rewrite_options
    least = options.min_graph_nodes or _MIN_GRAPH_NODES
    graph_def = metagraph.graph_def
    if options.optimizers:
        wanted = "function" in options.optimizers
    else:
        wanted = options.function_optimization != _OFF
    if options.disable_meta_optimizer or not wanted or len(graph_def.node) < least:
        unchanged = type(graph_def)()
        unchanged.CopyFrom(graph_def)
        return unchanged
    return inline_functions(graph_def, {name.removeprefix("^").partition(":")[0] for name in fetched})
