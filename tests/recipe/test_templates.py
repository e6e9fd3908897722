"""Every template that comes with lorry: it says what it should, and works from the first check to a tested adapter."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import tiny_runs
from lorry.cli.main import run
from lorry.compute.machine import wheel
from lorry.plan.check import check
from lorry.plan.plan import make_plan
from lorry.plan.subject import Subject
from lorry.recipe.init import compose, of_template
from lorry.recipe.load import load
from lorry.recipe.schema import Recipe
from lorry.recipe.template_files import find, templates
from lorry.rehearsing import Wish, carry_out
from lorry.trainer.sources.locate import Source
from model_folders import save_model
from rehearsals import LIMIT, use_own_tmp
from subjects import gpu, machine

LLAMA_1B, LLAMA_7B = "meta-llama/Llama-3.2-1B", "meta-llama/Llama-2-7b-hf"


def turns(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


CHATS = tiny_runs.chat_rows(40)
PAIRS = [
    {
        "prompt": turns("user", f"{word} {at}"),
        "chosen": turns("assistant", f"{word} it is"),
        "rejected": turns("assistant", f"{other} {other}"),
    }
    for at, (word, other) in enumerate(zip(tiny_runs.WORDS * 5, tiny_runs.WORDS[1:] * 6, strict=False))
]
PROMPTS = [{"prompt": f"{word} {at}", "answer": word} for at, word in enumerate(tiny_runs.WORDS * 5)]
TEXTS = [{"text": f"{word} {at} comes after {word} {at - 1}. " * 4} for at, word in enumerate(tiny_runs.WORDS * 5)]


@dataclass(frozen=True)
class Promise:
    """What a template is to say, and rows for it."""

    model: str
    method: dict[str, Any]
    batch: tuple[int, int]
    """Micro-batch and accumulation."""
    max_length: int
    rows: list[dict[str, Any]] = field(repr=False)
    packing: bool = False
    flags: tuple[str, ...] = ()
    """What a run of a tiny model takes besides."""


PROMISES = {
    "sft_standard": Promise(f"{LLAMA_1B}-Instruct", {"name": "sft"}, (4, 8), 2048, CHATS),
    "dpo_standard": Promise(LLAMA_7B, {"name": "dpo", "beta": 0.1}, (2, 16), 512, PAIRS),
    "orpo_standard": Promise(LLAMA_7B, {"name": "orpo", "beta": 0.1}, (4, 4), 1024, PAIRS),
    "rlhf_standard": Promise(
        LLAMA_7B,
        {"name": "ppo", "epochs": 4, "clip_range": 0.2},
        (4, 4),
        512,
        PROMPTS,
        flags=("method.max_new_tokens=8",),
    ),
    "cpt_standard": Promise(LLAMA_1B, {"name": "cpt"}, (4, 8), 4096, TEXTS, packing=True),
}
SHIPPED = sorted(name for name, one in templates().items() if not one.is_asked_for)
each = pytest.mark.parametrize("name", SHIPPED)


def written(folder: Path, name: str) -> Path:
    """The recipe as `lorry init` writes it, beside rows."""
    rows = tiny_runs.write_rows(folder / "rows.jsonl", PROMISES[name].rows)
    assert run(["init", str(folder), "--template", name, "--data", str(rows)]) == 0
    return folder / "recipe.yaml"


def tiny_llama(folder: Path, *, template: bool) -> Path:
    """A random model of the templates' architecture, of layers just wide enough for NF4."""
    save_model(folder)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 4096}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, **sizes)).save_pretrained(folder)
    if not template:
        (folder / "chat_template.jinja").unlink()
    return folder


def test_every_template_for_one_model_is_known_here():
    assert set(PROMISES) == set(SHIPPED)


@each
def test_template_says_what_it_promises_and_no_more_than_a_recipe_can(name: str, tmp_path: Path):
    loaded, promised = load(written(tmp_path, name)), PROMISES[name]
    recipe = loaded.recipe
    assert loaded.warnings == []
    assert loaded.text.startswith("# ")
    assert (recipe.model.id, recipe.model.quantization) == (promised.model, "nf4")
    assert {key: recipe.method.get(key) for key in promised.method} == promised.method
    assert recipe.lora is not None
    assert (recipe.lora.rank, recipe.lora.alpha, recipe.lora.target_modules) == (16, 32, "all-linear")
    assert (recipe.train.micro_batch, recipe.train.accumulation) == promised.batch
    assert (recipe.data.max_length, recipe.data.packing) == (promised.max_length, promised.packing)
    assert recipe.data.train == str(tmp_path / "rows.jsonl")
    assert recipe.train.early_stop is not None or recipe.train.deliver == "last"
    assert Recipe.model_validate(recipe.model_dump()) == recipe


@each
def test_template_has_nothing_wrong_by_the_checks(name: str, tmp_path: Path):
    loaded = load(written(tmp_path, name))
    folder = tiny_llama(tmp_path / "model", template="Instruct" in loaded.recipe.model.id)
    subject = Subject(
        loaded.recipe,
        loaded.base,
        source=Source(loaded.recipe.model.id, "folder", folder),
        hardware=machine(gpu()),
    )
    found = [finding for finding in check(subject) if finding.severity != "note"]
    assert [finding.code for finding in found] == []


@each
def test_template_is_planned_without_a_network(name: str, tmp_path: Path):
    plan = make_plan(Subject.of(load(written(tmp_path, name))))
    assert plan.estimate is not None
    assert {one.code for one in plan.findings if one.severity == "error"} <= {
        "model.unavailable",
        "memory.too-little",
        "memory.ladder",
    }


@pytest.mark.slow
@each
def test_template_can_be_rehearsed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    use_own_tmp(monkeypatch, tmp_path)
    path = written(tmp_path, name)
    model = tiny_llama(tmp_path / "model", template="sft" in name)
    result = carry_out(Wish(load(path, [f"model.id={model}"]), LIMIT), lambda _stage: None)
    assert {stage.ending for stage in result.stages} <= {"passed", "left out"}, result.findings
    assert result.exit_code == 0, result.findings


@each
def test_template_trains_three_steps_on_a_tiny_model_in_4_bits(name: str, tmp_path: Path):
    path = written(tmp_path, name)
    model = tiny_llama(tmp_path / "model", template="sft" in name)
    short = {"steps": 3, "epochs": None, "eval_every": 1}
    flags = [f"model.id={model}", "data.max_length=256", "evaluate.rows=2", "evaluate.max_new_tokens=4"]
    flags += PROMISES[name].flags
    recipe = load(path, flags).recipe
    values = {**recipe.model_dump(mode="json"), "train": {**recipe.train.model_dump(mode="json"), **short}}
    made = tiny_runs.train_here(values)
    assert tiny_runs.events_of(made, "finished"), made.folder.events.read_text()[-2000:]
    assert [event.step for event in tiny_runs.events_of(made, "step")] == [1, 2, 3]
    assert (made.adapter / "adapter_model.safetensors").is_file()


def test_list_tells_what_each_is_for_and_its_model_and_method(capsys: pytest.CaptureFixture[str]):
    assert run(["templates"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("chat", *SHIPPED))
    assert run(["templates", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(templates())
    assert (listed["dpo_standard"]["model"], listed["dpo_standard"]["method"]) == (LLAMA_7B, "dpo")
    assert (listed["chat"]["model"], listed["chat"]["method"]) == (None, "sft")
    assert all(one["summary"] for one in listed.values())


@each
def test_another_model_and_odd_rows_take_the_place_of_the_templates_own(name: str, tmp_path: Path):
    odd = str(tmp_path / "my rows: #1.jsonl")
    text = compose(of_template(name, model="some/other-7B", data=odd), tmp_path)
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    recipe = load(tmp_path / "recipe.yaml").recipe
    assert (recipe.model.id, recipe.data.train) == ("some/other-7B", odd)
    own = find(name).text.splitlines()
    assert len([1 for one, other in zip(own, text.splitlines(), strict=True) if one != other]) == 2


def test_name_of_a_template_may_be_written_with_dashes():
    assert find("DPO-standard").name == "dpo_standard"


def test_templates_travel_to_rented_machines_and_to_whoever_installs_lorry(tmp_path: Path):
    from zipfile import ZipFile

    with ZipFile(wheel.build(tmp_path)) as made:
        names = set(made.namelist())
    assert {f"lorry/recipe/templates/{name}.yaml" for name in templates()} <= names
