"""Ops of incremental checkpoints: what was touched since a full save goes to a checkpoint of its own.

The keys of embedding variables are remembered by their tables (`record_touches`), whatever touches them.  The
rows of ordinary variables are remembered by `RecordSparseIndices` ops beside their updates.  What an increment
looks like is in `kvarn.formats.embedding_increment`, what a session remembers in `kvarn.ops.save_marks`.

Source: tensorflow/core/ops/incr_save_restore_ops.cc and tensorflow/core/kernels/incr_save_restore_ops.{h,cc}
of DeepRec.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kvarn import dtypes, errors, tf_logging
from kvarn.formats.embedding import SAVED_PARTITION_NUM, bucket_of
from kvarn.formats.embedding_increment import Increment, read_increment, write_increment, write_rows
from kvarn.formats.increment_rows import put_rows, rows_of_tensor
from kvarn.formats.tensor_slice import TensorSlice, parse_shape_and_slice
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.resources import ResourceHandle, ResourceManager
from kvarn.graph.shape_inference import no_outputs, with_rank
from kvarn.ops.checkpoint import _add, _parse_slice, _prefix, _read, _strings
from kvarn.ops.kv_blocks import standing_still
from kvarn.ops.kv_checkpoint import _saves_filtered
from kvarn.ops.kv_resource import KIND, EmbeddingResource, initialized
from kvarn.ops.kv_restore import is_part
from kvarn.ops.save_marks import (
    RowRecorder,
    Written,
    cut_now,
    marks_of,
    recorder_handle,
    save_log,
    written_of,
)

if TYPE_CHECKING:
    from kvarn.engine.table import Snapshot
    from kvarn.formats.bundle.writer import BundleWriter

# On an IncrSave node: it holds what was touched since the last save of either kind, not since the last full one.
SINCE_LAST = "_kvarn_since_last"
# On an IncrSave or IncrRestore node: the tensors of the full save that its entries are of; their names may be those
# of parts.
TENSORS = "_kvarn_tensors"
# On a RecordSparseIndices node: what it is beside changes every row, whatever its keys say.
ALL_ROWS = "_kvarn_all_rows"


# Recording ------------------------------------------------------------------------------------------


@op(
    "RecordSparseIndices",
    inputs="keys: TIndex",
    attrs=["var_name: string = ''", "TIndex: {int32, int64}", "auto_record: bool = false"],
)
class record_sparse_indices:
    """Remembers that rows ``keys`` (any shape) of the ordinary variable ``var_name`` were changed.

    Nothing is remembered before `ActivateSparseRecorder` has run, unless ``auto_record``.  The tables of
    embedding variables remember by themselves: for those it does nothing.
    """

    shape = no_outputs
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, keys: Any) -> Any:
        recorder = ctx.cache
        if (
            recorder is None
            or ctx.resources.find(recorder_handle(_name(ctx.attrs["var_name"]))) is not recorder
        ):
            recorder = ctx.cache = ctx.resources.look_up_or_create(
                recorder_handle(_name(ctx.attrs["var_name"])), RowRecorder
            )
            if ctx.attrs["auto_record"] and not recorder.record_touches:
                recorder.marks.activate(recorder.cut)
        if ctx.attrs.get(ALL_ROWS):
            recorder.touch_all()
        else:
            recorder.touch(keys)


@op("ActivateSparseRecorder", inputs="tensor_names: string")
class activate_sparse_recorder:
    """Increments of variables ``tensor_names`` [n] hold from now on what is touched after the last full save.

    A Saver runs it when it has saved.  Names that nothing is recorded of are passed over.
    """

    shape = no_outputs
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, tensor_names: Any) -> Any:
        tables = {r.name: r.shared for r in ctx.resources.all_of(KIND)}
        names = _strings(tensor_names)
        # A primary and its slots share a table.
        for shared in {id(tables[name]): tables[name] for name in names if name in tables}.values():
            marks_of(shared).activate(functools.partial(cut_now, shared))
        for name in names:
            recorder = None if name in tables else ctx.resources.find(recorder_handle(name))
            if recorder is not None:
                recorder.marks.activate(recorder.cut)


@op(
    "CollectSparseIndices",
    outputs="indices: ktype, global_indices: ktype",
    attrs=[
        "tensor_name: string",
        "config: string = ''",
        "part_idx: int = -1",
        "part_count: int = 0",
        "hash_bucket_size: int = 0",
        "part_mode: string = ''",
        "ktype: {int32, int64}",
    ],
    # Not so in DeepRec; without, its value could be found while the graph is built.
    stateful=True,
)
class collect_sparse_indices:
    """Takes out the rows of a variable that were changed, and forgets them: for delivery while training goes on.

    ``config`` may be ``update_count_thd=<n>``: only rows changed n times at least.  Of part ``part_idx`` of
    ``part_count`` of a variable with ``hash_bucket_size`` rows, global_indices are the rows of the whole: with
    part_mode ``mod`` row i of part p is row i * part_count + p, else parts are stretches of rows, the first
    ``size % count`` one longer.  Without a recorder both are empty.
    """

    def shape(c: Any) -> Any:
        return [(None,), (None,)]

    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any) -> Any:
        attrs = ctx.attrs
        name = _name(attrs["tensor_name"])
        recorder = ctx.resources.find(recorder_handle(name))
        if recorder is None:
            tf_logging.warning("%s Resource NOT FOUND", name)
            rows = np.zeros(0, np.int64)
        else:
            rows = recorder.collect(_threshold(_name(attrs["config"])))
        count, size = attrs["part_count"], attrs["hash_bucket_size"]
        whole = rows
        if count > 0 and size > 0:
            part = attrs["part_idx"]
            if _name(attrs["part_mode"]) == "mod":
                whole = rows * count + part
            else:
                whole = rows + (part * (size // count) + min(max(part, 0), size % count))
        dtype = attrs["ktype"].np
        return rows.astype(dtype), whole.astype(dtype)


def _threshold(config: str) -> int:
    """The number of ``update_count_thd=<n>`` among settings with commas between; others are passed over."""
    threshold = 0
    for setting in filter(None, config.split(",")):
        name, _, value = setting.partition("=")
        if name == "update_count_thd" and value.isdecimal():
            threshold = int(value)
        else:
            tf_logging.warning("invalid config:%s", setting)
    return threshold


# Saving ---------------------------------------------------------------------------------------------


@op(
    "IncrSave",
    inputs="prefix: string, tensor_names: string, shape_and_slices: string, is_sparse: bool, tensors: dtypes",
    attrs="dtypes: list(type)",
    stateful=True,
)
class incr_save:
    """Writes what was touched since the last full save as the checkpoint ``prefix``.

    tensor_names, shape_and_slices (or empty) and is_sparse [n].  Where ``is_sparse``, a tensor is the handle of an
    embedding variable, or an ordinary variable (or part of one) of which only rows are written; all others are
    written whole, as by `SaveV2`.  All tables are cut at the same time, before the first is written.

    Of a sparse one that nothing is recorded of nothing is written, with a warning, as in DeepRec; an
    IncrementalSaver refuses then.  Raises as `SaveV2`.
    """

    shape = no_outputs
    grad = NOT_DIFFERENTIABLE

    def kernel(
        ctx: Any, prefix: Any, tensor_names: Any, shape_and_slices: Any, is_sparse: Any, tensors: Any
    ) -> Any:
        path = _prefix(prefix)
        names = _strings(tensor_names)
        slices = _strings(shape_and_slices) or [""] * len(names)
        sparse = np.ravel(is_sparse).tolist()
        if not len(names) == len(slices) == len(sparse) == len(tensors):
            raise errors.InvalidArgumentError.of(
                f"Got {len(names)} tensor names, {len(slices)} slices, {len(sparse)} is_sparse and {len(tensors)} "
                "tensors.",
                path=path,
            )
        owners = [_name(name) for name in ctx.attrs.get(TENSORS) or names]
        entries = [
            _Entry(*entry)
            for entry in zip(names, slices, sparse, tensors, ctx.attrs["dtypes"], owners, strict=True)
        ]
        written = _write(ctx.resources, path, entries, bool(ctx.attrs.get(SINCE_LAST)))
        save_log(ctx.resources).add(path, written)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One of the tensors of `IncrSave`."""

    name: str
    slice: str
    is_sparse: bool
    value: Any
    dtype: dtypes.DType
    tensor: str


def _write(
    resources: ResourceManager, path: str, entries: Sequence[_Entry], since_last: bool
) -> list[Written]:
    from kvarn.formats.bundle.writer import BundleWriter

    embeddings: list[tuple[str, EmbeddingResource, int]] = []
    rows: list[tuple[_Entry, RowRecorder, int]] = []
    whole: list[tuple[_Entry, Any]] = []
    for entry in entries:
        if not entry.is_sparse:
            whole.append((entry, _parse_slice(entry.slice, np.shape(entry.value), entry.name, path)))
            continue
        since: int | None
        if isinstance(entry.value, ResourceHandle):
            resource = initialized(resources, entry.value)
            marks = marks_of(resource.shared)
            since = marks.last if since_last else marks.full
            if since is not None:
                embeddings.append((entry.name, resource, since))
        else:
            recorder = resources.find(recorder_handle(entry.name))
            since = None if recorder is None else recorder.marks.last if since_last else recorder.marks.full
            if since is not None:
                rows.append((entry, recorder, since))
        if since is None:
            tf_logging.warning("%s_sparse_incr Resource NOT FOUND", entry.name)
    written: list[Written] = []
    with BundleWriter(path) as writer, contextlib.ExitStack() as stack:
        cuts: dict[int, Snapshot] = {}
        with standing_still(resource.shared for _, resource, _ in embeddings):
            for _, resource, since in embeddings:
                shared = resource.shared
                if id(shared) not in cuts:
                    snapshot = shared.table.snapshot(buckets=SAVED_PARTITION_NUM, since=since)
                    cuts[id(shared)] = stack.enter_context(snapshot)
        for name, resource, _ in embeddings:
            written.append(_write_embedding(writer, name, resource, cuts[id(resource.shared)]))
        for entry, recorder, since in rows:
            written.append(_write_rows(writer, entry, recorder, since))
        for entry, part in whole:
            _add(writer, entry.name, entry.value, entry.dtype, part)
    return written


def _write_embedding(writer: BundleWriter, name: str, resource: EmbeddingResource, cut: Snapshot) -> Written:
    options = resource.shared.options
    keys, removed = cut.keys, cut.removed_keys
    filtered, freqs_filtered, versions_filtered = cut.filtered_keys, cut.filtered_freqs, cut.filtered_versions
    if not _saves_filtered():
        # They are not saved; but what was admitted at the last save is not any more.
        removed = np.concatenate((removed, filtered))
        removed = removed[np.lexsort((removed, bucket_of(removed)))]
        filtered, freqs_filtered, versions_filtered = filtered[:0], freqs_filtered[:0], versions_filtered[:0]
    write_increment(
        writer,
        name,
        keys,
        cut.chunks(resource.slot),
        dim=resource.dim,
        versions=cut.versions if options.is_save_version else None,
        freqs=cut.freqs if options.is_save_freq else None,
        removed_keys=removed,
        keys_filtered=filtered,
        versions_filtered=versions_filtered if options.is_save_version else None,
        freqs_filtered=freqs_filtered,
    )
    return written_of(name, resource, cut, upserts=len(keys), filtered=len(filtered), deletions=len(removed))


def _write_rows(writer: BundleWriter, entry: _Entry, recorder: RowRecorder, since: int) -> Written:
    # The cut comes before the value is read: what is changed meanwhile is in the next increment too.
    cut = recorder.cut_of_save()
    value = np.asarray(entry.value)
    rows = recorder.since(since)
    if rows is None:
        rows = np.arange(len(value), dtype=np.int64)
    rows = rows[(rows >= 0) & (rows < len(value))]
    write_rows(writer, entry.name, rows, value[rows], entry.dtype)
    return Written(entry.name, recorder.marks, cut, len(rows), rows_of=(entry.tensor, entry.slice))


# Restoring ------------------------------------------------------------------------------------------


@op(
    "IncrRestore",
    inputs="prefix: string, tensor_names: string, shape_and_slices: string, is_sparse: bool, in_tensors: dtypes",
    outputs="out_tensors: dtypes",
    attrs="dtypes: list(type)",
    stateful=True,
)
class incr_restore:
    """Tensors as the increment ``prefix`` makes them.

    With ``is_sparse`` there is one: in_tensors[0] with the rows of the increment put in (rows it has not are passed
    over), also those of other parts, if the increment has a manifest.  Otherwise the tensors of the checkpoint, as
    by `RestoreV2`.

    Raises NotFoundError for what the checkpoint lacks, InvalidArgumentError for rows of another shape or type.
    """

    def shape(
        c: Any, prefix: Any, tensor_names: Any, shape_and_slices: Any, is_sparse: Any, *in_tensors: Any
    ) -> Any:
        with_rank(prefix, 0)
        flat = in_tensors[0] if in_tensors and isinstance(in_tensors[0], list) else list(in_tensors)
        return flat if len(flat) != 1 else [flat[0]]

    grad = NOT_DIFFERENTIABLE

    def kernel(
        ctx: Any, prefix: Any, tensor_names: Any, shape_and_slices: Any, is_sparse: Any, in_tensors: Any
    ) -> Any:
        from kvarn.formats.detect import open_checkpoint

        path = _prefix(prefix)
        names = _strings(tensor_names)
        slices = _strings(shape_and_slices) or [""] * len(names)
        flags = np.ravel(is_sparse).tolist()
        with open_checkpoint(path) as reader:
            if not any(flags):
                whole = [_read(reader, name, part) for name, part in zip(names, slices, strict=True)]
                return whole[0] if len(whole) == 1 else whole
            if len(names) != 1 or len(in_tensors) != 1:
                raise errors.InvalidArgumentError.of(
                    f"Rows of {len(names)} variables are to be restored into {len(in_tensors)} at once.",
                    path=path,
                    hint="An embedding variable is restored by KvResourceIncrImport, others one at a time.",
                )
            out = np.array(in_tensors[0], copy=True)
            (name, part), tensor = (names[0], slices[0]), _name((ctx.attrs.get(TENSORS) or names)[0])
            full_shape, region = out.shape, TensorSlice.of_shape(out.shape)
            if part:
                full_shape, region, _ = parse_shape_and_slice(part)
                region = region.resolve(full_shape)

            def unfit(what: str) -> errors.OpError:
                return errors.InvalidArgumentError.of(
                    f"The rows of '{name}' in '{path}' do not fit the variable, {out.dtype}{list(out.shape)}: "
                    f"{what}.",
                    name=name,
                    path=path,
                    hint="Give the variable the shape and type that it was saved with.",
                )

            for stem, where in rows_of_tensor(reader, name, tensor, part).items():
                put_rows(out, region, full_shape, reader, stem, where, unfit, passes_over_rows_beyond=True)
        return out


@op(
    "KvResourceIncrImport",
    inputs="prefix: string, resource_handle: resource, tensor_names: string, empty_key: Tkeys, value: dtype",
    attrs=["Tkeys: {int64, int32}", "dtype: type", "partition_id: int = 0", "partition_num: int = 1"],
)
class kv_resource_incr_import:
    """Brings a variable from the state of a full save to that of the increment ``prefix``.

    Rows of the increment replace those of the variable, keys that were removed go, keys that a filter has not
    admitted are counted so often as the increment says.  Everything else stays.  The increment may have another
    number of parts.  ``value`` becomes the initial values unless an initializer set them before.

    Raises NotFoundError for a variable or increment that is not there, InvalidArgumentError for other types or
    another dim, DataLossError for damage: of keys and counts before anything is changed, of values perhaps later
    (an IncrementalSaver looks at all of it first).
    """

    shape = no_outputs
    grad = NOT_DIFFERENTIABLE

    def kernel(
        ctx: Any, prefix: Any, resource_handle: Any, tensor_names: Any, empty_key: Any, value: Any
    ) -> Any:
        from kvarn.formats.detect import open_checkpoint

        resource: EmbeddingResource = ctx.resources.look_up(resource_handle)
        resource.set_default(value)
        path = np.ravel(prefix)[0].decode()
        name = _strings(tensor_names)[0]
        attrs = ctx.attrs
        owner = name if resource.slot == 0 else name.rpartition("/")[0]
        with open_checkpoint(path) as reader:
            found = read_increment(
                reader,
                name,
                owner=owner,
                partitioned=is_part(attrs, name, owner),
                partition_id=attrs["partition_id"],
                partition_num=attrs["partition_num"],
            )
            for increment, values in found:
                _import(resource, increment, values, path)
        resource.is_initialized = True


def _import(
    resource: EmbeddingResource,
    increment: Increment,
    values: Iterator[tuple[slice, Any]],
    path: str,
) -> None:
    table = resource.table
    if increment.keys.dtype != resource.shared.key_dtype.np:
        raise _other(resource, path, f"keys of type {increment.keys.dtype}", resource.shared.key_dtype.name)
    if resource.slot == 0:
        table.remove(np.concatenate((increment.removed_keys, increment.keys_filtered)))
        if increment.keys_filtered.size:
            freqs = increment.freqs_filtered
            table.import_filtered(
                increment.keys_filtered,
                np.ones(increment.keys_filtered.size, np.int64) if freqs is None else freqs,
                increment.versions_filtered,
            )
    for where, rows in values:
        if rows.shape[1] != resource.dim or rows.dtype != np.float32:
            raise _other(resource, path, f"rows of {rows.shape[1]} {rows.dtype}", f"{resource.dim} float32")
        table.import_rows(
            resource.slot,
            increment.keys[where],
            np.ascontiguousarray(rows),
            increment.freqs[where],
            increment.versions[where],
        )


def _other(resource: EmbeddingResource, path: str, found: str, wanted: str) -> errors.OpError:
    return errors.InvalidArgumentError.of(
        f"The increment '{path}' has {found} of '{resource.name}', the variable {wanted}.",
        name=resource.name,
        path=path,
        hint="Create the variable as it was when the increment was saved.",
    )


def _name(value: Any) -> str:
    """An attr that is a string."""
    return value.decode() if isinstance(value, bytes) else str(value)
