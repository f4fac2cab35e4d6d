"""The servers of this process, by the target that sessions name: sessions of one server share what they hold."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from kvarn.graph.resources import ResourceManager


class LocalServer(NamedTuple):
    """What sessions find under a target.

    Attributes:
      resources: variables and tables of all of them.
      task: the device name of the server's task.
      config: a ConfigProto for sessions that bring none, or None.
    """

    resources: ResourceManager
    task: str
    config: Any


_lock = threading.Lock()
_servers: dict[str, LocalServer] = {}
_ports = iter(range(1, 1 << 31))


def add(host: str, task: str, config: Any) -> str:
    """Adds a server and gives its target; nothing listens there."""
    with _lock:
        target = f"grpc://{host}:{next(_ports)}"
        _servers[target] = LocalServer(ResourceManager(), task, config)
        return target


def find(target: str) -> LocalServer | None:
    """The server of a target, if it is one of this process."""
    return _servers.get(target)
