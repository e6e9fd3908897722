"""Alpaca: an instruction, at times with an input, and the output.

    {"instruction": "Turn it into the spelling given.", "input": "freind", "output": "friend"}

The input follows the instruction after an empty line. `system` and `history` (pairs of request and answer) are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import checked, listed, refuse_marked_bad, text_of


class Alpaca(Format):
    """Instruction, input, output."""

    gives: ClassVar[Gives] = "messages"
    rank: ClassVar[int] = 30

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `instruction`."""
        return "instruction" in raw

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The instruction with its input as the user's turn, the output as the answer."""
        refuse_marked_bad(raw)
        asked = instructed(raw)
        answer = text_of(raw.get("output"), "output")
        if not answer.strip():
            raise BadRowError("is empty", field="output", hint="write the answer")
        return Row(origin, messages=checked([*asked, {"role": "assistant", "content": answer}], "output"))


def instructed(raw: Mapping[str, Any]) -> list[Message]:
    """The turns before the answer. Raises BadRowError where nothing is asked."""
    asked = text_of(raw.get("instruction"), "instruction")
    given = raw.get("input")
    if given:
        asked = f"{asked}\n\n{text_of(given, 'input')}"
    if not asked.strip():
        raise BadRowError("is empty", field="instruction", hint="write what is asked")
    messages: list[Message] = []
    if raw.get("system"):
        messages.append({"role": "system", "content": text_of(raw["system"], "system")})
    return [*messages, *_history(raw.get("history")), {"role": "user", "content": asked}]


def _history(raw: Any) -> list[Message]:
    turns: list[Message] = []
    for index, pair in enumerate(listed(raw, "history") if raw else []):
        field = f"history[{index}]"
        both = listed(pair, field)
        if len(both) != 2:
            raise BadRowError("is not a pair", field=field, hint="write [request, answer]")
        turns.append({"role": "user", "content": text_of(both[0], field)})
        turns.append({"role": "assistant", "content": text_of(both[1], field)})
    return turns
