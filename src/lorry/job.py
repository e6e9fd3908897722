"""The story of a run, every room in order.

A person gives a recipe. lorry understands it, prepares its rows, and says what is wrong and what the run will take before
anything is spent; it opens a run, trains on this machine or on one that it rents and gives back, evaluates base model and
adapter side by side, and writes the report beside the adapter.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lorry.compute import needs
from lorry.compute.machine.sending import PUBLISHED, keep_own_files
from lorry.errors import (
    DetachedError,
    GateMissedError,
    InputError,
    MissingExtraError,
    RefusedError,
    RunFailedError,
    StoppedError,
)
from lorry.plan import speeds
from lorry.plan.disk_needs import written
from lorry.plan.machine import Promised
from lorry.plan.plan import Plan, make_plan
from lorry.plan.plan_json import plan_json
from lorry.plan.subject import Subject
from lorry.recipe import load as recipes
from lorry.recipe.earlier import Earlier
from lorry.recipe.layer import Keys
from lorry.recipe.load import Loaded
from lorry.recipe.name import experiment_name, run_id
from lorry.recipe.own_files import ADAPTER, dotted, renamed
from lorry.recipe.schema import Recipe
from lorry.recipe.smoke import smoke as as_smoke
from lorry.recipe.yaml_file import dump
from lorry.report import gates
from lorry.report import write as report
from lorry.report.plan_page import plan_page
from lorry.report.provenance import masked
from lorry.secrets import found as secrets
from lorry.track.events import Event, EventLog, read
from lorry.track.folder import Answers, RunFolder, home, write_json, write_text
from lorry.track.leases import Leases
from lorry.track.process import started
from lorry.track.run import Run
from lorry.track.state import state
from lorry.track.store import Changes, Store
from lorry.trainer import launch
from lorry.trainer.sources.locate import Source, locate

Watcher = Callable[[Event], None]


@dataclass(frozen=True)
class Wish:
    """What the person asked for, understood."""

    loaded: Loaded
    smoke: bool = False
    command: tuple[str, ...] = ()
    answers: Answers = "none"
    """How questions are answered that come up while it trains."""
    agreed_usd: float | None = None
    """What a person has agreed to spend on rented machines at most, all attempts together; None where nobody was asked."""

    @property
    def recipe(self) -> Recipe:
        """The recipe that runs: the given one, or its short form for `--smoke`."""
        return as_smoke(self.loaded.recipe) if self.smoke else self.loaded.recipe


def run(recipe: Recipe | Path | str, *, smoke: bool = False, watch: Watcher | None = None) -> Run:
    """Trains what a recipe describes, on this machine, and returns the run with its tested adapter.

    `recipe` is a Recipe or the path of one; `watch` is given every event as it comes. Blocks until the run has ended.
    Raises InputError or RefusedError before anything runs; after, RunFailedError or StoppedError, RefusedError where the run
    would pass its budget, and GateMissedError where it is complete and its adapter not as good as the recipe asks for.
    """
    loaded = _from_object(recipe) if isinstance(recipe, Recipe) else recipes.load(recipe)
    return carry_out(Wish(loaded, smoke, tuple(sys.argv)), watch or (lambda _event: None))


def carry_out(wish: Wish, watch: Watcher) -> Run:
    """The whole way from a wish to a tested adapter."""
    require_training_packages(wish.recipe)
    return train_as_planned(wish, plan(wish), watch)


def plan(wish: Wish) -> Plan:
    """What is wrong with it, and what it will take on this machine; nothing is spent yet."""
    return make_plan(Subject.of(wish.loaded, wish.recipe))


def train_as_planned(wish: Wish, plan: Plan, watch: Watcher) -> Run:
    """From a plan to a tested adapter. Raises InputError or RefusedError where the plan says that it cannot work."""
    return carry_on(opened(wish, plan), watch)


def opened(wish: Wish, plan: Plan, keep: Callable[[RunFolder], object] = lambda _folder: None) -> Run:
    """A run that is ready to be trained. Raises InputError or RefusedError where the plan says that it cannot work.

    `keep` is given its folder before the run stands in the store, from which a controller of all runs takes runs up.
    """
    refuse_errors(plan)
    source = _model(wish)
    run = _begin(wish, plan.subject, source)
    _say_first(run, wish, plan)
    for message in source.notes:
        EventLog(run.folder.events).append("note", message=message)
    keep(run.folder)
    _enter(run, wish.recipe)
    return run


def carry_on(run: Run, watch: Watcher, *, after: int = 0, then: Sequence[Run] = ()) -> Run:
    """From a run's folder to its tested adapter, be it new or interrupted; `watch` gets events numbered above `after`.

    A rented machine goes to the first run of `then` instead of being given back, where that can use it.
    """
    secrets.export()
    try:
        ending = _train(run, watch, after, then)
    except Exception as error:
        if not isinstance(error, RefusedError | DetachedError):  # it goes on, under another process or by itself
            _raise_what_may_bill(run)  # before any other fault is told
        raise
    finally:
        settled = _settled(run.folder)
    raise_unless_well(run, ending)
    if settled is not None:
        raise settled
    return run


def _settled(folder: RunFolder) -> Exception | None:
    """Settles; what went wrong with that, which must keep nobody from being told of a machine that bills."""
    try:
        settle(folder)
    except Exception as error:
        return error
    return None


def raise_unless_well(run: Run, ending: Event) -> None:
    """Raises what a person must know of a run that has ended: a machine that may still bill, else why it did not finish.

    Raises GateMissedError for one that is complete, and whose adapter is not as good as the recipe asks for.
    """
    _raise_what_may_bill(run)
    _raise_unless_finished(run, ending)
    _raise_unless_good(run)


def settle(folder: RunFolder) -> None:
    """Writes down what the events say: the run's row in the store, its speed, its report. Doing it again changes nothing."""
    now = state(read(folder.events))
    Store.open().update(folder.id, status=now.status, step=now.step, steps=now.steps, loss=now.loss)
    report.write(folder)
    if now.status == "finished":
        speeds.learn(folder)


def require_training_packages(recipe: Recipe | None = None) -> None:
    """Raises MissingExtraError where it trains here and the packages that run a model are not installed."""
    if recipe is not None and not recipe.compute.is_here:
        return
    missing = [name for name in ("torch", "transformers", "peft", "accelerate") if find_spec(name) is None]
    if missing:
        told = f"training needs packages that are not installed: {', '.join(missing)}"
        raise MissingExtraError(told, hint="`pip install 'lorry[train]'`")


def _from_object(recipe: Recipe) -> Loaded:
    return recipes.from_dict(recipe.model_dump(exclude_unset=True), Path.cwd())


def refuse_errors(plan: Plan) -> None:
    """Raises InputError or RefusedError where a finding is an error; all errors are told in one go."""
    errors = [finding for finding in plan.findings if finding.severity == "error"]
    if not errors:
        return
    kind = InputError if plan.exit_code == InputError.exit_code else RefusedError
    first, *others = errors
    told = [first.message, *([first.evidence] if first.evidence else [])]
    told += [f"{other.place}: {other.message}" if other.place else other.message for other in others]
    raise kind("\n".join(told), place=first.place, hint=first.remedy)


def _model(wish: Wish) -> Source:
    """The model at hand; for a rented machine, which fetches a published one by itself, without its weights."""
    settings, base = wish.recipe.model, wish.loaded.base
    if wish.recipe.compute.is_here:
        return locate(settings, base)
    source = locate(settings, base, weights=False)
    return source if source.kind in PUBLISHED else locate(settings, base)


def _begin(wish: Wish, subject: Subject, source: Source) -> Run:
    """Opens a run: its folder, with everything that the training process reads."""
    recipe, earlier, judges = _continuing(wish.recipe, subject)
    name = experiment_name(recipe)
    asked = None if recipe.compute.is_here else needs.needs_of(subject)
    folder = _new_folder(name)
    if asked is not None:
        recipe = keep_own_files(recipe, wish.loaded.base, folder)
        needs.save(folder, asked)
    write_text(folder.recipe, wish.loaded.text or dump(recipe.model_dump(mode="json", exclude_unset=True)))
    facts: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "base": str(wish.loaded.base),
        "model_folder": str(source.folder),
        "data_folder": str(subject.prepared.folder),
        "rows_sha256": subject.prepared.facts.rows_sha256(),
        "source": {"id": source.id, "kind": source.kind, "revision": source.revision},
        "command": masked(wish.command),
        "smoke": wish.smoke,
        "answers": wish.answers,
        "agreed_usd": wish.agreed_usd,
        "watcher": [os.getpid(), started(os.getpid())],
        "promised": asdict(_promised(subject)),
        "continues": earlier.as_json() if earlier else None,
        "judges": [{"keys": keys, **one.as_json()} for keys, one in judges.items()],
    }
    write_json(folder.resolved, facts)
    return Run(folder)


def _continuing(recipe: Recipe, subject: Subject) -> tuple[Recipe, Earlier | None, dict[Keys, Earlier]]:
    """The recipe with the folders of the adapters that it names, which are there by now; what it continues, and its judges."""
    earlier, judges = subject.earlier, subject.judges
    there = {**judges, **({ADAPTER: earlier} if earlier else {})}
    for one in there.values():
        if one.folder is None:
            raise AssertionError(f"the adapter `{one.named}` has not been made yet")
    named = renamed(recipe, lambda one: str(there[one.keys].folder) if one.keys in there else one.path)
    return named, earlier, {keys: one for keys, one in judges.items() if one.run}


def _enter(run: Run, recipe: Recipe) -> None:
    """Writes the run's row, once its first events are: a controller of all runs takes up what stands in the store."""
    Store.open().add(
        run.id,
        name=experiment_name(recipe),
        folder=run.folder.path,
        model=recipe.model.id,
        method=str(recipe.method["name"]),
        created_at=time.time(),
        pid=os.getpid(),
        pid_started=started(os.getpid()),
    )


def _promised(subject: Subject) -> Promised:
    """What the plan reckons with, and what the machine is held to just before it trains."""
    memories = [gpu.memory for gpu in subject.hardware.gpus]
    return Promised(min(len(memories), 1), min(memories, default=0), written(subject))


def _new_folder(name: str) -> RunFolder:
    """A folder that no other run has; two runs of one second get different names."""
    wanted = run_id(name, datetime.now(UTC))
    for number in range(1, 1000):
        path = home() / "runs" / (wanted if number == 1 else f"{wanted}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return RunFolder(path)
    raise RunFailedError(f"no free name for a run like {wanted}")


def _say_first(run: Run, wish: Wish, plan: Plan) -> None:
    """The events that stand before training: what was asked, what was found, what the rows are."""
    facts = plan.subject.prepared.facts
    found = [asdict(finding) for finding in plan.findings]
    write_json(run.folder.plan, {**plan_json(plan), "data": facts.as_json()})
    write_text(run.folder.plan_page, plan_page(plan))
    log = EventLog(run.folder.events)
    log.append("created", recipe=experiment_name(wish.recipe), run=run.id)
    log.append("checked", findings=found)
    for message in plan.warnings:
        log.append("warning", message=message)
    for message in (*facts.notes, *_said_of_earlier(plan.subject)):
        log.append("note", message=message)
    log.append(
        "data",
        train_rows=facts.train.rows,
        eval_rows=facts.eval.rows if facts.eval else 0,
        test_rows=facts.test.rows if facts.test else 0,
        train_tokens=facts.train.tokens,
    )


def _said_of_earlier(subject: Subject) -> list[str]:
    """Which runs' adapters are meant, for a name such as `last` does not tell."""
    earlier = subject.earlier
    judges = [f"answers are judged by the adapter of `{one.run}`" for one in subject.judges.values() if one.run]
    return [*([f"continues the adapter of `{earlier.run}`"] if earlier and earlier.run else []), *judges]


def after(plan: Plan, made: Mapping[Keys, Run]) -> Plan:
    """The plan of a recipe that needs what runs have just delivered, by the place that names each.

    Raises RefusedError where one has delivered no adapter.
    """
    subject = plan.subject
    named = {**subject.judges_to_come, **({ADAPTER: subject.earlier} if ADAPTER in made else {})}
    there: dict[Keys, Earlier] = {}
    for keys, run in made.items():
        one = named.get(keys)
        if one is None or not run.adapter.is_dir():
            raise RefusedError(f"`{run.id}` has delivered no adapter", place=dotted(keys))
        there[keys] = Earlier(one.named, run.adapter, run.id)
    return replace(plan, subject=subject.continuing(there))


def _train(run: Run, watch: Watcher, after: int, then: Sequence[Run]) -> Event:
    """Has the run trained to its end, here or on borrowed machines; returns the event that ended it."""
    if run.folder.is_rented:
        from lorry.compute.control import controller

        return controller.train(run.folder, watch, after=after, then=[one.folder for one in then])
    return _train_here(run, watch, after)


def _train_here(run: Run, watch: Watcher, after: int) -> Event:
    """Has the agent train to the end on this machine, keeping the store up to date."""
    store = Store.open()
    with launch.interrupts_held() as held:
        process = launch.start(run.folder)
        running = Changes(status="running", pid=process.pid, pid_started=started(process.pid))
        store.update(run.id, **running)

    def note_and_show(event: Event) -> None:
        if event.kind == "started":
            store.update(run.id, **(running | Changes(steps=event.data["steps"])))
        elif event.kind == "step":
            store.update(run.id, **(running | Changes(step=event.step, loss=event.data["loss"])))
        watch(event)

    return launch.watch(run.folder, process, note_and_show, after=after, sent=held)


def _raise_what_may_bill(run: Run) -> None:
    """Raises MayBillError where nobody has confirmed that a machine of the run is gone: said before all else."""
    if not run.folder.is_rented:
        return
    from lorry.compute import receipt

    rows = Leases.open().serving(run.id)
    if rows:
        raise receipt.may_bill(rows)


def _raise_unless_good(run: Run) -> None:
    judged = gates.listed(state(read(run.folder.events)).latest.get("scored", {}).get("gates"))
    missed = [one for one in judged if not one.get("met")]
    if missed:
        told = "; ".join(gates.sentence(one) for one in missed)
        hint = f"the run is complete and its adapter delivered: {run.adapter}; `lorry report {run.id}` tells all scores"
        message = f"{len(missed)} of {len(judged)} gates missed: {told}"
        raise GateMissedError(message, hint=hint, folder=run.folder.path)


def _raise_unless_finished(run: Run, ending: Event) -> None:
    if ending.kind == "stopped" and ending.data["cause"] == "budget":
        hint = f"`lorry resume {run.id} -o budget.overrun=continue` trains until the budget is used up; or raise the budget"
        raise RefusedError(ending.data["reason"], hint=hint)
    if ending.kind == "stopped":
        raise StoppedError(ending.data["reason"], hint=f"`lorry resume {run.id}` goes on from there")
    if ending.kind == "failed":
        kinds = {kind.exit_code: kind for kind in (InputError, RefusedError)}
        kind = kinds.get(ending.data["exit_code"], RunFailedError)
        raise kind(ending.data["error"], hint=ending.data["hint"])
