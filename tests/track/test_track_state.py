"""Where a run stands, from its events."""

from __future__ import annotations

import pytest

from lorry.track.events import Event
from lorry.track.state import state


def event(kind: str, *, at: float = 0.0, step: int | None = None, attempt: int = 1, **data: object) -> Event:
    return Event(1, at, kind, attempt, step, data)


def step(number: int, loss: float, attempt: int = 1) -> Event:
    return event("step", step=number, attempt=attempt, loss=loss)


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ([], "created"),
        (["created"], "created"),
        (["created", "data"], "running"),
        (["created", "scored", "finished"], "finished"),
        (["created", "failed"], "failed"),
        (["stopped"], "stopped"),
    ],
)
def test_status_follows_the_last_event(kinds: list[str], status: str):
    assert state(event(kind) for kind in kinds).status == status


def losses(*events: Event) -> dict[int, float]:
    return {number: record.data["loss"] for number, record in state(events).records.items()}


def test_start_from_a_checkpoint_forgets_what_came_after_it():
    first = [event("started", steps=9, from_step=0), *(step(number, 1.0) for number in (1, 2, 3, 4))]
    again = event("started", attempt=2, steps=9, from_step=2)
    assert losses(*first, again) == {1: 1.0, 2: 1.0}
    assert losses(*first, again, step(3, 2.0, attempt=2)) == {1: 1.0, 2: 1.0, 3: 2.0}
    assert state([*first, again]).step == 2


def test_start_from_the_beginning_forgets_every_step():
    now = state([step(1, 1.0), event("evaluated", step=1, loss=2.0), event("started", steps=9, from_step=0)])
    assert (now.records, now.evaluations, now.step, now.loss) == ({}, {}, None, None)


def test_divergence_that_returns_forgets_and_one_that_ends_keeps():
    trained = [step(1, 1.0), step(2, 1.0), event("evaluated", step=2, loss=1.0)]
    returned = state([*trained, event("diverged", reason="r", rows=[], return_to=1)])
    assert (list(returned.records), list(returned.evaluations)) == ([1], [])
    assert losses(*trained, event("diverged", reason="r", rows=[], return_to=None)) == {1: 1.0, 2: 1.0}


def test_times_are_of_the_first_event_the_training_and_the_last():
    now = state(
        [event("created", at=1), event("started", at=5, steps=9, from_step=0), event("note", at=8, message="m")]
    )
    assert (now.created_at, now.started_at, now.updated_at, now.steps) == (1, 5, 8, 9)
    assert now.notes == ["m"]


def test_evaluations_and_the_latest_of_each_kind_are_kept():
    now = state([event("evaluated", step=5, loss=2.0), event("saved", path="a"), event("saved", path="b")])
    assert now.evaluations[5].data["loss"] == 2.0
    assert now.latest["saved"]["path"] == "b"
