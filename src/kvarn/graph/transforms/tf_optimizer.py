"""Graphs rewritten as a session's optimizers would, into GraphDefs.

Source: tensorflow/python/grappler/tf_optimizer.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import protos
from kvarn.graph.transforms.inline_functions import inline_functions

# `RewriterConfig.Toggle`.
_OFF = 2


def OptimizeGraph(
    config_proto: Any,
    metagraph: Any,
    verbose: bool = True,
    graph_id: bytes = b"graph_to_optimize",
    cluster: Any = None,
    strip_default_attributes: bool = False,
) -> Any:
    """The GraphDef of a meta graph, rewritten so that it gives the same numbers.

    Of the optimizers it is the inlining of functions that other tools rely on, and that is done.  The others make
    graphs faster in TensorFlow's runtime, which may run each of them or none: they are passed over.

    Args:
      config_proto: a ConfigProto; ``graph_options.rewrite_options`` says which optimizers are asked for: those in
        ``optimizers``, or all that are not turned off where it is empty.
      metagraph: a MetaGraphDef.
      verbose, graph_id, cluster, strip_default_attributes: accepted.

    Raises:
      TypeError: ``config_proto`` is no ConfigProto.
    """
    if not isinstance(config_proto, protos.ConfigProto):
        raise TypeError(
            f"Argument `config_proto` should be a tf.ConfigProto, received type: {type(config_proto)}"
        )
    options = config_proto.graph_options.rewrite_options
    wanted = options.optimizers or ([] if options.function_optimization == _OFF else ["function"])
    if "function" in wanted and not options.disable_meta_optimizer:
        return inline_functions(metagraph.graph_def)
    graph_def = protos.GraphDef()
    graph_def.CopyFrom(metagraph.graph_def)
    return graph_def
