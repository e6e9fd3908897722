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
from lorry.recipe.changes import decided_otherwise, deciding
from lorry.report.provenance import versions
from lorry.trainer import checkpoint, hardware
from lorry.trainer.assignment import Assignment
from lorry.trainer.held_back import HeldBack
from lorry.trainer.ladder import Rung
from lorry.trainer.limits import was_warned
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


def prepare(assignment: Assignment, loaded: LoadedModel) -> Training:
    """The training, ready to run; says in events what was chosen."""
    settings = assignment.recipe.train
    optimizer, notes = make_optimizer(loaded, settings)
    if not loaded.forward.shares or loaded.drops:
        notes.append("shared beginnings are computed for each row (see the notes above, or dropout)")
    scaler = torch.GradScaler(loaded.device.type, enabled=loaded.precision.scaled)
    begin_from = _newest(assignment)
    made_with = _made_with(loaded)
    rung = Rung.top(assignment.recipe)
    if begin_from is not None:
        before, more = _continued(assignment, begin_from, made_with)
        rung = replace(
            before,
            eval_batch=min(before.eval_batch, rung.eval_batch),
            generation_batch=min(before.generation_batch, rung.generation_batch),
        )
        notes += more
    for note in notes:
        assignment.events.append("note", message=note)
    stepper = Stepper(
        loaded=loaded,
        method=cast("Method", make("methods", assignment.recipe.method)),
        order=_order(assignment),
        examples=assignment.prepared.train,
        optimizer=optimizer,
        scaler=scaler,
        train=settings,
    )
    return Training(
        recipe=assignment.recipe,
        live=Live(loaded, optimizer, scaler, assignment.tokenizer_files()),
        stepper=stepper,
        held_back=HeldBack(loaded, assignment.prepared, assignment.recipe, assignment.base, assignment.model_folder),
        checkpoints=assignment.folder.checkpoints,
        events=assignment.events,
        origin=Origin(
            assignment.folder.id, deciding(assignment.recipe), assignment.attempt, assignment.rung or rung, made_with
        ),
        begin_from=begin_from,
        skipped=_skipped(assignment),
        seconds_before=assignment.seconds_so_far,
        was_warned=was_warned(assignment.history, assignment.recipe.budget),
    )


def _newest(assignment: Assignment) -> Path | None:
    """The newest checkpoint that verifies; those that do not are put aside and named."""

    def reject(place: Path, reason: str) -> None:
        assignment.events.append("rejected", path=str(place), reason=reason)

    return checkpoint.newest(assignment.folder.checkpoints, reject)


def _continued(assignment: Assignment, folder: Path, made_with: dict[str, Any]) -> tuple[Rung, list[str]]:
    """The rung that a checkpoint was made on, and notes on what is not as it was. Raises RunFailedError for another run's."""
    facts = checkpoint.read_state(folder)
    changed = decided_otherwise(facts["origin"]["settings"], assignment.recipe)
    if changed:
        told = "\n".join(["the checkpoint was made with other settings:", *changed])
        hint = "continue it with the recipe that it was made with, or start a new run"
        raise RunFailedError(told, place=str(folder), hint=hint)
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


def _order(assignment: Assignment) -> Order:
    lengths = assignment.prepared.train.lengths
    settings = assignment.recipe.train
    bins = (
        pack(lengths, assignment.recipe.data.max_length, seed=settings.seed) if assignment.recipe.data.packing else None
    )
    return plan_order(lengths, settings, bins)


def _skipped(assignment: Assignment) -> tuple[Skip, ...]:
    """Rows that were left out before, also where the checkpoint is older than that."""
    found = [event for event in assignment.history if event.kind == "diverged" and event.data["return_to"] is not None]
    return tuple(Skip(int(event.step or 0), tuple(event.data["indices"])) for event in found)
