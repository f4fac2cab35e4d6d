"""Protocol messages in binary and in text: meta graphs, SavedModels, object graphs.

byte 0      which message (`KINDS`); bit 7: as text
rest        the file
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from fuzz import goldens
from fuzz.contract import agree, attempt
from kvarn import protos
from kvarn.formats.meta_graph import read_meta_graph_file
from kvarn.io import MemoryFileSystem

LONGEST = 1024
KINDS = (
    "MetaGraphDef",
    "SavedModel",
    "TrackableObjectGraph",
    "GraphDef",
    "BundleHeaderProto",
    "BundleEntryProto",
    "SavedTensorSlices",
    "VariableDef",
    "SaverDef",
    "CheckpointState",
    "OpList",
)
WORDS = (
    b"\x0a\x00",
    b"\x12\x00",
    b'node { name: "a" op: "Const" }\n',
    b'attr { key: "dtype" value { type: DT_FLOAT } }',
    b"graph_def {",
    b"saver_def {",
    b"collection_def {",
    b"tensor_shape { dim { size: 1 } }",
    b"[type.googleapis.com/tensorflow.AssetFileDef] {",
    b"}",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
)
_TEXT = 0x80


def check(data: bytes) -> None:
    if not data:
        return
    kind, content = data[0], data[1:]
    message = getattr(protos, KINDS[(kind & ~_TEXT) % len(KINDS)])
    if message is protos.MetaGraphDef:
        fs = MemoryFileSystem()
        fs.files["m.meta"] = bytearray(content)
        proto = attempt(read_meta_graph_file, "m.meta", fs, refusals=(OSError,))
    elif kind & _TEXT:
        proto = attempt(
            lambda: protos.from_text(content.decode("utf-8"), message()),
            refusals=(text_format.ParseError, UnicodeDecodeError),
        )
    else:
        proto = attempt(message.FromString, content, refusals=(DecodeError,))
    if proto is not None:
        check_written(proto, message)


def check_written(proto: Any, message: Any) -> None:
    """What was read is written so that it reads as the same."""
    binary = protos.serialize(proto)
    agree("binary", protos.serialize(message.FromString(binary)), binary)
    proto.DiscardUnknownFields()
    text = protos.to_text(proto)
    again = protos.from_text(text, message())
    agree("text", protos.to_text(again), text)  # not the bits: text has one NaN only


def seeds() -> Iterator[bytes]:
    for meta in goldens.small_files("*.meta", 1000):
        yield bytes([0]) + meta
    graph = protos.GraphDef()
    node = graph.node.add(name="a", op="Const", input=["b:1", "^c"])
    node.attr["value"].tensor.MergeFrom(
        protos.TensorProto(dtype=1, tensor_content=b"abcd", tensor_shape=_shape(1))
    )
    node.attr["T"].type = 1
    node.attr["shape"].list.shape.add().MergeFrom(_shape(-1))
    meta = protos.MetaGraphDef(graph_def=graph)
    meta.meta_info_def.tags.append("serve")
    meta.collection_def["variables"].bytes_list.value.append(
        protos.VariableDef(variable_name="w:0", initializer_name="w/Assign").SerializeToString()
    )
    meta.collection_def["x"].float_list.value.append(0.1)
    meta.saver_def.restore_op_name = "save/restore_all"
    meta.signature_def["serving_default"].inputs["x"].name = "x:0"
    model = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
    objects = protos.TrackableObjectGraph()
    objects.nodes.add().children.add(node_id=1, local_name="w")
    objects.nodes.add().attributes.add(name="VARIABLE_VALUE", full_name="w", checkpoint_key="w/.ATTRIBUTES")
    for proto in (meta, model, objects, graph):
        number = KINDS.index(type(proto).__name__)
        yield bytes([number]) + protos.serialize(proto)
        yield bytes([number | _TEXT]) + protos.to_text(proto).encode()


def _shape(size: int) -> Any:
    return protos.TensorShapeProto(dim=[protos.TensorShapeProto.Dim(size=size)])
