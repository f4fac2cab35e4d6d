"""Object-based checkpoints for Savers, which know variables by name.

Such a checkpoint holds, under ``_CHECKPOINTABLE_OBJECT_GRAPH``, a TrackableObjectGraph that tells under
which key each variable of which name is stored.

Source: `object_graph_key_mapping` and `saver_from_object_based_checkpoint` in
tensorflow/python/training/saver.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvarn import errors
from kvarn.saver.saveable_object_util import validate_and_slice_inputs

if TYPE_CHECKING:
    from kvarn.saver.saver import Saver

OBJECT_GRAPH_PROTO_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"


def object_graph_key_mapping(checkpoint_path: str) -> dict[str, str]:
    """From the names of variables to the keys of an object-based checkpoint; raises as `read_object_graph`."""
    graph = read_object_graph(checkpoint_path)
    return {a.full_name: a.checkpoint_key for node in graph.nodes for a in node.attributes}


def read_object_graph(checkpoint_path: str) -> Any:
    """The TrackableObjectGraph of an object-based checkpoint.

    Raises:
      NotFoundError: it is no object-based checkpoint, or there is none.
      DataLossError: what it holds under the key of the graph is none.
    """
    from google.protobuf.message import DecodeError

    from kvarn import checkpoint, protos

    stored = checkpoint.NewCheckpointReader(checkpoint_path).get_tensor(OBJECT_GRAPH_PROTO_KEY)
    try:
        if not isinstance(stored, bytes):
            raise DecodeError("not a scalar string")
        return protos.message("tensorflow.TrackableObjectGraph").FromString(stored)
    except DecodeError as error:
        raise errors.DataLossError.of(
            f"tensor '{OBJECT_GRAPH_PROTO_KEY}' in '{checkpoint_path}' is no TrackableObjectGraph: {error}",
            name=OBJECT_GRAPH_PROTO_KEY,
            path=checkpoint_path,
            hint="The checkpoint was damaged or changed: take another copy or an older one.",
        ) from error


def saver_from_object_based_checkpoint(
    checkpoint_path: str,
    var_list: Any = None,
    builder: Any = None,
    names_to_keys: dict[str, str] | None = None,
    cached_saver: Saver | None = None,
) -> Saver:
    """A Saver that reads an object-based checkpoint.

    Args:
      checkpoint_path: its prefix.
      var_list: the variables, all saveable objects by default.
      builder: accepted for TensorFlow's sake.
      names_to_keys: see `object_graph_key_mapping`; read from the checkpoint by default.
      cached_saver: a Saver made for another checkpoint of the same kind, to be used again.

    Raises:
      ValueError: it is no object-based checkpoint.
      NotFoundError: a variable is not in it.
    """
    from kvarn.saver.saver import Saver
    from kvarn.variables import listing

    del builder
    if names_to_keys is None:
        try:
            names_to_keys = object_graph_key_mapping(checkpoint_path)
        except errors.NotFoundError:
            raise ValueError(f"Checkpoint in {checkpoint_path} not an object-based checkpoint.") from None
    saveables = validate_and_slice_inputs(listing._all_saveable_objects() if var_list is None else var_list)
    current = {spec.name for saveable in saveables for spec in saveable.specs}
    stored = set(names_to_keys)
    if current - stored:
        raise errors.NotFoundError.of(
            f"\n\nExisting variables not in the checkpoint: {', '.join(sorted(current - stored))}\n\n"
            "Variables names when this checkpoint was written which don't exist now: "
            f"{', '.join(sorted(stored - current))}\n\n"
            f"({len(stored & current)} variable name(s) did match)\n\n"
            "Could not find some variables in the checkpoint (see names above). Saver was attempting to load "
            "an object-based checkpoint (saved using tf.train.Checkpoint or tf.keras.Model.save_weights) "
            "using variable names. ",
            name=min(current - stored),
            path=checkpoint_path,
            hint="Give Saver a var_list with only the variables that are there, or a dictionary from the "
            "names stored to the variables.",
        )
    for saveable in saveables:
        for spec in saveable.specs:
            spec.name = names_to_keys[spec.name]
    return Saver(saveables) if cached_saver is None else cached_saver
