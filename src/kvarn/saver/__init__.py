"""Saver: from the variables of a session to checkpoints and back."""

from __future__ import annotations

from typing import Any

from kvarn.graph.graph import GraphKeys
from kvarn.graph.proto_functions import register_proto_function


def _to_proto(item: Any, export_scope: str | None = None) -> Any:
    return item.to_proto(export_scope=export_scope)


def _from_proto(message: Any, import_scope: str | None = None) -> Any:
    from kvarn.saver.saver import Saver

    return Saver.from_proto(message, import_scope=import_scope)


register_proto_function(GraphKeys.SAVERS, "tensorflow.SaverDef", _to_proto, _from_proto)
