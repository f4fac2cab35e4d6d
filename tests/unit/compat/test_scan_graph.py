"""Types of operations in graphs of files: which are found, and that the answer is that of an import and a run."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from google.protobuf import text_format

import kvarn as tf
from kvarn import errors, protos
from kvarn.compat.tensorflow.scan_graph import NO_KERNEL, UNKNOWN, UsedOp, scan_graph


def graph_def(**ops: str) -> Any:
    graph = protos.GraphDef()
    for name, op in ops.items():
        graph.node.add(name=name, op=op)
    return graph


def in_meta_graph(graph: Any) -> Any:
    meta = protos.MetaGraphDef(graph_def=graph)
    meta.meta_info_def.tags.append("serve")
    return meta


def in_saved_model(graph: Any) -> Any:
    return protos.message("tensorflow.SavedModel")(meta_graphs=[in_meta_graph(graph)])


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("frozen.pb", lambda graph: graph),
        ("meta.pb", in_meta_graph),
        ("model.ckpt-1.meta", in_meta_graph),
        ("saved_model.pb", in_saved_model),
        ("other.pb", in_saved_model),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_kinds_of_files(tmp_path: pathlib.Path, name: str, wrap: Any, as_text: bool) -> None:
    message = wrap(graph_def(a="NoOp", b="NoOp", c="MyOp"))
    path = tmp_path / (name.replace(".pb", ".pbtxt") if as_text else name)
    path.write_bytes(
        text_format.MessageToString(message).encode() if as_text else message.SerializeToString()
    )
    expected = [UsedOp("MyOp", False, 1, "c", UNKNOWN), UsedOp("NoOp", True, 2, "a")]
    assert scan_graph(str(path)) == expected
    if name == "saved_model.pb":
        assert scan_graph(str(tmp_path)) == expected


def test_functions_are_looked_into_and_are_no_ops_themselves(tmp_path: pathlib.Path) -> None:
    graph = graph_def(call="double", a="Add")
    function = graph.library.function.add()
    function.signature.name = "double"
    function.node_def.add(name="inner", op="Add")
    function.node_def.add(name="strange", op="MyOp")
    function.node_def.add(name="given", op="_Arg")
    (tmp_path / "g.pb").write_bytes(graph.SerializeToString())
    assert scan_graph(str(tmp_path / "g.pb")) == [
        UsedOp("Add", True, 2, "a"),
        UsedOp("MyOp", False, 1, "double/strange", UNKNOWN),
        UsedOp("_Arg", True, 1, "double/given"),
    ]


def test_every_op_that_has_no_kernel_is_told(tmp_path: pathlib.Path) -> None:
    from kvarn.graph import registry
    from kvarn.graph.flow import CONTROL_FLOW

    known = registry.global_registry.get_registered_ops()
    graph = graph_def(**{f"n{i}": definition.name for i, definition in enumerate(known)})
    (tmp_path / "g.pb").write_bytes(graph.SerializeToString())
    found = {used.op: used for used in scan_graph(str(tmp_path / "g.pb"))}
    assert len(found) == len(known)
    for definition in known:
        data = registry.look_up(definition.name)
        runs = data.kernel is not None or definition.name in CONTROL_FLOW
        assert (found[definition.name].covered, found[definition.name].why) == (
            runs,
            "" if runs else NO_KERNEL,
        )


def test_a_graph_of_a_program_is_covered_and_runs(tmp_path: pathlib.Path) -> None:
    with tf.Graph().as_default():
        i = tf.while_loop(lambda i: i < 5, lambda i: i + 1, [tf.constant(0)])
        w = tf.get_variable("w", [2], initializer=tf.ones_initializer())
        tf.train.AdamOptimizer().minimize(tf.reduce_sum(w * tf.cast(i, tf.float32)))
        saver = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            saver.save(sess, str(tmp_path / "m"))
    assert all(used.covered for used in scan_graph(str(tmp_path / "m.meta")))


def test_what_is_not_known_cannot_be_imported(tmp_path: pathlib.Path) -> None:
    with tf.Graph().as_default(), pytest.raises(errors.NotFoundError, match="MyOp"):
        tf.import_graph_def(graph_def(c="MyOp"))


@pytest.mark.parametrize(
    ("content", "said"), [(None, "does not exist"), (b"\xff\xff", "has no graph"), (b"", "has no graph")]
)
def test_what_is_no_graph(tmp_path: pathlib.Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "g.pb").write_bytes(content)
    with pytest.raises(OSError, match=said):
        scan_graph(str(tmp_path / "g.pb"))
