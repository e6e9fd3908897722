"""Builders for tests of whole runs: a recipe over a tiny model and a few rows, carried out in this process or by a child."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lorry import job
from lorry.plan.plan import Plan
from lorry.plan.ranges import Range
from lorry.plan.subject import Subject
from lorry.recipe.load import from_dict
from lorry.track.events import Event, read
from lorry.track.folder import Answers
from lorry.track.run import Run
from lorry.trainer.sources.locate import locate
from model_folders import save_model

FREE = Range.exact(0.0)
WORDS = ["red", "green", "blue", "black", "white", "brown", "pink", "grey"]


def chat_rows(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    """Conversations that begin with the same system prompt and differ in a word and a number."""
    return [
        {
            "messages": [
                {"role": "system", "content": "Say the word again."},
                {"role": "user", "content": f"{WORDS[at % len(WORDS)]} {at}"},
                {"role": "assistant", "content": f"{WORDS[at % len(WORDS)]}"},
            ]
        }
        for at in range(start, start + count)
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe(folder: Path, **sections: dict[str, Any] | None) -> dict[str, Any]:
    """A recipe of four steps over 24 rows; each section given is laid over the default one."""
    if not (folder / "model").exists():
        save_model(folder / "model")
        write_rows(folder / "rows.jsonl", chat_rows(24))
    defaults: dict[str, Any] = {
        "model": {"id": str(folder / "model")},
        "data": {"train": str(folder / "rows.jsonl"), "eval_split": 4, "max_length": 128},
        "lora": {"rank": 4, "alpha": 8},
        "train": {"steps": 4, "micro_batch": 4, "learning_rate": 0.01},
        "evaluate": {"rows": 2, "max_new_tokens": 4},
    }
    given: dict[str, Any] = {
        name: {**defaults.get(name, {}), **section} if isinstance(section, dict) else section
        for name, section in sections.items()
    }
    return defaults | given


def begin(values: dict[str, Any], *, smoke: bool = False, estimated: bool = False, answers: Answers = "none") -> Run:
    """A run that is ready to be trained: its folder and everything in it, as `lorry run` leaves it; checks are left out."""
    wish = job.Wish(from_dict(values, Path.cwd()), smoke, answers=answers)
    subject = Subject(wish.recipe, wish.loaded.base)
    run = job._begin(wish, subject, locate(wish.recipe.model, wish.loaded.base))
    job._say_first(run, wish, Plan(subject, [], subject.planner.estimate() if estimated else None))
    job._enter(run, wish.recipe)
    return run


def train_here(values: dict[str, Any], *, smoke: bool = False) -> Run:
    """A run carried out in this process, as far as the training process goes."""
    from lorry.trainer.process import work

    run = begin(values, smoke=smoke)
    work(run.folder.path)
    return run


def events_of(run: Run, kind: str) -> list[Event]:
    return [event for event in read(run.folder.events) if event.kind == kind]


def cut_back(run: Run, step: int) -> None:
    """Leaves of a finished run what a power cut after the checkpoint of a step leaves."""
    from lorry.trainer.checkpoint import steps

    for saved in steps(run.folder.checkpoints):
        if saved > step:
            shutil.rmtree(run.folder.checkpoints / f"step-{saved:06d}")
    for name in ("best", "final"):
        (run.folder.checkpoints / name).unlink(missing_ok=True)
    shutil.rmtree(run.adapter)


def weights(run: Run) -> bytes:
    (file,) = run.adapter.glob("*.safetensors")
    return file.read_bytes()
