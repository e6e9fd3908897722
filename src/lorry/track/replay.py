"""Steps that were trained again after a loss: which records of them still count."""

from __future__ import annotations

from collections.abc import Iterable

from lorry.track.events import Event

_OF_STEPS = ("step", "evaluated", "saved")


def surviving(events: Iterable[Event]) -> list[Event]:
    """The events without what was said of steps that were trained again; of each step the last record, in order."""
    kept: dict[int, Event] = {}
    of_steps: dict[tuple[str, int], int] = {}
    for number, event in enumerate(events):
        back_to = returns_to(event)
        if back_to is not None:
            for key in [key for key in of_steps if key[1] > back_to]:
                del kept[of_steps.pop(key)]
        if event.kind in _OF_STEPS and event.step is not None:
            before = of_steps.pop((event.kind, event.step), None)
            if before is not None:
                del kept[before]
            of_steps[event.kind, event.step] = number
        kept[number] = event
    return list(kept.values())


def returns_to(event: Event) -> int | None:
    """The step after which everything is trained again from this event on; None where nothing is taken back."""
    step = {"started": event.data.get("from_step"), "diverged": event.data.get("return_to")}.get(event.kind)
    return step if isinstance(step, int) else None
