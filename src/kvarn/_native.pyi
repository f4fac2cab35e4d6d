"""The native core. Every call that works on a batch releases the GIL.

Arrays must be C-contiguous and of exactly the dtype named, else TypeError; `kvarn.engine.table` and the ops
convert before they call. Errors other than that are classes of `kvarn.errors`.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

_Buffer: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[Any]
_Int64: TypeAlias = npt.NDArray[np.int64]
_Ids: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.int32]
_IdT = TypeVar("_IdT", np.int32, np.int64)
_FloatT = TypeVar("_FloatT", np.float32, np.float64)

def build_info() -> dict[str, str]:
    """`build_type`, `sanitize` (empty without sanitizers) and `compiler` of this extension."""

def set_num_threads(n: int) -> None:
    """Threads that work on one batch call, the caller included; less than 1 counts as 1."""

def num_threads() -> int:
    """Threads that work on one batch call; by default the processors this process may use."""

def run_steps(steps: list[Any], values: list[Any]) -> tuple[int, BaseException] | None:
    """Runs the steps of a plan on its slots (`kvarn.graph.flow.Step`): None, or the number of the step whose
    kernel failed, and its exception.
    """

def crc32c(data: _Buffer, crc: int = 0) -> int:
    """CRC-32C of any contiguous buffer, extending `crc` (that of the bytes before it)."""

def crc32c_combine(crc_a: int, crc_b: int, length_b: int) -> int:
    """CRC-32C of A followed by B, from that of A, that of B, and the length of B in bytes."""

def snappy_uncompress(data: _Buffer) -> bytes:
    """The bytes of a raw snappy stream. Raises ValueError when it is damaged."""

def decode_varints(data: _Buffer, out: npt.NDArray[Any]) -> int:
    """Fills out [n], of any integer type, with the n varints that `data` begins with, each cut to
    the type's width; how many bytes they take.

    Raises ValueError when one is cut off or has more than 10 bytes.
    """

def encode_varints(values: npt.NDArray[Any]) -> bytes:
    """The varints of values [n], of any integer type; negative ones take 10 bytes."""

def farmhash_fingerprint64(strings: Sequence[bytes] | npt.NDArray[np.object_]) -> npt.NDArray[np.uint64]:
    """FarmHash Fingerprint64 of each element, the hash of TensorFlow's string_to_hash_bucket_fast.

    Raises InvalidArgumentError when an element is not bytes. Source: tensorflow/core/platform/fingerprint.h.
    """

@overload
def fingerprint_cat64(a: int, b: int) -> int: ...
@overload
def fingerprint_cat64(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The fingerprint of two fingerprints in order, of two numbers or of each pair in arrays [n].

    Source: tensorflow/core/platform/fingerprint.h, FingerprintCat64.
    """

def unique(x: npt.NDArray[_IdT]) -> tuple[npt.NDArray[_IdT], npt.NDArray[np.int32]]:
    """Distinct values of x [n] in order of first occurrence, and idx [n] with values[idx] == x."""

def unique_with_counts(
    x: npt.NDArray[_IdT],
) -> tuple[npt.NDArray[_IdT], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """As `unique`, and how often each value occurs."""

def unsorted_segment_sum(data: npt.NDArray[_FloatT], ids: _Ids, num_segments: int) -> npt.NDArray[_FloatT]:
    """out[s] = sum of data[i] over ids[i] == s, added in order of i.

    data [n, ...], ids [n], out [num_segments, ...].
    Rows with a negative id are dropped. Raises InvalidArgumentError for an id >= num_segments.
    """

def gather_rows(params: npt.NDArray[Any], indices: _Ids, out: npt.NDArray[Any]) -> int:
    """out[i] = params[indices[i]] for 2-D params of any numeric dtype (view others as unsigned integers).

    Returns the first i whose index is outside [0, len(params)), with `out` untouched, else -1.
    Raises InvalidArgumentError when `out` does not fit.
    """

class EmbeddingTable:
    """What `kvarn.engine.table.EmbeddingTable` documents and checks; keys are int64 [n] here."""

    def __init__(
        self,
        record_freq: bool,
        record_version: bool,
        filter_freq: int = 0,
        num_hash: int = 0,
        num_counter: int = 0,
        counter_bytes: int = 8,
        no_permission: float = 0.0,
    ) -> None: ...
    def set_tiers(self, path: str, dram_bytes: int, lfu: bool, file_bytes: int) -> None: ...
    def set_cache(self, lfu: bool) -> None: ...
    def tier_counts(self) -> dict[str, int]: ...
    def add_slot(self, defaults: npt.NDArray[np.float32]) -> None: ...
    def set_default(self, slot: int, defaults: npt.NDArray[np.float32]) -> None: ...
    def add_seeded_slot(self, dim: int, seed: int, distribution: str, a: float, b: float) -> None: ...
    def set_seeded_default(self, slot: int, seed: int, distribution: str, a: float, b: float) -> None: ...
    def size(self) -> int: ...
    def admitted_size(self) -> int: ...
    def memory_bytes(self) -> int: ...
    def lookup_or_create(self, keys: _Int64, slot: int, out: npt.NDArray[np.float32]) -> None: ...
    def lookup(self, keys: _Int64, slot: int, out: npt.NDArray[np.float32]) -> None: ...
    def create_from(self, keys: _Int64, slot: int, rows: npt.NDArray[np.float32]) -> None: ...
    def contains(self, keys: _Int64, out: npt.NDArray[np.bool_]) -> None: ...
    def frequency(self, keys: _Int64, out: _Int64) -> None: ...
    def kept_frequency(self, keys: _Int64, out: _Int64) -> None: ...
    def version(self, keys: _Int64, out: _Int64) -> None: ...
    def tier(self, keys: _Int64, out: npt.NDArray[np.int32]) -> None: ...
    def apply(
        self,
        rule: str,
        keys: _Int64,
        grads: npt.NDArray[np.float32],
        slots: _Int64,
        params: npt.NDArray[np.float32],
        counts: _Int64 | None,
        step: int | None,
    ) -> None: ...
    def reserve(self, n_keys: int, /) -> None: ...
    def stage_import(self, n: int, sample: _Int64) -> StagedImport | None: ...
    def import_columns(
        self,
        keys: _Int64,
        slots: _Int64,
        values: list[npt.NDArray[np.float32]],
        freqs: _Int64 | None,
        versions: _Int64 | None,
    ) -> None: ...
    def import_filtered(self, keys: _Int64, freqs: _Int64, versions: _Int64 | None) -> None: ...
    def evict(
        self,
        steps_to_live: int,
        l2_weight_threshold: float,
        min_frequency: int,
        all: bool,
        min_keys: int,
        max_keys: int | None,
        step: int,
        dry_run: bool,
    ) -> tuple[int, int, _Int64, npt.NDArray[np.uint8]]:
        """How many keys were examined and spared; the keys that left, and a number for the reason of each."""

    def record_touches(self, on: bool) -> None: ...
    def forget_touches(self, before: int) -> None: ...
    def snapshot(self, buckets: int, since: int | None) -> Snapshot: ...
    def clear(self) -> None: ...
    def remove(self, keys: _Int64) -> int: ...

class StagedImport:
    def write(
        self,
        n: int,
        slots: _Int64,
        values: list[npt.NDArray[np.float32]],
        freqs: _Int64 | None,
        versions: _Int64 | None,
    ) -> None: ...
    def commit(self, keys: _Int64) -> None: ...
    def release(self) -> None: ...

class Snapshot:
    """What `kvarn.engine.table.Snapshot` documents; arrays of keys and offsets are views of it."""

    @property
    def cut(self) -> int: ...
    @property
    def keys(self) -> _Int64: ...
    @property
    def partition_offset(self) -> npt.NDArray[np.int32]: ...
    @property
    def filtered_keys(self) -> _Int64: ...
    @property
    def partition_filter_offset(self) -> npt.NDArray[np.int32]: ...
    @property
    def removed_keys(self) -> _Int64: ...
    def values(self, slot: int, start: int, out: npt.NDArray[np.float32]) -> None: ...
    def freqs(self, start: int, out: _Int64) -> None: ...
    def versions(self, start: int, out: _Int64) -> None: ...
    def filtered_metas(self, freqs: _Int64, versions: _Int64) -> None: ...

def group_lookup(
    tables: list[EmbeddingTable],
    slots: list[int],
    create: list[bool],
    keys: list[_Int64],
    indices: list[_Int64],
    weights: list[npt.NDArray[np.float32] | None],
    out: list[npt.NDArray[np.float32]],
    ends: list[npt.NDArray[np.int32]],
    unique_idx: list[npt.NDArray[np.int32]],
    combiner: str,
) -> list[_Int64]:
    """What `kvarn.engine.group_lookup.combined` documents: fills out, ends and unique_idx, gives the distinct keys.

    out [rows, dim] combines the keys of a row, [rows, columns, dim] does not.

    Raises InvalidArgumentError when arrays do not fit each other; no table has been touched then.
    """

# Tables and bundles (formats): plain Python says the same in kvarn.formats.table.reference and
# kvarn.formats.bundle.entry. -----------------------------------------------------------------------------

def parse_block(data: _Buffer) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of a table block. Raises ValueError when an entry or the restart array does not fit."""

def build_table(keys: list[bytes], values: list[bytes], block_bytes: int, restart_interval: int) -> bytes:
    """The file of a table with these entries. Raises ValueError unless the keys ascend."""

def parse_entries(
    values: list[bytes],
) -> tuple[
    npt.NDArray[np.int32],
    list[tuple[int, ...] | None],
    _Int64,
    _Int64,
    _Int64,
    _Int64,
    npt.NDArray[np.uint32],
]:
    """BundleEntryProtos in columns: dtype, shape, number of elements, shard, offset, size, masked crc32c.

    One that is not plain (slices, an unusual order, what cannot be) has the shape None and -1 elements.
    """

def read_runs(
    file: int, offsets: _Int64, targets: Sequence[_Buffer], threads: int = 0
) -> npt.NDArray[np.uint32]:
    """Fills each target from the file descriptor, on several threads (0: all); the CRC-32C of each.

    Raises OSError as read(2), or EOFError with the number of the target that the file is too short for.
    """

def write_with_checksum(file: int, data: _Buffer, crc: int) -> int:
    """Writes all of a buffer to the file descriptor; `crc` extended over it. Raises OSError as write(2)."""

def checksums(data: _Buffer, offsets: _Int64, sizes: _Int64, threads: int = 0) -> npt.NDArray[np.uint32]:
    """The CRC-32C of runs of a buffer, on several threads (0: all)."""

def pack_tensors(
    names: list[Any],
    arrays: list[Any],
    start: int,
    offset: int,
    largest_bytes: int,
    enough_bytes: int,
) -> tuple[int, bytes, list[bytes], list[bytes]]:
    """Arrays from number `start` on, joined, as a bundle holds them from byte `offset` of a file.

    Stops at the first that is no plain C-contiguous NumPy array of up to `largest_bytes`, and when
    `enough_bytes` are together. Gives the number it stopped at, the bytes, the keys, the entries.
    """
