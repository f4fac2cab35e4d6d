"""The mean of several checkpoints: `average`.

    average(["m/model.ckpt-80", "m/model.ckpt-90", "m/model.ckpt-100"], "m/averaged")
    average(newest_checkpoints("m", 5), "m/averaged")

    float16, bfloat16, float8, float32, float64    summed in float64, rounded once
    complex64, complex128                          summed in complex128
    integers, bools, strings, all others           as the last checkpoint has them: global_step, vocabularies
    embedding variables and their slots            by key: the mean over the checkpoints that have the key;
                                                   frequencies and versions of the last that has it

All pass in pieces of a few MB.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.checkpoint.embeddings.union import last_wins, mean, pick, unite
from kvarn.checkpoint.management import get_checkpoint_state
from kvarn.checkpoint.verbs.merge import check_v2_target, copy_embedding, embedding_bytes, inventory
from kvarn.checkpoint.verbs.patterns import Pattern, matcher, nearest, text_of
from kvarn.checkpoint.verbs.progress import Counter, Progress
from kvarn.checkpoint.verbs.transfer import aborting, copy_tensor, open_source, side_by_side, tensor_pieces
from kvarn.errors import InvalidArgumentError, NotFoundError
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.reader import TensorInfo, TensorReader
from kvarn.io import FileSystem, Path, as_path

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class AverageReport:
    """What `average` did, or would do.

    Attributes:
      averaged: names of tensors and embedding variables that are means.
      from_last: names of those that are the last checkpoint's.
    """

    sources: tuple[str, ...]
    target: str
    averaged: tuple[str, ...]
    from_last: tuple[str, ...]
    dry_run: bool = False


def average(
    sources: Sequence[Path],
    target: Path,
    *,
    weights: Sequence[float] | None = None,
    names: Sequence[Pattern] | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    fs: FileSystem | None = None,
    target_fs: FileSystem | None = None,
    progress: Progress | None = None,
) -> AverageReport:
    """Writes one checkpoint (V2) whose floats are the means of those of several.

    Args:
      sources: two at least, the newest last.
      weights: positive, one for each source; equal ones by default.
      names: only what these patterns mean (`kvarn.checkpoint.verbs.patterns`) is averaged, the rest is the last
        checkpoint's; an embedding variable is meant by its name, its slots go with it.
      dry_run: only tell what would be averaged.

    Raises:
      NotFoundError: a tensor or embedding variable is not in all of them.
      InvalidArgumentError: a tensor has another shape or type in one of them, an embedding variable another
        dim or other slots; or the weights are wrong; or the target is a source.
      AlreadyExistsError: the target is there.
    """
    shares = _weights(weights, len(sources))
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(open_source(source, fs)) for source in sources]
        check_v2_target(target, readers, target_fs or fs, overwrite)
        tables, plain = inventory(readers)
        last = readers[-1]
        for name, found in tables.items():
            _check_everywhere(readers, "embedding variable", name, [source.number for source in found])
        for name, numbers in plain.items():
            _check_everywhere(readers, "tensor", name, numbers)
            _check_alike(readers, name)
        chosen = _chosen(names, [*tables, *plain])
        averaged = [name for name in tables if name in chosen]
        averaged += [name for name in plain if name in chosen and _has_mean(last.info(name).dtype)]
        report = AverageReport(
            tuple(reader.prefix for reader in readers),
            as_path(target),
            tuple(sorted(averaged)),
            tuple(sorted({*tables, *plain} - set(averaged))),
            dry_run,
        )
        if dry_run:
            return report
        total = sum(
            last.info(name).size_bytes * (len(readers) if name in report.averaged else 1) for name in plain
        )
        counter = Counter(progress, total + embedding_bytes(tables))
        with_mean = set(report.averaged)
        writer = BundleWriter(target, target_fs or fs)
        with aborting(writer):
            for name, found in tables.items():
                if name in with_mean:
                    unite(writer, found, mean(shares), pick(last_wins), count=counter)
                else:
                    copy_embedding(writer, found[-1], counter)
            for name in sorted(plain):
                if name in with_mean:
                    _write_mean(writer, readers, shares, last.info(name), counter)
                else:
                    copy_tensor(last, writer, last.info(name), count=counter)
    return report


def newest_checkpoints(directory: Path, count: int, fs: FileSystem | None = None) -> list[str]:
    """The prefixes of the newest checkpoints of a directory, as its state file has them, the newest last.

    Raises:
      NotFoundError: there are not so many.
    """
    state = get_checkpoint_state(directory, fs=fs)
    found = list(state.all_model_checkpoint_paths) if state is not None else []
    if len(found) < count or count < 1:
        raise NotFoundError.of(
            f"'{as_path(directory)}' has {len(found)} checkpoints, not {count}",
            path=as_path(directory),
            hint="Its `checkpoint` file names those that a Saver kept (max_to_keep).",
        )
    return found[-count:]


def _write_mean(
    writer: BundleWriter,
    readers: Sequence[TensorReader],
    weights: Sequence[float],
    info: TensorInfo,
    count: Callable[[int], None],
) -> None:
    for piece in info.slices:
        parts = [_stored(reader, info, piece) for reader in readers]
        count(sum(part.nbytes for part in parts))
        writer.add_slice(info.name, info.shape, piece, _mean(parts, weights), info.dtype)
    if info.slices:
        return
    writer.add_tensor_header(info.name, info.dtype, info.shape)
    streams = [_pieces(reader, info.name) for reader in readers]
    for parts in side_by_side(streams):
        count(sum(part.nbytes for part in parts))
        writer.append_segment(_mean(parts, weights))
    writer.end_segment()


def _pieces(reader: TensorReader, name: str) -> Iterator[Array]:
    return tensor_pieces(reader, reader.info(name))


def _stored(reader: TensorReader, info: TensorInfo, piece: Any) -> Array:
    """A region, which may lie otherwise in another checkpoint."""
    if piece in reader.info(info.name).slices:
        return reader.lookup_stored_slice(info.name, piece)
    return reader.lookup_slice(info.name, piece.resolve(info.shape))


def _mean(parts: Sequence[Array], weights: Sequence[float]) -> Array:
    dtype = parts[0].dtype
    wide = np.complex128 if dtype.kind == "c" else np.float64
    whole = math.fsum(weights)
    with np.errstate(over="ignore", invalid="ignore"):
        found = _sum(parts, weights, wide) / whole
        if not np.isfinite(found).all():
            # The sum of huge numbers may have no room where their mean has.
            parted = _sum(parts, [weight / whole for weight in weights], wide)
            found = np.where(np.isfinite(found), found, parted)
        return np.ascontiguousarray(found.astype(dtype))


def _sum(parts: Sequence[Array], weights: Sequence[float], wide: type[np.generic]) -> Array:
    total: Array = np.zeros(parts[0].shape, wide)
    for part, weight in zip(parts, weights, strict=True):
        total += weight * part.astype(wide)
    return total


def _has_mean(dtype: dtypes.DType) -> bool:
    return dtype.is_floating or dtype.is_complex


def _weights(weights: Sequence[float] | None, count: int) -> list[float]:
    if count < 2:
        raise InvalidArgumentError.of(
            f"a mean of {count} {'checkpoint' if count == 1 else 'checkpoints'}",
            hint="Name two at least, the newest last; of a folder `--last N` takes the N newest.",
        )
    if weights is None:
        return [1.0] * count
    shares = [float(weight) for weight in weights]
    if len(shares) != count or not all(math.isfinite(weight) and weight > 0 for weight in shares):
        raise InvalidArgumentError.of(
            f"the weights {shares} for {count} checkpoints", hint="Each needs one, a positive number."
        )
    return shares


def _chosen(names: Sequence[Pattern] | None, present: Sequence[str]) -> set[str]:
    if names is None:
        return set(present)
    chosen: set[str] = set()
    for pattern in names:
        expression = matcher(pattern)
        found = {name for name in present if expression.search(name)}
        if not found:
            raise NotFoundError.of(
                f"'{text_of(pattern)}' means nothing in the checkpoints. {nearest(pattern, present)}".rstrip(),
                name=text_of(pattern),
                hint="Nothing was written.",
            )
        chosen |= found
    return chosen


def _check_everywhere(readers: Sequence[TensorReader], kind: str, name: str, numbers: Sequence[int]) -> None:
    if missing := sorted(set(range(len(readers))) - set(numbers)):
        raise NotFoundError.of(
            f"{kind} '{name}' is in '{readers[numbers[0]].prefix}', but not in '{readers[missing[0]].prefix}'",
            name=name,
            path=readers[missing[0]].prefix,
            hint="Average checkpoints of one model; `kvarn rewrite --drop` takes a tensor away.",
        )


def _check_alike(readers: Sequence[TensorReader], name: str) -> None:
    first = readers[0].info(name)
    for reader in readers[1:]:
        other = reader.info(name)
        if (other.dtype, other.shape) != (first.dtype, first.shape):
            raise InvalidArgumentError.of(
                f"tensor '{name}' is {first.dtype.name}{list(first.shape)} in '{readers[0].prefix}', and "
                f"{other.dtype.name}{list(other.shape)} in '{reader.prefix}'",
                name=name,
                path=reader.prefix,
                hint="Average checkpoints of one model.",
            )
