"""Memory that runs out: the run goes down the ladder, learns the same, and says what would fit when nothing does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hungry_models import answering_at_most, hungry, train_limited
from lorry.trainer import held_back, launch
from lorry.trainer.methods.sft import SupervisedFineTuning
from lorry.trainer.process import work
from mixture_runs import mixture_recipe
from tiny_runs import begin, chat_rows, cut_back, events_of, recipe, train_here, weights, write_rows

THIRD_RUNG_ONLY = 170_000_000
"""Bytes for a step of the model below: one row at once needs 110 to 140 MB, two need more than 200."""


def hungry_recipe(folder: Path, micro_batch: int, **data: Any) -> dict[str, Any]:
    """Two steps of eight rows, of which each costs about 60 MB of activations."""
    if not (folder / "model").exists():
        hungry(folder / "model")
        write_rows(folder / "rows.jsonl", chat_rows(20))
    train = {"steps": 2, "micro_batch": micro_batch, "accumulation": 8 // micro_batch, "share_prefixes": False}
    values = recipe(folder, train=train, evaluate={"rows": 0, "batch_size": 1})
    values["data"] = {"train": str(folder / "rows.jsonl"), "eval_split": 2, "max_length": 128, **data}
    return values


def difference(one: Path, other: Path) -> float:
    """The largest relative L2 distance of two adapters' tensors."""
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    return max(
        float((first[name] - second[name]).norm() / second[name].norm().clamp_min(1e-12))
        for name in first
        if float(second[name].norm())
    )


def test_limit_that_only_the_third_rung_fits_gives_what_a_run_on_that_rung_gives(tmp_path):
    run = begin(hungry_recipe(tmp_path, 8))
    assert train_limited(run, THIRD_RUNG_ONLY) == 0
    assert [event.data["micro_batch"] for event in events_of(run, "rung")] == [8, 4, 2, 1]
    assert {event.step for event in events_of(run, "oom")} == {0}, "found out before step 1"
    lowest = begin(hungry_recipe(tmp_path, 1))
    assert train_limited(lowest) == 0
    assert difference(run.adapter, lowest.adapter) < 1e-5


def test_row_that_fits_nowhere_ends_the_run_with_the_length_that_does(tmp_path):
    values = hungry_recipe(tmp_path, 8, max_length=256)
    long = {"messages": [{"role": "user", "content": "x " * 80}, {"role": "assistant", "content": "red"}]}
    values["data"]["train"] = str(write_rows(tmp_path / "long.jsonl", [*chat_rows(12), *[long] * 4]))
    run = begin(values)
    assert train_limited(run, THIRD_RUNG_ONLY) == 1
    failed = events_of(run, "failed")[0].data
    assert "even with micro-batches of 1" in failed["error"]
    assert re.search(r"`data\.max_length: \d+`", failed["hint"])
    assert not events_of(run, "step")


@contextmanager
def running_out(monkeypatch: pytest.MonkeyPatch, holds: Callable[[int], bool]) -> Iterator[list[int]]:
    """Within, a micro-batch fails as on CUDA where `holds` of its rows; gives the rows of each that was tried."""
    plain, seen = SupervisedFineTuning.loss, list[int]()

    def loss(self: Any, policy: Any, batch: Any, whole: Any) -> Any:
        rows = int(batch.rows.max()) + 1
        seen.append(rows)
        if holds(rows):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return plain(self, policy, batch, whole)

    monkeypatch.setattr(SupervisedFineTuning, "loss", loss)
    yield seen
    monkeypatch.undo()


TRAIN = {"steps": 8, "micro_batch": 6, "accumulation": 2, "learning_rate": 0.02}


def test_memory_that_runs_out_in_the_middle_of_a_step_repeats_it_one_rung_down(tmp_path, monkeypatch):
    calm = train_here(recipe(tmp_path, train=TRAIN))
    tried: list[int] = []
    with running_out(monkeypatch, lambda rows: rows > 3 and len(tried) > 8) as seen:
        tried = seen
        run = train_here(recipe(tmp_path, train=TRAIN))
    (oom,) = events_of(run, "oom")
    assert (oom.step, oom.data["where"]) == (3, "training"), "in the second micro-batch of step 4"
    assert [event.step for event in events_of(run, "step")] == list(range(1, 9))
    assert difference(run.adapter, calm.adapter) < 1e-4  # six rows as 3 + 3: fp32 rounding over eight steps
    rung = events_of(run, "rung")[-1].data
    assert (rung["micro_batch"], rung["accumulation"]) == (3, 4)


def test_mixture_goes_down_the_ladder_and_learns_the_same(tmp_path, monkeypatch):
    lora, train = {"rank": 4, "experts": True}, {**TRAIN, "steps": 3, "router_aux_loss_coef": 0.5}
    calm = train_here(mixture_recipe(tmp_path, lora=lora, train=train))
    with running_out(monkeypatch, lambda rows: rows > 3):
        run = train_here(mixture_recipe(tmp_path, lora=lora, train=train))
    assert events_of(run, "rung")[-1].data["micro_batch"] == 3
    assert difference(run.adapter, calm.adapter) < 1e-3
    one, other = (events_of(each, "step")[0].data["router_aux_loss"] for each in (run, calm))
    assert one == pytest.approx(other, rel=1e-5)


def test_run_that_went_down_stays_there_when_it_is_continued(tmp_path, monkeypatch):
    settings = {**TRAIN, "save_every": 2, "keep": 50}
    with running_out(monkeypatch, lambda rows: rows > 3):
        run = train_here(recipe(tmp_path, train=settings))
    wanted = weights(run)
    cut_back(run, 4)
    assert work(run.folder.path) == 0
    assert events_of(run, "rung")[-1].data["micro_batch"] == 3
    assert weights(run) == wanted


def test_ladder_ends_with_activations_computed_twice(tmp_path, monkeypatch):
    with running_out(monkeypatch, lambda _rows: True):
        run = train_here(recipe(tmp_path, train=TRAIN))
    last = events_of(run, "rung")[-1].data
    assert (last["micro_batch"], last["activation_checkpointing"]) == (1, True)
    failed = events_of(run, "failed")[0].data
    assert "smaller model" in failed["hint"]


def test_evaluation_that_runs_out_of_memory_goes_on_in_smaller_batches(tmp_path, monkeypatch):
    plain = held_back.row_losses

    def scarce(loaded: Any, examples: Any, indices: Any, size: int, *rest: Any) -> Any:
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(loaded, examples, indices, size, *rest)

    monkeypatch.setattr(held_back, "row_losses", scarce)
    run = train_here(recipe(tmp_path))
    assert {event.data["where"] for event in events_of(run, "oom")} == {"evaluating"}
    assert events_of(run, "rung")[-1].data["eval_batch"] == 2
    assert events_of(run, "finished")


def test_answers_at_an_evaluation_that_run_out_of_memory_are_made_in_smaller_batches(tmp_path, monkeypatch):
    plain = held_back.generate

    def scarce(loaded: Any, tokenizer: Any, prompts: Any, limits: Any, *rest: Any) -> Any:
        if limits.batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(loaded, tokenizer, prompts, limits, *rest)

    monkeypatch.setattr(held_back, "generate", scarce)
    answered = {"metrics": ["exact_match"], "rows_in_training": 4, "batch_size": 8, "max_new_tokens": 2}
    run = train_here(recipe(tmp_path, evaluate=answered))
    assert [event.data["where"] for event in events_of(run, "oom")] == ["generating"] * 2
    assert events_of(run, "rung")[-1].data["generation_batch"] == 2
    assert all("exact_match" in event.data for event in events_of(run, "evaluated"))


def test_answers_of_the_final_scores_that_do_not_fit_at_once_are_made_in_smaller_batches_on_both_sides(tmp_path):
    with answering_at_most(2) as tried:
        run = train_here(recipe(tmp_path, evaluate={"rows": 8, "batch_size": 8, "max_new_tokens": 2}))
    assert tried == [4, 2, 2, 2, 2], "base model, and then the adapter, on the four evaluation rows"
    assert [event.data["where"] for event in events_of(run, "oom")] == ["generating"]
    assert events_of(run, "rung")[-1].data["generation_batch"] == 2
    assert events_of(run, "scored")


CGROUP = Path("/sys/fs/cgroup/memory")


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """A control group of its own with so many bytes of memory; skips where this machine allows none."""
    place = (CGROUP if CGROUP.is_dir() else CGROUP.parent) / f"lorry-test-{os.getpid()}"
    name = "memory.limit_in_bytes" if CGROUP.is_dir() else "memory.max"
    try:
        place.mkdir()
        (place / name).write_text(str(limit))
    except OSError as error:
        if place.is_dir():
            place.rmdir()
        pytest.skip(f"control groups for memory need root and a writable {place.parent}: {error}")
    try:
        yield place
    finally:
        place.rmdir()


def test_trainer_that_the_kernel_kills_for_memory_goes_on_one_rung_down(tmp_path):
    run = begin(hungry_recipe(tmp_path, 8))
    with memory_group(1_150_000_000) as group:
        join = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        words = ["sh", "-c", join, "sh", sys.executable, "-m", "lorry.trainer.agent", str(run.folder.path)]
        assert subprocess.run(words, env=launch.environment(), timeout=300, check=False).returncode == 0
    crashed = events_of(run, "crashed")
    assert crashed
    assert {(event.data["exit_code"], event.data["action"]) for event in crashed} == {(-signal.SIGKILL, "lower")}
    assert events_of(run, "finished")
    assert events_of(run, "rung")[-1].data["micro_batch"] < 8
