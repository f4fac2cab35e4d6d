"""Ordering: operations that only make others wait, and assertions.

Source: tensorflow/python/ops/control_flow_ops.py,
tensorflow/core/ops/{no_op,control_flow_ops,logging_ops}.cc.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.convert import convert_n_to_tensor, convert_to_tensor, convert_to_tensor_or_indexed_slices
from kvarn.graph.graph import colocate_with, control_dependencies, device, name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor
from kvarn.ops import _format


@op("NoOp")
class no_op:
    """Does nothing; other operations can wait for it and it can wait for others."""

    shape = shapes.no_outputs

    def kernel(ctx: Any) -> None:
        return None


@op("ControlTrigger")
class control_trigger:
    """Does nothing, like NoOp, and is meant as the root of control edges."""

    shape = shapes.no_outputs

    def kernel(ctx: Any) -> None:
        return None


@op(
    "Assert",
    inputs=["condition: bool", "data: T"],
    attrs=["T: list(type)", "summarize: int = 3"],
    stateful=True,
)
class assert_:
    """Fails with InvalidArgumentError, showing ``data``, unless the scalar ``condition`` holds."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, condition: Any, data: Any) -> None:
        if np.ndim(condition) != 0:
            shape = shapes.fmt(np.shape(condition))
            raise errors.InvalidArgumentError.of(f"In[0] should be a scalar: {shape}", name=ctx.op.name)
        if not condition:
            summarize = ctx.attrs["summarize"]
            shown = " ".join(f"[{_format.summarize_value(x, summarize)}]" for x in data)
            raise errors.InvalidArgumentError.of(f"assertion failed: {shown}", name=ctx.op.name)

    grad = NOT_DIFFERENTIABLE


def Assert(condition: Any, data: Any, summarize: int | None = None, name: str | None = None) -> Operation:
    """An operation that fails unless ``condition`` is true.

    Args:
      condition: scalar bool.
      data: list of tensors to show when it is false.
      summarize: elements to show of each, 3 by default; negative for all.

    Raises (when run):
      InvalidArgumentError: ``condition`` is false.

    Unless ``data`` is made of strings and int32 alone, the assertion stands in a conditional that leaves it out
    when ``condition`` is true, as TensorFlow's does, where data may be far away on a device.
    """
    from kvarn.ops.conditional import cond

    with name_scope(name, "Assert", [condition, data]):
        values = convert_n_to_tensor(data)
        summarize = 3 if summarize is None else summarize
        result: Operation
        # Both convert once more, under other names, in TensorFlow's graphs.
        if all(v.dtype.base_dtype in (dtypes.string, dtypes.int32) for v in values):
            result = assert_(condition, data, summarize=summarize, name="Assert")
            return result
        condition = convert_to_tensor(condition, name="Condition")
        guard = cond(
            condition,
            no_op,
            lambda: assert_(condition, data, summarize=summarize, name="Assert"),
            name="AssertGuard",
        )
        result = guard.op
        return result


def identity_of(data: Any, name: str | None = None) -> Any:
    """A node of its own with the value of ``data``; a reference stays one, composites go part by part.

    Source: tensorflow/python/ops/control_flow_ops.py (_Identity).
    """
    from kvarn.ops import array

    if not isinstance(data, (IndexedSlices, SparseTensor)):
        data = convert_to_tensor(data, as_ref=True)
    if isinstance(data, Tensor):
        return (array.ref_identity if data.dtype.is_ref else array.identity)(data, name=name)
    if isinstance(data, IndexedSlices):
        dense_shape = (
            None if data.dense_shape is None else array.identity(data.dense_shape, name="dense_shape")
        )
        values = identity_of(data.values, name=name)
        return IndexedSlices(values, array.identity(data.indices, name="indices"), dense_shape)
    values = identity_of(data.values, name=name)
    return SparseTensor(
        array.identity(data.indices, name="indices"),
        values,
        array.identity(data.dense_shape, name="dense_shape"),
    )


def with_dependencies(dependencies: Iterable[Any], output_tensor: Any, name: str | None = None) -> Any:
    """``output_tensor`` (a Tensor or IndexedSlices), available only after ``dependencies`` have run."""
    dependencies = list(dependencies)
    with (
        name_scope(name, "control_dependency", [*dependencies, output_tensor]) as scope,
        colocate_with(output_tensor),
        control_dependencies(dependencies),
    ):
        output_tensor = convert_to_tensor_or_indexed_slices(output_tensor)
        if isinstance(output_tensor, Tensor):
            return identity_of(output_tensor, name=scope)
        return IndexedSlices(
            identity_of(output_tensor.values, name=scope), output_tensor.indices, output_tensor.dense_shape
        )


def group(*inputs: Any, **kwargs: Any) -> Operation:
    """An operation without outputs that waits for all ``inputs``.

    Args:
      *inputs: operations, tensors, variables, or nests of these.
      name: of the operation.

    Raises:
      ValueError: an unknown keyword.
      TypeError: an input is neither operation nor tensor.
    """
    name = kwargs.pop("name", None)
    if kwargs:
        raise ValueError("Unknown keyword arguments: " + ", ".join(kwargs))
    with name_scope(name, "group_deps", inputs) as scope:
        result: Operation
        if not inputs:
            result = no_op(name=scope)
            return result
        # One node for each device, so that a signal crosses between two devices only once.
        by_device: dict[str | None, list[Any]] = {}
        for x in _flat(inputs):
            if not hasattr(x, "device"):
                raise TypeError(
                    f"Expected tf.group() expected Tensor arguments not '{x}' with type '{type(x)}'"
                )
            by_device.setdefault(x.device, []).append(x)
        if len(by_device) == 1:
            ((where, deps),) = by_device.items()
            return _wait_on(where, deps, scope)
        joined = [_wait_on(where, by_device[where]) for where in sorted(by_device, key=lambda d: d or "")]
        with control_dependencies(joined):
            result = no_op(name=scope)
            return result


def _wait_on(where: str | None, deps: list[Any], name: str | None = None) -> Operation:
    with control_dependencies(deps):
        result: Operation
        if where is None:
            result = no_op(name=name)
        else:
            with device(where):
                result = no_op(name=name)
        return result


def _flat(nest: Any) -> Iterator[Any]:
    """The leaves of nested lists, tuples and dictionaries (by sorted key), composites as their tensors."""
    for item in nest:
        if isinstance(item, (list, builtins.tuple)):
            yield from _flat(item)
        elif isinstance(item, dict):
            yield from _flat([item[k] for k in sorted(item)])
        elif isinstance(item, IndexedSlices):
            parts = [item.values, item.indices, item.dense_shape]
            yield from [p for p in parts if p is not None]
        elif isinstance(item, SparseTensor):
            yield from [item.indices, item.values, item.dense_shape]
        else:
            yield item


def tuple(tensors: Iterable[Any], name: str | None = None, control_inputs: Any = None) -> list[Any]:
    """The same tensors, each available only when all of them have been computed.

    Args:
      tensors: Tensors, IndexedSlices, Operations or None.
      control_inputs: operations or tensors to wait for as well.

    Raises:
      ValueError: there is no tensor at all.
      TypeError: a control input is neither Operation nor Tensor.
    """
    tensors = list(tensors)
    with name_scope(name, "tuple", tensors):
        items = [
            t
            if t is None or isinstance(t, (Operation, Tensor, IndexedSlices, SparseTensor)) or _is_variable(t)
            else convert_to_tensor(t)
            for t in tensors
        ]
        gates = [t if isinstance(t, Operation) else t.op for t in items if t is not None]
        for c in control_inputs or ():
            if isinstance(c, Tensor):
                gates.append(c.op)
            elif isinstance(c, Operation):
                gates.append(c)
            else:
                raise TypeError(f"Control input must be Operation or Tensor: {c}")
        gates = sorted(set(gates), key=lambda o: o._id)
        if not gates:
            raise ValueError(f"Must have at least one Tensor: {tensors}")
        gate = group(*gates)
        out: list[Any] = []
        for t in items:
            if t is None:
                out.append(None)
            elif isinstance(t, Operation):
                with control_dependencies([gate]):
                    out.append(group(t))
            else:
                out.append(with_dependencies([gate], t))
        return out


def _is_variable(value: Any) -> bool:
    return hasattr(value, "_as_graph_element")
