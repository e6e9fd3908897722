"""The adapter's README: what it is, what made it, how good it is and how to load it, as Hugging Face reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml

from lorry.report.facts import facts, headline
from lorry.report.gates import counted
from lorry.report.markdown import escaped, fenced, gate_table, score_table, table
from lorry.report.samples import split_name
from lorry.report.sources import Sources, mapping
from lorry.report.summary import split_comparisons

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_LOAD_ADAPTER = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForCausalLM.from_pretrained({base}, dtype="auto")
model = PeftModel.from_pretrained(base, folder)
"""
_LOAD_REWARD_ADAPTER = """\
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForSequenceClassification.from_pretrained({base}, num_labels=1, dtype="auto")
base.config.get_text_config().pad_token_id = None  # the reward is read at the last token
model = PeftModel.from_pretrained(base, folder)

turns = [{{"role": "user", "content": "..."}}, {{"role": "assistant", "content": "..."}}]
row = tokenizer.apply_chat_template(turns, return_dict=True, return_tensors="pt")
reward = float(model(**row).logits)  # one conversation at a time, as there is no padding
"""
_LOAD_REWARD_MODEL = """\
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder, dtype="auto")

turns = [{{"role": "user", "content": "..."}}, {{"role": "assistant", "content": "..."}}]
row = tokenizer.apply_chat_template(turns, return_dict=True, return_tensors="pt")
reward = float(model(**row).logits)  # one conversation at a time, as there is no padding
"""
_LOAD_MODEL = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
"""
_LOAD_SEEING_ADAPTER = """\
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

folder = "path/to/this/folder"
processor = AutoProcessor.from_pretrained({base})
processor.tokenizer = AutoTokenizer.from_pretrained(folder)
processor.chat_template = processor.tokenizer.chat_template
base = AutoModelForImageTextToText.from_pretrained({base}, dtype="auto")
model = PeftModel.from_pretrained(base, folder)
"""
_LOAD_SEEING_MODEL = """\
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = "path/to/this/folder"
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
"""


def model_card(sources: Sources, summary: dict[str, Any]) -> str:
    """The card as Markdown with YAML front matter; what is not known is left out rather than guessed."""
    front = yaml.safe_dump(_front_matter(sources), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(_body(sources, summary)) + "\n"


def _front_matter(sources: Sources) -> dict[str, Any]:
    """See https://huggingface.co/docs/hub/model-cards (read 2026-10): `base_model` must be an id on the Hub."""
    recipe = sources.recipe
    is_lora = recipe.get("lora") is not None
    method = str(mapping(recipe.get("method")).get("name") or "sft")
    card: dict[str, Any] = {
        "library_name": "peft" if is_lora else "transformers",
        "pipeline_tag": _task(sources, method),
        "tags": [*(["lora"] if is_lora else []), method, "lorry"],
    }
    hub_id = _hub_id(sources)
    if hub_id:
        card["base_model"] = hub_id
        card["base_model_relation"] = "adapter" if is_lora else "finetune"
    license_name = _license(sources)
    if license_name:
        card["license"] = license_name
    return card


def _task(sources: Sources, method: str) -> str:
    if method == "reward":
        return "text-classification"
    return "image-text-to-text" if sources.reads_images else "text-generation"


def _body(sources: Sources, summary: dict[str, Any]) -> Iterator[str]:
    recipe = sources.recipe
    model = _model_name(sources)
    kind = "LoRA adapter for" if recipe.get("lora") is not None else "fine-tuned form of"
    yield f"# {escaped(sources.run)}"
    yield f"A {kind} {escaped(model)}, made with lorry. {escaped(headline(summary))}"
    yield "## How to load it"
    yield fenced(_code(sources, model).rstrip(), "python")
    if summary["gates"]:
        yield f"## Gates: {counted(summary['gates'])}"
        yield gate_table(summary["gates"])
    for split, comparisons in split_comparisons(sources).items():
        yield f"## Scores on the {escaped(split_name(split))} rows"
        yield score_table(comparisons)
    yield "## What it was trained on"
    yield _files(sources)
    yield "## Training"
    yield table(["", ""], [[label, text] for label, text in facts({**summary, "model": model})])
    yield fenced(_settings(recipe), "yaml")


def _code(sources: Sources, model: str) -> str:
    """How to load it with Transformers and PEFT alone."""
    adapter, whole = _LOAD_ADAPTER, _LOAD_MODEL
    if sources.method == "reward":
        adapter, whole = _LOAD_REWARD_ADAPTER, _LOAD_REWARD_MODEL
    elif sources.reads_images:
        adapter, whole = _LOAD_SEEING_ADAPTER, _LOAD_SEEING_MODEL
    return (whole if sources.recipe.get("lora") is None else adapter).format(base=_base_literal(sources, model))


def _model_name(sources: Sources) -> str:
    """The base model as others know it: without the folders of the machine that trained."""
    named = str(mapping(sources.recipe.get("model")).get("id") or "")
    if not named:
        return "a model that the run did not record"
    return named if _hub_id(sources) or named.startswith("pypi:") else Path(named).name


def _base_literal(sources: Sources, model: str) -> str:
    return json.dumps(_hub_id(sources) or f"path/to/{model.removeprefix('pypi:')}")


def _hub_id(sources: Sources) -> str | None:
    """The base model's id where it came from the Hub."""
    model = str(mapping(sources.recipe.get("model")).get("id") or "")
    kind = mapping(sources.provenance.get("model")).get("kind")
    return model if _HUB_ID.fullmatch(model) and kind in (None, "hub") else None


def _license(sources: Sources) -> str | None:
    """The base model's licence, as its own card names it."""
    card = Path(str(sources.resolved.get("model_folder") or "")) / "README.md"
    try:
        text = card.read_text(encoding="utf-8")
        front = yaml.safe_load(text.split("---\n", 2)[1]) if text.startswith("---\n") else None
    except (OSError, ValueError, yaml.YAMLError, IndexError, RecursionError):
        return None
    found = mapping(front).get("license")
    return found if isinstance(found, str) else None


def _files(sources: Sources) -> str:
    """The input files by name and hash; paths of the machine that trained stay out of a card that may be published."""
    rows = [[Path(name).name, digest] for name, digest in _hashes(mapping(sources.provenance.get("data")))]
    if rows:
        return table(["file", "SHA-256"], rows)
    data = mapping(sources.recipe.get("data")).get("train")
    names = cast("list[Any]", data) if isinstance(data, list) else [data]
    return "\n".join(f"- {escaped(Path(str(name)).name)}" for name in names if name) or "The run did not record it."


def _hashes(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    files = data.get("files")
    if isinstance(files, dict):
        yield from ((str(name), str(digest)) for name, digest in cast("dict[Any, Any]", files).items())


def _settings(recipe: dict[str, Any]) -> str:
    """The sections of the recipe that decide what was learnt."""
    chosen = {key: recipe[key] for key in ("method", "lora", "train") if key in recipe}
    return yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True).rstrip()
