"""The process that trains: a run's folder in, its adapter, scores and facts out.

It is started as `python -m lorry.trainer RUN_FOLDER`, speaks through `events.jsonl` alone, and ends with the exit code of the
error that ended it.
"""

from __future__ import annotations

import json
import signal
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from lorry.data.packing import pack
from lorry.data.prepare import Prepared, renderer_for, templated
from lorry.data.tokenizer import Tokenizer
from lorry.errors import LorryError, RunFailedError, StoppedError
from lorry.evaluate.score import Evaluation
from lorry.plugins import make
from lorry.recipe.schema import Recipe
from lorry.report import provenance
from lorry.track.events import EventLog
from lorry.track.folder import RunFolder, write_json
from lorry.trainer import checkpoint, hardware, smoke
from lorry.trainer.checkpoint import TokenizerFiles
from lorry.trainer.loop import Outcome, Training, train
from lorry.trainer.methods._base import Method
from lorry.trainer.model import LoadedModel, load, put_adapter
from lorry.trainer.order import Order, plan_order


@dataclass(frozen=True)
class Job:
    """What the controller wrote into `resolved.json`."""

    folder: RunFolder
    recipe: Recipe
    base: Path
    model_folder: Path
    prepared: Prepared
    facts: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Job:
        """The job of a run's folder."""
        folder = RunFolder(path)
        facts = json.loads(folder.resolved.read_text(encoding="utf-8"))
        return cls(
            folder=folder,
            recipe=Recipe.model_validate(facts["recipe"]),
            base=Path(facts["base"]),
            model_folder=Path(facts["model_folder"]),
            prepared=Prepared.open(Path(facts["data_folder"])),
            facts=facts,
        )


def work(path: Path) -> int:
    """Trains and scores one run; returns the exit code. Whatever happens stands in the events."""
    events = EventLog(RunFolder(path).events)
    began = time.monotonic()
    try:
        with _signals_interrupting():
            _train_and_score(Job.open(path), events)
    except StoppedError as error:
        events.append("stopped", reason=error.message)
        return error.exit_code
    except KeyboardInterrupt:
        events.append("stopped", reason=_where_stopped(RunFolder(path)))
        return StoppedError.exit_code
    except LorryError as error:
        events.append("failed", error=str(error), hint=error.hint, exit_code=error.exit_code)
        return error.exit_code
    except torch.OutOfMemoryError as error:
        hint = (
            "halve `train.micro_batch` and double `train.accumulation`, or set `train.activation_checkpointing: true`"
        )
        events.append("failed", error=f"out of memory: {error}", hint=hint, exit_code=1)
        return 1
    except Exception as error:
        traceback.print_exc()
        hint = f"the whole traceback stands in {RunFolder(path).logs / 'trainer.log'}"
        events.append("failed", error=f"{type(error).__name__}: {error}", hint=hint, exit_code=1)
        return 1
    events.append("finished", seconds=time.monotonic() - began)
    return 0


def _train_and_score(job: Job, events: EventLog) -> None:
    hardware.keep_freed_memory()
    loaded = load(job.recipe, job.model_folder)
    frozen = loaded.frozen_sha256()
    _say_loaded(loaded, frozen, events)
    outcome = _train(job, loaded, events)
    if loaded.frozen_sha256() != frozen:
        raise RunFailedError("frozen weights changed while training", hint="this is a fault of lorry: please report it")
    delivered = _deliver(job, outcome, events)
    loaded = _as_delivered(job, loaded, delivered, outcome)
    write_json(job.folder.provenance, _provenance(job, loaded, frozen))
    _score(job, loaded, events)
    if job.facts.get("smoke"):
        smoke.check(job.folder, loaded, events)


def _say_loaded(loaded: LoadedModel, frozen: str, events: EventLog) -> None:
    for note in loaded.notes:
        events.append("note", message=note)
    events.append(
        "loaded",
        parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        trainable=sum(parameter.numel() for parameter in loaded.trained_parameters()),
        precision=loaded.precision.weights,
        device=str(loaded.device),
        memory_bytes=hardware.peak_memory(loaded.device),
        frozen_sha256=frozen,
    )


def _train(job: Job, loaded: LoadedModel, events: EventLog) -> Outcome:
    with _signals_noted() as should_stop:
        return train(_training(job, loaded, events, should_stop))


def _training(job: Job, loaded: LoadedModel, events: EventLog, should_stop: Callable[[], bool]) -> Training:
    training = Training(
        recipe=job.recipe,
        loaded=loaded,
        method=cast("Method", make("methods", job.recipe.method)),
        order=_order(job),
        examples=job.prepared.train,
        held_back=job.prepared.eval,
        checkpoints=job.folder.checkpoints,
        tokenizer=_tokenizer_files(job),
        events=events,
        should_stop=should_stop,
    )
    if not loaded.forward.shares or loaded.drops:
        events.append("note", message="shared beginnings are computed for each row (see the notes above, or dropout)")
    return training


def _tokenizer_files(job: Job) -> TokenizerFiles:
    tokenizer = templated(Tokenizer.open(job.model_folder), job.recipe.data, job.base)
    return TokenizerFiles(job.model_folder, tokenizer.template().text if tokenizer.has_template else None)


def _order(job: Job) -> Order:
    lengths = job.prepared.train.lengths
    settings = job.recipe.train
    bins = pack(lengths, job.recipe.data.max_length, seed=settings.seed) if job.recipe.data.packing else None
    return plan_order(lengths, settings, bins)


def _where_stopped(folder: RunFolder) -> str:
    if folder.adapter.is_dir():
        return "stopped before all scores were made; the adapter is delivered"
    if any(folder.checkpoints.glob("step-*")):
        return "stopped before the adapter was delivered; the checkpoints are kept"
    return "stopped before training began"


@contextmanager
def _signals_interrupting() -> Generator[None]:
    """Within, SIGTERM interrupts as Ctrl-C does: whatever is being done ends, and the events say that it was stopped."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _signals_noted() -> Generator[Callable[[], bool]]:
    """Within, SIGTERM and SIGINT are only noted: the running step ends, and its checkpoint is written."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _frame: came.append(got))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _deliver(job: Job, outcome: Outcome, events: EventLog) -> int:
    """Puts the chosen weights into `adapter/`; returns their step."""
    best = outcome.best if job.recipe.train.deliver == "best" else None
    step = best or outcome.last
    checkpoint.deliver(job.folder.checkpoints / f"step-{step:06d}", job.folder.adapter)
    events.append("delivered", step=step, path=str(job.folder.adapter))
    return step


def _as_delivered(job: Job, loaded: LoadedModel, step: int, outcome: Outcome) -> LoadedModel:
    """The model with the weights that were delivered, which may not be the last ones. Never are two models in memory."""
    if step == outcome.last:
        return loaded
    if loaded.has_adapter:
        put_adapter(loaded, job.folder.adapter)
        return loaded
    loaded.model.to("meta")
    return load(job.recipe, job.folder.adapter, trainable=False)


def _score(job: Job, loaded: LoadedModel, events: EventLog) -> None:
    def progress(part: str, done: int, total: int) -> None:
        events.append("scoring", part=part, done=done, total=total)

    renderer = renderer_for(job.recipe, job.base, Tokenizer.open(job.model_folder))
    evaluation = Evaluation(loaded, renderer, job.prepared, job.recipe, job.model_folder)
    with loaded.answering():
        scores = evaluation.run(job.folder, progress)
    events.append("scored", scores=scores["splits"])


def _provenance(job: Job, loaded: LoadedModel, frozen: str) -> dict[str, Any]:
    return provenance.collect(
        provenance.Origins(
            recipe=job.recipe,
            base=job.base,
            model={**job.facts["source"], "frozen_sha256": frozen},
            data=job.prepared.facts.as_json(),
            hardware=hardware.describe(loaded.device),
            command=job.facts["command"],
        )
    )
