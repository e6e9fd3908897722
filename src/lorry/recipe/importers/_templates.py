"""Chat templates that other systems know by name: whether one is the model's own, which lorry renders with."""

from __future__ import annotations

import json
import re
from typing import cast

from lorry.recipe.importers._sheet import Part, Sheet

_FAMILIES: tuple[tuple[str, str, str], ...] = (
    ("qwen2_vl", r"qwen-?(2([.-]5)?|3)-?vl", "qwen"),
    ("qwen2_5_vl|qwen2\\.5_vl", r"qwen-?2[.-]5-?vl", "qwen"),
    ("qwen3_vl", r"qwen-?3-?vl", "qwen"),
    ("qwen_?3_?5", r"qwen-?3[.-]5", "qwen"),
    ("qwen_?3", r"qwen-?3", "qwen"),
    ("qwen_?2[._]?5|qwen2", r"qwen-?2", "qwen"),
    ("qwen", r"qwen|qwq", "qwen"),
    ("llama-?4", r"llama-?4", "meta-llama"),
    ("llama-?3_?2_vision|mllama", r"llama-?3.*vision|mllama", "meta-llama"),
    ("llama-?3", r"llama-?3", "meta-llama"),
    ("llama-?2", r"llama-?2", "meta-llama"),
    ("mistral|ministral|pixtral", r"mistral|mixtral|ministral|pixtral", "mistralai"),
    ("gemma-?3n", r"gemma-?3n", "google"),
    ("gemma-?4", r"gemma-?4", "google"),
    ("gemma-?3", r"gemma-?3", "google"),
    ("gemma", r"gemma", "google"),
    ("phi-?4", r"phi-?4", "microsoft"),
    ("phi", r"phi", "microsoft"),
    ("deepseek", r"deepseek", "deepseek-ai"),
    ("cohere|command", r"command|c4ai|aya|cohere", "cohereforai coherelabs"),
    ("llava", r"llava", "llava-hf liuhaotian"),
    ("granite", r"granite", "ibm-granite ibm"),
    ("smollm|smolvlm", r"smollm|smolvlm", "huggingfacetb"),
    ("glm", r"glm", "thudm zai-org"),
    ("yi", r"(^|[/_-])yi-", "01-ai"),
    ("intern", r"intern", "internlm opengvlab"),
    ("exaone", r"exaone", "lgai-exaone"),
    ("jamba", r"jamba", "ai21labs"),
    ("falcon", r"falcon", "tiiuae"),
    ("olmo", r"olmo", "allenai"),
    ("gpt_oss", r"gpt-?oss", "openai"),
    ("ernie", r"ernie", "baidu"),
    ("hunyuan", r"hunyuan", "tencent"),
    ("kimi|moonlight", r"kimi|moonlight", "moonshotai"),
    ("minicpm|cpm", r"minicpm", "openbmb"),
    ("seed", r"seed", "bytedance-seed"),
)
"""How templates are called, how models are called that come with them, and who publishes those; the more particular first.

A name alone says little: what others train from a model is called after it, and is often written otherwise.
"""
_MIRRORS = frozenset({"unsloth", "nousresearch", "llm-research", "ai-modelscope", "mlx-community"})
"""Who publishes models of others as they are, beside models of their own: their names begin with the family's."""


def is_own(template: str, model: str, sheet: Sheet) -> bool:
    """Whether a template, by its name, is the one that a model, by its id or by its own configuration, comes with."""
    found = next((family for family in _FAMILIES if re.match(family[0], template.lower())), None)
    return found is not None and any(_is_of(name, found[1], found[2].split()) for name in _names(model, sheet))


def _is_of(model: str, family: str, publishers: list[str]) -> bool:
    """Whether a model is a family's own: by its publisher, or, of a mirror or a folder, by how its name begins."""
    owner, _, name = model.lower().replace("_", "-").rpartition("/")
    if owner in publishers:
        return re.search(family, name) is not None
    return owner in {*_MIRRORS, ""} and re.match(rf"(meta-)?(?:{family})", name) is not None


def of_model(part: Part, key: str, template: str, model: str) -> None:
    """The field names a template that must be the model's own."""
    if is_own(template, model, part.sheet):
        part.done(key, why=f"`{model}` comes with it: lorry renders with the model's own chat template")
    else:
        why = (
            f"`{model}` is not known to come with it, and lorry has no template of that name: without the field the "
            "model's own is taken, which may well be it; another one can be given as Jinja in `data.chat_template`"
        )
        part.lacks(key, why, ("axolotl",))


def _names(model: str, sheet: Sheet) -> list[str]:
    """The model's id; for a folder its name, and the kind that its configuration tells."""
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
