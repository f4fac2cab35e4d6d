"""Structures of elements: tuples, dictionaries and attrs classes; lists are values, which become tensors.

Source: tensorflow/python/data/util/nest.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kvarn.graph import nest
from kvarn.graph.tensor import SparseTensorValue


def is_sequence(structure: Any) -> bool:
    """Whether ``structure`` has parts."""
    return nest.is_nested(structure) and not isinstance(structure, (list, SparseTensorValue))


def _parts(structure: Any) -> list[Any]:
    """The parts in the order in which they count."""
    if isinstance(structure, Mapping):
        try:
            return [structure[key] for key in sorted(structure)]
        except TypeError:
            raise TypeError("nest only supports dicts with sortable keys.") from None
    if hasattr(type(structure), "__attrs_attrs__"):
        return [getattr(structure, a.name) for a in type(structure).__attrs_attrs__]
    return list(structure)


def _like(structure: Any, parts: list[Any]) -> Any:
    """A structure of the same kind with other parts."""
    if isinstance(structure, Mapping):
        by_key = dict(zip(sorted(structure), parts, strict=True))
        return type(structure)((key, by_key[key]) for key in structure)  # type: ignore[call-arg]
    if hasattr(structure, "_fields") or hasattr(type(structure), "__attrs_attrs__"):
        return type(structure)(*parts)
    return type(structure)(parts)


def flatten(structure: Any) -> list[Any]:
    """The values in order; a value itself gives a list of one."""
    if not is_sequence(structure):
        return [structure]
    return [value for part in _parts(structure) for value in flatten(part)]


def pack_sequence_as(structure: Any, flat_sequence: Any) -> Any:
    """The values of ``flat_sequence`` in the form of ``structure``; the reverse of `flatten`.

    Raises:
      TypeError: ``flat_sequence`` is no sequence.
      ValueError: it has more or fewer values than ``structure``.
    """
    if not isinstance(flat_sequence, (list, tuple)):
        raise TypeError("flat_sequence must be a sequence")
    if not is_sequence(structure):
        if len(flat_sequence) != 1:
            raise ValueError(f"Structure is a scalar but len(flat_sequence) == {len(flat_sequence)} > 1")
        return flat_sequence[0]
    wanted = len(flatten(structure))
    if wanted != len(flat_sequence):
        raise ValueError(
            f"Could not pack sequence. Structure had {wanted} elements, but flat_sequence had "
            f"{len(flat_sequence)} elements.  Structure: {structure}, flat_sequence: {flat_sequence}."
        )
    values = iter(flat_sequence)

    def packed(item: Any) -> Any:
        return _like(item, [packed(p) for p in _parts(item)]) if is_sequence(item) else next(values)

    return packed(structure)


def map_structure(func: Callable[..., Any], *structure: Any, check_types: bool = True) -> Any:
    """``func`` of the values of all structures, packed like the first one.

    Raises:
      TypeError: ``func`` cannot be called, or (with ``check_types``) the structures differ in kind.
      ValueError: there is no structure, or they have different forms.
    """
    if not callable(func):
        raise TypeError(f"func must be callable, got: {func}")
    if not structure:
        raise ValueError("Must provide at least one structure")
    for other in structure[1:]:
        assert_same_structure(structure[0], other, check_types)
    flat = [flatten(s) for s in structure]
    return pack_sequence_as(structure[0], [func(*values) for values in zip(*flat, strict=True)])


def assert_same_structure(nest1: Any, nest2: Any, check_types: bool = True) -> None:
    """Checks that two structures have the same form.

    Raises:
      ValueError: they differ in form.
      TypeError: they differ in the kind of a part, with ``check_types``.
    """
    count, other_count = len(flatten(nest1)), len(flatten(nest2))
    if is_sequence(nest1) != is_sequence(nest2) or count != other_count:
        raise ValueError(
            "The two structures don't have the same number of elements. First structure: "
            f"{nest1}, second structure: {nest2}."
        )
    _assert_same(nest1, nest2, check_types)


def _assert_same(a: Any, b: Any, check_types: bool) -> None:
    if is_sequence(a) != is_sequence(b):
        raise ValueError(
            "The two structures don't have the same nested structure. First structure: "
            f"{a}, second structure: {b}."
        )
    if not is_sequence(a):
        return
    if check_types and type(a) is not type(b) and not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        raise TypeError(
            f"The two structures don't have the same sequence type. First structure has type {type(a)}, while second "
            f"structure has type {type(b)}."
        )
    if isinstance(a, Mapping) and set(a) != set(b):
        raise ValueError(
            "The two dictionaries don't have the same set of keys. First structure has keys "
            f"{list(a)}, while second structure has keys {list(b)}."
        )
    parts = _parts(a), _parts(b)
    if len(parts[0]) != len(parts[1]):
        raise ValueError(
            "The two structures don't have the same number of elements. First structure: "
            f"{a}, second structure: {b}."
        )
    for x, y in zip(*parts, strict=True):
        _assert_same(x, y, check_types)


def flatten_up_to(shallow_tree: Any, input_tree: Any) -> list[Any]:
    """The parts of ``input_tree`` that stand where ``shallow_tree`` has values.

    Raises:
      TypeError: a part is no structure, or one of another kind, where ``shallow_tree`` has one.
      ValueError: a structure has more or fewer parts, or other keys.
    """
    if not is_sequence(shallow_tree):
        return [input_tree]
    if not is_sequence(input_tree):
        raise TypeError(
            "If shallow structure is a sequence, input must also be a sequence. Input has type: "
            f"{type(input_tree)}."
        )
    if not isinstance(input_tree, type(shallow_tree)):
        raise TypeError(
            "The two structures don't have the same sequence type. Input structure has type "
            f"{type(input_tree)}, while shallow structure has type {type(shallow_tree)}."
        )
    if len(input_tree) != len(shallow_tree):
        raise ValueError(
            "The two structures don't have the same sequence length. Input structure has length "
            f"{len(input_tree)}, while shallow structure has length {len(shallow_tree)}."
        )
    if isinstance(shallow_tree, Mapping) and set(input_tree) != set(shallow_tree):
        raise ValueError(
            "The two structures don't have the same keys. Input structure has keys "
            f"{list(input_tree)}, while shallow structure has keys {list(shallow_tree)}."
        )
    pairs = zip(_parts(shallow_tree), _parts(input_tree), strict=True)
    return [value for shallow, part in pairs for value in flatten_up_to(shallow, part)]


def map_structure_up_to(shallow_tree: Any, func: Callable[..., Any], *inputs: Any) -> Any:
    """``func`` of the parts that `flatten_up_to` gives of each input, packed like ``shallow_tree``.

    Raises:
      ValueError: there is no input; and as `flatten_up_to`.
    """
    if not inputs:
        raise ValueError("Cannot map over no sequences")
    flat = [flatten_up_to(shallow_tree, tree) for tree in inputs]
    return pack_sequence_as(shallow_tree, [func(*values) for values in zip(*flat, strict=True)])
