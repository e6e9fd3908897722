"""The process that trains: a run's folder in, its adapter, scores and facts out.

It is started as `python -m lorry.trainer RUN_FOLDER`, speaks through its events alone, and ends with the exit code of the
error that ended it. Killed at any moment and started again, it goes on from the newest checkpoint that verifies.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from lorry.errors import LorryError, RefusedError, RunFailedError, StoppedError
from lorry.evaluate.score import Evaluation
from lorry.plan import machine
from lorry.recipe.schema import Recipe
from lorry.report import provenance
from lorry.track.folder import RunFolder, write_json
from lorry.trainer import checkpoint, hardware, heap, memory, smoke
from lorry.trainer.assignment import Assignment
from lorry.trainer.channel import AGENT, Reporter, connect
from lorry.trainer.forecast import OverrunError
from lorry.trainer.ladder import Rung, Where
from lorry.trainer.loop import Loop
from lorry.trainer.model import LoadedModel, load, put_adapter
from lorry.trainer.preparing import prepare
from lorry.trainer.rollouts.collect import Asker
from lorry.trainer.signals import Leave, Watch
from lorry.trainer.supervise.restart import OUT_OF_MEMORY
from lorry.trainer.training import Outcome, Training


def work(path: Path) -> int:
    """Trains and scores one run; returns the exit code. Whatever happens stands in the events."""
    events = connect(RunFolder(path).events)
    began = time.monotonic()
    signals = Watch(only_first=AGENT in os.environ)
    try:
        with signals.kept():
            _train_and_score(Assignment.open(path, events), signals)
    except StoppedError as error:
        events.append("stopped", reason=error.message, cause="person")
        return error.exit_code
    except OverrunError as error:
        events.append("stopped", reason=error.message, cause="budget")
        return error.exit_code
    except KeyboardInterrupt as error:
        reason = str(error) or _where_stopped(RunFolder(path))
        events.append("stopped", reason=reason, cause=_cause(signals.number))
        return StoppedError.exit_code
    except Exception as error:
        return _told(error, RunFolder(path), events)
    events.append("finished", seconds=time.monotonic() - began)
    return 0


def _told(error: Exception, folder: RunFolder, events: Reporter) -> int:
    """Writes down why the run failed; its exit code. Tracebacks of what nobody foresaw go to the log."""
    code, told, hint = 1, f"{type(error).__name__}: {error}", ""
    if isinstance(error, LorryError):
        code, told, hint = error.exit_code, str(error), error.hint
    elif memory.is_out_of_memory(error):
        told = f"out of memory: {error}"
        hint = "the model itself does not fit: take a smaller one, or `model.quantization: nf4`"
    else:
        traceback.print_exc()
        hint = f"the whole traceback stands in {folder.logs / 'trainer.log'}"
    kind = "" if isinstance(error, LorryError) else type(error).__name__
    kind = OUT_OF_MEMORY if memory.is_out_of_memory(error) else kind
    events.append("failed", error=told, hint=hint, exit_code=code, exception=kind)
    return code


def _train_and_score(assignment: Assignment, signals: Watch) -> None:
    _must_be_fit(assignment)
    heap.keep_freed_memory()
    assignment.events.beat("loading", 0)
    loaded = load(assignment.recipe_to_load, assignment.model_folder)
    frozen = loaded.frozen_sha256()
    _say_loaded(loaded, frozen, assignment.events)
    with closing(prepare(assignment, loaded, frozen)) as training:
        outcome = _train(assignment, training, signals)
        _deliver_and_score(assignment, training, frozen, outcome)


def _deliver_and_score(assignment: Assignment, training: Training, frozen: str, outcome: Outcome) -> None:
    loaded = training.live.loaded
    assignment.events.beat("scoring", outcome.last)
    if loaded.frozen_sha256() != frozen:
        raise RunFailedError("frozen weights changed while training", hint="this is a fault of lorry: please report it")
    delivered = _deliver(assignment, outcome)
    with _stopped_as("stopped before all scores were made; the adapter is delivered"):
        loaded = _as_delivered(assignment, loaded, delivered, outcome)
        write_json(assignment.folder.provenance, _provenance(assignment, loaded, frozen))
        _score(assignment, loaded, outcome.rung, training.asker)
        if assignment.facts.get("smoke"):
            smoke.check(assignment.folder, loaded, outcome.peaks, assignment.events)


def _must_be_fit(assignment: Assignment) -> None:
    """Looks at the machine before anything is loaded. Raises RefusedError where it cannot do what it is there for."""
    promised = machine.Promised(**assignment.facts.get("promised", {}))
    if checkpoint.steps(assignment.folder.checkpoints):
        promised = replace(promised, disk=0)  # some of it is written by now
    found = machine.judge(machine.collect([assignment.folder.path]), promised)
    assignment.events.append("machine", findings=[asdict(one) for one in found])
    for fault in (one for one in found if one.severity == "error"):
        raise RefusedError(fault.message, hint=fault.remedy, place=fault.place)


@contextmanager
def _stopped_as(reason: str) -> Generator[None]:
    """Within, an interrupt carries what is to be said of it."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(reason) from error


def _say_loaded(loaded: LoadedModel, frozen: str, events: Reporter) -> None:
    for note in loaded.notes:
        events.append("note", message=note)
    events.append(
        "loaded",
        parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        trainable=sum(parameter.numel() for parameter in loaded.trained_parameters()),
        precision=loaded.precision.weights,
        device=str(loaded.device),
        device_name=hardware.name(loaded.device),
        device_memory=hardware.memory(loaded.device),
        memory_bytes=hardware.peak_memory(loaded.device),
        frozen_sha256=frozen,
    )


def _train(assignment: Assignment, training: Training, signals: Watch) -> Outcome:
    loop = Loop(training)
    with signals.leaving(_leave(assignment, loop)):
        return loop.run()


def _leave(assignment: Assignment, loop: Loop) -> Leave:
    """Saves the last optimizer step at once and says so; the process ends then, whatever its main thread computes."""

    def leave(number: signal.Signals) -> None:
        try:
            saved = loop.saver.save_now()
            step = checkpoint.step_of(saved) if saved else 0
            reason = f"stopped after step {step}; its checkpoint is kept" if saved else "stopped before step 1"
        except LorryError as error:
            kept = checkpoint.steps(assignment.folder.checkpoints)
            last = f"the last checkpoint is that of step {kept[-1]}" if kept else "there is no checkpoint"
            reason = f"stopped after step {loop.state.step}, which could not be saved ({error.message}); {last}"
        loop.training.close()
        assignment.events.end("stopped", reason=reason, cause=_cause(number))

    return leave


def _cause(number: signal.Signals | None) -> str:
    """Platforms end with SIGTERM what they want back; a person's Ctrl-C is SIGINT."""
    return "preempted" if number == signal.SIGTERM else "person"


def _where_stopped(folder: RunFolder) -> str:
    if checkpoint.steps(folder.checkpoints):
        return "stopped before the adapter was delivered; the checkpoints are kept"
    return "stopped before training began"


def _deliver(assignment: Assignment, outcome: Outcome) -> int:
    """Puts the chosen weights into `adapter/`; returns their step."""
    for step in outcome.candidates(best=assignment.recipe.train.deliver == "best"):
        folder = checkpoint.path_of(assignment.folder.checkpoints, step)
        try:
            checkpoint.verify(folder)
        except checkpoint.DamagedError as error:
            place = checkpoint.put_aside(folder, "damaged") if folder.exists() else folder
            assignment.events.append("rejected", path=str(place), reason=error.message)
        else:
            checkpoint.deliver(folder, assignment.folder.adapter)
            assignment.events.append("delivered", step=step, path=str(assignment.folder.adapter))
            return step
    hint = f"`lorry resume {assignment.folder.id} --from STEP` goes back to one that is whole"
    raise RunFailedError("no checkpoint that could be delivered is whole", hint=hint)


def _as_delivered(assignment: Assignment, loaded: LoadedModel, step: int, outcome: Outcome) -> LoadedModel:
    """The model with the weights that were delivered, which may not be the last ones. Never are two models in memory."""
    if step == outcome.last:
        return loaded
    if loaded.has_adapter:
        put_adapter(loaded, assignment.folder.adapter)
        return loaded
    loaded.model.to("meta")
    return load(assignment.recipe, assignment.folder.adapter, trainable=False)


def _score(assignment: Assignment, loaded: LoadedModel, rung: Rung, asker: Asker | None) -> None:
    """Scores base model and adapter. Where memory runs out, answers that are made stay, and all else is done again."""

    def progress(part: str, done: int, total: int) -> None:
        assignment.events.append("scoring", part=part, done=done, total=total)

    def lower(where: Where, size: int, told: str) -> None:
        assignment.events.append("oom", where=where, error=told)
        assignment.events.append("rung", **replace(rung, eval_batch=size, generation_batch=size).as_dict())

    size = min(rung.generation_batch, rung.eval_batch)
    while True:
        evaluation = Evaluation(
            loaded,
            assignment.renderer(),
            assignment.prepared,
            _in_batches(assignment.recipe, size),
            assignment.model_folder,
            asker,
            partial(lower, "generating"),
            assignment.base,
        )
        try:
            with loaded.answering():
                scores = evaluation.run(assignment.folder, progress)
        except Exception as error:
            if size == 1 or not memory.is_out_of_memory(error):
                raise
            told = memory.told(error)
        else:
            assignment.events.append("scored", scores=scores["splits"], gates=scores["gates"])
            return
        memory.release()
        size = max(1, min(size, evaluation.limits.batch_size) // 2)
        lower("evaluating", size, told)


def _in_batches(recipe: Recipe, size: int) -> Recipe:
    return recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"batch_size": size})})


def _provenance(assignment: Assignment, loaded: LoadedModel, frozen: str) -> dict[str, Any]:
    return provenance.collect(
        provenance.Origins(
            recipe=Recipe.model_validate(assignment.facts["recipe"]),
            base=assignment.base,
            model={**assignment.facts["source"], "frozen_sha256": frozen},
            data=assignment.prepared.facts.as_json(),
            hardware=hardware.describe(loaded.device),
            command=assignment.facts["command"],
            continues=assignment.facts.get("continues"),
            judges=assignment.facts.get("judges") or (),
        )
    )
