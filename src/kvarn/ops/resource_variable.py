"""Resource variables: handles of buffers that live in the session, and the operations on them.

Reading gives the value at that moment, whatever is assigned later.

Source: tensorflow/core/ops/resource_variable_ops.cc, tensorflow/core/kernels/resource_variable_ops.cc,
tensorflow/python/ops/resource_variable_ops.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.dtypes import DType
from kvarn.graph import shape_inference as shapes
from kvarn.graph.convert import constant
from kvarn.graph.op import NOT_DIFFERENTIABLE, OpFunction, op
from kvarn.graph.resources import Var
from kvarn.graph.shape_inference import Shape
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import _scatter, state
from kvarn.ops._format import type_text

_PASSES_ON = frozenset({"Identity", "Enter", "RefEnter", "Switch", "Merge", "StopGradient"})


def handle_shape_and_type(handle: Tensor) -> tuple[Shape, DType] | None:
    """What is known, while building, of the variable behind a handle: (static shape, dtype) or None."""
    found: tuple[Shape, DType] | None = getattr(handle, "_handle_shape_and_type", None)
    if found is not None:
        return found
    node = handle.op
    if node.type in ("VarHandleOp", "KvVarHandleOp"):
        return node.attrs["shape"], node.attrs["dtype"]
    if node.type in _PASSES_ON and node._inputs:
        return handle_shape_and_type(node._inputs[0])
    return None


def _validated(c: Any) -> Shape:
    """The shape behind the handle in input 0; ValueError if its type is not the attribute's."""
    found = handle_shape_and_type(c.inputs[0])
    if found is None:
        return None
    dtype = c.attrs.get("dtype") or c.attrs.get("T")
    if dtype is not None and dtype is not found[1]:
        raise ValueError(
            f"Trying to read variable with wrong dtype. Expected {type_text(found[1])} got {type_text(dtype)}"
        )
    return found[0]


@op(
    "VarHandleOp",
    outputs="resource: resource",
    attrs=["container: string = ''", "shared_name: string = ''", "dtype: type", "shape: shape"],
    stateful=True,
)
class var_handle_op:
    """The handle of a variable."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return ctx.handle("Var", ctx.attrs["dtype"], ctx.attrs["shape"])


def look_up(ctx: Any, handle: Any) -> Var:
    """The initialized variable of a handle, for an operation that changes it.

    Raises:
      FailedPreconditionError: it has no value.
    """
    found: Var | None = ctx.resources.find(handle)
    if found is None or found.value is None:
        raise uninitialized(ctx, handle)
    return found


def uninitialized(ctx: Any, handle: Any) -> errors.OpError:
    """The error for the use of a variable that has no value."""
    container = handle.container or ctx.resources.default_container
    if ctx.resources.has_container(container):
        reason = f"Resource {container}/{handle.name}/N10tensorflow3VarE does not exist."
    else:
        reason = f"Container {container} does not exist. (Could not find resource: {container}/{handle.name})"
    return errors.FailedPreconditionError.of(
        f"Error while reading resource variable {handle.name} from Container: {container}. This could mean "
        f"that the variable was uninitialized. Not found: {reason}",
        name=handle.name,
        hint="Run its initializer (tf.global_variables_initializer) or restore it from a checkpoint first.",
    )


@op("ReadVariableOp", inputs="resource: resource", outputs="value: dtype", attrs="dtype: type")
class read_variable_op:
    """The value of a variable."""

    def shape(c: Any, resource: Any) -> Any:
        return _validated(c)

    def kernel(ctx: Any, resource: Any) -> Any:
        found = ctx.resources.find(resource)
        if found is None or found.value is None:
            raise uninitialized(ctx, resource)
        if found.dtype is not ctx.attrs["dtype"]:
            raise errors.InvalidArgumentError.of(
                f"Trying to read variable with wrong dtype. Expected "
                f"{type_text(ctx.attrs['dtype'])} got {type_text(found.dtype)}",
                name=resource.name,
            )
        return found.read()

    def grad(op: Any, d_value: Any) -> Any:
        return d_value


@op(
    "DestroyResourceOp",
    inputs="resource: resource",
    attrs="ignore_lookup_error: bool = true",
    stateful=True,
)
class destroy_resource_op:
    """Removes the object behind a handle from the session."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, resource: Any) -> None:
        try:
            ctx.resources.delete(resource)
        except errors.NotFoundError:
            if not ctx.attrs["ignore_lookup_error"]:
                raise

    grad = NOT_DIFFERENTIABLE


def _assign_shape(c: Any, resource: Any, value: Any) -> Any:
    shapes.merge(_validated(c), value)
    return []


@op("AssignVariableOp", inputs=["resource: resource", "value: dtype"], attrs="dtype: type")
class assign_variable_op:
    """Gives a variable a value, of any shape."""

    shape = _assign_shape

    def kernel(ctx: Any, resource: Any, value: Any) -> None:
        dtype = ctx.attrs["dtype"]
        var = ctx.resources.look_up_or_create(resource, lambda: Var(resource.name, dtype, resource.shape))
        if var.dtype is not dtype:
            raise errors.InvalidArgumentError.of(
                f"Trying to assign variable with wrong dtype. Expected {type_text(var.dtype)} got "
                f"{type_text(dtype)}",
                name=resource.name,
            )
        with var.lock:
            var.assign(ctx.owned(value))

    grad = NOT_DIFFERENTIABLE


def _check_same_shape(var: Var, value: Any) -> None:
    shape = var.read().shape
    if shape != value.shape:
        raise errors.InvalidArgumentError.of(
            f"Cannot update variable with shape {shapes.fmt(shape)} using a Tensor with shape "
            f"{shapes.fmt(value.shape)}, shapes must be equal.",
            name=var.name,
        )


@op("AssignAddVariableOp", inputs=["resource: resource", "value: dtype"], attrs="dtype: type")
class assign_add_variable_op:
    """Adds ``value`` to a variable."""

    shape = _assign_shape

    def kernel(ctx: Any, resource: Any, value: Any) -> None:
        var = look_up(ctx, resource)
        with var.lock:
            _check_same_shape(var, value)
            array = var.writable()
            np.add(array, value, out=array)

    grad = NOT_DIFFERENTIABLE


@op("AssignSubVariableOp", inputs=["resource: resource", "value: dtype"], attrs="dtype: type")
class assign_sub_variable_op:
    """Subtracts ``value`` from a variable."""

    shape = _assign_shape

    def kernel(ctx: Any, resource: Any, value: Any) -> None:
        var = look_up(ctx, resource)
        with var.lock:
            _check_same_shape(var, value)
            array = var.writable()
            np.subtract(array, value, out=array)

    grad = NOT_DIFFERENTIABLE


@op("VarIsInitializedOp", inputs="resource: resource", outputs="is_initialized: bool")
class var_is_initialized_op:
    """Whether a variable has a value."""

    shape = shapes.scalar

    def kernel(ctx: Any, resource: Any) -> Any:
        found = ctx.resources.find(resource)
        return np.bool_(found is not None and found.value is not None)

    grad = NOT_DIFFERENTIABLE


@op(
    "VariableShape",
    inputs="input: resource",
    outputs="output: out_type",
    attrs="out_type: {int32, int64} = DT_INT32",
)
class variable_shape_:
    """The shape of a variable's value."""

    def shape(c: Any, input: Any) -> Any:
        found = handle_shape_and_type(c.inputs[0])
        return (None if found is None or found[0] is None else len(found[0]),)

    def kernel(ctx: Any, input_: Any) -> Any:
        return np.array(look_up(ctx, input_).read().shape, dtype=ctx.attrs["out_type"].np)

    grad = NOT_DIFFERENTIABLE


def variable_shape(handle: Tensor, out_type: Any = dtypes.int32) -> Tensor:
    """The shape of a variable: a constant where it is known, otherwise a VariableShape node.

    Inside of a conditional or a loop TensorFlow does not look behind the node that takes the handle in.
    """
    found = None if handle.op.type in ("Enter", "Switch") else handle_shape_and_type(handle)
    if found is None or found[0] is None or None in found[0]:
        unknown: Tensor = variable_shape_(handle, out_type=out_type)
        return unknown
    return constant(list(found[0]), dtype=out_type)


@op(
    "ResourceGather",
    inputs=["resource: resource", "indices: Tindices"],
    outputs="output: dtype",
    attrs=[
        "batch_dims: int = 0",
        "validate_indices: bool = true",
        "dtype: type",
        "Tindices: {int32,int64}",
    ],
)
class resource_gather:
    """Rows of a variable: ``output[i, ...] = value[indices[i], ...]``."""

    def shape(c: Any, resource: Any, indices: Any) -> Any:
        var = _validated(c)
        batch = c.attrs["batch_dims"]
        if batch < 0:
            raise ValueError(f"batch_dims is negative ({batch})")
        shapes.with_rank_at_least(var, batch + 1)
        shapes.with_rank_at_least(indices, batch)
        if var is None or indices is None:
            return None
        return var[:batch] + indices[batch:] + var[batch + 1 :]

    def kernel(ctx: Any, resource: Any, indices: Any) -> Any:
        params = look_up(ctx, resource).read()
        if params.ndim < 1:
            raise errors.InvalidArgumentError.of("params must be at least 1 dimensional", name=resource.name)
        indices = np.asarray(indices)
        batch = ctx.attrs["batch_dims"]
        if batch == 0:
            _scatter.check_rows(params, indices)
            return params.take(indices, axis=0)
        return _gather_batched(params, indices, batch)

    def grad(op: Any, d_output: Any) -> Any:
        from kvarn.ops import array

        handle, indices = op.inputs
        params_shape = variable_shape(handle)
        size = array.expand_dims(array.size(indices), 0)
        values_shape = array.concat([size, params_shape[1:]], 0)
        values = array.reshape(d_output, values_shape)
        return [IndexedSlices(values, array.reshape(indices, size), params_shape), None]


def _gather_batched(params: Any, indices: Any, batch: int) -> Any:
    """Rows inside each batch element: ``out[b, i] = params[b, indices[b, i]]``."""
    rows = params.shape[batch]
    flat = np.ascontiguousarray(indices).reshape(-1)
    bad = np.flatnonzero((flat < 0) | (flat >= rows))
    if bad.size:
        place = ",".join(str(i) for i in np.unravel_index(int(bad[0]), indices.shape))
        raise errors.InvalidArgumentError.of(f"indices[{place}] = {flat[bad[0]]} is not in [0, {rows})")
    lead = params.shape[:batch]
    grid = np.meshgrid(*[np.arange(d) for d in lead], indexing="ij")
    expand = (...,) + (None,) * (indices.ndim - batch)
    return params[(*[g[expand] for g in grid], indices)]


@op(
    "ResourceGatherNd",
    inputs=["resource: resource", "indices: Tindices"],
    outputs="output: dtype",
    attrs=["dtype: type", "Tindices: {int32,int64}"],
)
class resource_gather_nd:
    """Elements or slices of a variable: ``output[i] = value[tuple(indices[i])]``."""

    def shape(c: Any, resource: Any, indices: Any) -> Any:
        var = _validated(c)
        shapes.with_rank_at_least(indices, 1)
        if var is None or indices is None or indices[-1] is None:
            return None
        if indices[-1] > len(var):
            raise ValueError(
                f"indices.shape[-1] must be <= params.rank, but saw indices shape: "
                f"{shapes.fmt(indices)} and params shape: {shapes.fmt(var)}"
            )
        return indices[:-1] + var[indices[-1] :]

    def kernel(ctx: Any, resource: Any, indices: Any) -> Any:
        params = look_up(ctx, resource).read()
        depth = indices.shape[-1]
        flat = indices.reshape(-1, depth)
        bad = np.flatnonzero(((flat < 0) | (flat >= np.array(params.shape[:depth]))).any(axis=1))
        if bad.size:
            place = ",".join(str(i) for i in np.unravel_index(int(bad[0]), indices.shape[:-1]))
            raise errors.InvalidArgumentError.of(
                f"indices[{place}] = [{', '.join(str(i) for i in flat[bad[0]])}] does not index into param "
                f"shape {shapes.fmt(params.shape)}",
                name=resource.name,
            )
        if depth == 0:
            return np.broadcast_to(params, indices.shape[:-1] + params.shape).copy()
        return params[tuple(np.moveaxis(indices, -1, 0))]


def _scatter_resource_shape(c: Any, resource: Any, indices: Any, updates: Any) -> Any:
    _scatter.scatter_shape(_validated(c), indices, updates)
    return []


def _scatter_nd_resource_shape(c: Any, ref: Any, indices: Any, updates: Any) -> Any:
    _scatter.scatter_nd_shape(_validated(c), indices, updates)
    return []


def _rows(how: str, types: str, what: str) -> OpFunction:
    def kernel(ctx: Any, resource: Any, indices: Any, updates: Any) -> None:
        var = look_up(ctx, resource)
        with var.lock:
            _scatter.scatter(var.writable(), indices, updates, how)

    name = "ResourceScatter" + how
    body = {
        "__doc__": what,
        "__module__": __name__,
        "shape": _scatter_resource_shape,
        "kernel": kernel,
        "grad": NOT_DIFFERENTIABLE,
    }
    return op(
        name,
        inputs=["resource: resource", "indices: Tindices", "updates: dtype"],
        attrs=[f"dtype: {types}", "Tindices: {int32, int64}"],
    )(type(name, (), body))


def _elements(how: str, what: str) -> OpFunction:
    def kernel(ctx: Any, ref: Any, indices: Any, updates: Any) -> None:
        var = look_up(ctx, ref)
        with var.lock:
            _scatter.scatter_nd(var.writable(), indices, updates, how)

    name = "ResourceScatterNd" + how
    body = {
        "__doc__": what,
        "__module__": __name__,
        "shape": _scatter_nd_resource_shape,
        "kernel": kernel,
        "grad": NOT_DIFFERENTIABLE,
    }
    return op(
        name,
        inputs=["ref: resource", "indices: Tindices", "updates: T"],
        attrs=["T: type", "Tindices: {int32, int64}", "use_locking: bool = true"],
    )(type(name, (), body))


resource_scatter_update = _rows("Update", "type", "Sets the rows ``indices`` of a variable to ``updates``.")
resource_scatter_add = _rows("Add", "numbertype", "Adds ``updates`` to the rows ``indices`` of a variable.")
resource_scatter_sub = _rows("Sub", "numbertype", "Subtracts ``updates`` from the rows ``indices``.")
resource_scatter_mul = _rows("Mul", "numbertype", "Multiplies the rows ``indices`` by ``updates``.")
resource_scatter_div = _rows("Div", "numbertype", "Divides the rows ``indices`` by ``updates``.")
resource_scatter_min = _rows("Min", "numbertype", "Lowers the rows ``indices`` to ``updates``.")
resource_scatter_max = _rows("Max", "numbertype", "Raises the rows ``indices`` to ``updates``.")
resource_scatter_nd_update = _elements("Update", "Sets the elements at the index tuples to ``updates``.")
resource_scatter_nd_add = _elements("Add", "Adds ``updates`` to the elements at the index tuples.")
resource_scatter_nd_sub = _elements("Sub", "Subtracts ``updates`` from the elements at the index tuples.")

# The op on a resource that does what an op on a reference does.
BY_REFERENCE_OP = {
    f.op_type.removeprefix("Resource"): f
    for f in (
        resource_scatter_update,
        resource_scatter_add,
        resource_scatter_sub,
        resource_scatter_mul,
        resource_scatter_div,
        resource_scatter_min,
        resource_scatter_max,
        resource_scatter_nd_update,
        resource_scatter_nd_add,
        resource_scatter_nd_sub,
    )
}


@op(
    "ResourceCountUpTo",
    inputs="resource: resource",
    outputs="output: T",
    attrs=["limit: int", "T: {int32, int64}"],
)
class resource_count_up_to:
    """The value of a scalar variable before it is raised by one; OutOfRangeError at the limit."""

    def shape(c: Any, resource: Any) -> Any:
        if handle_shape_and_type(c.inputs[0]) is None:
            raise ValueError("Handle has no shape/type information.")
        return shapes.with_rank(_validated(c), 0)

    def kernel(ctx: Any, resource: Any) -> Any:
        var = look_up(ctx, resource)
        with var.lock:
            before = var.read()
            var.assign(state.next_count(before, ctx.attrs["limit"]))
        return before

    grad = NOT_DIFFERENTIABLE
