"""Whether scores are what gates ask for; one that cannot be told is missed, and says why."""

from __future__ import annotations

from typing import Any

from lorry.evaluate.gates import judged, missed
from lorry.recipe.gates import parsed
from lorry.report.gates import counted, reached, sentence, verdict


def split(**scores: float | None) -> dict[str, Any]:
    """A split with these scores of the adapter; the base model's are perfect, and no matter."""
    sides = {
        name: None if one is None else {"value": one, "low": one - 0.02, "high": one + 0.02}
        for name, one in scores.items()
    }
    return {"scores": {name: {"base": {"value": 0.0}, "adapter": one} for name, one in sides.items()}}


def one(text: str, splits: dict[str, Any], **lacking: str) -> dict[str, Any]:
    (found,) = judged([parsed("cer", text)], splits, lacking)
    return found


def test_test_rows_count_where_there_are_some_unless_the_gate_says_otherwise():
    splits = {"eval": split(cer=0.05), "test": split(cer=0.15)}
    assert one("< 0.1", splits)["split"] == "test"
    assert not one("< 0.1", splits)["met"]
    assert one("< 0.1 on eval", splits)["met"]
    assert one("< 0.1", {"eval": split(cer=0.05)})["split"] == "eval"


def test_missed_gate_tells_what_was_reached_and_by_how_much_it_was_missed():
    found = one("< 10 %", {"test": split(cer=0.15)})
    assert sentence(found) == "cer < 10 %: 0.1500 (0.1300 to 0.1700) on the test rows, MISSED by 0.0500"
    assert missed([found]) == [found]


def test_gate_that_is_met_says_so():
    found = one("< 0.2", {"test": split(cer=0.15)})
    assert sentence(found) == "cer < 0.2: 0.1500 (0.1300 to 0.1700) on the test rows, met"
    assert counted([found, one("< 0.1", {})]) == "1 of 2 met"
    assert missed([found]) == []


def test_score_on_a_limit_that_excludes_it_is_missed():
    assert verdict(one("< 0.15", {"test": split(cer=0.15)})) == "MISSED: it stands on the limit"


def test_what_cannot_be_told_is_missed_and_says_why():
    lacking = one("< 0.1", {"eval": split(wer=0.1)}, cer="`jiwer` is not installed: `pip install jiwer`")
    assert (lacking["met"], reached(lacking)) == (False, "no score")
    assert verdict(lacking) == "MISSED: `jiwer` is not installed: `pip install jiwer`"
    assert one("< 0.1", {})["why"] == "there are no rows to score"
    assert one("< 0.1 on test", {"eval": split(cer=0.1)})["why"] == "there are no test rows"
    assert one("< 0.1", {"eval": split(cer=None)})["why"].startswith("it was not scored")


def test_base_model_is_not_asked():
    assert not one("< 0.01", {"eval": split(cer=0.5)})["met"]
