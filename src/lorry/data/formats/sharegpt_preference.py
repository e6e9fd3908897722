"""ShareGPT preference: the conversation so far, and two answers to it.

    {"conversations": [{"from": "human", "value": "What is 2 + 2?"}], "chosen": "4", "rejected": "5"}

Answers may also be turns, `{"from": "gpt", "value": "4"}`, or lists of them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.data.formats._base import Format, Gives
from lorry.data.formats._preferred import preferred
from lorry.data.formats.sharegpt import conversation, turn_of
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import tools_of, turns_of


class ShareGptPreference(Format):
    """ShareGPT with `chosen` and `rejected` beside the conversation."""

    gives: ClassVar[Gives] = "preference"
    rank: ClassVar[int] = 6

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `conversations`, `chosen` and `rejected`."""
        return "conversations" in raw and {"chosen", "rejected"} <= raw.keys()

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The conversation with either answer."""
        chosen, rejected = (_answer(raw.get(side), side) for side in ("chosen", "rejected"))
        return preferred(origin, conversation(raw), chosen, rejected, tools_of(raw.get("tools")))


def _answer(value: Any, field: str) -> list[Message]:
    if isinstance(value, list):
        return [turn_of(entry, f"{field}[{index}]") for index, entry in enumerate(value)]
    return [turn_of(value, field)] if isinstance(value, dict) else turns_of(value, field, "assistant")
