"""The story of a rehearsal: everything that a run does, on a small copy of its model, in a minute and on any computer.

The checks come first. Then the tokenizer, the rows that are hardest to compute, and every prompt of the evaluation are
looked at here; the rest is done by a worker, with the trainer's own code, in a room that is gone afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lorry import job
from lorry.data.prepare import Prepared, renderer_for
from lorry.errors import LorryError, ModelError
from lorry.plan import findings
from lorry.plan.architecture.cards import card
from lorry.plan.check import check
from lorry.plan.findings import Finding
from lorry.plan.rehearsal import faults, rows
from lorry.plan.rehearsal.outcome import Rehearsal, Stage, unknown
from lorry.plan.rehearsal.progress import Progress, Watcher
from lorry.plan.rehearsal.room import Room, room
from lorry.plan.rehearsal.source import borrowed
from lorry.plan.rehearsal.task import Task
from lorry.plan.rehearsal.watching import Late, Message, Worker, working
from lorry.plan.subject import Subject, UnavailableError
from lorry.recipe import load as recipes
from lorry.recipe.load import Loaded
from lorry.recipe.rehearsal import rehearsal
from lorry.recipe.schema import Recipe
from lorry.trainer.sources.model_folder import read_config

LIMIT = 120.0
"""Seconds that a rehearsal may take, after the checks and once everything is imported."""


@dataclass(frozen=True)
class Wish:
    """What the person asked for, understood."""

    loaded: Loaded
    limit: float = LIMIT
    tokenizer: Path | None = None
    """A folder whose tokenizer stands in for the model's, which is not on this machine."""


def rehearse(
    recipe: Recipe | Path | str,
    *,
    limit: float = LIMIT,
    tokenizer: Path | None = None,
    watch: Watcher | None = None,
) -> Rehearsal:
    """Goes through all of a recipe's run in about a minute, on a small copy of its model with random weights.

    `limit` is in seconds; `tokenizer` a folder that has the tokenizer where the model's own is not here; `watch` is told the
    name of each stage as it begins, and the stage as it ends. Blocks; leaves nothing behind. What is wrong stands in the
    findings. Raises InputError for a recipe that cannot be read, MissingExtraError where training packages are missing.
    """
    is_object = isinstance(recipe, Recipe)
    loaded = recipes.from_dict(recipe.model_dump(exclude_unset=True), Path.cwd()) if is_object else recipes.load(recipe)
    return carry_out(Wish(loaded, limit, tokenizer), watch or (lambda _stage: None))


def carry_out(wish: Wish, watch: Watcher) -> Rehearsal:
    """The whole rehearsal, from the checks to the adapter in plain PEFT."""
    job.require_training_packages()
    result = Rehearsal(unknown=unknown(wish.loaded.recipe))
    progress = Progress(result, watch)
    with room() as place, working(place) as worker:
        progress.enter("check")
        subject = _checked(wish, place, result)
        if subject is None or not _make_ready(wish, subject, place, (result, progress)):
            progress.finish("failed")
        else:
            well = _listen(worker, wish, place, (result, progress))
            progress.finish("passed" if well else "failed")
    return result


_OF_THE_TRUE_RUN = frozenset({"model.weights", "memory.too-little", "memory.ladder"})
"""What a rehearsal can do without: the weights, and a machine that the true model fits."""


def _checked(wish: Wish, place: Room, result: Rehearsal) -> Subject | None:
    """What is rehearsed; None where the input is wrong. What this machine refuses keeps nobody from rehearsing."""
    recipe, base = wish.loaded.recipe, wish.loaded.base
    said = [findings.warning("recipe.override", text) for text in wish.loaded.warnings]
    try:
        parts = {"source": borrowed(recipe, base, wish.tokenizer, place.source)} if wish.tokenizer else {}
    except LorryError as error:
        result.findings += [*said, faults.of_error("tokenizer", error)]
        return None
    subject = Subject(recipe, base, **parts)
    found = [finding for finding in check(subject) if finding.code not in _OF_THE_TRUE_RUN]
    result.findings += findings.ordered([*said, *found])
    errors = [finding for finding in result.findings if finding.severity == "error"]
    if any(finding.code == "model.unavailable" for finding in errors):
        result.findings += _known_from_card(recipe)
    return None if any(not finding.refusal for finding in errors) else subject


def _known_from_card(recipe: Recipe) -> list[Finding]:
    """What would be enough for a rehearsal of a model that cannot be had, if lorry knows its architecture."""
    known = card(recipe.model.id)
    if known is None:
        return []
    return [
        findings.note(
            "rehearsal.no-tokenizer",
            f"lorry knows the architecture of {known['id']} (as of {known['as_of']}): only its tokenizer is missing. "
            "With a folder that has it, `lorry rehearse RECIPE --tokenizer FOLDER` does without the model",
            place="model.id",
        )
    ]


def _make_ready(wish: Wish, subject: Subject, place: Room, told: tuple[Rehearsal, Progress]) -> bool:
    """Looks at tokenizer, rows and prompts, and writes down what the worker is to do; whether nothing was wrong."""
    result, progress = told
    try:
        progress.enter("tokenizer")
        progress.tell(f"{subject.tokenizer.vocabulary_size:,} tokens")
        progress.enter("rows")
        _render_prompts(subject)
        _write_task(wish, subject, place, told)
    except UnavailableError as error:
        cause = error.cause
        said = cause if isinstance(cause, LorryError) else ModelError(str(error), hint="`lorry check RECIPE`")
        result.findings.append(faults.of_error(progress.stage, said))
        return False
    except LorryError as error:
        result.findings.append(faults.of_error(progress.stage, error))
        return False
    return True


def _render_prompts(subject: Subject) -> None:
    """Renders every prompt that the true evaluation asks. Raises DataError with the row of the first that fails."""
    prepared, recipe = subject.prepared, subject.recipe
    renderer = renderer_for(recipe, subject.base, subject.tokenizer)
    for question in rows.questions(prepared, recipe.evaluate.rows):
        try:
            renderer.prompt(question.messages, question.tools, question.pictures)
        except LorryError as error:
            error.place = error.place or question.origin
            raise


def _write_task(wish: Wish, subject: Subject, place: Room, told: tuple[Rehearsal, Progress]) -> None:
    result, progress = told
    recipe, source = subject.recipe, subject.source
    prepared: Prepared = subject.prepared
    config = read_config(source.folder, source.id)
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    vocabulary = int((text or {}).get("vocab_size") or subject.tokenizer.vocabulary_size)
    chosen = rows.choose(prepared, recipe, vocabulary)
    rows.write(prepared, chosen, place.rows)
    made = rehearsal(recipe, micro_batch=chosen.micro_batch, accumulation=chosen.accumulation)
    result.changes += made.changes
    progress.tell(chosen.told())
    Task(
        room=place,
        recipe=made.recipe,
        base=str(wish.loaded.base),
        source={"id": source.id, "kind": source.kind, "revision": source.revision},
        source_folder=str(source.folder),
        all_rows=str(prepared.folder),
        asked=recipe.evaluate.rows,
    ).save()


def _listen(worker: Worker, wish: Wish, place: Room, told: tuple[Rehearsal, Progress]) -> bool:
    """Follows the worker to its end; whether everything went well."""
    result, progress = told
    progress.enter("start")
    progress.tell("torch, Transformers and PEFT, which began with the checks")
    try:
        for message in worker.messages(wish.limit):
            if message.get("done"):
                return True
            progress.take(message)
            found = _found(message, progress.stage, place)
            result.findings += [one for one in found if one not in result.findings]
            result.changes += [message["changed"]] if "changed" in message else []
            if any(one.severity == "error" for one in found):
                return False
    except Late:
        result.findings.append(faults.too_late(progress.stage, wish.limit, progress.doing))
        return False
    result.findings.append(faults.without_a_word(progress.stage, worker.process.wait(), place.log))
    return False


def _found(message: Message, stage: str, place: Room) -> list[Finding]:
    """What of the worker's words is a finding."""
    kind, data = message.get("kind"), message.get("data", {})
    if "fault" in message:
        return [faults.of_fault(stage, message["fault"], place.log)]
    if kind == "failed":
        return [faults.of_fault(stage, data, place.log)]
    if kind == "diverged":
        told = f"{data['reason']}\nrows: {', '.join(data['rows'][:5])}"
        hint = "set `model.precision: fp32` to see whether the precision does it; if not, the method's loss does"
        return [faults.of_fault(stage, {"error": told, "place": "method", "hint": hint}, place.log)]
    if kind == "oom":
        return [
            findings.note("rehearsal.memory", f"memory ran out while {data['where']}: it went on in smaller batches")
        ]
    if "warned" in message:
        return [findings.warning("rehearsal.warned", f"PEFT warns: {message['warned'].splitlines()[0]}", place="lora")]
    return []


__all__ = ["LIMIT", "Rehearsal", "Stage", "Wish", "carry_out", "rehearse"]
