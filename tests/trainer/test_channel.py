from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import Any

import pytest

from lorry.track.events import EventLog, read
from lorry.trainer.channel import ATTEMPT, FD, Direct, Pipe, connect

LARGER_THAN_A_PIPE = 1_000_000


class Listener:
    """The other end of a real pipe, read by a thread as the agent does."""

    def __init__(self, descriptor: int) -> None:
        self.lines: list[bytes] = []
        self._thread = threading.Thread(target=self._hear, args=(descriptor,))
        self._thread.start()

    def _hear(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as lines:
            self.lines += lines

    def heard(self) -> list[dict[str, Any]]:
        """Every line that came until the pipe was closed."""
        self._thread.join(timeout=10)
        return [json.loads(line) for line in self.lines]


@contextmanager
def talking():
    """A reporter and who listens to it; within, the pipe is open."""
    reader, writer = os.pipe()
    listener = Listener(reader)
    try:
        yield Pipe(writer), listener
    finally:
        os.close(writer)
        listener.heard()


def test_event_and_beat_arrive_as_lines():
    with talking() as (pipe, listener):
        pipe.append("saved", step=3, path="step-000003", seconds=0.5)
        pipe.append("note", message="one\ntwo")
        pipe.beat("training", 4)
    assert listener.heard() == [
        {"kind": "saved", "step": 3, "data": {"path": "step-000003", "seconds": 0.5}},
        {"kind": "note", "step": None, "data": {"message": "one\ntwo"}},
        {"beat": ["training", 4]},
    ]


def test_beats_in_short_order_are_left_out_but_for_a_new_phase():
    with talking() as (pipe, listener):
        for step in range(1000):
            pipe.beat("training", step)
        pipe.beat("evaluating", 1000)
        pipe.beat("training", 1000)
    found = [message["beat"] for message in listener.heard()]
    assert [found[0], *found[-2:]] == [["training", 0], ["evaluating", 1000], ["training", 1000]]
    assert len(found) < 100


def test_event_larger_than_the_pipe_arrives_whole():
    with talking() as (pipe, listener):
        pipe.append("note", message="x" * LARGER_THAN_A_PIPE)
        pipe.append("note", message="after")
    assert [len(message["data"]["message"]) for message in listener.heard()] == [LARGER_THAN_A_PIPE, 5]


def test_threads_never_mix_their_lines():
    def speak(pipe: Pipe, name: int) -> None:
        for number in range(200):
            pipe.append("note", step=number, message=str(name) * (1 if number % 50 else 100_000))

    with talking() as (pipe, listener):
        threads = [threading.Thread(target=speak, args=(pipe, name)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [(message["data"]["message"][0], message["step"]) for message in listener.heard()]
    assert [[step for name, step in found if name == str(one)] for one in range(8)] == [list(range(200))] * 8


def test_letters_that_no_encoding_has_arrive():
    text = "日本 \ud800 \x00 😀 \u2028"
    with talking() as (pipe, listener):
        pipe.append("note", message=text)
    assert listener.heard()[0]["data"]["message"] == text


def test_values_that_json_has_no_word_for_arrive_as_well():
    with talking() as (pipe, listener):
        pipe.append("step", loss=math.nan, grad_norm=math.inf, place=os.path)
    data = listener.heard()[0]["data"]
    assert math.isnan(data["loss"])
    assert data["grad_norm"] == math.inf
    assert "module" in data["place"]


def test_pipe_that_nobody_reads_any_more_is_passed_over():
    reader, writer = os.pipe()
    pipe = Pipe(writer)
    os.close(reader)
    for _ in range(3):
        pipe.append("note", message="x" * LARGER_THAN_A_PIPE)
        pipe.beat("training", 1)
    os.close(writer)


def test_pipe_that_breaks_within_an_event_is_passed_over():
    reader, writer = os.pipe()
    thread = threading.Thread(target=Pipe(writer).append, args=("note",), kwargs={"message": "x" * LARGER_THAN_A_PIPE})
    thread.start()
    os.read(reader, 10)
    os.close(reader)
    thread.join(timeout=10)
    assert not thread.is_alive()
    os.close(writer)


def test_nothing_is_told_after_the_end():
    with talking() as (pipe, listener):
        pipe.end("stopped", reason="asked to", cause="person")
        pipe.append("step", loss=1.0)
        pipe.beat("training", 9)
    assert [message["kind"] for message in listener.heard()] == ["stopped"]


def test_what_was_told_outlives_a_process_that_is_killed():
    script = "import os, sys; from lorry.trainer.channel import connect; from pathlib import Path\n"
    script += "connect(Path('unused')).append('note', message='last words'); os.kill(os.getpid(), 9)"
    reader, writer = os.pipe()
    subprocess.run([sys.executable, "-c", script], pass_fds=(writer,), env={**os.environ, FD: str(writer)}, check=False)
    os.close(writer)
    assert [message["data"] for message in Listener(reader).heard()] == [{"message": "last words"}]


def test_trainer_with_an_agent_speaks_to_it_and_its_children_do_not(tmp_path, monkeypatch):
    with talking() as (pipe, listener):
        monkeypatch.setenv(FD, str(pipe._descriptor))
        connect(tmp_path / "events.jsonl").append("note", message="to the agent")
        assert FD not in os.environ
    assert listener.heard()[0]["data"] == {"message": "to the agent"}
    assert not (tmp_path / "events.jsonl").exists()


@pytest.mark.parametrize("number", [None, "", "no number"])
def test_trainer_without_an_agent_writes_the_events_itself(tmp_path, monkeypatch, number):
    monkeypatch.delenv(FD, raising=False)
    if number is not None:
        monkeypatch.setenv(FD, number)
    events = connect(tmp_path / "events.jsonl")
    events.beat("training", 1)
    events.append("note", step=2, message="alone")
    assert [(event.kind, event.step, event.data) for event in read(tmp_path / "events.jsonl")] == [
        ("note", 2, {"message": "alone"})
    ]


@pytest.mark.parametrize(("said", "attempt"), [("7", 7), ("", 3)])
def test_trainer_without_an_agent_goes_on_with_the_attempt(tmp_path, monkeypatch, said, attempt):
    EventLog(tmp_path / "events.jsonl", attempt=3).append("note", message="before")
    monkeypatch.delenv(FD, raising=False)
    monkeypatch.setenv(ATTEMPT, said)
    connect(tmp_path / "events.jsonl").append("note", message="now")
    assert [event.attempt for event in read(tmp_path / "events.jsonl")] == [3, attempt]


def test_nothing_is_written_after_the_end(tmp_path):
    events = Direct(EventLog(tmp_path / "events.jsonl"))
    events.end("note", message="last words")
    events.append("note", message="too late")
    assert [event.data["message"] for event in read(tmp_path / "events.jsonl")] == ["last words"]
