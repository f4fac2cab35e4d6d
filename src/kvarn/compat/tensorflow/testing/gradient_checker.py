"""Gradients held against differences: `tf.test.compute_gradient` and `compute_gradient_error`.

Source: tensorflow/python/ops/gradient_checker.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kvarn import dtypes
from kvarn.graph.convert import constant
from kvarn.graph.gradients import gradients
from kvarn.graph.session import get_default_session
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops.array import identity

_TYPES = (
    dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128,
)  # fmt: skip


class _Derivative(NamedTuple):
    """The nodes for one input: what it gets (``dx``) for a gradient of the output that is fed (``dy``)."""

    x: Tensor
    shape: tuple[int, ...]
    y: Tensor
    y_shape: tuple[int, ...]
    dx: Any
    dy: Tensor


def compute_gradient(
    x: Any,
    x_shape: Any,
    y: Tensor,
    y_shape: Any,
    x_init_value: Any = None,
    delta: float = 1e-3,
    init_targets: Any = None,
    extra_feed_dict: dict[Any, Any] | None = None,
) -> Any:
    """The Jacobian of ``y`` by ``x``, once by `tf.gradients` and once by differences, in the default session.

    A complex number counts as two real ones, real part first.

    Args:
      x: a tensor or a list of tensors.
      x_shape: the shape of ``x``, a list of shapes for a list.
      y, y_shape: the tensor to differentiate.
      x_init_value: the point, an array of that shape (a list of arrays); by default random.
      delta: half the distance between the points that are compared.
      init_targets: operations to run first.
      extra_feed_dict: values of other tensors.

    Returns:
      (by gradients, by differences), each of shape [size of x, size of y]; a list of these for a list.

    Raises:
      AssertionError: a type that has no gradients, or a point of another shape.
      ValueError: ``y`` has no elements, and its gradient is not zeros of the shape of ``x``.
    """
    inputs = x if isinstance(x, list) else [x]
    shapes = x_shape if isinstance(x, list) else [x_shape]
    points = x_init_value if isinstance(x, list) else [x_init_value]
    built = [
        _derivative(
            xi, tuple(np.atleast_1d(shape)) if np.ndim(shape) == 0 else tuple(shape), y, tuple(y_shape)
        )
        for xi, shape in zip(inputs, shapes, strict=True)
    ]
    for target in init_targets or ():
        target.run()
    found = []
    for derivative, point in zip(built, points or [None] * len(built), strict=True):
        value = _point(derivative, point)
        feeds = dict(extra_feed_dict or {})
        found.append(
            (_by_gradients(derivative, value, feeds), _by_differences(derivative, value, delta, feeds))
        )
    return found if isinstance(x, list) else found[0]


def compute_gradient_error(
    x: Any,
    x_shape: Any,
    y: Tensor,
    y_shape: Any,
    x_init_value: Any = None,
    delta: float = 1e-3,
    init_targets: Any = None,
    extra_feed_dict: dict[Any, Any] | None = None,
) -> Any:
    """The greatest difference between the two Jacobians of `compute_gradient`; 0 if they are empty."""
    found = compute_gradient(x, x_shape, y, y_shape, x_init_value, delta, init_targets, extra_feed_dict)
    pairs = found if isinstance(found, list) else [found]
    return max((np.abs(a - b).max() for a, b in pairs if a.size or b.size), default=0)


def _derivative(x: Tensor, shape: tuple[int, ...], y: Tensor, y_shape: tuple[int, ...]) -> _Derivative:
    for name, tensor in (("x", x), ("y", y)):
        assert tensor.dtype.base_dtype in _TYPES, f"Don't support type {tensor.dtype.name} for {name}"
    with x.graph.as_default():
        dy = constant(1.0, shape=y_shape, dtype=y.dtype.base_dtype)
        (dx,) = gradients(y, x, identity(dy))  # what is fed must not be what is fetched
    return _Derivative(x, shape, y, y_shape, dx, dy)


def _point(derivative: _Derivative, given: Any) -> Any:
    kind, shape = derivative.x.dtype.as_numpy_dtype, derivative.shape
    if given is not None:
        assert shape == np.shape(given), f"x_shape = {shape}, init_data shape = {np.shape(given)}"
        return np.asarray(given, kind)
    value = np.random.random_sample(shape).astype(kind)
    if derivative.x.dtype.is_complex:
        value.imag = np.random.random_sample(shape)
    return value


def _by_gradients(d: _Derivative, point: Any, feeds: dict[Any, Any]) -> Any:
    real = d.x.dtype.real_dtype.as_numpy_dtype
    parts = 2 if d.x.dtype.is_complex else 1
    seed = np.zeros(d.y_shape, d.y.dtype.as_numpy_dtype)
    flat = _reals(seed, d.y)
    jacobian = np.zeros((parts * int(np.prod(d.shape)), flat.size), real)
    session = get_default_session()
    assert isinstance(d.dx, (Tensor, IndexedSlices)), f"dx = {d.dx}"
    for column in range(flat.size):
        flat[column] = 1
        value = session.run(d.dx, {**feeds, d.x: point, d.dy: seed})
        if isinstance(d.dx, IndexedSlices):
            dense = np.zeros(d.shape, d.x.dtype.as_numpy_dtype)
            np.add.at(dense, value.indices, value.values)
            value = dense
        jacobian[:, column] = np.ascontiguousarray(value).reshape(-1).view(real)
        flat[column] = 0
    if not flat.size:
        value = session.run(d.dx, {**feeds, d.x: point, d.dy: seed})
        if value.shape != point.shape:
            raise ValueError(f"Empty gradient has wrong shape: expected {point.shape}, got {value.shape}")
        if np.any(value):
            raise ValueError("Empty tensor with nonzero gradients")
    return jacobian


def _by_differences(d: _Derivative, point: Any, delta: float, feeds: dict[Any, Any]) -> Any:
    session = get_default_session()
    # bfloat16 has too few digits for a difference.
    kinds = [np.dtype(np.float32) if t.dtype.base_dtype is dtypes.bfloat16 else None for t in (d.x, d.y)]
    point = point if kinds[0] is None else point.astype(kinds[0])
    y_kind = kinds[1] or np.dtype(d.y.dtype.as_numpy_dtype)
    y_real = np.zeros(0, y_kind).real.dtype
    size = _real_view(np.array(point)).size
    width = int(np.prod(d.y_shape)) * (2 if d.y.dtype.is_complex else 1)
    jacobian = np.zeros((size, width), _real_view(np.array(point)).dtype)
    distance = y_real.type(2 * delta)
    for row in range(size):
        sides: Sequence[Any] = []
        for step in (delta, -delta):
            moved = np.array(point, copy=True, order="C")
            _real_view(moved)[row] += step
            sides = [*sides, np.asarray(session.run(d.y, {**feeds, d.x: moved})).astype(y_kind)]
        jacobian[row, :] = _real_view(np.ascontiguousarray((sides[0] - sides[1]) / distance))
    return jacobian


def _reals(array: Any, tensor: Tensor) -> Any:
    """A view of an array as one row of real numbers."""
    return array.reshape(-1).view(tensor.dtype.real_dtype.as_numpy_dtype)


def _real_view(array: Any) -> Any:
    return array.reshape(-1).view(array.real.dtype)
