"""Answers that rest on passages: which passages a row gives, which of them each sentence cites, and whether they say it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from lorry.evaluate.metrics._base import Answer

_MARK = re.compile(r"\s*\[\s*([A-Za-z]{0,8}\d{1,4}(?:\s*[,;]\s*[A-Za-z]{0,8}\d{1,4})*)\s*\]")
"""`[1]`, `[P3]`, `[1, 2]`."""
_HEAD = re.compile(r"^[ \t]*\[((?:[A-Za-z]{1,10} )?[\w.-]{0,40}\d[\w.-]{0,40})\][ \t:.]*", re.MULTILINE)
"""A passage's number or name where a line begins, as prompts have it: `[1]`, `[doc_1]`, `[Passage 1]`."""
_BRACKET = re.compile(r"\[([^\[\]\n]{1,200})\]")
_PLAIN_NAME = re.compile(r"[A-Za-z]{0,8}\d{1,4}")
_CALLED = re.compile(r"^(?:passage|source|document|doc|context|reference|ref|no)\b[ .:#]*(?=\S)", re.IGNORECASE)
"""What may stand before a passage's name: `[Passage 1]`."""
_TITLE = re.compile(r"\s*(?:#{1,6}\s.*|\*\*[^*]+\*\*:?\s*)")
"""A heading: it says nothing that could be cited."""
_ASKED = re.compile(r"^[ \t]*(?:question|query|q|task|instructions?)[ \t]*:", re.MULTILINE | re.IGNORECASE)
"""What ends the last passage of a prompt."""
_END = re.compile(
    r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’)\]]))(?=[ \t]+[\"'“‘(\[]*[A-Z0-9\u00c0-\u024f\u0370-\uffff])|(?<=[。！？])"
)
"""Where a sentence of a line may end: behind its mark, if what follows begins like one."""
_LEADING = re.compile(rf"(?:{_MARK.pattern})+")
_ABBREVIATION = re.compile(r"(?:\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|No|vs|etc|cf|approx|Inc|Ltd|Co|Fig|pp?)\.)$")
_BULLET = re.compile(r"^\s*(?:[-*•–]|\d{1,3}[.)])\s+")
_WORD = re.compile(r"[぀-ヿ㐀-鿿가-힯]|\w+")
_NUMBER = re.compile(r"\d+")
_STOP = """
a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it its may more
most no not of on one only or other our she should so some such than that the their them then there these they this those to
was we were what when where which while who will with would yes you your according also passage passages source sources
document documents text context states says stated
"""
_PLAIN = frozenset(_STOP.split())
"""Words that say nothing of what a passage is about."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer, without its citations, and what it cites."""

    text: str
    cited: tuple[str, ...]
    """Names of passages as the answer writes them, each once, whether they exist or not."""


def passages_of(answer: Answer, column: str) -> dict[str, str]:
    """The passages that a row gives, by the name that answers cite them by; none where there are none.

    From the row's column: a list of texts, or of objects with `text` and at times `id` and `title`, or an object of texts by
    name; without names they are numbered from 1. Else from the prompt, where they stand behind `[1]`, `[2]` at the beginning
    of lines.
    """
    found = _in_column(answer.columns.get(column))
    return found or _in_prompt(answer)


def claims(text: str, names: Iterable[str] = ()) -> list[Claim]:
    """The sentences of an answer, without headings. Citations behind a full stop or below belong to the sentence before.

    A passage of `names` may be cited by its name in any case, with or without `Passage` before it, and by its number from 1
    where no other has that for a name. Other brackets are citations where they look like one (`[3]`), of what is not there.
    """
    aliases, cited = _aliases(names), list[str]()

    def numbered(found: re.Match[str]) -> str:
        whole = _named(found[1], aliases)
        parts = [whole] if whole else [_named(one, aliases) for one in re.split("[,;]", found[1])]
        if not all(parts):
            return found[0]
        start = len(cited)
        cited.extend(cast("list[str]", parts))
        return f"[{', '.join(map(str, range(start, len(cited))))}]"

    said = list[Claim]()
    for line in _BRACKET.sub(numbered, text).splitlines():
        if said and not said[-1].cited and _LEADING.fullmatch(line.rstrip()):
            said[-1] = Claim(said[-1].text, _cited(line))
        elif not _TITLE.fullmatch(line):
            said += _of_line(_BULLET.sub("", line))
    return [Claim(one.text, tuple(dict.fromkeys(cited[int(at)] for at in one.cited))) for one in said]


def _aliases(names: Iterable[str]) -> dict[str, str]:
    """The names of passages by all that they may be called."""
    listed = list(names)
    found = {name.casefold(): name for name in reversed(listed)}
    for name in listed:
        found.setdefault(_CALLED.sub("", name).casefold(), name)
    for number, name in enumerate(listed, start=1):
        found.setdefault(str(number), name)
    return found


def _named(text: str, aliases: Mapping[str, str]) -> str | None:
    """The passage that a bracket names, which may be one that is not there; None where it names none."""
    bare = _CALLED.sub("", text.strip())
    known = aliases.get(text.strip().casefold()) or aliases.get(bare.casefold())
    looks_like_one = _PLAIN_NAME.fullmatch(bare) or _shape(bare) in map(_shape, aliases)
    return known or (bare if bare and looks_like_one else None)


def _shape(name: str) -> str:
    """A name without its numbers: `doc_9` is meant as `doc_1` is; one without any is only itself."""
    return _NUMBER.sub("0", name.casefold())


def words_of(text: str) -> set[str]:
    """The words of a text that say what it is about, in lower case; of scripts without blanks every sign."""
    return {word for word in _WORD.findall(text.casefold()) if word not in _PLAIN}


def supported_by(claim: Claim, passages: Sequence[str], least: float) -> list[bool] | None:
    """Which of the cited passages support a sentence; None for one of which no word can be looked for.

    Together they must hold at least the share `least` of its words and every number in it; then each supports it that holds
    its part of that share: half of it where two are cited.
    """
    wanted = words_of(claim.text)
    if not wanted:
        return None
    held = [words_of(passage) for passage in passages]
    together = set[str]().union(*held)
    numbers = set(_NUMBER.findall(claim.text))
    known = {number for passage in passages for number in _NUMBER.findall(passage)}
    if len(wanted & together) < least * len(wanted) or not numbers <= known:
        return [False] * len(passages)
    return [len(wanted & own) >= least * len(wanted) / len(passages) for own in held]


def _of_line(line: str) -> list[Claim]:
    found: list[Claim] = []
    for sentence in _sentences(line):
        behind = _LEADING.match(sentence) if found and not found[-1].cited else None
        if behind:
            found[-1] = Claim(found[-1].text, _cited(behind[0]))
        own = sentence[behind.end() :] if behind else sentence
        plain = " ".join(_MARK.sub("", own).split())
        if _WORD.search(plain):
            found.append(Claim(plain, _cited(own)))
    return found


def _cited(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for mark in _MARK.finditer(text) for name in re.split(r"\s*[,;]\s*", mark[1])))


def _sentences(line: str) -> Iterator[str]:
    """Pieces of a line, of which one may be nothing but citations."""
    kept = ""
    for piece in _END.split(line):
        kept += piece
        if not _ABBREVIATION.search(kept):
            yield kept
            kept = ""
    if kept:
        yield kept


def _in_column(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(name): _text(one) for name, one in cast("Mapping[Any, Any]", value).items()}
    if not isinstance(value, list):
        return {}
    listed = cast("list[Any]", value)
    names = [_id(one) or str(number) for number, one in enumerate(listed, start=1)]
    return dict(zip(names, map(_text, listed), strict=True))


def _id(value: Any) -> str:
    found = cast("Mapping[Any, Any]", value).get("id") if isinstance(value, Mapping) else None
    return str(found) if isinstance(found, str | int) and str(found) else ""


def _text(value: Any) -> str:
    """A passage's title and text, in whatever form."""
    if isinstance(value, Mapping):
        found = cast("Mapping[Any, Any]", value)
        parts = [found.get("title"), next((found[key] for key in ("text", "content", "passage") if key in found), "")]
        return "\n".join(_text(one) for one in parts if one)
    if isinstance(value, list):
        return " ".join(_text(one) for one in cast("list[Any]", value))
    return value if isinstance(value, str) else ""


def _in_prompt(answer: Answer) -> dict[str, str]:
    found: dict[str, str] = {}
    for turn in answer.messages:
        content: Any = turn.get("content")
        text: str = content if isinstance(content, str) else _parts(content)
        heads = list(_HEAD.finditer(text))
        ends = [head.start() for head in heads[1:]] + [len(text)]
        for head, end in zip(heads, ends, strict=False):
            asked = _ASKED.search(text, head.end(), end)
            found.setdefault(head[1], text[head.end() : asked.start() if asked else end].strip())
    return found


def _parts(content: Any) -> str:
    """The texts of a turn in typed parts."""
    parts: list[Any] = cast("list[Any]", content) if isinstance(content, list) else []
    return "\n".join(str(one["text"]) for one in parts if isinstance(one, Mapping) and "text" in one)
