"""Every metric keeps its promises on any answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lorry import plugins
from lorry.errors import InputError
from lorry.evaluate.metrics._base import Answer, Metric

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


@pytest.fixture(params=plugins.names("metrics"))
def metric(request: pytest.FixtureRequest) -> Metric:
    made = plugins.make("metrics", request.param)
    assert isinstance(made, Metric)
    return made


def test_metric_says_what_it_is(metric: Metric) -> None:
    assert type(metric).summary()
    assert isinstance(metric.higher_is_better, bool)
    assert metric.unit


def test_hostile_answers_get_bounded_scores_and_are_never_run(metric: Metric, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    texts = [text.replace("{marker}", str(marker)) for text in HOSTILE]
    scores = metric.score_all([Answer(text, "ls") for text in texts])
    assert len(scores) == len(texts)
    assert all(score is None or 0 <= score <= 1 for score in scores)
    assert not marker.exists()


def test_naughty_strings_get_bounded_scores(metric: Metric, shared_data: Path) -> None:
    texts: list[str] = json.loads((shared_data / "dirty" / "blns.json").read_text("utf-8"))
    texts = texts[:: 8 if metric.name == "shellcheck" else 4 if metric.name == "bash_valid" else 1]
    assert all(score is None or 0 <= score <= 1 for score in metric.score_all([Answer(text, text) for text in texts]))


def test_hostile_truths_do_not_break_a_metric(metric: Metric) -> None:
    assert all(
        score is None or 0 <= score <= 1 for score in metric.score_all([Answer("ls", text) for text in HOSTILE[:8]])
    )


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
    for name in type(metric).model_fields:
        with pytest.raises(InputError, match=name):
            plugins.make("metrics", {"name": metric.name, name: {"a": "mapping"}})


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
