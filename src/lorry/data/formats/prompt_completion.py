"""Prompt and completion: two strings, or two lists of turns.

    {"prompt": "What is 2 + 2?", "completion": "4"}
    {"prompt": [{"role": "user", "content": "What is 2 + 2?"}], "completion": [{"role": "assistant", "content": "4"}]}

Strings become the user's turn and the answer, and go through the chat template as every conversation does.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.data.formats._base import Format, Gives
from lorry.data.rows import Origin, Row
from lorry.data.turns import checked, refuse_marked_bad, tools_of, turns_of


class PromptCompletion(Format):
    """Prompt and completion: strings, or lists of turns."""

    gives: ClassVar[Gives] = "messages"
    rank: ClassVar[int] = 40

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `prompt`, and `completion` or nothing else to read."""
        return "prompt" in raw and ("completion" in raw or not {"text", "chosen", "rejected"} & raw.keys())

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The turns of both."""
        refuse_marked_bad(raw)
        asked = turns_of(raw.get("prompt"), "prompt", "user")
        messages = asked + turns_of(raw.get("completion"), "completion", "assistant")
        return Row(origin, messages=checked(messages, "completion"), tools=tools_of(raw.get("tools")))
