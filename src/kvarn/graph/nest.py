"""Nested structures: lists, tuples, named tuples, dictionaries and attrs classes with leaves in them.

A dictionary counts by its sorted keys.  Composites (IndexedSlices, SparseTensor) are leaves unless
``expand_composites``, which takes them apart into their tensors.

Source: tensorflow/python/util/nest.py and tensorflow/python/util/util.cc (1.15).
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping, MappingView, Sequence
from typing import Any

from kvarn.graph.tensor import IndexedSlices, SparseTensor


def is_nested(structure: Any) -> bool:
    """Whether ``structure`` is something with parts: a sequence that is no string, a mapping, an attrs object."""
    if isinstance(structure, (list, tuple, dict)):
        return True
    if isinstance(structure, (str, bytes, bytearray)):
        return False
    return isinstance(structure, (Sequence, Mapping, MappingView)) or _is_attrs(structure)


def is_nested_or_composite(structure: Any) -> bool:
    """`is_nested`, or IndexedSlices or a SparseTensor."""
    return is_nested(structure) or isinstance(structure, (IndexedSlices, SparseTensor))


def flatten(structure: Any, expand_composites: bool = False) -> list[Any]:
    """The leaves in order; a leaf itself gives a list of one.

    Raises:
      TypeError: the keys of a dictionary cannot be sorted.
    """
    nested = is_nested_or_composite if expand_composites else is_nested
    found: list[Any] = []

    def collect(item: Any) -> None:
        if nested(item):
            for _, part in _items(item):
                collect(part)
        else:
            found.append(item)

    collect(structure)
    return found


def pack_sequence_as(structure: Any, flat_sequence: Any, expand_composites: bool = False) -> Any:
    """The leaves of ``flat_sequence`` in the form of ``structure``; the reverse of `flatten`.

    Raises:
      TypeError: ``flat_sequence`` is no sequence.
      ValueError: it has more or fewer leaves than ``structure``.
    """
    nested = is_nested_or_composite if expand_composites else is_nested
    if not is_nested(flat_sequence):
        raise TypeError("flat_sequence must be a sequence")
    flat = list(flat_sequence)
    if not nested(structure):
        if len(flat) != 1:
            raise ValueError(f"Structure is a scalar but len(flat_sequence) == {len(flat)} > 1")
        return flat[0]
    leaves = iter(flat)

    def packed(item: Any) -> Any:
        if nested(item):
            return _like(item, [packed(part) for _, part in _items(item)])
        return next(leaves)

    wanted = len(flatten(structure, expand_composites))
    if wanted != len(flat):
        raise ValueError(
            f"Could not pack sequence. Structure had {wanted} elements, but flat_sequence had {len(flat)} "
            f"elements.  Structure: {structure}, flat_sequence: {flat}."
        )
    return packed(structure)


def map_structure(
    func: Callable[..., Any], *structure: Any, check_types: bool = True, expand_composites: bool = False
) -> Any:
    """``func`` of the leaves of all structures, packed like the first one.

    Raises:
      TypeError: ``func`` is not callable, or the structures differ in their types (with ``check_types``).
      ValueError: there is no structure, or they have different forms.
    """
    if not callable(func):
        raise TypeError(f"func must be callable, got: {func}")
    if not structure:
        raise ValueError("Must provide at least one structure")
    for other in structure[1:]:
        assert_same_structure(structure[0], other, check_types, expand_composites)
    flat = [flatten(s, expand_composites) for s in structure]
    results = [func(*leaves) for leaves in zip(*flat, strict=True)]
    return pack_sequence_as(structure[0], results, expand_composites)


def assert_same_structure(
    nest1: Any, nest2: Any, check_types: bool = True, expand_composites: bool = False
) -> None:
    """Checks that two structures have the same form.

    Args:
      check_types: containers must be of the same types, too; lists of any kind count as the same, so do
        mappings, and named tuples of the same name and fields.

    Raises:
      ValueError: they differ in form.
      TypeError: they differ in the type of a container, or in the keys of a dictionary.
    """
    nested = is_nested_or_composite if expand_composites else is_nested
    found = _difference(nest1, nest2, check_types, nested)
    if found is None:
        return
    kind, what = found
    dots = [str(map_structure(lambda _: _DOT, n)) for n in (nest1, nest2)]
    raise kind(
        f"The two structures don't have the same nested structure.\n\nFirst structure: {_shown(nest1)}\n\n"
        f"Second structure: {_shown(nest2)}\n\nMore specifically: {what}\n"
        f"Entire first structure:\n{dots[0]}\nEntire second structure:\n{dots[1]}"
    )


class _Dot:
    """A leaf as messages show it."""

    def __repr__(self) -> str:
        return "."


_DOT = _Dot()


def _difference(
    a: Any, b: Any, check_types: bool, nested: Callable[[Any], bool]
) -> tuple[type[Exception], str] | None:
    """What is the first difference, with the error to be raised for it; None if there is none."""
    if nested(a) != nested(b):
        whole, leaf = (a, b) if nested(a) else (b, a)
        return (
            ValueError,
            f'Substructure "{_shown(whole)}" is a sequence, while substructure "{_shown(leaf)}" is not',
        )
    if not nested(a):
        return None
    if check_types:
        if not _same_kind(a, b):
            return TypeError, (
                "The two namedtuples don't have the same sequence type. "
                f"First structure {_shown(a)} has type {type(a).__name__}, "
                f"while second structure {_shown(b)} has type {type(b).__name__}"
            )
        if isinstance(a, Mapping) and set(a) != set(b):
            return ValueError, (
                "The two dictionaries don't have the same set of keys. First structure has keys "
                f"{_shown(list(a))}, while second structure has keys {_shown(list(b))}"
            )
    parts = [[part for _, part in _items(x)] for x in (a, b)]
    for x, y in zip(*parts, strict=False):
        found = _difference(x, y, check_types, nested)
        if found is not None:
            return found
    if len(parts[0]) != len(parts[1]):
        return ValueError, (
            "The two structures don't have the same number of elements. "
            f"First structure: {_shown(a)}. Second structure: {_shown(b)}"
        )
    return None


def _same_kind(a: Any, b: Any) -> bool:
    if _is_plain_namedtuple(a) and _is_plain_namedtuple(b):
        return bool(a._fields == b._fields and type(a).__name__ == type(b).__name__)
    return (
        type(a) is type(b)
        or (isinstance(a, list) and isinstance(b, list))
        or (isinstance(a, Mapping) and isinstance(b, Mapping))
    )


def _shown(value: Any) -> str:
    return f"type={type(value).__name__} str={value}"


def _is_attrs(value: Any) -> bool:
    return hasattr(type(value), "__attrs_attrs__")


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _is_plain_namedtuple(value: Any) -> bool:
    return _is_namedtuple(value) and type(value).__base__ is tuple


def _sorted_keys(mapping: Any) -> list[Any]:
    try:
        return sorted(mapping)
    except TypeError:
        raise TypeError("nest only supports dicts with sortable keys.") from None


def _items(structure: Any) -> Iterator[tuple[Any, Any]]:
    """The parts with their keys, in the order in which they count."""
    if isinstance(structure, Mapping):
        for key in _sorted_keys(structure):
            yield key, structure[key]
    elif _is_attrs(structure):
        for attribute in type(structure).__attrs_attrs__:
            yield attribute.name, getattr(structure, attribute.name)
    elif _is_namedtuple(structure):
        for field in structure._fields:
            yield field, getattr(structure, field)
    elif isinstance(structure, SparseTensor):
        yield from enumerate((structure.indices, structure.values, structure.dense_shape))
    elif isinstance(structure, IndexedSlices):
        parts = (structure.values, structure.indices, structure.dense_shape)
        yield from enumerate(p for p in parts if p is not None)
    else:
        yield from enumerate(structure)


def _like(structure: Any, parts: list[Any]) -> Any:
    """A container like ``structure`` with other parts."""
    if isinstance(structure, Mapping):
        by_key = dict(zip(_sorted_keys(structure), parts, strict=True))
        if isinstance(structure, collections.defaultdict):
            made: Any = collections.defaultdict(structure.default_factory)
            made.update((key, by_key[key]) for key in structure)
            return made
        return type(structure)((key, by_key[key]) for key in structure)  # type: ignore[call-arg]
    if isinstance(structure, (MappingView, range)):
        return parts
    if isinstance(structure, SparseTensor):
        return SparseTensor(*parts)
    if isinstance(structure, IndexedSlices):
        return IndexedSlices(*parts)
    if _is_namedtuple(structure) or _is_attrs(structure):
        return type(structure)(*parts)
    return type(structure)(parts)
