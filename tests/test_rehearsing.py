"""`lorry.rehearse`: a good recipe from end to end, and faults that no check can find, each at its stage."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import lorry
from lorry.plan.findings import Finding
from lorry.plan.rehearsal.outcome import STAGES, Rehearsal
from rehearsals import LIMIT, add_plugin, bare_model, left_in, rehearsed, use_own_tmp
from tiny_runs import chat_rows, write_rows
from tiny_vision import vision_recipe

METRIC = """
import time
from lorry.evaluate.metrics._base import Metric

class Plugin(Metric):
    "A metric of a test."

    def score(self, answer):
        {body}
"""
METHOD = """
from lorry.trainer.methods._base import Share
from lorry.trainer.methods.sft import SupervisedFineTuning

class Plugin(SupervisedFineTuning):
    "A method of a test."
    power: float = 1.0

    def loss(self, policy, batch, whole):
        {body}
"""


@pytest.fixture(autouse=True)
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_own_tmp(monkeypatch, tmp_path)


def found(result: Rehearsal) -> Finding:
    """The finding that a rehearsal failed for."""
    return next(one for one in result.findings if one.severity == "error" and one.code.startswith("rehearsal."))


def codes(result: Rehearsal) -> list[str]:
    return [one.code for one in result.findings if one.severity != "note"]


def test_good_recipe_passes_every_stage_and_leaves_nothing(tmp_path: Path, tmp: Path, lorry_home: Path):
    seen: list[Any] = []
    values = lorry.Recipe.model_validate(rehearsal_recipe(tmp_path))
    result = lorry.rehearse(values, limit=LIMIT, watch=seen.append)
    assert [stage.name for stage in result.stages] == list(STAGES)
    assert {stage.ending for stage in result.stages} == {"passed"}
    assert (result.passed, result.exit_code) == (True, 0)
    told = {stage.name: stage.told for stage in result.stages}
    assert told["resume"] == "cut off after step 1, it went on to the same bits"
    assert "exact_match" in told["generation"]
    assert [one for one in seen if isinstance(one, str)] == list(STAGES)
    assert json.loads(json.dumps(result.as_json()))["passed"]
    assert left_in(lorry_home) == set()
    assert list(tmp.iterdir()) == []


def rehearsal_recipe(folder: Path) -> dict[str, Any]:
    from tiny_runs import recipe

    return recipe(folder, evaluate={"metrics": ["exact_match"]}, train={"learning_rate": 2e-4})


def test_wrong_input_is_found_by_the_checks_and_nothing_else_is_tried(tmp_path: Path, tmp: Path):
    result = rehearsed(tmp_path, lora={"target_modules": ["q_prj"]})
    assert [stage.name for stage in result.stages] == ["check"]
    assert (result.failed is not None, result.exit_code) == (True, 2)
    assert "targets.missing" in codes(result)
    assert list(tmp.iterdir()) == []


def test_what_this_machine_refuses_is_rehearsed_all_the_same(tmp_path: Path):
    result = rehearsed(tmp_path, model={"precision": "fp16"})
    assert result.passed
    assert result.exit_code == 3
    assert "model.precision: fp16 -> fp32 (processors do not train in fp16)" in result.changes


def test_full_training_packing_and_no_evaluation_pass(tmp_path: Path):
    result = rehearsed(tmp_path, lora=None, data={"packing": True, "eval_split": 0}, train={"learning_rate": 1e-5})
    assert result.passed
    assert [stage.name for stage in result.stages if stage.ending == "left out"] == ["evaluation"]


def test_metrics_that_are_watched_are_scored_in_the_rehearsed_evaluation(tmp_path: Path):
    train = {"best_by": "exact_match", "early_stop": {}, "learning_rate": 2e-4}
    result = rehearsed(tmp_path, train=train, evaluate={"metrics": ["exact_match"], "rows_in_training": 50})
    assert result.passed
    assert "exact_match" in {stage.name: stage.told for stage in result.stages}["evaluation"]
    assert "evaluate.rows_in_training: 50 -> 4" in result.changes


def test_quantised_weights_are_rehearsed_where_they_work(tmp_path: Path):
    result = rehearsed(tmp_path, model={"quantization": "nf4"})
    assert result.passed
    assert result.changes == [] or "bitsandbytes does not work here" in result.changes[0]


TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}{% if 'pink' in messages[-1]['content'] %}{{ raise_exception('no pink') }}{% endif %}"
    "<|im_start|>assistant\n{% endif %}"
)


def test_template_that_fails_on_one_row_is_found_with_it(tmp_path: Path):
    (tmp_path / "pink.jinja").write_text(TEMPLATE)
    write_rows(tmp_path / "eval.jsonl", chat_rows(8))
    data = {"chat_template": str(tmp_path / "pink.jinja"), "eval": str(tmp_path / "eval.jsonl")}
    result = rehearsed(tmp_path, data=data)
    assert result.exit_code == 2
    assert any("no pink" in f"{one.message} {one.evidence}" for one in result.findings)


def test_template_that_fails_in_prompts_alone_is_found_with_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = METHOD.format(body="return super().loss(policy, batch, whole)") + (
        "    def examples_of(self, rows, renderer):\n"
        "        yield from renderer.documents([row.messages[-1]['content'] for row in rows])\n"
    )
    add_plugin(monkeypatch, tmp_path, "methods", "answers_only", code)
    (tmp_path / "pink.jinja").write_text(TEMPLATE)
    write_rows(tmp_path / "eval.jsonl", chat_rows(8))
    data = {"chat_template": str(tmp_path / "pink.jinja"), "eval": str(tmp_path / "eval.jsonl")}
    result = rehearsed(tmp_path, data=data, evaluate={"rows": 10}, method={"name": "answers_only"})
    finding = found(result)
    assert (finding.code, result.exit_code) == ("rehearsal.rows", 2)
    assert finding.place.endswith("eval.jsonl:7")
    assert "no pink" in finding.message


def test_metric_that_fails_at_a_row_is_found_with_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    body = "return 1 / (answer.truth.count('e') - 1 if 'pink' in answer.truth else 1)"
    add_plugin(monkeypatch, tmp_path, "metrics", "counts_e", METRIC.format(body=body))
    write_rows(tmp_path / "eval.jsonl", chat_rows(8))
    result = rehearsed(
        tmp_path, data={"eval": str(tmp_path / "eval.jsonl")}, evaluate={"metrics": ["counts_e"], "rows": 10}
    )
    finding = found(result)
    assert finding.code == "rehearsal.metrics"
    assert finding.place.endswith("eval.jsonl:7")
    assert "`counts_e` gives -1" in finding.message


def test_metric_that_raises_at_what_a_model_says_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    body = "return float(['wrong'].index(answer.prediction) if answer.prediction != answer.truth else 1)"
    add_plugin(monkeypatch, tmp_path, "metrics", "picky", METRIC.format(body=body))
    finding = found(rehearsed(tmp_path, evaluate={"metrics": ["picky"]}))
    assert (finding.code, finding.place) == ("rehearsal.generation", "evaluate.metrics")
    assert "picky failed at" in finding.message
    assert "ValueError" in finding.message


def test_metric_that_hangs_is_ended_at_the_limit(tmp_path: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch):
    add_plugin(monkeypatch, tmp_path, "metrics", "slow", METRIC.format(body="time.sleep(1000)"))
    finding = found(rehearsed(tmp_path, limit=4, evaluate={"metrics": ["slow"]}))
    assert (finding.code, finding.place, finding.refusal) == ("rehearsal.time-limit", "evaluate.metrics", True)
    assert "`slow` scored the row" in finding.evidence
    assert list(tmp.iterdir()) == []


def test_method_that_fails_in_its_loss_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    body = "return Share(super().loss(policy, batch, whole).loss * (1 // int(self.power)))"
    add_plugin(monkeypatch, tmp_path, "methods", "powered", METHOD.format(body=body))
    finding = found(rehearsed(tmp_path, method={"name": "powered", "power": 0.5}))
    assert (finding.code, finding.place) == ("rehearsal.training", "method")
    assert "ZeroDivisionError" in finding.message
    assert "in loss" in finding.evidence


def test_loss_that_is_no_number_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    body = "return Share(super().loss(policy, batch, whole).loss * float('nan'))"
    add_plugin(monkeypatch, tmp_path, "methods", "nothing", METHOD.format(body=body))
    finding = found(rehearsed(tmp_path, method={"name": "nothing"}))
    assert finding.code == "rehearsal.training"
    assert "not a number" in finding.message


def test_adapter_that_peft_refuses_is_found(tmp_path: Path):
    recurrent = bare_model(tmp_path / "mamba", model_type="mamba", state_size=16)
    finding = found(rehearsed(tmp_path, model=recurrent, lora={"target_modules": ["conv1d"]}))
    assert finding.code == "rehearsal.model"
    assert "incompatible" in finding.message
    assert finding.place.startswith("lora")


def test_mixture_is_rehearsed_as_one_with_adapters_on_its_experts(tmp_path: Path):
    mixture = bare_model(tmp_path / "moe", model_type="qwen3_moe", num_experts=8, moe_intermediate_size=64)
    result = rehearsed(tmp_path, model=mixture, lora={"experts": True}, train={"micro_batch": 2, "accumulation": 2})
    assert result.passed, result.findings


def test_adapter_on_embeddings_that_are_the_head_is_warned_of(tmp_path: Path):
    result = rehearsed(tmp_path, lora={"target_modules": ["embed_tokens", "q_proj"]})
    (warned,) = [one for one in result.findings if one.code == "rehearsal.warned"]
    assert "tie_word_embeddings" in warned.message
    assert result.passed


def test_configuration_that_builds_no_model_is_found(tmp_path: Path):
    model = bare_model(tmp_path / "odd", model_type="llama", hidden_act="snake")
    finding = found(rehearsed(tmp_path, model=model))
    assert (finding.code, finding.place) == ("rehearsal.model", "model.id")
    assert "snake" in finding.message


def test_rows_beyond_learned_positions_are_found(tmp_path: Path):
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 16}
    finding = found(rehearsed(tmp_path, model=bare_model(tmp_path / "short", model_type="gpt2", **sizes)))
    assert finding.code == "rehearsal.training"
    assert "IndexError" in finding.message


def test_tokenizer_that_transformers_reads_otherwise_is_found(tmp_path: Path):
    model = bare_model(tmp_path / "odd", model_type="llama")
    file = tmp_path / "odd" / "tokenizer_config.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True})
    )
    rows = write_rows(tmp_path / "about.jsonl", [{"prompt": "about", "completion": f"about {at}"} for at in range(9)])
    finding = found(rehearsed(tmp_path, model=model, data={"train": str(rows)}))
    assert finding.code == "rehearsal.plain-peft"
    assert "about.jsonl:" in finding.message


def test_model_that_brings_its_own_code_is_rehearsed_where_that_is_trusted(tmp_path: Path):
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    model = bare_model(tmp_path / "own", model_type="own", auto_map=classes)
    (tmp_path / "own" / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n\n\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n\n\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    result = rehearsed(tmp_path, model={**model, "trust_remote_code": model["id"]})
    assert result.passed, result.findings


def test_model_that_is_not_here_needs_only_a_tokenizer(tmp_path: Path):
    unknown = rehearsed(tmp_path, model={"id": "Qwen/Qwen2.5-7B-Instruct"})
    assert unknown.exit_code == 2
    assert "--tokenizer FOLDER" in next(one.message for one in unknown.findings if one.code == "rehearsal.no-tokenizer")


def test_recipe_of_7b_is_rehearsed_from_its_card(tmp_path: Path):
    from tiny_runs import recipe

    benchmark = importlib.util.spec_from_file_location("bench", Path(__file__).parents[1] / "benchmarks/rehearsal.py")
    assert benchmark is not None
    assert benchmark.loader is not None
    module = importlib.util.module_from_spec(benchmark)
    benchmark.loader.exec_module(module)
    values = recipe(tmp_path, model={"id": "Qwen/Qwen2.5-7B-Instruct"}, evaluate={"metrics": ["exact_match"]})
    tokenizer = module.make_tokenizer(tmp_path / "tokenizer")
    result = lorry.rehearse(lorry.Recipe.model_validate(values), tokenizer=tokenizer, limit=LIMIT)
    assert result.passed
    assert "152,064 tokens" in next(stage.told for stage in result.stages if stage.name == "model")
    assert "the architecture is that of lorry's card" in " ".join(one.message for one in result.findings)


def test_rows_with_images_are_rehearsed_on_a_small_copy(tmp_path: Path):
    recipe = lorry.Recipe.model_validate(vision_recipe(tmp_path, "qwen3_vl"))
    result = lorry.rehearse(recipe, limit=LIMIT)
    assert result.passed, result
