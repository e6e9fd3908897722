"""From an assignment and a loaded model to a training: order, optimizer, and the checkpoint to go on from."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from lorry.data.packing import pack
from lorry.errors import RunFailedError
from lorry.plugins import make
from lorry.recipe.changes import fingerprint
from lorry.report.provenance import versions
from lorry.trainer import checkpoint, hardware
from lorry.trainer.assignment import Assignment
from lorry.trainer.held_back import HeldBack
from lorry.trainer.ladder import Rung
from lorry.trainer.loop import Training
from lorry.trainer.methods._base import Method
from lorry.trainer.model import LoadedModel
from lorry.trainer.optimizer import make_optimizer
from lorry.trainer.order import Order, plan_order
from lorry.trainer.saving.snapshot import Live
from lorry.trainer.saving.state import Origin, Skip
from lorry.trainer.step import Stepper

_DECIDING = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "numpy", "lorry")
"""Packages whose version can change the last bits of a result."""


def training(job: Assignment, loaded: LoadedModel) -> Training:
    """The training, ready to run; says in events what was chosen."""
    settings = job.recipe.train
    optimizer, notes = make_optimizer(loaded, settings)
    if not loaded.forward.shares or loaded.drops:
        notes.append("shared beginnings are computed for each row (see the notes above, or dropout)")
    scaler = torch.GradScaler(loaded.device.type, enabled=loaded.precision.scaled)
    begin_from = _newest(job)
    made_with = _made_with(loaded)
    rung = Rung.top(job.recipe)
    if begin_from is not None:
        before, more = _continued(job, begin_from, made_with)
        rung = replace(
            before,
            eval_batch=min(before.eval_batch, rung.eval_batch),
            generation_batch=min(before.generation_batch, rung.generation_batch),
        )
        notes += more
    for note in notes:
        job.events.append("note", message=note)
    stepper = Stepper(
        loaded=loaded,
        method=cast("Method", make("methods", job.recipe.method)),
        order=_order(job),
        examples=job.prepared.train,
        optimizer=optimizer,
        scaler=scaler,
        train=settings,
    )
    return Training(
        recipe=job.recipe,
        live=Live(loaded, optimizer, scaler, job.tokenizer_files()),
        stepper=stepper,
        held_back=HeldBack(loaded, job.prepared, job.recipe, job.base, job.model_folder),
        checkpoints=job.folder.checkpoints,
        events=job.events,
        origin=Origin(job.folder.id, fingerprint(job.recipe), job.attempt, job.rung or rung, made_with),
        begin_from=begin_from,
        skipped=_skipped(job),
        seconds_before=job.seconds_before,
    )


def _newest(job: Assignment) -> Path | None:
    """The newest checkpoint that verifies; those that do not are put aside and named."""

    def reject(place: Path, reason: str) -> None:
        job.events.append("rejected", path=str(place), reason=reason)

    return checkpoint.newest(job.folder.checkpoints, reject)


def _continued(job: Assignment, folder: Path, made_with: dict[str, Any]) -> tuple[Rung, list[str]]:
    """The rung that a checkpoint was made on, and notes on what is not as it was. Raises RunFailedError for another run's."""
    facts = checkpoint.read_state(folder)
    if facts["origin"]["fingerprint"] != fingerprint(job.recipe):
        hint = "continue it with the recipe that it was made with, or start a new run"
        raise RunFailedError("the checkpoint was made with other settings", place=str(folder), hint=hint)
    before = facts["made_with"]
    changed = [
        f"{name} {before.get(name)} before, {now} now" for name, now in made_with.items() if before.get(name) != now
    ]
    told = "this run goes on within rounding, not to the bit, for what it runs on has changed: "
    return Rung(**facts["rung"]), [told + "; ".join(changed)] if changed else []


def _made_with(loaded: LoadedModel) -> dict[str, Any]:
    installed = versions()
    return {
        **{name: installed[name] for name in _DECIDING if name in installed},
        "python": platform.python_version(),
        **hardware.describe(loaded.device),
        "attention": str(loaded.forward.way),
    }


def _order(job: Assignment) -> Order:
    lengths = job.prepared.train.lengths
    settings = job.recipe.train
    bins = pack(lengths, job.recipe.data.max_length, seed=settings.seed) if job.recipe.data.packing else None
    return plan_order(lengths, settings, bins)


def _skipped(job: Assignment) -> tuple[Skip, ...]:
    """Rows that were left out before, also where the checkpoint is older than that."""
    found = [event for event in job.history if event.kind == "diverged" and event.data["return_to"] is not None]
    return tuple(Skip(int(event.step or 0), tuple(event.data["indices"])) for event in found)
