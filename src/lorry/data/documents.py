"""Documents become token ids in bounded memory: long ones are tokenised in parts that give the same tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lorry.data.tokenizer import Tokenizer

PART = 1_000_000
"""Characters tokenised at once; the tokenizer's own records take about 30 bytes for each."""

_AROUND = 256
_TRIES = 50


def document_ids(tokenizer: Tokenizer, texts: Sequence[str], part: int = PART) -> Iterator[NDArray[np.int32]]:
    """Each document's ids: the first token once if the tokenizer adds one, the text, the end token."""
    parts = [parts_of(tokenizer, text, part) for text in texts]
    ids = _encoded(tokenizer, [piece for pieces in parts for piece in pieces], part)
    for pieces in parts:
        body = np.concatenate([next(ids) for _ in pieces])
        begin = [tokenizer.bos_id] if tokenizer.adds_bos and (not len(body) or body[0] != tokenizer.bos_id) else []
        end = [] if len(body) and body[-1] == tokenizer.eos_id else [tokenizer.eos_id]
        yield np.concatenate([np.asarray(begin, np.int32), body, np.asarray(end, np.int32)])


def parts_of(tokenizer: Tokenizer, text: str, size: int) -> list[str]:
    """The text cut at ends of lines into parts of about `size` characters that tokenise as the whole does."""
    parts: list[str] = []
    start = 0
    while len(text) - start > size:
        cut = _safe_cut(tokenizer, text, start + size)
        if cut is None:
            break
        parts.append(text[start:cut])
        start = cut
    return [*parts, text[start:]]


def _safe_cut(tokenizer: Tokenizer, text: str, place: int) -> int | None:
    """The end of a line at or behind a place where cutting does not change the tokens around; None if none is near."""
    for _ in range(_TRIES):
        place = text.find("\n", place) + 1
        if not 0 < place < len(text):
            return None
        before, after = text[max(0, place - _AROUND) : place], text[place : place + _AROUND]
        if tokenizer.encode(before) + tokenizer.encode(after) == tokenizer.encode(before + after):
            return place
    return None


def _encoded(tokenizer: Tokenizer, texts: Sequence[str], budget: int) -> Iterator[NDArray[np.int32]]:
    """Ids of each text, tokenised together in groups of at most `budget` characters."""
    group: list[str] = []
    chars = 0
    for text in texts:
        if group and chars + len(text) > budget:
            yield from (np.asarray(encoding.ids, np.int32) for encoding in tokenizer.encodings(group))
            group, chars = [], 0
        group.append(text)
        chars += len(text)
    yield from (np.asarray(encoding.ids, np.int32) for encoding in tokenizer.encodings(group))
