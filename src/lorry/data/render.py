"""Rendering: a conversation or a document becomes tokens, with a mark on each token that is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from lorry.data.answer_tokens import AnswerTokens, TrainOn
from lorry.data.documents import document_ids
from lorry.data.drafts import Draft, Drafter, Tally
from lorry.data.examples import Example
from lorry.data.images.picture import Picture
from lorry.data.images.vision import Vision, marks_in
from lorry.data.prompt import Prompt
from lorry.data.rows import Message, Row
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError

_TOGETHER = 128
"""Conversations tokenised at once."""


@dataclass
class Renderer:
    """Renders rows with one tokenizer, template and greatest length."""

    tokenizer: Tokenizer
    max_length: int
    template_args: dict[str, Any] = field(default_factory=dict[str, Any])
    tally: Tally = field(default_factory=Tally)
    max_pixels: int | None = None
    """Larger images are scaled down to so many pixels."""

    @cached_property
    def vision(self) -> Vision | None:
        """How images become tokens; None for a model that reads none."""
        own = self.tokenizer.vision
        return None if own is None else replace(own, max_pixels=self.max_pixels)

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
            waiting: list[tuple[list[Draft | DataError], Future[list[Encoding]]]] = []
            for group in groups:
                drafts = [self._drafter.attempt(row) for row in group]
                texts = [draft.text for draft in drafts if isinstance(draft, Draft)]
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

    def prompt(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None = None,
        pictures: Sequence[Picture] = (),
    ) -> Prompt:
        """The tokens that generation starts from: everything before the last answer, and the generation prompt.

        `pictures` are those of the conversation's marks, in their order.
        """
        asked = list(messages[:-1]) if messages and messages[-1]["role"] == "assistant" else list(messages)
        ids = self.tokenizer.encode(self._drafter.text(asked, tools, pictures=pictures, prompt=True))
        ids = ids[self._answers.doubled(ids) :]
        if not pictures or self.vision is None:
            return Prompt(ids)
        return Prompt(ids, self.vision.placed(np.asarray(ids, dtype=np.int32), pictures[: marks_in(asked)]))

    def _finished(
        self, drafts: list[Draft | DataError], encodings: Future[list[Encoding]], train_on: TrainOn
    ) -> Iterator[Example | DataError]:
        tokenised = iter(encodings.result())
        for draft in drafts:
            yield draft if isinstance(draft, DataError) else self._example(draft, next(tokenised), train_on)

    def _example(self, draft: Draft, encoding: Encoding, train_on: TrainOn) -> Example | DataError:
        try:
            return self._answers.example(draft, encoding, train_on)
        except DataError as error:  # images whose tokens do not fit
            return error

    @cached_property
    def _drafter(self) -> Drafter:
        return Drafter(self.tokenizer, self.template_args, self.tally, self.vision)

    @cached_property
    def _answers(self) -> AnswerTokens:
        return AnswerTokens(self.tokenizer, self.max_length, self.tally, self.vision)

    def _cut_in_pieces(self, ids: NDArray[np.int32]) -> list[Example]:
        pieces: list[Example] = []
        for start in range(0, max(len(ids) - 1, 1), self.max_length - 1):
            piece = ids[start : start + self.max_length]
            trained = np.ones(len(piece), dtype=np.bool_)
            trained[:1] = False
            pieces.append(Example(piece, trained))
        return pieces
