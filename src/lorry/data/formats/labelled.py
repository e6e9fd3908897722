"""Labelled answers, as KTO learns from them: a prompt, one answer, and whether it is a good one.

    {"prompt": "What is 2 + 2?", "completion": "4", "label": true}
    {"messages": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "5"}], "label": false}

`label` may also be 1 and 0, or their words; LLaMA-Factory calls it `kto_tag`, beside Alpaca's or ShareGPT's fields.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.formats.alpaca import instructed
from lorry.data.formats.sharegpt import conversation
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import LABELS, checked, listed, meant_by, tools_of, turn, turns_of


class Labelled(Format):
    """Answers with a label: prompt and completion, or messages, and whether the answer is good."""

    gives: ClassVar[Gives] = "labelled"
    rank: ClassVar[int] = 5
    separator: str = "\n\n"
    """What stands between instruction and input."""

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has a label, and a conversation."""
        is_asked = any(fields <= raw.keys() for fields in _ASKED)
        return is_asked and any(field in raw for field in LABELS)

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The conversation; its last assistant turn is what the label is of."""
        field = next((name for name in LABELS if raw.get(name) is not None), LABELS[0])
        label = raw.get(field)
        meant = meant_by(label)
        if meant is None:
            told = "is missing" if label is None else f"is {str(label)[:40]!r}"
            raise BadRowError(told, field=field, hint="write true for a good answer, false for a bad one")
        messages = checked(_turns(raw, self.separator), _field(raw))
        tools = tools_of(raw.get("tools"))
        return Row(origin, messages=messages, label=meant, asked=len(messages) - 1, tools=tools)


_ASKED: tuple[set[str], ...] = ({"messages"}, {"conversations"}, {"instruction", "output"}, {"prompt", "completion"})
"""Fields that hold prompt and answer, one of these."""


def _field(raw: dict[str, Any]) -> str:
    """The field that the answer stands in."""
    whole = next((field for field in ("messages", "conversations") if field in raw), None)
    return whole or ("output" if "instruction" in raw else "completion")


def _turns(raw: dict[str, Any], separator: str) -> list[Message]:
    if "messages" in raw:
        return [turn(entry, f"messages[{index}]") for index, entry in enumerate(listed(raw["messages"], "messages"))]
    if "conversations" in raw:
        return conversation(raw)
    if "instruction" in raw:
        return [*instructed(raw, separator), *turns_of(raw.get("output"), "output", "assistant")]
    return turns_of(raw.get("prompt"), "prompt", "user") + turns_of(raw.get("completion"), "completion", "assistant")
