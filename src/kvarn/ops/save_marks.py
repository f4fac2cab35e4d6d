"""What a session remembers of its saves, so that the next one can hold only what has changed.

    SaveMarks      of one embedding table: the cuts that the last saves were made of
    RowRecorder    of one ordinary variable: which rows were changed, with marks of its own
    SaveLog        of the session: what each save has written, until the Saver has fetched it

A full save takes a cut, writes it, and is committed later: by the renames of its files, by the merge of its
shards, by the Saver's own steps.  What is touched meanwhile comes after the cut and is in the next increment.
Only when the Saver says that all is done (`settle`) is anything forgotten; if it fails, the marks are those of
the save before (`roll_back`).

Source: `IndicesIncrRecorder` in tensorflow/core/kernels/incr_save_restore_ops.h of DeepRec, which clears what
it knows when a full save has been written.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from kvarn.graph.resources import KERNEL_STATE, ResourceHandle, ResourceManager

if TYPE_CHECKING:
    from kvarn.engine.table import Snapshot
    from kvarn.graph.graph import Graph
    from kvarn.ops.kv_resource import EmbeddingResource, SharedTable

Rows = npt.NDArray[Any]

# Saves that nobody fetches from the log are let go after so many.
_LOG_LENGTH: Final = 64
# Row numbers are held as they came until there are so many times more of them than different ones.
_SLACK: Final = 4
# Batches that `RowRecorder.collect` has not been asked for are put together when there are more.
_UNMERGED: Final = 256
# The class of a `RowRecorder` in its handle.
_RECORDER: Final = "IndicesIncrRecorder"


class Recorder(Protocol):
    """What remembers touches between cuts: an embedding table, or a `RowRecorder`."""

    @property
    def record_touches(self) -> bool: ...

    @record_touches.setter
    def record_touches(self, recording: bool) -> None: ...

    def forget_touches(self, before: int) -> None: ...


class SaveMarks:
    """The cuts of a recorder that saves were made of.

    Attributes:
      full: the cut of the last full save that increments follow; None before the first.
      last: the cut of the last save of either kind.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.full: int | None = None
        self.last: int | None = None
        self._recorder = recorder
        self._pending: int | None = None
        self._before: tuple[int | None, int | None] | None = None
        self._lock = threading.Lock()

    @property
    def is_activated(self) -> bool:
        """Whether increments will follow a save that is not settled yet."""
        return self._before is not None

    def record(self) -> None:
        """Begins to remember touches, if it does not already: before the cut of a full save."""
        if not self._recorder.record_touches:
            self._recorder.record_touches = True
            # Nothing is known of the time until now, nor of cuts taken in it.
            self.full = self.last = self._pending = None

    def written(self, cut: int) -> None:
        """A full save has written a cut; of several parts of a save the first counts."""
        with self._lock:
            self._pending = cut if self._pending is None else min(cut, self._pending)

    def activate(self, cut_now: Callable[[], int]) -> None:
        """Increments follow the full save written last; without one, the state of this moment.

        Args:
          cut_now: takes a cut and returns its number.
        """
        with self._lock:
            self.record()
            cut = self._pending
            if cut is None:
                cut = cut_now()
            elif self._before is not None and self.full is not None:
                # Another shard of the same save.
                cut = min(cut, self.full)
            if self._before is None:
                self._before = (self.full, self.last)
            self.full = self.last = cut
            self._pending = None

    def increment(self, cut: int) -> None:
        """An increment of a cut is committed."""
        with self._lock:
            self.last = cut

    def settle(self, *, cumulative: bool = True) -> None:
        """The save is committed: what came before the cut that the next increment begins with is forgotten."""
        with self._lock:
            self._before = self._pending = None
            since = self.full if cumulative else self.last
            if since is not None:
                self._recorder.forget_touches(since)

    def roll_back(self) -> None:
        """The save has failed after its cut was activated: increments follow the one before still."""
        with self._lock:
            self._pending = None
            if self._before is not None:
                self.full, self.last = self._before
                self._before = None


def marks_of(shared: SharedTable) -> SaveMarks:
    """The marks of an embedding table."""
    with _marks_lock:
        if shared not in _marks:
            _marks[shared] = SaveMarks(shared.table)
        return _marks[shared]


_marks: weakref.WeakKeyDictionary[SharedTable, SaveMarks] = weakref.WeakKeyDictionary()
_marks_lock = threading.Lock()


class RowRecorder:
    """Which rows of an ordinary variable were changed, and how often.

    Attributes:
      record_touches: whether it remembers any.
      marks: the cuts of its saves.
    """

    def __init__(self) -> None:
        self.marks = SaveMarks(self)
        self._recording = False
        self._cuts = 0
        self._begun: int | None = None
        # (cut, row numbers, how often each) as they came.
        self._touched: list[tuple[int, Rows, Rows]] = []
        self._held = self._distinct = 0
        self._all_since = -1
        # What `collect` has to give, once it was asked: an increment needs its rows whoever has collected them.
        self._uncollected: list[tuple[int, Rows, Rows]] | None = None
        self._lock = threading.Lock()

    @property
    def record_touches(self) -> bool:
        return self._recording

    @record_touches.setter
    def record_touches(self, recording: bool) -> None:
        with self._lock:
            self._recording = recording
            self._touched = []
            self._held = self._distinct = 0
            self._all_since = -1

    def touch(self, rows: Rows) -> None:
        """Rows [any shape] were changed; nothing while it does not record."""
        flat = np.ravel(rows)
        if not self._recording or not flat.size:
            return
        own, counts = np.unique(flat, return_counts=True)
        with self._lock:
            self._touched.append((self._cuts, own, counts))
            if self._uncollected is not None:
                self._uncollected.append((0, own, counts))
                if len(self._uncollected) > _UNMERGED:
                    self._uncollected = _merged(self._uncollected)
            self._held += own.size
            if self._held > _SLACK * self._distinct + 4096:
                self._tidy()

    def touch_all(self) -> None:
        """Every row was changed, as by a restore."""
        with self._lock:
            self._all_since = self._cuts

    def cut(self) -> int:
        """Ends a stretch of time, and returns its number; what is touched from now on comes after it."""
        with self._lock:
            self._cuts += 1
            return self._cuts

    def begin_save(self) -> int:
        """Takes the cut of a save before the variable is read."""
        self._begun = self.cut()
        return self._begun

    def cut_of_save(self) -> int:
        """The cut that `begin_save` took, or one of this moment."""
        begun, self._begun = self._begun, None
        return self.cut() if begun is None else begun

    def since(self, cut: int) -> Rows | None:
        """The rows changed after a cut, ascending; None for all."""
        with self._lock:
            if self._all_since >= cut:
                return None
            found = [rows for at, rows, _ in self._touched if at >= cut]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def forget_touches(self, before: int) -> None:
        """Drops what was changed before a cut."""
        with self._lock:
            self._touched = [item for item in self._touched if item[0] >= before]
            self._held = sum(rows.size for _, rows, _ in self._touched)
            self._tidy()

    def collect(self, at_least: int = 0) -> Rows:
        """The rows changed at least so often since the last call, ascending.  Increments have them all the same."""
        with self._lock:
            touched = self._touched if self._uncollected is None else self._uncollected
            self._uncollected = []
        if not touched:
            return np.empty(0, np.int64)
        rows, places = np.unique(np.concatenate([rows for _, rows, _ in touched]), return_inverse=True)
        counts = np.bincount(places.ravel(), np.concatenate([counts for *_, counts in touched]))
        found: Rows = rows[counts >= at_least]
        return found

    def _tidy(self) -> None:
        """Of every cut the rows once."""
        self._touched = _merged(self._touched)
        self._held = self._distinct = sum(rows.size for _, rows, _ in self._touched)


def _merged(touched: list[tuple[int, Rows, Rows]]) -> list[tuple[int, Rows, Rows]]:
    """Of every cut the rows once, with how often in all."""
    by_cut: dict[int, list[tuple[Rows, Rows]]] = {}
    for at, rows, counts in touched:
        by_cut.setdefault(at, []).append((rows, counts))
    merged = []
    for at, parts in sorted(by_cut.items()):
        rows, places = np.unique(np.concatenate([rows for rows, _ in parts]), return_inverse=True)
        summed = np.bincount(places.ravel(), np.concatenate([counts for _, counts in parts]))
        merged.append((at, rows, summed.astype(np.int64)))
    return merged


def recorder_handle(name: str) -> ResourceHandle:
    """The handle of the recorder of a variable."""
    return ResourceHandle(KERNEL_STATE, f"{name}_sparse_incr", _RECORDER)


def begin_full_save(resources: ResourceManager, graph: Graph) -> None:
    """Takes the cuts of ordinary variables with recorded rows, before a full save reads the first of them."""
    for recorder in recorders(resources, graph):
        recorder.marks.record()
        recorder.marks.written(recorder.begin_save())


def touch_all_rows(resources: ResourceManager) -> None:
    """Ordinary variables were restored: any of their rows may be another."""
    for recorder in resources.all_of(_RECORDER):
        recorder.touch_all()


def activate_all(resources: ResourceManager, graph: Graph) -> list[tuple[SaveMarks, Callable[[], int]]]:
    """Lets increments hold what is touched from now on, in every table and recorded variable of a session.

    Returns:
      For each its marks, and a function that takes a cut.
    """
    from kvarn.ops.kv_resource import KIND

    found: list[tuple[SaveMarks, Callable[[], int]]] = [
        (marks_of(shared), functools.partial(cut_now, shared))
        for shared in {id(r.shared): r.shared for r in resources.all_of(KIND)}.values()
    ]
    found += [(recorder.marks, recorder.cut) for recorder in recorders(resources, graph)]
    for marks, cut in found:
        marks.activate(cut)
    return found


def cut_now(shared: SharedTable) -> int:
    """The number of a cut of this moment."""
    with shared.table.snapshot() as snapshot:
        return snapshot.cut


def recorders(resources: ResourceManager, graph: Graph) -> list[RowRecorder]:
    """The recorders of all variables whose rows a graph records."""
    return [
        resources.look_up_or_create(recorder_handle(name), RowRecorder)
        for name in sorted(recorded_names(graph))
    ]


def recorded_names(graph: Graph) -> set[str]:
    """The names that a graph records rows under: of the nodes of ordinary variables."""
    names = (op.attrs["var_name"] for op in graph.get_operations() if op.type == "RecordSparseIndices")
    return {name.decode() if isinstance(name, bytes) else name for name in names}


# What a save has written ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """What a save has of one embedding variable, or of single rows of an ordinary one.

    Attributes:
      name: stem of its tensors.
      marks, cut: what it was made of.
      upserts, filtered, deletions, keeps, counters: as a manifest has them.
      rows_of: (tensor, slice) of an ordinary variable; None for an embedding variable.
    """

    name: str
    marks: SaveMarks
    cut: int
    upserts: int
    filtered: int = 0
    deletions: int = 0
    keeps: tuple[str, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    rows_of: tuple[str, str] | None = None


def written_of(
    name: str, resource: EmbeddingResource, cut: Snapshot, *, upserts: int, filtered: int, deletions: int = 0
) -> Written:
    """What a save has of an embedding variable, of which it has written a cut."""
    from kvarn.formats.manifest import FREQS, VERSIONS

    options = resource.shared.options
    return Written(
        name,
        marks_of(resource.shared),
        cut.cut,
        upserts,
        filtered,
        deletions,
        (FREQS,) * options.is_save_freq + (VERSIONS,) * options.is_save_version,
        # Those of a slot are its primary's.
        dict(cut.counters) if resource.slot == 0 else {},
    )


class SaveLog:
    """What the saves of a session have written, by the prefix that their ops were given.

    Attributes:
      turn: held by a Saver from before the first cut of a save until that is settled.  Marks and chains know of one
        save at a time; of two, the second would begin its increments where the first one ended.
    """

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self._saves: dict[str, list[Written]] = {}
        self._lock = threading.Lock()

    def add(self, prefix: str, written: Iterable[Written]) -> None:
        """A save op is done."""
        with self._lock:
            self._saves.setdefault(prefix, []).extend(written)
            while len(self._saves) > _LOG_LENGTH:
                del self._saves[next(iter(self._saves))]

    def take(self, prefix: str) -> list[Written]:
        """What was written for a checkpoint, whole or in shards."""
        with self._lock:
            own = [p for p in self._saves if p == prefix or p.startswith(f"{prefix}_temp_")]
            return [item for p in own for item in self._saves.pop(p)]


def save_log(resources: ResourceManager) -> SaveLog:
    """The log of a session."""
    return resources.look_up_or_create(ResourceHandle(KERNEL_STATE, "saves", "SaveLog"), SaveLog)
