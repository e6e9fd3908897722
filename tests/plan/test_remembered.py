"""What checks found in rows is remembered for as long as the rows are the same, and no longer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, cast

import pytest

from lorry import plugins
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding, warning
from lorry.plan.remembered import found
from lorry.plan.subject import Subject
from subjects import ROWS, row, save_rows, subject


class Counting(Check):
    """Counts how often it looks."""

    name: ClassVar[str] = "counting"
    of_rows_alone: ClassVar[bool] = True
    looked: ClassVar[int] = 0

    def run(self, subject: Subject) -> Iterable[Finding]:
        Counting.looked += 1
        yield warning(
            "counting.rows", f"{len(subject.prepared.train)} rows", place="rows.jsonl:1", evidence="\x1b[1m\ud800"
        )


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "looked", 0)
    monkeypatch.setattr(Counting, "__module__", "lorry.plan.checks.counting")


def test_checks_of_other_packages_look_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Counting, "__module__", "somebody.checks")
    for _ in range(2):
        list(found(Counting(), subject(tmp_path)))
    assert Counting.looked == 2


def test_what_was_found_before_a_check_failed_is_told_and_not_remembered(
    tmp_path: Path, lorry_home: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(_self: Counting, _subject: Subject) -> Iterable[Finding]:
        yield warning("counting.rows", "one")
        raise RuntimeError("two")

    monkeypatch.setattr(Counting, "run", failing)
    told = iter(found(Counting(), subject(tmp_path)))
    assert next(told).message == "one"
    with pytest.raises(RuntimeError):
        next(told)
    assert not list(lorry_home.glob("cache/findings/*/*.json"))


def test_same_rows_are_looked_at_once(tmp_path: Path):
    first, second = (list(found(Counting(), subject(tmp_path))) for _ in range(2))
    assert Counting.looked == 1
    assert [(one.code, one.message, one.place) for one in first] == [
        (one.code, one.message, one.place) for one in second
    ]


def test_settings_of_training_change_nothing_about_rows(tmp_path: Path):
    list(found(Counting(), subject(tmp_path)))
    list(found(Counting(), subject(tmp_path, train={"learning_rate": 0.5})))
    assert Counting.looked == 1


def test_other_rows_and_other_settings_of_data_are_looked_at(tmp_path: Path):
    before = list(found(Counting(), subject(tmp_path)))
    list(found(Counting(), subject(tmp_path, data={"max_length": 64})))
    save_rows(tmp_path / "rows.jsonl", [*ROWS, row("one more", "yes")] * 2)
    assert list(found(Counting(), subject(tmp_path))) != before
    assert Counting.looked == 3


@pytest.mark.parametrize("spoilt", ["", "{", "[1]", '[{"code": 1}]', "\xff"])
def test_spoilt_memory_is_looked_past(tmp_path: Path, lorry_home: Path, spoilt: str):
    list(found(Counting(), subject(tmp_path)))
    (file,) = lorry_home.glob("cache/findings/*/*.json")
    file.write_text(spoilt, encoding="latin-1")
    list(found(Counting(), subject(tmp_path)))
    assert Counting.looked == 2
    assert json.loads(file.read_text(encoding="utf-8"))


def test_memory_that_cannot_be_written_is_no_fault(tmp_path: Path, lorry_home: Path):
    made = subject(tmp_path)
    assert len(made.prepared.train)
    (lorry_home / "cache" / "findings").write_text("", encoding="utf-8")
    assert len(list(found(Counting(), made))) == 1


@pytest.mark.parametrize(
    "name",
    [name for name in plugins.names("checks") if cast("type[Check]", plugins.find("checks", name)).of_rows_alone],
)
def test_checks_of_rows_touch_nothing_else_of_a_subject(tmp_path: Path, name: str):
    whole = subject(tmp_path)
    only = Subject(whole.recipe, whole.base, prepared=whole.prepared, tokenizer=whole.tokenizer)
    only._locate = only._read_tensors = lambda: pytest.fail("looked at the model")  # type: ignore[method-assign]
    only.recipe = whole.recipe.model_copy(update=dict.fromkeys(set(type(whole.recipe).model_fields) - {"data"}))
    check = plugins.make("checks", name)
    assert list(check.run(only)) == list(check.run(whole))
