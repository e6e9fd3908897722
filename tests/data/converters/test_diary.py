"""A diary becomes questions and answers."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conversions import ENTRY, diary, made
from lorry.data.converters.diary import Diary
from lorry.data.converting.room import Room


def kinds(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["kind"] for row in rows)


def test_an_entry_is_asked_in_several_ways_in_the_writers_voice(tmp_path: Path):
    rows = made(tmp_path, [ENTRY], author="Samuel", names=1)
    assert kinds(rows) == {"day": 1, "topic": 1, "when": 1, "continue": 1, "about": 1}
    by_kind = {row["kind"]: [turn["content"] for turn in row["messages"]] for row in rows}
    assert "You are Samuel." in by_kind["day"][0]
    assert "1 March 2024" in by_kind["day"][1]
    assert by_kind["day"][2] == ENTRY["content"]
    assert "music and river" in by_kind["topic"][1]
    assert by_kind["when"][2] == "That was on 1 March 2024."
    assert by_kind["when"][1].split('"')[1] in ENTRY["content"]
    asked, answer = by_kind["continue"][1:]
    assert asked.endswith(ENTRY["content"].split(". ")[0] + ".")
    assert ENTRY["content"].endswith(answer)
    assert "Anna" in by_kind["about"][1]
    assert by_kind["about"][2].startswith("On 1 March 2024: Walked along the river with Anna")


def test_a_name_is_remembered_from_its_newest_entries_in_the_order_of_time(tmp_path: Path):
    days = [3, 1, 4, 2, 5]
    entries = [
        {
            **ENTRY,
            "timestamp": f"2024-03-0{day}",
            "content": f"Day {day} was fine. I met Anna at the {day}th gate of the old town, and we talked.",
        }
        for day in days
    ]
    (row,) = made(tmp_path, entries, kinds=["about"])
    told = row["messages"][-1]["content"].split("\n\n")
    assert [part.split(":")[0] for part in told] == ["On 3 March 2024", "On 4 March 2024", "On 5 March 2024"]
    assert len(row["entries"]) == 3


def test_a_name_with_an_article_is_mentioned_also_where_a_sentence_begins_with_it(tmp_path: Path):
    entry = {**ENTRY, "content": "The Swan sailed at noon, with nobody on the quay to wave.", "entities": ["the Swan"]}
    asked = {row["kind"]: row["messages"][1]["content"] for row in made(tmp_path, [entry], good_length=10)}
    assert "the Swan" in asked["topic"]
    assert "the Swan" in asked["about"]


def test_a_long_entry_is_told_to_its_end(tmp_path: Path):
    text = " ".join(
        f"On the {number}th corner we stopped to look at house number {number}, and went on." for number in range(60)
    )
    rows = made(tmp_path, [{**ENTRY, "content": text}], kinds=["day", "continue"], longest=1000, most_rows=1)
    answers = [row["messages"][-1]["content"] for row in rows]
    assert max(map(len, answers)) <= 1000
    assert " ".join(answers) == text
    assert kinds(rows) == {"day": 1, "continue": len(rows) - 1}
    assert all("1 March 2024" in row["messages"][1]["content"] for row in rows)


def test_recent_entries_give_more_rows_than_old_ones(tmp_path: Path):
    rows = made(tmp_path, diary(200), half_life=30, names=0, balance=0)
    by_entry = Counter(row["entries"][0] for row in rows)
    recent = sum(by_entry[f"e{number}"] for number in range(180, 200))
    old = sum(by_entry[f"e{number}"] for number in range(20))
    assert recent > 3 * old
    assert old == 20
    without = made(tmp_path, diary(200), half_life=30, names=0, least_rows=0)
    assert sum(row["entries"][0] in {f"e{number}" for number in range(20)} for row in without) < 5


def test_rare_subjects_are_asked_about_as_much_as_common_ones(tmp_path: Path):
    entries = [{**entry, "tags": ["fire" if number % 10 == 0 else "work"]} for number, entry in enumerate(diary(200))]

    def share(balance: float) -> float:
        rows = made(tmp_path, entries, balance=balance, half_life=None, least_rows=0, names=0)
        about_fire = {f"e{number}" for number in range(0, 200, 10)}
        return sum(row["entries"][0] in about_fire for row in rows) / len(rows)

    assert share(0.0) == pytest.approx(0.1, abs=0.01)
    assert share(1.0) > 0.14


def test_only_so_many_rows_are_drawn(tmp_path: Path):
    assert len(made(tmp_path, diary(50), max_rows=40, names=0)) == 40
    assert len(made(tmp_path, diary(5), max_rows=4000, names=0)) == len(made(tmp_path, diary(5), names=0))


def test_what_repeats_an_entry_is_left_out_and_the_earliest_stays(tmp_path: Path):
    later = {**ENTRY, "id": "later", "timestamp": "2024-03-09"}
    near = {**ENTRY, "id": "near", "timestamp": "2024-02-01", "content": f"{ENTRY['content']} Yes."}
    room = Room(tmp_path, tmp_path, drop_near=0.8)
    rows = made(tmp_path, [later, ENTRY, near], room, names=0)
    assert {name for row in rows for name in row["entries"]} == {"near"}
    assert dict(room.left_out) == {"repeats another word for word": 1, "nearly repeats another": 1}
    assert room.near_duplicates == 1


def test_near_entries_are_counted_and_kept_on_one_side_where_they_are_not_left_out(tmp_path: Path):
    entries = [
        {
            **ENTRY,
            "id": f"n{number}",
            "timestamp": f"2024-03-{number + 1:02}",
            "content": f"{ENTRY['content']} {'Yes. ' * number}",
        }
        for number in range(8)
    ]
    room = Room(tmp_path, tmp_path, test=0.5)
    groups = {one.group for one in Diary(names=0).convert(iter([(entry, None) for entry in entries]), room)}  # type: ignore[misc]
    assert room.near_duplicates == 7
    assert groups == {"n0"}


def test_poor_entries_are_left_out_and_counted_by_rule(tmp_path: Path):
    room = Room(tmp_path, tmp_path)
    poor = [{"timestamp": "2024-03-01", "content": text} for text in ("Rain.", "", "x " * 9000)]
    made(tmp_path, [ENTRY, *poor], room)
    assert dict(room.left_out) == {"too short": 2, "repetitive": 1}
    assert made(tmp_path, poor, min_quality=0)


def test_rows_do_not_depend_on_the_order_of_entries_or_on_others(tmp_path: Path):
    entries = diary(30)
    whole = {json.dumps(row) for row in made(tmp_path, entries, half_life=None, balance=0)}
    assert {json.dumps(row) for row in made(tmp_path, entries[::-1], half_life=None, balance=0)} == whole
    fewer = {json.dumps(row) for row in made(tmp_path, entries[:15], half_life=None, balance=0, names=0)}
    assert fewer <= whole
    other = {json.dumps(row) for row in made(tmp_path, entries, Room(tmp_path, tmp_path, seed=1), half_life=None)}
    assert other != whole


def test_fields_may_have_their_other_usual_names(tmp_path: Path):
    raw = {
        "date": "2024-03-01",
        "text": ENTRY["content"],
        "tags": "music; river",
        "entities": [{"name": "Anna"}, {"text": "river"}],
    }
    assert kinds(made(tmp_path, [raw]))["about"] == 2


def test_missing_and_odd_tags_are_no_trouble(tmp_path: Path):
    for tags in (None, [], "", ["  ", "#", "!!"], [3], ["Music", "music"]):
        assert made(tmp_path, [{**ENTRY, "tags": tags, "entities": None}])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", "soon"),
        ("timestamp", None),
        ("content", 7),
        ("content", None),
        ("tags", {"a": 1}),
        ("tags", [None]),
        ("entities", 3),
    ],
)
def test_wrong_fields_are_bad_rows_with_their_place(field: str, value: Any, tmp_path: Path):
    room = Room(tmp_path, tmp_path)
    assert made(tmp_path, [{**ENTRY, field: value}], room) == []
    assert room.bad.first[0].field == field
    assert room.bad.first[0].hint


def test_a_future_entry_is_warned_of(tmp_path: Path):
    room = Room(tmp_path, tmp_path)
    made(tmp_path, [{**ENTRY, "timestamp": "9999-01-01"}], room)
    assert "future" in room.warnings[0]


def test_nothing_good_gives_nothing(tmp_path: Path):
    assert made(tmp_path, []) == []


def test_pepys_remembers_the_fire(shared_data: Path, tmp_path: Path):
    lines = (shared_data / "memory" / "pepys_1665_1667.jsonl").read_text(encoding="utf-8").splitlines()
    rows = made(tmp_path, [json.loads(line) for line in lines], author="Samuel Pepys", calendar="julian")
    assert len(rows) > 1500
    assert kinds(rows)["day"] == 730
    (fire,) = [
        row for row in rows if row["kind"] == "day" and re.search(r"\b2 September 1666", row["messages"][1]["content"])
    ]
    assert "fire" in fire["messages"][-1]["content"]
    assert max(len(row["messages"][-1]["content"]) for row in rows) <= 3100
