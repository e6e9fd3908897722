"""Which events of steps that were trained again survive."""

from __future__ import annotations

import random

from lorry.track.events import Event
from lorry.track.replay import surviving
from lorry.track.state import state


def events(*said: tuple[str, int | None] | tuple[str, int | None, int | None]) -> list[Event]:
    """Events from `(kind, step)`, and `(kind, None, step returned to)`."""
    fields = {"started": "from_step", "diverged": "return_to"}
    made: list[Event] = []
    for seq, (kind, step, *back) in enumerate(said, start=1):
        extra = {fields[kind]: back[0]} if back else {}
        made.append(Event(seq, float(seq), kind, 1, step, {"loss": float(seq), "steps": 9, "message": "", **extra}))
    return made


def seqs(kept: list[Event]) -> list[int]:
    return [event.seq for event in kept]


def test_nothing_is_dropped_where_nothing_was_trained_again():
    said = events(("created", None), ("started", None, 0), ("step", 1), ("evaluated", 1), ("saved", 1), ("step", 2))
    assert surviving(said) == said


def test_start_from_a_checkpoint_drops_the_steps_after_it():
    said = events(("step", 1), ("step", 2), ("evaluated", 2), ("saved", 2), ("started", None, 1), ("step", 2))
    assert seqs(surviving(said)) == [1, 5, 6]


def test_divergence_drops_only_where_it_returns():
    assert seqs(surviving(events(("step", 1), ("step", 2), ("diverged", None, 1)))) == [1, 3]
    assert seqs(surviving(events(("step", 1), ("step", 2), ("diverged", None, None)))) == [1, 2, 3]


def test_step_told_twice_is_kept_once_the_last():
    assert seqs(surviving(events(("step", 1), ("step", 2), ("step", 1), ("evaluated", 1)))) == [2, 3, 4]


def test_other_events_of_dropped_steps_stay():
    assert seqs(surviving(events(("warning", 2), ("step", 2), ("started", None, 0)))) == [1, 3]


def test_start_that_does_not_say_from_where_takes_nothing_back():
    assert seqs(surviving(events(("step", 1), ("started", None)))) == [1, 2]


def test_survivors_lead_to_the_same_state_as_everything():
    draw = random.Random(0)
    for _ in range(200):
        kinds = draw.choices(["step", "evaluated", "started", "diverged"], weights=[8, 3, 1, 1], k=30)
        backs = ("started", "diverged")
        said = events(
            *((kind, None, draw.randint(0, 6)) if kind in backs else (kind, draw.randint(1, 6)) for kind in kinds)
        )
        whole, kept = state(said), state(surviving(said))
        assert (whole.records, whole.evaluations) == (kept.records, kept.evaluations)
        assert surviving(surviving(said)) == surviving(said)
