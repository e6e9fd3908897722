"""Rewards by models: a reward adapter on the policy's own base, and a classifier."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import tiny_rewards
import tiny_runs
from lorry.errors import ModelError
from lorry.recipe.schema import Recipe
from lorry.trainer.rewards._base import Completion, Place
from lorry.trainer.rollouts.jury import Jury
from tiny_rollouts import recipe

PAIRS = [
    {"prompt": f"{word} {at}", "chosen": word, "rejected": f"{word} {word} {word}"}
    for at, word in enumerate(tiny_runs.WORDS * 3)
]


def reward_adapter(folder: Path) -> Path:
    values = tiny_runs.recipe(folder, train={"steps": 20, "learning_rate": 0.02})
    tiny_runs.write_rows(folder / "rows.jsonl", PAIRS)
    run = tiny_runs.train_here({**values, "method": "reward"})
    assert tiny_runs.events_of(run, "finished")
    return run.folder.adapter


def answers() -> list[Completion]:
    asked = [{"role": "user", "content": "red 0"}]
    return [Completion(text, asked, origin="rows:1") for text in ("red", "red red red", "blue", "")]


def place(folder: Path) -> Place:
    return Place(Recipe.model_validate(recipe(folder, "grpo")), folder, folder / "model")


def test_adapter_that_was_trained_here_scores_answers_as_it_was_trained(tmp_path):
    adapter = reward_adapter(tmp_path)
    jury = Jury.open([{"name": "adapter", "adapter": str(adapter)}], place(tmp_path))
    judged = jury.judge(answers())
    assert judged.totals[0] > judged.totals[1]
    assert not judged.faults
    assert [*judged.each] == ["reward_model"]


def test_answer_scores_the_same_alone_as_among_others(tmp_path):
    jury = Jury.open([{"name": "adapter", "adapter": str(reward_adapter(tmp_path)), "batch_size": 2}], place(tmp_path))
    together = jury.judge(answers()).totals.tolist()
    assert together == pytest.approx([jury.judge([one]).totals[0] for one in answers()], rel=1e-5)


def test_run_learns_from_a_reward_adapter(tmp_path):
    adapter = reward_adapter(tmp_path)
    values = recipe(tmp_path, "grpo", method={"rewards": [{"name": "adapter", "adapter": str(adapter)}]})
    run = tiny_runs.train_here(values)
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
    assert all(event.data["reward"] for event in tiny_runs.events_of(run, "step"))


def test_policy_adapter_is_no_reward_model(tmp_path):
    run = tiny_runs.train_here(tiny_runs.recipe(tmp_path, train={"steps": 1}))
    with pytest.raises(ModelError, match="no reward model"):
        Jury.open([{"name": "adapter", "adapter": str(run.folder.adapter)}], place(tmp_path))


def classifier(folder: Path, labels: int) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from model_folders import save_tokenizer

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=300, num_labels=labels, **sizes))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def test_classifier_of_two_labels_gives_the_log_odds_of_the_second(tmp_path):
    folder = classifier(tmp_path / "classifier", 2)
    judged = Jury.open([{"name": "classifier", "model": str(folder)}], place(tmp_path)).judge(answers())
    assert len(set(judged.totals.tolist())) > 1
    assert [*judged.each] == ["classifier"]


def test_classifier_of_many_labels_needs_one_to_be_named(tmp_path):
    folder = classifier(tmp_path / "classifier", 4)
    names = [*json.loads((folder / "config.json").read_text())["id2label"].values()]
    with pytest.raises(ModelError, match="has 4 labels"):
        Jury.open([{"name": "classifier", "model": str(folder)}], place(tmp_path))
    spec = {"name": "classifier", "model": str(folder), "output": names[2]}
    assert Jury.open([spec], place(tmp_path)).judge(answers()).totals.size == 4


def test_conversation_that_is_too_long_for_the_judge_is_a_fault_and_not_the_end(tmp_path):
    folder = classifier(tmp_path / "classifier", 2)
    judge = Jury.open([{"name": "classifier", "model": str(folder)}], place(tmp_path))
    short, long = answers()[0], Completion("word " * 4000, answers()[0].messages, origin="rows:1")
    judged = judge.judge([short, long])
    assert "tokens, of which the reward model reads" in judged.faults[0]
    assert judged.totals[0] == pytest.approx(judge.judge([short]).totals[0])


def opened(folder: Path, adapter: Path, **more: str) -> Jury:
    return Jury.open([{"name": "adapter", "adapter": str(adapter), **more}], place(folder))


def random_adapter(folder: Path) -> Path:
    recipe(folder, "grpo")
    return tiny_rewards.reward_adapter(folder / "reward", folder / "model")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda found: {name: one for name, one in found.items() if "score" not in name}, "has no head"),
        (
            lambda found: {name: one * float("nan") if "score" in name else one for name, one in found.items()},
            "no number",
        ),
        (lambda found: {name: one[..., :7].clone() for name, one in found.items()}, "does not fit"),
    ],
    ids=["without a head", "of no numbers", "of another shape"],
)
def test_spoilt_adapter_is_told_and_not_filled_up(change, told, tmp_path):
    adapter = random_adapter(tmp_path)
    tiny_rewards.change_adapter(adapter, change)
    with pytest.raises(ModelError, match=told):
        opened(tmp_path, adapter)


def test_adapter_on_layers_that_the_base_has_not_got_is_told(tmp_path):
    adapter = random_adapter(tmp_path)
    tiny_rewards.change_config(adapter / "adapter_config.json", target_modules=["c_attn"])
    with pytest.raises(ModelError, match="does not fit"):
        opened(tmp_path, adapter)


@pytest.mark.parametrize("gone", ["adapter_config.json", "adapter_model.safetensors", "."])
def test_folder_that_is_gone_or_half_gone_is_told(gone, tmp_path):
    adapter = random_adapter(tmp_path)
    shutil.rmtree(adapter) if gone == "." else (adapter / gone).unlink()
    with pytest.raises(ModelError, match="missing"):
        opened(tmp_path, adapter)


def test_weights_that_are_cut_short_are_told(tmp_path):
    adapter = random_adapter(tmp_path)
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ModelError, match="cut short"):
        opened(tmp_path, adapter)


def test_adapter_without_a_tokenizer_reads_its_bases(tmp_path):
    adapter = random_adapter(tmp_path)
    assert not (adapter / "tokenizer.json").exists()
    judged = opened(tmp_path, adapter).judge(answers())
    assert not judged.faults
    assert len(set(judged.totals.tolist())) > 1
