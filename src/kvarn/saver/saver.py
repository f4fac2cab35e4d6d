"""Saver: writes the variables of a session into numbered checkpoints and reads them back.

The files are TensorFlow's; the order in which they appear is safer.  First the data and the index
(`kvarn.formats.bundle`: synced, renamed, the index last), then ``.meta``, then the state file
``checkpoint``, and only then older checkpoints are deleted.  A process that dies anywhere leaves the
checkpoint that ``checkpoint`` names whole.

Source: `Saver` in tensorflow/python/training/saver.py.
"""

from __future__ import annotations

import contextlib
import glob
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kvarn import errors, tf_logging
from kvarn.graph import graph as ops
from kvarn.graph.graph import GraphKeys
from kvarn.graph.meta_graph import add_collection_def
from kvarn.graph.proto_functions import prepend_name_scope, strip_name_scope
from kvarn.ops.save_marks import save_log, touch_all_rows
from kvarn.saver.builder import V2, BulkSaverBuilder
from kvarn.saver.chain_state import ChainState, SaveManifest, forget_applied
from kvarn.saver.meta_graph import export_meta_graph, import_meta_graph
from kvarn.saver.restore_check import RestoreCheck, operations_below
from kvarn.saver.retention import Retention
from kvarn.variables import listing

if TYPE_CHECKING:
    from kvarn.checkpoint.verbs.patterns import Pattern
    from kvarn.saver.restore_demands import RestoreDemands
    from kvarn.saver.restore_plan import RestorePlan

__all__ = ["Saver", "export_meta_graph", "_get_saver_or_default", "import_meta_graph"]


def _now() -> float:
    # Looked up each time: programs put another `time` here to let hours pass.
    return time.time()


class Saver:
    """Saves and restores variables.

    The constructor adds the operations to the default graph; `save` and `restore` run them.

    Args:
      var_list: a list of variables, partitioned variables and SaveableObjects, saved under the names of
        their nodes, or a dictionary from names in the checkpoint to them; all saveable objects by default.
      reshape: restore values of another shape with as many elements.
      sharded: one data file for each device.
      max_to_keep: how many of the newest checkpoints stay; 0 or None deletes none.
      keep_checkpoint_every_n_hours: keep one for every so many hours besides.
      name: name scope of the operations, ``save`` by default.
      restore_sequentially: accepted; restoring is sequential anyway.
      saver_def: a SaverDef of operations that the graph has already; nothing is built then.
      builder: a `BaseSaverBuilder`; a `BulkSaverBuilder` by default.
      defer_build: leave building to `build`.
      allow_empty: a Saver of nothing saves only graphs; otherwise nothing to save is a ValueError.
      write_version: ``SaverDef.V2`` or ``V1``.
      pad_step_number: write steps with eight digits at least.
      save_relative_paths: write paths relative to the state file into it.
      filename: the prefix used when none is fed, ``model`` by default.
      incremental_save_restore: increments will follow the saves: see `kvarn.saver.incremental_saver`.
      incremental_include_normal_var: of ordinary variables that only single rows are changed of, increments have
        these rows alone.
      ev_key_mismatch: what a restore does if a slot of an embedding variable has other keys than the variable:
        ``"refuse"``, ``"primary"``, ``"intersection"`` or ``"union"``, see `kvarn.ops.kv_key_sets`.  It is kept in
        the graph.  None leaves it to the environment variable ``KVARN_EV_KEY_MISMATCH``.

    Raises:
      InvalidArgumentError: ``ev_key_mismatch`` is no such rule.
      TypeError, ValueError: ``var_list`` is not such a list or dictionary, or has a name twice.
    """

    def __init__(
        self,
        var_list: Any = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: Any = None,
        builder: Any = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: int = V2,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
        incremental_save_restore: bool = False,
        incremental_include_normal_var: bool = False,
        *,
        ev_key_mismatch: str | None = None,
    ) -> None:
        if defer_build and var_list:
            raise ValueError(
                "If `var_list` is provided then build cannot be deferred. Either set defer_build=False or "
                "var_list=None."
            )
        self._var_list = var_list
        self._reshape = reshape
        self._sharded = sharded
        self._max_to_keep = max_to_keep
        self._keep_checkpoint_every_n_hours = keep_checkpoint_every_n_hours
        self._name = name
        self._restore_sequentially = restore_sequentially
        self.saver_def = saver_def
        self._builder = builder
        self._is_built = False
        self._allow_empty = allow_empty
        self._is_empty: bool | None = None
        self._write_version = write_version
        self._pad_step_number = pad_step_number
        self._filename = filename
        self._save_relative_paths = save_relative_paths
        self._incremental_save_restore = incremental_save_restore
        self._incremental_include_normal_var = incremental_include_normal_var
        # Where its next save stands among those before, when no increments follow.
        self._chain = ChainState()
        self._ev_key_mismatch = ev_key_mismatch
        if ev_key_mismatch is not None:
            from kvarn.ops import kv_key_sets

            kv_key_sets.rule(ev_key_mismatch)
        self._object_restore_saver: Saver | None = None
        self._check: tuple[Any, RestoreCheck] | None = None
        self._activating: tuple[Any, bool] | None = None
        self._retention = Retention(max_to_keep or 0, keep_checkpoint_every_n_hours, _now)
        if not defer_build:
            self.build()
        if self.saver_def:
            self._check_saver_def()
            self._write_version = self.saver_def.version

    # -- building ---------------------------------------------------------------------------------

    def build(self) -> None:
        """Adds the operations, unless that is done; ValueError when there is nothing to save."""
        if self._is_built:
            return
        self._is_built = True
        if not self.saver_def:
            if self._builder is None:
                self._builder = BulkSaverBuilder(
                    self._write_version,
                    build_incr_activateop=self._incremental_save_restore,
                    incremental_include_normal_var=self._incremental_include_normal_var,
                )
            if self._var_list is None:
                self._var_list = listing._all_saveable_objects()
            if not self._var_list:
                if not self._allow_empty:
                    raise ValueError("No variables to save")
                self._is_empty = True
                return
            self._is_empty = False
            self.saver_def = self._builder._build_internal(
                self._var_list,
                reshape=self._reshape,
                sharded=self._sharded,
                max_to_keep=self._max_to_keep,
                keep_checkpoint_every_n_hours=self._keep_checkpoint_every_n_hours,
                name=self._name,
                restore_sequentially=self._restore_sequentially,
                filename=self._filename,
            )
            if self._ev_key_mismatch is not None:
                restore_op = ops.get_default_graph().get_operation_by_name(self.saver_def.restore_op_name)
                RestoreCheck(restore_op).set_key_mismatch(self._ev_key_mismatch)
        elif self._name:
            for field in ("filename_tensor_name", "save_tensor_name", "restore_op_name"):
                setattr(self.saver_def, field, prepend_name_scope(getattr(self.saver_def, field), self._name))
        self._check_saver_def()
        known = self._retention.last
        every = self.saver_def.keep_checkpoint_every_n_hours
        self._retention = Retention(self.saver_def.max_to_keep, every, _now)
        self._retention.last = known

    def _check_saver_def(self) -> None:
        from kvarn import protos

        if not isinstance(self.saver_def, protos.message("tensorflow.SaverDef")):
            raise ValueError(f"saver_def must be a saver_pb2.SaverDef: {self.saver_def}")
        if not self.saver_def.save_tensor_name:
            raise ValueError(f"saver_def must specify the save_tensor_name: {self.saver_def}")
        if not self.saver_def.restore_op_name:
            raise ValueError(f"saver_def must specify the restore_op_name: {self.saver_def}")

    # -- as a message -----------------------------------------------------------------------------

    def as_saver_def(self) -> Any:
        """The SaverDef."""
        return self.saver_def

    def to_proto(self, export_scope: str | None = None) -> Any:
        """The SaverDef, without ``export_scope`` in its names; None if they are not all in that scope."""
        if export_scope is None:
            return self.saver_def
        fields = ("filename_tensor_name", "save_tensor_name", "restore_op_name")
        if not all(getattr(self.saver_def, field).startswith(export_scope) for field in fields):
            return None
        out = type(self.saver_def)()
        out.CopyFrom(self.saver_def)
        for field in fields:
            setattr(out, field, strip_name_scope(getattr(out, field), export_scope))
        return out

    @staticmethod
    def from_proto(saver_def: Any, import_scope: str | None = None) -> Saver:
        """The Saver of operations that the graph has, below ``import_scope``."""
        return Saver(saver_def=saver_def, name=import_scope)

    # -- the checkpoints it knows -----------------------------------------------------------------

    @property
    def last_checkpoints(self) -> list[str]:
        """The prefixes that are not deleted yet, oldest first; each can be restored."""
        return [prefix for prefix, _ in self._retention.last]

    def set_last_checkpoints(self, last_checkpoints: list[str]) -> None:
        """Sets the prefixes known; with `set_last_checkpoints_with_time` their times are known too.

        Raises:
          AssertionError: not a list.
        """
        assert isinstance(last_checkpoints, list)
        self._retention.last = [(prefix, np.inf) for prefix in last_checkpoints]

    def set_last_checkpoints_with_time(self, last_checkpoints_with_time: list[tuple[str, float]]) -> None:
        """Sets the prefixes known, with their times in seconds.

        Raises:
          AssertionError: not a list.
        """
        assert isinstance(last_checkpoints_with_time, list)
        self._retention.last = last_checkpoints_with_time

    def recover_last_checkpoints(self, checkpoint_paths: list[str]) -> None:
        """Makes those of ``checkpoint_paths`` known that exist, so that they are deleted in their time."""
        from kvarn import checkpoint

        found = []
        for prefix in checkpoint_paths:
            times = checkpoint.get_checkpoint_mtimes([prefix])
            if times:
                found.append((prefix, times[0]))
        self.set_last_checkpoints_with_time(found)

    # -- saving -----------------------------------------------------------------------------------

    def save(
        self,
        sess: Any,
        save_path: Any,
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> str | None:
        """Writes a checkpoint.

        Args:
          sess: the Session that holds the values.
          save_path: the prefix of the files.
          global_step: a number, or a tensor of one or its name, whose value is appended to the prefix.
          latest_filename: the state file's name, ``checkpoint`` by default.
          meta_graph_suffix: of the file that holds the graph.
          write_meta_graph, write_state: whether to write the graph, and the state file.
          strip_default_attrs: leave attributes at their defaults out of the graph.
          save_debug_info: accepted; there is no debug information to write.

        Returns:
          The prefix of what was written; None for an empty Saver.

        Raises:
          RuntimeError: `build` was not called.
          TypeError: ``sess`` is no Session.
          ValueError: ``latest_filename`` has a directory or is the prefix itself, or the directory above
            ``save_path`` does not exist.
          FailedPreconditionError: a variable has no value yet.
        """
        from kvarn import checkpoint
        from kvarn.formats.meta_graph import meta_graph_filename, write_meta_graph_file
        from kvarn.graph.session import BaseSession

        if not self._is_built:
            raise RuntimeError("`build()` should be called before save if defer_build==True")
        save_path = os.fspath(save_path)
        if latest_filename is None:
            latest_filename = "checkpoint"
        if self._write_version != V2:
            _warn_of_v1()
        if os.path.split(latest_filename)[0]:
            raise ValueError("'latest_filename' must not contain path components")
        if global_step is not None:
            if not isinstance(global_step, (int, np.integer)):
                global_step = int(np.asarray(sess.run(global_step)).item())
            prefix = (
                f"{save_path}-{global_step:08d}" if self._pad_step_number else f"{save_path}-{global_step:d}"
            )
        else:
            prefix = save_path
            if os.path.basename(save_path) == latest_filename and not self._sharded:
                raise ValueError(
                    f"'latest_filename' collides with 'save_path': '{latest_filename}' and '{save_path}'"
                )
        if not isinstance(sess, BaseSession):
            raise TypeError(f"'sess' must be a Session; {sess}")

        meta = None
        if write_meta_graph:
            # Made before the first byte is written: a graph that cannot be written costs no checkpoint.
            with sess.graph.as_default():
                meta = self.export_meta_graph(strip_default_attrs=strip_default_attrs)
        with save_log(sess.resources).turn:
            written = None
            is_new = not checkpoint.checkpoint_exists(prefix)
            manifest = SaveManifest(sess, prefix, None if self._activates(sess.graph) else self._chain)
            try:
                if not self._is_empty:
                    manifest.begin()
                    written = self._write_values(sess, save_path, prefix)
                    if self._write_version == V2:
                        manifest.write(global_step)
                if meta is not None:
                    write_meta_graph_file(meta_graph_filename(prefix, meta_graph_suffix), meta)
            except BaseException:
                # What took the place of an older checkpoint is whole, and all there is; anything else goes.
                manifest.roll_back()
                if not self._is_empty:
                    _remove_shards(prefix)
                    if is_new:
                        self._delete(prefix, meta_graph_suffix)
                raise
            # The checkpoint is whole, and increments follow it, even if it cannot be listed.
            manifest.settle()
            if written is not None and write_state:
                checkpoint.update_checkpoint_state_internal(
                    save_dir=os.path.dirname(save_path),
                    model_checkpoint_path=written,
                    all_model_checkpoint_paths=self._retention.listed_with(written),
                    latest_filename=latest_filename,
                    save_relative_paths=self._save_relative_paths,
                )
                self._retention.record(written)
                leaving = self._retention.next_to_delete()
                if leaving is not None:
                    self._delete(leaving, meta_graph_suffix)
            return written

    def _activates(self, graph: Any) -> bool:
        """Whether increments follow the saves of a graph; found out once for each."""
        if self._is_empty:
            return False
        if self._activating is None or self._activating[0] is not graph:
            try:
                save = graph.as_graph_element(self.saver_def.save_tensor_name).op
            except (KeyError, ValueError):
                return False  # the session knows better how to say that
            found = any(op.type == "ActivateSparseRecorder" for op in operations_below(save))
            self._activating = (graph, found)
        return self._activating[1]

    def _write_values(self, sess: Any, save_path: str, prefix: str) -> str:
        """Runs the save operations; the prefix, or the pattern of the shards, that they return."""
        try:
            written = sess.run(self.saver_def.save_tensor_name, {self.saver_def.filename_tensor_name: prefix})
        except (errors.NotFoundError, errors.FailedPreconditionError) as e:
            parent = os.path.dirname(save_path)
            if e.path is not None and not os.path.isdir(parent or "."):
                raise ValueError(f"Parent directory of {save_path} doesn't exist, can't save.") from e
            raise
        return os.fsdecode(written)

    def _checked(self, graph: Any, prefix: str) -> contextlib.AbstractContextManager[None]:
        """Raises errors for what does not fit, while nothing is changed yet; inside, the restore may run.

        What the restore operation demands is worked out once for each graph.
        """
        if self._check is None or self._check[0] is not graph:
            try:
                restore_op = graph.get_operation_by_name(self.saver_def.restore_op_name)
            except KeyError:
                return contextlib.nullcontext()  # the session knows better how to say that
            self._check = (graph, RestoreCheck(restore_op))
        return self._check[1].checked(prefix)

    def _delete(self, prefix: str, meta_graph_suffix: str) -> None:
        from kvarn import checkpoint

        try:
            checkpoint.remove_checkpoint(prefix, self.saver_def.version, meta_graph_suffix)
        except Exception as e:
            tf_logging.warning("Ignoring: %s", e)

    def _add_collection_def(self, meta_graph_def: Any, key: Any, export_scope: str | None = None) -> None:
        """Adds a collection to a MetaGraphDef; one that cannot be written is left out with a warning."""
        add_collection_def(meta_graph_def, key, export_scope=export_scope)

    def export_meta_graph(
        self,
        filename: str | None = None,
        collection_list: list[str] | None = None,
        as_text: bool = False,
        export_scope: str | None = None,
        clear_devices: bool = False,
        clear_extraneous_savers: bool = False,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> Any:
        """The MetaGraphDef of the default graph and this Saver, also written to ``filename`` if given.

        Args:
          filename: where to write it.
          collection_list: the collections to take, all by default.
          as_text: write text format.
          export_scope: take only what is below this name scope, without it in the names.
          clear_devices: leave devices out.
          clear_extraneous_savers: leave the operations of other Savers out.
          strip_default_attrs: leave attributes at their defaults out.
          save_debug_info: accepted; there is no debug information to write.
        """
        return export_meta_graph(
            filename=filename,
            graph_def=ops.get_default_graph().as_graph_def(add_shapes=True),
            saver_def=self.saver_def,
            collection_list=collection_list,
            as_text=as_text,
            export_scope=export_scope,
            clear_devices=clear_devices,
            clear_extraneous_savers=clear_extraneous_savers,
            strip_default_attrs=strip_default_attrs,
            save_debug_info=save_debug_info,
        )

    # -- restoring --------------------------------------------------------------------------------

    def plan(
        self,
        save_path: Any,
        *,
        rename: Sequence[tuple[Pattern, str]] = (),
        slots: str = "keep",
        missing: str = "refuse",
        graph: Any = None,
    ) -> RestorePlan:
        """What `restore` would do with each variable and each stored tensor; no values are read.

        Args:
          save_path: a prefix, a file of a checkpoint, or a folder for its newest.
          rename: (pattern, new name): what something stored counts as; the first rule that means a name decides,
            and slots go with their variable.  A string is the whole name; ``re:…`` replaces what it finds.
          slots: ``keep``, or ``reset`` to start the slots of optimizers anew.
          missing: the action for variables of which nothing is stored: ``refuse``, ``reset`` or ``leave``.
          graph: where the Saver's operations are; the default graph by default.

        Raises:
          RuntimeError: `build` was not called.
          KeyError: the graph does not have the operations of this Saver.
          NotFoundError: there is no checkpoint.
          InvalidArgumentError: there is no such choice, a rule means nothing, or two tensors get one name.
          UnimplementedError: names are only known when the graph runs.
          DataLossError: the index of the checkpoint is damaged.
        """
        from kvarn.checkpoint.paths import prefix_of
        from kvarn.formats.detect import open_checkpoint
        from kvarn.saver.plan_matching import make_plan

        if not self._is_built:
            raise RuntimeError("`build()` should be called before plan if defer_build==True")
        demands = self._demands(ops.get_default_graph() if graph is None else graph)
        with open_checkpoint(prefix_of(os.fsdecode(save_path))) as reader:
            return make_plan(demands, reader, rename=rename, slots=slots, missing=missing)

    def _demands(self, graph: Any) -> RestoreDemands | None:
        """What the Saver's operations ask a checkpoint for; None of a Saver of nothing."""
        from kvarn.saver.restore_demands import RestoreDemands

        if self._is_empty:
            return None
        return RestoreDemands(graph.get_operation_by_name(self.saver_def.restore_op_name))

    def restore(
        self, sess: Any, save_path: Any, *, plan: RestorePlan | str | os.PathLike[str] | None = None
    ) -> None:
        """Sets the variables to what a checkpoint holds; they need no initialization.

        Args:
          sess: the Session.
          save_path: a prefix that `save` returned, or `tf.train.latest_checkpoint`.
          plan: what `plan` gave, or its file, with the choices that were made; without one every variable must be
            there under its name, in its shape and type.

        Raises:
          InvalidArgumentError: ``plan`` does not fit the graph or the checkpoint, or is not decided; nothing was
            changed.
          ValueError: ``save_path`` is None or no checkpoint.
          NotFoundError: a name is not in the checkpoint.
          InvalidArgumentError: a value has another shape or type than its variable.
          DataLossError: the files are damaged.
        """
        from kvarn import checkpoint
        from kvarn.saver import object_graph, restore_errors

        if self._is_empty and plan is None:
            return
        if save_path is None:
            raise ValueError("Can't load save_path when it is None.")
        prefix = os.fsdecode(save_path)
        if not checkpoint.checkpoint_exists(prefix):
            raise restore_errors.no_checkpoint(prefix)
        tf_logging.info("Restoring parameters from %s", prefix)
        if plan is not None:
            self._restore_by(plan, sess, prefix)
            return
        try:
            with self._checked(sess.graph, prefix):
                sess.run(self.saver_def.restore_op_name, {self.saver_def.filename_tensor_name: prefix})
            touch_all_rows(sess.resources)
            forget_applied(sess.resources)
        except errors.NotFoundError as e:
            try:
                names_to_keys = object_graph.object_graph_key_mapping(prefix)
            except errors.NotFoundError:
                raise restore_errors.missing(e, prefix) from e
            tf_logging.warning(
                "Restoring an object-based checkpoint using a name-based saver. This may be somewhat "
                "fragile, and will re-build the Saver. Instead, consider loading object-based checkpoints "
                "using tf.train.Checkpoint()."
            )
            self._object_restore_saver = object_graph.saver_from_object_based_checkpoint(
                checkpoint_path=prefix,
                var_list=self._var_list,
                builder=self._builder,
                names_to_keys=names_to_keys,
                cached_saver=self._object_restore_saver,
            )
            self._object_restore_saver.restore(sess, prefix)
        except errors.InvalidArgumentError as e:
            raise restore_errors.mismatch(e, prefix) from e

    def _restore_by(self, plan: RestorePlan | str | os.PathLike[str], sess: Any, prefix: str) -> None:
        from kvarn.formats.detect import open_checkpoint
        from kvarn.saver.plan_run import restore_by_plan
        from kvarn.saver.restore_plan import RestorePlan

        if not isinstance(plan, RestorePlan):
            plan = RestorePlan.load(plan)
        filename_tensor = "" if self._is_empty else self.saver_def.filename_tensor_name
        with open_checkpoint(prefix) as reader:
            restore_by_plan(sess, plan, self._demands(sess.graph), reader, filename_tensor)
        touch_all_rows(sess.resources)
        forget_applied(sess.resources)


def _get_saver_or_default() -> Saver:
    """The Saver of the collection ``savers``, or a new sharded one that is added to it.

    Raises:
      RuntimeError: there are several.
    """
    savers: list[Saver] = ops.get_collection(GraphKeys.SAVERS)
    if len(savers) > 1:
        raise RuntimeError(
            f"More than one item in collection {GraphKeys.SAVERS}. Please indicate which one to use by "
            "passing it to the constructor."
        )
    if savers:
        return savers[0]
    saver = Saver(sharded=True, allow_empty=True)
    ops.add_to_collection(GraphKeys.SAVERS, saver)
    return saver


def _remove_shards(prefix: str) -> None:
    """Removes what an unfinished sharded save of ``prefix`` has left in its temporary directories."""
    from kvarn.io import directory_of, file_system_of, remove_quietly

    fs = file_system_of(prefix)
    parts = fs.glob(f"{glob.escape(prefix)}_temp_*/part-*")
    for part in parts:
        remove_quietly(fs, part)
    for directory in {directory_of(part) for part in parts}:
        with contextlib.suppress(errors.OpError):
            fs.remove_directory(directory)


def _warn_of_v1() -> None:
    stars = "*" * 55
    for line in (
        stars,
        "TensorFlow's V1 checkpoint format has been deprecated.",
        "Consider switching to the more efficient V2 format:",
        "   `tf.train.Saver(write_version=tf.train.SaverDef.V2)`",
        "now on by default.",
        stars,
    ):
        tf_logging.warning(line)
