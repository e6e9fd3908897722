"""The parts of a rehearsal that run a model, each in a process of its own, in the order in which they stand here."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from lorry.data.prepare import Prepared
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError, ModelError, RunFailedError
from lorry.evaluate.chosen import metrics_of
from lorry.evaluate.metrics._base import Answer, Fault, Metric, value_of
from lorry.plan.rehearsal import model_copy, rows
from lorry.plan.rehearsal.task import Task
from lorry.recipe.schema import Recipe
from lorry.trainer import checkpoint
from lorry.trainer.architectures import class_for
from lorry.trainer.channel import FD
from lorry.trainer.model import head_for
from lorry.trainer.process import work

if TYPE_CHECKING:
    from lorry.data.prepare import Task as Question
    from lorry.plan.rehearsal.worker import Teller

_METRICS_SECONDS = 10.0
"""How long metrics may score rows' own answers; the rest are left out then, and that is said."""
_NO_NEWS = ("Could not find a config file", "Setting `save_embedding_layers`")
"""PEFT's warnings of what is as it should be: a small copy is not on the Hub, and what is trained is saved."""
_FAILED_METRIC = re.compile(r" failed at [\d,]+ of [\d,]+ answers: ")
_NEARLY = 1e-3
"""Relative difference up to which two adapters count as the same but for rounding."""


def score_own_answers(task: Task, teller: Teller) -> None:
    """Has each metric score what the held-back rows say themselves, one row after another, so that a fault names its row."""
    teller.say(stage="metrics")
    metrics = {
        name: metric
        for name, metric in metrics_of(task.recipe.evaluate.metrics, Path(task.base)).items()
        if metric.unavailable() is None
    }
    prepared = Prepared.open(Path(task.all_rows))
    questions = list(rows.questions(prepared, task.asked))
    began, scored = time.monotonic(), 0
    for question in questions if metrics else []:
        if scored and time.monotonic() - began > _METRICS_SECONDS:
            break
        for name, metric in metrics.items():
            teller.say(doing=f"`{name}` scored the row {question.origin}")
            _score(name, metric, question)
        scored += 1
    teller.say(told=f"{', '.join(metrics)} on {scored} of {len(questions)} rows' own answers" if metrics else "none")


def _score(name: str, metric: Metric, question: Question) -> None:
    """Raises DataError where the metric fails at a row's own answer, or gives what is no score."""
    own = Answer(question.truth, question.truth, question.messages, question.origin, question.columns)
    failed, hint = f"the metric `{name}` fails at a row's own answer", "correct the metric, or the row"
    try:
        (said,) = metric.score_all([own])
        metric.score_parts(own)
    except Exception as error:
        raise DataError(f"{failed}: {type(error).__name__}: {error}", place=question.origin, hint=hint) from error
    if isinstance(said, Fault):
        raise DataError(f"{failed}: {said.told}", place=question.origin, hint=hint)
    score, highest = value_of(said), metric.about[name].highest
    if score is not None and highest is not None and not 0 <= score <= highest:
        hint = f"a metric gives a number from 0 to {highest:g}, or None"
        raise DataError(f"the metric `{name}` gives {score}, which is no score", place=question.origin, hint=hint)


def make_model(task: Task, teller: Teller) -> None:
    """Makes the small copy: configuration, random weights, tokenizer."""
    teller.say(stage="model")
    facts = model_copy.make(Path(task.source_folder), task.room.model, trusted=task.recipe.model.trust_remote_code)
    teller.say(told=facts.told())
    recipe = task.recipe
    if facts.was_quantised:
        teller.say(changed="the model comes quantised; its small copy is not")
    if recipe.model.quantization != "none" and (why := model_copy.cannot_quantise(recipe.model.quantization)):
        settings = recipe.model.model_copy(update={"quantization": "none"})
        teller.say(changed=f"model.quantization: {recipe.model.quantization} -> none ({why})")
        recipe = recipe.model_copy(update={"model": settings})
    task.write_run(task.room.run, recipe)


def train(task: Task, teller: Teller) -> None:
    """The run itself, by the trainer: two steps, checkpoints, an evaluation, answers and their scores."""
    with _warnings_told(teller):
        _work(task.room.run, teller)
    # A run goes on without that answer's score; here the metric can be corrected before anything is spent.
    file = task.room.run / "eval" / "scores.json"
    notes = json.loads(file.read_text(encoding="utf-8"))["notes"] if file.is_file() else []
    if failed := [note for note in notes if _FAILED_METRIC.search(note)]:
        hint = "correct the metric: it must score any text that a model may write"
        raise RunFailedError("; ".join(failed), place="evaluate.metrics", hint=hint)


def verify(task: Task, teller: Teller) -> None:
    """Whether both checkpoints are what was written, and the adapter is that of the last."""
    teller.say(stage="checkpoint")
    root = task.room.run / "checkpoints"
    saved = checkpoint.steps(root)
    for step in saved:
        checkpoint.verify(checkpoint.path_of(root, step))
    if len(saved) < 2:
        raise RunFailedError(f"of two steps, {len(saved)} left a checkpoint")
    (weights,) = (task.room.run / "adapter").glob("*.safetensors")
    size = sum(file.stat().st_size for file in checkpoint.path_of(root, saved[-1]).rglob("*") if file.is_file())
    teller.say(told=f"steps {saved[0]} and {saved[-1]} verify, {size / 1e6:.1f} MB each; {weights.name} is delivered")


def resume(task: Task, teller: Teller) -> None:
    """Cuts the run off after its first step, lets it go on, and compares what comes out, bit for bit."""
    teller.say(stage="resume")
    first = checkpoint.steps(task.room.run / "checkpoints")[0]
    begun, recipe = task.room.cut, _recipe_of(task)
    shutil.copytree(
        checkpoint.path_of(task.room.run / "checkpoints", first), checkpoint.path_of(begun / "checkpoints", first)
    )
    quiet = recipe.evaluate.model_copy(update={"rows": 0, "rows_in_training": None, "metrics": []})
    no_stop = recipe.train.model_copy(update={"early_stop": None, "best_by": None})
    task.write_run(begun, recipe.model_copy(update={"evaluate": quiet, "train": no_stop}))
    _work(begun, teller)
    one, other = _weights(task.room.run / "adapter"), _weights(begun / "adapter")
    worst = max((_distance(one[name], other[name]) for name in one), default=0.0) if one.keys() == other.keys() else 1.0
    if worst > _NEARLY:
        told = f"the run that went on after step {first} ended with other weights: they differ by {worst:.2g}"
        raise RunFailedError(told, hint="this is a fault of lorry's, or of the model's code: please report it")
    same = "to the same bits" if worst == 0 else f"to the same weights but for rounding ({worst:.1g})"
    teller.say(told=f"cut off after step {first}, it went on {same}")


def load_plainly(task: Task, teller: Teller) -> None:
    """Loads what was delivered with Transformers and PEFT alone, and has it answer."""
    teller.say(stage="plain PEFT")
    adapter, recipe = task.room.run / "adapter", _recipe_of(task)
    trusted = recipe.model.trust_remote_code is not None
    where = task.room.model if recipe.lora is not None else adapter
    model: Any = _plain(where, recipe, trusted=trusted)
    if recipe.lora is not None:
        model = PeftModel.from_pretrained(model, adapter)
        _must_hold(model, load_file(adapter / "adapter_model.safetensors"))
    ids = _same_tokens(task, adapter, trusted=trusted)
    with torch.inference_mode():
        logits = model.eval()(input_ids=torch.tensor([ids])).logits
    if not bool(logits.isfinite().all()):
        raise RunFailedError("what was delivered answers with what is no number")
    kind = "the adapter" if recipe.lora is not None else "the model"
    teller.say(told=f"{kind} loads, every tensor in its place, and tokens are the same")


def _plain(folder: Path, recipe: Recipe, *, trusted: bool) -> Any:
    if head_for(recipe) == "score":
        return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, trust_remote_code=trusted)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trusted)
    return class_for(config).from_pretrained(folder, trust_remote_code=trusted)


def _must_hold(model: Any, stored: dict[str, torch.Tensor]) -> None:
    """Raises ModelError for a tensor that found no place in the model, or came out of it changed."""
    held = get_peft_model_state_dict(model)
    for name, tensor in stored.items():
        if name not in held:
            raise ModelError(f"PEFT finds no place for {name}", place="lora.target_modules")
        if not torch.equal(held[name].float(), tensor.float()):
            raise ModelError(f"PEFT holds another {name} than was delivered", place="lora.target_modules")


def _same_tokens(task: Task, adapter: Path, *, trusted: bool) -> list[int]:
    """Tokens of the first row, if Transformers makes the same of all rows' texts as lorry. Raises ModelError where not."""
    examples = Prepared.open(task.room.rows).train
    ours = Tokenizer.open(adapter)
    theirs: Any = AutoTokenizer.from_pretrained(adapter, trust_remote_code=trusted)
    for index in range(len(examples)):
        text = ours.decode(examples[index].ids.tolist(), skip_special_tokens=False)
        if cast("list[int]", theirs(text, add_special_tokens=False)["input_ids"]) != ours.encode(text):
            told = f"Transformers makes other tokens of {examples.origin(index)} than lorry, which reads tokenizer.json"
            hint = "see whether tokenizer_config.json names the class that tokenizer.json was made for"
            raise ModelError(told, place="model.id", hint=hint)
    return examples[0].ids[:256].tolist()


def _recipe_of(task: Task) -> Recipe:
    """The recipe that was run: the worker may have had to change it."""
    facts = json.loads((task.room.run / "resolved.json").read_text(encoding="utf-8"))
    return Recipe.model_validate(facts["recipe"])


def _work(folder: Path, teller: Teller) -> None:
    """Has the trainer do a run; what it says goes through the same pipe. Leaves this process where it fails."""
    os.environ[FD] = str(teller.descriptor)
    code = work(folder)
    if code:
        sys.exit(code)


@contextmanager
def _warnings_told(teller: Teller) -> Generator[None]:
    """Within, what PEFT warns of is told as well as logged."""
    log = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        is_news = not any(words in str(message) for words in _NO_NEWS)
        if "peft" in Path(filename).parts and issubclass(category, UserWarning) and is_news:
            teller.say(warned=str(message))
        log(message, category, filename, *rest)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = log


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    files: Sequence[Path] = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """The relative L2 distance of two tensors."""
    if torch.equal(one, other):
        return 0.0
    apart = float((one.double() - other.double()).norm())
    return apart / max(float(one.double().norm()), float(np.finfo(np.float32).tiny))
