"""Variables to and from VariableDef messages, as meta graphs hold the collections of variables.

Source: the `register_proto_function` calls of tensorflow/python/ops/resource_variable_ops.py (1.15) and
tensorflow/python/ops/kv_variable_ops.py of DeepRec.
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.proto_functions import VARIABLE_COLLECTIONS, register_proto_function


def variable_from_proto(variable_def: Any, import_scope: str | None = None) -> Any:
    """The variable of the kind that ``variable_def`` says; its nodes are in the default graph."""
    if variable_def.is_embedding_var:
        from kvarn.variables.embedding_variable import EmbeddingVariable

        return EmbeddingVariable(variable_def=variable_def, import_scope=import_scope)
    if variable_def.is_resource:
        from kvarn.variables.resource_variable import ResourceVariable

        return ResourceVariable(variable_def=variable_def, import_scope=import_scope)
    from kvarn.variables.ref_variable import RefVariable

    return RefVariable(variable_def=variable_def, import_scope=import_scope)


def _to_proto(variable: Any, export_scope: str | None = None) -> Any:
    return variable.to_proto(export_scope=export_scope)


for _collection in VARIABLE_COLLECTIONS:
    register_proto_function(_collection, "tensorflow.VariableDef", _to_proto, variable_from_proto)
