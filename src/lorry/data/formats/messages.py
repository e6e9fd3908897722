"""Chat messages, as OpenAI's fine-tuning files and most sets on the Hub have them.

    {"messages": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}]}

Content may be a list of typed parts; turns may carry `tool_calls`, and rows `tools`. Images stand as typed parts, or under
`images` with an `<image>` in the text where each belongs. Videos and sound are refused.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.rows import Origin, Row
from lorry.data.turns import checked, listed, refuse_marked_bad, tools_of, turn


class Messages(Format):
    """Conversations under `messages`: role and content."""

    gives: ClassVar[Gives] = "messages"
    rank: ClassVar[int] = 10

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `messages`."""
        return "messages" in raw

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """Turns as they stand, checked."""
        if raw.get("videos") or raw.get("audios"):
            raise BadRowError("the row has videos or sound", hint="lorry trains on text and images")
        refuse_marked_bad(raw)
        turns = listed(raw.get("messages"), "messages")
        messages = [turn(entry, f"messages[{index}]") for index, entry in enumerate(turns)]
        return Row(origin, messages=checked(messages, "messages"), tools=tools_of(raw.get("tools")))
