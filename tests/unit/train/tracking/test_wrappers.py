"""Wrappers of lists and dictionaries are such themselves, and empty as these: nothing may look there."""

import copy
import json
import operator
import pickle

import pytest

from kvarn.graph import nest
from kvarn.train.tracking.wrappers import ListWrapper, _DictWrapper

# What does not depend on the contents.
_OF_ANY_OBJECT = {
    *("__new__", "__init__", "__getattribute__", "__class_getitem__", "__doc__", "__class__"),
    *("fromkeys",),
}


@pytest.mark.parametrize(("wrapper", "builtin"), [(ListWrapper, list), (_DictWrapper, dict)])
def test_every_method_that_looks_at_the_contents_is_overridden(wrapper, builtin):
    own = [name for name in vars(builtin) if name not in _OF_ANY_OBJECT]
    # Comparisons of order are refused by dictionaries of any kind.
    order = {"__lt__", "__le__", "__gt__", "__ge__"} if builtin is dict else set()
    assert [
        name for name in own if getattr(wrapper, name) is getattr(builtin, name) and name not in order
    ] == []


def test_a_list_wrapper_behaves_as_the_list():
    plain = [3, 1, 2]
    wrapped = ListWrapper([3, 1, 2])
    assert wrapped == plain
    assert (wrapped != plain) is False
    assert wrapped != [1, 2]
    assert wrapped != ListWrapper([1])
    assert [0, *wrapped] == [0, 3, 1, 2]
    assert operator.add([0], wrapped) == [0, 3, 1, 2]
    assert wrapped * 2 == plain * 2
    assert list(reversed(wrapped)) == [2, 1, 3]
    assert wrapped.index(1) == 1
    assert wrapped[1:] == [1, 2]
    assert wrapped > [3, 0]
    assert sorted(wrapped) == [1, 2, 3]
    assert nest.flatten([wrapped, 5]) == [3, 1, 2, 5]
    assert json.loads(json.dumps(tuple(wrapped))) == plain
    assert copy.copy(wrapped) == copy.deepcopy(wrapped) == pickle.loads(pickle.dumps(wrapped)) == plain
    wrapped.sort(reverse=True)
    assert wrapped == [3, 2, 1]
    wrapped.clear()
    assert not wrapped


def test_a_dict_wrapper_behaves_as_the_dictionary():
    plain = {"b": 1, "a": 2}
    wrapped = _DictWrapper({"b": 1, "a": 2})
    assert wrapped == plain
    assert (wrapped != plain) is False
    assert wrapped != {"a": 2}
    assert dict(wrapped) == plain
    assert {**wrapped} == plain
    assert wrapped | {"c": 3} == {"b": 1, "a": 2, "c": 3}
    assert {"c": 3} | wrapped == {"c": 3, "b": 1, "a": 2}
    assert list(reversed(wrapped)) == ["a", "b"]
    assert wrapped.get("a") == 2
    assert nest.flatten(wrapped) == [2, 1]
    assert copy.copy(wrapped) == copy.deepcopy(wrapped) == pickle.loads(pickle.dumps(wrapped)) == plain
    wrapped |= {"d": 4}
    assert wrapped.pop("d") == 4
    wrapped.clear()
    assert not wrapped
