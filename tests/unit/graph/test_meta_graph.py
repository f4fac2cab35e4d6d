"""Meta graphs, graph files and parts of graphs."""

from __future__ import annotations

import itertools
import logging
import pathlib

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration

from kvarn import dtypes, protos
from kvarn.graph import convert, graph_io, graph_util, meta_graph, proto_functions
from kvarn.graph.graph import Graph
from kvarn.graph.importer import import_graph_def

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "graphs"
_numbers = itertools.count()


def add(x: object, y: object, name: str) -> object:
    return x.graph.create_op("Add", [x, y], name=name).outputs[0]


def identity(x: object, name: str) -> object:
    return x.graph.create_op("Identity", [x], name=name).outputs[0]


def placeholder(graph: Graph, name: str, shape: tuple | None) -> object:
    return graph.create_op(
        "Placeholder", [], name=name, attrs={"dtype": dtypes.float32, "shape": shape}
    ).outputs[0]


@pytest.fixture
def graph() -> Graph:
    """outside, inner/x and inner/y = inner/x + outside, with a collection of every kind."""
    with Graph().as_default() as g:
        outside = convert.constant([1.0, 2.0], name="outside")
        with g.name_scope("inner"), g.device("/cpu:0"):
            x = placeholder(g, "x", (2,))
            y = add(x, outside, "y")
        g.add_to_collection("ints", 3)
        g.add_to_collection("ints", 4)
        g.add_to_collection("floats", 2.5)
        g.add_to_collection("texts", "name")
        g.add_to_collection("bytes", b"\xff")
        g.add_to_collection("tensors", y)
        g.add_to_collection("ops", x.op)
        packed = Any()
        packed.Pack(Duration(seconds=7))
        g.add_to_collection("messages", packed)
    return g


def test_every_kind_of_collection_goes_out_and_in(graph: Graph) -> None:
    meta, variables = meta_graph.export_scoped_meta_graph(graph=graph)
    assert variables == {}
    kinds = {key: c.WhichOneof("kind") for key, c in meta.collection_def.items()}
    assert kinds == {
        "ints": "int64_list",
        "floats": "float_list",
        "texts": "bytes_list",
        "bytes": "bytes_list",
        "tensors": "node_list",
        "ops": "node_list",
        "messages": "any_list",
    }
    assert list(meta.collection_def["tensors"].node_list.value) == ["inner/y:0"]
    with Graph().as_default() as g:
        assert meta_graph.import_scoped_meta_graph(meta) == {}
        assert g.get_collection("ints") == [3, 4]
        assert g.get_collection("floats") == [2.5]
        assert g.get_collection("texts") == [b"name"]
        assert g.get_collection("bytes") == [b"\xff"]
        assert g.get_collection("tensors") == [g.get_tensor_by_name("inner/y:0")]
        assert g.get_collection("ops") == [g.get_operation_by_name("inner/x")]
        (message,) = g.get_collection("messages")
        assert Duration.FromString(message.value).seconds == 7


def test_a_meta_graph_says_what_tensorflow_wants_to_know(graph: Graph) -> None:
    meta = meta_graph.create_meta_graph_def(graph=graph)
    info = meta.meta_info_def
    assert info.tensorflow_version == "1.15.5"
    assert info.tensorflow_git_version == "v1.15.4-39-g3db52be"
    assert [op.name for op in info.stripped_op_list.op] == ["Add", "Const", "Placeholder"]
    shapes = {n.name: n.attr["_output_shapes"].list.shape for n in meta.graph_def.node}
    assert [d.size for d in shapes["inner/y"][0].dim] == [2]


def test_argument_kinds() -> None:
    with pytest.raises(TypeError, match="graph must be of type Graph"):
        meta_graph.create_meta_graph_def(graph=3)
    with pytest.raises(TypeError, match="meta_info_def must be of type MetaInfoDef"):
        meta_graph.create_meta_graph_def(meta_info_def=3)
    with pytest.raises(TypeError, match="saver_def must be of type SaverDef"):
        meta_graph.create_meta_graph_def(saver_def=protos.GraphDef())


def test_one_scope_goes_out_and_below_another(graph: Graph) -> None:
    meta, _ = meta_graph.export_scoped_meta_graph(graph=graph, export_scope="inner", clear_devices=True)
    nodes = {n.name: n for n in meta.graph_def.node}
    assert sorted(nodes) == ["x", "y"]
    assert list(nodes["y"].input) == ["x", "$unbound_inputs_outside"]
    assert nodes["y"].device == ""
    assert meta.collection_def["unbound_inputs"].bytes_list.value == [b"$unbound_inputs_outside"]
    assert list(meta.collection_def["tensors"].node_list.value) == ["y:0"]
    with Graph().as_default() as g:
        with pytest.raises(
            ValueError, match=r"Graph contains unbound inputs: \$unbound_inputs_outside. Must provide"
        ):
            meta_graph.import_scoped_meta_graph(meta)
        mine = convert.constant([5.0, 6.0], name="mine")
        meta_graph.import_scoped_meta_graph(
            meta, import_scope="copy", input_map={"$unbound_inputs_outside": mine}
        )
        y = g.get_tensor_by_name("copy/y:0")
        assert y.op.inputs == [g.get_tensor_by_name("copy/x:0"), mine]
        assert g.get_collection("tensors") == [y]
        assert g.get_collection("unbound_inputs") == []


def test_return_elements_and_predicate(graph: Graph) -> None:
    meta, _ = meta_graph.export_scoped_meta_graph(graph=graph)
    with Graph().as_default() as g:
        _, (y,) = meta_graph.import_scoped_meta_graph_with_return_elements(
            meta, return_elements=["inner/y:0"], restore_collections_predicate=lambda key: key == "ints"
        )
        assert y is g.get_tensor_by_name("inner/y:0")
        assert g.get_all_collection_keys() == ["ints"]


def test_devices_can_be_left_behind(graph: Graph) -> None:
    meta, _ = meta_graph.export_scoped_meta_graph(graph=graph)
    for clear, device in ((False, "/device:CPU:0"), (True, "")):
        with Graph().as_default() as g:
            meta_graph.import_scoped_meta_graph(meta, clear_devices=clear)
            assert g.get_operation_by_name("inner/y").device == device


@pytest.mark.parametrize("as_text", [False, True])
def test_files_read_back(graph: Graph, tmp_path: pathlib.Path, as_text: bool) -> None:
    path = tmp_path / "deep" / "er" / "model.meta"
    meta, _ = meta_graph.export_scoped_meta_graph(str(path), graph=graph, as_text=as_text)
    assert meta_graph.read_meta_graph_file(path) == meta
    assert path.read_bytes().startswith(b"meta_info_def {") == as_text
    with Graph().as_default() as g:
        meta_graph.import_scoped_meta_graph(str(path))
        assert [op.name for op in g.get_operations()] == ["outside", "inner/x", "inner/y"]


def test_missing_and_damaged_files(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match=r"File .*none.meta does not exist\."):
        meta_graph.read_meta_graph_file(tmp_path / "none.meta")
    for damaged in (b"\xff\xff\xff", b"no such field: 3"):
        path = tmp_path / "bad.meta"
        path.write_bytes(damaged)
        with pytest.raises(
            OSError, match=r"Cannot parse file .*bad.meta: it holds neither a binary nor a text"
        ):
            meta_graph.read_meta_graph_file(path)


def test_what_cannot_be_written_is_left_out_with_a_warning(
    graph: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    graph.add_to_collection("odd", object())
    graph.add_to_collection(("no", "string"), 1)
    with caplog.at_level(logging.WARNING):
        meta = meta_graph.create_meta_graph_def(
            graph=graph, collection_list=["odd", ("no", "string"), "ints"]
        )
    assert sorted(meta.collection_def) == ["ints"]
    assert "Issue encountered when serializing odd." in caplog.text
    assert "Only collections with string type keys" in caplog.text


class Thing:
    """Something with a message of its own."""

    def __init__(self, name: str, trainable: bool) -> None:
        self.name = name
        self.trainable = trainable

    def to_proto(self, export_scope: str | None = None) -> object:
        if self.name == "hidden":
            return None
        name = proto_functions.strip_name_scope(self.name, export_scope)
        return protos.VariableDef(variable_name=name, trainable=self.trainable)

    @staticmethod
    def from_proto(proto: object, import_scope: str | None = None) -> Thing:
        return Thing(proto_functions.prepend_name_scope(proto.variable_name, import_scope), proto.trainable)


def test_registered_functions_write_and_read_a_collection() -> None:
    key = f"things_{next(_numbers)}"
    proto_functions.register_proto_function(key, "tensorflow.VariableDef", Thing.to_proto, Thing.from_proto)
    with pytest.raises(KeyError, match="Registering two proto functions"):
        proto_functions.register_proto_function(key)
    with pytest.raises(TypeError, match="to_proto must be callable"):
        proto_functions.register_proto_function(key + "x", to_proto=3)
    with Graph().as_default() as g:
        for name in ("inner/a", "hidden", "outer/b"):
            g.add_to_collection(key, Thing(name, True))
        meta, _ = meta_graph.export_scoped_meta_graph(graph=g)
        inner, _ = meta_graph.export_scoped_meta_graph(graph=g, export_scope="inner")
    assert len(meta.collection_def[key].bytes_list.value) == 2
    with Graph().as_default() as g:
        meta_graph.import_scoped_meta_graph(inner, import_scope="copy")
        assert [t.name for t in g.get_collection(key)] == ["copy/a"]


def test_default_values_can_be_left_out(graph: Graph) -> None:
    with graph.as_default():
        x = graph.get_tensor_by_name("inner/x:0")
        graph.create_op("Cast", [x], name="cast", attrs={"SrcT": dtypes.float32, "DstT": dtypes.int32})
    meta = meta_graph.create_meta_graph_def(graph=graph, strip_default_attrs=True)
    assert meta.meta_info_def.stripped_default_attrs
    cast = next(n for n in meta.graph_def.node if n.name == "cast")
    assert "Truncate" not in cast.attr
    with Graph().as_default() as g:
        meta_graph.import_scoped_meta_graph(meta)
        assert g.get_operation_by_name("cast").get_attr("Truncate") is False


def test_copying_a_scope(graph: Graph) -> None:
    with graph.as_default():
        with graph.name_scope("whole"):
            identity(convert.constant(1.0, name="c"), "i")
        meta_graph.copy_scoped_meta_graph("whole", "twin")
        assert graph.get_operation_by_name("twin/i").inputs[0].name == "twin/c:0"
        with pytest.raises(ValueError, match="need to be different"):
            meta_graph.copy_scoped_meta_graph("whole", "whole")


@pytest.mark.parametrize(
    ("name", "stripped", "prepended"),
    [
        ("a/b", "b", "s/a/b"),
        ("^a/b", "^b", "^s/a/b"),
        ("loc:@a/b", "loc:@b", "loc:@s/a/b"),
        ("a///b", "b", "s/a///b"),
        ("ab/c", "ab/c", "s/ab/c"),
        ("x/a/b", "x/a/b", "s/x/a/b"),
        (3, 3, 3),
    ],
)
def test_names_leave_and_enter_scopes(name: object, stripped: object, prepended: object) -> None:
    for scope in ("a", "a/"):
        assert proto_functions.strip_name_scope(name, scope) == stripped
    for scope in ("s", "s/"):
        assert proto_functions.prepend_name_scope(name, scope) == prepended
    assert proto_functions.strip_name_scope(name, None) == name
    assert proto_functions.prepend_name_scope(name, "") == name


@pytest.mark.parametrize("case", ["graph_attrs", "graph_control"])
def test_text_is_tensorflows_own(case: str, tmp_path: pathlib.Path) -> None:
    graph_def = protos.GraphDef.FromString((GOLDEN / case / "graph.pb").read_bytes())
    path = graph_io.write_graph(graph_def, tmp_path, "graph.pbtxt")
    assert pathlib.Path(path).read_text() == (GOLDEN / case / "graph.pbtxt").read_text()


def test_write_graph_takes_graphs_and_makes_directories(graph: Graph, tmp_path: pathlib.Path) -> None:
    path = graph_io.write_graph(graph, tmp_path / "new" / "dir", "g.pb", as_text=False)
    assert path == str(tmp_path / "new" / "dir" / "g.pb")
    assert protos.GraphDef.FromString(pathlib.Path(path).read_bytes()) == graph.as_graph_def()


def test_the_ops_of_a_real_meta_graph_are_the_ones_it_lists() -> None:
    for case in ("graph_control", "graph_functional"):
        meta = meta_graph.read_meta_graph_file(GOLDEN / case / "model.ckpt.meta")
        listed = [op.name for op in meta.meta_info_def.stripped_op_list.op]
        assert [o for o in sorted(meta_graph.ops_used_by_graph_def(meta.graph_def)) if o[0] != "_"] == listed


def test_extract_sub_graph_keeps_what_is_needed_in_order() -> None:
    with Graph().as_default() as g:
        a = convert.constant(1.0, name="a")
        b = convert.constant(2.0, name="b")
        with g.control_dependencies([g.create_op("NoOp", [], name="first")]):
            c = add(a, b, "c")
        with g.colocate_with(b.op):
            identity(c, "d")
        add(b, b, "g")
    graph_def = g.as_graph_def()
    names = lambda *dest: [n.name for n in graph_util.extract_sub_graph(graph_def, list(dest)).node]  # noqa: E731
    assert names("d") == ["a", "b", "first", "c", "d"]
    assert names("g") == ["b", "g"]
    with pytest.raises(AssertionError, match="zzz is not in graph"):
        names("zzz")
    with pytest.raises(TypeError, match=r"dest_nodes must be a list."):
        graph_util.extract_sub_graph(graph_def, "d")
    with pytest.raises(TypeError, match="graph_def must be"):
        graph_util.extract_sub_graph(3, ["d"])


def test_remove_training_nodes_splices_identities() -> None:
    with Graph().as_default() as g:
        a = convert.constant(1.0, name="a")
        i = identity(identity(a, "i"), "j")
        with g.control_dependencies([identity(a, "waited_for").op]):
            add(i, i, "sum")
    graph_def = g.as_graph_def()
    small = graph_util.remove_training_nodes(graph_def)
    assert {n.name: list(n.input) for n in small.node} == {
        "a": [],
        "waited_for": ["a"],
        "sum": ["a", "a", "^waited_for"],
    }
    kept = graph_util.remove_training_nodes(graph_def, protected_nodes=["i"])
    assert {n.name: list(n.input) for n in kept.node}["sum"] == ["i", "i", "^waited_for"]


class FakeSession:
    """Gives 7 for every fetch and remembers them."""

    def run(self, names: list[str]) -> list[object]:
        self.names = names
        return [dtypes.float32.as_numpy_dtype(7) for _ in names]


def test_variables_become_constants() -> None:
    graph_def = protos.from_text(
        """
        node { name: "v" op: "VariableV2" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "v/read" op: "Identity" input: "v" attr { key: "T" value { type: DT_FLOAT } } }
        node { name: "h" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "h/same" op: "Identity" input: "h" attr { key: "T" value { type: DT_RESOURCE } } }
        node { name: "r" op: "ReadVariableOp" input: "h/same" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "out" op: "Add" input: "v/read" input: "r" attr { key: "T" value { type: DT_FLOAT } } }
        node { name: "other" op: "VariableV2" }
        """,
        protos.GraphDef(),
    )
    session = FakeSession()
    frozen = graph_util.convert_variables_to_constants(session, graph_def, ["out"])
    assert session.names == ["v:0", "h/Read/ReadVariableOp:0"]
    assert [(n.name, n.op) for n in frozen.node] == [
        ("v", "Const"),
        ("v/read", "Identity"),
        ("h", "Const"),
        ("h/same", "Identity"),
        ("r", "Identity"),
        ("out", "Add"),
    ]
    with Graph().as_default() as g:
        import_graph_def(frozen, name="")
        assert g.get_tensor_by_name("r:0").dtype is dtypes.float32
        assert g.get_operation_by_name("v").attrs["value"].array == 7
    kept = graph_util.convert_variables_to_constants(
        session, graph_def, ["out"], variable_names_blacklist=["v"]
    )
    assert {n.name: n.op for n in kept.node}["v"] == "VariableV2"
