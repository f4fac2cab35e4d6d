"""`tf.data.Dataset`: what all datasets have in common, and their methods.

Source: tensorflow/python/data/ops/dataset_ops.py (1.15).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.data import nest, structure
from kvarn.data.options import Options
from kvarn.graph import random_seed, type_spec
from kvarn.graph.attr_value import NameAttrList
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import get_default_graph
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.graph.tensor_spec import TensorSpec
from kvarn.ops.datasets import iterators
from kvarn.variables.function import Defun

AUTOTUNE = -1


def _kinds() -> ModuleType:
    """The classes of datasets, which derive from the one here."""
    from kvarn.data import kinds

    return kinds


class DatasetV2:
    """Elements, one after the other.

    Args:
      variant_tensor: the dataset in the graph.
    """

    def __init__(self, variant_tensor: Tensor) -> None:
        self._variant_tensor_attr = variant_tensor
        self._graph_attr = get_default_graph()

    @property
    def _variant_tensor(self) -> Tensor:
        return self._variant_tensor_attr

    @_variant_tensor.setter
    def _variant_tensor(self, _: Any) -> None:
        raise ValueError("The _variant_tensor property is read-only")

    @property
    def _graph(self) -> Any:
        return self._graph_attr

    @_graph.setter
    def _graph(self, _: Any) -> None:
        raise ValueError("The _graph property is read-only")

    def _inputs(self) -> list[Any]:
        """The datasets that this one is made of."""
        raise NotImplementedError("Dataset._inputs")

    def _functions(self) -> list[Any]:
        """The functions that this one calls."""
        return []

    @property
    def element_spec(self) -> Any:
        """The specs of the elements."""
        raise NotImplementedError("Dataset.element_spec")

    @property
    def _type_spec(self) -> DatasetSpec:
        return DatasetSpec(self.element_spec)

    @property
    def _flat_shapes(self) -> list[TensorShape]:
        return structure.get_flat_tensor_shapes(self.element_spec)

    @property
    def _flat_types(self) -> list[dtypes.DType]:
        return structure.get_flat_tensor_types(self.element_spec)

    @property
    def _flat_structure(self) -> dict[str, Any]:
        """What nodes say of the elements, as keywords."""
        return {"output_shapes": self._flat_shapes, "output_types": self._flat_types}

    def __iter__(self) -> Any:
        raise RuntimeError(
            "__iter__() is only supported inside of tf.function or when eager execution is enabled."
        )

    def __repr__(self) -> str:
        shapes = str(nest.map_structure(str, get_legacy_output_shapes(self))).replace("'", "")
        types = str(nest.map_structure(repr, get_legacy_output_types(self))).replace("'", "")
        return f"<{type(self).__name__} shapes: {shapes}, types: {types}>"

    # -- options ------------------------------------------------------------------------------------------

    def options(self) -> Options:
        """The options of this dataset and of those that it is made of."""
        found = Options()
        for dataset in self._inputs():
            found = found.merge(dataset.options())
        return found

    def with_options(self, options: Options) -> DatasetV2:
        """The same elements with further options; ValueError if they contradict those it has."""
        dataset: DatasetV2 = _kinds().OptionsDataset(self, options)
        return dataset

    def _has_captured_ref(self) -> bool:
        """Whether functions take variables that are references from outside."""

        def is_ref(tensor: Tensor) -> bool:
            return tensor.dtype.is_ref or any(is_ref(x) for x in tensor.op.inputs)

        if any(is_ref(tensor) for function in self._functions() for tensor in function.captured):
            return True
        return any(dataset._has_captured_ref() for dataset in self._inputs())

    def _apply_options(self) -> DatasetV2:
        """The dataset as iterators take it.

        Raises:
          UnimplementedError: statistics are asked for.
        """
        kinds, options = _kinds(), self.options()
        dataset: DatasetV2 = self
        threading = options.experimental_threading
        if threading.max_intra_op_parallelism is not None:
            dataset = kinds.MaxIntraOpParallelismDataset(dataset, threading.max_intra_op_parallelism)
        if threading.private_threadpool_size is not None:
            dataset = kinds.PrivateThreadPoolDataset(dataset, threading.private_threadpool_size)
        optimizations = options._static_optimizations()
        if optimizations and self._has_captured_ref():
            warnings.warn(
                "tf.data static optimizations are not compatible with tf.Variable. The following optimizations "
                f"will be disabled: {', '.join(optimizations)}. To enable optimizations, use resource variables "
                "instead by calling `tf.enable_resource_variables()` at the start of the program.",
                stacklevel=3,
            )
        elif optimizations:
            configs = options._static_optimization_configs()
            dataset = kinds.OptimizeDataset(dataset, optimizations, configs)
        tuning = options.experimental_optimization
        if tuning.autotune is not False:
            dataset = kinds.ModelDataset(
                dataset, tuning.autotune_algorithm or 0, tuning.autotune_cpu_budget or 0
            )
        if options.experimental_stats.aggregator:
            raise errors.UnimplementedError.of("kvarn keeps no statistics of datasets")
        return dataset

    # -- sources ------------------------------------------------------------------------------------------

    @staticmethod
    def from_tensors(tensors: Any) -> Any:
        """One element."""
        return _kinds().TensorDataset(tensors)

    @staticmethod
    def from_tensor_slices(tensors: Any) -> Any:
        """The slices of tensors along their first dimension."""
        return _kinds().TensorSliceDataset(tensors)

    @staticmethod
    def from_generator(
        generator: Callable[..., Any], output_types: Any, output_shapes: Any = None, args: Any = None
    ) -> Any:
        """What ``iter(generator(*args))`` gives, each time the dataset is gone through.

        Args:
          generator: a Python function.
          output_types: of the elements, in their structure.
          output_shapes: likewise; by default unknown.
          args: tensors, whose values ``generator`` gets as arrays.

        Raises:
          TypeError: ``generator`` cannot be called.
        """
        from kvarn.data.generator import from_generator

        return from_generator(generator, output_types, output_shapes, args)

    @staticmethod
    def range(*args: Any) -> Any:
        """Integers (int64) as Python's ``range`` gives them."""
        return _kinds().RangeDataset(*args)

    @staticmethod
    def zip(datasets: Any) -> Any:
        """One element of each dataset of a structure at a time, in that structure."""
        return _kinds().ZipDataset(datasets)

    @staticmethod
    def list_files(file_pattern: Any, shuffle: bool | None = None, seed: Any = None) -> Any:
        """The names of the files that match.

        Args:
          file_pattern: a string or a vector of strings.
          shuffle: whether in another order each time, as is the default.
          seed: of that order.

        Raises (when run):
          InvalidArgumentError: there are none.
        """
        from kvarn.data.readers import list_files

        return list_files(file_pattern, shuffle, seed)

    # -- transformations ----------------------------------------------------------------------------------

    def concatenate(self, dataset: Any) -> Any:
        """The elements, and then those of another dataset."""
        return _kinds().ConcatenateDataset(self, dataset)

    def prefetch(self, buffer_size: Any) -> Any:
        """The same elements, so many of them made by a thread before they are asked for (AUTOTUNE: some)."""
        return _kinds().PrefetchDataset(self, buffer_size)

    def repeat(self, count: Any = None) -> Any:
        """The elements so many times; for ever without a count or with -1."""
        return _kinds().RepeatDataset(self, count)

    def enumerate(self, start: Any = 0) -> Any:
        """Pairs of a number (int64), from ``start`` on, and an element."""
        return DatasetV1.zip((DatasetV1.range(start, np.iinfo(np.int64).max), self))

    def shuffle(
        self, buffer_size: Any, seed: Any = None, reshuffle_each_iteration: bool | None = None
    ) -> Any:
        """The elements in another order, each one chosen by chance out of the next ``buffer_size``.

        Args:
          seed: with it, or with one of the graph, the order is the same in each session.
          reshuffle_each_iteration: whether the order is another one each time, as is the default.
        """
        return _kinds().ShuffleDataset(self, buffer_size, seed, reshuffle_each_iteration)

    def cache(self, filename: Any = "") -> Any:
        """The elements, kept in memory when they were all gone through once."""
        return _kinds().CacheDataset(self, filename)

    def take(self, count: Any) -> Any:
        """The first elements; all with -1."""
        return _kinds().TakeDataset(self, count)

    def skip(self, count: Any) -> Any:
        """The elements after the first ones; none with -1."""
        return _kinds().SkipDataset(self, count)

    def shard(self, num_shards: Any, index: Any) -> Any:
        """Of ``num_shards`` elements in turn the one at ``index``."""
        return _kinds().ShardDataset(self, num_shards, index)

    def batch(self, batch_size: Any, drop_remainder: Any = False) -> Any:
        """Batches of elements of one shape; the last one is smaller, or left out with ``drop_remainder``."""
        return _kinds().BatchDataset(self, batch_size, drop_remainder)

    def padded_batch(
        self, batch_size: Any, padded_shapes: Any, padding_values: Any = None, drop_remainder: Any = False
    ) -> Any:
        """Batches of elements that are padded at their ends.

        Args:
          padded_shapes: of the parts of an element in its structure; to the greatest size where it is None or -1.
          padding_values: likewise, what they are padded with; zeros or empty strings by default.
          drop_remainder: whether a smaller last batch is left out.
        """
        return _kinds().PaddedBatchDataset(self, batch_size, padded_shapes, padding_values, drop_remainder)

    def map(self, map_func: Callable[..., Any], num_parallel_calls: Any = None) -> Any:
        """What a function of tensors gives for each element.

        Args:
          num_parallel_calls: for so many elements at a time, by threads, before they are asked for (AUTOTUNE: some).
        """
        if num_parallel_calls is None:
            return _kinds().MapDataset(self, map_func, preserve_cardinality=True)
        return _kinds().ParallelMapDataset(self, map_func, num_parallel_calls, preserve_cardinality=True)

    def flat_map(self, map_func: Callable[..., Any]) -> Any:
        """The elements of the datasets that a function gives, one dataset after the other."""
        return _kinds().FlatMapDataset(self, map_func)

    def interleave(
        self,
        map_func: Callable[..., Any],
        cycle_length: Any = AUTOTUNE,
        block_length: Any = 1,
        num_parallel_calls: Any = None,
    ) -> Any:
        """The elements of the datasets that a function gives, of several in turn.

        Args:
          cycle_length: of so many datasets.
          block_length: so many elements at a time.
          num_parallel_calls: with it, a thread makes them before they are asked for.
        """
        if num_parallel_calls is None:
            return _kinds().InterleaveDataset(self, map_func, cycle_length, block_length)
        return _kinds().ParallelInterleaveDataset(
            self, map_func, cycle_length, block_length, num_parallel_calls
        )

    def filter(self, predicate: Callable[..., Any]) -> Any:
        """The elements for which a function gives true."""
        return _kinds().FilterDataset(self, predicate)

    def apply(self, transformation_func: Callable[[Any], Any]) -> Any:
        """What ``transformation_func`` makes of the dataset; TypeError if that is none."""
        dataset = transformation_func(self)
        if not isinstance(dataset, DatasetV2):
            raise TypeError(f"`transformation_func` must return a Dataset. Got {dataset}.")
        dataset._input_datasets = [self]  # type: ignore[attr-defined]
        return dataset

    def window(self, size: Any, shift: Any = None, stride: Any = 1, drop_remainder: Any = False) -> Any:
        """Datasets of ``size`` elements, ``stride`` apart, each beginning ``shift`` after the one before."""
        return _kinds().WindowDataset(self, size, size if shift is None else shift, stride, drop_remainder)

    def unbatch(self) -> Any:
        """The rows of elements that are batches."""
        from kvarn.data.kinds import unbatch

        return unbatch(self)

    def reduce(self, initial_state: Any, reduce_func: Callable[..., Any]) -> Any:
        """The state that is left when ``reduce_func(state, element)`` was called for each element.

        Raises:
          TypeError: it returns a state of another type than ``initial_state``.
        """
        from kvarn.data.reduction import reduce

        return reduce(self, initial_state, reduce_func)


class DatasetV1(DatasetV2):
    """A dataset that can make iterators; all that its methods give can, too.

    A subclass has ``_as_variant_tensor``, or gives `DatasetV2` a variant tensor.
    """

    def __init__(self) -> None:
        try:
            variant_tensor = self._as_variant_tensor()
        except AttributeError as e:
            if "_as_variant_tensor" in str(e):
                raise AttributeError(
                    "Please use _variant_tensor instead of _as_variant_tensor() to obtain the variant associated "
                    "with a dataset"
                ) from None
            raise AttributeError(
                f"{e}: A likely cause of this error is that the super call for this dataset is not the last line "
                "of the __init__ method. The base class causes the _as_variant_tensor call in its constructor and if "
                "that uses attributes defined in the __init__ method, those attrs need to be defined before the "
                "super call."
            ) from e
        super().__init__(variant_tensor)

    def _as_variant_tensor(self) -> Tensor:
        raise NotImplementedError("Dataset._as_variant_tensor")

    @property
    def element_spec(self) -> Any:
        # Subclasses say either this or these three.
        return structure.convert_legacy_structure(self.output_types, self.output_shapes, self.output_classes)

    @property
    def output_types(self) -> Any:
        """The types of the elements, in their structure."""
        return structure.legacy_types(self.element_spec)

    @property
    def output_shapes(self) -> Any:
        """The shapes of the elements, in their structure."""
        return structure.legacy_shapes(self.element_spec)

    @property
    def output_classes(self) -> Any:
        """Tensor or SparseTensor for each part of the elements, in their structure."""
        return structure.legacy_classes(self.element_spec)

    def map(self, map_func: Callable[..., Any], num_parallel_calls: Any = None) -> Any:
        return self._mapped(map_func, num_parallel_calls, False)

    def map_with_legacy_function(self, map_func: Callable[..., Any], num_parallel_calls: Any = None) -> Any:
        """`map`, in whose function seeds of the graph do not count."""
        return self._mapped(map_func, num_parallel_calls, True)

    def _mapped(self, map_func: Callable[..., Any], num_parallel_calls: Any, legacy: bool) -> Any:
        options = {"preserve_cardinality": False, "use_legacy_function": legacy}
        if num_parallel_calls is None:
            return DatasetV1Adapter(_kinds().MapDataset(self, map_func, **options))
        return DatasetV1Adapter(_kinds().ParallelMapDataset(self, map_func, num_parallel_calls, **options))

    def filter_with_legacy_function(self, predicate: Callable[..., Any]) -> Any:
        """`filter`, in whose function seeds of the graph do not count."""
        return DatasetV1Adapter(_kinds().FilterDataset(self, predicate, use_legacy_function=True))

    @staticmethod
    def from_sparse_tensor_slices(sparse_tensor: Any) -> Any:
        """The slices of a sparse tensor along its first dimension, as indices, values and shape.

        Raises:
          TypeError: it is no SparseTensor.
        """
        return DatasetV1Adapter(_kinds().SparseTensorSliceDataset(sparse_tensor))

    def make_one_shot_iterator(self) -> Any:
        """An iterator that goes through the dataset once and needs no initialization.

        Raises:
          ValueError: functions take what has a state, or is fed, from outside.
        """
        return self._make_one_shot_iterator()

    def make_initializable_iterator(self, shared_name: str | None = None) -> Any:
        """An iterator that begins anew with each run of its ``initializer``.

        Args:
          shared_name: iterators of one name are the same one.
        """
        return self._make_initializable_iterator(shared_name)

    def _make_one_shot_iterator(self) -> Any:
        from kvarn.data.iterator import Iterator

        graph_seed, op_seed = random_seed.get_seed(None)

        @Defun(capture_by_value=True, whitelisted_stateful_ops=_variant_ops(self._variant_tensor))
        def _make_dataset() -> Tensor:
            if graph_seed is not None and op_seed is not None:
                random_seed.set_random_seed((graph_seed + 87654321 * op_seed) % (2**63 - 1))
            return self._apply_options()._variant_tensor

        try:
            _make_dataset.add_to_graph(get_default_graph())
        except ValueError as err:
            if "Cannot capture a stateful node" not in str(err):
                raise
            raise ValueError(
                "Failed to create a one-shot iterator for a dataset. `Dataset.make_one_shot_iterator()` does not "
                "support datasets that capture stateful objects, such as a `Variable` or `LookupTable`. In these "
                f"cases, use `Dataset.make_initializable_iterator()`. (Original error: {err})"
            ) from None
        resource = iterators.one_shot_iterator(
            dataset_factory=NameAttrList(_make_dataset.name), **self._flat_structure
        )
        return Iterator(resource, None, *_legacy(self))

    def _make_initializable_iterator(self, shared_name: str | None = None) -> Any:
        from kvarn.data.iterator import Iterator

        dataset = self._apply_options()
        resource = iterators.iterator_v2(container="", shared_name=shared_name or "", **self._flat_structure)
        with get_default_graph().colocate_with(resource.op):
            initializer = iterators.make_iterator(dataset._variant_tensor, resource)
        return Iterator(resource, initializer, *_legacy(dataset))


Dataset = DatasetV1


class DatasetV1Adapter(DatasetV1):
    """A `DatasetV2` as a `DatasetV1`."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        super().__init__()

    def _as_variant_tensor(self) -> Tensor:
        found: Tensor = self._dataset._variant_tensor
        return found

    def _has_captured_ref(self) -> bool:
        return bool(self._dataset._has_captured_ref())

    def _inputs(self) -> list[Any]:
        found: list[Any] = self._dataset._inputs()
        return found

    def _functions(self) -> list[Any]:
        found: list[Any] = self._dataset._functions()
        return found

    def options(self) -> Options:
        found: Options = self._dataset.options()
        return found

    @property
    def element_spec(self) -> Any:
        return self._dataset.element_spec


def _adapt_methods() -> None:
    """Lets the methods that V1 does not have of its own give V1 datasets."""
    for name in ("from_tensors", "from_tensor_slices", "from_generator", "range", "zip", "list_files"):
        setattr(DatasetV1, name, staticmethod(_adapted(getattr(DatasetV2, name))))
    for name in (
        "concatenate", "prefetch", "repeat", "shuffle", "cache", "take", "skip", "shard", "batch", "padded_batch",
        "flat_map", "interleave", "filter", "apply", "window", "with_options",
    ):  # fmt: skip
        setattr(DatasetV1, name, _adapted(getattr(DatasetV2, name)))


def _adapted(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def adapted(*args: Any, **kwargs: Any) -> Any:
        return DatasetV1Adapter(method(*args, **kwargs))

    return adapted


_adapt_methods()


def _variant_ops(tensor: Tensor) -> frozenset[Any]:
    """The operations that ``tensor`` depends on, itself included, that give variants."""
    found, seen, waiting = set(), set(), [tensor.op]
    while waiting:
        op = waiting.pop()
        if op in seen:
            continue
        seen.add(op)
        if op.outputs[0].dtype is dtypes.variant:
            found.add(op)
        waiting.extend(x.op for x in op.inputs)
    return frozenset(found)


def _legacy(dataset: Any) -> tuple[Any, Any, Any]:
    spec = dataset.element_spec
    return structure.legacy_types(spec), structure.legacy_shapes(spec), structure.legacy_classes(spec)


# -- as values ------------------------------------------------------------------------------------------


class VariantDataset(DatasetV2):
    """The dataset in a variant tensor.

    Args:
      structure: the specs of its elements.
    """

    def __init__(self, dataset_variant: Tensor, structure: Any) -> None:
        self._structure = structure
        super().__init__(dataset_variant)

    def _inputs(self) -> list[Any]:
        return []

    @property
    def element_spec(self) -> Any:
        return self._structure


class DatasetSpec(type_spec.TypeSpec):
    """Datasets as elements of others.

    Args:
      element_spec: of their elements.
      dataset_shape: of batches of datasets.
    """

    __slots__ = ("_dataset_shape", "_element_spec")

    value_type = property(lambda self: VariantDataset)

    def __init__(self, element_spec: Any, dataset_shape: Any = ()) -> None:
        self._element_spec = element_spec
        self._dataset_shape = as_shape(dataset_shape)

    def _serialize(self) -> tuple[Any, ...]:
        return self._element_spec, self._dataset_shape

    @property
    def _component_specs(self) -> TensorSpec:
        return TensorSpec(self._dataset_shape, dtypes.variant)

    def _to_components(self, value: Any) -> Tensor:
        found: Tensor = value._variant_tensor
        return found

    def _from_components(self, components: Any) -> Any:
        if self._dataset_shape.ndims == 0:
            return VariantDataset(components, self._element_spec)
        return _NestedVariant(components, self._element_spec, self._dataset_shape)

    @staticmethod
    def from_value(value: Any) -> DatasetSpec:
        """The spec of a dataset."""
        return DatasetSpec(value.element_spec)

    def _batch(self, batch_size: int | None) -> DatasetSpec:
        return DatasetSpec(self._element_spec, TensorShape([batch_size]).concatenate(self._dataset_shape))

    def _unbatch(self) -> DatasetSpec:
        if self._dataset_shape.ndims == 0:
            raise ValueError("Unbatching a dataset is only supported for rank >= 1")
        return DatasetSpec(self._element_spec, self._dataset_shape[1:])

    def _to_legacy_output_types(self) -> DatasetSpec:
        return self

    _to_legacy_output_shapes = _to_legacy_output_types
    _to_legacy_output_classes = _to_legacy_output_types


class _NestedVariant:
    """A batch of datasets."""

    def __init__(self, variant_tensor: Tensor, element_spec: Any, dataset_shape: Any) -> None:
        self._variant_tensor = variant_tensor
        self._element_spec = element_spec
        self._dataset_shape = dataset_shape

    @property
    def _type_spec(self) -> DatasetSpec:
        return DatasetSpec(self._element_spec, self._dataset_shape)


@structure.flat_specs.register
def _(spec: DatasetSpec) -> list[TensorSpec]:
    return [spec._component_specs]


@structure.to_tensors.register
def _(spec: DatasetSpec, value: Any) -> list[Tensor]:
    return [convert_to_tensor(value._variant_tensor)]


@structure.to_batched_tensors.register
def _(spec: DatasetSpec, value: Any) -> list[Tensor]:
    spec._unbatch()
    return [value._variant_tensor]


@structure.from_tensors.register
def _(spec: DatasetSpec, tensors: list[Tensor]) -> Any:
    tensors[0].set_shape(spec._dataset_shape)
    return spec._from_components(tensors[0])


# -- functions of datasets and iterators ----------------------------------------------------------------


def get_structure(dataset_or_iterator: Any) -> Any:
    """The specs of the elements; TypeError if it is neither a dataset nor an iterator."""
    try:
        return dataset_or_iterator.element_spec
    except AttributeError:
        raise TypeError(
            "`dataset_or_iterator` must be a Dataset or Iterator object, but got "
            f"{type(dataset_or_iterator)}."
        ) from None


def get_legacy_output_types(dataset_or_iterator: Any) -> Any:
    """The types of the elements, in their structure."""
    return structure.legacy_types(get_structure(dataset_or_iterator))


def get_legacy_output_shapes(dataset_or_iterator: Any) -> Any:
    """The shapes of the elements, in their structure."""
    return structure.legacy_shapes(get_structure(dataset_or_iterator))


def get_legacy_output_classes(dataset_or_iterator: Any) -> Any:
    """Tensor or SparseTensor for each part of the elements, in their structure."""
    return structure.legacy_classes(get_structure(dataset_or_iterator))


def make_one_shot_iterator(dataset: Any) -> Any:
    """`DatasetV1.make_one_shot_iterator` of any dataset."""
    return _as_v1(dataset)._make_one_shot_iterator()


def make_initializable_iterator(dataset: Any, shared_name: str | None = None) -> Any:
    """`DatasetV1.make_initializable_iterator` of any dataset."""
    return _as_v1(dataset)._make_initializable_iterator(shared_name)


def _as_v1(dataset: Any) -> Any:
    return dataset if hasattr(dataset, "_make_one_shot_iterator") else DatasetV1Adapter(dataset)


def from_variant(variant: Tensor, structure: Any) -> VariantDataset:
    """The dataset in a variant tensor."""
    return VariantDataset(variant, structure)


def to_variant(dataset: Any) -> Tensor:
    """The variant tensor of a dataset."""
    found: Tensor = dataset._variant_tensor
    return found
