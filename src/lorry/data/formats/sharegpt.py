"""ShareGPT: turns with `from` and `value`.

    {"conversations": [{"from": "human", "value": "What is 2 + 2?"}, {"from": "gpt", "value": "4"}], "tools": "[]"}

`function_call` holds a tool call as JSON, `observation` what the tool gave; `system` may be a field of the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import checked, listed, refuse_marked_bad, role_of, text_of, tool_calls, tools_of, turn

_FIELDS = ("conversations", "conversation")
_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
    "function_response": "tool",
}


class ShareGpt(Format):
    """Conversations under `conversations`: from and value."""

    gives: ClassVar[Gives] = "messages"
    rank: ClassVar[int] = 20

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `conversations`."""
        return any(field in raw for field in _FIELDS)

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """Turns with the usual names of roles."""
        refuse_marked_bad(raw)
        return Row(origin, messages=checked(conversation(raw), _field(raw)), tools=tools_of(raw.get("tools")))


def conversation(raw: Mapping[str, Any]) -> list[Message]:
    """A row's turns, its system prompt before them. Raises BadRowError for what is none."""
    field = _field(raw)
    turns = [turn_of(entry, f"{field}[{index}]") for index, entry in enumerate(listed(raw.get(field), field))]
    if raw.get("system"):
        turns.insert(0, {"role": "system", "content": text_of(raw["system"], "system")})
    return turns


def _field(raw: Mapping[str, Any]) -> str:
    return next((name for name in _FIELDS if name in raw), _FIELDS[0])


def turn_of(raw: Any, field: str) -> Message:
    """One turn. Raises BadRowError for what is none."""
    if not isinstance(raw, Mapping):
        raise BadRowError("a turn is not an object", field=field, hint='turns look like {"from": ..., "value": ...}')
    entry = cast("Mapping[str, Any]", raw)
    if "role" in entry and "from" not in entry:
        return turn(entry, field)
    role = role_of(entry.get("from"), f"{field}.from", _ROLES)
    if entry.get("from") == "function_call":
        return {"role": role, "content": "", "tool_calls": tool_calls(entry.get("value"), f"{field}.value")}
    return {"role": role, "content": text_of(entry.get("value"), f"{field}.value")}
