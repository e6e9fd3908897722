"""Delivery to one receiver, through failures, hangs and restarts, with receivers that are small real objects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Signal
from typing import ClassVar

import pytest

from lorry.track.delivery import Delivery, Pace, Target
from lorry.track.events import Event, EventLog
from lorry.track.folder import RunFolder
from lorry.track.sinks._base import Memory, RunFacts, Session
from power_cut import Disk
from run_folders import add_step, begun

QUICK = Pace(look=0.01, retries=(0, 0, 0), rest=0.01, save=0)


@dataclass
class Receiver:
    """Notes what it is told; `fails` says which calls raise."""

    fails: Callable[[int], bool] = lambda _call: False
    told: list[int] = field(default_factory=list[int])
    calls: int = 0
    opened: int = 0
    closes: bool = True

    def target(self, name: str = "receiver") -> Target:
        def open_(_run: RunFacts, memory: Memory) -> Session:
            self.opened += 1
            memory["opened"] = memory.get("opened", 0) + 1
            return Noting(self)

        return Target(name, open_)

    @property
    def steps(self) -> int:
        return len(self.told)


class Noting(Session):
    confirms_on_close: ClassVar[bool] = True

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def take(self, event: Event) -> None:
        self.receiver.calls += 1
        if self.receiver.fails(self.receiver.calls):
            raise ConnectionError("no route\nto host")
        self.receiver.told.append(event.seq)

    def close(self) -> None:
        if not self.receiver.closes:
            raise TimeoutError("still sending")


def deliver(folder: Path, receiver: Receiver, *, live: bool = False) -> Delivery:
    ended = Signal()
    if not live:
        ended.set()
    facts = RunFacts(folder.name, folder, {})
    delivery = Delivery(receiver.target(), facts, ended, QUICK)
    delivery.start()
    if live:
        delivery.join(0.3)
        ended.set()
    delivery.join(10)
    assert not delivery.is_alive()
    return delivery


def written(folder: Path) -> dict[str, object]:
    return json.loads((RunFolder(folder).track / "receiver.json").read_text("utf-8"))


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return begun(tmp_path, recorded=3)


def test_everything_is_told_once_and_written_down(log: EventLog, tmp_path: Path):
    receiver = Receiver()
    deliver(tmp_path, receiver)
    assert receiver.told == [1, 2, 3, 4, 5, 6, 7]
    assert written(tmp_path) == {"delivered": 7, "memory": {"opened": 1}, "error": ""}


def test_second_relay_goes_on_where_the_first_stopped(log: EventLog, tmp_path: Path):
    receiver = Receiver()
    deliver(tmp_path, receiver)
    add_step(log, 4, loss=1.0)
    deliver(tmp_path, receiver)
    assert receiver.told == [1, 2, 3, 4, 5, 6, 7, 8]
    assert written(tmp_path)["memory"] == {"opened": 2}


def test_with_nothing_to_tell_nothing_is_opened(log: EventLog, tmp_path: Path):
    receiver = Receiver()
    for _ in range(2):
        deliver(tmp_path, receiver)
    assert receiver.opened == 1


def test_failure_is_tried_again_with_a_new_session(log: EventLog, tmp_path: Path):
    receiver = Receiver(fails=lambda call: call in (3, 4, 5))
    deliver(tmp_path, receiver)
    assert (receiver.told, receiver.opened) == ([1, 2, 3, 4, 5, 6, 7], 4)
    assert written(tmp_path)["error"] == ""


def test_what_cannot_be_told_stays_with_its_place_and_reason(log: EventLog, tmp_path: Path):
    receiver = Receiver(fails=lambda call: call > 2)
    deliver(tmp_path, receiver)
    assert receiver.calls == 6
    assert written(tmp_path) == {"delivered": 2, "memory": {"opened": 4}, "error": "ConnectionError: no route"}
    receiver.fails = lambda _call: False
    deliver(tmp_path, receiver)
    assert receiver.told == [1, 2, 3, 4, 5, 6, 7]
    assert written(tmp_path)["error"] == ""


def test_resting_receiver_is_tried_again_while_the_run_goes_on(log: EventLog, tmp_path: Path):
    receiver = Receiver(fails=lambda call: call < 10)
    deliver(tmp_path, receiver, live=True)
    assert receiver.told == [1, 2, 3, 4, 5, 6, 7]


def test_steps_that_were_trained_again_are_not_told_when_catching_up(log: EventLog, tmp_path: Path):
    log.append("started", steps=40, from_step=1)
    add_step(log, 2, loss=1.0)
    receiver = Receiver()
    deliver(tmp_path, receiver)
    assert receiver.told == [1, 2, 3, 4, 5, 8, 9]


def test_session_that_cannot_be_closed_has_confirmed_nothing(log: EventLog, tmp_path: Path):
    receiver = Receiver(closes=False)
    deliver(tmp_path, receiver)
    assert (written(tmp_path)["delivered"], written(tmp_path)["error"]) == (0, "TimeoutError: still sending")
    receiver.closes = True
    deliver(tmp_path, receiver)
    assert receiver.told == [1, 2, 3, 4, 5, 6, 7] * 2
    assert written(tmp_path)["delivered"] == 7


def test_open_session_that_confirms_on_close_has_confirmed_nothing_yet(log: EventLog, tmp_path: Path):
    receiver, ended = Receiver(), Signal()
    delivery = Delivery(receiver.target(), RunFacts(tmp_path.name, tmp_path, {}), ended, QUICK)
    delivery.start()
    delivery.join(0.3)
    assert (receiver.told, written(tmp_path)["delivered"]) == ([1, 2, 3, 4, 5, 6, 7], 0)
    ended.set()
    delivery.join(10)
    assert written(tmp_path)["delivered"] == 7


def test_session_that_breaks_and_cannot_be_closed_is_told_everything_again(log: EventLog, tmp_path: Path):
    receiver = Receiver(fails=lambda call: call == 4, closes=False)
    delivery = deliver(tmp_path, receiver)
    assert receiver.told == [1, 2, 3]
    assert delivery.position.delivered == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"delivered": null}', '{"delivered": 3}'])
def test_damaged_position_begins_anew(log: EventLog, tmp_path: Path, content: str):
    RunFolder(tmp_path).track.mkdir()
    (RunFolder(tmp_path).track / "receiver.json").write_text(content)
    receiver = Receiver()
    deliver(tmp_path, receiver)
    assert receiver.told == [1, 2, 3, 4, 5, 6, 7]


def test_position_that_cannot_be_written_ends_no_delivery(log: EventLog, tmp_path: Path):
    in_the_way = RunFolder(tmp_path).track / "receiver.json"
    in_the_way.mkdir(parents=True)
    receiver, ended = Receiver(), Signal()
    delivery = Delivery(receiver.target(), RunFacts(tmp_path.name, tmp_path, {}), ended, QUICK)
    delivery.start()
    end = time.monotonic() + 10
    while "IsADirectoryError" not in delivery.position.error:
        assert time.monotonic() < end, "the trouble was never noted"
        time.sleep(0.02)
    in_the_way.rmdir()
    ended.set()
    delivery.join(10)
    assert set(receiver.told) == {1, 2, 3, 4, 5, 6, 7}
    assert written(tmp_path) == {"delivered": 7, "memory": {"opened": receiver.opened}, "error": ""}


def test_damaged_events_are_said_and_raise_nothing(log: EventLog, tmp_path: Path):
    with RunFolder(tmp_path).events.open("ab") as file:
        file.write(b"no event\n")
    receiver = Receiver()
    deliver(tmp_path, receiver)
    assert "this line is not an event" in str(written(tmp_path)["error"])


def test_position_is_never_ahead_of_what_a_power_cut_leaves_of_the_log(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk, kept = Disk(monkeypatch), 0
    deliver(tmp_path, Receiver())
    for name, content in disk.flushed:
        if name == "events.jsonl":
            kept = content.count(b"\n")
        else:
            assert json.loads(content)["delivered"] <= kept
    assert kept == written(tmp_path)["delivered"] == 7


def test_log_that_the_disk_does_not_take_holds_the_position_back(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk = Disk(monkeypatch)
    disk.refuses = "events.jsonl"
    deliver(tmp_path, Receiver())
    assert (written(tmp_path)["delivered"], written(tmp_path)["error"]) == (0, "OSError: [Errno 5] the disk is broken")
    disk.refuses = ""
    deliver(tmp_path, Receiver())
    assert written(tmp_path) == {"delivered": 7, "memory": {"opened": 2}, "error": ""}


def test_log_that_lost_its_end_goes_on_being_told(log: EventLog, tmp_path: Path):
    receiver = Receiver()
    deliver(tmp_path, receiver)
    events = RunFolder(tmp_path).events
    events.write_bytes(b"".join(events.read_bytes().splitlines(keepends=True)[:5]))
    deliver(tmp_path, receiver)
    assert written(tmp_path)["delivered"] == 5
    add_step(EventLog(events), 2, loss=1.0)
    deliver(tmp_path, receiver)
    assert receiver.told[7:] == [6]
