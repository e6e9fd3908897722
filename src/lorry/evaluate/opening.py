"""From what a person names (a run, its beginning, a folder) to a model that answers."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from lorry import plugins
from lorry.data.prepare import renderer_for
from lorry.data.render import Renderer
from lorry.data.tokenizer import Tokenizer
from lorry.errors import InputError, ModelError
from lorry.evaluate.adapter_files import base_model, check_files, gives_rewards, is_whole_model
from lorry.evaluate.folder import read_json, read_lines
from lorry.evaluate.sides import Side, base_of
from lorry.recipe.schema import Recipe
from lorry.track.folder import RunFolder

if TYPE_CHECKING:
    from lorry.trainer.methods._base import Method
    from lorry.trainer.model import LoadedModel


@dataclass(frozen=True)
class Found:
    """An adapter at hand, and what is known of it without loading anything."""

    adapter: Path
    run: RunFolder | None
    """The run that made it; None for a folder that lorry knows nothing of."""
    recipe: Recipe
    base: Path
    """Where the recipe's relative paths start from."""
    model_folder: Path
    """Where the base model lies."""

    @property
    def is_raw_text(self) -> bool:
        """Whether it continues texts, and does not answer."""
        return self.recipe.method["name"] == "cpt"

    @property
    def gives_rewards(self) -> bool:
        """Whether it scores conversations, and cannot answer."""
        return cast("type[Method]", plugins.find("methods", self.recipe.method["name"])).head == "score"

    def must_answer(self) -> None:
        """Raises InputError for a reward model."""
        if self.gives_rewards:
            hint = "score it on pairs: `lorry evaluate RUN --data FILE`"
            raise InputError("this is a reward model: it gives rewards, and no answers", hint=hint)

    @property
    def usual_system(self) -> str:
        """The system message that all rows of its run begin with, for that is how it learnt to be asked; empty for none."""
        answers = self.run.evaluation / "answers.jsonl" if self.run else None
        told = read_lines(answers) if answers and answers.is_file() else []
        found = {_system_of(row) for row in told}
        return found.pop() if len(found) == 1 else ""


@dataclass(frozen=True)
class Opened:
    """An adapter on its model."""

    found: Found
    loaded: LoadedModel
    renderer: Renderer
    """Renders prompts as in training."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, with the recipe's chat template."""
        return self.renderer.tokenizer

    @contextmanager
    def side(self, side: Side) -> Generator[LoadedModel]:
        """The model that answers for one side: with the adapter, or without it."""
        if side == "adapter":
            yield self.loaded
            return
        with base_of(self.loaded, self.found.recipe, self.found.model_folder) as base:
            yield base


def _system_of(answer: dict[str, Any]) -> str:
    first = (answer.get("messages") or [{}])[0]
    return str(first.get("content", "")) if first.get("role") == "system" else ""


def find(named: str, model: str | None = None) -> Found:
    """The adapter of a run (its id, a beginning of it, `last`, or its folder), or in a folder that PEFT wrote.

    `model` replaces the base model that the adapter names. Brings the base model to this machine if need be. Raises
    InputError or ModelError for what is not there, not complete or not readable; loads nothing.
    """
    run, adapter = _placed(named)
    config = check_files(adapter)
    settings = read_json(run.resolved) if run else {}
    recipe = _of_run(run, settings) if run else _of_adapter(adapter, model or base_model(config))
    base = Path(str(settings.get("base", "."))).absolute()
    if model is not None:
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"id": model, "revision": None})})
    kept = Path(str(settings.get("model_folder", "")))
    if model is None and settings.get("model_folder") and (kept / "config.json").exists():
        return Found(adapter, run, recipe, base, kept)
    return Found(adapter, run, recipe, base, _located(recipe, Path() if model else base, named=model is not None))


def open_found(found: Found) -> Opened:
    """Loads the model with its adapter. Raises ModelError when the two do not fit each other."""
    renderer = renderer_for(found.recipe, found.base, tokenizer_of(found))
    return Opened(found, _loaded(found), renderer)


def tokenizer_of(found: Found) -> Tokenizer:
    """The base model's tokenizer; for an adapter of unknown origin its own, if it brings one: tokens may be added."""
    own = found.run is None and (found.adapter / "tokenizer.json").is_file()
    return Tokenizer.open(found.adapter if own else found.model_folder)


def _placed(named: str) -> tuple[RunFolder | None, Path]:
    path = Path(named).expanduser()
    if path.is_dir():
        path = path.absolute()
        run = next((place for place in (path, path.parent) if (place / "resolved.json").is_file()), None)
        if run is None or (path != run and path.name != "adapter"):
            return None, path
        return _delivered(RunFolder(run))
    if "/" in named or "\\" in named:
        raise InputError(f"there is no folder {path}", hint="name a run (`lorry ps` lists them) or an adapter's folder")
    from lorry.track.store import Store

    return _delivered(RunFolder(Store.open().find(named).folder))


def _delivered(run: RunFolder) -> tuple[RunFolder, Path]:
    if not run.adapter.is_dir():
        hint = f"`lorry show {run.id}` tells where the run stands; checkpoints lie in {run.checkpoints}"
        raise InputError(f"run `{run.id}` has delivered no adapter", hint=hint)
    return run, run.adapter


def _of_run(run: RunFolder, settings: dict[str, object]) -> Recipe:
    from lorry.compute.machine.sending import at_home

    try:
        return at_home(Recipe.model_validate(settings.get("recipe")), run)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        hint = "copy its adapter's folder elsewhere and name that, with --model and --data"
        message = f"the run's recipe cannot be read: {where}: {first['msg']}"
        raise InputError(message, place=str(run.resolved), hint=hint) from error


def _of_adapter(adapter: Path, model: str | None) -> Recipe:
    """What is needed to load an adapter of unknown origin: its model, everything else as by default."""
    if model is None:
        hint = "name the base model: `--model ID_OR_FOLDER`"
        raise ModelError("the adapter does not say which model it is for", place=str(adapter), hint=hint)
    lora = None if is_whole_model(adapter) else {}
    method = "reward" if gives_rewards(adapter) else "sft"
    return Recipe.model_validate({"model": {"id": model}, "data": {"train": "-"}, "lora": lora, "method": method})


def _located(recipe: Recipe, base: Path, *, named: bool) -> Path:
    from lorry.trainer.sources.locate import locate

    try:
        return locate(recipe.model, base).folder
    except ModelError as error:
        if named:
            raise
        hint = "name the base model as it is called here: `--model ID_OR_FOLDER`"
        raise ModelError(f"the adapter's base model cannot be had: {error.message}", hint=hint) from error


def _loaded(found: Found) -> LoadedModel:
    from transformers.utils import logging

    from lorry.trainer.model import load

    logging.disable_progress_bar()
    if is_whole_model(found.adapter):
        return load(found.recipe, found.adapter, trainable=False)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loaded = load(found.recipe, found.model_folder, adapter=found.adapter, trainable=False)
    except (RuntimeError, ValueError, KeyError) as error:
        raise _misfit(found, str(error)) from error
    missing = next((str(one.message) for one in said if "missing adapter keys" in str(one.message)), None)
    if missing:
        raise _misfit(found, missing)
    return loaded


def _misfit(found: Found, why: str) -> ModelError:
    first = " ".join(why.split())[:300]
    hint = "name the model that it was trained on: `--model ID_OR_FOLDER`"
    return ModelError(f"the adapter does not fit {found.recipe.model.id}: {first}", place=str(found.adapter), hint=hint)
