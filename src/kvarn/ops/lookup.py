"""Lookup tables as operations: handles, initialization, lookup, insertion, export.

Source: tensorflow/core/ops/lookup_ops.cc, tensorflow/core/kernels/lookup_{table,table_init}_op.cc and
lookup_util.cc (1.15).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.dtypes import DType
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.resources import ResourceHandle, Var
from kvarn.graph.shape_inference import Shape
from kvarn.ops import _vocabulary_file
from kvarn.ops._format import type_text
from kvarn.ops._handles import as_reference, look_up, own_handle
from kvarn.ops._lookup_tables import (
    HashTable,
    LookupTable,
    MutableDenseHashTable,
    MutableHashTable,
    conflicting,
)

_KIND = "LookupTable"
_NAMES = ["container: string = ''", "shared_name: string = ''", "use_node_name_sharing: bool = false"]
_TYPES = ["key_dtype: type", "value_dtype: type"]
_PASSES_ON = frozenset({"Identity", "Enter", "Switch", "Merge"})


# -- handles ------------------------------------------------------------------------------------------


def _array(value: Any, dtype: DType) -> Any:
    return np.asarray(value, dtype=dtype.np)


def _handle(ctx: Any, make: Callable[[str], LookupTable]) -> ResourceHandle:
    """The handle of the node's table, which is made if it is not there."""
    handle = own_handle(ctx, _KIND)
    table = ctx.resources.look_up_or_create(handle, lambda: make(handle.name))
    conflict = conflicting(table, ctx.attrs["key_dtype"], ctx.attrs["value_dtype"])
    if conflict is not None:
        raise conflict
    return handle


def _table(ctx: Any, table_handle: Any) -> LookupTable:
    found: LookupTable = look_up(ctx, table_handle, _KIND)
    return found


def _hash_table(ctx: Any) -> ResourceHandle:
    return _handle(ctx, lambda name: HashTable(name, ctx.attrs["key_dtype"], ctx.attrs["value_dtype"]))


def _mutable_table(ctx: Any) -> ResourceHandle:
    key_dtype, value_dtype = ctx.attrs["key_dtype"], ctx.attrs["value_dtype"]
    return _handle(ctx, lambda name: MutableHashTable(name, key_dtype, value_dtype, ()))


def _table_of_tensors(ctx: Any) -> ResourceHandle:
    shape = ctx.attrs["value_shape"]

    def make(name: str) -> LookupTable:
        if shape is None or len(shape) != 1 or shape[0] is None:
            raise errors.InvalidArgumentError.of(
                f"Default value must be a vector, got shape {shapes.fmt(shape)}", name=name
            )
        return MutableHashTable(name, ctx.attrs["key_dtype"], ctx.attrs["value_dtype"], shape)

    return _handle(ctx, make)


@op("HashTable", outputs="table_handle: Ref(string)", attrs=[*_NAMES, *_TYPES], stateful=True)
class hash_table:
    """The handle of a table that is initialized once, as a reference."""

    def shape(c: Any) -> Any:
        return (2,)

    def kernel(ctx: Any) -> Any:
        return as_reference(ctx, _hash_table(ctx))


@op("HashTableV2", outputs="table_handle: resource", attrs=[*_NAMES, *_TYPES], stateful=True)
class hash_table_v2:
    """The handle of a table that is initialized once."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _hash_table(ctx)


@op("MutableHashTable", outputs="table_handle: Ref(string)", attrs=[*_NAMES, *_TYPES], stateful=True)
class mutable_hash_table:
    """The handle of a table from scalars to scalars, as a reference."""

    def shape(c: Any) -> Any:
        return (2,)

    def kernel(ctx: Any) -> Any:
        return as_reference(ctx, _mutable_table(ctx))


@op("MutableHashTableV2", outputs="table_handle: resource", attrs=[*_NAMES, *_TYPES], stateful=True)
class mutable_hash_table_v2:
    """The handle of a table from scalars to scalars."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _mutable_table(ctx)


@op(
    "MutableHashTableOfTensors",
    outputs="table_handle: Ref(string)",
    attrs=[*_NAMES, *_TYPES, "value_shape: shape = {}"],
    stateful=True,
)
class mutable_hash_table_of_tensors:
    """The handle of a table from scalars to vectors, as a reference."""

    def shape(c: Any) -> Any:
        return (2,)

    def kernel(ctx: Any) -> Any:
        return as_reference(ctx, _table_of_tensors(ctx))


@op(
    "MutableHashTableOfTensorsV2",
    outputs="table_handle: resource",
    attrs=[*_NAMES, *_TYPES, "value_shape: shape = {}"],
    stateful=True,
)
class mutable_hash_table_of_tensors_v2:
    """The handle of a table from scalars to vectors."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _table_of_tensors(ctx)


_DENSE = [
    *_NAMES,
    *_TYPES,
    "value_shape: shape = {}",
    "initial_num_buckets: int = 131072",
    "max_load_factor: float = 0.8",
]


@op(
    "MutableDenseHashTable",
    inputs="empty_key: key_dtype",
    outputs="table_handle: Ref(string)",
    attrs=_DENSE,
    stateful=True,
    graph_only=True,
)
class mutable_dense_hash_table:
    """The older form of MutableDenseHashTableV2, which has no deleted key: TensorFlow 1.15 cannot run it either."""

    def shape(c: Any, empty_key: Any) -> Any:
        return (2,)


@op(
    "MutableDenseHashTableV2",
    inputs=["empty_key: key_dtype", "deleted_key: key_dtype"],
    outputs="table_handle: resource",
    attrs=_DENSE,
    stateful=True,
)
class mutable_dense_hash_table_v2:
    """The handle of a table of buckets, from scalars or vectors to scalars or vectors."""

    shape = shapes.scalar

    def kernel(ctx: Any, empty_key: Any, deleted_key: Any) -> Any:
        a = ctx.attrs
        return _handle(
            ctx,
            lambda name: MutableDenseHashTable(
                name,
                a["key_dtype"],
                a["value_dtype"],
                a["value_shape"],
                _array(empty_key, a["key_dtype"]),
                _array(deleted_key, a["key_dtype"]),
                a["initial_num_buckets"],
                a["max_load_factor"],
            ),
        )


# -- static shapes ------------------------------------------------------------------------------------


def _known(handle: Any) -> tuple[tuple[Shape, DType], tuple[Shape, DType]] | None:
    """What the handle tells of the shapes and types of one key and one value."""
    node = handle.op
    if node.type in _PASSES_ON and node._inputs:
        return _known(node._inputs[0])
    if node.type not in ("MutableHashTableV2", "MutableHashTableOfTensorsV2", "MutableDenseHashTableV2"):
        return None
    key_shape: Shape = ()
    if node.type == "MutableDenseHashTableV2":
        key_shape = node._inputs[0]._shape
    return (key_shape, node.attrs["key_dtype"]), (
        node.attrs.get("value_shape", ()),
        node.attrs["value_dtype"],
    )


def _check_types(c: Any, key_attr: str, value_attr: str) -> tuple[Shape, Shape] | None:
    known = _known(c.inputs[0])
    if known is None:
        return None
    for (_, dtype), attr in zip(known, (key_attr, value_attr), strict=True):
        if c.attrs[attr] is not dtype:
            raise ValueError(
                f"Trying to read value with wrong dtype. Expected {type_text(dtype)} got "
                f"{type_text(c.attrs[attr])}"
            )
    return known[0][0], known[1][0]


def _find_shape(c: Any, table_handle: Any, keys: Any, default_value: Any) -> Any:
    if default_value is not None and len(default_value) > 1:
        raise ValueError(f"Shape must be at most rank 1 but is rank {len(default_value)}")
    known = _check_types(c, "Tin", "Tout")
    if known is None or known[0] is None or keys is None:
        return None
    key_shape, value_shape = known
    rank = len(key_shape or ())
    if len(keys) < rank:
        raise ValueError(
            f"Expected keys to have suffix {shapes.fmt(key_shape)} but saw shape: {shapes.fmt(keys)}"
        )
    shapes.merge(keys[len(keys) - rank :], key_shape)
    return None if value_shape is None else keys[: len(keys) - rank] + value_shape


def _export_shape(c: Any, table_handle: Any) -> Any:
    known = _check_types(c, "Tkeys", "Tvalues")
    return [(None,), None if known is None or known[1] is None else (None, *known[1])]


def _import_shape(c: Any, table_handle: Any, keys: Any, values: Any) -> Any:
    shapes.with_rank(keys, 1)
    shapes.merge(keys, values)
    return []


# -- reading ------------------------------------------------------------------------------------------


def _check_signature(
    ctx: Any, table_handle: Any, found: Sequence[DType], wanted: Sequence[DType], outputs: int = 0
) -> None:
    """InvalidArgumentError unless the node has the types of the table; the last ``outputs`` are of outputs."""
    if tuple(found) == tuple(wanted):
        return
    handle = "string_ref" if isinstance(table_handle, Var) else "resource"

    def signature(types: Sequence[DType]) -> str:
        texts = [type_text(t) for t in types]
        inputs = len(texts) - outputs
        return f"{', '.join([handle, *texts[:inputs]])}->{', '.join(texts[inputs:])}"

    raise errors.InvalidArgumentError.of(
        f"Signature mismatch, have: {signature(found)} expected: {signature(wanted)}", name=ctx.op.name
    )


def _find(ctx: Any, table_handle: Any, keys: Any, default_value: Any) -> Any:
    table = _table(ctx, table_handle)
    _check_signature(
        ctx,
        table_handle,
        (ctx.attrs["Tin"], ctx.attrs["Tout"], ctx.attrs["Tout"]),
        (table.key_dtype, table.value_dtype, table.value_dtype),
        outputs=1,
    )
    keys, default = _array(keys, table.key_dtype), _array(default_value, table.value_dtype)
    table.check_keys(keys)
    if default.shape != table.value_shape:
        raise errors.InvalidArgumentError.of(
            f"Expected shape {shapes.fmt(table.value_shape)} for default value, got {shapes.fmt(default.shape)}",
            name=table.name,
        )
    return table.find(keys, default)


@op(
    "LookupTableFind",
    inputs=["table_handle: Ref(string)", "keys: Tin", "default_value: Tout"],
    outputs="values: Tout",
    attrs=["Tin: type", "Tout: type"],
)
class lookup_table_find:
    """The values of ``keys``; ``default_value`` for keys that are not in the table."""

    shape = shapes.unknown

    def kernel(ctx: Any, table_handle: Any, keys: Any, default_value: Any) -> Any:
        return _find(ctx, table_handle, keys, default_value)

    grad = NOT_DIFFERENTIABLE


@op(
    "LookupTableFindV2",
    inputs=["table_handle: resource", "keys: Tin", "default_value: Tout"],
    outputs="values: Tout",
    attrs=["Tin: type", "Tout: type"],
    stateful=True,
)
class lookup_table_find_v2:
    """The values of ``keys``; ``default_value`` for keys that are not in the table."""

    shape = _find_shape

    def kernel(ctx: Any, table_handle: Any, keys: Any, default_value: Any) -> Any:
        return _find(ctx, table_handle, keys, default_value)

    grad = NOT_DIFFERENTIABLE


def _size(ctx: Any, table_handle: Any) -> Any:
    return np.int64(_table(ctx, table_handle).size())


@op("LookupTableSize", inputs="table_handle: Ref(string)", outputs="size: int64")
class lookup_table_size:
    """How many keys the table has."""

    shape = shapes.scalar

    def kernel(ctx: Any, table_handle: Any) -> Any:
        return _size(ctx, table_handle)

    grad = NOT_DIFFERENTIABLE


@op("LookupTableSizeV2", inputs="table_handle: resource", outputs="size: int64", stateful=True)
class lookup_table_size_v2:
    """How many keys the table has."""

    shape = shapes.scalar

    def kernel(ctx: Any, table_handle: Any) -> Any:
        return _size(ctx, table_handle)

    grad = NOT_DIFFERENTIABLE


@op(
    "LookupTableExport",
    inputs="table_handle: Ref(string)",
    outputs=["keys: Tkeys", "values: Tvalues"],
    attrs=["Tkeys: type", "Tvalues: type"],
)
class lookup_table_export:
    """All keys and values of the table."""

    def shape(c: Any, table_handle: Any) -> Any:
        return [(None,), None]

    def kernel(ctx: Any, table_handle: Any) -> Any:
        return _table(ctx, table_handle).export_values()

    grad = NOT_DIFFERENTIABLE


@op(
    "LookupTableExportV2",
    inputs="table_handle: resource",
    outputs=["keys: Tkeys", "values: Tvalues"],
    attrs=["Tkeys: type", "Tvalues: type"],
    stateful=True,
)
class lookup_table_export_v2:
    """All keys and values of the table."""

    shape = _export_shape

    def kernel(ctx: Any, table_handle: Any) -> Any:
        return _table(ctx, table_handle).export_values()

    grad = NOT_DIFFERENTIABLE


# -- changing -----------------------------------------------------------------------------------------


def _check_types_of_contents(
    ctx: Any, table_handle: Any, table: LookupTable, key_attr: str, value_attr: str
) -> None:
    found = ctx.attrs[key_attr], ctx.attrs[value_attr]
    _check_signature(ctx, table_handle, found, (table.key_dtype, table.value_dtype))


def _insert(ctx: Any, table_handle: Any, keys: Any, values: Any) -> None:
    table = _table(ctx, table_handle)
    _check_types_of_contents(ctx, table_handle, table, "Tin", "Tout")
    keys, values = _array(keys, table.key_dtype), _array(values, table.value_dtype)
    table.check(keys, values)
    table.insert(keys, values)


def _import(ctx: Any, table_handle: Any, keys: Any, values: Any) -> None:
    table = _table(ctx, table_handle)
    _check_types_of_contents(ctx, table_handle, table, "Tin", "Tout")
    keys, values = _array(keys, table.key_dtype), _array(values, table.value_dtype)
    table.check(keys, values, import_format=True)
    table.import_values(keys, values)


_KEYS_AND_VALUES = ["keys: Tin", "values: Tout"]


@op(
    "LookupTableInsert",
    inputs=["table_handle: Ref(string)", *_KEYS_AND_VALUES],
    attrs=["Tin: type", "Tout: type"],
)
class lookup_table_insert:
    """Sets the values of ``keys``."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, table_handle: Any, keys: Any, values: Any) -> None:
        _insert(ctx, table_handle, keys, values)


@op(
    "LookupTableInsertV2",
    inputs=["table_handle: resource", *_KEYS_AND_VALUES],
    attrs=["Tin: type", "Tout: type"],
    stateful=True,
)
class lookup_table_insert_v2:
    """Sets the values of ``keys``."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, table_handle: Any, keys: Any, values: Any) -> None:
        _insert(ctx, table_handle, keys, values)


@op("LookupTableRemoveV2", inputs=["table_handle: resource", "keys: Tin"], attrs="Tin: type", stateful=True)
class lookup_table_remove_v2:
    """Removes ``keys``; those that are not in the table are passed over."""

    def shape(c: Any, table_handle: Any, keys: Any) -> Any:
        shapes.with_rank_at_least(keys, 1)
        return []

    def kernel(ctx: Any, table_handle: Any, keys: Any) -> None:
        table = _table(ctx, table_handle)
        _check_signature(ctx, table_handle, [ctx.attrs["Tin"]], [table.key_dtype])
        keys = _array(keys, table.key_dtype)
        table.check_keys(keys)
        table.remove(keys)


@op(
    "LookupTableImport",
    inputs=["table_handle: Ref(string)", *_KEYS_AND_VALUES],
    attrs=["Tin: type", "Tout: type"],
)
class lookup_table_import:
    """Replaces the contents of the table."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, table_handle: Any, keys: Any, values: Any) -> None:
        _import(ctx, table_handle, keys, values)


@op(
    "LookupTableImportV2",
    inputs=["table_handle: resource", *_KEYS_AND_VALUES],
    attrs=["Tin: type", "Tout: type"],
    stateful=True,
)
class lookup_table_import_v2:
    """Replaces the contents of the table."""

    shape = _import_shape

    def kernel(ctx: Any, table_handle: Any, keys: Any, values: Any) -> None:
        _import(ctx, table_handle, keys, values)


# -- initialization -----------------------------------------------------------------------------------


def _initializable(ctx: Any, table_handle: Any) -> HashTable:
    table = _table(ctx, table_handle)
    if not isinstance(table, HashTable):
        raise errors.InvalidArgumentError.of(
            f"Table {ctx.resources.default_container} {table.name} is not initializable", name=table.name
        )
    return table


def _initialize(ctx: Any, table_handle: Any, keys: Any, values: Any) -> None:
    table = _initializable(ctx, table_handle)
    _check_types_of_contents(ctx, table_handle, table, "Tkey", "Tval")
    keys, values = _array(keys, table.key_dtype), _array(values, table.value_dtype)
    for what, array in (("Keys", keys), ("Values", values)):
        if array.ndim != 1:
            raise errors.InvalidArgumentError.of(
                f"{what} must be a vector, but received shape{shapes.fmt(array.shape)}", name=table.name
            )
    if keys.size != values.size:
        raise errors.InvalidArgumentError.of(
            f"Keys and values must have the same size {keys.size} vs {values.size}", name=table.name
        )
    table.import_values(keys, values)


@op(
    "InitializeTable",
    inputs=["table_handle: Ref(string)", "keys: Tkey", "values: Tval"],
    attrs=["Tkey: type", "Tval: type"],
)
class initialize_table:
    """Fills a table from two vectors."""

    shape = _import_shape

    def kernel(ctx: Any, table_handle: Any, keys: Any, values: Any) -> None:
        _initialize(ctx, table_handle, keys, values)


@op(
    "InitializeTableV2",
    inputs=["table_handle: resource", "keys: Tkey", "values: Tval"],
    attrs=["Tkey: type", "Tval: type"],
    stateful=True,
)
class initialize_table_v2:
    """Fills a table from two vectors."""

    shape = _import_shape

    def kernel(ctx: Any, table_handle: Any, keys: Any, values: Any) -> None:
        _initialize(ctx, table_handle, keys, values)


def _initialize_from_file(ctx: Any, table_handle: Any, filename: Any) -> None:
    table = _initializable(ctx, table_handle)
    name = np.asarray(filename, dtype=object)
    if name.ndim:
        raise errors.InvalidArgumentError.of(
            f"filename should be a single string, but got {shapes.fmt(name.shape)}", name=table.name
        )
    delimiter = ctx.attrs["delimiter"]
    if len(delimiter) != 1:
        raise errors.InvalidArgumentError.of("delimiter should be only 1 char", name=ctx.op.name)
    if not name.item():
        raise errors.InvalidArgumentError.of("filename cannot be empty.", name=table.name)
    _vocabulary_file.initialize(
        table,
        os.fsdecode(name.item()),
        ctx.attrs["vocab_size"],
        delimiter,
        ctx.attrs["key_index"],
        ctx.attrs["value_index"],
    )


def _file_shape(c: Any, table_handle: Any, filename: Any) -> Any:
    shapes.with_rank(filename, 0)
    return []


_COLUMNS = [
    "key_index: int >= -2",
    "value_index: int >= -2",
    "vocab_size: int >= -1 = -1",
    "delimiter: string = '\t'",
]


@op(
    "InitializeTableFromTextFile",
    inputs=["table_handle: Ref(string)", "filename: string"],
    attrs=_COLUMNS,
)
class initialize_table_from_text_file:
    """Fills a table from the lines of a file."""

    shape = _file_shape

    def kernel(ctx: Any, table_handle: Any, filename: Any) -> None:
        _initialize_from_file(ctx, table_handle, filename)


@op(
    "InitializeTableFromTextFileV2",
    inputs=["table_handle: resource", "filename: string"],
    attrs=_COLUMNS,
    stateful=True,
)
class initialize_table_from_text_file_v2:
    """Fills a table from the lines of a file."""

    shape = _file_shape

    def kernel(ctx: Any, table_handle: Any, filename: Any) -> None:
        _initialize_from_file(ctx, table_handle, filename)
