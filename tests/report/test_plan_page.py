"""The page of a plan: complete, safe whatever users' data holds, and there without an estimate too."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorry.plan.compare import Yardstick, side_by_side
from lorry.plan.findings import Finding
from lorry.plan.plan import Plan, make_plan
from lorry.plan.prices import prices
from lorry.report.plan_page import plan_page
from report.test_write import HOSTILE, Tags
from subjects import gpu, machine, row, subject


def planned(folder: Path, **sections: Any) -> Plan:
    candidates = [offer for offer in prices().offers if offer.gpus == 1]
    return make_plan(subject(folder, hardware=sections.pop("hardware", machine()), **sections), candidates)


def finding(number: int = 0, text: str = "what") -> Finding:
    return Finding(f"code-{number}", "warning", text, f"seen: {text}", f"do {text}", text)


def test_page_has_all_its_parts_and_runs_nothing(tmp_path: Path):
    text = plan_page(planned(tmp_path, train={"steps": 20}, name="my-plan"))
    page = Tags(text)
    assert "my-plan" in page.text
    for told in ("can start", "this computer", "40 rows", "Lengths of the training rows", "Memory by part", "Offers"):
        assert told in page.text
    assert page.tags.count("svg") == 3
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href", "style") or name.startswith("on")]
    assert "default-src 'none'; style-src 'unsafe-inline'" in text


def test_findings_stand_with_severity_evidence_and_remedy(tmp_path: Path):
    plan = replace(
        planned(tmp_path), findings=[finding(1, "rows repeat"), Finding("n", "note", "good to know", "seen")]
    )
    told = Tags(plan_page(plan)).text
    for said in ("warning", "rows repeat", "seen: rows repeat", "What to do: do rows repeat", "lorry explain code-1"):
        assert said in told
    assert "1 warning, 1 note" in told
    assert "good to know" in told


@pytest.mark.parametrize("count", [0, 1, 200])
def test_page_holds_any_number_of_findings(tmp_path: Path, count: int):
    page = Tags(plan_page(replace(planned(tmp_path), findings=[finding(number) for number in range(count)])))
    assert page.tags.count("article") == count


def test_hostile_strings_are_shown_and_never_become_markup(tmp_path: Path):
    found = [finding(number, text) for number, text in enumerate(HOSTILE)]
    plan = planned(tmp_path, name="<script>alert(1)</script>")
    assert plan.estimate is not None
    named = [
        replace(one, offer=replace(one.offer, tier=text))
        for one, text in zip(plan.estimate.offers, HOSTILE, strict=False)
    ]
    estimate = replace(plan.estimate, model=HOSTILE[0], offers=tuple(named))
    text = plan_page(replace(plan, findings=found, estimate=estimate))
    page = Tags(text)
    assert not {"script", "img", "b"} & set(page.tags)
    assert page.tags.count("style") == 1
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert not re.search("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202e\ud800]", text)


@pytest.mark.parametrize("rows", [1, 60])
def test_one_row_and_rows_of_equal_length_are_drawn(tmp_path: Path, rows: int):
    plan = planned(tmp_path, rows=[row("Say it", "it is")] * rows, data={"eval_split": 0})
    text = plan_page(plan)
    assert text.count('class="bar"') == 1
    assert f"{rows} rows as the trainer sees them" in text


def test_rows_that_were_cut_are_told_and_the_limit_is_marked(tmp_path: Path):
    rows = [row("Say it", "it is " * number) for number in range(1, 30)]
    page = plan_page(planned(tmp_path, rows=rows, data={"max_length": 64}))
    assert re.search(r"max_length is 64: \d+ were longer and lost their end", page)
    assert 'class="mark"' in page


def test_plan_without_an_estimate_gives_a_page_that_says_why(tmp_path: Path):
    plan = planned(tmp_path)
    page = Tags(plan_page(Plan(plan.subject, plan.findings, None, "an <unknown> architecture")))
    assert "an <unknown> architecture" in page.text
    assert page.tags.count("svg") == 1


def test_providers_stand_side_by_side_where_they_are_compared(tmp_path: Path):
    plan = planned(tmp_path)
    assert plan.estimate is not None
    found = side_by_side(plan.estimate.here, plan.estimate.offers, ["runpod", "aws"], Yardstick(budget=500))
    told = Tags(plan_page(plan, found)).text
    for said in ("Providers side by side", "runs for $500", "GPU quota", "earned back"):
        assert said in told
    assert "Providers side by side" not in Tags(plan_page(plan)).text


def test_plan_without_a_model_has_no_chart(tmp_path: Path):
    page = Tags(plan_page(planned(tmp_path, model={"id": "nothing-here/at-all"})))
    assert "cannot start" in page.text
    assert "svg" not in page.tags


def test_computer_alone_with_a_gpu_that_is_too_small_is_drawn(tmp_path: Path):
    small = replace(gpu("NVIDIA RTX A2000"), memory=10**8)
    page = Tags(plan_page(make_plan(subject(tmp_path, hardware=machine(small)))))
    assert "does not fit" in page.text
    assert page.tags.count("svg") == 2


def test_secrets_in_findings_stay_out_of_a_written_page(tmp_path: Path):
    from lorry.track.folder import write_text

    token = "hf_" + "a" * 34
    write_text(tmp_path / "page.html", plan_page(replace(planned(tmp_path), findings=[finding(1, token)])))
    assert token not in (tmp_path / "page.html").read_text(encoding="utf-8")
