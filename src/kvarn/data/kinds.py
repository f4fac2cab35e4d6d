"""The kinds of datasets: one node of the graph each.

Source: tensorflow/python/data/ops/dataset_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.data import nest, seeds, structure
from kvarn.data.dataset import (
    DatasetSpec,
    DatasetV2,
    get_legacy_output_classes,
    get_legacy_output_shapes,
    get_legacy_output_types,
)
from kvarn.data.function import StructuredFunctionWrapper, should_unpack_args
from kvarn.data.options import Options
from kvarn.graph import tensor_util
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import Dimension, TensorShape, as_shape, dimension_value
from kvarn.graph.tensor_spec import TensorSpec
from kvarn.ops.datasets import batching, functional, ordering, randomness, sources, tuning


def _int64(value: Any, name: str) -> Tensor:
    return convert_to_tensor(value, dtype=dtypes.int64, name=name)


# -- sources --------------------------------------------------------------------------------------------


class DatasetSource(DatasetV2):
    """A dataset that is made of no others."""

    def _inputs(self) -> list[Any]:
        return []


class TensorDataset(DatasetSource):
    """One element."""

    def __init__(self, element: Any) -> None:
        element = structure.normalize_element(element)
        self._structure = structure.type_spec_from_value(element)
        self._tensors = structure.to_tensor_list(self._structure, element)
        super().__init__(
            sources.tensor_dataset(
                self._tensors, output_shapes=structure.get_flat_tensor_shapes(self._structure)
            )
        )

    @property
    def element_spec(self) -> Any:
        return self._structure


class TensorSliceDataset(DatasetSource):
    """The slices of tensors along their first dimension."""

    def __init__(self, element: Any) -> None:
        element = structure.normalize_element(element)
        batched_spec = structure.type_spec_from_value(element)
        self._tensors = structure.to_batched_tensor_list(batched_spec, element)
        self._structure = nest.map_structure(structure.unbatched, batched_spec)
        first, *others = (Dimension(dimension_value(t.get_shape()[0])) for t in self._tensors)
        for size in others:
            first.assert_is_compatible_with(size)
        super().__init__(
            sources.tensor_slice_dataset(
                self._tensors, output_shapes=structure.get_flat_tensor_shapes(self._structure)
            )
        )

    @property
    def element_spec(self) -> Any:
        return self._structure


class SparseTensorSliceDataset(DatasetSource):
    """The slices of a sparse tensor along its first dimension: indices, values and shape of each."""

    def __init__(self, sparse_tensor: Any) -> None:
        if not isinstance(sparse_tensor, SparseTensor):
            raise TypeError(f"`sparse_tensor` must be a `tf.SparseTensor` object. Was {sparse_tensor}.")
        self._sparse_tensor = sparse_tensor
        columns = sparse_tensor.indices.get_shape()[1]
        rank = (columns - 1).merge_with(sparse_tensor.dense_shape.get_shape()[0] - 1)
        self._structure = (
            TensorSpec([None, rank], dtypes.int64),
            TensorSpec([None], sparse_tensor.dtype),
            TensorSpec([rank], dtypes.int64),
        )
        super().__init__(
            sources.sparse_tensor_slice_dataset(
                sparse_tensor.indices, sparse_tensor.values, sparse_tensor.dense_shape
            )
        )

    @property
    def element_spec(self) -> Any:
        return self._structure


class RangeDataset(DatasetSource):
    """Integers."""

    def __init__(self, *args: Any) -> None:
        if not 1 <= len(args) <= 3:
            raise ValueError(f"Invalid arguments to RangeDataset: {args}")
        start, stop, step = {1: (0, *args, 1), 2: (*args, 1)}.get(len(args), args)
        self._start, self._stop, self._step = (
            _int64(start, "start"),
            _int64(stop, "stop"),
            _int64(step, "step"),
        )
        self._structure = TensorSpec([], dtypes.int64)
        super().__init__(
            sources.range_dataset(start=self._start, stop=self._stop, step=self._step, **self._flat_structure)
        )

    @property
    def element_spec(self) -> Any:
        return self._structure


# -- of one input, with elements of the same kind -------------------------------------------------------


class UnaryDataset(DatasetV2):
    """A dataset that is made of another one."""

    def __init__(self, input_dataset: Any, variant_tensor: Tensor) -> None:
        self._input_dataset = input_dataset
        super().__init__(variant_tensor)

    def _inputs(self) -> list[Any]:
        return [self._input_dataset]


class UnaryUnchangedStructureDataset(UnaryDataset):
    """A dataset that is made of another one, with elements of the same kind."""

    @property
    def element_spec(self) -> Any:
        return self._input_dataset.element_spec


class RepeatDataset(UnaryUnchangedStructureDataset):
    """The elements several times."""

    def __init__(self, input_dataset: Any, count: Any) -> None:
        self._count = _int64(-1 if count is None else count, "count")
        variant = ordering.repeat_dataset(
            input_dataset._variant_tensor, count=self._count, **input_dataset._flat_structure
        )
        super().__init__(input_dataset, variant)


class TakeDataset(UnaryUnchangedStructureDataset):
    """The first elements."""

    def __init__(self, input_dataset: Any, count: Any) -> None:
        self._count = _int64(count, "count")
        variant = ordering.take_dataset(
            input_dataset._variant_tensor, count=self._count, **input_dataset._flat_structure
        )
        super().__init__(input_dataset, variant)


class SkipDataset(UnaryUnchangedStructureDataset):
    """The elements after the first ones."""

    def __init__(self, input_dataset: Any, count: Any) -> None:
        self._count = _int64(count, "count")
        variant = ordering.skip_dataset(
            input_dataset._variant_tensor, count=self._count, **input_dataset._flat_structure
        )
        super().__init__(input_dataset, variant)


class ShardDataset(UnaryUnchangedStructureDataset):
    """One of several elements in turn."""

    def __init__(self, input_dataset: Any, num_shards: Any, index: Any) -> None:
        self._num_shards = _int64(num_shards, "num_shards")
        self._index = _int64(index, "index")
        variant = ordering.shard_dataset(
            input_dataset._variant_tensor,
            num_shards=self._num_shards,
            index=self._index,
            **input_dataset._flat_structure,
        )
        super().__init__(input_dataset, variant)


class CacheDataset(UnaryUnchangedStructureDataset):
    """The elements, kept in memory."""

    def __init__(self, input_dataset: Any, filename: Any) -> None:
        self._filename = convert_to_tensor(filename, dtype=dtypes.string, name="filename")
        variant = ordering.cache_dataset(
            input_dataset._variant_tensor, filename=self._filename, **input_dataset._flat_structure
        )
        super().__init__(input_dataset, variant)


class ShuffleDataset(UnaryUnchangedStructureDataset):
    """The elements in another order."""

    def __init__(
        self,
        input_dataset: Any,
        buffer_size: Any,
        seed: Any = None,
        reshuffle_each_iteration: bool | None = None,
    ) -> None:
        self._buffer_size = _int64(buffer_size, "buffer_size")
        self._seed, self._seed2 = seeds.get_seed(seed)
        self._reshuffle_each_iteration = reshuffle_each_iteration is not False
        variant = randomness.shuffle_dataset(
            input_dataset._variant_tensor,
            buffer_size=self._buffer_size,
            seed=self._seed,
            seed2=self._seed2,
            reshuffle_each_iteration=self._reshuffle_each_iteration,
            **input_dataset._flat_structure,
        )
        super().__init__(input_dataset, variant)


class PrefetchDataset(UnaryUnchangedStructureDataset):
    """The elements, made before they are asked for."""

    def __init__(self, input_dataset: Any, buffer_size: Any, slack_period: int | None = None) -> None:
        self._buffer_size = _int64(-1 if buffer_size is None else buffer_size, "buffer_size")
        variant = tuning.prefetch_dataset(
            input_dataset._variant_tensor,
            buffer_size=self._buffer_size,
            slack_period=slack_period or 0,
            **input_dataset._flat_structure,
        )
        super().__init__(input_dataset, variant)


class OptionsDataset(UnaryUnchangedStructureDataset):
    """The same dataset with options."""

    def __init__(self, input_dataset: Any, options: Options) -> None:
        self._options = input_dataset.options().merge(options)
        super().__init__(input_dataset, input_dataset._variant_tensor)

    def options(self) -> Options:
        found: Options = self._options
        return found


class ModelDataset(UnaryUnchangedStructureDataset):
    """The same elements; tuned."""

    def __init__(self, input_dataset: Any, algorithm: int, cpu_budget: int) -> None:
        variant = tuning.model_dataset(
            input_dataset._variant_tensor,
            algorithm=algorithm,
            cpu_budget=cpu_budget,
            **input_dataset._flat_structure,
        )
        super().__init__(input_dataset, variant)


class OptimizeDataset(UnaryUnchangedStructureDataset):
    """The same elements by optimizations."""

    def __init__(self, input_dataset: Any, optimizations: list[str], configs: list[str]) -> None:
        self._optimizations = convert_to_tensor(optimizations, dtype=dtypes.string, name="optimizations")
        variant = tuning.optimize_dataset(
            input_dataset._variant_tensor,
            self._optimizations,
            optimization_configs=configs,
            **input_dataset._flat_structure,
        )
        super().__init__(input_dataset, variant)


class MaxIntraOpParallelismDataset(UnaryUnchangedStructureDataset):
    """The same elements; operations in functions use so many threads at most."""

    def __init__(self, input_dataset: Any, max_intra_op_parallelism: Any) -> None:
        self._max_intra_op_parallelism = _int64(max_intra_op_parallelism, "max_intra_op_parallelism")
        variant = tuning.max_intra_op_parallelism_dataset(
            input_dataset._variant_tensor, self._max_intra_op_parallelism, **input_dataset._flat_structure
        )
        super().__init__(input_dataset, variant)


class PrivateThreadPoolDataset(UnaryUnchangedStructureDataset):
    """The same elements, by so many threads of their own at most."""

    def __init__(self, input_dataset: Any, num_threads: Any) -> None:
        self._num_threads = _int64(num_threads, "num_threads")
        variant = tuning.private_thread_pool_dataset(
            input_dataset._variant_tensor, self._num_threads, **input_dataset._flat_structure
        )
        super().__init__(input_dataset, variant)


# -- of several inputs ----------------------------------------------------------------------------------


class ZipDataset(DatasetV2):
    """One element of each dataset at a time."""

    def __init__(self, datasets: Any) -> None:
        for dataset in nest.flatten(datasets):
            if not isinstance(dataset, DatasetV2):
                lists = " Nested structures do not support Python lists; please use a tuple instead."
                raise TypeError(
                    "The argument to `Dataset.zip()` must be a nested structure of `Dataset` objects."
                    + (lists if isinstance(dataset, list) else "")
                )
        self._datasets = datasets
        flat = nest.flatten(datasets)
        self._structure = nest.pack_sequence_as(datasets, [d.element_spec for d in flat])
        super().__init__(ordering.zip_dataset([d._variant_tensor for d in flat], **self._flat_structure))

    def _inputs(self) -> list[Any]:
        return nest.flatten(self._datasets)

    @property
    def element_spec(self) -> Any:
        return self._structure


class ConcatenateDataset(DatasetV2):
    """The elements of one dataset, and then those of another."""

    def __init__(self, input_dataset: Any, dataset_to_concatenate: Any) -> None:
        self._input_datasets = [input_dataset, dataset_to_concatenate]
        types, other_types = (get_legacy_output_types(d) for d in self._input_datasets)
        if types != other_types:
            raise TypeError(f"Two datasets to concatenate have different types {types} and {other_types}")
        classes, other_classes = (get_legacy_output_classes(d) for d in self._input_datasets)
        if classes != other_classes:
            raise TypeError(
                f"Two datasets to concatenate have different classes {classes} and {other_classes}"
            )
        shapes, other_shapes = (get_legacy_output_shapes(d) for d in self._input_datasets)
        pairs = zip(nest.flatten(shapes), nest.flatten(other_shapes), strict=True)
        merged = nest.pack_sequence_as(shapes, [a.most_specific_compatible_shape(b) for a, b in pairs])
        self._structure = structure.convert_legacy_structure(types, merged, classes)
        super().__init__(
            ordering.concatenate_dataset(
                input_dataset._variant_tensor, dataset_to_concatenate._variant_tensor, **self._flat_structure
            )
        )

    def _inputs(self) -> list[Any]:
        return self._input_datasets

    @property
    def element_spec(self) -> Any:
        return self._structure


# -- batches --------------------------------------------------------------------------------------------


class BatchDataset(UnaryDataset):
    """Batches of elements."""

    def __init__(self, input_dataset: Any, batch_size: Any, drop_remainder: Any) -> None:
        self._batch_size = _int64(batch_size, "batch_size")
        self._drop_remainder = convert_to_tensor(drop_remainder, dtype=dtypes.bool, name="drop_remainder")
        size = None
        if tensor_util.constant_value(self._drop_remainder):
            size = tensor_util.constant_value(self._batch_size)
        self._structure = nest.map_structure(
            lambda spec: structure.batched(spec, size), input_dataset.element_spec
        )
        variant = batching.batch_dataset_v2(
            input_dataset._variant_tensor,
            batch_size=self._batch_size,
            drop_remainder=self._drop_remainder,
            **self._flat_structure,
        )
        super().__init__(input_dataset, variant)

    @property
    def element_spec(self) -> Any:
        return self._structure


class PaddedBatchDataset(UnaryDataset):
    """Batches of elements that are padded to one shape."""

    def __init__(
        self,
        input_dataset: Any,
        batch_size: Any,
        padded_shapes: Any,
        padding_values: Any,
        drop_remainder: Any,
    ) -> None:
        classes = get_legacy_output_classes(input_dataset)
        if any(kind is SparseTensor for kind in nest.flatten(classes)):
            raise TypeError("Batching of padded sparse tensors is not currently supported")
        types, shapes = get_legacy_output_types(input_dataset), get_legacy_output_shapes(input_dataset)
        self._batch_size = _int64(batch_size, "batch_size")
        if padding_values is None:
            padding_values = nest.map_structure(_default_padding, types)
        pairs = zip(nest.flatten(shapes), nest.flatten_up_to(shapes, padded_shapes), strict=True)
        self._padded_shapes = [_padded_shape(wanted, shape) for shape, wanted in pairs]
        self._padding_values = nest.map_structure_up_to(shapes, _padding_value, padding_values, types)
        self._drop_remainder = convert_to_tensor(drop_remainder, dtype=dtypes.bool, name="drop_remainder")
        drops = tensor_util.constant_value(self._drop_remainder)
        size = tensor_util.constant_value(self._batch_size) if drops else None
        padded = [
            TensorShape([size]).concatenate(tensor_util.constant_value_as_shape(s))
            for s in self._padded_shapes
        ]
        self._structure = structure.convert_legacy_structure(
            types, nest.pack_sequence_as(shapes, padded), classes
        )
        variant = batching.padded_batch_dataset_v2(
            input_dataset._variant_tensor,
            batch_size=self._batch_size,
            padded_shapes=[convert_to_tensor(s, dtype=dtypes.int64) for s in self._padded_shapes],
            padding_values=nest.flatten(self._padding_values),
            drop_remainder=self._drop_remainder,
            output_shapes=structure.get_flat_tensor_shapes(self._structure),
        )
        super().__init__(input_dataset, variant)

    @property
    def element_spec(self) -> Any:
        return self._structure


def _default_padding(dtype: dtypes.DType) -> Any:
    if dtype is dtypes.string:
        return ""
    if dtype is dtypes.variant:
        raise TypeError(
            "Unable to create padding for field of type 'variant' because t.base_type == variant."
        )
    return np.zeros((), dtype.as_numpy_dtype)


def _padded_shape(wanted: Any, input_shape: TensorShape) -> Tensor:
    """A padded shape as a tensor (int64), -1 for what is not known.

    Raises:
      TypeError, ValueError: it is no shape, or smaller than that of the elements.
    """
    try:
        shape = as_shape(wanted)
        tensor = convert_to_tensor([-1 if d is None else d for d in shape.as_list()], dtype=dtypes.int64)
    except (TypeError, ValueError):
        tensor = convert_to_tensor(wanted, preferred_dtype=dtypes.int64)
        if tensor.shape.ndims not in (None, 1):
            raise ValueError(
                f"Padded shape {wanted} must be a 1-D tensor of tf.int64 values, but its shape was {tensor.shape}."
            ) from None
        if tensor.dtype is not dtypes.int64:
            raise TypeError(
                f"Padded shape {wanted} must be a 1-D tensor of tf.int64 values, but its element type was "
                f"{tensor.dtype.name}."
            ) from None
        shape = tensor_util.constant_value_as_shape(tensor)
    if not _can_be_padded(shape, input_shape):
        raise ValueError(
            f"The padded shape {shape} is not compatible with the corresponding input component shape {input_shape}."
        )
    return tensor


def _can_be_padded(shape: TensorShape, input_shape: TensorShape) -> bool:
    if shape.ndims is None or input_shape.ndims is None:
        return True
    sizes = zip(shape.as_list(), input_shape.as_list(), strict=False)
    return shape.ndims == input_shape.ndims and all(a is None or b is None or a >= b for a, b in sizes)


def _padding_value(value: Any, dtype: dtypes.DType) -> Tensor:
    tensor = convert_to_tensor(value, name="padding_value")
    if not tensor.shape.is_compatible_with(TensorShape([])):
        raise ValueError(f"Padding value should be a scalar, but is not: {tensor}")
    if tensor.dtype is not dtype:
        raise TypeError(f"Padding value tensor ({tensor}) does not match output type: {dtype!r}")
    return tensor


class WindowDataset(UnaryDataset):
    """Datasets of some elements."""

    def __init__(self, input_dataset: Any, size: Any, shift: Any, stride: Any, drop_remainder: Any) -> None:
        self._size, self._shift, self._stride = (
            _int64(size, "size"),
            _int64(shift, "shift"),
            _int64(stride, "stride"),
        )
        self._drop_remainder = convert_to_tensor(drop_remainder, dtype=dtypes.bool, name="drop_remainder")
        self._structure = nest.map_structure(DatasetSpec, input_dataset.element_spec)
        variant = ordering.window_dataset(
            input_dataset._variant_tensor,
            self._size,
            self._shift,
            self._stride,
            self._drop_remainder,
            **self._flat_structure,
        )
        super().__init__(input_dataset, variant)

    @property
    def element_spec(self) -> Any:
        return self._structure


class RestructuredDataset(UnaryDataset):
    """The same dataset, its elements described in another way."""

    def __init__(self, dataset: Any, structure: Any) -> None:
        self._structure = structure
        super().__init__(dataset, dataset._variant_tensor)

    @property
    def element_spec(self) -> Any:
        return self._structure


class UnbatchDataset(UnaryDataset):
    """The rows of batches."""

    def __init__(self, input_dataset: Any) -> None:
        shapes = input_dataset._flat_shapes
        if any(s.ndims == 0 for s in shapes):
            raise ValueError("Cannot unbatch an input with scalar components.")
        size = Dimension(None)
        for shape in shapes:
            try:
                size = size.merge_with(shape[0])
            except ValueError:
                raise ValueError(
                    "Cannot unbatch an input whose components have different batch sizes."
                ) from None
        self._structure = nest.map_structure(structure.unbatched, input_dataset.element_spec)
        super().__init__(
            input_dataset, batching.unbatch_dataset(input_dataset._variant_tensor, **self._flat_structure)
        )

    @property
    def element_spec(self) -> Any:
        return self._structure


def unbatch(dataset: Any) -> UnbatchDataset:
    """The rows of elements that are batches, sparse tensors taken apart, too."""

    def normalize(*parts: Any) -> Any:
        element = parts if should_unpack_args(dataset.element_spec) else parts[0]
        return tuple(structure.to_batched_tensor_list(dataset.element_spec, element))

    return UnbatchDataset(RestructuredDataset(dataset.map(normalize), dataset.element_spec))


# -- with functions -------------------------------------------------------------------------------------


class _FunctionDataset(UnaryDataset):
    """A dataset of another one and a function."""

    _transformation = ""

    def __init__(self, input_dataset: Any, func: Any, legacy: bool = False) -> None:
        self._map_func = StructuredFunctionWrapper(
            func, self._transformation, dataset=input_dataset, use_legacy_function=legacy
        )
        self._input_dataset = input_dataset
        super().__init__(input_dataset, self._variant(input_dataset._variant_tensor))

    def _variant(self, input: Tensor) -> Tensor:
        """The node."""
        raise NotImplementedError

    def _functions(self) -> list[Any]:
        return [self._map_func]

    @property
    def element_spec(self) -> Any:
        return self._map_func.output_structure


class MapDataset(_FunctionDataset):
    """What a function gives for each element."""

    _transformation = "Dataset.map()"

    def __init__(
        self,
        input_dataset: Any,
        map_func: Callable[..., Any],
        use_inter_op_parallelism: bool = True,
        preserve_cardinality: bool = False,
        use_legacy_function: bool = False,
    ) -> None:
        self._use_inter_op_parallelism = use_inter_op_parallelism
        self._preserve_cardinality = preserve_cardinality
        super().__init__(input_dataset, map_func, use_legacy_function)

    def _variant(self, input: Tensor) -> Tensor:
        found: Tensor = functional.map_dataset(
            input,
            self._map_func.captured,
            f=self._map_func.attr,
            use_inter_op_parallelism=self._use_inter_op_parallelism,
            preserve_cardinality=self._preserve_cardinality,
            **self._flat_structure,
        )
        return found


class ParallelMapDataset(MapDataset):
    """What a function gives for each element, for several at a time."""

    def __init__(
        self,
        input_dataset: Any,
        map_func: Callable[..., Any],
        num_parallel_calls: Any,
        use_inter_op_parallelism: bool = True,
        preserve_cardinality: bool = False,
        use_legacy_function: bool = False,
    ) -> None:
        self._given_parallel_calls = num_parallel_calls
        super().__init__(
            input_dataset, map_func, use_inter_op_parallelism, preserve_cardinality, use_legacy_function
        )

    def _variant(self, input: Tensor) -> Tensor:
        self._num_parallel_calls = convert_to_tensor(
            self._given_parallel_calls, dtype=dtypes.int32, name="num_parallel_calls"
        )
        found: Tensor = functional.parallel_map_dataset(
            input,
            self._map_func.captured,
            f=self._map_func.attr,
            num_parallel_calls=self._num_parallel_calls,
            use_inter_op_parallelism=self._use_inter_op_parallelism,
            preserve_cardinality=self._preserve_cardinality,
            **self._flat_structure,
        )
        return found


class FlatMapDataset(_FunctionDataset):
    """The elements of the datasets that a function gives."""

    _transformation = "Dataset.flat_map()"

    def _variant(self, input: Tensor) -> Tensor:
        self._structure = self._inner_structure()
        found: Tensor = functional.flat_map_dataset(
            input, self._map_func.captured, f=self._map_func.attr, **self._flat_structure
        )
        return found

    def _inner_structure(self) -> Any:
        """The specs of the elements of what the function gives; TypeError if that are no datasets."""
        spec = self._map_func.output_structure
        if not isinstance(spec, DatasetSpec):
            raise TypeError(f"`map_func` must return a `Dataset` object. Got {type(spec)}")
        return spec._element_spec

    @property
    def element_spec(self) -> Any:
        return self._structure


class InterleaveDataset(FlatMapDataset):
    """The elements of the datasets that a function gives, of several in turn."""

    _transformation = "Dataset.interleave()"

    def __init__(
        self, input_dataset: Any, map_func: Callable[..., Any], cycle_length: Any, block_length: Any
    ) -> None:
        self._lengths = cycle_length, block_length
        super().__init__(input_dataset, map_func)

    def _length_tensors(self) -> list[Tensor]:
        cycle_length, block_length = self._lengths
        return [_int64(cycle_length, "cycle_length"), _int64(block_length, "block_length")]

    def _variant(self, input: Tensor) -> Tensor:
        self._structure = self._inner_structure()
        found: Tensor = functional.interleave_dataset(
            input,
            self._map_func.captured,
            *self._length_tensors(),
            f=self._map_func.attr,
            **self._flat_structure,
        )
        return found


class ParallelInterleaveDataset(InterleaveDataset):
    """`InterleaveDataset`, whose elements are made before they are asked for."""

    def __init__(
        self,
        input_dataset: Any,
        map_func: Callable[..., Any],
        cycle_length: Any,
        block_length: Any,
        num_parallel_calls: Any,
    ) -> None:
        self._given_parallel_calls = num_parallel_calls
        super().__init__(input_dataset, map_func, cycle_length, block_length)

    def _variant(self, input: Tensor) -> Tensor:
        self._structure = self._inner_structure()
        found: Tensor = functional.parallel_interleave_dataset_v2(
            input,
            self._map_func.captured,
            *self._length_tensors(),
            _int64(self._given_parallel_calls, "num_parallel_calls"),
            f=self._map_func.attr,
            **self._flat_structure,
        )
        return found


class FilterDataset(_FunctionDataset):
    """The elements for which a function gives true."""

    _transformation = "Dataset.filter()"
    _operation = staticmethod(functional.filter_dataset)

    def __init__(
        self, input_dataset: Any, predicate: Callable[..., Any], use_legacy_function: bool = False
    ) -> None:
        super().__init__(input_dataset, predicate, use_legacy_function)

    def _variant(self, input: Tensor) -> Tensor:
        spec = self._map_func.output_structure
        if not isinstance(spec, TensorSpec) or not spec.is_compatible_with(TensorSpec([], dtypes.bool)):
            raise ValueError(
                f"`predicate` return type must be convertible to a scalar boolean tensor. Was {spec}."
            )
        found: Tensor = self._operation(
            input,
            other_arguments=self._map_func.captured,
            predicate=self._map_func.attr,
            **self._input_dataset._flat_structure,
        )
        return found

    @property
    def element_spec(self) -> Any:
        return self._input_dataset.element_spec


class GeneratorDataset(DatasetSource):
    """What a function gives for the state that another one made, until it raises OutOfRangeError."""

    def __init__(self, init_args: Any, init_func: Any, next_func: Any, finalize_func: Any) -> None:
        name = "Dataset.from_generator()"
        spec = structure.type_spec_from_value(init_args)
        self._init_func = StructuredFunctionWrapper(init_func, name, input_structure=spec)
        state = self._init_func.output_structure
        self._next_func = StructuredFunctionWrapper(next_func, name, input_structure=state)
        self._finalize_func = StructuredFunctionWrapper(finalize_func, name, input_structure=state)
        super().__init__(
            sources.generator_dataset(
                structure.to_tensor_list(spec, init_args) + self._init_func.captured,
                self._next_func.captured,
                self._finalize_func.captured,
                init_func=self._init_func.attr,
                next_func=self._next_func.attr,
                finalize_func=self._finalize_func.attr,
                **self._flat_structure,
            )
        )

    @property
    def element_spec(self) -> Any:
        return self._next_func.output_structure


def optional_param_to_tensor(
    argument_name: str, argument_value: Any, argument_default: Any = 0, argument_dtype: Any = dtypes.int64
) -> Tensor:
    """An argument, or its default, as a tensor."""
    if argument_value is not None:
        return convert_to_tensor(argument_value, dtype=argument_dtype, name=argument_name)
    return constant(argument_default, dtype=argument_dtype, name=argument_name)
