"""From an assignment and a loaded model to a training: order, optimizer, and the checkpoint to go on from."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from lorry.data.examples import ExampleSet
from lorry.errors import RunFailedError
from lorry.plan.expected import of_run
from lorry.plugins import make
from lorry.recipe.changes import deciding
from lorry.report.provenance import versions
from lorry.track.events import Event
from lorry.trainer import checkpoint, hardware
from lorry.trainer.assignment import Assignment
from lorry.trainer.forecast import Forecast
from lorry.trainer.held_back import HeldBack
from lorry.trainer.ladder import Rung
from lorry.trainer.limits import was_warned
from lorry.trainer.methods._base import Method
from lorry.trainer.methods._rollouts import FromRollouts
from lorry.trainer.model import LoadedModel
from lorry.trainer.optimizer import make_optimizer
from lorry.trainer.order import order_of
from lorry.trainer.policy import Policy, policy_of
from lorry.trainer.reference import file_of, keep_reference
from lorry.trainer.rewards._base import Place
from lorry.trainer.rollouts.collect import Asker, Rollouts
from lorry.trainer.rollouts.jury import Jury
from lorry.trainer.rollouts.vllm_engine import VllmEngine
from lorry.trainer.saving import brought
from lorry.trainer.saving.snapshot import Live
from lorry.trainer.saving.state import NEEDED, Origin, Skip, made_otherwise
from lorry.trainer.step import Stepper
from lorry.trainer.training import Training

_DECIDING = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "numpy", "lorry")
"""Packages whose version can change the last bits of a result."""


def prepare(assignment: Assignment, loaded: LoadedModel, frozen: str) -> Training:
    """The training, ready to run; says in events what was chosen. `frozen` is the hash of the weights that stay.

    Raises RunFailedError for a checkpoint of another model, other rows or other settings.
    """
    settings = assignment.recipe.train
    method = cast("Method", make("methods", assignment.recipe.method))
    if method.has_value_head:
        loaded.add_value_head()
    optimizer, notes = make_optimizer(loaded, settings)
    if not loaded.forward.shares or loaded.drops:
        notes.append("shared beginnings are computed for each row (see the notes above, or dropout)")
    scaler = torch.GradScaler(loaded.device.type, enabled=loaded.precision.scaled)
    begin_from = _newest(assignment)
    made_with = {**_made_with(loaded), "frozen_sha256": frozen}
    origin = _origin(assignment, made_with)
    rung, more = _rung(assignment, begin_from, origin)
    for note in [*notes, *more]:
        assignment.events.append("note", message=note)
    is_continued = assignment.recipe.model.adapter is not None
    policy = policy_of(loaded, has_reference=method.needs_reference, is_continued=is_continued)
    asker = _asker(assignment, method, policy)
    stepper = _stepper(assignment, policy, method, optimizer, scaler)
    stepper.rollouts = _rollouts(assignment, asker)
    held = _kept(assignment, method, policy, "eval")
    return Training(
        recipe=assignment.recipe,
        live=Live(loaded, optimizer, scaler, assignment.tokenizer_files()),
        stepper=stepper,
        held_back=HeldBack(
            policy,
            method,
            assignment.prepared,
            assignment.recipe,
            assignment.base,
            assignment.model_folder,
            asker,
            held,
        ),
        forecast=_forecast(assignment),
        checkpoints=assignment.folder.checkpoints,
        events=assignment.events,
        origin=replace(origin, rung=assignment.rung or rung),
        begin_from=begin_from,
        skipped=_skipped(assignment),
        seconds_before=assignment.seconds_so_far,
        was_warned=was_warned(assignment.history, assignment.recipe.budget),
    )


def _stepper(
    assignment: Assignment, policy: Policy, method: Method, optimizer: torch.optim.Optimizer, scaler: torch.GradScaler
) -> Stepper:
    return Stepper(
        policy=policy,
        method=method,
        order=order_of(assignment.prepared.train, assignment.recipe),
        examples=_kept(assignment, method, policy, "train") or assignment.prepared.train,
        optimizer=optimizer,
        scaler=scaler,
        train=assignment.recipe.train,
    )


def _rung(assignment: Assignment, begin_from: Path | None, now: Origin) -> tuple[Rung, list[str]]:
    """Where on the memory ladder to begin, and notes on what a checkpoint was made with that is otherwise now."""
    if begin_from is None:
        return now.rung, []
    before, notes = _continued(begin_from, now)
    return _as_before(before, now.rung, assignment.history), notes


def _kept(assignment: Assignment, method: Method, policy: Policy, split: str) -> ExampleSet | None:
    """Rows with what the reference says of them, where the recipe asks it once; before anything is put back."""
    rows: ExampleSet | None = getattr(assignment.prepared, split)
    if rows is None or not method.asks_once:
        return None

    def beat() -> None:
        assignment.events.beat("loading", 0)

    began, batch = time.monotonic(), Rung.top(assignment.recipe).eval_batch
    made_of = [assignment.prepared.facts.rows_sha256()[split], policy.loaded.frozen_sha256()]
    file = file_of(assignment.folder.path / "reference", split, policy, made_of)
    kept = keep_reference(policy, rows, file, batch, beat)
    told = f"the reference was asked once about {len(rows):,} {split} examples, in {time.monotonic() - began:.0f} s"
    assignment.events.append("note", message=told)
    return kept


def _asker(assignment: Assignment, method: Method, policy: Policy) -> Asker | None:
    """Who has the model answer and judges that; None for methods that learn from rows as they are."""
    if not isinstance(method, FromRollouts):
        return None
    policy.temperature = method.temperature
    events = assignment.events
    place = Place(
        assignment.recipe,
        assignment.base,
        assignment.model_folder,
        policy.loaded,
        say=lambda note: events.append("note", message=note),
    )
    tokenizer = assignment.renderer().tokenizer
    engine = None
    if method.engine == "vllm":
        engine = VllmEngine(assignment.recipe, assignment.model_folder, tokenizer, policy.loaded)
    return Asker(policy, tokenizer, Jury.open(method.rewards, place), method, engine)


def _rollouts(assignment: Assignment, asker: Asker | None) -> Rollouts | None:
    if asker is None:
        return None
    tasks = {task.index: task for task in assignment.prepared.tasks("train")}
    return Rollouts(asker, assignment.prepared.train, tasks, assignment.events, assignment.recipe.train.seed)


def _origin(assignment: Assignment, made_with: dict[str, Any]) -> Origin:
    """What this training belongs to, at the top of the memory ladder."""
    return Origin(
        run=assignment.folder.id,
        settings=deciding(assignment.recipe),
        rows=assignment.prepared.facts.rows_sha256(),
        attempt=assignment.attempt,
        rung=Rung.top(assignment.recipe),
        made_with=made_with,
        brought=brought.fingerprints(assignment.recipe, assignment.base),
    )


def _forecast(assignment: Assignment) -> Forecast:
    answers, watcher = assignment.facts.get("answers", "none"), assignment.facts.get("watcher")
    expected = of_run(assignment.folder)
    return Forecast(expected, assignment.recipe.budget, assignment.events, answers, tuple(watcher) if watcher else None)


def _as_before(before: Rung, asked: Rung, history: Iterable[Event]) -> Rung:
    """The rung of a checkpoint, with the evaluation's batches of the recipe, which may have changed since.

    Where memory ran out in an evaluation, they become no larger than what went well after.
    """
    tight = {str(event.data["where"]) for event in history if event.kind == "oom"}
    return replace(
        before,
        eval_batch=min(before.eval_batch, asked.eval_batch) if "evaluating" in tight else asked.eval_batch,
        generation_batch=min(before.generation_batch, asked.generation_batch)
        if "generating" in tight
        else asked.generation_batch,
    )


def _newest(assignment: Assignment) -> Path | None:
    """The newest checkpoint that verifies; those that do not are put aside and named."""

    def reject(place: Path, reason: str) -> None:
        assignment.events.append("rejected", path=str(place), reason=reason)

    return checkpoint.newest(assignment.folder.checkpoints, reject)


def _continued(folder: Path, now: Origin) -> tuple[Rung, list[str]]:
    """The rung that a checkpoint was made on, and notes on what is not as it was. Raises RunFailedError for another run's."""
    facts = checkpoint.read_state(folder, NEEDED)
    otherwise = made_otherwise(facts["origin"], now.settings, now.rows)
    if otherwise:
        hint = "continue it with the recipe that it was made with, or start a new run"
        raise RunFailedError(otherwise, place=str(folder), hint=hint)
    before = facts["made_with"]
    changed = [
        f"{name} {before.get(name)} before, {value} now"
        for name, value in now.made_with.items()
        if before.get(name) != value
    ]
    if [line.split()[0] for line in changed] == ["frozen_sha256"]:
        hint = "put the model back as it was when the run began, or start a new run"
        raise RunFailedError("the base model's weights are not those that the checkpoint was trained on", hint=hint)
    told = "this run goes on within rounding, not to the bit, for what it runs on has changed: "
    others = brought.changed(facts["origin"].get("brought", {}), now.brought)
    return Rung(**facts["rung"]), [*([told + "; ".join(changed)] if changed else []), *others]


def _made_with(loaded: LoadedModel) -> dict[str, Any]:
    installed = versions()
    return {
        **{name: installed[name] for name in _DECIDING if name in installed},
        "python": platform.python_version(),
        **hardware.describe(loaded.device),
        "attention": str(loaded.forward.way),
    }


def _skipped(assignment: Assignment) -> tuple[Skip, ...]:
    """Rows that were left out before, also where the checkpoint is older than that."""
    found = [event for event in assignment.history if event.kind == "diverged" and event.data["return_to"] is not None]
    return tuple(Skip(int(event.step or 0), tuple(event.data["indices"])) for event in found)
