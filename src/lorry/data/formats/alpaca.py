r"""Alpaca: an instruction, at times with an input, and the output.

    {"instruction": "Turn it into the spelling given.", "input": "freind", "output": "friend"}

The input follows the instruction after an empty line, or after `separator`. `system` and `history` (pairs of request and
answer) and `tools` are read. For models without roles `prompt` writes all of it as one text, best with
`data.chat_template: plain`:

    format: {name: alpaca, prompt: "Q: {instruction}\n{input}\nA: ", prompt_without_input: "Q: {instruction}\nA: "}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import model_validator

from lorry.data.bad_rows import BadRowError
from lorry.data.formats._base import Format, Gives
from lorry.data.rows import Message, Origin, Row
from lorry.data.turns import checked, listed, refuse_marked_bad, text_of, tools_of


class Alpaca(Format):
    """Instruction, input, output."""

    gives: ClassVar[Gives] = "messages"
    rank: ClassVar[int] = 30
    separator: str = "\n\n"
    """What stands between instruction and input."""
    prompt: str | None = None
    """The request as one text, with `{instruction}`, `{input}` and `{system}` in it; null for turns."""
    prompt_without_input: str | None = None
    """The same for rows without an input; null for `prompt`."""
    system_format: str = "{system}"
    """How `{system}` is written; nothing is where a row has none."""
    system: str = ""
    """What stands for `{system}` in rows that have none."""

    @model_validator(mode="after")
    def _prompts_are_whole(self) -> Alpaca:
        for text in (self.prompt, self.prompt_without_input):
            if text is not None and "{instruction}" not in text:
                raise ValueError("a prompt needs `{instruction}` in it")
        if self.prompt is None and (self.prompt_without_input is not None or self.system):
            raise ValueError("`prompt_without_input` and `system` go with `prompt`")
        return self

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has `instruction`."""
        return "instruction" in raw

    def read(self, raw: dict[str, Any], origin: Origin) -> Row:
        """The instruction with its input as the user's turn, the output as the answer."""
        refuse_marked_bad(raw)
        asked = instructed(raw, self.separator) if self.prompt is None else self._prompted(raw, self.prompt)
        answer = text_of(raw.get("output"), "output")
        if not answer.strip():
            raise BadRowError("is empty", field="output", hint="write the answer")
        messages = checked([*asked, {"role": "assistant", "content": answer}], "output")
        return Row(origin, messages=messages, tools=tools_of(raw.get("tools")))

    def _prompted(self, raw: Mapping[str, Any], prompt: str) -> list[Message]:
        """One turn that holds everything before the answer, sign by sign as the recipe writes it."""
        given = {"history": raw.get("history"), "tools": tools_of(raw.get("tools"))}
        for name in (name for name, value in given.items() if value):
            hint = "take it out, or leave `prompt` out of `data.format`"
            raise BadRowError("has no place in a prompt", field=name, hint=hint)
        values = {
            name: text_of(raw[name], name) if raw.get(name) else "" for name in ("instruction", "input", "system")
        }
        if not values["instruction"].strip():
            raise BadRowError("is empty", field="instruction", hint="write what is asked")
        system = values["system"] or self.system
        values["system"] = self.system_format.replace("{system}", system) if system else ""
        text = prompt if values["input"] or self.prompt_without_input is None else self.prompt_without_input
        content = _PLACE.sub(lambda place: values[place[1]], text)
        return [{"role": "user", "content": content}]


_PLACE = re.compile(r"\{(instruction|input|system)\}")


def instructed(raw: Mapping[str, Any], separator: str = "\n\n") -> list[Message]:
    """The turns before the answer. Raises BadRowError where nothing is asked."""
    asked = text_of(raw.get("instruction"), "instruction")
    given = raw.get("input")
    if given:
        asked = f"{asked}{separator}{text_of(given, 'input')}"
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
