"""Character and word error rates by hand, and against jiwer on whole lists; ROUGE-L against Google's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, cast

import jiwer
import pytest

from lorry import plugins
from lorry.evaluate.grading import grade
from lorry.evaluate.metrics._base import Answer, Metric, Ratio, Score
from lorry.evaluate.scoring import pool


def made(name: str, **settings: Any) -> Metric:
    return cast("Metric", plugins.make("metrics", {"name": name, **settings}))


def score(name: str, prediction: str, truth: str, **settings: Any) -> Score:
    return made(name, **settings).score(Answer(prediction, truth))


def pooled(metric: Metric, pairs: list[tuple[str, str]]) -> float:
    graded = grade({metric.label: metric}, [Answer(prediction, truth) for prediction, truth in pairs])
    assert graded.faults == []
    found = pool(graded.scores[metric.label], metric.about[metric.label])
    assert found is not None
    return found.value


@pytest.mark.parametrize(
    ("prediction", "truth", "edits", "length"),
    [
        ("TOTAL 9.00", "TOTAL 9.00", 0, 10),
        ("TOTAL 9.80", "TOTAL 9.00", 1, 10),  # one is another
        ("TOTAL 9.0", "TOTAL 9.00", 1, 10),  # one is missing
        ("TOTAL 9.000", "TOTAL 9.00", 1, 10),  # one too many
        ("", "abc", 3, 3),
        ("abcdef", "ab", 4, 2),  # beyond 1
        ("a\n\n b ", " a b\t", 0, 3),  # whitespace
        ("Cafe\u0301", "Caf\u00e9", 0, 4),  # one letter, written in two ways
        ("ABC", "abc", 3, 3),
        ("abc.", "abc", 1, 3),
    ],
)
def test_characters_are_counted_as_by_hand(prediction: str, truth: str, edits: int, length: int):
    assert score("cer", prediction, truth) == Ratio(edits, length)


@pytest.mark.parametrize(
    ("prediction", "truth", "edits", "length"),
    [
        ("the cat sat", "the cat sat", 0, 3),
        ("the bat sat", "the cat sat", 1, 3),
        ("the sat", "the cat sat", 1, 3),
        ("the black cat sat", "the cat sat", 1, 3),
        ("the\n\ncat\u00a0sat ", "the cat sat", 0, 3),
        ("", "the cat", 2, 2),
        ("The cat sat.", "the cat sat", 2, 3),
    ],
)
def test_words_are_counted_as_by_hand(prediction: str, truth: str, edits: int, length: int):
    assert score("wer", prediction, truth) == Ratio(edits, length)


@pytest.mark.parametrize("name", ["cer", "wer"])
def test_row_that_does_not_say_what_is_right_is_left_out(name: str):
    assert score(name, "abc", "") is None


@pytest.mark.parametrize(
    ("settings", "prediction", "truth", "edits"),
    [
        ({"ignore_case": True}, "Straße", "STRASSE", 0),
        ({"ignore_punctuation": True}, "a, b!", "a b", 0),
        ({"unicode": "NFKC"}, "\ufb01n\u00b2", "fin2", 0),
        ({"unicode": "none"}, "e\u0301", "\u00e9", 2),
        ({"collapse_whitespace": False}, "a  b", "a b", 1),
        ({"collapse_whitespace": False}, "ab ", "ab", 1),
    ],
)
def test_settings_decide_what_counts(settings: dict[str, Any], prediction: str, truth: str, edits: int):
    found = score("cer", prediction, truth, **settings)
    assert isinstance(found, Ratio)
    assert found.above == edits


def test_all_edits_by_all_characters_and_the_mean_of_rows_differ():
    pairs = [("x", "a"), ("abcdefghi", "abcdefghi")]
    assert pooled(made("cer"), pairs) == pytest.approx(1 / 10)
    assert pooled(made("cer", average="rows"), pairs) == pytest.approx((1 + 0) / 2)


def test_what_is_written_where_nothing_stands_is_counted():
    assert pooled(made("cer", collapse_whitespace=True), [("ab", "abcd"), ("xyz", " \n")]) == pytest.approx(5 / 4)


def test_rates_are_jiwers_on_receipts_with_random_faults(shared_data: Path):
    rows = [json.loads(line) for line in (shared_data / "ocr" / "manifest.jsonl").read_text("utf-8").splitlines()]
    draw = random.Random(3)
    truths = [" ".join(row["text"].split()) for row in rows[:40]]
    pairs = [(" ".join("".join(one for one in text if draw.random() > 0.1).split()), text) for text in truths]
    said, right = [list(side) for side in zip(*pairs, strict=True)]
    assert pooled(made("cer"), pairs) == pytest.approx(jiwer.cer(right, said))
    assert pooled(made("wer"), pairs) == pytest.approx(jiwer.wer(right, said))
    assert 0.05 < pooled(made("cer"), pairs) < 0.2


def test_perfect_answers_do_not_claim_certainty():
    metric = made("cer")
    found = pool([metric.score(Answer("abc", "abc"))] * 20, metric.about["cer"])
    assert found is not None
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(0.161, abs=0.001)  # Wilson's, of 0 rows with faults in 20


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        ("the cat sat", "the cat sat", 1.0),
        ("police kill the gunman", "police killed the gunman", 0.75),  # Lin 2004, section 3.1
        ("the gunman kill police", "police killed the gunman", 0.5),
        ("the cat", "the cat sat on the mat", 2 * 1.0 * (1 / 3) / (4 / 3)),
        ("", "the cat", 0.0),
        ("!!!", "the cat", 0.0),
        ("Über ALLES", "über alles", 1.0),
    ],
)
def test_rouge_l_by_hand(prediction: str, truth: str, expected: float):
    assert score("rouge_l", prediction, truth) == pytest.approx(expected)


def test_recall_counts_more_with_a_higher_beta():
    # Precision 1, recall 1/3: (1 + 4) * 1/3 / (1/3 + 4).
    assert score("rouge_l", "the cat", "the cat sat on the mat", beta=2) == pytest.approx((5 / 3) / (13 / 3))


def test_rouge_l_is_googles_on_english_answers(shared_data: Path):
    from rouge_score.rouge_scorer import RougeScorer

    lines = (shared_data / "qa" / "qa_feedback_dev.jsonl").read_text("utf-8").splitlines()[:60]
    google = RougeScorer(["rougeL"])
    for row in map(json.loads, lines):
        truth, said = (
            text.encode("ascii", "ignore").decode().replace("_", " ") for text in (row["gold"], row["prediction 1"])
        )
        assert score("rouge_l", said, truth) == pytest.approx(google.score(truth, said)["rougeL"].fmeasure)


@pytest.mark.parametrize(("of", "expected"), [("words", 3.0), ("characters", 11.0), ("tokens", 4.0)])
def test_length_is_counted_in_what_is_asked(of: str, expected: float):
    assert made("length", of=of).score(Answer("the cat sat", "", tokens=4)) == expected


def test_length_in_tokens_of_which_nobody_knows_is_left_out():
    assert made("length", of="tokens").score(Answer("the cat", "")) is None
