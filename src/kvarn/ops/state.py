"""Reference variables: buffers that live in the session, and the operations that change them.

A variable's node has a reference as its output; whoever takes the reference may change the buffer,
everybody else reads it.

Source: tensorflow/core/ops/state_ops.cc, tensorflow/python/ops/state_ops.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import colocate_with, name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, OpFunction, op
from kvarn.graph.resources import Var
from kvarn.ops import _scatter

_UPDATE_ATTRS = ["T: numbertype", "use_locking: bool = false"]


def _variable(ctx: Any) -> Var:
    """The buffer of a variable node; made on the first run."""
    handle = ctx.cache
    if handle is None:
        handle = ctx.handle("LegacyVar", ctx.attrs["dtype"], ctx.attrs["shape"])
    found: Var | None = ctx.resources.find(handle)
    if found is None:
        # A shape that is not known counts as a scalar's until the first assignment, as in TensorFlow.
        shape = tuple(d or 0 for d in handle.shape or ())
        name, dtype = ctx.op.name, handle.dtype
        found = ctx.resources.look_up_or_create(handle, lambda: Var(name, dtype, shape))
    return found


@op(
    "VariableV2",
    outputs="ref: Ref(dtype)",
    attrs=["shape: shape", "dtype: type", "container: string = ''", "shared_name: string = ''"],
    stateful=True,
)
class variable_v2:
    """The buffer of a variable of shape ``shape`` and type ``dtype``, empty at first."""

    shape = shapes.from_attr("shape")
    kernel = _variable


def _variable_shape(c: Any) -> Any:
    # The old op cannot tell a scalar from an unknown shape.
    return c.attrs["shape"] or None


@op(
    "Variable",
    outputs="ref: Ref(dtype)",
    attrs=["shape: shape", "dtype: type", "container: string = ''", "shared_name: string = ''"],
    stateful=True,
)
class variable:
    """The buffer of a variable in graphs of old; see VariableV2."""

    shape = _variable_shape
    kernel = _variable


@op(
    "IsVariableInitialized",
    inputs="ref: Ref(dtype)",
    outputs="is_initialized: bool",
    attrs="dtype: type",
    allows_uninitialized_input=True,
)
class is_variable_initialized_:
    """Whether the variable has a value."""

    shape = shapes.scalar

    def kernel(ctx: Any, ref: Any) -> Any:
        return np.bool_(ref.value is not None)


def _assign_shape(c: Any, ref: Any, value: Any) -> Any:
    return shapes.merge(ref, value) if c.attrs["validate_shape"] else value


@op(
    "Assign",
    inputs=["ref: Ref(T)", "value: T"],
    outputs="output_ref: Ref(T)",
    attrs=["T: type", "validate_shape: bool = true", "use_locking: bool = true"],
    allows_uninitialized_input=True,
)
class assign_:
    """Gives the variable a value; its shape must be the variable's unless ``validate_shape`` is false."""

    shape = _assign_shape

    def kernel(ctx: Any, ref: Any, value: Any) -> Any:
        if ctx.attrs["validate_shape"]:
            old = ref.value
            wanted = ref.shape if old is None else old.shape
            if wanted != value.shape:
                raise errors.InvalidArgumentError.of(
                    f"Assign requires shapes of both tensors to match. lhs shape= {shapes.fmt(wanted)} rhs "
                    f"shape= {shapes.fmt(value.shape)}",
                    name=ref.name,
                    hint="Build and assign a variable of changing shape with validate_shape=False.",
                )
        with ref.lock:
            ref.assign(ctx.owned(value))
        return ref

    grad = NOT_DIFFERENTIABLE


def check_same_size(ref: Any, value: Any) -> None:
    """InvalidArgumentError unless a dense update has the shape of the variable."""
    shape = ref.read().shape
    if shape != value.shape:
        raise errors.InvalidArgumentError.of(
            "Parameters and update must be the same size",
            name=ref.name,
            hint=f"The variable has shape {shapes.fmt(shape)}, the update {shapes.fmt(value.shape)}.",
        )


@op(
    "AssignAdd",
    inputs=["ref: Ref(T)", "value: T"],
    outputs="output_ref: Ref(T)",
    attrs=_UPDATE_ATTRS,
)
class assign_add_:
    """Adds ``value`` to the variable."""

    shape = shapes.merge_all

    def kernel(ctx: Any, ref: Any, value: Any) -> Any:
        with ref.lock:
            check_same_size(ref, value)
            array = ref.writable()
            np.add(array, value, out=array)
        return ref

    grad = NOT_DIFFERENTIABLE


@op(
    "AssignSub",
    inputs=["ref: Ref(T)", "value: T"],
    outputs="output_ref: Ref(T)",
    attrs=_UPDATE_ATTRS,
)
class assign_sub_:
    """Subtracts ``value`` from the variable."""

    shape = shapes.merge_all

    def kernel(ctx: Any, ref: Any, value: Any) -> Any:
        with ref.lock:
            check_same_size(ref, value)
            array = ref.writable()
            np.subtract(array, value, out=array)
        return ref

    grad = NOT_DIFFERENTIABLE


def _scatter_shape(c: Any, ref: Any, indices: Any, updates: Any) -> Any:
    return _scatter.scatter_shape(ref, indices, updates)


def _scatter_nd_shape(c: Any, ref: Any, indices: Any, updates: Any) -> Any:
    return _scatter.scatter_nd_shape(ref, indices, updates)


def _scatter_kernel(how: str) -> Any:
    def kernel(ctx: Any, ref: Any, indices: Any, updates: Any) -> Any:
        with ref.lock:
            _scatter.scatter(ref.writable(), indices, updates, how)
        return ref

    return kernel


def _scatter_nd_kernel(how: str) -> Any:
    def kernel(ctx: Any, ref: Any, indices: Any, updates: Any) -> Any:
        with ref.lock:
            _scatter.scatter_nd(ref.writable(), indices, updates, how)
        return ref

    return kernel


def _declare(name: str, types: str, locking: str, kernel: Any, shape: Any, what: str) -> OpFunction:
    body = {
        "__doc__": what,
        "__module__": __name__,
        "shape": shape,
        "kernel": kernel,
        # TensorFlow declares the others to have none, and knows nothing of these.
        "grad": None if name in ("ScatterUpdate", "ScatterMin", "ScatterMax") else NOT_DIFFERENTIABLE,
    }
    return op(
        name,
        inputs=["ref: Ref(T)", "indices: Tindices", "updates: T"],
        outputs="output_ref: Ref(T)",
        attrs=[f"T: {types}", "Tindices: {int32, int64}", f"use_locking: bool = {locking}"],
    )(type(name, (), body))


def _rows(how: str, types: str, what: str, locking: str = "false") -> OpFunction:
    return _declare("Scatter" + how, types, locking, _scatter_kernel(how), _scatter_shape, what)


def _elements(how: str, types: str, what: str, locking: str = "false") -> OpFunction:
    return _declare("ScatterNd" + how, types, locking, _scatter_nd_kernel(how), _scatter_nd_shape, what)


_ORDERED = "{half, bfloat16, float, double, int32, int64}"
scatter_update_ = _rows("Update", "type", "Sets the rows ``indices`` of the variable to ``updates``.", "true")
scatter_add_ = _rows("Add", "numbertype", "Adds ``updates`` to the rows ``indices`` of the variable.")
scatter_sub_ = _rows("Sub", "numbertype", "Subtracts ``updates`` from the rows ``indices`` of the variable.")
scatter_mul_ = _rows("Mul", "numbertype", "Multiplies the rows ``indices`` of the variable by ``updates``.")
scatter_div_ = _rows("Div", "numbertype", "Divides the rows ``indices`` of the variable by ``updates``.")
scatter_min_ = _rows("Min", _ORDERED, "Lowers the rows ``indices`` of the variable to ``updates``.")
scatter_max_ = _rows("Max", _ORDERED, "Raises the rows ``indices`` of the variable to ``updates``.")
scatter_nd_update_ = _elements(
    "Update", "type", "Sets the elements at the index tuples to ``updates``.", "true"
)
scatter_nd_add_ = _elements("Add", "numbertype", "Adds ``updates`` to the elements at the index tuples.")
scatter_nd_sub_ = _elements(
    "Sub", "numbertype", "Subtracts ``updates`` from the elements at the index tuples."
)


@op(
    "CountUpTo",
    inputs="ref: Ref(T)",
    outputs="output: T",
    attrs=["limit: int", "T: {int32, int64}"],
)
class count_up_to_:
    """The value of a scalar variable before it is raised by one; OutOfRangeError at the limit."""

    def shape(c: Any, ref: Any) -> Any:
        return shapes.with_rank(ref, 0)

    def kernel(ctx: Any, ref: Any) -> Any:
        with ref.lock:
            before = ref.read()
            ref.assign(next_count(before, ctx.attrs["limit"]))
        return before

    grad = NOT_DIFFERENTIABLE


def next_count(before: Any, limit: int) -> Any:
    """``before + 1`` as a new array; OutOfRangeError once ``before`` has reached ``limit``."""
    if before.ndim != 0:
        raise errors.InvalidArgumentError.of(f"input is not a scalar: {shapes.fmt(before.shape)}")
    if int(before) >= limit:
        raise errors.OutOfRangeError.of(f"Reached limit of {limit}")
    return np.array(before + 1, dtype=before.dtype)


# -- functions of tf -------------------------------------------------------------------------------
#
# They take a reference tensor, a reference variable, or a resource variable, which has methods of its own.


def variable_op_v2(
    shape: Any, dtype: Any, name: str = "Variable", container: str = "", shared_name: str = ""
) -> Any:
    """A VariableV2 node; see `tf.Variable` for the variable around it."""
    return variable_v2(shape=shape, dtype=dtype, container=container, shared_name=shared_name, name=name)


def init_variable(v: Any, init: Any, name: str = "init") -> Any:
    """An operation that initializes ``v`` with a value or with what an initializer makes.

    Args:
      v: a variable or reference tensor.
      init: a tensor, what can be made one, or ``init(shape, dtype)``.
    """
    with name_scope(None, v.op.name + "/", [v, init]), name_scope(name) as scope, colocate_with(v):
        if callable(init):
            shape = v.get_shape()
            assert shape.is_fully_defined(), "Variable shape unknown."
            value = convert_to_tensor(init(shape.as_list(), v.dtype.base_dtype), name="value")
        else:
            value = convert_to_tensor(init, name="init")
        return assign_(v, value, name=scope)


def is_variable_initialized(ref: Any, name: str | None = None) -> Any:
    """Scalar bool: whether the variable has a value."""
    if ref.dtype.is_ref:
        return is_variable_initialized_(ref, name=name)
    return ref.is_initialized(name=name)


def assign(
    ref: Any,
    value: Any,
    validate_shape: bool | None = None,
    use_locking: bool | None = None,
    name: str | None = None,
) -> Any:
    """Gives a variable a value.

    Args:
      ref: a variable or reference tensor, initialized or not.
      value: of the same type, and of the same shape unless ``validate_shape`` is False.
      use_locking: True by default.

    Returns:
      The reference, for operations that need the new value; the new value for a resource variable.
    """
    if ref.dtype.is_ref:
        return assign_(ref, value, _default(validate_shape, True), _default(use_locking, True), name=name)
    return ref.assign(value, name=name)


def assign_add(ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None) -> Any:
    """Adds ``value``, of the same shape and type, to a variable; returns as `assign`."""
    if ref.dtype.is_ref:
        return assign_add_(ref, value, _default(use_locking, False), name=name)
    return ref.assign_add(value)


def assign_sub(ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None) -> Any:
    """Subtracts ``value``, of the same shape and type, from a variable; returns as `assign`."""
    if ref.dtype.is_ref:
        return assign_sub_(ref, value, _default(use_locking, False), name=name)
    return ref.assign_sub(value)


def _default(value: bool | None, otherwise: bool) -> bool:
    return otherwise if value is None else value


def count_up_to(ref: Any, limit: int, name: str | None = None) -> Any:
    """The value of a scalar int variable before it is raised by one.

    Raises (when run):
      OutOfRangeError: it has reached ``limit``.
    """
    if ref.dtype.is_ref:
        return count_up_to_(ref, limit=limit, name=name)
    from kvarn.ops import resource_variable

    return resource_variable.resource_count_up_to(ref.handle, limit, T=ref.dtype, name=name)


def _scattered(
    op_: OpFunction, ref: Any, indices: Any, updates: Any, use_locking: bool, name: str | None
) -> Any:
    if ref.dtype.is_ref:
        return op_(ref, indices, updates, use_locking, name=name)
    from kvarn.ops import resource_variable

    on_resource = resource_variable.BY_REFERENCE_OP[op_.op_type]
    return ref._lazy_read(on_resource(ref.handle, indices, convert_to_tensor(updates, ref.dtype), name=name))


def scatter_update(
    ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Any:
    """Sets rows of a variable: ``ref[indices[i]] = updates[i]``.

    Args:
      ref: a variable or reference tensor, [n, ...].
      indices: int32 or int64 of any shape; where one occurs twice the last update stays.
      updates: indices.shape + ref.shape[1:], or a scalar.

    Returns:
      The reference, for operations that need the new value; the new value for a resource variable.

    Raises (when run):
      InvalidArgumentError: an index is not a row; nothing has been changed.
    """
    return _scattered(scatter_update_, ref, indices, updates, use_locking, name)


def scatter_add(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Adds to rows of a variable, several times where an index occurs several times; see `scatter_update`."""
    return _scattered(scatter_add_, ref, indices, updates, use_locking, name)


def scatter_sub(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Subtracts from rows of a variable; see `scatter_update`."""
    return _scattered(scatter_sub_, ref, indices, updates, use_locking, name)


def scatter_mul(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Multiplies rows of a variable; see `scatter_update`."""
    return _scattered(scatter_mul_, ref, indices, updates, use_locking, name)


def scatter_div(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Divides rows of a variable; see `scatter_update`."""
    return _scattered(scatter_div_, ref, indices, updates, use_locking, name)


def scatter_min(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Takes the smaller of rows of a variable and ``updates``; see `scatter_update`."""
    return _scattered(scatter_min_, ref, indices, updates, use_locking, name)


def scatter_max(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Takes the larger of rows of a variable and ``updates``; see `scatter_update`."""
    return _scattered(scatter_max_, ref, indices, updates, use_locking, name)


def scatter_nd_update(
    ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Any:
    """Sets elements or slices of a variable: ``ref[tuple(indices[i])] = updates[i]``.

    Args:
      ref: a variable or reference tensor.
      indices: int32 or int64 [..., k] with k at most the rank of ``ref``.
      updates: indices.shape[:-1] + ref.shape[k:].

    Returns:
      As `scatter_update`.

    Raises (when run):
      InvalidArgumentError: an index is out of range; nothing has been changed.
    """
    return _scattered(scatter_nd_update_, ref, indices, updates, use_locking, name)


def scatter_nd_add(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Adds to elements or slices of a variable; see `scatter_nd_update`."""
    return _scattered(scatter_nd_add_, ref, indices, updates, use_locking, name)


def scatter_nd_sub(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Any:
    """Subtracts from elements or slices of a variable; see `scatter_nd_update`."""
    return _scattered(scatter_nd_sub_, ref, indices, updates, use_locking, name)
