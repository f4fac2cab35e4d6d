"""IncrementalSaver: between two full saves, only what was touched since.

    saver = tf.train.Saver(incremental_save_restore=True)
    increments = IncrementalSaver(saver_def=saver.saver_def, defer_build=True)
    increments.build()
    saver.save(sess, "/m/model.ckpt", global_step=100)
    increments.incremental_save(sess, "/m/.incremental_checkpoint/incremental_model.ckpt", global_step=110)

    increments.recover(sess, "/m")          the newest state, in another process

By default every increment holds all that was touched since the last full save, as in DeepRec: the newest full
save and the newest increment are the newest state.  With ``cumulative=False`` an increment holds what was
touched since the save before: each needs those before it, so that none is removed before the next full save, and
those on one full save are removed together.

Source: tensorflow/python/training/incremental_saver.py of DeepRec.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from kvarn import errors, tf_logging
from kvarn.formats.embedding_increment import FOLDER
from kvarn.formats.manifest import INCREMENT, Parent
from kvarn.graph import graph as ops
from kvarn.graph.tensor_util import constant_value
from kvarn.saver.chain_state import chain_of, step_of
from kvarn.saver.increment_check import GivenTensors, IncrementCheck
from kvarn.saver.incremental_builder import IncrementalSaverBuilder, variables_by_name
from kvarn.saver.retention import Retention
from kvarn.saver.saver import Saver, _remove_shards
from kvarn.saver.sparse_updates import has_unrecorded_updates
from kvarn.variables import listing

if TYPE_CHECKING:
    from kvarn.checkpoint.chain import Chain, Link

__all__ = ["SUB_INCR_CKPT_DIR", "IncrementalSaver", "_get_incremental_saver"]

# The folder of increments below that of full saves, by DeepRec's name for it.
SUB_INCR_CKPT_DIR = FOLDER


class IncrementalSaver(Saver):
    """Saves increments on the saves of a full Saver, and restores them.

    Args:
      saver_def: the SaverDef of the full Saver, which must have been made with ``incremental_save_restore``.
      defer_build: must be True; `build` wants the full Saver's tensor.
      incremental_include_normal_var: of ordinary variables that only single rows are changed of, save these rows
        alone; otherwise all ordinary variables are saved whole.  As of the full Saver.
      cumulative: see above.
      incr_saver_def: the SaverDef of increments that the graph has the operations of already.
      max_to_keep: of increments; 5 by default.
      all others: as of `Saver`.

    Attributes:
      incr_saver_def: the SaverDef of the increments, once built.

    Raises:
      ValueError: without ``saver_def`` or ``defer_build``.
    """

    def __init__(
        self,
        *args: Any,
        cumulative: bool = True,
        incr_saver_def: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.saver_def is None:
            raise ValueError("An IncrementalSaver needs the saver_def of the full Saver.")
        self.incr_saver_def = incr_saver_def
        self._cumulative = cumulative
        self._checked_increments: tuple[Any, IncrementCheck] | None = None
        self._last_incremental = Retention(self._max_to_keep or 0, float("inf"))
        # Increments that need each other, oldest first: those on one full save, or each alone.  The last are current.
        self._segments: list[list[str]] = []
        self._needed_by = 0
        # Those that would have to go if they were not needed.
        self._leaving: list[str] = []

    # -- building ---------------------------------------------------------------------------------

    def build(self, filename_tensor: Any = None) -> None:
        """Adds the operations, unless that is done.

        Args:
          filename_tensor: what the full Saver feeds its prefix to; by default that of its SaverDef, in the default
            graph.

        Raises:
          ValueError: there is nothing to save.
        """
        if self._is_built:
            return
        if self.incr_saver_def is not None:
            self._is_built, self._is_empty = True, False
            self._cumulative = not any(
                op.attrs.get(_since_last()) for op in self._save_ops(ops.get_default_graph())
            )
            return
        if filename_tensor is None:
            filename_tensor = ops.get_default_graph().get_tensor_by_name(self.saver_def.filename_tensor_name)
        self._is_built = True
        if self._var_list is None:
            self._var_list = listing._all_saveable_objects()
        if not self._var_list:
            if not self._allow_empty:
                raise ValueError("No variables to save")
            self._is_empty = True
            return
        self._is_empty = False
        if self._builder is None:
            self._builder = IncrementalSaverBuilder(
                filename_tensor,
                self._write_version,
                incremental_include_normal_var=self._incremental_include_normal_var,
                since_last=not self._cumulative,
            )
        self.incr_saver_def = self._builder.build_increments(
            self._var_list,
            reshape=self._reshape,
            sharded=self._sharded,
            max_to_keep=self._max_to_keep,
            keep_checkpoint_every_n_hours=self._keep_checkpoint_every_n_hours,
            name=self._name,
            restore_sequentially=self._restore_sequentially,
            filename=self._filename,
        )

    def _check_saver_def(self) -> None:
        # That of the full Saver may come with the graph; it was checked there.
        if self.saver_def is not None:
            super()._check_saver_def()

    def export_meta_graph(
        self,
        filename: str | None = None,
        collection_list: list[str] | None = None,
        as_text: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As `Saver.export_meta_graph`; the message has the SaverDef of the increments too."""
        from kvarn.formats.meta_graph import write_meta_graph_file

        message = super().export_meta_graph(None, collection_list, False, *args, **kwargs)
        if self.incr_saver_def is not None:
            message.incr_saver_def.CopyFrom(self.incr_saver_def)
        if filename is not None:
            write_meta_graph_file(filename, message, as_text=as_text)
        return message

    # -- the increments it knows ------------------------------------------------------------------

    @property
    def last_incr_checkpoints(self) -> list[str]:
        """The prefixes of increments that are not deleted yet, oldest first."""
        return [prefix for prefix, _ in self._last_incremental.last]

    def set_last_incr_checkpoints(self, last_checkpoints: list[str]) -> None:
        """Sets the prefixes known; AssertionError if they are no list."""
        assert isinstance(last_checkpoints, list)
        self._last_incremental.last = [(prefix, np.inf) for prefix in last_checkpoints]

    def set_last_incr_checkpoints_with_time(
        self, last_checkpoints_with_time: list[tuple[str, float]]
    ) -> None:
        """Sets the prefixes known, with their times; AssertionError if they are no list."""
        assert isinstance(last_checkpoints_with_time, list)
        self._last_incremental.last = last_checkpoints_with_time

    def recover_last_incr_checkpoints(self, checkpoint_paths: list[str]) -> None:
        """Makes those of ``checkpoint_paths`` known that exist, so that they are deleted in their time."""
        from kvarn import checkpoint

        found = [(path, checkpoint.get_checkpoint_mtimes([path])) for path in checkpoint_paths]
        self.set_last_incr_checkpoints_with_time([(path, times[0]) for path, times in found if times])

    # -- saving -----------------------------------------------------------------------------------

    def incremental_save(
        self,
        sess: Any,
        save_path: Any,
        global_step: Any = None,
        meta_graph_suffix: str = "meta",
        write_state: bool = True,
    ) -> str | None:
        """Writes an increment.

        Args:
          sess: the Session that holds the values.
          save_path: the prefix; its directory is made, and has a state file of its own.
          global_step: a number, tensor or tensor name whose value is appended to the prefix.
          meta_graph_suffix: accepted; increments have no graph.
          write_state: whether to write the state file, and to delete old increments.

        Returns:
          The prefix of what was written; None for an empty Saver.

        Raises:
          RuntimeError: `build` was not called.
          TypeError: ``sess`` is no Session.
          ValueError: ``save_path`` is the state file itself.
          FailedPreconditionError: there was no full save in this session that it could follow, or a variable has
            no value yet; or, with ``cumulative=False``, it would replace an increment that it needs, as two of the
            same step would.  On any error no file stays, and what was touched is in the next increment.
        """
        from kvarn import checkpoint
        from kvarn.graph.session import BaseSession
        from kvarn.io import file_system_of
        from kvarn.ops.save_marks import recorders, save_log

        if not self._is_built:
            raise RuntimeError("`build()` should be called before save if defer_build==True")
        save_path = os.fspath(save_path)
        if not isinstance(sess, BaseSession):
            raise TypeError(f"'sess' must be a Session; {sess}")
        if global_step is not None:
            if not isinstance(global_step, (int, np.integer)):
                global_step = int(sess.run(global_step))
            digits = f"{global_step:08d}" if self._pad_step_number else f"{global_step:d}"
            prefix = f"{save_path}-{digits}"
        else:
            prefix = save_path
            if os.path.basename(save_path) == "checkpoint" and not self._sharded:
                raise ValueError(
                    f"'latest_filename' collides with 'save_path': 'checkpoint' and '{save_path}'"
                )
        if self._is_empty:
            return None
        log = save_log(sess.resources)
        with log.turn:
            self._check_recorded(sess)
            directory = os.path.dirname(save_path)
            if directory:
                file_system_of(directory).make_directory(directory)
            is_new = not checkpoint.checkpoint_exists(prefix)
            chain = chain_of(sess.resources)
            if not self._cumulative:
                chain.check_is_not_followed(prefix)
            log.take(prefix)
            recorded = recorders(sess.resources, sess.graph)
            if recorded:
                self._touch_unrecorded(sess)
            try:
                for recorder in recorded:
                    recorder.begin_save()
                written_path = os.fsdecode(
                    sess.run(
                        self.incr_saver_def.save_tensor_name,
                        {self.incr_saver_def.filename_tensor_name: prefix},
                    )
                )
                written = log.take(prefix)
                step = step_of(sess, global_step)
                chain.write_increment(prefix, written, step, since_last=not self._cumulative)
            except BaseException:
                log.take(prefix)
                _remove_shards(prefix)
                if is_new:
                    self._delete(prefix, meta_graph_suffix)
                raise
            for item in written:
                item.marks.increment(item.cut)
            if write_state:
                self._record(directory, written_path, chain.full.number if chain.full is not None else 0)
            for item in written:
                item.marks.settle(cumulative=self._cumulative)
            return written_path

    def _check_recorded(self, sess: Any) -> None:
        """Raises FailedPreconditionError if there is something whose changes since a full save are not known."""
        from kvarn.ops.kv_resource import KIND
        from kvarn.ops.save_marks import marks_of, recorder_handle

        tables = {resource.name: resource.shared for resource in sess.resources.all_of(KIND)}
        for op in self._save_ops(sess.graph):
            names, sparse = constant_value(op.inputs[1]), constant_value(op.inputs[3])
            if names is None or sparse is None:
                continue
            for name in (n.decode() for n, flag in zip(names, sparse, strict=True) if flag):
                recorder = sess.resources.find(recorder_handle(name))
                marks = marks_of(tables[name]) if name in tables else recorder and recorder.marks
                if marks is None or marks.full is None:
                    raise errors.FailedPreconditionError.of(
                        f"There was no full save in this session that an increment of '{name}' could follow.",
                        name=name,
                        hint="Save in full first, by a Saver with incremental_save_restore=True; or `recover` the "
                        "session from its checkpoints.",
                    )

    def _touch_unrecorded(self, sess: Any) -> None:
        """Of variables that the graph has got other updates of since `build`, any row may have changed."""
        from kvarn.ops.save_marks import recorder_handle

        for variable in variables_by_name(sess.graph).values():
            recorder = sess.resources.find(recorder_handle(variable.op.name))
            if recorder is not None and has_unrecorded_updates(variable):
                recorder.touch_all()

    def _save_ops(self, graph: Any) -> list[Any]:
        """The operations of the graph that write increments of this saver."""
        from kvarn.saver.restore_check import operations_below

        target = graph.get_tensor_by_name(self.incr_saver_def.save_tensor_name).op
        return [op for op in operations_below(target) if op.type == "IncrSave"]

    def _record(self, directory: str, written: str, full: int) -> None:
        """Writes the state file, and deletes what is no longer needed."""
        from kvarn import checkpoint

        # What had this name before is gone.
        self._leaving = [prefix for prefix in self._leaving if prefix != written]
        self._segments = [[prefix for prefix in segment if prefix != written] for segment in self._segments]
        if self._cumulative or full != self._needed_by or not self._segments:
            self._segments.append([])
        self._needed_by = full
        self._segments[-1].append(written)
        retention = self._last_incremental
        listed = retention.listed_with(written)
        others = (prefix for prefix in itertools.chain(*self._segments) if prefix not in listed)
        listed = [*others, *listed] if not self._cumulative else listed
        checkpoint.update_checkpoint_state_internal(
            save_dir=directory,
            model_checkpoint_path=written,
            all_model_checkpoint_paths=listed,
            latest_filename="checkpoint",
            save_relative_paths=self._save_relative_paths,
        )
        retention.record(written)
        while (leaving := retention.next_to_delete()) is not None:
            self._leaving.append(leaving)
        for prefix in self._gone():
            self._leaving.remove(prefix)
            self._delete(prefix, "meta")

    def _gone(self) -> list[str]:
        """Which of those that have to go nobody needs any more, in the order in which they may be removed."""
        current = self._segments[-1] if self._segments and not self._cumulative else []
        known = set(itertools.chain(*self._segments))
        gone = [prefix for prefix in self._leaving if prefix not in known]
        for segment in [s for s in self._segments if s is not current and set(s) <= set(self._leaving)]:
            self._segments.remove(segment)
            gone += reversed(segment)
        return gone

    # -- restoring --------------------------------------------------------------------------------

    def incremental_restore(self, sess: Any, save_path: Any, incr_save_path: Any) -> None:
        """Brings a session that was restored from a full save to the state of an increment on it.

        All of the increment is read and compared with its checksums before anything is changed.

        Args:
          sess: the Session.
          save_path: the prefix of the full save.
          incr_save_path: the prefix of the increment; with ``cumulative=False`` those before it come first.

        Raises:
          FailedPreconditionError: the manifests say that the increment was made on another full save, or that the
            increment before it has not been restored; nothing was changed.
          ValueError: ``save_path`` is None.
          NotFoundError: there is no such checkpoint, or it lacks a variable.
          InvalidArgumentError: a variable has another type, shape or dim.
          DataLossError: the files are damaged.
        """
        if self._is_empty:
            return
        if save_path is None:
            raise ValueError("Can't load save_path when it is None.")
        full, prefix = os.fsdecode(save_path), os.fsdecode(incr_save_path)
        chain = chain_of(sess.resources)
        digest = _check_follows(full, chain.applied, prefix)
        self._restore_increment(sess, full, prefix, self._increment_check(sess.graph).look(prefix))
        chain.applied = digest

    def _increment_check(self, graph: Any) -> IncrementCheck:
        """What the operation that restores increments demands, worked out once for each graph."""
        if self._checked_increments is None or self._checked_increments[0] is not graph:
            filename = graph.get_tensor_by_name(self.incr_saver_def.filename_tensor_name)
            restore_op = graph.get_operation_by_name(self.incr_saver_def.restore_op_name)
            self._checked_increments = (graph, IncrementCheck(restore_op, filename))
        return self._checked_increments[1]

    def _restore_increment(self, sess: Any, full: str, prefix: str, given: GivenTensors) -> None:
        """Restores an increment that was looked at, which gave ``given``."""
        tf_logging.info("Incremental restoring parameters from %s", prefix)
        with self._increment_check(sess.graph).restoring(prefix, given):
            sess.run(
                self.incr_saver_def.restore_op_name,
                {
                    self.saver_def.filename_tensor_name: full,
                    self.incr_saver_def.filename_tensor_name: prefix,
                },
            )

    def recover_incr_checkpoints(self, sess: Any, checkpoint_dir: Any) -> None:
        """Applies the newest increment of a folder, if it is newer than the newest full save.

        The session must have been restored from that full save.  Increments that follow go on from there.  Which is
        newer, the steps at the end of their prefixes tell; without steps, the manifests.

        Raises:
          FailedPreconditionError, NotFoundError, DataLossError: the increment has a manifest, and it was not made
            on that full save, or others between them are missing: see `kvarn.checkpoint.chain`.
        """
        from kvarn import checkpoint

        directory = os.fsdecode(checkpoint_dir)
        full_state = checkpoint.get_checkpoint_state(directory)
        state = checkpoint.get_checkpoint_state(os.path.join(directory, FOLDER))
        if full_state is None:
            return
        full = full_state.model_checkpoint_path
        if state is not None and _is_newer(state.model_checkpoint_path, full):
            newest = state.model_checkpoint_path
            chain, path = self._path_to(full, newest)
            increments = [link.prefix for link in path[1:]] or [newest]
        else:
            chain, path = _path_of_full(full)
            increments = []
        self._apply(sess, full, self._looked_at(sess, increments), chain, path)
        if state is not None:
            self.recover_last_incr_checkpoints(list(state.all_model_checkpoint_paths))

    def recover(self, sess: Any, folder: Any, step: int | None = None) -> str:
        """Restores a session from a chain: a full save and the increments on it.

        Args:
          sess: the Session; nothing needs to be initialized, and no embedding variable may have keys yet.
          folder: of the full saves; increments are in ``.incremental_checkpoint`` below it.
          step: the last step of one of the saves; by default the newest.

        Returns:
          The prefix of the last save that was applied.

        Raises:
          FailedPreconditionError: an embedding variable has keys.  A restore keeps them, so the session would hold
            what the chain, and increments that follow, do not.
          InvalidArgumentError: a variable has another shape, type or dim.
          also as `kvarn.checkpoint.chain.Chain.path`: a save that is missing, damaged or belongs to another chain
            is named by its number.  The session is as it was after any of these.
        """
        from kvarn.checkpoint.chain import Chain
        from kvarn.checkpoint.replay import naming

        _check_empty(sess)
        chain = Chain.open(folder)
        path = chain.path(step)
        increments = [link.prefix for link in path[1:]]
        with naming(path):
            looked_at = self._looked_at(sess, increments)
            self.restore(sess, path[0].prefix)
        self._apply(sess, path[0].prefix, looked_at, chain, path)
        self.recover_last_incr_checkpoints([link.prefix for link in chain.links if link.kind == INCREMENT])
        return path[-1].prefix

    def _path_to(self, full: str, newest: str) -> tuple[Chain | None, list[Link]]:
        """The way from a full save to an increment; none if that has no manifest."""
        from kvarn.checkpoint.chain import Chain, Link
        from kvarn.formats.manifest import read_manifest

        try:
            own = Link(newest, *read_manifest(newest))
        except errors.NotFoundError:
            return None, []
        chain = Chain.open(newest)
        path = chain.path_to(own)
        if os.path.basename(path[0].prefix) != os.path.basename(full):
            raise errors.FailedPreconditionError.of(
                f"increment {own} was made on full save {path[0]}, '{path[0].prefix}', and not on '{full}'",
                path=newest,
                hint="Restore that full save, or remove the increments that do not belong to the newest one.",
            )
        return chain, path

    def _looked_at(self, sess: Any, increments: list[str]) -> dict[str, GivenTensors]:
        """Looks at increments before the first is applied."""
        return {prefix: self._increment_check(sess.graph).look(prefix) for prefix in increments}

    def _apply(
        self,
        sess: Any,
        full: str,
        increments: dict[str, GivenTensors],
        chain: Chain | None,
        path: list[Link],
    ) -> None:
        """Applies increments that were looked at to what was just restored from a full save; others may follow."""
        from kvarn.ops.save_marks import activate_all, recorders

        marks = activate_all(sess.resources, sess.graph)
        for prefix, given in increments.items():
            self._restore_increment(sess, full, prefix, given)
        for recorder in recorders(sess.resources, sess.graph) if increments else ():
            # Which rows the increments have changed was not recorded.
            recorder.touch_all()
        for own, cut_now in marks:
            own.increment(cut_now())
            own.settle(cumulative=self._cumulative)
        if chain is not None:
            first, last = path[0], path[-1]
            state = chain_of(sess.resources)
            state.applied = last.digest
            state.follow(
                chain.id,
                chain.last.number,
                Parent(first.number, first.kind, first.step, first.digest),
                Parent(last.number, last.kind, last.step, last.digest),
                [own for own, _ in marks],
            )
            self._segments, self._needed_by = (
                _segments(chain, list(increments), self._cumulative),
                first.number,
            )


def _get_incremental_saver(incremental_save_restore: bool, full_saver: Saver) -> IncrementalSaver | None:
    """The IncrementalSaver that hooks use beside a full Saver; None if increments are not wanted."""
    if not incremental_save_restore:
        return None
    saver = IncrementalSaver(
        sharded=True,
        allow_empty=True,
        saver_def=full_saver.saver_def,
        defer_build=True,
        incremental_include_normal_var=full_saver._incremental_include_normal_var,
    )
    saver.build(full_saver._builder.filename_tensor)
    return saver


def _segments(chain: Chain, current: list[str], cumulative: bool) -> list[list[str]]:
    """The increments of a chain that need each other, oldest first; those that were applied at the end."""
    if cumulative:
        return [[prefix] for prefix in current]
    found: list[list[str]] = [[]]
    for link in chain.links:
        if link.kind != INCREMENT:
            found.append([])
        elif link.prefix not in current:
            found[-1].append(link.prefix)
    return [*filter(None, found), list(current)]


def _check_empty(sess: Any) -> None:
    """Raises FailedPreconditionError if an embedding variable of a session has keys."""
    from kvarn.ops.kv_resource import KIND

    for resource in sess.resources.all_of(KIND):
        if resource.table.size:
            raise errors.FailedPreconditionError.of(
                f"recover: embedding variable '{resource.name}' has {resource.table.size} keys already",
                name=resource.name,
                hint="Recover into a new session, before anything is looked up or restored.",
            )


def _check_follows(full: str, applied: str, prefix: str) -> str:
    """The digest of an increment's manifest, "" if it or the full save has none, as DeepRec's have not.

    Args:
      applied: digest of the increment that was restored last.

    Raises:
      FailedPreconditionError: the increment follows neither.
    """
    from kvarn.formats.manifest import read_manifest

    try:
        base, base_digest = read_manifest(full)
        own, digest = read_manifest(prefix)
    except errors.NotFoundError:
        return ""
    parent = own.parent
    if parent is None or parent.digest in (base_digest, applied):
        return digest
    if own.chain != base.chain:
        problem = f"belongs to chain {own.chain}, and full save {base.number} to chain {base.chain}"
    elif parent.kind == INCREMENT:
        problem = f"follows increment {parent.number}, which was not restored before it"
    else:
        problem = f"was made on full save {parent.number}, and not on full save {base.number}, '{full}'"
    raise errors.FailedPreconditionError.of(
        f"increment {own.number} {problem}",
        path=prefix,
        hint="Restore the saves that it follows first, in their order; or let `recover` find them.",
    )


def _is_newer(increment: str, full: str) -> bool:
    """Whether an increment is newer than a full save: by the steps in their names; without these, the manifests."""
    from kvarn.formats.manifest import read_manifest

    steps = [prefix.rpartition("-")[2] for prefix in (increment, full)]
    if all(step.isdecimal() for step in steps):
        newer = int(steps[0]) > int(steps[1])
        if not newer:
            tf_logging.info("incremental checkpoint is older than checkpoint, skip incremental_restore()")
        return newer
    try:
        return read_manifest(increment)[0].number > read_manifest(full)[0].number
    except errors.NotFoundError:
        tf_logging.warning(
            "checkpoint or incremental checkpoint has no global step, checkpoint is [%s], incremental checkpoint "
            "is [%s]. Nothing tells which is newer, and the increment is passed over: if it is, incremental_restore "
            "applies it.",
            full,
            increment,
        )
        return False


def _path_of_full(full: str) -> tuple[Chain | None, list[Link]]:
    """A full save as the way to itself; none if it is not in a chain."""
    from kvarn.checkpoint.chain import Chain, Link
    from kvarn.formats.manifest import read_manifest

    try:
        chain = Chain.open(full)
        return chain, chain.path_to(Link(full, *read_manifest(full)))
    except errors.OpError:
        return None, []


def _since_last() -> str:
    from kvarn.ops import incremental

    return incremental.SINCE_LAST
