"""Two answers to one prompt, checked: what every format of preference pairs ends in."""

from __future__ import annotations

from typing import Any

from lorry.data.bad_rows import BadRowError
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import checked


def said(turn: Message) -> tuple[Any, ...]:
    """What a turn says, whatever else it carries, such as a score."""
    content = turn.get("content")
    return turn["role"], content.strip() if isinstance(content, str) else content, turn.get("tool_calls")


def preferred(
    origin: Origin,
    asked: list[Message],
    chosen: list[Message],
    rejected: list[Message],
    tools: list[dict[str, Any]] | None = None,
) -> Row:
    """The row. Raises BadRowError where there is no prompt, no answer, or no difference."""
    if not asked:
        hint = "write what is asked as the first turn of both, or in a field `prompt`"
        raise BadRowError("the two answers have no prompt in common", field="chosen", hint=hint)
    if [said(turn) for turn in chosen] == [said(turn) for turn in rejected]:
        hint = "leave such rows out: there is nothing to prefer"
        raise BadRowError("chosen and rejected are the same", field="rejected", hint=hint)
    for side, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer:
            raise BadRowError("has no answer behind the prompt", field=side, hint="write the assistant's answer")
        if answer[0]["role"] != "assistant":
            raise BadRowError(f"the answer begins with a {answer[0]['role']} turn", field=side, hint=_ALIKE)
        checked([*asked, *answer], side)
    return Row(origin, messages=[*asked, *chosen], rejected=[*asked, *rejected], asked=len(asked), tools=tools)


_ALIKE = "up to the answer both conversations must be the same"
