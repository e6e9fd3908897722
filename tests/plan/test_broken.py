"""Every fault of the corpus is found, and its place named."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorry.cli.main import run
from lorry.plan.check import check
from lorry.plan.explained import explanations
from lorry.plan.findings import Finding
from plan.broken import FAULTS, Fault
from plan.broken_texts import SOUND, TEXTS, BadText
from subjects import subject


def found(fault: Fault, folder: Path) -> list[Finding]:
    subject(folder)
    sections = fault.breaks(folder) or {}
    return check(subject(folder, hardware=fault.hardware, **sections))


def points_at(finding: Finding, place: str) -> bool:
    """Whether a finding names a place: as its own, or first among several in its evidence."""
    return finding.place.endswith(place) if place else True


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_is_found_and_its_place_named(fault: Fault, tmp_path: Path):
    findings = found(fault, tmp_path)
    told = [finding for finding in findings if finding.code == fault.code]
    assert told, [(finding.code, finding.place, finding.message) for finding in findings]
    assert any(points_at(finding, fault.place) for finding in told), told
    assert "check.crashed" not in {finding.code for finding in findings}
    assert {finding.code for finding in findings} <= set(explanations())


@pytest.mark.parametrize("bad", TEXTS, ids=str)
def test_fault_of_the_text_is_told_with_its_line(bad: BadText, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    subject(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(bad.text, "utf-8", "surrogateescape")
    assert run(["check", str(recipe)]) == bad.exit_code
    said = capsys.readouterr().err
    assert bad.says in said
    assert "recipe.yaml" in said
    assert not bad.line or f"recipe.yaml:{bad.line}" in said


def test_sound_text_is_sound(tmp_path: Path):
    subject(tmp_path)
    (tmp_path / "recipe.yaml").write_text(SOUND)
    assert run(["check", str(tmp_path / "recipe.yaml")]) == 0


@pytest.mark.parametrize(
    ("override", "exit_code"),
    [
        ("lora.target_modules=[c_attn]", 2),
        ("model.id=./nowhere", 2),
        ("data.train=none.jsonl", 2),
        ("budget.usd=3", 2),
        ("track.alerts.to=[$NO_SUCH_VARIABLE]", 3),
        ("track.alerts.progress_hours=2", 0),
    ],
)
def test_exit_code_tells_wrong_input_from_refusal(override: str, exit_code: int, tmp_path: Path):
    subject(tmp_path)
    (tmp_path / "recipe.yaml").write_text(SOUND)
    assert run(["check", str(tmp_path / "recipe.yaml"), "-o", override]) == exit_code


def test_corpus_is_large_and_each_fault_has_its_name():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60
