"""Files that a plugin of TensorBoard wants beside the events of a graph.

Source: tensorflow/python/summary/plugin_asset.py.
"""

from __future__ import annotations

import abc
from typing import Any, Final

from kvarn.graph.graph import Graph, get_default_graph

_PREFIX: Final = "__tensorboard_plugin_asset__"


class PluginAsset(abc.ABC):
    """What a plugin wants written; a graph has one of each class, from `get_plugin_asset`.

    Attributes:
      plugin_name: of the plugin; its folder's name.
    """

    plugin_name: str | None = None

    @abc.abstractmethod
    def assets(self) -> dict[str, str]:
        """The contents of files by their names."""
        raise NotImplementedError


def get_plugin_asset(plugin_asset_cls: Any, graph: Graph | None = None) -> Any:
    """The instance of a graph, which is made if there is none.

    Args:
      plugin_asset_cls: a subclass of `PluginAsset`.
      graph: the default graph if None.

    Raises:
      ValueError: the class has no ``plugin_name``, or another class has the same.
    """
    graph = graph or get_default_graph()
    if not plugin_asset_cls.plugin_name:
        raise ValueError(f"Class {plugin_asset_cls.__name__} has no plugin_name")
    key = _PREFIX + plugin_asset_cls.plugin_name
    if not graph.get_collection(key):
        graph.add_to_collection(key, plugin_asset_cls())
        graph.add_to_collection(_PREFIX, plugin_asset_cls.plugin_name)
    instance = _only(graph, key)
    if not isinstance(instance, plugin_asset_cls):
        raise ValueError(
            f"Plugin name collision between classes {plugin_asset_cls.__name__} and {type(instance).__name__}"
        )
    return instance


def get_all_plugin_assets(graph: Graph | None = None) -> list[Any]:
    """All instances of a graph, by default of the default graph.

    Raises:
      ValueError: a collection does not have one instance.
    """
    graph = graph or get_default_graph()
    return [_only(graph, _PREFIX + name) for name in graph.get_collection(_PREFIX)]


def _only(graph: Graph, key: str) -> Any:
    found = graph.get_collection(key)
    if len(found) != 1:
        raise ValueError(f"Collection for {key} had {len(found)} items, expected 1")
    return found[0]
