"""SavedModels from sessions.

Source: tensorflow/python/saved_model/builder_impl.py (1.15).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from kvarn import tf_logging
from kvarn.graph.graph import add_to_collection, get_collection
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.io import Path, as_path, atomic_replace, file_system_of
from kvarn.saved_model import assets, constants, signature_def_utils, utils
from kvarn.saver.builder import V2
from kvarn.saver.saver import Saver
from kvarn.variables import listing

_DT_INVALID = 0
_MAX_BYTES = 1 << 31


class _Builder:
    """What both builders have in common: the message, the checkpoint and the folder."""

    def __init__(self, export_dir: Path) -> None:
        from kvarn import protos

        self._saved_model = protos.SavedModel(saved_model_schema_version=constants.SAVED_MODEL_SCHEMA_VERSION)
        self._export_dir = export_dir
        self._has_saved_variables = False
        directory = as_path(export_dir)
        fs = file_system_of(directory)
        if not fs.exists(directory):
            fs.make_directories(directory)
        elif fs.list_directory(directory):
            raise AssertionError(
                "Export directory already exists, and isn't empty. Please choose a different export "
                f"directory, or delete all the contents of the specified directory: {directory}"
            )

    def save(self, as_text: bool = False) -> bytes:
        """Writes ``saved_model.pb``, at once: from now on the folder is a SavedModel.

        Args:
          as_text: write ``saved_model.pbtxt`` instead.

        Returns:
          The path of the file.

        Raises:
          ValueError: the message is larger than 2 GB, which no reader takes.
        """
        from kvarn import protos

        directory = as_path(self._export_dir)
        fs = file_system_of(directory)
        fs.make_directories(directory)
        if as_text:
            path = os.path.join(directory, constants.SAVED_MODEL_FILENAME_PBTXT)
            content = protos.to_text(self._saved_model).encode()
        elif self._saved_model.ByteSize() >= _MAX_BYTES:
            raise ValueError(
                f"The SavedModel for '{directory}' would be larger than 2GB, of graphs alone; keep large constants "
                "in variables or assets."
            )
        else:
            path = os.path.join(directory, constants.SAVED_MODEL_FILENAME_PB)
            content = protos.serialize(self._saved_model)
        atomic_replace(fs, path, content)
        tf_logging.info("SavedModel written to: %s", path)
        return os.fsencode(path)

    def _require_variables(self) -> None:
        if not self._has_saved_variables:
            raise AssertionError(
                "Graph state including variables and assets has not been saved yet. Please invoke "
                "`add_meta_graph_and_variables()` first."
            )

    def _require_no_variables(self) -> None:
        if self._has_saved_variables:
            raise AssertionError(
                "Graph state including variables and assets has already been saved. Please invoke "
                "`add_meta_graph()` instead."
            )

    def _save_variables(self, sess: Any, saver: Any) -> Any:
        """Writes the checkpoint; returns the Saver."""
        utils.get_or_create_variables_dir(self._export_dir)
        saver = saver or _default_saver()
        path = utils.get_variables_path(self._export_dir)
        saver.save(sess, path, write_meta_graph=False, write_state=False)
        return saver

    def _add(self, meta_graph_def: Any, tags: Iterable[str], signatures: Mapping[str, Any]) -> None:
        meta_graph_def.meta_info_def.tags.extend(tags)
        for key, signature in signatures.items():
            meta_graph_def.signature_def[key].CopyFrom(signature)
        self._saved_model.meta_graphs.add().CopyFrom(meta_graph_def)

    def _copy_assets(self, paths: dict[str, str]) -> None:
        if paths:
            assets.copy_assets_to_destination_dir(paths, self._export_dir)
        else:
            tf_logging.info("No assets to write.")


class SavedModelBuilder(_Builder):
    """Writes a SavedModel.

    The first graph brings the values of the variables (`add_meta_graph_and_variables`); others may follow
    that use the same variables (`add_meta_graph`); `save` ends it.

    Args:
      export_dir: a folder that is empty or does not exist.

    Raises:
      AssertionError: the folder is not empty.
    """

    def add_meta_graph(
        self,
        tags: Iterable[str],
        signature_def_map: Mapping[str, Any] | None = None,
        assets_collection: Iterable[Any] | None = None,
        legacy_init_op: Any = None,
        clear_devices: bool = False,
        main_op: Any = None,
        strip_default_attrs: bool = False,
        saver: Any = None,
    ) -> None:
        """Adds the default graph; the values of its variables are those of the first graph.

        Args:
          tags: what `load` finds it by.
          signature_def_map: SignatureDef messages by key.
          assets_collection: constant string Tensors with paths of files that move into the SavedModel.
          legacy_init_op: the same as ``main_op``.
          clear_devices: leave devices out.
          main_op: Operation that `load` runs after the restore.
          strip_default_attrs: leave attributes at their defaults out.
          saver: the Saver to restore with; one of all variables, sharded, by default.

        Raises:
          AssertionError: no graph with values was added before, or a TensorInfo of a signature is not whole.
          KeyError: a key of a signature is reserved.
          TypeError, ValueError: ``main_op`` is no Operation, the graph has one already, or an asset is none.
        """
        self._require_variables()
        signatures = _checked(signature_def_map)
        self._add_collections(assets_collection, main_op or legacy_init_op)
        saver = saver or _default_saver()
        self._export(saver, tags, signatures, clear_devices, strip_default_attrs)

    def add_meta_graph_and_variables(
        self,
        sess: Any,
        tags: Iterable[str],
        signature_def_map: Mapping[str, Any] | None = None,
        assets_collection: Iterable[Any] | None = None,
        legacy_init_op: Any = None,
        clear_devices: bool = False,
        main_op: Any = None,
        strip_default_attrs: bool = False,
        saver: Any = None,
    ) -> None:
        """Adds the default graph and writes the values of its variables.

        Args:
          sess: the Session with the values.
          tags, signature_def_map, assets_collection, legacy_init_op, clear_devices, main_op,
            strip_default_attrs, saver: as in `add_meta_graph`.

        Raises:
          AssertionError: a graph with values was added before, or a TensorInfo of a signature is not whole.
          KeyError, TypeError, ValueError: as `add_meta_graph`.
        """
        self._require_no_variables()
        signatures = _checked(signature_def_map)
        self._add_collections(assets_collection, main_op or legacy_init_op)
        saver = self._save_variables(sess, saver)
        self._export(saver, tags, signatures, clear_devices, strip_default_attrs)
        self._has_saved_variables = True

    def _export(
        self,
        saver: Any,
        tags: Iterable[str],
        signatures: Mapping[str, Any],
        clear_devices: bool,
        strip_default_attrs: bool,
    ) -> None:
        graph = saver.export_meta_graph(clear_devices=clear_devices, strip_default_attrs=strip_default_attrs)
        self._add(graph, tags, signatures)

    def _add_collections(self, asset_tensors: Iterable[Any] | None, main_op: Any) -> None:
        """Notes assets and operation in collections of the graph, which the meta graph brings along."""
        self._copy_assets(assets.name_assets(asset_tensors, assets.add_asset_to_collection))
        if main_op is None:
            return
        if not isinstance(main_op, Operation):
            raise TypeError(f"main_op needs to be an Operation: {main_op!r}")
        for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
            if get_collection(key):
                raise ValueError(f"Graph already contains one or more main ops under the collection {key}.")
        add_to_collection(constants.MAIN_OP_KEY, main_op)


class _SavedModelBuilder(_Builder):
    """The builder that writes what TensorFlow 2.x writes: assets and operations outside of collections.

    Args and errors: as `SavedModelBuilder`.
    """

    def add_meta_graph(
        self,
        tags: Iterable[str],
        signature_def_map: Mapping[str, Any] | None = None,
        assets_list: Iterable[Any] | None = None,
        clear_devices: bool = False,
        init_op: Any = None,
        train_op: Any = None,
        saver: Any = None,
    ) -> None:
        """Adds the default graph, without attributes at their defaults.

        Args:
          tags, signature_def_map, clear_devices, saver: as in `SavedModelBuilder.add_meta_graph`.
          assets_list: constant string Tensors with paths of files that move into the SavedModel.
          init_op: Operation that `load` runs after the restore.
          train_op: Operation or Tensor that trains, for `kvarn.saved_model.loader.get_train_op`.
        """
        self._require_variables()
        signatures = _with_operations(signature_def_map, init_op, train_op)
        self._export(saver or _default_saver(), tags, signatures, assets_list, clear_devices, True)

    def add_meta_graph_and_variables(
        self,
        sess: Any,
        tags: Iterable[str],
        signature_def_map: Mapping[str, Any] | None = None,
        assets_list: Iterable[Any] | None = None,
        clear_devices: bool = False,
        init_op: Any = None,
        train_op: Any = None,
        strip_default_attrs: bool = False,
        saver: Any = None,
    ) -> None:
        """Adds the default graph and writes the values of its variables.

        Args:
          sess: the Session with the values.
          strip_default_attrs: leave attributes at their defaults out.
          tags, signature_def_map, assets_list, clear_devices, init_op, train_op, saver: as in
            `add_meta_graph`.
        """
        self._require_no_variables()
        signatures = _with_operations(signature_def_map, init_op, train_op)
        saver = self._save_variables(sess, saver)
        self._export(saver, tags, signatures, assets_list, clear_devices, strip_default_attrs)
        self._has_saved_variables = True

    def _export(
        self,
        saver: Any,
        tags: Iterable[str],
        signatures: Mapping[str, Any],
        asset_tensors: Iterable[Any] | None,
        clear_devices: bool,
        strip_default_attrs: bool,
    ) -> None:
        graph = saver.export_meta_graph(clear_devices=clear_devices, strip_default_attrs=strip_default_attrs)

        def add(name: str, tensor: Tensor) -> None:
            graph.asset_file_def.add().CopyFrom(assets.asset_file_def(name, tensor))

        self._copy_assets(assets.name_assets(asset_tensors, add))
        self._add(graph, tags, signatures)


def _default_saver() -> Saver:
    return Saver(listing._all_saveable_objects(), sharded=True, write_version=V2, allow_empty=True)


def _with_operations(signature_def_map: Mapping[str, Any] | None, init_op: Any, train_op: Any) -> Any:
    signatures = dict(_checked(signature_def_map))
    for key, op in (
        (constants.INIT_OP_SIGNATURE_KEY, init_op),
        (constants.TRAIN_OP_SIGNATURE_KEY, train_op),
    ):
        if op is not None:
            signatures[key] = signature_def_utils.op_signature_def(op, key)
    return signatures


def _checked(signature_def_map: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The signatures, all of which say what their tensors are."""
    signatures = signature_def_map or {}
    for signature in signatures.values():
        for infos in (signature.inputs, signature.outputs):
            for info in infos.values():
                _check_tensor_info(info)
    for key, what in (
        (constants.INIT_OP_SIGNATURE_KEY, "initialization"),
        (constants.TRAIN_OP_SIGNATURE_KEY, "the train op"),
    ):
        if key in signatures:
            raise KeyError(
                f'SignatureDef map key "{key}" is reserved for {what}. Please use a different key.'
            )
    return signatures


def _check_tensor_info(info: Any) -> None:
    encoding = info.WhichOneof("encoding")
    if encoding is None:
        raise AssertionError(
            "All TensorInfo protos used in the SignatureDefs must have one of the 'encoding' fields (e.g., "
            f"name or coo_sparse) set: {info}"
        )
    if encoding == "composite_tensor":
        for component in info.composite_tensor.components:
            _check_tensor_info(component)
    elif info.dtype == _DT_INVALID:
        raise AssertionError(
            f"All TensorInfo protos used in the SignatureDefs must have the dtype field set: {info}"
        )
