"""What is seen of a converter's settings: plugin, setting, two values, how it is looked at, and what is then seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from conversions import ENTRY, WORDS, diary
from lorry.data.converters._base import Converter, Made
from lorry.data.converting.room import Room
from lorry.data.rows import Origin

Seen = Callable[[Converter, Path], Any]


def _rows(converter: Converter, folder: Path, raw: list[dict[str, Any]]) -> list[Made]:
    folder.mkdir(exist_ok=True)
    (folder / "german.yaml").write_text("day: Was war am {date:%d.%m.}?", encoding="utf-8")
    placed = iter([(row, Origin("rows.jsonl", line)) for line, row in enumerate(raw, 1)])
    return [*converter.convert(placed, Room(folder, folder))]


def _first(asked: str, **entry: Any) -> Seen:
    """What stands in the first row."""
    words = {"system": 0, "question": 1, "answer": -1}
    return lambda made, folder: _rows(made, folder, [ENTRY | entry])[0].row["messages"][words[asked]]["content"]


def _counted(count: int = 1, **entry: Any) -> Seen:
    return lambda made, folder: len(_rows(made, folder, [one | entry for one in diary(count)]))


def _of_kind(kind: str) -> Seen:
    return lambda made, folder: Counter(one.row["kind"] for one in _rows(made, folder, diary(20)))[kind]


def _of_two_subjects(made: Converter, folder: Path) -> int:
    entries = [{**entry, "tags": ["work" if number else "fire"]} for number, entry in enumerate(diary(20))]
    return len(_rows(made, folder, entries))


LONG = {"content": " ".join(f"{' '.join(Random(day).choices(WORDS, k=9))}. Then to bed." for day in range(30))}
QUARTZ = {
    "question": "What is quartz?",
    "context": "Quartz is a hard mineral.",
    "title": "Quartz",
    "answers": ["a hard mineral"],
}
GOLD = {"question": "What is gold?", "context": "Gold is soft.", "title": "Gold", "answers": []}
TOLD = {"question": "What is it?", "passages": ["Quartz is hard."], "gold": "Quartz is very hard."}
DAY = "What did you do on {}?"


def _answer(of: int = 0, turn: int = -1, raw: tuple[dict[str, Any], ...] = (QUARTZ, GOLD)) -> Seen:
    return lambda made, folder: _rows(made, folder, [*raw])[of].row["messages"][turn]["content"]


def _passages(made: Converter, folder: Path) -> int:
    return len(_rows(made, folder, [QUARTZ, GOLD])[0].row["messages"][-2]["content"].split("\n\n")[0].splitlines())


def _told(made: Converter, folder: Path) -> int:
    return len(_rows(made, folder, [TOLD]))


SAID = "You are {}. You answer in your own voice, from what you wrote in your diary."
ONE = {"kinds": ["day"]}
EVEN = {"half_life": None, "balance": 0, "names": 0}
UTC = {"timestamp": "2024-03-01T23:30:00Z"}

PROBES: list[tuple[Any, ...]] = [
    ("diary", "author", ("Ann", "Bob"), _first("system"), (SAID.format("Ann"), SAID.format("Bob")), ONE),
    ("diary", "kinds", (["day"], ["day", "when"]), _counted(), (1, 2)),
    (
        "diary",
        "wordings",
        (None, "german.yaml"),
        _first("question"),
        (DAY.format("1 March 2024"), "Was war am 01.03.?"),
        ONE,
    ),
    ("diary", "least_rows", (0, 1), _counted(20), (0, 20), {"half_life": 0.001, "as_of": "2030-01-01", "names": 0}),
    ("diary", "most_rows", (1, 2), _counted(20), (20, 40), EVEN),
    (
        "diary",
        "half_life",
        (None, 0.001),
        _counted(20),
        (40, 2),
        {"most_rows": 2, "least_rows": 0, "balance": 0, "names": 0},
    ),
    (
        "diary",
        "as_of",
        (None, "2030-01-01"),
        _counted(20),
        (1, 0),
        {"half_life": 0.001, "least_rows": 0, "most_rows": 1, "names": 0},
    ),
    ("diary", "balance", (0, 1), _of_two_subjects, (40, 23), {"half_life": None, "names": 0, "most_rows": 2}),
    ("diary", "max_rows", (None, 7), _counted(20), (80, 7), EVEN),
    ("diary", "min_quality", (0.5, 0.0), _counted(content="It rained."), (0, 1), ONE),
    ("diary", "good_length", (80, 10), _counted(content="It rained."), (0, 1), ONE),
    ("diary", "longest", (3000, 1000), _counted(**LONG), (1, 3), {"kinds": ["day", "continue"], "most_rows": 1}),
    ("diary", "names", (0, 3), _of_kind("about"), (0, 3)),
    (
        "diary",
        "calendar",
        ("gregorian", "julian"),
        _first("question"),
        (DAY.format("1 March 2024"), DAY.format("17 February 2024")),
        ONE,
    ),
    (
        "diary",
        "timezone",
        (None, "Europe/Berlin"),
        _first("question", **UTC),
        (DAY.format("1 March 2024"), DAY.format("2 March 2024")),
        ONE,
    ),
    ("squad", "foreign", (0, 2), _passages, (1, 2)),
    (
        "squad",
        "answers",
        ("short", "sentence"),
        _answer(),
        ("a hard mineral [1].", "Quartz is a hard mineral [1]."),
        {"foreign": 0},
    ),
    (
        "squad",
        "form",
        ("text", "json"),
        _answer(),
        ("a hard mineral [1].", '{"answer": "a hard mineral", "citations": [1]}'),
        {"foreign": 0},
    ),
    ("squad", "refusal", ("No.", "Nothing."), _answer(1), ("No.", "Nothing.")),
    ("squad", "support", (0.6, 1.0), _told, (1, 0)),
    ("squad", "system", ("Be brief.", "Cite."), _answer(0, 0), ("Be brief.", "Cite.")),
]
