"""``kvarn freeze``: one file with a graph and the values of its variables."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from kvarn import errors
from kvarn.cli.arguments import Json, Overwrite
from kvarn.cli.output import count_text, escaped, line, print_json


def freeze(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="a SavedModel, or the .meta file of a checkpoint")
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="the file of the frozen GraphDef")],
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output", metavar="NODE", help="what the graph is for; by default the outputs of the signature"
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NODE", help="what is fed, for transforms; by default the signature's inputs"
        ),
    ] = None,
    tags: Annotated[
        str, typer.Option(metavar="TAGS", help="the tags of the SavedModel's graph, with commas")
    ] = "serve",
    signature: Annotated[
        str, typer.Option(metavar="KEY", help="the SavedModel's signature")
    ] = "serving_default",
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PREFIX", help="the values for a .meta file; by default those beside it"),
    ] = None,
    transforms: Annotated[
        list[str] | None,
        typer.Option(
            "--transform", metavar="TRANSFORM", help="as TransformGraph takes it; in the order given"
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a graph with its variables as constants, cut down to what the outputs need, without devices.

    Example: kvarn freeze /m/model model.pb --transform 'remove_nodes(op=Identity)' --transform fold_constants
    """
    from kvarn.graph.graph import Graph
    from kvarn.graph.transforms.transform_graph import TransformGraph
    from kvarn.io import as_path, atomic_replace, file_system_of
    from kvarn.protos import serialize
    from kvarn.saved_model.freeze_graph import freeze_graph
    from kvarn.saved_model.loader import maybe_saved_model_directory

    if not overwrite and file_system_of(target).exists(as_path(target)):
        raise typer.BadParameter(f"'{target}' exists; --overwrite replaces it", param_hint="TARGET")
    is_model = maybe_saved_model_directory(source)
    try:
        if is_model and not outputs:
            given, outputs = _of_signature(source, tags, signature)
            inputs = inputs or given
        if not outputs:
            raise typer.BadParameter("a .meta file does not say what its graph is for", param_hint="--output")
        with Graph().as_default():
            frozen = freeze_graph(
                None,
                None,
                True,
                None if is_model else checkpoint or source.removesuffix(".meta"),
                ",".join(outputs),
                None,
                None,
                None,
                True,
                None,
                input_meta_graph=None if is_model else source,
                input_saved_model_dir=source if is_model else None,
                saved_model_tags=tags,
            )
        if transforms:
            frozen = TransformGraph(frozen, inputs or [], outputs, transforms)
    except errors.OpError:
        raise
    except (AssertionError, KeyError, RuntimeError, ValueError) as e:
        raise errors.InvalidArgumentError.of(f"'{source}' cannot be frozen: {e}", path=source) from e
    data = serialize(frozen)
    atomic_replace(file_system_of(target), as_path(target), data)
    _report(target, frozen, len(data), inputs or [], outputs, as_json)


def _of_signature(source: str, tags: str, key: str) -> tuple[list[str], list[str]]:
    """The nodes of the tensors that a signature takes, and of those that it gives."""
    from kvarn.saved_model.saved_model_utils import get_meta_graph_def

    signatures = get_meta_graph_def(source, tags).signature_def
    if key not in signatures:
        known = ", ".join(sorted(signatures)) or "none"
        raise typer.BadParameter(f"'{source}' has no signature '{key}': {known}", param_hint="--signature")
    found = signatures[key]
    return _nodes(found.inputs), _nodes(found.outputs)


def _nodes(infos: Any) -> list[str]:
    names = []
    for _, info in sorted(infos.items()):
        sparse = info.coo_sparse
        parts = [sparse.indices_tensor_name, sparse.values_tensor_name, sparse.dense_shape_tensor_name]
        names.extend([info.name] if info.WhichOneof("encoding") == "name" else parts)
    return list(dict.fromkeys(name.partition(":")[0] for name in names))


def _report(
    target: str, graph_def: Any, size_bytes: int, inputs: list[str], outputs: list[str], as_json: bool
) -> None:
    constants = sum(node.op == "Const" for node in graph_def.node)
    if as_json:
        print_json(
            {
                "target": os.fspath(target),
                "bytes": size_bytes,
                "nodes": len(graph_def.node),
                "constants": constants,
                "inputs": inputs,
                "outputs": outputs,
            }
        )
        return
    nodes = count_text(len(graph_def.node), "node")
    line(f"{escaped(target)}: {nodes}, {constants} of them constants, {size_bytes} bytes")
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if names:
            line(f"  {what}: {escaped(', '.join(names))}")
