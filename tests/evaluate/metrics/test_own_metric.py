"""Functions of one's own as metrics: what they see, and that what they do wrong is one answer's fault alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import pytest

from lorry import plugins
from lorry.errors import RecipeError
from lorry.evaluate.chosen import metrics_of
from lorry.evaluate.grading import grade
from lorry.evaluate.metrics._base import About, Answer, Metric


def mine(folder: Path, body: str, **settings: Any) -> Metric:
    """The function `f` of a file with this body."""
    (folder / "mine.py").write_text(f"import os, time\n{body}", "utf-8")
    spec = {"name": "python", "file": "mine.py", "function": "f", **settings}
    (metric,) = metrics_of([spec], folder).values()
    return metric


def graded(metric: Metric, *texts: str) -> tuple[list[Any], list[str]]:
    found = grade({metric.label: metric}, [Answer(text, "right", columns={"level": 2}) for text in texts])
    return found.scores["f"], found.faults


def test_function_sees_the_answer_the_rows_own_and_its_columns(tmp_path: Path):
    metric = mine(
        tmp_path, "def f(completion, answer, prompt, level):\n    return level if completion == answer else None"
    )
    asked = [{"role": "user", "content": "Say right"}]
    assert graded(metric, "right", "wrong") == ([2, None], [])
    body = "def f(prompt, messages, **rest):\n    return len(prompt) + len(messages) + len(rest)"
    (score,) = mine(tmp_path, body).score_all([Answer("x", "y", asked, columns={"a": 1})])
    assert score == len("Say right") + 1 + 3  # completion, answer, a


def test_it_is_called_by_the_functions_name_and_says_which_way_is_better(tmp_path: Path):
    assert mine(tmp_path, "").about == {"f": About(True, "mean", None)}
    assert mine(tmp_path, "", better="lower", most=1).about == {"f": About(False, "share of answers", 1)}
    assert mine(tmp_path, "", better="neither").about["f"].higher_is_better is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("raise ValueError('no good')", "ValueError: no good"),
        ("return float('nan')", "gave nan"),
        ("return 'much'", "ValueError"),
        ("os._exit(3)", "its process has ended"),
        ("return 7", "gave 7, and `most` says 1"),
    ],
)
def test_what_it_does_wrong_is_that_answers_none_and_is_told(tmp_path: Path, wrong: str, told: str):
    body = f"def f(completion):\n    if completion == 'bad': {wrong}\n    return 1.0"
    scores, faults = graded(mine(tmp_path, body, most=1), "a", "bad", "b")
    assert scores == [1, None, 1]
    assert faults[0].startswith("f failed at 1 of 3 answers: ")
    assert told in faults[0]


def test_one_that_hangs_is_left_alone_after_three_answers(tmp_path: Path):
    metric = mine(tmp_path, "def f(completion):\n    time.sleep(60)", timeout=0.2)
    began = time.monotonic()
    scores, faults = graded(metric, *"abcdefgh")
    assert time.monotonic() - began < 15
    assert scores == [None] * 8
    assert faults == ["f failed at 8 of 8 answers: took longer than 0.2 seconds"]


@pytest.mark.parametrize("body", ["def g(completion): return 1", "def f(:", "raise RuntimeError('no')"])
def test_file_that_cannot_be_used_gives_no_scores_and_is_told_once(tmp_path: Path, body: str):
    scores, faults = graded(mine(tmp_path, body), "a", "b")
    assert scores == [None, None]
    assert len(faults) == 1


def test_file_that_is_not_there_makes_it_unavailable(tmp_path: Path):
    (metric,) = metrics_of([{"name": "python", "file": "gone.py", "function": "f"}], tmp_path).values()
    assert str(metric.unavailable()).startswith("there is no file")


def test_its_environment_holds_no_secrets_but_those_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LORRY_PROBE_TOKEN", "hf_" + "a" * 34)
    body = "def f(completion):\n    return float('LORRY_PROBE_TOKEN' in os.environ)"
    assert graded(mine(tmp_path, body), "a") == ([0], [])
    assert graded(mine(tmp_path, body, secrets=["LORRY_PROBE_TOKEN"]), "a") == ([1], [])


def test_two_functions_may_be_metrics_and_one_twice_may_not(tmp_path: Path):
    specs = [{"name": "python", "file": "mine.py", "function": name} for name in ("f", "g")]
    assert list(metrics_of(specs, tmp_path)) == ["f", "g"]
    with pytest.raises(RecipeError, match="`f` is named twice"):
        metrics_of([specs[0], specs[0]], tmp_path)


@pytest.mark.parametrize("name", ["loss", "perplexity", "preference_accuracy", "reward"])
def test_name_of_a_score_that_is_made_anyway_is_refused(name: str, tmp_path: Path):
    with pytest.raises(RecipeError, match=f"`{name}` is a score of lorry's own"):
        metrics_of([{"name": "python", "file": "mine.py", "function": name}], tmp_path)


class Broken(Metric):
    """Fails at some answers."""

    def score(self, answer: Answer) -> float:
        """What the answer says."""
        return float(answer.prediction)


def test_metric_that_raises_costs_that_answer_alone():
    found = grade({"broken": cast("Metric", Broken())}, [Answer(text, "") for text in ("1", "x", "nan", "0")])
    assert found.scores == {"broken": [1, None, None, 0]}
    assert found.faults == ["broken failed at 2 of 4 answers: ValueError: could not convert string to float: 'x'"]


def test_every_metric_without_needed_settings_can_be_made_by_name():
    for name in set(plugins.names("metrics")) - {"python"}:
        assert plugins.make("metrics", name)
