"""Grouping and order, printing, and the errors of string ops that recordings do not hold."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.gradients import gradients
from kvarn.graph.graph import Graph, device
from kvarn.graph.session import Session
from kvarn.graph.tensor import IndexedSlices
from kvarn.ops import _text, array, control, logging, sparse, state, string


@pytest.fixture(autouse=True)
def graph() -> Any:
    with Graph().as_default() as g:
        yield g


def test_a_group_runs_all_its_parts() -> None:
    vs = [state.variable_op_v2([], dtypes.int32, name=f"v{i}") for i in range(3)]
    sets = [state.assign(v, i) for i, v in enumerate(vs)]
    session = Session()
    assert session.run(control.group(sets[0], {"b": sets[1], "a": [sets[2].op]}, name="all")) is None
    assert session.run(vs) == [0, 1, 2]


def test_groups_on_several_devices_join_one_node_for_each(graph: Any) -> None:
    with device("/cpu:0"):
        a = constant(1)
    with device("/cpu:1"):
        b = constant(2)
    node = control.group(a, b, name="g")
    assert node.name == "g"
    assert [c.name for c in node.control_inputs] == ["g/NoOp", "g/NoOp_1"]
    assert [c.control_inputs[0] for c in node.control_inputs] == [a.op, b.op]


def test_group_and_tuple_refuse_what_is_no_tensor() -> None:
    with pytest.raises(TypeError, match=r"Expected tf\.group"):
        control.group(3)
    with pytest.raises(ValueError, match="Unknown keyword arguments: x"):
        control.group(x=1)
    with pytest.raises(ValueError, match="Must have at least one Tensor"):
        control.tuple([None])
    with pytest.raises(TypeError, match="Control input must be Operation or Tensor"):
        control.tuple([constant(1)], control_inputs=[3])


def test_a_tuple_gives_nothing_before_everything_ran() -> None:
    v = state.variable_op_v2([], dtypes.int32, name="v")
    session = Session()
    session.run(state.assign(v, 1))
    add = state.assign_add(v, 5)
    slices = IndexedSlices(constant([1.0]), constant([0]))
    kept, slices_, op_, none = control.tuple([constant(7), slices, add.op, None])
    assert none is None
    assert isinstance(slices_, IndexedSlices)
    assert session.run(kept) == 7
    assert session.run(v) == 6
    session.run(op_)
    assert session.run(slices_.values) == [1.0]
    assert session.run(v) == 16


def test_print_stops_after_the_first_times(capfd: pytest.CaptureFixture[str]) -> None:
    node = logging.Print(constant(2), [constant([1.5, 2.0]), "x"], "got ", first_n=2)
    session = Session()
    values = [session.run(node) for _ in range(3)]
    assert values == [2, 2, 2]
    assert capfd.readouterr().err == "got [1.5 2][x]\n" * 2
    Session().run(node)
    assert capfd.readouterr().err == "got [1.5 2][x]\n"


def test_gradients_pass_through_print() -> None:
    x = constant(3.0)
    y = logging.Print(x, [x])
    assert Session().run(gradients(y * y, x)) == [6.0]


def test_print_v2_on_streams_and_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = Session()
    x = constant(np.arange(10, dtype=np.int32))
    session.run(logging.print_v2("x:", x, output_stream=sys.stdout, end="!\n"))
    session.run(logging.print_v2([x, {"k": x}], summarize=1))
    out, err = capfd.readouterr()
    assert out == "x: [0 1 2 ... 7 8 9]!\n"
    assert err == "[[0 ... 9], {'k': [0 ... 9]}]\n"
    path = tmp_path / "log"
    line = logging.print_v2("{}", x[0], output_stream=f"file://{path}")
    session.run(line)
    session.run(line)
    assert path.read_text() == "{} 0\n" * 2
    with pytest.raises(ValueError, match="Unsupported output stream"):
        logging.print_v2("x", output_stream="nowhere")
    with pytest.raises(ValueError, match="Unrecognized keyword"):
        logging.print_v2("x", color=1)


def test_timestamp_is_the_time_of_the_run() -> None:
    before = time.time()
    assert before - 1e-3 <= Session().run(logging.timestamp()) <= time.time() + 1e-3


def test_no_op_and_trigger_do_nothing() -> None:
    assert Session().run([control.no_op(), control.control_trigger()]) == [None, None]


@pytest.mark.parametrize("pattern", ["(", "[", "a**", "(?P<n"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="Invalid pattern"):
        Session().run(string.regex_replace(["a"], pattern, "b"))


@pytest.mark.parametrize("rewrite", ["\\", "\\2", "\\x"])
def test_bad_rewrites(rewrite: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="Invalid rewrite"):
        Session().run(string.regex_replace(["a"], "(a)", rewrite))


def test_bytes_that_are_no_text_pass_through_expressions() -> None:
    got = Session().run(string.regex_replace([b"\xffa\xfe"], "a", "b"))
    assert got.tolist() == [b"\xffb\xfe"]


def test_hash_functions_have_their_published_values() -> None:
    # The vector of the SipHash paper: key and input count up from zero.
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert _text.sip_hash(key, bytes(range(15))) == 0xA129CA6149BE45E5


def test_bad_formats() -> None:
    numbers = constant([1, 2])
    for kwargs, message in (
        ({"precision": 2}, "precision not supported for datatype int32"),
        ({"shortest": True}, "scientific and shortest format not supported for datatype int32"),
        ({"fill": "ab"}, "Fill string must be one or fewer characters"),
        ({"fill": "x"}, 'Fill argument not supported: "x"'),
    ):
        with pytest.raises(errors.InvalidArgumentError, match=message):
            Session().run(string.as_string(numbers, **kwargs))


def test_strings_of_all_shapes() -> None:
    session = Session()
    assert session.run(string.string_strip(" a ")) == b"a"
    assert session.run(string.string_to_hash_bucket_fast("a", 10)).dtype == np.int64
    assert session.run(string.string_length(np.zeros((0, 3), object))).shape == (0, 3)
    assert session.run(string.string_join([[["a", "b"]], "c"])).tolist() == [[b"ac", b"bc"]]
    x = array.placeholder(dtypes.string)
    joined = string.string_join([x, ["a", "b"]])
    with pytest.raises(errors.InvalidArgumentError, match="Input shapes do not match"):
        session.run(joined, {x: ["a"]})


def test_sparse_functions_refuse_dense_tensors() -> None:
    with pytest.raises(TypeError, match="Input must be a SparseTensor"):
        sparse.sparse_reorder(constant([1]))
