"""Which passages support an answer, sentence by sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lorry.data.grounded.question import Passage
from lorry.data.sentences import sentences

_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    {
        *(
            "a",
            "an",
            "and",
            "are",
            "as",
            "at",
            "be",
            "been",
            "but",
            "by",
            "can",
            "did",
            "do",
            "does",
            "for",
            "from",
            "had",
            "has",
        ),
        *(
            "have",
            "he",
            "her",
            "his",
            "how",
            "i",
            "in",
            "into",
            "is",
            "it",
            "its",
            "many",
            "not",
            "of",
            "on",
            "or",
            "she",
            "than",
        ),
        *(
            "that",
            "the",
            "their",
            "there",
            "they",
            "this",
            "to",
            "was",
            "were",
            "what",
            "when",
            "where",
            "which",
            "who",
            "will",
        ),
        *("with", "would"),
    }
)


def with_citations(answer: str, passages: Sequence[Passage], least: float) -> str:
    """The answer with the number of a passage, from 1, behind each sentence that one supports; empty where none is supported.

    A passage supports a sentence that holds at least this share of its words, common ones aside; of several the best does.
    """
    words = [set(_words(f"{one.title} {one.text}")) for one in passages]
    told: list[str] = []
    is_supported = False
    for sentence in sentences(answer):
        own = set(_words(sentence))
        shares = [len(own & held) / len(own) if own else 0.0 for held in words]
        best = max(range(len(shares)), key=lambda index: shares[index])
        supported = shares[best] >= least
        is_supported = is_supported or supported
        told.append(cited(sentence, [best + 1]) if supported else sentence)
    return " ".join(told) if is_supported else ""


def cited(sentence: str, numbers: Sequence[int]) -> str:
    """A sentence with the passages that hold it, before its full stop: `Japan [1].`"""
    marks = " ".join(f"[{number}]" for number in sorted(numbers))
    body, end = (sentence[:-1], sentence[-1]) if sentence[-1:] in ".!?" else (sentence, ".")
    return f"{body} {marks}{end}"


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.casefold()) if word not in _COMMON]
