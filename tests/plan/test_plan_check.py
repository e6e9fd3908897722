"""All checks together: everything in one go, and nothing that a check does can hide the others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from lorry import plugins
from lorry.plan.check import check
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding, exit_code, note
from lorry.plan.subject import Subject
from subjects import ROWS, row, subject


def codes(findings: Iterable[Finding], severity: str = "error") -> set[str]:
    return {finding.code for finding in findings if finding.severity == severity}


def test_sound_recipe_has_neither_errors_nor_warnings(tmp_path: Path):
    found = check(subject(tmp_path))
    assert [finding for finding in found if finding.severity != "note"] == []
    assert exit_code(found) == 0


def test_everything_wrong_comes_in_one_go(tmp_path: Path):
    wrong = subject(
        tmp_path,
        rows=[*ROWS, row("Who?", "")],
        lora={"target_modules": ["q_prj"]},
        budget={"usd": 3},
        model={"attention": "flash"},
    )
    expected = {"data.bad-row", "targets.missing", "recipe.budget-without-price", "extras.flash"}
    assert codes(check(wrong)) == expected


def test_without_the_model_rows_are_still_read_and_the_rest_is_named(tmp_path: Path):
    found = check(subject(tmp_path, rows=[*ROWS, {"messages": []}], model={"id": "./nowhere"}))
    assert codes(found) == {"model.unavailable", "data.bad-row"}
    left_out = next(finding for finding in found if finding.code == "check.not-run")
    assert "the model" in left_out.message
    assert "masks" in left_out.message


def test_without_the_model_sound_rows_are_counted(tmp_path: Path):
    found = check(subject(tmp_path, model={"id": "./nowhere"}))
    assert any("all 40 rows can be read" in finding.message for finding in found)


class _Crash(Check):
    def run(self, subject: Subject) -> Iterable[Finding]:  # noqa: ARG002
        yield note("crash.before", "seen before")
        raise ZeroDivisionError("by design")


def test_crashing_check_is_named_with_its_error_and_the_others_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    known = plugins.find

    def find(kind: str, name: str) -> type[plugins.Plugin]:
        return _Crash if (kind, name) == ("checks", "masks") else known(kind, name)

    monkeypatch.setattr(plugins, "find", find)
    found = check(subject(tmp_path))
    crash = next(finding for finding in found if finding.code == "check.crashed")
    assert "`masks` failed: ZeroDivisionError: by design" in crash.message
    assert "test_plan_check.py" in crash.evidence
    assert {"crash.before", "data.rows", "model.found"} <= codes(found, "note")
    assert exit_code(found) == 3


def test_check_whose_import_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    known = plugins.names

    def names(kind: str) -> tuple[str, ...]:
        return (*known(kind), "absent") if kind == "checks" else known(kind)

    monkeypatch.setattr(plugins, "names", names)
    crash = next(finding for finding in check(subject(tmp_path)) if finding.code == "check.crashed")
    assert "`absent` failed: ModuleNotFoundError" in crash.message


def test_checking_twice_gives_the_same(tmp_path: Path):
    first = [finding.code for finding in check(subject(tmp_path))]
    assert [finding.code for finding in check(subject(tmp_path))] == first
