from __future__ import annotations

from lorry.report.incidents import _TOLD, incidents
from lorry.report.sources import Sources
from lorry.track.events import KINDS, Event
from lorry.track.state import INCIDENTS, state


def told(*events: tuple[str, int | None, dict]) -> list[str]:
    made = [Event(number, 0.0, kind, 1, step, data) for number, (kind, step, data) in enumerate(events, 1)]
    return incidents(Sources("run", state(made)))


def test_every_kind_of_incident_has_words():
    assert set(_TOLD) == INCIDENTS
    assert set(KINDS) >= INCIDENTS


def test_incidents_stand_in_the_order_in_which_they_happened():
    found = told(
        ("oom", 3, {"where": "training", "error": "x"}),
        ("crashed", 7, {"exit_code": -9, "error": "the process that trained was killed", "action": "restart"}),
        ("rejected", None, {"path": "/a/damaged-step-000004", "reason": "rng.safetensors is damaged or missing"}),
    )
    assert found == [
        "after step 3: memory ran out while training",
        "after step 7: the process that trained was killed; the trainer was started again",
        "the checkpoint damaged-step-000004 was passed over: rng.safetensors is damaged or missing",
    ]


def test_rows_that_diverged_are_named_up_to_five():
    rows = [f"rows.jsonl:{number}" for number in range(1, 9)]
    (found,) = told(("diverged", 9, {"reason": "the loss is not a number at step 9", "rows": rows, "return_to": 8}))
    assert "rows.jsonl:5 and 3 more" in found
    assert "from step 8 on again" in found


def test_run_that_failed_and_then_finished_has_no_error_any_more():
    failed = Event(1, 0.0, "failed", 1, None, {"error": "e", "hint": "h", "exit_code": 1})
    started = Event(2, 1.0, "started", 2, None, {"steps": 5, "from_step": 3})
    now = state([failed, started])
    assert "failed" not in now.latest
    assert [event.kind for event in now.incidents] == ["failed"]
