"""`tf.data.experimental`: transformations for `Dataset.apply`, and further datasets.

Source: tensorflow/python/data/experimental/ops/{batching,counter,enumerate_ops,error_ops,get_single_element,
interleave_ops,random_ops,scan_ops,shuffle_ops,take_while_ops}.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn import dtypes
from kvarn.data import nest, seeds, structure
from kvarn.data.dataset import (
    DatasetV1,
    DatasetV1Adapter,
    get_legacy_output_classes,
    get_legacy_output_shapes,
    get_legacy_output_types,
)
from kvarn.data.kinds import (
    DatasetSource,
    FilterDataset,
    MapDataset,
    UnaryDataset,
    UnaryUnchangedStructureDataset,
)
from kvarn.data.readers import ParallelInterleaveDataset
from kvarn.data.reduction import state_function
from kvarn.graph import tensor_util
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_spec import TensorSpec
from kvarn.ops.datasets import functional, iterators, randomness, selection, sources, tuning

Transformation = Callable[[Any], Any]


def _int64(value: Any, name: str) -> Tensor:
    return convert_to_tensor(value, dtype=dtypes.int64, name=name)


# -- batches --------------------------------------------------------------------------------------------


def unbatch() -> Transformation:
    """The rows of elements that are batches."""
    return lambda dataset: dataset.unbatch()


def map_and_batch(
    map_func: Callable[..., Any],
    batch_size: Any,
    num_parallel_batches: Any = None,
    drop_remainder: Any = False,
    num_parallel_calls: Any = None,
) -> Transformation:
    """Batches of what a function gives.

    Args:
      num_parallel_batches: for so many batches at a time, or
      num_parallel_calls: for so many elements.

    Raises:
      ValueError: both are given.
    """
    return _map_and_batch(
        map_func, batch_size, num_parallel_batches, drop_remainder, num_parallel_calls, False
    )


def map_and_batch_with_legacy_function(
    map_func: Callable[..., Any],
    batch_size: Any,
    num_parallel_batches: Any = None,
    drop_remainder: Any = False,
    num_parallel_calls: Any = None,
) -> Transformation:
    """`map_and_batch`, in whose function seeds of the graph do not count."""
    return _map_and_batch(
        map_func, batch_size, num_parallel_batches, drop_remainder, num_parallel_calls, True
    )


def _map_and_batch(
    map_func: Callable[..., Any],
    batch_size: Any,
    parallel_batches: Any,
    drop_remainder: Any,
    parallel_calls: Any,
    legacy: bool,
) -> Transformation:
    if parallel_batches is not None and parallel_calls is not None:
        raise ValueError(
            "The `num_parallel_batches` and `num_parallel_calls` arguments are mutually exclusive."
        )
    if parallel_calls is None:
        parallel_calls = batch_size if parallel_batches is None else batch_size * parallel_batches
    return lambda dataset: _MapAndBatchDataset(
        dataset, map_func, batch_size, parallel_calls, drop_remainder, legacy
    )


class _MapAndBatchDataset(MapDataset):
    _transformation = "tf.data.experimental.map_and_batch()"

    def __init__(
        self,
        input_dataset: Any,
        map_func: Callable[..., Any],
        batch_size: Any,
        num_parallel_calls: Any,
        drop_remainder: Any,
        use_legacy_function: bool,
    ) -> None:
        self._arguments = batch_size, num_parallel_calls, drop_remainder
        super().__init__(input_dataset, map_func, use_legacy_function=use_legacy_function)

    def _variant(self, input: Tensor) -> Tensor:
        batch_size, parallel_calls, drop_remainder = self._arguments
        size = _int64(batch_size, "batch_size")
        calls = _int64(parallel_calls, "num_parallel_calls")
        drop = convert_to_tensor(drop_remainder, dtype=dtypes.bool, name="drop_remainder")
        known = tensor_util.constant_value(size) if tensor_util.constant_value(drop) else None
        self._element_spec = nest.map_structure(
            lambda spec: structure.batched(spec, known), self._map_func.output_structure
        )
        found: Tensor = functional.map_and_batch_dataset(
            input,
            self._map_func.captured,
            f=self._map_func.attr,
            batch_size=size,
            num_parallel_calls=calls,
            drop_remainder=drop,
            preserve_cardinality=True,
            **self._flat_structure,
        )
        return found

    @property
    def element_spec(self) -> Any:
        return self._element_spec


# -- order ----------------------------------------------------------------------------------------------


def shuffle_and_repeat(buffer_size: Any, count: Any = None, seed: Any = None) -> Transformation:
    """The elements so many times (for ever without a count), each time in another order."""
    return lambda dataset: _ShuffleAndRepeatDataset(dataset, buffer_size, count, seed)


class _ShuffleAndRepeatDataset(UnaryUnchangedStructureDataset):
    def __init__(self, input_dataset: Any, buffer_size: Any, count: Any = None, seed: Any = None) -> None:
        self._buffer_size = _int64(buffer_size, "buffer_size")
        self._count = _int64(-1 if count is None else count, "count")
        self._seed, self._seed2 = seeds.get_seed(seed)
        variant = randomness.shuffle_and_repeat_dataset(
            input_dataset._variant_tensor,
            buffer_size=self._buffer_size,
            count=self._count,
            seed=self._seed,
            seed2=self._seed2,
            **input_dataset._flat_structure,
        )
        super().__init__(input_dataset, variant)


def parallel_interleave(
    map_func: Callable[..., Any],
    cycle_length: Any,
    block_length: Any = 1,
    sloppy: Any = False,
    buffer_output_elements: Any = None,
    prefetch_input_elements: Any = None,
) -> Transformation:
    """The elements of the datasets that a function gives, of several in turn, made before they are asked for.

    The order is always the one without ``sloppy``.
    """
    return lambda dataset: ParallelInterleaveDataset(
        dataset,
        map_func,
        cycle_length,
        block_length,
        sloppy,
        buffer_output_elements,
        prefetch_input_elements,
    )


class _DirectedInterleaveDataset(DatasetV1):
    """Of several datasets the one whose number another dataset gives."""

    def __init__(self, selector_input: Any, data_inputs: Any) -> None:
        self._selector_input = selector_input
        self._data_inputs = list(data_inputs)
        types, classes = get_legacy_output_types(data_inputs[0]), get_legacy_output_classes(data_inputs[0])
        shapes = get_legacy_output_shapes(data_inputs[0])
        for other in self._data_inputs[1:]:
            if get_legacy_output_types(other) != types or get_legacy_output_classes(other) != classes:
                raise TypeError("All datasets must have the same type and class.")
            pairs = zip(nest.flatten(shapes), nest.flatten(get_legacy_output_shapes(other)), strict=True)
            shapes = nest.pack_sequence_as(shapes, [a.most_specific_compatible_shape(b) for a, b in pairs])
        self._element_spec = structure.convert_legacy_structure(types, shapes, classes)
        super().__init__()

    def _as_variant_tensor(self) -> Tensor:
        found: Tensor = selection.directed_interleave_dataset(
            self._selector_input._variant_tensor,
            [dataset._variant_tensor for dataset in self._data_inputs],
            **self._flat_structure,
        )
        return found

    def _inputs(self) -> list[Any]:
        return [self._selector_input, *self._data_inputs]

    @property
    def element_spec(self) -> Any:
        return self._element_spec


def choose_from_datasets(datasets: Any, choice_dataset: Any) -> DatasetV1Adapter:
    """Of several datasets the next element of the one whose number (int64) another dataset gives.

    Raises:
      TypeError: the datasets have elements of different types, or the numbers are none.
    """
    if not structure.are_compatible(choice_dataset.element_spec, TensorSpec([], dtypes.int64)):
        raise TypeError("`choice_dataset` must be a dataset of scalar `tf.int64` tensors.")
    return DatasetV1Adapter(_DirectedInterleaveDataset(choice_dataset, datasets))


# -- some of the elements -------------------------------------------------------------------------------


def ignore_errors() -> Transformation:
    """The elements that can be made, without those that fail."""
    return _IgnoreErrorsDataset


class _IgnoreErrorsDataset(UnaryUnchangedStructureDataset):
    def __init__(self, input_dataset: Any) -> None:
        variant = tuning.ignore_errors_dataset(input_dataset._variant_tensor, **input_dataset._flat_structure)
        super().__init__(input_dataset, variant)


def take_while(predicate: Callable[..., Any]) -> Transformation:
    """The elements up to the first one for which a function does not give true.

    Raises (when applied):
      ValueError: the function gives no scalar bool.
    """
    return lambda dataset: _TakeWhileDataset(dataset, predicate)


class _TakeWhileDataset(FilterDataset):
    _transformation = "tf.data.experimental.take_while()"
    _operation = staticmethod(functional.take_while_dataset)


# -- numbers --------------------------------------------------------------------------------------------


def enumerate_dataset(start: Any = 0) -> Transformation:
    """Pairs of a number (int64), from ``start`` on, and an element."""
    return lambda dataset: dataset.enumerate(start=start)


def Counter(start: Any = 0, step: Any = 1, dtype: Any = dtypes.int64) -> Any:
    """Numbers from ``start`` on, each by ``step`` more, without end."""
    with name_scope("counter"):
        first = convert_to_tensor(start, dtype=dtype, name="start")
        more = convert_to_tensor(step, dtype=dtype, name="step")
        return (
            DatasetV1.from_tensors(0).repeat(None).apply(scan(first, lambda state, _: (state + more, state)))
        )


class RandomDatasetV2(DatasetSource):
    """Random numbers (int64) of 32 bits, without end."""

    def __init__(self, seed: Any = None) -> None:
        self._seed, self._seed2 = seeds.get_seed(seed)
        super().__init__(sources.random_dataset(seed=self._seed, seed2=self._seed2, **self._flat_structure))

    @property
    def element_spec(self) -> Any:
        return TensorSpec([], dtypes.int64)


class RandomDataset(DatasetV1Adapter):
    """Random numbers (int64) of 32 bits, without end."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(RandomDatasetV2(seed))


# -- with a state ---------------------------------------------------------------------------------------


def scan(initial_state: Any, scan_func: Callable[..., Any]) -> Transformation:
    """What a function gives for a state and each element, after the next state.

    Raises (when applied):
      TypeError: it gives no pair, or a state of another type than ``initial_state``.
    """
    return lambda dataset: _ScanDataset(dataset, initial_state, scan_func)


class _ScanDataset(UnaryDataset):
    def __init__(self, input_dataset: Any, initial_state: Any, scan_func: Callable[..., Any]) -> None:
        self._initial_state = structure.normalize_element(initial_state)
        self._scan_func, state = state_function(
            scan_func,
            "tf.data.experimental.scan()",
            structure.type_spec_from_value(self._initial_state),
            input_dataset.element_spec,
            _state_of_pair,
        )
        self._element_spec = self._scan_func.output_structure[1]
        variant = functional.scan_dataset(
            input_dataset._variant_tensor,
            structure.to_tensor_list(state, self._initial_state),
            self._scan_func.captured,
            f=self._scan_func.attr,
            preserve_cardinality=True,
            **self._flat_structure,
        )
        super().__init__(input_dataset, variant)

    def _functions(self) -> list[Any]:
        return [self._scan_func]

    @property
    def element_spec(self) -> Any:
        return self._element_spec


def _state_of_pair(returned: Any) -> Any:
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise TypeError("The scan function must return a pair comprising the new state and the output value.")
    return returned[0]


def get_single_element(dataset: Any) -> Any:
    """The only element of a dataset, as tensors.

    Raises:
      TypeError: it is no dataset.
      InvalidArgumentError (when run): there is none, or more than one.
    """
    if not hasattr(dataset, "_variant_tensor"):
        raise TypeError("`dataset` must be a `tf.data.Dataset` object.")
    return structure.from_tensor_list(
        dataset.element_spec,
        iterators.dataset_to_single_element(dataset._variant_tensor, **dataset._flat_structure),
    )
