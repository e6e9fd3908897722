"""Images of raw rows: marks in the text and typed parts are brought together with what the row names, and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from lorry.data.bad_rows import BadRowError
from lorry.data.images.references import Reference, reference
from lorry.data.rows import MARK, Message, Row
from lorry.data.strict_json import parse

WRITTEN = "<image>"
"""How rows write in their text that an image stands there."""
HELD = "lorry:images"
"""Where a turn keeps the images of its own parts until the row is whole; None for a part that names none."""
_COLUMNS = ("images", "image")


def for_people(turns: Sequence[Message]) -> list[Message]:
    """Turns of a row with images as people write them, with `<image>` where one stands."""
    return [
        {**turn, "content": turn["content"].replace(MARK, WRITTEN)} if isinstance(turn.get("content"), str) else turn
        for turn in turns
    ]


def with_images(raw: Mapping[str, Any], row: Row) -> Row:
    """The row with its images in the order in which they stand in its text.

    Raises BadRowError where it marks more images than it names, or fewer. A row that marks none has them at the beginning of
    its first user turn.
    """
    if row.messages is None:
        return row
    if not are_marked(row) and isinstance(raw.get(column_of(raw)), int | float):
        return row  # a column of this name that holds no images
    named = _named(raw)
    turns = [*row.messages, *(row.rejected or [])]
    if not named and not any(HELD in turn for turn in turns):
        return row
    messages, images = _matched(row.messages, named)
    if row.rejected is None:
        return replace(row, messages=messages, images=images)
    rejected, others = _matched(row.rejected, named)
    if [one.text or one.content for one in others] != [one.text or one.content for one in images]:
        hint = "an image belongs to what is asked, not to one of the answers"
        raise BadRowError("chosen and rejected have other images", field="rejected", hint=hint)
    return replace(row, messages=messages, rejected=rejected, images=images)


def column_of(raw: Mapping[str, Any]) -> str:
    """The column in which a row names images, or something else that goes by this name; empty for a row without."""
    return next((name for name in _COLUMNS if raw.get(name) is not None), "")


def are_marked(row: Row) -> bool:
    """Whether a conversation says where images stand in it: by `<image>`, or by parts of its turns."""
    turns = [*(row.messages or []), *(row.rejected or [])]
    return any(HELD in turn or WRITTEN in str(turn.get("content")) for turn in turns)


def _named(raw: Mapping[str, Any]) -> list[Reference]:
    """The images in a row's own column."""
    column = column_of(raw)
    if not column:
        return []
    value = raw[column]
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parse(value)  # as tables write lists
    many = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else [value]
    is_empty = isinstance(value, str) and not value.strip()
    return [] if is_empty else [reference(one, f"{column}[{at}]") for at, one in enumerate(many)]


def _matched(turns: Sequence[Message], named: Sequence[Reference]) -> tuple[list[Message], tuple[Reference, ...]]:
    """Turns with a mark where each image stands, and the images in the order of the marks."""
    marked: list[Message] = []
    found: list[Reference | None] = []
    for turn in turns:
        text, held = _marked(turn)
        found += held
        marked.append({**{key: value for key, value in turn.items() if key != HELD}, **text})
    if not found:
        return _at_beginning(marked, len(named)), tuple(named)
    unnamed = sum(one is None for one in found)
    if unnamed != len(named):
        marks, images = _counted(unnamed, f"`{WRITTEN}` mark"), _counted(len(named), "image")
        hint = "write one mark for each image, where it belongs"
        raise BadRowError(f"{marks}, {images}", field="images", hint=hint)
    rest = iter(named)
    return marked, tuple(next(rest) if one is None else one for one in found)


def _marked(turn: Message) -> tuple[Message, list[Reference | None]]:
    """A turn's text where `<image>` stands in it, with lorry's own marks; and its images, None for each that has no name."""
    content = turn.get("content")
    if HELD in turn or not isinstance(content, str):
        return {}, list(turn.get(HELD, []))
    if MARK in content:
        hint = "take the sign out: lorry marks with it where an image stands"
        raise BadRowError("a turn's text holds U+FFFC", hint=hint)
    return {"content": content.replace(WRITTEN, MARK)}, [None] * content.count(WRITTEN)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _at_beginning(turns: list[Message], count: int) -> list[Message]:
    first = next((at for at, turn in enumerate(turns) if turn["role"] == "user"), None)
    if first is None:
        raise BadRowError(
            "there is no user turn that an image could belong to", field="images", hint="mark where it stands"
        )
    return [
        {**turn, "content": MARK * count + str(turn["content"])} if at == first else turn
        for at, turn in enumerate(turns)
    ]
