from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lorry.track.events import read
from lorry.trainer.supervise.journal import Journal

KEPT_FREE = 256 * 1024


@contextmanager
def small_disk(folder: Path, size: int = 2**20):
    """A real file system of `size` bytes."""
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk to fill can only be mounted on Linux, by root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("this container may not mount a small disk to fill")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Takes all room that is left, to the last byte."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as file:
        for size in (65_536, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)
    assert shutil.disk_usage(folder).free == 0
    return path


def journal(folder: Path) -> Journal:
    return Journal(folder / "events.jsonl", attempt=1)


def messages(folder: Path) -> list[str]:
    return [event.data["message"] for event in read(folder / "events.jsonl")]


def test_events_are_numbered_lines_of_their_attempt(tmp_path):
    found = Journal(tmp_path / "events.jsonl", attempt=3)
    found.append("note", message="one")
    found.append("note", step=7, message="two")
    events = list(read(tmp_path / "events.jsonl"))
    assert [(event.seq, event.attempt, event.step) for event in events] == [(1, 3, None), (2, 3, 7)]


def test_last_words_are_written_though_the_disk_is_full(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        found = journal(disk)
        found.append("note", message="there is room")
        fill(disk)
        for number in range(300):
            found.append("note", message=f"event {number}")
        assert messages(disk) == ["there is room", *(f"event {number}" for number in range(300))]


def test_what_cannot_be_written_waits_and_comes_in_order(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        found = journal(disk)
        filler = fill(disk)
        found.append("note", message="x" * 2 * KEPT_FREE)
        found.append("note", message="short")
        assert messages(disk) == []
        filler.unlink()
        found.append("note", message="room again")
        assert [message[:10] for message in messages(disk)] == ["xxxxxxxxxx", "short", "room again"]


def test_flush_writes_what_waits_once_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        found = journal(disk)
        filler = fill(disk)
        found.append("note", message="x" * 2 * KEPT_FREE)
        found.flush()
        assert messages(disk) == []
        filler.unlink()
        found.flush()
        found.flush()
        assert len(messages(disk)) == 1


def test_disk_that_is_full_from_the_start_ends_nothing(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        filler = fill(disk)
        found = journal(disk)
        found.append("note", message="waits")
        assert sorted(path.name for path in disk.iterdir()) in (["filler"], ["events.jsonl", "filler"])
        filler.unlink()
        found.close()
        found.flush()
        assert messages(disk) == ["waits"]


def test_full_disk_leaves_no_torn_line(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        found = journal(disk)
        for number in range(100):
            found.append("note", message=f"{number} " + "y" * 20_000)
        whole = (disk / "events.jsonl").read_bytes()
        assert whole.endswith(b"}\n")
        assert [message.split()[0] for message in messages(disk)] == [str(at) for at in range(len(messages(disk)))]
        assert 0 < len(messages(disk)) < 100


def test_kept_room_is_given_back_at_the_end(tmp_path):
    found = journal(tmp_path)
    assert (tmp_path / ".ballast").stat().st_size == KEPT_FREE
    found.close()
    found.close()
    assert not (tmp_path / ".ballast").exists()


def test_kept_room_is_laid_once_and_left_alone(tmp_path):
    found = journal(tmp_path)
    laid = (tmp_path / ".ballast").stat().st_mtime_ns
    found.append("note", message="one")
    found.flush()
    assert (tmp_path / ".ballast").stat().st_mtime_ns == laid


def test_room_is_kept_again_once_there_is_some(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        found = journal(disk)
        for _ in range(2):
            filler = fill(disk)
            found.append("note", message="last words " + "x" * 8192)
            found.flush()
            assert not (disk / ".ballast").exists()
            assert shutil.disk_usage(disk).free > 0
            filler.unlink()
            found.flush()
            assert (disk / ".ballast").stat().st_size == KEPT_FREE
        assert len(messages(disk)) == 2


def test_kept_room_that_cannot_be_given_back_ends_nothing(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        (disk / ".ballast").mkdir()
        found = journal(disk)
        filler = fill(disk)
        found.append("note", message="waits")
        filler.unlink()
        found.close()
        assert messages(disk) == ["waits"]


def test_event_that_is_no_event_is_refused_and_holds_up_no_other(tmp_path):
    found = journal(tmp_path)
    with pytest.raises(ValueError, match="no kind of event"):
        found.append("nonsense", message="?")
    with pytest.raises(ValueError, match="lacks"):
        found.append("note")
    found.append("note", message="goes on")
    assert messages(tmp_path) == ["goes on"]


def test_folder_that_is_gone_loses_nothing_while_the_agent_lives(tmp_path):
    (tmp_path / "run").mkdir()
    found = journal(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    found.append("note", message="waits")
    (tmp_path / "moved").rename(tmp_path / "run")
    found.flush()
    assert messages(tmp_path / "run") == ["waits"]


def test_event_that_waited_tells_when_it_happened(tmp_path):
    (tmp_path / "run").mkdir()
    times = iter([10.0, 20.0])
    found = Journal(tmp_path / "run" / "events.jsonl", attempt=1, clock=lambda: next(times))
    (tmp_path / "run").rename(tmp_path / "moved")
    found.append("note", message="waits")
    found.attempt = 2
    (tmp_path / "moved").rename(tmp_path / "run")
    found.append("note", message="now")
    assert [(event.at, event.attempt) for event in read(tmp_path / "run" / "events.jsonl")] == [(10.0, 1), (20.0, 2)]


def test_threads_never_mix_their_events(tmp_path):
    found = journal(tmp_path)
    threads = [
        threading.Thread(target=lambda name=name: [found.append("note", step=at, message=name) for at in range(50)])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = list(read(tmp_path / "events.jsonl"))
    assert [event.seq for event in events] == list(range(1, 201))
    assert all([event.step for event in events if event.data["message"] == name] == list(range(50)) for name in "abcd")
