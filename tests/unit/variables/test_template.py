"""Templates share their variables and refuse to make new trainable ones."""

from __future__ import annotations

import pytest

from kvarn.graph.graph import Graph
from kvarn.variables.initializers import Zeros
from kvarn.variables.scope import get_variable, variable_scope
from kvarn.variables.template import make_template
from kvarn.variables.variable import VariableV1 as Variable
from kvarn.variables.variable import global_variables


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default() as g:
        yield g


def scaled(x, name="w", trainable=True):
    return x * get_variable(name, [], initializer=Zeros(), trainable=trainable)


def names(variables):
    return [v.name for v in variables]


def test_calls_share_and_templates_do_not():
    first, second = make_template("t", scaled), make_template("t", scaled)
    for template in (first, second, first, second):
        template(1.0)
    assert names(global_variables()) == ["t/w:0", "t_1/w:0"]
    assert names(first.variables) == names(first.trainable_weights) == ["t/w:0"]
    assert names(second.global_variables) == ["t_1/w:0"]


def test_the_scope_is_that_of_the_first_call_or_of_the_making():
    late = make_template("t", scaled)
    with variable_scope("here"):
        early = make_template("t", scaled, create_scope_now_=True)
    assert late.variable_scope is None
    assert late.variable_scope_name is None
    assert early.variable_scope_name == "here/t/"
    with variable_scope("there"):
        late(1.0)
    early(1.0)
    assert names(global_variables()) == ["there/t/w:0", "here/t/w:0"]


def test_arguments_given_beforehand_and_kinds_of_variables():
    template = make_template("t", scaled, trainable=False, name="frozen")
    assert template.variables == []
    template(1.0)
    assert names(template.non_trainable_variables) == ["t/frozen:0"]
    assert template.trainable_variables == []


def test_a_unique_name_is_taken_as_it_is_once():
    make_template("t", scaled, unique_name_="own")(1.0)
    again = make_template("t", scaled, unique_name_="own")
    with pytest.raises(
        ValueError, match=r"own/w already exists(.|\n)*originally defined at:(.|\n)*test_template"
    ):
        again(1.0)


def test_a_failed_first_call_is_still_the_first():
    calls = []

    def fails_once(x):
        calls.append(x)
        result = scaled(x, name=f"w{len(calls)}")
        if len(calls) == 1:
            raise KeyError("once")
        return result

    template = make_template("t", fails_once)
    with pytest.raises(KeyError, match="once"):
        template(1.0)
    template(1.0)
    assert names(template.variables) == ["t/w1:0", "t/w2:0"]


def test_a_later_call_makes_no_trainable_variable():
    template = make_template("t", lambda x: Variable(x))
    template(1.0)
    with pytest.raises(ValueError, match="Trainable variable created when calling a template after"):
        template(2.0)


def test_a_name_is_needed():
    with pytest.raises(ValueError, match="name cannot be None"):
        make_template(None, scaled)


def test_errors_show_the_way_to_where_the_template_was_made():
    """The frames that the call has in common with it are left out, as TensorFlow's message leaves them out."""

    def failing():
        raise ValueError("oops")

    def made_here():
        return make_template("t", failing)

    def made_there():
        return made_here()

    template = made_there()
    with pytest.raises(ValueError, match="oops") as caught:
        template()
    lines = str(caught.value).split("\n")
    assert lines[:3] == ["oops", "", "originally defined at:"]
    assert [line.strip() for line in lines[4::2] if line] == [
        "template = made_there()",
        "return made_here()",
        'return make_template("t", failing)',
    ]
