"""Folders of runs as they are left behind: real files, made by the product's own writers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lorry.track.events import EventLog
from lorry.track.folder import RunFolder, write_json, write_text

RECIPE: dict[str, Any] = {
    "name": None,
    "model": {"id": "org/tiny-1b", "revision": None},
    "data": {"train": ["rows.jsonl"]},
    "method": {"name": "sft"},
    "lora": {"rank": 8, "alpha": 16},
    "train": {"learning_rate": 2e-4, "steps": 40},
    "budget": {"price_per_hour": 0.0},
}


def clock_from(start: float, pause: float = 1.0):
    """A clock that goes on by `pause` seconds at each look."""
    now = start - pause

    def look() -> float:
        nonlocal now
        now += pause
        return now

    return look


def interval(value: float, room: float) -> dict[str, float]:
    return {"value": value, "low": value - room, "high": value + room}


SCORES: dict[str, Any] = {
    "splits": {
        "eval": {
            "rows": 40,
            "generated": 40,
            "scores": {
                "loss": {"base": interval(3.1, 0.2), "adapter": interval(0.4, 0.1)},
                "exact_match": {"base": interval(0.02, 0.02), "adapter": interval(0.9, 0.08)},
                "bash_valid": {"base": interval(0.8, 0.2), "adapter": interval(0.9, 0.2)},
            },
        }
    },
    "tokens_per_second": {"base": 31.0, "adapter": 28.5},
    "dangerous": [],
    "metrics": {"exact_match": {"higher_is_better": True}, "bash_valid": {"higher_is_better": True}},
}


def begun(path: Path, *, steps: int = 40, recorded: int = 40, recipe: dict[str, Any] | None = None) -> EventLog:
    """A run that has recorded some steps and goes on; its log."""
    folder = RunFolder(path)
    write_json(folder.resolved, {"recipe": recipe or RECIPE, "base": str(path), "smoke": False, "model_folder": "m"})
    log = EventLog(folder.events, clock=clock_from(1_767_450_652.0))
    log.append("created", recipe="recipe.yaml", run=folder.id)
    log.append("data", train_rows=360, eval_rows=40, test_rows=0, train_tokens=26_640)
    log.append("loaded", parameters=134_515_008, trainable=1_843_200, precision="bf16", device="cpu")
    log.append("started", steps=steps, from_step=0)
    for step in range(1, recorded + 1):
        add_step(log, step, loss=3.0 * math.exp(-step / 15) + 0.3)
        if step % 10 == 0:
            log.append("evaluated", step=step, loss=3.1 * math.exp(-step / 16) + 0.35)
    return log


def add_step(log: EventLog, step: int, *, loss: float, **told: float) -> None:
    log.append(
        "step",
        step=step,
        loss=loss,
        learning_rate=2e-4 * (1 - step / 50),
        grad_norm=0.8,
        trained_tokens=400,
        tokens_per_second=500.0 + step,
        memory_bytes=1_500_000_000 + step,
        **told,
    )


def finished(path: Path, *, samples: list[dict[str, Any]] | None = None, scores: Any = SCORES) -> RunFolder:
    """A run that came to its end, with everything that it leaves behind."""
    log = begun(path)
    folder = RunFolder(path)
    folder.adapter.mkdir()
    (folder.adapter / "adapter_model.safetensors").write_bytes(b"\0" * 7_400_000)
    log.append("trained", steps=40, seconds=40.0, tokens=26_640)
    log.append("delivered", path=str(folder.adapter), step=40)
    if scores is not None:
        write_json(folder.evaluation / "scores.json", scores)
        log.append("scored", scores=scores)
    rows = samples or [
        {"origin": "rows.jsonl:7", "prompt": "list files", "truth": "ls", "base": "dir", "adapter": "ls"}
    ]
    write_text(folder.evaluation / "samples.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_json(folder.provenance, PROVENANCE)
    log.append("finished", seconds=60.0)
    return folder


def failed(path: Path, *, error: str = "the loss is not a number", recorded: int = 3) -> RunFolder:
    """A run that ended badly after some steps."""
    log = begun(path, recorded=recorded)
    log.append("failed", error=error, hint="lower train.learning_rate", exit_code=1)
    return RunFolder(path)


PROVENANCE: dict[str, Any] = {
    "time": "2026-01-03T14:30:52+00:00",
    "command": ["lorry", "run", "recipe.yaml"],
    "seed": 0,
    "model": {"id": "org/tiny-1b", "kind": "hub", "revision": "abc123"},
    "data": {"files": {"/home/someone/rows.jsonl": "5437dac1"}},
    "versions": {"lorry": "0.1.0", "torch": "2.13.0"},
    "hardware": {"cpu": "Some CPU", "cores": 2},
    "system": {"os": "Linux", "python": "3.11.7"},
    "git": {"commit": "0d600a9", "dirty": True},
}
