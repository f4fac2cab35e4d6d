"""The messages: names, numbers, wire bytes, and their own pool."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import kvarn.protos
from kvarn import protos

DIRECTORY = Path(kvarn.protos.__file__).parent


def test_import_loads_no_protobuf() -> None:
    code = "import sys, kvarn.protos; sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_threads_that_come_at_once_get_the_same_classes() -> None:
    code = """if True:
        import sys, threading
        from kvarn import protos
        sys.setswitchinterval(1e-6)
        found, start = [], threading.Barrier(8)
        def load():
            start.wait()
            found.append((protos.message("tensorflow.SaverDef"), protos.enum("tensorflow.DataType")))
        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        sys.exit(len(set(found)) != 1)
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_descriptors_fit_their_sources() -> None:
    digest = hashlib.sha256()
    for path in sorted(DIRECTORY.glob("*.proto")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    assert (DIRECTORY / "descriptors.sha256").read_text().strip() == digest.hexdigest()


def test_descriptors_are_what_protoc_makes(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is a tool of developers")
    target = tmp_path / "out.bin"
    sources = sorted(path.name for path in DIRECTORY.glob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = [f"-I{DIRECTORY}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={target}"]
    assert protoc.main(["protoc", *arguments, *sources]) == 0
    assert target.read_bytes() == (DIRECTORY / "descriptors.bin").read_bytes()


def test_a_scalar_shape_is_written_though_empty() -> None:
    entry = protos.BundleEntryProto(dtype=protos.DT_FLOAT)
    entry.shape.SetInParent()
    assert protos.serialize(entry) == bytes.fromhex("08011200")


def test_sliced_entry_has_tensorflows_bytes() -> None:
    entry = protos.BundleEntryProto(dtype=1)
    for size in (10, 3):
        entry.shape.dim.add(size=size)
    for start, length in ((0, 6), (6, 4)):
        piece = entry.slices.add()
        piece.extent.add(start=start, length=length)
        piece.extent.add(start=0, length=3)
    expected = "0801 1208 1202 080a 1202 0803 3a08 0a02 1006 0a02 1003 3a0a 0a04 0806 1004 0a02 1003"
    assert protos.serialize(entry).hex() == expected.replace(" ", "")


def test_maps_are_written_sorted() -> None:
    node = protos.NodeDef(name="n", op="Const")
    for name in ("b", "a", "c"):
        node.attr[name].i = 1
    written = protos.serialize(node)
    assert written.index(b"\x01a") < written.index(b"\x01b") < written.index(b"\x01c")


def test_any_packs_under_tensorflows_name_and_prints_expanded() -> None:
    collection = protos.CollectionDef()
    collection.any_list.value.add().Pack(protos.AssetFileDef(filename="vocab.txt"))
    assert collection.any_list.value[0].type_url == "type.googleapis.com/tensorflow.AssetFileDef"
    text = protos.to_text(collection)
    assert "[type.googleapis.com/tensorflow.AssetFileDef]" in text
    assert protos.from_text(text, protos.CollectionDef()) == collection


def test_enums_and_their_values() -> None:
    assert protos.DT_UINT64 == 23
    assert protos.DataType.Name(101) == "DT_FLOAT_REF"
    assert protos.VARIABLE_AGGREGATION_ONLY_FIRST_REPLICA == 3
    assert protos.SaverDef.V2 == 2
    assert protos.enum("tensorflow.error.Code").Value("DATA_LOSS") == 15
    assert protos.enum("tensorflow.embedding.StorageType").Value("HBM_DRAM_SSDHASH") == 102
    assert protos.message("tensorflow.TensorShapeProto.Dim")(size=3).size == 3


def test_deeprecs_additions() -> None:
    definition = protos.VariableDef(is_embedding_var=True, initialize_op_for_restore="i")
    assert protos.serialize(definition) == bytes.fromhex("d80501") + bytes.fromhex("e20501") + b"i"
    piece = protos.TensorSliceProto(hash_slice_begin=1, hash_slice_length=2, hash_slice_size=3)
    assert protos.serialize(piece).hex() == "a00601" + "a80602" + "b00603"
    config = protos.ConfigProto()
    config.executor_policy = protos.USE_INLINE_EXECUTOR
    config.graph_options.optimizer_options.do_op_fusion = True
    assert protos.serialize(config).hex() == "52041a023801" + "e80c02"


def test_unknown_fields_survive() -> None:
    raw = bytes.fromhex("0a016e") + bytes.fromhex("fa3f0178")
    assert protos.NodeDef.FromString(raw).SerializeToString() == raw


def test_missing_names_say_so() -> None:
    with pytest.raises(AttributeError, match="NoSuchDef"):
        protos.NoSuchDef
    with pytest.raises(KeyError):
        protos.message("tensorflow.NoSuchDef")


def test_lives_beside_messages_of_the_same_name() -> None:
    """Another pool with the same full names, as TensorFlow's default pool is, does not collide."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    other = descriptor_pb2.FileDescriptorProto(
        name="tensorflow/core/framework/graph.proto", package="tensorflow"
    )
    other.message_type.add(name="GraphDef")
    descriptor_pool.Default().Add(other)
    assert protos.GraphDef.DESCRIPTOR.fields_by_name["node"].number == 1
