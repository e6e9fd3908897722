"""Checks of what rows say: leaks, repetitions, answers, media, and whether the method takes them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from lorry import plugins
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding
from lorry.plan.subject import Subject
from subjects import ROWS, row, save_rows, subject

WHOLE: dict[str, Any] = {"data": {"eval_split": 0}}


def run(name: str, given: Subject) -> dict[str, Finding]:
    check = plugins.make("checks", name)
    assert isinstance(check, Check)
    return {finding.code: finding for finding in check.run(given)}


def scored(folder: Path, rows: list[Any], **data: Any) -> Subject:
    save_rows(folder / "eval.jsonl", rows)
    return subject(folder, data={"eval": "eval.jsonl", **data})


def test_leaking_rows_are_named_beside_those_that_they_are(tmp_path: Path):
    found = run("leakage", scored(tmp_path, [row("New?", "yes"), row(" say 7", "7 IT is\n")]))["leakage.rows"]
    assert found.message == "1 of 2 eval rows are training rows too: their scores measure memory"
    assert found.evidence == "eval.jsonl:2 is rows.jsonl:8"
    assert (found.severity, found.place) == ("warning", "eval.jsonl:2")


def test_same_prompt_with_another_answer_is_a_note(tmp_path: Path):
    found = run("leakage", scored(tmp_path, [row("Say 7", "seven"), row("Say 8", "8 it is")]))
    assert {code: one.severity for code, one in found.items()} == {"leakage.rows": "warning", "leakage.prompts": "note"}
    assert found["leakage.prompts"].place == "eval.jsonl:1"


def test_rows_held_back_from_the_training_rows_leak_nothing(tmp_path: Path):
    assert run("leakage", subject(tmp_path, rows=[*ROWS, *ROWS])) == {}


def test_leak_of_raw_text_is_found(tmp_path: Path):
    save_rows(tmp_path / "rows.jsonl", [{"text": f"Document {number}"} for number in range(9)])
    save_rows(tmp_path / "eval.jsonl", [{"text": "document  4"}])
    found = run("leakage", subject(tmp_path, method="cpt", data={"eval": "eval.jsonl"}))
    assert found["leakage.rows"].evidence == "eval.jsonl:1 is rows.jsonl:5"


LONG = "Mix the flour with the eggs and the milk, let it rest for an hour, and bake thin cakes of it in hot butter"
ASKED = "How are the thin pancakes made that my mother used to bake"


def test_rows_that_are_nearly_trained_on_leak(tmp_path: Path):
    own = [*ROWS, row(f"{ASKED}?", f"{LONG}.")]
    scored_rows = [row("New?", "yes"), row(f"{ASKED} for us?", f"{LONG}!"), row(f"{ASKED} for us?", "I do not know.")]
    save_rows(tmp_path / "eval.jsonl", scored_rows)
    found = run("leakage", subject(tmp_path, rows=own, data={"eval": "eval.jsonl"}))
    assert {code: one.severity for code, one in found.items()} == {
        "leakage.near-rows": "warning",
        "leakage.near-prompts": "note",
    }
    rows, prompts = found["leakage.near-rows"], found["leakage.near-prompts"]
    assert rows.message == "1 of 3 eval rows are nearly training rows: their scores measure memory"
    assert rows.evidence == f"eval.jsonl:2 is near rows.jsonl:{len(own)}"
    assert prompts.message == "1 of 3 eval rows have a prompt that is nearly trained on, with another answer"
    assert prompts.place == "eval.jsonl:3"


def test_long_answers_that_are_trained_on_leak_and_short_ones_do_not(tmp_path: Path):
    long = f"{LONG}. {LONG.upper()}."
    save_rows(tmp_path / "own.jsonl", [*ROWS, row(f"{ASKED}?", long)])
    found = run(
        "leakage", scored(tmp_path, [row("Ever so new?", "7 it is"), row("Make them!", long)], train="own.jsonl")
    )
    assert [*found] == ["leakage.answers"]
    assert found["leakage.answers"].message.startswith(
        "1 of 2 eval rows have an answer that is trained on behind another prompt"
    )
    assert found["leakage.answers"].evidence == f"eval.jsonl:2 is own.jsonl:{len(ROWS) + 1}"


def test_near_leak_of_raw_text_is_found(tmp_path: Path):
    save_rows(tmp_path / "rows.jsonl", [{"text": f"{word} {LONG} {word}"} for word in ("One", "Nine", "Six")])
    save_rows(tmp_path / "eval.jsonl", [{"text": f"Nine {LONG} nine."}])
    found = run("leakage", subject(tmp_path, method="cpt", data={"eval": "eval.jsonl"}))
    assert [*found] == ["leakage.near-rows"]
    assert found["leakage.near-rows"].place == "eval.jsonl:1"


def test_rows_that_nearly_repeat_each_other_are_told(tmp_path: Path):
    rows = [*ROWS, row(f"{ASKED}?", LONG), row(f"{ASKED}??", f"{LONG}."), row(f"{ASKED}?", f"{LONG}!")]
    found = run("duplicates", subject(tmp_path, rows=rows, **WHOLE))
    assert [*found] == ["duplicates.near"]
    assert found["duplicates.near"].message == f"2 of {len(rows)} training rows nearly repeat an earlier one"
    first = len(ROWS) + 1
    places = [f"rows.jsonl:{first + later} is near rows.jsonl:{first}" for later in (1, 2)]
    assert found["duplicates.near"].evidence.splitlines() == places
    assert found["duplicates.near"].severity == "warning"


def test_what_is_dropped_is_not_told_of(tmp_path: Path):
    rows = [*ROWS, row(f"{ASKED}?", LONG), row(f"{ASKED}??", f"{LONG}.")]
    given = subject(tmp_path, rows=rows, data={"eval_split": 0, "drop_near_duplicates": 0.8})
    assert run("duplicates", given) == {}
    assert given.prepared.facts.near_duplicates == 1
    assert "1 of 42 training rows left out, for they nearly repeat an earlier one" in given.prepared.facts.notes[0]


def test_same_words_in_other_turns_are_no_leak(tmp_path: Path):
    other = {"messages": [{"role": "system", "content": "Say 7"}, *row("Go on", "7 it is")["messages"]]}
    assert run("leakage", scored(tmp_path, [other])) == {}


def test_few_repetitions_are_a_note_and_many_a_warning(tmp_path: Path):
    few, many = tmp_path / "few", tmp_path / "many"
    few.mkdir()
    many.mkdir()
    rows = [row(f"Say {number}", "yes") for number in range(200)]
    assert run("duplicates", subject(few, rows=[*rows, rows[3]], **WHOLE))["duplicates.rows"].severity == "note"
    found = run("duplicates", subject(many, rows=[*rows, *rows[:9]], **WHOLE))["duplicates.rows"]
    assert (found.severity, found.message) == ("warning", "9 of 209 training rows repeat an earlier one")
    assert found.evidence.startswith("rows.jsonl:201 is rows.jsonl:1\n")


def test_prompts_with_several_answers_are_counted(tmp_path: Path):
    found = run("duplicates", subject(tmp_path, rows=[*ROWS, *(row(f"Say {n}", "no") for n in range(9))], **WHOLE))
    assert found["duplicates.prompts"].message.startswith("18 of 49 training rows")


@pytest.mark.parametrize(
    "answer", ["N/A", "null", "...", "TODO", "<your answer>", "{{ answer }}", "[object Object]", "-"]
)
def test_placeholders_are_found(answer: str, tmp_path: Path):
    assert set(run("answers", subject(tmp_path, rows=[*ROWS, row("Who?", answer)], **WHOLE))) == {"answers.placeholder"}


@pytest.mark.parametrize("answer", ["A", "7", "no", "None of them", "<b>bold</b>", "...and then?", 'She said "..."'])
def test_short_answers_are_answers(answer: str, tmp_path: Path):
    assert run("answers", subject(tmp_path, rows=[*ROWS, row("Who?", answer)], **WHOLE)) == {}


def test_answer_that_echoes_any_turn_is_found_also_with_quotes_in_it(tmp_path: Path):
    said = 'Say "hi"\n\ttwice'
    found = run("answers", subject(tmp_path, rows=[*ROWS, row(said, said)], **WHOLE))["answers.echo"]
    assert found.place == "rows.jsonl:41"


@pytest.mark.parametrize(
    ("text", "is_file"),
    [
        ("data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD", True),
        ("iVBORw0KGgoAAAANSUhEUgAA" * 20, True),
        ("ACGTTGCA" * 100, False),
        ("0123456789abcdef" * 40, False),
        ("data:image/png;base64, is how such text begins", False),
    ],
)
def test_files_in_text_are_told_from_genes_and_hashes(text: str, is_file: bool, tmp_path: Path):
    rows = [*ROWS, row(f"What is {text}", "a cat")]
    assert bool(run("media", subject(tmp_path, rows=rows, data={"eval_split": 0, "max_length": 4096}))) is is_file


def test_secret_that_begins_a_line_is_found(tmp_path: Path):
    rows = [*ROWS, row("Use:\nhf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH", "no")]
    assert run("secrets", subject(tmp_path, rows=rows, **WHOLE))["data.secrets"].place == "rows.jsonl:41"


def test_raw_text_is_screened_too(tmp_path: Path):
    rows = [{"text": f"Document {n}"} for n in range(9)] + [{"text": "AKIA" + "ABCDEFGHIJKLMNOP"}]
    given = subject(tmp_path, rows=rows, method="cpt", **WHOLE)
    assert run("secrets", given)["data.secrets"].place == "rows.jsonl:10"


def test_method_that_takes_the_rows_is_named(tmp_path: Path):
    found = run("method", subject(tmp_path, rows=[{"text": "words"}] * 3))["method.rows"]
    assert found.remedy == "set `method: cpt`"
    assert found.evidence == "of the first 3 rows: 3 raw text"


def test_rows_that_no_method_here_takes_say_how_to_write_them(tmp_path: Path):
    pairs = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 3
    found = run("method", subject(tmp_path, rows=pairs))["method.rows"]
    assert "preference pairs" in found.message


@pytest.mark.parametrize("rows", [ROWS, [*ROWS, {"text": "words"}], [{"nothing": 1}], []])
def test_rows_that_the_method_takes_in_part_are_left_to_the_check_of_the_data(rows: list[Any], tmp_path: Path):
    assert run("method", subject(tmp_path, rows=rows)) == {}


def test_texts_with_a_class_are_texts_for_cpt(tmp_path: Path):
    assert run("method", subject(tmp_path, rows=[{"text": "fine", "label": 1}] * 3, method="cpt")) == {}


def test_leaks_are_found_quickly_among_many_rows(tmp_path: Path):
    rows = [row(f"Say {number}", f"{number} it is") for number in range(5000)]
    save_rows(tmp_path / "rows.jsonl", rows)
    given = scored(tmp_path, rows[:100])
    _ = given.prepared
    began = time.process_time()
    assert "100 of 100" in run("leakage", given)["leakage.rows"].message
    assert time.process_time() - began < 2
