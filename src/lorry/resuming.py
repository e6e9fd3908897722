"""The story of a run that goes on: what may have changed, from which checkpoint, and then as `job` tells it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from lorry import job
from lorry.compute import needs
from lorry.compute.machine.sending import at_home, sent_model, with_kept_names
from lorry.compute.needs import Needs
from lorry.data.prepare import NAME, Prepared, rows_folder, tells_day
from lorry.errors import DataError, InputError, LorryError, RefusedError
from lorry.plan.expected import of_run
from lorry.plan.subject import Subject, UnavailableError
from lorry.recipe import load as recipes
from lorry.recipe.changes import deciding, differences
from lorry.recipe.earlier import as_continued
from lorry.recipe.name import experiment_name
from lorry.recipe.schema import Recipe
from lorry.recipe.smoke import smoke as as_smoke
from lorry.track.events import EventLog, last_attempt, read
from lorry.track.folder import Answers, RunFolder, write_json
from lorry.track.process import started
from lorry.track.run import Run
from lorry.track.state import state
from lorry.track.store import UNDER_WAY, RunRow, Store
from lorry.trainer.sources.locate import locate
from lorry.trainer.supervise.orphan import end_orphan

RESUMABLE = ("interrupted", "stopped", "failed")
"""Statuses of runs that have more to do."""
_STEP = re.compile(r"(?:step-)?(\d+)")


@dataclass(frozen=True)
class Continuation:
    """What the person asked for, understood."""

    run: str = "last"
    """A run's id, a beginning of it, or `last`."""
    start: str | None = None
    """A checkpoint: `step-000400`, `best`, `final`, or a checkpoint's folder; None for the newest that verifies."""
    overrides: Sequence[str] = ()
    recipe: Recipe | None = None
    """In place of the run's own; only what may change may differ."""
    answers: Answers = "none"
    """How questions are answered that come up while it trains."""
    agreed_usd: float | None = None
    """What a person has agreed to spend on its rented machines at most, what it cost before among it; None as before."""


@dataclass(frozen=True)
class Intended:
    """What going on with a run would do."""

    folder: RunFolder
    recipe: Recipe
    needs: Needs | None
    """What it asks of a machine; None where it trains here."""
    left: float
    """The share of its steps that are to be trained."""


def resume(
    run: str = "last", *, start: str | None = None, overrides: Sequence[str] = (), watch: job.Watcher | None = None
) -> Run:
    """Goes on with a run that was interrupted, stopped or failed, or that is to make more steps than it was.

    Blocks until it has ended. Raises RefusedError where the run is under way, or where what it learns would change;
    InputError where there is nothing to go on with; what `run` raises once training has begun.
    """
    return go_on(Continuation(run, start, overrides), watch or (lambda _event: None))


def go_on(wish: Continuation, watch: job.Watcher) -> Run:
    """The whole way from an interrupted run to a tested adapter."""
    known = max((event.seq for event in read(RunFolder(Store.open().find(wish.run).folder).events)), default=0)
    return job.carry_on(make_ready(wish), watch, after=known)


def make_ready(wish: Continuation) -> Run:
    """The run, ready to be trained on: what changed is checked and written down, nothing is started yet."""
    row = Store.open().find(wish.run)
    folder = RunFolder(row.folder)
    if not folder.is_rented:
        job.require_training_packages()
    _must_be_at_rest(row)
    _facts(folder)
    with _alone(folder):
        return _made_ready(wish, row, folder)


def intended(wish: Continuation) -> Intended:
    """What going on would do; nothing is written. Raises as `make_ready` does."""
    row = Store.open().find(wish.run)
    folder = RunFolder(row.folder)
    _must_be_at_rest(row)
    facts = _facts(folder)
    before = _recipe_of(folder, facts)
    recipe, changes = _changed(before, wish, folder, facts)
    _must_have_more_to_do(row, before, recipe, wish)
    asked = None
    if folder.is_rented:
        _must_be_at_hand(facts, recipe, folder)
        asked = _needs_anew(folder, facts, recipe) if changes else needs.load(folder)
    left = 1 - min((row.step or 0) / row.steps, 1.0) if row.steps else 1.0
    return Intended(folder, recipe, asked, left)


@contextmanager
def _alone(folder: RunFolder) -> Generator[None]:
    """Keeps others from the run while it is made ready. Raises RefusedError where somebody works on it."""
    if folder.is_rented:
        from lorry.compute.control import controller

        with controller.held(folder):
            yield
        return
    try:
        with FileLock(folder.path / "agent.lock", timeout=0):
            end_orphan(folder)
            yield
    except Timeout as error:
        hint = "wait a moment; `lorry ps` shows when it has ended"
        raise RefusedError(f"`{folder.id}` is just being ended by its agent", hint=hint) from error


def _made_ready(wish: Continuation, row: RunRow, folder: RunFolder) -> Run:
    facts = _facts(folder)
    before = _recipe_of(folder, facts)
    recipe, changes = _changed(before, wish, folder, facts)
    _must_have_more_to_do(row, before, recipe, wish)
    _must_be_at_hand(facts, recipe, folder)
    lines = [f"continued with {change}" for change in changes] + _said_of_rows(facts, recipe, folder)
    if wish.start is not None:
        rows = Prepared.open(Path(facts["data_folder"])).facts.rows_sha256()
        lines.append(f"continues from {_go_back(folder, wish.start, recipe, rows)}")
    asked: dict[str, Any] = {"answers": wish.answers, "watcher": [os.getpid(), started(os.getpid())]}
    if wish.agreed_usd is not None:
        asked["agreed_usd"] = wish.agreed_usd
    write_json(folder.resolved, {**facts, "recipe": recipe.model_dump(mode="json"), **asked})
    if changes and folder.is_rented:
        needs.save(folder, _needs_anew(folder, facts, recipe))
    elif changes:
        _expect_anew(folder, facts, recipe)
    if folder.is_rented:
        from lorry.compute.control.at_home import answered

        answered(folder)
        lines.append("the run goes on")  # so that it is under way again, whoever takes it up
    log = EventLog(folder.events, attempt=last_attempt(folder.events))
    for line in lines:
        log.append("note", message=line)
    return Run(folder)


def price_per_hour(wish: Continuation) -> float:
    """What an hour costs by the recipe that the run goes on with, in US dollars."""
    folder = RunFolder(Store.open().find(wish.run).folder)
    facts = _facts(folder)
    before = _recipe_of(folder, facts)
    return _changed(before, wish, folder, facts)[0].budget.price_per_hour


def seconds_left(row: RunRow) -> float | None:
    """Seconds that a run will take to its end, as it was planned; None where that is not known."""
    expected = of_run(RunFolder(row.folder))
    if expected is None or not row.steps:
        return None
    left, planned = 1 - min((row.step or 0) / row.steps, 1.0), expected.duration
    during = (planned.training + planned.evaluation).likely
    return (planned.start + planned.scoring + planned.saving).likely + left * during


def interrupted(loaded: recipes.Loaded) -> RunRow | None:
    """The newest run of this recipe that did not come to its end, and has a checkpoint or a machine; else None."""
    name = experiment_name(loaded.recipe)
    for row in Store.open().list(limit=100):
        if row.name == name and row.status in (*RESUMABLE, "detached") and _is_of(row, loaded):
            return row
    return None


def _is_of(row: RunRow, loaded: recipes.Loaded) -> bool:
    """Whether a run has a checkpoint, and was of this recipe and of the rows that its files hold now."""
    folder = RunFolder(row.folder)
    try:
        facts = _facts(folder)
        before = _recipe_of(folder, facts)
        differs = differences(before, as_continued(loaded.recipe, before, facts))[0]
        if differs or folder.is_rented == loaded.recipe.compute.is_here:
            return False
        if row.status != "detached" and not any(folder.checkpoints.glob("step-*/manifest.json")):
            return False
        return _has_the_rows_of(facts, loaded.recipe)
    except (LorryError, UnavailableError, OSError):
        return False  # what is wrong with them, the checks of the new run tell


def _has_the_rows_of(facts: dict[str, Any], recipe: Recipe) -> bool:
    """Whether the files hold, and the recipe renders, what the run began with. Raises what keeps it from looking."""
    subject, began = Subject(recipe, Path(facts["base"])), Path(facts["data_folder"]).name
    now = rows_folder(recipe, subject.base, subject.tokenizer).name
    return now == began or (now[:NAME] == began[:NAME] and _are_those_of(subject.prepared, facts))


def _are_those_of(prepared: Prepared, facts: dict[str, Any]) -> bool:
    """Whether rendered rows are what the run began with."""
    now, began = prepared.folder.name, Path(facts["data_folder"]).name
    # Of the same files of rows, but images that were touched, the hashes tell whether they are others.
    is_alike = now[:NAME] == began[:NAME] and prepared.facts.rows_sha256() == facts.get("rows_sha256")
    return now == began or is_alike


def _must_be_at_rest(row: RunRow) -> None:
    if row.status == "detached":
        told = f"`{row.id}` has not ended: its machine may train on, and nobody controls it"
        raise RefusedError(told, hint=f"take it up: `lorry attach {row.id}`")
    if row.status in UNDER_WAY:
        raise RefusedError(f"`{row.id}` is {row.status}", hint=f"follow it: `lorry logs -f {row.id}`")


def _facts(folder: RunFolder) -> dict[str, Any]:
    try:
        found: dict[str, Any] = dict(json.loads(folder.resolved.read_text(encoding="utf-8")))
        missing = [name for name in ("recipe", "base", "model_folder", "data_folder", "source") if name not in found]
        if missing:
            raise ValueError(f"{folder.resolved.name} does not tell {', '.join(missing)}")
    except (OSError, ValueError, TypeError) as error:
        raise _unknowable(folder, str(error)) from error
    return found


def _recipe_of(folder: RunFolder, facts: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(facts["recipe"])
    except ValidationError as error:
        first = error.errors()[0]
        raise _unknowable(folder, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _unknowable(folder: RunFolder, why: str) -> InputError:
    hint = "continue it with the version of lorry that began it, or start a new run of its recipe"
    return InputError(f"`{folder.id}` cannot be continued: {why}", place=str(folder.resolved), hint=hint)


def _changed(before: Recipe, wish: Continuation, folder: RunFolder, facts: dict[str, Any]) -> tuple[Recipe, list[str]]:
    """The recipe to go on with, and what differs. Raises RefusedError with the differences that would make it another run."""
    after = before if wish.recipe is None else as_smoke(wish.recipe) if facts.get("smoke") else wish.recipe
    after = as_continued(recipes.with_flags(after, wish.overrides), before, facts)
    if folder.is_rented:
        after = with_kept_names(after, before)
    if after.compute.is_here == folder.is_rented:
        began, goes = ("on rented machines", "here") if folder.is_rented else ("here", "on a rented machine")
        hint = "leave `compute.on` as it is, or start a new run: `lorry run RECIPE`"
        raise RefusedError(f"the run began {began}, and cannot go on {goes}", place="compute.on", hint=hint)
    refused, changes = differences(before, after)
    if refused:
        told = "\n".join(["these settings decide what is learned, and differ from the run's:", *refused])
        hint = "leave them as they are, or start a new run: `lorry run RECIPE`"
        raise RefusedError(told, hint=hint)
    return after, changes


def _must_have_more_to_do(row: RunRow, before: Recipe, recipe: Recipe, wish: Continuation) -> None:
    """Raises InputError for a run that has come to its end, and is not asked for more."""
    now = state(read(RunFolder(row.folder).events))
    ended_early = now.step is not None and now.steps is not None and now.step < now.steps
    is_longer = (recipe.train.steps, recipe.train.epochs) != (before.train.steps, before.train.epochs)
    if row.status == "finished" and not ended_early and not is_longer and wish.start is None:
        more = (
            f"train.steps={2 * (now.steps or 1)}"
            if recipe.train.steps
            else f"train.epochs={2 * (recipe.train.epochs or 1):g}"
        )
        hint = f"for more steps: `lorry resume {row.id} -o {more}`"
        raise InputError(f"`{row.id}` has made all of its {now.steps} steps", hint=hint)


def _expect_anew(folder: RunFolder, facts: dict[str, Any], recipe: Recipe) -> None:
    """Has the run held against what it takes with the changed recipe; where that cannot be known, against nothing."""
    subject = _subject(folder, facts, recipe)
    try:
        expected = subject.planner.estimate().expected
    except UnavailableError:
        expected = None
    try:
        kept = dict(json.loads(folder.plan.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        kept = {}
    before = of_run(folder)
    if expected and before:
        expected = replace(expected, id=before.id)
    write_json(folder.plan, {**kept, "expected": expected.as_json() if expected else None})


def _needs_anew(folder: RunFolder, facts: dict[str, Any], recipe: Recipe) -> Needs:
    """What the changed run asks of a machine. Raises InputError where it fits on none that the recipe names."""
    return needs.needs_of(_subject(folder, facts, recipe))


def _subject(folder: RunFolder, facts: dict[str, Any], recipe: Recipe) -> Subject:
    """The run as plans see it, with the rows that it began with."""
    prepared = Prepared.open(Path(facts["data_folder"]))
    return Subject(at_home(recipe, folder), Path(facts["base"]), prepared=prepared)


def _must_be_at_hand(facts: dict[str, Any], recipe: Recipe, folder: RunFolder) -> None:
    """Brings back model and rows where a cache was cleared. Raises InputError where they are not what they were."""
    base = Path(facts["base"])
    recipe = at_home(recipe, folder)
    if not Path(facts["model_folder"]).is_dir():
        model = recipe.model.model_copy(update={"revision": recipe.model.revision or facts["source"].get("revision")})
        is_sent = (
            not folder.is_rented or sent_model(facts) is not None
        )  # else the machine fetches the weights by itself
        facts["model_folder"] = str(locate(model, base, weights=is_sent).folder)
    try:
        Prepared.open(Path(facts["data_folder"]))
    except DataError:
        prepared = Subject(recipe, base).prepared
        if not _are_those_of(prepared, facts):
            told = "the rows are not those that the run began with, and those are in the cache no more"
            hint = "put the files back as they were, or start a new run"
            if tells_day(recipe, base, Subject(recipe, base).tokenizer):
                hint = "the chat template writes the day into each row, and that was another one: start a new run"
            raise InputError(told, hint=hint) from None
        facts["data_folder"] = str(prepared.folder)


def _said_of_rows(facts: dict[str, Any], recipe: Recipe, folder: RunFolder) -> list[str]:
    """What a person who has changed the files since must know."""
    try:
        is_same = _has_the_rows_of(facts, at_home(recipe, folder))
    except (LorryError, UnavailableError, OSError):
        return []  # the files are not needed any more
    told = "the data, or how it is rendered, has changed since this run began; it goes on with the rows it began with"
    return [] if is_same else [told]


def _go_back(folder: RunFolder, start: str, recipe: Recipe, rows: dict[str, str]) -> str:
    """Makes a checkpoint the newest one: later ones are put aside, one from elsewhere is copied in. Returns its name."""
    from lorry.trainer import checkpoint
    from lorry.trainer.saving.state import NEEDED, made_otherwise

    chosen = _chosen(folder, start)
    checkpoint.verify(chosen)
    facts = checkpoint.read_state(chosen, NEEDED)
    otherwise = made_otherwise(facts["origin"], deciding(recipe), rows)
    if otherwise:
        raise RefusedError(otherwise, place=str(chosen), hint="start a new run")
    step = int(facts["step"])
    here = checkpoint.path_of(folder.checkpoints, step)
    if chosen.resolve() != here.resolve():
        checkpoint.adopt(chosen, here)
    for later in checkpoint.steps(folder.checkpoints):
        if later > step:
            checkpoint.put_aside(checkpoint.path_of(folder.checkpoints, later), "superseded")
    return here.name


def _chosen(folder: RunFolder, start: str) -> Path:
    """The folder that `--from` means. Raises InputError where there is none."""
    match = _STEP.fullmatch(start)
    places = [folder.checkpoints / f"step-{int(match[1]):06d}"] if match else [folder.checkpoints / start, Path(start)]
    for place in places:
        if (place / "manifest.json").is_file():
            return place.resolve()
    names = [path.name for path in sorted(folder.checkpoints.glob("step-*/"))]
    known = ", ".join([*names, "best", "final"]) if names else "none"
    raise InputError(f"there is no checkpoint `{start}`", hint=f"this run has: {known}")
