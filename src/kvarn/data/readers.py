"""Datasets of what files hold.

Source: tensorflow/python/data/ops/readers.py, `Dataset.list_files` of dataset_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn import dtypes
from kvarn.data.dataset import (
    AUTOTUNE,
    DatasetV1,
    DatasetV1Adapter,
    DatasetV2,
    get_legacy_output_shapes,
    get_legacy_output_types,
)
from kvarn.data.kinds import DatasetSource, FlatMapDataset, optional_param_to_tensor
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.graph.tensor_spec import TensorSpec
from kvarn.ops import array, control, files, math, string
from kvarn.ops.datasets import functional, readers

_DEFAULT_READER_BUFFER_SIZE_BYTES = 256 * 1024


class ParallelInterleaveDataset(FlatMapDataset):
    """The elements of the datasets that a function gives, of several in turn, those that end replaced at once."""

    _transformation = "tf.data.experimental.parallel_interleave()"

    def __init__(
        self,
        input_dataset: Any,
        map_func: Callable[..., Any],
        cycle_length: Any,
        block_length: Any,
        sloppy: Any,
        buffer_output_elements: Any,
        prefetch_input_elements: Any,
    ) -> None:
        self._arguments = (
            cycle_length, block_length, sloppy, buffer_output_elements, prefetch_input_elements,
        )  # fmt: skip
        super().__init__(input_dataset, map_func)

    def _variant(self, input: Tensor) -> Tensor:
        cycle, block, sloppy, outputs, inputs = self._arguments
        self._structure = self._inner_structure()
        found: Tensor = functional.parallel_interleave_dataset(
            input,
            self._map_func.captured,
            convert_to_tensor(cycle, dtype=dtypes.int64, name="cycle_length"),
            convert_to_tensor(block, dtype=dtypes.int64, name="block_length"),
            convert_to_tensor(sloppy, dtype=dtypes.bool, name="sloppy"),
            optional_param_to_tensor("buffer_output_elements", outputs, 2 * block),
            optional_param_to_tensor("prefetch_input_elements", inputs, 2 * cycle),
            f=self._map_func.attr,
            **self._flat_structure,
        )
        return found


class _OfFiles(DatasetSource):
    """Strings."""

    @property
    def element_spec(self) -> Any:
        return TensorSpec([], dtypes.string)


def _filenames_dataset(filenames: Any) -> Any:
    """File names as a dataset; TypeError if a dataset of something else is given."""
    if isinstance(filenames, DatasetV2):
        if get_legacy_output_types(filenames) != dtypes.string:
            raise TypeError("`filenames` must be a `tf.data.Dataset` of `tf.string` elements.")
        if not get_legacy_output_shapes(filenames).is_compatible_with(TensorShape([])):
            raise TypeError("`filenames` must be a `tf.data.Dataset` of scalar `tf.string` elements.")
        return filenames
    tensor = convert_to_tensor(filenames, dtype=dtypes.string)
    return DatasetV2.from_tensor_slices(array.reshape(tensor, [-1], name="flat_filenames"))


def _reading(creator: Callable[[Tensor], Any], filenames: Any, num_parallel_reads: Any) -> Any:
    """The dataset that reads one file after the other, or several at a time."""

    def read_one_file(filename: Any) -> Any:
        return creator(convert_to_tensor(filename, dtypes.string, name="filename"))

    if num_parallel_reads is None:
        return filenames.flat_map(read_one_file)
    if num_parallel_reads == AUTOTUNE:
        return filenames.interleave(read_one_file, num_parallel_calls=num_parallel_reads)
    return ParallelInterleaveDataset(filenames, read_one_file, num_parallel_reads, 1, False, None, None)


class _Reader(_OfFiles):
    """One kind of files, after a list or a dataset of names."""

    def __init__(
        self, creator: Callable[[Tensor], Any], filenames: Any, num_parallel_reads: Any = None
    ) -> None:
        self._filenames = _filenames_dataset(filenames)
        self._impl = _reading(creator, self._filenames, num_parallel_reads)
        super().__init__(self._impl._variant_tensor)


def _stored_in(compression_type: Any, buffer_size: Any) -> tuple[Tensor, Tensor]:
    return (
        optional_param_to_tensor("compression_type", compression_type, "", dtypes.string),
        optional_param_to_tensor("buffer_size", buffer_size, _DEFAULT_READER_BUFFER_SIZE_BYTES),
    )


class _TextLineDataset(_OfFiles):
    def __init__(self, filename: Tensor, compression_type: Any = None, buffer_size: Any = None) -> None:
        stored = _stored_in(compression_type, buffer_size)
        super().__init__(readers.text_line_dataset(filename, *stored))


class TextLineDatasetV2(_Reader):
    """The lines of text files.

    Args:
      filenames: a string, strings, or a dataset of them.
      compression_type: ``""``, ``"ZLIB"`` or ``"GZIP"``.
      buffer_size: bytes that are read at a time.
      num_parallel_reads: so many files are read in turn.

    Raises:
      TypeError: ``filenames`` is a dataset of something else.
    """

    def __init__(
        self,
        filenames: Any,
        compression_type: Any = None,
        buffer_size: Any = None,
        num_parallel_reads: Any = None,
    ) -> None:
        super().__init__(
            lambda name: _TextLineDataset(name, compression_type, buffer_size), filenames, num_parallel_reads
        )


class TextLineDatasetV1(DatasetV1Adapter):
    """See `TextLineDatasetV2`."""

    def __init__(
        self,
        filenames: Any,
        compression_type: Any = None,
        buffer_size: Any = None,
        num_parallel_reads: Any = None,
    ) -> None:
        super().__init__(TextLineDatasetV2(filenames, compression_type, buffer_size, num_parallel_reads))


class _TFRecordDataset(_OfFiles):
    def __init__(self, filename: Tensor, compression_type: Any = None, buffer_size: Any = None) -> None:
        stored = _stored_in(compression_type, buffer_size)
        super().__init__(readers.tf_record_dataset(filename, *stored))


class TFRecordDatasetV2(_Reader):
    """The records of TFRecord files.

    Args:
      filenames: a string, strings, or a dataset of them.
      compression_type: ``""``, ``"ZLIB"`` or ``"GZIP"``.
      buffer_size: bytes that are read at a time.
      num_parallel_reads: so many files are read in turn.

    Raises:
      TypeError: ``filenames`` is a dataset of something else.
    """

    def __init__(
        self,
        filenames: Any,
        compression_type: Any = None,
        buffer_size: Any = None,
        num_parallel_reads: Any = None,
    ) -> None:
        super().__init__(
            lambda name: _TFRecordDataset(name, compression_type, buffer_size), filenames, num_parallel_reads
        )

    def _inputs(self) -> list[Any]:
        found: list[Any] = self._impl._inputs()
        return found


class TFRecordDatasetV1(DatasetV1Adapter):
    """See `TFRecordDatasetV2`."""

    def __init__(
        self,
        filenames: Any,
        compression_type: Any = None,
        buffer_size: Any = None,
        num_parallel_reads: Any = None,
    ) -> None:
        super().__init__(TFRecordDatasetV2(filenames, compression_type, buffer_size, num_parallel_reads))


class _FixedLengthRecordDataset(_OfFiles):
    def __init__(
        self,
        filename: Tensor,
        record_bytes: Any,
        header_bytes: Any,
        footer_bytes: Any,
        buffer_size: Any,
        compression_type: Any,
    ) -> None:
        compression, size = _stored_in(compression_type, buffer_size)
        super().__init__(
            readers.fixed_length_record_dataset_v2(
                filename,
                optional_param_to_tensor("header_bytes", header_bytes),
                convert_to_tensor(record_bytes, dtype=dtypes.int64, name="record_bytes"),
                optional_param_to_tensor("footer_bytes", footer_bytes),
                size,
                compression,
            )
        )


class FixedLengthRecordDatasetV2(_Reader):
    """Pieces of one length out of files.

    Args:
      filenames: a string, strings, or a dataset of them.
      record_bytes: of a piece.
      header_bytes, footer_bytes: that each file has before and after its pieces.
      buffer_size: bytes that are read at a time.
      compression_type: ``""``, ``"ZLIB"`` or ``"GZIP"``.
      num_parallel_reads: so many files are read in turn.

    Raises:
      TypeError: ``filenames`` is a dataset of something else.
    """

    def __init__(
        self,
        filenames: Any,
        record_bytes: Any,
        header_bytes: Any = None,
        footer_bytes: Any = None,
        buffer_size: Any = None,
        compression_type: Any = None,
        num_parallel_reads: Any = None,
    ) -> None:
        stored = (record_bytes, header_bytes, footer_bytes, buffer_size, compression_type)
        super().__init__(lambda name: _FixedLengthRecordDataset(name, *stored), filenames, num_parallel_reads)


class FixedLengthRecordDatasetV1(DatasetV1Adapter):
    """See `FixedLengthRecordDatasetV2`."""

    def __init__(
        self,
        filenames: Any,
        record_bytes: Any,
        header_bytes: Any = None,
        footer_bytes: Any = None,
        buffer_size: Any = None,
        compression_type: Any = None,
        num_parallel_reads: Any = None,
    ) -> None:
        super().__init__(
            FixedLengthRecordDatasetV2(
                filenames,
                record_bytes,
                header_bytes,
                footer_bytes,
                buffer_size,
                compression_type,
                num_parallel_reads,
            )
        )


def list_files(file_pattern: Any, shuffle: bool | None, seed: Any) -> Any:
    """See `DatasetV2.list_files`."""
    with name_scope("list_files"):
        pattern = convert_to_tensor(file_pattern, dtype=dtypes.string, name="file_pattern")
        found = files.matching_files(pattern)
        condition = math.greater(array.shape(found)[0], 0, name="match_not_empty")
        message = math.add(
            "No files matched pattern: ", string.reduce_join(pattern, separator=", "), name="message"
        )
        not_empty = control.Assert(condition, [message], summarize=1, name="assert_not_empty")
        with control_dependencies([not_empty]):
            found = array.identity(found)
        dataset = DatasetV1.from_tensor_slices(found)
        if shuffle is not False:
            size = math.maximum(array.shape(found, out_type=dtypes.int64)[0], 1)
            dataset = dataset.shuffle(size, seed=seed)
        return dataset
