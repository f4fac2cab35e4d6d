"""`tf.train.Checkpoint`, and functions on what can be reached from an object.

Source: `CheckpointV1` in tensorflow/python/training/tracking/util.py (1.15).
"""

from __future__ import annotations

import os
from typing import Any

from kvarn import dtypes, errors
from kvarn.graph.graph import colocate_with, device, init_scope
from kvarn.graph.tensor_shape import as_shape
from kvarn.saver.object_graph import OBJECT_GRAPH_PROTO_KEY, read_object_graph
from kvarn.train.tracking.auto_trackable import AutoTrackable
from kvarn.train.tracking.data_structures import NoDependency
from kvarn.train.tracking.graph_view import ObjectGraphView
from kvarn.train.tracking.load_status import get_session
from kvarn.train.tracking.saver import saver_with_op_caching
from kvarn.variables.trackable import Trackable
from kvarn.variables.variable import VariableV1


class Checkpoint(AutoTrackable):
    """Saves and restores objects under names: checkpoints that do not depend on the names of variables.

    Args:
      kwargs: objects to save, each under its keyword: variables, optimizers, templates, other `AutoTrackable`s.
        What is assigned to attributes later is saved too, and what lists and dictionaries there hold.

    Attributes:
      save_counter: a variable that counts the saves and numbers the checkpoints.

    Raises:
      ValueError: a value can not be tracked.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        for name, value in sorted(kwargs.items()):
            if not isinstance(value, Trackable):
                raise ValueError(
                    "`Checkpoint` was expecting a trackable object (an object derived from `TrackableBase`), got "
                    f"{value}. If you believe this object should be trackable (i.e. it is part of the TensorFlow "
                    "Python API and manages state), please open an issue."
                )
            setattr(self, name, value)
        self._save_counter: Any = None
        self._save_assign_op: Any = None
        self._saver = saver_with_op_caching(self)

    def _maybe_create_save_counter(self) -> None:
        if self._save_counter is None:
            with device("/cpu:0"):
                counter = add_variable(
                    self, name="save_counter", initializer=0, dtype=dtypes.int64, trainable=False
                )
            self._save_counter = NoDependency(counter)

    @property
    def save_counter(self) -> Any:
        self._maybe_create_save_counter()
        return self._save_counter

    def write(self, file_prefix: Any, session: Any = None) -> str:
        """Writes a checkpoint of exactly this prefix; it is neither counted nor listed as the newest.

        Args:
          session: a Session; the default session by default.

        Returns:
          The prefix.

        Raises:
          FailedPreconditionError: there is no default session, or a variable has no value yet.
          NotImplementedError, UnimplementedError, ValueError: an object can not be saved.
        """
        return os.fsdecode(self._saver.save(file_prefix=file_prefix, session=session))

    def save(self, file_prefix: Any, session: Any = None) -> str:
        """Counts up, and writes a checkpoint ``<file_prefix>-<number>`` that is the newest of its directory.

        Args:
          session: a Session; the default session by default.

        Returns:
          Its prefix.

        Raises:
          as `write`.
        """
        from kvarn import checkpoint

        file_prefix = os.fsdecode(file_prefix)
        if session is None:
            session = get_session()
        if self._save_counter is None:
            session.run(self.save_counter.initializer)
        if self._save_assign_op is None:
            with colocate_with(self.save_counter):
                self._save_assign_op = NoDependency(self.save_counter.assign_add(1, read_value=True))
        number = session.run(self._save_assign_op)
        path = self.write(f"{file_prefix}-{number}", session)
        checkpoint.update_checkpoint_state_internal(
            save_dir=os.path.dirname(file_prefix),
            model_checkpoint_path=path,
            all_model_checkpoint_paths=[path],
            save_relative_paths=True,
        )
        return path

    def restore(self, save_path: Any) -> Any:
        """Matches the objects with those of a checkpoint: `run_restore_ops` of the status restores them.

        Args:
          save_path: a prefix that `save`, `write` or `tf.train.Saver` has written; None restores nothing.

        Raises:
          NotFoundError: there is no checkpoint.
          DataLossError: it is damaged.
        """
        status = self._saver.restore(save_path=save_path)
        # It is initialized together with the other variables so.
        self._maybe_create_save_counter()
        return status


def add_variable(
    trackable: Any,
    name: str,
    shape: Any = None,
    dtype: Any = dtypes.float32,
    initializer: Any = None,
    trainable: bool = True,
) -> Any:
    """A new variable that ``trackable`` depends on, whatever variable scope is open."""
    return trackable._add_variable_with_custom_getter(
        name=name,
        shape=shape,
        dtype=dtype,
        initializer=initializer,
        getter=_default_getter,
        trainable=trainable,
    )


def _default_getter(
    name: str, shape: Any, dtype: Any, initializer: Any = None, partition_info: Any = None, **kwargs: Any
) -> Any:
    """`get_variable` without scopes: the variable is new."""
    from kvarn.variables.initializers import Initializer
    from kvarn.variables.variable_store import _get_default_variable_store

    dtype = dtypes.as_dtype(dtype)
    static = as_shape(shape)
    with init_scope():
        if initializer is None:
            initializer, is_value = _get_default_variable_store()._get_default_initializer(name, dtype)
        else:
            is_value = not callable(initializer)
        initial_value: Any
        if is_value:
            if shape is not None:
                raise ValueError("If initializer is a constant, do not specify shape.")
            initial_value = initializer
        else:
            if isinstance(initializer, type) and issubclass(initializer, Initializer):
                initializer = initializer(dtype=dtype)  # type: ignore[call-arg]

            def initial_value() -> Any:
                return initializer(static.as_list(), dtype=dtype, partition_info=partition_info)

        create: Any = VariableV1
        return create(
            initial_value=initial_value, name=name, dtype=dtype.base_dtype, use_resource=True, **kwargs
        )


def object_metadata(save_path: Any) -> Any:
    """The TrackableObjectGraph of a checkpoint.

    Raises:
      ValueError: it has none.
    """
    path = os.fsdecode(save_path)
    try:
        return read_object_graph(path)
    except errors.NotFoundError:
        raise ValueError(
            f'The specified checkpoint "{path}" does not appear to be object-based (it is missing the key '
            f'"{OBJECT_GRAPH_PROTO_KEY}"). Likely it was created with a name-based saver and does not contain an '
            "object dependency graph."
        ) from None


def list_objects(root_trackable: Any) -> list[Any]:
    """All objects that can be reached, and the slots of their variables."""
    return ObjectGraphView(root_trackable).list_objects()


def gather_initializers(root_trackable: Any) -> list[Any]:
    """The initializers of all variables that can be reached."""
    found = (getattr(trackable, "initializer", None) for trackable in list_objects(root_trackable))
    return [initializer for initializer in found if initializer is not None]
