"""A text in sentences, and in pieces that end where sentences do."""

from __future__ import annotations

import re

_END = re.compile(r"(?:(?<=[.!?…])[\"'”’»)\]]*\s+(?=[\"'“‘«(\[]*[^a-z\s])|(?<=[。！？])|\n\s*)")
_SHORT = re.compile(r"(?:^|[\s(\[\"'“‘])(?:[A-Z]|[A-Z][a-z]{1,2}|Capt|Col|Gen|Lieut|Rev|Hon|Prof|viz|i\.e|e\.g)\.$")
"""Ends in a dot that ends no sentence: an initial, a title, a short form."""


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without the blanks between them."""
    found: list[str] = []
    begin = 0
    for end in _END.finditer(text):
        if not _SHORT.search(text[begin : end.start()]):
            found.append(text[begin : end.end()].strip())
            begin = end.end()
    return [one for one in [*found, text[begin:].strip()] if one]


def pieces(text: str, longest: int) -> list[str]:
    """The text in pieces of at most so many letters, which end with a sentence where they can, else with a word."""
    if len(text) <= longest:
        return [text]
    found = [""]
    for part in [part for sentence in sentences(text) for part in _cut(sentence, longest)]:
        joined = f"{found[-1]} {part}" if found[-1] else part
        if len(joined) <= longest:
            found[-1] = joined
        else:
            found.append(part)
    return found


def mentions(text: str, name: str, longest: int) -> str:
    """The first sentences that mention a name, at most so many letters; empty where none does, or it is too long."""
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    found = ""
    for sentence in sentences(text):
        joined = f"{found} {sentence}" if found else sentence
        if word.search(sentence) and len(joined) <= longest:
            found = joined
    return found


def _cut(sentence: str, longest: int) -> list[str]:
    """A sentence that is too long, in parts."""
    parts: list[str] = []
    while len(sentence) > longest:
        end = sentence.rfind(" ", longest // 2, longest + 1)
        end = longest if end < 0 else end
        parts.append(sentence[:end].strip())
        sentence = sentence[end:].strip()
    return [*parts, sentence]
