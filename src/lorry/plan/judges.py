"""What models that judge take beside the one that is trained: memory and arithmetic, from configurations and tensors' shapes.

All of it is an estimate: of a classifier the widest that its configuration names counts, and conversations are taken to have as
many tokens for it as for the model that is trained.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lorry.errors import LorryError
from lorry.evaluate.adapter_files import changes_base
from lorry.plan.adapter_size import adapter_parameters, with_score
from lorry.plan.architecture.model_shape import ModelShape, model_shape
from lorry.plan.memory import BYTES, Judge, Setup, weights, working_of_token
from lorry.plan.reward_models import Known, known
from lorry.plan.subject import UnavailableError
from lorry.plugins import make
from lorry.recipe.layer import Keys
from lorry.recipe.schema import LoraSettings
from lorry.trainer.methods._rollouts import FromRollouts
from lorry.trainer.precision import decide
from lorry.trainer.rewards.adapter import AdapterReward
from lorry.trainer.rewards.classifier import ClassifierReward

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.earlier import Earlier
    from lorry.trainer.sources.tensors import Tensor


@dataclass(frozen=True)
class Judges:
    """The models that judge in one run."""

    known: tuple[Judge, ...] = ()
    unknown: tuple[str, ...] = ()
    """Those of which no sizes are known: they are in no figure."""


def judges_of(subject: Subject, setup: Setup, *, has_bf16: bool) -> Judges:
    """All that the recipe names, computed as the model that is trained; a classifier as it is stored."""
    method = subject.method
    found, unknown = list[Judge](), list[str]()
    for number, spec in enumerate(method.rewards if isinstance(method, FromRollouts) else ()):
        try:
            reward = make("rewards", spec)
            if isinstance(reward, AdapterReward):
                one = _of_adapter(reward, ("method", "rewards", number, "adapter"), subject, setup)
            elif isinstance(reward, ClassifierReward):
                one = _of_classifier(reward, subject, on_gpu=setup.on_gpu, has_bf16=has_bf16)
            else:
                continue
        except (LorryError, UnavailableError, OSError, ValueError):
            one = None  # checks tell what is wrong with it
        if one is None:
            unknown.append(f"method.rewards[{number}]")
        else:
            found.append(one)
    return Judges(tuple(found), tuple(unknown))


def _of_adapter(reward: AdapterReward, keys: Keys, subject: Subject, setup: Setup) -> Judge | None:
    is_own = reward.base_model is None or _is_own(reward.base_model, subject)
    base = _policy(subject) if is_own else known(str(reward.base_model), subject.base)
    shape = model_shape(base.config) if base else None
    if base is None or shape is None:
        return None
    judge = subject.judges[keys]
    plain = replace(setup, weights=_format(setup), autocast=False)
    whole = with_score(base.tensors, shape.hidden)
    added = _added(judge, whole, shape)
    is_shared = is_own and setup.lora is not None and not _changes_base(judge.folder)
    return Judge(
        weights=4 * added + (0 if is_shared else sum(weights(whole, plain).values())),
        parameters=added + shape.active_parameters - shape.vocabulary * shape.hidden,
        working=working_of_token(shape, BYTES[plain.weights]),
        at_once=reward.batch_size,
        fetched=0 if is_own else base.fetched,
    )


def _format(setup: Setup) -> str:
    """What a base of its own is loaded in, where the policy's is kept in fp32 because all of it is trained."""
    return "bfloat16" if setup.autocast else setup.weights


def _is_own(model: str, subject: Subject) -> bool:
    """Whether a model is the one that is trained."""
    settings = subject.recipe.model
    same = {settings.id, str(subject.source.folder)}
    return model in same or (
        Path(subject.base, model).is_dir() and Path(subject.base, model).samefile(subject.source.folder)
    )


def _policy(subject: Subject) -> Known | None:
    from lorry.trainer.sources.model_folder import read_config

    source, tensors = subject.source, subject.tensors
    return None if tensors is None else Known(read_config(source.folder, source.id), tensors, 0)


def _added(judge: Earlier, base: Mapping[str, Tensor], shape: ModelShape) -> int:
    """Parameters that the adapter brings, its head among them: of its file, or as the recipe that will make it says."""
    from lorry.trainer.sources.tensors import tensors

    if judge.folder is not None:
        return sum(math.prod(one.shape) for one in (tensors(judge.folder) or {}).values())
    lora = judge.maker.lora if judge.maker else None
    return adapter_parameters(lora or LoraSettings(), base, shape.model_type)


def _changes_base(folder: Path | None) -> bool:
    if folder is None:
        return False
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return changes_base(cast("dict[str, Any]", config))


def _of_classifier(reward: ClassifierReward, subject: Subject, *, on_gpu: bool, has_bf16: bool) -> Judge | None:
    found = known(reward.model, subject.base)
    if found is None:
        return None
    config = found.config
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    precision = decide("auto", stored, device="cuda" if on_gpu else "cpu", has_bf16=has_bf16)
    size, shape = BYTES[precision.weights], model_shape(dict(config))
    count = sum(math.prod(one.shape) for one in found.tensors.values())
    hidden = int(config.get("hidden_size") or config.get("dim") or 0)
    inner = int(config.get("intermediate_size") or config.get("hidden_dim") or 4 * hidden)
    looked_up = int(config.get("vocab_size") or 0) * hidden
    return Judge(
        weights=size * count,
        parameters=max(count - looked_up, 0) if shape is None else shape.active_parameters,
        working=working_of_token(shape, size) if shape else size * (2 * inner + 4 * hidden),
        at_once=reward.batch_size,
        fetched=found.fetched,
    )
