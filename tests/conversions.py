"""Builders for tests of conversions: a diary's entries, and what a converter makes of raw rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from lorry import plugins
from lorry.data.converters._base import Converter, Made
from lorry.data.converting.room import Room
from lorry.data.rows import Origin

ENTRY: dict[str, Any] = {
    "id": "e",
    "timestamp": "2024-03-01T21:30:00",
    "content": "Walked along the river with Anna in the cold morning. We talked of nothing but the new house and its garden, "
    "and in the evening she sang the old songs that we both had learnt at school.",
    "tags": ["music", "river"],
    "entities": ["Anna"],
}
WORDS = [
    "river",
    "stone",
    "market",
    "morning",
    "letter",
    "garden",
    "window",
    "candle",
    "horse",
    "winter",
    "bread",
    "silver",
    "music",
    "sailor",
    "doctor",
    "bridge",
]
"""What long texts are drawn from."""
PLACES = ("harbour", "market", "old bridge", "library", "station", "castle", "museum", "mill", "orchard", "theatre")
PEOPLE = ("Anna", "Tom", "Mrs. Hill", "Doctor Gray", "my brother", "the captain", "Robert", "Lady Penn")
DOINGS = (
    "bought a lamp",
    "read the paper aloud",
    "lost my hat",
    "spoke of the war",
    "ate fresh bread",
    "mended the fence",
)


def diary(count: int) -> list[dict[str, Any]]:
    """Entries of days in a row, all different."""
    return [_entry(number) for number in range(count)]


def _entry(number: int) -> dict[str, Any]:
    place, other = PLACES[number % 10], PLACES[number * 7 % 10]
    who, doing = PEOPLE[number % 8], DOINGS[number % 6]
    day = f"{2024 + number // 336}-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}"
    text = (
        f"On this day, number {number}, I went to the {place} with {who} and {doing}. Later we came by the {other}, where "
        f"{number * 31 % 97} people stood in the rain. {who} said that it was time to go home, and so we did."
    )
    return {"id": f"e{number}", "timestamp": day, "content": text, "tags": [place], "entities": [who]}


def rows_of(kind: str, folder: Path, raw: list[Any], room: Room | None = None, **settings: Any) -> list[Made]:
    """What a converter makes of raw rows."""
    converter = cast("Converter", plugins.make("converters", {"name": kind, **settings}))
    placed = iter([(row, Origin("rows.jsonl", line)) for line, row in enumerate(raw, 1)])
    return [*converter.convert(placed, room or Room(folder, folder))]


def made(folder: Path, raw: list[Any], room: Room | None = None, **settings: Any) -> list[dict[str, Any]]:
    """What a diary gives."""
    return [one.row for one in rows_of("diary", folder, raw, room, **settings)]
