"""Preference pairs: a prompt with a better and a worse answer, as strings or as turns.

    {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"}
    {"chosen": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}],
     "rejected": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "5"}]}

Without `prompt` both are whole conversations, and the turns that they begin with alike are the prompt.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.formats._preferred import preferred, said
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import listed, tools_of, turn, turns_of


class Preference(Format):
    """Preference pairs: prompt, chosen, rejected; or two whole conversations."""

    gives: ClassVar[Gives] = "preference"
    rank: ClassVar[int] = 8

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `chosen` and `rejected`, and no other format's prompt."""
        return {"chosen", "rejected"} <= raw.keys() and not {"conversations", "instruction"} & raw.keys()

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """Both conversations."""
        tools = tools_of(raw.get("tools"))
        if raw.get("prompt") is not None:
            asked = turns_of(raw["prompt"], "prompt", "user")
            chosen, rejected = (turns_of(raw.get(side), side, "assistant") for side in ("chosen", "rejected"))
            return preferred(origin, asked, _behind(asked, chosen), _behind(asked, rejected), tools)
        both = [_whole(raw.get(side), side) for side in ("chosen", "rejected")]
        alike = 0
        while alike < min(map(len, both)) and said(both[0][alike]) == said(both[1][alike]):
            alike += 1
        asked = both[0][:alike]
        return preferred(origin, asked, both[0][alike:], both[1][alike:], tools)


def _behind(asked: list[Message], answer: list[Message]) -> list[Message]:
    """The answer alone, where it is given with the prompt's turns before it."""
    repeats = [said(turn) for turn in answer[: len(asked)]] == [said(turn) for turn in asked]
    return answer[len(asked) :] if repeats else answer


def _whole(value: Any, field: str) -> list[Message]:
    if isinstance(value, str) and not value.lstrip().startswith("["):
        hint = "give the prompt in a field `prompt`, or both conversations as lists of turns"
        raise BadRowError("is a text, and there is no `prompt`", field=field, hint=hint)
    return [turn(entry, f"{field}[{index}]") for index, entry in enumerate(listed(value, field))]
