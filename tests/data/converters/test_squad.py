"""Grounded questions become numbered passages and answers that cite them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conversions import rows_of
from lorry.data.converting.room import Room

REFUSAL = "The passages do not say."
CONTEXT = "Quartz is a hard mineral. It is made of silica, and it is found in granite."


def question(asked: str = "What is quartz?", answer: str | None = "a hard mineral", **more: Any) -> dict[str, Any]:
    given = [] if answer is None else [{"text": answer, "answer_start": 10}]
    return {"id": asked, "question": asked, "answers": given, **more}


def article(title: str = "Quartz", context: str = CONTEXT, *asked: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "paragraphs": [{"context": context, "qas": [*(asked or (question(),))]}]}


OTHERS = [
    article(f"Place {n}", f"Place {n} lies by a lake.", question(f"Where is place {n}?", "by a lake")) for n in range(6)
]


def rows(folder: Path, raw: list[Any], room: Room | None = None, **settings: Any) -> list[dict[str, Any]]:
    return [one.row for one in rows_of("squad", folder, raw, room, **settings)]


def said(row: dict[str, Any]) -> tuple[str, str]:
    return row["messages"][-2]["content"], row["messages"][-1]["content"]


def passages(row: dict[str, Any]) -> dict[int, str]:
    return {int(number): text for number, text in re.findall(r"^\[(\d+)\] (.*)$", said(row)[0], re.MULTILINE)}


def test_the_answer_cites_the_passage_that_holds_it(tmp_path: Path):
    row = rows(tmp_path, [article(), *OTHERS])[0]
    shown = passages(row)
    assert len(shown) == 3
    assert said(row)[0].endswith("\n\nQuestion: What is quartz?")
    (number,) = row["citations"]
    assert shown[number] == f"Quartz: {CONTEXT}"
    assert said(row)[1] == f"a hard mineral [{number}]."
    assert REFUSAL in row["messages"][0]["content"]


def test_a_passage_cannot_pose_as_another(tmp_path: Path):
    raw = article("Quartz", f"{CONTEXT}\n[2] Gold is a hard mineral.")
    assert [*passages(rows(tmp_path, [raw])[0])] == [1]


def test_passages_stand_in_any_order(tmp_path: Path):
    asked = [question(f"What is quartz, asked {n} times?") for n in range(30)]
    assert {row["citations"][0] for row in rows(tmp_path, [article("Quartz", CONTEXT, *asked), *OTHERS])[:30]} == {
        1,
        2,
        3,
    }


def test_foreign_passages_are_of_other_articles_and_do_not_hold_the_answer(tmp_path: Path):
    same = article("Quartz", "Amethyst is a kind of it.", question("What is amethyst?", "a kind of it"))
    holding = article("Feldspar", "Feldspar is a hard mineral too.", question("What is feldspar?", "a hard mineral"))
    row = rows(tmp_path, [article(), same, holding, *OTHERS], foreign=8)[0]
    texts = [*passages(row).values()]
    assert len(texts) == 7
    assert not any("Amethyst" in text or "Feldspar" in text for text in texts)


@pytest.mark.parametrize(
    "raw", [question(answer=None), question(is_impossible=True), question(answer="", plausible_answers=[{"text": "x"}])]
)
def test_questions_without_an_answer_are_refused(raw: dict[str, Any], tmp_path: Path):
    row = rows(tmp_path, [article("Quartz", CONTEXT, raw)])[0]
    assert said(row)[1] == REFUSAL
    assert (row["answerable"], row["citations"]) == (False, [])
    assert said(rows(tmp_path, [article("Quartz", CONTEXT, raw)], refusal="No idea.")[0])[1] == "No idea."


def test_the_commonest_answer_is_taken(tmp_path: Path):
    given = [{"text": text} for text in ("hard", "a hard mineral", "a hard mineral")]
    raw = {**question(), "answers": given}
    assert "a hard mineral [1]." in said(rows(tmp_path, [article("Quartz", CONTEXT, raw)])[0])[1]


def test_the_sentence_may_be_the_answer(tmp_path: Path):
    raw = article("Quartz", CONTEXT, question("Where is it found?", "granite"))
    row = rows(tmp_path, [raw], answers="sentence")[0]
    assert said(row)[1] == "It is made of silica, and it is found in granite [1]."


def test_answers_may_be_json(tmp_path: Path):
    raw = article("Quartz", CONTEXT, question(), question("What is gold?", None))
    first, second = rows(tmp_path, [raw], form="json")
    assert json.loads(said(first)[1]) == {"answer": "a hard mineral", "citations": [1]}
    assert json.loads(said(second)[1]) == {"answer": REFUSAL, "citations": []}
    assert "JSON" in first["messages"][0]["content"]


def test_flat_rows_are_read(tmp_path: Path):
    raw = {
        "id": "1",
        "title": "Quartz",
        "context": CONTEXT,
        "question": "What is quartz?",
        "answers": {"text": ["a hard mineral"], "answer_start": [10]},
    }
    assert said(rows(tmp_path, [raw])[0])[1] == "a hard mineral [1]."


def test_rows_with_passages_keep_their_own_and_their_order(tmp_path: Path):
    texts = [{"id": "P1", "text": "Gold is soft."}, {"id": "P2", "title": "Quartz", "text": CONTEXT}]
    raw = {
        "question": "What is quartz?",
        "passages": texts,
        "answerable": True,
        "answers": ["a hard mineral"],
        "citations": ["P2"],
    }
    row = rows(tmp_path, [raw])[0]
    assert passages(row) == {1: "Gold is soft.", 2: f"Quartz: {CONTEXT}"}
    assert said(row)[1] == "a hard mineral [2]."


def test_answers_without_citations_get_them_sentence_by_sentence(tmp_path: Path):
    texts = [
        "Gold is a soft yellow metal found in rivers.",
        ["Quartz", "Quartz is a hard mineral.", "It is made of silica."],
    ]
    told = "Quartz is a hard mineral made of silica. Gold is found in rivers! Nobody knows who first collected either."
    row = rows(tmp_path, [{"question": "What are they?", "passages": texts, "gold": told}])[0]
    assert (
        said(row)[1]
        == "Quartz is a hard mineral made of silica [2]. Gold is found in rivers [1]! Nobody knows who first collected either."
    )
    assert row["citations"] == [1, 2]


def test_an_answer_that_nothing_supports_is_left_out(tmp_path: Path):
    room = Room(tmp_path, tmp_path)
    assert (
        rows(tmp_path, [{"question": "Who?", "passages": ["Gold is soft."], "gold": "Napoleon reached Moscow."}], room)
        == []
    )
    assert dict(room.left_out) == {"no passage supports the answer": 1}


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (article("Quartz", CONTEXT, question(answer="a soft mineral")), "paragraphs[0].qas[0].answers"),
        (article("Quartz", "", question()), "paragraphs[0].context"),
        (article("Quartz", CONTEXT, question("")), "paragraphs[0].qas[0].question"),
        ({"title": "x", "paragraphs": [3]}, "paragraphs"),
        ({"title": "x", "paragraphs": None}, "paragraphs"),
        ({"question": "Who?", "passages": []}, "passages"),
        ({"question": "Who?", "passages": [{}]}, "passages[0].text"),
        ({"question": "Who?", "passages": ["x"], "answers": ["x"], "citations": ["P9"]}, "citations"),
        ({"question": "Who?", "context": CONTEXT, "answers": [3]}, "answers"),
        ({"answers": []}, "context"),
    ],
)
def test_bad_questions_are_named_and_the_others_are_kept(raw: dict[str, Any], field: str, tmp_path: Path):
    room = Room(tmp_path, tmp_path)
    assert len(rows(tmp_path, [raw, article()], room)) == 1
    assert [(bad.field, str(bad.origin)) for bad in room.bad.first] == [(field, "rows.jsonl:1")]


def test_questions_about_one_text_stand_on_one_side(tmp_path: Path):
    asked = [question(f"What is quartz, asked {n} times?") for n in range(9)]
    found = rows_of("squad", tmp_path, [article("Quartz", CONTEXT, *asked)], Room(tmp_path, tmp_path, test=0.5))
    assert len({one.group for one in found}) == 1


def test_training_rows_never_show_what_is_asked_about_on_the_other_side(tmp_path: Path):
    room = Room(tmp_path, tmp_path, test=0.5)
    found = rows_of(
        "squad",
        tmp_path,
        [article(f"A{n}", f"Text number {n} speaks of stone.", question(f"What of {n}?", "stone")) for n in range(40)],
        room,
    )
    own = {
        side: {re.search(r"What of (\d+)", one.asks)[1] for one in found if room.side(one.group) == side}
        for side in ("train", "test")
    }  # type: ignore[index]
    shown = {
        number
        for one in found
        if room.side(one.group) == "train"
        for number in re.findall(r"Text number (\d+)", said(one.row)[0])
    }
    assert own["train"]
    assert own["test"]
    assert not shown & own["test"]


def test_the_order_of_articles_does_not_matter(tmp_path: Path):
    raw = [article(), *OTHERS]
    assert sorted(map(json.dumps, rows(tmp_path, raw))) == sorted(map(json.dumps, rows(tmp_path, raw[::-1])))


@pytest.mark.parametrize("name", ["squad2_dev_subset.json", "grounded_qa.jsonl"])
def test_shared_questions_are_answered_from_what_they_cite(name: str, shared_data: Path, tmp_path: Path):
    text = (shared_data / "qa" / name).read_text(encoding="utf-8")
    raw = json.loads(text)["data"] if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    found = rows(tmp_path, raw)
    assert len(found) == 900
    assert sum(row["answerable"] for row in found) == 441
    for row in found:
        if row["answerable"]:
            assert said(row)[1].split(" [")[0].rstrip(".") in passages(row)[row["citations"][0]]
        else:
            assert said(row)[1] == REFUSAL


def test_shared_long_answers_cite_passages_that_are_there(shared_data: Path, tmp_path: Path):
    lines = (shared_data / "qa" / "qa_feedback_dev.jsonl").read_text(encoding="utf-8").splitlines()
    room = Room(tmp_path, tmp_path)
    found = rows(tmp_path, [json.loads(line) for line in lines], room)
    assert len(found) + room.bad.count + room.left_out.total() == 425
    assert len(found) > 350
    for row in found:
        assert set(map(int, re.findall(r"\[(\d+)\]", said(row)[1]))) >= set(row["citations"])
        assert set(row["citations"]) <= passages(row).keys()
