"""What a run's events tell its controller."""

from __future__ import annotations

from typing import Any

from lorry.compute.control.known import Known
from lorry.track.events import Event


def events(*told: tuple[str, dict[str, Any]]) -> list[Event]:
    """Events of these kinds; `told` and `step` are taken out of their data."""
    return [
        Event(number, 0.0, kind, data.pop("attempt", 1), data.pop("step", None), data, data.pop("told", None))
        for number, (kind, data) in enumerate(told, start=1)
    ]


def lost(outcome: str) -> tuple[str, dict[str, Any]]:
    return "lost", {"lease": "a", "outcome": outcome, "message": "", "action": ""}


def test_nothing_is_known_of_a_run_without_events():
    known = Known.of([])
    assert (known.attempt, known.number, known.step, known.has_ended) == (1, 0, 0, False)
    assert known.sent_after("a") is None


def test_what_came_of_a_machine_counts_from_when_the_run_was_sent_there():
    sent = ("sent", {"lease": "b", "after": 7})
    known = Known.of(events(("note", {"told": 90}), sent, ("step", {"step": 1, "told": 9}), ("note", {})))
    assert known.sent_after("b") == 9
    assert known.sent_after("a") is None


def test_step_ends_what_was_fruitless():
    rented = ("rented", {"lease": "a", "machine": "m", "provider": "p", "usd_per_hour": 0})
    known = Known.of(events(rented, lost("PREEMPTED"), rented, lost("PREEMPTED")))
    assert (known.fruitless, known.losses["PREEMPTED"], known.preempted) == (2, 2, 2)
    known.add(Event(9, 0.0, "step", 3, 5))
    assert (known.fruitless, known.losses["PREEMPTED"], known.preempted) == (0, 0, 2)
    assert (known.step, known.attempt, known.number) == (5, 3, 9)


def test_last_event_says_whether_it_has_ended():
    assert Known.of(events(("finished", {"seconds": 1}))).has_ended
    assert not Known.of(events(("failed", {}), ("rented", {"lease": "b"}))).has_ended


def test_what_evaluations_gave_is_known_of_the_last_attempt_that_came_by():
    evaluations = [("evaluated", {"step": 5, "loss": loss, "kl": 0.5, "seconds": 1.0}) for loss in (2.0, 1.0)]
    assert Known.of(events(*evaluations)).scores == {5: {"loss": 1.0, "kl": 0.5, "seconds": 1.0}}


def test_delivered_step_is_known_however_it_is_written():
    assert Known.of(events(("delivered", {"step": 5, "path": "adapter"}))).delivered == 5


def test_what_a_machine_brought_and_counted_is_known_by_its_lease():
    sent = ("sent", {"lease": "a", "after": 1})
    copied = ("copied", {"step": 5, "path": "checkpoints/step-000005"})
    elsewhere = ("copied", {"path": "checkpoints/step-000005", "to": "s3://b"})
    known = Known.of(
        events(
            sent, ("started", {"steps": 9, "from_step": 0, "attempt": 4}), copied, elsewhere, ("sent", dict(sent[1]))
        )
    )
    assert (known.brought_by("a"), known.steps, known.attempt_before("a")) == ({5}, 9, 1)
    assert (known.brought_by("b"), known.attempt_before("b")) == (set(), 4)
    known.add(Event(9, 0.0, "sent", 4, None, {"lease": "b", "after": 8}))
    assert (known.brought_by("b"), known.steps, known.attempt_before("b")) == (set(), None, 4)


def test_what_the_machine_lacks_is_known_to_whoever_takes_the_run_up():
    faults = [
        {"code": "machine.gpu-missing", "severity": "error"},
        {"code": "machine.slow", "severity": "warning"},
        "?",
    ]
    found = Known.of(events(("sent", {"lease": "a", "after": 1}), ("machine", {"findings": faults})))
    assert found.faults == ("machine.gpu-missing",)
    found.add(events(("sent", {"lease": "b", "after": 3}))[0])
    assert found.faults == (), "another machine"
