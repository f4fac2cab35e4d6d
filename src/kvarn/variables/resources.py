"""Resources that are no variables: how they are listed, initialized and reported.

Source: tensorflow/python/ops/resources.py and `tables_initializer` of tensorflow/python/ops/lookup_ops.py (1.15).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from kvarn import dtypes
from kvarn.graph.convert import constant
from kvarn.graph.graph import GraphKeys, add_to_collection, device, get_collection, name_scope


class _Resource(NamedTuple):
    """What `register_resource` takes."""

    handle: Any
    create: Any
    is_initialized: Any


def register_resource(handle: Any, create_op: Any, is_initialized_op: Any, is_shared: bool = True) -> None:
    """Adds a resource to the collection RESOURCES, or LOCAL_RESOURCES unless ``is_shared``.

    Args:
      handle: the operation that gives its handle.
      create_op: the operation that initializes it.
      is_initialized_op: a bool scalar, whether it is initialized.
    """
    key = GraphKeys.RESOURCES if is_shared else GraphKeys.LOCAL_RESOURCES
    add_to_collection(key, _Resource(handle, create_op, is_initialized_op))


def shared_resources() -> list[_Resource]:
    """The resources that all tasks see."""
    return get_collection(GraphKeys.RESOURCES)


def local_resources() -> list[_Resource]:
    """The resources of this session alone."""
    return get_collection(GraphKeys.LOCAL_RESOURCES)


def report_uninitialized_resources(
    resource_list: Sequence[_Resource] | None = None, name: str = "report_uninitialized_resources"
) -> Any:
    """A string tensor [n] of the names of the resources that are not initialized.

    Args:
      resource_list: resources; all shared and local ones by default.
    """
    from kvarn.ops import array, math

    if resource_list is None:
        resource_list = shared_resources() + local_resources()
    with (
        name_scope(name),
        device(os.environ.get("TF_DEVICE_FOR_UNINITIALIZED_VARIABLE_REPORTING", "/cpu:0")),
    ):
        if not resource_list:
            return constant([], dtype=dtypes.string)
        mask = math.logical_not(array.stack([r.is_initialized for r in resource_list]))
        names = constant([r.handle.name for r in resource_list])
        return array.boolean_mask(names, mask)


def initialize_resources(resource_list: Sequence[_Resource], name: str = "init") -> Any:
    """An operation that initializes resources."""
    from kvarn.ops import control

    if not resource_list:
        return control.no_op(name=name)
    return control.group(*(r.create for r in resource_list), name=name)


def tables_initializer(name: str = "init_all_tables") -> Any:
    """An operation that initializes all lookup tables, those of collection TABLE_INITIALIZERS."""
    from kvarn.ops import control

    initializers = get_collection(GraphKeys.TABLE_INITIALIZERS)
    return control.group(*initializers, name=name) if initializers else control.no_op(name=name)
