"""Embedding variables in checkpoints: tables written from one snapshot each, and read back.

Names, shapes and bucket order of the tensors are those of `kvarn.formats.embedding`; here is what a variable
makes of the rows that it reads.

Source: tensorflow/core/framework/embedding/{embedding_var_ckpt_data,embedding_var_restore}.cc of DeepRec.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kvarn import errors
from kvarn.ops.kv_blocks import standing_still
from kvarn.ops.kv_resource import EmbeddingResource

if TYPE_CHECKING:
    from kvarn.dtypes import DType
    from kvarn.formats.bundle.writer import BundleWriter
    from kvarn.formats.embedding import EmbeddingInfo
    from kvarn.formats.reader import TensorReader


def save_group(resources: Sequence[tuple[str, EmbeddingResource]], writer: BundleWriter) -> None:
    """Writes embedding variables, each under its name.

    A primary and its slots are written from one snapshot of their table: no update that runs meanwhile can
    come between a value and its slots.

    Args:
      resources: (name, variable) in the order to write.

    Raises:
      FailedPreconditionError: a variable is not initialised; nothing has been written then.
    """
    from kvarn.formats import embedding

    for name, resource in resources:
        if not resource.is_initialized:
            raise errors.FailedPreconditionError.of(
                f"Attempting to save uninitialized embedding variable {name}",
                name=name,
                hint="Run its initializer (tf.global_variables_initializer) or restore it from a checkpoint.",
            )
    with contextlib.ExitStack() as stack:
        cuts: dict[int, Any] = {}
        with standing_still(resource.shared for _, resource in resources):
            for _, resource in resources:
                if id(resource.shared) not in cuts:
                    cut = resource.table.snapshot(buckets=embedding.SAVED_PARTITION_NUM)
                    cuts[id(resource.shared)] = stack.enter_context(cut)
        for name, resource in resources:
            cut = cuts[id(resource.shared)]
            embedding.write_embedding(
                writer,
                name,
                cut.keys,
                cut.chunks(resource.slot),
                dim=resource.dim,
                versions=cut.versions if resource.shared.record_version else None,
                freqs=cut.freqs if resource.shared.record_freq else None,
            )


def restore(
    resource: EmbeddingResource,
    prefix: str,
    name: str,
    *,
    partition_id: int = 0,
    partition_num: int = 1,
    reset_version: bool = False,
    zeros: bool = False,
) -> None:
    """Adds to a variable the rows that checkpoint ``prefix`` has of ``name``; keys it has stay.

    The checkpoint may have another number of parts.  If it has another embedding_dim, the common columns are
    taken; what is missing comes from the variable's initial values if its initializer has run and ``zeros`` is
    not set, else it is 0.

    Args:
      name: the variable's name in the checkpoint, such as ``ev/part_0/Adagrad``.
      partition_id, partition_num: only keys with ``key mod 1000 mod partition_num == partition_id``.
      reset_version: let all versions be 0; so does the environment variable ``TF_EV_RESET_VERSION``.

    Raises:
      NotFoundError: the checkpoint, the variable in it, or a tensor of it does not exist.
      InvalidArgumentError: keys or values of another type.
      DataLossError: damaged bytes; rows read before may have been added (a Saver looks with `verify` first).
    """
    from kvarn.formats import embedding
    from kvarn.formats.detect import open_checkpoint

    if os.environ.get("TF_EV_RESET_VERSION", "false").lower() in ("1", "true"):
        reset_version = True
    with open_checkpoint(prefix) as reader:
        info = embedding.embedding_info(reader, name)
        _check_types(resource.name, info, name, prefix, resource.shared.key_dtype)
        for rows in embedding.read_embedding(
            reader, name, partition_id=partition_id, partition_num=partition_num
        ):
            keys = rows.keys
            freqs, versions = rows.freqs, rows.versions
            if resource.slot == 0:
                # A key that comes without them has been seen once and never updated.
                freqs = np.ones(len(keys), np.int64) if freqs is None else freqs
                versions = np.full(len(keys), -1, np.int64) if versions is None else versions
            if reset_version and versions is not None:
                versions = np.zeros(len(keys), np.int64)
            if rows.values is None:
                # A filter had not admitted these: they have no values yet.
                values = resource.table.lookup(keys, slot=resource.slot)
            else:
                values = _of_dim(resource, keys, rows.values, zeros)
            resource.table.import_rows(resource.slot, keys, values, freqs, versions)
    resource.is_initialized = True


def verify(reader: TensorReader, name: str, *, variable: str, key_dtype: DType, verified: set[str]) -> None:
    """Raises what `restore` of ``name`` into ``variable`` would find wrong with the files or types.

    Args:
      reader: the checkpoint, open.
      key_dtype: of the variable.
      verified: see `kvarn.formats.embedding.verify_embedding`.
    """
    from kvarn.formats import embedding

    info = embedding.embedding_info(reader, name)
    _check_types(variable, info, name, reader.prefix, key_dtype)
    embedding.verify_embedding(reader, name, verified)


def _check_types(variable: str, info: EmbeddingInfo, name: str, prefix: str, key_dtype: DType) -> None:
    for what, found, wanted in (
        ("keys", info.key_dtype.name, key_dtype.name),
        ("values", info.value_dtype.name, "float32"),
    ):
        if found != wanted:
            raise errors.InvalidArgumentError.of(
                f"The {what} of '{name}' in '{prefix}' are {found}, those of embedding variable "
                f"'{variable}' {wanted}.",
                name=name,
                path=prefix,
                hint="Create the variable with the types of the checkpoint.",
            )


def _of_dim(resource: EmbeddingResource, keys: Any, values: Any, zeros: bool) -> Any:
    """``values`` [n, any] with ``resource.dim`` columns."""
    found, dim = values.shape[1], resource.dim
    if found >= dim:
        return values[:, :dim]
    out = np.zeros((len(values), dim), np.float32)
    if resource.init_ran and not zeros:
        out[:, found:] = resource.default_rows(keys)[:, found:]
    out[:, :found] = values
    return out
