"""Writes what DeepRec's SSD tier leaves beside a checkpoint, as `kvarn.formats.ssd_record` draws it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.formats.bundle import BundleWriter
from kvarn.formats.ssd_record import ssd_record_prefix

_SLOT_FLAGS = 0b11


def padded(dim: int) -> int:
    """Floats that a slot of ``dim`` takes."""
    return (dim + 3) // 4 * 4


def write_ssd_record(
    prefix: str,
    name: str,
    keys: npt.NDArray[Any],
    columns: Sequence[npt.NDArray[Any]],
    *,
    freqs: Any,
    versions: Any,
    per_file: int = 1 << 30,
    stale: int = 0,
    leading: bool = False,
    pad: bool = True,
    counts: Sequence[int] | None = None,
) -> None:
    """The bundle and the files of one variable.

    Args:
      keys: int32 or int64 [n].
      columns: [n, dim] for each slot, the primary first.
      freqs, versions: [n].
      per_file: keys in one file.
      stale: records that no key refers to, in front of each file.
      leading: frequency and version come first, as until 2022.
      pad: slots are padded to 16 bytes.
      counts: what to say of the records in each file instead of the truth.
    """
    freqs, versions = np.asarray(freqs, np.int64), np.asarray(versions, np.int64)
    records = [_record(columns, i, int(freqs[i]), int(versions[i]), leading, pad) for i in range(len(keys))]
    length = len(records[0]) if records else 16
    files = range(-(-len(keys) // per_file))
    folder = f"{prefix}-{name.replace('/', '_')}-emb_files"
    os.makedirs(folder, exist_ok=True)
    for file in files:
        own = records[file * per_file : (file + 1) * per_file]
        with open(f"{folder}/{file}.emb", "wb") as stream:
            stream.write(records[0] * stale + b"".join(own))
    positions = np.arange(len(keys), dtype=np.int64)
    true_counts = [len(records[file * per_file : (file + 1) * per_file]) + stale for file in files]
    with BundleWriter(ssd_record_prefix(prefix, name)) as writer:
        writer.add("keys", keys)
        writer.add("keys_file_id", positions // per_file)
        writer.add("keys_offset", (positions % per_file + stale) * length)
        writer.add("files", np.array(files, np.int64))
        writer.add("invalid_record_count", np.full(len(files), stale, np.int64))
        writer.add("record_count", np.array(true_counts if counts is None else counts, np.int64))


def _record(
    columns: Sequence[npt.NDArray[Any]], i: int, freq: int, version: int, leading: bool, pad: bool
) -> bytes:
    slots = b""
    for column in columns:
        row = np.zeros(padded(column.shape[1]) if pad else column.shape[1], "<f4")
        row[: column.shape[1]] = column[i]
        slots += row.tobytes()
    if not leading:
        return slots + np.array([freq, version], "<i8").tobytes()
    flagged = (version & ((1 << 48) - 1)) | _SLOT_FLAGS << 48
    return np.array([flagged, freq], "<i8").tobytes() + slots
