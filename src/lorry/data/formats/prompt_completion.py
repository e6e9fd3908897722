"""Prompt and completion: two strings, or two lists of turns.

    {"prompt": "What is 2 + 2?", "completion": "4"}
    {"prompt": [{"role": "user", "content": "What is 2 + 2?"}], "completion": [{"role": "assistant", "content": "4"}]}

Strings become the user's turn and the answer, and go through the chat template as every conversation does.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import checked, listed, refuse_marked_bad, text_of, tools_of, turn


class PromptCompletion(Format):
    """Prompt and completion: strings, or lists of turns."""

    gives: ClassVar[Literal["messages", "text"]] = "messages"
    rank: ClassVar[int] = 40

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `prompt`, and `completion` or nothing else to read."""
        return "prompt" in raw and ("completion" in raw or "text" not in raw)

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The turns of both."""
        refuse_marked_bad(raw)
        messages = _turns(raw.get("prompt"), "prompt", "user") + _turns(
            raw.get("completion"), "completion", "assistant"
        )
        return Row(origin, messages=checked(messages, "completion"), tools=tools_of(raw.get("tools")))


def _turns(value: Any, field: str, role: str) -> list[Message]:
    if isinstance(value, list):
        return [turn(entry, f"{field}[{index}]") for index, entry in enumerate(listed(value, field))]
    content = text_of(value, field)
    if not content.strip():
        raise BadRowError("is empty", field=field, hint="write a string or a list of turns")
    return [{"role": role, "content": content}]
