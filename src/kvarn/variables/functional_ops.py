"""`tf.map_fn`, `tf.foldl`, `tf.foldr`, `tf.scan` and `tf.hessians`: a function for each row, built once, in a loop.

Source: tensorflow/python/ops/{map_fn,functional_ops,gradients_impl}.py (1.15).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from kvarn import dtypes
from kvarn.graph import nest
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.gradients import gradients
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import Dimension, TensorShape, dimension_value
from kvarn.ops import array, joining, math
from kvarn.ops.slicing import slice_helper
from kvarn.ops.tensor_array import TensorArray
from kvarn.ops.while_loop import while_loop
from kvarn.variables.scope import get_variable_scope


@contextlib.contextmanager
def _variables_read_once() -> Iterator[None]:
    """Variables that the function gets keep their values where its operations are."""
    scope = get_variable_scope()
    if scope.caching_device is not None:
        yield
        return
    scope.set_caching_device(lambda op: op.device)
    try:
        yield
    finally:
        scope.set_caching_device(None)


def _check_callable(fn: Any) -> None:
    if not callable(fn):
        raise TypeError("fn must be callable.")


def _rows(tensor: Tensor) -> Any:
    """How many rows there are: a number if that is known, else a scalar."""
    return dimension_value(tensor.shape[0]) or slice_helper(array.shape(tensor), 0)


def _unstacked(elems: Any, n: Any) -> Any:
    def array_of(elem: Any) -> TensorArray:
        return TensorArray(dtype=elem.dtype, size=n, dynamic_size=False, infer_shape=True).unstack(elem)

    return nest.map_structure(array_of, elems)


def _read(arrays: Any, i: Any) -> Any:
    return nest.map_structure(lambda a: a.read(i), arrays)


def _stacked(arrays: list[TensorArray], elems: list[Tensor]) -> list[Tensor]:
    """The results, with as many rows as ``elems`` are known to have."""
    results = [a.stack() for a in arrays]
    n = Dimension(dimension_value(elems[0].get_shape().with_rank_at_least(1)[0]))
    for elem in elems[1:]:
        n.merge_with(Dimension(dimension_value(elem.get_shape().with_rank_at_least(1)[0])))
    for r in results:
        r.set_shape(TensorShape([n]).concatenate(r.get_shape()[1:]))
    return results


def map_fn(
    fn: Callable[[Any], Any],
    elems: Any,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    name: str | None = None,
) -> Any:
    """What ``fn`` makes of each row of ``elems``, as rows.

    Args:
      fn: of a row, or of a nest of rows.
      elems: tensor, or nest of tensors with the same number of rows.
      dtype: element type, or nest of them, of what ``fn`` returns, if that differs from ``elems``.
      infer_shape: all results have the same shape.

    Raises:
      TypeError: ``fn`` is not callable or returns another nest, or ``elems`` is a SparseTensor.
      ValueError: ``elems`` has no rows.
    """
    _check_callable(fn)
    if isinstance(elems, SparseTensor):
        raise TypeError(
            "To perform a map on the values of a sparse tensor use either  SparseTensor(input.indices, "
            "fn(input.values), input.dense_shape) or  SparseTensor(input.indices, map_fn(fn, input.values), "
            "input.dense_shape)"
        )
    flat = nest.flatten(elems)
    with name_scope(name, "map", flat), _variables_read_once():
        flat = [convert_to_tensor(e, name="elem") for e in flat]
        dtype = dtype or nest.pack_sequence_as(elems, [e.dtype for e in flat])
        if flat[0].shape.ndims == 0:
            several = len(flat) > 1
            raise ValueError(
                "elements in elems must be 1+ dimensional Tensors, not scalars"
                if several
                else "elems must be a 1+ dimensional Tensor, not a scalar"
            )
        n = _rows(flat[0])
        inputs = [TensorArray(dtype=e.dtype, size=n, dynamic_size=False, infer_shape=True) for e in flat]
        inputs = [a.unstack(e) for a, e in zip(inputs, flat, strict=True)]
        start = constant(0)
        outputs = [
            TensorArray(dtype=d, size=n, dynamic_size=False, infer_shape=infer_shape)
            for d in nest.flatten(dtype)
        ]

        def compute(i: Any, arrays: list[TensorArray]) -> Any:
            values = fn(nest.pack_sequence_as(elems, _read(inputs, i)))
            nest.assert_same_structure(dtype or elems, values)
            written = [a.write(i, v) for a, v in zip(arrays, nest.flatten(values), strict=True)]
            return i + 1, written

        _, outputs = while_loop(
            lambda i, _: i < n,
            compute,
            (start, outputs),
            parallel_iterations=parallel_iterations or 10,
            back_prop=back_prop,
            swap_memory=swap_memory,
            maximum_iterations=n,
        )
        return nest.pack_sequence_as(dtype, _stacked(outputs, flat))


def foldl(
    fn: Callable[[Any, Any], Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
) -> Any:
    """The rows of ``elems`` from first to last folded into one value: ``fn(so far, row)``.

    Args:
      initializer: what to start with; the first row by default.

    Raises:
      TypeError: ``fn`` is not callable.
    """
    _check_callable(fn)
    with name_scope(name, "foldl", [elems]), _variables_read_once():
        flat = [convert_to_tensor(e, name="elem") for e in nest.flatten(elems)]
        n = _rows(flat[0])
        arrays = _unstacked(elems, n)
        if initializer is None:
            first, start = _read(arrays, 0), constant(1)
        else:
            first, start = initializer, constant(0)

        def compute(i: Any, a: Any) -> list[Any]:
            a = fn(a, _read(arrays, i))
            return [i + 1, a]

        _, result = while_loop(
            lambda i, a: i < n,
            compute,
            [start, first],
            parallel_iterations=parallel_iterations,
            back_prop=back_prop,
            swap_memory=swap_memory,
            maximum_iterations=n,
        )
        return result


def foldr(
    fn: Callable[[Any, Any], Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
) -> Any:
    """`foldl` from the last row to the first."""
    _check_callable(fn)
    with name_scope(name, "foldr", [elems]), _variables_read_once():
        flat = [convert_to_tensor(e, name="elem") for e in nest.flatten(elems)]
        n = _rows(flat[0])
        arrays = _unstacked(elems, n)
        if initializer is None:
            start = n - 1
            first = _read(arrays, start)
        else:
            start, first = n, initializer

        def compute(i: Any, a: Any) -> list[Any]:
            i -= 1
            return [i, fn(a, _read(arrays, i))]

        _, result = while_loop(
            lambda i, a: i > 0,
            compute,
            [start, first],
            parallel_iterations=parallel_iterations,
            back_prop=back_prop,
            swap_memory=swap_memory,
            maximum_iterations=n,
        )
        return result


def scan(
    fn: Callable[[Any, Any], Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    reverse: bool = False,
    name: str | None = None,
) -> Any:
    """`foldl` that returns all values on the way, as rows.

    Args:
      initializer: what to start with; the first row by default, which is then the first result.
      reverse: begin with the last row.

    Raises:
      TypeError: ``fn`` is not callable, or returns another nest than it starts with.
    """
    _check_callable(fn)
    like = elems if initializer is None else initializer
    flat = nest.flatten(elems)
    with name_scope(name, "scan", flat), _variables_read_once():
        flat = [convert_to_tensor(e, name="elem") for e in flat]
        n = dimension_value(flat[0].shape[0])
        if n is None:
            n = slice_helper(array.shape(flat[0]), 0)
        inputs = [
            TensorArray(
                dtype=e.dtype, size=n, dynamic_size=False, element_shape=e.shape[1:], infer_shape=True
            )
            for e in flat
        ]
        inputs = [a.unstack(e) for a, e in zip(inputs, flat, strict=True)]
        if initializer is None:
            values, skipped = [a.read(n - 1 if reverse else 0) for a in inputs], 1
        else:
            values, skipped = [convert_to_tensor(x) for x in nest.flatten(initializer)], 0
        outputs = [
            TensorArray(
                dtype=v.dtype,
                size=n,
                element_shape=v.shape if infer_shape else None,
                dynamic_size=False,
                infer_shape=infer_shape,
            )
            for v in values
        ]
        if initializer is None:
            outputs = [a.write(n - 1 if reverse else 0, v) for a, v in zip(outputs, values, strict=True)]

        def compute(i: Any, values: list[Any], arrays: list[TensorArray]) -> Any:
            row = nest.pack_sequence_as(elems, _read(inputs, i))
            result = fn(nest.pack_sequence_as(like, values), row)
            nest.assert_same_structure(like, result)
            following = nest.flatten(result)
            written = [a.write(i, v) for a, v in zip(arrays, following, strict=True)]
            return i - 1 if reverse else i + 1, following, written

        _, _, outputs = while_loop(
            (lambda i, _1, _2: i >= 0) if reverse else (lambda i, _1, _2: i < n),
            compute,
            (n - 1 - skipped if reverse else skipped, values, outputs),
            parallel_iterations=parallel_iterations,
            back_prop=back_prop,
            swap_memory=swap_memory,
            maximum_iterations=n,
        )
        return nest.pack_sequence_as(like, _stacked(outputs, flat))


def hessians(
    ys: Any,
    xs: Any,
    name: str = "hessians",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False,
    aggregation_method: int | None = None,
) -> list[Tensor]:
    """The second derivatives of the sum of ``ys`` with respect to each of ``xs``, of shape [*x, *x].

    Args:
      name: has no effect, as in TensorFlow.

    Raises:
      LookupError: an operation between has no gradient.
    """
    xs = list(xs) if isinstance(xs, (list, tuple)) else [xs]
    first = gradients(
        ys,
        xs,
        colocate_gradients_with_ops=colocate_gradients_with_ops,
        gate_gradients=gate_gradients,
        aggregation_method=aggregation_method,
    )
    return [_hessian(array.reshape(g, [-1]), x) for g, x in zip(first, xs, strict=True)]


def _hessian(gradient: Tensor, x: Any) -> Tensor:
    n = array.size(x)
    _, rows = while_loop(
        lambda j, _: j < n,
        lambda j, rows: (j + 1, rows.write(j, gradients(slice_helper(gradient, j), x)[0])),
        [constant(0, dtypes.int32), TensorArray(x.dtype, n)],
    )
    shape = array.shape(x)
    result: Tensor = array.reshape(rows.stack(), joining.concat((shape, shape), 0))
    return result


def _hessian_vector_product(ys: Any, xs: list[Any], v: list[Any]) -> list[Any]:
    """The product of the Hessian with ``v``, without the Hessian.

    Raises:
      ValueError: ``xs`` and ``v`` differ in length.
    """
    if len(v) != len(xs):
        raise ValueError("xs and v must have the same length.")
    products = [
        math.multiply(g, array.stop_gradient(w))
        for g, w in zip(gradients(ys, xs), v, strict=True)
        if g is not None
    ]
    return gradients(products, xs)
