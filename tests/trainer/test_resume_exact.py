"""A run that continues from any of its checkpoints ends with the adapter of the run that was never interrupted."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lorry.track.events import read
from lorry.track.run import Run
from lorry.track.state import state
from lorry.trainer.methods._base import Share
from lorry.trainer.methods.sft import SupervisedFineTuning
from lorry.trainer.process import work
from tiny_runs import chat_rows, cut_back, events_of, recipe, train_here, weights, write_rows

SCHEDULE = {"steps": 9, "save_every": 2, "eval_every": 4, "keep": 50, "learning_rate": 0.02}
ANSWERED = {"metrics": ["exact_match"], "rows_in_training": 3, "max_new_tokens": 4}


def must_continue_exactly(values: dict[str, Any], at: tuple[int, ...] = (2, 4, 8)) -> None:
    run = train_here(values)
    assert events_of(run, "finished"), [event.data for event in events_of(run, "failed")]
    wanted, losses = weights(run), losses_of(run)
    for step in reversed(at):
        cut_back(run, step)
        random.seed(step), np.random.seed(step), torch.manual_seed(step)
        assert work(run.folder.path) == 0
        assert events_of(run, "resumed")[-1].data["from_step"] == step
        assert weights(run) == wanted
        assert losses_of(run) == losses


def losses_of(run: Run) -> dict[int, float]:
    return {step: event.data["loss"] for step, event in state(read(run.folder.events)).records.items()}


@pytest.mark.parametrize(
    "sections",
    [
        {"train": {**SCHEDULE, "micro_batch": 3, "accumulation": 2}},
        {"train": SCHEDULE, "lora": {"dropout": 0.3}},
        {"train": SCHEDULE, "lora": {"dora": True}},
        {"train": SCHEDULE, "lora": None},
        {"train": {**SCHEDULE, "optimizer": "adamw_8bit", "weight_decay": 0.1}},
        {"train": {**SCHEDULE, "activation_checkpointing": True}},
        {"train": {**SCHEDULE, "micro_batch": 2}, "data": {"packing": True}},
        {"train": {**SCHEDULE, "steps": None, "epochs": 2.7, "micro_batch": 8}},
        {"train": {**SCHEDULE, "early_stop": {"patience": 3}, "eval_every": 2}},
        {"train": {**SCHEDULE, "best_by": "exact_match"}, "evaluate": ANSWERED},
    ],
    ids=[
        "accumulation",
        "dropout",
        "dora",
        "full",
        "decay",
        "recomputed",
        "packed",
        "mid-epoch",
        "early-stop",
        "answered",
    ],
)
def test_continued_run_gives_the_same_bits(tmp_path, sections):
    must_continue_exactly(recipe(tmp_path, **sections), (2, 4) if "epochs" in sections["train"] else (2, 4, 8))


def test_fp16_continues_with_its_scaler(tmp_path):
    values = recipe(tmp_path, train=SCHEDULE)
    values["model"]["precision"] = "fp16"
    must_continue_exactly(values)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantised_model_continues_to_the_bit(tmp_path, quantization):
    values = recipe(tmp_path, train=SCHEDULE)
    config = AutoConfig.from_pretrained(tmp_path / "model", hidden_size=64, intermediate_size=128)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    values["model"]["quantization"] = quantization
    must_continue_exactly(values, (4,))


def test_raw_text_continues_packed(tmp_path):
    texts = [{"text": f"{row['messages'][1]['content']} " * 12} for row in chat_rows(12)]
    data = {"packing": True, "max_length": 32, "eval_split": 1, "train": str(write_rows(tmp_path / "t.jsonl", texts))}
    must_continue_exactly({**recipe(tmp_path, data=data, train=SCHEDULE), "method": {"name": "cpt"}})


def test_method_that_draws_from_every_generator_continues_to_the_bit(tmp_path, monkeypatch):
    plain = SupervisedFineTuning.loss

    def noisy(self: Any, *given: Any) -> Share:
        factor = 1 + 0.1 * (random.random() + np.random.random() + float(torch.rand(1)))
        return Share(plain(self, *given).loss * factor)

    monkeypatch.setattr(SupervisedFineTuning, "loss", noisy)
    must_continue_exactly(recipe(tmp_path, train=SCHEDULE))


def test_run_cut_off_between_a_step_and_its_evaluation_evaluates_first(tmp_path):
    run = train_here(recipe(tmp_path, train={**SCHEDULE, "eval_every": 4}))
    wanted = weights(run), state(read(run.folder.events)).evaluations[4].data["loss"]
    forget_evaluation(run.folder.checkpoints / "step-000004")
    cut_back(run, 4)
    assert work(run.folder.path) == 0
    again = [event for event in events_of(run, "evaluated") if event.step == 4]
    assert len(again) == 2
    assert (weights(run), again[1].data["loss"]) == wanted


def forget_evaluation(folder: Path) -> None:
    """Makes a checkpoint one that a signal had written before its step was evaluated."""
    import json

    from lorry.trainer.checkpoint import write_manifest

    facts = json.loads((folder / "state.json").read_text())
    del facts["scores"]["4"]
    (folder / "state.json").write_text(json.dumps(facts) + "\n")
    write_manifest(folder)


def test_finished_training_whose_adapter_was_not_written_only_delivers(tmp_path):
    run = train_here(recipe(tmp_path, train=SCHEDULE))
    wanted, told = weights(run), len(events_of(run, "step"))
    cut_back(run, 9)
    assert work(run.folder.path) == 0
    assert weights(run) == wanted
    assert len(events_of(run, "step")) == told


def test_checkpoint_of_other_settings_is_not_continued(tmp_path):
    run = train_here(recipe(tmp_path, train=SCHEDULE))
    other = train_here(recipe(tmp_path, train={**SCHEDULE, "learning_rate": 0.01}))
    shutil.rmtree(other.folder.checkpoints)
    shutil.copytree(run.folder.checkpoints, other.folder.checkpoints, symlinks=True)
    assert work(other.folder.path) == 1
    assert "other settings" in events_of(other, "failed")[0].data["error"]


def test_other_base_weights_are_not_trained_on(tmp_path):
    from safetensors.torch import load_file, save_file

    run = train_here(recipe(tmp_path, train=SCHEDULE))
    cut_back(run, 4)
    (file,) = (tmp_path / "model").glob("*.safetensors")
    save_file({name: 1.7 * tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    assert work(run.folder.path) == 1
    assert "base model's weights" in events_of(run, "failed")[-1].data["error"]


def test_other_versions_are_said_aloud(tmp_path):
    run = train_here(recipe(tmp_path, train=SCHEDULE))
    cut_back(run, 4)
    folder = run.folder.checkpoints / "step-000004"
    from lorry.trainer.checkpoint import write_manifest

    text = (folder / "state.json").read_text()
    (folder / "state.json").write_text(
        text.replace(f'"torch": "{torch.__version__.partition("+")[0]}', '"torch": "1.0')
    )
    write_manifest(folder)
    assert work(run.folder.path) == 0
    assert any("not to the bit" in event.data["message"] for event in events_of(run, "note"))


def test_run_made_longer_goes_on_with_the_row_after_its_last_one(tmp_path, monkeypatch):
    from lorry.trainer.step import Stepper

    seen: list[int] = []
    plain = Stepper.apply

    def apply(self: Any, step: Any) -> None:
        seen.extend(step.rows)
        plain(self, step)

    monkeypatch.setattr(Stepper, "apply", apply)
    # Three steps of eight make one epoch of twenty rows; the last of them has but four.
    run = train_here(recipe(tmp_path, train={"steps": None, "epochs": 1, "micro_batch": 8}))
    facts = json.loads(run.folder.resolved.read_text())
    facts["recipe"]["train"]["epochs"] = 2
    run.folder.resolved.write_text(json.dumps(facts))
    assert work(run.folder.path) == 0
    assert sorted(seen) == sorted([*range(20)] * 2)
