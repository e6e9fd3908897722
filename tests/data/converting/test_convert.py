"""From files to files: what is written, what is new since the last time, and what is never overwritten."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from conversions import DOINGS, ENTRY, diary
from lorry.data.converting import outputs as files
from lorry.data.converting.convert import Outcome, Wish, convert
from lorry.data.converting.outputs import Outputs
from lorry.errors import DataError, InputError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(entries: list[Any], name: str = "diary.jsonl") -> None:
    Path(name).write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")


def go(name: str = "diary", read: str = "diary.jsonl", new: bool = False, settings: Any = None, **wish: Any) -> Outcome:
    places = Outputs.at(Path("rows.jsonl"), test=wish.get("test", 0) > 0, new=Path("new.jsonl") if new else None)
    return convert(name, settings or {}, [read], Wish(places, **wish))


def lines(name: str = "rows.jsonl") -> list[str]:
    return Path(name).read_text(encoding="utf-8").splitlines()


def of(name: str) -> set[str]:
    """The entries that the rows of a file were made of."""
    return {entry for line in lines(name) for entry in json.loads(line)["entries"]}


def left_behind() -> list[str]:
    return [file.name for file in Path.cwd().iterdir() if file.name.startswith(".")]


# --- a first time


def test_rows_are_written_and_counted():
    write(diary(20))
    outcome = go()
    assert (outcome.converter, outcome.read, outcome.rows) == ("diary", 20, len(lines()))
    assert outcome.changes is outcome.new_rows is outcome.leakage is None
    assert left_behind() == []


def test_who_watches_is_told_how_far_it_is():
    told: list[str] = []
    write(diary(1500))
    go(settings={"kinds": ["day"]}, watch=told.append)
    assert told == ["1,000 read", "1,000 rows made", "looking for what is alike"]


def test_the_converter_is_found_by_the_first_row():
    write([{"instruction": "Say red.", "output": "red"}])
    assert go("auto").converter == "alpaca"
    write([{"conversations": [{"from": "human", "value": "Say"}, {"from": "gpt", "value": "red"}]}], "s.jsonl")
    assert go("auto", "s.jsonl", force=True).converter == "sharegpt"
    write([{"foo": 1}], "x.jsonl")
    with pytest.raises(DataError, match="no converter knows a row with the fields `foo`"):
        go("auto", "x.jsonl", force=True)


def test_repeated_rows_are_written_once():
    write([{"instruction": f"Say {word}.", "output": word} for word in ("red", "blue", "red")])
    outcome = go("alpaca")
    assert (outcome.rows, outcome.repeated_rows) == (2, 1)


def test_rows_that_are_told_or_think_something_else_are_no_repeats():
    turns = [{"from": "human", "value": "What is two and two?"}, {"from": "gpt", "value": "Four"}]
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    thought = [turns[0], {"role": "assistant", "content": "Four", "reasoning_content": "I count on my fingers."}]
    raw = [{"conversations": turns}, {"conversations": turns, "system": "Be short."}]
    raw += [{"conversations": turns, "tools": [tool]}, {"conversations": thought}]
    write([*raw, *raw])
    outcome = go("sharegpt", drop_near=0.8)
    assert (outcome.rows, outcome.repeated_rows, outcome.near_duplicates) == (4, 4, 0)


PLACES = ("harbour", "library", "old mill", "castle", "orchard")


def asked_of(place: str, asked: str, number: int) -> dict[str, Any]:
    passage = (
        f"The {place} stands by itself behind the wall, and whoever comes to it by night finds a lamp and a bell. " * 3
    )
    passage = passage.replace("wall", f"wall of the {place}'s garden").replace("night", f"night to see the {place}")
    return {"id": f"{place}{number}", "question": asked, "context": passage, "answers": []}


def test_one_question_about_other_passages_is_other_rows():
    asked = "What does whoever comes there find?"
    write([asked_of(place, asked, 1) for place in PLACES])
    outcome = go("squad", settings={"foreign": 0}, drop_near=0.8)
    assert (outcome.rows, outcome.near_duplicates) == (5, 0)
    again = [asked_of(place, f"{asked}?", 2) for place in PLACES]
    write([*(asked_of(place, asked, 1) for place in PLACES), *again])
    outcome = go("squad", settings={"foreign": 0}, drop_near=0.8, force=True)
    assert (outcome.rows, outcome.near_duplicates) == (5, 5)


def test_one_question_about_other_passages_does_not_leak_and_about_nearly_the_same_one_does():
    drawn = random.Random(4)
    contexts = [" ".join(drawn.choices([*PLACES, *DOINGS], k=20)) for _ in range(10)]
    raw = [{**asked_of(str(n), "What is it?", 1), "context": text} for n, text in enumerate(contexts)]
    write(raw)
    assert go("squad", settings={"foreign": 0}, test=0.5).leakage == {"rows": 0, "prompts": 0}
    passage = (
        "The lamp in the harbour burns all night, and whoever comes to the harbour finds it by its light and its bell"
    )
    write([{**one, "context": passage + "!" * n} for n, one in enumerate(raw)])
    outcome = go("squad", settings={"foreign": 0}, test=0.5, force=True)
    assert outcome.leakage == {"rows": outcome.test_rows, "prompts": 0}


def test_near_duplicates_are_counted_and_left_out_where_that_is_asked():
    told = "Mix the flour with the eggs and the milk, let it rest for an hour, and bake thin cakes of it in hot butter."
    write(
        [
            {"instruction": "How are pancakes made?", "output": told},
            {"instruction": "How are pancakes made??", "output": f"{told} Enjoy!"},
        ]
    )
    assert (go("alpaca").near_duplicates, len(lines())) == (1, 2)
    dropped = go("alpaca", force=True, drop_near=0.8)
    assert (dropped.near_duplicates, dropped.near_duplicates_dropped, len(lines())) == (1, True, 1)
    assert "Enjoy" not in lines()[0]


def test_bad_rows_stop_everything_unless_they_are_skipped():
    write([ENTRY, {**ENTRY, "timestamp": "soon"}, {**ENTRY, "content": 7}])
    with pytest.raises(DataError, match="2 of 3 rows") as caught:
        go()
    assert "--skip-bad" in caught.value.hint
    assert not Path("rows.jsonl").exists()
    assert (go(skip_bad=True).bad_rows, left_behind()) == (2, [])


def test_lines_that_are_no_rows_count_as_read():
    write([ENTRY])
    with Path("diary.jsonl").open("ab") as file:
        file.write(b'{broken\n{"timestamp": "2024-01-01", "content": "caf\xe9"}\n')
    with pytest.raises(DataError, match="2 of 3 rows"):
        go()


def test_a_table_can_be_a_diary():
    text = "Walked along the river with Anna in the cold morning, and talked of the new house and its garden all day."
    Path("diary.csv").write_text(f'date,text,tags\n2024-03-01,"{text}","music, river"\n', encoding="utf-8")
    go(read="diary.csv", settings={"kinds": ["topic"]})
    assert "music and river" in lines()[0]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_an_error(content: bytes):
    Path("diary.jsonl").write_bytes(content)
    with pytest.raises(DataError, match="no rows"):
        go()


def test_a_byte_order_mark_is_no_trouble():
    Path("diary.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(ENTRY).encode())
    assert go().rows > 0


def test_nothing_left_is_an_error_that_says_why():
    write([{**ENTRY, "content": "Rain."}])
    with pytest.raises(DataError, match="too short: 1"):
        go()


# --- a split


def test_entries_stand_on_one_side_and_stay_there():
    write(diary(60))
    outcome = go(test=0.3)
    assert outcome.test_rows == len(lines("rows.test.jsonl")) > 10
    assert not of("rows.jsonl") & of("rows.test.jsonl")
    before = of("rows.test.jsonl")
    write(diary(90))
    go(test=0.3, update=True)
    assert before <= of("rows.test.jsonl")


def test_a_clean_split_is_reported_as_such():
    write(diary(60))
    assert go(test=0.3, settings={"kinds": ["day", "when"]}).leakage == {"rows": 0, "prompts": 0}


def test_rows_that_leak_are_counted_by_what_leaks():
    told = "Mix the flour with the eggs and the milk, let it rest for an hour, and bake thin cakes of it in hot butter"
    write(
        [{"instruction": f"How are pancakes made{'?' * number}", "output": told + "!" * number} for number in range(12)]
    )
    outcome = go("alpaca", test=0.5)
    assert outcome.test_rows > 1
    assert outcome.leakage == {"rows": outcome.test_rows, "prompts": 0}
    write([{"instruction": f"How are pancakes made{'?' * number}", "output": f"{number}" * 40} for number in range(10)])
    outcome = go("alpaca", test=0.5, force=True)
    assert outcome.leakage == {"rows": 0, "prompts": outcome.test_rows}


def talk(*said: str) -> dict[str, Any]:
    names = ("human", "gpt")
    return {"conversations": [{"from": names[index % 2], "value": text} for index, text in enumerate(said)]}


def test_conversations_that_begin_alike_stand_on_one_side():
    draw = random.Random(1)
    opened = [" ".join(draw.choices(DOINGS, k=4)) for _ in range(20)]
    short = [talk(f"{one}?", one[::-1]) for one in opened]
    write([*short, *(talk(f"{one}?", one[::-1], f"And {more} of it?", "Yes") for one in opened for more in range(3))])
    go("sharegpt", test=0.4)
    train, held = (
        {json.loads(line)["messages"][0]["content"] for line in lines(name)}
        for name in ("rows.jsonl", "rows.test.jsonl")
    )
    assert len(held) > 2
    assert not train & held


def test_a_held_back_answer_that_a_training_row_gives_on_the_way_leaks():
    draw = random.Random(2)
    asked = [" ".join(draw.choices(DOINGS, k=4)) for _ in range(20)]
    write([talk(one, one[::-1]) for one in asked])
    assert go("sharegpt", test=0.3).leakage == {"rows": 0, "prompts": 0}
    held = [turns[0]["content"] for turns in (json.loads(line)["messages"] for line in lines("rows.test.jsonl"))]
    opened = [f"{''.join(draw.sample('abcdefghijklmnopqrstuvwxyz', 20))}?" for _ in range(40)]
    write(
        [talk(one, one[::-1]) for one in asked] + [talk(first, first[::-1], held[0], held[0][::-1]) for first in opened]
    )
    assert go("sharegpt", test=0.3, force=True).leakage == {"rows": 1, "prompts": 0}


def test_a_stale_file_of_held_back_rows_is_warned_of():
    write(diary(30))
    assert go(test=0.3).warnings == []
    assert "rows.test.jsonl is of an earlier conversion" in go(update=True).warnings[0]


# --- again


def test_an_update_writes_what_is_new_alone_beside_all_of_it():
    write(diary(20))
    assert go(new=True).rows == len(lines("new.jsonl"))
    write(diary(25))
    outcome = go(new=True, update=True)
    assert outcome.changes == {"new": 5, "edited": 0, "gone": 0}
    assert {entry for entry in of("new.jsonl") if entry in {f"e{number}" for number in range(20, 25)}} == {
        f"e{number}" for number in range(20, 25)
    }
    assert of("rows.jsonl") == {f"e{number}" for number in range(25)}
    assert outcome.new_rows == len(lines("new.jsonl"))


def test_an_update_gives_what_a_first_conversion_gives():
    entries = diary(30)
    write(entries[:12])
    go()
    write(entries)
    go(update=True)
    updated = lines()
    go(force=True)
    assert updated == lines()


def test_edited_deleted_and_reordered_entries_are_told_apart():
    entries = diary(20)
    write(entries)
    go(settings={"names": 0}, new=True)
    changed = [
        {**entries[3], "content": f"{entries[3]['content']} And I forgot: it was my birthday."},
        *entries[5:],
        entries[4],
    ]
    random.Random(0).shuffle(changed)
    write(changed)
    outcome = go(settings={"names": 0}, new=True, update=True)
    assert outcome.changes == {"new": 0, "edited": 1, "gone": 3}
    assert of("new.jsonl") == {"e3"}
    assert of("rows.jsonl") == {f"e{number}" for number in range(3, 20)}


def test_entries_without_an_id_are_known_by_what_they_say():
    entries = [{key: value for key, value in entry.items() if key != "id"} for entry in diary(10)]
    write(entries)
    go(settings={"names": 0})
    write(entries[::-1][:9])
    assert go(settings={"names": 0}, update=True).changes == {"new": 0, "edited": 0, "gone": 1}


def test_a_changed_setting_makes_all_rows_anew_and_nothing_new():
    write(diary(10))
    go(settings={"names": 0}, new=True)
    outcome = go(settings={"names": 0, "author": "Samuel"}, update=True, new=True)
    assert outcome.settings_changed
    assert outcome.new_rows == 0
    assert all("Samuel" in line for line in lines())


@pytest.mark.parametrize("ending", ["", "!"])
def test_a_row_whose_repetition_was_trained_on_is_not_new(ending: str):
    told = "Mix the flour with the eggs and the milk, let it rest for an hour, and bake thin cakes of it in hot butter"
    first = {"id": "a", "instruction": "How are pancakes made?", "output": told}
    other = {"id": "z", "instruction": "Say red.", "output": "red"}
    again = {**first, "id": "b", "output": told + ending}
    write([first, again, other])
    assert go("alpaca", new=True, drop_near=0.8).rows == 2
    write([again, other])
    outcome = go("alpaca", new=True, update=True, drop_near=0.8)
    assert (outcome.new_rows, outcome.changes) == (0, {"new": 0, "edited": 0, "gone": 1})
    write([{**first, "id": "c"}, again, other])
    assert go("alpaca", new=True, update=True, drop_near=0.8).new_rows == 0
    assert lines("new.jsonl") == []


def test_an_update_of_nothing_is_a_first_conversion():
    write(diary(5))
    outcome = go(update=True, new=True)
    assert outcome.changes is None
    assert outcome.new_rows == outcome.rows


def test_a_file_that_is_gone_is_written_again():
    write(diary(5))
    go()
    before = lines()
    Path("rows.jsonl").unlink()
    go(update=True)
    assert lines() == before


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
def test_a_conversion_killed_at_any_rename_is_done_again_by_the_next(killed_at: int, monkeypatch: pytest.MonkeyPatch):
    write(diary(20))
    go(new=True, test=0.2)
    write(diary(25))
    renames = iter(range(1, 99))

    def rename(file: Path, place: Path) -> None:
        if next(renames) > killed_at:
            raise KeyboardInterrupt
        file.replace(place)

    with monkeypatch.context() as patched:
        patched.setattr(files, "_rename", rename)
        with pytest.raises(KeyboardInterrupt):
            go(new=True, test=0.2, update=True)
    assert left_behind() == []
    outcome = go(new=True, test=0.2, update=True)
    assert outcome.changes == {"new": 5, "edited": 0, "gone": 0}
    assert {f"e{number}" for number in range(20, 25)} <= of("new.jsonl") | of("rows.test.jsonl")


def test_what_a_killed_conversion_left_is_cleared_away():
    write(diary(5))
    left = Path(".rows.jsonl.999999999")
    left.mkdir()
    mine = Path(f".rows.jsonl.{os.getppid()}")
    mine.mkdir()
    go()
    assert left_behind() == [mine.name]


# --- what is nobody's to overwrite


def test_a_file_that_is_there_is_not_overwritten_unasked():
    write(diary(5))
    Path("rows.jsonl").write_text("mine\n", encoding="utf-8")
    for wish in ({}, {"update": True}):
        with pytest.raises(InputError, match=r"such a file already|was not written by") as caught:
            go(**wish)
        assert "--force" in caught.value.hint
    assert lines() == ["mine"]
    go(force=True)
    assert lines() != ["mine"]


@pytest.mark.parametrize("update", [False, True])
def test_somebodys_file_with_the_name_of_the_state_is_not_overwritten(update: bool):
    write(diary(5))
    Path("rows.jsonl.state").write_text("mine\n", encoding="utf-8")
    with pytest.raises(InputError, match="was not written by") as caught:
        go(update=update)
    assert caught.value.place.endswith("rows.jsonl.state")
    assert "--force" in caught.value.hint
    assert lines("rows.jsonl.state") == ["mine"]
    assert not Path("rows.jsonl").exists()
    assert go(force=True).rows


def test_rows_that_were_edited_by_hand_are_not_overwritten_by_an_update():
    write(diary(5))
    go()
    Path("rows.jsonl").write_text("edited\n", encoding="utf-8")
    with pytest.raises(InputError, match="has been changed since it was written"):
        go(update=True)
    assert lines() == ["edited"]


def test_somebodys_file_of_new_rows_is_not_overwritten():
    write(diary(5))
    go()
    Path("new.jsonl").write_text("mine\n", encoding="utf-8")
    with pytest.raises(InputError, match="was not written by"):
        go(update=True, new=True)


@pytest.mark.parametrize("linked", ["symlink", "hardlink", "same"])
def test_an_input_is_never_an_output(linked: str):
    write(diary(5))
    if linked == "symlink":
        Path("rows.jsonl").symlink_to("diary.jsonl")
    elif linked == "hardlink":
        Path("rows.jsonl").hardlink_to("diary.jsonl")
    else:
        Path("diary.jsonl").rename("rows.jsonl")
    with pytest.raises(InputError, match="also an input"):
        go(read="rows.jsonl" if linked == "same" else "diary.jsonl", force=True)


def test_a_link_is_followed_and_kept():
    write(diary(5))
    Path("far").mkdir()
    Path("rows.jsonl").symlink_to("far/target.jsonl")
    Path("far/target.jsonl").write_text("")
    go(force=True)
    assert Path("rows.jsonl").is_symlink()
    assert lines("far/target.jsonl")


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"{",
        b"[]\n",
        b'{"lorry": 99}\n',
        b"\xff\xfe",
        b'{"lorry": 1, "files": {}, "pending": {}, "settings": {}}\nx\n',
    ],
)
def test_a_broken_state_is_as_good_as_none(state: bytes):
    write(diary(5))
    go()
    Path("rows.jsonl.state").write_bytes(state)
    with pytest.raises(InputError, match="was not written by"):
        go(update=True)
    assert go(force=True).rows


def test_two_conversions_of_one_file_do_not_meet(lorry_home: Path):
    write(diary(5))
    go()
    (lock,) = (lorry_home / "cache" / "locks").iterdir()
    with FileLock(lock), pytest.raises(InputError, match="another conversion"):
        go(force=True)


@pytest.mark.parametrize(
    ("out", "new", "says"),
    [
        ("rows.json", None, "JSON Lines"),
        ("none/rows.jsonl", None, "no such folder"),
        ("rows.jsonl", "rows.jsonl", "same name"),
        ("rows.jsonl", "rows.test.jsonl", "same name"),
        ("folder.jsonl", None, "is a folder"),
    ],
)
def test_names_that_cannot_be_rows_are_refused(out: str, new: str | None, says: str):
    Path("folder.jsonl").mkdir()
    with pytest.raises(InputError, match=says):
        Outputs.at(Path(out), test=True, new=Path(new) if new else None)


def test_a_folder_that_cannot_be_written_to_is_named():
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    write(diary(5))
    Path("far").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written"):
        convert("diary", {}, ["diary.jsonl"], Wish(Outputs.at(Path("far/rows.jsonl"), test=False, new=None)))
