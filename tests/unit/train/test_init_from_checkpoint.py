"""init_from_checkpoint and warm_start: what they take, what they refuse, and that nothing half happens."""

from __future__ import annotations

import pytest

from kvarn import dtypes, errors
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.saver.saver import Saver
from kvarn.train.checkpoint_utils import init_from_checkpoint
from kvarn.train.warm_starting import warm_start
from kvarn.variables.initializers import Zeros
from kvarn.variables.partitioners import fixed_size_partitioner
from kvarn.variables.scope import get_embedding_variable, get_variable, variable_scope
from kvarn.variables.variable import global_variables_initializer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    with Graph().as_default():
        get_variable("a", initializer=[1.0, 2.0])
        get_variable("wide", initializer=[[float(i), -float(i)] for i in range(5)])
        with variable_scope("old"):
            get_variable("b", initializer=3.0)
            get_variable("b_more", initializer=4.0)
        with Session() as session:
            session.run(global_variables_initializer())
            Saver().save(session, str(folder / "model.ckpt"))
    return folder


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default() as g:
        yield g


def zeros(name, shape, **kwargs):
    return get_variable(name, shape, initializer=Zeros(), **kwargs)


def initialized(fetches):
    with Session() as session:
        session.run(global_variables_initializer())
        return session.run(fetches)


@pytest.mark.parametrize("use_resource", [False, True])
def test_from_a_folder_by_name_and_by_object(checkpoint, use_resource):
    a = zeros("x/a", [2], use_resource=use_resource)
    b = zeros("b", [], use_resource=use_resource)
    init_from_checkpoint(str(checkpoint), {"a": "x/a", "old/b": b})
    got = initialized([a, b])
    assert [v.tolist() for v in got] == [[1.0, 2.0], 3.0]


def test_scopes_from_and_to_the_outermost(checkpoint):
    with variable_scope("new"):
        b = zeros("b", [])
    more = zeros("b_more", [])
    init_from_checkpoint(str(checkpoint), {"old/": "new/"})
    assert initialized(b) == 3.0
    with pytest.raises(ValueError, match="old/new/b"):
        init_from_checkpoint(str(checkpoint), {"old/": "/"})
    assert initialized(more) == 0.0


@pytest.mark.parametrize("target", [lambda parts: "p", list])
def test_parts_take_their_own_rows(checkpoint, target):
    parts = get_variable("p", [5, 2], initializer=Zeros(), partitioner=fixed_size_partitioner(2))
    init_from_checkpoint(str(checkpoint), {"wide": target(parts)})
    first, second = initialized(list(parts))
    assert [first[:, 0].tolist(), second[:, 1].tolist()] == [[0.0, 1.0, 2.0], [-3.0, -4.0]]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"absent": "x"}, "absent is not found"),
        ({"wide": "x"}, "Shape of variable x"),
        ({"a": "nothing_here"}, "scope only name"),
        ({"absent/": "s/"}, "absent/y"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_changed(checkpoint, mapping, message):
    x = zeros("x", [2])
    y = zeros("s/y", [2])
    with pytest.raises(ValueError, match=message):
        init_from_checkpoint(str(checkpoint), mapping)
    assert initialized([x, y])[0].tolist() == [0.0, 0.0]


def test_parts_of_two_variables_are_not_one(checkpoint):
    first = get_variable("p", [5, 2], partitioner=fixed_size_partitioner(2))
    second = get_variable("q", [5, 2], partitioner=fixed_size_partitioner(2))
    with pytest.raises(ValueError, match="Slices must all be from the same tensor"):
        init_from_checkpoint(str(checkpoint), {"wide": [next(iter(first)), list(second)[1]]})


def test_embedding_variables_are_refused(checkpoint):
    ev = get_embedding_variable("ev", embedding_dim=2, key_dtype=dtypes.int64)
    with pytest.raises(errors.UnimplementedError, match="embedding variables") as caught:
        init_from_checkpoint(str(checkpoint), {"wide": ev})
    assert "Saver" in caught.value.hint


def test_no_checkpoint(tmp_path):
    zeros("x", [2])
    with pytest.raises(ValueError, match="Couldn't find 'checkpoint' file"):
        init_from_checkpoint(str(tmp_path), {"a": "x"})
    with pytest.raises(errors.NotFoundError):
        init_from_checkpoint(str(tmp_path / "model.ckpt"), {"a": "x"})


def test_warm_start_chooses_trainable_variables_by_pattern(checkpoint):
    a, b = zeros("a", [2]), zeros("old/b", [])
    frozen = zeros("old/b_more", [], trainable=False)
    warm_start(str(checkpoint), "old")
    assert [v.tolist() for v in initialized([a, b, frozen])] == [[0.0, 0.0], 3.0, 0.0]
    warm_start(str(checkpoint), ["a:", "old/b_more"])
    assert [v.tolist() for v in initialized([a, b, frozen])] == [[1.0, 2.0], 3.0, 4.0]


def test_warm_start_under_another_name_and_in_parts(checkpoint):
    x = zeros("x", [2])
    parts = get_variable("wide", [5, 2], initializer=Zeros(), partitioner=fixed_size_partitioner(3))
    warm_start(str(checkpoint), var_name_to_prev_var_name={"x": "a"})
    got = initialized([x, *parts])
    assert got[0].tolist() == [1.0, 2.0]
    assert [v[:, 0].tolist() for v in got[1:]] == [[0.0, 1.0], [2.0, 3.0], [4.0]]


def test_warm_start_refuses_what_it_does_not_use(checkpoint):
    zeros("a", [2])
    with pytest.raises(ValueError, match=r"not used.*'typo'"):
        warm_start(str(checkpoint), var_name_to_prev_var_name={"typo": "a"})
    with pytest.raises(ValueError, match="must be all `Variable` or all `str`"):
        warm_start(str(checkpoint), ["a", 1])
    with pytest.raises(ValueError, match="must be a `list` or `str`"):
        warm_start(str(checkpoint), 7)
