"""Answers in tokens: which tokens of a conversation are trained on, its end tokens included."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Literal

import numpy as np
from tokenizers import Encoding

from lorry.data.drafts import Draft, Tally
from lorry.data.examples import Example
from lorry.data.images.vision import Vision
from lorry.data.tokenizer import Tokenizer

TrainOn = Literal["assistant", "last", "all"]

_HEADERS = 1024
"""Headers of answers whose tokens are remembered."""


class AnswerTokens:
    """Marks the answers' tokens in conversations of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, max_length: int, tally: Tally, vision: Vision | None = None) -> None:
        self._tokenizer = tokenizer
        self._vision = vision
        self._max_length = max_length
        self._tally = tally

    def example(self, draft: Draft, encoding: Encoding, train_on: TrainOn) -> Example:
        """The tokens of a draft, cut at the greatest length, with a mark on each that is trained on."""
        ids, answers = self._laid_out(draft, encoding)
        trained = np.zeros(len(ids) + 1, dtype=np.bool_)
        end, closed = len(ids), True
        for first, after in answers[-1:] if train_on == "last" else answers:
            end, closed = self._answer_end(ids, first, after)
            trained[first:end] = True
        if not closed and draft.spans[-1][1] == len(draft.text):
            self._tally.without_end += 1
            ids = [*ids[:end], self._tokenizer.eos_id]
            trained[end] = True
        if train_on == "all":
            trained[:] = True
        start = self.doubled(ids)
        trained[start] = False
        whole = Example(np.asarray(ids[start:], dtype=np.int32), trained[start : len(ids)])
        if draft.pictures and self._vision is not None:
            return self._pictured(whole, draft, self._vision)
        return whole.up_to(self._max_length)

    def _pictured(self, whole: Example, draft: Draft, vision: Vision) -> Example:
        """The row with its images, cut so that none loses a part."""
        images = vision.placed(whole.ids, draft.pictures)
        found = replace(whole, images=images).without_images().up_to(self._max_length)
        if len(found.images) < len(images):
            self._tally.count_at("images_cut", draft.origin)
        return found

    def _laid_out(self, draft: Draft, encoding: Encoding) -> tuple[list[int], list[tuple[int, int]]]:
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
        self._tally.merging += 1
        border = draft.spans[-1][0]
        (head,) = self._tokenizer.encodings([text[:border]])
        ids = [*head.ids, *self._tokenizer.encode_inside(text[border:])]
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
            known = self._tokenizer.encode(header)
            if len(self._headers) < _HEADERS:
                self._headers[header] = known
        return known == ids[token + 1 : first]

    @cached_property
    def _headers(self) -> dict[str, list[int]]:
        return {}

    @cached_property
    def _added(self) -> frozenset[int]:
        return self._tokenizer.added_ids

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
            known = self._blanks[token] = not self._tokenizer.decode([token], skip_special_tokens=False).strip()
        return known

    @cached_property
    def _blanks(self) -> dict[int, bool]:
        return {}

    @cached_property
    def _ends(self) -> frozenset[int]:
        return self._tokenizer.end_ids

    def doubled(self, ids: list[int]) -> int:
        """1 where a text begins with the first token twice: once from the template, once from the row."""
        bos = self._tokenizer.bos_id
        return int(bos is not None and ids[:2] == [bos, bos])
