"""Reward models: what is delivered gives the same rewards wherever it is loaded, and others' are understood."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification

import tiny_runs
from lorry.errors import ModelError
from lorry.recipe.schema import ModelSettings, Recipe
from lorry.track.run import Run
from lorry.trainer.model import LoadedModel, load
from lorry.trainer.reward_model import RewardModel
from lorry.trainer.row_rewards import row_rewards
from model_folders import save_model
from tiny_models import tiny_reward_model

ROWS = [[5, 9, 30, 41], [5, 9, 30], [*range(10, 40), 7], [*range(10, 40), 8, 2], [3]]
PAIRS = [
    {"prompt": f"{word} {at}", "chosen": word, "rejected": f"{word} {word} no"}
    for at, word in enumerate(tiny_runs.WORDS * 3)
]


def recipe(folder: Path, **sections: Any) -> dict[str, Any]:
    values = tiny_runs.recipe(folder, **{"train": {"steps": 6, "learning_rate": 0.02}, **sections})
    tiny_runs.write_rows(folder / "rows.jsonl", PAIRS)
    return {**values, "method": "reward"}


def trained(folder: Path, **sections: Any) -> Run:
    run = tiny_runs.train_here(recipe(folder, **sections))
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
    return run


def plain_rewards(model: Any, rows: Sequence[Sequence[int]]) -> list[float]:
    """What Transformers itself gives, row by row, read at the last token."""
    model.config.get_text_config().pad_token_id = None
    with torch.inference_mode():
        return [float(model.eval()(input_ids=torch.tensor([row])).logits[0, 0]) for row in rows]


def close(found: Sequence[float], wanted: Sequence[float]) -> bool:
    return list(found) == pytest.approx(list(wanted), rel=1e-4, abs=1e-4)


def test_delivered_adapter_gives_the_same_rewards_in_plain_transformers_and_peft(tmp_path: Path):
    run = trained(tmp_path)
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", num_labels=1, dtype=torch.float32)
    wanted = plain_rewards(PeftModel.from_pretrained(base, run.adapter), ROWS)
    assert len({round(one, 4) for one in wanted}) == len(ROWS), "else this test says nothing"
    for opened in (RewardModel.open(run.folder.path), RewardModel.open(run.adapter, tmp_path / "model")):
        assert close(opened.score(ROWS), wanted)
        assert close(opened.score(ROWS, batch_size=1), wanted)
        assert opened.score([]) == []
    settings = json.loads((run.adapter / "adapter_config.json").read_text())
    assert (settings["task_type"], settings["modules_to_save"]) == ("SEQ_CLS", ["score"])


@pytest.mark.parametrize(
    "sections", [{"lora": None}, {"train": {"activation_checkpointing": True}}], ids=["full", "recomputed"]
)
def test_run_that_was_cut_off_ends_with_the_same_bits(sections: dict[str, Any], tmp_path: Path):
    from lorry.trainer.process import work

    train = {"steps": 6, "learning_rate": 1e-3, "save_every": 1, **sections.get("train", {})}
    run = trained(tmp_path, **{**sections, "train": train})
    calm = tiny_runs.weights(run)
    tiny_runs.cut_back(run, 3)
    work(run.folder.path)
    assert tiny_runs.weights(run) == calm


def test_all_weights_trained_make_a_model_that_transformers_loads(tmp_path: Path):
    run = trained(tmp_path, lora=None, train={"steps": 4, "learning_rate": 1e-3})
    whole = AutoModelForSequenceClassification.from_pretrained(run.adapter, dtype=torch.float32)
    wanted = plain_rewards(whole, ROWS)
    assert close(RewardModel.open(run.folder.path).score(ROWS), wanted)
    assert close(RewardModel.open(run.adapter).score(ROWS), wanted)


def loaded(folder: Path, *, method: str = "reward", adapter: Path | None = None, **sections: Any) -> LoadedModel:
    path = folder / "model"
    if not path.exists():
        save_model(path, dtype="float32")
    model = {"id": str(path), **sections.pop("model", {})}
    made = {"model": model, "data": {"train": "x"}, "method": method, "lora": {"rank": 4}, **sections}
    return load(Recipe.model_validate(made), path, adapter=adapter)


def head_of(one: LoadedModel) -> torch.Tensor:
    return next(
        weight for name, weight in one.model.named_parameters() if name.endswith("score.modules_to_save.default.weight")
    )


def test_head_begins_as_the_seed_says(tmp_path: Path):
    first, same, other = (head_of(loaded(tmp_path, train={"seed": seed})) for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_head_is_computed_in_fp32_whatever_the_model_has(precision: str, tmp_path: Path):
    one = loaded(tmp_path, model={"precision": precision})
    assert head_of(one).dtype == torch.float32
    hidden = torch.randn(3, 32).to(one.dtype)
    assert torch.equal(one.forward.head(hidden), torch.nn.functional.linear(hidden.float(), head_of(one)))


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_head_of_a_quantised_model_stays_whole(quantization: str, tmp_path: Path):
    config = AutoConfig.from_pretrained(save_model(tmp_path / "small"), hidden_size=64, intermediate_size=128)
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    one = loaded(tmp_path, model={"quantization": quantization})
    assert type(one.model.get_base_model().score.original_module) is torch.nn.Linear
    assert head_of(one).dtype == torch.float32
    kinds = {type(module.base_layer).__name__ for module in one.model.modules() if hasattr(module, "base_layer")}
    assert kinds == {"Linear4bit" if quantization == "nf4" else "Linear8bitLt"}
    assert all(map(float.__eq__, *[row_rewards(one, ROWS, 8)] * 2))


def test_architecture_that_is_not_proven_reads_the_last_token_of_padded_rows(tmp_path: Path):
    tiny_reward_model("gemma2", "eager").save_pretrained(tmp_path / "model")
    one = loaded(tmp_path, lora=None)
    assert one.forward.way == "padded"
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert close(row_rewards(one, ROWS, 8), plain_rewards(whole, ROWS))


def test_architecture_without_such_a_head_is_refused(tmp_path: Path):
    from tiny_models import tiny_model

    tiny_model("granite").save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="`granite` has no head for rewards"):
        loaded(tmp_path)


def test_adapter_that_learnt_to_answer_goes_on_as_a_reward_model(tmp_path: Path):
    run = tiny_runs.train_here(tiny_runs.recipe(tmp_path))
    one = loaded(tmp_path, model={"adapter": str(run.adapter)}, lora={"rank": 4, "alpha": 8})
    assert any("a new one begins" in note for note in one.notes)
    begun = head_of(loaded(tmp_path))
    assert torch.equal(head_of(one), begun)
    assert head_of(one).requires_grad
    down = next(weight for name, weight in one.model.named_parameters() if "lora_B" in name)
    assert down.abs().max() > 0


def test_adapter_of_a_reward_model_does_not_go_on_to_answer(tmp_path: Path):
    run = trained(tmp_path)
    with pytest.raises(ModelError, match="reward model"):
        loaded(tmp_path, method="sft", model={"adapter": str(run.adapter)}, lora={"rank": 4, "alpha": 8})


def test_model_of_others_is_read_where_transformers_reads_it(tmp_path: Path):
    # TRL's own: its padding, 0, may be the token that rows end with, and is passed over then.
    model = tiny_reward_model()
    model.save_pretrained(tmp_path)
    rows = [[5, 9, 30, 0], [5, 9, 30], [*range(10, 40)], [0, 0]]
    with torch.inference_mode():
        wanted = [float(model.eval()(input_ids=torch.tensor([row])).logits) for row in rows]
    found = RewardModel.open(tmp_path).score(rows)
    assert close(found, wanted)
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_classifier_gives_the_log_odds_of_its_label(kind: str, tmp_path: Path):
    if kind == "bert":
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
        torch.manual_seed(0)
        config = AutoConfig.for_model("bert", vocab_size=97, pad_token_id=0, num_labels=2, **sizes)
        model = AutoModelForSequenceClassification.from_config(config)
    else:
        model = tiny_reward_model(num_labels=2)
    model.save_pretrained(tmp_path)
    with torch.inference_mode():
        logits = torch.cat([model.eval()(input_ids=torch.tensor([row])).logits for row in ROWS])
    wanted = (logits[:, 1] - logits[:, 0]).tolist()
    assert close(RewardModel.open(tmp_path).score(ROWS), wanted)
    assert close(RewardModel.open(tmp_path, label="LABEL_0").score(ROWS), [-one for one in wanted])


def test_classifier_of_three_labels_must_be_told_which(tmp_path: Path):
    tiny_reward_model(num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has 3 labels") as caught:
        RewardModel.open(tmp_path)
    assert "LABEL_2" in caught.value.hint
    assert len(RewardModel.open(tmp_path, label="LABEL_2").score(ROWS)) == len(ROWS)


def test_what_is_no_reward_model_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="no reward model") as caught:
        RewardModel.open(save_model(tmp_path / "model"), settings=ModelSettings(id="x"))
    assert "method: reward" in caught.value.hint


def test_opening_one_draws_nothing_from_the_generators(tmp_path: Path):
    tiny_reward_model().save_pretrained(tmp_path)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    RewardModel.open(tmp_path)
    assert torch.equal(torch.rand(3), wanted)


def test_row_without_tokens_has_no_reward(tmp_path: Path):
    with pytest.raises(ValueError, match="without tokens"):
        row_rewards(loaded(tmp_path), [[3], []], 8)
