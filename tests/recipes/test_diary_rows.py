"""The shipped diary holds together, and its shipped rows are what `lorry data convert` makes of it."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lorry.cli.main import run
from lorry.data.sentences import sentences

RECIPES = Path(__file__).parents[2] / "recipes"
ROWS = ("diary_rows.jsonl", "diary_rows.test.jsonl")
STORM = {f"scarvan-{date(2023, 10, 25) + timedelta(days=day)}" for day in range(9)}
"""From the first forecast to the first stone that is lifted out again."""


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECIPES / "data" / name).read_text(encoding="utf-8").splitlines()]


def test_the_command_in_the_recipe_makes_the_shipped_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = (RECIPES / "diary.yaml").read_text(encoding="utf-8")
    command = re.search(r"lorry (data convert .*)", said)
    assert command
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes" / "data").mkdir(parents=True)
    (tmp_path / "recipes" / "data" / "diary.jsonl").write_bytes((RECIPES / "data" / "diary.jsonl").read_bytes())
    assert run(shlex.split(command[1])) == 0
    for name in ROWS:
        assert (tmp_path / "recipes" / "data" / name).read_bytes() == (RECIPES / "data" / name).read_bytes()


def test_no_sentence_of_the_diary_occurs_twice():
    counts = Counter(one.casefold() for entry in read("diary.jsonl") for one in sentences(entry["content"]))
    assert len(counts) > 300
    assert [one for one, number in counts.items() if number > 1] == []


def test_entries_are_of_one_kind_and_in_the_order_of_time():
    entries = read("diary.jsonl")
    assert all(list(entry) == ["id", "timestamp", "content", "tags", "entities"] for entry in entries)
    assert all(60 <= len(entry["content"].split()) <= 180 for entry in entries)
    times = [datetime.fromisoformat(entry["timestamp"]) for entry in entries]
    assert times == sorted(times)
    assert [entry["id"] for entry in entries] == [f"scarvan-{at.date()}" for at in times]
    assert len({at.date() for at in times}) == len(entries)


def test_each_tag_stands_on_several_entries_and_on_few_enough_to_tell_them_apart():
    entries = read("diary.jsonl")
    assert all(1 <= len(entry["tags"]) == len(set(entry["tags"])) <= 4 for entry in entries)
    counts = Counter(tag for entry in entries for tag in entry["tags"])
    assert all(3 <= number <= len(entries) // 3 for number in counts.values()), counts


def test_each_name_is_mentioned_by_its_entry_and_is_noted_wherever_it_is_mentioned():
    entries = read("diary.jsonl")
    names = Counter(name for entry in entries for name in entry["entities"])
    assert len(names) > 15
    assert all(number >= 2 for number in names.values()), names
    for entry in entries:
        said = {name for name in names if re.search(rf"\b{name}\b", entry["content"], re.IGNORECASE)}
        assert (entry["id"], set(entry["entities"])) == (entry["id"], said)


def test_the_days_of_the_storm_are_trained_on():
    train, held_back = ({key for row in read(name) for key in row["entries"]} for name in ROWS)
    assert {entry["id"] for entry in read("diary.jsonl")} == train | held_back
    assert not train & held_back
    assert len(STORM & train) == 9
    assert not STORM & held_back
