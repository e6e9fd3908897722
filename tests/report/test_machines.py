"""Rented machines in summary, facts and report: from the run's events alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorry.report.facts import facts
from lorry.report.write import gather, write
from lorry.track.events import EventLog
from lorry.track.folder import RunFolder, write_json


def rented(folder: Path, *ends: str) -> RunFolder:
    """A run on a machine of a dollar an hour for each end: `returned`, `lost` and returned, or nothing."""
    run = RunFolder(folder / "run")
    now = [1_764_590_400.0]
    log = EventLog(run.events, clock=lambda: now[0])
    log.append("created", recipe="r", run="run")
    for number, end in enumerate(ends, start=1):
        name, told = f"lease-{number}", "runpod community, RTX 4090 at $1.00 an hour"
        log.append("rented", lease=name, machine=f"m{number}", provider="runpod", usd_per_hour=1.0, message=told)
        now[0] += 1800
        if end == "lost":
            log.append("lost", lease=name, outcome="HOST_LOST", message="the host is lost", action="on")
        if end:
            log.append("returned", lease=name, seconds=1800.0, usd=0.5)
    log.append("note", message="now")
    return run


def shown(run: RunFolder) -> tuple[dict[str, Any], dict[str, str]]:
    summary = gather(run)[1]
    return summary, dict(facts(summary))


def test_machines_are_told_with_what_they_cost_and_what_befell_them(tmp_path: Path):
    run = rented(tmp_path, "lost", "returned")
    summary, told = shown(run)
    assert summary["cost_usd"] == 1.0
    first, second = summary["machines"]
    assert (first["id"], first["usd"], first["lost"]) == ("m1", 0.5, "the host is lost")
    assert (second["since"], second["until"]) == ("2025-12-01 12:30:00", "2025-12-01 13:00:00")
    assert told["Trained on"] == "2 times runpod community, RTX 4090 at $1.00 an hour"
    assert told["Cost"] == "$1.00; all of the 2 machines are confirmed to have ended"


def test_machine_whose_end_is_not_confirmed_counts_up_to_now_and_is_told(tmp_path: Path):
    run = rented(tmp_path, "")
    summary, told = shown(run)
    assert summary["cost_usd"] == 0.5
    assert told["Cost"] == "$0.50 so far; 1 of 1 machines not confirmed to have ended"
    write(run)
    report = run.report.read_text()
    assert "## Receipt" in report
    assert "its end is not confirmed" in report


def test_machine_that_went_on_to_another_run_is_not_called_ended(tmp_path: Path):
    run = rented(tmp_path, "")
    EventLog(run.events).append("handed", lease="lease-1", run="run-2", seconds=1800.0, usd=0.5)
    summary, told = shown(run)
    assert summary["machines"][0]["handed_to"] == "run-2"
    assert told["Cost"] == "$0.50; the machine went on to another run"


def test_run_that_trained_here_has_no_receipt(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    EventLog(run.events).append("created", recipe="r", run="run")
    assert shown(run)[0]["machines"] == []
    write(run)
    assert "Receipt" not in run.report.read_text()


def test_plan_is_that_of_the_machine_that_it_was_sent_to(tmp_path: Path):
    run = rented(tmp_path, "returned")
    write_json(run.plan, {"expected": {"no": "estimate"}, "data": {}})
    write_json(run.sent_plan, {"expected": None})
    assert shown(run)[0]["planned"] is None
