"""Citations and refusals by hand, and on real questions with passages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from lorry import plugins
from lorry.errors import InputError
from lorry.evaluate.grading import grade
from lorry.evaluate.metrics._base import Answer, Metric, Ratio
from lorry.evaluate.metrics._grounded import Claim, claims, passages_of
from lorry.evaluate.scoring import pool

PROMPT = """Answer from the passages.

Passages:
[1] Oil
Japan was the country most dependent on Arab oil.

It imported 71% of it.

[2] Normans
Edward the Confessor returned in 1041.

Question: Which country [of those named] is it?"""
ASKED = [{"role": "user", "content": PROMPT}]


def made(name: str, **settings: Any) -> Metric:
    return cast("Metric", plugins.make("metrics", {"name": name, **settings}))


def pooled(metric: Metric, answers: list[Answer]) -> dict[str, float | None]:
    graded = grade({metric.label: metric}, answers)
    assert graded.faults == []
    found = {name: pool(graded.scores[name], about) for name, about in metric.about.items()}
    return {name.removeprefix(f"{metric.label}."): one and one.value for name, one in found.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is Japan [1].", [("It is Japan.", "1")]),
        ("It is Japan. [1]", [("It is Japan.", "1")]),
        ("It is Japan. [1] Edward came back [2, P3].", [("It is Japan.", "1"), ("Edward came back.", "2 P3")]),
        ("[1] says Japan.", [("says Japan.", "1")]),
        ("Japan [1][2]", [("Japan", "1 2")]),
        ("Dr. Smith of the U.S. said 3.5 e.g. once [1].", [("Dr. Smith of the U.S. said 3.5 e.g. once.", "1")]),
        ("1. One [1].\n2. Two.\n- Three [2]", [("One.", "1"), ("Two.", ""), ("Three", "2")]),
        ('He said "Go." Then he left! Why? [2]', [('He said "Go."', ""), ("Then he left!", ""), ("Why?", "2")]),
        ("東京です。[1]大阪です。", [("東京です。", "1"), ("大阪です。", "")]),
        ("See [the map] and [2020].", [("See [the map] and.", "2020")]),
        (" \n...\n[1]", []),
        ("", []),
    ],
)
def test_sentences_and_what_they_cite(text: str, expected: list[tuple[str, str]]):
    assert claims(text) == [Claim(said, tuple(cited.split())) for said, cited in expected]


@pytest.mark.parametrize(
    ("text", "names", "cited"),
    [
        ("It is [doc_1].", ["doc_1"], ["doc_1"]),
        ("It is [doc_9].", ["doc_1"], ["doc_9"]),
        ("It is [wiki; 7F3A-11].", ["wiki", "7f3a-11"], ["wiki", "7f3a-11"]),
        ("It is [Passage 1].", ["1", "2"], ["1"]),
        ("It is [2].", ["wiki", "news"], ["news"]),
        ("It is [2].", ["2", "1"], ["2"]),
        ("It is [1].", ["Passage 1"], ["Passage 1"]),
        ("It is [the map].", ["wiki"], []),
        ("It is.\n[1]", ["1"], ["1"]),
        ("## Answer\n**Country:**\nIt is [1].", ["1"], ["1"]),
    ],
)
def test_passages_are_cited_by_the_names_of_their_row(text: str, names: list[str], cited: list[str]):
    (claim,) = claims(text, names)
    assert list(claim.cited) == cited


def test_passages_with_names_are_found_in_the_prompt():
    asked = [{"role": "user", "content": "[doc_1] Japan.\n[Passage 2]: Oil.\n\nQuestion: which?"}]
    assert passages_of(Answer("", "", asked), "passages") == {"doc_1": "Japan.", "Passage 2": "Oil."}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["a", "b"], {"1": "a", "2": "b"}),
        ([{"text": "a"}, {"title": "T", "text": "b"}], {"1": "a", "2": "T\nb"}),
        ([{"id": "P1", "text": "a"}, {"id": 7, "content": "b"}], {"P1": "a", "7": "b"}),
        ([["T", "a.", "b."]], {"1": "T a. b."}),
        ({"X1": "a", "X2": {"text": "b"}}, {"X1": "a", "X2": "b"}),
    ],
)
def test_passages_are_found_in_the_rows_column(column: Any, expected: dict[str, str]):
    assert passages_of(Answer("", "", ASKED, columns={"passages": column}), "passages") == expected


@pytest.mark.parametrize("turns", [ASKED, [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]])
def test_passages_are_found_in_the_prompt(turns: list[dict[str, Any]]):
    found = passages_of(Answer("", "", turns), "passages")
    assert list(found) == ["1", "2"]
    assert found["1"].endswith("It imported 71% of it.")
    assert found["2"] == "Normans\nEdward the Confessor returned in 1041."


@pytest.mark.parametrize(
    ("said", "covered", "existing", "supporting"),
    [
        ("Japan depended most on Arab oil [1].", (1, 1), (1, 1), (1, 1)),
        ("Japan depended most on Arab oil [2].", (1, 1), (1, 1), (0, 1)),  # the wrong passage
        ("Japan depended most on Arab oil [3].", (0, 1), (0, 1), (0, 1)),  # there is none
        ("Japan depended most on Arab oil.", (0, 1), None, None),
        ("Japan imported 71% of it [1]. Edward returned [2]. I like it.", (2, 3), (2, 2), (2, 2)),
        ("Japan imported 81% of Arab oil [1].", (1, 1), (1, 1), (0, 1)),  # another number
        ("Japan used Arab oil, and Edward returned in 1041 [1, 2].", (1, 1), (2, 2), (2, 2)),  # together
        ("Japan was dependent on Arab oil [1][2].", (1, 1), (2, 2), (1, 2)),  # the second adds nothing
        ("The moon is green [1].", (1, 1), (1, 1), (0, 1)),
        ("It is [1].", (1, 1), (1, 1), None),  # no word to look for
        ("", (0, 1), None, None),
    ],
)
def test_coverage_by_hand(said: str, covered: Any, existing: Any, supporting: Any):
    metric, answer = made("citation_coverage"), Answer(said, "", ASKED)
    assert metric.score(answer) == Ratio(*covered)
    given = {"existing": existing, "supporting": supporting}
    assert metric.score_parts(answer) == {name: Ratio(*one) for name, one in given.items() if one}


def test_nothing_is_to_be_cited_without_passages_or_by_one_who_refuses():
    assert made("citation_coverage").score(Answer("Japan [1].", "", [{"role": "user", "content": "Which?"}])) is None
    refused = Answer("The passages do not say.", "", ASKED)
    assert made("citation_coverage").score(refused) is None
    assert made("citation_coverage", refusals=[]).score(refused) == Ratio(0, 1)


@pytest.mark.parametrize(
    ("said", "should", "score", "parts"),
    [
        ("Japan [1].", False, 1, {}),
        ("Japan [1].", True, 0, {"recall": 0.0, "f1": Ratio(0, 1)}),
        ("The passages do not say.", True, 1, {"precision": 1.0, "recall": 1.0, "f1": Ratio(2, 2)}),
        ("I don't know.", False, 0, {"precision": 0.0, "f1": Ratio(0, 1)}),
    ],
)
@pytest.mark.parametrize("column", ["should_refuse", "unanswerable", "is_impossible", "answerable"])
def test_refusals_by_hand(said: str, should: bool, score: float, parts: dict[str, Any], column: str):
    value = should != (column == "answerable")
    metric, answer = made("refusal_correct"), Answer(said, "", columns={column: value})
    assert metric.score(answer) == score
    assert metric.score_parts(answer) == parts


def test_without_a_column_the_rows_own_answer_says_whether_to_refuse():
    metric = made("refusal_correct")
    assert metric.score(Answer("I do not know.", "This cannot be answered from the passages.")) == 1
    assert metric.score(Answer("I do not know.", "Japan.")) == 0
    assert metric.score(Answer("I do not know.", "")) is None


@pytest.mark.parametrize(("value", "expected"), [("yes", 1.0), (0, 0.0), ("maybe", None), (None, None), ([True], None)])
def test_column_of_ones_own_says_whether_to_refuse(value: Any, expected: float | None):
    answer = Answer("I don't know.", "Japan", columns={"hard": value})
    assert made("refusal_correct", column="hard").score(answer) == expected
    turned = None if expected is None else 1 - expected
    assert made("refusal_correct", column="!hard").score(answer) == turned


def test_patterns_of_ones_own_recognise_refusals_near_the_beginning():
    metric = made("refusal_correct", patterns=["^keine antwort"], within=20)
    assert metric.score(Answer("Keine Antwort.", "", columns={"should_refuse": True})) == 1
    assert metric.score(Answer("I do not know.", "", columns={"should_refuse": True})) == 0
    late = Answer("x" * 300 + " I do not know.", "", columns={"should_refuse": False})
    assert made("refusal_correct").score(late) == 1


@pytest.mark.parametrize("name", ["refusal_correct", "citation_coverage"])
def test_pattern_that_is_none_is_refused(name: str):
    setting = "patterns" if name == "refusal_correct" else "refusals"
    with pytest.raises(InputError, match=r"`\(` is no regular expression"):
        made(name, **{setting: ["("]})


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shared_data / "qa" / "grounded_qa.jsonl").read_text("utf-8").splitlines()]


def test_answers_that_quote_their_passage_cover_and_support(rows: list[dict[str, Any]]):
    answers = [
        Answer(f"{row['supporting_sentence'].rstrip('.')} [{row['citations'][0]}].", "", columns=row)
        for row in rows
        if row["answerable"]
    ]
    found = pooled(made("citation_coverage"), answers)
    assert len(answers) == 441
    assert found["citation_coverage"] is not None
    assert found["citation_coverage"] > 0.97  # some quote several sentences, of which the last is cited
    assert found["existing"] == 1
    assert found["supporting"] == 1


def test_answers_that_cite_a_foreign_passage_are_not_supported(rows: list[dict[str, Any]]):
    answers = list[Answer]()
    for row in (row for row in rows if row["answerable"]):
        foreign = next(one["id"] for one in row["passages"] if one["id"] not in row["citations"])
        answers.append(Answer(f"{row['supporting_sentence'].rstrip('.')} [{foreign}].", "", columns=row))
    found = pooled(made("citation_coverage"), answers)
    assert found["existing"] == 1
    assert found["supporting"] == 0


def test_refusals_on_real_questions_are_told_from_answers(rows: list[dict[str, Any]]):
    metric = made("refusal_correct")
    right = [row["answers"][0] if row["answerable"] else "The passages do not answer this." for row in rows]
    answers = [Answer(text, "", columns=row) for text, row in zip(right, rows, strict=True)]
    assert pooled(metric, answers) == {"refusal_correct": 1, "precision": 1, "recall": 1, "f1": 1}
    always = [Answer("I don't know.", "", columns=row) for row in rows]
    assert pooled(metric, always) == {
        "refusal_correct": pytest.approx(459 / 900),
        "precision": pytest.approx(459 / 900),
        "recall": 1,
        "f1": pytest.approx(2 * 459 / (900 + 459)),
    }
    never = [Answer("Japan.", "", columns=row) for row in rows]
    assert pooled(metric, never) == {
        "refusal_correct": pytest.approx(441 / 900),
        "precision": None,
        "recall": 0,
        "f1": 0,
    }


def test_no_human_judged_answer_is_taken_for_a_refusal(shared_data: Path):
    lines = (shared_data / "qa" / "qa_feedback_dev.jsonl").read_text("utf-8").splitlines()
    metric = made("refusal_correct")
    texts = [row[f"prediction {number}"] for row in map(json.loads, lines) for number in range(1, 5)]
    assert len(texts) == 1700
    assert pooled(metric, [Answer(text, "", columns={"answerable": True}) for text in texts])["refusal_correct"] == 1


def test_passages_of_real_prompts_are_found_and_hold_what_models_said_of_them(shared_data: Path):
    lines = (shared_data / "preference" / "qa_feedback_pairs.jsonl").read_text("utf-8").splitlines()[:200]
    answers = list[Answer]()
    for row in map(json.loads, lines):
        cited = " ".join(f"{claim.text.rstrip('.')} [1]." for claim in claims(row["chosen"][-1]["content"]))
        answers.append(Answer(cited, "", row["prompt"]))
        found = list(passages_of(answers[-1], "passages"))
        assert found == [str(number) for number in range(1, len(found) + 1)], row["id"]
    scores = pooled(made("citation_coverage"), answers)
    assert scores["existing"] == 1
    assert scores["supporting"] is not None
    assert 0.4 < scores["supporting"] < 0.9  # all cite the first passage, and many rest on it
