"""Graphs with their Saver, to files and back.

Source: the functions of tensorflow/python/training/saver.py around
tensorflow/python/framework/meta_graph.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import kvarn.variables.proto  # noqa: F401 - says how collections of variables are written
from kvarn import tf_logging


def import_meta_graph(
    meta_graph_or_file: Any, clear_devices: bool = False, import_scope: str | None = None, **kwargs: Any
) -> Any:
    """Adds a saved graph and its collections to the default graph.

    Args:
      meta_graph_or_file: a MetaGraphDef, or the path of a file with one, binary or text.
      clear_devices: leave devices out.
      import_scope: name scope to put everything into.
      kwargs: ``input_map`` and others of `kvarn.graph.meta_graph.import_scoped_meta_graph`.

    Returns:
      The graph's Saver; a new one when the file has none but there are variables; else None.

    Raises:
      OSError: there is no such file, or it is damaged.
      KeyError, TypeError, ValueError, NotFoundError: the graph does not fit, or is damaged; a note of the
        error names the file.
    """
    return _import_meta_graph_with_return_elements(meta_graph_or_file, clear_devices, import_scope, **kwargs)[
        0
    ]


def _import_meta_graph_with_return_elements(
    meta_graph_or_file: Any,
    clear_devices: bool = False,
    import_scope: str | None = None,
    return_elements: Any = None,
    **kwargs: Any,
) -> tuple[Any, Any]:
    """`import_meta_graph`, also returning the graph elements asked for."""
    from kvarn.graph import meta_graph

    from_file = not hasattr(meta_graph_or_file, "graph_def")
    meta_graph_def = meta_graph.read_meta_graph_file(meta_graph_or_file) if from_file else meta_graph_or_file
    with naming_file(os.fsdecode(meta_graph_or_file)) if from_file else contextlib.nullcontext():
        variables, elements = meta_graph.import_scoped_meta_graph_with_return_elements(
            meta_graph_def,
            clear_devices=clear_devices,
            import_scope=import_scope,
            return_elements=return_elements,
            **kwargs,
        )
    return _saver_of_imported(meta_graph_def, import_scope, variables), elements


@contextlib.contextmanager
def naming_file(path: str) -> Iterator[None]:
    """Adds the file to errors of importing it; what it holds has no checksum, so damage shows as any of them."""
    from google.protobuf.message import DecodeError

    from kvarn import errors

    try:
        yield
    except DecodeError as e:
        raise OSError(
            f"Cannot parse file {path}: {e}\n  The file is damaged: take another copy or that of another step; "
            "a program that builds the graph itself does not need it."
        ) from e
    except (errors.OpError, KeyError, TypeError, ValueError) as e:
        e.add_note(f"while importing the graph in '{path}'; if it worked before, the file may be damaged")
        if isinstance(e, errors.OpError) and e.path is None:
            e.path = path
        raise


def _saver_of_imported(meta_graph_def: Any, import_scope: str | None, variables: dict[str, Any]) -> Any:
    from kvarn.saver.saver import Saver
    from kvarn.variables import listing

    if meta_graph_def.HasField("saver_def"):
        scope = import_scope
        if variables:
            # The scope may have been made unique; what a variable's name gained tells.
            name, variable = next(iter(variables.items()))
            scope = variable.name[: -len(name)]
        saver_def = type(meta_graph_def.saver_def)()
        saver_def.CopyFrom(meta_graph_def.saver_def)
        return Saver(saver_def=saver_def, name=scope)
    if listing._all_saveable_objects(scope=import_scope):
        return Saver()
    tf_logging.info("Saver not created because there are no variables in the graph to restore")
    return None


def export_meta_graph(
    filename: str | None = None,
    meta_info_def: Any = None,
    graph_def: Any = None,
    saver_def: Any = None,
    collection_list: list[str] | None = None,
    as_text: bool = False,
    graph: Any = None,
    export_scope: str | None = None,
    clear_devices: bool = False,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    save_debug_info: bool = False,
    **kwargs: Any,
) -> Any:
    """The MetaGraphDef of a graph, its collections and a Saver, also written to ``filename`` if given.

    Args:
      filename: where to write it.
      meta_info_def: MetaInfoDef to put in.
      graph_def: GraphDef to use instead of the graph's own.
      saver_def: SaverDef to put in.
      collection_list: the collections to take, all by default.
      as_text: write text format.
      graph: the graph; the default graph when None.
      export_scope: take only what is below this name scope, without it in the names.
      clear_devices: leave devices out.
      clear_extraneous_savers: leave the operations of Savers other than ``saver_def`` out.
      strip_default_attrs: leave attributes at their defaults out.
      save_debug_info: accepted; there is no debug information to write.

    Raises:
      ValueError: the GraphDef would be larger than 2 GB.
    """
    from kvarn.graph import meta_graph

    message, _ = meta_graph.export_scoped_meta_graph(
        filename=filename,
        meta_info_def=meta_info_def,
        graph_def=graph_def,
        saver_def=saver_def,
        collection_list=collection_list,
        as_text=as_text,
        graph=graph,
        export_scope=export_scope,
        clear_devices=clear_devices,
        clear_extraneous_savers=clear_extraneous_savers,
        strip_default_attrs=strip_default_attrs,
        save_debug_info=save_debug_info,
        **kwargs,
    )
    return message
