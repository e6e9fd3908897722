"""Builders for tests of evaluation: a tiny real model with a real adapter, and rows rendered for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.data.examples import ExampleSet, write_examples
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.recipe.schema import Recipe
from lorry.track.folder import RunFolder, write_json
from lorry.track.store import Store
from model_folders import save_model

if TYPE_CHECKING:
    from lorry.trainer.model import LoadedModel


@dataclass
class TinyTask:
    index: int
    messages: list[dict[str, Any]]
    truth: str
    origin: str
    tools: None = None
    columns: dict[str, Any] = field(default_factory=dict[str, Any])
    pictures: tuple[()] = ()


@dataclass
class TinyPrepared:
    train: ExampleSet
    eval: ExampleSet | None = None
    test: ExampleSet | None = None
    by_split: dict[str, list[TinyTask]] = field(default_factory=dict[str, list[TinyTask]])

    def tasks(self, split: str) -> list[TinyTask]:
        return self.by_split.get(split, [])

    def with_columns(self, split: str, tasks: list[TinyTask]) -> list[TinyTask]:
        del split
        return tasks


def tiny(folder: Path, **changes: Any) -> tuple[LoadedModel, Tokenizer]:
    """A Llama with a byte vocabulary and a LoRA adapter, both random, so that they answer differently."""
    from lorry.trainer.model import load

    model, adapter = save_tiny(folder, **changes)
    return load(recipe(), model, adapter=adapter, trainable=False), Tokenizer.open(model)


def save_tiny(folder: Path, seed: int = 1, **changes: Any) -> tuple[Path, Path]:
    """The folders of a tiny model and of its adapter, as Transformers and PEFT write them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    place = save_model(folder / "model", **changes)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.4) if weight.dim() > 1 else torch.nn.init.ones_(weight)
    model.save_pretrained(place)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(folder / "adapter")
    return place, folder / "adapter"


def finished_run(home: Path, folder: Path, rows: Sequence[tuple[str, str]]) -> RunFolder:
    """A run's folder and its row in the store, as a run leaves them that was trained and is scored on these rows."""
    from lorry.data.prepare import prepare

    model, adapter = save_tiny(folder)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps({"messages": _turns(*pair)}) + "\n" for pair in rows), encoding="utf-8")
    data = {"train": str(file), "eval": str(file)}
    asked = {"metrics": ["exact_match", "dangerous_command"], "rows": 4, "max_new_tokens": 4}
    made = Recipe.model_validate({"model": {"id": str(model), "precision": "fp32"}, "data": data, "evaluate": asked})
    run = RunFolder(home / "runs" / "tiny-sft-20260101-000000")
    shutil.copytree(adapter, run.adapter)
    facts = {"recipe": made.model_dump(mode="json"), "base": str(folder), "model_folder": str(model)}
    ready = prepare(made, folder, Tokenizer.open(model))
    write_json(run.resolved, {**facts, "data_folder": str(ready.folder), "command": ["lorry", "run"], "smoke": False})
    at = 1_767_225_600.0
    Store.open().add(run.id, name="tiny", folder=run.path, model=str(model), method="sft", created_at=at)
    return run


def prepared(
    folder: Path, tokenizer: Tokenizer, evaluation: Sequence[tuple[str, str]], **more: Sequence[tuple[str, str]]
) -> TinyPrepared:
    """Rows of question and answer, rendered: the evaluation rows, and `train` and `test` where given."""
    splits = {"train": more.get("train", [("a", "b")]), "eval": evaluation, "test": more.get("test", [])}
    sets = {name: _examples(folder / name, tokenizer, name, pairs) for name, pairs in splits.items()}
    tasks = {name: _tasks(name, pairs) for name, pairs in splits.items()}
    return TinyPrepared(
        sets["train"], sets["eval"] if evaluation else None, sets["test"] if splits["test"] else None, tasks
    )


def recipe(**evaluate: Any) -> Recipe:
    return Recipe.model_validate(
        {"model": {"id": "tiny", "precision": "fp32"}, "data": {"train": "x.jsonl"}, "evaluate": evaluate}
    )


def _examples(folder: Path, tokenizer: Tokenizer, name: str, pairs: Sequence[tuple[str, str]]) -> ExampleSet:
    renderer = Renderer(tokenizer, 200)
    rows = [Row(Origin(f"{name}.jsonl", number), messages=_turns(*pair)) for number, pair in enumerate(pairs, 1)]
    return write_examples(folder, [(renderer.chat(row), row.origin) for row in rows])


def _tasks(name: str, pairs: Sequence[tuple[str, str]]) -> list[TinyTask]:
    return [
        TinyTask(index, _turns(*pair)[:1], pair[1], f"{name}.jsonl:{index + 1}") for index, pair in enumerate(pairs)
    ]


def _turns(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
