"""How a monitored session gets its Session, the first one and those after a loss.

Source: `SessionCreator` and those below it, of tensorflow/python/training/monitored_session.py (1.15).
"""

from __future__ import annotations

import abc
import os
from typing import Any

from kvarn.graph.graph import get_default_graph
from kvarn.graph.session import Session
from kvarn.train.scaffold import Scaffold
from kvarn.train.session_manager import SessionManager


class SessionCreator(abc.ABC):
    """The base of what makes sessions."""

    @abc.abstractmethod
    def create_session(self) -> Any:
        """A new session."""
        raise NotImplementedError(f"create_session is not implemented for {self}.")


class _ScaffoldSessionCreator(SessionCreator):
    """Makes sessions of the default graph by a SessionManager with the operations of a Scaffold."""

    def __init__(self, scaffold: Scaffold | None, master: str, config: Any) -> None:
        self._scaffold = scaffold or Scaffold()
        self._session_manager: SessionManager | None = None
        self._master = master
        self._config = config

    def _get_session_manager(self) -> SessionManager:
        if self._session_manager is None:
            self._session_manager = SessionManager(
                local_init_op=self._scaffold.local_init_op,
                ready_op=self._scaffold.ready_op,
                ready_for_local_init_op=self._scaffold.ready_for_local_init_op,
                graph=get_default_graph(),
            )
        return self._session_manager


class ChiefSessionCreator(_ScaffoldSessionCreator):
    """Makes sessions that are restored from the newest checkpoint, or initialized.

    Args:
      scaffold: the operations; a new Scaffold by default.
      master: the target of sessions; ``""``.
      config: a ConfigProto.
      checkpoint_dir: the folder of checkpoints.
      checkpoint_filename_with_path: a checkpoint instead of a folder.
    """

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_filename_with_path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(scaffold, master, config)
        self._checkpoint_dir = checkpoint_dir
        self._checkpoint_filename_with_path = checkpoint_filename_with_path

    def create_session(self) -> Session:
        self._scaffold.finalize()
        return self._get_session_manager().prepare_session(
            self._master,
            saver=self._scaffold.saver,
            checkpoint_dir=self._checkpoint_dir,
            checkpoint_filename_with_path=self._checkpoint_filename_with_path,
            config=self._config,
            init_op=self._scaffold.init_op,
            init_feed_dict=self._scaffold.init_feed_dict,
            init_fn=self._scaffold.init_fn,
            incr_saver=self._scaffold.incr_saver,
        )


class WorkerSessionCreator(_ScaffoldSessionCreator):
    """Makes sessions once another one, the chief, has initialized the model.

    Args:
      scaffold, master, config: as of `ChiefSessionCreator`.
      max_wait_secs: how long to wait for the chief.
    """

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        max_wait_secs: float = 30 * 60,
    ) -> None:
        super().__init__(scaffold, master, config)
        self._max_wait_secs = max_wait_secs

    def create_session(self) -> Session:
        self._scaffold.finalize()
        return self._get_session_manager().wait_for_session(
            self._master, config=self._config, max_wait_secs=self._max_wait_secs
        )
