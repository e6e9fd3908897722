"""An earlier adapter to continue from: whether it is there, and agrees with the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, warning

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import LoraSettings

_PLACE = "model.adapter"


class AdapterCheck(Check):
    """Whether the adapter that the run continues from is whole and has the recipe's shape."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "adapter.missing": Explanation(
            "`model.adapter` names a folder without an adapter's configuration and weights.",
            "The run would fail when it loads the model.",
            "Name the `adapter` folder of a run, with adapter_config.json and adapter_model.safetensors.",
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
        """Reads the adapter's configuration."""
        recipe = subject.recipe
        if recipe.model.adapter is None or recipe.lora is None:
            return
        folder = Path(subject.base, Path(recipe.model.adapter).expanduser())
        config = _config(folder)
        if config is None:
            yield error(
                "adapter.missing",
                f"{folder} is no adapter: it needs adapter_config.json and adapter_model.safetensors",
                remedy="name the `adapter` folder of a run",
                place=_PLACE,
            )
            return
        yield from _agreement(recipe.lora, config)
        if config.get("task_type") == "SEQ_CLS" and subject.method.head == "language":
            yield error(
                "adapter.disagrees",
                "the adapter is that of a reward model, which cannot go on to answer",
                remedy="name an adapter that was trained to answer, or set `method: reward`",
                place=_PLACE,
            )
        base = config.get("base_model_name_or_path")
        if base and base != recipe.model.id and Path(str(base)).name != Path(recipe.model.id).name:
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


def _agreement(lora: LoraSettings, config: dict[str, Any]) -> Iterable[Finding]:
    wanted = {"r": lora.rank, "lora_alpha": lora.alpha, "use_rslora": lora.rslora, "use_dora": lora.dora}
    names = {"r": "rank", "lora_alpha": "alpha", "use_rslora": "rslora", "use_dora": "dora"}
    targets = config.get("target_modules")
    if lora.target_modules != "all-linear" and isinstance(targets, list) and set(targets) != set(lora.target_modules):
        yield error(
            "adapter.disagrees",
            f"the adapter sits on {', '.join(sorted(map(str, targets)))}, and the recipe asks for other modules",
            remedy=f"set lora.target_modules to [{', '.join(sorted(map(str, targets)))}]",
            place="lora.target_modules",
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


def _text(value: object) -> str:
    """As a recipe writes it: `true`, `8`, `0.5`."""
    return json.dumps(value) if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
