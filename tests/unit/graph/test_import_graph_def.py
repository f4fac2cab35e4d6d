"""GraphDefs in and out."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from kvarn import dtypes, errors, protos
from kvarn.graph import convert
from kvarn.graph.graph import Graph
from kvarn.graph.importer import import_graph_def
from kvarn.graph.tensor_proto import TensorValue

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "graphs"
CALLS = json.loads((GOLDEN / "import_calls.json").read_text())
RECORDED = {case["label"]: case for case in json.loads((GOLDEN / "import.json").read_text())}

CONST = (
    'node { name: "A" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "value" value '
    "{ tensor { dtype: DT_FLOAT tensor_shape { } float_val: 1 } } } } "
)
IDENTITY = 'node { name: "B" op: "Identity" input: "A" attr { key: "T" value { type: DT_FLOAT } } } '


def graph_def(text: str) -> object:
    return protos.from_text(text, protos.GraphDef())


def golden(*path: str) -> object:
    return protos.GraphDef.FromString(GOLDEN.joinpath(*path).read_bytes())


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call["label"])
def test_imports_do_what_tensorflow_does(call: dict) -> None:
    expected = RECORDED[call["label"]]
    with Graph().as_default() as graph:
        if "error" in expected:
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the class is compared below
                import_graph_def(graph_def(call["graph"]), **call["arguments"])
            assert (type(caught.value).__name__, str(caught.value)) == (expected["error"], expected["text"])
        else:
            result = import_graph_def(graph_def(call["graph"]), **call["arguments"])
            assert (result and [r.name for r in result]) == expected["result"]
        nodes = graph.as_graph_def(add_shapes=True).node
        assert [[n.name, n.op, list(n.input), sorted(n.attr)] for n in nodes] == expected["nodes"]


@pytest.mark.parametrize(
    "path", ["graph_consts/graph.pb", "graph_consts/py_consts.pb", "graph_attrs/graph.pb"]
)
def test_what_is_imported_is_written_again(path: str) -> None:
    original = golden(path)
    with Graph().as_default() as graph:
        import_graph_def(original, name="")
        again = graph.as_graph_def()
    assert list(again.node) == list(original.node)
    assert again.versions.producer == original.versions.producer
    assert again.versions.bad_consumers == original.versions.bad_consumers


def test_an_unknown_op_is_named_with_its_node_and_near_names() -> None:
    with Graph().as_default() as graph:
        with pytest.raises(errors.NotFoundError) as caught:
            import_graph_def(
                graph_def(CONST + 'node { name: "B" op: "Identitty" } node { name: "C" op: "Qq" }')
            )
        assert graph.get_operations() == []
    assert str(caught.value).startswith("Op type not registered 'Identitty'")
    for part in ("node 'B'", "'Qq' (node 'C')", "Identity", "extract_sub_graph"):
        assert part in str(caught.value)
    assert caught.value.name == "B"


def test_a_failed_import_leaves_no_trace() -> None:
    with Graph().as_default() as graph:
        x = convert.constant(1.0, name="x")
        before = graph.version
        bad = (
            IDENTITY
            + 'node { name: "C" op: "Identity" input: "B:3" attr { key: "T" value { type: DT_FLOAT } } } '
        )
        with pytest.raises(ValueError, match="Connecting to invalid output 3"):
            import_graph_def(graph_def(CONST + bad), input_map={"A:0": x})
        assert graph.version == before
        assert x.consumers() == []
        assert [op.name for op in graph.get_operations()] == ["x"]


def test_a_finalized_graph_takes_nothing() -> None:
    with Graph().as_default() as graph:
        graph.finalize()
        with pytest.raises(RuntimeError, match="finalized"):
            import_graph_def(graph_def(CONST))


def test_input_map_replaces_tensors() -> None:
    with Graph().as_default():
        x = convert.constant(3.0, name="x")
        b, a, op = import_graph_def(
            graph_def(CONST + IDENTITY), input_map={"A": x}, return_elements=["B", "A:0", "A"]
        )
        assert b.inputs == [x]
        assert a is x
        assert op.name == "import/A"


def test_input_map_replaces_control_inputs() -> None:
    with Graph().as_default():
        x = convert.constant(3.0, name="x")
        (b,) = import_graph_def(
            graph_def(CONST + 'node { name: "B" op: "NoOp" input: "^A" }'),
            input_map={"^A": x},
            return_elements=["B"],
        )
        assert b.control_inputs == [x.op]


def test_input_map_values_are_converted_inside_the_scope() -> None:
    with Graph().as_default():
        (b,) = import_graph_def(graph_def(CONST + IDENTITY), input_map={"A:0": 5.0}, return_elements=["B"])
        assert b.inputs[0].name == "import/_inputs/Const:0"
        with pytest.raises(ValueError, match="requires a non-empty `name`"):
            import_graph_def(graph_def(CONST), input_map={"A:0": 5.0}, name="")


def test_input_map_errors() -> None:
    with Graph().as_default():
        x = convert.constant(3, name="x")
        with pytest.raises(
            ValueError, match=r"Attempted to map inputs that were not found in graph_def: \[Q:0\]"
        ):
            import_graph_def(graph_def(CONST), input_map={"Q:0": x})
        with pytest.raises(
            ValueError, match=r"Input 0 of node .*/B was passed int32 from x:0 incompatible with"
        ):
            import_graph_def(graph_def(CONST + IDENTITY), input_map={"A:0": x})
        with pytest.raises(
            TypeError, match=r"input_map must be a dictionary mapping strings to Tensor objects."
        ):
            import_graph_def(graph_def(CONST), input_map=[1])
    with pytest.raises(TypeError, match=r"graph_def must be a GraphDef proto."):
        import_graph_def(3)


def test_names_that_are_taken_are_made_unique() -> None:
    with Graph().as_default() as graph:
        for name in (None, None, "q/r", "q/r", "", ""):
            import_graph_def(graph_def(CONST), name=name)
        assert [op.name for op in graph.get_operations()] == [
            "import/A",
            "import_1/A",
            "q/r/A",
            "q/r_1/A",
            "A",
            "A_1",
        ]


def test_devices_and_colocation() -> None:
    text = (
        CONST.removesuffix("} ")
        + 'device: "/task:3/device:GPU:0" } '
        + IDENTITY.removesuffix("} ")
        + 'attr { key: "_class" value { list { s: "loc:@A" } } } } '
        + 'node { name: "C" op: "NoOp" }'
    )
    with Graph().as_default() as graph, graph.device("/job:w/device:CPU:1"):
        import_graph_def(graph_def(CONST), name="")
        a, b, c = import_graph_def(graph_def(text), name="", return_elements=["A", "B", "C"])
    # As TensorFlow 1.15.5 gives them.
    assert a.device == "/job:w/task:3/device:GPU:0"
    assert b.device == "/job:w/task:3/device:GPU:0"
    assert c.device == "/job:w/device:CPU:1"
    assert a.name == "A_1"
    assert b.colocation_groups() == [b"loc:@A_1"]


def test_scopes_of_control_dependencies_count() -> None:
    with Graph().as_default() as graph:
        first = graph.create_op("NoOp", [], name="first")
        with graph.control_dependencies([first]):
            a, b = import_graph_def(graph_def(CONST + IDENTITY), return_elements=["A", "B"])
    assert a.control_inputs == [first]
    # B waits through A.
    assert b.control_inputs == []


def test_attributes_only_the_producer_knows_are_dropped_at_their_default() -> None:
    extra = 'attr { key: "new" value { i: 4 } } } '
    text = CONST + IDENTITY.removesuffix("} ") + extra
    producer = protos.from_text(
        'op { name: "Identity" attr { name: "T" type: "type" } '
        'attr { name: "new" type: "int" default_value { i: 4 } } }',
        protos.OpList(),
    )
    with Graph().as_default():
        (b,) = import_graph_def(graph_def(text), producer_op_list=producer, return_elements=["B"])
        assert sorted(b.node_def.attr) == ["T"]
        with pytest.raises(ValueError, match="NodeDef mentions attr 'new' not in Op<name=Identity"):
            import_graph_def(graph_def(text.replace("i: 4", "i: 5")), producer_op_list=producer)


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (
            'dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: "abc"',
            "has 3 bytes instead of 8",
        ),
        (
            "dtype: DT_INT32 tensor_shape { } int_val: 1",
            "holds int32 values although its attr 'dtype' says float",
        ),
    ],
)
def test_constants_that_cannot_be_read_are_refused_at_once(tensor: str, match: str) -> None:
    text = CONST.replace("dtype: DT_FLOAT tensor_shape { } float_val: 1", tensor)
    with Graph().as_default() as graph:
        with pytest.raises(ValueError, match=match):
            import_graph_def(graph_def(text))
        assert graph.get_operations() == []


def test_errors_can_point_at_the_line_of_the_import() -> None:
    with Graph().as_default():
        (a,) = import_graph_def(graph_def(CONST), return_elements=["A"])
    file, _, text = a.user_frame()
    assert file == __file__
    assert "import_graph_def(graph_def(CONST)" in text


def test_the_older_producer_counts() -> None:
    with Graph().as_default() as graph:
        import_graph_def(graph_def(CONST + "versions { producer: 27 min_consumer: 12 bad_consumers: 3 }"))
        versions = graph.as_graph_def().versions
    assert (versions.producer, versions.min_consumer, list(versions.bad_consumers)) == (27, 12, [3])


def test_as_graph_def_from_a_version_on() -> None:
    with Graph().as_default() as graph:
        convert.constant(1.0, name="a")
        version = graph.version
        convert.constant([[1.0, 2.0]], name="b")
        found = graph.as_graph_def(from_version=version, add_shapes=True)
    assert [n.name for n in found.node] == ["b"]
    assert [d.size for d in found.node[0].attr["_output_shapes"].list.shape[0].dim] == [1, 2]


def test_graphs_larger_than_two_gigabytes_cannot_be_written() -> None:
    with Graph().as_default() as graph:
        for _ in range(2):
            # A gigabyte each, which takes no memory.
            array = np.broadcast_to(np.zeros(1, np.float64), 1 << 27)
            graph.create_op("Const", [], attrs={"dtype": dtypes.float64, "value": TensorValue(array)})
        with pytest.raises(ValueError, match="GraphDef cannot be larger than 2GB"):
            graph.as_graph_def()
