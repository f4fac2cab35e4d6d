"""Where the next save of a session stands in its chain, and the manifests that Savers write.

The Savers of a session that makes increments share one `ChainState`; every other Saver has a chain of full
saves of its own.

Source of the format: kvarn.formats.manifest.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any

from kvarn import errors, tf_logging
from kvarn.formats import manifest as manifests
from kvarn.formats.bundle.naming import index_filename
from kvarn.formats.manifest import FULL, INCREMENT, Manifest, Parent, RowCounts, VariableCounts
from kvarn.graph.graph import GraphKeys
from kvarn.graph.resources import KERNEL_STATE, ResourceHandle, ResourceManager
from kvarn.ops.save_marks import SaveMarks, Written, begin_full_save, recorders, save_log

_CHAIN = ResourceHandle(KERNEL_STATE, "chain", "ChainState")

_Cuts = weakref.WeakKeyDictionary[SaveMarks, int]


class ChainState:
    """A chain that goes on.

    Attributes:
      id: 32 hex digits.
      number: of the last save.
      full, last: the last full save, and the last of either kind; None before the first.
      applied: digest of the increment that was restored last, on what was restored before it; "" for none.
    """

    def __init__(self) -> None:
        self.id = os.urandom(16).hex()
        self.number = 0
        self.full: Parent | None = None
        self.last: Parent | None = None
        self.applied = ""
        # The cuts that these were made of: an increment that begins elsewhere does not follow them.
        self._full_cuts: _Cuts = weakref.WeakKeyDictionary()
        self._last_cuts: _Cuts = weakref.WeakKeyDictionary()
        self._before: tuple[Parent | None, Parent | None, _Cuts, _Cuts] | None = None

    def follow(self, chain: str, number: int, full: Parent, last: Parent, marks: Sequence[SaveMarks]) -> None:
        """Goes on with a chain that a session was recovered from."""
        self.id, self.number, self.full, self.last = chain, number, full, last
        self._full_cuts.clear()
        self._last_cuts.clear()
        for own in marks:
            if own.full is not None and own.last is not None:
                self._full_cuts[own] = own.full
                self._last_cuts[own] = own.last

    def write_full(
        self, prefix: str, written: Sequence[Written], step: int | None, rows: Sequence[SaveMarks] = ()
    ) -> None:
        """Writes the manifest of a full save, whose index is in its place.

        Args:
          rows: the marks of ordinary variables of which increments have single rows.
        """
        manifest = Manifest(
            self.id,
            self.number + 1,
            FULL,
            False,
            self.last,
            (None if self.last is None else self.last.step, step),
            _index_digest(prefix),
            _variables(written),
        )
        self._before = (self.full, self.last, self._full_cuts, self._last_cuts)
        self._written(manifest, manifests.write_manifest(prefix, manifest))
        self.full = self.last
        self._full_cuts, self._last_cuts = weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()
        for item in written:
            # Of several shards the first cut counts.
            cut = min(item.cut, self._full_cuts.get(item.marks, item.cut))
            self._full_cuts[item.marks] = self._last_cuts[item.marks] = cut
        for own in rows:
            if own.full is not None:
                self._full_cuts[own] = self._last_cuts[own] = own.full

    def settle(self) -> None:
        """The full save whose manifest was written last is complete."""
        self._before = None

    def roll_back(self) -> None:
        """The full save whose manifest was written last is not there after all; its number is not used again."""
        if self._before is not None:
            self.full, self.last, self._full_cuts, self._last_cuts = self._before
            self._before = None

    def check_is_not_followed(self, prefix: str) -> None:
        """Before an increment is written over another.

        Raises:
          FailedPreconditionError: ``prefix`` is an increment that the next one, which follows the save before it,
            would need.
        """
        if self.full is None or self.last is None:
            return
        try:
            manifest, _ = manifests.read_manifest(prefix)
        except errors.OpError:
            return  # Nothing there, or nothing that a chain could need.
        if manifest.chain == self.id and self.full.number < manifest.number <= self.last.number:
            raise errors.FailedPreconditionError.of(
                f"The increment {manifest.number} of step {manifest.step} is needed by the one that was to be "
                "written over it, which holds only what has changed since.",
                path=prefix,
                hint="Save when the global step has moved, or under another prefix; or save in full first.",
            )

    def write_increment(
        self, prefix: str, written: Sequence[Written], step: int | None, *, since_last: bool
    ) -> bool:
        """Writes the manifest of an increment, unless it follows no save that has one.

        Returns:
          Whether it was written.
        """
        parent = self.last if since_last else self.full
        cuts = self._last_cuts if since_last else self._full_cuts
        if parent is None or any(
            cuts.get(item.marks) != (item.marks.last if since_last else item.marks.full) for item in written
        ):
            tf_logging.warning(
                "The increment %s has no manifest: it follows no full save of a Saver made with "
                "incremental_save_restore=True in this session, or one of other variables.",
                prefix,
            )
            return False
        manifest = Manifest(
            self.id,
            self.number + 1,
            INCREMENT,
            not since_last,
            parent,
            (parent.step, step),
            _index_digest(prefix),
            _variables(written),
            {
                item.name: RowCounts(*item.rows_of, item.upserts)
                for item in written
                if item.rows_of is not None
            },
        )
        self._written(manifest, manifests.write_manifest(prefix, manifest))
        for item in written:
            self._last_cuts[item.marks] = item.cut
        return True

    def _written(self, manifest: Manifest, digest: str) -> None:
        self.number = manifest.number
        self.last = Parent(manifest.number, manifest.kind, manifest.step, digest)


class SaveManifest:
    """The manifest of one full save, and what the session remembers of it.

    Args:
      sess: the Session.
      prefix: of the checkpoint.
      alone: the chain that it belongs to; None: that of the session, in which increments follow it.
    """

    def __init__(self, sess: Any, prefix: str, alone: ChainState | None) -> None:
        self._sess = sess
        self._prefix = prefix
        self._alone = alone
        self._log = save_log(sess.resources)
        self._marks: list[SaveMarks] = []
        self._chain: ChainState | None = None

    def begin(self) -> None:
        """Before the first variable is read."""
        self._log.take(self._prefix)
        begin_full_save(self._sess.resources, self._sess.graph)

    def write(self, global_step: int | None) -> None:
        """The index is in its place: the manifest follows, if there are embedding variables or increments."""
        written = self._log.take(self._prefix)
        rows = [recorder.marks for recorder in recorders(self._sess.resources, self._sess.graph)]
        self._marks = [item.marks for item in written] + rows
        if self._alone is not None and not written:
            return
        self._chain = chain_of(self._sess.resources) if self._alone is None else self._alone
        step = step_of(self._sess, global_step)
        self._chain.write_full(self._prefix, written, step, rows if self._alone is None else [])

    def settle(self) -> None:
        """The save is complete."""
        for marks in self._marks:
            marks.settle()
        if self._chain is not None:
            self._chain.settle()

    def roll_back(self) -> None:
        """The save has failed; increments go on from the one before."""
        written = self._log.take(self._prefix)
        rows = [recorder.marks for recorder in recorders(self._sess.resources, self._sess.graph)]
        for marks in [*self._marks, *(item.marks for item in written), *rows]:
            marks.roll_back()
        if self._chain is not None:
            self._chain.roll_back()


def chain_of(resources: ResourceManager) -> ChainState:
    """The chain of a session that makes increments."""
    return resources.look_up_or_create(_CHAIN, ChainState)


def forget_applied(resources: ResourceManager) -> None:
    """Something else was restored: increments follow that."""
    chain = resources.find(_CHAIN)
    if chain is not None:
        chain.applied = ""


def step_of(sess: Any, global_step: int | None) -> int | None:
    """The step of a save: what it was called with, else the graph's global step; None if there is none."""
    if global_step is not None:
        # A step that a session has read is a scalar of NumPy's.
        return int(global_step)
    found = sess.graph.get_collection(GraphKeys.GLOBAL_STEP)
    if len(found) != 1:
        return None
    try:
        return int(sess.run(found[0]))
    except Exception:  # not initialised: it is not saved either
        return None


def _variables(written: Sequence[Written]) -> dict[str, VariableCounts]:
    return {
        item.name: VariableCounts(item.upserts, item.filtered, item.deletions, item.keeps, item.counters)
        for item in written
        if item.rows_of is None
    }


def _index_digest(prefix: str) -> str:
    return manifests.digest(manifests.read_bounded(index_filename(prefix)))
