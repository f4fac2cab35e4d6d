"""What looking at a checkpoint brings to light: one finding each."""

from __future__ import annotations

from dataclasses import dataclass

from kvarn.errors import OpError

# Kinds of findings.
INDEX = "index"  # the table of names
HEADER = "header"  # what the index says of the checkpoint as a whole
ENTRY = "entry"  # what the index says of one tensor
MISSING_FILE = "missing file"
SHORT_FILE = "short file"
CHECKSUM = "checksum"  # bytes of a tensor
SLICES = "slices"  # of a partitioned tensor: one is missing, or two overlap
EMBEDDING = "embedding"  # tensors of an embedding variable that do not fit one another
META_GRAPH = "meta graph"
STATE = "state"  # the file `checkpoint`
UNUSED_BYTES = "unused bytes"  # in a data file, that belong to no tensor


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, or a note.

    Attributes:
      kind: one of the constants above.
      text: what was found and what was expected; no advice.
      name: the tensor or embedding variable concerned.
      file, offset: where.
      broken: False for a note: nothing is lost.
    """

    kind: str
    text: str
    name: str | None = None
    file: str | None = None
    offset: int | None = None
    broken: bool = True

    @classmethod
    def of_error(cls, kind: str, error: OpError, name: str | None = None) -> Finding:
        """What an error says, without its hint."""
        text = error.without_hint
        return cls(kind, text, error.name if name is None else name, error.path, error.offset)
