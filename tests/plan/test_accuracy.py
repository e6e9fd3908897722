"""How good estimates were."""

from __future__ import annotations

import pytest

from expectations import expected
from lorry.plan.accuracy import Estimated, accuracy, estimated
from lorry.plan.ranges import Range
from lorry.track.events import EventLog
from lorry.track.folder import RunFolder, write_json


def one(took: float, forecast: float | None = None) -> Estimated:
    return Estimated("run", "T4", Range(500, 1000, 2000), forecast, took)


def run_of(path, *said, attempt=1) -> RunFolder:
    folder = RunFolder(path)
    write_json(folder.plan, {"expected": expected().as_json()})
    write_json(folder.heartbeat, {"seconds": 1250.0})
    log = EventLog(folder.events, attempt=attempt)
    for kind, data in said:
        log.append(kind, **data)
    return folder


FORECAST = ("forecast", {"seconds": 1100.0, "message": "m"})
FINISHED = ("finished", {"seconds": 1240.0})


def test_errors_are_shares_of_what_the_run_took():
    found = one(1250.0, 1100.0)
    assert found.error == pytest.approx(-0.2)
    assert found.forecast_error == pytest.approx(-0.12)
    assert found.is_within


@pytest.mark.parametrize(("took", "within"), [(499, False), (500, True), (2000, True), (2001, False)])
def test_run_is_within_between_the_least_and_the_most(took, within):
    assert one(took).is_within is within


def test_accuracy_of_several_is_their_median():
    found = accuracy([one(1000.0, 1000.0), one(800.0), one(3000.0, 1500.0)])
    assert (found.runs, found.within) == (3, 2)
    assert found.error == pytest.approx(0.25)
    assert found.forecast_error == pytest.approx(0.25)
    assert accuracy([]) is None


def test_finished_run_tells_what_was_planned_said_and_taken(tmp_path):
    found = estimated(run_of(tmp_path, FORECAST, FINISHED))
    assert (found.planned, found.forecast, found.took) == (Range(500, 1000, 2000), 1100.0, 1250.0)


@pytest.mark.parametrize(
    "said", [[], [FORECAST], [("limit", {"message": "m"}), FINISHED], [("early_stop", {"message": "m"}), FINISHED]]
)
def test_run_that_did_not_go_to_its_end_says_nothing_of_its_plan(tmp_path, said):
    assert estimated(run_of(tmp_path, *said)) is None


def test_run_of_several_attempts_says_nothing_of_its_plan(tmp_path):
    assert estimated(run_of(tmp_path, FINISHED, attempt=2)) is None
