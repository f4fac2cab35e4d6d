"""Restore plans as files: JSON that people edit, so that whatever is wrong in it is told by row and field.

    {
      "format": "kvarn restore plan",
      "version": 1,
      "checkpoint": "/m/model.ckpt-9",
      "rows": [
        {"action": "restore", "source": "w", "variable": "w", "key": "w", "dtype": "float32", "shape": [4, 3], …},
        …
      ]
    }

The fields of a row are those of `PlanRow`; what has its default is left out.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from kvarn import errors
from kvarn.io import Buffer
from kvarn.saver.restore_plan import PlanRow, RestorePlan, Stored

FORMAT: Final = "kvarn restore plan"
VERSION: Final = 1


def to_json(plan: RestorePlan) -> str:
    """A plan as it is in a file."""
    encode = json.JSONEncoder().encode
    head = {"format": FORMAT, "version": VERSION, "checkpoint": plan.checkpoint}
    lines = [f"  {encode(key)}: {encode(value)},\n" for key, value in head.items()]
    rows = ",\n".join("    " + encode(_document(row)) for row in plan.rows)
    return "{\n" + "".join(lines) + '  "rows": [' + (f"\n{rows}\n  " if rows else "") + "]\n}\n"


def from_json(text: str | Buffer, path: str | None = None) -> RestorePlan:
    """The plan in a file.

    Args:
      path: the file, for errors.

    Raises:
      InvalidArgumentError: it is no plan.
    """
    try:
        document = json.loads(text if isinstance(text, str) else bytes(text).decode())
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f'it has no "format": "{FORMAT}"')
        if document.get("version") != VERSION:
            raise ValueError(f"it is of version {document.get('version')}, known is {VERSION}")
        checkpoint, rows = document.get("checkpoint"), document.get("rows")
        if not isinstance(checkpoint, str) or not isinstance(rows, list):
            raise ValueError('it lacks "checkpoint" or "rows"')
        _check_fields("it", document, ("format", "version", "checkpoint", "rows"))
        return RestorePlan(checkpoint, tuple(_row(number, row) for number, row in enumerate(rows, 1)))
    except ValueError as e:
        place = "" if path is None else f" '{path}'"
        raise errors.InvalidArgumentError.of(
            f"the restore plan{place} cannot be read: {e}",
            path=path,
            hint="Saver.plan and `kvarn plan --output` write plans; in them edit `action` and `source`.",
        ) from e


_DEFAULTS: Final[Mapping[str, Any]] = {
    f.name: f.default for f in dataclasses.fields(PlanRow) if f.default is not dataclasses.MISSING
}
_TEXTS: Final = (
    "action",
    "source",
    "variable",
    "kind",
    "key",
    "slice",
    "dtype",
    "key_dtype",
    "slot_of",
    "rule",
    "note",
)


def _document(row: PlanRow) -> dict[str, Any]:
    """A row in JSON: what there is to choose first, without what has its default."""
    fields = {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
    found = {
        name: value for name, value in fields.items() if name not in _DEFAULTS or value != _DEFAULTS[name]
    }
    if row.stored is not None:
        found["stored"] = {
            f.name: getattr(row.stored, f.name)
            for f in dataclasses.fields(row.stored)
            if getattr(row.stored, f.name) not in (None, ()) or f.name == "shape"
        }
    return found


def _row(number: int, document: Any) -> PlanRow:
    """A row of a file; ValueError if it is none."""
    where = f"row {number}"
    if not isinstance(document, dict):
        raise ValueError(f"{where} is no object")
    if isinstance(document.get("variable"), str):
        where = f"row {number} ('{document['variable']}')"
    _check_fields(where, document, [f.name for f in dataclasses.fields(PlanRow)])
    fields = dict(document)
    for name in _TEXTS:
        may_lack = name in _DEFAULTS and _DEFAULTS[name] is None
        if name in fields and not (isinstance(fields[name], str) or (may_lack and fields[name] is None)):
            raise ValueError(f"{where}: '{name}' is no text")
    for name in ("status", "near"):
        fields[name] = _tuple(where, name, fields.get(name, []), str)
    if fields.get("shape") is not None:
        fields["shape"] = _tuple(where, "shape", fields["shape"], int)
    if fields.get("stored") is not None:
        fields["stored"] = _stored(where, fields["stored"])
    if "action" not in fields:
        raise ValueError(f"{where} has no 'action'")
    if fields.get("variable") is None and fields.get("stored") is None:
        raise ValueError(f"{where} has neither 'variable' nor 'stored'")
    row = PlanRow(**fields)
    if row.action not in row.actions:
        raise ValueError(f"{where} has the action '{row.action}'; it can have {', '.join(row.actions)}")
    if row.variable is None and row.source is not None:
        raise ValueError(f"{where} has a 'source', but no variable that would take it")
    return row


def _stored(where: str, document: Any) -> Stored:
    if not isinstance(document, dict):
        raise ValueError(f"{where}: 'stored' is no object")
    _check_fields(f"{where}: 'stored'", document, [f.name for f in dataclasses.fields(Stored)])
    fields = dict(document)
    for name in ("name", "kind", "dtype"):
        if not isinstance(fields.get(name), str):
            raise ValueError(f"{where}: '{name}' of 'stored' is no text")
    fields["shape"] = _tuple(where, "shape", fields.get("shape"), int)
    fields["slices"] = _tuple(where, "slices", fields.get("slices", []), str)
    if not isinstance(fields.get("key_dtype", ""), str) or type(fields.get("keys", 0)) is not int:
        raise ValueError(f"{where}: 'key_dtype' or 'keys' of 'stored' is of another type")
    return Stored(**fields)


def _tuple(where: str, name: str, value: Any, of: type) -> tuple[Any, ...]:
    if not isinstance(value, list) or not all(type(item) is of for item in value):
        raise ValueError(f"{where}: '{name}' is no list of {of.__name__}")
    return tuple(value)


def _check_fields(where: str, document: dict[str, Any], known: Collection[str]) -> None:
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise ValueError(f"{where} has unknown fields: {', '.join(unknown)}")
