"""`DynamicEmbeddingVariable`: rows of as many blocks as their key deserves, up to ``embedding_block_num``.

Source: `DynamicEmbeddingVariable` in tensorflow/python/ops/kv_variable_ops.py of DeepRec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import colocate_with
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.ops import array, gather, math, selection
from kvarn.variables.embedding_variable import EmbeddingVariable
from kvarn.variables.save_slice_info import SaveSliceInfo
from kvarn.variables.trackable import TrackableByName


class DynamicEmbeddingVariable(TrackableByName):
    """Embedding variables ``<name>/block0`` …, of one dimension each, that are looked up side by side.

    The blocks are the variables: they are in the collections, optimizers train them, checkpoints hold them.
    A key is in a block only if it was looked up with at least so many blocks.

    Args:
      name: of the whole.
      ev_list: the blocks in order.
      save_slice_info: which part of a partitioned variable this is.

    Raises:
      ValueError: no blocks.
    """

    def __init__(
        self, name: str, ev_list: Sequence[EmbeddingVariable], save_slice_info: SaveSliceInfo | None = None
    ) -> None:
        if not ev_list:
            raise ValueError("ev list must not be empty")
        self._name = name
        self._ev_list = list(ev_list)
        self._save_slice_info = save_slice_info

    @property
    def name(self) -> str:
        return self._name

    @property
    def dtype(self) -> dtypes.DType:
        found: dtypes.DType = self.mainev().dtype
        return found

    @property
    def shape(self) -> TensorShape:
        """``[block dimension * number of blocks]``."""
        return as_shape([sum(int(block.shape.as_list()[0] or 0) for block in self._ev_list)])

    def get_shape(self) -> TensorShape:
        return self.shape

    @property
    def op(self) -> Any:
        """The handle of block 0, beside which lookups are placed."""
        return self.mainev().op

    @property
    def graph(self) -> Any:
        return self.mainev().graph

    @property
    def device(self) -> Any:
        return self.mainev().device

    @property
    def initializer(self) -> Any:
        """The operation that makes all blocks exist."""
        from kvarn.ops import control

        return control.group(*[block.initializer for block in self._ev_list])

    def mainev(self) -> EmbeddingVariable:
        """Block 0."""
        return self._ev_list[0]

    def blocknum(self) -> int:
        """Number of blocks."""
        return len(self._ev_list)

    def need_counts(self) -> bool:
        """Whether lookups must say how often each id occurs."""
        return self.mainev().need_counts()

    def __iter__(self) -> Iterator[EmbeddingVariable]:
        return iter(self._ev_list)

    def __len__(self) -> int:
        return len(self._ev_list)

    def _get_save_slice_info(self) -> SaveSliceInfo | None:
        return self._save_slice_info

    def sparse_read(self, indices: Any, blocknums: Any, name: str | None = None) -> list[Any]:
        """Of each block, the rows of the ids that have it: item i is [number of blocknums > i, block dimension].

        Args:
          indices: [n] of the key type.
          blocknums: integers [n], how many blocks each id has.
        """
        ids, numbers = self._vectors(indices, blocknums)
        return [
            block.sparse_read(selection.boolean_mask(ids, math.greater(numbers, i)), name=name)
            for i, block in enumerate(self._ev_list)
        ]

    def rows(self, indices: Any, blocknums: Any, counts: Any = None) -> Any:
        """Whole rows [n, dim] of ids [n], zeros in the blocks that an id does not have.

        Args:
          counts: how many occurrences each id stands for, [n] or None.
        """
        ids, numbers = self._vectors(indices, blocknums)
        n = array.size(ids)
        columns = []
        for i, block in enumerate(self._ev_list):
            with colocate_with(block.op):
                places = selection.where(math.greater(numbers, i))
                at = places[:, 0]
                of_block = None if counts is None else gather.gather(counts, at)
                found = block.sparse_read(gather.gather(ids, at), counts=of_block)
                width = int(block.shape.as_list()[0] or 0)
                shape = array.stack(
                    [math.cast(n, dtypes.int64), convert_to_tensor(width, dtype=dtypes.int64)]
                )
                column = gather.scatter_nd(places, found, shape)
                column.set_shape(ids.get_shape().concatenate([width]))
            columns.append(column)
        return array.concat(columns, 1)

    def _vectors(self, indices: Any, blocknums: Any) -> tuple[Any, Any]:
        ids = convert_to_tensor(indices, preferred_dtype=self.mainev()._invalid_key_type)
        return ids, convert_to_tensor(blocknums)

    def __repr__(self) -> str:
        return (
            f"<tf.DynamicEmbeddingVariable '{self.name}' blocks={self.blocknum()} embedding dim={self.shape} "
            f"dtype={self.dtype.name}>"
        )
