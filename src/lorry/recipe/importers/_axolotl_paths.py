"""Where the rows of one of Axolotl's data sets lie, and how many of them are taken."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from lorry.recipe.importers import _places
from lorry.recipe.importers._axolotl_fields import ITSELF
from lorry.recipe.importers._sheet import Part

_LOADERS = ("json", "csv", "parquet", "text", "arrow")


def paths(one: Part) -> list[str]:
    """The names of a data set's files, as a recipe has them; none, and it is said why, where lorry cannot read them."""
    path = one.text("path")
    if path is None:
        if "path" not in one.values:
            one.sheet.problem(one.name("path"), "is missing", "name a file, a folder, or a data set on the Hub")
        return []
    files = _data_files(one)
    if _places.is_remote(path):
        one.lacks("path", "lorry reads files here, and data sets on the Hub: fetch it first", ITSELF)
        return []
    if files and (path in _LOADERS or not _places.is_on_hub(path, one.sheet)):
        one.done("path", "data.train")
        one.done("data_files", "data.train")
        return [file if path in _LOADERS else _below(path, file, one) for file in files]
    if files:
        one.done("path", "data.train")
        one.lacks("data_files", "lorry reads whole splits of the Hub: fetch these files, and name them", ITSELF)
        return []
    one.idle("data_files", "not set")
    one.done("path", "data.train")
    if _places.is_on_hub(path, one.sheet):
        return [_on_hub(one, path)]
    found = _places.in_folder(path, one.sheet)
    if found is None:
        one.lacks("path", "lorry reads JSONL, JSON, CSV, Parquet and text: write the rows as one of these", ITSELF)
    return found or []


def _below(path: str, file: str, one: Part) -> str:
    """A file of a folder, which may as well be named from where everything is."""
    inside = str(PurePath(path) / file)
    return inside if one.sheet.local(inside) is not None or one.sheet.local(file) is None else file


def _data_files(one: Part) -> list[str]:
    given = one.get("data_files")
    files: list[Any] = given if isinstance(given, list) else [] if given is None else [given]
    if all(isinstance(file, str) for file in files):
        return files
    one.sheet.problem(one.name("data_files"), "must be names of files", "write `data_files: [one.jsonl, two.jsonl]`")
    one.done("data_files")
    return []


def _on_hub(one: Part, path: str) -> str:
    split = _places.split_of(str(one.get("split") or "train"))
    for key in ("name", "revision"):
        one.done(key, "data.train") if one.get(key) is not None else one.idle(key, "not set")
    return _places.on_hub(
        path, revision=one.get("revision"), config=one.get("name"), split=split.name if split else None
    )


def rows(one: Part) -> float | None:
    """How many of the first rows are taken; the split's own name is part of the data set's on the Hub."""
    given = one.get("split")
    if given is None:
        one.idle("split", "not set")
        return None
    found = _places.split_of(str(given))
    if found is None:
        one.lacks("split", "lorry takes the first rows, as in `train[:1000]` and `train[:10%]`", ITSELF)
        return None
    one.done("split", "data.train")
    return found.rows


def rest(one: Part) -> None:
    """Fields of a data set that mean the same whatever its type."""
    one.idle("ds_type", "files are read by their suffix")
    one.idle("name", "only data sets on the Hub have parts")
    one.idle("revision", "only data sets on the Hub have revisions")
    one.idle("trust_remote_code", "data sets that are programs are refused")
    one.idle("preprocess_shards", "rows are rendered bit by bit")
    for key in ("shards", "shards_idx"):
        if one.get(key) is None:
            one.idle(key, "not set")
        else:
            one.lacks(key, "lorry takes the first rows by number, or draws some: `data.train_subset`", ITSELF)
    for key in [key for key in one.values if one.get(key) is None and one.sheet.covering(one.name(key)) is None]:
        one.idle(key, "not set")
