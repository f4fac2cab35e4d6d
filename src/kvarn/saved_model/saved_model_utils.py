"""The messages of a SavedModel by their tags, without a session.

Source: tensorflow/python/tools/saved_model_utils.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.io import Path
from kvarn.saved_model.loader import parse_saved_model


def read_saved_model(saved_model_dir: Path) -> Any:
    """The SavedModel message of a folder.

    Raises:
      OSError: there is none, or it is damaged.
    """
    return parse_saved_model(saved_model_dir)


def get_saved_model_tag_sets(saved_model_dir: Path) -> list[list[str]]:
    """The tags of each of its graphs.

    Raises:
      OSError: there is none, or it is damaged.
    """
    return [list(graph.meta_info_def.tags) for graph in parse_saved_model(saved_model_dir).meta_graphs]


def get_meta_graph_def(saved_model_dir: Path, tag_set: str) -> Any:
    """The MetaGraphDef that has exactly these tags.

    Args:
      saved_model_dir: the folder of the SavedModel.
      tag_set: tags, separated by commas.

    Raises:
      OSError: there is no SavedModel, or it is damaged.
      RuntimeError: it has no such graph.
    """
    wanted = set(tag_set.split(","))
    for graph in parse_saved_model(saved_model_dir).meta_graphs:
        if set(graph.meta_info_def.tags) == wanted:
            return graph
    raise RuntimeError(f"MetaGraphDef associated with tag-set {tag_set} could not be found in SavedModel")
