"""SavedModels into sessions.

Source: tensorflow/python/saved_model/loader_impl.py (1.15).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from kvarn import tf_logging
from kvarn.graph import registry
from kvarn.graph.graph import Graph, get_collection
from kvarn.io import Path, as_path, file_system_of
from kvarn.saved_model import constants, signature_def_utils, utils
from kvarn.saved_model.assets import get_asset_tensors
from kvarn.saver.meta_graph import _import_meta_graph_with_return_elements, naming_file
from kvarn.saver.saver import Saver
from kvarn.variables import listing


def parse_saved_model(export_dir: Path) -> Any:
    """The SavedModel message of a folder, from ``saved_model.pb``, or else ``saved_model.pbtxt``.

    Raises:
      OSError: there is no such file, or it is damaged.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError

    from kvarn import protos

    binary, text = _files(export_dir)
    content = _content(binary)
    if content is not None:
        try:
            return protos.SavedModel.FromString(content)
        except DecodeError as e:
            raise OSError(f"Cannot parse file {binary}: {e}.") from e
    content = _content(text)
    if content is not None:
        try:
            return protos.from_text(content.decode("utf-8"), protos.SavedModel())
        except (text_format.ParseError, UnicodeDecodeError) as e:
            raise OSError(f"Cannot parse file {text}: {e}.") from e
    names = f"{constants.SAVED_MODEL_FILENAME_PBTXT}|{constants.SAVED_MODEL_FILENAME_PB}"
    raise OSError(f"SavedModel file does not exist at: {as_path(export_dir)}/{{{names}}}")


def maybe_saved_model_directory(export_dir: Path) -> bool:
    """Whether a folder has the file of a SavedModel; it is not read."""
    return any(file_system_of(path).exists(path) for path in _files(export_dir))


def contains_saved_model(export_dir: Path) -> bool:
    """`maybe_saved_model_directory`, by its later name."""
    return maybe_saved_model_directory(export_dir)


def get_init_op(meta_graph_def: Any, import_scope: str | None = None) -> Any:
    """What is to be run after a meta graph of the default graph was restored, or None.

    Raises:
      RuntimeError: there are several.
      NotFoundError: the graph does not have it.
    """
    return (
        _op_of_signature(meta_graph_def, constants.INIT_OP_SIGNATURE_KEY, import_scope)
        or _op_of_collection(meta_graph_def, constants.MAIN_OP_KEY)
        or _op_of_collection(meta_graph_def, constants.LEGACY_INIT_OP_KEY)
    )


def get_train_op(meta_graph_def: Any, import_scope: str | None = None) -> Any:
    """The Operation or Tensor of the default graph that trains it, or None.

    Raises:
      RuntimeError: there are several.
      NotFoundError: the graph does not have it.
    """
    found = _op_of_signature(meta_graph_def, constants.TRAIN_OP_SIGNATURE_KEY, import_scope)
    return _op_of_collection(meta_graph_def, constants.TRAIN_OP_KEY) if found is None else found


def load(
    sess: Any, tags: Iterable[str], export_dir: Path, import_scope: str | None = None, **saver_kwargs: Any
) -> Any:
    """Adds a graph of a SavedModel to the session's, restores its variables and runs its main operation.

    Args:
      sess: the Session.
      tags: exactly the tags of the graph.
      export_dir: the folder of the SavedModel.
      import_scope: name scope to put the graph into.
      saver_kwargs: further arguments of `tf.train.import_meta_graph`, such as ``clear_devices``.

    Returns:
      The MetaGraphDef as it is in the file.

    Raises:
      OSError: there is no SavedModel, or it is damaged.
      RuntimeError: it has no graph with these tags.
      NotFoundError: the checkpoint lacks a variable of the graph.
    """
    return SavedModelLoader(export_dir).load(sess, tags, import_scope, **saver_kwargs)


class SavedModelLoader:
    """Does the steps of `load` one by one.

    Args:
      export_dir: the folder of the SavedModel.

    Raises:
      OSError: there is none, or it is damaged.
    """

    def __init__(self, export_dir: Path) -> None:
        self._export_dir = export_dir
        self._variables_path = utils.get_variables_path(export_dir)
        self._saved_model = parse_saved_model(export_dir)

    @property
    def export_dir(self) -> Path:
        """The folder."""
        return self._export_dir

    @property
    def variables_path(self) -> str:
        """The prefix of its checkpoint."""
        return self._variables_path

    @property
    def saved_model(self) -> Any:
        """The SavedModel message."""
        return self._saved_model

    def get_meta_graph_def_from_tags(self, tags: Iterable[str]) -> Any:
        """The MetaGraphDef that has these tags and no others.

        Raises:
          RuntimeError: there is none.
        """
        tags = list(tags) if not isinstance(tags, set | frozenset) else tags
        available = [set(g.meta_info_def.tags) for g in self._saved_model.meta_graphs]
        for graph, known in zip(self._saved_model.meta_graphs, available, strict=True):
            if known == set(tags):
                return graph
        raise RuntimeError(
            f"MetaGraphDef associated with tags {str(tags).strip('[]')} could not be found in SavedModel. To "
            "inspect available tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
            f"\navailable_tags: {available}"
        )

    def load_graph(
        self, graph: Graph, tags: Iterable[str], import_scope: str | None = None, **saver_kwargs: Any
    ) -> tuple[Any, Any]:
        """Adds the graph that has ``tags`` to ``graph``.

        Attributes that its nodes lack get their defaults, in the message too, as TensorFlow does it.

        Returns:
          Its Saver (None if it has no variables), and the elements that ``return_elements`` asks for.

        Raises:
          RuntimeError: there is no graph with these tags.
          OSError, KeyError, TypeError, ValueError, NotFoundError: the graph does not fit, or is damaged; a note of
            the error names the folder.
        """
        meta_graph_def = self.get_meta_graph_def_from_tags(tags)
        with graph.as_default(), naming_file(as_path(self._export_dir)):
            found = _import_meta_graph_with_return_elements(
                meta_graph_def, import_scope=import_scope, **saver_kwargs
            )
        _add_default_attrs(meta_graph_def.graph_def)
        return found

    def restore_variables(self, sess: Any, saver: Any, import_scope: str | None = None) -> None:
        """Restores the checkpoint.

        Args:
          sess: the Session.
          saver: what `load_graph` returned, or another Saver.
          import_scope: the name scope of the graph.

        Raises:
          ValueError: ``saver`` is None, but there are variables.
        """
        with sess.graph.as_default():
            if saver is None and not listing._all_saveable_objects(scope=import_scope):
                tf_logging.info("The specified SavedModel has no variables; no checkpoints were restored.")
            elif isinstance(saver, Saver):
                saver.restore(sess, self._variables_path)
            else:
                raise ValueError(
                    "No tf.train.Saver object was passed to the function SavedModelLoader.restore_variables. "
                    "Since there are variables in the graph, a saver is required."
                )

    def run_init_ops(self, sess: Any, tags: Iterable[str], import_scope: str | None = None) -> None:
        """Runs the main operation, with the assets where they are now."""
        meta_graph_def = self.get_meta_graph_def_from_tags(tags)
        with sess.graph.as_default():
            assets = get_asset_tensors(self._export_dir, meta_graph_def, import_scope)
            init_op = get_init_op(meta_graph_def, import_scope)
            if init_op is not None:
                sess.run(fetches=[init_op], feed_dict=assets)

    def load(
        self, sess: Any, tags: Iterable[str], import_scope: str | None = None, **saver_kwargs: Any
    ) -> Any:
        """All steps; see `kvarn.saved_model.loader.load`."""
        with sess.graph.as_default():
            saver, _ = self.load_graph(sess.graph, tags, import_scope, **saver_kwargs)
            self.restore_variables(sess, saver, import_scope)
            self.run_init_ops(sess, tags, import_scope)
        return self.get_meta_graph_def_from_tags(tags)


def _files(export_dir: Path) -> tuple[str, str]:
    directory = as_path(export_dir)
    return (
        os.path.join(directory, constants.SAVED_MODEL_FILENAME_PB),
        os.path.join(directory, constants.SAVED_MODEL_FILENAME_PBTXT),
    )


def _content(path: str) -> bytes | None:
    fs = file_system_of(path)
    if not fs.exists(path):
        return None
    file = fs.open_read(path)
    try:
        return file.read(0, file.size)
    finally:
        file.close()


def _add_default_attrs(graph_def: Any) -> None:
    defaults: dict[str, list[Any]] = {}
    for node in graph_def.node:
        if node.op not in defaults:
            data = registry.global_registry.find(node.op)
            attrs = () if data is None else data.op_def.to_proto().attr
            defaults[node.op] = [a for a in attrs if a.HasField("default_value")]
        for attr in defaults[node.op]:
            if attr.name not in node.attr:
                node.attr[attr.name].CopyFrom(attr.default_value)


def _op_of_signature(meta_graph_def: Any, key: str, import_scope: str | None) -> Any:
    if key not in meta_graph_def.signature_def:
        return None
    return signature_def_utils.load_op_from_signature_def(
        meta_graph_def.signature_def[key], key, import_scope
    )


def _op_of_collection(meta_graph_def: Any, key: str) -> Any:
    if key not in meta_graph_def.collection_def:
        return None
    names = meta_graph_def.collection_def[key].node_list.value
    if len(names) != 1:
        raise RuntimeError(f"Expected exactly one SavedModel init op. Found: {names}")
    return get_collection(key)[0]
