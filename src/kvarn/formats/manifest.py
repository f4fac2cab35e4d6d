"""The manifest of a save: where it stands in a chain of full saves and increments.

``<prefix>.kvarn_manifest`` lies beside the index of a checkpoint.  Other readers know nothing of it, and a
checkpoint without one, or with a damaged one, restores as ever; only what goes along a chain needs it.
One JSON object in UTF-8, at most 64 MiB:

    {"format": "kvarn manifest",
     "version": 1,
     "chain": "4f1e…",                  32 hex digits, drawn at random when a chain begins
     "number": 4,                       of this save in its chain, from 1
     "kind": "increment",               or "full"
     "cumulative": true,                an increment since the last full save, not since the save before
     "parent": {"number": 1,            what this save adds to; null for the first of a chain
                "kind": "full",
                "step": 300,
                "digest": "9b0c…"},     SHA-256 of the parent's manifest, the whole file
     "steps": [300, 400],               of training: the first is not in it, the last is; null where unknown
     "index_digest": "77ab…",           SHA-256 of the index that this manifest belongs to
     "variables": {                     embedding variables, their parts and slots, by stem of their tensors
       "b/part_0": {"upserts": 12,      rows in this save: of a full save all that there are
                    "filtered": 0,      keys that a filter has not admitted yet
                    "deletions": 3,     keys that were removed since the parent
                    "keeps": ["freqs"], which of "freqs" and "versions" the table keeps
                    "counters": {"admitted": 40, "evicted_age": 3}},
       "b/part_0/Adagrad": {…}},
     "rows": {                          ordinary variables of which an increment has single rows, by name
       "w/part_1": {"tensor": "w",      in the full save
                    "slice": "20 3 10,10:-",
                    "upserts": 5}},
     "digest": "c0de…"}                 SHA-256 of the same object without this member, sorted and compact

``counters`` are the table's since it was made; those of a slot are its primary's and stand there alone.

The chain of digests reaches from a save over its parents to the bytes of their indexes, and these have the
checksums of all values.  No path is in a manifest: files may be renamed, moved and copied together.

The index commits a checkpoint.  The manifest is written after it, since it has the digest of the index:
a process that dies between the two leaves a checkpoint without manifest.

Source: kvarn's own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from kvarn.errors import DataLossError, OpError
from kvarn.io import FileSystem, Path, as_path, atomic_replace, file_system_of

SUFFIX: Final = ".kvarn_manifest"
FORMAT: Final = "kvarn manifest"
VERSION: Final = 1
FULL: Final = "full"
INCREMENT: Final = "increment"
FREQS: Final = "freqs"
VERSIONS: Final = "versions"

# More than any real one has; what is longer is not read.
LONGEST_BYTES: Final = 64 << 20
# Numbers are those of int64.
_LARGEST: Final = 2**63 - 1

_CHAIN = re.compile(r"[0-9a-f]{32}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Parent:
    """The save that another adds to.

    Attributes:
      number, kind, step: of it; step None if unknown.
      digest: SHA-256 of its manifest.
    """

    number: int
    kind: str
    step: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class VariableCounts:
    """What a save has of one embedding variable, part or slot; see the picture above."""

    upserts: int
    filtered: int = 0
    deletions: int = 0
    keeps: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What an increment has of an ordinary variable, or a part of one, of which it has single rows."""

    tensor: str
    slice: str
    upserts: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says; the attributes are those of the picture above, ``steps`` (first, last)."""

    chain: str
    number: int
    kind: str
    cumulative: bool
    parent: Parent | None
    steps: tuple[int | None, int | None]
    index_digest: str
    variables: Mapping[str, VariableCounts] = field(default_factory=dict)
    rows: Mapping[str, RowCounts] = field(default_factory=dict)

    @property
    def step(self) -> int | None:
        """The last step that is in it."""
        return self.steps[1]

    def serialize(self) -> bytes:
        """The bytes of the file."""
        document = {"format": FORMAT, "version": VERSION, **asdict(self)}
        document["digest"] = _digest_of(document)
        return json.dumps(document, indent=1, ensure_ascii=True).encode() + b"\n"


def manifest_filename(prefix: str) -> str:
    """Where the manifest of a checkpoint is."""
    return prefix + SUFFIX


def digest(data: bytes) -> str:
    """SHA-256 in hex digits."""
    return hashlib.sha256(data).hexdigest()


def write_manifest(prefix: Path, manifest: Manifest, fs: FileSystem | None = None) -> str:
    """Writes the manifest of a checkpoint, whole or not at all; its digest, as its children name it."""
    path = manifest_filename(as_path(prefix))
    data = manifest.serialize()
    atomic_replace(fs or file_system_of(path), path, data)
    return digest(data)


def read_manifest(prefix: Path, fs: FileSystem | None = None) -> tuple[Manifest, str]:
    """The manifest of a checkpoint, and its digest.

    Raises:
      NotFoundError: there is none.
      DataLossError: it is damaged, or of a version that this one does not know.
    """
    path = manifest_filename(as_path(prefix))
    data = read_bounded(path, fs)
    return parse_manifest(data, path), digest(data)


def read_bounded(path: str, fs: FileSystem | None = None) -> bytes:
    """All bytes of a small file; DataLossError for one that is longer than any manifest or index of one."""
    file = (fs or file_system_of(path)).open_read(path)
    try:
        if file.size > LONGEST_BYTES:
            raise _damaged(path, f"it has {file.size} bytes, more than {LONGEST_BYTES}")
        return bytes(file.read(0, file.size))
    finally:
        file.close()


def parse_manifest(data: bytes, path: str = "") -> Manifest:
    """The manifest that bytes are.

    Raises:
      DataLossError: they are none; the text says which member is wrong.
    """
    if len(data) > LONGEST_BYTES:
        raise _damaged(path, f"it has {len(data)} bytes, more than {LONGEST_BYTES}")
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse,
            parse_float=_refuse,
        )
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is no JSON: {error}") from None
    return _Parser(path).manifest(document)


class _Parser:
    """Takes a JSON document apart; whatever is not as it should be is a DataLossError."""

    def __init__(self, path: str) -> None:
        self._path = path

    def manifest(self, document: Any) -> Manifest:
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise self._wrong("format", "")
        version = document.get("version")
        if type(version) is not int or version != VERSION:
            raise self._wrong("version", f"; this kvarn reads version {VERSION}")
        stored = document.pop("digest", None)
        if not isinstance(stored, str) or stored != _digest_of(document):
            raise self._wrong("digest", ": what it says was changed")
        self._members(
            document,
            "format version chain number kind cumulative parent steps index_digest variables rows",
            "",
        )
        kind = self._kind(document["kind"], "kind")
        cumulative = document["cumulative"]
        if not isinstance(cumulative, bool):
            raise self._wrong("cumulative", "")
        number = self._number(document["number"], "number", least=1)
        parent = None if document["parent"] is None else self._parent(document["parent"])
        if parent is None and kind == INCREMENT:
            raise self._wrong("parent", ": an increment has one")
        if parent is not None and parent.number >= number:
            raise self._wrong("parent", ": its number is not less")
        return Manifest(
            self._match(document["chain"], "chain", _CHAIN),
            number,
            kind,
            cumulative,
            parent,
            self._steps(document["steps"]),
            self._match(document["index_digest"], "index_digest", _DIGEST),
            {
                name: self._variable(value, f"variables of '{name}'")
                for name, value in self._object(document["variables"], "variables").items()
            },
            {
                name: self._rows(value, f"rows of '{name}'")
                for name, value in self._object(document["rows"], "rows").items()
            },
        )

    def _parent(self, value: Any) -> Parent:
        self._members(value, "number kind step digest", "parent")
        return Parent(
            self._number(value["number"], "parent", least=1),
            self._kind(value["kind"], "parent"),
            self._step(value["step"], "parent"),
            self._match(value["digest"], "parent", _DIGEST),
        )

    def _variable(self, value: Any, what: str) -> VariableCounts:
        self._members(value, "upserts filtered deletions keeps counters", what)
        keeps = value["keeps"]
        if keeps not in ([], [FREQS], [VERSIONS], [FREQS, VERSIONS]):
            raise self._wrong(what, "")
        return VariableCounts(
            self._number(value["upserts"], what),
            self._number(value["filtered"], what),
            self._number(value["deletions"], what),
            tuple(keeps),
            {
                reason: self._number(count, what)
                for reason, count in self._object(value["counters"], what).items()
            },
        )

    def _rows(self, value: Any, what: str) -> RowCounts:
        self._members(value, "tensor slice upserts", what)
        if not isinstance(value["tensor"], str) or not isinstance(value["slice"], str):
            raise self._wrong(what, "")
        return RowCounts(value["tensor"], value["slice"], self._number(value["upserts"], what))

    def _steps(self, value: Any) -> tuple[int | None, int | None]:
        if not isinstance(value, list) or len(value) != 2:
            raise self._wrong("steps", "")
        return self._step(value[0], "steps"), self._step(value[1], "steps")

    def _step(self, value: Any, what: str) -> int | None:
        return None if value is None else self._number(value, what, least=-_LARGEST - 1)

    def _number(self, value: Any, what: str, least: int = 0) -> int:
        if type(value) is not int or not least <= value <= _LARGEST:
            raise self._wrong(what, "")
        return value

    def _kind(self, value: Any, what: str) -> str:
        if value not in (FULL, INCREMENT):
            raise self._wrong(what, "")
        return FULL if value == FULL else INCREMENT

    def _match(self, value: Any, what: str, pattern: re.Pattern[str]) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise self._wrong(what, "")
        return value

    def _object(self, value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(what, "")
        return value

    def _members(self, value: Any, names: str, what: str) -> None:
        if not isinstance(value, dict) or sorted(value) != sorted(names.split()):
            raise self._wrong(what or "names of the members", "")

    def _wrong(self, what: str, why: str) -> OpError:
        return _damaged(self._path, f"its {what} cannot be{why}")


def _digest_of(document: dict[str, Any]) -> str:
    return digest(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _refuse(text: str) -> Any:
    raise ValueError(f"a manifest has no number like {text[:20]}")


def _damaged(path: str, what: str) -> OpError:
    return DataLossError.of(
        f"the manifest '{path}' is damaged: {what}",
        path=path,
        hint="The checkpoint beside it restores without; a chain needs the manifest: take another copy.",
    )
