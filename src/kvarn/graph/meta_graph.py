"""Meta graphs: a graph with its collections, saver and versions, in and out.

Source: tensorflow/python/framework/meta_graph.py (1.15).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from kvarn import tf_logging
from kvarn.graph import graph_io, importer, registry
from kvarn.graph.graph import Graph, GraphKeys, get_default_graph
from kvarn.graph.graph_def import (
    TENSORFLOW_GIT_VERSION,
    TENSORFLOW_VERSION,
    add_output_shapes,
    copy_functions,
)
from kvarn.graph.proto_functions import (
    get_collection_proto_type,
    get_from_proto_function,
    get_to_proto_function,
    prepend_name_scope,
    strip_name_scope,
)

# Marks inputs that an exported scope takes from outside.
_UNBOUND_INPUT_PREFIX = "$unbound_inputs_"

_SAVE_AND_RESTORE_OPS = frozenset((
    "SaveV2", "Save", "SaveSlice", "LegacySave", "LegacySaveSlice", "RestoreV2", "Restore", "RestoreSlice",
    "LegacyRestore", "LegacyRestoreSlice", "SaveV3",
))  # fmt: skip

# Ops of function bodies, which no registry holds.
FUNCTION_OPS = frozenset(("_Arg", "_Retval", "_ListToArray", "_ArrayToList"))

_VARIABLE_COLLECTIONS = frozenset((
    GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES, GraphKeys.METRIC_VARIABLES,
    GraphKeys.MODEL_VARIABLES, GraphKeys.TRAINABLE_VARIABLES, GraphKeys.MOVING_AVERAGE_VARIABLES,
    GraphKeys.CONCATENATED_VARIABLES, GraphKeys.EMBEDDING_VARIABLES, "trainable_resource_variables",
))  # fmt: skip


def read_meta_graph_file(filename: str | os.PathLike[str]) -> Any:
    """The MetaGraphDef of a binary or text file.

    Raises:
      OSError: the file does not exist, or is no MetaGraphDef.
    """
    from kvarn import protos

    return graph_io.read_message(filename, protos.MetaGraphDef())


# Ops.


def ops_used_by_graph_def(graph_def: Any) -> list[str]:
    """The op types that a GraphDef and its functions use, without the functions themselves."""
    functions = {f.signature.name: f for f in graph_def.library.function}
    used: set[str] = set()
    waiting: list[Iterable[Any]] = [graph_def.node]
    while waiting:
        for node in waiting.pop():
            if node.op not in used:
                used.add(node.op)
                if node.op in functions:
                    waiting.append(functions[node.op].node_def)
    return [op for op in used if op not in functions]


def stripped_op_list_for_graph(graph_def: Any) -> Any:
    """The OpList of the definitions of all ops used, by name, without descriptions.

    Raises:
      ValueError: an op is not registered.
    """
    from kvarn import protos

    result = protos.OpList()
    for name in sorted(ops_used_by_graph_def(graph_def)):
        data = registry.global_registry.find(name)
        if data is not None:
            result.op.add().CopyFrom(data.op_def.to_proto())
        elif name not in FUNCTION_OPS:
            raise ValueError(f"Op {name} is used by the graph, but is not registered")
    return result


def strip_graph_default_valued_attrs(meta_graph_def: Any) -> None:
    """Removes from all nodes the attributes that have their default value."""
    functions = {f.signature.name for f in meta_graph_def.graph_def.library.function}
    defaults: dict[str, dict[str, Any]] = {}
    bodies = [f.node_def for f in meta_graph_def.graph_def.library.function]
    for nodes in (meta_graph_def.graph_def.node, *bodies):
        for node in nodes:
            if node.op in functions:
                continue
            if node.op not in defaults:
                data = registry.global_registry.find(node.op)
                attrs = () if data is None else data.op_def.to_proto().attr
                defaults[node.op] = {a.name: a.default_value for a in attrs if a.HasField("default_value")}
            known = defaults[node.op]
            for key in [k for k, value in node.attr.items() if k in known and value == known[k]]:
                del node.attr[key]
    meta_graph_def.meta_info_def.stripped_default_attrs = True


# Out.


def add_collection_def(
    meta_graph_def: Any,
    key: Any,
    graph: Graph | None = None,
    export_scope: str | None = None,
    exclude_nodes: Collection[str] | None = None,
    override_contents: list[Any] | None = None,
) -> None:
    """Adds a collection to a MetaGraphDef; one that cannot be written is left out with a warning.

    Args:
      meta_graph_def: the message.
      key: name of the collection.
      graph: the graph; the default graph when None.
      export_scope: only items of this name scope, without it in their names.
      exclude_nodes: names that are left out.
      override_contents: items to take instead of the collection's.

    Raises:
      TypeError: ``graph`` is no Graph.
    """
    if graph is not None and not isinstance(graph, Graph):
        raise TypeError(f"graph must be of type Graph, not {type(graph)}")
    if not isinstance(key, str | bytes):
        tf_logging.warning(
            "Only collections with string type keys will be serialized. This key has %s", type(key)
        )
        return
    graph = graph or get_default_graph()
    name = key.decode() if isinstance(key, bytes) else key
    items = override_contents or graph.get_collection(key)
    items = [x for x in items if _included(x, export_scope, exclude_nodes)]
    if not items:
        return
    try:
        _fill_collection(meta_graph_def.collection_def[name], name, items, export_scope)
    except Exception as e:
        tf_logging.warning(
            "Issue encountered when serializing %s.\nType is unsupported, or the types of the items don't "
            "match field type in CollectionDef. Note this is a warning and probably safe to ignore.\n%s",
            name,
            e,
        )
        if name in meta_graph_def.collection_def:
            del meta_graph_def.collection_def[name]


def _fill_collection(collection: Any, name: str, items: list[Any], export_scope: str | None) -> None:
    to_proto = get_to_proto_function(name)
    if to_proto is not None:
        proto_type = get_collection_proto_type(name)
        for item in items:
            proto = to_proto(item, export_scope=export_scope)
            if proto is not None:
                if proto_type is not None and not isinstance(proto, proto_type):
                    raise TypeError(
                        f"{item!r} gave a {type(proto).__name__} instead of {proto_type.__name__}"
                    )
                collection.bytes_list.value.append(proto.SerializeToString(deterministic=True))
        return
    first = items[0]
    if isinstance(first, str | bytes):
        collection.bytes_list.value.extend([x.encode() if isinstance(x, str) else x for x in items])
    elif isinstance(first, int):
        collection.int64_list.value.extend(items)
    elif isinstance(first, float):
        collection.float_list.value.extend(items)
    elif _full_name(first) == "google.protobuf.Any":
        for item in items:
            # The program's own class may come from another descriptor pool.
            collection.any_list.value.add().ParseFromString(item.SerializeToString(deterministic=True))
    else:
        names = [x.name for x in items if not export_scope or x.name.startswith(export_scope)]
        collection.node_list.value.extend([strip_name_scope(n, export_scope) for n in names])


def create_meta_graph_def(
    meta_info_def: Any = None,
    graph_def: Any = None,
    saver_def: Any = None,
    collection_list: Iterable[Any] | None = None,
    graph: Graph | None = None,
    export_scope: str | None = None,
    exclude_nodes: Collection[str] | None = None,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
) -> Any:
    """The MetaGraphDef of a graph.

    Args:
      meta_info_def: MetaInfoDef to start from.
      graph_def: GraphDef to use instead of the graph's own.
      saver_def: SaverDef to put in.
      collection_list: names of collections; all when None.
      graph: the graph; the default graph when None.
      export_scope: only items of collections of this name scope.
      exclude_nodes: names that are left out of collections.
      clear_extraneous_savers: the collection of savers holds only the one of ``saver_def``.
      strip_default_attrs: leave out attributes that have their default value.

    Raises:
      TypeError: an argument is of the wrong kind.
      ValueError: an op is not registered.
    """
    from kvarn import protos

    if graph is not None and not isinstance(graph, Graph):
        raise TypeError(f"graph must be of type Graph, not {type(graph)}")
    for argument, value, kind in (
        ("meta_info_def", meta_info_def, "MetaGraphDef.MetaInfoDef"),
        ("graph_def", graph_def, "GraphDef"),
        ("saver_def", saver_def, "SaverDef"),
    ):
        if value is not None and _full_name(value) != f"tensorflow.{kind}":
            raise TypeError(f"{argument} must be of type {kind.rpartition('.')[2]}, not {type(value)}")
    graph = graph or get_default_graph()
    result = protos.MetaGraphDef()
    if meta_info_def is not None:
        result.meta_info_def.CopyFrom(meta_info_def)
    result.meta_info_def.tensorflow_version = TENSORFLOW_VERSION
    result.meta_info_def.tensorflow_git_version = TENSORFLOW_GIT_VERSION
    result.graph_def.CopyFrom(graph.as_graph_def(add_shapes=True) if graph_def is None else graph_def)
    if not result.meta_info_def.stripped_op_list.op:
        result.meta_info_def.stripped_op_list.CopyFrom(stripped_op_list_for_graph(result.graph_def))
    if strip_default_attrs:
        strip_graph_default_valued_attrs(result)
    if saver_def is not None:
        result.saver_def.CopyFrom(saver_def)
    for key in graph.get_all_collection_keys() if collection_list is None else collection_list:
        contents = None
        if clear_extraneous_savers and key == GraphKeys.SAVERS:
            from_proto = get_from_proto_function(key)
            contents = [from_proto(saver_def)] if from_proto is not None else None
        add_collection_def(result, key, graph, export_scope, exclude_nodes, contents)
    return result


def export_scoped_meta_graph(
    filename: str | os.PathLike[str] | None = None,
    graph_def: Any = None,
    graph: Graph | None = None,
    export_scope: str | None = None,
    as_text: bool = False,
    unbound_inputs_col_name: str | None = "unbound_inputs",
    clear_devices: bool = False,
    saver_def: Any = None,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    save_debug_info: bool = False,
    **kwargs: Any,
) -> tuple[Any, dict[str, Any]]:
    """Writes a graph, or one name scope of it, as a MetaGraphDef.

    Args:
      filename: the file; None to write none.
      graph_def: GraphDef to use instead of the graph's own.
      graph: the graph; the default graph when None.
      export_scope: name scope to export; it is cut off the names.
      as_text: text format instead of binary.
      unbound_inputs_col_name: collection that lists the inputs that the scope takes from outside.
      clear_devices: leave devices out.
      saver_def: SaverDef to put in.
      clear_extraneous_savers: leave out the nodes of all savers but that of ``saver_def``.
      strip_default_attrs: leave out attributes that have their default value.
      save_debug_info: not used: kvarn writes no ``.debug`` file.
      kwargs: further arguments of `create_meta_graph_def`.

    Returns:
      The MetaGraphDef, and the exported variables by their new names.

    Raises:
      TypeError, ValueError: as `create_meta_graph_def`.
    """
    del save_debug_info
    graph = graph or get_default_graph()
    exclude: set[str] | None = None
    if export_scope or clear_extraneous_savers or clear_devices:
        if clear_extraneous_savers:
            exclude = _extraneous_saver_nodes(graph_def or graph.as_graph_def(), saver_def)
        unbound: list[str] = []
        graph_def = _scoped_graph_def(graph, graph_def, export_scope, exclude, unbound, clear_devices)
        if unbound_inputs_col_name:
            graph.clear_collection(unbound_inputs_col_name)
            for name in unbound:
                graph.add_to_collection(unbound_inputs_col_name, name)
    variables = {
        strip_name_scope(v.name, export_scope): v
        for v in graph.get_collection(GraphKeys.GLOBAL_VARIABLES, scope=export_scope)
        if _included(v, export_scope, exclude)
    }
    result = create_meta_graph_def(
        graph_def=graph_def,
        graph=graph,
        export_scope=export_scope,
        exclude_nodes=exclude,
        clear_extraneous_savers=clear_extraneous_savers,
        saver_def=saver_def,
        strip_default_attrs=strip_default_attrs,
        **kwargs,
    )
    if filename is not None and os.fspath(filename):
        directory, name = os.path.split(os.fspath(filename))
        graph_io.write_graph(result, directory, name, as_text=as_text)
    return result, variables


def _scoped_graph_def(
    graph: Graph,
    graph_def: Any,
    export_scope: str | None,
    exclude: set[str] | None,
    unbound: list[str],
    clear_devices: bool,
) -> Any:
    """The GraphDef of one scope; appends the inputs that it takes from outside to ``unbound``."""
    from kvarn import protos

    result = protos.GraphDef()
    if graph_def is not None:
        result.versions.CopyFrom(graph_def.versions)
        result.library.CopyFrom(graph_def.library)
        for node in graph_def.node:
            if _included(node.name, export_scope, exclude):
                target = result.node.add()
                target.CopyFrom(node)
                _strip_node(target, export_scope, unbound, clear_devices)
        return result
    result.versions.CopyFrom(graph.graph_def_versions)
    for op in graph.get_operations():
        if _included(op.name, export_scope, exclude):
            target = result.node.add()
            target.CopyFrom(op.node_def)
            _strip_node(target, export_scope, unbound, clear_devices)
            if op.outputs:
                add_output_shapes(target, op)
    copy_functions(graph, result)
    return result


def _strip_node(node: Any, export_scope: str | None, unbound: list[str], clear_devices: bool) -> None:
    """Cuts ``export_scope`` off all names in a NodeDef."""
    for i, text in enumerate(node.input):
        if export_scope and not text.lstrip("^").startswith(export_scope):
            mark = "^" if text.startswith("^") else ""
            node.input[i] = f"{mark}{_UNBOUND_INPUT_PREFIX}{text[len(mark) :]}"
            unbound.append(node.input[i])
        else:
            node.input[i] = strip_name_scope(text, export_scope)
    node.name = strip_name_scope(node.name, export_scope)
    if "_class" in node.attr:
        groups = [g.decode() for g in node.attr["_class"].list.s]
        if export_scope:
            groups = [g for g in groups if g.partition("@")[2].startswith(export_scope)]
        node.attr["_class"].list.Clear()
        node.attr["_class"].list.s.extend([strip_name_scope(g, export_scope).encode() for g in groups])
    if node.op in ("Enter", "RefEnter") and "frame_name" in node.attr:
        frame = node.attr["frame_name"].s.decode()
        node.attr["frame_name"].s = strip_name_scope(frame, export_scope).encode()
    if clear_devices:
        node.device = ""


def _included(item: Any, export_scope: str | None, exclude: Collection[str] | None) -> bool:
    """Whether an item of a collection or a node name belongs to what is exported."""
    name = item if isinstance(item, str) else getattr(item, "name", None)
    if not isinstance(name, str):
        return True
    if exclude and name in exclude:
        return False
    return not export_scope or name.startswith((_UNBOUND_INPUT_PREFIX, export_scope))


def _extraneous_saver_nodes(graph_def: Any, saver_def: Any) -> set[str]:
    """The nodes in the scopes of savers other than that of ``saver_def``."""

    def scope_of(name: str) -> str:
        name = name.removeprefix("^").partition(":")[0]
        return name.rpartition("/")[0] + "/"

    kept = set()
    if saver_def is not None:
        kept = {scope_of(saver_def.save_tensor_name), scope_of(saver_def.restore_op_name)}
    savers = {node.name for node in graph_def.node if node.op in _SAVE_AND_RESTORE_OPS}
    scopes = tuple({scope_of(name) for name in savers} - {name + "/" for name in savers} - kept)
    return {node.name for node in graph_def.node if node.name.startswith(scopes)}


# In.


def import_scoped_meta_graph(
    meta_graph_or_file: Any,
    clear_devices: bool = False,
    graph: Graph | None = None,
    import_scope: str | None = None,
    input_map: dict[str, Any] | None = None,
    unbound_inputs_col_name: str | None = "unbound_inputs",
    restore_collections_predicate: Callable[[str], bool] = lambda key: True,
) -> dict[str, Any]:
    """`import_scoped_meta_graph_with_return_elements`, returning only the variables."""
    return import_scoped_meta_graph_with_return_elements(
        meta_graph_or_file,
        clear_devices,
        graph,
        import_scope,
        input_map,
        unbound_inputs_col_name,
        restore_collections_predicate,
    )[0]


def import_scoped_meta_graph_with_return_elements(
    meta_graph_or_file: Any,
    clear_devices: bool = False,
    graph: Graph | None = None,
    import_scope: str | None = None,
    input_map: dict[str, Any] | None = None,
    unbound_inputs_col_name: str | None = "unbound_inputs",
    restore_collections_predicate: Callable[[str], bool] = lambda key: True,
    return_elements: list[str] | None = None,
) -> tuple[dict[str, Any], list[Any] | None]:
    """Adds the graph and the collections of a MetaGraphDef to a graph.

    Args:
      meta_graph_or_file: the message, or the path of a binary or text file.
      clear_devices: leave devices out.
      graph: the graph; the default graph when None.
      import_scope: name scope to put everything into.
      input_map: as in `importer.import_graph_def`.
      unbound_inputs_col_name: collection that lists the inputs that ``input_map`` must give.
      restore_collections_predicate: which collections to restore.
      return_elements: as in `importer.import_graph_def`.

    Returns:
      The variables by their names without the scope, and the return elements.

    Raises:
      OSError: the file does not exist or is damaged.
      TypeError, ValueError, NotFoundError: as `importer.import_graph_def`; inputs are missing.
    """
    if _full_name(meta_graph_or_file) == "tensorflow.MetaGraphDef":
        meta_graph = _own_message(meta_graph_or_file)
    else:
        meta_graph = read_meta_graph_file(meta_graph_or_file)
    if unbound_inputs_col_name and unbound_inputs_col_name in meta_graph.collection_def:
        _check_unbound_inputs(meta_graph.collection_def[unbound_inputs_col_name], input_map)
    graph = graph or get_default_graph()
    with graph.as_default():
        info = meta_graph.meta_info_def
        graph_def = meta_graph.graph_def
        if clear_devices:
            graph_def = type(graph_def)()
            graph_def.CopyFrom(meta_graph.graph_def)
            for node in graph_def.node:
                node.device = ""
        scope = graph.unique_name(import_scope or "", mark_as_used=False)
        elements = importer.import_graph_def(
            graph_def,
            name=import_scope or scope,
            input_map=input_map,
            producer_op_list=info.stripped_op_list if info.HasField("stripped_op_list") else None,
            return_elements=return_elements,
        )
        # Before 1.9 a VariableDef did not say whether its variable is trainable.
        knows_trainable = not info.tensorflow_version or _version(info.tensorflow_version) >= (1, 9)
        variables: dict[bytes, Any] = {}
        # Trainable variables first, because that collection says it for those old ones.
        for key in sorted(meta_graph.collection_def, key=lambda k: (k != GraphKeys.TRAINABLE_VARIABLES, k)):
            if key != unbound_inputs_col_name and restore_collections_predicate(key):
                _restore_collection(
                    graph, key, meta_graph.collection_def[key], scope, variables, knows_trainable
                )
    found = graph.get_collection(GraphKeys.GLOBAL_VARIABLES, scope=scope)
    return {strip_name_scope(v.name, scope): v for v in found}, elements


def copy_scoped_meta_graph(
    from_scope: str, to_scope: str, from_graph: Graph | None = None, to_graph: Graph | None = None
) -> dict[str, Any]:
    """Copies a name scope of one graph into a name scope of the same or another.

    Raises:
      ValueError: both are the same scope of the same graph.
    """
    from_graph = from_graph or get_default_graph()
    to_graph = to_graph or get_default_graph()
    if from_graph is to_graph and from_scope == to_scope:
        raise ValueError(
            "'from_scope' and 'to_scope' need to be different when performing copy in the same graph."
        )
    meta_graph, _ = export_scoped_meta_graph(export_scope=from_scope, graph=from_graph)
    return import_scoped_meta_graph(meta_graph, graph=to_graph, import_scope=to_scope)


def _check_unbound_inputs(collection: Any, input_map: dict[str, Any] | None) -> None:
    kind = collection.WhichOneof("kind")
    values = getattr(collection, kind).value if kind else ()
    names = [v.decode() if isinstance(v, bytes) else v for v in values]
    if names and (not input_map or sorted(names) != sorted(input_map)):
        missing = [n for n in names if not input_map or n not in input_map]
        raise ValueError(
            f"Graph contains unbound inputs: {','.join(missing)}. "
            "Must provide these inputs through input_map."
        )


def _restore_collection(
    graph: Graph,
    key: str,
    collection: Any,
    scope: str,
    variables: dict[bytes, Any],
    knows_trainable: bool,
) -> None:
    kind = collection.WhichOneof("kind")
    if kind is None:
        tf_logging.error("Cannot identify data type for collection %s. Skipping.", key)
        return
    values = getattr(collection, kind).value
    # Metric variables are written like all variables even where nobody registered how.
    functions_key = GraphKeys.GLOBAL_VARIABLES if key == GraphKeys.METRIC_VARIABLES else key
    from_proto = get_from_proto_function(functions_key)
    if from_proto is not None and kind == "bytes_list":
        proto_type = get_collection_proto_type(functions_key)
        for value in values:
            shared = key in _VARIABLE_COLLECTIONS
            item = variables.get(value) if shared else None
            if item is None:
                proto = proto_type.FromString(value)
                if shared and not knows_trainable:
                    proto.trainable = key == GraphKeys.TRAINABLE_VARIABLES
                item = from_proto(proto, import_scope=scope)
                if shared:
                    # One object for a variable, however many collections it is in.
                    variables[value] = item
            graph.add_to_collection(key, item)
        return
    for value in values:
        if kind == "node_list":
            item = graph.as_graph_element(prepend_name_scope(value, scope))
        elif kind == "int64_list":
            item = int(value)
        else:
            item = prepend_name_scope(value, scope)
        graph.add_to_collection(key, item)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _full_name(value: Any) -> str | None:
    descriptor = getattr(value, "DESCRIPTOR", None)
    return getattr(descriptor, "full_name", None)


def _own_message(meta_graph: Any) -> Any:
    from kvarn import protos

    if isinstance(meta_graph, protos.MetaGraphDef):
        return meta_graph
    return protos.MetaGraphDef.FromString(meta_graph.SerializeToString())
