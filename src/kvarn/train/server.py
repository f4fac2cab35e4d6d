"""`tf.train.Server`: one process that is the whole cluster.

Sessions that name the server's target share its variables, and these outlive them and the server object.
Clusters of several tasks are refused: kvarn does not run programs on several machines.

Source: tensorflow/python/training/server_lib.py (1.15).
"""

from __future__ import annotations

import threading
from typing import Any

from kvarn import errors, protos
from kvarn.graph import local_servers
from kvarn.train.cluster_spec import ClusterSpec


class Server:
    """A server in this process for sessions in this process.

    Args:
      server_or_cluster_def: a ServerDef, a ClusterDef, a ClusterSpec, or what that is made of.
      job_name, task_index: which task this is; needed if there are several.
      protocol: ``grpc``.
      config: a ConfigProto for sessions that bring none.
      start: of no effect: there is nothing to start.

    Raises:
      TypeError: not a cluster.
      ValueError: it is not said which task this is.
      UnimplementedError: the cluster has more than one task.
    """

    def __init__(
        self,
        server_or_cluster_def: Any,
        job_name: str | None = None,
        task_index: int | None = None,
        protocol: str | None = None,
        config: Any = None,
        start: bool = True,
    ) -> None:
        del start
        self._server_def = _server_def(server_or_cluster_def, job_name, task_index, protocol, config)
        tasks = [address for job in self._server_def.cluster.job for address in job.tasks.values()]
        if len(tasks) > 1:
            raise errors.UnimplementedError.of(
                f"a cluster of {len(tasks)} tasks: {', '.join(tasks[:4])}",
                hint="kvarn runs in one process: give it a cluster of one task, or Server.create_local_server().",
            )
        given = self._server_def
        task = f"/job:{given.job_name}/replica:0/task:{given.task_index}"
        defaults = given.default_session_config if given.HasField("default_session_config") else None
        self._target = local_servers.add(tasks[0].rpartition(":")[0] or "localhost", task, defaults)

    def start(self) -> None:
        """Does nothing: sessions find the server as soon as it is made."""

    def join(self) -> None:
        """Waits for the end of the process."""
        threading.Event().wait()

    @property
    def server_def(self) -> Any:
        """The ServerDef message."""
        return self._server_def

    @property
    def target(self) -> str:
        """What to give a session of this server."""
        return self._target

    @staticmethod
    def create_local_server(config: Any = None, start: bool = True) -> Server:
        """A server that is the one task of the job ``local``."""
        return Server({"local": ["localhost:0"]}, protocol="grpc", config=config, start=start)


def _server_def(
    source: Any, job_name: str | None, task_index: int | None, protocol: str | None, config: Any
) -> Any:
    found = protos.ServerDef()
    if isinstance(source, protos.ServerDef):
        found.MergeFrom(source)
    else:
        try:
            cluster = ClusterSpec(source)
        except TypeError:
            raise TypeError(
                "Could not convert `server_or_cluster_def` to a `tf.train.ServerDef` or `tf.train.ClusterSpec`."
            ) from None
        found.cluster.CopyFrom(cluster.as_cluster_def())
        if job_name is None:
            job_name = _only(cluster.jobs, "Must specify an explicit `job_name`.")
        if task_index is None:
            task_index = _only(cluster.task_indices(job_name), "Must specify an explicit `task_index`.")
        protocol = protocol or "grpc"
    if job_name is not None:
        found.job_name = job_name
    if task_index is not None:
        found.task_index = task_index
    if protocol is not None:
        found.protocol = protocol
    if config is not None:
        found.default_session_config.MergeFrom(config)
    return found


def _only(items: Any, message: str) -> Any:
    if len(items) != 1:
        raise ValueError(message)
    return items[0]
