"""What a machine tells is held against what was known of the run before."""

from __future__ import annotations

from typing import Any

import pytest

from lorry.compute.machine.bounds import MOST_BYTES, MOST_EVENTS, Before, Bounds
from lorry.compute.machine.told import Beat
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.track.events import Event

BEFORE = Before(attempt=3, number=10, seconds=100.0, since=1000.0, bytes=50)


def event(kind: str = "note", *, seq: int = 11, attempt: int = 3, step: int | None = None, **data: Any) -> Event:
    return Event(seq, 5.0, kind, attempt, step, data)


def started(steps: int) -> Event:
    return event("started", steps=steps, from_step=0)


def refused(*events: Event) -> str:
    bounds = Bounds(BEFORE)
    for one in events[:-1]:
        bounds.event(one)
    with pytest.raises(OutcomeError) as caught:
        bounds.event(events[-1])
    assert caught.value.outcome is Outcome.UNTRUSTED
    return caught.value.message


def test_attempts_that_go_on_are_believed():
    bounds = Bounds(BEFORE)
    for attempt in (3, 3, 4, 103):
        bounds.event(event(attempt=attempt))


@pytest.mark.parametrize("attempt", [2, 104, 1_000_000])
def test_attempt_that_the_next_machine_would_count_on_from_is_refused(attempt):
    assert f"of attempt {attempt} after attempt 3" in refused(event(attempt=attempt))


def test_attempt_before_one_that_was_told_is_refused():
    assert "of attempt 4 after attempt 5" in refused(event(attempt=5), event(attempt=4))


def test_attempts_are_counted_from_before_the_machine_whoever_controls_it():
    later = Bounds(BEFORE, attempt=90)
    later.event(event(attempt=103))
    with pytest.raises(OutcomeError):
        Bounds(BEFORE, attempt=90).event(event(attempt=104))


def test_step_beyond_those_of_the_run_is_refused():
    Bounds(BEFORE).event(event("evaluated", step=5000, loss=1.0))
    assert "of step 31 of 30" in refused(started(30), event("evaluated", step=31, loss=1.0))
    assert "of step 99 of 30" in refused(started(30), event("resumed", from_step=99, path=""))
    assert "a run of" in refused(started(2**62))


def test_run_of_a_million_steps_may_be_told_and_an_endless_one_not():
    bounds = Bounds(BEFORE)
    bounds.event(started(1_000_000))
    bounds.event(event("saved", seq=2_500_000, step=1_000_000))
    bounds.size(500_000_000)
    assert "events" in refused(event(seq=MOST_EVENTS + 11))
    with pytest.raises(OutcomeError, match="MiB of events"):
        bounds.size(MOST_BYTES + 51)


def test_heartbeat_takes_no_more_time_than_there_was():
    found = Bounds(BEFORE, steps=30).beat(Beat(5.0, 10**6, 10**9, "training", 1e12), now=1500.0)
    assert (found.seconds, found.step, found.attempt) == (660.0, 30, 103)
    honest = Beat(5.0, 4, 3, "training", 590.0)
    assert Bounds(BEFORE).beat(honest, now=1500.0) == honest


def test_clock_that_was_set_back_is_held_against_nobody():
    assert Bounds(BEFORE).beat(Beat(5.0, 3, 3, "training", 130.0), now=10.0).seconds == 130.0
