"""Chat templates that other systems know by name: whether one is the model's own, which lorry renders with."""

from __future__ import annotations

import json
import re
from typing import cast

from lorry.recipe.importers._sheet import Part, Sheet

_FAMILIES: tuple[tuple[str, str], ...] = (
    ("qwen2_vl", r"qwen-?(2([.-]5)?|3)-?vl"),
    ("qwen2_5_vl|qwen2\\.5_vl", r"qwen-?2[.-]5-?vl"),
    ("qwen3_vl", r"qwen-?3-?vl"),
    ("qwen_?3_?5", r"qwen-?3[.-]5"),
    ("qwen_?3", r"qwen-?3"),
    ("qwen_?2[._]?5|qwen2", r"qwen-?2"),
    ("qwen", r"qwen|qwq"),
    ("llama-?4", r"llama-?4"),
    ("llama-?3_?2_vision|mllama", r"llama-?3.*vision|mllama"),
    ("llama-?3", r"llama-?3"),
    ("llama-?2", r"llama-?2"),
    ("mistral|ministral|pixtral", r"mistral|mixtral|ministral|pixtral"),
    ("gemma-?3n", r"gemma-?3n"),
    ("gemma-?4", r"gemma-?4"),
    ("gemma-?3", r"gemma-?3"),
    ("gemma", r"gemma"),
    ("phi-?4", r"phi-?4"),
    ("phi", r"phi"),
    ("deepseek", r"deepseek"),
    ("cohere|command", r"command|c4ai|aya|cohere"),
    ("llava", r"llava"),
    ("granite", r"granite"),
    ("smollm|smolvlm", r"smollm|smolvlm"),
    ("glm", r"glm"),
    ("yi", r"(^|[/_-])yi-"),
    ("intern", r"intern"),
    ("exaone", r"exaone"),
    ("jamba", r"jamba"),
    ("falcon", r"falcon"),
    ("olmo", r"olmo"),
    ("gpt_oss", r"gpt-?oss"),
    ("ernie", r"ernie"),
    ("hunyuan", r"hunyuan"),
    ("kimi|moonlight", r"kimi|moonlight"),
    ("minicpm|cpm", r"minicpm"),
    ("seed", r"seed"),
)
"""How templates are called, and how the models are called that come with them; the more particular ones first."""


def is_own(template: str, model: str, sheet: Sheet) -> bool:
    """Whether a template, by its name, is the one that a model, by its id or by its own configuration, comes with."""
    models = next((models for names, models in _FAMILIES if re.match(names, template.lower())), None)
    if models is None:
        return False
    return any(re.search(models, name.lower().replace("_", "-")) for name in _names(model, sheet))


def of_model(part: Part, key: str, template: str, model: str) -> None:
    """The field names a template that must be the model's own."""
    if is_own(template, model, part.sheet):
        part.done(key, why=f"`{model}` comes with it: lorry renders with the model's own chat template")
    else:
        why = (
            f"`{model}` is not known to come with it, and lorry has no template of that name: without the field the "
            "model's own is taken; another one can be given as Jinja in `data.chat_template`"
        )
        part.lacks(key, why, ("axolotl",))


def _names(model: str, sheet: Sheet) -> list[str]:
    """The model's id, and for a folder the kind that its configuration tells."""
    folder = sheet.local(model)
    file = folder / "config.json" if folder is not None else None
    if file is None or not file.is_file():
        return [model]
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [model]
    kind = cast("dict[str, object]", config).get("model_type") if isinstance(config, dict) else None
    return [model.rstrip("/").rpartition("/")[2], str(kind)]
