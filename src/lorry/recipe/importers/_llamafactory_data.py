"""LLaMA-Factory's data sets: by name, each described in `dataset_info.json`."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any, NamedTuple, cast

from lorry.errors import RecipeError
from lorry.recipe.importers import _places
from lorry.recipe.importers._llamafactory_fields import ITSELF
from lorry.recipe.importers._llamafactory_rows import Described, layout
from lorry.recipe.importers._rules import number, truth
from lorry.recipe.importers._sheet import Part
from lorry.recipe.layer import home_of, show

FILE = "dataset_info.json"
_MOST_BYTES = 4 * 1024 * 1024


class Book(NamedTuple):
    """The data sets that can be named."""

    folder: str
    """Where their files lie, as a recipe names it."""
    sets: dict[str, Any] | None
    """By name; None where names are those of the Hub."""
    file: str


def fill(top: Part, method: str) -> None:
    """Rows to train and to evaluate on."""
    names = {key: _names(top, key) for key in ("dataset", "eval_dataset")}
    if not names["dataset"]:
        if not top.sheet.problems:
            top.sheet.problem("dataset", "is missing", f"name data sets that {FILE} describes: `dataset: identity`")
        return
    book = _book(top)
    _limits(top)
    for key, path in (("dataset", "data.train"), ("eval_dataset", "data.eval")):
        sources = [source for name in names[key] for source in _sources(top, key, name, book, method)]
        if sources:
            _write(top, key, path, sources)
    _held_back(top, bool(names["eval_dataset"]))
    _packing(top, method)


def _names(top: Part, key: str) -> list[str]:
    given = top.get(key)
    found: list[Any] = given if isinstance(given, list) else [] if given is None else str(given).split(",")
    if isinstance(given, dict) or not all(isinstance(name, str) and name.strip() for name in found):
        top.sheet.problem(key, "must be names of data sets", "write `dataset: one,two`")
        top.done(key)
        return []
    top.done(key, "data.train" if key == "dataset" else "data.eval")
    return [name.strip() for name in found]


def _book(top: Part) -> Book | None:
    """What `dataset_info.json` says. Problems are told, and there is none then."""
    folder = top.get("dataset_dir")
    folder = "data" if folder is None else folder
    if folder == "ONLINE":
        top.done("dataset_dir", "data.train")
        return Book("", None, FILE)
    if isinstance(folder, dict):
        top.done("dataset_dir", "data.train")
        return Book("data", cast("dict[str, Any]", folder), top.sheet.file)
    if not isinstance(folder, str) or folder.startswith("REMOTE:"):
        top.lacks("dataset_dir", f"lorry reads {FILE} of a folder here", ITSELF)
        return None
    top.done("dataset_dir", "data.train")
    file = top.sheet.local(str(PurePath(folder) / FILE))
    place = "dataset_dir" if "dataset_dir" in top.values else "dataset"
    if file is None or not file.is_file():
        looked = " and ".join(dict.fromkeys(home_of(base / folder) for base in top.sheet.bases))
        top.sheet.problem(
            place, f"there is no {FILE} (looked in {looked})", "set `dataset_dir` to the folder that has it"
        )
        return None
    try:
        return Book(folder, _read(file), home_of(file))
    except RecipeError as error:
        top.sheet.problem(place, f"{error.place}: {error.message}", error.hint or "correct the file")
        return None


def _read(file: Path) -> dict[str, Any]:
    """Raises RecipeError for what is no mapping in JSON."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise RecipeError("too large for descriptions of data sets", place=home_of(file))
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"cannot be read: {error}", place=home_of(file), hint="write valid JSON in UTF-8") from error
    if not isinstance(found, dict):
        raise RecipeError("holds no descriptions by name", place=home_of(file), hint='write {"name": {...}}')
    return cast("dict[str, Any]", found)


def _sources(top: Part, key: str, name: str, book: Book | None, method: str) -> list[dict[str, Any]]:
    """One data set as sources of a recipe."""
    if book is None:
        return []
    if book.sets is None:
        described: dict[str, Any] = {"hf_hub_url": name}
    elif name not in book.sets:
        known = ", ".join(f"`{one}`" for one in list(book.sets)[:8]) or "none"
        top.sheet.problem(key, f"{book.file} describes no `{show(name)}`", f"it describes: {known}")
        return []
    elif not isinstance(book.sets[name], dict):
        top.sheet.problem(key, f"{book.file}: `{name}` is no description", 'write {"file_name": "rows.json"}')
        return []
    else:
        described = cast("dict[str, Any]", book.sets[name])
    found = Described(name, described, book.file)
    places = _paths(top, key, found, book)
    source, faults = layout(found, method)
    for fault in faults:
        _refuse(top, key, f"{book.file}: `{name}`: {fault}")
    rows = _rows(top, found)
    more = {**source, **({"rows": rows} if rows else {})}
    return (
        [] if faults else [{"path": path, **{name: one for name, one in more.items() if one != {}}} for path in places]
    )


def _refuse(top: Part, key: str, message: str) -> None:
    top.sheet.problem(key, message, "LLaMA-Factory itself can; leave the data set out to train without it")


def _paths(top: Part, key: str, found: Described, book: Book) -> list[str]:
    """Where a data set's rows lie."""
    given = found.given
    hub = given.get("hf_hub_url")
    if isinstance(hub, str):
        if given.get("folder"):
            _refuse(top, key, f"{book.file}: `{found.name}`: lorry reads whole splits of the Hub, and not `folder`")
        split = _places.split_of(str(given.get("split") or "train"))
        return [
            _places.on_hub(
                hub, revision=given.get("revision"), config=given.get("subset"), split=split.name if split else None
            )
        ]
    file = given.get("file_name")
    if not isinstance(file, str):
        other = next(
            (one for one in ("ms_hub_url", "om_hub_url", "script_url", "cloud_file_name") if one in given), None
        )
        what = f"lorry does not read `{other}`" if other else "has no `file_name`"
        _refuse(top, key, f"{book.file}: `{found.name}`: {what}")
        return []
    path = str(PurePath(book.folder) / file)
    inside = _places.in_folder(path, top.sheet)
    if inside is None:
        _refuse(top, key, f"{book.file}: `{found.name}`: the folder holds no files that lorry reads")
    return inside or []


def _rows(top: Part, found: Described) -> int | None:
    """How many of its first rows are taken: `max_samples` of all, `num_samples` of the data set."""
    limits = [top.get("max_samples"), found.given.get("num_samples")]
    known = [limit for limit in limits if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0]
    return min(known) if known else None


def _limits(top: Part) -> None:
    if top.get("max_samples") is None:
        top.idle("max_samples", "not set")
    else:
        top.done("max_samples", "data.train", why="the first so many rows of each data set")


def _write(top: Part, key: str, path: str, sources: list[dict[str, Any]]) -> None:
    formats = [source.pop("format") for source in sources]
    same = all(one == formats[0] for one in formats)
    if same and (path == "data.train" or top.sheet.made.values["data"].get("format") == formats[0]):
        top.sheet.put("data.format", formats[0], key)
    else:
        sources = [{**source, "format": one} for source, one in zip(sources, formats, strict=True)]
    rows = [source["path"] if set(source) == {"path"} else source for source in sources]
    top.sheet.put(path, rows[0] if len(rows) == 1 else rows, key)


def _held_back(top: Part, evaluated: bool) -> None:
    size = number(top.get("val_size"))
    if size is None or size == 0 or evaluated:
        top.idle("val_size", "none")
        if not evaluated:
            top.sheet.put("data.eval_split", 0)
    else:
        top.to("val_size", "data.eval_split", size)


def _packing(top: Part, method: str) -> None:
    """Packed rows never see each other here; raw text is always packed there."""
    given, neat = (truth(top.get(key)) for key in ("packing", "neat_packing"))
    top.done("neat_packing", "data.packing")
    top.done("packing", "data.packing", why="" if neat or not given else "packed rows never see each other here")
    wanted = bool(neat) or (bool(given) if given is not None else method == "cpt")
    names = [key for key in ("packing", "neat_packing") if top.get(key) is not None]
    if wanted or names:
        top.sheet.put("data.packing", wanted, *names)
