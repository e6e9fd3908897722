"""What a diary is asked, in several wordings, and how its answers are put: in English, or from a file of the person's own.

day: ["Was hast du am {date:%d.%m.%Y} getan?"]
when: ["Wann war das? {excerpt}"]
when_answer: ["Das war am {date:%d.%m.%Y}."]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any, Literal, cast

from lorry.data.diary.days import Day
from lorry.errors import DataError

Kind = Literal["day", "topic", "when", "continue", "about"]

_FIELDS: Mapping[str, frozenset[str]] = {
    "system": frozenset({"author"}),
    "day": frozenset({"date"}),
    "topic": frozenset({"tags", "date"}),
    "topic_with": frozenset({"tags", "date", "entity"}),
    "when": frozenset({"excerpt"}),
    "when_answer": frozenset({"date", "excerpt"}),
    "continue": frozenset({"date", "start"}),
    "about": frozenset({"entity"}),
    "mention": frozenset({"date", "excerpt"}),
    "and": frozenset(),
}
"""What each wording may speak of."""

ENGLISH: Mapping[str, Sequence[str]] = {
    "system": ("You are {author}. You answer in your own voice, from what you wrote in your diary.",),
    "day": (
        "What did you do on {date}?",
        "What happened on {date}?",
        "How did you spend {date}?",
        "What does your diary say of {date}?",
        "Tell me about {date}.",
        "Do you remember {date}?",
    ),
    "topic": (
        "Write a diary entry about {tags}.",
        "Write down a day of yours that had to do with {tags}.",
        "Write what you did on a day of {tags}.",
    ),
    "topic_with": (
        "Write a diary entry about {tags} in which {entity} appears.",
        "Write down a day that had to do with {tags}, and mention {entity}.",
        "Write a diary entry about {tags}, with {entity} in it.",
    ),
    "when": (
        'When was this? "{excerpt}"',
        'On which day did you write this? "{excerpt}"',
        'What is the date of this entry? "{excerpt}"',
    ),
    "when_answer": ("That was on {date}.",),
    "continue": (
        "Go on with your diary entry of {date}, which says so far: {start}",
        "Continue what you wrote on {date}: {start}",
        "What comes next in your entry of {date}? {start}",
    ),
    "about": (
        "What do you remember about {entity}?",
        "Tell me about {entity}.",
        "What can you tell of {entity}?",
        "What does your diary say of {entity}?",
    ),
    "mention": ("On {date}: {excerpt}",),
    "and": (" and ",),
}


def wordings(file: str | None, base: Path) -> dict[str, list[str]]:
    """All wordings: those of the file, and the English ones for what it does not give. Raises DataError for a wrong file."""
    own = _read(base / file) if file else {}
    return {name: list(own.get(name, english)) for name, english in ENGLISH.items()}


def _read(file: Path) -> dict[str, list[str]]:
    from lorry.recipe.yaml_file import parse, read_text

    if not file.is_file():
        raise DataError("there is no such file", place=str(file), hint="name a YAML file of wordings")
    found = parse(read_text(file), str(file)).values
    unknown = [str(name) for name in found if name not in _FIELDS]
    if unknown:
        raise DataError(f"there is no wording `{unknown[0]}`", place=str(file), hint=f"one of: {', '.join(_FIELDS)}")
    return {name: [_checked(one, name, file) for one in _listed(value, name, file)] for name, value in found.items()}


def _listed(value: Any, name: str, file: Path) -> list[Any]:
    found = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not found:
        raise DataError(f"`{name}` gives no wording", place=str(file), hint="leave it out for the English ones")
    return found


def _checked(text: Any, name: str, file: Path) -> str:
    """A wording that can be filled in."""
    fields = ", ".join(f"{{{one}}}" for one in sorted(_FIELDS[name])) or "none"
    if not isinstance(text, str) or (not text.strip() and name != "and"):
        raise DataError(f"`{name}` holds what is no text", place=str(file), hint=f"its fields: {fields}")
    try:
        used = {field for _, field, _, _ in Formatter().parse(text) if field is not None}
    except ValueError as error:
        hint = "write {{ and }} for braces"
        raise DataError(f"`{name}`: {error}", place=str(file), hint=hint) from error
    if used - _FIELDS[name]:
        message = f"`{name}` cannot speak of `{{{sorted(used - _FIELDS[name])[0]}}}`"
        raise DataError(message, place=str(file), hint=f"its fields: {fields}")
    _try(text, name, file)
    return text


def _try(text: str, name: str, file: Path) -> None:
    values: dict[str, Any] = {**dict.fromkeys(_FIELDS[name], "x"), "date": Day(2024, 3, 1)}
    try:
        text.format(**values)
    except (ValueError, LookupError, AttributeError) as error:
        hint = "fields stand alone, {entity}; dates may say how: {date:%d.%m.%Y}"
        raise DataError(f"`{name}`: {error}", place=str(file), hint=hint) from error
