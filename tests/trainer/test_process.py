from __future__ import annotations

import json
import resource
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lorry.trainer.checkpoint import steps, verify
from lorry.trainer.loss import token_loss
from lorry.trainer.methods._base import Share
from lorry.trainer.methods.sft import SupervisedFineTuning
from lorry.trainer.process import work
from tiny_runs import begin, chat_rows, cut_back, events_of, recipe, train_here, write_rows


def losses(run) -> list[float]:
    return [event.data["loss"] for event in events_of(run, "step")]


def widen(folder, **changes) -> None:
    """Puts a wider random model into a tiny model's folder."""
    config = AutoConfig.from_pretrained(folder, **changes)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def test_run_learns_delivers_and_scores(tmp_path):
    run = train_here(recipe(tmp_path, train={"steps": 12, "learning_rate": 0.03}))
    assert losses(run)[-1] < losses(run)[0]
    assert events_of(run, "finished")
    assert (run.adapter / "adapter_model.safetensors").exists()
    assert (run.adapter / "chat_template.jinja").exists()
    assert json.loads((run.folder.evaluation / "scores.json").read_text())["splits"]["eval"]["rows"] == 4


def promised(run, **what) -> None:
    """Puts into a run's folder what the machine was said to be."""
    facts = json.loads(run.folder.resolved.read_text())
    run.folder.resolved.write_text(json.dumps({**facts, "promised": what}))


def test_machine_is_looked_at_before_anything_is_loaded(tmp_path):
    run = train_here(recipe(tmp_path))
    (event,) = events_of(run, "machine")
    assert [one["code"] for one in event.data["findings"]] == ["machine.ready"]
    assert event.seq < events_of(run, "loaded")[0].seq


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what it is said to have")
def test_machine_that_is_not_as_promised_is_refused_before_anything_is_loaded(tmp_path):
    run = begin(recipe(tmp_path))
    promised(run, gpus=1, gpu_memory=80 * 10**9)
    assert work(run.folder.path) == 3
    (failed,) = events_of(run, "failed")
    assert "1 GPUs were promised" in failed.data["error"]
    assert failed.data["hint"]
    assert not events_of(run, "loaded")


def test_disk_that_a_run_would_fill_is_refused(tmp_path):
    run = begin(recipe(tmp_path))
    promised(run, disk=10**18)
    assert work(run.folder.path) == 3
    assert "are free, and the run needs" in events_of(run, "failed")[0].data["error"]


def test_run_that_goes_on_needs_no_room_for_what_it_has_written(tmp_path):
    run = train_here(recipe(tmp_path, train={"steps": 4, "save_every": 2}))
    cut_back(run, 2)
    promised(run, disk=10**18)
    assert work(run.folder.path) == 0


def test_frozen_weights_do_not_change(tmp_path):
    run = train_here(recipe(tmp_path))
    provenance = json.loads(run.folder.provenance.read_text())
    assert provenance["model"]["frozen_sha256"] == events_of(run, "loaded")[0].data["frozen_sha256"]


def test_same_seed_gives_the_same_adapter_to_the_bit(tmp_path):
    runs = [train_here(recipe(tmp_path)) for _ in range(2)]
    first, second = (load_file(run.adapter / "adapter_model.safetensors") for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_adapter_loads_in_plain_peft_and_answers_the_same(tmp_path):
    run = train_here(recipe(tmp_path, train={"steps": 12, "learning_rate": 0.03}))
    answers = [json.loads(line) for line in (run.folder.evaluation / "answers.jsonl").read_text().splitlines()]
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), run.adapter)
    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    for answer in answers:
        asked = tokenizer.apply_chat_template(
            answer["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        found = plain.generate(**asked, max_new_tokens=4, do_sample=False)[0, asked["input_ids"].shape[1] :]
        assert tokenizer.decode(found, skip_special_tokens=True) == answer["adapter"]


def test_best_step_is_delivered_when_later_ones_are_worse(tmp_path):
    settings = {"steps": 12, "eval_every": 1, "learning_rate": 0.3, "schedule": "constant", "keep": 1, "keep_best": 0}
    run = train_here(recipe(tmp_path, train=settings))
    scored = {event.step: event.data["loss"] for event in events_of(run, "evaluated")}
    best = min(scored, key=lambda step: scored[step])
    assert events_of(run, "delivered")[0].step == best
    assert set(steps(run.folder.checkpoints)) == {best, 12}
    final = json.loads((run.folder.evaluation / "scores.json").read_text())["splits"]["eval"]["scores"]["loss"]
    assert final["adapter"]["value"] == pytest.approx(scored[best], rel=1e-5)


def test_last_step_is_delivered_when_the_recipe_says_so(tmp_path):
    settings = {"steps": 6, "eval_every": 1, "learning_rate": 0.3, "schedule": "constant", "deliver": "last"}
    assert events_of(train_here(recipe(tmp_path, train=settings)), "delivered")[0].step == 6


def test_every_checkpoint_verifies_and_a_flipped_bit_is_noticed(tmp_path):
    from lorry.errors import RunFailedError

    run = train_here(recipe(tmp_path))
    folder = run.folder.checkpoints / "step-000004"
    verify(folder)
    damaged = bytearray((folder / "optimizer.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "optimizer.safetensors").write_bytes(damaged)
    with pytest.raises(RunFailedError, match=r"optimizer\.safetensors"):
        verify(folder)


def test_earlier_adapter_is_continued(tmp_path):
    first = train_here(recipe(tmp_path))
    again = recipe(tmp_path, model={"id": str(tmp_path / "model"), "adapter": str(first.adapter)})
    second = train_here({**again, "train": {"steps": 1, "micro_batch": 4, "learning_rate": 1e-9, "warmup": 0}})
    before, after = (load_file(run.adapter / "adapter_model.safetensors") for run in (first, second))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


def test_earlier_adapter_of_another_rank_is_refused_before_training(tmp_path):
    first = train_here(recipe(tmp_path))
    again = recipe(tmp_path, model={"id": str(tmp_path / "model"), "adapter": str(first.adapter)}, lora={"rank": 2})
    run = begin(again)
    assert work(run.folder.path) == 2
    assert "rank 4" in events_of(run, "failed")[0].data["error"]


def test_full_fine_tuning_trains_every_weight(tmp_path):
    run = train_here(recipe(tmp_path, lora=None))
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path / "model", run.adapter))
    assert events_of(run, "finished")
    assert all(not np.array_equal(before[name], after[name]) for name in before)


def test_loss_that_is_no_number_ends_the_run_with_a_hint(tmp_path):
    run = train_here(recipe(tmp_path, train={"learning_rate": 1e30, "max_grad_norm": 0, "warmup": 0}))
    failed = events_of(run, "failed")[0].data
    assert "not a number" in failed["error"]
    assert "learning_rate" in failed["hint"]


def test_budget_of_hours_ends_training_early_and_delivers(tmp_path):
    run = train_here(recipe(tmp_path, train={"steps": 500}, budget={"hours": 1e-7}))
    assert events_of(run, "limit")
    assert events_of(run, "delivered")[0].step == 1


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantised_base_trains_on_this_processor(tmp_path, quantization):
    values = recipe(tmp_path, train={"steps": 8, "learning_rate": 0.03, "eval_every": 2})
    widen(tmp_path / "model", hidden_size=64, intermediate_size=128)  # NF4 quantises 64 weights at once
    values["model"]["quantization"] = quantization
    run = train_here(values)
    assert not events_of(run, "failed")
    assert losses(run)[-1] < losses(run)[0]


def test_raw_text_trains_packed(tmp_path):
    values = recipe(tmp_path, data={"packing": True, "max_length": 32, "eval_split": 1})
    texts = [{"text": f"{row['messages'][1]['content']} " * 12} for row in chat_rows(12)]
    values["data"]["train"] = str(write_rows(tmp_path / "texts.jsonl", texts))
    run = train_here({**values, "method": {"name": "cpt"}})
    assert events_of(run, "finished")
    assert all(event.data["trained_tokens"] <= 4 * 32 for event in events_of(run, "step"))


def test_smoke_run_checks_its_checkpoint_and_memory(tmp_path):
    run = train_here(recipe(tmp_path), smoke=True)
    checks = {event.data["check"]: event.data["passed"] for event in events_of(run, "smoke")}
    assert checks == {"checkpoint loads": True, "memory as expected": True}
    assert len(losses(run)) == 10


def test_fp16_trains_with_a_scaled_loss_near_the_losses_of_fp32(tmp_path):
    settings = {"steps": 12, "learning_rate": 0.03}
    found = {}
    for precision in ("fp16", "fp32"):
        values = recipe(tmp_path, train=settings)
        values["model"]["precision"] = precision
        found[precision] = losses(train_here(values))
    assert found["fp16"][-1] < found["fp16"][0]
    assert found["fp16"] == pytest.approx(found["fp32"], rel=0.02)


def test_adapter_names_its_base_model_as_the_recipe_does(tmp_path):
    run = train_here(recipe(tmp_path))
    settings = json.loads((run.adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(tmp_path / "model")


def test_adapter_brings_the_template_that_its_rows_were_rendered_with(tmp_path):
    run = train_here(recipe(tmp_path, data={"chat_template": "chatml"}))
    own, delivered = (folder / "chat_template.jinja" for folder in (tmp_path / "model", run.adapter))
    assert delivered.read_text() != own.read_text()
    assert "<|im_start|>" in delivered.read_text()


def test_weights_that_are_no_numbers_are_never_saved_nor_delivered(tmp_path):
    run = train_here(recipe(tmp_path, train={"steps": 1, "learning_rate": 1e38, "max_grad_norm": 0, "warmup": 0}))
    assert "weights are not numbers" in events_of(run, "failed")[0].data["error"]
    assert steps(run.folder.checkpoints) == []
    assert not run.adapter.exists()


@contextmanager
def file_size_limit(size: int):
    """Within, no file may grow beyond `size` bytes: writing fails as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_ends_the_run_with_a_hint_and_no_half_checkpoint(tmp_path):
    run = begin(recipe(tmp_path, lora={"rank": 64}))
    with file_size_limit(40_000):
        assert work(run.folder.path) == 1
    failed = events_of(run, "failed")[0].data
    assert "cannot be written" in failed["error"]
    assert "free some space" in failed["hint"]
    assert list(run.folder.checkpoints.iterdir()) == []


def test_fully_trained_model_passes_its_smoke_run_when_an_earlier_step_was_best(tmp_path):
    values = recipe(tmp_path, lora=None, train={"learning_rate": 0.1, "schedule": "constant", "max_grad_norm": 0})
    values["model"]["precision"] = "bf16"
    run = train_here(values, smoke=True)
    assert events_of(run, "delivered")[0].step == 5
    assert next(event.data["passed"] for event in events_of(run, "smoke"))


def gradients_overflow(policy, batch, whole):
    """A method's loss that is a number and whose gradients are not."""
    hidden = policy.forward.hidden(batch)
    loss = token_loss(policy.forward, batch) + (hidden - hidden.detach()).abs().sqrt().sum().float()
    return Share(loss / whole["tokens"])


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_gradients_that_are_never_numbers_end_the_run(tmp_path, monkeypatch, precision):
    monkeypatch.setattr(SupervisedFineTuning, "loss", lambda _self, *given: gradients_overflow(*given))
    values = recipe(tmp_path, train={"steps": 60, "eval_every": 60})
    values["model"]["precision"] = precision
    run = train_here(values)
    assert "not " in events_of(run, "failed")[0].data["error"]
    assert all(event.data["grad_norm"] is None for event in events_of(run, "step"))
