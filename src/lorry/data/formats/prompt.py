"""Prompts without answers, as reinforcement learns from them: the model answers, and rewards look at the row's columns.

    {"prompt": "What is 2 + 2?", "answer": "4"}
    {"messages": [{"role": "user", "content": "What is 2 + 2?"}], "answer": "4", "level": 1}
    {"prompt": [{"role": "user", "content": "What is 2 + 2?"}], "reward_model": {"ground_truth": "4"}}

What is right, where the row says so, stands in `answer`, `ground_truth`, `solution` or `target`, or as verl writes it.
`rewards` names those of the recipe's rewards that count for the row; without it all do. Every other column is given to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import listed, tools_of, turn, turns_of


class Prompt(Format):
    """Prompts without answers, with whatever rewards need to know."""

    gives: ClassVar[Gives] = "prompt"
    rank: ClassVar[int] = 9

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `prompt` or `messages`, and nobody's answer."""
        if raw.get("prompt") is not None:
            return not any(raw.get(field) is not None for field in _ANSWERED)
        return _is_open(raw.get("messages"))

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The turns up to the answer that is missing."""
        field = "prompt" if raw.get("prompt") is not None else "messages"
        asked = _asked(raw.get(field), field)
        if not asked:
            raise BadRowError("has no turns", field=field, hint="write what is asked")
        if asked[-1]["role"] == "assistant":
            hint = "end it with what is asked, or learn the answers with `method: sft`"
            raise BadRowError("ends with an answer", field=field, hint=hint)
        _must_be_names(raw.get("rewards"))
        columns = {name: value for name, value in raw.items() if name not in (field, "tools")}
        tools = tools_of(raw.get("tools"))
        return Row(origin, asked, asked=len(asked), tools=tools, columns=columns, truth=_truth(raw))


_ANSWERED = ("completion", "chosen", "rejected", "text", "response")
"""Fields that make a prompt's row another one."""
_TRUTHS = ("answer", "ground_truth", "solution", "target")


def _is_open(messages: Any) -> bool:
    last = cast("list[Any]", messages)[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, Mapping) and cast("Mapping[str, Any]", last).get("role") in ("user", "tool")


def _asked(value: Any, field: str) -> list[Message]:
    if field == "prompt":
        return turns_of(value, field, "user")
    return [turn(entry, f"{field}[{index}]") for index, entry in enumerate(listed(value, field))]


def _must_be_names(value: Any) -> None:
    names: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    if value is not None and not (names and all(isinstance(name, str) and name for name in names)):
        hint = 'write names of the recipe\'s rewards: ["exact_match"]'
        raise BadRowError("is no list of names", field="rewards", hint=hint)


def _truth(raw: Mapping[str, Any]) -> str:
    found = next((raw[name] for name in _TRUTHS if raw.get(name) is not None), None)
    if found is None and isinstance(raw.get("reward_model"), Mapping):
        found = raw["reward_model"].get("ground_truth")
    if found is None:
        return ""
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
