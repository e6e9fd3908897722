"""Rows whose columns, turns and roles have other names: given those that formats know, before a format looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from lorry.data.readers.blob import RawRow, Rows
from lorry.recipe.sources import Source

_WITH_TURNS = ("messages", "conversations", "conversation", "prompt", "completion", "chosen", "rejected")
"""Columns that may hold turns, by the names that formats know."""
_ROLE_FIELDS = ("role", "from")


def renamed(rows: Iterable[RawRow], source: Source) -> Rows:
    """Rows as formats know them; what has no other name stays as it is."""
    roles = {theirs: ours for ours, given in source.roles.items() for theirs in given}
    for raw, origin in rows:
        row = _columns(raw, source.columns)
        if source.turns or roles or source.drop_system:
            row = {name: _turns(value, source, roles) if name in _WITH_TURNS else value for name, value in row.items()}
        yield row, origin


def _columns(raw: dict[str, Any], names: Mapping[str, str | None]) -> dict[str, Any]:
    if not names:
        return raw
    moved = {theirs for theirs in names.values() if theirs is not None}
    row = {name: value for name, value in raw.items() if name not in names and name not in moved}
    return row | {ours: raw[theirs] for ours, theirs in names.items() if theirs is not None and theirs in raw}


def _turns(value: Any, source: Source, roles: Mapping[str, str]) -> Any:
    """Turns in a list, or a single one; a text and whatever else is no turn stays."""
    if isinstance(value, list):
        turns = [_turn(one, source.turns, roles) for one in cast("list[Any]", value)]
        return [one for one in turns if not (source.drop_system and _is_system(one))]
    return _turn(value, source.turns, roles)


def _turn(value: Any, fields: Mapping[str, str], roles: Mapping[str, str]) -> Any:
    if not isinstance(value, Mapping):
        return value
    turn = _columns(dict(cast("Mapping[str, Any]", value)), fields)
    for field in _ROLE_FIELDS:
        role = turn.get(field)
        if isinstance(role, str) and role in roles:
            turn[field] = roles[role]
    return turn


def _is_system(turn: Any) -> bool:
    return isinstance(turn, Mapping) and any(turn.get(field) == "system" for field in _ROLE_FIELDS)
