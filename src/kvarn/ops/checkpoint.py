"""Ops that write and read checkpoints.

`SaveV2` and `MergeV2Checkpoints` write the V2 format of `kvarn.formats.bundle`, `Save` and `SaveSlices` the V1
format of `kvarn.formats.slices_v1`.  `RestoreV2` reads both, `Restore` and `RestoreSlice` V1 only.
Embedding variables are handed to `kvarn.ops.kv_checkpoint`, which writes all of one table from one snapshot.

Source: tensorflow/core/ops/io_ops.cc, tensorflow/core/kernels/{save_restore_v2_ops,save_restore_tensor}.cc;
DeepRec's attributes ``ev_key_types`` and ``has_ev`` of SaveV2, and SaveV3.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.formats.names import decode_name, encode_name
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.resources import ResourceHandle
from kvarn.graph.shape_inference import UNKNOWN, fmt, merge, merge_dim, with_rank

if TYPE_CHECKING:
    from kvarn.formats.reader import TensorReader
    from kvarn.formats.writer import TensorWriter
    from kvarn.graph.operation import Operation

# By checkpoint, name and slice: what `RestoreV2` gives for it.
_given: ContextVar[Mapping[tuple[str, str, str], Any] | None] = ContextVar("given", default=None)


@contextlib.contextmanager
def giving(prefix: str, values: Mapping[tuple[str, str], Any]) -> Iterator[None]:
    """Inside, `RestoreV2` of this thread gives values of its own for tensors and slices of a checkpoint.

    Args:
      prefix: of the checkpoint.
      values: by name and shape_and_slice; of the type that is asked for.
    """
    token = _given.set({(prefix, *place): value for place, value in values.items()})
    try:
        yield
    finally:
        _given.reset(token)


def _check_names(c, names, *others):
    """Shape check: every one of the inputs is a vector with as many elements as there are tensors."""
    for shape in (names, *others):
        merge_dim(with_rank(shape, 1)[0], len(c.inputs) - 1 - len((names, *others)))


@op(
    "SaveV2",
    inputs="prefix: string, tensor_names: string, shape_and_slices: string, tensors: dtypes",
    attrs=["dtypes: list(type)", "+ev_key_types: list(type) = []", "+has_ev: bool = false"],
    stateful=True,
)
class save_v2:
    """Writes named tensors as the checkpoint ``prefix``.

    prefix is a scalar; tensor_names and shape_and_slices [n]; an item of shape_and_slices is empty, or the
    full shape and the slice that the tensor is of it, ``10 4 4,3:0,4``.  With ``has_ev`` some tensors are
    handles of embedding variables, ``ev_key_types`` has their key types in order, and tensor 0 is the
    global step: keys too old for it are evicted before the snapshot, and it is not written.

    Raises InvalidArgumentError for names and tensors that do not fit each other, FailedPreconditionError for
    an embedding variable without a table, NotFoundError when the directory cannot be made.  On any error no
    file of the checkpoint stays and an older one of the same prefix is whole.

    Source: SaveV2 in io_ops.cc; has_ev as in DeepRec.
    """

    def shape(c, prefix, tensor_names, shape_and_slices, tensors):
        with_rank(prefix, 0)
        _check_names(c, tensor_names, shape_and_slices)
        return []

    def kernel(ctx, prefix, tensor_names, shape_and_slices, tensors):
        path = _prefix(prefix)
        names, slices = _names_and_slices(tensor_names, shape_and_slices)
        if len(tensors) != len(names):
            raise errors.InvalidArgumentError.of(
                f"Got {len(names)} tensor names but {len(tensors)} tensors.", path=path
            )
        first = 1 if ctx.attrs.get("has_ev") else 0
        handles = [(n, x) for n, x in zip(names, tensors, strict=True) if isinstance(x, ResourceHandle)]
        types = ctx.attrs.get("ev_key_types") or []
        if handles and len(types) != len(handles):
            raise errors.InvalidArgumentError.of(
                f"Got {len(handles)} embedding variables but {len(types)} ev_key_types.", path=path
            )
        tables = _tables(ctx, handles)
        dense = [
            (names[i], slices[i], tensors[i], ctx.attrs["dtypes"][i])
            for i in range(first, len(names))
            if not isinstance(tensors[i], ResourceHandle)
        ]
        _write(ctx, path, tables, dense, tensors[0] if first else None)

    grad = NOT_DIFFERENTIABLE


@op(
    "SaveV3",
    inputs="prefix: string, tensor_names: string, shape_and_slices: string, ev_names: string, "
    "ev_resources: int64, tensors: dtypes",
    attrs=["dtypes: list(type)", "ev_key_types: list(type) = []", "has_ev: bool = false"],
    stateful=True,
)
class save_v3:
    """`save_v2` of DeepRec's newest sources: embedding variables come apart from the tensors.

    ev_names [m]; ev_resources [m], what `KvResourceLookupResource` gives for each; tensors as in `save_v2`,
    tensor 0 being the global step with ``has_ev``.  Source: DeepRec's save_restore_v2_ops.cc.
    """

    def shape(c, prefix, tensor_names, shape_and_slices, ev_names, ev_resources, tensors):
        with_rank(prefix, 0)
        return []

    def kernel(ctx, prefix, tensor_names, shape_and_slices, ev_names, ev_resources, tensors):
        from kvarn.ops import kv_resource

        path = _prefix(prefix)
        names, slices = _names_and_slices(tensor_names, shape_and_slices)
        if len(tensors) != len(names):
            raise errors.InvalidArgumentError.of(
                f"Got {len(names)} tensor names but {len(tensors)} tensors.", path=path
            )
        first = 1 if ctx.attrs["has_ev"] else 0
        addresses = np.ravel(ev_resources)
        evs = _strings(ev_names)
        if len(addresses) != len(evs):
            raise errors.InvalidArgumentError.of(
                f"Got {len(evs)} ev_names but {len(addresses)} ev_resources.", path=path
            )
        tables = [
            (name, kv_resource.resource_at(ctx.resources, int(address)))
            for name, address in zip(evs, addresses, strict=True)
        ]
        dense = [(names[i], slices[i], tensors[i], ctx.attrs["dtypes"][i]) for i in range(first, len(names))]
        _write(ctx, path, tables, dense, tensors[0] if first else None)

    grad = NOT_DIFFERENTIABLE


@op(
    "RestoreV2",
    inputs="prefix: string, tensor_names: string, shape_and_slices: string",
    outputs="tensors: dtypes",
    attrs="dtypes: list(type)",
    stateful=True,
)
class restore_v2:
    """Reads named tensors, or slices of them, from the checkpoint ``prefix``.

    prefix is a scalar; tensor_names and shape_and_slices [n], see `save_v2`.  Names and types of all are
    checked before the first is read.

    Raises NotFoundError for a checkpoint or name that is not there, InvalidArgumentError for another type or
    full shape, DataLossError for damaged files.  Source: RestoreV2 in io_ops.cc, RestoreTensorsV2.
    """

    def shape(c, prefix, tensor_names, shape_and_slices):
        from kvarn.formats.tensor_slice import parse_shape_and_slice

        with_rank(prefix, 0)
        merge(with_rank(tensor_names, 1), with_rank(shape_and_slices, 1))
        count = len(c.attrs["dtypes"])
        known = c.constant_value(2)
        if known is None:
            return [None] * count
        slices = _strings(known)
        if len(slices) != count:
            raise ValueError("The number of shape_and_slice doesn't match tensor outputs.")
        try:
            return [parse_shape_and_slice(s)[2] if s else None for s in slices]
        except errors.OpError as e:
            raise ValueError(str(e)) from None

    def kernel(ctx, prefix, tensor_names, shape_and_slices):
        from kvarn.formats.detect import open_checkpoint

        path = _prefix(prefix)
        names, slices = _names_and_slices(tensor_names, shape_and_slices)
        wanted = ctx.attrs["dtypes"]
        if len(names) != len(wanted):
            raise errors.InvalidArgumentError.of(
                f"Got {len(names)} tensor names, but {len(wanted)} expected dtypes.", path=path
            )
        with open_checkpoint(path) as reader:
            _check_dtypes(reader, names, wanted)
            values: list[Any] = [None] * len(names)
            for i in sorted(range(len(names)), key=names.__getitem__):
                given = (_given.get() or {}).get((path, names[i], slices[i]))
                values[i] = _read(reader, names[i], slices[i]) if given is None else given
        return values[0] if len(values) == 1 else values

    grad = NOT_DIFFERENTIABLE


@op(
    "MergeV2Checkpoints",
    inputs="checkpoint_prefixes: string, destination_prefix: string",
    attrs="delete_old_dirs: bool = true",
    stateful=True,
)
class merge_v2_checkpoints:
    """Makes one checkpoint of the parts of a sharded save: their data files move, their indexes are merged.

    checkpoint_prefixes [n] in the order of the shards; destination_prefix scalar.  With ``delete_old_dirs``
    the emptied directories of the parts go.  Raises NotFoundError for a part that is not there and
    InvalidArgumentError for parts that do not fit each other.  Source: MergeV2Checkpoints, MergeBundles.
    """

    def shape(c, checkpoint_prefixes, destination_prefix):
        with_rank(checkpoint_prefixes, 1)
        with_rank(destination_prefix, 0)
        return []

    def kernel(ctx, checkpoint_prefixes, destination_prefix):
        from kvarn.formats.bundle.merge import merge_bundles

        if np.ndim(checkpoint_prefixes) != 1:
            raise errors.InvalidArgumentError.of(
                "Input checkpoint_prefixes should be an 1-D tensor, got "
                f"{fmt(np.shape(checkpoint_prefixes))} instead."
            )
        if np.ndim(destination_prefix) != 0:
            raise errors.InvalidArgumentError.of(
                "Input destination_prefix should be a scalar tensor, got "
                f"{fmt(np.shape(destination_prefix))} instead."
            )
        merge_bundles(
            [os.fsdecode(p) for p in checkpoint_prefixes],
            _prefix(destination_prefix),
            delete_old_dirs=ctx.attrs["delete_old_dirs"],
        )

    grad = NOT_DIFFERENTIABLE


@op("ShardedFilename", inputs="basename: string, shard: int32, num_shards: int32", outputs="filename: string")
class sharded_filename:
    """The name of one shard of a file: ``basename-00002-of-00007``.  All are scalars.

    Source: ShardedFilename in io_ops.cc.
    """

    def shape(c, basename, shard, num_shards):
        for s in (basename, shard, num_shards):
            with_rank(s, 0)
        return ()

    def kernel(ctx, basename, shard, num_shards):
        return _scalar(_one(basename) + b"-%05d-of-%05d" % (shard, num_shards))

    grad = NOT_DIFFERENTIABLE


@op("ShardedFilespec", inputs="basename: string, num_shards: int32", outputs="filename: string")
class sharded_filespec:
    """The pattern of the names of all shards: ``basename-?????-of-00007``.  All are scalars.

    Source: ShardedFilespec in io_ops.cc.
    """

    def shape(c, basename, num_shards):
        for s in (basename, num_shards):
            with_rank(s, 0)
        return ()

    def kernel(ctx, basename, num_shards):
        return _scalar(_one(basename) + b"-?????-of-%05d" % num_shards)

    grad = NOT_DIFFERENTIABLE


# The ops of the V1 format.


@op("Save", inputs="filename: string, tensor_names: string, data: T", attrs="T: list(type)", stateful=True)
class save:
    """Writes named tensors as the V1 checkpoint ``filename``.

    filename is a scalar; tensor_names [n].  Raises UnimplementedError for a type and InvalidArgumentError for
    a size that V1 cannot hold; no file stays then.  Source: Save in io_ops.cc, SaveTensors.
    """

    def shape(c, filename, tensor_names, data):
        with_rank(filename, 0)
        merge_dim(with_rank(tensor_names, 1)[0], len(c.inputs) - 2)
        return []

    def kernel(ctx, filename, tensor_names, data):
        names = _strings(tensor_names)
        _write_v1(_prefix(filename), names, [""] * len(names), data, ctx.attrs["T"])

    grad = NOT_DIFFERENTIABLE


@op(
    "SaveSlices",
    inputs="filename: string, tensor_names: string, shapes_and_slices: string, data: T",
    attrs="T: list(type)",
    stateful=True,
)
class save_slices:
    """`save` of slices: shapes_and_slices [n] as in `save_v2`.  Source: SaveSlices in io_ops.cc."""

    def shape(c, filename, tensor_names, shapes_and_slices, data):
        with_rank(filename, 0)
        _check_names(c, tensor_names, shapes_and_slices)
        return []

    def kernel(ctx, filename, tensor_names, shapes_and_slices, data):
        names, slices = _names_and_slices(tensor_names, shapes_and_slices)
        _write_v1(_prefix(filename), names, slices, data, ctx.attrs["T"])

    grad = NOT_DIFFERENTIABLE


@op(
    "Restore",
    inputs="file_pattern: string, tensor_name: string",
    outputs="tensor: dt",
    attrs=["dt: type", "preferred_shard: int = -1"],
    stateful=True,
)
class restore:
    """Reads a tensor from the V1 checkpoint ``file_pattern``.

    file_pattern, which may stand for several shards, and tensor_name are scalars; ``preferred_shard`` is
    looked in first.  Raises as `restore_v2`.  Source: Restore in io_ops.cc, RestoreTensor.
    """

    def shape(c, file_pattern, tensor_name):
        for s in (file_pattern, tensor_name):
            with_rank(s, 0)
        return UNKNOWN

    def kernel(ctx, file_pattern, tensor_name):
        return _read_v1(ctx, _prefix(file_pattern), _strings(tensor_name)[0], "")

    grad = NOT_DIFFERENTIABLE


@op(
    "RestoreSlice",
    inputs="file_pattern: string, tensor_name: string, shape_and_slice: string",
    outputs="tensor: dt",
    attrs=["dt: type", "preferred_shard: int = -1"],
    stateful=True,
)
class restore_slice:
    """`restore` of a slice: shape_and_slice as an item of those in `restore_v2`.  Source: RestoreSlice."""

    def shape(c, file_pattern, tensor_name, shape_and_slice):
        from kvarn.formats.tensor_slice import parse_shape_and_slice

        for s in (file_pattern, tensor_name, shape_and_slice):
            with_rank(s, 0)
        known = c.constant_value(2)
        if known is None or not _strings(known)[0]:
            return None
        try:
            return parse_shape_and_slice(_strings(known)[0])[2]
        except errors.OpError as e:
            raise ValueError(str(e)) from None

    def kernel(ctx, file_pattern, tensor_name, shape_and_slice):
        return _read_v1(ctx, _prefix(file_pattern), _strings(tensor_name)[0], _strings(shape_and_slice)[0])

    grad = NOT_DIFFERENTIABLE


def verify(reader: TensorReader, names: list[str], wanted: Sequence[dtypes.DType]) -> None:
    """Raises what `RestoreV2` of whole tensors or slices would find wrong with names, types or bytes.

    Args:
      reader: the checkpoint, open.
      names, wanted: of the tensors.
    """
    _check_dtypes(reader, names, wanted)
    for name in sorted(names):
        reader.verify(name)


# What the kernels share.


def _tables(ctx: Any, handles: Sequence[tuple[str, ResourceHandle]]) -> list[tuple[str, Any]]:
    """The embedding variables behind handles; FailedPreconditionError for one that was not initialized."""
    if not handles:
        return []
    from kvarn.ops import kv_resource

    return [(name, kv_resource.initialized(ctx.resources, handle)) for name, handle in handles]


def _write(
    ctx: Any,
    path: str,
    tables: Sequence[tuple[str, Any]],
    dense: Sequence[tuple[str, str, Any, dtypes.DType]],
    global_step: Any,
) -> None:
    """One checkpoint: the tables from one snapshot each, then the tensors, all or nothing.

    Args:
      global_step: what the ages of keys are counted to; None evicts nothing.
    """
    from kvarn.formats.bundle.writer import BundleWriter

    parsed = [_parse_slice(part, np.shape(value), name, path) for name, part, value, _ in dense]
    written = []
    # If increments will follow, the tables remember what is touched from before their snapshot on.
    record = _is_activated(ctx.op)
    with BundleWriter(path) as writer:
        if tables:
            from kvarn.ops import kv_checkpoint

            step = None if global_step is None else kv_checkpoint.step_of(global_step)
            written = kv_checkpoint.save_group(tables, writer, global_step=step, record=record)
        for (name, _, value, dtype), part in zip(dense, parsed, strict=True):
            _add(writer, name, value, dtype, part)
    if written:
        from kvarn.ops.save_marks import save_log

        for item in written:
            item.marks.written(item.cut)
        save_log(ctx.resources).add(path, written)


def _is_activated(save: Operation) -> bool:
    """Whether an `ActivateSparseRecorder` waits for a save, itself or by the constant that names its tensors."""
    waiting = save.control_outputs
    waiting += [op for other in waiting for x in other.outputs for op in x.consumers()]
    return any(op.type == "ActivateSparseRecorder" for op in waiting)


def _add(writer: TensorWriter, name: str, value: Any, dtype: dtypes.DType, part: Any) -> None:
    array = np.asarray(value)
    if part is None:
        writer.add(name, array, dtype)
    else:
        full_shape, tensor_slice = part
        writer.add_slice(name, full_shape, tensor_slice, array, dtype)


def _parse_slice(text: str, shape: tuple[int, ...], name: str, path: str) -> Any:
    """(full shape, slice), or None for a whole tensor."""
    if not text:
        return None
    from kvarn.formats.tensor_slice import parse_shape_and_slice

    full_shape, tensor_slice, slice_shape = parse_shape_and_slice(text)
    if slice_shape != shape:
        raise errors.InvalidArgumentError.of(
            "Slice in shape_and_slice specification does not match the shape of the tensor to  save: "
            f"{text}, tensor: {fmt(shape)}",
            name=name,
            path=path,
            hint=f"The slice of '{name}' must have the shape of its value.",
        )
    return full_shape, tensor_slice


def _write_v1(
    path: str, names: list[str], slices: list[str], values: Sequence[Any], types: Sequence[dtypes.DType]
) -> None:
    """A V1 checkpoint, all or nothing."""
    from kvarn.formats.slices_v1 import TensorSliceWriter, save_order

    if len(values) != len(names):
        raise errors.InvalidArgumentError.of(
            f"Got {len(names)} tensor names but {len(values)} tensors.", path=path
        )
    parsed = [_parse_slice(*item, path) for item in zip(slices, map(np.shape, values), names, strict=True)]
    with TensorSliceWriter(path) as writer:
        for i in save_order([encode_name(name) for name in names]):
            _add(writer, names[i], values[i], types[i], parsed[i])


def _read_v1(ctx: Any, path: str, name: str, part: str) -> Any:
    from kvarn.formats.slices_v1 import TensorSliceReader

    preferred = ctx.attrs["preferred_shard"]
    with TensorSliceReader(path, preferred_shard=None if preferred < 0 else preferred) as reader:
        _check_dtypes(reader, [name], [ctx.attrs["dt"]])
        return _read(reader, name, part)


def _check_dtypes(reader: TensorReader, names: list[str], wanted: Sequence[dtypes.DType]) -> None:
    """Raises for names that are not there, then one error for all with another type (V1: for the first)."""
    wrong: dict[str, str] = {}
    order = range(len(names))
    for i in order if reader.format == "V1" else sorted(order, key=names.__getitem__):
        stored, _ = reader.lookup_dtype_and_shape(names[i])
        if stored is wanted[i]:
            continue
        if reader.format == "V1":
            wrong[names[i]] = (
                f"Expected to restore a tensor of type {_type_name(wanted[i])}, got a tensor of type "
                f"{_type_name(stored)} instead: tensor_name = {names[i]}"
            )
            break
        wrong[names[i]] = (
            f"tensor_name = {names[i]}; expected dtype {_type_name(wanted[i])} does not equal original dtype "
            f"{_type_name(stored)}"
        )
    if wrong:
        raise errors.InvalidArgumentError.of(
            "\n".join(wrong.values()),
            name=next(iter(wrong)),
            path=reader.prefix,
            hint=f"In '{reader.prefix}'. Give the variable the stored type, or restore under another name.",
        )


def _read(reader: TensorReader, name: str, part: str) -> Any:
    if not part:
        return reader.lookup(name)
    from kvarn.formats.tensor_slice import parse_shape_and_slice

    full_shape, tensor_slice, _ = parse_shape_and_slice(part)
    return reader.lookup_slice(name, tensor_slice, full_shape)


def _names_and_slices(names: Any, slices: Any) -> tuple[list[str], list[str]]:
    if np.ndim(names) != 1 or np.ndim(slices) != 1:
        raise errors.InvalidArgumentError.of(
            "Input tensor_names and shape_and_slices should be an 1-D tensors, got "
            f"{fmt(np.shape(names))} and {fmt(np.shape(slices))} instead."
        )
    if len(names) != len(slices):
        raise errors.InvalidArgumentError.of(
            "tensor_names and shape_and_slices have different number of elements: "
            f"{len(names)} vs. {len(slices)}"
        )
    return _strings(names), _strings(slices)


def _strings(values: Any) -> list[str]:
    return [decode_name(v) for v in np.ravel(np.asarray(values, object))]


def _one(value: Any) -> bytes:
    flat = np.ravel(np.asarray(value, object))
    if len(flat) != 1:
        raise errors.InvalidArgumentError.of(
            f"Input prefix should have a single element, got {len(flat)} instead."
        )
    found: bytes = flat[0]
    return found


def _prefix(value: Any) -> str:
    return os.fsdecode(_one(value))


def _scalar(value: bytes) -> Any:
    out = np.empty((), object)
    out[()] = value
    return out


def _type_name(dtype: dtypes.DType) -> str:
    """The name of a type as TensorFlow's C++ messages print it."""
    return {"float32": "float", "float64": "double", "float16": "half"}.get(dtype.name, dtype.name)
