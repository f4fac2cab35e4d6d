"""Graphs with the values of a checkpoint in place of their variables.

`freeze_graph` takes files, `freeze_graph_with_def_protos` messages; ``python -m kvarn.saved_model.freeze_graph`` has
the flags of TensorFlow's tool.

Source: tensorflow/python/tools/freeze_graph.py (1.15).
"""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Sequence
from typing import Any

from kvarn.checkpoint import NewCheckpointReader, checkpoint_exists
from kvarn.graph import graph_util, importer
from kvarn.graph.session import Session
from kvarn.io import as_path, atomic_replace, file_system_of
from kvarn.saved_model import loader, tag_constants
from kvarn.saved_model.saved_model_utils import get_meta_graph_def
from kvarn.saver.builder import V1, V2
from kvarn.saver.saver import Saver, import_meta_graph


def freeze_graph(
    input_graph: str | None,
    input_saver: str | None,
    input_binary: bool,
    input_checkpoint: str | None,
    output_node_names: str,
    restore_op_name: Any,
    filename_tensor_name: Any,
    output_graph: str | None,
    clear_devices: bool,
    initializer_nodes: str | None,
    variable_names_whitelist: str = "",
    variable_names_blacklist: str = "",
    input_meta_graph: str | None = None,
    input_saved_model_dir: str | None = None,
    saved_model_tags: str = tag_constants.SERVING,
    checkpoint_version: int = V2,
) -> Any:
    """Makes the variables of a graph constants.

    Adds the graph to the default graph, which should be empty.  Give one of the graph files or folders; with
    ``input_graph`` alone, the checkpoint says which of its variables there are.

    Args:
      input_graph: file of a GraphDef.
      input_saver: file of a SaverDef, for ``input_graph``.
      input_binary: the files of messages are binary; otherwise they are text.
      input_checkpoint: the prefix of a checkpoint; not needed for a SavedModel.
      output_node_names: names of nodes, separated by commas; what they do not need is left out.
      restore_op_name, filename_tensor_name: not used, as in TensorFlow.
      output_graph: file to write the GraphDef to, binary; None or "" for none.
      clear_devices: leave devices out.
      initializer_nodes: names of operations to run after the restore, separated by commas; as in TensorFlow not
        with ``input_saver`` or a SavedModel.
      variable_names_whitelist: the variables to convert, separated by commas; all when empty.
      variable_names_blacklist: variables not to convert, separated by commas.
      input_meta_graph: file of a MetaGraphDef.
      input_saved_model_dir: folder of a SavedModel.
      saved_model_tags: the tags of its graph, separated by commas.
      checkpoint_version: ``SaverDef.V2`` or ``V1``, for the Saver made for ``input_graph``.

    Returns:
      The GraphDef.

    Raises:
      OSError: a file does not exist or is damaged.
      ValueError: there is no such checkpoint, no name of an output, or no variable.
      RuntimeError: the SavedModel has no graph with these tags.
    """
    from kvarn import protos

    graph_def = meta_graph_def = saver_def = None
    if input_saved_model_dir:
        graph_def = get_meta_graph_def(input_saved_model_dir, saved_model_tags).graph_def
    elif input_graph:
        graph_def = _parse("Input graph file", input_graph, input_binary, protos.GraphDef())
    if input_meta_graph:
        meta_graph_def = _parse(
            "Input meta graph file", input_meta_graph, input_binary, protos.MetaGraphDef()
        )
    if input_saver:
        saver_def = _parse("Input saver file", input_saver, input_binary, protos.SaverDef())
    return freeze_graph_with_def_protos(
        graph_def,
        saver_def,
        input_checkpoint,
        output_node_names,
        restore_op_name,
        filename_tensor_name,
        output_graph,
        clear_devices,
        initializer_nodes,
        variable_names_whitelist,
        variable_names_blacklist,
        meta_graph_def,
        input_saved_model_dir,
        _names(saved_model_tags),
        checkpoint_version=checkpoint_version,
    )


def freeze_graph_with_def_protos(
    input_graph_def: Any,
    input_saver_def: Any,
    input_checkpoint: str | None,
    output_node_names: str,
    restore_op_name: Any,
    filename_tensor_name: Any,
    output_graph: str | None,
    clear_devices: bool,
    initializer_nodes: str | None,
    variable_names_whitelist: str = "",
    variable_names_blacklist: str = "",
    input_meta_graph_def: Any = None,
    input_saved_model_dir: str | None = None,
    saved_model_tags: Sequence[str] | None = None,
    checkpoint_version: int = V2,
) -> Any:
    """`freeze_graph` for messages in place of files; the other arguments and the errors are the same."""
    del restore_op_name, filename_tensor_name
    if not input_saved_model_dir and not (input_checkpoint and checkpoint_exists(input_checkpoint)):
        raise ValueError(f"Input checkpoint '{input_checkpoint}' doesn't exist!")
    if not output_node_names:
        raise ValueError("You need to supply the name of a node to --output_node_names.")
    if clear_devices:
        graph_def = input_meta_graph_def.graph_def if input_meta_graph_def else input_graph_def
        for node in graph_def.node if graph_def else ():
            node.device = ""
    if input_graph_def:
        importer.import_graph_def(input_graph_def, name="")
    with Session() as sess:
        initializers = _names(initializer_nodes)
        if input_saver_def:
            Saver(saver_def=input_saver_def, write_version=checkpoint_version).restore(sess, input_checkpoint)
            initializers = []
        elif input_meta_graph_def:
            import_meta_graph(input_meta_graph_def, clear_devices=True).restore(sess, input_checkpoint)
        elif input_saved_model_dir:
            loader.load(sess, saved_model_tags or [], input_saved_model_dir)
            initializers = []
        else:
            assert input_checkpoint is not None
            _saver_of_stored(sess, input_checkpoint, checkpoint_version).restore(sess, input_checkpoint)
        if initializers:
            sess.run(initializers)
        frozen = graph_util.convert_variables_to_constants(
            sess,
            input_meta_graph_def.graph_def if input_meta_graph_def else input_graph_def,
            _names(output_node_names),
            variable_names_whitelist=_names(variable_names_whitelist) or None,
            variable_names_blacklist=_names(variable_names_blacklist) or None,
        )
    if output_graph:
        from kvarn import protos

        atomic_replace(file_system_of(output_graph), as_path(output_graph), protos.serialize(frozen))
    return frozen


def _saver_of_stored(sess: Any, prefix: str, write_version: int) -> Saver:
    """A Saver of the graph's tensors that the checkpoint has by the same names."""
    partitioned = {
        op.name for op in sess.graph.get_operations() for x in op.outputs if re.search(r"/part_\d+/", x.name)
    }
    var_list = {}
    has_partitioned = False
    for name in NewCheckpointReader(prefix).get_variable_to_shape_map():
        # What is not in the graph is of training, such as the global step.
        with contextlib.suppress(KeyError):
            tensor = sess.graph.get_tensor_by_name(f"{name}:0")
            if tensor.op.type == "VarHandleOp":
                # TensorFlow has no Saver of a handle; it takes the variable by a read of it.
                tensor = sess.graph.get_tensor_by_name(f"{name}/Read/ReadVariableOp:0")
            var_list[name] = tensor
            has_partitioned |= any(name in other for other in partitioned)
    try:
        return Saver(var_list=var_list, write_version=write_version)
    except TypeError:
        if has_partitioned:
            raise ValueError(
                "Models containing partition variables cannot be converted from checkpoint files. Please pass "
                "in a SavedModel using the flag --input_saved_model_dir."
            ) from None
        if not any(_is_variable(op) for op in sess.graph.get_operations()):
            raise ValueError(
                "No variables were found in this model. It is likely the model was frozen previously. You "
                "cannot freeze a graph twice."
            ) from None
        raise


def _is_variable(op: Any) -> bool:
    return bool(op.type.startswith("Variable") or op.type.endswith("VariableOp"))


def _names(text: str | None) -> list[str]:
    return text.replace(" ", "").split(",") if text else []


def _parse(what: str, path: str, binary: bool, message: Any) -> Any:
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError

    from kvarn import protos

    name, fs = as_path(path), file_system_of(path)
    if not fs.exists(name):
        raise OSError(f"{what} '{name}' does not exist!")
    with contextlib.closing(fs.open_read(name)) as file:
        content = file.read(0, file.size)
    try:
        if binary:
            message.ParseFromString(content)
        else:
            protos.from_text(content.decode("utf-8"), message)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as e:
        kind = "binary" if binary else "text"
        other = "text" if binary else "binary"
        raise OSError(
            f"Cannot parse {kind} file {name}: {e}\n  If it is {other}, set input_binary to {not binary}."
        ) from e
    return message


def main(unused_args: Any, flags: Any) -> None:
    """Freezes what parsed flags say.

    Raises:
      ValueError: ``checkpoint_version`` is neither 1 nor 2.
    """
    del unused_args
    versions = {1: V1, 2: V2}
    if flags.checkpoint_version not in versions:
        raise ValueError(f"Invalid checkpoint version (must be '1' or '2'): {flags.checkpoint_version}")
    freeze_graph(
        flags.input_graph,
        flags.input_saver,
        flags.input_binary,
        flags.input_checkpoint,
        flags.output_node_names,
        flags.restore_op_name,
        flags.filename_tensor_name,
        flags.output_graph,
        flags.clear_devices,
        flags.initializer_nodes,
        flags.variable_names_whitelist,
        flags.variable_names_blacklist,
        flags.input_meta_graph,
        flags.input_saved_model_dir,
        flags.saved_model_tags,
        versions[flags.checkpoint_version],
    )


_TEXT_FLAGS = (
    ("input_graph", "", "File of the GraphDef."),
    ("input_saver", "", "File of a SaverDef."),
    ("input_checkpoint", "", "Prefix of the checkpoint."),
    ("output_graph", "", "File to write the GraphDef to."),
    ("output_node_names", "", "Names of nodes that the graph is for, separated by commas."),
    ("restore_op_name", "save/restore_all", "Not used."),
    ("filename_tensor_name", "save/Const:0", "Not used."),
    ("initializer_nodes", "", "Operations to run before, separated by commas."),
    ("variable_names_whitelist", "", "The variables to convert, separated by commas; all when empty."),
    ("variable_names_blacklist", "", "Variables not to convert, separated by commas."),
    ("input_meta_graph", "", "File of a MetaGraphDef."),
    ("input_saved_model_dir", "", "Folder of a SavedModel."),
    ("saved_model_tags", tag_constants.SERVING, "The tags of its graph, separated by commas."),
)


def run_main(arguments: Sequence[str] | None = None) -> None:
    """The tool: parses flags, the program's own by default, and freezes."""
    parser = argparse.ArgumentParser(prog="freeze_graph", description=main.__doc__)
    for name, default, text in _TEXT_FLAGS:
        parser.add_argument(f"--{name}", default=default, help=text)
    parser.add_argument("--checkpoint_version", type=int, default=2, help="Format of the checkpoint: 1 or 2.")
    for name, given, text in (
        ("input_binary", False, "Whether the files of messages are binary."),
        ("clear_devices", True, "Whether to leave devices out."),
    ):
        parser.add_argument(f"--{name}", nargs="?", const=True, default=given, type=_flag, help=text)
    main(None, parser.parse_args(arguments))


def _flag(text: str) -> bool:
    return text.lower() == "true"


if __name__ == "__main__":
    run_main()
