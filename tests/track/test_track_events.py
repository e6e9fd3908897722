"""Events: numbering, torn lines, following, hostile text."""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path

import pytest

from lorry.errors import InputError
from lorry.track.events import Event, EventLog, follow, last_attempt, last_number, read, sync
from power_cut import Disk
from run_folders import add_step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "events.jsonl"


def messages(path: Path) -> list[str]:
    return [event.data["message"] for event in read(path)]


def test_events_are_numbered_from_one_and_carry_the_clock(path: Path):
    log = EventLog(path, clock=lambda: 12.5)
    log.append("note", message="a")
    log.append("note", message="b", step=3)
    assert [(event.seq, event.at, event.step) for event in read(path)] == [(1, 12.5, None), (2, 12.5, 3)]


def test_reopened_log_goes_on_counting(path: Path):
    EventLog(path).append("note", message="a")
    assert EventLog(path, attempt=2).append("note", message="b").seq == 2
    assert [event.attempt for event in read(path)] == [1, 2]


def test_torn_last_line_is_not_read_and_is_cut_on_opening(path: Path):
    EventLog(path).append("note", message="whole")
    with path.open("ab") as file:
        file.write(b'{"seq": 2, "at": 1.0, "ki')
    assert messages(path) == ["whole"]
    assert EventLog(path).append("note", message="next").seq == 2
    assert messages(path) == ["whole", "next"]


def test_file_with_nothing_but_a_torn_line_starts_anew(path: Path):
    path.parent.mkdir()
    path.write_bytes(b'{"seq": 1')
    assert EventLog(path).append("note", message="first").seq == 1
    assert messages(path) == ["first"]


def test_unknown_kind_and_missing_field_are_refused(path: Path):
    log = EventLog(path)
    with pytest.raises(ValueError, match="no kind"):
        log.append("dancing")
    with pytest.raises(ValueError, match="lacks"):
        log.append("note")
    assert list(read(path)) == []


def test_hostile_text_comes_back_as_it_was(path: Path):
    hostile = 'a\nb\r\u2028\x00\x1b[31m"\\\ud800é\U0001f600'
    EventLog(path).append("note", message=hostile)
    assert messages(path) == [hostile]
    assert [event.data["message"] for event in follow(path, ended=lambda: True)] == [hostile]


def test_line_that_is_no_event_is_named_with_its_number(path: Path):
    log = EventLog(path)
    log.append("note", message="a")
    with path.open("ab") as file:
        file.write(b"\xff\xfe nonsense\n")
    with pytest.raises(InputError) as caught:
        list(read(path))
    assert caught.value.place == f"{path}:2"


def test_fields_of_a_newer_lorry_are_passed_over(path: Path):
    path.parent.mkdir()
    path.write_text('{"seq": 1, "at": 1.0, "kind": "note", "data": {"message": "m"}, "planet": "Mars"}\n')
    assert messages(path) == ["m"]


def test_read_after_a_number_leaves_out_what_was_seen(path: Path):
    log = EventLog(path)
    for name in "abc":
        log.append("note", message=name)
    assert [event.seq for event in read(path, after=2)] == [3]
    assert [event.seq for event in follow(path, after=1, ended=lambda: True)] == [2, 3]


def test_follow_gives_each_event_once_as_it_is_written(path: Path):
    done = threading.Event()

    def write() -> None:
        log = EventLog(path)
        for number in range(20):
            log.append("note", message=str(number))
            time.sleep(0.002)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = [event.data["message"] for event in follow(path, ended=done.is_set, pause=0.005)]
    writer.join()
    assert seen == [str(number) for number in range(20)]


def test_follow_waits_for_the_rest_of_a_torn_line(path: Path):
    EventLog(path).append("note", message="whole")
    whole = path.read_bytes()
    path.write_bytes(whole + whole.replace(b'"seq": 1', b'"seq": 2')[:20])
    rounds = iter([False, True])
    seen = []
    for event in follow(path, ended=lambda: next(rounds), pause=0.001):
        seen.append(event.seq)
        path.write_bytes(whole + whole.replace(b'"seq": 1', b'"seq": 2'))
    assert seen == [1, 2]


def test_line_that_the_disk_refuses_leaves_nothing_of_itself(tmp_path: Path):
    log = EventLog(tmp_path / "events.jsonl")
    log.append("note", message="short")
    size = (tmp_path / "events.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            log.append("note", message="long" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.append("note", message="again")
    assert [(event.seq, event.data["message"]) for event in read(tmp_path / "events.jsonl")] == [
        (1, "short"),
        (2, "again"),
    ]


def test_event_outlives_a_power_cut_once_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch):
    log, disk = EventLog(path), Disk(monkeypatch)
    log.append("note", message="a")
    assert disk.names == ["events.jsonl", "run"]
    log.append("failed", error="e", hint="", exit_code=1)
    assert disk.flushed[2:] == [("events.jsonl", path.read_bytes())]


def test_frequent_events_wait_for_the_disk_together(path: Path, monkeypatch: pytest.MonkeyPatch):
    log, disk = EventLog(path), Disk(monkeypatch)
    log.append("scoring", part="eval", done=1, total=2)
    add_step(log, 1, loss=1.0)
    assert disk.names == ["run"]
    sync(path)
    assert disk.flushed[1:] == [("events.jsonl", path.read_bytes())]


@pytest.mark.parametrize("earlier", [[], ["before"]])
def test_line_that_the_disk_may_not_have_is_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch, earlier: list[str]):
    log, disk = EventLog(path), Disk(monkeypatch)
    for message in earlier:
        log.append("note", message=message)
    disk.refuses = "events.jsonl"
    with pytest.raises(OSError, match="the disk is broken"):
        log.append("note", message="lost")
    assert messages(path) == earlier
    disk.refuses = ""
    assert log.append("note", message="again").seq == len(earlier) + 1


def test_last_number_and_attempt_are_those_of_the_last_whole_line(path: Path):
    assert (last_number(path), last_attempt(path)) == (0, 1)
    for attempt in (1, 3):
        EventLog(path, attempt=attempt).append("note", message="a")
    with path.open("ab") as file:
        file.write(b'{"seq": 3, "attempt": 4')
    assert (last_number(path), last_attempt(path)) == (2, 3)


def test_several_events_of_a_machine_wait_for_the_disk_once(path: Path, monkeypatch: pytest.MonkeyPatch):
    log, disk = EventLog(path), Disk(monkeypatch)
    log.append("note", message="a")
    found = log.mirror_all([Event(number, 1.0, "note", 2, None, {"message": "m"}) for number in range(7, 507)])
    assert [(event.seq, event.told) for event in found] == list(zip(range(2, 502), range(7, 507), strict=True))
    assert list(read(path, after=1)) == found
    assert disk.flushed[2:] == [("events.jsonl", path.read_bytes())]
    assert log.mirror_all([]) == []


def test_several_events_are_written_all_or_none(path: Path, monkeypatch: pytest.MonkeyPatch):
    log, disk = EventLog(path), Disk(monkeypatch)
    log.append("note", message="a")
    disk.refuses = "events.jsonl"
    with pytest.raises(OSError, match="the disk is broken"):
        log.mirror_all([Event(number, 1.0, "note", 2, None, {"message": "m"}) for number in (7, 8)])
    disk.refuses = ""
    assert messages(path) == ["a"]
    assert log.mirror(Event(7, 1.0, "note", 2, None, {"message": "m"})).seq == 2
