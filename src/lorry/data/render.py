"""Rendering: a conversation or a document becomes tokens, with a mark on each token that is trained on.

What an answer is, is found by rendering beginnings: the text of everything before a turn with the generation prompt,
and the text up to and including that turn. Both must be beginnings of the whole text; what lies between them is trained
on, up to the end token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from lorry.data.documents import document_ids
from lorry.data.examples import Example
from lorry.data.rows import Message, Row
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError

TrainOn = Literal["assistant", "all"]


_TOGETHER = 128
"""Conversations tokenised at once."""

_HEADERS = 1024
"""Headers of answers whose tokens are remembered."""


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
    merging: int = 0
    """The prompt's end and the answer's beginning would share a token; they are tokenised apart, as at generation."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A conversation's text and the spans in it, in characters, that hold answers."""

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass
class Renderer:
    """Renders rows with one tokenizer, template and greatest length."""

    tokenizer: Tokenizer
    max_length: int
    template_args: dict[str, Any] = field(default_factory=dict[str, Any])
    tally: Tally = field(default_factory=Tally)

    def chat(self, row: Row, train_on: TrainOn = "assistant") -> Example:
        """One conversation. Raises DataError when the template refuses it."""
        (result,) = self.chats([row], train_on)
        if isinstance(result, DataError):
            raise result
        return result

    def chats(self, rows: Sequence[Row], train_on: TrainOn = "assistant") -> list[Example | DataError]:
        """Many conversations, tokenised together; in place of one that the template refuses stands the error."""
        groups = [rows[start : start + _TOGETHER] for start in range(0, len(rows), _TOGETHER)]
        finished: list[Example | DataError] = []
        with ThreadPoolExecutor(1) as tokenising:
            # The tokenizer works outside Python's lock: while it does, the next group is rendered.
            waiting: list[tuple[list[_Draft | DataError], Future[list[Encoding]]]] = []
            for group in groups:
                drafts = [self._drafted(row) for row in group]
                texts = [draft.text for draft in drafts if isinstance(draft, _Draft)]
                waiting.append((drafts, tokenising.submit(self.tokenizer.encodings, texts)))
                if len(waiting) > 1:
                    finished += self._finished(*waiting.pop(0), train_on)
            for drafts, encodings in waiting:
                finished += self._finished(drafts, encodings, train_on)
        return finished

    def pieces(self, text: str) -> Iterator[Example]:
        """One document, cut into pieces of at most `max_length` tokens."""
        return iter(self.documents([text])[0])

    def documents(self, texts: Sequence[str]) -> list[list[Example]]:
        """Many documents, each cut into pieces.

        A piece begins with the last token of the one before, so that every token but the document's first is trained
        on exactly once, the end token at the document's end included.
        """
        return [self._cut_in_pieces(ids) for ids in document_ids(self.tokenizer, texts)]

    def prompt(self, messages: Sequence[Message], tools: list[dict[str, Any]] | None = None) -> list[int]:
        """The tokens that generation starts from: everything before the last answer, and the generation prompt."""
        asked = list(messages[:-1]) if messages and messages[-1]["role"] == "assistant" else list(messages)
        ids = self.tokenizer.encode(self._text(asked, tools, prompt=True))
        return ids[self._doubled(ids) :]

    def _finished(
        self, drafts: list[_Draft | DataError], encodings: Future[list[Encoding]], train_on: TrainOn
    ) -> Iterator[Example | DataError]:
        tokenised = iter(encodings.result())
        for draft in drafts:
            yield draft if isinstance(draft, DataError) else self._example(draft, next(tokenised), train_on)

    # --- where the answers are

    def _drafted(self, row: Row) -> _Draft | DataError:
        try:
            return self._draft(row)
        except DataError as error:
            return error

    def _draft(self, row: Row) -> _Draft:
        messages = row.messages or []
        whole = self._text(messages, row.tools)
        if not whole.isascii() and not _encodable(whole):
            raise DataError("the text holds half of a surrogate pair", hint="write the character whole")
        self.tally.conversations += 1
        answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        found = {index: span for index in answers if (span := self._span(row, index, whole))}
        self.tally.changing += len(found) < len(answers)
        shown = [span for index, span in found.items() if _shows_calls(messages[index], whole[slice(*span)])]
        self._count_hidden(row, whole, len(found) - len(shown))
        return _Draft(whole, tuple(shown))

    def _count_hidden(self, row: Row, whole: str, calls: int) -> None:
        self.tally.calls_hidden += calls > 0
        self.tally.tools_hidden += bool(row.tools) and not _named_in(row.tools or [], whole)
        reasoning = row.messages[-1].get("reasoning_content") if row.messages else None
        self.tally.reasoning_hidden += isinstance(reasoning, str) and reasoning.strip()[:40] not in whole

    def _span(self, row: Row, index: int, whole: str) -> tuple[int, int] | None:
        """Where the answer at `index` begins and ends in the whole text; None if it reads otherwise there."""
        messages = row.messages or []
        try:
            before = self._text(messages[:index], row.tools, prompt=True)
        except DataError:
            if index:
                raise
            # Templates that look at the first message cannot show what stands before it.
            return None
        if index == len(messages) - 1:
            return self._last_span(row, before, whole)
        if not whole.startswith(before):
            return None
        through = self._text(messages[: index + 1], row.tools)
        if not whole.startswith(through) or len(through) <= len(before):
            return None
        return len(before), len(through)

    def _last_span(self, row: Row, before: str, whole: str) -> tuple[int, int]:
        """The last answer: from the generation prompt's end, or from where the template leaves the prompt."""
        if whole.startswith(before):
            return len(before), len(whole)
        self.tally.prompt_differs += 1
        asked = self._text((row.messages or [])[:-1], row.tools)
        known = len(asked) if whole.startswith(asked) and before.startswith(asked) else 0
        return known + _common(before[known:], whole[known:]), len(whole)

    def _text(self, messages: Sequence[Message], tools: list[dict[str, Any]] | None, *, prompt: bool = False) -> str:
        return self.tokenizer.render(messages, tools=tools, add_generation_prompt=prompt, **self.template_args)

    # --- which tokens they are

    def _example(self, draft: _Draft, encoding: Encoding, train_on: TrainOn) -> Example:
        ids, answers = self._laid_out(draft, encoding)
        trained = np.zeros(len(ids) + 1, dtype=np.bool_)
        end, closed = len(ids), True
        for first, after in answers:
            end, closed = self._answer_end(ids, first, after)
            trained[first:end] = True
        if not closed and draft.spans[-1][1] == len(draft.text):
            self.tally.without_end += 1
            ids = [*ids[:end], self.tokenizer.eos_id]
            trained[end] = True
        if train_on == "all":
            trained[:] = True
        start = self._doubled(ids)
        trained[start] = False
        kept = slice(start, min(len(ids), start + self.max_length))
        return Example(np.asarray(ids[kept], dtype=np.int32), trained[kept], cut=len(ids) - start > self.max_length)

    def _laid_out(self, draft: _Draft, encoding: Encoding) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens, and where among them each answer begins and ends (what the template writes behind it included).

        The tokens are those of the whole text, unless the last answer's beginning would merge with the prompt's end:
        then the prompt keeps the tokens that generation starts from, and the answer's follow.
        """
        ids: list[int] = encoding.ids
        text = draft.text
        answers = [
            (self._token_from(encoding, begin, text), self._token_from(encoding, end, text))
            for begin, end in draft.spans
        ]
        if (
            not answers
            or draft.spans[-1][1] < len(text)
            or self._apart(text, encoding, draft.spans[-1][0], answers[-1][0])
        ):
            return ids, answers
        self.tally.merging += 1
        border = draft.spans[-1][0]
        (head,) = self.tokenizer.encodings([text[:border]])
        ids = [*head.ids, *self.tokenizer.encode_inside(text[border:])]
        answers = [
            (self._token_from(head, begin, text), self._token_from(head, end, text)) for begin, end in draft.spans[:-1]
        ]
        return ids, [*answers, (len(head), len(ids))]

    def _apart(self, text: str, encoding: Encoding, border: int, first: int) -> bool:
        """Whether the prompt alone has the tokens that it has in the whole text.

        Special tokens part a text for good, so only what stands between the last of them and the border is looked at;
        templates write the same there for every answer, and it is tokenised once.
        """
        ids: list[int] = encoding.ids
        token = first - 1
        while token >= 0 and ids[token] not in self._added:
            token -= 1
        chars = encoding.token_to_chars(token) if token >= 0 else (0, 0)
        header = text[chars[1] if chars else 0 : border]
        known = self._headers.get(header)
        if known is None:
            known = self.tokenizer.encode(header)
            if len(self._headers) < _HEADERS:
                self._headers[header] = known
        return known == ids[token + 1 : first]

    @cached_property
    def _headers(self) -> dict[str, list[int]]:
        return {}

    @cached_property
    def _added(self) -> frozenset[int]:
        return self.tokenizer.added_ids

    def _token_from(self, encoding: Encoding, place: int, text: str) -> int:
        """The first token that begins at or after a place in the text; their number when there is none."""
        for char in range(place, len(text)):
            token = encoding.char_to_token(char)
            if token is None:
                # Some tokenizers leave blanks out of their tokens' places.
                continue
            chars = encoding.token_to_chars(token)
            return token + (chars is not None and chars[0] < place)
        return len(encoding)

    def _answer_end(self, ids: list[int], first: int, after: int) -> tuple[int, bool]:
        """Where the answer's tokens end, its end token included, and whether it has one.

        What templates write behind the end token is blank, or more end tokens.
        """
        end, content = None, after
        while content > first:
            token = ids[content - 1]
            if token in self._ends:
                end = content
            elif not self._blank(token):
                break
            content -= 1
        return (content, False) if end is None else (end, True)

    def _blank(self, token: int) -> bool:
        known = self._blanks.get(token)
        if known is None:
            known = self._blanks[token] = not self.tokenizer.decode([token], skip_special_tokens=False).strip()
        return known

    @cached_property
    def _blanks(self) -> dict[int, bool]:
        return {}

    @cached_property
    def _ends(self) -> frozenset[int]:
        return self.tokenizer.end_ids

    def _doubled(self, ids: list[int]) -> int:
        """1 where a text begins with the first token twice: once from the template, once from the row."""
        bos = self.tokenizer.bos_id
        return int(bos is not None and ids[:2] == [bos, bos])

    def _cut_in_pieces(self, ids: NDArray[np.int32]) -> list[Example]:
        pieces: list[Example] = []
        for start in range(0, max(len(ids) - 1, 1), self.max_length - 1):
            piece = ids[start : start + self.max_length]
            trained = np.ones(len(piece), dtype=np.bool_)
            trained[:1] = False
            pieces.append(Example(piece, trained))
        return pieces


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
