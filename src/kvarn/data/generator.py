"""`Dataset.from_generator`.

Source: tensorflow/python/data/ops/dataset_ops.py (1.15).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.data import nest
from kvarn.data.dataset import DatasetV1
from kvarn.data.kinds import GeneratorDataset
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.ops.script import numpy_function


class _GeneratorState:
    """The Python iterators of a dataset, by number."""

    def __init__(self, generator: Callable[..., Any]) -> None:
        self._generator = generator
        self._lock = threading.Lock()
        self._next_id = 0
        self._args: dict[int, tuple[Any, ...]] = {}
        self._iterators: dict[int, Iterator[Any]] = {}

    def get_next_id(self, *args: Any) -> Any:
        with self._lock:
            found, self._next_id = self._next_id, self._next_id + 1
        self._args[found] = args
        return np.array(found, dtype=np.int64)

    def get_iterator(self, number: int) -> Iterator[Any]:
        found = self._iterators.get(number)
        if found is None:
            found = self._iterators[number] = iter(self._generator(*self._args.pop(number)))
        return found

    def iterator_completed(self, number: int) -> None:
        self._args.pop(number, None)
        self._iterators.pop(number, None)


def from_generator(generator: Callable[..., Any], output_types: Any, output_shapes: Any, args: Any) -> Any:
    """See `DatasetV2.from_generator`."""
    if not callable(generator):
        raise TypeError("`generator` must be callable.")
    if output_shapes is None:
        output_shapes = nest.map_structure(lambda _: TensorShape(None), output_types)
    else:
        output_shapes = nest.map_structure_up_to(output_types, as_shape, output_shapes)
    tensors = (
        () if args is None else tuple(convert_to_tensor(a, name=f"args_{i}") for i, a in enumerate(args))
    )
    types = [dtypes.as_dtype(t) for t in nest.flatten(output_types)]
    shapes = nest.flatten(output_shapes)
    state = _GeneratorState(generator)

    def next_values(number: Any) -> list[Any]:
        return _checked(next(state.get_iterator(int(number))), output_types, types, shapes)

    def finalize(number: Any) -> Any:
        state.iterator_completed(int(number))
        return np.array(0, dtype=np.int64)

    def get_id(unused: Any) -> Any:
        return numpy_function(state.get_next_id, tensors, dtypes.int64)

    def generator_next(number: Any) -> Any:
        flat = numpy_function(next_values, [number], types)
        for tensor, shape in zip(flat, shapes, strict=True):
            tensor.set_shape(shape)
        return nest.pack_sequence_as(output_types, flat)

    def generator_finalize(number: Any) -> Any:
        return numpy_function(finalize, [number], dtypes.int64)

    def flat_map_fn(dummy: Any) -> Any:
        return GeneratorDataset(dummy, get_id, generator_next, generator_finalize)

    # Once around, so that each iteration has a generator of its own.
    return DatasetV1.from_tensors(0).flat_map(flat_map_fn)


def _checked(values: Any, output_types: Any, types: list[Any], shapes: list[Any]) -> list[Any]:
    """What a generator gave, as arrays.

    Raises:
      TypeError, ValueError: it is not what the dataset promises.
    """
    try:
        flat = nest.flatten_up_to(output_types, values)
    except (TypeError, ValueError):
        raise TypeError(
            "`generator` yielded an element that did not match the expected structure. The expected structure was "
            f"{output_types}, but the yielded element was {values}."
        ) from None
    arrays = []
    for value, dtype, shape in zip(flat, types, shapes, strict=True):
        try:
            array = _converted(value, dtype)
        except (TypeError, ValueError):
            raise TypeError(
                "`generator` yielded an element that could not be converted to the expected type. The expected "
                f"type was {dtype.name}, but the yielded element was {value}."
            ) from None
        if not shape.is_compatible_with(array.shape):
            raise ValueError(
                f"`generator` yielded an element of shape {array.shape} where an element of shape {shape} was "
                "expected."
            )
        arrays.append(array)
    return arrays


def _converted(value: Any, dtype: dtypes.DType) -> Any:
    array = np.asarray(value, dtype=dtype.as_numpy_dtype, order="C")
    if dtype is dtypes.string:
        texts = [text.encode() if isinstance(text, str) else text for text in array.reshape(-1)]
        if not all(isinstance(text, bytes) for text in texts):
            raise TypeError("Unsupported object type")
        array = np.empty(array.shape, dtype=object)
        array.reshape(-1)[:] = texts
    return array
