"""Builders for tests of checks: a recipe on a tiny model with a few rows, and machines of all kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lorry.plan.hardware import Gpu, Hardware
from lorry.plan.subject import Subject
from lorry.recipe.schema import Recipe
from model_folders import save_model


def row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


ROWS = [row(f"Say {number}", f"{number} it is") for number in range(40)]


def save_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def machine(*gpus: Gpu, cpu_bf16: bool = True, trouble: str = "") -> Hardware:
    return Hardware("a processor", 8, 32 * 10**9, 16 * 10**9, cpu_bf16, list(gpus), trouble)


def gpu(name: str = "NVIDIA A100", capability: float = 8.0) -> Gpu:
    return Gpu(name, 40 * 10**9, capability, "550.54")


def recipe(**sections: Any) -> Recipe:
    """A recipe on `tiny` and `rows.jsonl`; sections are laid over its own."""
    values: dict[str, Any] = {"model": {"id": "tiny"}, "data": {"train": "rows.jsonl"}}
    for name, section in sections.items():
        merge = isinstance(section, dict) and name in values
        values[name] = {**values[name], **section} if merge else section
    return Recipe.model_validate(values)


def subject(
    folder: Path, *, rows: list[Any] | None = None, hardware: Hardware | None = None, **sections: Any
) -> Subject:
    """A subject in a folder that has the model and the rows, unless they are there already."""
    if not (folder / "tiny").exists():
        save_model(folder / "tiny")
    if not (folder / "rows.jsonl").exists():
        save_rows(folder / "rows.jsonl", ROWS if rows is None else rows)
    return Subject(recipe(**sections), folder, hardware=hardware or machine(gpu()))
