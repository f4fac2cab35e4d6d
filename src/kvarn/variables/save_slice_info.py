"""Where a part of a partitioned variable lies in the whole.

Source: `Variable.SaveSliceInfo` of tensorflow/python/ops/variables.py (1.15); ``var_full_name`` is DeepRec's.
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.proto_functions import prepend_name_scope, strip_name_scope


class SaveSliceInfo:
    """What a checkpoint must know of a variable that is one slice of a larger one.

    Args:
      full_name: name of the whole variable.
      full_shape: its shape, list of int.
      var_offset: where the slice begins, one int for each dimension.
      var_shape: the shape of the slice.
      save_slice_info_def: a SaveSliceInfoDef message to take all this from.
      import_scope: put before the name in that message.
      var_full_name: name of the part; parts of embedding variables have one.
    """

    def __init__(
        self,
        full_name: str | None = None,
        full_shape: Any = None,
        var_offset: Any = None,
        var_shape: Any = None,
        save_slice_info_def: Any = None,
        import_scope: str | None = None,
        var_full_name: str | None = None,
    ) -> None:
        if save_slice_info_def is not None:
            self.full_name = prepend_name_scope(save_slice_info_def.full_name, import_scope)
            self.full_shape = list(save_slice_info_def.full_shape)
            self.var_offset = list(save_slice_info_def.var_offset)
            self.var_shape = list(save_slice_info_def.var_shape)
        else:
            self.full_name = full_name
            self.full_shape = full_shape
            self.var_offset = var_offset
            self.var_shape = var_shape
        self.var_full_name = var_full_name

    @property
    def spec(self) -> str:
        """The slice as SaveV2 and RestoreV2 take it, such as ``"4 2 0,2:0,2"``."""
        shape = "".join(f"{d} " for d in self.full_shape)
        slices = zip(self.var_offset, self.var_shape, strict=True)
        return shape + ":".join(f"{start},{length}" for start, length in slices)

    def to_proto(self, export_scope: str | None = None) -> Any:
        """A SaveSliceInfoDef; None for a variable outside ``export_scope``."""
        from kvarn import protos

        if export_scope is not None and not str(self.full_name).startswith(export_scope):
            return None
        return protos.SaveSliceInfoDef(
            full_name=strip_name_scope(self.full_name, export_scope),
            full_shape=[int(d) for d in self.full_shape],
            var_offset=[int(d) for d in self.var_offset],
            var_shape=[int(d) for d in self.var_shape],
        )
