"""The models that judge: whether each is there, gives a number, and fits the base that it is put on. No weights are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from lorry.errors import InputError, LorryError, ModelError
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, from_error, note, warning
from lorry.plan.reward_models import known, labels_of, misfit
from lorry.plan.subject import UnavailableError
from lorry.plugins import make
from lorry.recipe.earlier import Earlier, find
from lorry.recipe.name import experiment_name
from lorry.recipe.paths import in_clone, is_run_name
from lorry.trainer.methods._rollouts import FromRollouts
from lorry.trainer.rewards.adapter import AdapterReward
from lorry.trainer.rewards.classifier import ClassifierReward

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import Recipe
    from lorry.trainer.methods._base import Method
    from lorry.trainer.rewards._base import Reward

_NAME_ONE = "name a run with `method: reward`, or the `adapter` folder of one"


class RewardModelsCheck(Check):
    """Whether the reward models and classifiers of the recipe can judge answers."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "rewards.adapter": Explanation(
            "A reward names no run that has delivered an adapter, or a folder without its configuration and weights.",
            "No answer could be judged.",
            "Name a run with `method: reward` as `lorry ps` lists it, `last`, or the `adapter` folder of one.",
        ),
        "rewards.no-head": Explanation(
            "The adapter that is to judge has no head that gives a number.",
            "It was trained to write text, not to judge it.",
            "Train it with `method: reward`.",
        ),
        "rewards.to-come": Explanation(
            "Answers are judged by what another recipe of the same command has yet to make.",
            "Memory is that of an adapter as its recipe describes it.",
        ),
        "rewards.other-base": Explanation(
            "The reward model's adapter was trained on another model than it is put on, or its matrices do not fit there.",
            "An adapter only means something on the weights that it was trained on; on others it is noise.",
            "Set the reward's `base_model` to the model that the adapter names.",
        ),
        "rewards.size": Explanation(
            "The sizes of a model that judges answers are not known, or it could not be looked at.",
            "Memory and time in the plan are those of the run without it: the truth is more.",
            "Try it: `lorry run --smoke`.",
        ),
        "rewards.model": Explanation(
            "A model that is to judge, or the base model of one, is not there, or is no classifier.",
            "No answer could be judged.",
            "Name a sequence-classification model: a folder, relative to the recipe, or a Hub id.",
        ),
        "rewards.labels": Explanation(
            "A classifier has several labels and the recipe names none, or one that it has not got.",
            "A reward is one number, and any of them could be meant.",
            "Set the reward's `output` to one of the labels that the finding lists.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads configurations, and the names and shapes of tensors."""
        method = subject.method
        for number, spec in enumerate(method.rewards if isinstance(method, FromRollouts) else ()):
            try:
                reward = cast("Reward", make("rewards", spec))
            except InputError:
                continue  # the rewards' own check says so
            place = f"method.rewards[{number}]"
            if isinstance(reward, AdapterReward):
                yield from _Judge(reward, place, subject).findings(number)
            elif isinstance(reward, ClassifierReward):
                yield from _of_classifier(reward, place, subject)
        if isinstance(method, FromRollouts):
            yield from _unknown(subject)


@dataclass(frozen=True)
class _Judge:
    """A reward model's adapter in a recipe."""

    reward: AdapterReward
    place: str
    subject: Subject

    def findings(self, number: int) -> Iterable[Finding]:
        """What it lacks."""
        named, base = self.reward.adapter, self.subject.base
        if not is_run_name(named, [base]) and in_clone(named, base, self.subject.recipe):
            return
        to_come = self.subject.judges_to_come.get(("method", "rewards", number, "adapter"))
        try:
            found = to_come or find(named, base, self.place)
        except InputError as cause:
            yield from_error("rewards.adapter", cause)
            return
        if found.maker is not None and found.folder is None:
            yield from self._to_come(found.maker)
        elif found.folder is not None:
            yield from self._there(found, found.folder)

    def _to_come(self, maker: Recipe) -> Iterable[Finding]:
        name = experiment_name(maker)
        if cast("Method", make("methods", maker.method)).head != "score":
            told = f"`{name}` trains with `{maker.method['name']}`, and makes no reward model"
            yield error("rewards.no-head", told, remedy="name a recipe with `method: reward`", place=self.place)
        elif maker.lora is None:
            told = f"`{name}` trains all weights, and makes no adapter to judge by"
            yield error("rewards.adapter", told, remedy="train an adapter there (`lora: {}`)", place=self.place)
        else:
            yield from self._same_base(maker.model.id)
            yield note("rewards.to-come", f"answers are judged by what `{name}` will make", place=self.place)

    def _there(self, found: Earlier, folder: Path) -> Iterable[Finding]:
        from lorry.trainer.sources.tensors import tensors

        named = f"the adapter of `{found.run}`" if found.run else str(folder)
        if (folder / "config.json").is_file() and not (folder / "adapter_config.json").exists():
            told, remedy = f"{named} is a whole model", f"write it as {{name: classifier, model: {folder}}}"
            yield error("rewards.adapter", told, remedy=remedy, place=self.place)
            return
        try:
            config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
            shapes = tensors(folder) or {}
        except (OSError, ValueError, ModelError):
            config, shapes = {}, {}
        if not config or not shapes:
            told = f"{named} is no adapter: it needs adapter_config.json and adapter_model.safetensors"
            yield error("rewards.adapter", told, remedy=_NAME_ONE, place=self.place)
        elif config.get("task_type") != "SEQ_CLS" or not any("score" in name.split(".") for name in shapes):
            told = f"{named} has no head that gives a number: it was trained to write"
            yield error("rewards.no-head", told, remedy=_NAME_ONE, place=self.place)
        else:
            base = self._base_shapes()
            wrong = "" if base is None else misfit(shapes, base)
            if wrong:
                told = f"{named} does not fit the model that it is put on: {wrong}"
                remedy = "set `base_model` to the model that it was trained on"
                yield error("rewards.other-base", told, remedy=remedy, place=self.place)
            else:
                yield from self._same_base(str(config.get("base_model_name_or_path") or ""))

    def _base_shapes(self) -> Mapping[str, Any] | None:
        """The tensors of the model that it is put on; None where they are not known, which other checks tell."""
        if self.reward.base_model is None:
            try:
                return self.subject.tensors
            except UnavailableError:
                return None
        found = known(self.reward.base_model, self.subject.base)
        return found.tensors if found else None

    def _same_base(self, trained_on: str) -> Iterable[Finding]:
        put_on = self.reward.base_model or self.subject.recipe.model.id
        if self.reward.base_model is not None:
            try:
                _folder(self.reward.base_model, self.subject.base)
            except LorryError as cause:
                yield replace(from_error("rewards.model", cause), place=f"{self.place}.base_model")
                return
        if trained_on and trained_on != put_on and Path(trained_on).name != Path(put_on).name:
            told = f"the reward model was trained on {trained_on}, and is put on {put_on}"
            remedy = "set the reward's `base_model` to the model that it was made for"
            yield warning("rewards.other-base", told, remedy=remedy, place=self.place)


def _unknown(subject: Subject) -> Iterable[Finding]:
    """The models that are in no figure; nothing where there are no figures at all."""
    try:
        places = subject.planner.unknown_judges
    except (UnavailableError, LorryError):
        return
    for place in places:
        yield note("rewards.size", "what this model takes is not known, and is in no figure of the plan", place=place)


def _of_classifier(reward: ClassifierReward, place: str, subject: Subject) -> Iterable[Finding]:
    """What a classifier lacks."""
    try:
        folder = _folder(reward.model, subject.base)
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except LorryError as cause:
        yield replace(from_error("rewards.model", cause), place=place)
        return
    except (OSError, ValueError) as cause:
        told = f"`{reward.model}` cannot be read: {cause}"
        yield error("rewards.model", told, remedy="name a model that classifies texts", place=place)
        return
    if not any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or []):
        told = f"`{reward.model}` does not classify texts"
        yield error("rewards.model", told, remedy="name a sequence-classification model", place=place)
        return
    labels = labels_of(config)
    if reward.output is not None and reward.output not in labels:
        told = f"the classifier has no label `{reward.output}`"
    elif reward.output is None and len(labels) > 2:
        told = f"the classifier has {len(labels)} labels, and the recipe names none"
    else:
        return
    remedy = f"set `output` to one of {', '.join(labels[:20])}"
    yield error("rewards.labels", told, remedy=remedy, place=place)


def _folder(model: str, base: Path) -> Path:
    from lorry.recipe.schema import ModelSettings
    from lorry.trainer.sources.locate import locate

    return locate(ModelSettings(id=model), base, weights=False).folder
