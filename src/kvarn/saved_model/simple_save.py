"""A SavedModel for prediction, in one call.

Source: tensorflow/python/saved_model/simple_save.py (1.15).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvarn.graph.graph import GraphKeys, get_collection
from kvarn.io import Path
from kvarn.saved_model import signature_constants, tag_constants
from kvarn.saved_model.builder import SavedModelBuilder
from kvarn.saved_model.signature_def_utils import predict_signature_def


def simple_save(
    session: Any,
    export_dir: Path,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    legacy_init_op: Any = None,
) -> None:
    """Writes the default graph as a SavedModel with the tag ``serve`` and one signature, without devices.

    Args:
      session: the Session with the values of the variables.
      export_dir: a folder that is empty or does not exist.
      inputs: tensors by key.
      outputs: tensors by key.
      legacy_init_op: operation to run after the variables are restored.

    Raises:
      AssertionError: the folder is not empty.
      ValueError: there are no inputs, or no outputs.
    """
    key = signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    signatures = {key: predict_signature_def(inputs, outputs)}
    builder = SavedModelBuilder(export_dir)
    builder.add_meta_graph_and_variables(
        session,
        tags=[tag_constants.SERVING],
        signature_def_map=signatures,
        assets_collection=get_collection(GraphKeys.ASSET_FILEPATHS),
        main_op=legacy_init_op,
        clear_devices=True,
    )
    builder.save()
