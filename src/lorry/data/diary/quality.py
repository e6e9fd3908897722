"""How good an entry is to learn from: the lowest of four shares, from 0 to 1, each of which says what is wrong."""

from __future__ import annotations

import re
from typing import NamedTuple

_LETTERS = 0.7
"""Share of letters among all signs but blanks, from which a text is prose; English prose has about 0.95."""
_DISTINCT = 0.5
"""Share of different runs of three words (of nine letters, where there are few blanks) from which nothing is repetition."""
_LONG = re.compile(r"[!-~]{61,}")
"""More than 60 ASCII signs without a blank: an address, a key, a picture in base64."""
_NO_LETTER = re.compile(r"[\x00-@\[-`{-\x7f]|\d")
"""ASCII signs but letters, and digits of all scripts. Marks and vowel signs of many scripts belong to a letter."""
_READ = 20_000
"""Letters that are looked at."""


class Quality(NamedTuple):
    """The lowest share, and the rule that gave it."""

    score: float
    rule: str


def quality(text: str, good_length: int) -> Quality:
    """The quality of a text. A rule that is kept gives 1.

    `too short`: its letters, signs and blanks against `good_length`. `few letters`: numbers, rulers, tables. `repetitive`:
    the same words again and again. `not words`: the share outside of runs of more than 60 signs without a blank.
    """
    text = text[:_READ]
    shares = {
        "too short": len(text) / max(good_length, 1),
        "few letters": _letters(text) / _LETTERS,
        "repetitive": _distinct(text) / _DISTINCT,
        "not words": 1 - sum(len(run) for run in _LONG.findall(text)) / max(len(text), 1),
    }
    rule = min(shares, key=lambda name: shares[name])
    return Quality(min(shares[rule], 1.0), rule)


def _letters(text: str) -> float:
    signs = "".join(text.split())
    return 1 - len(_NO_LETTER.findall(signs)) / max(len(signs), 1)


def _distinct(text: str) -> float:
    words = text.casefold().split()
    size = 3
    if len(text) > 20 * max(len(words), 1):  # a script without blanks
        words, size = list(text.casefold()), 9
    runs = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0
