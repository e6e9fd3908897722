"""Every converter keeps the same promises, whoever wrote it."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any, cast

import pytest

from conversions import rows_of
from lorry import plugins
from lorry.data.converters._base import Converter, Made
from lorry.data.converting.room import Room
from lorry.data.formats._base import Format
from lorry.data.rows import Origin

NAMES = plugins.names("converters")
HOSTILE: list[Any] = [
    None,
    3,
    True,
    "",
    " \n",
    [],
    {},
    [None],
    [[]],
    [{}],
    {"a": 1},
    "[",
    b"bytes",
    1e99,
    [{"text": None}],
    "\x00",
]
SETTINGS: dict[str, dict[str, Any]] = {"diary": {"min_quality": 0.0}}
"""Where the example in a converter's own file is too short for its defaults."""


def example(name: str) -> dict[str, Any]:
    about = inspect.getmodule(plugins.find("converters", name)).__doc__ or ""  # type: ignore[union-attr]
    shown = re.search(r"^\s*(\{\".*\})$", about, re.MULTILINE)
    assert shown
    return json.loads(shown[1])


def rows(name: str, folder: Path, raw: list[Any], room: Room | None = None) -> list[Made]:
    return rows_of(name, folder, raw, room, **SETTINGS.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
def test_converter_knows_the_example_that_it_shows_and_no_other(name: str):
    for other in NAMES:
        converter = cast("Converter", plugins.find("converters", other)())
        assert converter.matches(example(name)) == (name == other)
        assert not converter.matches({})
        assert not converter.matches({"id": 1})


@pytest.mark.parametrize("name", NAMES)
def test_rows_can_be_trained_on(name: str, tmp_path: Path):
    made = rows(name, tmp_path, [example(name)])
    assert made
    layout = cast("Format", plugins.make("formats", "messages"))
    for one in made:
        assert layout.read(one.row, Origin("rows.jsonl", 1)).messages
        assert one.sources
        assert one.group
        assert one.asks
        assert one.answers in one.row["messages"][-1]["content"]
        json.dumps(one.row)


@pytest.mark.parametrize("name", NAMES)
def test_the_raw_row_stays_as_it_was(name: str, tmp_path: Path):
    raw = example(name)
    before = json.dumps(raw)
    rows(name, tmp_path, [raw])
    assert json.dumps(raw) == before


@pytest.mark.parametrize("name", NAMES)
def test_no_value_in_any_field_makes_a_converter_crash(name: str, tmp_path: Path):
    raw = example(name)
    for field in [*raw, "id", "tools", "system"]:
        for value in HOSTILE:
            room = Room(tmp_path, tmp_path)
            made = rows(name, tmp_path, [{**raw, field: value}], room)
            assert made or room.bad.count or room.left_out
            assert all(bad.message and bad.hint and str(bad.origin) == "rows.jsonl:1" for bad in room.bad.first)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_come_out_each_time(name: str, tmp_path: Path):
    first, second = (rows(name, tmp_path, [example(name)]) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", NAMES)
def test_an_edit_gives_another_state(name: str, tmp_path: Path):
    raw = {**example(name), "id": "known"}
    text = next(field for field in ("content", "output", "question", "system") if field in raw or field == "system")
    before, after = (
        rows(name, tmp_path, [one])
        for one in (raw, {**raw, text: f"{raw.get(text, '')} And so on, until it was over."})
    )
    assert before[0].sources[0].key == after[0].sources[0].key
    assert before[0].sources[0].state != after[0].sources[0].state
