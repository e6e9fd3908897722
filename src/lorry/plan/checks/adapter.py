"""An earlier adapter to continue from: whether it is there, and agrees with the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from lorry.errors import LorryError
from lorry.plan.adapter_places import ROUTERS, expert_tensor, names_experts
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, from_error, note, warning
from lorry.plan.subject import UnavailableError
from lorry.plugins import make
from lorry.recipe.name import experiment_name

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import LoraSettings, Recipe
    from lorry.trainer.methods._base import Method

_PLACE = "model.adapter"


class AdapterCheck(Check):
    """Whether the adapter that the run continues from is whole and has the recipe's shape."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "adapter.missing": Explanation(
            "`model.adapter` names no run that has delivered an adapter, or a folder without its configuration and weights.",
            "The run would fail when it loads the model.",
            "Name a run as `lorry ps` lists it, `last`, or a folder with adapter_config.json and adapter_model.safetensors.",
        ),
        "adapter.to-come": Explanation(
            "The recipe continues what another recipe of the same command has yet to make.",
            "Memory, time and cost are those of a fresh adapter of the same rank.",
        ),
        "adapter.disagrees": Explanation(
            "The earlier adapter has another rank, alpha, kind or other target modules than `lora` asks for.",
            "Its weights do not fit into the adapter that the recipe describes.",
            "Set `lora` to what the adapter has, as the remedy says, or start without `model.adapter`.",
        ),
        "adapter.other-base": Explanation(
            "The earlier adapter was trained on another model than `model.id`.",
            "An adapter only means something on the weights that it was trained on; on others it is noise.",
            "Set `model.id` to the model that the adapter names.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads the adapter's configuration, or the recipe that will make it."""
        recipe = subject.recipe
        if recipe.lora is None:
            return
        try:
            earlier = subject.earlier
        except UnavailableError as unavailable:
            if unavailable.part != "earlier" or not isinstance(unavailable.cause, LorryError):
                raise
            yield from_error("adapter.missing", unavailable.cause)
            return
        if earlier is not None and earlier.folder is not None:
            yield from _in(earlier.folder, subject)
        elif earlier is not None and earlier.maker is not None:
            yield from _to_come(earlier.maker, subject)


def _in(folder: Path, subject: Subject) -> Iterable[Finding]:
    """Of an adapter that is there."""
    config, recipe = _config(folder), subject.recipe
    if config is None:
        yield error(
            "adapter.missing",
            f"{folder} is no adapter: it needs adapter_config.json and adapter_model.safetensors",
            remedy="name a run, or the `adapter` folder of one",
            place=_PLACE,
        )
        return
    yield from _agreement(recipe.lora, config)
    if config.get("task_type") == "SEQ_CLS" and subject.method.head == "language":
        yield _that_of_a_reward_model()
    yield from _same_base(str(config.get("base_model_name_or_path") or ""), recipe)


def _to_come(maker: Recipe, subject: Subject) -> Iterable[Finding]:
    """Of one that another recipe will make, as that recipe describes it."""
    recipe = subject.recipe
    if maker.lora is None:
        yield error(
            "adapter.missing",
            f"`{experiment_name(maker)}` trains all weights, and makes no adapter to continue",
            remedy="train an adapter there (`lora: {}`), or leave out model.adapter",
            place=_PLACE,
        )
        return
    lora = maker.lora
    promised: dict[str, Any] = {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": lora.rslora,
        "use_dora": lora.dora,
    }
    promised |= {"target_parameters": ["experts.down_proj"] if names_experts(lora) else []}
    yield from _agreement(recipe.lora, {**promised, "target_modules": lora.target_modules})
    if cast("Method", make("methods", maker.method)).head != "language" and subject.method.head == "language":
        yield _that_of_a_reward_model()
    yield from _same_base(maker.model.id, recipe)
    told = (
        f"continues the adapter that `{experiment_name(maker)}` will make: planned as a fresh one of rank {lora.rank}"
    )
    yield note("adapter.to-come", told, place=_PLACE)


def _that_of_a_reward_model() -> Finding:
    return error(
        "adapter.disagrees",
        "the adapter is that of a reward model, which cannot go on to answer",
        remedy="name an adapter that was trained to answer, or set `method: reward`",
        place=_PLACE,
    )


def _same_base(base: str, recipe: Recipe) -> Iterable[Finding]:
    if base and base != recipe.model.id and Path(base).name != Path(recipe.model.id).name:
        yield warning(
            "adapter.other-base",
            f"the adapter was trained on {base}, and model.id is {recipe.model.id}",
            remedy="train it on with the model that it was made for",
            place=_PLACE,
        )


def _config(folder: Path) -> dict[str, Any] | None:
    if not (folder / "adapter_model.safetensors").is_file():
        return None
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _agreement(lora: LoraSettings | None, config: dict[str, Any]) -> Iterable[Finding]:
    if lora is None:
        return
    wanted = {"r": lora.rank, "lora_alpha": lora.alpha, "use_rslora": lora.rslora, "use_dora": lora.dora}
    names = {"r": "rank", "lora_alpha": "alpha", "use_rslora": "rslora", "use_dora": "dora"}
    targets = config.get("target_modules")
    if isinstance(targets, list) and _is_otherwise(lora, targets, config):
        yield error(
            "adapter.disagrees",
            f"the adapter sits on {', '.join(sorted(map(str, targets)))}, and the recipe asks for other modules",
            remedy=f"set lora.target_modules to [{', '.join(sorted(map(str, targets)))}]",
            place="lora.target_modules",
        )
    on_experts = any("experts." in name for name in config.get("target_parameters") or ())
    if lora.experts is not None and lora.experts is not on_experts:
        yield error(
            "adapter.disagrees",
            f"the adapter sits on {'experts' if on_experts else 'no experts'}, and the recipe asks for another",
            remedy=f"set lora.experts to {_text(on_experts)}",
            place="lora.experts",
        )
    for key, asked in wanted.items():
        has = config.get(key, asked)
        if has != asked:
            yield error(
                "adapter.disagrees",
                f"the adapter has {names[key]} {_text(has)}, and the recipe asks for {_text(asked)}",
                remedy=f"set lora.{names[key]} to {_text(has)}",
                place=f"lora.{names[key]}",
            )


def _is_otherwise(lora: LoraSettings, targets: list[str], config: dict[str, Any]) -> bool:
    """Whether the recipe names other modules; of mixtures the file names experts and routers apart from modules."""
    if isinstance(lora.target_modules, str):
        return False
    differing = set(targets) ^ set(lora.target_modules)
    if config.get("target_parameters") or lora.experts is False:
        return any(not expert_tensor(name) and name.rpartition(".")[2] not in ROUTERS for name in differing)
    return bool(differing)


def _text(value: object) -> str:
    """As a recipe writes it: `true`, `8`, `0.5`."""
    return json.dumps(value) if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
