"""Which events are told to a person who does not look, and how."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from lorry.recipe.schema import AlertKind
from lorry.track.alerts import Alert, Seen, alert_for, summary_of
from lorry.track.events import KINDS, Event

HOUR = 3600.0


def event(kind: str, at: float = 0.0, step: int | None = None, **data: Any) -> Event:
    return Event(1, at, kind, 1, step, {**dict.fromkeys(KINDS.get(kind, ()), "text"), **data})


def alerts(*events: Event, hours: float | None = None) -> list[Alert]:
    seen, found = Seen(), []
    for one in events:
        found.append(alert_for(one, seen, run="r", progress_hours=hours))
        seen = seen.after(one, progress_hours=hours)
    return [alert for alert in found if alert]


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (event("started", steps=9, from_step=0), "started"),
        (event("resumed", from_step=4), "resumed"),
        (event("finished", seconds=61.0), "completed"),
        (event("failed", error="out of luck", hint="try again"), "failed"),
        (event("oom", where="training", error="CUDA out of memory"), "oom"),
        (event("stopped", cause="preempted"), "preempted"),
        (event("budget", share=0.8, message="80 % of $5"), "budget"),
        (event("limit"), "limit"),
        (event("stalled", seconds=700), "stalled"),
        (event("slow"), "slow"),
        (event("diverged", rows=[], return_to=3), "diverged"),
        (event("rejected"), "rejected"),
        (event("crashed", exit_code=-9), "crashed"),
    ],
)
def test_event_is_told_as_its_kind(told: Event, kind: str):
    (alert,) = alerts(told)
    assert alert.kind == kind
    assert alert.title.startswith("r: ")
    assert alert.body


def test_every_kind_of_alert_comes_from_some_event():
    told = {alert.kind for kind in KINDS for alert in alerts(event(kind, cause="preempted", seconds=1.0))}
    assert told | {"progress"} == set(get_args(AlertKind))


@pytest.mark.parametrize(
    "quiet", [event("note"), event("step", step=1), event("stopped", cause="person"), event("eclipse")]
)
def test_other_events_are_no_news(quiet: Event):
    assert alerts(quiet) == []


def test_further_attempts_start_without_an_alert_of_their_own():
    first, again = event("started", steps=9, from_step=0), event("started", steps=9, from_step=4)
    assert [alert.kind for alert in alerts(first, again, event("resumed", from_step=4))] == ["started", "resumed"]


def test_failure_is_told_with_its_step_and_remedy():
    failed = event("failed", error="the loss is not a number\nTraceback", hint="lower train.learning_rate")
    *_, alert = alerts(event("started", steps=100, from_step=0), event("step", step=7, loss=2.0), failed)
    assert alert.body == "the loss is not a number\nlower train.learning_rate\nstep 7 of 100"
    assert alert.severity == "failure"


def test_progress_comes_every_so_many_hours_of_training():
    steps = [
        event("step", at=number * HOUR / 2, step=number, loss=2.0, tokens_per_second=500.0) for number in range(1, 9)
    ]
    begun = [event("started", steps=8, from_step=0), event("evaluated", step=1, loss=1.5)]
    told = alerts(*begun, *steps, hours=2)[1:]
    assert [(alert.title, alert.at) for alert in told] == [("r: step 4 of 8", 2 * HOUR), ("r: step 8 of 8", 4 * HOUR)]
    assert told[0].body == "loss 2.0000, evaluation loss 1.5000, 500 tokens/s, 2 h since the start"
    assert len(alerts(*begun, *steps)) == 1


def test_seen_counts_back_where_training_goes_back():
    seen = Seen().after(event("step", step=9, loss=1.0)).after(event("diverged", return_to=5))
    assert seen.step == 5


def test_missed_alerts_are_summed_up_by_the_gravest():
    missed = alerts(
        event("started", steps=9, from_step=0), event("failed", at=60.0), event("finished", at=90.0, seconds=1)
    )
    summed = summary_of(missed, "r")
    assert (summed.title, summed.severity) == ("r: 3 earlier messages", "failure")
    assert summed.body.splitlines()[1] == "1970-01-01 00:01:00  FAILED"


def test_days_between_two_attempts_and_a_clock_set_back_are_no_hours_of_training():
    def step(at: float) -> Event:
        return event("step", at=at * HOUR, step=2, loss=2.0, tokens_per_second=500.0)

    begun, again = (event("started", at=at * HOUR, steps=8, from_step=0) for at in (0, 72))
    assert [alert.kind for alert in alerts(begun, step(1), again, step(73), hours=2)] == ["started"]
    assert [alert.kind for alert in alerts(again, step(1), step(2), hours=2)] == ["started", "progress"]


@pytest.mark.parametrize(("action", "then"), [("ask", "it goes on until somebody says no"), ("stop", "it stops")])
def test_alert_of_an_overrun_says_what_the_run_does(action, then):
    event = Event(1, 0.0, "overrun", step=20, data={"seconds": 9e3, "message": "it would cost $3.00", "action": action})
    assert alert_for(event, Seen(), run="r").body.startswith(f"it would cost $3.00; {then}")
