"""Drafts: a conversation as text, and where in it the answers stand.

What an answer is, is found by rendering beginnings: the text of everything before a turn with the generation prompt,
and the text up to and including that turn. Both must be beginnings of the whole text; what lies between them is the
answer, with what the template writes behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lorry.data.images.picture import Picture
from lorry.data.images.vision import Vision, in_parts, in_text, marks_in
from lorry.data.rows import MARK, Message, Row
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError


@dataclass
class Tally:
    """How many conversations needed what the person should know about."""

    conversations: int = 0
    changing: int = 0
    """Earlier turns read otherwise once later ones follow; only turns that stay the same are trained on."""
    prompt_differs: int = 0
    """The generation prompt is no beginning of the answer as the template writes it."""
    calls_hidden: int = 0
    """An answer calls tools, and the template does not write the call; such an answer is not trained on."""
    tools_hidden: int = 0
    """The row describes tools, and the template does not write them."""
    reasoning_hidden: int = 0
    """The last answer has reasoning, and the template does not write it."""
    without_end: int = 0
    """The template wrote no end token after the last answer; it was added."""
    system_hidden: int = 0
    """The row has a system turn, and the template does not write it."""
    forging: int = 0
    """A turn's own text holds a special token, such as the sign that ends a turn."""
    first_token: str = ""
    """The first of these tokens."""
    images_cut: int = 0
    """The greatest length would have cut an image's tokens; the row ends before the image."""
    merging: int = 0
    """The prompt's end and the answer's beginning would share a token; they are tokenised apart, as at generation."""

    first: dict[str, str] = field(default_factory=dict[str, str])
    """Where the first of those stands that were counted by the name of a field here."""

    def count(self, name: str, row: Row) -> None:
        """One more, found in this row."""
        self.count_at(name, str(row.origin))

    def count_at(self, name: str, origin: str) -> None:
        """One more, found in the row at this place."""
        setattr(self, name, getattr(self, name) + 1)
        self.first.setdefault(name, origin)

    def reset_to(self, earlier: Tally) -> None:
        """Takes an earlier count again."""
        vars(self).update(vars(earlier))


@dataclass(frozen=True, slots=True)
class Draft:
    """A conversation's text and the spans in it, in characters, that hold answers."""

    text: str
    spans: tuple[tuple[int, int], ...]
    pictures: tuple[Picture, ...] = ()
    """Those of its images, in their order in the text."""
    origin: str = ""


class Drafter:
    """Renders conversations with one template and its arguments."""

    def __init__(
        self, tokenizer: Tokenizer, template_args: Mapping[str, Any], tally: Tally, vision: Vision | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._vision = vision
        self._template_args = template_args
        self._tally = tally

    def attempt(self, row: Row) -> Draft | DataError:
        """As `draft`, the error in place of the draft."""
        try:
            return self.draft(row)
        except DataError as error:
            return error

    def draft(self, row: Row) -> Draft:
        """A conversation as text, with its answers found. Raises DataError when the template refuses it."""
        messages = row.messages or []
        whole = self._text_of(row, len(messages))
        if not whole.isascii() and not _encodable(whole):
            raise DataError("the text holds half of a surrogate pair", hint="write the character whole")
        self._tally.conversations += 1
        answers = [
            index for index, message in enumerate(messages) if message["role"] == "assistant" and index >= row.asked
        ]
        found = {index: span for index in answers if (span := self._span(row, index, whole))}
        if len(found) < len(answers):
            self._tally.count("changing", row)
        shown = [span for index, span in found.items() if _shows_calls(messages[index], whole[slice(*span)])]
        self._count_hidden(row, whole, len(found) - len(shown))
        self._count_forged(row)
        return Draft(whole, tuple(shown), row.pictures, str(row.origin))

    def _text_of(self, row: Row, turns: int, *, prompt: bool = False) -> str:
        return self.text((row.messages or [])[:turns], row.tools, pictures=row.pictures, prompt=prompt)

    def _count_hidden(self, row: Row, whole: str, calls: int) -> None:
        first, last = (row.messages[0], row.messages[-1]) if row.messages else ({}, {})
        reasoning = last.get("reasoning_content")
        hidden = {
            "calls_hidden": calls > 0,
            "tools_hidden": bool(row.tools) and not _named_in(row.tools or [], whole),
            "reasoning_hidden": isinstance(reasoning, str) and reasoning.strip()[:40] not in whole,
            "system_hidden": first.get("role") in ("system", "developer") and not _written(first, whole),
        }
        for name in (name for name, is_hidden in hidden.items() if is_hidden):
            self._tally.count(name, row)

    def _count_forged(self, row: Row) -> None:
        special = self._tokenizer.special_texts
        if special is None:
            return
        texts = (message.get("content") for message in row.messages or [])
        found = next((hit for text in texts if isinstance(text, str) and (hit := special.search(text))), None)
        if found:
            self._tally.count("forging", row)
            self._tally.first_token = self._tally.first_token or found.group()

    def _span(self, row: Row, index: int, whole: str) -> tuple[int, int] | None:
        """Where the answer at `index` begins and ends in the whole text; None if it reads otherwise there."""
        messages = row.messages or []
        try:
            before = self._text_of(row, index, prompt=True)
        except DataError:
            if index:
                raise
            # Templates that look at the first message cannot show what stands before it.
            return None
        if index == len(messages) - 1:
            span = self._last_span(row, before, whole)
            if span[0] == span[1] and str(messages[index]["content"]).strip():
                hint = "set `data.chat_template` to a template that writes it, or to `chatml`"
                raise DataError("the chat template does not write the answer", hint=hint)
            return span
        if not whole.startswith(before):
            return None
        through = self._text_of(row, index + 1)
        if not whole.startswith(through) or len(through) <= len(before):
            return None
        return len(before), len(through)

    def _last_span(self, row: Row, before: str, whole: str) -> tuple[int, int]:
        """The last answer: from the generation prompt's end, or from where the template leaves the prompt."""
        if whole.startswith(before):
            return len(before), len(whole)
        self._tally.count("prompt_differs", row)
        asked = self._text_of(row, -1)
        known = len(asked) if whole.startswith(asked) and before.startswith(asked) else 0
        return known + _common(before[known:], whole[known:]), len(whole)

    def text(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None,
        *,
        pictures: Sequence[Picture] = (),
        prompt: bool = False,
    ) -> str:
        """The text of turns, at their end what asks for an answer if wanted; with the placeholders of their images.

        `pictures` are those of the whole conversation.
        """
        given: dict[str, Any] = {"tools": tools, "add_generation_prompt": prompt, **self._template_args}
        if not pictures or self._vision is None:
            return self._tokenizer.render(messages, **given)
        reads_parts = self._tokenizer.template(tools).shows_images(self._vision.token)
        seen = in_parts(messages) if reads_parts else in_text(messages, self._vision.token)
        return self._vision.expanded(self._tokenizer.render(seen, **given), pictures[: marks_in(messages)])


def _written(message: Message, text: str) -> bool:
    """Whether a turn's beginning stands in the text; templates may trim blanks, or write signs as entities."""
    content = message.get("content")
    words = content.replace(MARK, " ").split(maxsplit=3)[:3] if isinstance(content, str) else []
    return all(word in text for word in words)


def _shows_calls(message: Message, text: str) -> bool:
    calls = message.get("tool_calls")
    return not calls or _named_in(calls, text)


def _named_in(functions: list[dict[str, Any]], text: str) -> bool:
    """Whether a tool, or a call of one, stands in the text by its name."""
    first = functions[0].get("function", functions[0])
    return str(first.get("name", "")) in text


def _common(first: str, second: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle - 1)
    return low


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
