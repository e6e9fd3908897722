"""Labelled answers, as KTO learns from them: a prompt, one answer, and whether it is a good one.

    {"prompt": "What is 2 + 2?", "completion": "4", "label": true}
    {"messages": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "5"}], "label": false}

`label` may also be 1 and 0, or their words; LLaMA-Factory calls it `kto_tag`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import checked, listed, tools_of, turn, turns_of

_FIELDS = ("label", "kto_tag")
_WORDS = {"true": True, "false": False, "1": True, "0": False, "good": True, "bad": False}


class Labelled(Format):
    """Answers with a label: prompt and completion, or messages, and whether the answer is good."""

    gives: ClassVar[Gives] = "labelled"
    rank: ClassVar[int] = 9

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has a label, and a conversation."""
        is_asked = "messages" in raw or {"prompt", "completion"} <= raw.keys()
        return is_asked and any(field in raw for field in _FIELDS)

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The conversation; its last assistant turn is what the label is of."""
        field = next((name for name in _FIELDS if name in raw), _FIELDS[0])
        label = raw.get(field)
        meant = label if isinstance(label, bool) else _WORDS.get(str(label).strip().lower())
        if meant is None:
            told = "is missing" if label is None else f"is {str(label)[:40]!r}"
            raise BadRowError(told, field=field, hint="write true for a good answer, false for a bad one")
        messages = checked(_turns(raw), "messages" if "messages" in raw else "completion")
        tools = tools_of(raw.get("tools"))
        return Row(origin, messages=messages, label=meant, asked=len(messages) - 1, tools=tools)


def _turns(raw: dict[str, Any]) -> list[Message]:
    if "messages" in raw:
        return [turn(entry, f"messages[{index}]") for index, entry in enumerate(listed(raw["messages"], "messages"))]
    return turns_of(raw.get("prompt"), "prompt", "user") + turns_of(raw.get("completion"), "completion", "assistant")
