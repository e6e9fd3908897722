"""Reasons to end, and returns, in whole tiny runs."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from lorry.trainer import offenders, row_loss
from lorry.trainer.checkpoint import steps
from lorry.trainer.methods._base import Share
from lorry.trainer.methods.sft import SupervisedFineTuning
from lorry.trainer.process import work
from model_folders import VOCABULARY
from tiny_runs import chat_rows, cut_back, events_of, recipe, train_here, weights, write_rows

POISON = "poisonous words"


def poisoned(folder: Any, **train: Any) -> dict[str, Any]:
    """Rows of which one makes the loss what `spoil` says."""
    values = recipe(folder, train={"steps": 24, "micro_batch": 2, "save_every": 2, "keep": 50, **train})
    rows = chat_rows(24)
    rows[20]["messages"][1]["content"] = POISON
    values["data"] = {"train": str(write_rows(folder / "poisoned.jsonl", rows)), "eval_split": 0, "max_length": 128}
    return values


def times(share: Share, factor: float) -> Share:
    return replace(share, loss=share.loss * factor)


def spoil(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Multiplies the loss of micro-batches that hold the poisoned row; its own loss, seen alone, too."""
    plain = SupervisedFineTuning.loss
    marker = [VOCABULARY.index(letter) for letter in "oisonous"]  # its p may be shared with `pink`

    def is_bad(ids: Any) -> bool:
        given = list(ids)
        return any(given[at : at + len(marker)] == marker for at in range(len(given)))

    def loss(self: Any, policy: Any, batch: Any, whole: Any) -> Share:
        return times(plain(self, policy, batch, whole), factor if is_bad(batch.ids) else 1)

    def losses(loaded: Any, examples: Any, indices: Any, size: int) -> Any:
        found = row_loss.row_losses(loaded, examples, indices, size)
        return [
            row_loss.RowLoss(row.index, row.loss_sum * (factor if is_bad(examples[row.index].ids) else 1), row.tokens)
            for row in found
        ]

    monkeypatch.setattr(SupervisedFineTuning, "loss", loss)
    monkeypatch.setattr(offenders, "row_losses", losses)


def test_row_that_makes_the_loss_nan_is_named_and_left_out_after_one_return(tmp_path, monkeypatch):
    spoil(monkeypatch, float("nan"))
    run = train_here(poisoned(tmp_path))
    (diverged,) = events_of(run, "diverged")
    assert diverged.data["rows"] == [f"{tmp_path / 'poisoned.jsonl'}:21"]
    assert diverged.data["return_to"] == max(step for step in range(0, diverged.step, 2))
    assert events_of(run, "finished")
    assert all(weight.isfinite().all() for weight in _adapter(run).values())


def _adapter(run: Any) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run.adapter / "adapter_model.safetensors")


def test_loss_far_above_its_median_counts_and_zero_switches_that_off(tmp_path, monkeypatch):
    spoil(monkeypatch, 50)
    order = [train_here(poisoned(tmp_path, diverge_at=multiple, seed=3)) for multiple in (10.0, 0.0)]
    assert [len(events_of(run, "diverged")) for run in order] == [1, 0]


def test_second_divergence_ends_the_run_with_a_hint(tmp_path, monkeypatch):
    plain, calls = SupervisedFineTuning.loss, list[None]()

    def loss(self: Any, *given: Any) -> Share:
        calls.append(None)
        return times(plain(self, *given), float("nan") if len(calls) > 12 else 1)

    monkeypatch.setattr(SupervisedFineTuning, "loss", loss)
    run = train_here(recipe(tmp_path, train={"steps": 20, "save_every": 2}))
    failed = events_of(run, "failed")[0].data
    assert "not a number" in failed["error"]
    assert "learning_rate" in failed["hint"]
    assert [event.data["return_to"] is None for event in events_of(run, "diverged")] == [False, True]


def test_run_killed_after_a_return_leaves_the_same_rows_out_again(tmp_path, monkeypatch):
    spoil(monkeypatch, float("nan"))
    run = train_here(poisoned(tmp_path))
    wanted, diverged = weights(run), events_of(run, "diverged")[0]
    cut_back(run, diverged.data["return_to"])
    assert work(run.folder.path) == 0
    assert len(events_of(run, "diverged")) == 1
    assert weights(run) == wanted


def test_evaluations_that_get_no_better_end_training_early_and_the_best_is_delivered(tmp_path):
    settings = {"steps": 100, "eval_every": 1, "learning_rate": 0.3, "schedule": "constant"}
    run = train_here(recipe(tmp_path, train={**settings, "early_stop": {"patience": 3}}))
    stopped, losses = events_of(run, "early_stop")[0], {e.step: e.data["loss"] for e in events_of(run, "evaluated")}
    best = min(losses, key=lambda step: losses[step])
    assert stopped.step == best + 3
    assert events_of(run, "trained")[0].step == stopped.step
    assert events_of(run, "delivered")[0].step == best


def test_metric_is_watched_by_its_own_direction(tmp_path):
    values = recipe(
        tmp_path,
        train={"steps": 12, "eval_every": 1, "early_stop": {"metric": "exact_match", "patience": 2}},
        evaluate={"rows": 4, "max_new_tokens": 2, "metrics": ["exact_match"]},
    )
    run = train_here(values)
    assert all(0 <= event.data["exact_match"] <= 1 for event in events_of(run, "evaluated"))
    assert events_of(run, "early_stop")[0].step == 3  # an untrained model matches nothing, again and again


def test_metric_that_is_not_scored_is_refused(tmp_path):
    run = train_here(recipe(tmp_path, train={"early_stop": {"metric": "exact_match"}}))
    failed = events_of(run, "failed")[0].data
    assert "exact_match" in failed["error"]
    assert failed["exit_code"] == 2


def test_limit_says_what_going_on_would_cost_and_warns_before(tmp_path):
    budget = {"usd": 1.0, "price_per_hour": 3600.0}
    values = recipe(tmp_path, train={"steps": 100_000, "eval_every": 100_000, "log_every": 1000}, budget=budget)
    run = train_here(values)
    told = events_of(run, "limit")[0].data["message"]
    assert "1 US dollars is spent" in told
    assert "other 9" in told
    assert "US dollars" in told.partition(";")[2]
    assert events_of(run, "delivered")
    assert sorted(steps(run.folder.checkpoints))[-1] == events_of(run, "trained")[0].step


def test_eighty_per_cent_of_a_budget_are_told_once(tmp_path):
    budget = {"hours": 3 / 3600}
    run = train_here(
        recipe(tmp_path, train={"steps": 100_000, "eval_every": 100_000, "log_every": 1000}, budget=budget)
    )
    (told,) = events_of(run, "budget")
    assert 0.8 <= told.data["share"] < 1.2
    assert events_of(run, "limit")


def test_time_of_earlier_attempts_counts_against_the_budget(tmp_path, monkeypatch):
    run = train_here(recipe(tmp_path, train={"steps": 8, "save_every": 2, "keep": 50}))
    cut_back(run, 4)
    facts = json.loads(run.folder.resolved.read_text())
    facts["recipe"]["budget"]["hours"] = 10
    run.folder.resolved.write_text(json.dumps(facts))
    monkeypatch.setenv("LORRY_BEGAN", str(time.monotonic() - 11 * 3600))
    assert work(run.folder.path) == 0
    assert events_of(run, "trained")[-1].step == 4
    assert events_of(run, "limit")


def test_checkpoints_are_saved_by_the_clock_too(tmp_path):
    run = train_here(recipe(tmp_path, train={"steps": 6, "eval_every": 6, "save_minutes": 1e-6}))
    assert [event.step for event in events_of(run, "saved")] == [1, 2, 3, 4, 5, 6]


def test_every_save_tells_how_long_training_stood_still(tmp_path):
    run = train_here(recipe(tmp_path))
    assert all(0 <= event.data["pause"] <= event.data["seconds"] for event in events_of(run, "saved"))


def test_damaged_best_checkpoint_is_named_and_the_next_best_delivered(tmp_path):
    settings = {"steps": 6, "eval_every": 2, "learning_rate": 0.3, "schedule": "constant", "keep": 50}
    run = train_here(recipe(tmp_path, train=settings))
    losses = {event.step: event.data["loss"] for event in events_of(run, "evaluated")}
    first, second, *_ = sorted(losses, key=lambda step: losses[step])
    if first == 6:
        first, second = second, first
    (run.folder.checkpoints / f"step-{first:06d}" / "rng.safetensors").write_bytes(b"")
    assert work(run.folder.path) == 0
    best = min((loss, step) for step, loss in losses.items() if step != first)[1]
    assert events_of(run, "delivered")[-1].step == best


def test_memory_that_runs_out_while_weights_change_goes_back_to_a_checkpoint(tmp_path, monkeypatch):
    from lorry.trainer.step import Stepper

    calm = train_here(recipe(tmp_path, train={"steps": 8, "save_every": 2, "keep": 50}))
    plain, calls = Stepper.apply, list[int]()

    def apply(self: Any, step: Any) -> None:
        plain(self, step)
        calls.append(1)
        if len(calls) == 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Stepper, "apply", apply)
    run = train_here(recipe(tmp_path, train={"steps": 8, "save_every": 2, "keep": 50}))
    assert events_of(run, "resumed")[0].data["from_step"] == 4
    found, wanted = _adapter(run), _adapter(calm)
    assert all(torch.allclose(found[name], wanted[name], rtol=1e-3, atol=1e-6) for name in wanted)


def test_diverging_fp16_run_returns_and_goes_on(tmp_path, monkeypatch):
    spoil(monkeypatch, float("nan"))
    values = poisoned(tmp_path)
    values["model"]["precision"] = "fp16"
    run = train_here(values)
    assert len(events_of(run, "diverged")) == 1
    assert events_of(run, "finished")


def test_finished_runs_mark_goes_when_it_is_made_longer(tmp_path):
    run = train_here(recipe(tmp_path, train={"steps": 4, "keep": 1, "keep_best": 0}))
    facts = json.loads(run.folder.resolved.read_text())
    facts["recipe"]["train"]["steps"] = 8
    run.folder.resolved.write_text(json.dumps(facts))
    assert work(run.folder.path) == 0
    assert (run.folder.checkpoints / "final").resolve().name == "step-000008"


def test_half_made_step_is_never_saved(tmp_path, monkeypatch):
    from lorry.errors import RunFailedError
    from lorry.trainer import loop as module
    from lorry.trainer.step import Stepper

    loops: list[Any] = []
    made, apply, release = module.Loop.__init__, Stepper.apply, module.memory.release

    def keep(self: Any, training: Any) -> None:
        made(self, training)
        loops.append(self)

    def torn(self: Any, step: Any) -> None:
        if loops[0].state.step == 3 and not refused:
            with torch.no_grad():
                self.parameters[0].add_(1.0)
            raise torch.OutOfMemoryError("out of memory")
        apply(self, step)

    refused: list[str] = []

    def save_meanwhile() -> None:
        with pytest.raises(RunFailedError) as error:
            loops[0].saver.save_now()
        refused.append(error.value.message)
        loops[0].saver._is_leaving = False
        release()

    monkeypatch.setattr(module.Loop, "__init__", keep)
    monkeypatch.setattr(Stepper, "apply", torn)
    monkeypatch.setattr(module.memory, "release", save_meanwhile)
    run = train_here(recipe(tmp_path, train={"steps": 5, "save_every": 1, "micro_batch": 4}))
    assert refused == ["memory ran out while the weights were changed"]
    assert events_of(run, "finished")
