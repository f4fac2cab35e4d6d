"""Embedding variables to checkpoints: old keys leave, then each table is written from one snapshot.

Names, shapes and bucket order of the tensors are those of `kvarn.formats.embedding`; the way back is
`kvarn.ops.kv_restore`.

Source: tensorflow/core/framework/embedding/{embedding_var_ckpt_data,single_tier_storage}.{h,cc} and
tensorflow/core/kernels/save_restore_v2_ops.cc of DeepRec.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kvarn import errors, tf_logging
from kvarn.ops.kv_blocks import standing_still
from kvarn.ops.kv_resource import EmbeddingResource, SharedTable
from kvarn.ops.save_marks import Written, marks_of, written_of

if TYPE_CHECKING:
    from kvarn.engine.table import Snapshot
    from kvarn.formats.bundle.writer import BundleWriter

# Values that are gathered and written at a time: what stays in the processor's cache until the file has it.
_CHUNK_BYTES = 1 << 20


def save_group(
    resources: Sequence[tuple[str, EmbeddingResource]],
    writer: BundleWriter,
    *,
    global_step: int | None = None,
    record: bool = False,
) -> list[Written]:
    """Writes embedding variables, each under its name.

    First every primary variable among them that has an eviction gives up the keys whose time has come.  Then a
    primary and its slots are written from one snapshot of their table: no update that runs meanwhile can come
    between a value and its slots.

    Args:
      resources: (name, variable) in the order to write.
      global_step: the step that ages are counted to; None evicts nothing.
      record: increments will follow: touches are remembered from before the snapshot on.

    Returns:
      What was written of each, for the session's `SaveLog` once the checkpoint is there.

    Raises:
      FailedPreconditionError: a variable is not initialised; nothing was evicted or written.
    """
    for name, resource in resources:
        if not resource.is_initialized:
            raise errors.FailedPreconditionError.of(
                f"Attempting to save uninitialized embedding variable {name}",
                name=name,
                hint="Run its initializer (tf.global_variables_initializer) or restore it from a checkpoint.",
            )
    if global_step is not None:
        for name, resource in resources:
            if resource.slot == 0:
                _evict(name, resource, global_step)
    if record:
        for shared in {id(r.shared): r.shared for _, r in resources}.values():
            marks_of(shared).record()
    written: list[Written] = []
    with contextlib.ExitStack() as stack:
        cuts: dict[int, _Cut] = {}
        with standing_still(resource.shared for _, resource in resources):
            for _, resource in resources:
                if id(resource.shared) not in cuts:
                    cuts[id(resource.shared)] = _Cut(resource.shared, stack)
        for at, (name, resource) in enumerate(resources):
            cut = cuts[id(resource.shared)]
            written.append(cut.write(writer, name, resource))
            following = resources[at + 1][1].shared if at + 1 < len(resources) else None
            if following is not resource.shared:
                # Columns of one table at a time are in memory.
                cut.forget_columns()
    return written


def _evict(name: str, resource: EmbeddingResource, global_step: int) -> None:
    policy = resource.eviction
    if policy is None:
        return
    report = resource.table.evict(policy, global_step)
    if report.removed:
        reasons = ", ".join(f"{why} {count}" for why, count in report.by_reason.items() if count)
        tf_logging.info(
            "%d of %d keys of embedding variable %s left before step %d was saved: %s",
            report.removed,
            report.examined,
            name,
            global_step,
            reasons,
        )


def _saves_filtered() -> bool:
    """Whether keys that a filter has not admitted are saved; read at every save, as in DeepRec."""
    return os.environ.get("TF_EV_SAVE_FILTERED_FEATURES", "true").lower() not in ("0", "false")


class _Cut:
    """A snapshot of a table, with those of its columns that were asked for."""

    def __init__(self, shared: SharedTable, stack: contextlib.ExitStack) -> None:
        from kvarn.formats import embedding

        self._shared = shared
        self._snapshot: Snapshot = stack.enter_context(
            shared.table.snapshot(buckets=embedding.SAVED_PARTITION_NUM)
        )

    def write(self, writer: BundleWriter, name: str, resource: EmbeddingResource) -> Written:
        """Writes the nine tensors of the primary or a slot."""
        from kvarn.formats import embedding

        options, snapshot = self._shared.options, self._snapshot
        filtered: dict[str, Any] = {}
        if options.admission is not None and _saves_filtered():
            filtered = {
                "keys_filtered": snapshot.filtered_keys,
                "freqs_filtered": snapshot.filtered_freqs,
                "versions_filtered": snapshot.filtered_versions if options.is_save_version else None,
                "partition_filter_offset": snapshot.partition_filter_offset,
            }
        embedding.write_embedding(
            writer,
            name,
            self._keys,
            snapshot.chunks(resource.slot, chunk_bytes=_CHUNK_BYTES),
            dim=resource.dim,
            versions=self._versions if options.is_save_version else None,
            # A filter has counted every key that it has admitted.
            freqs=self._freqs if options.is_save_freq else None,
            partition_offset=snapshot.partition_offset,
            **filtered,
        )
        return written_of(
            name,
            resource,
            snapshot,
            upserts=len(self._keys),
            filtered=len(filtered.get("keys_filtered", ())),
        )

    def forget_columns(self) -> None:
        """Lets go of the columns; they are made again when they are needed."""
        for column in ("_keys", "_versions", "_freqs"):
            self.__dict__.pop(column, None)

    @cached_property
    def _keys(self) -> Any:
        return self._snapshot.keys

    @cached_property
    def _versions(self) -> Any:
        return self._snapshot.versions

    @cached_property
    def _freqs(self) -> Any:
        return self._snapshot.freqs


def step_of(tensor: Any) -> int:
    """The global step that a save op was handed as its first tensor.

    Raises:
      InvalidArgumentError: it is no integer.
    """
    value = np.asarray(tensor)
    if value.dtype not in (np.dtype(np.int32), np.dtype(np.int64)) or value.size != 1:
        raise errors.InvalidArgumentError.of(
            f"The first tensor of a save with embedding variables must be the global step, an int32 or int64, "
            f"found {value.dtype}{list(value.shape)}.",
            hint="A Saver adds it by itself.",
        )
    return int(value.reshape(-1)[0])
