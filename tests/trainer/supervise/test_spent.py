from __future__ import annotations

import json

import pytest

from lorry.track.events import Event
from lorry.track.folder import RunFolder
from lorry.trainer.supervise.spent import seconds_spent

HISTORY = [
    Event(1, 1000.0, "created"),
    Event(2, 1010.0, "loaded"),
    Event(3, 1040.0, "step"),
    Event(4, 9000.0, "note", attempt=1),
    Event(5, 9100.0, "loaded", attempt=2),
    Event(6, 9105.0, "failed", attempt=2),
    Event(7, 9125.0, "step", attempt=2),
]


def with_heartbeat(folder, text: str) -> RunFolder:
    (folder / "heartbeat.json").write_text(text)
    return RunFolder(folder)


def test_heartbeat_tells_what_the_run_has_taken_whatever_the_clock_of_events_says(tmp_path):
    assert seconds_spent(with_heartbeat(tmp_path, json.dumps({"seconds": 77.5})), HISTORY) == 77.5


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"seconds": null}', '{"seconds": "long"}', '{"seconds": NaN}', '{"seconds": -1}']
)
def test_damaged_heartbeat_leaves_the_times_of_events_in_which_a_trainer_worked(tmp_path, text):
    assert seconds_spent(with_heartbeat(tmp_path, text), HISTORY) == 30 + 25


def test_new_run_has_taken_nothing(tmp_path):
    assert seconds_spent(RunFolder(tmp_path), [Event(1, 5.0, "created")]) == 0
