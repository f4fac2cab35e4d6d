"""The object graph of an object-based checkpoint, when it is there and is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvarn import errors
from kvarn.formats.bundle import BundleWriter
from kvarn.saver.object_graph import OBJECT_GRAPH_PROTO_KEY, object_graph_key_mapping


def text(value: bytes) -> Any:
    return np.array(value, object)


@pytest.mark.parametrize(
    "stored",
    [text(b"\xff\xff"), np.array([b"", b""], object), np.array(1 << 62)],
    ids=["bytes", "two", "number"],
)
def test_what_is_no_graph_is_damage(tmp_path: Path, stored: Any) -> None:
    prefix = str(tmp_path / "m")
    with BundleWriter(prefix) as writer:
        writer.add(OBJECT_GRAPH_PROTO_KEY, stored)
    with pytest.raises(errors.DataLossError, match="no TrackableObjectGraph") as caught:
        object_graph_key_mapping(prefix)
    assert caught.value.path == prefix


def test_a_graph_maps_names_to_keys(tmp_path: Path) -> None:
    from kvarn import protos

    graph = protos.TrackableObjectGraph()
    graph.nodes.add().attributes.add(name="VARIABLE_VALUE", full_name="w", checkpoint_key="net/w/.ATTRIBUTES")
    prefix = str(tmp_path / "m")
    with BundleWriter(prefix) as writer:
        writer.add(OBJECT_GRAPH_PROTO_KEY, text(graph.SerializeToString()))
    assert object_graph_key_mapping(prefix) == {"w": "net/w/.ATTRIBUTES"}
