"""Elements in groups of one key, or of about one length.

Source: tensorflow/python/data/experimental/ops/grouping.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.data import nest
from kvarn.data.dataset import DatasetSpec, get_legacy_output_shapes
from kvarn.data.function import StructuredFunctionWrapper
from kvarn.data.kinds import UnaryDataset
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape, dimension_value
from kvarn.graph.tensor_spec import TensorSpec
from kvarn.ops import array, check, math
from kvarn.ops.datasets import functional


def group_by_window(
    key_func: Callable[..., Any],
    reduce_func: Callable[..., Any],
    window_size: Any = None,
    window_size_func: Callable[..., Any] | None = None,
) -> Callable[[Any], Any]:
    """The elements of the datasets that a function gives for groups of elements of one key.

    Args:
      key_func: gives the key (int64) of an element.
      reduce_func: gives a dataset for a key and the dataset of its elements.
      window_size: of a group, or
      window_size_func: gives that for a key.

    Raises:
      ValueError: both sizes are given, or none; (when applied) a function gives something else.
      TypeError (when applied): ``reduce_func`` gives no dataset.
    """
    if (window_size is None) == (window_size_func is None):
        raise ValueError("Must pass either window_size or window_size_func.")
    if window_size is not None:

        def size_of(unused_key: Any) -> Tensor:
            return convert_to_tensor(window_size, dtype=dtypes.int64)

        window_size_func = size_of
    return lambda dataset: _GroupByWindowDataset(dataset, key_func, reduce_func, window_size_func)


class _GroupByWindowDataset(UnaryDataset):
    _transformation = "tf.data.experimental.group_by_window()"

    def __init__(self, input_dataset: Any, key_func: Any, reduce_func: Any, window_size_func: Any) -> None:
        key = TensorSpec([], dtypes.int64)
        self._key_func = StructuredFunctionWrapper(
            _giving_int64(key_func), self._transformation, dataset=input_dataset
        )
        self._reduce_func = StructuredFunctionWrapper(
            reduce_func,
            self._transformation,
            input_structure=(key, DatasetSpec(input_dataset.element_spec)),
        )
        self._window_size_func = StructuredFunctionWrapper(
            _giving_int64(window_size_func), self._transformation, input_structure=key
        )
        for name, function in (("key_func", self._key_func), ("window_size_func", self._window_size_func)):
            if not function.output_structure.is_compatible_with(key):
                raise ValueError(f"`{name}` must return a single tf.int64 scalar tensor.")
        if not isinstance(self._reduce_func.output_structure, DatasetSpec):
            raise TypeError("`reduce_func` must return a `Dataset` object.")
        self._element_spec = self._reduce_func.output_structure._element_spec
        variant = functional.group_by_window_dataset(
            input_dataset._variant_tensor,
            self._key_func.captured,
            self._reduce_func.captured,
            self._window_size_func.captured,
            key_func=self._key_func.attr,
            reduce_func=self._reduce_func.attr,
            window_size_func=self._window_size_func.attr,
            **self._flat_structure,
        )
        super().__init__(input_dataset, variant)

    def _functions(self) -> list[Any]:
        return [self._key_func, self._reduce_func, self._window_size_func]

    @property
    def element_spec(self) -> Any:
        return self._element_spec


def _giving_int64(func: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any) -> Tensor:
        return convert_to_tensor(func(*args), dtype=dtypes.int64)

    return wrapper


def bucket_by_sequence_length(
    element_length_func: Callable[..., Any],
    bucket_boundaries: Sequence[int],
    bucket_batch_sizes: Sequence[int],
    padded_shapes: Any = None,
    padding_values: Any = None,
    pad_to_bucket_boundary: bool = False,
    no_padding: bool = False,
    drop_remainder: bool = False,
) -> Callable[[Any], Any]:
    """Batches of elements of about one length.

    Args:
      element_length_func: gives the length (int32) of an element.
      bucket_boundaries: the lengths at which a next kind of batches begins.
      bucket_batch_sizes: of the kinds, one more than boundaries.
      padded_shapes, padding_values: as of `Dataset.padded_batch`; shapes by default those of the elements.
      pad_to_bucket_boundary: whether elements are padded to the greatest length of their kind.
      no_padding: whether they are not padded at all.
      drop_remainder: whether smaller last batches are left out.

    Raises:
      ValueError: there is another number of sizes.
      InvalidArgumentError (when run): with ``pad_to_bucket_boundary``, an element is too long.
    """
    if len(bucket_batch_sizes) != len(bucket_boundaries) + 1:
        raise ValueError("len(bucket_batch_sizes) must equal len(bucket_boundaries) + 1")
    with name_scope("bucket_by_seq_length"):
        batch_sizes = constant(bucket_batch_sizes, dtype=dtypes.int64)
    limits = np.iinfo(np.int32)

    def bucket_of(*args: Any) -> Tensor:
        length = element_length_func(*args)
        least, most = [limits.min, *bucket_boundaries], [*bucket_boundaries, limits.max]
        fits = math.logical_and(math.less_equal(least, length), math.less(length, most))
        found: Tensor = math.reduce_min(array.where(fits))
        return found

    def size_of(bucket: Any) -> Any:
        return batch_sizes[bucket]

    def batches(bucket: Any, dataset: Any) -> Any:
        size = size_of(bucket)
        if no_padding:
            return dataset.batch(size, drop_remainder=drop_remainder)
        filler = None
        if pad_to_bucket_boundary:
            last = constant(len(bucket_batch_sizes) - 1, dtype=dtypes.int64)
            message = "When pad_to_bucket_boundary=True, elements must have length < max(bucket_boundaries)."
            with control_dependencies([check.assert_less(bucket, last, message=message)]):
                filler = constant(bucket_boundaries, dtype=dtypes.int64)[bucket] - 1
        shapes = _filled(padded_shapes or get_legacy_output_shapes(dataset), filler)
        return dataset.padded_batch(size, shapes, padding_values, drop_remainder=drop_remainder)

    return lambda dataset: dataset.apply(group_by_window(bucket_of, batches, window_size_func=size_of))


def _filled(shapes: Any, filler: Any) -> Any:
    """Shapes with ``filler`` in place of sizes that are not known."""
    filled = []
    for shape in nest.flatten(shapes):
        sizes = [dimension_value(d) for d in TensorShape(shape)]
        filled.append([filler if d is None else d for d in sizes])
    return nest.pack_sequence_as(shapes, filled)
