from __future__ import annotations

import csv
import json
import os
import threading
import time
from typing import Any

import pytest

from expectations import expected
from lorry.plan.ranges import Range
from lorry.recipe.schema import Recipe
from lorry.track.folder import RunFolder, write_json
from lorry.trainer.supervise.oom_kills import MemoryWatch
from lorry.trainer.supervise.vitals import GPU_EVERY, HEARTBEAT, Vitals

MINUTE = 60.0


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Facts:
    """Events in memory."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int | None, dict[str, Any]]] = []
        self.flushed = 0

    def append(self, kind: str, *, step: int | None = None, **data: Any) -> None:
        self.told.append((kind, step, data))

    def flush(self) -> None:
        self.flushed += 1


class Watched(Vitals):
    """The vitals of a run whose trainer is this process, beside their clock and their events."""

    def __init__(self, path, **train: Any) -> None:
        path.mkdir(exist_ok=True)
        settings = {"model": {"id": "org/tiny"}, "data": {"train": "rows.jsonl"}, "train": train}
        self.clock, self.facts, self.folder = Clock(), Facts(), RunFolder(path)
        super().__init__(self.folder, Recipe.model_validate(settings), self.facts, self.clock)
        self.begin(os.getpid())

    def pass_time(self, seconds: float, *, every: float = 1.0) -> float | None:
        """Ticks until the trainer is found to stand still; after how many seconds that was, None where it never was."""
        for number in range(1, int(seconds / every) + 1):
            self.clock.now += every
            if self.tick():
                return number * every
        return None

    def told(self, kind: str) -> list[dict[str, Any]]:
        """What the events of a kind say."""
        return [data for told, _, data in self.facts.told if told == kind]

    def heartbeat(self) -> dict[str, Any]:
        return json.loads(self.folder.heartbeat.read_text())


@pytest.fixture(autouse=True)
def no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def training(path, **train: Any) -> Watched:
    """A run whose training has begun."""
    found = Watched(path / "run", **train)
    found.saw("started", None, {"from_step": 0, "steps": 100})
    return found


def put_gpu(path, *, busy: int) -> None:
    program = path / "bin" / "nvidia-smi"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '0, {busy}, 100, 1000, 50, 100, 1500, 0x0000000000000000, 0'\n")
    program.chmod(0o755)


def step(found: Watched, number: int, *, speed: float = 1000.0) -> None:
    found.saw("step", number, {"tokens_per_second": speed})


def test_trainer_that_stands_still_is_found_after_its_minutes(tmp_path):
    found = training(tmp_path, stall_minutes=2)
    assert found.pass_time(600) == 2 * MINUTE
    assert found.stalled
    assert ("stalled", 0, {"seconds": 120.0, "phase": "training"}) in found.facts.told


def test_trainer_is_found_to_stand_still_but_once(tmp_path):
    found = training(tmp_path, stall_minutes=1)
    assert found.pass_time(100)
    assert found.pass_time(200) is None


@pytest.mark.parametrize("sign", ["beat", "step"])
def test_every_sign_of_life_begins_the_count_anew(tmp_path, sign):
    found = training(tmp_path, stall_minutes=1)
    for number in range(1, 5):
        assert found.pass_time(50) is None
        found.moved("training", number) if sign == "beat" else step(found, number)
    assert found.pass_time(100) == MINUTE


@pytest.mark.parametrize("phase", ["loading", "scoring", "delivering"])
def test_other_phases_may_take_longer(tmp_path, phase):
    found = training(tmp_path, stall_minutes=2)
    found.moved(phase, 9)
    assert found.pass_time(3 * 3600) == 30 * MINUTE


def test_evaluation_may_take_no_longer_than_training(tmp_path):
    found = training(tmp_path, stall_minutes=2)
    found.moved("evaluating", 9)
    assert found.pass_time(3600) == 2 * MINUTE


def test_patience_of_the_recipe_counts_in_all_phases_where_it_is_longer(tmp_path):
    found = Watched(tmp_path / "run", stall_minutes=90)
    assert found.pass_time(3 * 3600, every=10) == 90 * MINUTE


@pytest.mark.parametrize("kind", ["finished", "failed", "stopped"])
def test_trainer_that_has_said_its_end_stands_still_no_more(tmp_path, kind):
    found = training(tmp_path, stall_minutes=1)
    found.saw(kind, None, {})
    assert found.said_end
    assert found.pass_time(200) is None


def test_next_trainer_is_watched_anew(tmp_path):
    found = training(tmp_path, stall_minutes=1)
    step(found, 7)
    assert found.pass_time(100)
    found.begin(os.getpid())
    assert (found.phase, found.stalled, found.said_end, found.step) == ("loading", False, "", 7)
    found.saw("started", None, {"from_step": 5, "steps": 100})
    assert found.step == 5
    assert found.pass_time(100) == MINUTE


def test_time_in_which_the_agent_itself_stood_still_does_not_count(tmp_path):
    found = training(tmp_path, stall_minutes=2)
    assert found.pass_time(30) is None
    found.clock.now += 8 * 3600  # a paused container
    assert found.tick() is False
    assert found.pass_time(600) == 90


def test_kill_for_memory_counts_over_some_heartbeats_and_not_over_hours(tmp_path):
    found, counter = training(tmp_path), tmp_path / "proc/vmstat"
    counter.parent.mkdir()
    counter.write_text("oom_kill 3\n")
    found._memory = MemoryWatch(os.getpid(), tmp_path)
    counter.write_text("oom_kill 4\n")
    found.pass_time(4 * HEARTBEAT)
    assert found.memory_ran_out()
    found.pass_time(4 * HEARTBEAT)
    assert not found.memory_ran_out()


def test_heartbeat_tells_what_runs_and_where_it_is(tmp_path):
    found = training(tmp_path)
    step(found, 4)
    found.pass_time(HEARTBEAT)
    beat = found.heartbeat()
    assert abs(beat.pop("at") - time.time()) < 60
    assert beat.pop("seconds") == HEARTBEAT
    assert beat == {"agent": os.getpid(), "trainer": os.getpid(), "attempt": 1, "step": 4, "phase": "training"}


def test_heart_beats_every_few_seconds_and_writes_what_waits(tmp_path):
    found = training(tmp_path)
    found.folder.heartbeat.unlink()
    found.pass_time(HEARTBEAT - 1)
    assert (found.folder.heartbeat.exists(), found.facts.flushed) == (False, 0)
    found.pass_time(1 + 10 * HEARTBEAT)
    assert (found.folder.heartbeat.exists(), found.facts.flushed) == (True, 11)


def test_last_heartbeat_names_no_trainer(tmp_path):
    found = training(tmp_path)
    found.close()
    assert (found.heartbeat()["trainer"], found.heartbeat()["phase"]) == (0, "ended")
    assert [path.name for path in found.folder.path.iterdir()] == ["heartbeat.json"]


def test_heartbeat_that_cannot_be_written_ends_nothing(tmp_path):
    found = training(tmp_path)
    found.folder.heartbeat.unlink()
    found.folder.heartbeat.mkdir()
    assert found.pass_time(20) is None
    assert [path.name for path in found.folder.path.iterdir()] == ["heartbeat.json"]


def test_gpu_is_recorded_each_minute(tmp_path):
    put_gpu(tmp_path, busy=95)
    found = training(tmp_path, stall_minutes=60)
    found.pass_time(3 * GPU_EVERY)
    rows = list(csv.DictReader(found.folder.gpu.read_text().splitlines()))
    assert [row["utilisation"] for row in rows] == ["95.0"] * 3
    assert found.told("slow") == []


def test_gpu_that_idles_in_training_is_told_once_in_a_while(tmp_path):
    put_gpu(tmp_path, busy=5)
    found = training(tmp_path, stall_minutes=600)
    found.pass_time(7 * GPU_EVERY, every=20)
    assert [data["message"] for data in found.told("slow")] == ["the GPU idles: 5 % busy"]
    found._warned -= 30 * MINUTE
    found.pass_time(GPU_EVERY, every=20)
    assert len(found.told("slow")) == 2


@pytest.mark.parametrize("phase", ["loading", "evaluating", "scoring"])
def test_gpu_that_idles_in_other_phases_is_no_slow_training(tmp_path, phase):
    put_gpu(tmp_path, busy=5)
    found = training(tmp_path, stall_minutes=600)
    found.moved(phase, 0)
    found.pass_time(8 * GPU_EVERY, every=20)
    found.moved("training", 0)
    found.pass_time(4 * GPU_EVERY, every=20)
    assert found.told("slow") == []


def test_gpu_of_an_earlier_attempt_says_nothing_of_this_one(tmp_path):
    put_gpu(tmp_path, busy=5)
    found = training(tmp_path, stall_minutes=600)
    found.pass_time(4 * GPU_EVERY, every=20)
    found.begin(os.getpid())
    found.saw("started", None, {"from_step": 0, "steps": 100})
    found.pass_time(4 * GPU_EVERY, every=20)
    assert found.told("slow") == []


def test_run_that_is_slower_than_planned_is_told(tmp_path):
    found = training(tmp_path)
    write_json(found.folder.plan, {"expected": expected({"training": Range(100, 500, 1000)}).as_json()})
    for number in range(1, 6):
        step(found, number, speed=300.0)
    found.pass_time(GPU_EVERY)
    assert found.told("slow")[0]["message"] == "300 tokens/s, where 1,000 were expected"


@pytest.mark.parametrize("plan", ["", "{", "[]", "null", '{"expected": "much"}', "{}", "\xff"])
def test_plan_that_expects_nothing_is_no_reason_to_warn(tmp_path, plan):
    found = training(tmp_path)
    found.folder.plan.write_text(plan, encoding="latin-1")
    for number in range(1, 6):
        step(found, number, speed=1e-3)
    found.pass_time(GPU_EVERY)
    assert found.told("slow") == []


def test_load_of_the_trainers_busiest_thread_is_seen(tmp_path):
    found = training(tmp_path)
    ended = threading.Event()
    thread = threading.Thread(target=lambda: [None for _ in iter(ended.is_set, True)])
    thread.start()
    seen = found._seen()
    ended.set()
    thread.join()
    assert 0.2 < seen.trainer_cpu < 2
    assert seen.other_cpu < seen.machine_cpu


def test_trainer_that_is_gone_is_looked_at_without_harm(tmp_path):
    found = training(tmp_path)
    found.begin(2**22 + 1)
    assert found._seen().trainer_cpu == 0.0
