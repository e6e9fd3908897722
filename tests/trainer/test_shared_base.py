"""A reward model over the policy's base weights: the same rewards, and a policy that does not notice."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_runs
from lorry.recipe.schema import ModelSettings, Recipe
from lorry.trainer import shared_base
from lorry.trainer.model import LoadedModel, load
from lorry.trainer.policy import policy_of
from lorry.trainer.process import work
from lorry.trainer.reward_model import RewardModel
from lorry.trainer.saving import rng
from model_folders import save_model
from tiny_rewards import change_config, judged_recipe, reward_adapter

ROWS = [[5, 9, 30, 41], [5, 9, 30], [*range(10, 40), 7], [*range(10, 40), 8, 2], [3]]


def settings(folder: Path, **changes: Any) -> ModelSettings:
    return ModelSettings(id=str(folder / "model"), **changes)


def policy(folder: Path, model: ModelSettings, **sections: Any) -> LoadedModel:
    """A policy whose adapter has learnt something, so that a judge that has it on, too, gives other rewards."""
    values = {"model": model.model_dump(), "data": {"train": "-"}, "lora": {"rank": 4}, **sections}
    loaded = load(Recipe.model_validate(values), folder / "model")
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    return loaded


def made(folder: Path, layers: int = 2, **changes: Any) -> tuple[Path, ModelSettings, LoadedModel]:
    save_layers(folder / "model", layers)
    model = settings(folder, **changes)
    return reward_adapter(folder / "reward", folder / "model"), model, policy(folder, model)


def save_layers(folder: Path, layers: int) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    save_model(folder)
    config = LlamaConfig.from_pretrained(folder, num_hidden_layers=layers, hidden_size=64, intermediate_size=128)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


def storages(model: torch.nn.Module) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}


@pytest.mark.parametrize(
    "changes",
    [{}, {"precision": "bf16"}, {"quantization": "nf4"}, {"quantization": "int8"}, {"attention": "sdpa"}],
    ids=["fp32", "bf16", "nf4", "int8", "padded"],
)
@pytest.mark.parametrize("asked_before", [False, True], ids=["fresh", "asked"])
def test_shared_reward_model_gives_the_rewards_of_one_that_is_loaded_by_itself(changes, asked_before, tmp_path):
    """Also where the policy has answered before: in 8 bits the weights then lie elsewhere."""
    adapter, model, loaded = made(tmp_path, **changes)
    alone = RewardModel.open(adapter, tmp_path / "model", settings=model).score(ROWS)
    assert len({round(one, 3) for one in alone}) == len(ROWS), "else this test says nothing"
    if asked_before:
        logits(loaded)
    shared = RewardModel.open(adapter, tmp_path / "model", settings=model, beside=loaded)
    assert "shares the base weights" in shared.note
    assert shared.score(ROWS) == alone
    logits(loaded)
    assert shared.score(ROWS) == alone


def logits(loaded: LoadedModel) -> torch.Tensor:
    loaded.model.train()
    return loaded.model(input_ids=torch.tensor([ROWS[2]])).logits.detach().clone()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[list[Any]]:
    """The base models that reward models were put on."""
    found: list[Any] = []
    real = shared_base.scoring_over

    def noting(*given: Any, **more: Any) -> Any:
        found.append(real(*given, **more))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_base, "scoring_over", noting)
        yield found


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_base_lies_in_memory_once(quantization, tmp_path, opened):
    adapter, model, loaded = made(tmp_path, quantization=quantization)
    RewardModel.open(adapter, tmp_path / "model", settings=model, beside=loaded)
    own = {weight for weight in storages(opened[0]) if weight not in storages(loaded.model)}
    trained = [name for name, _ in opened[0].named_parameters() if "lora_" in name or "score" in name]
    assert len(own) == len(trained)


def test_policy_is_what_it_was_before(tmp_path):
    adapter, model, loaded = made(tmp_path)
    before = shown(loaded)
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    draws = rng.capture()[0]
    RewardModel.open(adapter, tmp_path / "model", settings=model, beside=loaded).score(ROWS)
    assert shown(loaded) == before
    assert all(torch.equal(draws[name], now) for name, now in rng.capture()[0].items())
    assert loaded.model.training


def shown(loaded: LoadedModel) -> dict[str, Any]:
    """What training, checkpoints and the reference see of a policy."""
    held = policy_of(loaded, has_reference=True, is_continued=False)
    with torch.no_grad(), held._as_reference():
        reference = loaded.model(input_ids=torch.tensor([ROWS[2]])).logits
    return {
        "names": [name for name, _ in loaded.model.named_parameters()],
        "trained": [id(one) for one in loaded.trained_parameters()],
        "modules": [type(module).__name__ for module in loaded.model.modules()],
        "adapters": [*loaded.model.peft_config],
        "frozen": loaded.frozen_sha256(),
        "logits": logits(loaded).tolist(),
        "reference": reference.tolist(),
    }


def test_dropout_is_drawn_for_the_policy_and_not_for_the_judge(tmp_path):
    save_layers(tmp_path / "model", 1)
    adapter, model = reward_adapter(tmp_path / "reward", tmp_path / "model", lora_dropout=0.5), settings(tmp_path)
    loaded = policy(tmp_path, model, lora={"rank": 4, "dropout": 0.5})
    judge = RewardModel.open(adapter, tmp_path / "model", settings=model, beside=loaded)
    assert judge.score(ROWS) == judge.score(ROWS)
    assert not torch.equal(logits(loaded), logits(loaded))
    assert loaded.drops


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"init_lora_weights": "pissa"}, "the reward model's adapter changes its base"),
        ({"bias": "all"}, "the reward model's adapter changes its base"),
        ({"peft_type": "IA3"}, "the reward model's adapter changes its base"),
    ],
)
def test_adapter_that_would_change_the_base_is_not_put_onto_the_policys(change, why, tmp_path):
    adapter, _, loaded = made(tmp_path)
    change_config(adapter / "adapter_config.json", **change)
    frozen = loaded.frozen_sha256()
    found, note = shared_base.over_base_of(loaded, adapter, tmp_path / "model", has_own_code=False)
    assert found is None
    assert why in note
    assert loaded.frozen_sha256() == frozen


def test_pissa_reward_adapter_leaves_the_policys_weights_alone(tmp_path):
    adapter, model, loaded = made(tmp_path)
    change_config(adapter / "adapter_config.json", init_lora_weights="pissa")
    frozen = loaded.frozen_sha256()
    assert RewardModel.open(adapter, tmp_path / "model", settings=model, beside=loaded).score(ROWS)
    assert loaded.frozen_sha256() == frozen


def test_fully_trained_policy_is_not_shared(tmp_path):
    adapter, model, _ = made(tmp_path)
    loaded = policy(tmp_path, model, lora=None)
    judge = RewardModel.open(adapter, tmp_path / "model", settings=model, beside=loaded)
    assert "all weights of the model are trained" in judge.note
    before = judge.score(ROWS)
    with torch.no_grad():
        for weight in loaded.trained_parameters():
            weight.zero_()
    assert judge.score(ROWS) == before


def test_layer_that_the_policy_trains_whole_is_shared_as_it_was(tmp_path):
    """An earlier adapter that brings its own embeddings along: the judge sees the base's."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    save_layers(tmp_path / "model", 1)
    adapter, model = reward_adapter(tmp_path / "reward", tmp_path / "model"), settings(tmp_path)
    alone = RewardModel.open(adapter, tmp_path / "model", settings=model).score(ROWS)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    known = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "modules_to_save": ["norm"]}
    earlier: Any = get_peft_model(plain, LoraConfig(**known))
    torch.nn.init.constant_(earlier.base_model.model.model.norm.modules_to_save["default"].weight, 3.0)
    earlier.save_pretrained(tmp_path / "earlier")
    continued = model.model_copy(update={"adapter": str(tmp_path / "earlier")})
    loaded = policy(tmp_path, continued, lora={"rank": 4, "alpha": 8})
    judge = RewardModel.open(adapter, tmp_path / "model", settings=model, beside=loaded)
    assert "shares the base weights" in judge.note
    assert judge.score(ROWS) == alone


def test_judge_sees_the_base_whatever_the_policy_learns(tmp_path):
    adapter, model, loaded = made(tmp_path)
    judge = RewardModel.open(adapter, tmp_path / "model", settings=model, beside=loaded)
    before = judge.score(ROWS)
    with torch.no_grad():
        for weight in loaded.trained_parameters():
            weight.normal_()
    with loaded.base_disabled():
        assert judge.score(ROWS) == before
    loaded.checkpoint_activations()
    assert judge.score(ROWS) == before


def notes(run: Any) -> str:
    return " ".join(event.data["message"] for event in tiny_runs.events_of(run, "note"))


@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_run_with_a_shared_base_delivers_the_bits_of_one_with_two(method, tmp_path, monkeypatch):
    values = judged_recipe(tmp_path, method)
    shared = tiny_runs.train_here(values)
    assert tiny_runs.events_of(shared, "finished"), shared.folder.events.read_text()[-2000:]
    monkeypatch.setattr(shared_base, "_hindrance", lambda *_: "this test wants two")
    apart = tiny_runs.train_here(values)
    assert "shares the base weights" in notes(shared)
    assert "base weights of its own: this test wants two" in notes(apart)
    assert tiny_runs.weights(shared) == tiny_runs.weights(apart)
    names = [{path.name for path in run.folder.adapter.iterdir()} for run in (shared, apart)]
    assert names[0] == names[1]
    config = json.loads((shared.folder.adapter / "adapter_config.json").read_text())
    assert (config["task_type"], config["modules_to_save"]) == ("CAUSAL_LM", None)


@pytest.mark.parametrize("sections", [{}, {"model": {"quantization": "nf4"}}], ids=["fp32", "nf4"])
def test_run_with_a_shared_base_that_was_cut_off_ends_with_the_same_bits(sections, tmp_path):
    train = {"save_every": 1, "accumulation": 2, "micro_batch": 2}
    run = tiny_runs.train_here(judged_recipe(tmp_path, train=train, **sections))
    calm = tiny_runs.weights(run)
    tiny_runs.cut_back(run, 3)
    work(run.folder.path)
    assert tiny_runs.weights(run) == calm


def test_other_base_is_loaded_beside(tmp_path):
    values = judged_recipe(tmp_path)
    save_model(tmp_path / "other")
    values["method"]["rewards"][0]["base_model"] = str(tmp_path / "other")
    run = tiny_runs.train_here(values)
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
    assert "base weights" not in notes(run)


@pytest.mark.filterwarnings("ignore:The following")
@pytest.mark.parametrize("kind", ["gemma2", "qwen3", "qwen3_moe"])
def test_other_architectures_are_shared_too(kind, tmp_path):
    """Proven or not, and with experts that are one parameter."""
    from tiny_models import tiny_model

    tiny_model(kind, "eager" if kind == "gemma2" else "sdpa").save_pretrained(tmp_path / "model")
    adapter, model = reward_adapter(tmp_path / "reward", tmp_path / "model"), settings(tmp_path)
    alone = RewardModel.open(adapter, tmp_path / "model", settings=model).score(ROWS)
    judge = RewardModel.open(adapter, tmp_path / "model", settings=model, beside=policy(tmp_path, model))
    assert judge.score(ROWS) == alone
    assert "shares the base weights" in judge.note
