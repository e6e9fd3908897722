"""Builders for tests of evaluation: a tiny real model with a real adapter, and rows rendered for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lorry.data.examples import ExampleSet, write_examples
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.recipe.schema import Recipe
from model_folders import save_model


@dataclass
class TinyLoaded:
    """What evaluation uses of a loaded model."""

    model: Any
    device: Any
    dtype: Any

    def base_disabled(self) -> AbstractContextManager[None]:
        return self.model.disable_adapter()


@dataclass
class TinyTask:
    index: int
    messages: list[dict[str, Any]]
    truth: str
    origin: str
    tools: None = None


@dataclass
class TinyPrepared:
    train: ExampleSet
    eval: ExampleSet | None = None
    test: ExampleSet | None = None
    by_split: dict[str, list[TinyTask]] = field(default_factory=dict[str, list[TinyTask]])

    def tasks(self, split: str) -> list[TinyTask]:
        return self.by_split.get(split, [])


def tiny(folder: Path, **changes: Any) -> tuple[TinyLoaded, Tokenizer]:
    """A Llama with a byte vocabulary and a LoRA adapter, both random, so that they answer differently."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    save_model(folder, **changes)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.4)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return TinyLoaded(adapted, torch.device("cpu"), torch.float32), Tokenizer.open(folder)


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
    return Recipe.model_validate({"model": {"id": "tiny"}, "data": {"train": "x.jsonl"}, "evaluate": evaluate})


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


@dataclass
class TinyRowLoss:
    index: int
    loss_sum: float
    tokens: int


def plain_row_losses(
    loaded: TinyLoaded, examples: ExampleSet, indices: Sequence[int], batch_size: int
) -> list[TinyRowLoss]:
    """Losses row by row, in the plainest way."""
    import torch

    found: list[TinyRowLoss] = []
    for index in indices:
        ids = torch.from_numpy(examples[index].ids.astype("int64"))
        trained = torch.from_numpy(examples[index].trained.copy())[1:]
        with torch.inference_mode():
            logits = loaded.model(input_ids=ids[None]).logits[0, :-1]
        each = torch.nn.functional.cross_entropy(logits.float(), ids[1:], reduction="none")
        found.append(TinyRowLoss(index, float(each[trained].sum()), int(trained.sum())))
    return found


@pytest.fixture(scope="module")
def row_losses_there() -> Iterator[None]:
    """Row losses for models that were not loaded by lorry."""
    module = ModuleType("lorry.trainer.row_loss")
    module.row_losses = plain_row_losses  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "lorry.trainer.row_loss", module)
        yield
