"""Every metric keeps its promises on any answer."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lorry import plugins
from lorry.errors import InputError
from lorry.evaluate.grading import grade
from lorry.evaluate.metrics._base import Answer, Fault, Metric, Score, value_of
from lorry.evaluate.scoring import pool

HOSTILE = [
    "",
    " \n\t",
    "\0",
    "ls\0 -l",
    "\ud800 half a surrogate pair",
    "\x1b[2J\x07",
    "'",
    '"$(',
    "`" * 999,
    "$(" * 500,
    "(" * 5000,
    "case x in " * 200,
    "<<EOF\n" * 50,
    "x" * 200_000,
    "ls; " * 20_000,
    "\r\nls\r\n",
    "touch {marker}",
    "$(touch {marker})",
    "`touch {marker}`",
    "exec touch {marker}",
    "trap 'touch {marker}' EXIT",
]


MINE = """
def half(completion, answer):
    return 0.5
"""


@pytest.fixture(params=plugins.names("metrics"))
def metric(request: pytest.FixtureRequest, tmp_path: Path) -> Metric:
    needed = {"python": {"file": str(tmp_path / "mine.py"), "function": "half"}}
    (tmp_path / "mine.py").write_text(MINE, "utf-8")
    return made(request.param, **needed.get(request.param, {}))


def in_bounds(metric: Metric, scores: Sequence[Score | Fault]) -> bool:
    """Whether all are scores, or None, between 0 and what the metric calls its highest."""
    highest = metric.about[metric.label].highest
    most = math.inf if highest is None else highest
    assert not any(isinstance(score, Fault) for score in scores)
    return all(score is None or 0 <= value_of(score) <= most for score in scores)


def test_metric_says_what_it_is(metric: Metric) -> None:
    assert type(metric).summary()
    assert metric.about[metric.label].higher_is_better in (True, False, None)
    assert metric.about.keys() == {metric.label, *(f"{metric.label}.{part}" for part in metric.parts)}
    assert all(about.unit for about in metric.about.values())
    assert set(metric.files) <= set(type(metric).model_fields)


def test_hostile_answers_get_bounded_scores_and_are_never_run(metric: Metric, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    texts = [text.replace("{marker}", str(marker)) for text in HOSTILE]
    scores = metric.score_all([Answer(text, "ls") for text in texts])
    assert len(scores) == len(texts)
    assert in_bounds(metric, scores)
    assert not marker.exists()


def test_naughty_strings_get_bounded_scores(metric: Metric, shared_data: Path) -> None:
    texts: list[str] = json.loads((shared_data / "dirty" / "blns.json").read_text("utf-8"))
    texts = texts[:: 8 if metric.name == "shellcheck" else 4 if metric.name == "bash_valid" else 1]
    assert in_bounds(metric, metric.score_all([Answer(text, text) for text in texts]))


def test_hostile_truths_do_not_break_a_metric(metric: Metric) -> None:
    assert in_bounds(metric, metric.score_all([Answer("ls", text) for text in HOSTILE[:8]]))


@pytest.mark.parametrize("columns", [{}, {"passages": 3, "answerable": "?"}, {"passages": [None, {"text": 3}, [[]]]}])
def test_whatever_a_row_holds_breaks_no_metric(metric: Metric, columns: dict[str, Any]) -> None:
    turns = [{"role": "user", "content": None}, {"role": "user", "content": [{"type": "text", "text": "[1] a"}]}, {}]
    answers = [Answer(text, "It is a [1].", turns, columns=columns) for text in (*HOSTILE, "A [1]. B [2, x].")]
    graded = grade({metric.label: metric}, answers)
    assert graded.faults == []
    assert graded.scores.keys() == metric.about.keys()
    for name, about in metric.about.items():
        found = pool(graded.scores[name], about)
        assert found is None or 0 <= found.value <= (about.highest or math.inf)


def test_no_answers_have_no_scores(metric: Metric) -> None:
    assert metric.score_all([]) == []


def test_all_at_once_equals_one_by_one(metric: Metric) -> None:
    answers = [Answer(text, "ls -l") for text in ("ls -l", "LS -L", "if", "rm -rf /", "echo $x")]
    assert metric.score_all(answers) == [metric.score(answer) for answer in answers]


def test_unknown_setting_is_refused_with_the_known_ones(metric: Metric) -> None:
    with pytest.raises(InputError) as raised:
        plugins.make("metrics", {"name": metric.name, "no_such_setting": 1})
    assert all(name in raised.value.hint for name in type(metric).model_fields)


def test_wrong_type_of_any_setting_is_refused(metric: Metric) -> None:
    for name in set(type(metric).model_fields) - {"json_schema"}:
        with pytest.raises(InputError, match=name):
            plugins.make("metrics", {"name": metric.name, **metric.model_dump(), name: {"a": "mapping"}})


def test_importing_all_metrics_leaves_torch_out() -> None:
    script = (
        "import sys; from lorry import plugins; [plugins.find('metrics', name) for name in plugins.names('metrics')];"
        "sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_missing_program_means_not_applicable_and_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for name in ("bash_valid", "shellcheck"):
        made = plugins.make("metrics", name)
        assert isinstance(made, Metric)
        assert made.score(Answer("ls", "ls")) is None
        assert made.unavailable()


@pytest.mark.parametrize(
    ("settings", "prediction", "score"),
    [
        ({}, " ls -l\n", 1.0),
        ({"strip": False}, " ls -l\n", 0.0),
        ({}, "LS -L", 0.0),
        ({"ignore_case": True}, "LS -L", 1.0),
        ({}, "ls  -l", 0.0),
        ({"collapse_whitespace": True}, "ls  -l", 1.0),
    ],
)
def test_exact_match_settings_change_the_score(settings: dict[str, bool], prediction: str, score: float) -> None:
    assert made("exact_match", **settings).score(Answer(prediction, "ls -l")) == score


@pytest.mark.parametrize(
    ("prediction", "score"),
    [
        ("ls -l | wc", 1.0),
        ("for f in *; do echo $f; done", 1.0),
        ("if", 0.0),
        ("echo 'open", 0.0),
        ("", 0.0),
        ("ls\0", 0.0),
    ],
)
def test_bash_says_what_is_bash(prediction: str, score: float) -> None:
    assert made("bash_valid").score(Answer(prediction, "")) == score


def test_bash_that_takes_too_long_counts_as_not_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bash"
    slow.write_text("#!/bin/sh\nexec sleep 20\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert made("bash_valid", timeout=0.2).score(Answer("ls", "")) == 0.0


@pytest.mark.skipif(shutil.which("shellcheck", path=f"{Path(sys.executable).parent}") is None, reason="no shellcheck")
@pytest.mark.parametrize(
    ("settings", "prediction", "score"),
    [
        ({}, "ls -l", 1.0),
        ({}, "rm -rf $1/*", 0.0),
        ({"exclude": ["SC2115"]}, "rm -rf $1/*", 1.0),
        ({"severity": "error"}, "rm -rf $1/*", 1.0),
        ({"severity": "info"}, "echo $x", 0.0),
        ({}, "if", 0.0),
        ({}, "", 0.0),
    ],
)
def test_shellcheck_counts_findings_from_its_severity_on(
    settings: dict[str, object], prediction: str, score: float
) -> None:
    assert made("shellcheck", **settings).score(Answer(prediction, "")) == score


def made(name: str, **settings: object) -> Metric:
    found = plugins.make("metrics", {"name": name, **settings})
    assert isinstance(found, Metric)
    return found
