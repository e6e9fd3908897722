"""What is taken for a configuration of another system, and what is not; hostile and broken files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorry.errors import RecipeError
from lorry.recipe.importers._sheet import Fate
from lorry.recipe.load import imported, load

AXOLOTL: dict[str, Any] = {
    "base_model": "owner/model",
    "datasets": [{"path": "rows.jsonl", "type": "chat_template"}],
    "adapter": "lora",
    "lora_r": 8,
    "lora_alpha": 16,
    "lora_target_linear": True,
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "num_epochs": 1,
    "learning_rate": 1e-4,
}
FACTORY: dict[str, Any] = {
    "model_name_or_path": "owner/model",
    "stage": "sft",
    "dataset": "identity",
    "lora_target": "all",
}


@pytest.fixture(autouse=True)
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    book({"identity": {"file_name": "identity.json"}})


def book(described: Any) -> None:
    Path("data/dataset_info.json").write_text(json.dumps(described), encoding="utf-8")


def saved(text: str | dict[str, Any]) -> Path:
    file = Path("config.yml")
    file.write_text(text if isinstance(text, str) else yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
    return file


def fails(text: str | dict[str, Any]) -> str:
    """The message of the error that the file is, its place before it and its hint behind it."""
    with pytest.raises(RecipeError) as caught:
        load(saved(text))
    assert caught.value.exit_code == 2
    return f"{caught.value.place}: {caught.value.message} | {caught.value.hint}"


# --- what is a recipe, and what is not


@pytest.mark.parametrize(
    "text",
    [
        "model: {id: owner/model}\ndata: {train: rows.jsonl}\n",
        "model: {id: owner/model}\ndata: {train: rows.jsonl}\nmethod: dpo\nlora: {rank: 4}\n",
    ],
)
def test_recipe_is_no_foreign_configuration(text: str):
    assert load(saved(text)).imported == ()


def test_recipe_with_foreign_names_keeps_its_own_error():
    told = fails("model: {id: owner/model}\ndata: {train: rows.jsonl}\nbase_model: other\nmicro_batch_size: 2\n")
    assert "config.yml:3: base_model: unknown key (did you mean `model`?)" in told
    assert "Axolotl" not in told


def test_recipe_that_extends_is_a_recipe():
    Path("base.yaml").write_text("model: {id: owner/model}\ndata: {train: rows.jsonl}\n")
    assert load(saved("extends: base.yaml\ntrain: {steps: 3}\n")).imported == ()


def test_recipe_may_extend_a_foreign_configuration():
    saved(AXOLOTL)
    Path("more.yaml").write_text("extends: config.yml\nevaluate: {rows: 3}\ntrain: {steps: 5}\n")
    loaded = load("more.yaml", ["lora.rank=2"])
    assert (loaded.recipe.train.steps, loaded.recipe.evaluate.rows, loaded.recipe.lora.rank) == (5, 3, 2)  # type: ignore[union-attr]
    assert [one.title for one in loaded.imported] == ["Axolotl"]
    assert loaded.text.startswith("extends:")


def test_flags_are_laid_over_a_foreign_configuration():
    loaded = load(saved(AXOLOTL), ["train.learning_rate=1e-5"])
    assert loaded.recipe.train.learning_rate == 1e-5
    assert "config.yml:15" in loaded.warnings[0] or "config.yml" in loaded.warnings[0]


def test_names_that_nobody_has_stay_an_error_of_recipes():
    assert "unknown key" in fails("foo: 1\nbar: 2\n")


def test_fields_of_two_systems_are_refused_with_those_of_each():
    told = fails({**AXOLOTL, "model_name_or_path": "owner/model", "stage": "sft"})
    assert "holds fields of two systems: Axolotl (`base_model`" in told
    assert "LLaMA-Factory (`model_name_or_path`, `stage`)" in told


def test_one_stray_field_of_the_other_system_is_an_unknown_one():
    told = fails({**AXOLOTL, "cutoff_len": 512})
    assert "config.yml:13: cutoff_len: Axolotl has no such field" in told
    assert "it is a field of LLaMA-Factory; remove it" in told


def test_import_of_a_recipe_says_that_it_is_none():
    with pytest.raises(RecipeError, match=r"is no configuration of Axolotl or LLaMA-Factory"):
        imported(saved("model: {id: owner/model}\ndata: {train: rows.jsonl}\n"))


# --- what is broken


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the recipe is empty"),
        ("# nothing\n", "the recipe is empty"),
        ("- base_model: x\n", "a recipe is a mapping, and this is a list"),
        ("base_model: x\ndatasets:\n\t- path: y\n", "spaces, not tabs"),
        ("base_model: x\nbase_model: y\n", "`base_model` is given twice"),
        ("base_model: &a [*a]\n", "endless"),
        ("base_model: !!python/object:os.system x\ndatasets: []\n", "tag"),
        ("base_model: x\ndatasets: [\n", "no valid YAML"),
    ],
)
def test_broken_files_are_told_with_their_line(text: str, expected: str):
    assert expected in fails(text)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"base_model": None}, "base_model: is missing"),
        ({"base_model": [1]}, "base_model: must be text, and is a list"),
        ({"base_model": {"a": 1}}, "base_model: must be text, and is a mapping"),
        ({"datasets": "rows.jsonl"}, "datasets: must be a list, and is `rows.jsonl`"),
        ({"datasets": [3]}, "datasets[0]: must be a mapping, and is `3`"),
        ({"datasets": []}, "datasets: is missing"),
        ({"datasets": None}, "datasets: is missing"),
        ({"datasets": [{"type": "alpaca"}]}, "datasets[0].path: is missing"),
        ({"datasets": [{"path": ["a"], "type": "alpaca"}]}, "datasets[0].path: must be text"),
        ({"datasets": [{"path": "a.jsonl", "type": [1]}]}, "datasets[0].type: must be a name or a mapping"),
        ({"datasets": [{"path": "a.jsonl"}]}, "rows that are tokenised already are not read"),
        ({"datasets": [{"path": "a.jsonl", "type": "metharme"}]}, "lorry does not read rows of this type"),
        ({"datasets": [{"path": "d", "data_files": [1], "type": "alpaca"}]}, "data_files: must be names of files"),
        ({"micro_batch_size": "two"}, "train.micro_batch: must be a whole number, and is `two`"),
        ({"micro_batch_size": {"a": 1}}, "train.micro_batch: must be a whole number, and is a mapping"),
        ({"learning_rate": "fast"}, "train.learning_rate: must be a number, and is `fast`"),
        ({"learning_rate": -1}, "train.learning_rate: must be more than 0"),
        ({"learning_rate": None}, "learning_rate: is missing | Axolotl has no default"),
        ({"datasets": [{"path": "a.jsonl", "type": "sharegpt"}]}, "older versions write it as Vicuna does"),
        ({"lora_r": 0}, "lora.rank: must be at least 1"),
        ({"adapter": ["lora"]}, "adapter: must be text, and is a list"),
        ({"adapter": "llama-adapter"}, "llama-adapter: lorry trains LoRA adapters | Axolotl, run by itself, can"),
        ({"rl": "rloo"}, "lorry has no such method"),
        ({"rl": ["dpo"]}, "lorry has no such method"),
        ({"optimizer": "muon"}, "`train.optimizer` is one of: adamw, adamw_8bit"),
        ({"optimizer": {"a": 1}}, "optimizer"),
        ({"lr_scheduler": "rex"}, "`train.schedule` is one of: linear, cosine, constant"),
        ({"lora_dropuot": 0.1}, "Axolotl has no such field, as far as lorry knows | did you mean `lora_dropout`?"),
        ({"val_set_size": "some"}, "data.eval_split: must be a number"),
        ({"batch_size": "many"}, "batch_size: must be a whole number above 0"),
        ({"special_tokens": {"additional_special_tokens": ["<x>"]}}, "adds none"),
        ({"lora_modules_to_save": ["embed_tokens"]}, "the adapter trains no other modules"),
        ({"plugins": ["axolotl.integrations.kd.KDPlugin"]}, "lorry has no such plugin"),
        ({"chat_template": "metharme"}, "is not known to come with it"),
        ({"chat_template": {"a": 1}}, "chat_template"),
        ({"trl": [1]}, "belongs to another method"),
    ],
)
def test_wrong_values_of_axolotl_are_told_with_their_field(changes: dict[str, Any], expected: str):
    values = {**AXOLOTL, **changes}
    if expected == "belongs to another method":
        (told,) = [one.why for one in load(saved(values)).imported[0].fields if one.name == "trl"]
    else:
        told = fails(values)
    assert expected in told
    assert "config.yml" in told or expected in told


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_name_or_path": [1]}, "model_name_or_path: must be text, and is a list"),
        ({"dataset": None}, "dataset: is missing"),
        ({"dataset": {"a": 1}}, "dataset: must be names of data sets"),
        ({"dataset": "one,,two"}, "dataset: must be names of data sets"),
        ({"dataset": "unheard"}, "describes no `unheard` | it describes: `identity`"),
        ({"dataset_dir": "elsewhere"}, "there is no dataset_info.json (looked in elsewhere"),
        ({"dataset_dir": 3}, "lorry reads dataset_info.json of a folder here"),
        ({"stage": "ppo"}, "LLaMA-Factory itself can"),
        ({"stage": "warp"}, "a stage is one of: pt, sft, rm, dpo, kto"),
        ({"finetuning_type": "oft"}, "lorry trains LoRA adapters, or all weights | LLaMA-Factory itself can"),
        ({"quantization_bit": 3}, "lorry quantises to 4 and 8 bits"),
        ({"quantization_method": "hqq"}, "lorry quantises with bitsandbytes"),
        ({"pref_loss": "kto_pair", "stage": "dpo"}, "lorry has: sigmoid, hinge, ipo, orpo, simpo"),
        ({"use_galore": True}, "lorry's optimizers are AdamW's"),
        ({"use_galore": True, "galore_rank": 64}, "belongs to `use_galore`"),
        ({"do_train": False}, "do_train: is false: there is nothing to train"),
        ({"template": "vicuna"}, "is not known to come with it"),
        ({"template": 3}, "template: must be text"),
        ({"per_device_train_batch_size": "two"}, "train.micro_batch: must be a whole number, and is `two`"),
        ({"base_modle": "x"}, "LLaMA-Factory has no such field"),
        ({"report_to": {"a": 1}, "stage": "ppo"}, "LLaMA-Factory itself can"),
    ],
)
def test_wrong_values_of_llama_factory_are_told_with_their_field(changes: dict[str, Any], expected: str):
    assert expected in fails({**FACTORY, **changes})


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ([1], "holds no descriptions by name"),
        ({"identity": 3}, "`identity` is no description"),
        ({"identity": {}}, "has no `file_name`"),
        ({"identity": {"ms_hub_url": "a/b"}}, "lorry does not read `ms_hub_url`"),
        ({"identity": {"script_url": "x"}}, "lorry does not read `script_url`"),
        ({"identity": {"file_name": "a.json", "colums": {}}}, "no such field: `colums`"),
        ({"identity": {"file_name": "a.json", "columns": {"promt": "x"}}}, "columns: no such field: `promt`"),
        ({"identity": {"file_name": "a.json", "columns": [1]}}, "`columns` must be names by name"),
        ({"identity": {"file_name": "a.json", "tags": {"role": "x"}}}, "tags: no such field: `role`"),
        ({"identity": {"file_name": "a.json", "formatting": "chatml"}}, "`formatting` is none that lorry reads"),
        ({"identity": {"file_name": "a.json", "ranking": True}}, "`ranking` is true, and `sft`"),
        ({"identity": {"file_name": "a.json", "tags": {"function_tag": "call"}}}, "calls of tools"),
    ],
)
def test_wrong_descriptions_of_data_sets_are_told_with_file_and_name(described: Any, expected: str):
    book(described)
    assert expected in fails(FACTORY)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"", b"[" * 9000])
def test_broken_dataset_info_is_told(content: bytes):
    Path("data/dataset_info.json").write_bytes(content)
    assert "dataset_info.json: cannot be read" in fails(FACTORY)


def test_several_faults_are_told_in_one_go():
    told = fails({**AXOLOTL, "optimizer": "muon", "lora_dropuot": 0.1, "neftune_noise_alpha": 5})
    assert "3 problems" in told
    for name in ("optimizer", "lora_dropuot", "neftune_noise_alpha"):
        assert f": {name}: " in told
    assert "`lorry recipe import config.yml --leave-out` writes a recipe without them" in told


def test_raw_text_and_conversations_are_two_methods():
    sets = [{"path": "a.jsonl", "type": "chat_template"}, {"path": "b.jsonl", "type": "completion"}]
    assert "datasets[1].type: completion: raw text is a method of its own" in fails({**AXOLOTL, "datasets": sets})


def test_rows_of_two_ways_of_writing_are_refused():
    sets = [{"path": "a.jsonl", "type": "chat_template"}, {"path": "b.jsonl", "type": "alpaca"}]
    assert "are written with one chat template" in fails({**AXOLOTL, "datasets": sets})


def test_steps_count_where_epochs_are_given_too():
    loaded = load(saved({**AXOLOTL, "max_steps": 7, "num_epochs": 3}))
    assert (loaded.recipe.train.steps, loaded.recipe.train.epochs) == (7, None)
    book({"identity": {"file_name": "identity.json"}})
    factory = load(saved({**FACTORY, "max_steps": 7, "num_train_epochs": 3}))
    assert (factory.recipe.train.steps, factory.recipe.train.epochs) == (7, None)


# --- where paths start


def test_paths_start_from_the_current_folder_and_else_from_the_files_own(tmp_path: Path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "there.jsonl").write_text("")
    (tmp_path / "here.jsonl").write_text("")
    sets = [{"path": name, "type": "chat_template"} for name in ("here.jsonl", "there.jsonl", "nowhere.jsonl")]
    Path("project/config.yml").write_text(yaml.safe_dump({**AXOLOTL, "datasets": sets}))
    assert load("project/config.yml").recipe.data.train == [
        str(tmp_path / "here.jsonl"),
        str(tmp_path / "project" / "there.jsonl"),
        str(tmp_path / "nowhere.jsonl"),
    ]


def test_folder_of_data_sets_is_found_beside_the_file(tmp_path: Path):
    (tmp_path / "project" / "data").mkdir(parents=True)
    Path("data/dataset_info.json").rename("project/data/dataset_info.json")
    (tmp_path / "project" / "data" / "identity.json").write_text("[]")
    Path("project/config.yaml").write_text(yaml.safe_dump(FACTORY))
    train: Any = load("project/config.yaml").recipe.data.train
    assert train.path == str(tmp_path / "project" / "data" / "identity.json")


def test_owner_and_name_are_the_hubs_unless_they_lie_here():
    sets = [{"path": "owner/rows", "type": "chat_template"}]
    assert load(saved({**AXOLOTL, "datasets": sets})).recipe.data.train == "hub:owner/rows"
    Path("owner/rows").mkdir(parents=True)
    Path("owner/rows/one.jsonl").write_text("")
    assert str(load(saved({**AXOLOTL, "datasets": sets})).recipe.data.train).endswith("/owner/rows/one.jsonl")


@pytest.mark.parametrize("path", ["s3://bucket/rows.jsonl", "https://example.com/rows.jsonl", "gs://b/rows"])
def test_rows_at_an_address_are_to_be_fetched_first(path: str):
    assert "fetch it first" in fails({**AXOLOTL, "datasets": [{"path": path, "type": "chat_template"}]})


@pytest.mark.parametrize(
    ("split", "train"),
    [
        ("train", "hub:owner/rows"),
        ("test", "hub:owner/rows:test"),
        ("train[:100]", {"path": "hub:owner/rows", "rows": 100.0}),
        ("dev[:5%]", {"path": "hub:owner/rows:dev", "rows": 0.05}),
    ],
)
def test_splits_of_the_hub_are_named_as_lorry_names_them(split: str, train: Any):
    sets = [{"path": "owner/rows", "split": split, "type": "chat_template"}]
    found: Any = load(saved({**AXOLOTL, "datasets": sets})).recipe.data.train
    assert (found if isinstance(found, str) else found.model_dump(exclude_unset=True)) == train


@pytest.mark.parametrize("split", ["train[10:20]", "train[:0]", "train+test", "train[-5%:]"])
def test_rows_from_the_middle_are_refused(split: str):
    sets = [{"path": "owner/rows", "split": split, "type": "chat_template"}]
    assert "lorry takes the first rows" in fails({**AXOLOTL, "datasets": sets})


# --- chat templates


@pytest.mark.parametrize(
    ("template", "model"),
    [
        ("qwen", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen3", "Qwen/Qwen3-8B"),
        ("llama3", "meta-llama/Llama-3.2-1B-Instruct"),
        ("llama3", "NousResearch/Meta-Llama-3-8B-Instruct"),
        ("mistral", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("gemma2", "google/gemma-2-2b-it"),
        ("phi4", "microsoft/phi-4"),
        ("deepseek3", "deepseek-ai/DeepSeek-V3"),
    ],
)
def test_template_of_the_models_family_is_its_own(template: str, model: str):
    loaded = load(saved({**FACTORY, "model_name_or_path": model, "template": template}))
    assert loaded.recipe.data.chat_template is None
    (told,) = [one for one in loaded.imported[0].fields if one.name == "template"]
    assert told.fate is Fate.TRANSLATED
    assert "model's own chat template" in told.why


@pytest.mark.parametrize(
    ("template", "model"),
    [
        ("qwen3", "Qwen/Qwen2.5-7B"),
        ("llama2", "meta-llama/Llama-3.2-1B"),
        ("llama3", "Qwen/Qwen2-7B"),
        ("vicuna", "lmsys/vicuna-7b"),
    ],
)
def test_template_of_another_family_is_refused(template: str, model: str):
    told = fails({**FACTORY, "model_name_or_path": model, "template": template})
    assert f"`{model}` is not known to come with it" in told


def test_models_folder_tells_its_family():
    Path("mine").mkdir()
    Path("mine/config.json").write_text('{"model_type": "qwen2"}')
    assert load(saved({**FACTORY, "model_name_or_path": "mine", "template": "qwen"})).recipe.data.chat_template is None
    Path("mine/config.json").write_text("{")
    assert "is not known" in fails({**FACTORY, "model_name_or_path": "mine", "template": "qwen"})


def test_template_may_be_jinja_or_its_file():
    jinja = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    assert load(saved({**AXOLOTL, "chat_template_jinja": jinja})).recipe.data.chat_template == jinja
    Path("own.jinja").write_text(jinja)
    named = load(saved({**AXOLOTL, "chat_template": "jinja", "chat_template_jinja": "own.jinja"}))
    assert named.recipe.data.chat_template == str(Path("own.jinja").absolute())


def test_special_tokens_of_a_model_here_are_held_against_its_own(tmp_path: Path):
    from model_folders import save_model

    save_model(tmp_path / "model")
    values = {**AXOLOTL, "base_model": "model"}
    assert load(saved({**values, "special_tokens": {"eos_token": "<|im_end|>"}}))
    assert "takes the model's own special tokens" in fails({**values, "special_tokens": {"eos_token": "</s>"}})
