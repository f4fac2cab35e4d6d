"""Embedding variables as tables of Apache Arrow: Parquet files, and Arrow's own (IPC) files.

    key          int64 or int32
    value        fixed_size_list<float32>[dim]     null for a key that a filter has not admitted
    <slot>       fixed_size_list<float32>[dim]     a column for each slot, such as Adagrad
    freq         int64                             null if the checkpoint has none
    version      int64                             null if the checkpoint has none
    partition    int32                             the part it was in; 0 if there are no parts
    admitted     bool

The rows lie by bucket (key mod 1000), a few MB to a row group, keys not admitted behind.  On the way back they
may lie in any order and come from any program; needed are key and value, the rest is as if it were not kept.

Needs the extra ``[arrow]`` (pyarrow).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.checkpoint.embeddings.bucket_rows import BucketIndex
from kvarn.checkpoint.embeddings.columns import KeyIndex, damaged
from kvarn.checkpoint.embeddings.stored_table import StoredTable
from kvarn.checkpoint.embeddings.union import EmbeddingSource, Family, check_alike, groups_of, where
from kvarn.errors import InvalidArgumentError, OpError, UnimplementedError
from kvarn.formats import embedding
from kvarn.formats.embedding_names import may_follow_part
from kvarn.formats.reader import CHUNK_BYTES, TensorInfo
from kvarn.formats.whole_tensors import WholeTensorReader
from kvarn.io import AtomicFile, FileSystem, Path, as_path, directory_of
from kvarn.io.streams import ReadStream, WriteStream

Array = npt.NDArray[Any]

PARQUET, ARROW = "parquet", "arrow"
SUFFIXES = {".parquet": PARQUET, ".arrow": ARROW, ".feather": ARROW}
KEY, VALUE, FREQ, VERSION, PARTITION, ADMITTED = "key", "value", "freq", "version", "partition", "admitted"
_COLUMNS = (KEY, VALUE, FREQ, VERSION, PARTITION, ADMITTED)
_VALUE_DTYPES = (dtypes.float16, dtypes.float32, dtypes.float64)
_BATCH_ROWS = 1 << 14


def pyarrow() -> Any:
    """The package, or an error that says how to get it."""
    try:
        import pyarrow as module
    except ModuleNotFoundError:
        raise UnimplementedError.of(
            "tables need the package pyarrow, which is missing",
            hint="Install kvarn with its extra [arrow] (from a clone: pip install '.[arrow]').",
        ) from None
    return module


# Writing --------------------------------------------------------------------------------------------


def write_table(
    source: EmbeddingSource,
    path: Path,
    kind: str,
    fs: FileSystem,
    count: Callable[[int], None] | None = None,
) -> int:
    """Writes the table of an embedding variable; how many rows it has.

    Args:
      kind: ``parquet`` or ``arrow``.
      count: told the bytes of values as they are read.

    Raises:
      DataLossError: it is damaged; nothing is left.
      UnimplementedError: its values have no type in Arrow, or it has blocks.
    """
    arrow = pyarrow()
    check_alike([source])  # no part is missing
    families = {family.removeprefix("/"): Family(source, family) for family in sorted(source.table.families)}
    primary = families.pop("")
    for name, slot in families.items():
        slot.check_keys_of_owner()
        if "/" in name or name.startswith("block") or name in _COLUMNS:
            raise _unfit(source, f"a column cannot be called '{name}'")
    for family in (primary, *families.values()):
        if family.values.dtype not in _VALUE_DTYPES:
            raise _unfit(source, f"its values are {family.values.dtype.name}")
    schema = arrow.schema(
        [
            (KEY, arrow.from_numpy_dtype(primary.admitted.keys.dtype)),
            (VALUE, _list_type(arrow, primary)),
            *((name, _list_type(arrow, slot)) for name, slot in families.items()),
            (FREQ, arrow.int64()),
            (VERSION, arrow.int64()),
            (PARTITION, arrow.int32()),
            (ADMITTED, arrow.bool_()),
        ]
    )
    rows = 0
    fs.make_directory(directory_of(as_path(path)))
    with (
        AtomicFile(fs, as_path(path)) as file,
        _table_writer(arrow, kind, WriteStream(file.append), schema) as write,
    ):
        for admitted, columns in _row_groups(primary, families, count):
            arrays = [_array(arrow, columns[field.name], field.type) for field in schema]
            write(arrow.record_batch(arrays, schema=schema))
            rows += admitted
        for family in (primary, *families.values()):
            family.finish()
    return rows


def _row_groups(
    primary: Family, slots: dict[str, Family], count: Callable[[int], None] | None
) -> Iterator[tuple[int, dict[str, Array | int]]]:
    """Rows and columns of each group; a number stands for so many nulls."""
    firsts = _part_ends(primary.admitted.index)
    everything = range(embedding.SAVED_PARTITION_NUM)
    for group in groups_of([primary, *slots.values()], everything):
        places = primary.admitted.places(group)
        keys = primary.admitted.keys[places]
        if len(twice := KeyIndex(keys).repeated()):
            raise damaged(
                primary.source.reader, primary.source.table.name, f"it has the key {twice[0]} twice"
            )
        columns: dict[str, Array | int] = {KEY: keys, VALUE: primary.read_values(group)}
        for name, slot in slots.items():
            own = slot.admitted.keys[slot.admitted.places(group)]
            columns[name] = slot.read_values(group)[where(keys, own)]
        if count is not None:
            count(
                sum(value.nbytes for value in columns.values() if isinstance(value, np.ndarray)) - keys.nbytes
            )
        columns |= _rest(primary.admitted, places, firsts, True)
        if len(keys):
            yield len(keys), columns
    places = primary.filtered.places(everything)
    if len(places):
        columns = {KEY: primary.filtered.keys[places], VALUE: len(places)}
        columns |= dict.fromkeys(slots, len(places))
        columns |= _rest(primary.filtered, places, _part_ends(primary.filtered.index), False)
        yield len(places), columns


def _rest(columns: Any, places: Array, part_ends: Array, admitted: bool) -> dict[str, Array | int]:
    return {
        FREQ: len(places) if columns.freqs is None else columns.freqs[places],
        VERSION: len(places) if columns.versions is None else columns.versions[places],
        PARTITION: np.searchsorted(part_ends, places, "right").astype(np.int32),
        ADMITTED: np.full(len(places), admitted),
    }


def _part_ends(index: BucketIndex | None) -> Array:
    return np.empty(0, np.int64) if index is None else np.cumsum(index.counts.sum(axis=1))


def _list_type(arrow: Any, family: Family) -> Any:
    return arrow.list_(arrow.from_numpy_dtype(family.values.dtype.np), family.values.row_shape[0])


def _array(arrow: Any, values: Array | int, kind: Any) -> Any:
    if isinstance(values, int):
        return arrow.nulls(values, kind)
    if values.ndim == 1:
        return arrow.array(values, type=kind)
    flat = arrow.array(values.reshape(-1), type=kind.value_type)
    return arrow.FixedSizeListArray.from_arrays(flat, type=kind)


@contextlib.contextmanager
def _table_writer(arrow: Any, kind: str, stream: WriteStream, schema: Any) -> Iterator[Callable[[Any], None]]:
    if kind == PARQUET:
        import pyarrow.parquet as parquet

        writer = parquet.ParquetWriter(stream, schema, compression="zstd")
    else:
        writer = arrow.ipc.new_file(stream, schema)
    try:
        yield writer.write_batch
    except BaseException:
        # It ends what it has begun: it may, but nowhere.
        stream.append = None
        writer.close()
        raise
    writer.close()


def _unfit(source: EmbeddingSource, why: str) -> OpError:
    return UnimplementedError.of(
        f"embedding variable '{source.table.name}' in '{source.reader.prefix}' cannot be a table: {why}",
        name=source.table.name,
        path=source.reader.prefix,
        hint="Rename the slot with `kvarn rewrite`, or convert the checkpoint to another format.",
    )


# Reading --------------------------------------------------------------------------------------------


class ArrowReader(WholeTensorReader):
    """A table, as if it were a checkpoint with one embedding variable that is not partitioned.

    Args:
      path: of a Parquet or Arrow file.
      name: of the embedding variable.

    Raises:
      DataLossError: no such file, a damaged one, or columns that make no embedding variable.
    """

    format = "table"

    def __init__(self, path: Path, name: str, fs: FileSystem | None = None) -> None:
        self._name = name
        self._arrow = pyarrow()
        super().__init__(path, fs)

    def _read_directory(self) -> list[TensorInfo]:
        kind = SUFFIXES.get("." + self.prefix.rpartition(".")[2].lower(), PARQUET)
        stream = ReadStream(self._file)
        try:
            if kind == PARQUET:
                import pyarrow.parquet as parquet

                self._table = parquet.ParquetFile(stream)
                schema = self._table.schema_arrow
            else:
                self._table = self._arrow.ipc.open_file(stream)
                schema = self._table.schema
        except (self._arrow.ArrowException, OSError) as error:
            raise self.damaged(f"no {kind} file: {error}") from error
        self._types = {field.name: field.type for field in schema}
        if len(self._types) != len(schema) or KEY not in self._types or VALUE not in self._types:
            raise self.damaged(f"it has the columns {schema.names}; key and value are needed")
        if self._types[KEY] not in (self._arrow.int32(), self._arrow.int64()):
            raise self.damaged(f"keys are {self._types[KEY]}, not int32 or int64")
        return self._tensors()

    def _tensors(self) -> list[TensorInfo]:
        arrow = self._arrow
        slots = [name for name, kind in self._types.items() if name not in _COLUMNS and _is_list(arrow, kind)]
        self._columns: dict[str, tuple[str, bool, tuple[int, ...], np.dtype[Any]]] = {}
        admitted, filtered = self._counts()
        key = np.dtype(self._types[KEY].to_pandas_dtype())
        for stem, value in ((self._name, VALUE), *((f"{self._name}/{slot}", slot) for slot in slots)):
            dim, dtype = self._dim(value), np.dtype(self._types[value].value_type.to_pandas_dtype())
            if dtypes.as_dtype(dtype) not in _VALUE_DTYPES or (admitted and not dim):
                raise self.damaged(f"the column '{value}' is {self._types[value]}, no list of floats", value)
            own = {
                embedding.KEYS: (KEY, True, (admitted,), key),
                embedding.VALUES: (value, True, (admitted, dim), dtype),
                embedding.KEYS_FILTERED: (KEY, False, (filtered,), key),
            }
            for suffix, filtered_suffix, column in (
                (embedding.VERSIONS, embedding.VERSIONS_FILTERED, VERSION),
                (embedding.FREQS, embedding.FREQS_FILTERED, FREQ),
            ):
                for place, is_admitted, rows in (
                    (suffix, True, admitted),
                    (filtered_suffix, False, filtered),
                ):
                    known = rows if self._has(column, is_admitted) else 0
                    own[place] = (column, is_admitted, (known,), np.dtype(np.int64))
            self._columns |= {stem + suffix: place for suffix, place in own.items()}
        return [
            TensorInfo(name, dtypes.as_dtype(dtype), shape, math.prod(shape) * dtype.itemsize)
            for name, (_, _, shape, dtype) in self._columns.items()
        ]

    def source(self) -> EmbeddingSource:
        """The embedding variable in it."""
        stems = [name.removesuffix(embedding.KEYS) for name in self._columns if name.endswith(embedding.KEYS)]
        families: dict[str, list[str | None]] = {stem[len(self._name) :]: [stem] for stem in stems}
        return EmbeddingSource(0, self, StoredTable(self._name, False, families))

    def chunks(self, name: str | bytes, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        info = self.info(name)
        column, admitted, shape, dtype = self._columns[info.name]
        if not math.prod(shape):
            yield np.empty(shape, dtype)
            return
        for batch in self._batches([column, ADMITTED]):
            values = self._numpy(column, batch, dtype, shape[1:], admitted)
            if len(values):
                yield values

    def lookup(self, name: str | bytes) -> Array:
        return np.concatenate(list(self.chunks(name)))

    def _bytes_of(self, info: TensorInfo) -> Callable[[memoryview], None]:
        raise AssertionError("tables are read by columns")

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        wanted = [column for column in columns if column in self._types]
        try:
            if isinstance(self._table, self._arrow.ipc.RecordBatchFileReader):
                for number in range(self._table.num_record_batches):
                    yield self._table.get_batch(number).select(wanted)
            else:
                yield from self._table.iter_batches(_BATCH_ROWS, columns=wanted)
        except (self._arrow.ArrowException, OSError) as error:
            raise self.damaged(f"it cannot be read: {error}") from error

    def _numpy(
        self, column: str, batch: Any, dtype: np.dtype[Any], row_shape: tuple[int, ...], admitted: bool
    ) -> Array:
        rows = batch.column(column).filter(self._mask(batch, admitted))
        if rows.null_count:
            raise self.damaged(f"the column '{column}' has nulls among the keys that have it", column)
        if not row_shape:
            return np.asarray(rows.to_numpy(zero_copy_only=False)).astype(dtype)
        flat = rows.flatten()
        if len(flat) != len(rows) * row_shape[0] or flat.null_count or not _are_even(rows, row_shape[0]):
            raise self.damaged(f"the rows of '{column}' have not all {row_shape[0]} numbers", column)
        return np.asarray(flat.to_numpy(zero_copy_only=False)).astype(dtype).reshape(-1, *row_shape)

    def _mask(self, batch: Any, admitted: bool) -> Any:
        """Which rows are of keys that are admitted, or not; all are if the table does not say."""
        if ADMITTED not in self._types:
            return self._arrow.array(np.full(len(batch), admitted))
        mask = batch.column(ADMITTED)
        if mask.type != self._arrow.bool_() or mask.null_count:
            raise self.damaged("the column 'admitted' is not of truth values", ADMITTED)
        return self._arrow.array(mask.to_numpy(zero_copy_only=False) == admitted)

    def _counts(self) -> tuple[int, int]:
        admitted = filtered = 0
        for batch in self._batches([ADMITTED] if ADMITTED in self._types else [KEY]):
            own = int(np.count_nonzero(self._mask(batch, True).to_numpy(zero_copy_only=False)))
            admitted, filtered = admitted + own, filtered + len(batch) - own
        return admitted, filtered

    def _has(self, column: str, admitted: bool) -> bool:
        """Whether a column is kept: there, and not null in all of the rows."""
        if column not in self._types:
            return False
        return any(
            rows.null_count < len(rows)
            for batch in self._batches([column, ADMITTED])
            for rows in (batch.column(column).filter(self._mask(batch, admitted)),)
        )

    def _dim(self, column: str) -> int:
        kind = self._types[column]
        if not _is_list(self._arrow, kind):
            raise self.damaged(f"the column '{column}' is {kind}, no list of floats", column)
        if self._arrow.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        for batch in self._batches([column]):
            values = batch.column(column).drop_null()
            if len(values):
                return len(values[0])
        return 0


def read_source(path: Path, name: str, fs: FileSystem | None = None) -> ArrowReader:
    """The table at a path as the embedding variable ``name``."""
    split = embedding.split_part(name)
    if not name or (split is not None and may_follow_part(split[2])):
        raise InvalidArgumentError.of(
            f"'{name}' cannot be the name of an embedding variable",
            hint="Say which one the table is: `--embedding NAME`, without part_i.",
        )
    return ArrowReader(path, name, fs)


def _is_list(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    return bool(types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind))


def _are_even(rows: Any, dim: int) -> bool:
    """Whether all lists are of one length."""
    lengths = rows.value_lengths().to_numpy(zero_copy_only=False)
    return bool((lengths == dim).all())
